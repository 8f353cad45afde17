"""Test all seeds of one job on every test set."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from schemenets import files, networks, signals
from schemenets.evaluation import PEAK, denoised_psnr
from schemenets.metrics import psnr
from schemenets.networks import DenoisingNetwork
from schemenets.networks._safeguard import Safeguarded
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _trained


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``evaluation.json`` (means) and ``evaluation.safetensors`` (every signal) beside the checkpoints.

    A diverged seed is not tested: its values are null, and NaN for the single signals.
    """
    stopwatch = Stopwatch()
    trained = results.job(spec["job"])
    datasets = [results.dataset(name) for name in spec["test_sets"]]
    records, nets = zip(*(_trained.read(trained, seed) for seed in spec["seeds"]), strict=True)
    sound = [index for index, record in enumerate(records) if record["status"] == "ok"]
    stacked = networks.stack([nets[index] for index in sound]) if sound else None
    means, every = {}, {}
    for dataset in datasets:
        arrays = signals.read(dataset)
        noisy, clean = arrays["test/noisy"], arrays["test/clean"]
        values, shares = np.full((len(records), len(noisy)), np.nan), np.full(len(records), np.nan)
        if stacked is not None:
            values[sound] = denoised_psnr(stacked, noisy, clean)
            shares[sound] = held_back(stacked, noisy)
        errors = relative_error(values, clean).mean(1)
        every[dataset.stem] = values.astype(np.float32)
        means[dataset.stem] = {
            "signals": len(noisy),
            "noisy_psnr": float(psnr(noisy, clean).mean()),
            "psnr": [float(value) if np.isfinite(value) else None for value in values.mean(1)],
            "relative_error": [float(value) if np.isfinite(value) else None for value in errors],
            "held_back": [float(value) if np.isfinite(value) else None for value in shares],
        }
    data = {dataset.name: files.sha256(dataset) for dataset in datasets}
    result = {
        "job": spec["job"],
        "seeds": spec["seeds"],
        "checkpoints_sha256": [record["checkpoint_sha256"] for record in records],
        "test_sets": means,
        "provenance": collect(stopwatch, spec=spec, source=of_stage("evaluate", spec), data=data),
    }
    files.write_safetensors(trained / "evaluation.safetensors", every)
    files.write_json(trained / "evaluation.json", result)


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
    """‖u - v‖₂/‖v‖₂ of signals u from their PSNR in dB: with the MSE it tells ‖u - v‖₂ as well.

    Args:
        psnr: (seeds, signals).
        reference: v, (signals, length), values on [0, 255].

    Returns:
        (seeds, signals), float64; NaN where the PSNR is.
    """
    root_mean_square = 255 * 10 ** (-psnr / 20)
    return root_mean_square * np.sqrt(reference.shape[-1]) / np.linalg.norm(reference.astype(np.float64), axis=-1)
