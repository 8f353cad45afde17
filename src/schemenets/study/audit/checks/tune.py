"""Tuning: the configured trials, and the best of them."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from schemenets import files, training
from schemenets.study.audit._findings import Audited, Finding, disagreement
from schemenets.study.stages import Job
from schemenets.study.stages.tune import best_of, search


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the trials are those of the specification, and the choice follows from them."""
    spec, path = job.spec, job.output("trials")
    record = files.read_json(path)
    trials, nothing, seeds = record["trials"], record["nothing"], [{"seed": seed} for seed in spec["seeds"]]
    larger_is_better, grid = training.task(spec["task"]).larger_is_better, sorted(spec["learning_rates"])
    means, tried = {trial["learning_rate"]: trial["mean_validation"] for trial in trials}, set[float]()
    with suppress(KeyError):  # the search along the grid, up to a rate without a recorded value
        search(grid, tried.update, means.__getitem__, larger_is_better, spec["flat"])
    asked = [{"learning_rate": rate, "runs": seeds} for rate in sorted(tried)]
    expected = {"name": job.name, "size": spec["size"], "trials": asked}
    yield from disagreement(path, record, expected, "the configuration and the search along the grid say")
    values = [[nothing if run["validation"] is None else run["validation"] for run in x["runs"]] for x in trials]
    best = best_of(trials, larger_is_better)
    expected = {
        "learning_rate": best["learning_rate"],
        "at_edge_of_grid": best["learning_rate"] in (grid[0], grid[-1]),
        "trials": [{"mean_validation": float(np.mean(own))} for own in values],
    }
    yield from disagreement(path, record, expected, "the trials say")
