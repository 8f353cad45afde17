"""The jobs of all stages: where records come from, what they hold, and what rerunning jobs gives."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from schemenets import files
from schemenets.progress import Progress
from schemenets.study import stages
from schemenets.study.audit import checks
from schemenets.study.audit._findings import Audited, Finding, Json, cells, difference, disagreement, guarded
from schemenets.study.records import manifest
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import digest
from schemenets.study.stages import Job

SAMPLE = 8  # at most so many jobs of each stage are rerun, unless the audit is full
log = logging.getLogger("schemenets")


def provenance(audited: Audited) -> Iterator[Finding]:
    """Whether every record was made for its specification, and from the files that are there."""
    for stage, _, spec, path in manifest.records(audited.results, audited.study):
        if path.is_file():  # else that is a finding already
            yield from guarded(path, _provenance(audited, stage, spec, path))


def _provenance(audited: Audited, stage: str, spec: Json, path: Path) -> Iterator[Finding]:
    names = (name for found in stages.input_files(stage, spec).values() for name in found)
    expected = {"config_sha256": digest(spec), "inputs_sha256": {name: audited.sha256(name) for name in names}}
    record = files.read_json(path)
    yield from disagreement(path, record, {"provenance": expected}, "configuration and manifest say")


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about what jobs have stored, and about what rerunning a sample or all of them gives."""
    found = [(check, job) for stage, check in checks.functions("check").items() for job in audited.jobs(stage)]
    found += [(derived, job) for stage in filter(is_derived, stages.available()) for job in audited.jobs(stage)]
    found += [(again, job) for stage, again in checks.functions("again").items() for job in chosen(audited, stage)]
    progress = Progress("audit", len(found), "checks of jobs")
    for done, (check_job, job) in enumerate(found, start=1):
        path = next(iter(job.results.files(job.stage, job.name).values()))
        yield from guarded(path, check_job(audited, job))
        progress.update(done, f"{job.stage} {job.name}")
    yield from datasets(audited)


def chosen(audited: Audited, stage: str) -> list[Job]:
    """The jobs of a stage that are rerun."""
    jobs = audited.jobs(stage)
    return jobs if audited.full else jobs[:: max(1, math.ceil(len(jobs) / SAMPLE))]


def is_derived(stage: str) -> bool:
    """Whether a stage only turns other files into numbers and texts, and measures nothing."""
    suffixes = {Path(file).suffix for file in stages.module(stage).OUTPUTS.values()}
    others = stage == "manifest" or stages.has_provenance(stage) or manifest.is_data(stage)
    return not others and suffixes <= {".csv", ".json", ".yaml"}


def derived(audited: Audited, job: Job) -> Iterator[Finding]:
    """Findings from making the files of such a job again."""
    for key, path in audited.run_again(job).items():
        stored = job.output(key)
        if stored.is_file():  # else that is a finding already
            yield from difference(stored, _content(stored), _content(path), "made again")


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return files.read_json(path)
    text = path.read_text(encoding="utf-8")
    return cells(text) if path.suffix == ".csv" else yaml.safe_load(text)


def datasets(audited: Audited) -> Iterator[Finding]:
    """Whether the data sets generated anew are those that the records were made from."""
    for path in sorted((audited.fresh.root / "data").glob("*.safetensors")):
        name = path.relative_to(audited.fresh.root).as_posix()
        if (actual := files.sha256(path)) != (expected := audited.sha256(name)):
            problem = f"SHA-256: got {expected} in the records, expected {actual}, as generated again"
            arrays, _ = files.read_safetensors(path)
            if all(array.dtype == np.float32 for array in arrays.values()):
                yield Finding(audited.results.root / name, problem)
            else:  # single precision hides the rounding of another machine, double precision does not
                log.info("notice: %s: %s; another machine's rounding may be the reason", name, problem)


def note_other_code(audited: Audited) -> None:
    """Log how many records were made by other code."""
    listed, made = audited.manifest["files"], []
    for stage, _, spec, path in manifest.records(audited.results, audited.study):
        entry = listed.get(path.relative_to(audited.results.root).as_posix(), {})
        made.append(entry.get("source_sha256") == of_stage(stage, spec))
    if other := made.count(False):
        log.info("notice: %d of %d records were made by other code than the present one", other, len(made))
