"""The directive ``modules``: the API of modules, and of packages with all public modules in them."""

import importlib
import re
from collections.abc import Iterator
from types import ModuleType

from docutils import nodes
from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

from schemenets import registry
from schemenets.schemes._base import Array

ALIASES = {stringify_annotation(ArrayLike, "smart"): "ArrayLike", stringify_annotation(Array, "smart"): "Array"}


def public(name: str) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The module of this name, then all public modules in it, each with the package it is in."""
    module = importlib.import_module(name)
    yield module, module
    for inner in registry.names(name) if hasattr(module, "__path__") else ():
        for found, package in public(f"{name}.{inner}"):
            yield found, module if found is package else package


def section(module: ModuleType, package: ModuleType) -> str:
    """The API of a module, but for what its package has already."""
    exported = getattr(package, "__all__", ()) if module is not package else ()
    known = [name for name in exported if getattr(package, name) is getattr(module, name, None)]
    options = f"\n   :exclude-members: {', '.join(known)}" if known else ""
    return f"## {module.__name__}\n\n```{{eval-rst}}\n.. automodule:: {module.__name__}{options}\n```"


class Modules(SphinxDirective):
    """``{modules} schemenets.fluxes schemenets.errors``: one section per module."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        sections = [section(*found) for name in self.arguments[0].split() for found in public(name)]
        return self.parse_text_to_nodes("\n\n".join(sections), allow_section_headings=True)


def short_aliases(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Call types by the names that the code has for them."""
    for alias, short in ALIASES.items():
        signature, result = (text and text.replace(alias, short) for text in (signature, result))
    return signature, result


def escape_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """In docstrings |x| is a magnitude, not the substitution that reStructuredText takes it for."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", line) for line in lines]


def is_field(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of named tuples, whose docstrings say nothing."""
    return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("modules", Modules)
    app.connect("autodoc-process-signature", short_aliases)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("autodoc-skip-member", is_field)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
