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
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrize import register_parametrization

from schemenets import fluxes
from schemenets.errors import InvalidParameterError, UnknownNameError
from schemenets.multigrid._cycles import Program, Recorder, cycle
from schemenets.multigrid.problems import Grid, Problem
from schemenets.multigrid.sweep import is_compiled, residual, run, sweep
from schemenets.networks._base import Count, check_finite
from schemenets.networks._parametrizations import Positive
from schemenets.schemes.multigrid import CYCLES

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
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidParameterError(key, value, f"an integer of at least {least}")
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
        """A network with fresh weights."""
        return CycleNetwork(self, torch.Generator().manual_seed(seed))

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
        register_parametrization(self, "omega", Positive())
        if F:
            self.W = nn.Parameter(torch.randn((F, k), generator=generator) * 0.1 / math.sqrt(F * k))
        scaled = bool(F) and fluxes.get(architecture.flux).scaled
        self.register_parameter("lam", nn.Parameter(torch.full((F,), LAMBDA_0)) if scaled else None)
        if scaled:
            register_parametrization(self, "lam", Positive())
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


def read(weights: nn.Module) -> SimpleNamespace:
    """All values of :class:`Weights`, once per application: each access computes the constraints again."""
    return SimpleNamespace(**{name: getattr(weights, name, None) for name in ("omega", "W", "lam", "r", "c", "V")})


class CycleNetwork(nn.Module):
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

    def forward(self, b: Tensor) -> Tensor:
        self._check(b)
        grid = self._fitting(b, None)
        return self._cycles(grid.start(b), b, grid, self.architecture.cycles)

    def cycle(self, x: Tensor, b: Tensor, grid: Grid | None = None) -> Tensor:
        """x after one more cycle, so that a trained network can be iterated as a solver.

        Args:
            x: iterates, (batch, N), of stacked networks (seeds, batch, N).
            b: right-hand sides, of that shape.
            grid: the problem to solve, for another τ or mesh width; that of the architecture if not given.

        Raises:
            InvalidParameterError: shapes, dtypes or a grid that do not fit, or right-hand sides that are not finite.
        """
        self._check(b)
        if x.shape != b.shape or x.dtype != b.dtype:
            expected = f"{tuple(b.shape)} {b.dtype}, those of b"
            raise InvalidParameterError("shape and dtype of x", f"{tuple(x.shape)} {x.dtype}", expected)
        return self._cycles(x, b, self._fitting(b, grid), 1)

    def _check(self, b: Tensor) -> None:
        """Make sure that b is of the dtype of the weights, and has their seeds."""
        weight = next(p for name, p in self.named_parameters() if "omega" in name)
        seeds = weight.shape[:-1]
        if b.ndim != len(seeds) + 2 or b.shape[:-2] != seeds or b.dtype != weight.dtype:
            expected = f"({''.join(f'{n}, ' for n in seeds)}batch, N) {weight.dtype}, as the network has"
            raise InvalidParameterError("shape and dtype of b", f"{tuple(b.shape)} {b.dtype}", expected)

    def _fitting(self, b: Tensor, grid: Grid | None) -> Grid:
        """The grid, or that of the architecture; makes sure that b is finite and has as many points."""
        check_finite("a value of b", b)
        grid = grid or self.architecture.problem.on(b.shape[-1])
        if b.shape[-1] != grid.N:
            raise InvalidParameterError("points of the grid", grid.N, f"{b.shape[-1]}, as b has")
        return grid

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
            x = 2 * prolong(self._full_multigrid(restrict(b, stencil, grid), grid.coarser), stencil, grid)
        return self._cycles(x, b, grid, 1)

    def _cycles(self, x: Tensor, b: Tensor, grid: Grid, count: int) -> Tensor:
        """x after some cycles, as one compiled operation if there is one."""
        own = read(self.weights)
        seeds = own.omega.shape[:-1]
        if x.shape[:-2] == seeds and is_compiled(grid, self.flux, x, b, *vars(own).values()):
            program = _recorded(self.architecture, grid, count)
            transfers = own.r.expand(*seeds, 2), own.c.expand(seeds)  # fixed ones are the same for all seeds
            return run(program, x, b, own.omega, own.W, own.lam, self.flux, transfers, own.V)
        do = Operations(own, self.flux)
        for _ in range(count):
            x = cycle(self.architecture, do, x, b, grid)
        return x


