"""What theory guarantees for every scheme, under which condition, and whether training keeps it, in words.

Bounds of norms are for networks without biases; these add a drift (:mod:`schemenets.stability.certificates`). The
study counts how many trained networks meet the conditions of their certificates. Proofs are in the modules of the
networks and in :mod:`schemenets.stability.certificates`; "derived" marks what is not from [A] or [B].
"""

from typing import NamedTuple


class Guarantee(NamedTuple):
    """A stability guarantee in words.

    Attributes:
        guarantee: what the theory says.
        condition: under which condition.
        per_block: whether it holds if every block has weights of its own.
    """

    guarantee: str
    condition: str
    per_block: str


DRIFT = "; with biases, root mean squares grow by a drift β at most (derived)"
GUARANTEES = {
    "resnet": Guarantee(
        guarantee="none",
        condition="none is met by training: W₂ and the biases are free",
        per_block="there is nothing to keep",
    ),
    "symmetric": Guarantee(
        guarantee="‖uᵏ⁺¹‖₂ ≤ ‖uᵏ‖₂ in every block" + DRIFT,
        condition="0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) in every block; Φ may be nonmonotone",
        per_block="yes: the condition is one on single blocks",
    ),
    "fsi": Guarantee(
        guarantee="‖uⁿ‖₂ ≤ ‖u⁰‖₂ for a cycle of n blocks (derived)",
        condition="one linear operator: shared K and τ, linear flux, τ‖K‖² ≤ 2",
        per_block=(
            "no: two blocks within τ ≤ 2/(L‖K‖²) can amplify by 7/5, and n by qₙ/(2n+1), q = 1, 3, 7, 17, 41, … "
            "(derived)"
        ),
    ),
    "du_fort_frankel": Guarantee(
        guarantee=(
            "for 2τα ≤ 1 ‖uᵏ‖₂ ≤ ‖u⁰‖₂ for all k (derived); for every τ > 0 bounded iterates, though not by ‖u⁰‖₂"
            + DRIFT
        ),
        condition=(
            "0 ≤ g ≤ L, α ≥ L‖K‖²/4 and 2τα ≤ 1 in every block, Φ may be nonmonotone; for 2τα > 1 one linear operator: "
            "shared K, α and τ, linear flux, α ≥ L‖K‖²/4"
        ),
        per_block=(
            "for 2τα ≤ 1 yes: steps are convex combinations, and the condition is one on single blocks; no for 2τα > 1"
        ),
    ),
    "safeguarded_fsi": Guarantee(
        guarantee="‖uᵏ‖₂ ≤ ‖u⁰‖₂ for all k (derived)" + DRIFT,
        condition="0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) in every block; Φ may be nonmonotone",
        per_block=(
            "yes: the extrapolation ends at the ball of the start, and the condition is one on single blocks; no "
            "Lipschitz bound is known"
        ),
    ),
    "safeguarded_du_fort_frankel": Guarantee(
        guarantee="‖uᵏ‖₂ ≤ ‖u⁰‖₂ for all k and every τ > 0 (derived)" + DRIFT,
        condition="0 ≤ g ≤ L and α ≥ L‖K‖²/4 in every block; Φ may be nonmonotone",
        per_block=(
            "yes: the extrapolation ends at the ball of the start, and the condition is one on single blocks; for "
            "2τα > 1 no Lipschitz bound is known"
        ),
    ),
    "implicit": Guarantee(
        guarantee="‖u‖₂ ≤ ‖f‖₂ for the solution of u = f − τKᵀΦ(Ku), for every τ > 0" + DRIFT,
        condition="g ≥ 0; for the iteration to reach the only solution, τ max(L′, m)‖K‖² < 1",
        per_block=(
            "weights are shared by nature. After n iterations with the rate q < 1 it is ‖uⁿ‖₂ ≤ (1 + qⁿ⁺¹)‖f‖₂ "
            "(derived)"
        ),
    ),
}
