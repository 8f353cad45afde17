"""Certify all seeds of one job, verify that independently, search for counterexamples, and repeat what is certified."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from schemenets import files, fluxes, networks, signals
from schemenets.evaluation import PEAK
from schemenets.networks import DenoisingNetwork
from schemenets.stability import certify, dense_norm, largest_amplification, largest_expansion, to_verify, verify
from schemenets.study.layout import Layout
from schemenets.study.measurements import growth
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _trained


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``stability.json`` beside the checkpoints; the search starts from test signals of the job's data set."""
    stopwatch = Stopwatch()
    dataset, trained = results.dataset(spec["dataset"]), results.job(spec["job"])
    starts = torch.from_numpy(signals.read(dataset)["test/noisy"][: spec["starts"]]) / PEAK
    nets = [_trained.read(trained, seed)[1] for seed in spec["seeds"]]
    found = searched(nets, starts, spec)
    numbers = growth.log_spaced(spec["repetitions"])
    certified = nets[0].architecture.certified
    repeated = _repeated(nets, starts, numbers) if certified else [None] * len(nets)
    checked = [
        {
            "seed": seed,
            **_checked(network, trained / f"seed-{seed}.safetensors", starts, *of_search),
            "repeated": of_repetition,
        }
        for seed, network, of_search, of_repetition in zip(spec["seeds"], nets, found, repeated, strict=True)
    ]
    provenance = collect(
        stopwatch, spec=spec, source=of_stage("stability", spec), data={dataset.name: files.sha256(dataset)}
    )
    content = {"job": spec["job"], "repetitions": numbers, "networks": checked, "provenance": provenance}
    files.write_json(trained / "stability.json", content)


def searched(
    nets: Sequence[DenoisingNetwork], starts: torch.Tensor, spec: Mapping[str, Any]
) -> list[tuple[float, float]]:
    """The largest amplification and the largest expansion found of each network, infinite after an overflow.

    Args:
        nets: of one architecture.
        starts: signals (batch, length) on the scale [0, 1].
        spec: with ``steps`` and ``climb``, how long is searched.
    """
    stacked, of_each = networks.stack(nets), starts.expand(len(nets), -1, -1)
    effort = {key: spec[key] for key in ("steps", "climb")}
    found = [search(stacked, of_each, **effort).tolist() for search in (largest_amplification, largest_expansion)]
    return list(zip(*found, strict=True))


def _repeated(
    nets: Sequence[DenoisingNetwork], starts: torch.Tensor, numbers: Sequence[int]
) -> list[list[float | None]]:
    """Largest ‖u_n‖₂ / ‖u_0‖₂ of each network over the starts, for these n; null from an overflow on."""
    network = networks.stack(nets).double().requires_grad_(False)
    factors = growth.repetition(network, starts.double().expand(len(nets), -1, -1), numbers).factors.amax(-1)
    return [[_number(x) for x in own] for own in factors.T.tolist()]


def _checked(
    network: DenoisingNetwork, path: Path, starts: torch.Tensor, amplification: float, expansion: float
) -> dict[str, Any]:
    certificate = certify(network)
    dense = certify(network, partial(dense_norm, length=starts.shape[-1]))
    zero = torch.zeros_like(starts[:1])
    with torch.no_grad():
        shift = float(network(zero).square().mean().sqrt())
    return {
        "theorem": certificate.theorem,
        "certified": certificate.holds,
        "failed_conditions": certificate.failed,
        **certificate.bounds,
        "factors": [block.euclidean for block in certificate.blocks],
        "step_margins": [block.step_margin for block in certificate.blocks],
        "dense_step_margins": [block.step_margin for block in dense.blocks],
        "largest_amplification_found": _number(amplification),
        "largest_expansion_found": _number(expansion),
        "overflow": not math.isfinite(amplification + expansion),
        "shift": shift,  # root mean square of N(0)
        "counterexample": certificate.refuted_by(amplification, expansion),
        "learned_fluxes": _learned_fluxes(network, starts),
        "contradictions": verify(path, starts.shape[-1]) if to_verify(network.architecture, certificate) else None,
    }


def _number(x: float) -> float | None:
    """For JSON, which knows no infinity."""
    return x if math.isfinite(x) else None


def _learned_fluxes(network: DenoisingNetwork, signals: torch.Tensor) -> dict[str, int]:
    """How many filters have a trained flux of which kind, on the responses that they take on these signals."""
    words: list[str] = []
    if fluxes.get(network.architecture.flux).weights:
        from schemenets.fluxes.learned import monotonicity

        for layer in fluxes.responses(network, signals):
            words += monotonicity(*(x.numpy() for x in (layer.w, layer.lam, layer.s_max) if x is not None)).tolist()
    return dict(Counter(words))
