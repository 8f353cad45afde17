"""A results directory with made-up numbers: what figures and report are tested on."""

import math
from itertools import product
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files, networks, signals
from schemenets.multigrid.data import conditions
from schemenets.multigrid.training import build
from schemenets.networks import Architecture
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.stages import _solvers as _solver_stages
from schemenets.study.stages.solver_evaluate import described, kinds_iterated

ROOT = Path(__file__).parents[1]
LEVELS = {"resnet-relu": 34.0, "symmetric-relu": 30.0, "symmetric-charbonnier": 33.0, "symmetric-perona_malik": 34.5}
NOISY = {"5": 34.1, "10": 28.1, "20": 22.1}
DIVERGED = "capacity/symmetric-perona_malik/budget-240/seed-1"
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
    for job, spec in study.specs("robustness").items():
        _attacks(layout, job, spec, diverged)
    for method, spec in study.specs("tune").items():
        _tuning(layout, method, spec)
    for job, spec in study.repeated.items():
        files.write_json(layout.growth(job), _repeated(spec))
    for name, spec in study.followed.items():
        files.write_json(layout.growth(name), _followed(spec))
    for name, spec in study.drawn.items():
        files.write_json(layout.growth(name), _drawn(name, spec["depths"]))
    files.write_json(layout.fixed_points, _fixed_points(study))
    datasets = study.specs("schemes")["all"]["datasets"]
    rows = [row for name, spec in datasets.items() for row in _schemes(name, **spec)]
    files.write_json(layout.schemes, {"rows": rows, "provenance": PROVENANCE})
    _solvers(layout, study, diverged)
    stages.run("tables", study.specs("tables")["all"], layout)
    stages.run("claims", {"registered": str(ROOT / "config/claims.yaml")}, layout)
    return layout, study


def _solvers(layout, study, diverged):
    """Schemes and networks that solve: unet-N has an error of 0.1, cycle-N and multigrid-N one of 0.05/N."""
    for method, spec in study.solver_tunings.items():
        trials = [
            {
                "learning_rate": rate,
                "mean_validation_error": 0.1 + rate,
                "runs": [{"seed": seed, "status": "ok", "validation_error": 0.1 + rate} for seed in spec["seeds"]],
            }
            for rate in spec["learning_rates"]
        ]
        tuned = {"method": method, "learning_rate": trials[0]["learning_rate"], "trials": trials}
        files.write_json(layout.solver_tuned(method), {**tuned, "provenance": PROVENANCE})
    rows, facts = [], {"unique": True, "several_solutions": 0.0, "largest_residual": 1e-12}
    for name, spec in study.problems.items():
        for condition in conditions(spec):
            if condition.kind in ("home", "finer"):
                measured = {
                    "converged": 1.0,
                    "iterations": 9,
                    "factor": 0.2,
                    "operations": 50000,
                    **dict.fromkeys(("relative_error", "residual", "energy_gap"), 0.1),
                }
                rows += [{"problem": name[8:], **described(condition, 2), "solver": "V(2,2)", **measured}]
    known = [
        {"problem": name[8:], **spec["problem"], "points": spec["length"], **facts}
        for name, spec in study.problems.items()
    ]
    # V-cycles take 10,000 operations each and divide all errors by four
    paths = [
        {"problem": name[8:], "solver": "V(2,2)", "iterations": n, "operations": 10_000 * n}
        | dict.fromkeys(("relative_error", "residual", "energy_gap"), 0.25**n)
        for name in study.problems
        for n in range(14)
    ]
    content = {"tolerance": 1e-8, "limits": {}, "problems": known, "rows": rows, "paths": paths}
    content["provenance"] = PROVENANCE
    files.write_json(layout.solvers, content)
    for job, spec in study.solver_jobs.items():
        _solver_job(layout, study, job, spec, diverged)


