"""Implicit Euler scheme, u = f - τKᵀΦ(Ku), and the iterations that solve it ([A]).

A fixed-point iteration is a recurrent network: shared weights and the input f in every step. The scheme is stable for
every τ: ‖u‖ ≤ ‖f‖ for g ≥ 0, and nonexpansive in f for monotone Φ.
"""

import numpy as np
import scipy.sparse as sp

from schemenets.errors import InvalidParameterError
from schemenets.schemes._base import Array, Diffusion, Scheme, check_problem, checked, solve_spd


def residual(u: Array, f: Array, A: Diffusion, tau: float) -> Array:
    """f - u - τA(u)."""
    return f - u - tau * A(u)


def relax(u: Array, f: Array, A: Diffusion, tau: float, omega: float = 1.0) -> Array:
    """One damped fixed-point iteration u - ω(u - f + τA(u)); plain for ω = 1."""
    return u + omega * residual(u, f, A, tau)


def rate(A: Diffusion, tau: float, omega: float = 1.0) -> float:
    """Bound of the contraction factor of :func:`relax` (derived); it converges where this is below 1.

    The iteration's Jacobian is (1-ω)I - ωτJ with -m‖K‖² ≤ J ≤ L'‖K‖².
    """
    largest = 1 + tau * A.flux.L_prime * A.norm_squared
    least = 1 - tau * A.flux.m * A.norm_squared
    return max(abs(1 - omega * largest), abs(1 - omega * least))


def fixed_point(f: Array, A: Diffusion, tau: float, omega: float = 1.0, *, iterations: int) -> Array:
    """This many iterations of :func:`relax` from u = f."""
    check_problem(f, A, tau)
    u = f
    for _ in range(iterations):
        u = relax(u, f, A, tau, omega)
    return u


def newton(f: Array, A: Diffusion, tau: float, tolerance: float = 1e-12, start: Array | None = None) -> Array:
    """The solution u, by Newton's method on banded matrices from u = f or ``start``; any τ > 0, g ≥ 0.

    Wherever the Newton step does not help (its matrix is indefinite, which needs a nonmonotone flux, or the residual
    does not halve), a step with lagged diffusivities replaces it. For a nonmonotone flux the result is a stationary
    point of the energy ½‖u - f‖² + τE(u), which may be no minimiser; for τm‖K‖² < 1 it is the only one.

    Raises:
        InvalidParameterError: f or τ is invalid, τ is too large for a g that is negative somewhere, or a
            residual of at most ``tolerance`` ‖f‖, or of rounding errors only, was not reached in 1,000 steps.
    """
    check_problem(f, A, tau)
    rounding = 1e-15 * (1 + tau * A.flux.L_prime * sp.linalg.norm(A.K, 1) * sp.linalg.norm(A.K, np.inf))
    tolerance = max(tolerance, rounding)
    eye = sp.eye_array(f.size)
    u = f if start is None else start
    r = residual(u, f, A, tau)
    for _ in range(1_000):
        if np.linalg.norm(r) <= tolerance * np.linalg.norm(f):
            return u
        try:
            proposed = u + solve_spd(eye + tau * A.jacobian(u), r)
            useful = np.linalg.norm(residual(proposed, f, A, tau)) <= 0.5 * np.linalg.norm(r)
        except np.linalg.LinAlgError:
            useful = False
        try:
            u = proposed if useful else solve_spd(eye + tau * A.lagged(u), f)
        except np.linalg.LinAlgError as error:
            raise InvalidParameterError("tau", tau, f"a smaller one, since g of {A.flux.name!r} is negative") from error
        r = residual(u, f, A, tau)
    raise InvalidParameterError("tolerance", tolerance, f"more than the {np.linalg.norm(r):.1e} that was reached")


@checked
def run(f: Array, A: Diffusion, tau: float, n: int) -> Array:
    """n implicit steps from u = f."""
    u = f
    for _ in range(n):
        u = newton(u, A, tau)
    return u


SCHEME = Scheme(order=1, step_limit=lambda A: np.inf, decreases_norm=True, conserves_mean=True, run=run)
