"""Train all seeds of one job; write one record, and the weights of all seeds."""

from schemenets import checkpoints, files, networks
from schemenets.multigrid import Problem
from schemenets.study.config import SOLVE, Study, training_set
from schemenets.study.measurements.flops import counted
from schemenets.study.stages import Job, Json, _fits, dataset
from schemenets.study.stages._rows import of_run, of_solver

OUTPUTS = {
    "record": "runs/{experiment}/{method}/{size}/record.json",
    "weights": "runs/{experiment}/{method}/{size}/weights.safetensors",
}
RECORD = "record"
TRAINS = True
ARCHITECTURE = ["flux", "blocks", "filters", "kernel_size", "tied", "certified"]
TRAINING = ["learning_rate", "epochs", "batch"]
TABLES = {
    "runs": [
        *("run", "experiment", "method", "size", "seed", "network", *ARCHITECTURE, "channels"),
        *("parameters", "convolution_weights", "dataset", *TRAINING, "status", "validation_psnr"),
    ],
    "curves": ["run", "experiment", "method", "size", "seed", "epoch", "validation", "measure"],
    "solver_runs": [
        *("run", "problem", "method", "seed", "network", "parameters", "operations"),
        *("consistent", "points", "dataset", *TRAINING, "status", "validation_error"),
    ],
}


def specs(study: Study) -> dict[str, Json]:
    """Every method at every size of every experiment of the tier, and every method for every problem."""
    return _denoisers(study) | _solvers(study)


def _denoisers(study: Study) -> dict[str, Json]:
    found = {}
    for (experiment, method, size), seeds in study.trainings.items():
        entry = study.config["experiments"][experiment]
        rate = study.rate_name(experiment, method, size)
        found[f"{experiment}/{method}/{size}"] = {
            **{"experiment": experiment, "method": method, "size": size},
            "architecture": study.architecture(method, size, experiment).arguments(),
            "task": {"name": "denoising"},
            "dataset": training_set(entry),
            "seeds": seeds,
            "rate": rate,
            **study.rate(rate),
            **({} if "time" in entry else study.drawn(experiment)),
            **study.training(entry.get("training_length", 1)),
        }
    return found


def _solvers(study: Study) -> dict[str, Json]:
    found = {}
    for problem, methods in sorted(study.settings["solvers"]["problems"].items()):
        for method in methods:
            place = {"experiment": f"{SOLVE}{problem}", "method": method, "size": f"points-{study.points}"}
            rate = study.solver_rate_name(method, problem)
            found["/".join(place.values())] = {
                **place,
                **study.solver_training(method, problem),
                "seeds": study.solver_seeds,
                "rate": rate,
                **study.rate(rate),
            }
    return found


def inputs(spec: Json) -> Json:
    """The data set, and the tuning of the learning rate if that is not frozen."""
    tuned = {} if "learning_rate" in spec else {"tuning": ("tune", spec["rate"])}
    return {"data": dataset(spec["dataset"]), **tuned}


def run(job: Job) -> None:
    """Train at the frozen or tuned learning rate."""
    spec = job.spec
    tuned = {} if "learning_rate" in spec else files.read_json(job.results.file("tune", spec["rate"], "trials"))
    learning_rate = (spec | tuned)["learning_rate"]
    count = networks.architecture(spec["architecture"]).count()
    data = files.read_json(job.results.dataset(spec["dataset"]).with_suffix(".json"))["spec"]
    with _fits.fitted(job, [learning_rate]) as runs:
        checkpoints.save_all({run.seed: run.network for run in runs}, job.output("weights"))
        record = {
            "job": job.name,
            **{key: spec[key] for key in ("experiment", "method", "size", "task", "architecture")},
            "parameters": count.total,
            "convolution_weights": count.convolution,
            "dataset": spec["dataset"],
            "data_seed": data["seed"],
            "training": {"learning_rate": learning_rate, **{key: spec[key] for key in ("epochs", "batch")}},
            "training_signals": spec.get("draws", {}).get("train", data.get("train")),
            "runs": [
                {
                    "seed": run.seed,  # of the initial weights and of the shuffling
                    "status": run.status,
                    "diverged_at_step": run.diverged_at,
                    "validation": run.outcome,
                    "validation_by_epoch": run.curve,
                }
                for run in runs
            ],
            "weights_sha256": files.sha256(job.output("weights")),
        }
        if spec["task"]["name"] == "solving":
            points = data["length"] - (not spec["task"]["problem"]["screened"])
            record["points"] = points
        job.write_record(record)


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run, and what was measured on validation data after every epoch."""
    made: dict[str, list[Json]] = {name: [] for name in TABLES}
    for job, record in records.items():
        solves = record["task"]["name"] == "solving"
        for entry in record["runs"]:
            made["solver_runs" if solves else "runs"].append((_solver if solves else _denoiser)(job, record, entry))
            curve = _validation(record, entry["validation_by_epoch"])
            measure = "relative_error" if solves else "psnr"
            made["curves"] += [
                {**of_run(job, entry["seed"]), "epoch": epoch, "validation": value, "measure": measure}
                for epoch, value in enumerate(curve, start=1)
            ]
    return made


def _denoiser(job: str, record: Json, entry: Json) -> Json:
    architecture = record["architecture"]
    return {
        **of_run(job, entry["seed"]),
        "network": architecture["name"],
        **{key: architecture[key] for key in ARCHITECTURE},
        "channels": architecture.get("channels", 1),
        **{key: record[key] for key in ("parameters", "convolution_weights", "dataset")},
        **record["training"],
        "status": entry["status"],
        "validation_psnr": entry["validation"],
    }


def _solver(job: str, record: Json, entry: Json) -> Json:
    architecture = networks.architecture(record["architecture"])
    return {
        **of_solver(job, entry["seed"]),
        "network": architecture.name,
        "parameters": record["parameters"],
        "operations": counted(architecture.build(), record["points"]),  # the same for all weights
        "consistent": architecture.consistent,
        **{key: record[key] for key in ("points", "dataset")},
        **record["training"],
        "status": entry["status"],
        "validation_error": _validation(record, [entry["validation"]])[0],
    }


def _validation(record: Json, values: list[float | None]) -> list[float | None]:
    """These values; None for errors where the solution need not be unique."""
    task = record["task"]
    several = task["name"] == "solving" and not Problem(**task["problem"]).on(record["points"]).unique
    return [None] * len(values) if several else values