def _solver_job(layout, study, job, spec, diverged):
    rng = np.random.default_rng([len(job), *job.encode()])
    learner = _solver_stages.architecture(spec)
    cycle = spec["learner"] == "cycle"
    base = 0.1 if spec["method"].startswith("unet") else 0.05 / int(spec["method"].split("-")[1])
    states = ["diverged" if f"{job}/seed-{seed}" in diverged else "ok" for seed in spec["seeds"]]
    errors = [base * math.exp(0.1 * rng.standard_normal()) if state == "ok" else None for state in states]
    for seed, state, error in zip(spec["seeds"], states, errors, strict=True):
        path = layout.job(job) / f"seed-{seed}.safetensors"
        network = build(learner, seed)
        _solver_stages.save(network, path)
        record = {
            "run": f"{job}/seed-{seed}",
            **{key: spec[key] for key in ("problem_name", "method", "learner", "loss", "architecture", "problem")},
            "seed": seed,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "operations": 1000 * int(spec["method"].split("-")[1]),
            "points": 256,
            "dataset": spec["dataset"],
            "training": {"learning_rate": 0.01, "epochs": spec["epochs"], "batch": 32},
            "status": state,
            "validation_error_by_epoch": [1.0] * (spec["epochs"] - 1) + [error],
            "checkpoint_sha256": files.sha256(path),
            "provenance": PROVENANCE,
        }
        files.write_json(path.with_suffix(".json"), record)
    made = conditions(study.problems[spec["dataset"]])
    values = dict.fromkeys(("relative_error", "residual", "energy_gap"), errors)
    kinds = kinds_iterated(network)
    several = {"converged": 1.0, "iterations": 7.0, "factor": 0.1, "moved": 1e-14, "local_radius": 0.2}
    several["own_error"] = None if cycle else 0.05
    iterated = {key: [value if error else None for error in errors] for key, value in several.items()}
    iterated["operations"] = 12_000
    evaluation = {
        "job": job,
        "seeds": spec["seeds"],
        "conditions": [described(condition, 2) | values for condition in made],
        "iterations": [described(each, 2) | iterated for each in made if each.kind in kinds],
        "certificates": [
            {"seed": seed, "condition": made[0].name, "points": 64, "tau": 100.0}
            | {"radius": 0.1, "radius_dense": 0.1, "energy_norm": 0.2, "holds": True}
            for seed in spec["seeds"]
            if cycle and learner.linear
        ],
        "provenance": PROVENANCE,
    }
    files.write_json(layout.job(job) / "evaluation.json", evaluation)


def _schemes(name, time, contrast, steps):
    place = {"test_set": name.partition("-")[0], "noise": 10.0, "time": time, "signals": 7}
    yield place | {"scheme": "none", "steps": 0, "step_size": None, "reached": 0.0, "psnr": 28.1, "relative_error": 0.1}
    for scheme, faster in {"explicit": 1, "fsi": 2, "du_fort_frankel": 4}.items():
        for n in steps:
            reached, error = min(time, faster * n / 2), 0.1 / (1 + faster * n)
            measured = {"psnr": -20 * math.log10(error), "relative_error": error}
            yield place | {"scheme": scheme, "steps": n, "step_size": reached / n, "reached": reached} | measured


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
    for name in study.tested_on(job):
        noisy = NOISY.get(name.rpartition("-")[2], 20.0)
        at_home = name == spec["dataset"]
        transferred = [None if score is None else noisy + rng.normal(2, 2) for score in scores]
        shown = scores if at_home else transferred
        errors = [None if score is None else 2 * 10 ** (-score / 20) for score in shown]
        test_sets[name] = {"signals": 7, "noisy_psnr": noisy, "psnr": shown, "relative_error": errors}
        safeguarded = architecture.name.startswith("safeguarded")
        test_sets[name]["held_back"] = [0.25 if safeguarded and error else None for error in errors]
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
            "largest_expansion_found": 4.0,
            "overflow": False,
            "shift": 0.0 if symmetric else 0.2,
            "counterexample": False,
            "contradictions": [] if certified else None,
            "repeated": [1.0, 0.9] if certified else None,
            "learned_fluxes": {"nonmonotone": 3, "monotone": 1} if architecture.flux == "learned" else {},
        }
        for seed in spec["seeds"]
    ]
    stability = {"job": job, "repetitions": [1, 20], "networks": entries, "provenance": PROVENANCE}
    files.write_json(layout.job(job) / "stability.json", stability)


def _repeated(spec):
    """Certified networks shrink, repeated ResNets grow by seed + 2 and overflow."""
    numbers, repetition, job = [1, 2, 5, 100], [], spec["job"]
    for seed, start in product(spec["seeds"], ("test", "random")):
        factor = {"resnet": 2.0 + seed, "symmetric": 1.01}.get(job.split("/")[1].partition("-")[0], 0.999)
        factor = 0.99 if "certified" in job else factor
        values = [factor**n if factor**n < 1e40 else None for n in numbers]
        run = {"run": f"{job}/seed-{seed}", "seed": seed, "start": start}
        overflow = 90 if None in values else None
        apart = values if start == "test" else None
        repetition.append({**run, "amplification": values, "overflow": overflow, "perturbation": apart})
    return {"repetitions": numbers, "repetition": repetition, "provenance": PROVENANCE}


