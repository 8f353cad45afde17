"""Convergence factors of cycles against the number of grid points."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _solver_style, _style
from schemenets.figures._solver_style import family, number, plain
from schemenets.summaries import Tables
from schemenets.wording import label, short

TITLE = "Does the speed of cycles depend on the grid?"
CAPTION = (
    "Factor by which, in the long run, one iteration multiplies the residual, of the slowest of a few right-hand "
    "sides, on coarser and finer grids of the same interval than the one of the training: smaller is faster, a level "
    "line means that the speed does not depend on the grid, and from 1 on (grey line) the iteration does not converge. "
    "Learned cycles come from the networks with one cycle and with several; medians over seeds, and the range of the "
    "seeds as a band. FSI: factor of a cycle of ten steps. Open marks on the upper edge: the residual grows beyond "
    "all bounds, or the factor is larger than the axis shows, or the run diverged in training, for at least half of "
    "the seeds; a band that reaches this edge: for some."
)
SOURCES = ("tables/solver_iterations.csv", "tables/solver_runs.csv", "tables/problems.csv")
EDGE = 1.12  # factor at which larger and missing ones are drawn
WIDE = "gradient descent"  # nearly as fast as damped Jacobi, whose marks lie inside its own
SCHEMES: dict[str, dict[str, Any]] = {
    "V(2,2)": {"color": "black", "marker": "v", "linestyle": "-"},
    "F(2,2)": {"color": _style.PALETTE[3], "marker": "D", "linestyle": "-."},
    "FSI, cycles of 10": {"color": _style.PALETTE[5], "marker": "P", "linestyle": ":"},
    "damped Jacobi": {"color": _style.GREY, "marker": "X", "linestyle": "--"},
    WIDE: {"color": _style.PALETTE[2], "marker": "s", "linestyle": ":", "markerfacecolor": "none"},
}
COLUMNS = ["problem", "method", "run", "points", "factor"]


def draw(tables: Tables) -> Figure:
    """One panel per problem."""
    factors = _factors(tables)
    if factors.empty:
        return _style.empty("iterated cycles")
    problems = list(summaries.groups(factors, "problem"))
    figure, axes = _style.grid(len(problems), min(3, len(problems)), 2.5 if len(problems) > 3 else 3.2, sharey=True)
    several = summaries.several_solutions(tables)
    for ax, (problem, own) in zip(axes, problems, strict=True):
        ax.axhline(1, color=_style.GREY, linewidth=0.8)
        for method in _shown(own):
            ax.plot([], [], label=_name(method), **_look(method))
        # the learned ones last, on top
        for order, method in enumerate(reversed(_shown(own))):
            _draw_method(ax, own[own["method"] == method], method, order)
        points = sorted(own["points"].unique())
        _style.log_ticks(ax, points[:: 1 + (len(points) > 4)])
        ax.margins(x=0.1)
        name = label(problem)
        ax.set(title=name if problem not in several or "nonconvex" in name else f"{name}, nonconvex")
        ax.set(xlabel="grid points", ylim=(0, EDGE + 0.05), yticks=[0, 0.25, 0.5, 0.75, 1])
    for ax in axes[:: min(3, len(problems))]:
        ax.set_ylabel("convergence factor")
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Factors on the coarsest and the finest grid, and where cycles do not converge."""
    found = []
    for problem, own in summaries.groups(_factors(tables), "problem"):
        least, most = own["points"].min(), own["points"].max()
        texts = []
        for method in _shown(own):
            medians = own[own["method"] == method].groupby("points")["factor"].apply(_median)
            texts.append(f"{_name(method)} ({_text(medians.iloc[0])} and {_text(medians.iloc[-1])})")
        found.append(f"{label(problem)}, factors with {least} and {most} points: {'; '.join(texts)}.")
        for method in _learned(own):
            part = own[own["method"] == method]
            failing = part[~(part["factor"] < 1)]
            if len(failing):
                where = failing.groupby("points")["factor"].size()
                counts = ", ".join(f"{count} with {points}" for points, count in where.items())
                seeds = part["run"].nunique()
                found.append(
                    f"{label(problem)}, {_name(method)}: cycles of {seeds} seeds that do not converge, by grid points: "
                    f"{counts}."
                )
    return found


def _draw_method(ax: Axes, table: pd.DataFrame, method: str, order: int) -> None:
    """Median and range over seeds; the marks of later methods are smaller, so that lines that coincide can be seen."""
    by_points = table.groupby("points")["factor"]
    middle, low, high = (
        values.clip(upper=EDGE) for values in (by_points.apply(_median), by_points.min(), by_points.max())
    )
    look = _look(method) | {"zorder": 2 + order / 10}
    ax.plot(middle.index, middle, **look)
    if len(table) > len(middle):
        ax.fill_between(middle.index, low, high, color=look["color"], alpha=0.2, linewidth=0)
    beyond = middle[middle >= EDGE]
    ax.plot(
        beyond.index, beyond, **look | {"linestyle": "none", "markerfacecolor": "white", "markersize": 8 - 0.5 * order}
    )


def _look(method: str) -> dict[str, Any]:
    look = SCHEMES[method] if method in SCHEMES else _solver_style.style(method)
    return {"markeredgecolor": look["color"], "linewidth": 1.2} | look | {"markersize": 7 if method == WIDE else 4.5}


def _learned(table: pd.DataFrame) -> list[str]:
    """The usual learned cycles."""
    return [method for method in table["method"].unique() if plain(method) and family(method) == "cycle"]


def _shown(table: pd.DataFrame) -> list[str]:
    return [*_learned(table), *(method for method in SCHEMES if method in set(table["method"]))]


def _name(method: str) -> str:
    if method in SCHEMES:
        return method
    several = number(method)
    return f"learned in a network of {several} cycle{'s' if several > 1 else ''}"


def _factors(tables: Tables) -> pd.DataFrame:
    """Convergence factors of the problems that have learned cycles; infinite where there is none."""
    table = tables["solver_iterations"]
    schemes = table[table["method"].isin(list(SCHEMES)) & table["kind"].isin(["home", "finer"])]
    parts = []
    for problem, own in summaries.groups(schemes, "problem"):
        learned = summaries.iterated(tables, problem)
        learned = learned[learned["method"].map(plain).astype(bool)]
        if len(learned):
            parts += [learned[COLUMNS], own[COLUMNS]]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.concat([part.astype({"run": object, "factor": float}) for part in parts], ignore_index=True)
    return found.assign(factor=found["factor"].fillna(np.inf))


def _median(factors: pd.Series) -> float:
    """Infinite if at least half of them are."""
    return float(factors.median()) if np.isfinite(factors).sum() * 2 > len(factors) else np.inf


def _text(factor: float) -> str:
    return short(factor) if np.isfinite(factor) else "none"
