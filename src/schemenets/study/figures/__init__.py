"""Figures of the study: one module per figure, found by its file.

Each defines ``CHAPTER`` of the report, the id of a claim or one of :data:`FURTHER`, and ``ORDER``, its place there
(``FOLDED = True`` folds it away); ``TITLE``, what it shows; ``CAPTION``, how to read it; ``SOURCES``, the files its
numbers come from; ``draw(tables)``, which returns a matplotlib ``Figure``; and ``headline(tables)``, the figure's
message in one sentence, computed from the same tables and written above the figure. ``tables`` is what
:func:`schemenets.study.summaries.read` returns. Call :func:`draw` and :func:`headline` here: a module may rely on rows
in every table that it names.
"""

from pathlib import PurePath
from types import ModuleType
from typing import TYPE_CHECKING

from schemenets import registry
from schemenets.study.wording import NOT_MEASURED

FURTHER = ("ladder", "map", "classical")  # chapters of the report that are about no claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from schemenets.study.summaries import Tables


def available() -> list[str]:
    """Names of the figures, sorted; imports none of them."""
    return registry.names(__name__)


def modules() -> dict[str, ModuleType]:
    """The figures' modules by name, in the order of the report."""
    found = {name: registry.module(__name__, name, "figure") for name in available()}
    return dict(sorted(found.items(), key=lambda entry: entry[1].ORDER))


def draw(name: str, tables: "Tables") -> "Figure":
    """A figure with its headline above it; without its tables, an empty one that says so.

    Raises:
        UnknownNameError: no such figure; the message lists the allowed names.
    """
    from schemenets.study.figures import _style  # here, so that listing the figures needs no plotting library

    module = registry.module(__name__, name, "figure")
    if not _complete(module, tables):
        return _style.empty("data")
    figure: Figure = module.draw(tables)
    _style.entitle(figure, module.headline(tables))
    return figure


def headline(name: str, tables: "Tables") -> str:
    """The message of a figure.

    Raises:
        UnknownNameError: no such figure; the message lists the allowed names.
    """
    module = registry.module(__name__, name, "figure")
    return str(module.headline(tables)) if _complete(module, tables) else NOT_MEASURED


def map_by_flux(tables: "Tables") -> str:
    """The message of the map that its choice with the largest effect has; empty without a map."""
    from schemenets.study.figures import _map

    return _map.by_flux(tables) if len(tables.get("map", ())) else ""


def _complete(module: ModuleType, tables: "Tables") -> bool:
    """Whether all tables that a figure names have rows."""
    needed = [PurePath(path).stem for path in module.SOURCES if path.startswith("tables/")]
    return all(name in tables and len(tables[name]) for name in needed)
