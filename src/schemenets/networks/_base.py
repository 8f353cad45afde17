"""What all denoising networks share: arguments, counts, and the way from signals to states and back."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from schemenets import fluxes
from schemenets.errors import InvalidParameterError
from schemenets.networks._parametrizations import Positive

LAMBDA_0 = 0.1  # initial contrast parameter, for signals in [0, 1]


class Count(NamedTuple):
    """Numbers of trainable parameters."""

    total: int
    convolution: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that determines a network but its weights; the arguments of :func:`schemenets.networks.build`."""

    name: str
    blocks: int
    filters: int
    kernel_size: int
    flux: str
    tied: bool = False
    certified: bool = False

    def __post_init__(self) -> None:
        for key in ("blocks", "filters", "kernel_size"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidParameterError(key, value, "an integer of at least 1")

    @property
    def distinct_blocks(self) -> int:
        """Number of blocks with weights of their own."""
        return 1 if self.tied else self.blocks


class DenoisingNetwork(nn.Module):
    """A chain of blocks on a scalar state, from noisy to denoised signals of the same shape (batch, length).

    Parameters may carry one leading seed dimension (see :func:`schemenets.networks.stack`); signals are then of
    shape (seeds, batch, length). A tied network applies one block again and again.
    """

    certifiable: ClassVar[bool] = False

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        self.architecture = architecture
        self.blocks = nn.ModuleList(self.block(architecture, generator) for _ in range(architecture.distinct_blocks))

    @staticmethod
    def block(architecture: Architecture, generator: torch.Generator) -> nn.Module:
        """A block with fresh weights."""
        raise NotImplementedError

    @staticmethod
    def count(architecture: Architecture) -> Count:
        """Numbers of trainable parameters by formula."""
        raise NotImplementedError

    def forward(self, f: Tensor) -> Tensor:
        if f.shape[-1] < self.architecture.kernel_size:
            raise InvalidParameterError(
                "length", f.shape[-1], f"at least the kernel size {self.architecture.kernel_size}"
            )
        u = f.unsqueeze(-2)  # one channel
        for index in range(self.architecture.blocks):
            u = self.blocks[index % len(self.blocks)](u)
        return u.squeeze(-2)


def random_filters(architecture: Architecture, generator: torch.Generator, scale: float) -> nn.Parameter:
    """Normally distributed filters of shape (filters, 1, kernel_size) with standard deviation ``scale``."""
    shape = (architecture.filters, 1, architecture.kernel_size)
    return nn.Parameter(scale * torch.randn(shape, generator=generator))


def derivative_filters(architecture: Architecture, generator: torch.Generator, scale: float) -> nn.Parameter:
    """Random filters with zero mean, which annihilate constants as derivatives do.

    The first filters of every network's blocks start like this, of the proposed ones and of the baseline: a better
    start for some of them would decide the comparison.
    """
    W = random_filters(architecture, generator, scale)
    if architecture.kernel_size > 1:
        W.data -= W.data.mean(-1, keepdim=True)
    return W


def add_contrast(block: nn.Module, architecture: Architecture) -> None:
    """Give ``block`` one positive contrast parameter per filter, ``lam``; None if the flux has none."""
    if fluxes.get(architecture.flux).scaled:
        block.lam = nn.Parameter(torch.full((architecture.filters,), LAMBDA_0))
        register_parametrization(block, "lam", Positive())
    else:
        block.register_parameter("lam", None)


def contrast_count(architecture: Architecture) -> int:
    """Number of contrast parameters of one block."""
    return architecture.filters if fluxes.get(architecture.flux).scaled else 0


def fan_in_scale(inputs: int) -> float:
    """Standard deviation of weights that keeps the variance of a rectified signal (He et al. 2015)."""
    return math.sqrt(2 / inputs)
