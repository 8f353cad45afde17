"""Solve every problem by numerical schemes, on all grids and for all τ, as baselines for networks that solve."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemenets import files, signals
from schemenets.fluxes.linear import FLUX as LINEAR
from schemenets.multigrid import CycleArchitecture, Grid, Problem, iterate
from schemenets.multigrid.data import Condition, conditions
from schemenets.multigrid.sweep import sweep
from schemenets.progress import Progress
from schemenets.schemes import fsi
from schemenets.schemes._base import Array, Diffusion
from schemenets.schemes.implicit import newton
from schemenets.study.config import Study
from schemenets.study.measurements.flops import counted_step, of_flux, of_residual
from schemenets.study.measurements.solving import FEW, TOLERANCE, Step, described, measures, pair
from schemenets.study.stages import Job, Json, dataset
from schemenets.study.stages._rows import ERRORS, ITERATED, PLACE, SOLVER_ITERATIONS

OUTPUTS = {"solvers": "solvers.json"}
RECORD = "solvers"
FOLLOWED = ["iterations", "operations", *ERRORS]
TABLES = {
    "problems": [
        *("problem", "tau", "flux", "contrast", "order", "screened", "extent", "points"),
        *("unique", "several_solutions", "largest_residual"),
    ],
    "solver_iterations": SOLVER_ITERATIONS,
    "solver_paths": ["problem", "method", *FOLLOWED],
}
LIMITS = {"cycle": 60, "single level": 400}  # most iterations
OMEGA = 2 / 3
SWEEPS = 2  # before and after the correction, as in the networks
MEAN_VALUE = "mean value of the solution"  # the trivial baseline
FSI_STEPS = (10, 20, 50)  # of a cycle
TAUS = (0.01, 0.1, 1.0, 10.0, 100.0)  # factors of τ
BUDGET = 2e6  # operations up to which errors are followed


def specs(study: Study) -> dict[str, Json]:
    """All problems of the tier, at once."""
    return {"all": {"datasets": study.specs("problems")}}


def inputs(spec: Json) -> Json:
    """Right-hand sides with solutions."""
    return {"data": [dataset(name) for name in spec["datasets"]]}


def run(job: Job) -> None:
    """Write facts about the problems, and how numerical schemes solve them.

    There is a row for every solver on every grid or for every τ, and paths of the errors against operations.
    """
    datasets = job.spec["datasets"]
    content: Json = {"tolerance": TOLERANCE, "limits": LIMITS, "problems": [], "rows": [], "paths": []}
    progress = Progress("solvers", len(datasets), "problems")
    for done, (name, own) in enumerate(datasets.items(), start=1):
        path, problem = job.results.dataset(name), name.removeprefix("problem_")
        known = files.read_json(path.with_suffix(".json"))
        facts = {key: known[key] for key in ("unique", "several_solutions", "largest_residual")}
        content["problems"].append({"problem": problem, **own["problem"], "points": own["length"], **facts})
        arrays = signals.read(path)
        content["rows"] += [{"problem": problem, **row} for row in compared(arrays, own)]
        content["paths"] += [{"problem": problem, **row} for row in followed(arrays, own)]
        progress.update(done, problem)
    job.write_record(content)


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """The problems, and every scheme on every grid and for every τ."""
    found = records["all"]
    measured = (*PLACE, *ITERATED, "operations", *ERRORS)
    return {
        "problems": found["problems"],
        "solver_iterations": [
            {"problem": row["problem"], "method": row["solver"], **{key: row[key] for key in measured}}
            for row in found["rows"]
        ],
        "solver_paths": [
            {"problem": row["problem"], "method": row["solver"], **{key: row[key] for key in FOLLOWED}}
            for row in found["paths"]
        ],
    }


def compared(arrays: Mapping[str, Any], spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of one problem, on its own grid and finer and coarser ones, and for other τ.

    Errors after the first iteration are means over all right-hand sides of a condition; iterations and factors are
    those of the slowest of a few.

    Args:
        arrays: those of the data set.
        spec: its specification.
    """
    rows = []
    costs: dict[tuple[str, int], int] = {}  # by solver and N: they are those of any τ and right-hand side
    for condition in conditions(spec):
        if condition.kind not in ("home", "finer"):
            continue
        grid, (b, x) = condition.grid, pair(arrays, condition)
        # W-cycles on one grid only: they visit the coarsest of n grids 2ⁿ⁻¹ times
        for solver, (step, limit) in steps(grid, "VWF" if condition.kind == "home" else "VF").items():
            costs[solver, grid.N] = counted_step(step, b[:1], b[:1])
            row = _iterated(step, grid, b, limit) | _measured(step(grid.start(b), b), b, x, grid)
            place = described(condition, len(b)) | {"solver": solver, "operations": costs[solver, grid.N]}
            rows.append({**place, **row})
        full, cost = _full_multigrid(grid)
        mean_value = x.mean(-1, keepdim=True).expand(b.shape)
        for solver, y, operations in (("full multigrid", full(b), cost), (MEAN_VALUE, mean_value, None)):
            unknown = dict.fromkeys(("converged", "iterations", "factor"))
            row = unknown | {"operations": operations} | _measured(y, b, x, grid)
            rows.append({**described(condition, len(b)), "solver": solver, **row})
    home = conditions(spec)[0]
    b = pair(arrays, home)[0]
    for factor in TAUS:
        grid = Problem(**{**spec["problem"], "tau": factor * home.grid.problem.tau}).on(home.grid.N)
        place = described(Condition("tau", home.family, grid), FEW)
        for solver, (step, limit) in steps(grid, "VF").items():
            unknown = dict.fromkeys(("relative_error", "residual", "energy_gap"))
            own = {"solver": solver, "operations": costs[solver, grid.N]}
            rows.append({**place, **own, **_iterated(step, grid, b, limit), **unknown})
    return rows


