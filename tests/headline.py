"""Made-up tables of the experiments on quality, size and guarantee, and of the map."""

from itertools import product
from pathlib import Path

import pandas as pd

from schemenets.study.config import Study
from schemenets.study.measurements.design import balanced
from schemenets.study.stages import cells, evaluate, stability, train

ROOT = Path(__file__).parents[1]
NOISY = 28.1
EVERY = ("capacity", "scanlines", "ladder")


def trained(level, experiments=EVERY, lost=()):
    """Runs of the tier ``study`` with the PSNR ``level(experiment, method, blocks, seed)``, in dB; lost ones diverged.

    Certified networks amplify by 1 and others by their number of blocks, differences by 1.5 and three times as much; c
    is 1 and twice as much, and with biases, the relative drift of a certificate is 0.4.
    """
    study = Study.load(ROOT, tier="study")
    found = {"runs": [], "psnr": [], "stability": []}
    for (experiment, method, size), seeds in study.trainings.items():
        if experiment not in experiments:
            continue
        architecture = study.architecture(method, size, experiment)
        family = study.config["experiments"][experiment]["family"]
        count, certified = architecture.count(), architecture.certified
        for seed in seeds:
            run = f"{experiment}/{method}/{size}/seed-{seed}"
            name = {"run": run, "experiment": experiment, "method": method, "size": size, "seed": seed}
            status = "diverged" if run in lost else "ok"
            described = {"network": architecture.name, **architecture.arguments()}
            counted = {"parameters": count.total, "convolution_weights": count.convolution}
            found["runs"].append({**described, **name, **counted, "dataset": f"{family}-10", "status": status})
            psnr = None if run in lost else level(experiment, method, architecture.blocks, seed)
            place = {"status": status, "test_set": family, "noise": 10.0, "signals": 7, "noisy_psnr": NOISY}
            found["psnr"].append({**name, **place, "psnr": psnr})
            bounded = architecture.steps == "positive"
            found["stability"].append(
                {
                    **{**name, "certified": certified, "overflow": False},
                    "largest_amplification_found": 1.0 if certified else float(architecture.blocks),
                    "largest_expansion_found": 1.5 if certified else 3.0 * architecture.blocks,
                    "euclidean_bound": (1.0 if certified else 2.0 * architecture.blocks) if bounded else None,
                    "relative_drift": (0.4 if architecture.biased else 0.0) if bounded else None,
                }
            )
    columns = train.TABLES | evaluate.TABLES | stability.TABLES
    return {name: pd.DataFrame(rows, columns=columns[name]) for name, rows in found.items()}


def mapped(effect, lost=(), seeds=3):
    """The map: 48 cells and those around their centre; residual networks have 34 dB, ``effect(cell, side, seed)`` more
    have symmetric ones. Runs ``(cell, side, seed)`` in ``lost`` have diverged."""
    section = Study.load(ROOT, tier="map").config["map"]
    usual = {"channels": 1, "filters": 8, "steps": 2300}
    made = [{"kind": cells.DESIGN, **usual, **cell} for cell in balanced(section["factors"], section["cells"])]
    made += [{"kind": cells.AROUND, **usual, **section["centre"], **change} for change in [{}, *section["around"]]]
    found = []
    for (number, cell), side, seed in product(
        enumerate(made), (cells.DEPTH, cells.PARAMETERS, cells.REFERENCE), range(seeds)
    ):
        name = f"cell-{number:02d}"
        ok = (name, side, seed) not in lost
        level = 34.0 + (0.0 if side == cells.REFERENCE else effect(cell, side, seed))
        measured = {"noisy_psnr": NOISY, "status": "ok" if ok else "diverged", "psnr": level if ok else None}
        found.append({"cell": name, **cell, "side": side, "seed": seed, **measured})
    return {"map": pd.DataFrame(found, columns=cells.TABLES["map"])}
