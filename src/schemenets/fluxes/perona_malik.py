"""Perona and Malik (1990), rational: g = 1 / (1 + s²/λ²). Nonmonotone: Φ' < 0 for |s| > λ, least at s² = 3λ²."""

import torch

from schemenets.fluxes._base import Flux


def scalar(t: float) -> tuple[float, float]:
    g = 1.0 / (1.0 + t * t)
    return g * t, (1.0 - t * t) * g * g


FLUX = Flux(
    name="perona_malik",
    L=1.0,
    L_prime=1.0,
    m=1 / 8,
    odd=True,
    monotone=False,
    nonnegative=True,
    scaled=True,
    phi=lambda t: t / (1 + t**2),
    dphi=lambda t: (1 - t**2) / (1 + t**2) ** 2,
    psi=lambda t: torch.log1p(t**2),
    scalar=scalar,
)