def _followed(spec):
    """ResNets, without a bound, grow by seed + 2 in every block, all others shrink; differences grow more."""
    depths, resnet = list(range(1, spec["architecture"]["blocks"] + 1)), spec["architecture"]["name"] == "resnet"
    entries = []
    for seed in spec["seeds"]:
        factor = 2.0 + seed if resnet else 0.99
        grown = {"amplification": [factor**n for n in depths], "perturbation": [(1.5 * factor) ** n for n in depths]}
        bounds = [None if resnet else 1.0] * len(depths)
        entries.append({"run": f"{spec['job']}/seed-{seed}", "seed": seed, "bounds": bounds, **grown})
    return {"depths": depths, "followed": entries, "provenance": PROVENANCE}


def _drawn(name, depths):
    """Random networks grow by their name, certified ones shrink."""
    depth = []
    for tied, (certified, step), seed in product((False, True), ((True, 1.0), (False, 1.0), (False, 1.5)), (0, 1)):
        factor = 0.9 if certified else {"fsi": 1.6, "resnet": 1.2}.get(name, 0.95) * step
        network = {"name": name, "flux": "relu", "tied": tied, "certified": certified, "step": step, "seed": seed}
        bounds = [1.0] * len(depths) if certified else None
        grown = {"amplification": [factor**n for n in depths], "perturbation": [(2 * factor) ** n for n in depths]}
        if not (certified and name in ("resnet", "fsi")):
            depth.append({**network, "bounds": bounds, **grown, "expansion": [3.0**n for n in depths]})
    if name == "fsi":
        worst = {"amplification": [2.4**n for n in depths], "perturbation": [2.4**n for n in depths], "expansion": []}
        of_worst = {"name": "fsi", "flux": "linear", "tied": False, "certified": False, "step": 1.0, "seed": None}
        depth.append({**of_worst, "bounds": None, **worst})
    return {"depths": depths, "depth": depth, "provenance": PROVENANCE}


def _fixed_points(study):
    """Certified networks with the rate 1/2 converge with 0.4; of the others only those of even seeds do."""
    iterated, costs = [], []
    for spec in study.specs("fixed_points")["all"]["networks"]:
        certified = spec["architecture"]["certified"]
        for seed in spec["seeds"]:
            run, converges = f"{spec['job']}/seed-{seed}", certified or seed % 2 == 0
            q, observed = (0.5, 0.4) if certified else (1.2, 0.6 if converges else 1.0)
            steps = [
                {
                    "tolerance": 10.0**-digits,
                    "iterations": math.ceil(-digits / math.log10(observed)) if converges else None,
                    "allowed_iterations": math.ceil(-digits / math.log10(q)) if certified else None,
                }
                for digits in range(2, 11)
            ]
            entry = {"run": run, "certified": certified, "rate": q, "observed_rate": observed, "limit": 2292}
            entry |= {"signals": 10, "signals_converged": 10 if converges else 3, "steps": steps}
            iterated.append(entry | {"gradient_difference": 1e-15 * (1 + seed) if converges else None})
        costs += [
            {
                "run": f"{spec['job']}/seed-0",
                **{"iterations": n, "gradients": gradients, "parameters": 49},
                "saved_bytes": 1000 if gradients == "implicit" else 1000 * n,
                "seconds": 0.001 * (n + 10 if gradients == "implicit" else 2 * n),
            }
            for n in (4, 8, 16, 32, 64, 128)
            for gradients in ("unrolled", "implicit")
        ]
    return {"networks": iterated, "costs": costs, "provenance": PROVENANCE}


def _attacks(layout, job, spec, diverged):
    """One dB per grey value under attack, more for the standard residual network; half of it at random."""
    rng = np.random.default_rng([*job.encode()])
    rate = 1.5 if "/resnet-relu/" in job else 1.0
    sound = [f"{job}/seed-{seed}" not in diverged for seed in spec["seeds"]]
    levels = 34 + 0.1 * rng.standard_normal(len(sound))
    sizes = [
        {
            "size": size,
            "noisy_psnr": 28.1 - size / 2,
            "psnr_attacked": _where(sound, levels - rate * size),
            "psnr_random": _where(sound, levels - rate * size / 2),
            "psnr_guaranteed": _where(sound, levels - 3 * size),
            "lipschitz_found": _where(sound if size else [False] * len(sound), 0.9 + 0.01 * levels),
        }
        for size in (0, *spec["sizes"])
    ]
    result = {"job": job, "seeds": spec["seeds"], "signals": spec["signals"], "lipschitz_bound": [5.0] * len(sound)}
    files.write_json(layout.job(job) / "robustness.json", result | {"sizes": sizes, "provenance": PROVENANCE})


def _where(sound, values):
    return [float(value) if state else None for state, value in zip(sound, values, strict=True)]


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
