"""Choose a learning rate on validation data, and record every trial."""

import math
import sys
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from schemenets import signals, training
from schemenets.study.config import Study, training_set
from schemenets.study.stages import Job, Json, _fits, dataset

OUTPUTS = {"trials": "tuning/{family}/{method}/{size_class}.json"}
RECORD = "trials"
TRAINS = True
TABLES = {
    "tuning": [
        *("family", "method", "size_class", "size", "learning_rate", "chosen", "at_edge_of_grid", "nothing"),
        *("seed", "status", "validation"),
    ]
}


def specs(study: Study) -> dict[str, Json]:
    """Every learning rate that a job of this tier uses, unless they are frozen."""
    if not study.tunes:
        return {}
    tuning = study.config["tuning"]
    seeds, solver_seeds = ([tuning["first_seed"] + i for i in range(tuning[key])] for key in ("seeds", "solver_seeds"))
    shared = {"flat": tuning["flat"]}
    found: dict[str, Json] = {}
    for name, (experiment, method, size) in study.tuned.items():
        entry = study.config["experiments"][experiment]
        found[name] = {
            "size": size,
            "architecture": study.architecture(method, size, experiment).arguments(),
            "task": {"name": "denoising"},
            "dataset": training_set(entry),
            "learning_rates": study.settings.get("learning_rates", tuning["learning_rates"]),
            "seeds": seeds,
            **shared,
            **({} if "time" in entry else study.drawn(experiment)),
            **study.training(entry.get("training_length", 1)),
        }
    solving = study.settings["solvers"]
    for problem, method in ((name, method) for name, methods in solving["problems"].items() for method in methods):
        found[study.solver_rate_name(method, problem)] = {
            "size": f"points-{study.points}",
            **study.solver_training(method, problem),
            "learning_rates": solving.get("learning_rates", study.config["solvers"]["learning_rates"]),
            "seeds": solver_seeds,
            **shared,
        }
    return found


def inputs(spec: Json) -> Json:
    """The data set."""
    return {"data": dataset(spec["dataset"])}


def run(job: Job) -> None:
    """Train at learning rates from the middle of the grid until the best is not the last that was tried; choose it.

    The best has the best mean over the seeds on validation data. A diverged seed counts as having done nothing. Of
    equals, the smaller learning rate is chosen. The search also ends where the last step along the grid changes less
    than ``flat``, in dB.
    """
    spec = job.spec
    task = training.task(spec["task"])
    arrays = signals.read(job.results.dataset(spec["dataset"]))
    nothing = task.unlearned(*(arrays[f"validation/{part}"] for part in task.pair))
    trials: dict[float, Json] = {}

    grid, seeds = sorted(spec["learning_rates"]), len(spec["seeds"])
    with ExitStack() as states:  # kept until all is stored

        def measure(rates: list[float]) -> None:
            runs = states.enter_context(_fits.fitted(job, rates))
            for index, rate in enumerate(rates):
                own = runs[index * seeds : (index + 1) * seeds]
                values = [nothing if run.outcome is None else run.outcome for run in own]
                trials[rate] = {
                    "learning_rate": rate,
                    "mean_validation": float(np.mean(values)),
                    "runs": [{"seed": run.seed, "status": run.status, "validation": run.outcome} for run in own],
                }

        search(grid, measure, lambda rate: float(trials[rate]["mean_validation"]), task.larger_is_better, spec["flat"])
        tried = [trials[rate] for rate in sorted(trials)]
        best = best_of(tried, task.larger_is_better)
        job.write_record(
            {
                "name": job.name,
                "size": spec["size"],
                "learning_rate": best["learning_rate"],
                "at_edge_of_grid": best["learning_rate"] in (grid[0], grid[-1]),
                "nothing": nothing,
                "trials": tried,
            }
        )


def search(
    grid: list[float],
    measure: Callable[[list[float]], None],
    value: Callable[[float], float],
    larger_is_better: bool,
    flat: float,
) -> None:
    """Measure rates of a grid: three in the middle, then on in the direction of the best until that is inside.

    Args:
        grid: ascending.
        measure: measures these rates.
        value: of a rate that was measured.
        larger_is_better: whether values are in dB; otherwise they are relative errors, compared in dB.
        flat: where the outermost rate is better than the next by no more dB, it counts as inside.
    """
    middle = (len(grid) - 1) // 2
    low, high = max(0, middle - 1), min(len(grid) - 1, middle + 1)
    measure(grid[low : high + 1])
    while True:
        values = [decibels(value(rate), larger_is_better) for rate in grid[low : high + 1]]
        best = low + int(np.argmax(values))
        if best == low > 0 and values[0] > values[1] + flat:
            low -= 1
            measure([grid[low]])
        elif best == high < len(grid) - 1 and values[-1] > values[-2] + flat:
            high += 1
            measure([grid[high]])
        else:
            return


def decibels(value: float, larger_is_better: bool) -> float:
    """A mean PSNR, or a relative error as the ratio of signal and error, in dB.

    >>> decibels(34.5, True), decibels(0.01, False)
    (34.5, 40.0)
    """
    return value if larger_is_better else -20 * math.log10(max(value, sys.float_info.min))


def best_of(trials: list[Json], larger_is_better: bool) -> Json:
    """The best trial, the first of equals."""
    sign = 1 if larger_is_better else -1
    return max(trials, key=lambda trial: sign * trial["mean_validation"])


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run of every trial."""
    return {
        "tuning": [
            {
                **dict(zip(("family", "method", "size_class"), name.split("/"), strict=True)),
                "learning_rate": trial["learning_rate"],
                "chosen": trial["learning_rate"] == record["learning_rate"],
                **{key: record[key] for key in ("size", "at_edge_of_grid", "nothing")},
                **run,
            }
            for name, record in records.items()
            for trial in record["trials"]
            for run in trial["runs"]
        ]
    }
