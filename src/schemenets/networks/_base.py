"""What all denoising networks share: arguments, counts, and the way from signals to states and back."""

import copy
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, wraps
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from schemenets import fluxes, kernels, registry
from schemenets.devices import autocasts, is_readable
from schemenets.errors import InvalidParameterError, UnknownNameError, integer
from schemenets.files import plain
from schemenets.fluxes import Flux
from schemenets.kernels.program import Program, Recorder, State
from schemenets.networks._parametrizations import (
    Below,
    Bounded,
    Positive,
    Stable,
    Unit,
    UnitNorm,
    Within,
    check_precision,
    constrain,
)

WEIGHTS = "W1", "b1", "W2", "lam", "w", "b2"  # operands of a block
LAMBDA_0 = 0.1  # initial contrast parameter, for signals in [0, 1]
TAU_0 = 0.3  # initial step size for filters of norm 1


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
    biases: bool | None = None
    steps: str = "positive"
    initialisation: str = "scaled"

    def __post_init__(self) -> None:
        for key in ("blocks", "filters", "kernel_size", "channels"):
            object.__setattr__(self, key, integer(key, getattr(self, key), 1))
        for key in ("tied", "certified", "biases"):
            object.__setattr__(self, key, plain(getattr(self, key)))  # of NumPy's truth values those of Python
        for key in ("tied", "certified"):
            if not isinstance(getattr(self, key), bool):
                raise InvalidParameterError(key, getattr(self, key), "True or False")
        if self.biases not in (None, False, True):
            raise InvalidParameterError("biases", self.biases, "True, False, or None for those of the literature")
        if self.steps not in STEPS:
            raise UnknownNameError("steps", self.steps, STEPS)
        if self.initialisation not in INITIALISATIONS:
            raise UnknownNameError("initialisation", self.initialisation, INITIALISATIONS)

    def arguments(self) -> dict[str, Any]:
        """All fields by name, as records and checkpoints keep them; optional ones where they are not as usual."""
        usual = {"channels": 1, "biases": None, "steps": "positive", "initialisation": "scaled"}
        return {key: value for key, value in asdict(self).items() if key not in usual or value != usual[key]}

    def build(self, seed: int = 0) -> "DenoisingNetwork":
        """A network with fresh weights.

        Raises:
            UnknownNameError, InvalidParameterError: what :meth:`check` raises, or a seed that is none.
        """
        self.check()
        return self._network(self, torch.Generator().manual_seed(integer("seed", seed, 0)))

    def check(self) -> None:
        """Make sure that :meth:`build` can build this architecture, without building it.

        Raises:
            UnknownNameError: unknown architecture or flux.
            InvalidParameterError: ``tied``, several ``channels``, ``biases`` or signed ``steps`` where the network
                cannot have them, ``certified`` where there is no certificate, as for signed ``steps``, or where the
                flux breaks its condition g ≥ 0.
        """
        flux, network = fluxes.get(self.flux), self._network
        if self.tied and not network.tieable:
            raise InvalidParameterError("tied", True, f"False, since blocks of {self.name!r} differ in shape")
        if self.channels > 1 and not network.multichannel:
            raise InvalidParameterError("channels", self.channels, f"1 for the network {self.name!r}")
        if self.biased not in network.biases:
            raise InvalidParameterError("biases", self.biases, f"{network.biases[0]} for the network {self.name!r}")
        if self.steps == "signed" and not network.signed:
            raise InvalidParameterError("steps", self.steps, f"positive for the network {self.name!r}")
        if self.certified and not network.certifiable:
            raise InvalidParameterError("certified", True, f"False, since no certificate of {self.name!r} is known")
        if self.certified and self.steps == "signed":
            raise InvalidParameterError("certified", True, "False, since no certificate with signed steps is known")
        if self.certified and not flux.nonnegative:
            raise InvalidParameterError("certified", True, f"False, since g of {flux.name!r} is negative somewhere")

    def count(self) -> Count:
        """Numbers of trainable parameters, by formula; builds nothing."""
        return self._network.count(self)

    @property
    def biased(self) -> bool:
        """Whether the network has biases."""
        return self._network.biases[0] if self.biases is None else self.biases

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
        network: type[DenoisingNetwork] = registry.module(__package__, self.name, "network", "NETWORK").NETWORK
        return network


