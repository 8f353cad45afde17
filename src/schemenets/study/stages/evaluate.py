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
TEST_SET = [*OF_A_RUN, "status", "test_set", "noise"]
TABLES = {
    "psnr": [*TEST_SET, "signals", "noisy_psnr", *MEASURED],
    "psnr_images": [*TEST_SET, "image", "signals", "noisy_psnr", "psnr"],
}


def specs(study: Study) -> dict[str, Json]:
    """Every job that trains denoisers, with the data sets it is tested on."""
    return {name: {**spec, "test_sets": study.tested_on(spec["experiment"])} for name, spec in study.denoisers.items()}


def inputs(spec: Json) -> Json:
    """The trained networks, and all test sets."""
    return {"trained": ("train", spec["job"]), "data": [dataset(name) for name in spec["test_sets"]]}


def run(job: Job) -> None:
    """Write the means over the test signals, also over those of each image, and the PSNR of every signal.

    A diverged seed is not tested: its values are null, and NaN for the single signals.
    """
    trained = _trained.read(job.results, job.name)
    seeds = list(trained.networks)
    sound = [seeds.index(seed) for seed in trained.sound]
    stacked = networks.stack(list(trained.sound.values())) if sound else None
    means, every = {}, {}
    for name in job.spec["test_sets"]:
        path = job.results.dataset(name)
        arrays = signals.read(path)
        noisy, clean = arrays["test/noisy"], arrays["test/clean"]
        values, shares = np.full((len(seeds), len(noisy)), np.nan), np.full(len(seeds), np.nan)
        if stacked is not None:
            values[sound] = denoised_psnr(stacked, noisy, clean)
            shares[sound] = held_back(stacked, noisy)
        every[name] = values.astype(np.float32)
        before = psnr(noisy, clean)
        means[name] = {
            **_means(before, values),
            "relative_error": _finite(relative_error(values, clean).mean(1)),
            "held_back": _finite(shares),
        }
        if "test/image" in arrays:
            images, image = files.read_json(path.with_suffix(".json"))["images"]["test"], arrays["test/image"]
            means[name]["images"] = {
                images[index]: _means(before[image == index], values[:, image == index]) for index in np.unique(image)
            }
    files.write_safetensors(job.output("every"), every)
    job.write_record({"job": job.name, "seeds": seeds, "status": trained.status, "test_sets": means})


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every run on every test set (``psnr``), and on the signals of each image in it (``psnr_images``)."""
    found: dict[str, list[Json]] = {"psnr": [], "psnr_images": []}
    for job, record in records.items():
        for index, seed in enumerate(record["seeds"]):
            for name, result in record["test_sets"].items():
                family, _, noise = name.rpartition("-")
                status = record["status"][str(seed)]
                place = {**of_run(job, seed), "status": status, "test_set": family, "noise": float(noise)}
                measured = {key: result[key][index] for key in MEASURED}
                found["psnr"].append({**place, **_of_signals(result), **measured})
                found["psnr_images"] += [
                    {**place, "image": image, **_of_signals(own), "psnr": own["psnr"][index]}
                    for image, own in result.get("images", {}).items()
                ]
    return found


def _of_signals(result: Json) -> Json:
    return {key: result[key] for key in ("signals", "noisy_psnr")}


def _means(before: np.ndarray, values: np.ndarray) -> Json:
    """Number of signals, and their mean PSNR in dB: noisy, (signals,), and denoised, (seeds, signals)."""
    return {"signals": len(before), "noisy_psnr": float(before.mean()), "psnr": _finite(values.mean(1))}


def _finite(values: np.ndarray) -> list[float | None]:
    """As JSON has them, null for what is not finite."""
    return [float(value) if np.isfinite(value) else None for value in values]


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
