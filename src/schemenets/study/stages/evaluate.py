"""Test all seeds of one job on every test set."""

import numpy as np
import torch

from schemenets import files, networks, signals
from schemenets.evaluation import PEAK, denoised_psnr
from schemenets.metrics import psnr
from schemenets.networks import DenoisingNetwork
from schemenets.networks._safeguard import Safeguarded
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json, _trained, dataset
from schemenets.study.stages._rows import OF_A_RUN, of_run

OUTPUTS = {
    "means": "runs/{experiment}/{method}/{size}/evaluation.json",
    "every": "runs/{experiment}/{method}/{size}/evaluation.safetensors",
}
RECORD = "means"
MEASURED = ["psnr", "relative_error", "held_back"]
TABLES = {"psnr": [*OF_A_RUN, "status", "test_set", "noise", "signals", "noisy_psnr", *MEASURED]}


def specs(study: Study) -> dict[str, Json]:
    """Every job that trains denoisers, with the data sets it is tested on."""
    return {name: {**spec, "test_sets": study.tested_on(spec["experiment"])} for name, spec in study.denoisers.items()}


def inputs(spec: Json) -> Json:
    """The trained networks, and all test sets."""
    return {"trained": ("train", spec["job"]), "data": [dataset(name) for name in spec["test_sets"]]}


def run(job: Job) -> None:
    """Write the means over the test signals, and the PSNR of every signal.

    A diverged seed is not tested: its values are null, and NaN for the single signals.
    """
    trained = _trained.read(job.results, job.name)
    seeds = list(trained.networks)
    sound = [seeds.index(seed) for seed in trained.sound]
    stacked = networks.stack(list(trained.sound.values())) if sound else None
    means, every = {}, {}
    for name in job.spec["test_sets"]:
        arrays = signals.read(job.results.dataset(name))
        noisy, clean = arrays["test/noisy"], arrays["test/clean"]
        values, shares = np.full((len(seeds), len(noisy)), np.nan), np.full(len(seeds), np.nan)
        if stacked is not None:
            values[sound] = denoised_psnr(stacked, noisy, clean)
            shares[sound] = held_back(stacked, noisy)
        errors = relative_error(values, clean).mean(1)
        every[name] = values.astype(np.float32)
        means[name] = {
            "signals": len(noisy),
            "noisy_psnr": float(psnr(noisy, clean).mean()),
            "psnr": [float(value) if np.isfinite(value) else None for value in values.mean(1)],
            "relative_error": [float(value) if np.isfinite(value) else None for value in errors],
            "held_back": [float(value) if np.isfinite(value) else None for value in shares],
        }
    files.write_safetensors(job.output("every"), every)
    job.write_record({"job": job.name, "seeds": seeds, "status": trained.status, "test_sets": means})


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run on every test set."""
    return {
        "psnr": [
            {
                **of_run(job, seed),
                "status": record["status"][str(seed)],
                "test_set": name.rpartition("-")[0],
                "noise": float(name.rpartition("-")[2]),
                **{key: result[key] for key in ("signals", "noisy_psnr")},
                **{key: result[key][index] for key in MEASURED},
            }
            for job, record in records.items()
            for index, seed in enumerate(record["seeds"])
            for name, result in record["test_sets"].items()
        ]
    }


def held_back(stacked: DenoisingNetwork, noisy: np.ndarray) -> np.ndarray | float:
    """Share of the extrapolations that a safeguard shortens, for each seed; NaN where there is no safeguard.

    Args:
        stacked: networks of all seeds.
        noisy: (signals, length), values on [0, 255].
    """
    if not isinstance(stacked, Safeguarded):
        return np.nan
    f = (torch.from_numpy(noisy) / PEAK).expand(len(next(stacked.parameters())), -1, -1)
    wanted, taken = stacked.extrapolations(f)
    extrapolates, shortened = wanted > 0, (wanted > 0) & (taken < wanted)
    share: np.ndarray = (shortened.sum((0, 2)) / extrapolates.sum((0, 2))).numpy()
    return share


def relative_error(psnr: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """‖u - v‖₂/‖v‖₂ of signals u from their PSNR in dB, which determines ‖u - v‖₂.

    Args:
        psnr: (seeds, signals).
        reference: v, (signals, length), values on [0, 255].

    Returns:
        (seeds, signals), float64; NaN where the PSNR is.
    """
    root_mean_square = 255 * 10 ** (-psnr / 20)
    return root_mean_square * np.sqrt(reference.shape[-1]) / np.linalg.norm(reference.astype(np.float64), axis=-1)
