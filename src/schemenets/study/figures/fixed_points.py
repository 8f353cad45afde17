"""Fixed-point iterations: convergence against the certified rate, memory and time against depth."""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import label, listed, short

ORDER = 55
CHAPTER = "C4c"
TITLE = "Fixed-point networks: the certified rate, and depth at constant memory"
CAPTION = (
    "Left: relative residual of the iteration, a line per network; thick: the certified rate of a method. Middle and "
    "right: memory and time of a forward and backward pass, relative to the shortest unrolled one."
)
SOURCES = ("tables/fixed_points.csv", "tables/fixed_point_costs.csv")
KINDS = {"unrolled": ("s", "--", _style.PALETTE[1]), "implicit": ("o", "-", "black")}
LINES = ("--", ":", "-")  # of methods


def draw(tables: Tables) -> Figure:
    """Convergence of every network on the left; costs of passes by kind of gradients in the other panels."""
    table, costs = tables["fixed_points"], tables["fixed_point_costs"]
    figure = Figure(figsize=(_style.WIDTH, 3.6))
    left, *others = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    looks = cycle(zip((_style.PALETTE[2], _style.PALETTE[3], _style.PALETTE[0]), LINES, strict=True))
    for (method, own), (color, line) in zip(summaries.groups(table, "method"), looks, strict=False):
        look: Any = {"color": color, "linestyle": line}
        for _, run in summaries.groups(own, "run"):
            left.plot([0, *run["iterations"]], [1, *run["tolerance"]], linewidth=0.7, alpha=0.6, **look)
        name = label(method) if own["iterations"].notna().any() else f"{label(method)}: none converges"
        left.plot([], [], label=name, **look)
        bounded = own.loc[own["rate"] < 1, "rate"]
        if len(bounded):
            least = own["tolerance"].min()
            ends = [0, np.log(least) / np.log(bounded.max())], [1, least]
            left.plot(*ends, color=color, linewidth=2.5, label="certified rate")
    longest = table["iterations"].max()
    left.set(
        yscale="log", xlabel="iterations", ylabel="relative residual", xlim=(0, 1.1 * longest if longest > 0 else None)
    )
    units = costs[costs["gradients"] == "unrolled"].sort_values("iterations").groupby("method").first()
    for ax, column, text in zip(others, ("saved_bytes", "seconds"), ("memory", "time"), strict=True):
        relative = costs.assign(cost=costs[column] / costs["method"].map(units[column]))
        for kind, (marker, line, color) in KINDS.items():
            of_depth = relative[relative["gradients"] == kind].groupby("iterations")["cost"]
            look = {"color": color, "marker": marker, "linestyle": line, "label": f"{kind} gradients"}
            ax.plot(of_depth.mean(), markersize=4, **look)
            ax.fill_between(of_depth.min().index, of_depth.min(), of_depth.max(), color=color, alpha=0.2, linewidth=0)
        _style.log_ticks(ax, sorted(costs["iterations"].unique()))
        ax.set(yscale="log", xlabel="iterations", ylabel=f"{text}, relative")
    _style.legend(figure, [left, others[0]])
    return figure


def headline(tables: Tables) -> str:
    """How many networks converge, and how memory grows with the number of iterations."""
    table, costs = tables["fixed_points"], tables["fixed_point_costs"]
    last = table[table["tolerance"] == table["tolerance"].min()]
    certified, others = last[last["rate"] < 1], last[~(last["rate"] < 1)]
    memory = costs.pivot_table("saved_bytes", "iterations", "gradients")
    grown = memory.iloc[-1] / memory.iloc[0]
    factors = [f"× {short(factor)} with {kind} gradients" for kind, factor in grown.items()]
    return (
        f"{certified['iterations'].notna().sum()} of {len(certified)} networks with a contraction rate below 1 "
        f"converge, and {others['iterations'].notna().sum()} of {len(others)} others; from {memory.index[0]} to "
        f"{memory.index[-1]} iterations memory grows {listed(factors)}."
    )
