"""What all denoising networks share: arguments, counts, and the way from signals to states and back."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from schemenets import fluxes, kernels, registry
from schemenets.devices import is_capturing
from schemenets.errors import InvalidParameterError
from schemenets.fluxes import Flux
from schemenets.networks._parametrizations import Below, Positive, Unit, UnitNorm, Within

LAMBDA_0 = 0.1  # initial contrast parameter, for signals in [0, 1]
TAU_0 = 0.3  # initial step size


class Count(NamedTuple):
    """Numbers of trainable parameters."""

    total: int
    convolution: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that determines a denoising network but its weights.

    Fields are the arguments of :func:`schemenets.networks.build`, which documents them.
    """

    name: str
    blocks: int
    filters: int
    kernel_size: int
    flux: str
    channels: int = 1
    tied: bool = False
    certified: bool = False

    def __post_init__(self) -> None:
        for key in ("blocks", "filters", "kernel_size", "channels"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidParameterError(key, value, "an integer of at least 1")
        for key in ("tied", "certified"):
            if not isinstance(getattr(self, key), bool):
                raise InvalidParameterError(key, getattr(self, key), "True or False")

    def arguments(self) -> dict[str, Any]:
        """All fields by name, as records and checkpoints keep them; a single channel is left out."""
        return {key: value for key, value in asdict(self).items() if (key, value) != ("channels", 1)}

    def build(self, seed: int = 0) -> "DenoisingNetwork":
        """A network with fresh weights.

        Raises:
            UnknownNameError, InvalidParameterError: what :meth:`check` raises.
        """
        self.check()
        return self._network(self, torch.Generator().manual_seed(seed))

    def check(self) -> None:
        """Make sure that :meth:`build` can build this architecture, without building it.

        Raises:
            UnknownNameError: unknown architecture or flux.
            InvalidParameterError: ``tied`` or several ``channels`` where the network cannot have them, ``certified``
                where there is no certificate, or the flux breaks its condition g ≥ 0.
        """
        flux, network = fluxes.get(self.flux), self._network
        if self.tied and not network.tieable:
            raise InvalidParameterError("tied", True, f"False, since blocks of {self.name!r} differ in shape")
        if self.channels > 1 and not network.multichannel:
            raise InvalidParameterError("channels", self.channels, f"1 for the network {self.name!r}")
        if self.certified and not network.certifiable:
            raise InvalidParameterError("certified", True, f"False, since no certificate of {self.name!r} is known")
        if self.certified and not flux.nonnegative:
            raise InvalidParameterError("certified", True, f"False, since g of {flux.name!r} is negative somewhere")

    def count(self) -> Count:
        """Numbers of trainable parameters, by formula; builds nothing."""
        return self._network.count(self)

    @property
    def consistent(self) -> bool:
        """Whether solutions of an equation are fixed points of the network, whatever the weights are."""
        return self._network.consistent

    @property
    def distinct_blocks(self) -> int:
        """Number of blocks with weights of their own."""
        return 1 if self.tied else self.blocks

    @property
    def _network(self) -> "type[DenoisingNetwork]":
        network: type[DenoisingNetwork] = registry.module(__package__, self.name, "network").NETWORK
        return network


class DenoisingNetwork(nn.Module):
    """A chain of blocks, from noisy to denoised signals of the same shape (batch, length).

    The state between the blocks has one channel, the signal, or several: then the lift u_c = l_c f makes them of the
    signal and the projection Σ_c p_c u_c makes a signal of them again. Both have norm 1 in certified networks, so
    bounds of the chain are bounds of the network.

    Parameters may carry one leading seed dimension (see :func:`schemenets.networks.stack`); signals are then of
    shape (seeds, batch, length). A tied network applies one block again and again.

    Attributes:
        certifiable: whether the scheme's stability bound can hold by construction.
        tieable: whether all blocks can share one set of weights.
        multichannel: whether the state can have several channels.
        consistent: whether solutions of an equation are fixed points of the blocks, whatever the weights are.
    """

    certifiable: ClassVar[bool] = False
    tieable: ClassVar[bool] = True
    multichannel: ClassVar[bool] = True
    consistent: ClassVar[bool] = False
    lift: Tensor
    projection: Tensor

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        self.architecture = architecture
        self.blocks = nn.ModuleList(self.fresh_blocks(architecture, generator))
        C = architecture.channels
        if C > 1:
            for name in ("lift", "projection"):
                self.register_parameter(name, nn.Parameter(torch.full((C,), 1 / math.sqrt(C))))
                if architecture.certified:
                    register_parametrization(self, name, Unit())

    @staticmethod
    def block(architecture: Architecture, generator: torch.Generator) -> nn.Module:
        """A block with fresh weights."""
        raise NotImplementedError

    @classmethod
    def fresh_blocks(cls, architecture: Architecture, generator: torch.Generator) -> Iterable[nn.Module]:
        """All blocks that have weights of their own."""
        return (cls.block(architecture, generator) for _ in range(architecture.distinct_blocks))

    @classmethod
    def count(cls, architecture: Architecture) -> Count:
        """Numbers of trainable parameters by formula."""
        one, C = cls.count_block(architecture), architecture.channels
        n = architecture.distinct_blocks
        return Count(n * one.total + (2 * C if C > 1 else 0), n * one.convolution)

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        """Numbers of trainable parameters of one block by formula."""
        raise NotImplementedError

    @property
    def applied(self) -> list[Any]:
        """The blocks in the order they are applied."""
        return [self.blocks[index % len(self.blocks)] for index in range(self.architecture.blocks)]

    def stride(self, length: int) -> int:
        """Shifts of signals of this length by its multiples commute with the network, away from the ends."""
        return 1

    def reach(self, length: int) -> int:
        """Distance up to which an input value acts on the output, for signals of this length."""
        return self.architecture.blocks * (self.architecture.kernel_size - 1)

    def forward(self, f: Tensor) -> Tensor:
        self.check_signals(f)
        if self.architecture.channels == 1:
            return self.run(f.unsqueeze(-2)).squeeze(-2)
        u = self.run(f.unsqueeze(-2) * self.lift[..., None, :, None])
        return (u * self.projection[..., None, :, None]).sum(-2)

    def check_signals(self, f: Tensor) -> None:
        """Make sure that the network can take these signals.

        Raises:
            InvalidParameterError: their shape or dtype does not fit, they are shorter than the filters, or they hold
                NaN or infinite values (not seen where torch traces, captures or transforms the computation).
        """
        k, dtype = self.architecture.kernel_size, next(self.parameters()).dtype
        if f.ndim < 2:
            raise InvalidParameterError("shape of the signals", tuple(f.shape), "(batch, length)")
        if f.dtype != dtype:
            raise InvalidParameterError("dtype of the signals", f.dtype, f"{dtype}, that of the network")
        if f.shape[-1] < k:
            raise InvalidParameterError("length", f.shape[-1], f"at least the kernel size {k}")
        check_finite("a value of the signals", f)

    def run(self, u: Tensor) -> Tensor:
        """The last state from the first, both of shape (..., batch, channels, length)."""
        for block in self.applied:
            u = block(u)
        return u


class DiffusionBlock(nn.Module):
    """The weights of u ↦ KᵀΦ(Ku): filters K, with ‖K‖ ≤ 1 in certified networks, and those of the flux."""

    flux: Flux
    lam: Tensor | None
    w: Tensor | None

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        fan = architecture.filters * architecture.channels * architecture.kernel_size
        self.K = derivative_filters(architecture, generator, 1 / math.sqrt(fan))
        if architecture.certified:
            register_parametrization(self, "K", UnitNorm())
        add_flux(self, architecture)

    def step(self, u: Tensor, tau: Tensor, onto: Tensor) -> Tensor:
        """``onto`` - τKᵀΦ(Ku) with τ of shape (), in stacked networks (seeds,)."""
        K = self.K
        return kernels.block(u, K, None, -tau[..., None, None, None] * K, self.lam, self.flux, self.w, onto)


def check_finite(what: str, x: Tensor) -> None:
    """Make sure that x is finite, unless torch traces, captures or transforms the computation.

    Raises:
        InvalidParameterError: it is not; ``what`` names a value of it.
    """
    if torch.compiler.is_compiling() or is_capturing(x) or torch._C._functorch.is_functorch_wrapped_tensor(x):
        return
    if not x.sum().isfinite():  # the sum of large finite values may overflow
        finite = x.isfinite()
        if not finite.all():
            raise InvalidParameterError(what, x[~finite][0].item(), "finite values")


def add_step_size(block: nn.Module, architecture: Architecture, limit: float) -> None:
    """Give ``block`` a positive step size ``tau``, below ``limit`` in certified networks."""
    if architecture.certified:
        block.tau = nn.Parameter(torch.tensor(min(TAU_0, limit / 2)))
        register_parametrization(block, "tau", Below(limit))
    else:
        block.tau = nn.Parameter(torch.tensor(TAU_0))
        register_parametrization(block, "tau", Positive())


def count_diffusion(architecture: Architecture, scalars: int) -> Count:
    """Numbers of trainable parameters of a :class:`DiffusionBlock` with so many scalar parameters besides."""
    weights = architecture.filters * architecture.channels * architecture.kernel_size
    return Count(weights + flux_count(architecture) + scalars, weights)


def random_filters(architecture: Architecture, generator: torch.Generator, scale: float) -> nn.Parameter:
    """Normally distributed filters of shape (filters, channels, kernel_size) with standard deviation ``scale``."""
    shape = (architecture.filters, architecture.channels, architecture.kernel_size)
    return nn.Parameter(scale * torch.randn(shape, generator=generator))


def derivative_filters(architecture: Architecture, generator: torch.Generator, scale: float) -> nn.Parameter:
    """Random filters with zero mean, which annihilate constants as derivatives do.

    The first filters of all networks start like this, of the proposed ones and of the baseline: a better start for
    some of them would decide the comparison.
    """
    W = random_filters(architecture, generator, scale)
    if architecture.kernel_size > 1:
        W.data -= W.data.mean(-1, keepdim=True)
    return W


def add_flux(block: Any, architecture: Architecture) -> None:
    """Give ``block`` its ``flux``, a positive contrast ``lam`` for every filter, and weights ``w`` of its shape.

    ``lam`` is of shape (filters,), and ``w`` in its box of shape (filters, weights); None if the flux has none.
    """
    block.flux = flux = fluxes.get(architecture.flux)
    F = architecture.filters
    block.register_parameter("lam", nn.Parameter(torch.full((F,), LAMBDA_0)) if flux.scaled else None)
    block.register_parameter("w", nn.Parameter(torch.tensor(flux.initial).repeat(F, 1)) if flux.weights else None)
    if flux.scaled:
        register_parametrization(block, "lam", Positive())
    if flux.weights:
        register_parametrization(block, "w", Within(flux.box))


def flux_count(architecture: Architecture) -> int:
    """Number of parameters of the flux of one block."""
    flux = fluxes.get(architecture.flux)
    return architecture.filters * (flux.scaled + flux.weights)


def fan_in_scale(inputs: int) -> float:
    """Standard deviation of weights that keeps the variance of a rectified signal (He et al. 2015)."""
    return math.sqrt(2 / inputs)
