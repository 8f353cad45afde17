"""The audit: are these results whole, consistent, and what the configuration and the code give?

Hashes find what changed after the manifest was written. Everything else is found by computing it again, from the
registered configuration down. What holds for all stages follows from their declarations: which files there are, what
each was made from and for which specification, and what tables and verdicts follow. What only one stage's results can
be checked for is in the module of its name in :mod:`schemenets.study.audit.checks`.

What only training gives (trials, learning curves, times) is kept by hashes and by its places in the tables. So are
measurements that take as long: iterations of fixed points and their gradients, attacks, and repetitions, which have to
stay within what is certified.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from schemenets.errors import SchemenetsError
from schemenets.study.audit import _files, _jobs
from schemenets.study.audit._findings import Audited, Finding, guarded
from schemenets.study.config import CONFIG
from schemenets.study.layout import Layout

__all__ = ["Finding", "audit", "run"]
log = logging.getLogger("schemenets")


def run(results: Path, full: bool) -> int:
    """Audit and log one line per finding; exit status 0 if there is none, 1 if there is, 2 if there are no results."""
    for path in (Layout(results).manifest, CONFIG):
        if not path.is_file():
            log.error("%s: file is missing; expected a results directory, and the project's as working directory", path)
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
        full: run every job again that can be, not some of each stage.
    """
    with TemporaryDirectory() as fresh:
        try:
            audited = Audited.read(results, Path(fresh), full)
        except (SchemenetsError, LookupError, TypeError, AttributeError) as error:
            yield Finding(Layout(results).manifest, f"cannot be used: {error}")
            return
        wrong = [*_files.check(audited), *_jobs.provenance(audited)]
        yield from wrong
        described = audited.results.manifest
        if not wrong:  # else every change would be told twice
            yield from guarded(described, _files.check_manifest(audited))
        yield from guarded(audited.results.crate, _files.check_crate(audited))
        yield from guarded(described, _files.check_configuration(audited))
        yield from _jobs.check(audited)
        _jobs.note_other_code(audited)
