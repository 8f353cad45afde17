"""Error of learned solvers against their parameters and operations."""

from typing import Any

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from schemenets import summaries
from schemenets.figures import _solver_style, _style
from schemenets.figures._solver_style import PROBLEM, family, number, plain
from schemenets.summaries import Tables
from schemenets.wording import label, short

TITLE = "Learning to solve: error against parameters and operations"
CAPTION = (
    "Relative error ‖y − x‖₂ / ‖x‖₂ of what networks make of a right-hand side, after one application, a mean over "
    "test right-hand sides like those of the training, for the Charbonnier problem: against the number of trainable "
    "parameters, and against floating-point operations per signal. Numbers beside the marks: how many cycles or "
    "channels. Circles are networks of multigrid cycles that are given the operator, squares such networks that learn "
    "it as well, triangles standard U-nets. Hollow marks have one thing different: the U-net with 4 channels its "
    "loss or the length of its training, the network of 1 cycle what the figure of its parts names. Black: numerical "
    "schemes without training, measured on the first few of the same right-hand sides; having no parameters, they are "
    "level lines on the left. " + _solver_style.MARKS
)
SOURCES = ("tables/solver_runs.csv", "tables/solver_errors.csv", "tables/solver_iterations.csv", "tables/problems.csv")
SCHEMES = {
    "V(2,2)": ("one V(2,2) cycle", "X", "--"),
    "F(2,2)": ("one F(2,2) cycle", "D", ":"),
    "full multigrid": ("full multigrid", "P", "-."),
}
AXES = {"parameters": "trainable parameters", "operations": "operations per signal"}
VARIANTS = {
    "unet-4-residual": ("<", "U-net, residual loss"),
    "unet-4-long": (">", "U-net, trained longer"),
}
SPREAD = 3  # factor between the seeds of a method from which it is told


