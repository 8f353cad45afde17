"""The multigrid U-net: every block is one V-cycle of the full approximation scheme ([B], Section 4) for

    A(x) := x + τKᵀΦ(Kx) = f,   from x⁰ = f, with trainable K, τ, contrasts, smoother and transfers.

A cycle for A(x) = b smooths, replaces x by x + P(x_c - Rx), where x_c is the result of a cycle for the coarse problem
A_c(x_c) = A_c(Rx) + R(b - A(x)) from Rx, and smooths again. On level ℓ, the mesh width being 2^ℓ,

* A has s^ℓ K instead of K; s = 1/2 is the scaling of first derivatives;
* smoothing is x + ω(b - A(x))/D, a symmetric residual block, with D = 1 + τL‖s^ℓ K‖_F², away from the ends the diagonal
  of I + τLKᵀK (which is A for the linear flux), and a damping ω for every sweep of a level;
* R has the stencil r at every second place of the signal mirrored by one value, and P = cRᵀ is its exact transpose;
  r = [1 3 3 1]/8 and c = 2 are the cell-centred pair of :mod:`schemenets.operators.transfer`.

All levels share these weights, so that one network runs on grids of any size. Grids are halved as long as their length
is even and at least max(4, k) points are left, so the more factors of 2 a length has, the better; on the coarsest grid
all sweeps take place twice.

Whatever the weights are, a solution of A(x) = f is a fixed point of the block's cycle (derived): smoothing does not
change it, as its residual is zero; so the coarse problem is A_c(x_c) = A_c(Rx), of which Rx is a solution, and by
induction over the levels x_c = Rx. How fast cycles converge, or whether, depends on the weights: there is no
certificate.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from schemenets import kernels
from schemenets.errors import InvalidParameterError
from schemenets.fluxes import Flux
from schemenets.kernels.program import Numbers, Program, Recorder, State
from schemenets.multigrid._cycles import Kind, cycle
from schemenets.networks._base import (
    DIFFUSION,
    Architecture,
    Count,
    DenoisingNetwork,
    DiffusionBlock,
    add_step_size,
    count_diffusion,
    scaled,
)
from schemenets.networks._parametrizations import Positive, constrain

SWEEPS = 2  # of the smoother, before and after the correction
OMEGA_0 = 2 / 3  # initial damping
STENCIL_0 = (0.125, 0.375, 0.375, 0.125)
SHORTEST = 4  # points of a coarse grid, at least
V = Kind("V", SWEEPS)


def coarsens(length: int, kernel_size: int) -> bool:
    """Whether there is a coarser grid than that of ``length`` points."""
    return length % 2 == 0 and length // 2 >= max(SHORTEST, kernel_size)


class Grid(NamedTuple):
    """The grid of a cycle's level, for filters of length k."""

    N: int
    k: int
    depth: int = 0

    @property
    def coarsens(self) -> bool:
        return coarsens(self.N, self.k)

    @property
    def coarser(self) -> "Grid":
        return Grid(self.N // 2, self.k, self.depth + 1)


class Block(DiffusionBlock):
    """The weights of (x, b) ↦ the iterate after one V-cycle for x + τKᵀΦ(Kx) = b from x."""

    tau: Tensor
    s: Tensor
    omega: Tensor

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        add_step_size(self, architecture, math.inf)
        self.r = nn.Parameter(torch.tensor([[STENCIL_0]]))
        self.c = nn.Parameter(torch.tensor(2.0))
        self.s = nn.Parameter(torch.tensor(0.5))
        self.omega = nn.Parameter(torch.full((2 * SWEEPS,), OMEGA_0))
        for name in ("s", "omega"):
            constrain(self, name, Positive())


class Operations:
    """Those of the cycle of a block with the numbers ``own``, as steps of a program."""

    def __init__(self, do: Recorder, own: dict[str, Numbers], flux: Flux) -> None:
        self.do, self.own, self.flux = do, own, flux

    def _block(self, u: State, W2: Numbers, depth: int, onto: list[Any]) -> State:
        weights = {name: self.own[name] for name in ("lam", "w") if name in self.own}
        return self.do.block(u, weights | {"W1": self.own["W1"][depth], "W2": W2}, self.flux, onto)

    def sweep(self, x: State, b: State, grid: Grid, step: int) -> State:
        """x + θ(b - A(x)), θ = ω/D, with the damping of this number."""
        theta, rest = (self.own[name][grid.depth][step] for name in ("theta", "rest"))
        return self._block(x, self.own["of_sweeps"][grid.depth][step], grid.depth, [(rest, x), (theta, b)])

    def residual(self, x: State, b: State, grid: Grid) -> State:
        """b - A(x)."""
        return self._block(x, self.own["minus"][grid.depth], grid.depth, [(None, b), (self.do.constant(-1.0), x)])

    def right_hand_side(self, start: State, coarse_residual: State, grid: Grid) -> State:
        """A(start) + R(b - A(x)), of the coarse problem."""
        return self._block(start, self.own["plus"][grid.depth], grid.depth, [(None, start), (None, coarse_residual)])

    def restrict(self, x: State, grid: Grid) -> State:
        """Rx."""
        return self.do.restrict(x, self.own["r"])

    def merge(self, x: State, x_c: State, start: State, grid: Grid) -> State:
        """x + P(x_c - Rx)."""
        return self.do.prolong(x_c, self.own["r"], self.own["c"], x, start)


class MultigridUNet(DenoisingNetwork):
    """V-cycles for x + τKᵀΦ(Kx) = f; per block Fk + 11 parameters, and those of F fluxes."""

    multichannel = False
    biases = (False,)
    consistent = True
    block = Block
    values = {n: DIFFUSION[n] for n in ("K", "tau", "lam", "w")} | {"s": 0, "omega": 1, "r": 3, "c": 0}

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        diffusion = count_diffusion(architecture, scalars=3 + 2 * SWEEPS)  # τ, c, s and ω
        return Count(diffusion.total + len(STENCIL_0), diffusion.convolution + len(STENCIL_0))

    def stride(self, length: int) -> int:
        k = self.architecture.kernel_size
        return 2 * self.stride(length // 2) if coarsens(length, k) else 1

    def reach(self, length: int) -> int:
        # 2 SWEEPS on every level and twice as many on the coarsest, where d mesh widths each; but the first sweep on a
        # coarse grid sees only the residual, d finer ones away; and 3/2 of a mesh width for every transfer
        H, d = self.stride(length), self.architecture.kernel_size - 1
        return self.architecture.blocks * (2 * SWEEPS * d * (3 * H - 1) + (3 - d) * (H - 1))

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        grid, L = Grid(length, blocks.K.shape[-1]), self.fluxes()[0].L
        filters: list[Tensor] = [blocks.K]
        while grid.coarsens:
            filters.append(scaled(blocks.s, filters[-1]))
            grid = grid.coarser
        K = torch.stack(filters, -4)  # (..., levels, F, 1, k)
        minus = scaled(-blocks.tau[..., None], K)
        D = 1 + blocks.tau[..., None] * L * K.square().sum((-3, -2, -1))
        theta = blocks.omega[..., None, :] / D[..., None]  # (..., levels, 2 SWEEPS)
        return {
            "W1": K,
            "minus": minus,
            "plus": -minus,
            "of_sweeps": scaled(theta, minus.unsqueeze(-4)),
            "theta": theta,
            "rest": 1 - theta,
            "lam": blocks.lam,
            "w": blocks.w,
            "r": blocks.r.flatten(-3),
            "c": blocks.c,
        }

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        x = u
        for index in range(architecture.blocks):
            own = do.of(do.numbers, index)
            operations = Operations(do, own, fluxes[index % len(fluxes)])
            x = cycle(V, operations, x, u, Grid(u.N, architecture.kernel_size))
        return x

    def cycle(self, x: Tensor, b: Tensor, index: int = -1) -> Tensor:
        """One cycle of one block, so that a trained network can be iterated as a solver.

        Args:
            x: iterates to improve, (batch, length) or (seeds, batch, length).
            b: right-hand sides of the block's x + τKᵀΦ(Kx) = b, of the same shape.
            index: which of :attr:`applied` blocks; the last one if not given.

        Raises:
            InvalidParameterError: ``b`` is shorter than the filters or not finite, or x of another shape.
        """
        self.check_signals(b)
        if x.shape != b.shape:
            raise InvalidParameterError("shape of x", tuple(x.shape), f"{tuple(b.shape)}, that of b")
        seeds, index = b.ndim - 2, index % self.architecture.blocks
        operands = self.operands(self.together(), b.shape[-1])
        shapes = tuple((name, tuple(map(int, operand.shape[seeds:]))) for name, operand in operands.items())
        flux = self.fluxes()[index % len(self.blocks)]
        program = _cycle(shapes, b.shape[-1], self.architecture.kernel_size, flux, index)
        return kernels.run(program, [x, b], kernels.pack(operands.values(), seeds))


@lru_cache(maxsize=256)
def _cycle(shapes: Any, length: int, k: int, flux: Flux, index: int) -> Program:
    do = Recorder(dict(shapes), k)
    x, b = do.state(1, length), do.state(1, length)
    operations = Operations(do, do.of(do.numbers, index), flux)
    return do.program([x, b], cycle(V, operations, x, b, Grid(length, k)))


NETWORK = MultigridUNet
