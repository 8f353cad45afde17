"""Apply the trained networks of one job repeatedly, and send signals through their blocks."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from schemenets import networks, signals
from schemenets.devices import flushed_subnormals
from schemenets.evaluation import PEAK
from schemenets.networks import DenoisingNetwork
from schemenets.stability.search import SCALES
from schemenets.study.config import Study
from schemenets.study.measurements import growth
from schemenets.study.measurements.growth import numbers_of, perturbations_of
from schemenets.study.stages import Job, Json, _trained, dataset
from schemenets.study.stages._rows import GROWTH

OUTPUTS = {"growth": "runs/{experiment}/{method}/{size}/growth.json"}
RECORD = "growth"
TABLES = {"growth": GROWTH}
STARTS = 4  # test signals to start from, besides random ones of all sizes


def specs(study: Study) -> dict[str, Json]:
    """Jobs whose networks are applied repeatedly, and those with many blocks that learn an evolution."""
    common, repetitions = study.config["stability"], study.settings["stability"]["repetitions"]
    found = {}
    for name, spec in study.denoisers.items():
        evolves = "time" in study.config["experiments"][spec["experiment"]]
        if spec["experiment"] in common["experiments"] and spec["size"] == common["size"]:
            found[name] = {**spec, "repetitions": repetitions}
        elif evolves and spec["size"] in common["deep"]:
            found[name] = {**spec, "repetitions": 0}  # followed through its blocks only
    return found


def inputs(spec: Json) -> Json:
    """The trained networks, and the test signals to start from."""
    return {"trained": ("train", spec["job"]), "data": dataset(spec["dataset"])}


@flushed_subnormals()
def run(job: Job) -> None:
    """Write norms by the number of repetitions and by depth; null after an overflow."""
    nets = _trained.read(job.results, job.name).networks
    noisy = signals.read(job.results.dataset(job.spec["dataset"]))["test/noisy"][:STARTS]
    starts = torch.from_numpy(noisy).double() / PEAK
    stacked = networks.stack(list(nets.values())).double().requires_grad_(False)
    numbers = growth.log_spaced(job.spec["repetitions"]) if job.spec["repetitions"] else []
    job.write_record(
        {
            "job": job.name,
            "repetitions": numbers,
            "repetition": list(repeated(stacked, list(nets), starts, numbers)) if numbers else [],
            "depths": list(range(1, stacked.architecture.blocks + 1)),
            "followed": list(followed(stacked, list(nets), starts)),
        },
    )


def repeated(stacked: DenoisingNetwork, seeds: Sequence[int], test: Tensor, numbers: list[int]) -> Iterator[Json]:
    """One entry for each seed and kind of start: the largest ‖u_n‖₂ / ‖u_0‖₂ over its signals.

    From test signals also the largest ‖u_n - v_n‖₂ / ‖u_0 - v_0‖₂ for close v_0.
    """
    random = growth.random_signals(SCALES, test.shape[-1])
    starts = torch.cat([test, random]).expand(len(seeds), -1, -1)
    found = growth.repetition(stacked, starts, numbers, perturbations_of(starts[:, : len(test)]))
    distances = found.distances.amax(-1)
    for index, seed in enumerate(seeds):
        for start, which in (("test", slice(len(test))), ("random", slice(len(test), None))):
            overflow = found.overflow[index, which]
            yield {
                "seed": seed,
                "start": start,
                "amplification": numbers_of(found.factors[:, index, which].amax(-1)),
                "perturbation": numbers_of(distances[:, index]) if start == "test" else None,
                "overflow": int(overflow[overflow > 0].min()) if overflow.any() else None,
            }


def followed(stacked: DenoisingNetwork, seeds: Sequence[int], starts: Tensor) -> Iterator[Json]:
    """One entry for each seed: growth of signals after every block, and the certified bounds.

    After n blocks means the output of the network of the first n blocks: with one channel the state u^n, whose
    Euclidean norm the theorems are about.
    """
    depths = range(1, stacked.architecture.blocks + 1)
    starts = starts.expand(len(seeds), -1, -1)
    amplification = growth.through_depth(stacked, starts, perturbations_of(starts), depths)[0].amax(-1)
    for index, seed in enumerate(seeds):
        yield {
            "seed": seed,
            "bounds": growth.bounds_of(stacked, depths, index),
            "amplification": numbers_of(amplification[:, index]),
        }


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """One row per run, quantity and number n of repetitions or blocks; after an overflow without a number."""
    return {"growth": [row for job, record in records.items() for row in _rows(job, record)]}


def _rows(job: str, record: Json) -> Iterator[Json]:
    method = job.split("/")[1]

    def row(kind: str, entry: Json, start: str | None, n: int, value: float | None, **more: Any) -> Json:
        place = {"kind": kind, "run": f"{job}/seed-{entry['seed']}", "method": method, "start": start}
        return {**place, "seed": entry["seed"], **more, "n": n, "amplification": value, "overflow": value is None}

    for entry in record["repetition"]:
        for kind, quantity in (("repetition", "amplification"), ("repeated_perturbation", "perturbation")):
            if entry[quantity] is not None:  # not every start is perturbed
                for n, value in zip(record["repetitions"], entry[quantity], strict=True):
                    yield row(kind, entry, entry["start"], n, value)
    for entry in record["followed"]:
        for n, value, bound in zip(record["depths"], entry["amplification"], entry["bounds"], strict=True):
            yield row("trained_depth", entry, "test", n, value, bound=bound)
