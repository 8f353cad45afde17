"""Apply trained networks again and again, and send signals through their blocks and those of random networks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemenets import files, networks, signals
from schemenets.devices import flushed_subnormals
from schemenets.evaluation import PEAK
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.progress import Progress
from schemenets.stability import certify, largest_expansion
from schemenets.stability.search import SCALES
from schemenets.study.layout import DEPTH, Layout
from schemenets.study.measurements import growth
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _trained

STARTS = 4  # test signals to start from, besides random ones of all sizes
SEARCHED = 100  # depth up to which the worst perturbation is searched for: each costs as much as thousands of blocks


@flushed_subnormals()
def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write norms by the number of repetitions, of a job, or by depth, of one or of random networks.

    Null from an overflow on.
    """
    stopwatch = Stopwatch()
    content: dict[str, Any]
    if "job" in spec:
        name, dataset = spec["job"], results.dataset(spec["dataset"])
        data = {dataset.name: files.sha256(dataset)}
        nets, starts = [_trained.read(results.job(name), seed)[1] for seed in spec["seeds"]], starts_of(dataset)
        if "repetitions" in spec:
            numbers = growth.log_spaced(spec["repetitions"])
            content = {"repetitions": numbers, "repetition": list(_repeated(nets, starts, spec, numbers))}
        else:
            depths = list(range(1, spec["architecture"]["blocks"] + 1))
            name, content = f"{DEPTH}{name}", {"depths": depths, "followed": list(followed(nets, starts, spec))}
    else:
        name, data = spec["networks"][0]["architecture"]["name"], {}
        content = {"depths": spec["depths"], "depth": list(behind_all_blocks(spec))}
    provenance = collect(stopwatch, spec=spec, source=of_stage("growth", spec), data=data)
    files.write_json(results.growth(name), content | {"provenance": provenance})


def starts_of(dataset: Path) -> Tensor:
    """The first few noisy test signals, on the scale of the networks."""
    return torch.from_numpy(signals.read(dataset)["test/noisy"][:STARTS]).double() / PEAK


def _repeated(
    nets: Sequence[DenoisingNetwork], test: Tensor, spec: Mapping[str, Any], numbers: list[int]
) -> Iterator[dict[str, Any]]:
    """One entry for each seed and kind of start: the largest ‖u_n‖₂ / ‖u_0‖₂ over its signals.

    From test signals also the largest ‖u_n - v_n‖₂ / ‖u_0 - v_0‖₂ for close v_0.
    """
    network = networks.stack(nets).double().requires_grad_(False)
    random = growth.random_signals(SCALES, test.shape[-1])
    starts = torch.cat([test, random]).expand(len(nets), -1, -1)
    found = growth.repetition(network, starts, numbers, _perturbations(starts[:, : len(test)]))
    distances = found.distances.amax(-1)
    for index, seed in enumerate(spec["seeds"]):
        for start, which in (("test", slice(len(test))), ("random", slice(len(test), None))):
            overflow = found.overflow[index, which]
            yield {
                "run": f"{spec['job']}/seed-{seed}",
                "seed": seed,
                "start": start,
                "amplification": _numbers(found.factors[:, index, which].amax(-1)),
                "perturbation": _numbers(distances[:, index]) if start == "test" else None,
                "overflow": int(overflow[overflow > 0].min()) if overflow.any() else None,
            }


def followed(nets: Sequence[DenoisingNetwork], starts: Tensor, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One entry for each seed: growth of signals and of differences behind every block, and what certificates allow.

    Behind n blocks is what the network of the first n blocks gives: with one channel the state u^n, whose Euclidean
    norm the theorems are about.
    """
    network, depths = networks.stack(nets).double().requires_grad_(False), range(1, spec["architecture"]["blocks"] + 1)
    starts = starts.expand(len(nets), -1, -1)
    amplification, perturbation = (
        x.amax(-1) for x in growth.through_depth(network, starts, _perturbations(starts), depths)
    )
    for index, seed in enumerate(spec["seeds"]):
        yield {
            "run": f"{spec['job']}/seed-{seed}",
            "seed": seed,
            "bounds": bounds_of(network, depths, index),
            "amplification": _numbers(amplification[:, index]),
            "perturbation": _numbers(perturbation[:, index]),
        }


def behind_all_blocks(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of all random networks of a specification, with as many blocks as its largest depth."""
    progress = Progress("growth", len(spec["networks"]), "networks")
    for done, entry in enumerate(spec["networks"], start=1):
        if entry.get("worst"):
            yield _worst(spec["depths"])
        else:
            architecture = replace(Architecture(**entry["architecture"]), blocks=max(spec["depths"]))
            yield from behind_blocks(architecture, entry["step"], spec)
        progress.update(done, entry["architecture"]["name"])


def behind_blocks(architecture: Architecture, step: float, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One entry for each seed: growth of signals and of differences in a random network, by the number of blocks."""
    seeds, depths = spec["seeds"], spec["depths"]
    network = growth.random_network(architecture, seeds, step)
    starts = growth.random_signals(growth.SIZES, spec["length"]).expand(len(seeds), -1, -1)
    found = growth.through_depth(network, starts, _perturbations(starts), depths)
    amplification, perturbation = (x.amax(-1) for x in found)
    effort: Any = {"steps": 4, "climb": 0, "rates": (0.0,), "scales": (), "near": growth.NEAR}
    worst = [
        torch.maximum(largest_expansion(growth.truncated(network, depth), starts, **effort), of_random)
        for depth, of_random in zip(depths, perturbation, strict=True)
        if depth <= SEARCHED
    ]
    bounds = bounds_of(network, depths) if architecture.certified else None
    for index, seed in enumerate(seeds):
        yield {
            **{key: getattr(architecture, key) for key in ("name", "flux", "tied", "certified")},
            "step": step,
            "seed": seed,
            "bounds": bounds,
            "amplification": _numbers(amplification[:, index]),
            "perturbation": _numbers(perturbation[:, index]),
            "expansion": [float(found[index]) for found in worst],
        }


def bounds_of(network: DenoisingNetwork, depths: Sequence[int], index: int = 0) -> list[float | None]:
    """Certified factors of the first blocks, of one network of a stack; certified by construction all have the same."""
    return [certify(networks.unstack(growth.truncated(network, depth), index)).euclidean for depth in depths]


def _worst(depths: Sequence[int]) -> dict[str, Any]:
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
        "amplification": _numbers(amplification),
        "perturbation": _numbers(perturbation),
        "expansion": [],
    }


def _perturbations(starts: Tensor) -> Tensor:
    """Small ones in rough random directions."""
    rough = torch.randn(starts.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return growth.NEAR * torch.linalg.vector_norm(starts, dim=-1, keepdim=True) * growth.unit(rough)


def _numbers(x: Tensor) -> list[float | None]:
    """As JSON has them: null for what is not finite."""
    return [float(value) if value.isfinite() else None for value in x]
