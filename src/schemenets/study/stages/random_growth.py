"""Send signals through random networks of ever more blocks, with and without constraints."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch

from schemenets import networks
from schemenets.devices import flushed_subnormals
from schemenets.errors import InvalidParameterError
from schemenets.networks import Architecture
from schemenets.progress import Progress
from schemenets.study.config import Study
from schemenets.study.measurements import growth
from schemenets.study.measurements.growth import numbers_of, perturbations_of
from schemenets.study.stages import Job, Json
from schemenets.study.stages._rows import GROWTH

OUTPUTS = {"growth": "growth/{network}.json"}
RECORD = "growth"
TABLES = {"growth": GROWTH}
STEPS = (1.0, 1.5)  # step sizes relative to their limit


def specs(study: Study) -> dict[str, Json]:
    """Random networks of many blocks, by the name of their architecture."""
    depths = study.settings["stability"]["depths"]
    shared = {"seeds": study.seeds, "length": study.config["signals"]["length"]}
    return {
        name: {"networks": list(_drawn(study, name, max(depths))), "depths": depths, **shared}
        for name in study.settings["stability"]["networks"]
    }


def _drawn(study: Study, name: str, blocks: int) -> Iterator[Json]:
    """Random networks of one name and their step sizes, and the worst of all, without those that cannot be built."""
    for flux, tied, certified in product(study.config["stability"]["fluxes"], (False, True), (False, True)):
        size = {**study.config["network"], "biases": False}
        architecture = Architecture(name=name, flux=flux, blocks=blocks, tied=tied, certified=certified, **size)
        try:
            architecture.check()
        except InvalidParameterError:
            continue
        if tied or name != "implicit":  # whose blocks share their weights anyway
            for step in STEPS[:1] if certified else STEPS:
                yield {"architecture": architecture.arguments(), "step": step}
    if name == "fsi":
        scalar = Architecture(name=name, flux="linear", blocks=blocks, filters=1, kernel_size=1)
        yield {"architecture": scalar.arguments(), "step": 1.0, "worst": True}


def inputs(spec: Json) -> Json:
    """Nothing: weights and signals are random."""
    return {}


@flushed_subnormals()
def run(job: Job) -> None:
    """Write norms by depth; null after an overflow."""
    job.write_record({"depths": job.spec["depths"], "depth": list(behind_all_blocks(job.spec))})


def behind_all_blocks(spec: Json) -> Iterator[Json]:
    """The entries of all random networks of a specification, with as many blocks as its largest depth."""
    progress = Progress("random growth", len(spec["networks"]), "networks")
    for done, entry in enumerate(spec["networks"], start=1):
        if entry.get("worst"):
            yield _worst(spec["depths"])
        else:
            architecture = replace(Architecture(**entry["architecture"]), blocks=max(spec["depths"]))
            yield from behind_blocks(architecture, entry["step"], spec)
        progress.update(done, entry["architecture"]["name"])


def behind_blocks(architecture: Architecture, step: float, spec: Json) -> Iterator[Json]:
    """One entry for each seed: growth of signals and of differences in a random network, by the number of blocks."""
    seeds, depths = spec["seeds"], spec["depths"]
    network = growth.random_network(architecture, seeds, step)
    starts = growth.random_signals(growth.SIZES, spec["length"]).expand(len(seeds), -1, -1)
    found = growth.through_depth(network, starts, perturbations_of(starts), depths)
    amplification, perturbation = (x.amax(-1) for x in found)
    bounds = growth.bounds_of(network, depths) if architecture.certified else None
    for index, seed in enumerate(seeds):
        yield {
            **{key: getattr(architecture, key) for key in ("name", "flux", "tied", "certified")},
            "step": step,
            "seed": seed,
            "bounds": bounds,
            "amplification": numbers_of(amplification[:, index]),
            "perturbation": numbers_of(perturbation[:, index]),
        }


def _worst(depths: Sequence[int]) -> Json:
    """The FSI network that grows fastest within the limits of stable explicit steps."""
    network = networks.stack([growth.worst_fsi(max(depths))])
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    amplification, perturbation = (x[:, 0, 0] for x in growth.through_depth(network, one, growth.NEAR * one, depths))
    return {
        "name": "fsi",
        "flux": "linear",
        "tied": False,
        "certified": False,
        "step": 1.0,
        "seed": None,
        "bounds": None,
        "amplification": numbers_of(amplification),
        "perturbation": numbers_of(perturbation),
    }


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """One row per network, quantity and number n of blocks; after an overflow without a number."""
    return {"growth": [row for record in records.values() for row in _rows(record)]}


def _rows(record: Json) -> Iterator[Json]:
    for entry in record["depth"]:
        network = {
            "network": entry["name"],
            **{key: entry[key] for key in ("flux", "tied", "certified", "step", "seed")},
        }
        bounds = entry["bounds"] or [None] * len(record["depths"])
        for kind, quantity in (("depth", "amplification"), ("perturbation", "perturbation")):
            for n, value, bound in zip(record["depths"], entry[quantity], bounds, strict=True):
                limit: dict[str, Any] = {"bound": bound} if kind == "depth" else {}
                yield {"kind": kind, **network, **limit, "n": n, "amplification": value, "overflow": value is None}
