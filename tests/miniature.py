"""The study in miniature: every stage has a job, and all of them together take seconds."""

import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from schemenets.study import stages
from schemenets.study.config import CLAIMS, CONFIG, SCHEMA, Study
from schemenets.study.layout import Layout

ROOT = Path(__file__).parents[1]
RESULTS = Path("results/smoke")
COUNTS = {"piecewise_affine": 64, "scanlines": 64, "evolution": 64}
TIER = {
    "seeds": 2,
    "first_seed": 0,
    "data_seed": 1,
    "rates": "tuned",
    "learning_rates": [0.01, 0.02],
    "epochs": 1,
    "train": COUNTS,
    "validation": COUNTS,
    "test": COUNTS | {"donoho_johnstone": 4, "ecg": 2},
    "test_noises": [10],
    "search": {"starts": 2, "steps": 2, "climb": 3, "repetitions": 5},
    "stability": {"repetitions": 5, "depths": [1, 3, 12], "networks": ["symmetric", "resnet", "fsi"]},
    "robustness": {"experiment": "ladder", "signals": 8, "starts": 2, "steps": 2, "sizes": [5]},
    "solvers": {
        **{"epochs": 1, "train": 8, "validation": 2, "test": 2, "others": 1, "points": [16]},
        "learning_rates": [0.01, 0.03],
        "problems": {"charbonnier": ["cycle-1", "multigrid-1", "unet-2"], "poisson": ["cycle-1"]},
    },
    "map": {"cells": 0, "around": 1, "steps": 4, "learning_rates": [0.02]},
    "experiments": {
        "capacity": [{"methods": ["resnet-relu", "symmetric-perona_malik"], "budgets": [240]}],
        "ladder": [
            {
                "methods": [
                    *("resnet-relu", "symmetric-perona_malik"),
                    *("symmetric-perona_malik-certified", "symmetric-perona_malik-certified-no_biases"),
                    "implicit-perona_malik-certified",
                ],
                "blocks": [4],
            }
        ],
        "evolution_16": [
            {"methods": ["symmetric-perona_malik-tied", "safeguarded_fsi-perona_malik-certified-tied"], "blocks": [4]}
        ],
    },
}


def config() -> dict:
    """The configuration."""
    found = yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))
    found["tier"] = "smoke"
    found["signals"]["length"] = 64
    found["network"] |= {"filters": 2, "kernel_size": 3}
    found["map"]["centre"] |= {"train": 64, "kernel_size": 3}
    found["tuning"]["seeds"] = 1
    found["solvers"] |= {"points": 32, "batch": 8}
    found["stability"] |= {"fluxes": ["perona_malik"], "experiments": ["capacity", *found["stability"]["experiments"]]}
    found["tiers"] = {tier: deepcopy(TIER) for tier in found["tiers"]}
    return found


def project(directory: Path) -> Study:
    """Write the files of the project, and return its study."""
    for part in (CLAIMS.parent, SCHEMA.parent):
        shutil.copytree(ROOT / part, directory / part)
    (directory / CONFIG).write_text(dumps(config()), encoding="utf-8")
    return Study.load(directory)


def dumps(content: dict) -> str:
    """YAML without references to earlier parts, which tests would change together."""
    return yaml.dump(json.loads(json.dumps(content)), sort_keys=False)


def make(directory: Path) -> None:
    """Write the project and run it there."""
    run(directory, project(directory))


def run(directory: Path, study: Study) -> None:
    """Run every job of every stage of a project's study in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("SCHEMENETS_KERNEL", "reference")  # compiling the others takes longer
        for stage, name in ordered(study):
            stages.run(stage, name, study.specs(stage)[name], Layout(RESULTS))


def copy(made: Path, directory: Path) -> None:
    """Copy the project with its results, but without data sets."""
    shutil.copytree(made, directory, ignore=lambda path, names: {"data"} & set(names))


def ordered(study: Study) -> Iterator[tuple[str, str]]:
    """All jobs, each after those that it reads."""
    read = {
        (stage, name): {each[:2] for each in read_by(stage, spec)}
        for stage in stages.available()
        for name, spec in study.specs(stage).items()
    }
    return iter(TopologicalSorter(read).static_order())


def read_by(stage: str, spec: dict) -> list[tuple[str, ...]]:
    """The jobs of other stages that a job reads, as its stage refers to them."""
    return [each for found in stages.references(stage, spec).values() for each in found if not isinstance(each, str)]
