"""The symmetric residual network: explicit steps of nonlinear diffusion, u - τ Kᵀ Φ(K u) ([A], [B]).

Block by block, 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) give ‖u^{k+1}‖₂ ≤ ‖u^k‖₂ (Euclidean stability), also for a nonmonotone
flux and for different K in every block. ``certified`` networks satisfy this whatever their parameters are: K is free,
and τ is a trainable share of 2/(L‖K‖²). Signed step sizes, one of every filter, have no such guarantee.
"""

from typing import Any

import torch
from torch import Tensor

from schemenets.fluxes import Flux
from schemenets.kernels.program import Recorder, State
from schemenets.networks._base import (
    DIFFUSION,
    WEIGHTS,
    Architecture,
    Count,
    DenoisingNetwork,
    DiffusionBlock,
    add_step_size,
    count_diffusion,
    diffusion_operands,
)


class Block(DiffusionBlock):
    """The weights of u ↦ u - τ Kᵀ Φ(K u + b₁) + b₂."""

    normalised = False
    tau: Tensor

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        add_step_size(self, architecture, 2 / self.flux.L)


class Symmetric(DenoisingNetwork):
    """Explicit diffusion steps; per block FCk + 1 parameters, those of F fluxes, and with biases F + C more."""

    certifiable = True
    signed = True
    block = Block
    values = DIFFUSION

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        return diffusion_operands(blocks, -blocks.tau)

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        for i in range(architecture.blocks):
            u = do.block(u, do.of(WEIGHTS, i), fluxes[i % len(fluxes)], [(None, u)])
        return u

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        return count_diffusion(architecture, scalars=1)


NETWORK = Symmetric
