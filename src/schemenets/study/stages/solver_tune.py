"""Choose the learning rate of a method that learns to solve, on validation data; publish every trial."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemenets import files, signals
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _fits, _solvers

NOTHING = 1.0  # relative error of having found nothing


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Train at every learning rate of ``spec`` and choose the one with the smallest mean relative error.

    A diverged run counts as having found nothing; of equals the smaller learning rate is chosen.
    """
    stopwatch = Stopwatch()
    dataset = results.dataset(spec["dataset"])
    data = {dataset.name: files.sha256(dataset)}
    source = of_stage("solver_tune", spec)
    learning_rates, seeds = sorted(spec["learning_rates"]), len(spec["seeds"])
    state = _fits.state_file(results.resume, spec, learning_rates, source, data)
    every = _solvers.fit(spec, learning_rates, signals.read(dataset), state, f"tuning/{spec['method']}")
    trials = []
    for index, learning_rate in enumerate(learning_rates):
        runs = every[index * seeds : (index + 1) * seeds]
        errors = [run.outcome for run in runs]
        trials.append(
            {
                "learning_rate": learning_rate,
                "mean_validation_error": float(np.mean([NOTHING if error is None else error for error in errors])),
                "runs": [
                    {"seed": run.seed, "status": run.status, "validation_error": error}
                    for run, error in zip(runs, errors, strict=True)
                ],
            }
        )
    best = min(trials, key=lambda trial: trial["mean_validation_error"])  # the first, hence smallest, of equals
    result = {
        "method": spec["method"],
        "learning_rate": best["learning_rate"],
        "trials": trials,
        "provenance": collect(stopwatch, spec=spec, source=source, data=data),
    }
    files.write_json(results.solver_tuned(spec["method"]), result)
    _fits.forget(state)
