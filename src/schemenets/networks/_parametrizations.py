"""Constraints as parametrizations (:mod:`torch.nn.utils.parametrize`): a constrained network is an ordinary network.

All of them accept leading seed dimensions, so they hold in stacked networks too.
"""

import torch
from torch import Tensor, nn

from schemenets import operators


class Positive(nn.Module):
    """θ ↦ exp θ."""

    def forward(self, theta: Tensor) -> Tensor:
        return theta.exp()

    def right_inverse(self, value: Tensor) -> Tensor:
        return value.log()


class Below(nn.Module):
    """θ ↦ limit · sigmoid θ, in (0, limit)."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, theta: Tensor) -> Tensor:
        return self.limit * theta.sigmoid()

    def right_inverse(self, value: Tensor) -> Tensor:
        return (value / self.limit).logit()


class UnitNorm(nn.Module):
    """W ↦ W / β(W) with the certified bound β(W) ≥ ‖W‖ of :func:`schemenets.operators.norm_bound`, so ‖W‖ ≤ 1."""

    def forward(self, W: Tensor) -> Tensor:
        bound = operators.norm_bound(W).clamp_min(torch.finfo(W.dtype).tiny)  # W = 0 stays 0
        return W / bound[..., None, None, None]

    def right_inverse(self, W: Tensor) -> Tensor:
        return W
