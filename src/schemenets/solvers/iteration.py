"""Iterations to a tolerance: networks and numerical schemes as solvers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError
from schemenets.solvers.problems import Grid

DIVERGED = 1e6  # relative residual from which an iteration counts as diverged


@dataclass(frozen=True)
class Iteration:
    """What became of an iteration.

    Attributes:
        x: the last iterates, (batch, N).
        residuals: ‖b - A(x)‖₂/‖b‖₂ of every iterate, the start first, (iterations + 1, batch).
        tolerance: of the relative residual.
    """

    x: Tensor
    residuals: Tensor
    tolerance: float

    @property
    def iterations(self) -> list[int | None]:
        """For every right-hand side the number of iterations to the tolerance; None where it was not reached."""
        reached = self.residuals <= self.tolerance
        first = reached.int().argmax(0)
        return [int(n) if hit else None for n, hit in zip(first, reached.any(0), strict=True)]

    @property
    def factor(self) -> float:
        """Convergence factor: the residual's mean reduction per iteration, over the second half of what was needed.

        The largest over the right-hand sides; infinite if one diverged, 0 if there was nothing to reduce.
        """
        factors = []
        for residuals in self.residuals.T:
            if not bool(residuals[-1] < DIVERGED):
                return float("inf")
            sound = residuals[residuals > 0.1 * self.tolerance]
            half = len(sound) // 2
            if half:
                factors.append(float((sound[-1] / sound[half - 1]) ** (1 / (len(sound) - half))))
        return max(factors, default=0.0)


def iterate(
    step: Callable[[Tensor, Tensor], Tensor],
    grid: Grid,
    b: Tensor,
    x: Tensor,
    tolerance: float = 1e-8,
    limit: int = 100,
) -> Iteration:
    """Iterate x ← step(x, b) until every relative residual is at most ``tolerance``.

    It ends early, without an error, where a residual is no longer finite or beyond :data:`DIVERGED`.

    Args:
        step: such as :meth:`schemenets.solvers.CycleNetwork.cycle`.
        grid: the problem on N points.
        b: right-hand sides (batch, N), in double precision for small tolerances.
        x: the start, of that shape.
        tolerance: of ‖b - A(x)‖₂/‖b‖₂.
        limit: most iterations.

    Raises:
        InvalidParameterError: a tolerance that is not positive, a negative limit, or a right-hand side of zeros.
    """
    if not tolerance > 0:
        raise InvalidParameterError("tolerance", tolerance, "positive")
    if limit < 0:
        raise InvalidParameterError("limit", limit, "at least 0")
    norms = b.norm(dim=-1)
    if not (norms > 0).all():
        raise InvalidParameterError("b", "zeros", "right-hand sides other than zero")
    with torch.inference_mode():
        residuals = [(b - grid(x)).norm(dim=-1) / norms]
        while len(residuals) <= limit and (residuals[-1] > tolerance).any() and (residuals[-1] < DIVERGED).all():
            x = step(x, b)
            residuals.append((b - grid(x)).norm(dim=-1) / norms)
    return Iteration(x, torch.stack(residuals), tolerance)
