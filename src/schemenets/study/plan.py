"""The plan of a run: every job of every stage with its files and digests, made once and cached.

On a cluster, Snakemake reads the Snakefile again in every job. Computing what the rules need to know imports the whole
package, torch included. So a separate process computes it once, and it is cached under a key that changes with the
configuration and the package's code. This module imports nothing slow.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from schemenets.study.overrides import Source, resolved

PLANS = Path(".snakemake/schemenets")
PACKAGE = Path(__file__).parents[1]
READ = ("config", "workflow/schemas")  # of the project, besides the configuration that is given
SITE = Path("config/site.yaml")  # of which only the longest time of a job is read
KEPT = 20  # plans; older ones are removed
GIVEN = ".config.json"  # suffix of the configuration stored beside its plan
OF_RUN = ("out", "device")  # keys of the configuration that say where a run computes, not what
DEVICE, DEVICES = "SCHEMENETS_DEVICE", ("cpu", "cuda")  # variable of the environment
Json = dict[str, Any]


class PlanError(Exception):
    """There is no plan for this configuration; the message says why."""


def chosen_device(config: Mapping[str, Any], gpus: int) -> str:
    """Where trainings run, cpu or cuda: as the configuration says, or on a GPU if the run may use any.

    Else it is as the environment says: in a job of a cluster, that is the one of the run, without its resources. From
    now on, the environment says it. It is not in the commands of the rules, as results of one device need not be made
    again on another.

    Args:
        config: as Snakemake has merged it.
        gpus: the resource ``gpu`` of the run, 0 if it is not given.

    Raises:
        PlanError: another device.
    """
    name = config.get("device", "cuda" if gpus else os.environ.get(DEVICE, "cpu"))
    if name not in DEVICES:
        raise PlanError(f"device: got {name!r}, expected {' or '.join(DEVICES)}.")
    os.environ[DEVICE] = name
    return str(name)


class Plan:
    """What the rules need to know about the jobs of a run.

    Attributes:
        tier: name of the tier.
        results: results directory.
        config: configuration file for the jobs; None for the project's own.
    """

    def __init__(self, content: Json, results: Path, config: Path | None = None) -> None:
        self.tier, self.results, self.config = content["tier"], results, config
        self._stages: Json = content["stages"]

    @classmethod
    def of(cls, config: Mapping[str, Any], given: Sequence[Source | Path] = ()) -> "Plan":
        """The plan of a configuration as Snakemake has merged it, with the keys :data:`OF_RUN`.

        Args:
            config: the whole.
            given: files and values that are merged into the project's configuration, to name in messages.

        Raises:
            PlanError: the configuration is invalid; one line per finding.
        """
        own = resolved({key: value for key, value in config.items() if key not in OF_RUN})
        key = _key(own)
        path = PLANS / f"{key}.json"
        out = config.get("out", "")
        if isinstance(out, bool) or set("{}\n") & set(str(out)):
            raise PlanError(f"out: got {out!r}, expected a directory without braces in its name")
        if not path.is_file():
            _make(own, path, [str(each) if isinstance(each, Path) else each for each in given])
        content = json.loads(path.read_text(encoding="utf-8"))
        for file in (path, path.with_suffix(GIVEN)):  # in use, so not among the oldest
            if file.is_file():
                os.utime(file)
        for_jobs = None if content["registered"] else path.with_suffix(GIVEN)
        return cls(content, Path(str(out) or content["results"]), for_jobs)

    @property
    def options(self) -> str:
        """Options of the command line that tell a job of which run it is, but where the results are."""
        given = ["--config", str(self.config)] if self.config else []
        return shlex.join(["--tier", self.tier, *given])

    def names(self, stage: str) -> list[str]:
        """Names of the jobs of a stage."""
        return list(self._stages[stage]["jobs"])

    def outputs(self, stage: str) -> dict[str, str]:
        """Patterns of the files that a stage writes, by key."""
        return {key: f"{self.results}/{pattern}" for key, pattern in self._stages[stage]["outputs"].items()}

    @property
    def stages(self) -> list[str]:
        """Names of all stages."""
        return list(self._stages)

    def files(self, stage: str, name: str) -> list[str]:
        """Files that a job of a stage writes."""
        return self._written([stage, name])

    def all_outputs(self, stage: str) -> list[str]:
        """Files that all jobs of a stage write."""
        return [file for name in self.names(stage) for file in self.files(stage, name)]

    def inputs(self, stage: str) -> Callable[[Any], dict[str, list[str]]]:
        """The files that a job reads, by key, as a function of its wildcards."""

        def of_job(wildcards: Any) -> dict[str, list[str]]:
            found = self._job(stage, wildcards)["inputs"]
            return {key: self._files(references) for key, references in found.items()}

        return of_job

    def params(self, stage: str) -> dict[str, Callable[..., str]]:
        """Digests of what a job does and of the code it runs, and where its results are, as functions for a rule."""

        def digest(key: str) -> Callable[[Any], str]:
            return lambda wildcards: str(self._job(stage, wildcards)[key])

        return {key: digest(key) for key in ("spec", "source")} | {"out": lambda _, output: self.directory(output[0])}

    def directory(self, file: str) -> str:
        """The directory of all results, by one of its files; that of copies, where Snakemake works on these."""
        if Path(file).is_relative_to(self.results):
            return str(self.results)
        before, name, _ = file.rpartition(f"/{str(self.results).strip('/')}/")
        return f"{before}{name[:-1]}"

    def minutes(self, stage: str, device: str = DEVICES[0]) -> Callable[[Any, int], int]:
        """How long a job may take, trainings on this device, as a function of its wildcards and the attempt.

        Not more than a site allows its jobs; trainings go on in the next attempt.
        """
        longest = _longest()

        def allowed(wildcards: Any, attempt: int) -> int:
            return min(int(self._job(stage, wildcards)["minutes"][device]) * attempt, longest)

        return allowed

    def log(self, stage: str) -> str:
        """Pattern of the log file of a stage."""
        parts = "".join(f"/{{{key}}}" for key in self._stages[stage]["wildcards"])
        return f"{self.results}/logs/{stage}{parts}.log"

    def _job(self, stage: str, wildcards: Any) -> Json:
        keys = self._stages[stage]["wildcards"]
        name = "/".join(wildcards[key] for key in keys) if keys else "all"
        jobs: Json = self._stages[stage]["jobs"]
        if name not in jobs:
            raise PlanError(f"{stage}: got {name!r}, expected a job of the tier {self.tier}.")
        job: Json = jobs[name]
        return job

    def _files(self, references: list[Any]) -> list[str]:
        """Files of references, see :mod:`schemenets.study.stages`."""
        found = (file for each in references for file in ([each] if isinstance(each, str) else self._written(each)))
        return list(dict.fromkeys(found))

    def _written(self, reference: list[str]) -> list[str]:
        stage, name, *keys = reference
        entry = self._stages[stage]
        values = dict(zip(entry["wildcards"], name.split("/"), strict=True)) if entry["wildcards"] else {}
        outputs = entry["outputs"]
        return [f"{self.results}/{outputs[key].format(**values)}" for key in keys or outputs]


def _longest() -> int:
    """Minutes that a job of this cluster may take; no limit without a site file, whose mistakes are told elsewhere."""
    content = yaml.safe_load(SITE.read_text(encoding="utf-8")) if SITE.is_file() else None
    longest = content.get("longest") if isinstance(content, dict) else None
    return longest if isinstance(longest, int) else sys.maxsize


def _key(config: Json) -> str:
    """Hash of everything that a plan depends on."""
    found = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    roots = (PACKAGE, *map(Path, READ))
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".yaml", ".json", ".j2", ".css") and path != SITE:
                found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    for path in sorted(Path("results/tables").glob("*.csv")):  # the report shows them, and forecasts are made of them
        found.update(f"{path}\0".encode() + path.read_bytes())
    return found.hexdigest()[:32]


def _make(config: Json, path: Path, given: Sequence[Any] = ()) -> None:
    """Write a plan, in a separate process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}  # that of a notebook may be missing
    found = subprocess.run(
        [sys.executable, "-m", "schemenets.study.plan", str(path)],
        input=json.dumps([config, given]),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise PlanError(found.stderr.strip())
    _prune()


def _prune() -> None:
    """Remove all plans but the ones that were used last; other processes may do the same at the same time."""
    used = {}
    for plan in PLANS.glob("*.json"):
        with suppress(FileNotFoundError):
            used[plan] = plan.stat().st_mtime
    plans = [plan for plan in used if not plan.name.endswith(GIVEN)]
    for old in sorted(plans, key=lambda plan: used[plan], reverse=True)[KEPT:]:
        old.unlink(missing_ok=True)
        old.with_suffix(GIVEN).unlink(missing_ok=True)


def build(config: Mapping[str, Any], given: Sequence[Any] = ()) -> Json:
    """The content of the plan of a configuration; ``given`` as in :meth:`Plan.of`, with paths as text.

    Raises:
        SchemenetsError: the configuration or the registered claims are invalid.
    """
    from schemenets.study import forecast, schema, stages
    from schemenets.study.config import CONFIG, Study
    from schemenets.study.records.fingerprints import of_stage
    from schemenets.study.records.provenance import digest

    registered = schema.read(CONFIG)  # rejects keys given twice, of which Snakemake keeps the last
    sources = [(str(CONFIG), registered)]
    for each in given:
        name, own = (each, schema.read(Path(each))) if isinstance(each, str) else each
        sources.append((name, resolved(own, config)))
    study = Study.check(config, sources=sources)
    study.check_run()
    content: Json = {
        "tier": study.tier,
        "results": study.results.as_posix(),
        "registered": resolved({**registered, "tier": study.tier}) == config,
        "stages": {},
    }
    minutes = forecast.minutes(study)
    for stage in stages.available():
        jobs = {
            name: {
                "minutes": minutes[stage, name],
                "inputs": stages.references(stage, spec),
                "spec": digest(spec)[:16],
                "source": of_stage(stage, spec)[:16],
            }
            for name, spec in study.specs(stage).items()
        }
        outputs = stages.module(stage).OUTPUTS
        content["stages"][stage] = {"wildcards": stages.wildcards(stage), "outputs": outputs, "jobs": jobs}
    return content


def _main(path: Path) -> int:
    from schemenets import files
    from schemenets.errors import SchemenetsError

    config, given = json.load(sys.stdin)
    try:
        content = build(config, given)
    except SchemenetsError as error:
        print(error, file=sys.stderr)
        return 2
    if not content["registered"]:
        files.atomic_write(path.with_suffix(GIVEN), json.dumps(config))
    files.atomic_write(path, json.dumps(content, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
