"""The networks as one would write them in plain torch, and the ways to train them faster without own kernels."""

from collections.abc import Callable
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d

from schemenets import kernels, networks
from schemenets.fluxes import Flux
from schemenets.networks import Architecture, DenoisingNetwork


class ResidualBlock(nn.Module):
    """u + W₂ᵀ relu(W₁u + b₁) + b₂ from torch's own layers."""

    def __init__(self, filters: int, kernel_size: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, filters, kernel_size)
        self.second = nn.ConvTranspose1d(filters, channels, kernel_size)

    def forward(self, u: Tensor) -> Tensor:
        return u + self.second(torch.relu(self.first(u)))


class DiffusionBlock(nn.Module):
    """u - τKᵀΦ(Ku) with the flux of Perona and Malik."""

    def __init__(self, filters: int, kernel_size: int, channels: int) -> None:
        super().__init__()
        self.K = nn.Parameter(0.1 * torch.randn(filters, channels, kernel_size))
        self.log_lam = nn.Parameter(torch.full((filters, 1), -2.3))
        self.log_tau = nn.Parameter(torch.tensor(-1.2))

    def forward(self, u: Tensor) -> Tensor:
        lam = self.log_lam.exp()
        s = conv1d(u, self.K)
        return u - self.log_tau.exp() * conv_transpose1d(s / (1 + (s / lam) ** 2), self.K)


BLOCKS: dict[tuple[str, str], Callable[[int, int, int], nn.Module]] = {
    ("resnet", "relu"): ResidualBlock,
    ("symmetric", "perona_malik"): DiffusionBlock,
}


def idiomatic(architecture: Architecture) -> nn.Module:
    """The network in torch's own layers, (batch, channels, length) to the same shape."""
    block = BLOCKS[architecture.name, architecture.flux]
    size = architecture.filters, architecture.kernel_size, architecture.channels
    return nn.Sequential(*(block(*size) for _ in range(architecture.blocks)))


def torch_block(
    u: Tensor, W1: Tensor, b1: Tensor | None, W2: Tensor, lam: Tensor | None, flux: Flux, w: Tensor | None = None
) -> Tensor:
    """The primitive by torch's convolutions, for networks that are not stacked."""
    s = conv1d(u, W1, b1)
    y = flux(s, 1.0 if lam is None else lam[:, None], *(() if w is None else (w[:, None],)))
    return conv_transpose1d(y, W2)


def on_torch_convolutions() -> "patch[Callable[..., Tensor]]":
    """Context in which the library's networks run on torch's convolutions, one seed at a time."""
    return patch.object(kernels, "block", torch_block)


def vmapped(nets: list[nn.Module]) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]]:
    """Stacked parameters of networks, and their losses by ``torch.func.vmap``."""
    parameters, _ = torch.func.stack_module_state(nets)
    skeleton = nets[0].to("meta")

    def loss(parameters: dict[str, Tensor], noisy: Tensor, clean: Tensor) -> Tensor:
        return (torch.func.functional_call(skeleton, parameters, noisy) - clean).square().mean()

    return parameters, torch.func.vmap(loss)


def ours(architecture: Architecture, seeds: int) -> DenoisingNetwork:
    """The library's network, stacked over seeds."""
    return networks.stack([networks.build(**architecture.arguments(), seed=seed) for seed in range(seeds)])
