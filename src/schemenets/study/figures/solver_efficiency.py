"""Error of learned solvers against their parameters and operations."""

from typing import Any

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from schemenets.study import summaries
from schemenets.study.figures import _solver_style, _style
from schemenets.study.figures._solver_style import PROBLEM, family, number, plain
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, listed, short

ORDER = 130
CHAPTER = "C5b"
TITLE = "Learning to solve: error against parameters and operations"
CAPTION = (
    "Error and residual after one application to test right-hand sides of the Charbonnier problem, against "
    "parameters and operations. Numbers: cycles or channels. Lines: untrained schemes, a mark for every iteration."
)
SOURCES = ("tables/solver_runs.csv", "tables/solver_errors.csv", "tables/solver_paths.csv")
OPERATOR = {"multigrid": "learned operator", "cycle": "given operator"}
FSI = "FSI"  # prefix of extrapolated schemes
SCHEMES: dict[str, dict[str, Any]] = {
    "full multigrid, then V(2,2)": {"color": "black", "marker": "P", "linestyle": "-"},
    FSI: {"color": _style.PALETTE[5], "marker": "D", "linestyle": "-."},
    "Newton's method": {"color": _style.GREY, "marker": "X", "linestyle": "--"},
}
AXES = {"parameters": "trainable parameters", "operations": "operations per signal"}
ROWS = {"relative_error": "relative error", "residual": "relative residual"}
REACH = 6  # factor by which the axis of operations begins below those of networks
BELOW = 5  # factor by which the axis extends below the smallest error of a seed


def draw(tables: Tables) -> Figure:
    """A row of two panels for every measure, which share its axis."""
    home = _at_home(tables)
    if home.empty:
        return _style.empty("networks that learned to solve")
    figure, axes = _style.grid(2 * len(ROWS), 2, 2.9, sharey="row")
    for row, (measure, text) in enumerate(ROWS.items()):
        scores, pair = _scored(home, measure), axes[2 * row : 2 * row + 2]
        for ax, column in zip(pair, AXES, strict=True):
            for kind in _solver_style.FAMILIES:
                own = scores[scores["method"].map(family) == kind]
                if len(own):
                    _draw_family(ax, own, column, kind)
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter(ticker.NullFormatter())
            ax.margins(x=0.12)
        low, high = pair[1].get_xlim()
        pair[1].set_xlim(low / REACH, high)  # schemes begin with less, and take as many operations as they are given
        _draw_schemes(pair[1], tables, measure)
        _solver_style.error_axis(pair[0], pd.concat([scores["score"], scores["score"].nsmallest(1) / BELOW]))
        pair[0].set_ylabel(text)
    for ax in axes[:-2]:
        ax.tick_params(labelbottom=False)
    for ax, text in zip(axes[-2:], AXES.values(), strict=True):
        ax.set_xlabel(text)
    _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """The best networks of cycles against the best U-net, and the cheapest scheme that is as good without training."""
    errors = summaries.median_errors(_at_home(tables), ["method", "parameters", "operations"], "score")
    best = {
        kind: next(summaries.rows(own.nsmallest(1, "median")))
        for kind, own in summaries.groups(errors.assign(family=errors["method"].map(family)), "family")
    }
    rival = best.pop("unet", None)
    if rival is None or not best:
        return NOT_MEASURED
    shown = [best[kind] for kind in OPERATOR if kind in best]
    ratios = [f"{short(row.median / rival.median)} ({OPERATOR[row.family]}, {label(row.method)})" for row in shown]
    text = (
        f"Networks of cycles have {listed(ratios)} times the median error of the best U-net ({label(rival.method)}), "
        f"with {listed([short(row.parameters / rival.parameters) for row in shown])} times its parameters"
    )
    least = min(best.values(), key=lambda row: row.median)
    paths = _paths(tables)
    for row in summaries.rows(paths[paths["relative_error"] <= least.median].nsmallest(1, "operations")):
        text += f"; untrained, {row.method} is as accurate as the best of all with "
        text += f"{short(row.operations / least.operations)} times its operations"
    return f"{text}."


def _scored(scores: pd.DataFrame, measure: str) -> pd.DataFrame:
    """With this measure as the score; for a diverged run that of finding nothing."""
    return scores.assign(score=scores[measure].where(~scores["diverged"], summaries.NOTHING_FOUND).astype(float))


def _draw_schemes(ax: Axes, tables: Tables, measure: str) -> None:
    for name, own in summaries.groups(_paths(tables), "method"):
        look = SCHEMES[FSI if name.startswith(FSI) else name]
        ax.plot(own["operations"], own[measure], linewidth=1, markersize=3.5, label=name, **look, zorder=2)


def _paths(tables: Tables) -> pd.DataFrame:
    """Of the schemes that are drawn; of those that extrapolate, the fastest."""
    paths = tables["solver_paths"].query("problem == @PROBLEM and operations > 0")
    fsi = paths[paths["method"].str.startswith(FSI)]
    names = [*SCHEMES, *([_fastest(fsi)] if len(fsi) else [])]
    return paths[paths["method"].isin(names)]


def _fastest(paths: pd.DataFrame) -> str:
    """The method that has the smallest error where the shortest of these paths ends."""
    end = paths.groupby("method")["operations"].max().min()
    within = paths[paths["operations"] <= end]
    return str(within.loc[within["relative_error"].idxmin(), "method"])


def _draw_family(ax: Axes, scores: pd.DataFrame, column: str, kind: str) -> None:
    """The methods of a family, joined in the order of their sizes."""
    text, color, marker = _solver_style.FAMILIES[kind]
    errors = summaries.median_errors(scores, ["method", column], "score")
    errors = errors.sort_values("method", key=lambda names: names.map(number))
    ax.plot(errors[column], errors["median"], color=color, linewidth=0.8, alpha=0.6)
    ax.plot([], [], color=color, marker=marker, markersize=7, linewidth=0.8, label=text)
    for _, own in summaries.groups(scores, "method"):
        look: Any = {"color": color, "marker": marker, "linestyle": "none", "markersize": 7, "zorder": 4}
        _solver_style.draw_scores(ax, own, column, look)
    place: Any = {"xytext": (-7, 0), "ha": "right"} if kind == "cycle" else {"xytext": (7, 0), "ha": "left"}
    place |= {"va": "center"}
    if kind == "unet":  # beside them are others
        place = {"xytext": (0, -6), "ha": "center", "va": "top"}
    place |= {"path_effects": [withStroke(linewidth=2.5, foreground="white")], "zorder": 6}
    for row in summaries.rows(errors):
        where = (getattr(row, column), row.median)
        ax.annotate(str(number(row.method)), where, textcoords="offset points", color=color, **place)


def _at_home(tables: Tables) -> pd.DataFrame:
    """Scores of all methods but the ablations, which have their own figure."""
    scores = summaries.solver_scores(tables, PROBLEM)
    return scores[(scores["kind"] == "home") & scores["method"].map(plain).astype(bool)]
