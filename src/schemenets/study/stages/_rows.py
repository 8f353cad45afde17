"""What rows of tables share."""

from typing import Any

Json = dict[str, Any]
OF_A_RUN = ["run", "experiment", "method", "size", "seed"]
GROWTH = [
    *("kind", "run", "method", "start", "network", "flux", "tied", "certified", "step", "seed", "n"),
    *("amplification", "bound", "overflow"),
]
# networks and schemes that solve: conditions, errors, iterations, and what is measured of networks only
PLACE = ["condition", "kind", "family", "points", "mesh_width", "tau", "unique", "signals"]
ERRORS = ["relative_error", "residual", "energy_gap"]
ITERATED = ["converged", "iterations", "factor"]
OF_EQUATION = ["moved", "local_radius", "own_error", "from_fas"]
SOLVER_ITERATIONS = ["run", "problem", "method", "seed", *PLACE, *ITERATED, *OF_EQUATION, "operations", *ERRORS]


def of_run(job: str, seed: int) -> Json:
    """The columns that identify the run: one seed of a training job.

    >>> of_run("capacity/resnet-relu/budget-240", 3)["run"]
    'capacity/resnet-relu/budget-240/seed-3'
    """
    experiment, method, size = job.split("/")
    return dict(zip(OF_A_RUN, (f"{job}/seed-{seed}", experiment, method, size, seed), strict=True))


def of_solver(job: str, seed: int) -> Json:
    """The same for a network that solves a problem: the problem instead of experiment and size."""
    row = of_run(job, seed)
    problem = row["experiment"].partition("_")[2]
    return {"run": row["run"], "problem": problem, "method": row["method"], "seed": seed}
