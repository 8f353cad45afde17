"""Tables that benchmarks write."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from benchmarks.targets import Row
from schemenets import files


def write(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write a table atomically; missing values stay empty."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.atomic_write(path, table.getvalue())
