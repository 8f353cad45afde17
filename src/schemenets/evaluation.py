"""How well networks denoise."""

import numpy as np
import torch

from schemenets.metrics import psnr
from schemenets.networks import DenoisingNetwork

PEAK = 255.0  # data lie in [0, 255], networks work on [0, 1]


def denoised_psnr(network: DenoisingNetwork, noisy: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """PSNR in dB of every signal after denoising with a stacked network.

    Args:
        network: stacked over seeds.
        noisy: (signals, length), values on [0, 255].
        clean: of the same shape.

    Returns:
        (seeds, signals), float64; NaN where the output is not finite.
    """
    weights = next(network.parameters())
    with torch.inference_mode():
        batches = (torch.from_numpy(noisy) / PEAK).split(100)  # small enough to stay in the cache
        output = torch.cat([network(u.to(weights.device).expand(len(weights), *u.shape)) for u in batches], dim=1)
    denoised = output.numpy(force=True)
    return np.where(np.isfinite(denoised).all(-1), psnr(denoised * PEAK, clean), np.nan)
