"""Generate one data set: its signals, and beside them its record with hashes."""

from collections.abc import Mapping
from typing import Any

from schemenets import signals
from schemenets.study.layout import Layout


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write the data set ``spec`` (see :func:`schemenets.signals.generate`)."""
    signals.write(spec, results.dataset(signals.dataset_name(spec)))