def followed(arrays: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Mean errors over the test right-hand sides after every iteration, and the operations taken by then.

    Iterations end when the residual reaches the tolerance, or the operations :data:`BUDGET`.
    """
    home = conditions(spec)[0]
    grid, (b, x) = home.grid, pair(arrays, home)
    full, once = _full_multigrid(grid)
    for solver, (step, limit) in steps(grid, "VF").items():
        if limit == "single level":
            continue  # FSI is the best of these
        cost = counted_step(step, b[:1], b[:1])
        yield from _path(solver, step, cost, grid.start(b), 0, (b, x), grid)
        if solver.startswith("V"):
            yield from _path(f"full multigrid, then {solver}", step, cost, full(b), once, (b, x), grid)
    yield from _direct(b, x, grid)


def _path(
    solver: str, step: Step, cost: int, y: Tensor, spent: int, pair: tuple[Tensor, Tensor], grid: Grid
) -> Iterator[dict[str, Any]]:
    iterations = 0
    while True:
        reached = _measured(y, *pair, grid)
        yield {"solver": solver, "iterations": iterations, "operations": spent, **reached}
        if reached["residual"] is None or reached["residual"] <= TOLERANCE or spent + cost > BUDGET:
            return
        with torch.no_grad():  # else autograd would keep every iterate
            y = step(y, pair[0])
        spent, iterations = spent + cost, iterations + 1


def _direct(b: Tensor, x: Tensor, grid: Grid) -> Iterator[dict[str, Any]]:
    """Banded matrices: one solve for a linear problem, else Newton's method; operations by formula.

    Solved right-hand sides keep their solutions while others take further steps.
    """
    solver = "banded matrix" if grid.problem.linear else "Newton's method"
    paths = [_newton(row, grid) for row in b.numpy()]
    for n in range(max(map(len, paths))):
        reached = [path[min(n, len(path) - 1)] for path in paths]
        y = torch.from_numpy(np.stack([iterate for iterate, _ in reached]))
        spent = round(np.mean([operations for _, operations in reached]))
        yield {"solver": solver, "iterations": n, "operations": spent, **_measured(y, b, x, grid)}


def _newton(b: Array, grid: Grid) -> list[tuple[Array, int]]:
    """The iterates of :meth:`schemenets.multigrid.Grid.solve` for b (N,), and the operations that each has taken."""
    problem, N = grid.problem, grid.N
    if problem.linear:
        return [(grid.start(torch.from_numpy(b)).numpy(), 0), (grid.solve(b), of_banded(grid))]
    watched = _Watched(grid.diffusion)
    last = newton(b, watched, problem.tau)
    # two residuals and their norms in every step; every matrix from derivatives of the flux, and an update
    step, matrix = (2 * of_residual(problem) + 4) * N, of_banded(grid) + (of_flux(problem.flux) + 5 + problem.order) * N
    numbers = [*watched.matrices_before, watched.matrices]
    each = zip([*watched.iterates, last], numbers, strict=True)
    return [(u, n * step + count * matrix) for n, (u, count) in enumerate(each)]


class _Watched(Diffusion):
    """Remembers the iterates of Newton's method, which asks for the Jacobian once at each, and counts its matrices."""

    def __init__(self, A: Diffusion) -> None:
        super().__init__(A.K, A.flux, A.lam)
        self.iterates: list[Array] = []
        self.matrices_before: list[int] = []
        self.matrices = 0

    def jacobian(self, u: Array) -> Any:
        self.iterates.append(u)
        self.matrices_before.append(self.matrices)
        self.matrices += 1
        return super().jacobian(u)

    def lagged(self, u: Array) -> Any:
        self.matrices += 1
        return super().lagged(u)


def of_banded(grid: Grid) -> int:
    """Operations, to leading order, of solving a system with a symmetric matrix of w bands beside its diagonal.

    N(w² + 2w) for the factors LDLᵀ, N(4w + 1) for the solution.
    """
    w = grid.problem.order
    return grid.N * (w**2 + 6 * w + 1)


def _iterated(step: Step, grid: Grid, b: Tensor, limit: str) -> dict[str, Any]:
    """Convergence for the first few right-hand sides; the slowest counts."""
    few = b[:FEW]
    found = iterate(step, grid, few, grid.start(few), TOLERANCE, LIMITS[limit])
    return {
        "converged": float(found.iterations.isfinite().double().mean()),
        "iterations": _finite(found.iterations.max()),  # NaN if one did not reach it
        "factor": _finite(found.factor.max()),
    }


def _measured(y: Tensor, b: Tensor, x: Tensor, grid: Grid) -> dict[str, float | None]:
    """Means over right-hand sides; None after an overflow, and for errors where solutions need not be unique."""
    with torch.inference_mode():
        return {key: _finite(values.mean()) for key, values in measures(y, b, x, grid).items()}


def _finite(value: Tensor) -> float | None:
    return float(value) if bool(value.isfinite()) else None


def steps(grid: Grid, kinds: str) -> dict[str, tuple[Step, str]]:
    """One iteration of every solver, and the kind of its limit."""
    omega = torch.tensor(OMEGA, dtype=torch.float64)
    found: dict[str, tuple[Step, str]] = {
        "gradient descent": (partial(_descent, grid=grid, steps=1), "single level"),
        **{f"FSI, cycles of {n}": (partial(_descent, grid=grid, steps=n), "cycle") for n in FSI_STEPS},
        "damped Jacobi": (lambda x, b: sweep(x, b, grid, omega, None, None, LINEAR), "single level"),
    }
    for kind in kinds:
        network = textbook(grid, kind)
        found[f"{kind}({SWEEPS},{SWEEPS})"] = (partial(network.cycle, grid=grid), "cycle")
    return found


def _full_multigrid(grid: Grid) -> tuple[Callable[[Tensor], Tensor], int]:
    """The map from right-hand sides to approximations, and its operations."""
    full = partial(textbook(grid, "V").full_multigrid, grid=grid)
    one = torch.ones(1, grid.N, dtype=torch.float64)
    return full, counted_step(lambda _, b: full(b), one, one)


def _descent(x: Tensor, b: Tensor, grid: Grid, steps: int) -> Tensor:
    """Extrapolated steps along b - A(x), whose derivative is in [σ - τm‖K‖², σ + τL'‖K‖²]; one is gradient descent."""
    p = grid.problem
    theta = 2 / (2 * p.sigma + p.tau * grid.flux.L_prime * grid.norm_squared)
    previous = x
    for k in range(steps):
        alpha = fsi.extrapolation(k) if steps > 1 else 1.0
        previous, x = x, alpha * (x + theta * (b - grid(x))) + (1 - alpha) * previous
    return x


def textbook(grid: Grid, kind: str) -> Any:
    """The untrained cycles: damped Jacobi with lagged diffusivities and the transfers of the textbook."""
    architecture = CycleArchitecture(problem=grid.problem, kind=kind, sweeps=SWEEPS, filters=0, transfers="fixed")
    return architecture.build().double()
