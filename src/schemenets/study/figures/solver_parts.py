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
from schemenets.study.wording import VARIANTS, short

TITLE = "The parts of a learned cycle"
CAPTION = (
    "The learned cycle, and cycles with one thing different, for the Charbonnier problem. Left: relative error after "
    "one cycle. Right: cycles until the slowest of a few right-hand sides has a relative residual of 1e-8; dots are "
    "single seeds that get there, marks their medians, bars their range. Open marks on the right edge: the seeds whose "
    "cycle did not get there within the limit, because it diverges, stalls or is too slow, and how many they are. "
    "Dashed: V(2,2) without training, one cycle on the left, iterated on the right. The number of trainable parameters "
    "is in brackets. " + _solver_style.MARKS
)
SOURCES = ("tables/solver_runs.csv", "tables/solver_errors.csv", "tables/solver_iterations.csv")
WHOLE = "cycle-1"
SCHEME = "V(2,2)"
ORDER = ("residual", "nonlinear", "jacobi", "fixed", "free", "levels", "concatenated", "restricted")
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


def findings(tables: Tables) -> list[str]:
    """Every variant against the whole cycle: error after one cycle, and convergence."""
    scores, cycles = _scores(tables), _cycles(tables)
    means = {row.method: row for row in summaries.rows(summaries.geometric_means(scores, ["method"], "score"))}
    found = _message(means, cycles)
    for method in _methods(scores):
        row = means[method]
        text = f"{_name(method)[0].upper()}{_name(method)[1:]}: relative error {short(row.mean)}"
        if not np.isnan(row.low):
            text += f" [{short(row.low)}, {short(row.high)}]"
        if method != WHOLE and WHOLE in means:
            text += f", {short(row.mean / means[WHOLE].mean)} times that of the whole cycle"
        found.append(f"{text}; {_convergence(cycles[cycles['method'] == method])}.")
    if len(scores):
        reference = tables["solver_iterations"].query("problem == @PROBLEM and kind == 'home' and method == @SCHEME")
        found += [
            f"{SCHEME} without training: relative error {short(row.relative_error)}; "
            f"{'not there within the limit' if np.isnan(row.iterations) else f'{row.iterations:g} cycles'}, factor "
            f"{short(row.factor)}."
            for row in summaries.rows(reference.astype({"iterations": float, "factor": float}))
        ]
    if lost := list(scores.loc[scores["diverged"], "run"]):
        found.append(f"Diverged, and counted with an error of 1: {', '.join(lost)}.")
    return found


def _message(means: dict[str, Any], cycles: pd.DataFrame) -> list[str]:
    """The variants with the largest and the smallest error, and which seeds of theirs converge."""
    ratios = {
        method: row.mean / means[WHOLE].mean for method, row in means.items() if WHOLE in means and method != WHOLE
    }
    if len(ratios) < 2:
        return []
    texts = []
    for method in (max(ratios, key=ratios.__getitem__), min(ratios, key=ratios.__getitem__)):
        own = cycles[cycles["method"] == method]
        there = f"{int(own['iterations'].notna().sum())} of {len(own)} seeds reach a residual of 1e-8"
        texts.append(f"{_name(method)} ({short(ratios[method])} times that of the whole cycle; {there})")
    return [f"Of all variants the largest error has {texts[0]}, the smallest {texts[1]}."]


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


def _convergence(cycles: pd.DataFrame) -> str:
    counts, factors = cycles["iterations"].dropna(), cycles["factor"].dropna()
    failing = len(cycles) - len(counts)
    texts = []
    if len(counts):
        least, most = counts.min(), counts.max()
        texts.append(f"{counts.median():g} cycles to a residual of 1e-8 (seeds: {least:g} to {most:g})")
    if failing:
        texts.append(f"{failing} of {len(cycles)} seeds do not get there within the limit")
    if len(factors):
        texts.append(f"median factor {short(factors.median())}")
    return ", ".join(texts)


def _methods(scores: pd.DataFrame) -> list[str]:
    there = set(scores["method"])
    return [method for method in (WHOLE, *(f"{WHOLE}-{variant}" for variant in ORDER)) if method in there]


def _name(method: str) -> str:
    return "the whole cycle" if method == WHOLE else VARIANTS[method.removeprefix(f"{WHOLE}-")]


def _scores(tables: Tables) -> pd.DataFrame:
    scores = summaries.solver_scores(tables, PROBLEM)
    return scores[(scores["kind"] == "home") & scores["method"].isin(_methods(scores))]


def _cycles(tables: Tables) -> pd.DataFrame:
    table = summaries.iterated(tables, PROBLEM)
    return table[(table["kind"] == "home") & table["method"].isin(_methods(table))]
