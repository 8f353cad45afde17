"""Solve every problem by numerical schemes, on all grids and for all τ; the yardstick for networks that solve."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from schemenets import files, signals
from schemenets.fingerprint import of_stage
from schemenets.fluxes.linear import FLUX as LINEAR
from schemenets.layout import Layout
from schemenets.progress import Progress
from schemenets.provenance import Stopwatch, collect
from schemenets.schemes import fsi
from schemenets.solvers import CycleArchitecture, Grid, Problem, iterate
from schemenets.solvers.data import conditions
from schemenets.solvers.operations import counted_step
from schemenets.solvers.sweep import sweep
from schemenets.stages.solver_evaluate import TOLERANCE, described

LIMITS = {"cycle": 60, "single level": 400}  # most iterations
OMEGA = 2 / 3
SWEEPS = 2  # before and after the correction, as in the networks
FSI_STEPS = 10  # of a cycle
TAUS = (0.01, 0.1, 1.0, 10.0, 100.0)  # factors of τ

Step = Callable[[Tensor, Tensor], Tensor]


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``solvers.json``: what is known of the problems in ``spec``, and a row for every grid or τ, and solver."""
    stopwatch, rows, data, problems = Stopwatch(), [], {}, []
    progress = Progress("solvers", len(spec["datasets"]), "problems")
    for done, (name, own) in enumerate(spec["datasets"].items(), start=1):
        path = results.dataset(name)
        data[path.name] = files.sha256(path)
        rows += compared(signals.read(path), own)
        known = files.read_json(path.with_suffix(".json"))
        facts = {key: known[key] for key in ("unique", "several_solutions", "largest_residual")}
        problems.append({"problem": name.removeprefix("problem_"), **own["problem"], "points": own["length"], **facts})
        progress.update(done, name)
    provenance = collect(stopwatch, spec=spec, source=of_stage("solvers", spec), data=data)
    content = {"tolerance": TOLERANCE, "limits": LIMITS, "problems": problems, "rows": rows, "provenance": provenance}
    files.write_json(results.solvers, content)


def compared(arrays: Mapping[str, Any], spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of one problem, on its own grid and finer and coarser ones, and for other τ.

    Args:
        arrays: those of the data set.
        spec: its specification.
    """
    rows, name = [], spec["dataset"].removeprefix("problem_")
    made = [condition for condition in conditions(spec) if condition.kind in ("home", "finer")]
    for condition in made:
        b, x = (torch.from_numpy(arrays[f"{condition.name}/{part}"][: spec["others"]]) for part in ("b", "x"))
        for solver, row in solved(condition.grid, b, x, kinds="VWF" if condition.kind == "home" else "VF"):
            rows.append({"problem": name, **described(condition, len(b)), "solver": solver, **row})
    home = made[0]
    b = torch.from_numpy(arrays[f"{home.name}/b"][: spec["others"]])
    for factor in TAUS:
        grid = Problem(**{**spec["problem"], "tau": factor * home.grid.problem.tau}).on(home.grid.N)
        for solver, row in solved(grid, b, None, kinds="VF"):
            place = described(home, len(b)) | {"condition": f"tau-{grid.problem.tau:g}", "kind": "tau"}
            rows.append({"problem": name, **place, "tau": grid.problem.tau, "solver": solver, **row})
    return rows


def solved(grid: Grid, b: Tensor, x: Tensor | None, kinds: str) -> list[tuple[str, dict[str, Any]]]:
    """For every solver what one iteration makes of the right-hand sides b (batch, N) with solutions x, and many.

    W-cycles are of use on one grid only: they visit the coarsest of n grids 2ⁿ⁻¹ times.

    The relative error after the first iteration is a mean over b, iterations and factor are those of the worst.
    """
    rows = []
    start = grid.start(b)
    for solver, (step, limit) in steps(grid, kinds).items():
        found = iterate(step, grid, b, start, TOLERANCE, LIMITS[limit])
        counts, factor = found.iterations, float(found.factor.max())
        operations = counted_step(step, b[:1], start[:1])
        worst = float(counts.max()) if bool(counts.isfinite().all()) else None
        row: dict[str, Any] = {
            "converged": float(counts.isfinite().double().mean()),
            "iterations": worst,
            "factor": factor if factor < float("inf") else None,
            "operations": operations,
            "relative_error": None if x is None else _error(step(start, b), x),
        }
        rows.append((solver, row))
    if x is not None:
        pass_ = _cycles(grid, "V").full_multigrid
        one = counted_step(lambda start, b: pass_(b, grid), b[:1], start[:1])
        nothing = dict.fromkeys(("converged", "iterations", "factor"))
        rows.append(("full multigrid", {**nothing, "operations": one, "relative_error": _error(pass_(b, grid), x)}))
    return rows


def steps(grid: Grid, kinds: str) -> dict[str, tuple[Step, str]]:
    """One iteration of every solver, and what kind of limit it has."""
    omega = torch.tensor(OMEGA, dtype=torch.float64)
    found: dict[str, tuple[Step, str]] = {
        "gradient descent": (partial(_descent, grid=grid, steps=1), "single level"),
        f"FSI, cycles of {FSI_STEPS}": (partial(_descent, grid=grid, steps=FSI_STEPS), "cycle"),
        "damped Jacobi": (lambda x, b: sweep(x, b, grid, omega, None, None, LINEAR), "single level"),
    }
    for kind in kinds:
        network = _cycles(grid, kind)
        found[f"{kind}({SWEEPS},{SWEEPS})"] = (partial(network.cycle, grid=grid), "cycle")
    return found


def _descent(x: Tensor, b: Tensor, grid: Grid, steps: int) -> Tensor:
    """Extrapolated steps along b - A(x), whose derivative is in [σ - τm‖K‖², σ + τL'‖K‖²]; one is gradient descent."""
    p = grid.problem
    theta = 2 / (2 * p.sigma + p.tau * grid.flux.L_prime * grid.norm_squared)
    previous = x
    for k in range(steps):
        alpha = fsi.extrapolation(k) if steps > 1 else 1.0
        previous, x = x, alpha * (x + theta * (b - grid(x))) + (1 - alpha) * previous
    return x


def _cycles(grid: Grid, kind: str) -> Any:
    """The untrained cycles: damped Jacobi with lagged diffusivities and the transfers of the textbook."""
    architecture = CycleArchitecture(problem=grid.problem, kind=kind, sweeps=SWEEPS, filters=0, transfers="fixed")
    return architecture.build().double()


def _error(y: Tensor, x: Tensor) -> float:
    return float(((y - x).norm(dim=-1) / x.norm(dim=-1)).mean().detach())
