"""Fast semi-iterative scheme: explicit steps, extrapolated (Hafner, Ochs, Weickert, Reißel 2016; [A]).

A cycle of n steps, with u^{-1} := u^0 and α_k = (4k+2)/(2k+3):

    u^{k+1} = α_k (u^k - τKᵀΦ(Ku^k)) + (1 - α_k) u^{k-1},   k = 0, ..., n-1.

It reaches the time τn(n+1)/3, where n explicit steps reach τn. Its stability needs one operator for the whole
cycle: with another K in every step the norm can grow even if each explicit step obeys its limit (derived).
"""

from collections.abc import Sequence

from schemenets.schemes._base import Array, Diffusion, Scheme, checked
from schemenets.schemes.explicit import step_limit

CYCLE = 5  # steps of the cycles that SCHEME declares its properties of


def extrapolation(k: int) -> float:
    """α_k."""
    return (4 * k + 2) / (2 * k + 3)


def step(u: Array, previous: Array, A: Diffusion, tau: float, alpha: float) -> Array:
    """u^{k+1} from u^k and u^{k-1}."""
    return alpha * (u - tau * A(u)) + (1 - alpha) * previous


def cycle(f: Array, A: Sequence[Diffusion], tau: float) -> Array:
    """One cycle from u = f, a step for each operator of A; ``[A] * n`` is the scheme proper."""
    previous = u = f
    for k, A_k in enumerate(A):
        previous, u = u, step(u, previous, A_k, tau, extrapolation(k))
    return u


@checked
def run(f: Array, A: Diffusion, tau: float, cycles: int) -> Array:
    """This many cycles of ``CYCLE`` steps from u = f."""
    u = f
    for _ in range(cycles):
        u = cycle(u, [A] * CYCLE, tau)
    return u


def stopping_time(tau: float, n: int) -> float:
    """τn(n+1)/3, the time reached by a cycle of n steps."""
    return tau * n * (n + 1) / 3


SCHEME = Scheme(
    order=1,
    step_limit=step_limit,
    decreases_norm=False,
    conserves_mean=True,
    run=run,
    stopping_time=lambda tau, cycles: cycles * stopping_time(tau, CYCLE),
)
