"""What the parts of a learned cycle are worth."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from schemenets.study import summaries
from schemenets.study.figures import _solver_style, _style
from schemenets.study.figures._solver_style import PROBLEM
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, VARIANTS, listed, short

ORDER = 170
CHAPTER = "C5a"
FOLDED = True
TITLE = "The parts of a learned cycle"
CAPTION = (
    "The learned cycle and variants with one part replaced; in brackets: parameters. At the right edge: seeds that "
    "miss the residual."
)
SOURCES = ("tables/solver_runs.csv", "tables/solver_errors.csv", "tables/solver_iterations.csv")
WHOLE = "cycle-1"
SCHEME = "V(2,2)"
COLOR = _style.PALETTE[0]
FAILS: Any = {"color": "black", "marker": ">", "markersize": 7, "markerfacecolor": "white", "linestyle": "none"}


def draw(tables: Tables) -> Figure:
    """One row per variant, two panels."""
    scores, cycles = _scores(tables), _cycles(tables)
    if scores.empty:
        return _style.empty("learned cycles")
    methods = _methods(scores)
    figure = Figure(figsize=(_style.WIDTH, 1.5 + 0.34 * len(methods)))
    left, right = figure.subplots(1, 2, sharey=True)
    rows = {method: row for row, method in enumerate(methods)}
    look: Any = {"color": COLOR, "marker": "o", "linestyle": "none", "markersize": 6}
    for method, own in summaries.groups(scores, "method"):
        whole = {} if method == WHOLE else {"markerfacecolor": "white", "markeredgewidth": 1.2}
        _solver_style.draw_scores(left, own.assign(row=rows[method]), "row", look | whole, sideways=True)
    reference = tables["solver_iterations"].query("problem == @PROBLEM and kind == 'home' and method == @SCHEME")
    errors = pd.concat([scores["score"], reference["relative_error"].dropna()])
    for value in reference["relative_error"].dropna():
        left.axvline(value, color="black", linestyle="--", linewidth=1, label=f"{SCHEME} without training")
    _solver_style.error_axis(left, errors, sideways=True)
    left.set(xlabel="relative error after one cycle", ylim=(len(methods) - 0.5, -0.5))
    counts = scores.drop_duplicates("method").set_index("method")["parameters"]
    left.set_yticks(range(len(methods)), [f"{_name(method)} ({counts[method]})" for method in methods])
    _draw_cycles(right, cycles, rows, reference["iterations"].dropna())
    _style.legend(figure, [left, right])
    return figure


def headline(tables: Tables) -> str:
    """Errors of the variants as multiples of that of the whole cycle, and how many seeds converge."""
    scores, cycles = _scores(tables), _cycles(tables)
    errors = summaries.median_errors(scores, ["method"], "score").set_index("method")["median"]
    variants = [method for method in _methods(scores) if method != WHOLE]
    if WHOLE not in errors or not variants:
        return NOT_MEASURED
    ratios = [f"{short(errors[method] / errors[WHOLE])} ({_name(method)})" for method in variants]
    return (
        f"The median error after one cycle is {listed(ratios)} times that of the whole cycle; "
        f"{_converged(cycles[cycles['method'] != WHOLE])} seeds of these variants reach a residual of 1e-8 within "
        f"{summaries.MOST_CYCLES} cycles, and {_converged(cycles[cycles['method'] == WHOLE])} of the whole cycle."
    )


def _draw_cycles(ax: Axes, cycles: pd.DataFrame, rows: dict[str, int], reference: pd.Series) -> None:
    """Cycles to the tolerance; those that do not get there at the right edge."""
    most = np.nanmax([*cycles["iterations"], *reference, 1])
    edge = 1.45 * most
    for method, own in summaries.groups(cycles, "method"):
        row, counts = rows[method], own["iterations"].dropna()
        ax.scatter(counts, np.full(len(counts), row), s=9, alpha=0.35, linewidth=0, color=COLOR)
        if len(counts):
            ax.plot([counts.min(), counts.max()], [row, row], color=COLOR, linewidth=1)
            face = COLOR if method == WHOLE else "white"
            ax.plot(
                counts.median(), row, color=COLOR, marker="o", markersize=6, markerfacecolor=face, markeredgewidth=1.2
            )
        if failing := len(own) - len(counts):
            ax.plot(edge, row, clip_on=False, **FAILS)
            text = f"{failing} of {len(own)}"
            place: Any = {"textcoords": "offset points", "ha": "right", "va": "center", "zorder": 6}
            halo = [withStroke(linewidth=2.5, foreground="white")]
            ax.annotate(text, (edge, row), xytext=(-7, 0), path_effects=halo, **place)
    if cycles["iterations"].isna().any():
        ax.plot([], [], label="not within the limit", **FAILS)
    for value in reference:
        ax.axvline(value, color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="cycles to a residual of 1e-8", xlim=(0, 1.03 * edge))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _converged(cycles: pd.DataFrame) -> str:
    return f"{cycles['iterations'].notna().sum()} of {len(cycles)}"


def _methods(scores: pd.DataFrame) -> list[str]:
    there = set(scores["method"])
    return [method for method in (WHOLE, *(f"{WHOLE}-{variant}" for variant in VARIANTS)) if method in there]


def _name(method: str) -> str:
    return "the whole cycle" if method == WHOLE else VARIANTS[method.removeprefix(f"{WHOLE}-")]


def _scores(tables: Tables) -> pd.DataFrame:
    scores = summaries.solver_scores(tables, PROBLEM)
    return scores[(scores["kind"] == "home") & scores["method"].isin(_methods(scores))]


def _cycles(tables: Tables) -> pd.DataFrame:
    table = summaries.iterated(tables, PROBLEM)
    return table[(table["kind"] == "home") & table["method"].isin(_methods(table))]
