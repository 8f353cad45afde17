"""The symmetric network without its skip connections, u ↦ τ Kᵀ Φ(K u): it shows what skips contribute.

The sign is plus, the most generous choice: with it, and not with -τ, a block can come close to the identity (τKᵀK = I
is within reach), which the blocks with skips are for τ → 0. τ is a gain here, not a step size.

Blocks, counts and training are those of :mod:`~schemenets.networks.symmetric`. Only the initial filters cannot be:
without a skip, derivatives lose the mean of the signal. So K starts with a mean, and such that τKᵀK/2 = I in
expectation, which is what a rectified block needs to keep the size of the signal.
"""

import math
from typing import Any

import torch

from schemenets.fluxes import Flux
from schemenets.kernels.program import Recorder, State
from schemenets.networks import symmetric
from schemenets.networks._base import (
    WEIGHTS,
    Architecture,
    diffusion_operands,
    fan_in_scale,
    first_step,
    random_filters,
)


class Block(symmetric.Block):
    """The weights of u ↦ τ Kᵀ Φ(K u)."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        scale = fan_in_scale(architecture.filters * architecture.kernel_size) / math.sqrt(first_step(architecture))
        self.K = random_filters(architecture, generator, scale)


class SymmetricFeedforward(symmetric.Symmetric):
    """A plain convolutional network with the parameters of the symmetric one."""

    certifiable = False
    block = Block

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        return diffusion_operands(blocks, blocks.tau)

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        for i in range(architecture.blocks):
            u = do.block(u, do.of(WEIGHTS, i), fluxes[i % len(fluxes)])
        return u


NETWORK = SymmetricFeedforward
