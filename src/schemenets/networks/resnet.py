"""The standard residual network, u + W₂ᵀ Φ(W₁u + b₁) + b₂ with filters W₁, W₂ of their own (He et al. 2016).

The rectifier as activation function makes it the baseline of the study. There is no bound on W₂ᵀ, hence no
stability guarantee. Both convolutions are without padding, W₂ᵀ transposed, as in the networks it is compared with.
"""

import torch
from torch import Tensor, nn

from schemenets import kernels
from schemenets.fluxes import Flux
from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    add_flux,
    derivative_filters,
    fan_in_scale,
    flux_count,
    random_filters,
)


class Block(nn.Module):
    """u ↦ u + W₂ᵀ Φ(W₁u + b₁) + b₂."""

    flux: Flux
    lam: Tensor | None
    w: Tensor | None

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
        self.W1 = derivative_filters(architecture, generator, fan_in_scale(C * k))
        self.b1 = nn.Parameter(torch.zeros(F))
        # divided by the depth, so that a deep network starts near the identity
        self.W2 = random_filters(architecture, generator, fan_in_scale(F * k) / architecture.blocks)
        self.b2 = nn.Parameter(torch.zeros(C).squeeze())  # a number for one channel
        add_flux(self, architecture)

    def forward(self, u: Tensor) -> Tensor:
        y = kernels.block(u, self.W1, self.b1, self.W2, self.lam, self.flux, self.w, onto=u)
        return y + self.b2.reshape(*self.b1.shape[:-1], 1, -1, 1)


class ResNet(DenoisingNetwork):
    """The standard residual network; per block 2FCk + F + C parameters, and those of F fluxes."""

    block = Block

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
        return Count(2 * F * C * k + F + C + flux_count(architecture), 2 * F * C * k)


NETWORK = ResNet
