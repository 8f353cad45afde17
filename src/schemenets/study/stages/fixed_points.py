"""Iterate trained implicit networks to convergence: rates, gradients, and what depth costs in memory and time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemenets import files, networks, signals
from schemenets.evaluation import PEAK
from schemenets.networks.implicit import RATE
from schemenets.progress import Progress
from schemenets.stability import certify
from schemenets.study.layout import Layout
from schemenets.study.measurements import fixed_points
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _trained

TOLERANCES = tuple(10.0**-digits for digits in range(2, 11))
SIGNALS = 10  # test signals that have to converge
LIMIT = fixed_points.allowed_iterations(TOLERANCES[-1], RATE) or 0  # enough for every certified network
DEPTHS = (4, 8, 16, 32, 64, 128)
BATCH = 64  # signals at a time where memory and time are measured
ROUNDS = 10


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``fixed_points.json``: every network of the jobs, and memory and time of the first one of each method."""
    stopwatch = Stopwatch()
    iterated, costs, data = [], [], {}
    measured: set[str] = set()
    progress = Progress("fixed points", len(spec["networks"]), "jobs")
    for done, entry in enumerate(spec["networks"], start=1):
        job, dataset = entry["job"], results.dataset(entry["dataset"])
        data[dataset.name] = files.sha256(dataset)
        arrays = signals.read(dataset)
        noisy, clean = (torch.from_numpy(arrays[f"test/{part}"]) / PEAK for part in ("noisy", "clean"))
        for seed in entry["seeds"]:
            _, network = _trained.read(results.job(job), seed)
            run = {"run": f"{job}/seed-{seed}"}
            iterated.append(run | iterate(network, noisy[:SIGNALS], clean[:SIGNALS]))
            method = job.split("/")[1]
            if method not in measured:
                measured.add(method)
                costs += [run | cost for cost in depth_costs(network, noisy[np.arange(BATCH) % len(noisy)])]
        progress.update(done, job)
    provenance = collect(stopwatch, spec=spec, source=of_stage("fixed_points", spec), data=data)
    files.write_json(results.fixed_points, {"networks": iterated, "costs": costs, "provenance": provenance})


def iterate(network: Any, noisy: Tensor, clean: Tensor) -> dict[str, Any]:
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


def depth_costs(network: Any, f: Tensor) -> list[dict[str, Any]]:
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
                    "parameters": networks.count(deep.architecture).total,
                    "saved_bytes": fixed_points.saved_bytes(deep, f),
                }
            )
    seconds = fixed_points.least_seconds(contenders, ROUNDS)
    return [row | {"seconds": seconds[row["iterations"], row["gradients"]]} for row in rows]
