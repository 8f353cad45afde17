"""Flux functions: the diffusivities of nonlinear diffusion read as activation functions.

A flux is one module of this package that defines ``FLUX``; its name in the registry is the module's name.
"""

from schemenets import registry
from schemenets.fluxes._base import Flux

__all__ = ["Flux", "available", "get"]


def available() -> list[str]:
    """Names that :func:`get` takes."""
    return registry.names(__name__)


def get(name: str) -> Flux:
    """The flux function of this name.

    >>> get("perona_malik").m
    0.125

    Raises:
        UnknownNameError: no such flux; the message lists the allowed names.
    """
    flux: Flux = registry.module(__name__, name, "flux").FLUX
    return flux
