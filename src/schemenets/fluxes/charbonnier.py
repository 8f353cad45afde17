"""Charbonnier, Blanc-Féraud, Aubert, Barlaud (1997): g = (1 + s²/λ²)^(-1/2). Monotone, convex energy."""

import math

import torch

from schemenets.fluxes._base import Flux


def scalar(t: float) -> tuple[float, float]:
    g = 1.0 / math.sqrt(1.0 + t * t)
    return g * t, g * g * g


FLUX = Flux(
    name="charbonnier",
    L=1.0,
    L_prime=1.0,
    m=0.0,
    odd=True,
    monotone=True,
    nonnegative=True,
    scaled=True,
    phi=lambda t: t * torch.rsqrt(1 + t**2),
    dphi=lambda t: (1 + t**2) ** -1.5,
    # 2 (√(1+t²) - 1), written so that small t loses no digits
    psi=lambda t: 2 * t**2 / (1 + torch.sqrt(1 + t**2)),
    scalar=scalar,
)