class Operations:
    """Those of a cycle, by torch."""

    def __init__(self, weights: SimpleNamespace, flux: fluxes.Flux) -> None:
        self.weights, self.flux = weights, flux

    def sweep(self, x: Tensor, b: Tensor, grid: Grid, step: int) -> Tensor:
        """x after a sweep with the damping of this number."""
        own = self.weights
        return sweep(x, b, grid, own.omega[..., step], own.W, own.lam, self.flux)

    def residual(self, x: Tensor, b: Tensor, grid: Grid) -> Tensor:
        """b - A(x)."""
        return residual(x, b, grid)

    def right_hand_side(self, start: Tensor, coarse_residual: Tensor, grid: Grid) -> Tensor:
        """A(start) + R(b - A(x)), of the coarse problem."""
        return -residual(start, -coarse_residual, grid)

    def restrict(self, x: Tensor, grid: Grid) -> Tensor:
        """Rx."""
        return restrict(x, self.weights.r, grid)

    def merge(self, x: Tensor, x_c: Tensor, start: Tensor, grid: Grid) -> Tensor:
        """x + P(x_c - Rx), or x and Px_c merged by filters."""
        own, c = self.weights, self.weights.c[..., None, None]
        if own.V is None:
            return x + c * prolong(x_c - start, own.r, grid)
        d = own.V.shape[-1] - 1
        both = torch.stack((x, c * prolong(x_c, own.r, grid)), -2)
        windows = pad(both, (d // 2, d - d // 2)).unfold(-1, d + 1, 1)  # (..., batch, 2, N, k)
        return (windows * own.V[..., None, :, None, :]).sum((-3, -1))


@cache
def _recorded(architecture: CycleArchitecture, grid: Grid, count: int) -> Program:
    recorder = Recorder(grid, additive=architecture.skip == "additive")
    x = recorder.x
    for _ in range(count):
        x = cycle(architecture, recorder, x, recorder.b, grid)
    return recorder.program()


def restrict(x: Tensor, r: Tensor, grid: Grid) -> Tensor:
    """Rx, (..., N) to (..., N/2 rounded down), with the stencil r (..., 2) from its middle outwards."""
    inner, outer = r[..., None, :].split(1, -1)
    if grid.ends == "dirichlet":  # r₁ r₀ r₁
        return inner * x[..., 1::2] + outer * (x[..., :-1:2] + x[..., 2::2])
    left, right = x[..., ::2], x[..., 1::2]  # r₁ r₀ r₀ r₁ on the signal that is mirrored by one value
    beside = torch.cat((left[..., :1], right[..., :-1]), -1) + torch.cat((left[..., 1:], right[..., -1:]), -1)
    return inner * (left + right) + outer * beside


def prolong(e: Tensor, r: Tensor, grid: Grid) -> Tensor:
    """Rᵀe, (..., N/2 rounded down) to (..., N), the exact transpose of :func:`restrict`."""
    inner, outer = r[..., None, :].split(1, -1)
    own, beside = inner * e, outer * e
    if grid.ends == "dirichlet":
        between = pad(beside, (0, 1)) + pad(beside, (1, 0))
        return torch.cat((torch.stack((between[..., :-1], own), -1).flatten(-2), between[..., -1:]), -1)
    left = own + torch.cat((beside[..., :1], beside[..., :-1]), -1)
    right = own + torch.cat((beside[..., 1:], beside[..., -1:]), -1)
    return torch.stack((left, right), -1).flatten(-2)
