"""Certify all seeds of one job, verify independently, search for counterexamples, and repeat certified networks."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemenets import fluxes, networks, signals
from schemenets.evaluation import PEAK
from schemenets.networks import DenoisingNetwork
from schemenets.stability import (
    Certificate,
    certify,
    dense_norm,
    largest_amplification,
    largest_expansion,
    to_verify,
    verify,
)
from schemenets.stability.certificates import as_it_runs
from schemenets.study.config import Study
from schemenets.study.measurements import growth
from schemenets.study.stages import Job, Json, _trained, dataset
from schemenets.study.stages._rows import OF_A_RUN, of_run

OUTPUTS = {"stability": "runs/{experiment}/{method}/{size}/stability.json"}
RECORD = "stability"
KINDS = ("monotone", "nonmonotone", "undecided")
BOUNDS = ["euclidean_bound", "drift_bound", "lipschitz_bound"]
ROUNDING = 1e-9  # of growth by repetition, as in the claims
RELATIVE_DRIFT = "relative_drift"  # the drift bound over the root mean square of the clean test signals
FOUND = ["largest_amplification_found", "largest_expansion_found", "overflow", "counterexample", "shift"]
TABLES = {
    "stability": [
        *(*OF_A_RUN, "certified", "failed_conditions", *BOUNDS, RELATIVE_DRIFT),
        *("least_step_margin", "least_dense_step_margin"),
        *(*FOUND, "contradictions", "repetitions", "excess", *(f"{kind}_fluxes" for kind in KINDS)),
    ]
}


def specs(study: Study) -> dict[str, Json]:
    """Every certified job, and of the experiments that stability is about also the others."""
    about = study.config["stability"]["experiments"]
    return {
        name: {**spec, **study.settings["search"]}
        for name, spec in study.denoisers.items()
        if spec["architecture"]["certified"] or spec["experiment"] in about
    }


def inputs(spec: Json) -> Json:
    """The trained networks, and the signals that the search starts from."""
    return {"trained": ("train", spec["job"]), "data": dataset(spec["dataset"])}


def run(job: Job) -> None:
    """Write one entry per seed; the search starts from test signals of the job's data set."""
    spec, path = job.spec, job.results.file("train", job.name, "weights")
    arrays = signals.read(job.results.dataset(spec["dataset"]))
    starts = torch.from_numpy(arrays["test/noisy"][: spec["starts"]]) / PEAK
    trained = _trained.read(job.results, job.name)
    nets = list(trained.networks.values())
    certificates = [certify(network) for network in nets]
    found = searched(nets, starts, spec, [certificate.drift for certificate in certificates])
    numbers = growth.log_spaced(spec["repetitions"])
    certified = nets[0].architecture.certified
    repeated = _repeated(nets, starts, numbers, certificates) if certified else [None] * len(nets)
    checked = [
        {
            "seed": seed,
            **_checked(network, certificate, path, seed, starts, *of_search),
            "repeated": of_repetition,
        }
        for (seed, network), certificate, of_search, of_repetition in zip(
            trained.networks.items(), certificates, found, repeated, strict=True
        )
    ]
    job.write_record(
        {"job": job.name, "repetitions": numbers, "signals_rms": rms(arrays["test/clean"]), "networks": checked}
    )


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run."""
    return {"stability": [_row(job, entry, record) for job, record in records.items() for entry in record["networks"]]}


def _row(job: str, entry: Json, record: Json) -> Json:
    numbers, drift = record["repetitions"], entry["drift_bound"]
    margins, dense, contradictions = entry["step_margins"], entry["dense_step_margins"], entry["contradictions"]
    repeated, bound = entry["repeated"], entry["euclidean_bound"]
    return {
        **of_run(job, entry["seed"]),
        "certified": entry["certified"],
        "failed_conditions": "; ".join(entry["failed_conditions"]),
        **{key: entry[key] for key in BOUNDS},
        RELATIVE_DRIFT: None if drift is None else drift / record["signals_rms"],
        "least_step_margin": None if None in margins else min(margins),
        "least_dense_step_margin": None if None in dense else min(dense),
        **{key: entry[key] for key in FOUND},
        "contradictions": None if contradictions is None else len(contradictions),
        "repetitions": None if repeated is None else numbers[-1],
        "excess": None if repeated is None else excess(repeated, numbers, bound),
        **{f"{kind}_fluxes": entry["learned_fluxes"].get(kind, 0) for kind in KINDS},
    }


def excess(factors: Sequence[float | None], numbers: Sequence[int], bound: float | None) -> float:
    """The largest of ‖u_n‖ / ‖u_0‖ over cⁿ, for a bound c of one application; infinite after an overflow."""
    from schemenets.study.statistics import over_power  # imports pandas, which is slower than all other imports

    known = [math.nan if x is None else x for x in (*factors, bound)]
    return float(over_power(known[:-1], numbers, known[-1]).max())


def rms(clean: np.ndarray) -> float:
    """Root mean square, on the scale [0, 1], of values on [0, 255]."""
    return float(np.sqrt(np.square(clean, dtype=np.float64).mean())) / PEAK


def searched(
    nets: Sequence[DenoisingNetwork], starts: torch.Tensor, spec: Mapping[str, Any], drifts: Sequence[float]
) -> list[tuple[float, float]]:
    """The largest amplification and the largest expansion found for each network, infinite after an overflow.

    Args:
        nets: of one architecture.
        starts: signals (batch, length) on the scale [0, 1].
        spec: with ``steps`` and ``climb``, the length of the search.
        drifts: what the certificates of the networks say that biases add.
    """
    stacked, of_each = networks.stack(nets), starts.expand(len(nets), -1, -1)
    effort = {key: spec[key] for key in ("steps", "climb")}
    amplified = largest_amplification(stacked, of_each, **effort, drift=torch.tensor(drifts, dtype=torch.float64))
    return list(zip(amplified.tolist(), largest_expansion(stacked, of_each, **effort).tolist(), strict=True))


def _repeated(
    nets: Sequence[DenoisingNetwork],
    starts: torch.Tensor,
    numbers: Sequence[int],
    certificates: Sequence[Certificate],
) -> list[list[float | None]]:
    """Largest (rms(u_n) - drift) / rms(u_0) of each network over the starts, for these n; null after an overflow.

    The drift is that of n repetitions, the sum of β c^k over k < n.
    """
    network = as_it_runs(networks.stack(nets))
    factors = growth.repetition(network, starts.double().expand(len(nets), -1, -1), numbers).factors
    size = starts.double().square().mean(-1).sqrt()
    added = [[_added(certificate, n) for certificate in certificates] for n in numbers]
    factors = (factors - torch.tensor(added, dtype=torch.float64)[..., None] / size).clamp_min(0).amax(-1)
    return [[_number(x) for x in own] for own in factors.T.tolist()]


def _added(certificate: Certificate, n: int) -> float:
    """What biases add in n repetitions, and rounding to it."""
    c, beta = certificate.euclidean, certificate.drift
    if c is None or not beta:
        return 0.0
    with np.errstate(over="ignore"):
        return float((1 + ROUNDING) * beta * (n if c == 1 else (np.float64(c) ** n - 1) / (c - 1)))


def _checked(
    network: DenoisingNetwork,
    certificate: Certificate,
    path: Path,
    seed: int,
    starts: torch.Tensor,
    amplification: float,
    expansion: float,
) -> dict[str, Any]:
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
        "contradictions": verify(path, starts.shape[-1], seed)
        if to_verify(network.architecture, certificate)
        else None,
    }


def _number(x: float) -> float | None:
    """A number for JSON: None unless finite."""
    return x if math.isfinite(x) else None


def _learned_fluxes(network: DenoisingNetwork, signals: torch.Tensor) -> dict[str, int]:
    """Number of filters by kind of learned flux, on their responses to these signals."""
    words: list[str] = []
    if fluxes.get(network.architecture.flux).weights:
        from schemenets.fluxes.learned import monotonicity

        for layer in fluxes.responses(network, signals):
            words += monotonicity(*(x.numpy() for x in (layer.w, layer.lam, layer.s_max) if x is not None)).tolist()
    return dict(Counter(words))
