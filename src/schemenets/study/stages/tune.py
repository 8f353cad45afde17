"""Choose a method's learning rate on validation data; publish every trial."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemenets import files, signals
from schemenets.metrics import psnr
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _fits


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Train at every learning rate of ``spec`` and choose the best.

    The best has the highest PSNR on the validation signals, averaged over the seeds; a diverged seed counts as
    having done nothing, with the PSNR of the noisy signals. Of equals the smaller learning rate is chosen.
    """
    stopwatch = Stopwatch()
    dataset = results.dataset(spec["dataset"])
    data = {dataset.name: files.sha256(dataset)}
    source = of_stage("tune", spec)
    arrays = signals.read(dataset)
    noisy = float(psnr(arrays["validation/noisy"], arrays["validation/clean"]).mean())
    learning_rates, seeds = sorted(spec["learning_rates"]), len(spec["seeds"])
    state = _fits.state_file(results.resume, spec, learning_rates, source, data)
    every = _fits.fit(spec, learning_rates, arrays, state, f"tuning/{spec['method']}")
    trials = []
    for index, learning_rate in enumerate(learning_rates):
        runs = every[index * seeds : (index + 1) * seeds]
        values = [noisy if run.outcome is None else run.outcome for run in runs]
        trials.append(
            {
                "learning_rate": learning_rate,
                "mean_validation_psnr": float(np.mean(values)),
                "runs": [{"seed": run.seed, "status": run.status, "validation_psnr": run.outcome} for run in runs],
            }
        )
    best = max(trials, key=lambda trial: trial["mean_validation_psnr"])  # the first, hence smallest, of equals
    result = {
        "method": spec["method"],
        "learning_rate": best["learning_rate"],
        "at_edge_of_grid": best in (trials[0], trials[-1]),
        "noisy_psnr": noisy,
        "trials": trials,
        "provenance": collect(stopwatch, spec=spec, source=source, data=data),
    }
    files.write_json(results.tuned(spec["method"]), result)
    _fits.forget(state)
