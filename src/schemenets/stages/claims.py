"""Compute the verdict of every registered claim."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from schemenets import claims, files
from schemenets.layout import Layout


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``claims.json`` and the tables ``claims`` and ``sensitivity`` from the tables of runs."""
    registered = claims.load(Path(spec["registered"]))
    runs, psnr = (pd.read_csv(results.table(name)) for name in ("runs", "psnr"))
    result = claims.evaluate(registered, runs, psnr)
    tables = {
        "claims": claims.comparison_table(result),
        "sensitivity": claims.sensitivity(registered, runs, psnr),
    }
    for name, table in tables.items():
        files.atomic_write(results.table(name), table.to_csv(index=False, lineterminator="\n"))
    files.write_json(results.claims, result)
