"""Convergence of cycles against τ."""

from matplotlib.figure import Figure

from schemenets.study.figures import _solver_factors
from schemenets.study.summaries import Tables

ORDER = 150
CHAPTER = "C5a"
FOLDED = True
TITLE = "Does the speed of cycles depend on τ?"
CAPTION = (
    _solver_factors.DIGITS
    + "Learned cycles are given τ; they were trained with the middle one. "
    + _solver_factors.MARKS
)
SOURCES = _solver_factors.SOURCES


def draw(tables: Tables) -> Figure:
    """One panel per problem."""
    return _solver_factors.draw(tables, "tau", "tau", "τ")


def headline(tables: Tables) -> str:
    """For how many problems cycles reach the tolerance everywhere."""
    return _solver_factors.headline(tables, "tau", "tau")
