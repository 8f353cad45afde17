"""A results directory with made-up numbers: what figures and report are tested on."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import yaml

from schemenets import checkpoints, files, networks, signals
from schemenets.multigrid.data import conditions
from schemenets.study import stages
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.layout import Layout
from schemenets.study.measurements.classical import METHODS
from schemenets.study.measurements.solving import described, kinds_iterated
from schemenets.study.overrides import resolved

ROOT = Path(__file__).parents[1]
LEVELS = {"resnet-relu": 34.0, "symmetric-relu": 30.0, "symmetric-charbonnier": 33.0, "symmetric-perona_malik": 34.5}
NOISY = {"5": 34.1, "10": 28.1, "20": 22.1}
DIVERGED = "capacity/symmetric-perona_malik/budget-240/seed-1"
PROVENANCE = {
    "finished": "2026-01-02T03:04:05+00:00",
    "wall_seconds": 10.0,
    "cpu_seconds": 9.0,
    "source_sha256": "c0de" * 16,
    "inputs_sha256": {"data/piecewise_affine-10.safetensors": "da7a" * 16},
    "git": {"commit": "deadbeef" * 5, "dirty": True},
    "device": "Some <Processor>",
    "threads": 1,
    "platform": "Linux-x86_64",
    "versions": {"schemenets": "0.9.0", "python": "3.11.0", "torch": "2.13.0"},
}


def study(tier="smoke"):
    """The study; its smoke tier is that of ``tier.yaml``, which has something of every kind in it."""
    config = yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))
    config["tiers"]["smoke"] = yaml.safe_load((ROOT / "tests/tier.yaml").read_text(encoding="utf-8"))
    return Study.check(resolved({**config, "tier": tier}), ROOT)


def results(root: Path, tier: str = "smoke", diverged: tuple[str, ...] = ()) -> tuple[Layout, Study]:
    """Records of every job of a tier, their tables and claims; the runs named in ``diverged`` have diverged."""
    made, layout = study(tier), Layout(root)
    for name in made.test_sets:
        family, _, noise = name.rpartition("-")
        spec = {"family": family, "noise": float(noise), "length": 256, "seed": 1, "test": 2}
        signals.write(spec, layout.dataset(name))
    for job, spec in made.denoisers.items():
        _job(layout, made, job, spec, diverged)
    for stage, content in {"robustness": _attacks, "growth": _grown, "random_growth": _drawn, "tune": _tuned}.items():
        for name, spec in made.specs(stage).items():
            _write(layout, stage, name, content(name, spec, diverged))
    for name, spec in made.specs("cells").items():
        _write(layout, "cells", name, _compared(spec))
    _write(layout, "fixed_points", "all", _fixed_points(made))
    datasets = made.specs("schemes")["all"]["datasets"]
    _write(
        layout, "schemes", "all", {"rows": [row for name, spec in datasets.items() for row in _schemes(name, **spec)]}
    )
    _write(layout, "classical", "all", _classical(**made.specs("classical")["all"]))
    _write(layout, "distances", "all", {"rows": list(_distances(**made.specs("distances")["all"]))})
    _solvers(layout, made, diverged)
    for stage in stages.available():  # what is not made up is measured
        if stages.has_provenance(stage):
            for name, spec in made.specs(stage).items():
                if not layout.file(stage, name, stages.record_key(stage)).is_file():
                    stages.run(stage, name, spec, layout)
    stages.run("tables", "all", made.specs("tables")["all"], layout)
    stages.run("claims", "all", {"registered": str(ROOT / CLAIMS)}, layout)
    return layout, made


def _write(layout, stage, name, content):
    """Write the record of a job."""
    path = layout.file(stage, name, stages.record_key(stage))
    files.write_json(path, {**content, "provenance": PROVENANCE})


def _states(job, spec, diverged):
    return ["diverged" if f"{job}/seed-{seed}" in diverged else "ok" for seed in spec["seeds"]]


def _trained(layout, study, job, states, curves, **more):
    """Record and weights of a training job."""
    spec = study.specs("train")[job]
    architecture = networks.architecture(spec["architecture"])
    path, count = layout.file("train", job, "weights"), architecture.count()
    checkpoints.save_all({seed: architecture.build(seed) for seed in spec["seeds"]}, path)
    record = {
        "job": job,
        **{key: spec[key] for key in ("experiment", "method", "size", "task", "architecture", "dataset")},
        "parameters": count.total,
        "convolution_weights": count.convolution,
        "data_seed": 1,
        "training": {"learning_rate": 0.02, "epochs": spec["epochs"], "batch": spec["batch"]},
        "runs": [
            {
                "seed": seed,
                "status": state,
                "diverged_at_step": None if state == "ok" else 3,
                "validation": curve[-1],
                "validation_by_epoch": curve,
            }
            for seed, state, curve in zip(spec["seeds"], states, curves, strict=True)
        ],
        "weights_sha256": files.sha256(path),
        **more,
    }
    _write(layout, "train", job, record)


def _classical(tuned_on):
    """The trial in the middle is the best; methods gain 1, 2, ... dB, the oracle half a decibel more."""
    trials = {name: len(method.trials(10)) for name, method in METHODS.items()}
    tuned = {name: [-abs(index - count // 2) for index in range(count)] for name, count in trials.items()}
    test_sets = {}
    for name in tuned_on:
        noisy = NOISY.get(name.rpartition("-")[2], 20.0)
        test_sets[name] = {"noisy_psnr": noisy, "signals": 7}
        for gain, method in enumerate(METHODS, start=1):
            test_sets[name][method] = {"psnr": noisy + gain, "oracle_psnr": noisy + gain + 0.5, "oracle_at_edge": gain}
    return {"tuned_on": tuned_on, "tuning": dict.fromkeys(tuned_on.values(), tuned), "test_sets": test_sets}


def _distances(training_sets, test_sets):
    for training_set, (place, name) in product(training_sets, enumerate(test_sets)):
        test_set, _, noise = name.rpartition("-")
        distance = 0.1 if name == training_set else place + 1.5
        yield {"training_set": training_set, "test_set": test_set, "noise": float(noise), "distance": distance}


def _solvers(layout, study, diverged):
    """Schemes and networks that solve: unet-N has an error of 0.1, cycle-N and multigrid-N one of 0.05/N."""
    rows, facts = [], {"unique": True, "several_solutions": 0.0, "largest_residual": 1e-12}
    for name, spec in study.specs("problems").items():
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
        for name, spec in study.specs("problems").items()
    ]
    # V-cycles take 10,000 operations each and divide all errors by four
    paths = [
        {"problem": name[8:], "solver": "V(2,2)", "iterations": n, "operations": 10_000 * n}
        | dict.fromkeys(("relative_error", "residual", "energy_gap"), 0.25**n)
        for name in study.specs("problems")
        for n in range(14)
    ]
    content = {"tolerance": 1e-8, "limits": {}, "problems": known, "rows": rows, "paths": paths}
    _write(layout, "solvers", "all", content)
    for job, spec in study.solvers.items():
        _solver_job(layout, study, job, spec, diverged)


def _solver_job(layout, study, job, spec, diverged):
    rng = np.random.default_rng([len(job), *job.encode()])
    architecture, epochs = networks.architecture(spec["architecture"]), study.specs("train")[job]["epochs"]
    cycle = architecture.name == "cycle"
    base = 0.1 if spec["method"].startswith("unet") else 0.05 / int(spec["method"].split("-")[1])
    states = _states(job, spec, diverged)
    errors = [base * math.exp(0.1 * rng.standard_normal()) if state == "ok" else None for state in states]
    _trained(layout, study, job, states, [[1.0] * (epochs - 1) + [error] for error in errors], points=256)
    made = conditions(study.specs("problems")[spec["dataset"]])
    values = dict.fromkeys(("relative_error", "residual", "energy_gap"), errors)
    kinds = kinds_iterated(architecture.build())
    several = {"converged": 1.0, "iterations": 7.0, "factor": 0.1, "moved": 1e-14, "local_radius": 0.2}
    several |= {"own_error": None, "from_fas": None} if cycle else {"own_error": 0.05, "from_fas": 1e-15}
    iterated = {key: [value if error else None for error in errors] for key, value in several.items()}
    iterated["operations"] = 12_000
    evaluation = {
        "job": job,
        "seeds": spec["seeds"],
        "status": {str(seed): state for seed, state in zip(spec["seeds"], states, strict=True)},
        "cycles": spec["architecture"].get("cycles") or spec["architecture"].get("blocks"),
        "conditions": [described(condition, 2) | values for condition in made],
        "iterations": [described(each, 2) | iterated for each in made if each.kind in kinds],
        "certificates": [
            {"seed": seed, "condition": made[0].name, "points": 64, "tau": 100.0}
            | {"radius": 0.1, "radius_dense": 0.1, "energy_norm": 0.2, "holds": True}
            for seed in spec["seeds"]
            if cycle and architecture.linear
        ],
    }
    _write(layout, "evaluate_solvers", job, evaluation)


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
    architecture, epochs = networks.architecture(spec["architecture"]), study.specs("train")[job]["epochs"]
    parameters = architecture.count().total
    level = LEVELS.get(spec["method"].removesuffix("-certified"), 34.2) + math.log10(parameters / 240)
    status = _states(job, spec, diverged)
    values = (level + 0.1 * rng.standard_normal(len(status))).tolist()
    scores = [value if state == "ok" else None for value, state in zip(values, status, strict=True)]
    curves = [[value - 3 * (1 - epoch / epochs) ** 2 for epoch in range(1, epochs + 1)] for value in values]
    curves = [
        curve if state == "ok" else [curve[0]] + [None] * (epochs - 1)
        for curve, state in zip(curves, status, strict=True)
    ]
    _trained(layout, study, job, status, curves)
    test_sets = {}
    for name in study.tested_on(spec["experiment"]):
        noisy = NOISY.get(name.rpartition("-")[2], 20.0)
        at_home = name == spec["dataset"]
        transferred = [None if score is None else noisy + rng.normal(2, 2) for score in scores]
        shown = scores if at_home else transferred
        errors = [None if score is None else 2 * 10 ** (-score / 20) for score in shown]
        test_sets[name] = {"signals": 7, "noisy_psnr": noisy, "psnr": shown, "relative_error": errors}
        safeguarded = architecture.name.startswith("safeguarded")
        test_sets[name]["held_back"] = [0.25 if safeguarded and error else None for error in errors]
        if name.startswith("scanlines"):
            parts = {"astronaut": (4, 0.75), "cell": (3, -1.0)}  # signals, and dB above the mean of all 7
            test_sets[name]["images"] = {
                image: {"signals": count, "noisy_psnr": noisy, "psnr": [score and score + above for score in shown]}
                for image, (count, above) in parts.items()
            }
    told = {str(seed): state for seed, state in zip(spec["seeds"], status, strict=True)}
    _write(layout, "evaluate", job, {"job": job, "seeds": spec["seeds"], "status": told, "test_sets": test_sets})
    certified, symmetric = architecture.certified, architecture.name == "symmetric"
    entries = [
        {
            "seed": seed,
            "theorem": "a theorem" if symmetric else None,
            "certified": certified,
            "failed_conditions": [] if certified or not symmetric else ["blocks.0: τ ≤ 2/(L‖K‖²)"],
            "euclidean_bound": (1.0 if certified else 3.0 + seed) if symmetric else None,
            "drift_bound": 0.0 if symmetric else None,
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
    _write(layout, "stability", job, {"job": job, "repetitions": [1, 20], "signals_rms": 0.5, "networks": entries})


def _grown(job, spec, diverged):
    """Certified networks shrink, ResNets grow by seed + 2 in every repetition and block."""
    numbers, repetition, followed = [1, 2, 5, 100], [], []
    depths, resnet = list(range(1, spec["architecture"]["blocks"] + 1)), spec["architecture"]["name"] == "resnet"
    for seed, start in product(spec["seeds"], ("test", "random") if spec["repetitions"] else ()):
        factor = {"resnet": 2.0 + seed, "symmetric": 1.01}.get(job.split("/")[1].partition("-")[0], 0.999)
        factor = 0.99 if "certified" in job else factor
        values = [factor**n if factor**n < 1e40 else None for n in numbers]
        overflow = 90 if None in values else None
        apart = values if start == "test" else None
        entry = {"seed": seed, "start": start, "amplification": values, "overflow": overflow, "perturbation": apart}
        repetition.append(entry)
    for seed in spec["seeds"]:
        factor = 2.0 + seed if resnet else 0.99
        bounds = [None if resnet else 1.0] * len(depths)
        followed.append({"seed": seed, "bounds": bounds, "amplification": [factor**n for n in depths]})
    return {
        "job": job,
        "repetitions": numbers if spec["repetitions"] else [],
        "repetition": repetition,
        "depths": depths,
        "followed": followed,
    }


def _drawn(name, spec, diverged):
    """Random networks grow by their name, certified ones shrink."""
    depths, depth = spec["depths"], []
    for tied, (certified, step), seed in product((False, True), ((True, 1.0), (False, 1.0), (False, 1.5)), (0, 1)):
        factor = 0.9 if certified else {"fsi": 1.6, "resnet": 1.2}.get(name, 0.95) * step
        network = {"name": name, "flux": "relu", "tied": tied, "certified": certified, "step": step, "seed": seed}
        bounds = [1.0] * len(depths) if certified else None
        grown = {"amplification": [factor**n for n in depths], "perturbation": [(2 * factor) ** n for n in depths]}
        if not (certified and name in ("resnet", "fsi")):
            depth.append({**network, "bounds": bounds, **grown})
    if name == "fsi":
        worst = {"amplification": [2.4**n for n in depths], "perturbation": [2.4**n for n in depths]}
        of_worst = {"name": "fsi", "flux": "linear", "tied": False, "certified": False, "step": 1.0, "seed": None}
        depth.append({**of_worst, "bounds": None, **worst})
    return {"depths": depths, "depth": depth}


def _compared(spec):
    """Residual networks have 34 dB, symmetric ones 0.1 dB more."""
    sides = {
        side: {
            **{"learning_rate": spec["learning_rates"][0], "at_edge_of_grid": True},
            "parameters": networks.architecture(architecture).count().total,
            "runs": [
                {"seed": seed, "status": "ok", "psnr": 34.0 + 0.1 * (architecture["name"] == "symmetric")}
                for seed in spec["seeds"]
            ],
        }
        for side, architecture in spec["sides"].items()
    }
    return {"sides": sides, "noisy_psnr": 28.1, **spec["cell"]}


def _fixed_points(study):
    """Certified networks with the rate 1/2 converge with 0.4; of the others only those of even seeds do."""
    iterated, costs = [], []
    for spec in study.specs("fixed_points")["all"]["networks"]:
        certified = spec["architecture"]["certified"]
        for seed in spec["seeds"]:
            converges = certified or seed % 2 == 0
            q, observed = (0.5, 0.4) if certified else (1.2, 0.6 if converges else 1.0)
            steps = [
                {
                    "tolerance": 10.0**-digits,
                    "iterations": math.ceil(-digits / math.log10(observed)) if converges else None,
                    "allowed_iterations": math.ceil(-digits / math.log10(q)) if certified else None,
                }
                for digits in range(2, 11)
            ]
            entry = {
                "job": spec["job"],
                "seed": seed,
                "certified": certified,
                "rate": q,
                "observed_rate": observed,
                "limit": 2292,
            }
            entry |= {"signals": 10, "signals_converged": 10 if converges else 3, "steps": steps}
            iterated.append(entry | {"gradient_difference": 1e-15 * (1 + seed) if converges else None})
        costs += [
            {
                **{"job": spec["job"], "seed": 0},
                **{"iterations": n, "gradients": gradients, "parameters": 49},
                "saved_bytes": 1000 if gradients == "implicit" else 1000 * n,
                "seconds": 0.001 * (n + 10 if gradients == "implicit" else 2 * n),
            }
            for n in (4, 8, 16, 32, 64, 128)
            for gradients in ("unrolled", "implicit")
        ]
    return {"networks": iterated, "costs": costs}


def _attacks(job, spec, diverged):
    """One dB per grey value under attack, more for the standard residual network; half of it at random."""
    rng = np.random.default_rng([*job.encode()])
    rate = 1.5 if "/resnet-relu/" in job else 1.0
    states = _states(job, spec, diverged)
    sound = [state == "ok" for state in states]
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
    told = {str(seed): state for seed, state in zip(spec["seeds"], states, strict=True)}
    result = {"job": job, "seeds": spec["seeds"], "status": told, "signals": spec["signals"]}
    return result | {"lipschitz_bound": [5.0] * len(sound), "sizes": sizes}


def _where(sound, values):
    return [float(value) if state else None for state, value in zip(sound, values, strict=True)]


def _tuned(name, spec, diverged):
    rates, solves = sorted(spec["learning_rates"]), spec["task"]["name"] == "solving"
    values = [0.1 + rate if solves else 30.0 + index for index, rate in enumerate(rates)]
    trials = [
        {
            "learning_rate": rate,
            "mean_validation": value,
            "runs": [{"seed": seed, "status": "ok", "validation": value} for seed in spec["seeds"]],
        }
        for rate, value in zip(rates, values, strict=True)
    ]
    if not solves:
        trials[0]["runs"][-1] |= {"status": "diverged", "validation": None}
    chosen = {"learning_rate": rates[0 if solves else -1], "at_edge_of_grid": True, "nothing": 1 if solves else 28.1}
    return {"name": name, "size": spec["size"], **chosen, "trials": trials}
