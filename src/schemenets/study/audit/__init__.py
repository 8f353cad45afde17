"""The audit: are these results complete and consistent, and do configuration and code give them?

Hashes show what changed after the manifest was written. Computing again shows everything else, starting from the
registered configuration. The checks that all stages share follow from their declarations: which files exist, what each
was made from and for which specification, and which tables, learning rates and verdicts follow. The checks of a single
stage are in the module of its name in :mod:`schemenets.study.audit.checks`.

Only hashes and tables protect what training alone gives: trials, learning curves, times, the PSNR in cells of the map.
The same holds for measurements that take as long: fixed-point iterations and their gradients, attacks, and repetitions.
Repetitions must also stay within their certified bounds.
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
            log.error("%s: file is missing; expected a results directory, and to run in the project's directory", path)
            return 2
    findings = 0
    for finding in audit(results, full):
        findings += 1
        log.error("%s", finding)
    log.info("%s: %s", results, f"findings: {findings}" if findings else "no findings")
    return 1 if findings else 0


def audit(results: Path, full: bool = False) -> Iterator[Finding]:
    """All findings about a results directory; the working directory must be the project's.

    Records made by other code than the present are not findings; their number is logged.

    Args:
        results: a directory with a ``manifest.json``.
        full: rerun every job that can be rerun, not a sample of each stage.
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
        if not wrong:  # else every change would be reported twice
            yield from guarded(described, _files.check_manifest(audited))
        yield from guarded(audited.results.crate, _files.check_crate(audited))
        yield from guarded(described, _files.check_configuration(audited))
        yield from _jobs.check(audited)
        _jobs.note_other_code(audited)
