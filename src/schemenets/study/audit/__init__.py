"""The audit: are these results whole, consistent, and what the configuration and the code give?

Hashes find what changed after the manifest was written. Everything else is found by computing it again, from the
registered configuration down: records and checkpoints, certificates, tables, verdicts, and networks on fresh signals.
What only training gives (tuning trials, learning curves, times) is kept by hashes and by its places in the tables. So
are measurements that take as long: iterations of fixed points and their gradients, attacks, and repetitions, which
have to stay within what is certified.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from schemenets.errors import SchemenetsError
from schemenets.study.audit import _files, _fresh, _growth, _remedies, _runs, _solvers, _tables
from schemenets.study.audit._findings import Audited, Finding
from schemenets.study.config import CONFIG
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.manifest import records

__all__ = ["Finding", "audit", "run"]
log = logging.getLogger("schemenets")


def run(results: Path, full: bool) -> int:
    """Audit and log one line per finding; exit status 0 if there is none, 1 if there is, 2 if there are no results."""
    for path in (results / "manifest.json", CONFIG):
        if not path.is_file():
            log.error("%s: file is missing; allowed: a results directory, from the directory of the project", path)
            return 2
    findings = 0
    for finding in audit(results, full):
        findings += 1
        log.error("%s", finding)
    log.info("%s: %s", results, f"findings: {findings}" if findings else "no findings")
    return 1 if findings else 0


def audit(results: Path, full: bool = False) -> Iterator[Finding]:
    """All findings about a results directory, with the working directory in that of the project.

    Records made by other code than the present one are no findings; their number is logged.

    Args:
        results: a directory with a ``manifest.json``.
        full: test every checkpoint on fresh signals, not one seed of some jobs.
    """
    try:
        audited = Audited.read(results)
    except (SchemenetsError, LookupError, TypeError, AttributeError) as error:
        yield Finding(results / "manifest.json", f"cannot be used: {error}")
        return
    for check in (_files.check, _runs.check, _growth.check, _remedies.check, _tables.check):
        yield from check(audited)
    yield from _fresh.check(audited, full)
    yield from _solvers.check(audited, full)
    _note_other_code(audited)


def _note_other_code(audited: Audited) -> None:
    made = records(audited.results, audited.study)
    present = {path: of_stage(stage, spec) for path, (stage, spec) in made.items()}
    other = sum(audited.sources.get(path) != source for path, source in present.items())
    if other:
        log.info("notice: %d of %d records were made by other code than the present one", other, len(present))
