"""Flux functions: the diffusivities of nonlinear diffusion read as activation functions.

A flux is one module of this package that defines ``FLUX``; its name in the registry is the module's name. Where a
flux has parameters besides λ, its module also defines the function ``flux`` of them, and ``FLUX`` has the defaults.
"""

import inspect

from schemenets import registry
from schemenets.errors import UnknownNameError
from schemenets.fluxes._base import Flux

__all__ = ["Flux", "available", "get"]


def available() -> list[str]:
    """Names that :func:`get` takes."""
    return registry.names(__name__)


def get(name: str, **parameters: float) -> Flux:
    """The flux function of this name; ``parameters`` are those that it has besides λ.

    >>> get("perona_malik").m
    0.125
    >>> get("tv_regularised", epsilon=0.5).L
    2.0

    Raises:
        UnknownNameError: no such flux, or it has no such parameter; the message lists the allowed names.
        InvalidParameterError: a parameter outside its range.
    """
    module = registry.module(__name__, name, "flux")
    allowed = inspect.signature(module.flux).parameters if hasattr(module, "flux") else ()
    for parameter in parameters:
        if parameter not in allowed:
            raise UnknownNameError(f"parameter of the flux {name!r}:", parameter, allowed or ["none"])
    flux: Flux = module.flux(**parameters) if parameters else module.FLUX
    return flux
