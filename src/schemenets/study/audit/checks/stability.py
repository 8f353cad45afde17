"""Stability: certificates follow from the weights, search and repetition do not break them; the search again."""

import math
from collections.abc import Iterator

import torch

from schemenets import files, signals
from schemenets.evaluation import PEAK
from schemenets.stability import certify, to_verify
from schemenets.study.audit._findings import Audited, Finding, above, disagreement, infinite, powers
from schemenets.study.measurements.growth import log_spaced
from schemenets.study.stages import Job, _trained
from schemenets.study.stages.stability import rms, searched

CLIMBS = 0.25  # relative: how far apart searches may end, as rounding leads to other local maxima (up to 8 % seen)
FOUND = ("largest_amplification_found", "largest_expansion_found")


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the bounds are those of the weights, and whether search and repetition keep to them."""
    spec, path, networks = job.spec, job.output("stability"), _trained.read(job.results, job.name).networks
    record, numbers = files.read_json(path), log_spaced(spec["repetitions"])
    certificates = [certify(network) for network in networks.values()]
    expected = [
        {
            "seed": seed,
            **{"theorem": own.theorem, "certified": own.holds, "failed_conditions": own.failed, **own.bounds},
            **{"factors": [x.euclidean for x in own.blocks], "step_margins": [x.step_margin for x in own.blocks]},
            # checks.train verifies the weights again
            "contradictions": [] if to_verify(network.architecture, own) else None,
        }
        for (seed, network), own in zip(networks.items(), certificates, strict=True)
    ]
    source = "configuration and weights say"
    yield from disagreement(path, record, {"job": job.name, "repetitions": numbers, "networks": expected}, source)
    for entry, certificate in zip(record["networks"], certificates, strict=True):
        amplified, apart = (infinite(entry[key]) for key in FOUND)
        if entry["counterexample"] or certificate.refuted_by(amplified, apart):
            bounds = f"{entry['euclidean_bound']} and {entry['lipschitz_bound']}"
            problem = f"got signals amplified by {amplified} and moved apart by {apart}, expected at most {bounds}"
            yield Finding(path, f"seed {entry['seed']}: {problem}")
        if spec["architecture"]["certified"]:
            bounds_of_n = powers(certificate.amplification, numbers)
            yield from above(path, f"seed {entry['seed']}, repeated", numbers, entry["repeated"], bounds_of_n)


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """The size of the signals, and the search for the worst ones."""
    spec, path, trained = job.spec, job.output("stability"), _trained.read(job.results, job.name)
    arrays, record = signals.read(audited.dataset(spec["dataset"])), files.read_json(job.output("stability"))
    noisy = arrays["test/noisy"][: spec["starts"]]
    yield from disagreement(path, record, {"signals_rms": rms(arrays["test/clean"])}, "the signals say", relative=1e-6)
    nets = list(trained.networks.values())
    found = searched(nets, torch.from_numpy(noisy) / PEAK, spec, [certify(network).drift for network in nets])
    for entry, own in zip(record["networks"], found, strict=True):
        for key, new in zip(FOUND, own, strict=True):
            old = infinite(entry[key])
            # without a Lipschitz bound quotients of close pairs have no limit that a search could approach
            limited = key == FOUND[0] or entry["lipschitz_bound"] is not None
            if limited and not math.isclose(old, new, rel_tol=CLIMBS):
                yield Finding(path, f"seed {entry['seed']}, {key}: got {old}, expected {new}, as searched again")
