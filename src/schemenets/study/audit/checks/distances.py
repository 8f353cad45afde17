"""Distances of data sets: the same again."""

from collections.abc import Iterator

from schemenets import files
from schemenets.study.audit._findings import Audited, Finding, difference
from schemenets.study.stages import Job


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All pairs."""
    path, written = job.output("distances"), audited.run_again(job)
    stored, found = ({"rows": files.read_json(each)["rows"]} for each in (path, written["distances"]))
    yield from difference(path, stored, found, "the signals give", relative=1e-9)
