"""Attacks: perturbations of bounded norm that lead the output of a network as far from the clean signal as possible.

With the Lipschitz bound c of a certificate ‖N(f+δ) - u‖₂ ≤ ‖N(f) - u‖₂ + c‖δ‖₂, so that it guarantees a PSNR.
"""

import copy
import math

import numpy as np
import torch
from torch import Tensor

from schemenets.networks import DenoisingNetwork

RATES = (3.0, 0.3)  # lengths of the first and the last step, relative to the radius; geometric in between


def worst_perturbation(
    network: DenoisingNetwork, f: Tensor, clean: Tensor, radius: float, starts: Tensor, steps: int
) -> Tensor:
    """Perturbations with ‖δ‖₂ ≤ ``radius`` for which ‖N(f + δ) - clean‖₂ is the largest found.

    Projected gradient ascent with steps of given lengths, for each signal on its own (Madry et al. 2018). Every iterate
    counts, the starts included: the result is at least as bad as they are, and a lower bound of the worst case.

    Args:
        network: stacked or not; it is not changed.
        f: what the network takes, (..., signals, length), on the scale [0, 1].
        clean: what it should return, of a shape that broadcasts against f.
        radius: of the ball, at least 0.
        starts: (starts, ..., signals, length); those outside of the ball start from its nearest point.
        steps: ascent steps from every start.

    Returns:
        δ, of the shape of f.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    worst, farthest = torch.zeros_like(f), f.new_full((*f.shape[:-1], 1), -math.inf)
    for start in starts:
        delta = _into_ball(start, radius)
        for rate in np.geomspace(*RATES, steps + 1).tolist():
            delta = delta.detach().requires_grad_()
            distance = _norm(network(f + delta) - clean)
            (gradient,) = torch.autograd.grad(distance.sum(), delta)
            with torch.no_grad():
                farther = distance > farthest
                worst, farthest = torch.where(farther, delta, worst), torch.where(farther, distance, farthest)
                step = _unit(gradient).nan_to_num(0.0)  # no direction where derivatives overflow
                delta = _into_ball(delta + rate * radius * step, radius)
    return worst


def guaranteed_psnr(psnr: np.ndarray, lipschitz: float, size: float) -> np.ndarray:
    """Least PSNR in dB after any perturbation of a given size, from that without one.

    Args:
        psnr: PSNR of the outputs for unperturbed inputs, of any shape.
        lipschitz: bound on the Lipschitz constant of the network.
        size: root mean square of the perturbation, on the scale [0, 255] of the PSNR.
    """
    error: np.ndarray = 255 * 10 ** (-psnr / 20)  # root mean square
    return 20 * np.log10(255 / (error + lipschitz * size))


def _into_ball(delta: Tensor, radius: float) -> Tensor:
    return _unit(delta) * _norm(delta).clamp_max(radius)


def _unit(u: Tensor) -> Tensor:
    return u / _norm(u).clamp_min(torch.finfo(u.dtype).tiny)


def _norm(u: Tensor) -> Tensor:
    return torch.linalg.vector_norm(u, dim=-1, keepdim=True)
