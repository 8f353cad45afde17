"""Convergence of multigrid cycles."""

from typing import Any

import seaborn as sns
from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import fixed

TITLE = "Multigrid: convergence on grids of every size"
CAPTION = (
    "Factor by which, in the long run, one iteration reduces the error of the Poisson problem (the spectral radius of "
    "its error matrix), against the number of grid points: smaller is faster, and a level line means that the speed "
    "does not depend on the grid. These are the untrained schemes, the yardstick for networks that imitate them. "
    "W- and F-cycles differ so little that their marks lie inside each other."
)
SOURCES = ("tables/multigrid.csv", "multigrid.json")


def draw(tables: Tables) -> Figure:
    """One line per solver."""
    table = tables["multigrid"]
    if table.empty:
        return _style.empty("multigrid cycles")
    figure, (ax,) = _style.grid(1, 1, 3)
    # from large and hollow to small and full, so that lines that coincide can all be seen
    for index, (solver, own) in enumerate(summaries.groups(table, "solver")):
        marker, line = _style.SHAPES[index]
        color = _style.PALETTE[index]
        look: Any = {"marker": marker, "linestyle": line, "color": color, "markersize": 11 - 2.5 * index}
        look |= {"markerfacecolor": "none" if index < 2 else color, "markeredgecolor": color}
        sns.lineplot(own, x="points", y="convergence_factor", ax=ax, label=solver, markeredgewidth=1.2, **look)
    _style.log_ticks(ax, sorted(table["points"].unique()))
    ax.set(xlabel="grid points", ylabel="convergence factor per iteration", ylim=(0, 1.05))
    sns.move_legend(ax, "upper center", bbox_to_anchor=(0.5, -0.15), ncols=4, title=None)
    return figure


def findings(tables: Tables) -> list[str]:
    """Range of every solver's factor."""
    return [
        f"{solver}: {fixed(own['convergence_factor'].min(), 3)} to {fixed(own['convergence_factor'].max(), 3)} from "
        f"{own['points'].min()} to {own['points'].max()} points."
        for solver, own in summaries.groups(tables["multigrid"], "solver")
    ]
