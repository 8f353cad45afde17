"""Flux functions: the diffusivities of nonlinear diffusion read as activation functions.

A flux is one module of this package that defines ``FLUX``; its name in the registry is the module's name. Where a
flux has parameters besides λ, its module also defines the function ``flux`` of them, and ``FLUX`` has the defaults.
"""

import importlib
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from schemenets import registry
from schemenets.errors import InvalidParameterError, UnknownNameError
from schemenets.fluxes._base import Flux, where
from schemenets.fluxes._responses import Responses, responses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Flux", "Responses", "available", "get", "plot", "responses", "where"]


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
        UnknownNameError: no such flux, or it has no such parameter; the message lists the known names.
        InvalidParameterError: a parameter outside its range.
    """
    module = registry.module(__name__, name, "flux", "FLUX")
    known = inspect.signature(module.flux).parameters if hasattr(module, "flux") else ()
    for parameter in parameters:
        if parameter not in known:
            raise UnknownNameError(f"parameter of the flux {name!r}", parameter, known)
    flux: Flux = module.flux(**parameters) if parameters else module.FLUX
    if flux.name != name:
        raise InvalidParameterError(f"name of FLUX in {module.__file__}", flux.name, f"{name!r}, as the file is called")
    return flux


def plot(shown: Iterable[str | Flux | Responses], s_max: float = 4.0) -> "Figure":
    """Draw the diffusivity g, the flux Φ and the energy density Ψ side by side; up to 8 can be told apart in grey.

    Curves that are much larger than most of the others leave their panel, so as not to flatten these.

    Args:
        shown: fluxes or their names, drawn with λ = 1 and with the initial weights of a trainable shape; or what
            :func:`responses` gives, so that each filter is drawn with its λ and weights, as far as its responses reach.
        s_max: fluxes and names are drawn for |s| ≤ s_max.

    Raises:
        UnknownNameError: no flux of this name.
        ImportError: matplotlib is missing, which ``schemenets[study]`` installs.
    """
    # by its name, so that the code of trainings does not depend on that of figures
    try:
        module = importlib.import_module("schemenets.fluxes._plot")
        figure: Figure = module.draw(shown, s_max)
    except ModuleNotFoundError as error:
        raise ImportError(f"fluxes.plot needs {error.name}: install schemenets[study]") from error
    return figure
