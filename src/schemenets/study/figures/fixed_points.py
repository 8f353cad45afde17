"""Fixed-point iterations: convergence against the certified rate, memory and time against depth."""

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import fixed, label, short

TITLE = "Fixed-point networks: the certified rate, and depth at constant memory"
CAPTION = (
    "Left: relative residual of the iteration u ↦ f − τKᵀΦ(Ku) in float64 against the number of iterations until the "
    "slowest of the test signals has it; one line for every trained implicit network. Thick: the largest rate "
    "q = τ max(L′, m)‖K‖² of a method, below which all of its networks with q < 1 must lie. Without q < 1 nothing is "
    "promised, and networks that never get there have no line. Middle and right: memory that torch keeps for "
    "derivatives, and time, of one forward and backward pass with gradients through all iterations (unrolled) and with "
    "those of the solution (implicit), over those of the unrolled pass with the fewest iterations: mean over one "
    "network of each method, and their range as a band. Times are the least of several rounds in one run."
)
SOURCES = ("tables/fixed_points.csv", "tables/fixed_point_costs.csv", "fixed_points.json")
KINDS = {"unrolled": ("s", "--", _style.PALETTE[1]), "implicit": ("o", "-", "black")}
LINES = ("--", ":", "-")  # of methods


def draw(tables: Tables) -> Figure:
    """Convergence of every network on the left; what passes cost by their gradients in the other panels."""
    table, costs = tables["fixed_points"], tables["fixed_point_costs"]
    if table.empty:
        return _style.empty("fixed-point networks")
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


def findings(tables: Tables) -> list[str]:
    """Convergence and rates by method, gradients, and what the largest depth costs."""
    table, costs = tables["fixed_points"], tables["fixed_point_costs"]
    if table.empty:
        return []
    last = table[table["tolerance"] == table["tolerance"].min()]
    certified, others = last[last["rate"] < 1], last[~(last["rate"] < 1)]
    memory = costs.pivot_table("saved_bytes", "iterations", "gradients")
    grown = memory.iloc[-1] / memory.iloc[0]
    found = [
        f"{certified['iterations'].notna().sum()} of {len(certified)} networks with a rate below 1 converge, of the "
        f"others {others['iterations'].notna().sum()} of {len(others)}; from {memory.index[0]} to {memory.index[-1]} "
        f"iterations memory grows × {short(grown['unrolled'])} with unrolled and × {short(grown['implicit'])} with "
        "implicit gradients."
    ]
    for method, own in summaries.groups(last, "method"):
        converged, bounded = own[own["iterations"].notna()], own[own["rate"] < 1]
        text = f"{label(method)}: {len(bounded)} of {len(own)} networks have a rate below 1, {len(converged)} converge"
        if len(converged):
            text += f", after {fixed(converged['iterations'].max(), 0)} iterations at most"
        if len(bounded):
            text += (
                f"; observed rates are at most {fixed(bounded['observed_rate'].max(), 3)}, certified ones "
                f"{fixed(bounded['rate'].max(), 3)}"
            )
        found.append(f"{text}.")
    slow = table.loc[table["iterations"] > table["allowed_iterations"], "run"].nunique()
    found.append(f"Networks that take more iterations than their rate allows: {slow}.")
    if last["gradient_difference"].notna().any():
        largest = last["gradient_difference"].max()
        found.append(f"Largest relative difference of implicit from unrolled gradients: {short(largest, 2)}.")
    for method, own in summaries.groups(costs, "method"):
        found.append(f"{label(method)}, {_depth(own)}")
    return found


def _depth(costs: pd.DataFrame) -> str:
    """What the largest depth costs compared with the least one, and implicit gradients compared with unrolled ones."""
    wide = costs.pivot_table(["parameters", "saved_bytes", "seconds"], "iterations", "gradients")
    least, most = wide.index.min(), wide.index.max()
    grown, share = wide.loc[most] / wide.loc[least], wide.xs("implicit", 1, 1) / wide.xs("unrolled", 1, 1)
    return (
        f"from {least} to {most} iterations: parameters × {short(grown['parameters', 'implicit'])}, memory × "
        f"{short(grown['saved_bytes', 'unrolled'])} with unrolled and × {short(grown['saved_bytes', 'implicit'])} with "
        f"implicit gradients. Implicit gradients take {short(share['saved_bytes'][least], 2)} of the memory and "
        f"{short(share['seconds'][least], 2)} of the time of unrolled ones at {least} iterations, "
        f"{short(share['saved_bytes'][most], 2)} and {short(share['seconds'][most], 2)} at {most}."
    )
