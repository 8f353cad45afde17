"""Convergence of cycles against the number of grid points."""

from matplotlib.figure import Figure

from schemenets.study.figures import _solver_factors
from schemenets.study.summaries import Tables

TITLE = "Does the speed of cycles depend on the grid?"
CAPTION = (
    "Convergence on coarser and finer grids of the same interval than the one of the training; a level line means that "
    "the speed does not depend on the grid. " + _solver_factors.READING
)
SOURCES = _solver_factors.SOURCES


def draw(tables: Tables) -> Figure:
    """One panel per problem."""
    return _solver_factors.draw(tables, "finer", "points", "grid points")


def findings(tables: Tables) -> list[str]:
    """Factors on the coarsest and the finest grid, and where cycles do not reach the tolerance."""
    return _solver_factors.findings(tables, "finer", "points", "points")
