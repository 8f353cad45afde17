"""Choose a method's learning rate on validation data, and record every trial."""

import numpy as np

from schemenets import signals, training
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json, _fits, dataset

OUTPUTS = {"trials": "tuning/{method}.json"}
RECORD = "trials"
TRAINS = True
TABLES = {"tuning": ["method", "learning_rate", "chosen", "nothing", "seed", "status", "validation"]}


def specs(study: Study) -> dict[str, Json]:
    """Every method that a job of this tier uses."""
    tuning, own = study.config["tuning"], study.settings["tuning"]
    methods = dict.fromkeys(method for _, method, _ in study.trainings)
    denoisers = {
        method: {
            "architecture": study.tuned_architecture(method).arguments(),
            "task": {"name": "denoising"},
            "dataset": signals.dataset_name(tuning),
            **_trials(study, own),
            **study.training(),
        }
        for method in methods
    }
    solving, problem = study.settings["solvers"], study.config["solvers"]["tuning_problem"]
    solvers = {
        method: {**study.solver_training(method, problem), **_trials(study, solving["tuning"])}
        for methods in solving["problems"].values()
        for method in methods
    }
    return denoisers | solvers


def _trials(study: Study, own: Json) -> Json:
    first = study.config["tuning"]["first_seed"]
    return {"seeds": [first + index for index in range(own["seeds"])], "learning_rates": own["learning_rates"]}


def inputs(spec: Json) -> Json:
    """Training and validation data."""
    return {"data": dataset(spec["dataset"])}


def run(job: Job) -> None:
    """Train at every learning rate and choose the best.

    The best has the best mean over the seeds on validation data. A diverged seed counts as having done nothing. Of
    equals, the smaller learning rate is chosen.
    """
    spec = job.spec
    task = training.task(spec["task"])
    arrays = signals.read(job.results.dataset(spec["dataset"]))
    nothing = task.unlearned(*(arrays[f"validation/{part}"] for part in task.pair))
    learning_rates, seeds = sorted(spec["learning_rates"]), len(spec["seeds"])
    with _fits.fitted(job, learning_rates) as every:
        trials = []
        for index, learning_rate in enumerate(learning_rates):
            runs = every[index * seeds : (index + 1) * seeds]
            values = [nothing if run.outcome is None else run.outcome for run in runs]
            trials.append(
                {
                    "learning_rate": learning_rate,
                    "mean_validation": float(np.mean(values)),
                    "runs": [{"seed": run.seed, "status": run.status, "validation": run.outcome} for run in runs],
                }
            )
        best = best_of(trials, task.larger_is_better)
        job.write_record(
            {
                "method": job.name,
                "learning_rate": best["learning_rate"],
                "at_edge_of_grid": best in (trials[0], trials[-1]),
                "nothing": nothing,
                "trials": trials,
            },
        )


def best_of(trials: list[Json], larger_is_better: bool) -> Json:
    """The best trial, the first of equals."""
    sign = 1 if larger_is_better else -1
    return max(trials, key=lambda trial: sign * trial["mean_validation"])


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run of every trial."""
    return {
        "tuning": [
            {
                "method": method,
                "learning_rate": trial["learning_rate"],
                "chosen": trial["learning_rate"] == record["learning_rate"],
                "nothing": record["nothing"],
                **run,
            }
            for method, record in records.items()
            for trial in record["trials"]
            for run in trial["runs"]
        ]
    }
