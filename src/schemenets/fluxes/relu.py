"""The rectifier: Φ(s) = max(0, s), so g ∈ {0, 1}. Not odd, hence no diffusion flux, yet s Φ(s) ≥ 0."""

import torch

from schemenets.fluxes._base import Flux, where


def scalar(t: float) -> tuple[float, float]:
    return where(t <= 0.0, 0.0, t), where(t <= 0.0, 0.0, 1.0)  # in this order NaN stays NaN


FLUX = Flux(
    name="relu",
    L=1.0,
    L_prime=1.0,
    m=0.0,
    odd=False,
    monotone=True,
    nonnegative=True,
    scaled=False,
    phi=torch.relu,
    dphi=lambda t: (t > 0).to(t.dtype),
    psi=lambda t: torch.relu(t) ** 2,
    scalar=scalar,
)
