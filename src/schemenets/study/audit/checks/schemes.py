"""Numerical schemes: their steps once more."""

from collections.abc import Iterator

from schemenets import files
from schemenets.study.audit._findings import Audited, Finding, difference
from schemenets.study.stages import Job


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All schemes on all evolutions."""
    path = job.output("schemes")
    stored, found = ({"rows": record["rows"]} for record in (files.read_json(path), audited.run_again(job)))
    yield from difference(path, stored, found, "the schemes give", relative=1e-9)
