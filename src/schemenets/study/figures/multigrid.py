"""Convergence of multigrid cycles."""

from functools import partial
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import fixed, ranged

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
    table = tables["multigrid"]
    if table.empty:
        return []
    worst = table.groupby("solver", sort=False)["convergence_factor"].max()
    write = partial(fixed, digits=3)
    message = (
        f"From {table['points'].min()} to {table['points'].max()} grid points the factor of {worst.idxmin()} is at "
        f"most {write(worst.min())}, that of {worst.idxmax()} reaches {write(worst.max())}."
    )
    return [message] + [
        f"{solver}: {ranged(own['convergence_factor'], write)}." for solver, own in summaries.groups(table, "solver")
    ]
