"""Wall time of solvers: `python -m benchmarks.solvers` times direct solvers, multigrid and networks in turns.

Contenders, all on one thread and on the same right-hand sides, like those of the study's tests:

* banded: ``scipy.linalg.solveh_banded``, factor and solve, on bands prepared before; linear problems;
* newton: the library's Newton method on SciPy's sparse and banded matrices, built anew in every step; other problems;
* pyamg-ruge_stuben, pyamg-smoothed_aggregation: PyAMG's V-cycles with its defaults; linear problems;
* textbook: V(2,2)-cycles with damped Jacobi, iterated;
* cycle-1-iterated: the learned cycle, iterated;
* cycle-1, cycle-3, multigrid-1, multigrid-3, unet-2, unet-4, unet-6: one application of trained networks; only cycles
  run on other grids than that of their training;
* cycle-1-training, cycle-3-training, multigrid-1-training, unet-4-training: a training step of the study, with ten
  networks side by side, per right-hand side and network; with ``-torch``, the same on torch operations.

Iterations end when every right-hand side has a relative residual of 1e-8; a contender that needs more than 60 gets no
time. Newton's method and PyAMG take one right-hand side at a time; they are timed on the first few. Errors are relative
to the solution of the direct solver, after one application or the last iteration; none are given where solutions need
not be unique. Of the seeds of a network, the one with the median validation error is timed.
"""

import argparse
import logging
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pyamg
import scipy.linalg
import scipy.sparse as sp
import torch
from torch import nn

from benchmarks import table, timing
from benchmarks.jobs import RATE
from benchmarks.targets import SEEDS, Row
from schemenets import checkpoints, files, kernels, networks
from schemenets.devices import keep_freed_memory
from schemenets.multigrid import CycleNetwork, Grid, Problem, Solving, iterate
from schemenets.multigrid.data import HOME, Condition, right_hand_sides
from schemenets.progress import Progress
from schemenets.schemes._base import Array
from schemenets.study.config import SOLVE, Study
from schemenets.study.layout import Layout
from schemenets.study.measurements.solving import LIMIT, TOLERANCE
from schemenets.study.stages.solvers import textbook
from schemenets.training import Trainer, Training

POINTS = (64, 256, 1024, 4096)  # one less where the ends are zero
COUNTS = (1, 64)  # right-hand sides solved together
FEW = 2  # of them for solvers that take one at a time
ROUNDS = 2
SLICE = 0.05  # seconds per contender and round, at least
ITERATED = "cycle-1"
ONCE = (ITERATED, "cycle-3", "multigrid-1", "multigrid-3", "unet-2", "unet-4", "unet-6")
TRAINED = (ITERATED, "cycle-3", "multigrid-1", "unet-4")
BATCHES = 4  # of one epoch
AMG = {
    "pyamg-ruge_stuben": pyamg.ruge_stuben_solver,
    "pyamg-smoothed_aggregation": pyamg.smoothed_aggregation_solver,
}
COLUMNS = (
    "problem",
    "points",
    "right_hand_sides",
    "contender",
    "dtype",
    "setup_milliseconds",
    "milliseconds_per_right_hand_side",
    "times_slower_than_banded",
    "iterations",
    "relative_error",
    "machine",
)
Networks = Mapping[str, nn.Module]  # by method


class Contender(NamedTuple):
    """Something to time.

    Attributes:
        run: solutions x (count, N), and the number of iterations: None without iterations, infinite if they do not end.
        dtype: of its numbers.
        setup: work done once for all right-hand sides.
    """

    run: Callable[[], tuple[Array, float | None]]
    dtype: str = "float64"
    setup: Callable[[], object] | None = None


def compared(problem: str, grid: Grid, b: Array, networks: Networks) -> Iterator[Row]:
    """A row for every contender on the right-hand sides b (count, N); the first is the direct solver.

    Errors are distances to its solutions, given only where these are unique.
    """
    contenders = {**direct(grid, b), **classical(grid, b), **learned(grid, b, networks)}
    results = {name: each.run() for name, each in contenders.items()}
    ended = {name: each.run for name, each in contenders.items() if results[name][1] != np.inf}
    calls = seconds_per_call(ended)
    seconds = {name: calls[name] / len(results[name][0]) for name in ended}
    setups = seconds_per_call({name: each.setup for name, each in contenders.items() if each.setup})
    reference = next(iter(contenders))
    for name, each in contenders.items():
        about = {"problem": problem, "points": grid.N, "right_hand_sides": len(b)}
        row = about | {"contender": name.partition(" ")[0], "dtype": each.dtype}
        row["setup_milliseconds"] = 1e3 * setups[name] if name in setups else None
        if name in ended:
            row["milliseconds_per_right_hand_side"] = 1e3 * seconds[name]
            row["times_slower_than_banded"] = seconds[name] / seconds[reference]
            row["iterations"] = results[name][1]
            if name != reference and grid.unique:
                row["relative_error"] = error(results[name][0], results[reference][0])
        yield row


