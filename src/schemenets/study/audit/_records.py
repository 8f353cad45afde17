"""The records: made for the present specification, from the files that are there; and what they hold."""

import logging
from collections.abc import Iterator
from pathlib import Path

from schemenets import files
from schemenets.progress import Progress
from schemenets.study import stages
from schemenets.study.audit import checks
from schemenets.study.audit._findings import Audited, Finding, Json, disagreement, guarded
from schemenets.study.records import manifest
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import digest
from schemenets.study.stages import Job

log = logging.getLogger("schemenets")


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about the provenance of every record."""
    for stage, _, spec, path in manifest.records(audited.results, audited.study):
        if path.is_file():  # else that is a finding already
            yield from guarded(path, _provenance(audited, stage, spec, path))


def _provenance(audited: Audited, stage: str, spec: Json, path: Path) -> Iterator[Finding]:
    names = (name for found in stages.input_files(stage, spec).values() for name in found)
    expected = {"config_sha256": digest(spec), "inputs_sha256": {name: audited.sha256(name) for name in names}}
    record = files.read_json(path)
    yield from disagreement(path, record, {"provenance": expected}, "configuration and manifest say")


def check_stages(audited: Audited) -> Iterator[Finding]:
    """Findings of the stages' own checks about what was stored."""
    found = [(check, job) for stage, check in checks.functions("check").items() for job in audited.jobs(stage)]
    progress = Progress("audit", len(found), "jobs")
    for done, (check_job, job) in enumerate(found, start=1):
        yield from guarded(place(job), check_job(audited, job))
        progress.update(done, f"{job.stage} {job.name}")


def place(job: Job) -> Path:
    """What a finding is about if a check cannot go on: the job's record, or the directory of its files."""
    written = job.results.files(job.stage, job.name).values()
    return next((path for path in written if path.suffix == ".json"), next(iter(written)).parent)


def note_other_code(audited: Audited) -> None:
    """Log how many records were made by other code."""
    records = list(manifest.records(audited.results, audited.study))
    listed = audited.manifest["files"]
    made = [
        listed.get(path.relative_to(audited.results.root).as_posix(), {}).get("source_sha256") == of_stage(stage, spec)
        for stage, _, spec, path in records
    ]
    if other := made.count(False):
        log.info("notice: %d of %d records were made by other code than the present one", other, len(made))
