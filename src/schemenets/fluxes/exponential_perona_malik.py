"""Perona and Malik (1990), exponential: g = exp(-s²/(2λ²)). Nonmonotone: Φ' < 0 for |s| > λ, least at s² = 3λ²."""

import math

import torch

from schemenets.fluxes._base import Flux


def scalar(t: float) -> tuple[float, float]:
    g = math.exp(-0.5 * t * t)
    return g * t, (1.0 - t * t) * g


FLUX = Flux(
    name="exponential_perona_malik",
    L=1.0,
    L_prime=1.0,
    m=2 * math.exp(-1.5),
    odd=True,
    monotone=False,
    nonnegative=True,
    scaled=True,
    phi=lambda t: t * torch.exp(-0.5 * t**2),
    dphi=lambda t: (1 - t**2) * torch.exp(-0.5 * t**2),
    psi=lambda t: -2 * torch.expm1(-0.5 * t**2),
    scalar=scalar,
)
