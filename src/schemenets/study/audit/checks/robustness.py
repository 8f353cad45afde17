"""Attacks: none beats what the Lipschitz bounds guarantee, and without attack the evaluation holds."""

from collections.abc import Iterator

import numpy as np

from schemenets import files
from schemenets.stability import certify, guaranteed_psnr
from schemenets.study.audit._findings import DECIBELS, ROUNDING, Audited, Finding, disagreement, infinite, of_training
from schemenets.study.stages import Job, _trained


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the record is of the trained networks and configured attacks, and keeps to the guarantees."""
    spec, path = job.spec, job.output("attacks")
    record, trained = files.read_json(path), _trained.read(job.results, job.name)
    bounds = [certify(network).bounds["lipschitz_bound"] for network in trained.networks.values()]
    expected = {
        **of_training(trained, job),
        "signals": spec["signals"],
        "lipschitz_bound": bounds,
        "sizes": [{"size": size} for size in (0, *spec["sizes"])],
    }
    yield from disagreement(path, record, expected, "configuration and weights say")
    every, _ = files.read_safetensors(job.results.file("evaluate", job.name, "every"))
    plain = every[spec["dataset"]][:, : spec["signals"]].astype(np.float64)
    evaluated, sizes = plain.mean(1).tolist(), []
    for entry in record["sizes"]:
        guaranteed = [
            np.nan if bound is None else float(guaranteed_psnr(own, bound, entry["size"]).mean())
            for own, bound in zip(plain, bounds, strict=True)
        ]
        of_none = {} if entry["size"] else {"psnr_attacked": evaluated, "psnr_random": evaluated}
        sizes.append({"psnr_guaranteed": guaranteed, **of_none})
        for index, seed in enumerate(spec["seeds"]):
            what, bound, limit = f"seed {seed}, size {entry['size']}", bounds[index], guaranteed[index]
            left, amplified = entry["psnr_attacked"][index], entry["lipschitz_found"][index]
            if amplified is not None and amplified > infinite(bound) * (1 + ROUNDING):
                yield Finding(path, f"{what}: got amplified by {amplified}, expected at most {bound}")
            if left is not None and left < limit - DECIBELS:
                yield Finding(path, f"{what}: got {left} dB, expected at least {limit:.4f} dB")
    yield from disagreement(path, record, {"sizes": sizes}, "evaluation and bounds say", absolute=DECIBELS)
