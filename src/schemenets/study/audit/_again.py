"""Jobs that run again: data sets are generated from the configuration, what was measured on them is measured anew."""

import logging
import math
from collections.abc import Iterator

import numpy as np

from schemenets import files
from schemenets.progress import Progress
from schemenets.study import stages
from schemenets.study.audit import checks
from schemenets.study.audit._findings import Audited, Finding, guarded
from schemenets.study.audit._records import place
from schemenets.study.records import manifest
from schemenets.study.stages import Job

SAMPLE = 8  # jobs of each stage, at most, unless the audit is full
log = logging.getLogger("schemenets")


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about data sets that are needed, and about the jobs of a sample or all jobs."""
    found = [(again, job) for stage, again in checks.functions("again").items() for job in _chosen(audited, stage)]
    progress = Progress("audit with fresh data", len(found), "jobs")
    for done, (again_job, job) in enumerate(found, start=1):
        for each in _datasets(audited, job):
            yield from guarded(each.output("signals"), _generated(audited, each))
        yield from guarded(place(job), again_job(audited, job))
        progress.update(done, f"{job.stage} {job.name}")


def _chosen(audited: Audited, stage: str) -> list[Job]:
    jobs = audited.jobs(stage)
    return jobs if audited.full else jobs[:: max(1, math.ceil(len(jobs) / SAMPLE))]


def _datasets(audited: Audited, job: Job) -> Iterator[Job]:
    """The jobs that make the data sets that a job reads, each after those that it reads itself."""
    for found in stages.references(job.stage, job.spec).values():
        for stage, name in (each[:2] for each in found if not isinstance(each, str)):
            if manifest.is_data(stage):
                own = Job(stage, name, audited.study.specs(stage)[name], audited.results)
                yield from _datasets(audited, own)
                yield own


def _generated(audited: Audited, job: Job) -> Iterator[Finding]:
    """Generate a data set, unless it is there, and compare it with what the records were made from."""
    path = audited.fresh.file(job.stage, job.name, "signals")
    if path.is_file():
        return
    stages.run(job.stage, job.name, job.spec, audited.fresh)
    name = path.relative_to(audited.fresh.root).as_posix()
    if (actual := files.sha256(path)) != (expected := audited.sha256(name)):
        problem = f"SHA-256: got {expected} in the records, expected {actual}, as generated again"
        arrays, _ = files.read_safetensors(path)
        if all(array.dtype == np.float32 for array in arrays.values()):
            yield Finding(job.output("signals"), problem)
        else:  # single precision hides the rounding of another machine, double precision does not
            log.info("notice: %s: %s; another machine's rounding may be the reason", job.output("signals"), problem)
