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

from schemenets.fluxes import Flux
from schemenets.kernels.program import Recorder, State
from schemenets.networks._base import (
    WEIGHTS,
    Architecture,
    Count,
    DenoisingNetwork,
    add_flux,
    fan_in_scale,
    flux_count,
    random_filters,
)


class Activation(nn.Module):
    """The parameters of s ↦ Φ(s)."""

    flux: Flux
    lam: Tensor | None
    w: Tensor | None

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        add_flux(self, architecture)


class DoubleConvolution(Activation):
    """The parameters of u ↦ Φ(W₂ᵀ Φ(W₁u + b₁) + b₂), from the architecture's channels to as many as it has filters."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture)
        F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
        self.W1 = random_filters(architecture, generator, fan_in_scale(C * k))
        self.b1 = nn.Parameter(torch.zeros(F))
        self.W2 = random_filters(replace(architecture, channels=F), generator, fan_in_scale(F * k))
        self.b2 = nn.Parameter(torch.zeros(F))
        self.second = Activation(architecture)


class Upsampling(nn.Module):
    """The parameters of a transposed convolution of length 2 and stride 2, from twice as many channels as it gives."""

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs = 2 * channels
        self.W = nn.Parameter(torch.randn((inputs, channels, 2), generator=generator) / math.sqrt(inputs))
        self.b = nn.Parameter(torch.zeros(channels))


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
    biases = (True,)

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

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.W.shape[:-3])

    def together(self) -> Any:
        return None

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        found: dict[str, Any] = {"W": self.W.squeeze(-1), "b": self.b[..., None]}
        for name, layer in self.blocks.named_modules():
            if isinstance(layer, Activation | Upsampling):
                found |= {f"{name}.{own}": getattr(layer, own, None) for own in ("W", "b", *WEIGHTS)}
        return found

    def fluxes(self) -> tuple[Flux, ...]:
        return tuple(layer.flux for layer in self.blocks.modules() if isinstance(layer, Activation))

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        N, H, last = u.N, 2 ** (architecture.blocks - 1), architecture.blocks - 1
        of_layers = iter(fluxes)
        own = [[next(of_layers) for _ in range(2 if index == last else 4)] for index in range(last + 1)]

        def double(u: State, name: str, fluxes: list[Flux], y: State | None = None) -> State:
            weights = {key: do.numbers[f"{name}.{key}"] for key in WEIGHTS if f"{name}.{key}" in do.numbers}
            after = {
                key: do.numbers[f"{name}.second.{key}"] for key in ("lam", "w") if f"{name}.second.{key}" in do.numbers
            }
            return do.activate(do.block(u, weights, fluxes[0]), after, fluxes[1], y)

        def level(u: State, index: int) -> State:
            """What the level of this index, with all that are coarser, makes of a state."""
            if index == last:
                return double(u, f"{index}.before", own[index])
            C = 2**index * architecture.filters
            both = do.state(2 * C, u.N)
            left = double(u, f"{index}.before", own[index][:2], both.part(0, C))
            coarse = level(do.pool(left), index + 1)
            do.upsample(coarse, do.numbers[f"{index}.up.W"], do.numbers[f"{index}.up.b"], both.part(C, C))
            return double(both, f"{index}.after", own[index][2:])

        # the coarsest signals have to be as long as the filters
        padded = H * max(architecture.kernel_size, math.ceil(N / H))
        y = do.mix(level(do.extend(u, padded) if padded > N else u, 0), do.numbers["W"], do.numbers["b"])
        return do.extend(y, N) if padded > N else y


NETWORK = UNet
