"""The symmetric residual network: explicit steps of nonlinear diffusion, u - τ Kᵀ Φ(K u) ([A], [B]).

Block by block, 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) give ‖u^{k+1}‖₂ ≤ ‖u^k‖₂ (Euclidean stability), also for a nonmonotone
flux and for different K in every block. ``certified`` networks satisfy this whatever their parameters are.
"""

import torch
from torch import Tensor

from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    DiffusionBlock,
    add_step_size,
    count_diffusion,
)


class Block(DiffusionBlock):
    """u ↦ u - τ Kᵀ Φ(K u)."""

    tau: Tensor

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        add_step_size(self, architecture, 2 / self.flux.L)

    def forward(self, u: Tensor) -> Tensor:
        return self.step(u, self.tau, onto=u)


class Symmetric(DenoisingNetwork):
    """Explicit diffusion steps; per block FCk + 1 parameters, and those of F fluxes."""

    certifiable = True
    block = Block

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        return count_diffusion(architecture, scalars=1)


NETWORK = Symmetric