def seconds_per_call(contenders: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The time of every contender."""
    found = timing.seconds({name: timing.turn(run) for name, run in contenders.items()}, ROUNDS, SLICE)
    return {name: time.low for name, time in found.items()}


def error(x: Array, exact: Array) -> float:
    """Mean of ‖x - x*‖/‖x*‖ over the right-hand sides that both have solved."""
    known = min(len(x), len(exact))
    difference = np.linalg.norm(x[:known] - exact[:known], axis=-1)
    return float((difference / np.linalg.norm(exact[:known], axis=-1)).mean())


def matrix(grid: Grid) -> sp.csr_array:
    """A of a linear problem."""
    problem = grid.problem
    return sp.csr_array(problem.sigma * sp.eye_array(grid.N) + problem.tau * grid.diffusion.jacobian(np.zeros(grid.N)))


def direct(grid: Grid, b: Array) -> dict[str, Contender]:
    """Banded matrices for linear problems, Newton's method for others."""
    if not grid.problem.linear:
        return {"newton": Contender(lambda: (np.stack([grid.solve(row) for row in b[:FEW]]), None))}
    A, width = matrix(grid), grid.problem.order
    bands = np.zeros((width + 1, grid.N))
    for offset in range(width + 1):
        bands[width - offset, offset:] = A.diagonal(offset)
    return {"banded": Contender(lambda: (scipy.linalg.solveh_banded(bands, b.T).T, None))}


def classical(grid: Grid, b: Array) -> dict[str, Contender]:
    """Cycles of the textbook, and PyAMG for linear problems."""
    found = {"textbook": Contender(partial(by_cycles, textbook(grid, "V"), grid, b))}
    for name, make in AMG.items() if grid.problem.linear else ():
        setup = partial(make, matrix(grid))
        found[name] = Contender(partial(by_pyamg, setup(), grid, b[:FEW]), setup=setup)
    return found


def learned(grid: Grid, b: Array, networks: Networks) -> dict[str, Contender]:
    """Trained networks, applied once, and the learned cycle iterated as well."""
    found = {}
    for method, network in networks.items():
        if method == ITERATED:
            found[f"{method}-iterated"] = Contender(partial(by_cycles, deepcopy(network).double(), grid, b))
        for dtype in (torch.float64, torch.float32):
            name, sides = str(dtype).removeprefix("torch."), torch.from_numpy(b).to(dtype)
            found[f"{method} {name}"] = Contender(partial(once, deepcopy(network).to(dtype), sides), name)
    return found


def by_cycles(network: Any, grid: Grid, b: Array) -> tuple[Array, float]:
    """Iterated cycles, and how many of them the slowest right-hand side takes."""
    sides = torch.from_numpy(b)
    found = iterate(network.cycle, grid, sides, grid.start(sides), TOLERANCE, LIMIT)
    return found.x.numpy(), float(found.iterations.nan_to_num(np.inf).max())


def by_pyamg(solver: Any, grid: Grid, b: Array) -> tuple[Array, float]:
    """PyAMG's cycles from the same start, and how many of them the slowest right-hand side takes."""
    solutions, most = [], 0.0
    for row in b:
        residuals: list[float] = []
        start = grid.start(torch.from_numpy(row)).numpy()
        solutions.append(solver.solve(row, x0=start, tol=TOLERANCE, maxiter=LIMIT, residuals=residuals))
        ended = residuals[-1] <= TOLERANCE * np.linalg.norm(row)
        most = max(most, len(residuals) - 1 if ended else np.inf)
    return np.stack(solutions), most


def once(network: nn.Module, b: torch.Tensor) -> tuple[Array, None]:
    """One application of a network of the precision of b."""
    with torch.inference_mode():
        return network(b).numpy(), None


def trained(results: Layout, problem: str, grid: Grid, home: Grid) -> dict[str, nn.Module]:
    """The trained networks for a problem that can run on a grid, each the seed with the median validation error.

    Args:
        results: the results directory that holds them.
        problem: its name.
        grid: the problem on N points.
        home: the training grid.
    """
    found: dict[str, nn.Module] = {}
    for method in ONCE:
        for path in sorted((results.root / "runs" / f"{SOLVE}{problem}" / method).glob("*/record.json")):
            errors = {run["seed"]: run["validation"] for run in files.read_json(path)["runs"] if run["status"] == "ok"}
            if errors:
                median = statistics.median_low(errors.values())
                seed = next(seed for seed, error in errors.items() if error == median)
                network = checkpoints.load(path.with_name("weights.safetensors"), seed)
                if isinstance(network, CycleNetwork) or grid == home:
                    found[method] = network
    return found


def on_points(problem: Problem, length: int) -> Grid:
    """The problem on so many points, one less where the ends are zero."""
    return problem.on(length - (not problem.screened))


def trainings(study: Study) -> Iterator[Row]:
    """Rows of training steps on the grid and the first problem of the study, compiled and on torch operations."""
    section = study.config["solvers"]
    name, batch = next(iter(section["problems"])), section["batch"]
    problem = study.problem(name)
    grid = on_points(problem, study.points)
    b = np.random.default_rng(0).random((BATCHES * batch, grid.N), np.float32)  # its content does not matter
    data = {f"{split}/{part}": b for split in ("train", "validation") for part in Solving.pair}
    for method in TRAINED:
        job = Training(
            architecture=networks.architecture(study.solver_training(method, name)["architecture"]),
            task=Solving(problem=problem),
            seeds=tuple(range(SEEDS)),
            learning_rate=RATE,
            epochs=1000,  # so that the one that is repeated has small learning rates
            batch=batch,
        )
        trainers = {kernel: Trainer(job, data) for kernel in ("reference", kernels.backend())}

        def epoch(kernel: str, trainer: Trainer) -> None:
            with patch.dict(os.environ, SCHEMENETS_KERNEL=kernel):
                trainer._train_epoch()

        seconds = seconds_per_call({k: partial(epoch, k, trainer) for k, trainer in trainers.items()})
        for kernel, time in seconds.items():
            yield {
                "problem": name,
                "points": grid.N,
                "right_hand_sides": batch,
                "contender": f"{method}-training{'-torch' if kernel == 'reference' else ''}",
                "dtype": "float32",
                "milliseconds_per_right_hand_side": 1e3 * time / (SEEDS * len(b)),
            }


def cases(study: Study, points: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[str, Grid, Array]]:
    """Every problem of the configuration on every grid, with right-hand sides of the study's test (count, N)."""
    spec = {
        "length": study.points,
        "noise": study.config["solvers"]["noise"],
        "seed": study.data["seed"],
    }
    for name in study.config["solvers"]["problems"]:
        problem = study.problem(name)
        for length in points:
            grid = on_points(problem, length)
            for count in counts:
                yield name, grid, right_hand_sides(Condition("finer", HOME, grid), "test", count, spec)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.solvers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="only the smallest grid and one right-hand side")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/solver_benchmark.csv")
    parser.add_argument("--results", type=Path, default=Path("results/mine"), help="directory of the trained networks")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    keep_freed_memory()
    study, rows = Study.load(), []
    machine = f"{timing.description()}, SciPy {version('scipy')}, PyAMG {version('pyamg')}"
    print(machine, flush=True)
    todo = list(cases(study, *((POINTS[:1], COUNTS[:1]) if options.quick else (POINTS, COUNTS))))
    progress = Progress("solver benchmark", len(todo), "cases")
    for done, (name, grid, b) in enumerate(todo, start=1):
        home = on_points(grid.problem, study.points)
        networks = trained(Layout(options.results), name, grid, home)
        if not networks:
            print(f"{name}, {grid.N} points: no trained networks in {options.results}", flush=True)
        for row in compared(name, grid, b, networks):
            rows.append(row | {"machine": machine})
            print(_line(row), flush=True)
        progress.update(done)
    for row in trainings(study):
        rows.append(row | {"machine": machine})
        print(_line(row), flush=True)
    if options.out:
        table.write(options.out, rows, COLUMNS)
    return 0


def _line(row: Row) -> str:
    about = f"{row['problem']}, {row['points']} points, {row['right_hand_sides']}: {row['contender']} ({row['dtype']})"
    if row.get("milliseconds_per_right_hand_side") is None:
        return f"{about:75} does not converge"
    parts = [f"{row['milliseconds_per_right_hand_side']:10.4f} ms"]
    if row.get("times_slower_than_banded") is not None:
        parts.append(f"{row['times_slower_than_banded']:8.2f} x")
    if row.get("setup_milliseconds") is not None:
        parts.append(f"setup {row['setup_milliseconds']:.2f} ms")
    if row.get("iterations") is not None:
        parts.append(f"{row['iterations']:.0f} iterations")
    if row.get("relative_error") is not None:
        parts.append(f"error {row['relative_error']:.1e}")
    return " ".join([f"{about:75}", *parts])


if __name__ == "__main__":
    sys.exit(main())
