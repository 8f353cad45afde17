"""Du Fort-Frankel that cannot leave the ball of its start, for every step size and with other operators (derived).

With u^{-1} := u^0, w = u^k - KᵀΦ(Ku^k)/(2α) and β = 4τα/(1+2τα):

    u^{k+1} = w + s (w - u^{k-1}),

s the largest number in [0, β - 1] with ‖u^{k+1}‖₂ ≤ ‖u^0‖₂; s = β - 1 for 2τα ≤ 1, where that is a convex combination.
"""

import numpy as np

from schemenets.schemes._base import Array, Diffusion, Scheme, checked
from schemenets.schemes.du_fort_frankel import alpha_or_least
from schemenets.schemes.safeguarded_fsi import safeguard


def step(u: Array, previous: Array, start: Array, A: Diffusion, tau: float, alpha: float) -> Array:
    """u^{k+1} from u^k, u^{k-1} and u^0."""
    w = u - A(u) / (2 * alpha)
    beta = 4 * tau * alpha / (1 + 2 * tau * alpha)
    return w + safeguard(w, previous, start, beta - 1) * (w - previous)


@checked
def run(f: Array, A: Diffusion, tau: float, n: int, alpha: float | None = None) -> Array:
    """n steps from u = f; α is the least for which explicit steps of size 1/(2α) are stable unless given."""
    alpha = alpha_or_least(alpha, A)
    previous = u = f
    for _ in range(n):
        previous, u = u, step(u, previous, f, A, tau, alpha)
    return u


SCHEME = Scheme(order=1, step_limit=lambda A: np.inf, decreases_norm=False, conserves_mean=True, run=run)
