"""Fingerprints of source code: a result is computed again if the code that it depends on changes."""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parents[2]
# Layout, messages and records: no number depends on these modules.
NEUTRAL = {
    f"{PACKAGE}.{name}"
    for name in (
        *("errors", "progress", "study", "study.layout", "study.stages"),
        *("study.records", "study.records.fingerprints", "study.records.provenance"),
    )
}


@cache  # jobs that differ only in seeds or sizes run the same code
def fingerprint(*roots: str) -> str:
    """SHA-256 of the code of these modules and of every module of this package that they import, directly or not.

    A root ``module:function`` stands for what this function reaches in its module, and for what that imports. Comments,
    docstrings and formatting do not count, nor do the modules in :data:`NEUTRAL`. Registries import their entries
    only on request, so the networks and fluxes that a computation uses must be given here; others do not count.

    >>> fingerprint("schemenets.networks.resnet") == fingerprint("schemenets.networks.symmetric")
    False

    Raises:
        ModuleNotFoundError: no module of this name in the package.
    """
    digest = hashlib.sha256()
    for root in _closure(roots):
        digest.update(f"{root}\n{_code(root)[0]}\n".encode())
    return digest.hexdigest()


def of_stage(stage: str, spec: Mapping[str, Any]) -> str:
    """Fingerprint of what a stage runs, together with the entries of registries that its specification names."""
    return fingerprint(f"{module_of(stage)}:run", *_entries(spec), *_declared(stage, spec))


def module_of(stage: str) -> str:
    """Name of the module of a stage."""
    return f"{PACKAGE}.study.stages.{stage}"


def _entries(spec: Mapping[str, Any]) -> Iterator[str]:
    """Modules of the signal families, networks and fluxes that a specification names."""
    if "family" in spec:
        yield f"{PACKAGE}.signals.{spec['family']}"
    for part in spec.get("networks", [spec]):
        architecture, task = part.get("architecture", {}), part.get("task", {})
        if architecture.get("name") == "cycle" or task.get("name") == "solving":
            yield from (f"{PACKAGE}.multigrid.cycle", f"{PACKAGE}.multigrid.solving")
        if _file(network := f"{PACKAGE}.networks.{architecture.get('name')}"):
            yield network
        problems = (each.get("problem", {}) for each in (part, task, architecture))
        yield from (f"{PACKAGE}.fluxes.{own['flux']}" for own in (architecture, *problems) if "flux" in own)
    for own in spec.get("datasets", {}).values():
        yield from (f"{PACKAGE}.fluxes.{own['problem']['flux']}",) if "problem" in own else ()


def _declared(stage: str, spec: Mapping[str, Any]) -> list[str]:
    """The further roots that a stage declares."""
    from schemenets.study import stages  # they import this module

    code = getattr(stages.module(stage), "code", None)
    return list(code(spec)) if code else []


def _closure(roots: Iterable[str]) -> list[str]:
    """The roots and all modules that they import from this package, sorted."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        root = waiting.pop()
        if root not in {PACKAGE, *NEUTRAL, *found}:  # the package's own __init__ holds only names
            found.add(root)
            waiting += _code(root)[1]
    return sorted(found)


def _is_own(module: str) -> bool:
    return module.startswith(f"{PACKAGE}.")


def _file(module: str) -> Path | None:
    """Source file of a module of this package; None if there is no such module."""
    path = ROOT.joinpath(*module.split(".")[1:])
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


@cache
def _code(root: str) -> tuple[str, tuple[str, ...]]:
    """The root's code without docstrings, and the modules of this package it imports."""
    module, _, function = root.partition(":")
    file = _file(module)
    if file is None:
        raise ModuleNotFoundError(f"no module {module!r} in {ROOT}")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [statement for statement in tree.body if not _is_for_type_checkers(statement)]
    if function:
        tree.body = _reached(tree.body, function)
    imports: list[str] = []
    return repr(_plain(tree, imports)), tuple(name for name in imports if _is_own(name))


def _plain(node: Any, imports: list[str]) -> Any:
    """A syntax tree without docstrings as nested tuples; what it imports is added to ``imports``.

    The same in all versions of Python, which add parts that are mostly empty.
    """
    if isinstance(node, list):
        return tuple([_plain(each, imports) for each in node])
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.JoinedStr):  # to which Python 3.12 adds empty texts
        return "JoinedStr", *(_plain(each, imports) for each in node.values if getattr(each, "value", None) != "")
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports += _imported(node)
    elif (
        isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    ):
        node.body = node.body[1:]
    parts = [(name, getattr(node, name, None)) for name in node._fields if name != "ctx"]
    return (
        type(node).__name__,
        *[(name, _plain(value, imports)) for name, value in parts if value is not None and value != []],
    )


def _is_for_type_checkers(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def _reached(body: list[ast.stmt], function: str) -> list[ast.stmt]:
    """The statements of a module that a function of it needs: definitions, constants and imports by their names."""
    defined: dict[str, list[int]] = {}
    for index, statement in enumerate(body):
        for name in _names(statement):
            defined.setdefault(name, []).append(index)
    kept: set[int] = set()
    waiting = [function]
    while waiting:
        for index in set(defined.get(waiting.pop(), ())) - kept:
            kept.add(index)
            waiting += [node.id for node in ast.walk(body[index]) if isinstance(node, ast.Name)]
    # too much may count, never too little: names in annotations, and all names of one import statement
    return [statement for index, statement in enumerate(body) if index in kept]


def _names(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    else:
        yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and _is_bound(node))


def _is_bound(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Modules that are imported, or that names are imported from; their parent packages do not count."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.module:
        for name in (f"{node.module}.{alias.name}" for alias in node.names):
            yield name if _is_own(name) and _file(name) else node.module
