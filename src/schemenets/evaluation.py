"""How well networks denoise and solve, and what is compared in training."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from schemenets.metrics import psnr
from schemenets.networks import DenoisingNetwork

PEAK = 255.0  # data lie in [0, 255], networks work on [0, 1]
BATCH = 512  # signals at a time


class Prepared(NamedTuple):
    """What a loss is made of: the mean squared difference of the targets and ``scale`` times the result.

    Attributes:
        inputs: of the network, (signals, length).
        targets: of that shape.
        scale: a number, or a tensor of one.
        grid: an equation whose A(x) is compared instead of the network's x.
    """

    inputs: Tensor
    targets: Tensor
    scale: Tensor | float = 1.0
    grid: Any = None


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
        given = np.ascontiguousarray(noisy, noisy.dtype.newbyteorder("="))
        batches = (torch.from_numpy(given) / PEAK).to(weights.dtype).split(BATCH)
        output = torch.cat([network(u.to(weights.device).expand(len(weights), *u.shape)) for u in batches], dim=1)
    denoised = output.numpy(force=True)
    return np.where(np.isfinite(denoised).all(-1), psnr(denoised * PEAK, clean), np.nan)


def relative_errors(network: nn.Module, b: Tensor, x: Tensor) -> Tensor:
    """‖network(b) - x‖₂/‖x‖₂ of every signal with a network that solves.

    Args:
        network: stacked over seeds.
        b: right-hand sides, (signals, N).
        x: solutions, of the same shape.

    Returns:
        (seeds, signals).
    """
    seeds = len(next(network.parameters()))
    with torch.inference_mode():
        parts = [network(part.expand(seeds, *part.shape)) for part in b.split(BATCH)]
    return (torch.cat(parts, 1) - x).norm(dim=-1) / x.norm(dim=-1)
