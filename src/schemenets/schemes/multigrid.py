"""Linear multigrid for Ax = b: damped Jacobi smoothing and Galerkin coarse operators RAP ([B]; Briggs et al. 2000).

Read as a network it is a U-net: smoothing steps are residual blocks, R and P = 2Rᵀ are strided and transposed
convolutions, and the coarse-grid correction x + Pe is an additive skip connection.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from schemenets.errors import InvalidParameterError
from schemenets.operators import prolongation, restriction
from schemenets.schemes._base import Array, solve_spd

# what a cycle does with its coarser grid: the kinds of the cycles that it runs there, one after the other
CYCLES = {"V": "V", "W": "WW", "F": "FV"}


@dataclass(frozen=True)
class Level:
    """One grid: its operator A, and the transfers R from and P to it (of the next coarser grid)."""

    A: sp.csr_array
    R: sp.csr_array
    P: sp.csr_array

    def __str__(self) -> str:
        return f"{self.A.shape[0]} points, {self.A.nnz} entries"


def hierarchy(A: sp.sparray, levels: int, ends: str = "dirichlet") -> list[Level]:
    """Grids from fine to coarse with A_c = RAP.

    Args:
        A: symmetric positive definite matrix (N, N).
        levels: number of grids.
        ends: kind of grid, see :func:`schemenets.operators.restriction`.

    Raises:
        InvalidParameterError: N cannot be halved that often (the coarsest grid included).

    >>> from schemenets.operators import poisson
    >>> for level in hierarchy(poisson(15), 3):
    ...     print(level)
    15 points, 43 entries
    7 points, 19 entries
    3 points, 7 entries
    """
    if levels < 1:
        raise InvalidParameterError("levels", levels, "at least 1")
    grids = []
    A = sp.csr_array(A)
    for _ in range(levels):
        R, P = restriction(A.shape[0], ends), prolongation(A.shape[0], ends)
        grids.append(Level(A, R, P))
        A = sp.csr_array(R @ A @ P)
    return grids


def smooth(A: sp.sparray, b: Array, x: Array, omega: float) -> Array:
    """One sweep of damped Jacobi, x + ωD⁻¹(b - Ax) with D = diag A."""
    return x + omega * (b - A @ x) / A.diagonal()


def solve(A: sp.sparray, b: Array, x: Array) -> Array:
    """The solution of Ax = b, no matter what x is."""
    return solve_spd(A, b)


def cycle(
    levels: Sequence[Level],
    b: Array,
    x: Array,
    kind: str = "V",
    sweeps: tuple[int, int] = (1, 1),
    omega: float = 2 / 3,
    smoother: Callable[[sp.sparray, Array, Array, float], Array] = smooth,
    coarsest: Callable[[sp.sparray, Array, Array], Array] = solve,
) -> Array:
    """One V-, W- or F-cycle for Ax = b from x, shape (N,).

    Args:
        levels: as :func:`hierarchy` gives them.
        b: right-hand side.
        x: iterate to improve.
        kind: a key of ``CYCLES``.
        sweeps: numbers of smoothing sweeps before and after the correction.
        omega: damping of the smoother.
        smoother: (A, b, x, ω) ↦ x after one sweep.
        coarsest: (A, b, x) ↦ what replaces x on the coarsest grid.

    Raises:
        InvalidParameterError: unknown kind.
    """
    if kind not in CYCLES:
        raise InvalidParameterError("kind", kind, " or ".join(CYCLES))
    level, *coarser = levels
    if not coarser:
        return coarsest(level.A, b, x)
    for _ in range(sweeps[0]):
        x = smoother(level.A, b, x, omega)
    r = level.R @ (b - level.A @ x)
    e = np.zeros_like(r)
    for coarse_kind in CYCLES[kind]:
        e = cycle(coarser, r, e, coarse_kind, sweeps, omega, smoother, coarsest)
    x = x + level.P @ e
    for _ in range(sweeps[1]):
        x = smoother(level.A, b, x, omega)
    return x


def full_multigrid(levels: Sequence[Level], b: Array, cycles: int = 1) -> Array:
    """Solution from coarse to fine: the coarse solution, interpolated, starts this many V-cycles on the next grid."""
    level, *coarser = levels
    if not coarser:
        return solve_spd(level.A, b)
    x = level.P @ full_multigrid(coarser, level.R @ b, cycles)
    for _ in range(cycles):
        x = cycle(levels, b, x)
    return x
