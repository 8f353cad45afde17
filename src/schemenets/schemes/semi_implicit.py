"""Semi-implicit scheme with lagged diffusivities, (I + τKᵀG(u^k)K) u^{k+1} = u^k: one banded solve per step."""

import numpy as np
import scipy.sparse as sp

from schemenets.schemes._base import Array, Diffusion, Scheme, checked, solve_spd


def step(u: Array, A: Diffusion, tau: float) -> Array:
    """u^{k+1} from u^k, shape (N,); needs g ≥ 0, or τ so small that the matrix is positive definite.

    Raises:
        numpy.linalg.LinAlgError: the matrix is not positive definite.
    """
    return solve_spd(sp.eye_array(u.size) + tau * A.lagged(u), u)


@checked
def run(f: Array, A: Diffusion, tau: float, n: int) -> Array:
    """n steps from u = f."""
    u = f
    for _ in range(n):
        u = step(u, A, tau)
    return u


SCHEME = Scheme(order=1, step_limit=lambda A: np.inf, decreases_norm=True, conserves_mean=True, run=run)
