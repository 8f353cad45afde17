"""Generate right-hand sides of one problem and solve them, for solvers to be trained and tested on."""

from collections.abc import Mapping
from typing import Any

from schemenets import files
from schemenets.multigrid import data
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write the data set ``spec`` with its record beside it, in the format of :func:`schemenets.signals.read`."""
    stopwatch = Stopwatch()
    path = results.dataset(spec["dataset"])
    arrays, known = data.generate(spec)
    files.write_safetensors(path, arrays)
    provenance = collect(stopwatch, spec=spec, source=of_stage("problems", spec), data={})
    record = {"spec": dict(spec), "sha256": files.sha256(path), **known, "provenance": provenance}
    files.write_json(path.with_suffix(".json"), record)
