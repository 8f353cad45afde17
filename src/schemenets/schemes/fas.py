"""Full approximation scheme, nonlinear multigrid for x + τKᵀΦ(Kx) = b (Brandt 1977; [B]).

With A(x) = x + τKᵀΦ(Kx) the coarse problem is A_c(x_c) = A_c(Rx) + R(b - A(x)), the correction x + P(x_c - Rx). The
exact solution is a fixed point of the whole cycle, since its coarse problem is solved by Rx. That needs the coarse
right-hand side as it is: rectifying or normalising it, as some networks do, breaks the fixed point.
Coarse operators are rediscretised: the same K, with twice the mesh width. The network of the scheme is
``networks.multigrid_unet``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from schemenets.errors import InvalidParameterError
from schemenets.operators import prolongation, restriction
from schemenets.schemes._base import Array, Diffusion
from schemenets.schemes.implicit import newton, residual


@dataclass(frozen=True)
class Level:
    """One grid: its diffusion operator, and the transfers R from and P to it (of the next coarser grid)."""

    A: Diffusion
    R: sp.csr_array
    P: sp.csr_array


def hierarchy(discretise: Callable[[int, float], Diffusion], length: int, levels: int) -> list[Level]:
    """Grids from fine to coarse, cell-centred with reflecting ends.

    Args:
        discretise: (N, h) ↦ diffusion operator on N points of mesh width h; h is 1 on the finest grid.
        length: N of the finest grid.
        levels: number of grids.

    Raises:
        InvalidParameterError: ``length`` cannot be halved that often (the coarsest grid included).
    """
    if levels < 1:
        raise InvalidParameterError("levels", levels, "at least 1")
    sizes = [length // 2**j for j in range(levels)]
    return [
        Level(discretise(N, length / N), restriction(N, "reflecting"), prolongation(N, "reflecting")) for N in sizes
    ]


def smooth(x: Array, b: Array, A: Diffusion, tau: float, omega: float) -> Array:
    """One sweep of damped Jacobi with lagged diffusivities, x + ωD⁻¹(b - x - τA(x)), D = diag(I + τKᵀG(x)K)."""
    return x + omega * residual(x, b, A, tau) / (1 + tau * A.lagged(x).diagonal())


def solve(x: Array, b: Array, A: Diffusion, tau: float) -> Array:
    """The solution of x + τA(x) = b, by Newton's method from b; no matter what x is."""
    return newton(b, A, tau)


def unchanged(b: Array) -> Array:
    """The coarse right-hand side of the scheme itself."""
    return b


def cycle(
    levels: Sequence[Level],
    b: Array,
    x: Array,
    tau: float,
    sweeps: tuple[int, int] = (1, 1),
    omega: ArrayLike = 2 / 3,
    coarse_side: Callable[[Array], Array] = unchanged,
    smoother: Callable[[Array, Array, Diffusion, float, float], Array] = smooth,
    coarsest: Callable[[Array, Array, Diffusion, float], Array] = solve,
) -> Array:
    """One V-cycle for x + τA(x) = b from x, shape (N,).

    Args:
        levels: as :func:`hierarchy` gives them.
        b: right-hand side.
        x: iterate to improve.
        tau: step size τ.
        sweeps: numbers of smoothing sweeps before and after the correction.
        omega: damping of the smoother, one number or one for each sweep.
        coarse_side: what is done to the coarse right-hand side; anything but ``unchanged`` breaks the scheme.
        smoother: (x, b, A, τ, ω) ↦ x after one sweep.
        coarsest: (x, b, A, τ) ↦ what replaces x on the coarsest grid.
    """
    level, *coarser = levels
    if not coarser:
        return coarsest(x, b, level.A, tau)
    omegas = np.broadcast_to(omega, sum(sweeps))
    for damping in omegas[: sweeps[0]]:
        x = smoother(x, b, level.A, tau, damping)
    restricted = level.R @ x
    # A_c(Rx) + R(b - A(x)), with residual(x, 0) = -x - τA(x)
    b_c = coarse_side(level.R @ residual(x, b, level.A, tau) - residual(restricted, 0 * restricted, coarser[0].A, tau))
    x_c = cycle(coarser, b_c, restricted, tau, sweeps, omega, coarse_side, smoother, coarsest)
    x = x + level.P @ (x_c - restricted)
    for damping in omegas[sweeps[0] :]:
        x = smoother(x, b, level.A, tau, damping)
    return x
