"""Fast semi-iterative scheme that cannot leave the ball of its start, with other operators in other steps (derived).

A cycle of n steps, with u^{-1} := u^0, w = u^k - τKᵀΦ(Ku^k) and α_k = (4k+2)/(2k+3):

    u^{k+1} = w + s (w - u^{k-1}),   k = 0, ..., n-1,

s the largest number in [0, α_k - 1] with ‖u^{k+1}‖₂ ≤ ‖u^0‖₂. For one linear operator within the limit of explicit
steps that is α_k - 1, and the cycle that of :mod:`~schemenets.schemes.fsi`.
"""

import math
from collections.abc import Sequence

import numpy as np

from schemenets.schemes import explicit, fsi
from schemenets.schemes._base import Array, Diffusion, Scheme, checked

ROUNDING = 4 * np.finfo(np.float64).eps  # by which ‖u^{k+1}‖² may exceed ‖u^0‖², relative


def safeguard(w: Array, previous: Array, start: Array, s: float) -> float:
    """The largest factor up to s > 0 with ‖w + s (w - u^{k-1})‖ ≤ max(‖w‖, ‖u^0‖), but for rounding; s ≤ 0 remains."""
    bound = max(float(np.linalg.norm(w)), float(np.linalg.norm(start)))
    if s <= 0 or bound == 0:
        return s
    w, d, start = w / bound, (w - previous) / bound, start / bound  # fourth powers of what is large would overflow
    a, b, R2 = float(d @ d), float(w @ d), float(start @ start)
    c = max(float((start + w) @ (start - w)) + ROUNDING * R2, 0.0)
    if s * (s * a + 2 * b) <= c:
        return s
    return (math.sqrt(b**2 + a * c) - b) / a


def step(u: Array, previous: Array, start: Array, A: Diffusion, tau: float, alpha: float) -> Array:
    """u^{k+1} from u^k, u^{k-1} and u^0."""
    w = explicit.step(u, A, tau)
    return w + safeguard(w, previous, start, alpha - 1) * (w - previous)


def cycle(f: Array, A: Sequence[Diffusion], tau: float) -> Array:
    """One cycle from u = f, a step for each operator of A."""
    previous = u = f
    for k, A_k in enumerate(A):
        previous, u = u, step(u, previous, f, A_k, tau, fsi.extrapolation(k))
    return u


@checked
def run(f: Array, A: Diffusion, tau: float, cycles: int) -> Array:
    """This many cycles of ``fsi.CYCLE`` steps from u = f."""
    u = f
    for _ in range(cycles):
        u = cycle(u, [A] * fsi.CYCLE, tau)
    return u


SCHEME = Scheme(
    order=1,
    step_limit=explicit.step_limit,
    decreases_norm=True,
    conserves_mean=True,
    run=run,
    stopping_time=fsi.SCHEME.stopping_time,
)
