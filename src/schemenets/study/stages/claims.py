"""Compute the verdict of every registered claim."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemenets import files
from schemenets.study import claims, summaries
from schemenets.study.layout import Layout


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``claims.json`` and the tables ``claims`` and ``sensitivity`` from the tables of all measurements."""
    registered, measured = claims.load(Path(spec["registered"])), summaries.read(results)
    result = claims.evaluate(registered, measured)
    tables = {
        "claims": claims.comparison_table(result),
        "sensitivity": claims.sensitivity(registered, measured),
    }
    for name, table in tables.items():
        files.atomic_write(results.table(name), table.to_csv(index=False, lineterminator="\n"))
    files.write_json(results.claims, result)
