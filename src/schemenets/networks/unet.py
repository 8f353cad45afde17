"""The standard U-net (Ronneberger, Fischer, Brox 2015), the baseline of the multigrid network.

``blocks`` is its number of resolution levels. With the rectifier as flux, a level is two convolutions with bias and
activation, Φ(W₂ᵀΦ(W₁u + b₁) + b₂), before the coarser levels and two more after them. Maxima of pairs lead down, a
transposed convolution of length 2 and stride 2 leads up, and a skip connection concatenates the states of both ways.
The finest level has ``filters`` channels, and each coarser one twice as many as the level before. There are no
normalisation layers, so that signals of a batch do not touch each other.

Signals of any length are possible: their last value is repeated until the length suits all levels, and what belongs
to it is cut off in the end. The convolutions come in pairs without padding and transposed, as in the networks that
it is compared with.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from schemenets import kernels
from schemenets.fluxes import Flux
from schemenets.kernels.reference import correlate, per_filter
from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    add_flux,
    fan_in_scale,
    flux_count,
    random_filters,
)


class Activation(nn.Module):
    """s ↦ Φ(s), with parameters of its own."""

    flux: Flux
    lam: Tensor | None
    w: Tensor | None

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        add_flux(self, architecture)

    def forward(self, s: Tensor) -> Tensor:
        return self.flux(s, *per_filter(self.lam, self.w))


class DoubleConvolution(Activation):
    """u ↦ Φ(W₂ᵀ Φ(W₁u + b₁) + b₂), from the channels of ``architecture`` to as many as it has filters."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture)
        F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
        self.W1 = random_filters(architecture, generator, fan_in_scale(C * k))
        self.b1 = nn.Parameter(torch.zeros(F))
        self.W2 = random_filters(replace(architecture, channels=F), generator, fan_in_scale(F * k))
        self.b2 = nn.Parameter(torch.zeros(F))
        self.second = Activation(architecture)

    def forward(self, u: Tensor) -> Tensor:
        s = kernels.block(u, self.W1, self.b1, self.W2, self.lam, self.flux, self.w)
        return self.second(s + self.b2[..., None, :, None])


class Upsampling(nn.Module):
    """Transposed convolution of length 2 and stride 2, from twice as many channels as it gives."""

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs = 2 * channels
        self.W = nn.Parameter(torch.randn((inputs, channels, 2), generator=generator) / math.sqrt(inputs))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, u: Tensor) -> Tensor:
        pairs = (self.W.flatten(-2).transpose(-2, -1).unsqueeze(-3) @ u).unflatten(-2, (-1, 2))
        return pairs.transpose(-2, -1).flatten(-2) + self.b[..., None, :, None]


class Level(nn.Module):
    """The layers of one resolution: ``before`` the coarser ones and, but on the coarsest, ``up`` and ``after``."""

    def __init__(self, architecture: Architecture, generator: torch.Generator, index: int) -> None:
        super().__init__()
        C = 2**index * architecture.filters
        level = replace(architecture, filters=C, channels=C // 2 if index else 1)
        self.before = DoubleConvolution(level, generator)
        if index < architecture.blocks - 1:
            self.up = Upsampling(C, generator)
            self.after = DoubleConvolution(replace(level, channels=2 * C), generator)


class UNet(DenoisingNetwork):
    """The standard U-net; the numbers of its parameters are those of :meth:`count`."""

    tieable = False
    multichannel = False

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        F = architecture.filters
        self.W = nn.Parameter(torch.randn((1, F, 1), generator=generator) / math.sqrt(F))
        self.b = nn.Parameter(torch.tensor(0.0))

    @classmethod
    def fresh_blocks(cls, architecture: Architecture, generator: torch.Generator) -> Iterable[nn.Module]:
        return (Level(architecture, generator, index) for index in range(architecture.blocks))

    @classmethod
    def count(cls, architecture: Architecture) -> Count:
        """Numbers of trainable parameters: with n levels and H = 2^(n-1)

        F(k+1) + F²k + F²(9k+4)(H²-1)/3 of convolutions, F(7H-5) + 1 biases, and those of F(6H-4) fluxes.
        """
        F, k, H = architecture.filters, architecture.kernel_size, 2 ** (architecture.blocks - 1)
        convolution = F * (k + 1) + F**2 * k + F**2 * (9 * k + 4) * ((H**2 - 1) // 3)
        biases = F * (7 * H - 5) + 1
        return Count(convolution + biases + flux_count(architecture) * (6 * H - 4), convolution)

    def stride(self, length: int) -> int:
        return 2 ** (self.architecture.blocks - 1)

    def reach(self, length: int) -> int:
        H = self.stride(length)
        return (self.architecture.kernel_size - 1) * (3 * H - 2) + H - 1

    def run(self, u: Tensor) -> Tensor:
        length, stride = u.shape[-1], self.stride(u.shape[-1])
        # the coarsest signals have to be as long as the filters
        padded = stride * max(self.architecture.kernel_size, math.ceil(length / stride))
        u = torch.cat((u, u[..., -1:].expand(*u.shape[:-1], padded - length)), -1)
        return (correlate(self.level(u, 0), self.W) + self.b[..., None, None, None])[..., :length]

    def level(self, u: Tensor, index: int) -> Tensor:
        """What the level of this index, with all that are coarser, makes of a state."""
        block: Any = self.blocks[index]
        u = block.before(u)
        if index == self.architecture.blocks - 1:
            return u
        coarse = self.level(u.unflatten(-1, (-1, 2)).amax(-1), index + 1)
        return block.after(torch.cat((u, block.up(coarse)), -2))


NETWORK = UNet
