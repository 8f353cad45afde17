"""The primitives of learned cycles alone: a smoothing sweep, and the residual b - A(x)."""

from functools import lru_cache
from typing import Any

from torch import Tensor

from schemenets import kernels
from schemenets.fluxes import Flux
from schemenets.kernels.program import Program, Recorder
from schemenets.multigrid.cycle import NO_FILTERS
from schemenets.multigrid.problems import Grid


def sweep(x: Tensor, b: Tensor, grid: Grid, omega: Tensor, W: Tensor | None, lam: Tensor | None, psi: Flux) -> Tensor:
    """The iterate after one sweep for A(x) = b: x + D^(-½) B(D^(-½)(b - A(x))) with B(z) = ωz + WᵀΨ(Wz).

    Args:
        x: iterates, (batch, N) or (seeds, batch, N).
        b: right-hand sides, of that shape and dtype.
        grid: the problem on N points.
        omega: ω > 0, () or (seeds,); the other weights have seeds where it has.
        W: filters (F, k) or (seeds, F, k); None for damped Jacobi. Around the signals are zeros, so that these may be
            shorter than filters.
        lam: contrasts of Ψ, (F,) or (seeds, F); None if it has none.
        psi: Ψ.

    Returns:
        Of the shape of x, differentiable in all tensors.
    """
    own = {"omega": omega, "W": W, "lam": lam}
    operands, seeds = {name: t for name, t in own.items() if t is not None}, omega.ndim
    shapes = tuple((name, tuple(t.shape[seeds:])) for name, t in operands.items())
    return kernels.run(_sweep(shapes, grid, psi), [x, b], kernels.pack(operands.values(), seeds))


def residual(x: Tensor, b: Tensor, grid: Grid) -> Tensor:
    """b - A(x); arguments and result are those of :func:`sweep`."""
    return kernels.run(_residual(grid), [x, b], x.new_empty((*x.shape[:-2], 0)))


@lru_cache(maxsize=256)
def _sweep(shapes: Any, grid: Grid, psi: Flux) -> Program:
    sizes = dict(shapes)
    do = Recorder(sizes, sizes["W"][-1] if "W" in sizes else NO_FILTERS)
    x, b = do.state(1, grid.N), do.state(1, grid.N)
    return do.program(
        [x, b], do.sweep(x, b, grid, do.numbers["omega"], do.numbers.get("W"), do.numbers.get("lam"), psi)
    )


@lru_cache(maxsize=256)
def _residual(grid: Grid) -> Program:
    do = Recorder({}, NO_FILTERS)
    x, b = do.state(1, grid.N), do.state(1, grid.N)
    return do.program([x, b], do.residual(x, b, grid))
