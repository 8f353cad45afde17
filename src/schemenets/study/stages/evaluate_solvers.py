"""Test the networks of one job that solve a problem: errors, iterations, fixed points, certificates."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from schemenets import multigrid, networks, signals
from schemenets.multigrid.data import conditions
from schemenets.study.config import Study
from schemenets.study.measurements import solving
from schemenets.study.measurements.flops import counted_step
from schemenets.study.stages import Job, Json, _trained, dataset
from schemenets.study.stages._rows import ERRORS, ITERATED, OF_EQUATION, PLACE, SOLVER_ITERATIONS, of_solver

OUTPUTS = {"solutions": "runs/{experiment}/{method}/{size}/solutions.json"}
RECORD = "solutions"
OF_A_RUN = ["run", "problem", "method", "seed"]
CERTIFIED = ["condition", "points", "tau", "radius", "radius_dense", "energy_norm", "holds"]
TABLES = {
    "solver_errors": [*OF_A_RUN, "status", *PLACE, *ERRORS],
    "solver_iterations": SOLVER_ITERATIONS,
    "solver_certificates": [*OF_A_RUN, *CERTIFIED],
}


def specs(study: Study) -> dict[str, Json]:
    """Every job that trains networks to solve a problem."""
    problems = study.specs("problems")
    return {name: {**spec, "data": problems[spec["dataset"]]} for name, spec in study.solvers.items()}


def inputs(spec: Json) -> Json:
    """The trained networks, and right-hand sides with solutions."""
    return {"trained": ("train", spec["job"]), "data": dataset(spec["dataset"])}


def run(job: Job) -> None:
    """Write what was measured under every condition, in double precision; null for diverged seeds."""
    trained = _trained.read(job.results, job.name)
    seeds = list(trained.networks)
    sound = [seeds.index(seed) for seed in trained.sound]
    nets: list[Any] = [network.double() for network in trained.sound.values()]
    stacked: Any = networks.stack(nets) if nets else None
    arrays = signals.read(job.results.dataset(job.spec["dataset"]))

    def spread(measured: Mapping[str, np.ndarray]) -> dict[str, list[float | None]]:
        """The values of sound runs at their places; null elsewhere and where they are not finite."""
        placed: dict[str, list[float | None]] = {key: [None] * len(seeds) for key in measured}
        for key, values in measured.items():
            for index, value in zip(sound, values.tolist(), strict=True):
                placed[key][index] = value if np.isfinite(value) else None
        return placed

    tested: list[Json] = []
    iterated: list[Json] = []
    for condition in conditions(job.spec["data"]) if nets else ():
        b, x = solving.pair(arrays, condition)
        measured = spread(solving.tested(stacked, condition, b, x))
        tested.append(solving.described(condition, len(b)) | measured)
        if condition.kind in solving.kinds_iterated(nets[0]):
            few = slice(solving.FEW)
            step = partial(nets[0].cycle, grid=condition.grid) if _is_cycle(nets[0]) else nets[0].cycle
            place = solving.described(condition, len(b[few])) | {"operations": counted_step(step, b[:1], b[:1])}
            iterated.append(place | spread(solving.iterated(stacked, nets, condition, b[few], x[few])))
    job.write_record(
        {
            "job": job.name,
            "seeds": seeds,
            "status": trained.status,
            # an application of several cycles is more than one iteration
            "cycles": job.spec["architecture"].get("cycles") or job.spec["architecture"].get("blocks"),
            "conditions": tested,
            "iterations": iterated,
            "certificates": _certificates(trained.sound, job.spec["data"]),
        },
    )


def _is_cycle(network: Any) -> bool:
    return isinstance(network, multigrid.CycleNetwork)


def _certificates(sound: Mapping[int, Any], data: Json) -> list[Json]:
    """Certificates of linear cycles, on grids small enough for dense matrices."""
    found = []
    for seed, network in sound.items():
        for condition in conditions(data) if _is_cycle(network) and network.architecture.linear else ():
            if condition.kind in solving.ITERATED and condition.grid.N <= solving.CERTIFIED:
                certificate = multigrid.certify(network.double(), condition.grid.N, condition.grid)
                found.append(
                    {
                        "seed": seed,
                        "condition": condition.name,
                        "points": certificate.length,
                        "tau": condition.grid.problem.tau,
                        "radius": certificate.radius,
                        "radius_dense": certificate.radius_dense,
                        "energy_norm": certificate.energy_norm,
                        "holds": certificate.holds,
                    }
                )
    return found


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run under every condition."""
    every = [
        (job, record, seed, index) for job, record in records.items() for index, seed in enumerate(record["seeds"])
    ]
    return {
        "solver_errors": [
            {
                **of_solver(job, seed),
                "status": record["status"][str(seed)],
                **{key: entry[key] for key in PLACE},
                **{key: entry[key][index] for key in ERRORS},
            }
            for job, record, seed, index in every
            for entry in record["conditions"]
        ],
        "solver_iterations": [row for each in every for row in _iteration_rows(*each)],
        "solver_certificates": [
            {**of_solver(job, seed), **{key: entry[key] for key in CERTIFIED}}
            for job, record, seed, _ in every
            for entry in record["certificates"]
            if entry["seed"] == seed
        ],
    }


def _iteration_rows(job: str, record: Json, seed: int, index: int) -> list[Json]:
    tested = {entry["condition"]: {key: entry[key][index] for key in ERRORS} for entry in record["conditions"]}
    unknown = dict.fromkeys(ERRORS)
    return [
        {
            **of_solver(job, seed),
            **{key: entry[key] for key in (*PLACE, "operations")},
            **{key: entry[key][index] for key in (*ITERATED, *OF_EQUATION)},
            **(tested[entry["condition"]] if record["cycles"] == 1 else unknown),
        }
        for entry in record["iterations"]
    ]
