"""Learned solvers on grids, right-hand sides and problems that they were not trained on."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _solver_style, _style
from schemenets.study.figures._solver_style import PROBLEM
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, listed

ORDER = 160
CHAPTER = "C5b"
FOLDED = True
TITLE = "Learning to solve: other grids, right-hand sides and τ"
CAPTION = (
    "Error after one application outside the training conditions (grey lines: the training). Learned cycles are "
    "given grid and τ; the others see only the right-hand side."
)
SOURCES = ("tables/solver_runs.csv", "tables/solver_errors.csv")
METHODS = ("cycle-1", "cycle-3", "multigrid-3", "unet-4")
SUBSTITUTES = ("multigrid-1", "unet-2")  # of the last two, in tiers without them
KINDS = {
    "longer": ("points", "longer and shorter signals", "points, same mesh width"),
    "finer": ("points", "finer and coarser grids", "points, same interval"),
    "family": ("family", "other right-hand sides", ""),
    "tau": ("tau", "other τ", "τ"),
}


def draw(tables: Tables) -> Figure:
    """One panel per kind of transfer, the place of the training in each."""
    scores = _shown(tables)
    if scores.empty:
        return _style.empty("networks that learned to solve")
    kinds = [kind for kind in KINDS if (scores["kind"] == kind).any()]
    figure, axes = _style.grid(max(1, len(kinds)), min(2, max(1, len(kinds))), 3, sharey=True)
    for ax, kind in zip(axes, kinds, strict=False):
        column, title, text = KINDS[kind]
        _draw_kind(ax, scores[scores["kind"].isin(["home", kind])], column)
        ax.set(title=title, xlabel=text)
    _solver_style.error_axis(axes[0], scores["score"])
    for ax in axes[::2]:
        ax.set_ylabel("relative error")
    _style.legend(figure, axes, columns=4)
    return figure


def headline(tables: Tables) -> str:
    """How often each method has the smallest error outside the training conditions."""
    scores = _shown(tables)
    away = scores[scores["kind"] != "home"]
    if away.empty:
        return NOT_MEASURED
    errors = summaries.median_errors(away, ["condition", "method"], "score")
    best = errors.loc[errors.groupby("condition", sort=False)["median"].idxmin()]
    texts = [f"{label(str(method))} in {count}" for method, count in best["method"].value_counts().items()]
    return f"Over {len(best)} conditions outside the training, the smallest median error is that of {listed(texts)}."


def _draw_kind(ax: Axes, scores: pd.DataFrame, column: str) -> None:
    home = scores.loc[scores["kind"] == "home", column].iloc[0]
    values: list[Any] = list(scores[column].unique()) if column == "family" else sorted(scores[column].unique())
    places = {value: place for place, value in enumerate(values)}
    methods = list(scores["method"].unique())
    ax.axvline(places[home], color="0.8", linewidth=5, zorder=0)
    for index, (method, own) in enumerate(summaries.groups(scores, "method")):
        # side by side, so that seeds and intervals can be told apart
        aside = (index - (len(methods) - 1) / 2) * (0.16 if column == "family" else 0.015 * len(values))
        look = _solver_style.style(method) | {"label": label(method), "linewidth": 1, "markersize": 5}
        look |= {"linestyle": "none"} if column == "family" else {}
        _solver_style.draw_scores(ax, own.assign(place=own[column].map(places) + aside), "place", look)
    names = [label(value) if column == "family" else f"{value:g}" for value in values]
    tilted: Any = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if column == "family" else {}
    ax.set_xticks(np.arange(len(values)), names, **tilted)
    ax.set_xlim(-0.5, len(values) - 0.5)


def _shown(tables: Tables) -> pd.DataFrame:
    scores = summaries.solver_scores(tables, PROBLEM)
    there = set(scores["method"])
    wanted = [*METHODS, *(other for other in SUBSTITUTES if not _present(other, there))]
    found = scores[scores["method"].isin(wanted)]
    return found if (found["kind"] == "home").any() else found.iloc[:0]


def _present(other: str, methods: set[str]) -> bool:
    """Whether there is a method of METHODS of the same family."""
    return any(_solver_style.family(name) == _solver_style.family(other) for name in methods & set(METHODS))