def entry(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method of a network as users call it: with or without channels, and with or without autocast.

    Signals (..., batch, channels, length) are denoised channel by channel. The network stays in its own precision under
    ``torch.autocast``, since certificates are about that one.
    """

    @wraps(method)
    def own(network: Any, x: Tensor, *others: Any, **options: Any) -> Tensor:
        if not isinstance(x, Tensor):
            raise InvalidParameterError("signals", type(x).__name__, "a tensor, as torch.from_numpy makes of an array")
        given = [each for each in others if isinstance(each, Tensor)]
        if autocasts(x):
            dtype = next(network.parameters()).dtype
            others = tuple(each.to(dtype) if isinstance(each, Tensor) else each for each in others)
            with torch.autocast(x.device.type, enabled=False):
                return own(network, x.to(dtype), *others, **options)
        if has_channels(network, x) and all(each.shape == x.shape for each in given):
            others = tuple(each.flatten(-3, -2) if isinstance(each, Tensor) else each for each in others)
            return method(network, x.flatten(-3, -2), *others, **options).unflatten(-2, x.shape[-3:-1])
        return method(network, x, *others, **options)

    return own


def has_channels(network: Any, x: Tensor) -> bool:
    """Whether x is of shape (..., batch, channels, length) with the seeds of the network."""
    seeds: tuple[int, ...] = network.seeds
    return x.ndim == len(seeds) + 3 and x.shape[:-3] == seeds


class Portable(nn.Module):
    """A network that can be pickled, as to send it to another process: as its architecture and its parameters.

    Hooks and attributes of one's own stay behind. To keep a network, save a checkpoint.
    """

    architecture: Any
    implicit_gradients = False  # whether gradients are those of the solution, see the implicit network

    def __reduce__(self) -> Any:
        parameters = {name: (p.detach(), p.requires_grad) for name, p in self.named_parameters()}
        return rebuilt, (self.architecture, parameters, self.training, self.implicit_gradients)

    def _apply(self, fn: Any, recurse: bool = True) -> "Portable":  # of every conversion
        super()._apply(fn, recurse)
        check_precision(self)
        return self

    def __copy__(self) -> "Portable":  # which shares the parameters, as for any module
        copied = type(self).__new__(type(self))
        copied.__dict__ = dict(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> "Portable":  # all of it, as for any module
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied


def rebuilt(
    architecture: Any, parameters: Mapping[str, tuple[Tensor, bool]], training: bool, implicit_gradients: bool
) -> Any:
    """The network that was pickled, stacked if it was."""
    values, _ = next(iter(parameters.values()))
    network: Any = architecture.build().to(device=values.device, dtype=values.dtype).train(training)
    for name, parameter in network.named_parameters():
        parameter.data, requires_grad = parameters[name]
        parameter.requires_grad_(requires_grad)
    if implicit_gradients:
        network.implicit_gradients = True
    return network


class DenoisingNetwork(Portable):
    """A chain of blocks, from noisy to denoised signals of the same shape (batch, length).

    Signals of shape (batch, channels, length) are denoised channel by channel.

    The state between the blocks has one channel, the signal, or several: then the lift u_c = l_c f makes them of the
    signal and the projection Σ_c p_c u_c makes a signal of them again. Both have norm 1 in certified networks, so
    bounds of the chain are bounds of the network.

    Parameters may carry one leading seed dimension (see :func:`schemenets.networks.stack`); signals are then of
    shape (seeds, batch, length). A tied network applies one block again and again.

    What it computes is a program (:mod:`schemenets.kernels.program`), recorded by :meth:`record` and run as a whole;
    :meth:`operands` gives the numbers that it depends on.

    Attributes:
        values: what blocks are made of, each with its number of dimensions; of constrained values, what they are.
        certifiable: whether the scheme's stability bound can hold by construction.
        tieable: whether all blocks can share one set of weights.
        multichannel: whether the state can have several channels.
        biases: whether there may be biases; first what is usual.
        signed: whether each filter can have a step size of its own, of either sign.
        consistent: whether solutions of an equation are fixed points of the blocks, whatever the weights are.
    """

    values: ClassVar[Mapping[str, int]] = {}
    certifiable: ClassVar[bool] = False
    tieable: ClassVar[bool] = True
    multichannel: ClassVar[bool] = True
    biases: ClassVar[tuple[bool, ...]] = (False, True)
    signed: ClassVar[bool] = False
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
                    constrain(self, name, Unit())

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

    @entry
    def forward(self, f: Tensor) -> Tensor:
        self.check_signals(f)
        program, operands = self.recorded(f.shape[-1])
        return kernels.run(program, [f], operands)

    def recorded(self, length: int, blocks: Any = None) -> tuple[Program, Tensor]:
        """The program for signals of this length, and its operands (..., numbers).

        Args:
            length: of the signals.
            blocks: the values of all blocks, see :meth:`operands`; those of the network if not given.
        """
        seeds, length = len(self.seeds), operator.index(length)  # of a tensor or a symbol, where torch traces
        operands = self.operands(self.together() if blocks is None else blocks, length)
        return self.program(length, operands, seeds), kernels.pack(operands.values(), seeds)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The leading dimension of the parameters, if the network is stacked."""
        name, ndim = next(iter(self.values.items()))
        block: Any = self.blocks[0]
        weight = block.parametrizations[name].original if is_parametrized(block, name) else getattr(block, name)
        return tuple(weight.shape[: weight.ndim - ndim])

    def together(self) -> Any:
        """The values of all blocks, with a dimension for the blocks after that of the seeds."""
        found = Values()
        of_some = {"b2": self.architecture.channels > 1, "tau": self.architecture.steps == "signed"}
        for name, ndim in self.values.items():
            each: list[Any] = [getattr(block, name) for block in self.blocks]
            ndim = of_some.get(name, ndim)
            setattr(found, name, None if each[0] is None else torch.stack(each, each[0].ndim - ndim))
        return found

    def operands(self, blocks: Any, length: int) -> dict[str, Tensor]:
        """What the program depends on, by name: with the seeds first; of blocks, with these next.

        Args:
            blocks: what :meth:`together` gives, or a block whose parameters have these dimensions.
            length: of the signals.
        """
        values = Values()
        for name in self.values:  # once, since constraints are computed whenever they are read
            setattr(values, name, getattr(blocks, name))
        found = {name: x for name, x in self.operands_of(values, length).items() if x is not None}
        if self.architecture.channels > 1:
            found |= {"lift": self.lift[..., None], "projection": self.projection[..., None, :]}
        return found

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        """The operands of the blocks, None where there are none."""
        raise NotImplementedError

    def program(self, length: int, operands: Mapping[str, Tensor], seeds: int) -> Program:
        """What it computes for signals of this length, with operands that have so many dimensions for seeds."""
        shapes = tuple((name, tuple(map(int, x.shape[seeds:]))) for name, x in operands.items())
        return PROGRAMS[_number(self, length, shapes)]

    def fluxes(self) -> tuple[Flux, ...]:
        """Φ of all blocks."""
        blocks: Any = self.blocks
        return tuple(block.flux for block in blocks)

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        """Record what becomes of the state u, of all channels."""
        raise NotImplementedError

    def check_signals(self, f: Tensor) -> None:
        """Make sure that the network can take these signals.

        Raises:
            InvalidParameterError: their shape or dtype does not fit, they are shorter than the filters, or they hold
                NaN or infinite values (not seen where torch traces, captures or transforms the computation).
        """
        k, dtype = self.architecture.kernel_size, next(self.parameters()).dtype
        if f.ndim < 2 or f.shape[:-2] != self.seeds:
            seeds = "".join(f"{n}, " for n in self.seeds)
            expected = f"({seeds}batch, length) or ({seeds}batch, channels, length)"
            raise InvalidParameterError("shape of the signals", tuple(f.shape), expected)
        if f.dtype != dtype:
            raise InvalidParameterError("dtype of the signals", f.dtype, f"{dtype}, that of the network")
        if f.shape[-1] < k:
            raise InvalidParameterError("length", f.shape[-1], f"at least the kernel size {k}")
        check_finite("a value of the signals", f)


def _number(network: Any, length: int, shapes: Any) -> int:
    """That of the program of a network, which is recorded once."""
    own: Any = type(network)
    return _recorded(own, network.architecture, network.fluxes(), length, shapes)


# what torch.compiler.assume_constant_result does, after it has imported the compiler
_number._dynamo_marked_constant = True  # type: ignore[attr-defined]
PROGRAMS: list[Program] = []


@lru_cache(maxsize=1024)
def _recorded(
    network: type[DenoisingNetwork],
    architecture: Architecture,
    fluxes: tuple[Flux, ...],
    length: int,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
) -> int:
    do = Recorder(dict(shapes), architecture.kernel_size)
    f = u = do.state(1, length)
    if architecture.channels > 1:
        u = do.mix(f, do.numbers["lift"])
    u = network.record(do, architecture, fluxes, u)
    if architecture.channels > 1:
        u = do.mix(u, do.numbers["projection"])
    PROGRAMS.append(do.program([f], u))
    return len(PROGRAMS) - 1


class Values:
    """Values of all blocks, as attributes like those of a block."""


DIFFUSION = {"K": 3, "tau": 0, "b1": 1, "b2": 0, "lam": 1, "w": 2}  # values of diffusion blocks
STEPS = "positive", "signed"
INITIALISATIONS = "scaled", "glorot"


class DiffusionBlock(nn.Module):
    """The weights of u ↦ KᵀΦ(Ku + b₁) and b₂: filters K, and those of the flux.

    Attributes:
        normalised: whether ‖K‖ ≤ 1 in certified networks; else their step size has a limit that depends on K.
    """

    normalised: ClassVar[bool] = True
    flux: Flux
    b1: Tensor | None
    b2: Tensor | None
    lam: Tensor | None
    w: Tensor | None

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
        of_norm_1 = 1 / math.sqrt(F * C * k) if self.starts_normalised(architecture) else None
        self.K = derivative_filters(architecture, generator, of_norm_1)
        if architecture.certified:
            constrain(self, "K", UnitNorm() if self.normalised else Bounded())
        add_biases(self, architecture, architecture.biased)
        add_flux(self, architecture)

    @classmethod
    def starts_normalised(cls, architecture: Architecture) -> bool:
        """Whether filters begin with a norm of about 1, instead of as those of the standard residual network."""
        return cls.normalised

    def step(self, u: Tensor, tau: Tensor, onto: Tensor) -> Tensor:
        """``onto`` - τKᵀΦ(Ku + b₁) + b₂ with τ of shape (), in stacked networks (seeds,)."""
        K = self.K
        y = kernels.block(u, K, self.b1, scaled(-tau, K), self.lam, self.flux, self.w, onto)
        return y if self.b2 is None else y + self.b2.reshape(*K.shape[:-3], 1, -1, 1)


def scaled(factor: Tensor, K: Tensor) -> Tensor:
    """Filters (..., F, C, k) times a number (...) for all of them, or numbers (..., F)."""
    return factor[(..., *[None] * (K.ndim - factor.ndim))] * K


def add_biases(block: Any, architecture: Architecture, biased: bool) -> None:
    """Give ``block`` biases ``b1`` of its filters and ``b2`` of its channels, a number for one channel; or None."""
    F, C = architecture.filters, architecture.channels
    for name, shape in (("b1", (F,)), ("b2", () if C == 1 else (C,))):
        block.register_parameter(name, nn.Parameter(torch.zeros(shape)) if biased else None)


def bias_operands(blocks: Any) -> dict[str, Any]:
    """The biases of all blocks as operands, if there are some."""
    if blocks.b1 is None:
        return {}
    return {"b1": blocks.b1, "b2": blocks.b2.reshape(*blocks.b1.shape[:-1], -1)}


def diffusion_operands(blocks: Any, factor: Tensor) -> dict[str, Any]:
    """Operands of ... + W₂ᵀΦ(Ku + b₁) + b₂ with W₂ = ``factor`` K, for all blocks."""
    weights = {"W1": blocks.K, "W2": scaled(factor, blocks.K), "lam": blocks.lam, "w": blocks.w}
    return weights | bias_operands(blocks)


def check_finite(what: str, x: Tensor) -> None:
    """Make sure that x is finite, if its values can be looked at.

    Raises:
        InvalidParameterError: it is not; ``what`` names a value of it.
    """
    if is_readable(x) and not x.sum().isfinite():  # the sum of large finite values may overflow
        finite = x.isfinite()
        if not finite.all():
            raise InvalidParameterError(what, x[~finite][0].item(), "finite values")


def first_step(architecture: Architecture) -> float:
    """Initial step size τ of networks that start with u - τW₁ᵀΦ(W₁u), the standard residual one included.

    So -τW₁ has the standard deviation that weights W₂ usually have at first: that which keeps the variance of a
    rectified signal (He et al. 2015), divided by the depth, so that a deep network starts near the identity; or that of
    W₁ (Glorot and Bengio 2010). Certified networks start with half of the largest stable step size if that is smaller.
    """
    if architecture.initialisation == "glorot":
        return 1.0
    return math.sqrt(architecture.channels / architecture.filters) / architecture.blocks


def add_step_size(block: DiffusionBlock, architecture: Architecture, limit: float) -> None:
    """Give ``block`` a positive step size ``tau``, certified below ``limit``/‖K‖²; or signed ones of its filters.

    Filters that are normalised have ‖K‖ ≤ 1, so that the limit is a number; of free ones it depends on K.
    """
    tau = TAU_0 if block.normalised else first_step(architecture)
    if architecture.steps == "signed":
        block.tau = nn.Parameter(torch.full((architecture.filters,), tau))
    elif architecture.certified:
        constraint = Below(limit) if block.normalised else Stable(block, limit)
        block.tau = nn.Parameter(constraint(torch.tensor(0.0)).clamp_max(tau).detach())
        constrain(block, "tau", constraint)
    else:
        block.tau = nn.Parameter(torch.tensor(tau))
        constrain(block, "tau", Positive())


def count_diffusion(architecture: Architecture, scalars: int) -> Count:
    """Numbers of trainable parameters of a :class:`DiffusionBlock` with so many scalar parameters besides."""
    F, C = architecture.filters, architecture.channels
    weights = F * C * architecture.kernel_size
    scalars += (F + C) * architecture.biased + (F - 1) * (architecture.steps == "signed")
    return Count(weights + flux_count(architecture) + scalars, weights)


def random_filters(architecture: Architecture, generator: torch.Generator, scale: float) -> nn.Parameter:
    """Normally distributed filters of shape (filters, channels, kernel_size) with standard deviation ``scale``."""
    shape = (architecture.filters, architecture.channels, architecture.kernel_size)
    return nn.Parameter(scale * torch.randn(shape, generator=generator))


def derivative_filters(
    architecture: Architecture, generator: torch.Generator, scale: float | None = None
) -> nn.Parameter:
    """The first filters of a block: random ones with zero mean, which annihilate constants as derivatives do.

    Those of all residual networks start like this, of the proposed ones and of the baseline: a better start for some of
    them would decide the comparison. After Glorot and Bengio (2010), they may have a mean.

    Args:
        scale: their standard deviation, if it is another one than keeps the variance of a rectified signal.
    """
    F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
    if architecture.initialisation == "glorot" and scale is None:
        return random_filters(architecture, generator, math.sqrt(2 / ((F + C) * k)))
    W = random_filters(architecture, generator, fan_in_scale(C * k) if scale is None else scale)
    if k > 1:
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
        constrain(block, "lam", Positive())
    if flux.weights:
        constrain(block, "w", Within(flux.box))


def flux_count(architecture: Architecture) -> int:
    """Number of parameters of the flux of one block."""
    flux = fluxes.get(architecture.flux)
    return architecture.filters * (flux.scaled + flux.weights)


def fan_in_scale(inputs: int) -> float:
    """Standard deviation of weights that keeps the variance of a rectified signal (He et al. 2015)."""
    return math.sqrt(2 / inputs)
