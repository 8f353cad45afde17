"""The networks as one would write them in plain torch, and ways to train them faster without custom kernels."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d

from schemenets import kernels
from schemenets.fluxes import Flux
from schemenets.kernels import reference
from schemenets.networks import Architecture

Apply = Callable[[Tensor], Tensor]


class Activation(nn.Module):
    """Flux function with a contrast parameter for every filter where there is one."""

    def __init__(self, flux: str, filters: int) -> None:
        super().__init__()
        self.flux = FLUXES[flux]
        self.log_lam = nn.Parameter(torch.full((filters, 1), -2.3)) if self.flux is perona_malik else None

    def forward(self, s: Tensor) -> Tensor:
        return self.flux(s) if self.log_lam is None else self.flux(s, self.log_lam.exp())


class ResidualBlock(nn.Module):
    """u + W₂ᵀΦ(W₁u + b₁) + b₂ from torch's own layers."""

    def __init__(self, flux: str, filters: int, kernel_size: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, filters, kernel_size)
        self.activation = Activation(flux, filters)
        self.second = nn.ConvTranspose1d(filters, channels, kernel_size)

    def forward(self, u: Tensor) -> Tensor:
        return u + self.second(self.activation(self.first(u)))


class DiffusionBlock(nn.Module):
    """u - τKᵀΦ(Ku)."""

    def __init__(self, flux: str, filters: int, kernel_size: int, channels: int) -> None:
        super().__init__()
        self.K = nn.Parameter(0.1 * torch.randn(filters, channels, kernel_size))
        self.activation = Activation(flux, filters)
        self.log_tau = nn.Parameter(torch.tensor(-1.2))

    def forward(self, u: Tensor) -> Tensor:
        return u - self.log_tau.exp() * conv_transpose1d(self.activation(conv1d(u, self.K)), self.K)


def perona_malik(s: Tensor, lam: Tensor) -> Tensor:
    """s / (1 + s²/λ²)."""
    return s / (1 + (s / lam) ** 2)


FLUXES: dict[str, Callable[..., Tensor]] = {"relu": torch.relu, "perona_malik": perona_malik}
BLOCKS: dict[str, Callable[..., nn.Module]] = {"resnet": ResidualBlock, "symmetric": DiffusionBlock}


def idiomatic(architecture: Architecture) -> nn.Sequential:
    """The network in torch's own layers, (batch, 1, length) to the same shape."""
    size = architecture.flux, architecture.filters, architecture.kernel_size, architecture.channels
    blocks = [BLOCKS[architecture.name](*size) for _ in range(architecture.blocks)]
    if architecture.channels > 1:
        lift = nn.Conv1d(1, architecture.channels, 1, bias=False)
        blocks = [lift, *blocks, nn.Conv1d(architecture.channels, 1, 1, bias=False)]
    return nn.Sequential(*blocks)


def idiomatic_block(architecture: Architecture) -> nn.Module:
    """A block of it, (batch, channels, length) to the same shape; like ``kernels.block`` without a last bias."""
    a = architecture
    block = BLOCKS[a.name](a.flux, a.filters, a.kernel_size, a.channels)
    if isinstance(block, ResidualBlock):
        block.second.bias = None
    return block


def our_block(block: Any) -> Apply:
    """The same by ``kernels.block``, with the weights of a block of ours that may be stacked."""
    if hasattr(block, "K"):
        return lambda u: block.step(u, block.tau, u)
    return lambda u: kernels.block(u, block.W1, block.b1, block.W2, block.lam, block.flux, block.w, u)


def compiled(net: nn.Module) -> Apply:
    """The same network under ``torch.compile``."""
    # earlier compilations must neither make shapes dynamic nor exhaust the number of recompilations
    torch.compiler.reset()
    apply: Apply = torch.compile(net, fullgraph=True, dynamic=False)
    return apply


def vmapped(nets: Sequence[nn.Module]) -> tuple[Apply, list[Tensor]]:
    """Networks run side by side by ``torch.func.vmap``, and their stacked parameters."""
    parameters, _ = torch.func.stack_module_state(list(nets))
    skeleton = copy.deepcopy(nets[0]).to("meta")
    apply = torch.func.vmap(lambda parameters, u: torch.func.functional_call(skeleton, parameters, (u,)))
    return lambda u: apply(parameters, u), list(parameters.values())


def prepared(nets: Sequence[nn.Module], against: Sequence[str]) -> dict[str, tuple[Apply, list[Tensor], int]]:
    """The idiomatic network, and the faster rivals ``against``: each with its parameters and its number of seeds."""
    parameters: list[Tensor] = list(nets[0].parameters())
    found: dict[str, tuple[Apply, list[Tensor], int]] = {"idiomatic": (nets[0], parameters, 1)}
    if "compiled" in against:
        found["compiled"] = compiled(nets[0]), parameters, 1
    if "vmap" in against:
        found["vmap"] = *vmapped(nets), len(nets)
    return found


def torch_block(
    u: Tensor,
    W1: Tensor,
    b1: Tensor | None,
    W2: Tensor,
    lam: Tensor | None,
    flux: Flux,
    w: Tensor | None = None,
    onto: Tensor | None = None,
) -> Tensor:
    """The primitive on torch's convolutions, for networks that are not stacked."""
    s = conv1d(u, W1, b1)
    y = conv_transpose1d(flux(s, *reference.per_filter(lam, w)), W2)
    return y if onto is None else onto + y


@contextmanager
def on_torch_convolutions() -> Iterator[None]:
    """Within it the library's networks run on torch's convolutions, one seed at a time."""
    ours: dict[str, Any] = {"block": torch_block, "correlate": conv1d, "correlate_adjoint": conv_transpose1d}
    with patch.dict(os.environ, SCHEMENETS_KERNEL="reference"), patch.multiple(reference, **ours):
        yield
