"""Tables: what the records say."""

from collections.abc import Iterator

from schemenets.study.audit._findings import Audited, Finding, cells, difference
from schemenets.study.stages import Job
from schemenets.study.stages.tables import tables


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """All tables, made again from all records."""
    for name, table in tables(job.results, job.spec).items():
        path = job.output(name)
        if path.is_file():  # else that is a finding already
            stored = cells(path.read_text(encoding="utf-8"))
            yield from difference(path, stored, cells(table.to_csv(index=False)), "the records say")
