"""Test all seeds of one network that solves: errors, iterations to a tolerance, and certificates of linear problems."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemenets import files, networks, signals
from schemenets.fingerprint import of_stage
from schemenets.layout import Layout
from schemenets.provenance import Stopwatch, collect
from schemenets.solvers import CycleNetwork, Grid, certify, iterate
from schemenets.solvers.data import Condition, conditions
from schemenets.solvers.operations import counted_step
from schemenets.stages import _solvers

TOLERANCE, LIMIT = 1e-8, 60  # of the relative residual; most cycles
FEW = 4  # right-hand sides that are iterated
CERTIFIED = 512  # points up to which dense matrices are computed
ITERATED = ("home", "finer", "tau")  # kinds of conditions
AT_ONCE = 4096  # points of all signals of a seed that pass through a network at once


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``evaluation.json`` beside the checkpoints, all values in double precision; of diverged seeds null."""
    stopwatch = Stopwatch()
    trained, dataset = results.job(spec["job"]), results.dataset(spec["dataset"])
    records, nets = zip(*(_solvers.read(trained, spec, seed) for seed in spec["seeds"]), strict=True)
    sound = [index for index, record in enumerate(records) if record["status"] == "ok"]
    arrays = signals.read(dataset)
    made = conditions(spec["data"])
    result: dict[str, Any] = {
        "job": spec["job"],
        "seeds": spec["seeds"],
        "checkpoints_sha256": [record["checkpoint_sha256"] for record in records],
        "conditions": [],
        "iterations": [],
        "certificates": [],
    }
    stacked: Any = networks.stack([nets[index] for index in sound]) if sound else None
    cycles = spec["learner"] == "cycle"

    def spread(measured: Mapping[str, np.ndarray]) -> dict[str, list[float | None]]:
        """The values of the sound runs at their places, null elsewhere and where they are not finite."""
        placed: dict[str, list[float | None]] = {key: [None] * len(records) for key in measured}
        for key, values in measured.items():
            for index, value in zip(sound, values.tolist(), strict=True):
                placed[key][index] = value if np.isfinite(value) else None
        return placed

    for condition in made if stacked is not None else ():
        b, x = pair(arrays, condition)
        result["conditions"].append(described(condition, len(b)) | spread(tested(stacked, condition, b, x)))
        # without fixed points there is nothing to converge to, which one grid is enough to show
        if cycles and condition.kind in (ITERATED if stacked.architecture.consistent else ITERATED[:1]):
            few, one = b[:FEW], b[:1]
            step = partial(nets[sound[0]].cycle, grid=condition.grid)
            of_step = {"operations": counted_step(step, one, one)}
            measured = spread(_iterated(stacked, condition, few))
            result["iterations"].append(described(condition, len(few)) | of_step | measured)
    if cycles and nets[0].architecture.linear:
        for index in sound:
            for condition in made:
                if condition.kind in ITERATED and condition.grid.N <= CERTIFIED:
                    found = certify(nets[index], condition.grid.N, condition.grid)
                    result["certificates"].append(
                        {
                            "seed": spec["seeds"][index],
                            "condition": condition.name,
                            "points": found.length,
                            "tau": condition.grid.problem.tau,
                            "radius": found.radius,
                            "radius_dense": found.radius_dense,
                            "energy_norm": found.energy_norm,
                            "holds": found.holds,
                        }
                    )
    data = {dataset.name: files.sha256(dataset)}
    result["provenance"] = collect(stopwatch, spec=spec, source=of_stage("solver_evaluate", spec), data=data)
    files.write_json(trained / "evaluation.json", result)


def pair(arrays: Mapping[str, np.ndarray], condition: Condition) -> tuple[Tensor, Tensor]:
    """Right-hand sides and solutions of a condition, from the arrays of its data set."""
    b, x = (torch.from_numpy(arrays[f"{condition.name}/{part}"]) for part in ("b", "x"))
    return b, x


def tested(stacked: torch.nn.Module, condition: Condition, b: Tensor, x: Tensor) -> dict[str, np.ndarray]:
    """Means over the right-hand sides, for every seed, after one application of stacked networks.

    Returns:
        ``relative_error``: ‖y - x‖/‖x‖, NaN where x need not be the only solution; ``residual``: ‖b - A(y)‖/‖b‖;
        ``energy_gap``: E(y) - E(x) over that of the start of the iterations. Each of shape (seeds,).
    """
    grid, seeds = condition.grid, len(next(stacked.parameters()))
    with torch.inference_mode():
        parts = b.split(max(1, AT_ONCE // grid.N))
        y = torch.cat([applied(stacked, part.expand(seeds, *part.shape), grid) for part in parts], 1)
        return {key: values.mean(-1).numpy() for key, values in measures(y, b, x, grid).items()}


def measures(y: Tensor, b: Tensor, x: Tensor, grid: Grid) -> dict[str, Tensor]:
    """The same for every right-hand side, of approximations y (..., N) of solutions x."""
    gap = (grid.energy(y, b) - grid.energy(x, b)) / (grid.energy(grid.start(b), b) - grid.energy(x, b))
    errors = (y - x).norm(dim=-1) / x.norm(dim=-1)
    return {
        "relative_error": errors if grid.unique else torch.full_like(errors, torch.nan),
        "residual": (b - grid(y)).norm(dim=-1) / b.norm(dim=-1),
        "energy_gap": gap,
    }


def applied(stacked: Any, b: Tensor, grid: Grid) -> Tensor:
    """What networks make of right-hand sides; cycles are told the problem, others know that of their training."""
    if not isinstance(stacked, CycleNetwork):
        y: Tensor = stacked(b)
        return y
    x = grid.start(b)
    for _ in range(stacked.architecture.cycles):
        x = stacked.cycle(x, b, grid)
    return x


def _iterated(stacked: Any, condition: Condition, b: Tensor) -> dict[str, np.ndarray]:
    """For every seed the share of b that reach the tolerance, the most cycles to it, and the worst factor."""
    grid, many = condition.grid, b.expand(len(next(stacked.parameters())), *b.shape)
    found = iterate(lambda x, b: stacked.cycle(x, b, grid), grid, many, grid.start(many), TOLERANCE, LIMIT)
    return {
        "converged": found.iterations.isfinite().double().mean(1).numpy(),
        "iterations": found.iterations.amax(1).numpy(),  # NaN if one did not reach it
        "factor": found.factor.amax(1).numpy(),
    }


def described(condition: Condition, count: int) -> dict[str, Any]:
    grid = condition.grid
    return {
        "condition": condition.name,
        "kind": condition.kind,
        "family": condition.family,
        "points": grid.N,
        "mesh_width": grid.h,
        "tau": grid.problem.tau,
        "unique": grid.unique,
        "signals": count,
    }
