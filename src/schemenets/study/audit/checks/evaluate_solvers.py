"""Networks that solve: certificates by dense matrices, and tests on problems generated anew."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from schemenets import files, multigrid, signals
from schemenets.multigrid import Grid
from schemenets.multigrid.data import Condition, conditions
from schemenets.schemes._base import Array
from schemenets.study.audit._findings import Audited, Finding, Json, disagreement, of_training
from schemenets.study.measurements.solving import FEW, LIMIT, measures, pair
from schemenets.study.stages import Job, _trained
from schemenets.study.stages._rows import ERRORS, ITERATED, OF_EQUATION

ROUNDING = 1e-6  # relative: how much another machine's rounding may change in double precision
# how much other rounding may change iterations: one right-hand side, one iteration, and factors
ITERATIONS = {"converged": 1 / FEW, "iterations": 1, "factor": 0.05}
# factor between rounding errors that cycles amplify, and the local radius above which they show
MAGNITUDES, AMPLIFYING = 1e3, 1e3
# largest relative residual of solutions, and points up to which rounding allows it in all problems
SOLVED, FINEST = 1e-10, 1024


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Seeds and conditions, and certificates on the smallest grid, or on all if the audit is full."""
    spec, path = job.spec, job.output("solutions")
    record, trained = files.read_json(path), _trained.read(job.results, job.name)
    grids = {condition.name: condition.grid for condition in conditions(spec["data"])}
    expected = {
        **of_training(trained, job),
        "conditions": [{"condition": name} for name in grids] if trained.sound else [],
    }
    yield from disagreement(path, record, expected, "configuration and training say")
    certificates = record["certificates"]
    least = min((entry["points"] for entry in certificates), default=0)
    again = [
        _certificate(trained.networks[entry["seed"]].double(), entry, grids[entry["condition"]])
        if audited.full or entry["points"] == least
        else {}
        for entry in certificates
    ]
    yield from disagreement(path, record, {"certificates": again}, "the weights say", relative=ROUNDING)


def _certificate(network: Any, entry: Json, grid: Grid) -> Json:
    found = multigrid.certify(network, entry["points"], grid)
    return {key: getattr(found, key) for key in ("radius", "radius_dense", "energy_norm", "holds")}


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All networks on problems generated anew; unless the audit is full, on the training grid only."""
    path, spec = job.output("solutions"), job.spec
    if not audited.full:
        spec = {**spec, "data": {**spec["data"], "points": []}}
    arrays = signals.read(audited.dataset(spec["dataset"]))
    for condition in conditions(spec["data"]):
        yield from _solutions(path, condition, arrays)
    stored, found = files.read_json(path), files.read_json(audited.run_again(job, spec)["solutions"])
    amplifying = _amplifying(stored)
    for part, keys in (("conditions", ERRORS), ("iterations", [*ITERATED, *OF_EQUATION])):
        before = {entry["condition"]: entry for entry in stored[part]}
        for entry in found[part]:
            for key in keys:
                old, new = (np.array(x[key], dtype=float) for x in (before[entry["condition"]], entry))
                if not same(key, old, new, amplifying):
                    problem = f"got {old.tolist()}, expected {new.tolist()}, as the weights give"
                    yield Finding(path, f"{entry['condition']}, {key}: {problem}")


def _solutions(path: Any, condition: Condition, arrays: Any) -> Iterator[Finding]:
    b, x = pair(arrays, condition)
    residual = float(measures(x, b, x, condition.grid)["residual"].max())
    if condition.grid.N <= FINEST and not residual <= SOLVED:
        problem = f"got solutions with a relative residual of {residual:.1e}, expected at most {SOLVED:g}"
        yield Finding(path, f"{condition.name}: {problem}")


def _amplifying(record: Json) -> np.ndarray:
    """For every seed, whether its cycles amplify rounding errors under any condition.

    One condition speaks for all, as fine grids have no radius of their own.
    """
    radii = np.array([entry["local_radius"] for entry in record["iterations"]], dtype=float)
    return np.asarray((radii > AMPLIFYING).any(0))


def same(key: str, stored: Array, values: Array, amplifying: np.ndarray) -> bool:
    """Whether rounding explains the difference; iterations that do not converge count as equal.

    Args:
        key: what was measured.
        stored, values: of every seed, NaN where not finite.
        amplifying: for every seed, whether its cycles amplify rounding errors.
    """
    if key in ITERATIONS:
        most = {"iterations": LIMIT + 1, "factor": 1}.get(key, np.inf)
        stored, values = (np.fmin(np.where(np.isfinite(each), each, most), most) for each in (stored, values))
        return bool((np.abs(stored - values) <= ITERATIONS[key]).all())
    values = np.where(np.isfinite(values), values, np.nan)
    equal = np.isclose(stored, values, rtol=ROUNDING, atol=1e-9, equal_nan=True)
    if key in ("moved", "local_radius"):
        low, high = np.maximum(np.minimum(stored, values), np.finfo(float).eps), np.maximum(stored, values)
        equal |= (high <= MAGNITUDES * low) & amplifying
    return bool(equal.all())
