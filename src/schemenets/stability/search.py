"""Search for signals that a network amplifies most."""

import copy

import torch
from torch import Tensor

from schemenets.networks import DenoisingNetwork

SCALES = (1e-3, 1e-1, 1.0, 1e1, 1e3)  # root mean squares of the starts; signals of the study lie in [0, 1]


def largest_amplification(network: DenoisingNetwork, starts: Tensor, steps: int = 50, rate: float = 0.1) -> float:
    """Largest ‖N(u)‖₂ / ‖u‖₂ found by gradient ascent in float64 from ``starts`` and from random signals.

    Random starts are smooth and rough and of all sizes in :data:`SCALES`; every iterate counts. This is a lower
    bound of the true maximum.

    Args:
        network: not stacked; it is not changed.
        starts: (batch, length), on the scale [0, 1].
        steps: ascent steps.
        rate: length of a step relative to ‖u‖₂.
    """

    network = copy.deepcopy(network).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(SCALES), starts.shape[-1], generator=generator, dtype=torch.float64)
    smooth = noise.cumsum(-1)
    scales = torch.tensor(SCALES, dtype=torch.float64)[:, None]
    random = torch.cat([scales * signal / _norm(signal) * starts.shape[-1] ** 0.5 for signal in (noise, smooth)])
    u = torch.cat([starts.double(), random])
    largest = 0.0
    for _ in range(steps + 1):
        u = u.detach().requires_grad_()
        amplification = _norm(network(u)) / _norm(u)
        largest = max(largest, amplification.max().item())
        (gradient,) = torch.autograd.grad(amplification.sum(), u)
        u = u + rate * _norm(u) * gradient / _norm(gradient).clamp_min(torch.finfo(torch.float64).tiny)
    return largest


def _norm(u: Tensor) -> Tensor:
    return torch.linalg.vector_norm(u, dim=-1, keepdim=True)
