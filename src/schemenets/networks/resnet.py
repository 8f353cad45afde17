"""The standard residual network, u + W₂ᵀ Φ(W₁u + b₁) + b₂ with filters W₁, W₂ of their own (He et al. 2016).

The rectifier as activation function makes it the baseline of the study. There is no bound on W₂ᵀ, hence no
stability guarantee. Both convolutions are without padding, W₂ᵀ transposed, as in the networks it is compared with.
"""

import torch
from torch import Tensor, nn

from schemenets import fluxes, kernels
from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    add_contrast,
    contrast_count,
    derivative_filters,
    fan_in_scale,
    random_filters,
)


class Block(nn.Module):
    """u ↦ u + W₂ᵀ Φ(W₁u + b₁) + b₂."""

    lam: Tensor | None

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        self.flux = fluxes.get(architecture.flux)
        k, F = architecture.kernel_size, architecture.filters
        self.W1 = derivative_filters(architecture, generator, fan_in_scale(k))
        self.b1 = nn.Parameter(torch.zeros(F))
        # divided by the depth, so that a deep network starts near the identity
        self.W2 = random_filters(architecture, generator, fan_in_scale(F * k) / architecture.blocks)
        self.b2 = nn.Parameter(torch.zeros(()))
        add_contrast(self, architecture)

    def forward(self, u: Tensor) -> Tensor:
        branch = kernels.block(u, self.W1, self.b1, self.W2, self.lam, self.flux)
        return u + branch + self.b2[..., None, None, None]


class ResNet(DenoisingNetwork):
    """The standard residual network; per block 2Fk + F + 1 parameters, and F contrasts if the flux has them."""

    block = Block

    @staticmethod
    def count(architecture: Architecture) -> Count:
        F, k, n = architecture.filters, architecture.kernel_size, architecture.distinct_blocks
        return Count(n * (2 * F * k + F + 1 + contrast_count(architecture)), n * 2 * F * k)


NETWORK = ResNet
