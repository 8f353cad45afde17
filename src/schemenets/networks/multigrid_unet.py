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
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from schemenets import kernels
from schemenets.fluxes import Flux
from schemenets.multigrid._cycles import Kind, Program, Recorder, cycle
from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    DiffusionBlock,
    add_step_size,
    count_diffusion,
)
from schemenets.networks._parametrizations import Positive

SWEEPS = 2  # of the smoother, before and after the correction
OMEGA_0 = 2 / 3  # initial damping
STENCIL_0 = (0.125, 0.375, 0.375, 0.125)
SHORTEST = 4  # points of a coarse grid, at least
V = Kind("V", SWEEPS)


def coarsens(length: int, kernel_size: int) -> bool:
    """Whether there is a coarser grid than that of ``length`` points."""
    return length % 2 == 0 and length // 2 >= max(SHORTEST, kernel_size)


def restrict(x: Tensor, r: Tensor) -> Tensor:
    """Rx, (..., N) to (..., N/2), with the stencil r, (..., 4), in pairs of points and their neighbours."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    before, after = torch.cat((even[..., :1], odd[..., :-1]), -1), torch.cat((even[..., 1:], odd[..., -1:]), -1)
    return sum(weight * part for weight, part in zip(r.split(1, -1), (before, even, odd, after), strict=True))


def prolong(e: Tensor, r: Tensor) -> Tensor:
    """Rᵀe, (..., N/2) to (..., N), the exact transpose of :func:`restrict`."""
    r0, r1, r2, r3 = r.split(1, -1)
    even = r1 * e + torch.cat((r0 * e[..., :1], r3 * e[..., :-1]), -1)
    odd = r2 * e + torch.cat((r0 * e[..., 1:], r3 * e[..., -1:]), -1)
    return torch.stack((even, odd), -1).flatten(-2)


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


class Weights(NamedTuple):
    """Those of a cycle: K (levels, ..., F, 1, k) and θ = ω/D (levels, ..., 2 SWEEPS), the others for all levels."""

    K: Tensor
    tau: Tensor
    lam: Tensor | None
    theta: Tensor
    r: Tensor
    c: Tensor


class Block(DiffusionBlock):
    """(x, b) ↦ the iterate after one V-cycle for x + τKᵀΦ(Kx) = b from x, states of shape (..., batch, 1, length)."""

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
            register_parametrization(self, name, Positive())

    def forward(self, x: Tensor, b: Tensor) -> Tensor:
        # here, as each access computes the constraints again
        tau, s, flux = self.tau, self.s[..., None, None, None], self.flux
        filters: list[Tensor] = [self.K]
        grid = Grid(x.shape[-1], self.K.shape[-1])
        while grid.coarsens:
            filters.append(s * filters[-1])
            grid = grid.coarser
        K = torch.stack(filters)
        D = 1 + tau * flux.L * K.square().sum((-3, -2, -1))
        weights = Weights(K, tau, self.lam, self.omega / D[..., None], self.r, self.c)
        if self._is_compiled(x, b, weights):
            if weights.lam is None:
                weights = weights._replace(lam=K.new_ones(K.shape[1:-2]))
            result: Tensor = _Compiled.apply(x, b, *weights, flux, torch.is_grad_enabled())
            return result
        return cycle(V, Operations(weights, flux, self.w), x, b, Grid(x.shape[-1], K.shape[-1]))

    def _is_compiled(self, x: Tensor, b: Tensor, weights: Weights) -> bool:
        return (
            x.shape == b.shape
            and x.shape[:-3] == weights.tau.shape
            and kernels.is_compiled(self.flux)
            and not self.flux.weights
            and not torch.compiler.is_compiling()
            and kernels.are_plain([t for t in (x, b, *weights) if t is not None])
        )


class Operations:
    """Those of a cycle by torch."""

    def __init__(self, weights: Weights, flux: Flux, w: Tensor | None) -> None:
        self.K, tau, self.lam, theta, self.r, c = weights
        self.tau, self.c = tau[..., None, None, None], c[..., None, None, None]
        self.theta = theta[..., None, None, None].unbind(-4)
        self.flux, self.w = flux, w

    def operator(self, x: Tensor, grid: Grid) -> Tensor:
        """A(x)."""
        K = self.K[grid.depth]
        return kernels.block(x, K, None, self.tau * K, self.lam, self.flux, self.w, x)

    def sweep(self, x: Tensor, b: Tensor, grid: Grid, step: int) -> Tensor:
        """x after a sweep with the damping of this number."""
        return x + self.theta[step][grid.depth] * (b - self.operator(x, grid))

    def residual(self, x: Tensor, b: Tensor, grid: Grid) -> Tensor:
        """b - A(x)."""
        return b - self.operator(x, grid)

    def right_hand_side(self, start: Tensor, coarse_residual: Tensor, grid: Grid) -> Tensor:
        """A(start) + R(b - A(x)), of the coarse problem."""
        return self.operator(start, grid) + coarse_residual

    def restrict(self, x: Tensor, grid: Grid) -> Tensor:
        """Rx."""
        return restrict(x, self.r)

    def merge(self, x: Tensor, x_c: Tensor, start: Tensor, grid: Grid) -> Tensor:
        """x + P(x_c - Rx)."""
        return x + self.c * prolong(x_c - start, self.r)


class _Compiled(torch.autograd.Function):
    """A cycle as one compiled operation; saves its inputs, and all iterates if anything requires a gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, b, *weights, ctx.flux, recording = inputs
        ctx.save_for_backward(x, b, *weights)
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        ctx.program = _program(Grid(x.shape[-1], weights[0].shape[-1]))
        signals = [_signals(t) for t in (x, b, y)]
        rows = signals[0].shape[:2] if recording and any(ctx.needs_input_grad) else (1, 1)
        ctx.store = np.empty((*rows, ctx.program.size), signals[0].dtype)
        _pass(ctx, False, *signals[:2], *_arrays(weights), ctx.program.instructions, ctx.store, signals[2])
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,), tensors = grads, ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable_gradients(tensors, grad, ctx.flux), None, None
        found = [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in tensors]
        outputs = [*map(_signals, (grad, *found[:2])), *_arrays(found[2:])]
        _pass(ctx, True, *_arrays(tensors[2:]), ctx.program.instructions, ctx.store, *outputs)
        return *found, None, None


