"""Networks that learned to solve: records, checkpoints, what they compute on fresh problems, and their certificates."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from schemenets import files, multigrid, networks, signals
from schemenets.multigrid.data import conditions
from schemenets.multigrid.training import Learner, build
from schemenets.networks import Architecture
from schemenets.progress import Progress
from schemenets.schemes._base import Array
from schemenets.study import stages
from schemenets.study.audit._findings import Audited, Finding, Json, difference, guarded
from schemenets.study.layout import Layout
from schemenets.study.measurements.flops import counted
from schemenets.study.stages import _solvers
from schemenets.study.stages.solver_evaluate import FEW, LIMIT, iterated, kinds_iterated, measures, pair, tested

SAMPLE = 4  # jobs, at most, whose problems are generated and solved again
TOLERANCE = 1e-6  # relative: what another machine's rounding may change of values in double precision
# by how much other rounding may change iterations: one of the right-hand sides, one iteration, and factors
ITERATIONS = {"converged": 1 / FEW, "iterations": 1, "factor": 0.05}
# orders of magnitude that other rounding may change in what cycles make of rounding errors that they amplify
MAGNITUDES, AMPLIFYING = 1e3, 1e3
# largest relative residual of solutions, and points up to which rounding allows it in all problems
SOLVED, FINEST = 1e-10, 1024
KEYS = ("problem_name", "method", "learner", "loss", "architecture", "problem", "dataset")


def check(audited: Audited, full: bool) -> Iterator[Finding]:
    """Findings about tunings, records, checkpoints and evaluations."""
    for method, spec in audited.study.solver_tunings.items():
        path = audited.results.solver_tuned(method)
        yield from guarded(path, _tuning(spec, path))
    for job, spec in audited.study.solver_jobs.items():
        for seed in spec["seeds"]:
            path = audited.results.job(job) / f"seed-{seed}.json"
            yield from guarded(path, _record(audited, spec, seed, path))
        path = audited.results.job(job) / "evaluation.json"
        yield from guarded(path, _evaluation(audited, spec, path, full))
    yield from _fresh(audited, full)


def _tuning(spec: Json, path: Path) -> Iterator[Finding]:
    tuning = files.read_json(path)
    tried = [trial["learning_rate"] for trial in tuning["trials"]]
    yield from difference(path, tried, sorted(spec["learning_rates"]), "the configuration says")
    best = min(tuning["trials"], key=lambda trial: trial["mean_validation_error"])
    if tuning["learning_rate"] != best["learning_rate"]:
        yield Finding(path, f"learning rate {tuning['learning_rate']}, but the best trial is {best['learning_rate']}")


def _record(audited: Audited, spec: Json, seed: int, path: Path) -> Iterator[Finding]:
    record, network = _solvers.read(path.parent, spec, seed)
    learner = _solvers.architecture(spec)
    tuned = files.read_json(audited.results.solver_tuned(spec["tuned_as"]))["learning_rate"]
    expected = {
        "run": f"{spec['job']}/seed-{seed}",
        "seed": seed,
        **{key: spec[key] for key in KEYS},
        "parameters": networks.count(learner).total if isinstance(learner, Architecture) else learner.parameters,
        "training": {"learning_rate": tuned, "epochs": spec["epochs"], "batch": spec["batch"]},
    }
    yield from difference(path, {key: record[key] for key in expected}, expected, "the configuration says")
    held = sum(parameter.numel() for parameter in network.parameters())
    if held != record["parameters"]:
        yield Finding(path, f"{record['parameters']} parameters, but its checkpoint holds {held}")
    if (operations := _operations(learner, record["points"])) != record["operations"]:
        yield Finding(path, f"{record['operations']} operations, but counted again they are {operations}")
    curve = record["validation_error_by_epoch"]
    if (record["status"] == "ok") != (len(curve) == spec["epochs"] and curve[-1] is not None):
        yield Finding(path, f"status {record['status']!r}, which its learning curve contradicts")


@cache  # they do not depend on weights
def _operations(learner: Learner, points: int) -> int:
    return counted(build(learner, 0), points)


def _evaluation(audited: Audited, spec: Json, path: Path, full: bool) -> Iterator[Finding]:
    """Whether it is that of these checkpoints; certificates computed again, on the smallest grid or on all."""
    evaluation = files.read_json(path)
    hashes = [files.sha256(path.with_name(f"seed-{seed}.safetensors")) for seed in spec["seeds"]]
    yield from difference(path, evaluation["checkpoints_sha256"], hashes, "the checkpoints are")
    grids = {condition.name: condition.grid for condition in conditions(audited.study.problems[spec["dataset"]])}
    stored = [entry["condition"] for entry in evaluation["conditions"]]
    if stored and stored != list(grids):
        yield Finding(path, f"conditions {stored}, but the configuration says {list(grids)}")
    for entry in evaluation["certificates"]:
        if full or entry["points"] == min(each["points"] for each in evaluation["certificates"]):
            _, network = _solvers.read(path.parent, spec, entry["seed"])
            grid = grids[entry["condition"]]
            found = multigrid.certify(network, entry["points"], grid)  # type: ignore[arg-type]
            again = {"radius_dense": found.radius_dense, "holds": found.holds}
            before = {key: entry[key] for key in again}
            yield from difference(path, before, again, f"seed {entry['seed']}: computed again", TOLERANCE)


def _fresh(audited: Audited, full: bool) -> Iterator[Finding]:
    """Problems generated and solved again, on which the networks of some jobs are tested again."""
    jobs = list(audited.study.solver_jobs)
    chosen = jobs if full else jobs[:: math.ceil(len(jobs) / SAMPLE)]
    progress = Progress("audit with fresh problems", len(chosen), "jobs")
    with TemporaryDirectory() as directory:
        fresh = Layout(Path(directory))
        for done, job in enumerate(chosen, start=1):
            spec = audited.study.solver_jobs[job]
            path = audited.results.job(job) / "evaluation.json"
            yield from guarded(path, _tested_again(audited, fresh, spec, path, full))
            progress.update(done, job)


def _tested_again(audited: Audited, fresh: Layout, spec: Json, path: Path, full: bool) -> Iterator[Finding]:
    """Errors under all conditions, and iterations, unless ``full`` on the grid of the training only."""
    data = audited.study.problems[spec["dataset"]]
    if not fresh.dataset(spec["dataset"]).is_file():
        # right-hand sides of the tests do not depend on how many there are for the training, which take long
        stages.run("problems", {**data, "train": 1, "validation": 1}, fresh)
    arrays = signals.read(fresh.dataset(spec["dataset"]))
    evaluation = files.read_json(path)
    read = [_solvers.read(path.parent, spec, seed) for seed in spec["seeds"]]
    sound = [index for index, (record, _) in enumerate(read) if record["status"] == "ok"]
    if not sound:
        return
    nets: list[Any] = [read[index][1] for index in sound]
    stacked = networks.stack(nets)
    kinds = kinds_iterated(nets[0])[: None if full else 1]
    iterations = {entry["condition"]: entry for entry in evaluation["iterations"]}
    # where the radius is not known, on fine grids, that of another grid or τ has to do
    radii = [[entry["local_radius"][index] or 0 for entry in iterations.values()] for index in sound]
    amplifying = np.array([max(own, default=0) > AMPLIFYING for own in radii])
    for condition, entry in zip(conditions(data), evaluation["conditions"], strict=True):
        b, x = pair(arrays, condition)
        residual = float(measures(x, b, x, condition.grid)["residual"].max())
        if condition.grid.N <= FINEST and not residual <= SOLVED:
            yield Finding(path, f"{condition.name}: solutions with a relative residual of {residual:.1e}")
        again = tested(stacked, condition, b, x)
        if condition.kind in kinds:
            entry = entry | iterations[condition.name]
            again |= iterated(stacked, nets, condition, b[:FEW], x[:FEW])
        for key, values in again.items():
            stored = np.array([np.nan if entry[key][index] is None else entry[key][index] for index in sound])
            if not _same(key, stored, values, amplifying):
                text = f"{stored.tolist()}, but its checkpoints give {values.tolist()}"
                yield Finding(path, f"{condition.name}, {key}: {text}")


def _same(key: str, stored: Array, values: Array, amplifying: Any) -> bool:
    """Whether rounding explains the difference; one iteration that does not converge is as good as another.

    Args:
        amplifying: where cycles amplify rounding errors, so that these show.
    """
    if key in ITERATIONS:
        most = {"iterations": LIMIT + 1, "factor": 1}.get(key, np.inf)
        stored, values = (np.fmin(np.where(np.isfinite(each), each, most), most) for each in (stored, values))
        return bool((np.abs(stored - values) <= ITERATIONS[key]).all())
    values = np.where(np.isfinite(values), values, np.nan)
    same = np.isclose(stored, values, rtol=TOLERANCE, atol=1e-9, equal_nan=True)
    if key in ("moved", "local_radius"):
        low, high = np.maximum(np.minimum(stored, values), np.finfo(float).eps), np.maximum(stored, values)
        same |= (high <= MAGNITUDES * low) & amplifying
    return bool(same.all())
