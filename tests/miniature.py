"""The study in miniature: every stage has a job, and all of them together take seconds."""

import shutil
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

from schemenets.study import stages
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.layout import Layout

ROOT = Path(__file__).parents[1]
RESULTS = Path("results/smoke")
COUNTS = {"piecewise_affine": 64, "scanlines": 64, "evolution": 64}
TIER = {
    "seeds": 2,
    "epochs": 1,
    "train": COUNTS,
    "validation": COUNTS,
    "test": COUNTS | {"donoho_johnstone": 4, "ecg": 2},
    "test_noises": [10],
    "tuning": {"seeds": 1, "learning_rates": [0.01, 0.02]},
    "search": {"starts": 2, "steps": 2, "climb": 3, "repetitions": 5},
    "stability": {"repetitions": 5, "depths": [1, 3, 12], "networks": ["symmetric", "resnet", "fsi"]},
    "robustness": {"experiment": "factorial", "signals": 8, "starts": 2, "steps": 2, "sizes": [5]},
    "solvers": {
        **{"epochs": 1, "train": 8, "validation": 2, "test": 2, "others": 1, "points": [16]},
        "tuning": {"seeds": 1, "learning_rates": [0.01, 0.03]},
        "problems": {"charbonnier": ["cycle-1", "multigrid-1", "unet-2"], "poisson": ["cycle-1"]},
    },
    "experiments": {
        "capacity": [{"methods": ["resnet-relu", "symmetric-perona_malik"], "budgets": [240]}],
        "factorial": [
            {
                "methods": [
                    *("resnet-relu", "symmetric-perona_malik"),
                    *("symmetric-perona_malik-certified", "implicit-perona_malik-certified"),
                ],
                "blocks": [4],
            }
        ],
        "evolution_4": [
            {"methods": ["symmetric-perona_malik", "safeguarded_fsi-perona_malik-certified"], "blocks": [4]}
        ],
    },
}


def config() -> dict:
    """The configuration."""
    found = yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))
    found["tier"] = "smoke"
    found["signals"]["length"] = 64
    found["network"] = {"filters": 2, "kernel_size": 3}
    found["solvers"] |= {"points": 32, "batch": 8}
    found["stability"]["fluxes"] = ["perona_malik"]
    found["tiers"] = dict.fromkeys(found["tiers"], TIER)
    return found


def claims() -> dict:
    """The registered claims that the jobs of the miniature can decide."""
    found = yaml.safe_load((ROOT / CLAIMS).read_text(encoding="utf-8"))
    del found["claims"][3:], found["claims"][0]["comparisons"][1:]
    found["claims"][0]["threshold"]["sensitivity"] = [0.1]
    return found


def project(directory: Path) -> Study:
    """Write the files of the project, and return its study."""
    shutil.copytree(ROOT / "workflow/schemas", directory / "workflow/schemas")
    for path, content in ((CONFIG, config()), (CLAIMS, claims())):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(yaml.safe_dump(content), encoding="utf-8")
    return Study.load(directory)


def make(study: Study, results: Layout) -> None:
    """Run every job of every stage, with the directory of the project as the working directory."""
    for stage, name in ordered(study):
        stages.run(stage, name, study.specs(stage)[name], results)


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
