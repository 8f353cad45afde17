"""The symmetric residual network: explicit steps of nonlinear diffusion, u - τ Kᵀ Φ(K u) ([A], [B]).

Block by block, 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) give ‖u^{k+1}‖₂ ≤ ‖u^k‖₂ (Euclidean stability), also for a nonmonotone
flux and for different K in every block. ``certified`` networks satisfy this whatever their parameters are.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from schemenets import fluxes, kernels
from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    add_contrast,
    contrast_count,
    derivative_filters,
)
from schemenets.networks._parametrizations import Below, Positive, UnitNorm

TAU_0 = 0.3  # initial step size


class Block(nn.Module):
    """u ↦ u - τ Kᵀ Φ(K u)."""

    lam: Tensor | None

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        self.flux = fluxes.get(architecture.flux)
        F, k = architecture.filters, architecture.kernel_size
        self.K = derivative_filters(architecture, generator, 1 / math.sqrt(F * k))
        if architecture.certified:
            limit = 2 / self.flux.L
            self.tau = nn.Parameter(torch.tensor(min(TAU_0, limit / 2)))
            register_parametrization(self, "K", UnitNorm())
            register_parametrization(self, "tau", Below(limit))
        else:
            self.tau = nn.Parameter(torch.tensor(TAU_0))
            register_parametrization(self, "tau", Positive())
        add_contrast(self, architecture)

    def forward(self, u: Tensor) -> Tensor:
        K = self.K
        return u - self.tau[..., None, None, None] * kernels.block(u, K, None, K, self.lam, self.flux)


class Symmetric(DenoisingNetwork):
    """Explicit diffusion steps; per block Fk + 1 parameters, and F contrasts if the flux has them."""

    certifiable = True
    block = Block

    @staticmethod
    def count(architecture: Architecture) -> Count:
        F, k, n = architecture.filters, architecture.kernel_size, architecture.distinct_blocks
        return Count(n * (F * k + 1 + contrast_count(architecture)), n * F * k)


NETWORK = Symmetric
