"""Certify all seeds of one job, check the norms independently, and search for counterexamples."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from schemenets import files, fluxes, networks, signals
from schemenets.evaluation import PEAK
from schemenets.fingerprint import of_stage
from schemenets.layout import Layout
from schemenets.networks import DenoisingNetwork
from schemenets.provenance import Stopwatch, collect
from schemenets.stability import certify, dense_norm, largest_amplification, largest_expansion
from schemenets.stages import _trained

STARTS = 10  # test signals from which the search starts, besides its random ones


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``stability.json`` beside the checkpoints; the search starts from test signals of the job's data set."""
    stopwatch = Stopwatch()
    dataset, trained = results.dataset(spec["dataset"]), results.job(spec["job"])
    starts = torch.from_numpy(signals.read(dataset)["test/noisy"][:STARTS]) / PEAK
    nets = [_trained.read(trained, seed)[1] for seed in spec["seeds"]]
    stacked, of_each = networks.stack(nets), starts.expand(len(nets), -1, -1)
    found = zip(largest_amplification(stacked, of_each), largest_expansion(stacked, of_each), strict=True)
    checked = [
        {"seed": seed, **_checked(network, starts, float(amplification), float(expansion))}
        for seed, network, (amplification, expansion) in zip(spec["seeds"], nets, found, strict=True)
    ]
    provenance = collect(
        stopwatch, spec=spec, source=of_stage("stability", spec), data={dataset.name: files.sha256(dataset)}
    )
    files.write_json(trained / "stability.json", {"job": spec["job"], "networks": checked, "provenance": provenance})


def _checked(network: DenoisingNetwork, starts: torch.Tensor, amplification: float, expansion: float) -> dict[str, Any]:
    certificate = certify(network)
    dense = certify(network, partial(dense_norm, length=starts.shape[-1]))
    return {
        "theorem": certificate.theorem,
        "certified": certificate.holds,
        "failed_conditions": certificate.failed,
        **certificate.bounds,
        "step_margins": [block.step_margin for block in certificate.blocks],
        "dense_step_margins": [block.step_margin for block in dense.blocks],
        "largest_amplification_found": amplification,
        "largest_expansion_found": expansion,
        "counterexample": certificate.refuted_by(amplification, expansion),
        "learned_fluxes": _learned_fluxes(network, starts),
    }


def _learned_fluxes(network: DenoisingNetwork, signals: torch.Tensor) -> dict[str, int]:
    """How many filters have a trained flux of which kind, on the responses that they take on these signals."""
    words: list[str] = []
    if fluxes.get(network.architecture.flux).weights:
        from schemenets.fluxes.learned import monotonicity

        for layer in fluxes.responses(network, signals):
            words += monotonicity(*(x.numpy() for x in (layer.w, layer.lam, layer.s_max) if x is not None)).tolist()
    return dict(Counter(words))