def _pass(ctx: Any, derivative: bool, *arrays: Any) -> None:
    from schemenets.multigrid import _fused_unet  # needs numba

    _fused_unet.run(derivative, ctx.flux.scalar, ctx.program.grids[0].k, *arrays)


@cache
def _program(grid: Grid) -> Program:
    recorder = Recorder(grid)
    cycle(V, recorder, recorder.x, recorder.b, grid)
    return recorder.program()


def _signals(x: Tensor) -> Any:
    """(seeds, batch, N)."""
    return x.detach().contiguous().numpy().reshape(-1, x.shape[-3], x.shape[-1])


def _arrays(weights: Sequence[Tensor]) -> list[Any]:
    """Those of :class:`Weights` with the seeds and without channels."""
    K, tau, lam, theta, r, c = (t.detach().contiguous().numpy() for t in weights)
    levels, S = len(K), tau.size
    return [
        K.reshape(levels, S, *K.shape[-3::2]),
        tau.reshape(S),
        lam.reshape(S, -1),
        theta.reshape(levels, S, -1),
        r.reshape(S, -1),
        c.reshape(S),
    ]


def _differentiable_gradients(tensors: Any, grad: Tensor, flux: Flux) -> tuple[Tensor | None, ...]:
    """The gradients as a graph of plain torch operations, for derivatives of higher order."""
    views = [t.view_as(t) for t in tensors]
    used = [t for t in views if t.requires_grad]
    x, b, *weights = views
    y = cycle(V, Operations(Weights(*weights), flux, None), x, b, Grid(x.shape[-1], weights[0].shape[-1]))
    found = iter(torch.autograd.grad(y, used, grad, create_graph=True, allow_unused=True))
    return tuple(next(found) if t.requires_grad else None for t in views)


class MultigridUNet(DenoisingNetwork):
    """V-cycles for x + τKᵀΦ(Kx) = f; per block Fk + 11 parameters, and those of F fluxes."""

    multichannel = False
    consistent = True
    block = Block

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

    def run(self, u: Tensor) -> Tensor:
        x = u
        for block in self.applied:
            x = block(x, u)
        return x

    def cycle(self, x: Tensor, b: Tensor, index: int = -1) -> Tensor:
        """One cycle of one block, so that a trained network can be iterated as a solver.

        Args:
            x: iterates to improve, (batch, length) or (seeds, batch, length).
            b: right-hand sides of the block's x + τKᵀΦ(Kx) = b, of the same shape.
            index: which of :attr:`applied` blocks; the last one if not given.

        Raises:
            InvalidParameterError: ``b`` is shorter than the filters or not finite.
        """
        self.check_signals(b)
        return self.applied[index](x.unsqueeze(-2), b.unsqueeze(-2)).squeeze(-2)


NETWORK = MultigridUNet
