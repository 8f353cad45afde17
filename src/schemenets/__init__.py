"""Numerical algorithms for PDEs as neural architectures.

The library follows the data flow: ``signals`` → ``networks`` (beside the ``schemes`` they come from, built from
``operators`` and ``fluxes``) and ``multigrid`` → ``training`` → ``evaluation`` and ``stability``. The study that uses
it is ``schemenets.study``, which no module of the library imports.

The papers behind it are cited as

* [A] Alt, Schrader, Augustin, Peter, Weickert, *Connections between Numerical Algorithms for PDEs and Neural
  Networks*, J. Math. Imaging Vis. (2022), arXiv:2107.14742;
* [B] Alt, Peter, Weickert, Schrader, *Translating Numerical Concepts for PDEs into Neural Architectures*,
  SSVM (2021), arXiv:2103.15419.

Statements marked *(derived)* were derived for this project and stand in neither paper.

>>> import schemenets as sn
>>> network = sn.build("symmetric", blocks=4, filters=8, kernel_size=5, flux="perona_malik", certified=True)
>>> sn.certify(network).holds
True
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schemenets import fluxes, multigrid, networks, operators, schemes, signals, stability, training
    from schemenets.checkpoints import load, save
    from schemenets.networks import Architecture, build
    from schemenets.stability import certify

__version__ = "0.9.0"
__all__ = [
    "Architecture",
    "__version__",
    "build",
    "certify",
    "fluxes",
    "load",
    "multigrid",
    "networks",
    "operators",
    "save",
    "schemes",
    "signals",
    "stability",
    "training",
]
_MODULES = {  # of public names that are not modules themselves
    "Architecture": "networks",
    "build": "networks",
    "certify": "stability",
    "load": "checkpoints",
    "save": "checkpoints",
}


def __getattr__(name: str) -> Any:
    """A public name; imported when it is asked for, since importing torch takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
    return getattr(module, name) if name in _MODULES else module


def __dir__() -> list[str]:
    return sorted(__all__)
