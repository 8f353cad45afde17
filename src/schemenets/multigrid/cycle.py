"""The multigrid U-net of a given problem: cycles of the full approximation scheme with trainable parts ([B]).

For A(x) = b (:class:`schemenets.multigrid.Problem`) with A known, from x⁰ = b (x⁰ = 0 if the problem is not screened).
One cycle on a grid smooths, replaces x by x + P(x_c - Rx), where x_c comes from a cycle for
A_c(x_c) = A_c(Rx) + R(b - A(x)) from Rx on the grid with half as many points, and smooths again. A_c is A discretised
there. Trainable are

* the smoother, x + D^(-½) B(D^(-½)(b - A(x))) with B(z) = ωz + WᵀΨ(Wz), a damping ω for every sweep, filters W and
  contrasts of Ψ. D = diag(σI + τKᵀG(x)K) holds the lagged diffusivities of x. For W = 0 it is damped Jacobi; for the
  linear Ψ, B is symmetric and positive definite whatever the weights are;
* the transfers: R has a symmetric stencil r at every second point, and P = cRᵀ.

All levels share these weights, so that one network runs on grids of any size: A alone depends on the mesh width. On the
coarsest grid, usually one point, all sweeps take place twice.

Whatever the weights are, if Ψ(0) = 0, a solution of A(x) = b is a fixed point of the cycle (derived): smoothing does
not change it, as its residual is zero; so the coarse problem is A_c(x_c) = A_c(Rx), of which Rx is a solution, and by
induction over the levels x_c = Rx. Whether cycles converge depends on the weights; :func:`schemenets.multigrid.certify`
computes it for linear problems.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from schemenets import fluxes, kernels
from schemenets.errors import InvalidParameterError, UnknownNameError, integer
from schemenets.kernels.program import Program, Recorder, State
from schemenets.kernels.reference import prolong, restrict
from schemenets.multigrid._cycles import cycle
from schemenets.multigrid.problems import Grid, Problem
from schemenets.networks._base import Count, Portable, check_finite, entry
from schemenets.networks._parametrizations import Positive, constrain
from schemenets.schemes.multigrid import CYCLES

NO_FILTERS = 5  # their length where there are none: any one will do that is compiled anyway
OMEGA_0 = 2 / 3  # initial damping
LAMBDA_0 = 0.1  # initial contrast of Ψ
STENCILS = {"reflecting": (0.375, 0.125), "dirichlet": (0.5, 0.25)}  # [1 3 3 1]/8, [1 2 1]/4, from the middle outwards
CHOICES = {
    "kind": tuple(CYCLES),
    "transfers": ("tied", "fixed"),
    "skip": ("additive", "concatenated"),
    "coarse_side": ("fas", "restricted"),
}


@dataclass(frozen=True, kw_only=True)
class CycleArchitecture:
    """Everything that determines a :class:`CycleNetwork` but its weights.

    Attributes:
        problem: what it solves.
        cycles: number of cycles, all with the same weights.
        kind: what a cycle does with its coarser grid: ``V``, ``W`` or ``F``.
        sweeps: smoothing sweeps before and after the correction, each.
        filters: number of filters W of the smoother; none for damped Jacobi.
        kernel_size: their length.
        flux: Ψ.
        transfers: ``tied``: trained, with P = cRᵀ; ``fixed``: those of the textbook.
        skip: ``additive``: x + P(x_c - Rx); ``concatenated``: x and Px_c are merged by trained filters, as in U-nets.
        coarse_side: right-hand side of the coarse problem, ``fas``: A_c(Rx) + R(b - A(x)); ``restricted``: Rb alone.

    Raises:
        InvalidParameterError, UnknownNameError: a value that is not possible.
    """

    name: ClassVar[str] = "cycle"

    problem: Problem
    cycles: int = 1
    kind: str = "V"
    sweeps: int = 1
    filters: int = 4
    kernel_size: int = 5
    flux: str = "linear"
    transfers: str = "tied"
    skip: str = "additive"
    coarse_side: str = "fas"

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Make sure that :meth:`build` can build this architecture, as is done when it is made.

        Raises:
            InvalidParameterError, UnknownNameError: a value that is not possible.
        """
        for key, least in {"cycles": 1, "sweeps": 1, "filters": 0, "kernel_size": 1}.items():
            object.__setattr__(self, key, integer(key, getattr(self, key), least))
        for key, known in CHOICES.items():
            if getattr(self, key) not in known:
                raise UnknownNameError(key, getattr(self, key), known)
        if fluxes.get(self.flux).weights:
            raise InvalidParameterError("flux", self.flux, "a flux without weights")

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> "CycleArchitecture":
        """The architecture with these :meth:`arguments`, see :func:`schemenets.networks.architecture`."""
        fields = {key: value for key, value in arguments.items() if key != "name"}
        return cls(**{**fields, "problem": Problem(**fields["problem"])})

    def arguments(self) -> dict[str, Any]:
        """The name and all fields, plain enough for JSON."""
        return {"name": self.name, **asdict(self)}

    def build(self, seed: int = 0) -> "CycleNetwork":
        """A network with fresh weights.

        Raises:
            InvalidParameterError: a seed that is none.
        """
        return CycleNetwork(self, torch.Generator().manual_seed(integer("seed", seed, 0)))

    @property
    def consistent(self) -> bool:
        """Whether solutions are fixed points of the cycle, whatever the weights are."""
        return self.coarse_side == "fas" and self.skip == "additive"

    @property
    def linear(self) -> bool:
        """Whether the error of one cycle depends on that before linearly, see :func:`schemenets.multigrid.certify`."""
        return self.consistent and self.problem.linear and self.flux == "linear"

    def count(self) -> Count:
        """Numbers of trainable parameters, by formula; builds nothing."""
        trained = self.transfers == "tied"
        merging = 2 * self.kernel_size if self.skip == "concatenated" else 0
        convolution = self.filters * self.kernel_size + merging + 2 * trained
        return Count(convolution + 2 * self.sweeps + self.filters * fluxes.get(self.flux).scaled + trained, convolution)


