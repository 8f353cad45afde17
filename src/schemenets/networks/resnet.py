"""The standard residual network, u + W₂ᵀ Φ(W₁u + b₁) + b₂ with filters W₁, W₂ of their own (He et al. 2016).

The rectifier as activation function makes it the baseline of the study. There is no bound on W₂ᵀ, hence no
stability guarantee. Both convolutions are without padding, W₂ᵀ transposed, as in the networks it is compared with.
It starts as the symmetric network with the same filters, W₂ = -τW₁.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from schemenets.fluxes import Flux
from schemenets.kernels.program import Recorder, State
from schemenets.networks._base import (
    WEIGHTS,
    Architecture,
    Count,
    DenoisingNetwork,
    add_biases,
    add_flux,
    bias_operands,
    derivative_filters,
    first_step,
    flux_count,
)


class Block(nn.Module):
    """The weights of u ↦ u + W₂ᵀ Φ(W₁u + b₁) + b₂."""

    flux: Flux
    lam: Tensor | None
    w: Tensor | None

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        self.W1 = derivative_filters(architecture, generator)
        self.W2 = nn.Parameter(-first_step(architecture) * self.W1.detach())
        add_biases(self, architecture, architecture.biased)
        add_flux(self, architecture)


class ResNet(DenoisingNetwork):
    """The standard residual network; per block 2FCk + F + C parameters (biases included), and those of F fluxes."""

    block = Block
    biases = (True, False)
    values: ClassVar = {"W1": 3, "b1": 1, "W2": 3, "b2": 0, "lam": 1, "w": 2}
    skip: ClassVar[bool] = True

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        return {name: getattr(blocks, name) for name in ("W1", "W2", "lam", "w")} | bias_operands(blocks)

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        for i in range(architecture.blocks):
            onto: list[Any] = [(None, u)] if cls.skip else []
            u = do.block(u, do.of(WEIGHTS, i), fluxes[i % len(fluxes)], onto)
        return u

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
        return Count(2 * F * C * k + (F + C) * architecture.biased + flux_count(architecture), 2 * F * C * k)


NETWORK = ResNet
