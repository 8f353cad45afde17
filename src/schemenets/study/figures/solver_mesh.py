"""How fast learned cycles and numerical schemes converge, against the number of grid points: one panel per problem.

The axis shows the decimal digits that an iteration gains, -log₁₀ of its convergence factor, to tell fast ones apart.
Filled marks reach the tolerance within the limit, see :func:`schemenets.study.summaries.outcome`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _solver_style, _style
from schemenets.study.figures._solver_style import family, number, plain
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label

ORDER = 140
CHAPTER = "C5a"
TITLE = "Does the speed of cycles depend on the grid?"
CAPTION = (
    "Decimal digits gained per iteration, for the slowest of a few right-hand sides. Level lines: the grid does not "
    "matter. Open marks: at least half of the seeds miss a residual of 1e-8 within "
    f"{summaries.MOST_CYCLES} cycles ({summaries.MOST_STEPS} steps on one level); at the lower edge: no convergence."
)
SOURCES = ("tables/solver_iterations.csv", "tables/solver_runs.csv", "tables/problems.csv")
FOLDED = True  # the verdict is about what cycles compute, this about how fast they converge
EDGE = summaries.LEAST_DIGITS  # fewer digits, and none, are drawn here
MOST = 4.0
WIDE = "gradient descent"  # nearly as fast as damped Jacobi, whose marks lie inside its own
FSI = "FSI"
TEXTBOOK = "V(2,2)"
SCHEMES: dict[str, dict[str, Any]] = {
    TEXTBOOK: {"color": "black", "marker": "v", "linestyle": "-"},
    "F(2,2)": {"color": _style.PALETTE[3], "marker": "D", "linestyle": "-."},
    FSI: {"color": _style.PALETTE[5], "marker": "P", "linestyle": ":"},
    "damped Jacobi": {"color": _style.GREY, "marker": "X", "linestyle": "--"},
    WIDE: {"color": _style.PALETTE[2], "marker": "s", "linestyle": ":"},
}
KINDS = ["home", "finer"]  # of conditions
COLUMNS = ["problem", "method", "run", "points", "unique", "converged", "factor"]


def draw(tables: Tables) -> Figure:
    """One panel per problem."""
    factors = _factors(tables)
    if factors.empty:
        return _style.empty("iterated cycles")
    problems = list(summaries.groups(factors, "problem"))
    figure, axes = _style.grid(len(problems), min(3, len(problems)), 2.5 if len(problems) > 3 else 3.2, sharey=True)
    axes[0].set_ylim(EDGE / 1.3, MOST)  # of all panels
    axes[0].set_yscale("log")
    several = summaries.several_solutions(tables)
    for ax, (problem, own) in zip(axes, problems, strict=True):
        for method in _shown(own):
            name = f"{FSI}, best cycle length" if method.startswith(FSI) else _name(method)
            ax.plot([], [], label=name, **_look(method))
        # the learned ones last, on top
        for order, method in enumerate(reversed(_shown(own))):
            _draw_method(ax, own[own["method"] == method], method, order)
        values = sorted(own["points"].unique())
        if problem not in several and len(places := _several(own)):
            ratio = (values[1] / values[0]) ** 0.5  # halfway to the neighbours
            ax.axvspan(places[0] / ratio, places[-1] * ratio, color="black", alpha=0.07, linewidth=0, zorder=0)
        _style.log_ticks(ax, values[:: 1 + (len(values) > 4)])
        ax.margins(x=0.1)
        name = label(problem)
        ax.set(title=name if problem not in several or "nonconvex" in name else f"{name}, nonconvex")
        ax.set(xlabel="grid points")
    for ax in axes[:: min(3, len(problems))]:
        ax.set_ylabel("digits per iteration")
    _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """For how many problems learned and untrained cycles reach the tolerance on all grids."""
    factors = _factors(tables)
    if factors.empty:
        return NOT_MEASURED
    problems = [own for _, own in summaries.groups(factors, "problem")]
    learned = sum(_always(own[own["method"].isin(_learned(own))]) for own in problems)
    textbook = sum(_always(own[own["method"] == TEXTBOOK]) for own in problems)
    return (
        f"Learned cycles reach a residual of 1e-8 within {summaries.MOST_CYCLES} iterations on all grids, for all "
        f"seeds and right-hand sides, for {learned} of {len(problems)} problems; untrained {TEXTBOOK} cycles for "
        f"{textbook}."
    )


def _always(table: pd.DataFrame) -> bool:
    return len(table) > 0 and bool((table["outcome"] == summaries.REACHED).all())


def _draw_method(ax: Axes, table: pd.DataFrame, method: str, order: int) -> None:
    """Median and range over seeds; the marks of later methods are smaller, so that coinciding lines stay visible."""
    by_place = table.groupby("points")["factor"]
    middle, low, high = (_digits(values) for values in (by_place.apply(_median), by_place.max(), by_place.min()))
    look = _look(method) | {"zorder": 2 + order / 10}
    ax.plot(middle.index, middle, **look)
    if len(table) > len(middle):
        ax.fill_between(middle.index, low, high, color=look["color"], alpha=0.2, linewidth=0)
    short_of = table.assign(failing=table["outcome"] != summaries.REACHED).groupby("points")["failing"].mean()
    failing = middle[short_of >= 0.5]
    ax.plot(
        failing.index,
        failing,
        **look | {"linestyle": "none", "markerfacecolor": "white", "markersize": 8 - 0.5 * order},
    )


def _digits(factors: pd.Series) -> pd.Series:
    """Decimal digits per iteration, none of them for factors of 1 and beyond."""
    return (-np.log10(factors.clip(lower=1e-16, upper=1))).clip(lower=EDGE, upper=MOST)


def _look(method: str) -> dict[str, Any]:
    look = _scheme(method) or _solver_style.style(method)
    filled = {"markerfacecolor": look["color"], "markersize": 7 if method == WIDE else 4.5}  # open marks mean failure
    return {"markeredgecolor": look["color"], "linewidth": 1.2} | look | filled


def _scheme(method: str) -> dict[str, Any]:
    return SCHEMES.get(_kind(method), {})


def _learned(table: pd.DataFrame) -> list[str]:
    """The usual learned cycles."""
    return [method for method in table["method"].unique() if plain(method) and family(method) == "cycle"]


def _shown(table: pd.DataFrame) -> list[str]:
    schemes = sorted(filter(_scheme, table["method"].unique()), key=lambda name: list(SCHEMES).index(_kind(name)))
    return [*_learned(table), *schemes]


def _kind(method: str) -> str:
    return FSI if method.startswith(FSI) else method


def _name(method: str) -> str:
    if _scheme(method):
        return method
    several = number(method)
    return f"learned in a network of {several} cycle{'s' if several > 1 else ''}"


def _factors(tables: Tables) -> pd.DataFrame:
    """Factors (infinite where there is none) and outcomes of iterations, for problems with learned cycles."""
    table = tables["solver_iterations"]
    known = table["method"].map(_scheme).astype(bool)
    schemes = table[known & table["kind"].isin(KINDS)]
    parts = []
    for problem, own in summaries.groups(schemes, "problem"):
        learned = summaries.iterated(tables, problem)
        learned = learned[learned["method"].map(plain).astype(bool) & learned["kind"].isin(KINDS)]
        if len(learned):
            parts += [learned[COLUMNS], own.loc[~own["method"].isin(_slower_fsi(own)), COLUMNS]]
    if not parts:
        return pd.DataFrame(columns=[*COLUMNS, "outcome"])
    types = {"run": object, "factor": float, "converged": float}
    found = pd.concat([part.astype(types) for part in parts], ignore_index=True)
    found = found.drop_duplicates(["problem", "method", "run", "points"])  # the training is in both kinds
    return found.assign(outcome=summaries.outcome(found), factor=found["factor"].fillna(np.inf))


def _slower_fsi(schemes: pd.DataFrame) -> list[str]:
    """All lengths of FSI cycles but the one that is best per step at home."""
    home = schemes[(schemes["kind"] == "home") & schemes["method"].str.startswith(FSI)].astype({"factor": float})
    per_step = home["factor"].fillna(np.inf) ** (1 / home["method"].str.extract(r"(\d+)")[0].astype(float))
    ranked = home["method"].loc[per_step.sort_values(kind="stable").index]
    return list(ranked.iloc[1:])


def _several(own: pd.DataFrame) -> list[Any]:
    """Where the solution of a problem need not be unique."""
    return sorted(own.loc[~own["unique"].astype(bool), "points"].unique())


def _median(factors: pd.Series) -> float:
    """Infinite if at least half of them are."""
    return float(factors.median()) if np.isfinite(factors).sum() * 2 > len(factors) else np.inf