class Weights(nn.Module):
    """The weights of a cycle, which all levels share."""

    omega: Tensor
    lam: Tensor | None

    def __init__(self, architecture: CycleArchitecture, generator: torch.Generator) -> None:
        super().__init__()
        F, k = architecture.filters, architecture.kernel_size
        self.omega = nn.Parameter(torch.full((2 * architecture.sweeps,), OMEGA_0))
        constrain(self, "omega", Positive())
        if F:
            self.W = nn.Parameter(torch.randn((F, k), generator=generator) * 0.1 / math.sqrt(F * k))
        scaled = bool(F) and fluxes.get(architecture.flux).scaled
        self.register_parameter("lam", nn.Parameter(torch.full((F,), LAMBDA_0)) if scaled else None)
        if scaled:
            constrain(self, "lam", Positive())
        stencil = torch.tensor(STENCILS["reflecting" if architecture.problem.screened else "dirichlet"])
        for name, value in (("r", stencil), ("c", torch.tensor(2.0))):
            if architecture.transfers == "fixed":
                self.register_buffer(name, value, persistent=False)
            else:
                self.register_parameter(name, nn.Parameter(value))
        if architecture.skip == "concatenated":
            merging = torch.zeros(2, k)
            merging[:, k // 2] = 0.5
            self.V = nn.Parameter(merging)


class CycleNetwork(Portable):
    """b ↦ x after some cycles from the start, for right-hand sides (batch, N), of stacked networks (seeds, batch, N).

    Raises:
        InvalidParameterError: a shape or dtype that does not fit the weights, or right-hand sides that are not finite.
    """

    def __init__(self, architecture: CycleArchitecture, generator: torch.Generator) -> None:
        super().__init__()
        self.architecture = architecture
        self.weights = Weights(architecture, generator)

    @cached_property
    def flux(self) -> fluxes.Flux:
        """Ψ."""
        return fluxes.get(self.architecture.flux)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The leading dimension of the parameters, if the network is stacked."""
        return tuple(self._omega.shape[:-1])

    @property
    def _omega(self) -> Tensor:
        return next(p for name, p in self.named_parameters() if "omega" in name)

    @entry
    def forward(self, b: Tensor) -> Tensor:
        self._check(b)
        grid = self._fitting(b, None)
        return self._cycles(grid.start(b), b, grid, self.architecture.cycles, usual=True)

    @entry
    def cycle(self, x: Tensor, b: Tensor, grid: Grid | None = None) -> Tensor:
        """x after one more cycle, so that a trained network can be iterated as a solver.

        Args:
            x: iterates, (batch, N), of stacked networks (seeds, batch, N).
            b: right-hand sides, of that shape.
            grid: the problem to solve, for another τ or mesh width; that of the architecture if not given.

        Raises:
            InvalidParameterError: shapes, dtypes or a grid that do not fit, or right-hand sides that are not finite.
        """
        if x.shape != b.shape or x.dtype != b.dtype:  # first, as then neither has lost its channels
            expected = f"{tuple(b.shape)} {b.dtype}, those of b"
            raise InvalidParameterError("shape and dtype of x", f"{tuple(x.shape)} {x.dtype}", expected)
        self._check(b)
        return self._cycles(x, b, self._fitting(b, grid), 1)

    def _check(self, b: Tensor) -> None:
        """Make sure that b is of the dtype of the weights, and has their seeds."""
        seeds, weight = self.seeds, self._omega
        if b.ndim != len(seeds) + 2 or b.shape[:-2] != seeds or b.dtype != weight.dtype:
            lead = "".join(f"{n}, " for n in seeds)
            expected = f"({lead}batch, N) or ({lead}batch, channels, N) {weight.dtype}, as the network has"
            raise InvalidParameterError("shape and dtype of b", f"{tuple(b.shape)} {b.dtype}", expected)

    def _fitting(self, b: Tensor, grid: Grid | None) -> Grid:
        """The grid, or that of the architecture; makes sure that b is finite and has as many points."""
        check_finite("a value of b", b)
        grid = grid or GRIDS[_grid(self, int(b.shape[-1]))]  # a tensor where torch traces
        if b.shape[-1] != grid.N:
            raise InvalidParameterError("points of the grid", grid.N, f"{b.shape[-1]}, as b has")
        return grid

    @entry
    def full_multigrid(self, b: Tensor, grid: Grid | None = None) -> Tensor:
        """x from coarse to fine: the result for the coarse problem with Rb, interpolated, starts a cycle.

        Args:
            b: right-hand sides, (batch, N), of stacked networks (seeds, batch, N).
            grid: the problem to solve; that of the architecture if not given.

        Raises:
            InvalidParameterError: shapes, dtypes or a grid that do not fit, or right-hand sides that are not finite.
        """
        self._check(b)
        return self._full_multigrid(b, self._fitting(b, grid))

    def _full_multigrid(self, b: Tensor, grid: Grid) -> Tensor:
        x = grid.start(b)
        if grid.coarsens:
            stencil = torch.tensor(STENCILS[grid.ends], dtype=b.dtype, device=b.device)
            inner, outer = stencil.tolist()
            taps = (outer, inner, inner, outer) if grid.ends == "reflecting" else (outer, inner, outer, 0.0)
            r = torch.tensor(taps, dtype=b.dtype, device=b.device)
            coarse = self._full_multigrid(restrict(b, r, _shift(grid)), grid.coarser)
            x = 2 * prolong(coarse, r, grid.N, _shift(grid))
        return self._cycles(x, b, grid, 1)

    def _cycles(self, x: Tensor, b: Tensor, grid: Grid, count: int, usual: bool = False) -> Tensor:
        """x after some cycles; ``usual`` for the grid of the architecture."""
        program, operands = self._recorded(grid, count, x is b, usual)
        return kernels.run(program, [b] if x is b else [x, b], operands)

    def recorded(self, length: int, blocks: Any = None) -> tuple[Program, Tensor]:
        """The program for right-hand sides of this length, and its operands (..., numbers)."""
        problem = self.architecture.problem
        return self._recorded(problem.on(length), self.architecture.cycles, problem.screened)

    def _recorded(self, grid: Grid, count: int, same: bool, usual: bool = False) -> tuple[Program, Tensor]:
        weights: Any = self.weights
        seeds = weights.omega.ndim - 1
        operands = self.operands(grid, seeds)
        shapes = tuple((name, tuple(map(int, operand.shape[seeds:]))) for name, operand in operands.items())
        if usual:
            number = _number(self, grid.N, count, same, shapes)
        else:
            number = _recorded(self.architecture, self.flux, grid, count, same, shapes)
        return PROGRAMS[number], kernels.pack(operands.values(), seeds)

    def operands(self, grid: Grid, seeds: int) -> dict[str, Tensor]:
        """What the program depends on, by name: with the seeds first."""
        own: Any = self.weights
        inner, outer = own.r.unbind(-1)
        taps = (outer, inner, inner, outer) if grid.ends == "reflecting" else (outer, inner, outer, 0 * outer)
        found = {"omega": own.omega, "r": torch.stack(taps, -1), "c": own.c}
        lead = own.omega.shape[:seeds]
        # fixed transfers are the same for all seeds
        found = {name: x if x.shape[:seeds] == lead else x.expand((*lead, *x.shape)) for name, x in found.items()}
        return found | {name: getattr(own, name) for name in ("W", "lam", "V") if getattr(own, name, None) is not None}


class Operations:
    """Those of a cycle, as steps of a program."""

    def __init__(self, do: Recorder, flux: fluxes.Flux) -> None:
        self.do, self.own, self.flux = do, do.numbers, flux

    def sweep(self, x: State, b: State, grid: Grid, step: int) -> State:
        """x after a sweep with the damping of this number."""
        return self.do.sweep(x, b, grid, self.own["omega"][step], self.own.get("W"), self.own.get("lam"), self.flux)

    def residual(self, x: State, b: State, grid: Grid) -> State:
        """b - A(x)."""
        return self.do.residual(x, b, grid)

    def right_hand_side(self, start: State, coarse_residual: State, grid: Grid) -> State:
        """A(start) + R(b - A(x)), of the coarse problem."""
        return self.do.residual(start, coarse_residual, grid, -1)

    def restrict(self, x: State, grid: Grid) -> State:
        """Rx."""
        return self.do.restrict(x, self.own["r"], _shift(grid))

    def merge(self, x: State, x_c: State, start: State, grid: Grid) -> State:
        """x + P(x_c - Rx), or x and Px_c merged by filters."""
        r, c, shift = self.own["r"], self.own["c"], _shift(grid)
        if "V" not in self.own:
            return self.do.prolong(x_c, r, c, x, start, shift)
        both = self.do.state(2, x.N)
        self.do.extend(x, x.N, both.part(0, 1))
        self.do.prolong(x_c, r, c, shift=shift, y=both.part(1, 1), N=x.N)
        return self.do.merge(both, self.own["V"])


def _shift(grid: Grid) -> int:
    """Where the stencils of transfers begin, see :mod:`schemenets.kernels.levels`."""
    return 0 if grid.ends == "reflecting" else 1


def _grid(network: Any, length: int) -> int:
    """The number of that of the architecture."""
    return _numbered_grid(network.architecture.problem.on(length))


@lru_cache(maxsize=1024)
def _numbered_grid(grid: Grid) -> int:
    """Its number, with the fluxes of all levels: what is computed when it is asked for cannot be traced."""
    level = grid
    while True:
        _ = level.flux
        if not level.coarsens:
            break
        level = level.coarser
    GRIDS.append(grid)
    return len(GRIDS) - 1


def _number(network: Any, length: int, count: int, same: bool, shapes: Any) -> int:
    """That of the program on the grid of the architecture."""
    return _recorded(network.architecture, network.flux, network.architecture.problem.on(length), count, same, shapes)


# what torch.compiler.assume_constant_result does, after it has imported the compiler
_grid._dynamo_marked_constant = True  # type: ignore[attr-defined]
_number._dynamo_marked_constant = True  # type: ignore[attr-defined]
GRIDS: list[Grid] = []
PROGRAMS: list[Program] = []


@lru_cache(maxsize=1024)
def _recorded(
    architecture: CycleArchitecture, flux: fluxes.Flux, grid: Grid, count: int, same: bool, shapes: Any
) -> int:
    """The number of the program of so many cycles from x for b, which may be the same."""
    filters = [shape[-1] for name, shape in shapes if name in ("W", "V")]
    do = Recorder(dict(shapes), filters[0] if filters else NO_FILTERS)
    x = b = do.state(1, grid.N)
    if not same:
        x = do.state(1, grid.N)
    inputs = [b] if same else [x, b]
    for _ in range(count):
        x = cycle(architecture, Operations(do, flux), x, b, grid)
    PROGRAMS.append(do.program(inputs, x))
    return len(PROGRAMS) - 1
