"""Numerical schemes: their steps again."""

from collections.abc import Iterator

from schemenets import files
from schemenets.study.audit._findings import Audited, Finding, difference
from schemenets.study.stages import Job


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All schemes on all evolutions."""
    path, written = job.output("schemes"), audited.run_again(job)
    stored, found = ({"rows": files.read_json(each)["rows"]} for each in (path, written["schemes"]))
    yield from difference(path, stored, found, "the schemes give", relative=1e-9)
