"""Regularised total variation: g = (s² + ε²)^(-1/2). Monotone; its scale is the fixed ε and not a contrast λ.

It is the Charbonnier flux with λ = ε, divided by ε. So L = L' = 1/ε is large, and the largest stable step small.
"""

import math
from functools import cache

import torch

from schemenets.errors import InvalidParameterError
from schemenets.fluxes._base import Flux


@cache
def flux(epsilon: float = 0.01) -> Flux:
    """The flux with regularisation ε = ``epsilon``, in units of s.

    Raises:
        InvalidParameterError: ε ≤ 0.
    """
    if not epsilon > 0:
        raise InvalidParameterError("epsilon", epsilon, "positive")
    square = epsilon**2

    def scalar(t: float) -> tuple[float, float]:
        g = 1.0 / math.sqrt(t * t + square)
        return g * t, square * g * g * g

    return Flux(
        name="tv_regularised",
        L=1 / epsilon,
        L_prime=1 / epsilon,
        m=0.0,
        odd=True,
        monotone=True,
        nonnegative=True,
        scaled=False,
        phi=lambda s: s * torch.rsqrt(s**2 + square),
        dphi=lambda s: square * (s**2 + square) ** -1.5,
        # 2 (√(s²+ε²) - ε), written so that small s loses no digits
        psi=lambda s: 2 * s**2 / (epsilon + torch.sqrt(s**2 + square)),
        scalar=scalar,
    )


FLUX = flux()
