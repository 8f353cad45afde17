"""Fingerprints of source code: what a computation's result depends on, so that editing it means computing again."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parents[2]
# Where results lie, and what is told of them: no number depends on these modules.
NEUTRAL = {
    f"{PACKAGE}.{name}"
    for name in (
        *("errors", "progress", "study", "study.layout", "study.specs"),
        *("study.records", "study.records.fingerprints", "study.records.provenance"),
    )
}


def fingerprint(*modules: str) -> str:
    """SHA-256 of the code of these modules and of every module of this package that they import, directly or not.

    Comments, docstrings and formatting do not count, nor do the modules in :data:`NEUTRAL`. Registries import their
    entries by name only when asked, so the networks and fluxes that a computation uses are to be given here, and others
    do not count.

    >>> fingerprint("schemenets.networks.resnet") == fingerprint("schemenets.networks.symmetric")
    False

    Raises:
        ModuleNotFoundError: no module of this name in the package.
    """
    digest = hashlib.sha256()
    for module in _closure(modules):
        digest.update(f"{module}\n{_code(module)[0]}\n".encode())
    return digest.hexdigest()


def of_stage(stage: str, spec: Mapping[str, Any]) -> str:
    """Fingerprint of a stage's code together with the entries of registries that its specification names."""
    entries = [f"signals.{spec['family']}"] if "family" in spec else []
    for part in spec.get("networks", [spec]):
        architecture = part.get("architecture", {})
        if "name" in architecture:  # cycles have none
            entries.append(f"networks.{architecture['name']}")
        entries += [f"fluxes.{entry['flux']}" for entry in (architecture, part.get("problem", {})) if "flux" in entry]
    return fingerprint(f"{PACKAGE}.study.stages.{stage}", *(f"{PACKAGE}.{entry}" for entry in entries))


def _closure(modules: tuple[str, ...]) -> list[str]:
    """The modules and all they import from this package, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in {PACKAGE, *NEUTRAL, *found}:  # the package's own __init__ holds nothing but its version
            if _file(module) is None:
                raise ModuleNotFoundError(f"no module {module!r} in {ROOT}")
            found.add(module)
            waiting += _code(module)[1]
    return sorted(found)


def _file(module: str) -> Path | None:
    """Source file of a module of this package; None if there is no such module."""
    path = ROOT.joinpath(*module.split(".")[1:])
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


@cache
def _code(module: str) -> tuple[str, tuple[str, ...]]:
    """The module's code without docstrings, and the modules of this package it imports."""
    file = _file(module)
    assert file is not None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = tuple(name for name in _imports(tree) if _file(name))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.unparse(tree), imported


def _imports(tree: ast.Module) -> Iterator[str]:
    """Names of this package that may be modules, with the packages they are in."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith(f"{PACKAGE}."):
                parts = name.split(".")
                yield from (".".join(parts[:end]) for end in range(2, len(parts) + 1))
