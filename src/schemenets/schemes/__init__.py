"""Numerical schemes in NumPy and SciPy, float64: the independent reference of the networks of the same ideas.

``explicit`` is the scheme of ``networks.symmetric``; the others have their networks' names. A time-stepping scheme
is one module that defines ``SCHEME``; ``multigrid`` and ``fas`` solve the systems of the implicit ones.
"""

from schemenets import registry
from schemenets.errors import UnknownNameError
from schemenets.schemes._base import Diffusion, Scheme

__all__ = ["Diffusion", "Scheme", "available", "get"]

SOLVERS = ("fas", "multigrid")


def available() -> list[str]:
    """Names of the time-stepping schemes, which :func:`get` takes."""
    return [name for name in registry.names(__name__) if name not in SOLVERS]


def get(name: str) -> Scheme:
    """What the scheme of this name declares.

    >>> get("explicit").order
    1

    Raises:
        UnknownNameError: no such scheme; the message lists the known names.
    """
    if name not in available():
        raise UnknownNameError("scheme", name, available())
    scheme: Scheme = registry.module(__name__, name, "scheme", "SCHEME").SCHEME
    return scheme
