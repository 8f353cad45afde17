"""Convergence of multigrid cycles."""

from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.stages.multigrid import ITERATIONS
from schemenets.summaries import Tables
from schemenets.wording import fixed

TITLE = "Multigrid: convergence on grids of every size"
CAPTION = (
    f"Factor by which one iteration reduces the error of the Poisson problem, after {ITERATIONS} iterations from a "
    "random start, against the number of grid points: smaller is faster, and a level line means that the speed does "
    "not depend on the grid. These are the untrained schemes, the yardstick for networks that imitate them."
)
SOURCES = ("tables/multigrid.csv", "multigrid.json")
MARKERS = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))


def draw(tables: Tables) -> Figure:
    """One line per solver."""
    table = tables["multigrid"]
    if table.empty:
        return _style.empty("multigrid cycles")
    figure, (ax,) = _style.grid(1, 1, 3)
    for index, (solver, own) in enumerate(summaries.groups(table, "solver")):
        marker, line = MARKERS[index % len(MARKERS)]
        ax.plot(
            own["points"],
            own["convergence_factor"],
            label=solver,
            color=_style.PALETTE[index],
            marker=marker,
            linestyle=line,
        )
    _style.log_ticks(ax, sorted(table["points"].unique()))
    ax.set(xlabel="grid points", ylabel="convergence factor per iteration", ylim=(0, 1.05))
    _style.legend(figure, [ax], columns=4)
    return figure


def findings(tables: Tables) -> list[str]:
    """Range of every solver's factor."""
    return [
        f"{solver}: {fixed(own['convergence_factor'].min(), 3)} to {fixed(own['convergence_factor'].max(), 3)} from "
        f"{own['points'].min()} to {own['points'].max()} points."
        for solver, own in summaries.groups(tables["multigrid"], "solver")
    ]
