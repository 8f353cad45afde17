"""Weickert (1998): g = 1 - exp(-C (λ/s)⁸). Flat up to the contrast, then falls steeply: nonmonotone."""

import math

import torch
from torch import Tensor

from schemenets.fluxes._base import Flux

C = 3.31488  # makes Φ largest at s = λ


def x(t: Tensor) -> Tensor:
    """C/t⁸; below |t| = 1/2, where e^(-x) vanishes in double precision, its value there: finite, zero gradient."""
    return C / (t**2).clamp(min=0.25) ** 4


def phi(t: Tensor) -> Tensor:
    return -t * torch.expm1(-x(t))


def dphi(t: Tensor) -> Tensor:
    return -torch.expm1(-x(t)) - 8 * x(t) * torch.exp(-x(t))


def psi(t: Tensor) -> Tensor:
    # integration by parts leaves an incomplete gamma function
    a = torch.full_like(t, 0.75)
    return -(t**2) * torch.expm1(-x(t)) + C**0.25 * math.gamma(0.75) * torch.special.gammaincc(a, x(t))


def scalar(t: float) -> tuple[float, float]:
    q = max(t * t, 0.25)
    y = C / (q * q * q * q)
    g = -math.expm1(-y)
    return g * t, g - 8.0 * y * math.exp(-y)


FLUX = Flux(
    name="weickert",
    L=1.0,
    L_prime=1.0,
    m=8 * math.exp(-7 / 8) - 1,  # at x = 7/8, (derived)
    odd=True,
    monotone=False,
    nonnegative=True,
    scaled=True,
    phi=phi,
    dphi=dphi,
    psi=psi,
    scalar=scalar,
)
