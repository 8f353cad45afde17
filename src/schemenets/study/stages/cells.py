"""Compare two networks under one combination of choices of the map, and record both sides."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from schemenets import networks, signals
from schemenets.evaluation import denoised_psnr
from schemenets.metrics import psnr
from schemenets.networks import Architecture
from schemenets.study.config import Study
from schemenets.study.measurements.design import balanced
from schemenets.study.stages import Job, Json, _fits, dataset
from schemenets.study.stages.tune import search
from schemenets.training import Run

OUTPUTS = {"cell": "map/{cell}.json"}
RECORD = "cell"
TRAINS = True
EPOCHS = 5  # of as many passes as make the number of steps
DESIGN, AROUND = "design", "around"  # kinds of cells: of the balanced design, or one choice changed at the centre
DEPTH, PARAMETERS, REFERENCE = "equal_depth", "equal_parameters", "reference"  # sides of a cell
CHOICES = ["biases", "pair", "depth", "noise", "train", "kernel_size", "initialisation", "family"]
FURTHER = ["channels", "filters", "steps"]  # that only cells around the centre change
TABLES = {
    "map": [
        *("cell", "kind", *CHOICES, *FURTHER, "side", "network", "flux", "blocks", "parameters"),
        *("learning_rate", "at_edge_of_grid", "seed", "status", "noisy_psnr", "psnr"),
    ]
}


def specs(study: Study) -> dict[str, Json]:
    """The first cells of the balanced design, and those around its centre, as many as the tier has."""
    section, own = study.config["map"], study.settings.get("map")
    if own is None:
        return {}
    design, around = _cells(section, study.config["network"])
    # spread over the design, whose rows are sorted
    spread = [design[i * len(design) // own["cells"]] for i in range(own["cells"])]
    cells = [{"steps": own["steps"], **cell} for cell in [*spread, *around[: own["around"]]]]
    shared = {
        "seeds": study.seeds,
        "learning_rates": own["learning_rates"],
        "flat": study.config["tuning"]["flat"],
        "batch": study.config["training"]["batch"],
        "data": study.data,
    }
    found = {}
    for number, cell in enumerate(cells):
        sides = {side: architecture.arguments() for side, architecture in _sides(cell).items()}
        name = signals.dataset_name(cell)
        found[f"cell-{number:02d}"] = {"cell": cell, "sides": sides, "dataset": name, **shared}
    return found


def _cells(section: Mapping[str, Any], network: Mapping[str, Any]) -> tuple[list[Json], list[Json]]:
    """Those of the design, and the centre with its changes."""
    usual = {key: network.get(key, 1) for key in ("channels", "filters")}
    design = [{"kind": DESIGN, **usual, **cell} for cell in balanced(section["factors"], section["cells"])]
    changes: list[Json] = [{}, *section["around"]]
    return design, [{"kind": AROUND, **usual, **section["centre"], **change} for change in changes]


def check(section: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """Make sure that all networks of a map can be built.

    Raises:
        InvalidParameterError, UnknownNameError: they cannot.
    """
    for cell in chain(*_cells(section, network)):
        for architecture in _sides(cell).values():
            architecture.check()


def _sides(cell: Mapping[str, Any]) -> dict[str, Architecture]:
    candidate, reference = cell["pair"].split("/")
    shared = {key: cell[key] for key in ("biases", "filters", "kernel_size", "channels", "initialisation")}
    symmetric = Architecture(name="symmetric", flux=candidate, blocks=cell["depth"], **shared)
    resnet = Architecture(name="resnet", flux=reference, blocks=cell["depth"], **shared)
    most = networks.blocks_for_budget(symmetric, resnet.count().total)
    return {DEPTH: symmetric, PARAMETERS: replace(symmetric, blocks=most), REFERENCE: resnet}


def data_sets(study: Study) -> list[Json]:
    """Family and noise of every data set that cells are tested on."""
    cells = [spec["cell"] for spec in study.specs("cells").values()]
    return [{key: cell[key] for key in ("family", "noise")} for cell in cells]


def inputs(spec: Json) -> Json:
    """The data set."""
    return {"data": dataset(spec["dataset"])}


def run(job: Job) -> None:
    """Train every side at learning rates from the middle of the grid on, and test the networks with the best one.

    The best has the best mean over the seeds on validation signals, searched as by the stage ``tune``. A diverged seed
    counts as having done nothing.
    """
    spec, cell = job.spec, job.spec["cell"]
    arrays = signals.read(job.results.dataset(spec["dataset"]))
    noisy, clean = arrays["test/noisy"], arrays["test/clean"]
    nothing = float(psnr(arrays["validation/noisy"], arrays["validation/clean"]).mean())
    per_pass = max(1, cell["train"] // spec["batch"])
    training = {"epochs": EPOCHS, "passes": max(1, round(cell["steps"] / (EPOCHS * per_pass)))}
    draws = {**{key: cell[key] for key in ("family", "noise", "train")}, **spec["data"]}
    found = {}
    for side, architecture in spec["sides"].items():
        own = {**spec, **training, "architecture": architecture, "task": {"name": "denoising"}, "draws": draws}
        with ExitStack() as states:
            rate, chosen = _searched(replace(job, spec=own), nothing, states)
            found[side] = {
                "learning_rate": rate,
                "at_edge_of_grid": rate in (min(spec["learning_rates"]), max(spec["learning_rates"])),
                "parameters": networks.architecture(architecture).count().total,
                "runs": [
                    {
                        "seed": run.seed,
                        "status": run.status,
                        "psnr": float(denoised_psnr(run.network, noisy, clean).mean()) if run.status == "ok" else None,
                    }
                    for run in chosen
                ],
            }
    job.write_record({"sides": found, "noisy_psnr": float(psnr(noisy, clean).mean()), **spec["cell"]})


def _searched(job: Job, nothing: float, states: ExitStack) -> tuple[float, list[Run]]:
    """The best learning rate of a side and the runs with it; states of interrupted work are kept until the end."""
    seeds, trials = len(job.spec["seeds"]), dict[float, list[Run]]()

    def measure(rates: list[float]) -> None:
        runs = states.enter_context(_fits.fitted(job, rates))
        trials.update({rate: runs[i * seeds : (i + 1) * seeds] for i, rate in enumerate(rates)})

    def value(rate: float) -> float:
        return float(np.mean([nothing if run.outcome is None else run.outcome for run in trials[rate]]))

    search(sorted(job.spec["learning_rates"]), measure, value, True, job.spec["flat"])
    best = max(sorted(trials), key=value)
    return best, trials[best]


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every tested network."""
    return {"map": [row for name, record in records.items() for row in _rows(name, record)]}


def _rows(name: str, record: Json) -> Iterator[Json]:
    sides = {side: architecture.arguments() for side, architecture in _sides(record).items()}
    for side, found in record["sides"].items():
        for run in found["runs"]:
            yield {
                "cell": name,
                **{key: record[key] for key in ("kind", *CHOICES, *FURTHER, "noisy_psnr")},
                "side": side,
                "network": sides[side]["name"],
                **{key: sides[side][key] for key in ("flux", "blocks")},
                **{key: found[key] for key in ("parameters", "learning_rate", "at_edge_of_grid")},
                **run,
            }
