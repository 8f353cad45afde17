"""Du Fort and Frankel's two-step scheme (1953) with stabilisation α ([A]), u^{-1} := u^0:

    u^{k+1} = 4τα/(1+2τα) (u^k - KᵀΦ(Ku^k)/(2α)) + (1-2τα)/(1+2τα) u^{k-1}.

With K the forward difference and α = 1/h² it is the textbook scheme. For a fixed linear operator the root condition
holds for every τ > 0 if and only if α ≥ L‖K‖²/4; the norm may grow in between, as the scheme's matrix is not normal.
"""

import numpy as np

from schemenets.errors import InvalidParameterError
from schemenets.schemes._base import Array, Diffusion, Scheme, checked


def step(u: Array, previous: Array, A: Diffusion, tau: float, alpha: float) -> Array:
    """u^{k+1} from u^k and u^{k-1}."""
    return (4 * tau * alpha * (u - A(u) / (2 * alpha)) + (1 - 2 * tau * alpha) * previous) / (1 + 2 * tau * alpha)


def least_alpha(A: Diffusion) -> float:
    """L‖K‖²/4, the least α that is stable for every τ."""
    return A.flux.L * A.norm_squared / 4


def alpha_or_least(alpha: float | None, A: Diffusion) -> float:
    """A given α, or the least stable one.

    Raises:
        InvalidParameterError: an α that is not positive and finite.
    """
    alpha = least_alpha(A) if alpha is None else alpha
    if not 0 < alpha < np.inf:
        raise InvalidParameterError("alpha", alpha, "positive and finite")
    return alpha


@checked
def run(f: Array, A: Diffusion, tau: float, n: int, alpha: float | None = None) -> Array:
    """n steps from u = f; α is the least stable one unless given."""
    alpha = alpha_or_least(alpha, A)
    previous = u = f
    for _ in range(n):
        previous, u = u, step(u, previous, A, tau, alpha)
    return u


SCHEME = Scheme(
    order=1,  # of the start u^{-1} := u^0; from an explicit Euler step it is 2
    step_limit=lambda A: np.inf,
    decreases_norm=False,
    conserves_mean=True,
    run=run,
)
