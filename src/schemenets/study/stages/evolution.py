"""Generate one data set of an evolution: signals f, and their nonlinear diffusion at the time T.

The diffusion is ∂t u = -KᵀΦ(Ku), u(0) = f, with K the forward difference (h = 1, reflecting ends) and the flux of
Perona and Malik. It is integrated by classical Runge-Kutta steps, which none of the compared schemes uses.
"""

import hashlib
import math

import numpy as np
import torch

from schemenets import files, signals
from schemenets.fluxes.perona_malik import FLUX
from schemenets.metrics import psnr
from schemenets.study.config import Study, training_set
from schemenets.study.stages import Job, Json, dataset

OUTPUTS = {"signals": "data/{evolution}.safetensors", "record": "data/{evolution}.json"}
SPLITS = ("train", "validation", "test")
LARGEST_STEP = 0.25  # at the first attempt; Runge-Kutta steps are stable up to 2.78/(L‖K‖²) ≈ 0.7
TOLERANCE = 1e-5  # grey values: about what single precision leaves of 255
AT_ONCE = 100  # signals, few enough to stay in the cache


def specs(study: Study) -> dict[str, Json]:
    """The data set of every evolution f ↦ u(T) that networks learn, named evolution_T-noise."""
    found = {}
    for experiment in study.settings["experiments"]:
        entry = study.config["experiments"][experiment]
        if "time" in entry:
            counts = {split: study.settings[split]["evolution"] for split in SPLITS}
            given = {"source": signals.dataset_name(entry), "time": entry["time"], **study.config["evolution"]}
            found[training_set(entry)] = {**given, **study.data, **counts}
    return found


def inputs(spec: Json) -> Json:
    """The signals that the evolutions start from."""
    return {"source": dataset(spec["source"])}


def run(job: Job) -> None:
    """Write the data set in the format of :func:`schemenets.signals.write`.

    ``noisy`` are the first noisy signals of every split of the data set ``source``, the initial values f; ``clean`` is
    u(T). The record also holds the estimated error of u(T) and the hash of the source.
    """
    spec, path = job.spec, job.output("signals")
    source = job.results.dataset(spec["source"])
    given = signals.read(source)
    arrays, errors, distance = {}, [], {}
    for split in SPLITS:
        f = given[f"{split}/noisy"][: spec[split]]
        parts = [
            evolve(f[first : first + AT_ONCE].astype(np.float64), spec["time"], spec["contrast"])
            for first in range(0, len(f), AT_ONCE)
        ]
        arrays[f"{split}/clean"] = np.concatenate([u for u, _ in parts]).astype(np.float32)
        arrays[f"{split}/noisy"] = f
        distance[split] = float(psnr(f, arrays[f"{split}/clean"]).mean())
        errors += [error for _, error in parts]
    files.write_safetensors(path, arrays)
    record = {
        "spec": dict(spec),
        "sha256": files.sha256(path),
        "source_sha256": files.sha256(source),
        "arrays": {
            name: {"shape": list(array.shape), "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
            for name, array in arrays.items()
        },
        "noisy_psnr": distance,
        "estimated_error": max(errors),
    }
    files.write_json(job.output("record"), record)


def evolve(f: np.ndarray, time: float, contrast: float) -> tuple[np.ndarray, float]:
    """u(T) of signals f, shape (signals, N), and its largest estimated error, both in the unit of f.

    Steps are halved until Richardson's estimate, a fifteenth of what the last halving changed, is at most
    :data:`TOLERANCE`.

    Args:
        f: initial values on [0, 255].
        time: T, in units of h².
        contrast: λ of the flux, in grey values.
    """
    steps = math.ceil(time / LARGEST_STEP)
    u, error = _integrated(f, time, steps, contrast), math.inf
    while error > TOLERANCE:
        steps *= 2
        before, u = u, _integrated(f, time, steps, contrast)
        error = float(np.abs(u - before).max()) / 15
    return u, error


def _integrated(u: np.ndarray, time: float, steps: int, contrast: float) -> np.ndarray:
    tau = time / steps
    for _ in range(steps):
        first = _rate(u, contrast)
        second = _rate(u + tau / 2 * first, contrast)
        third = _rate(u + tau / 2 * second, contrast)
        fourth = _rate(u + tau * third, contrast)
        u = u + tau / 6 * (first + 2 * second + 2 * third + fourth)
    return u


def _rate(u: np.ndarray, contrast: float) -> np.ndarray:
    """-KᵀΦ(Ku), the difference of the flows into and out of every sample; none passes an end."""
    flow = FLUX(torch.from_numpy(np.diff(u)), contrast).numpy()
    return np.diff(flow, prepend=0.0, append=0.0)
