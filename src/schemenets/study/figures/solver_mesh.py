"""Convergence of cycles against the number of grid points."""

from matplotlib.figure import Figure

from schemenets.study.figures import _solver_factors
from schemenets.study.summaries import Tables

ORDER = 140
CHAPTER = "C5a"
TITLE = "Does the speed of cycles depend on the grid?"
CAPTION = (
    _solver_factors.DIGITS + "A level line means that the speed does not depend on the grid. " + _solver_factors.MARKS
)
SOURCES = _solver_factors.SOURCES


def draw(tables: Tables) -> Figure:
    """One panel per problem."""
    return _solver_factors.draw(tables, "finer", "points", "grid points")


def headline(tables: Tables) -> str:
    """For how many problems cycles reach the tolerance everywhere."""
    return _solver_factors.headline(tables, "finer", "points")
