"""Forward-and-backward diffusion: g = 2 exp(-κ²aq) - exp(-aq), q = s²/λ², a = ln 2/(κ²-1).

(Smolka 2002; [A].) Diffusion for |s| < λ, but g < 0 for |s| > λ: no stability guarantee of this package covers it.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError
from schemenets.fluxes._base import Flux


@cache
def flux(kappa: float = 2.0) -> Flux:
    """The flux with width parameter κ = ``kappa``.

    φ'(0) = 1 is the largest slope: with η(z) = e^(-z) (1-2z), decreasing on [0, 3/2], φ' = 2η(κ²y) - η(y) for
    y = aq. Where y < 1/2 this is at most η(y) ≤ 1 or negative, elsewhere at most -η(y) ≤ 2e^(-3/2) (derived).

    Raises:
        InvalidParameterError: κ ≤ 1.
    """
    if not kappa > 1:
        raise InvalidParameterError("kappa", kappa, "greater than 1")
    a = math.log(2) / (kappa**2 - 1)
    b = kappa**2 * a

    def slope(y: float) -> float:
        """φ' as a function of y = a t²."""
        z = kappa**2 * y
        return 2 * math.exp(-z) * (1 - 2 * z) - math.exp(-y) * (1 - 2 * y)

    from scipy.optimize import minimize_scalar  # which takes long to import, and few need this flux

    # the least slope is at most -2e^(-3/2), its bound at κ²y = 3/2, and beyond y = 4 none is below -21 e^(-4)
    coarse = np.geomspace(0.1 / kappa**2, 4, 4001)
    lowest = coarse[np.argmin([slope(y) for y in coarse])]
    least = minimize_scalar(slope, bounds=(0.98 * lowest, 1.02 * lowest), options={"xatol": 1e-9 * lowest}).fun

    def dphi(t: Tensor) -> Tensor:
        q = t**2
        return 2 * torch.exp(-b * q) * (1 - 2 * b * q) - torch.exp(-a * q) * (1 - 2 * a * q)

    def scalar(t: float) -> tuple[float, float]:
        q = t * t
        fast = 2.0 * math.exp(-b * q)
        slow = math.exp(-a * q)
        return (fast - slow) * t, fast * (1.0 - 2.0 * b * q) - slow * (1.0 - 2.0 * a * q)

    return Flux(
        name="fab",
        L=1.0,
        L_prime=1.0,
        m=-float(least),
        odd=True,
        monotone=False,
        nonnegative=False,
        scaled=True,
        phi=lambda t: t * (2 * torch.exp(-b * t**2) - torch.exp(-a * t**2)),
        dphi=dphi,
        psi=lambda t: torch.expm1(-a * t**2) / a - 2 * torch.expm1(-b * t**2) / b,
        scalar=scalar,
    )


FLUX = flux()
