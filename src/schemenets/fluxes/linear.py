"""Homogeneous diffusion: g = 1."""

import torch

from schemenets.fluxes._base import Flux


def scalar(t: float) -> tuple[float, float]:
    return t, 1.0


FLUX = Flux(
    name="linear",
    L=1.0,
    L_prime=1.0,
    m=0.0,
    odd=True,
    monotone=True,
    nonnegative=True,
    scaled=False,
    phi=lambda t: t,
    dphi=torch.ones_like,
    psi=lambda t: t**2,
    scalar=scalar,
)
