"""Registries without tables: a name is a module, so that adding an entry means adding one file."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from schemenets.errors import SchemenetsError, UnknownNameError


def names(package: str) -> list[str]:
    """Names of the public modules of ``package``, sorted; imports none of them."""
    path = importlib.import_module(package).__path__
    return sorted(info.name for info in pkgutil.iter_modules(path) if not info.name.startswith("_"))


@cache  # networks ask for their flux in every pass, and names are looked up in a directory
def module(package: str, name: str, kind: str, *attributes: str) -> ModuleType:
    """Module ``package.name``, which defines these attributes.

    Raises:
        UnknownNameError: no such module; the message lists the known names.
        SchemenetsError: it lacks an attribute.
    """
    known = names(package)
    if name not in known:
        raise UnknownNameError(kind, name, known)
    found = importlib.import_module(f"{package}.{name}")
    for attribute in attributes:
        if not hasattr(found, attribute):
            raise SchemenetsError(f"{found.__file__}: got no {attribute}, expected it in the module of a {kind}.")
    return found
