"""The results under audit, findings about them, one line each, and the comparisons that make findings."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemenets import files
from schemenets.errors import SchemenetsError
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.records import manifest
from schemenets.study.stages import Job
from schemenets.study.stages._trained import Trained

Json = dict[str, Any]
DECIBELS = 1e-3  # how much another machine's single precision may change
OF_DAMAGE = (AttributeError, RuntimeError, TypeError, ValueError)  # raised by content of another form
ROUNDING = 1e-9  # relative: rounding accumulated over tens of thousands of blocks


@dataclass(frozen=True)
class Audited:
    """Results and their manifest.

    Attributes:
        results: the results directory.
        study: the study that gave them.
        manifest: the content of ``manifest.json``.
        fresh: where data sets are generated and jobs run again.
        full: whether every job that can be rerun is, instead of a sample of each stage.
    """

    results: Layout
    study: Study
    manifest: Json
    fresh: Layout
    full: bool

    @classmethod
    def read(cls, root: Path, fresh: Path, full: bool) -> "Audited":
        """What the manifest in the directory ``root`` describes.

        Raises:
            SchemenetsError, LookupError, TypeError, AttributeError: the manifest is damaged.
        """
        results = Layout(root)
        content = files.read_json(results.manifest)
        for key in ("files", "data", "inputs"):
            {name: entry["sha256"] for name, entry in content[key].items()}
        return cls(results, Study.check(content["config"]), content, Layout(fresh), full)

    def sha256(self, name: str) -> str | None:
        """SHA-256 of a result file or data set, according to the manifest."""
        found: str | None = {**self.manifest["data"], **self.manifest["files"]}.get(name, {}).get("sha256")
        return found

    def jobs(self, stage: str) -> list[Job]:
        """The jobs of a stage."""
        return [Job(stage, name, spec, self.results) for name, spec in self.study.specs(stage).items()]

    def run_again(self, job: Job, spec: Json | None = None) -> dict[str, Path]:
        """The files that a job writes if it runs again, on fresh data sets and the stored results of other jobs.

        Args:
            job: of the results.
            spec: another specification, to run only part of it.
        """
        for found in stages.references(job.stage, job.spec).values():
            for reference in (each for each in found if not isinstance(each, str)):
                if manifest.is_data(reference[0]):
                    self.dataset(reference[1])
                    continue
                for file in stages.written(reference):
                    link = self.fresh.root / file
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.unlink(missing_ok=True)  # a job that ran again may have written it
                    link.symlink_to((self.results.root / file).resolve())
        stages.run(job.stage, job.name, job.spec if spec is None else spec, self.fresh)
        return self.fresh.files(job.stage, job.name)

    def dataset(self, name: str) -> Path:
        """A data set, generated anew on first use."""
        path, (stage, *_) = self.fresh.dataset(name), stages.dataset(name)
        if not path.is_file():
            self.run_again(Job(stage, name, self.study.specs(stage)[name], self.results))
        return path


@dataclass(frozen=True)
class Finding:
    """Something wrong with a file."""

    file: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def guarded(file: Path, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; an error that stops the check becomes a finding."""
    try:
        yield from findings
    except (SchemenetsError, OSError, ArithmeticError, LookupError, *OF_DAMAGE) as error:
        yield Finding(file, f"cannot be checked: {error or type(error).__name__}")


def difference(
    file: Path, stored: Any, expected: Any, source: str, relative: float = 1e-12, absolute: float = 1e-12
) -> Iterator[Finding]:
    """At most one finding: the first value that differs (numbers: by more than the tolerances), and how many do.

    None stands for any number that is not finite.
    """
    a, b = dict(_leaves(stored)), dict(_leaves(expected))
    keys = [k for k in {**b, **a} if k not in a or k not in b or not _same(a[k], b[k], relative, absolute)]
    if keys:
        left, right = (repr(side[keys[0]]) if keys[0] in side else "nothing" for side in (a, b))
        others = f" (and {len(keys) - 1} more)" if keys[1:] else ""
        yield Finding(file, f"{keys[0]}: got {left}, expected {right}, as {source}{others}")


def disagreement(file: Path, record: Any, expected: Any, source: str, **tolerances: float) -> Iterator[Finding]:
    """The same for a record, which may hold more than is expected."""
    yield from difference(file, _part(record, expected), expected, source, **tolerances)


def _part(record: Any, expected: Any) -> Any:
    """What a record has at the keys of nested dictionaries and lists; lists are compared as a whole."""
    if isinstance(record, Mapping) and isinstance(expected, Mapping):
        return {key: _part(record[key], value) for key, value in expected.items() if key in record}
    if isinstance(record, list) and isinstance(expected, list):
        shared = [_part(*each) for each in zip(record, expected, strict=False)]
        return shared + record[len(expected) :]
    return record


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The single values in nested dictionaries and lists, with dotted keys."""
    children: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping) and value:
        children = value.items()
    elif isinstance(value, list | tuple) and value:
        children = enumerate(value)
    else:
        yield key, None if isinstance(value, float) and not math.isfinite(value) else value
        return
    for name, child in children:
        yield from _leaves(child, f"{key}.{name}" if key else str(name))


def _same(a: Any, b: Any, relative: float, absolute: float) -> bool:
    """Whether two values are equal; numbers, also in texts, up to rounding."""
    try:
        return a == b or math.isclose(float(a), float(b), rel_tol=relative, abs_tol=absolute)
    except (TypeError, ValueError):
        return False


def cells(text: str) -> dict[str, str]:
    """The cells of a CSV table by line and column."""
    rows = csv.DictReader(text.splitlines())
    return {f"line {line}, {column}": cell for line, row in enumerate(rows, 2) for column, cell in row.items()}


def above(
    path: Path, what: str, numbers: Iterable[int], values: Iterable[float | None], bounds: Iterable[float | None]
) -> Iterator[Finding]:
    """At most one finding: the first value above its bound; None is infinite."""
    for n, value, bound in zip(numbers, values, bounds, strict=True):
        if infinite(value) > infinite(bound) * (1 + ROUNDING):
            yield Finding(path, f"{what}, n = {n}: got a factor of {value}, expected at most {bound}")
            return


def powers(bound: float | None, numbers: Sequence[int]) -> list[float]:
    """Largest amplification by n applications of a network with this bound; infinite after an overflow."""
    with np.errstate(over="ignore"):
        found: list[float] = (np.float64(infinite(bound)) ** np.array(numbers)).tolist()
    return found


def of_training(trained: Trained, job: Job) -> Json:
    """What the record of a job that measures trained networks must say about them."""
    status = {str(seed): status for seed, status in trained.status.items()}
    return {"job": job.name, "seeds": list(trained.networks), "status": status}


def infinite(value: float | None) -> float:
    """A number from JSON, where null means infinite."""
    return math.inf if value is None else value
