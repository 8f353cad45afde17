"""A results directory with made-up numbers: what figures and report are tested on."""

import math
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files, networks, signals, stages
from schemenets.config import Study
from schemenets.layout import Layout
from schemenets.networks import Architecture

ROOT = Path(__file__).parents[1]
LEVELS = {"resnet-relu": 34.0, "symmetric-relu": 30.0, "symmetric-charbonnier": 33.0, "symmetric-perona_malik": 34.5}
NOISY = {"5": 34.1, "10": 28.1, "20": 22.1}
PROVENANCE = {
    "finished": "2026-01-02T03:04:05+00:00",
    "wall_seconds": 10.0,
    "cpu_seconds": 9.0,
    "source_sha256": "c0de" * 16,
    "data_sha256": {"piecewise_affine-10.safetensors": "da7a" * 16},
    "git": {"commit": "deadbeef" * 5, "dirty": True},
    "device": "Some <Processor>",
    "threads": 1,
    "platform": "Linux-x86_64",
    "versions": {"schemenets": "0.1.0", "python": "3.11.0", "torch": "2.13.0"},
}


def results(root: Path, tier: str = "smoke", diverged: tuple[str, ...] = ()) -> tuple[Layout, Study]:
    """Records of every job of a tier, their tables and claims; the runs named in ``diverged`` have diverged."""
    study, layout = Study.load(ROOT, tier), Layout(root)
    for name in study.test_sets:
        family, _, noise = name.rpartition("-")
        spec = {"family": family, "noise": float(noise), "length": 256, "seed": 1, "test": 2}
        signals.write(spec, layout.dataset(name))
    for job, spec in study.jobs.items():
        _job(layout, study, job, spec, diverged)
    for method, spec in study.specs("tune").items():
        _tuning(layout, method, spec)
    rows = [
        {"points": 2**m - 1, "solver": solver, "convergence_factor": factor}
        for m in range(4, 11)
        for solver, factor in {"V(1,1)": 0.1, "damped Jacobi": 1 - 10 / 4**m}.items()
    ]
    files.write_json(layout.multigrid, {"problem": "poisson", "rows": rows, "provenance": PROVENANCE})
    stages.run("tables", study.specs("tables")["all"], layout)
    stages.run("claims", {"registered": str(ROOT / "config/claims.yaml")}, layout)
    return layout, study


def _job(layout, study, job, spec, diverged):
    rng = np.random.default_rng([len(job), *job.encode()])
    architecture = Architecture(**spec["architecture"])
    count = networks.count(architecture)
    level = LEVELS.get(spec["method"].removesuffix("-certified"), 34.2) + math.log10(count.total / 240)
    status = ["diverged" if f"{job}/seed-{seed}" in diverged else "ok" for seed in spec["seeds"]]
    values = (level + 0.1 * rng.standard_normal(len(status))).tolist()
    scores = [value if state == "ok" else None for value, state in zip(values, status, strict=True)]
    for seed, value, state in zip(spec["seeds"], values, status, strict=True):
        curve = [value - 3 * (1 - epoch / spec["epochs"]) ** 2 for epoch in range(1, spec["epochs"] + 1)]
        curve = curve if state == "ok" else [curve[0]] + [None] * (spec["epochs"] - 1)
        checkpoints.save(
            networks.build(**spec["architecture"], seed=seed), layout.job(job) / f"seed-{seed}.safetensors"
        )
        record = {
            "run": f"{job}/seed-{seed}",
            **{key: spec[key] for key in ("experiment", "method", "size")},
            "seed": seed,
            "architecture": spec["architecture"],
            "parameters": count.total,
            "convolution_weights": count.convolution,
            "dataset": spec["dataset"],
            "training": {"learning_rate": 0.02, "epochs": spec["epochs"], "batch": 64},
            "status": state,
            "metrics": {"validation_psnr": curve[-1], "validation_psnr_by_epoch": curve},
            "provenance": PROVENANCE,
        }
        files.write_json(layout.job(job) / f"seed-{seed}.json", record)
    test_sets = {}
    for name in study.test_sets:
        noisy = NOISY.get(name.rpartition("-")[2], 20.0)
        at_home = name == spec["dataset"]
        transferred = [None if score is None else noisy + rng.normal(2, 2) for score in scores]
        test_sets[name] = {"signals": 7, "noisy_psnr": noisy, "psnr": scores if at_home else transferred}
    evaluation = {"job": job, "seeds": spec["seeds"], "test_sets": test_sets, "provenance": PROVENANCE}
    files.write_json(layout.job(job) / "evaluation.json", evaluation)
    certified, symmetric = architecture.certified, architecture.name == "symmetric"
    entries = [
        {
            "seed": seed,
            "theorem": "a theorem" if symmetric else None,
            "certified": certified,
            "failed_conditions": [] if certified or not symmetric else ["blocks.0: τ ≤ 2/(L‖K‖²)"],
            "euclidean_bound": (1.0 if certified else 3.0 + seed) if symmetric else None,
            "lipschitz_bound": 5.0,
            "step_margins": [0.1, 0.2] if certified else [-2.0, 0.3] if symmetric else [None],
            "dense_step_margins": [0.12, 0.21] if certified else [-1.9, 0.31] if symmetric else [None, None],
            "largest_amplification_found": 0.99 if certified else 1.5 + seed if symmetric else 40.0 * (1 + seed),
            "counterexample": False,
            "learned_fluxes": {"nonmonotone": 3, "monotone": 1} if architecture.flux == "learned" else {},
        }
        for seed in spec["seeds"]
    ]
    files.write_json(layout.job(job) / "stability.json", {"job": job, "networks": entries, "provenance": PROVENANCE})


def _tuning(layout, method, spec):
    rates = spec["learning_rates"]
    trials = [
        {
            "learning_rate": rate,
            "mean_validation_psnr": 30.0 + index,
            "runs": [{"seed": seed, "status": "ok", "validation_psnr": 30.0 + index} for seed in spec["seeds"]],
        }
        for index, rate in enumerate(rates)
    ]
    trials[0]["runs"][-1] |= {"status": "diverged", "validation_psnr": None}
    chosen = {"learning_rate": rates[-1], "at_edge_of_grid": True, "noisy_psnr": 28.1}
    files.write_json(layout.tuned(method), {"method": method, **chosen, "trials": trials, "provenance": PROVENANCE})
