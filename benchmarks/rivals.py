"""The networks as one would write them in plain torch, and ways to train them faster without custom kernels."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d

from schemenets import kernels, networks
from schemenets.fluxes import Flux
from schemenets.networks import Architecture, DenoisingNetwork

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


def idiomatic(architecture: Architecture) -> nn.Module:
    """The network in torch's own layers, (batch, channels, length) to the same shape."""
    size = architecture.flux, architecture.filters, architecture.kernel_size, architecture.channels
    return nn.Sequential(*(BLOCKS[architecture.name](*size) for _ in range(architecture.blocks)))


def compiled(net: nn.Module) -> Apply:
    """The same network under ``torch.compile``."""
    # earlier compilations must neither make shapes dynamic nor exhaust the number of recompilations
    torch.compiler.reset()
    apply: Apply = torch.compile(net, fullgraph=True, dynamic=False)
    return apply


def vmapped(nets: list[nn.Module]) -> tuple[list[Tensor], Apply]:
    """Stacked parameters of networks, and these networks run side by side by ``torch.func.vmap``."""
    parameters, _ = torch.func.stack_module_state(nets)
    skeleton = copy.deepcopy(nets[0]).to("meta")
    apply = torch.func.vmap(lambda parameters, u: torch.func.functional_call(skeleton, parameters, (u,)))
    return list(parameters.values()), lambda u: apply(parameters, u)


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
    y = conv_transpose1d(flux(s, 1.0 if lam is None else lam[:, None], None if w is None else w[:, None]), W2)
    return y if onto is None else onto + y


def on_torch_convolutions() -> AbstractContextManager[object]:
    """Context in which the library's networks run on torch's convolutions, one seed at a time."""
    return patch.multiple(kernels, block=torch_block, is_compiled=lambda flux: False)


def ours(architecture: Architecture, seeds: int) -> DenoisingNetwork:
    """The library's network, stacked over seeds."""
    return networks.stack([networks.build(**architecture.arguments(), seed=seed) for seed in range(seeds)])
