"""What is audited, what is found wrong with it, one line each, and the comparisons that find it."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from schemenets import files
from schemenets.errors import SchemenetsError
from schemenets.study.config import Study
from schemenets.study.layout import Layout

Json = dict[str, Any]
TOLERANCE = 1e-3  # dB: what another machine's single precision may change


@dataclass(frozen=True)
class Audited:
    """Results, and what their manifest tells.

    Attributes:
        results: where they lie.
        study: what they are results of.
        manifest: the content of ``manifest.json``.
        data: SHA-256 of every data set, by name.
        sources: fingerprint of the code that made a file, None where it is not recorded.
    """

    results: Layout
    study: Study
    manifest: Json
    data: dict[str, str]
    sources: dict[Path, str | None]

    @classmethod
    def read(cls, root: Path) -> "Audited":
        """What the manifest in the directory ``root`` describes.

        Raises:
            SchemenetsError, LookupError, TypeError, AttributeError: the manifest is damaged.
        """
        results = Layout(root)
        manifest = files.read_json(results.manifest)
        return cls(
            results,
            Study.check(manifest["config"]),
            manifest,
            data={PurePosixPath(name).stem: entry["sha256"] for name, entry in manifest["data"].items()},
            sources={root / name: entry.get("source_sha256") for name, entry in manifest["files"].items()},
        )


@dataclass(frozen=True)
class Finding:
    """Something wrong with a file."""

    file: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def guarded(file: Path, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; if something is so wrong that the check cannot go on, that is one."""
    try:
        yield from findings
    except (SchemenetsError, OSError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        yield Finding(file, f"cannot be checked: {error or type(error).__name__}")


def difference(file: Path, stored: Any, expected: Any, source: str, tolerance: float = 1e-12) -> Iterator[Finding]:
    """At most one finding: the first value that differs, numbers by more than a relative tolerance, and how many do."""
    a, b = dict(_leaves(stored)), dict(_leaves(expected))
    keys = [key for key in {**b, **a} if key not in a or key not in b or not _same(a[key], b[key], tolerance)]
    if keys:
        left, right = (repr(side[keys[0]]) if keys[0] in side else "absent" for side in (a, b))
        others = f" (and {len(keys) - 1} more)" if keys[1:] else ""
        yield Finding(file, f"{keys[0]} is {left}, but {source} {right}{others}")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The single values in nested dictionaries and lists, with dotted keys."""
    children: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping) and value:
        children = value.items()
    elif isinstance(value, list | tuple) and value:
        children = enumerate(value)
    else:
        yield key, value
        return
    for name, child in children:
        yield from _leaves(child, f"{key}.{name}" if key else str(name))


def _same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values are equal, numbers (in texts too) but for rounding."""
    try:
        return a == b or math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False


def cells(text: str) -> dict[str, str]:
    """The cells of a CSV table by line and column."""
    rows = csv.DictReader(text.splitlines())
    return {f"line {line}, {column}": cell for line, row in enumerate(rows, 2) for column, cell in row.items()}


def apart(
    file: Path, what: str, seeds: Iterable[Any], stored: Iterable[float | None], values: Iterable[float], source: str
) -> Iterator[Finding]:
    """Findings for values in dB that differ by more than the tolerance; null stands for not finite."""
    for seed, old, new in zip(seeds, stored, values, strict=True):
        if not np.isclose(np.nan if old is None else old, new, rtol=0, atol=TOLERANCE, equal_nan=True):
            yield Finding(file, f"{what}, seed {seed}: {old} dB, but {source} gives {new:.4f} dB")
