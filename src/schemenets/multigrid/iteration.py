"""Iterations to a tolerance: networks and numerical schemes as solvers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError

IN_DOUBLE = 1e-8  # tolerance of relative residuals in double precision
DIVERGED = 1e6  # relative residual from which an iteration counts as diverged


class Equation(Protocol):
    """A(x) = b on N points: :class:`schemenets.multigrid.Grid`, or any other that is called for the values of A."""

    @property
    def N(self) -> int: ...

    def __call__(self, x: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Iteration:
    """The outcome of an iteration.

    Attributes:
        x: the last iterates, (batch, N) or (seeds, batch, N).
        residuals: ‖b - A(x)‖₂/‖b‖₂ of every iterate, the start first, (iterations + 1, batch) or (…, seeds, batch).
        tolerance: of the relative residual.
    """

    x: Tensor
    residuals: Tensor
    tolerance: float

    @property
    def iterations(self) -> Tensor:
        """Number of iterations to the tolerance for every right-hand side; NaN where it was not reached."""
        reached = self.residuals <= self.tolerance
        first = reached.to(torch.uint8).argmax(0).to(self.residuals.dtype)
        return first.where(reached.any(0), torch.nan)

    @property
    def factor(self) -> Tensor:
        """Convergence factor for every right-hand side, by which an iteration multiplies the residual.

        The geometric mean over the second half of the iterations; infinite where they diverged, 0 where the start was
        good enough.
        """
        taken = self.iterations.nan_to_num(len(self.residuals) - 1).long()
        half = taken // 2
        last, middle = (self.residuals.gather(0, n[None])[0] for n in (taken, half))
        factor = (last / middle) ** (1 / (taken - half).clamp_min(1))
        return factor.where(last < DIVERGED, torch.inf).where(taken > 0, 0)


def iterate(
    step: Callable[[Tensor, Tensor], Tensor],
    grid: Equation,
    b: Tensor,
    x: Tensor,
    tolerance: float | None = None,
    limit: int = 100,
) -> Iteration:
    """Iterate x ← step(x, b) until every relative residual is at most ``tolerance``, or has diverged.

    Residuals that are not finite or beyond :data:`DIVERGED` count as diverged. It ends when all others are small.

    Args:
        step: such as :meth:`schemenets.multigrid.CycleNetwork.cycle`, for another problem than that of its architecture
            with ``grid`` bound by ``functools.partial``.
        grid: the problem on N points, of which the values of A are asked.
        b: right-hand sides, (batch, N) or (seeds, batch, N), in double precision for small tolerances.
        x: the start, of that shape.
        tolerance: of ‖b - A(x)‖₂/‖b‖₂. If not given 1e-8 in double precision, else the square root of the precision,
            3.5e-4 in single: rounding alone leaves about ε‖A‖‖x‖/‖b‖, so that it can be reached for ‖A‖‖x‖/‖b‖ up to
            about 1/√ε = 3000. Beyond, on fine grids of Poisson's equation or of second order, take double precision.
        limit: most iterations.

    Raises:
        InvalidParameterError: a tolerance below the precision of b, a negative limit, shapes that do not fit, values
            that are not finite, or a right-hand side of zeros.
    """
    if tolerance is None:
        tolerance = IN_DOUBLE if b.dtype == torch.float64 else torch.finfo(b.dtype).eps ** 0.5
    if not tolerance >= (least := torch.finfo(b.dtype).eps):
        raise InvalidParameterError("tolerance", tolerance, f"at least {least:.1e}, the precision of {b.dtype}")
    if limit < 0:
        raise InvalidParameterError("limit", limit, "at least 0")
    if x.shape != b.shape or b.shape[-1] != grid.N:
        expected = f"one shape (..., {grid.N}), with the points of the grid"
        raise InvalidParameterError("shapes of b and x", (tuple(b.shape), tuple(x.shape)), expected)
    if not (b.isfinite().all() and x.isfinite().all()):
        raise InvalidParameterError("a value of b or x", "NaN or infinite", "finite values")
    norms = b.norm(dim=-1)
    if not (norms > 0).all():
        raise InvalidParameterError("b", "zeros", "right-hand sides other than zero")
    with torch.inference_mode():
        residuals = [(b - grid(x)).norm(dim=-1) / norms]
        while len(residuals) <= limit and ((residuals[-1] > tolerance) & (residuals[-1] < DIVERGED)).any():
            x = step(x, b)
            new = (b - grid(x)).norm(dim=-1) / norms
            # what has diverged stays so, even if it overflows into something else later
            residuals.append(new.where((residuals[-1] < DIVERGED) & new.isfinite(), torch.inf))
    return Iteration(x, torch.stack(residuals), tolerance)
