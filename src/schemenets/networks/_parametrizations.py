"""Constraints as parametrizations (:mod:`torch.nn.utils.parametrize`): a constrained network is an ordinary network.

All of them accept leading seed dimensions, so they hold in stacked networks too.
"""

import torch
from torch import Tensor, nn

from schemenets import operators
from schemenets.kernels.extrapolation import magnitude

SAFETY = 1e-6  # by which constraints are stricter than their limits: more than rounding in single precision takes away
LARGEST = 30.0  # of |θ| in exp θ: single precision still holds the value, its inverse and their squares


class Positive(nn.Module):
    """θ ↦ exp θ, with θ held in [-30, 30], where neither the value nor its inverse overflows."""

    def forward(self, theta: Tensor) -> Tensor:
        return theta.clamp(-LARGEST, LARGEST).exp()

    def right_inverse(self, value: Tensor) -> Tensor:
        return value.log()


class Below(nn.Module):
    """θ ↦ limit · sigmoid θ, in (0, limit) for whatever θ, as the limit is lowered by a safety margin."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit * (1 - SAFETY)

    def forward(self, theta: Tensor) -> Tensor:
        return self.limit * theta.sigmoid()

    def right_inverse(self, value: Tensor) -> Tensor:
        return (value / self.limit).logit()


class Within(nn.Module):
    """θ ↦ limit · tanh θ, in (-limit, limit)."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, theta: Tensor) -> Tensor:
        return self.limit * theta.tanh()

    def right_inverse(self, value: Tensor) -> Tensor:
        return (value / self.limit).atanh()


class Unit(nn.Module):
    """v ↦ v/‖v‖₂, so ‖v‖₂ ≤ 1 for whatever v."""

    def forward(self, v: Tensor) -> Tensor:
        v = v / magnitude(v, -1)
        norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)  # 0 stays 0
        return v / (norm * (1 + SAFETY))

    def right_inverse(self, v: Tensor) -> Tensor:
        return v


class UnitNorm(nn.Module):
    """W ↦ W / β(W) with the certified bound β(W) ≥ ‖W‖ of :func:`schemenets.operators.norm_bound`, so ‖W‖ ≤ 1."""

    def forward(self, W: Tensor) -> Tensor:
        W = W / magnitude(W, (-3, -2, -1))
        bound = operators.norm_bound(W).clamp_min(torch.finfo(W.dtype).tiny)  # W = 0 stays 0
        return W / (bound * (1 + SAFETY))[..., None, None, None]

    def right_inverse(self, W: Tensor) -> Tensor:
        return W
