"""Write the report."""

from collections.abc import Mapping
from typing import Any

from schemenets import files
from schemenets.study import report
from schemenets.study.layout import Layout


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``report.html`` from tables, verdicts, figures and records of the tier in ``spec``."""
    files.atomic_write(results.report, report.render(results, spec["tier"], spec["experiments"]))
