"""Convergence of cycles against τ."""

from matplotlib.figure import Figure

from schemenets.study.figures import _solver_factors
from schemenets.study.summaries import Tables

TITLE = "Does the speed of cycles depend on τ?"
CAPTION = (
    "Convergence for other τ than that of the training, on its grid. Learned cycles are told τ, and were trained with "
    "the one in the middle. For Poisson's equation τ is a factor, on which nothing depends. " + _solver_factors.READING
)
SOURCES = _solver_factors.SOURCES


def draw(tables: Tables) -> Figure:
    """One panel per problem."""
    return _solver_factors.draw(tables, "tau", "tau", "τ")


def findings(tables: Tables) -> list[str]:
    """Factors for the smallest and the largest τ, and where cycles do not reach the tolerance."""
    return _solver_factors.findings(tables, "tau", "tau", "τ")