def draw(tables: Tables) -> Figure:
    """Two panels that share the axis of the errors."""
    scores, schemes = _at_home(tables), _schemes(tables)
    if scores.empty:
        return _style.empty("networks that learned to solve")
    figure, axes = _style.grid(2, 2, 4.2, sharey=True)
    for ax, (column, text) in zip(axes, AXES.items(), strict=True):
        for kind in _solver_style.FAMILIES:
            own = scores[scores["method"].map(family) == kind]
            if len(own):
                _draw_family(ax, own, column, kind)
        for row in summaries.rows(schemes):
            name, marker, line = SCHEMES[row.method]
            look: Any = {"color": "black", "linestyle": line, "linewidth": 1}
            if column == "parameters":
                ax.axhline(row.relative_error, **look)
                # for the legend, where line and mark belong together
                ax.plot([], [], marker=marker, markersize=5, label=f"{name}, untrained", **look)
            else:
                ax.plot(row.operations, row.relative_error, color="black", marker=marker, markersize=6)
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.margins(x=0.12)
        ax.set_xlabel(text)
    _solver_style.error_axis(axes[0], pd.concat([scores["score"], schemes["relative_error"]]))
    axes[0].set_ylabel(_solver_style.ERROR)
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Errors, networks of cycles against U-nets and against schemes, seeds that differ, and problems like no other."""
    scores, schemes = _at_home(tables), _schemes(tables)
    by = ["method", "parameters", "operations"]
    means = summaries.geometric_means(scores, by, "score")
    usual = means[means["method"].map(plain).astype(bool)]
    found = [
        f"{label(row.method)}: relative error {short(row.mean)}{_interval(row)} with {row.parameters:,} parameters and "
        f"{row.operations:,.0f} operations."
        for row in summaries.rows(usual)
    ]
    unets = usual[usual["method"].map(family) == "unet"].sort_values("operations")
    cycles = usual[usual["method"].map(family) != "unet"]
    for row in summaries.rows(cycles):
        equal = unets[unets["operations"] >= row.operations].head(1)
        found += [
            f"{label(row.method)} against the smallest U-net that takes at least as many operations, "
            f"{other.method.split('-')[1]} channels: {_times(row, other)}."
            for other in summaries.rows(equal)
        ]
    if len(unets) and len(cycles):
        (best,), (rival,) = (summaries.rows(own.nsmallest(1, "mean")) for own in (cycles, unets))
        found.append(
            f"Smallest error of a network of cycles ({label(best.method)}) against that of a U-net "
            f"({label(rival.method)}): {_times(best, rival)}."
        )
    if len(cycles):
        (best,) = summaries.rows(cycles.nsmallest(1, "mean"))
        for scheme in summaries.rows(schemes):
            name = SCHEMES[scheme.method][0]
            found.append(
                f"{name[0].upper()}{name[1:]} without training: relative error {short(scheme.relative_error)} with "
                f"{scheme.operations:,.0f} operations; the network of cycles with the smallest error has "
                f"{short(best.mean / scheme.relative_error)} times this error for "
                f"{short(best.operations / scheme.operations)} times the operations."
            )
    return found + _spread(scores) + _without_distances(tables)


def _draw_family(ax: Axes, scores: pd.DataFrame, column: str, kind: str) -> None:
    """The methods of a family, the usual ones joined in the order of their sizes."""
    text, color, marker = _solver_style.FAMILIES[kind]
    means = summaries.geometric_means(scores, ["method", column], "score")
    usual = means[means["method"].map(plain)].sort_values("method", key=lambda names: names.map(number))
    ax.plot(usual[column], usual["mean"], color=color, linewidth=0.8, alpha=0.6)
    ax.plot([], [], color=color, marker=marker, markersize=7, linewidth=0.8, label=text)
    for method, own in summaries.groups(scores, "method"):
        look: Any = {"color": color, "marker": marker, "linestyle": "none", "markersize": 7, "zorder": 4}
        if not plain(method):
            shape, name = VARIANTS.get(method, (marker, "variants of the cycle"))
            look |= {"marker": shape, "markersize": 5.5, "markerfacecolor": "white", "zorder": 3}
            ax.plot([], [], label=name, **look | {"zorder": 2})
        _solver_style.draw_scores(ax, own, column, look)
    place: Any = {"xytext": (-7, 0), "ha": "right"} if kind == "cycle" else {"xytext": (7, 0), "ha": "left"}
    place |= {"va": "center", "path_effects": [withStroke(linewidth=2.5, foreground="white")], "zorder": 6}
    for row in summaries.rows(usual):
        where = (getattr(row, column), row.mean)
        ax.annotate(str(number(row.method)), where, textcoords="offset points", color=color, **place)


def _times(row: Any, other: Any) -> str:
    return (
        f"{short(row.mean / other.mean)} times the error, {short(row.parameters / other.parameters)} times the "
        f"parameters, {short(row.operations / other.operations)} times the operations"
    )


def _interval(row: Any) -> str:
    return "" if pd.isna(row.low) else f" [{short(row.low)}, {short(row.high)}]"


def _spread(scores: pd.DataFrame) -> list[str]:
    """Methods whose seeds differ much, and runs that diverged."""
    found = []
    for method, own in summaries.groups(scores[~scores["diverged"]], "method"):
        errors = own["score"]
        if errors.max() > SPREAD * errors.min():
            found.append(
                f"{label(method)}: the seeds differ by a factor of {short(errors.max() / errors.min())}, from "
                f"{short(errors.min())} to {short(errors.max())} with the median {short(errors.median())}."
            )
    if len(lost := scores.loc[scores["diverged"], "run"]):
        found.append(f"Diverged, and counted with an error of 1: {', '.join(lost)}.")
    return found


def _without_distances(tables: Tables) -> list[str]:
    """Residual and energy gap where there may be several solutions."""
    errors = tables["solver_errors"].query("kind == 'home' and status == 'ok'")
    shares = {str(row.problem): float(row.several_solutions) for row in summaries.rows(tables["problems"])}
    found = []
    for problem in summaries.several_solutions(tables):
        texts = [
            f"{label(method)}: relative residual {short(own['residual'].median())}, energy gap "
            f"{short(own['energy_gap'].median())}"
            for method, own in summaries.groups(errors[errors["problem"] == problem], "method")
        ]
        if texts:
            found.append(
                f"{label(problem)}: solutions need not be unique (from another start Newton's method finds another "
                f"one for {shares[problem]:.0%} of the test right-hand sides), so that no "
                f"distance to one of them is told; {'; '.join(texts)} "
                "(medians over seeds; energy gaps are over that of the right-hand side itself)."
            )
    return found


def _at_home(tables: Tables) -> pd.DataFrame:
    scores = summaries.solver_scores(tables, PROBLEM)
    return scores[scores["kind"] == "home"]


def _schemes(tables: Tables) -> pd.DataFrame:
    table = tables["solver_iterations"].query("problem == @PROBLEM and kind == 'home'")
    return table[table["method"].isin(list(SCHEMES)) & table["relative_error"].notna()]
