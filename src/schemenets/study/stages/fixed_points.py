"""Iterate trained implicit networks to convergence: rates, gradients, and what depth costs in memory and time."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemenets import signals
from schemenets.evaluation import PEAK
from schemenets.networks.implicit import RATE
from schemenets.progress import Progress
from schemenets.stability import certify
from schemenets.study.config import Study
from schemenets.study.measurements import fixed_points
from schemenets.study.stages import Job, Json, _trained, dataset
from schemenets.study.stages._rows import OF_A_RUN, of_run

OUTPUTS = {"fixed_points": "fixed_points.json"}
RECORD = "fixed_points"
ITERATED = ["certified", "rate", "observed_rate", "limit", "signals", "signals_converged", "gradient_difference"]
STEP = ["tolerance", "iterations", "allowed_iterations"]
COSTS = ["iterations", "gradients", "parameters", "saved_bytes", "seconds"]
TABLES = {"fixed_points": [*OF_A_RUN, *ITERATED, *STEP], "fixed_point_costs": [*OF_A_RUN, *COSTS]}
TOLERANCES = tuple(10.0**-digits for digits in range(2, 11))
SIGNALS = 10  # test signals that have to converge
LIMIT = fixed_points.allowed_iterations(TOLERANCES[-1], RATE) or 0  # enough for every certified network
DEPTHS = (4, 8, 16, 32, 64, 128)
BATCH = 64  # signals at a time where memory and time are measured
ROUNDS = 10


def specs(study: Study) -> dict[str, Json]:
    """All jobs that train implicit networks, at once."""
    chosen = [spec for spec in study.denoisers.values() if spec["architecture"]["name"] == "implicit"]
    return {"all": {"networks": chosen}}


def inputs(spec: Json) -> Json:
    """The trained networks, and the test signals that are denoised."""
    return {
        "trained": [("train", entry["job"]) for entry in spec["networks"]],
        "data": [dataset(entry["dataset"]) for entry in spec["networks"]],
    }


def run(job: Job) -> None:
    """Write how every network converges, and memory and time of the first one of each method."""
    iterated, costs = [], []
    measured: set[str] = set()
    progress = Progress("fixed points", len(job.spec["networks"]), "jobs")
    for done, entry in enumerate(job.spec["networks"], start=1):
        arrays = signals.read(job.results.dataset(entry["dataset"]))
        noisy, clean = (torch.from_numpy(arrays[f"test/{part}"]) / PEAK for part in ("noisy", "clean"))
        for seed, network in _trained.read(job.results, entry["job"]).networks.items():
            run = {"job": entry["job"], "seed": seed}
            iterated.append(run | iterate(network, noisy[:SIGNALS], clean[:SIGNALS]))
            if entry["method"] not in measured:
                measured.add(entry["method"])
                costs += [run | cost for cost in depth_costs(network, noisy[np.arange(BATCH) % len(noisy)])]
        progress.update(done, entry["job"])
    job.write_record({"networks": iterated, "costs": costs})


def iterate(network: Any, noisy: Tensor, clean: Tensor) -> Json:
    """How one network converges on these signals, and how far its implicit gradients are from unrolled ones then.

    Gradients are taken after twice the iterations to the least tolerance, as they converge later than the iterates.
    """
    certificate = certify(network)
    margin = certificate.blocks[0].step_margin
    rate = None if margin is None else 1 - margin
    residuals = fixed_points.relative_residuals(network, noisy, TOLERANCES[-1], LIMIT)
    steps = []
    for tolerance in TOLERANCES:
        allowed = None if rate is None else fixed_points.allowed_iterations(tolerance, rate)
        taken = fixed_points.iterations_to(tolerance, residuals)
        steps.append({"tolerance": tolerance, "iterations": taken, "allowed_iterations": allowed})
    difference = None
    if taken is not None:
        found = fixed_points.gradient_difference(network, noisy, clean, max(1, 2 * taken))
        difference = found if np.isfinite(found) else None
    return {
        "certified": certificate.holds,
        "rate": rate,
        "observed_rate": fixed_points.observed_rate(TOLERANCES[-1], residuals),
        "limit": LIMIT,
        "signals": len(noisy),
        "signals_converged": int((residuals <= TOLERANCES[-1]).any(0).sum()),
        "steps": steps,
        "gradient_difference": difference,
    }


def depth_costs(network: Any, f: Tensor) -> list[Json]:
    """Parameters, memory for derivatives and time, forward and backward, for every depth and kind of gradients."""
    rows, contenders = [], {}
    for iterations in DEPTHS:
        for gradients in ("unrolled", "implicit"):
            deep = fixed_points.at_depth(network, iterations)
            deep.implicit_gradients = gradients == "implicit"
            contenders[iterations, gradients] = lambda deep=deep: deep(f).square().mean().backward()
            rows.append(
                {
                    "iterations": iterations,
                    "gradients": gradients,
                    "parameters": deep.architecture.count().total,
                    "saved_bytes": fixed_points.saved_bytes(deep, f),
                }
            )
    seconds = fixed_points.least_seconds(contenders, ROUNDS)
    return [row | {"seconds": seconds[row["iterations"], row["gradients"]]} for row in rows]


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every network with every tolerance, and the costs of every depth."""
    found = records["all"]
    return {
        "fixed_points": [
            {**of_run(entry["job"], entry["seed"]), **{key: entry[key] for key in ITERATED}, **step}
            for entry in found["networks"]
            for step in entry["steps"]
        ],
        "fixed_point_costs": [
            {**of_run(entry["job"], entry["seed"]), **{key: entry[key] for key in COSTS}} for entry in found["costs"]
        ],
    }
