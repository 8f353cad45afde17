"""Fixed-point iterations: convergence against the certified rate, memory and time against depth."""

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import fixed, label, short

TITLE = "Fixed-point networks: the certified rate, and depth at constant memory"
CAPTION = (
    "Left: relative residual of the iteration u ↦ f − τKᵀΦ(Ku) in float64 against the number of iterations until the "
    "slowest of the test signals has it; one line for every trained implicit network. Straight lines without markers: "
    "the largest rate q = τ max(L′, m)‖K‖² of each method, below which all of its networks with q < 1 must lie; they "
    "may leave the panel. Without q < 1 nothing is promised, and networks that never get there have no line. Middle "
    "and right: memory that torch keeps for derivatives, and time, of one forward and backward pass with gradients "
    "through all iterations (unrolled) and with those of the solution (implicit), of one network of each method and "
    "over those of the unrolled pass with the fewest iterations. Times are the least of several rounds in one run."
)
SOURCES = ("tables/fixed_points.csv", "tables/fixed_point_costs.csv", "fixed_points.json")
KINDS = {"unrolled": ("o", "--"), "implicit": ("s", "-")}


def draw(tables: Tables) -> Figure:
    """Three panels; methods differ by colour and marker."""
    table, costs = tables["fixed_points"], tables["fixed_point_costs"]
    if table.empty:
        return _style.empty("fixed-point networks")
    figure = Figure(figsize=(_style.WIDTH, 3.6))
    left, *others = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    marks = dict(zip(table["method"].unique(), cycle(zip(_style.PALETTE, "sDo^v", strict=False)), strict=False))
    for method, own in summaries.groups(table, "method"):
        color, marker = marks[method]
        look: Any = {"color": color, "marker": marker, "markersize": 3, "linewidth": 0.7, "alpha": 0.6}
        for _, run in summaries.groups(own, "run"):
            left.plot([0, *run["iterations"]], [1, *run["tolerance"]], **look)
        left.plot([], [], label=label(method), **look | {"alpha": 1, "linewidth": 1.2, "markersize": 5})
        bounded = own.loc[own["rate"] < 1, "rate"]
        if len(bounded):
            least = own["tolerance"].min()
            left.plot([0, np.log(least) / np.log(bounded.max())], [1, least], color=color, linewidth=1.8)
    longest = table["iterations"].max()
    left.set(
        yscale="log", xlabel="iterations", ylabel="relative residual", xlim=(0, 1.1 * longest if longest > 0 else None)
    )
    for ax, column, text in zip(others, ("saved_bytes", "seconds"), ("memory", "time"), strict=True):
        for method, own in summaries.groups(costs, "method"):
            color, _ = marks[method]
            unit = own.loc[own["gradients"] == "unrolled"].nsmallest(1, "iterations")[column].iloc[0]
            for kind, (marker, line) in KINDS.items():
                part = own[own["gradients"] == kind]
                ax.plot(
                    part["iterations"], part[column] / unit, color=color, marker=marker, linestyle=line, markersize=4
                )
        _style.log_ticks(ax, sorted(costs["iterations"].unique()))
        ax.set(yscale="log", xlabel="iterations", ylabel=f"{text}, relative")
    for kind, (marker, line) in KINDS.items():
        others[0].plot([], [], color=_style.GREY, marker=marker, linestyle=line, label=f"{kind} gradients")
    _style.legend(figure, [left, others[0]])
    return figure


def findings(tables: Tables) -> list[str]:
    """Convergence and rates by method, gradients, and what the largest depth costs."""
    table, costs = tables["fixed_points"], tables["fixed_point_costs"]
    if table.empty:
        return []
    last = table[table["tolerance"] == table["tolerance"].min()]
    found = []
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
