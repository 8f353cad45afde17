"""Explicit scheme, the symmetric residual block: u^{k+1} = u^k - τKᵀΦ(Ku^k) ([A], [B])."""

from schemenets.schemes._base import Array, Diffusion, Scheme, checked


def step(u: Array, A: Diffusion, tau: float) -> Array:
    """u - τA(u), shape (N,)."""
    return u - tau * A(u)


@checked
def run(f: Array, A: Diffusion, tau: float, n: int) -> Array:
    """n steps from u = f."""
    u = f
    for _ in range(n):
        u = step(u, A, tau)
    return u


def step_limit(A: Diffusion) -> float:
    """2/(L‖K‖²): up to it ‖u‖₂ never increases, also with another K in every step and for nonmonotone Φ."""
    return 2 / (A.flux.L * A.norm_squared)


def energy_limit(A: Diffusion) -> float:
    """2/(L'‖K‖²): up to it E never increases, since L'‖K‖² bounds its curvature (derived)."""
    return 2 / (A.flux.L_prime * A.norm_squared)


def lipschitz_bound(A: Diffusion, tau: float) -> float:
    """max(1 + τm‖K‖², |1 - τL'‖K‖²|) ≥ ‖Tu - Tv‖/‖u - v‖ of one step T (derived)."""
    return max(1 + tau * A.flux.m * A.norm_squared, abs(1 - tau * A.flux.L_prime * A.norm_squared))


SCHEME = Scheme(order=1, step_limit=step_limit, decreases_norm=True, conserves_mean=True, run=run)
