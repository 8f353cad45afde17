"""Use the weights of two-step networks with other rules for their extrapolation: what each costs and bounds."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from schemenets import files, networks, signals
from schemenets.evaluation import PEAK, denoised_psnr
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.progress import Progress
from schemenets.stability import certify, largest_amplification
from schemenets.stability.remedies import BOUNDED, REMEDIES, own_remedy, with_remedy
from schemenets.study.layout import Layout
from schemenets.study.measurements import growth
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _trained
from schemenets.study.stages.evaluate import relative_error

RATES = (0.3,)  # lengths of first steps of the ascent, which is short: the stage stability searches longer


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write quality and amplification under every remedy, of the trained networks of a job or of random ones."""
    stopwatch = Stopwatch()
    if "job" in spec:
        name, dataset = spec["job"], results.dataset(spec["dataset"])
        data, rows = {dataset.name: files.sha256(dataset)}, list(_trained_ones(results, spec))
    else:
        name, data, rows = spec["networks"][0]["architecture"]["name"], {}, list(random_ones(spec))
    provenance = collect(stopwatch, spec=spec, source=of_stage("remedies", spec), data=data)
    files.write_json(results.remedies(name), {"rows": rows, "provenance": provenance})


def _trained_ones(results: Layout, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each remedy and seed: PSNR on the test signals, and the largest amplification found."""
    nets = [_trained.read(results.job(spec["job"]), seed)[1] for seed in spec["seeds"]]
    bounds = [bound(network) for network in nets]
    stacked = networks.stack(nets).double().requires_grad_(False)
    arrays = signals.read(results.dataset(spec["dataset"]))
    noisy, clean = arrays["test/noisy"].astype(np.float64), arrays["test/clean"]
    starts = torch.from_numpy(noisy[: spec["starts"]] / PEAK).expand(len(nets), -1, -1)
    progress = Progress("remedies", len(REMEDIES), "rules")
    for done, remedy in enumerate(REMEDIES, start=1):
        network = with_remedy(stacked, remedy)
        values = denoised_psnr(network, noisy, clean)
        errors = relative_error(values, clean).mean(1)
        found = largest_amplification(network, starts, steps=spec["steps"], climb=0, rates=RATES).tolist()
        for index, seed in enumerate(spec["seeds"]):
            yield {
                "run": f"{spec['job']}/seed-{seed}",
                "seed": seed,
                **{"network": spec["architecture"]["name"], "flux": spec["architecture"]["flux"]},
                "remedy": remedy,
                "own": remedy == own_remedy(spec["architecture"]["name"]),
                "signals": len(noisy),
                "psnr": _number(values[index].mean()),
                "relative_error": _number(errors[index]),
                "amplification": _number(found[index]),
                "bound": bounds[index] if remedy in BOUNDED else None,
            }
        progress.update(done, remedy)


def bound(network: DenoisingNetwork) -> float:
    """What all remedies of ``BOUNDED`` obey: the product of the factors c_k ≥ 1 of the explicit steps."""
    return math.prod(math.inf if b.euclidean is None else b.euclidean for b in certify(network).blocks)


def random_ones(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each random network, remedy, number n of blocks and seed: the largest ‖u^n‖₂ / ‖u^0‖₂."""
    depths = spec["depths"]
    for entry in spec["networks"]:
        architecture, worst = Architecture(**entry["architecture"]), entry.get("worst", False)
        seeds: list[int | None] = [None] if worst else spec["seeds"]
        if worst:
            network = networks.stack([growth.worst_fsi(max(depths))])
            starts = torch.ones(1, 1, 1, dtype=torch.float64)
        else:
            network = growth.random_network(architecture, spec["seeds"], entry["step"])
            starts = growth.random_signals(growth.SIZES, spec["length"]).expand(len(seeds), -1, -1)
        for remedy in REMEDIES:
            found = growth.through_depth(with_remedy(network, remedy), starts, growth.NEAR * starts, depths)[0].amax(-1)
            for n, of_depth in zip(depths, found.tolist(), strict=True):
                for seed, value in zip(seeds, of_depth, strict=True):
                    kind = {"network": architecture.name, "flux": architecture.flux, "worst": worst}
                    yield {**kind, "seed": seed, "remedy": remedy, "n": n, "amplification": _number(value)}


def _number(x: float) -> float | None:
    """For JSON, which knows neither infinity nor NaN."""
    return float(x) if math.isfinite(x) else None
