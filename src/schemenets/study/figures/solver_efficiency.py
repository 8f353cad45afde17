"""Error of learned solvers against their parameters and operations."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from schemenets.study import summaries
from schemenets.study.figures import _solver_style, _style
from schemenets.study.figures._solver_style import PROBLEM, family, number, plain
from schemenets.study.summaries import Tables
from schemenets.study.wording import label, short

TITLE = "Learning to solve: error against parameters and operations"
CAPTION = (
    "What networks make of a right-hand side, after one application, a mean over test right-hand sides like those of "
    "the training, for the Charbonnier problem: relative error ‖y − x‖₂ / ‖x‖₂, relative residual ‖b − A(y)‖₂ / ‖b‖₂ "
    "and energy gap, over that of the right-hand side itself; on the left against the number of trainable parameters, "
    "on the right against floating-point operations per signal. Numbers beside the marks: how many cycles or "
    "channels. Circles are networks of multigrid cycles that are given the operator, squares such networks that learn "
    "it as well, triangles standard U-nets. Hollow marks have one thing different: the loss, the length of the "
    "training, or what the figure of the parts of a cycle names. Lines on the right: numerical schemes without "
    "training on the same right-hand sides, a mark for every iteration; they go on beyond the panels. The operations "
    "of Newton's method, by which the solutions were computed, are told by formula. " + _solver_style.MARKS
)
SOURCES = (
    "tables/solver_runs.csv",
    "tables/solver_errors.csv",
    "tables/solver_iterations.csv",
    "tables/solver_paths.csv",
    "tables/problems.csv",
)
FSI = "FSI"  # how the names of extrapolated schemes begin
SCHEMES: dict[str, dict[str, Any]] = {
    "V(2,2)": {"color": "black", "marker": "v", "linestyle": ":"},
    "full multigrid, then V(2,2)": {"color": "black", "marker": "P", "linestyle": "-"},
    FSI: {"color": _style.PALETTE[5], "marker": "D", "linestyle": "-."},
    "Newton's method": {"color": _style.GREY, "marker": "X", "linestyle": "--"},
}
AXES = {"parameters": "trainable parameters", "operations": "operations per signal"}
LONGER = ">", "U-net, trained longer"
VARIANTS = {
    ("unet", "residual"): ("<", "U-net, residual loss"),
    ("unet", "long"): LONGER,
    ("multigrid", "residual"): ("D", "learned operator, residual loss"),
}
DIRECT = ("Newton's method", "banded matrix")  # by which solutions are computed
ROWS = {"relative_error": "relative error", "residual": "relative residual", "energy_gap": "energy gap"}
RESIDUAL = "-residual"  # in the names of methods with that loss
SPREAD = 3  # factor between the seeds of a method from which it is told
HARDLY = 0.9  # share of the error of the mean value of the solution from which a seed has learned next to nothing
ERROR = ("relative_error", "relative error")
MOST = 4  # schemes that are told
SOLVED = 1e-8  # error from which a problem counts as solved
BELOW = 5  # factor by which the axis goes on below the smallest error of a seed


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
        pair[1].set_xlim(pair[1].get_xlim())  # schemes take as many operations as they are given
        _draw_schemes(pair[1], tables, measure)
        _solver_style.error_axis(pair[0], pd.concat([scores["score"], scores["score"].nsmallest(1) / BELOW]))
        pair[0].set_ylabel(text)
    for ax in axes[:-2]:
        ax.tick_params(labelbottom=False)
    for ax, text in zip(axes[-2:], AXES.values(), strict=True):
        ax.set_xlabel(text)
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Schemes that win without training, networks of cycles against U-nets, seeds that differ or learned nothing."""
    scores = _at_home(tables)
    means = summaries.geometric_means(scores, ["method", "parameters", "operations"], "score")
    usual = means[means["method"].map(plain).astype(bool)]
    unets = usual[usual["method"].map(family) == "unet"].sort_values("operations")
    cycles = usual[usual["method"].map(family) != "unet"]
    of_unets = means["method"].map(family) == "unet"
    found = _message(tables, means[~of_unets], means[of_unets]) + _residuals(tables, scores)
    found += [text for problem in tables["problems"]["problem"] for text in _against_schemes(tables, problem)]
    found += [
        f"{label(row.method)}: relative error {short(row.mean)}{_interval(row)} with {row.parameters:,} parameters and "
        f"{row.operations:,.0f} operations."
        for row in summaries.rows(usual)
    ]
    for row in summaries.rows(cycles):
        equal = unets[unets["operations"] >= row.operations].head(1)
        found += [
            f"{label(row.method)} against the smallest U-net that takes at least as many operations, "
            f"{other.method.split('-')[1]} channels: {_times(row, other)}."
            for other in summaries.rows(equal)
        ]
    found += _against_longer(means) + _by_residual(scores)
    return found + _spread(scores) + _nothing_learned(tables, scores) + _without_distances(tables)


def _message(tables: Tables, cycles: pd.DataFrame, unets: pd.DataFrame) -> list[str]:
    """The best network of cycles against the best U-net, and the cheapest scheme that is as good without training."""
    if cycles.empty or unets.empty:
        return []
    (best,), (rival,) = (summaries.rows(own.nsmallest(1, "mean")) for own in (cycles, unets))
    text = f"The best network of cycles ({label(best.method)}) has, against the best U-net ({label(rival.method)}), "
    text += _times(best, rival)
    paths = tables["solver_paths"].query("problem == @PROBLEM and operations > 0")
    for row in summaries.rows(paths[paths["relative_error"] <= best.mean].nsmallest(1, "operations")):
        share = short(row.operations / best.operations)
        text += f"; without training {row.method} gets that far for {share} times its operations"
    return [f"{text}."]


def _residuals(tables: Tables, scores: pd.DataFrame) -> list[str]:
    """Networks with larger residuals than those who know nothing: a small error need not be a small residual."""
    medians = scores.groupby("method", sort=False)["residual"].median()
    usual = [method for method in medians.index if plain(method)]
    above = [label(method) for method in usual if medians[method] > 1]
    if not above:
        return []
    table = tables["solver_iterations"].query("problem == @PROBLEM and kind == 'home'")
    mean = table.loc[table["method"] == _solver_style.MEAN_VALUE, "residual"]
    known = "".join(f", and that of the mean value of the solution {short(value)}" for value in mean)
    return [
        f"A small error need not be a small residual: that of x = 0 is 1{known}; larger than 1, in the median over "
        f"seeds, is that of {'; '.join(above)}."
    ]


def _against_longer(means: pd.DataFrame) -> list[str]:
    """Networks of cycles against U-nets that were trained longer than they were."""
    cycles = means[means["method"].map(lambda method: plain(method) and family(method) != "unet")]
    longer = means[means["method"].map(lambda method: VARIANTS.get((family(method), method.split("-")[-1])) == LONGER)]
    return [
        f"Against {label(other.method)} than they were: "
        + ", ".join(f"{label(row.method)} {short(row.mean / other.mean)}" for row in summaries.rows(cycles))
        + " times its error."
        for other in summaries.rows(longer)
        if len(cycles)
    ]


def _against_schemes(tables: Tables, problem: str) -> list[str]:
    """The best network for a problem beside what schemes reach for no more operations."""
    measure, what = ("residual", "relative residual") if problem in summaries.several_solutions(tables) else ERROR
    scores = _at_home(tables, problem)
    scores = scores[scores["method"].map(plain).astype(bool)]
    scores = _scored(scores, measure)
    paths = tables["solver_paths"]
    paths = paths[(paths["problem"] == problem) & paths[measure].notna()]
    if scores.empty or paths.empty:
        return []
    means = summaries.geometric_means(scores, ["method", "operations"], "score")
    (best,) = summaries.rows(means.nsmallest(1, "mean"))
    within = paths[(paths["operations"] <= best.operations) & (paths["operations"] > 0)]
    reached = within.loc[within.groupby("method")[measure].idxmin()].sort_values(measure)
    schemes = [
        f"{row.method} {_reached(row, measure)} ({row.operations:,.0f} operations)"
        for row in summaries.rows(reached.head(MOST))
    ]
    start = f"{label(problem)}, {what}: {label(best.method)}, the best network, {short(best.mean)} with "
    start += f"{best.operations:,.0f} operations; without training, for no more"
    if not schemes:
        return [f"{start}, no scheme gets through an iteration."]
    (first,) = summaries.rows(reached.head(1))
    ratio = best.mean / max(getattr(first, measure), SOLVED)
    end = "Here training wins."
    if getattr(first, measure) <= SOLVED:
        end = "The classical scheme solves it, no network does."
    elif ratio > 1:
        end = f"Here the classical scheme wins by a factor of {short(ratio)}."
    return [f"{start}: {', '.join(schemes)}. {end}"]


def _reached(row: Any, measure: str) -> str:
    """What a scheme has reached; the error of a direct one is what is left of it when it ends."""
    value = getattr(row, measure)
    known = row.method in DIRECT and measure == "relative_error" and value <= SOLVED
    return "reaches the solution, which was computed with it" if known else short(value)


def _scored(scores: pd.DataFrame, measure: str) -> pd.DataFrame:
    """With this measure as the score, that of having found nothing for a diverged run."""
    return scores.assign(score=scores[measure].where(~scores["diverged"], summaries.NOTHING_FOUND).astype(float))


def _draw_schemes(ax: Axes, tables: Tables, measure: str) -> None:
    paths = tables["solver_paths"].query("problem == @PROBLEM and operations > 0")
    for name, look in SCHEMES.items():
        own = paths[paths["method"] == name]
        if name == FSI and len(fsi := paths[paths["method"].str.startswith(FSI)]):
            own = fsi[fsi["method"] == _fastest(fsi)]
            name = own["method"].iloc[0]
        if len(own):
            ax.plot(own["operations"], own[measure], linewidth=1, markersize=3.5, label=name, **look, zorder=2)


def _fastest(paths: pd.DataFrame) -> str:
    """The method that has the smallest error where the shortest of these paths ends."""
    end = paths.groupby("method")["operations"].max().min()
    within = paths[paths["operations"] <= end]
    return str(within.loc[within["relative_error"].idxmin(), "method"])


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
            variant = kind, method.split("-")[-1]
            shape, name = VARIANTS.get(variant, (marker, "variants of the cycle"))
            look |= {"marker": shape, "markersize": 5.5, "markerfacecolor": "white", "zorder": 3}
            ax.plot([], [], label=name, **look | {"zorder": 2})
        _solver_style.draw_scores(ax, own, column, look)
    place: Any = {"xytext": (-7, 0), "ha": "right"} if kind == "cycle" else {"xytext": (7, 0), "ha": "left"}
    place |= {"va": "center", "path_effects": [withStroke(linewidth=2.5, foreground="white")], "zorder": 6}
    for row in summaries.rows(usual):
        where = (getattr(row, column), row.mean)
        ax.annotate(str(number(row.method)), where, textcoords="offset points", color=color, **place)


def _by_residual(scores: pd.DataFrame) -> list[str]:
    """What training by the residual instead of solutions changes."""
    means = {
        measure: summaries.geometric_means(_scored(scores, measure), ["method"], "score").set_index("method")["mean"]
        for measure in ROWS
    }
    found = []
    for method in scores["method"].unique():
        if (other := f"{method}{RESIDUAL}") in set(scores["method"]):
            ratios = [f"{short(own[other] / own[method])} times the {ROWS[key]}" for key, own in means.items()]
            found.append(f"{label(method)}, trained by the residual instead of solutions: {', '.join(ratios)}.")
    return found


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


def _nothing_learned(tables: Tables, scores: pd.DataFrame) -> list[str]:
    """Methods with seeds that are hardly better than who knows nothing but the mean of the solution."""
    table = tables["solver_iterations"].query("problem == @PROBLEM and kind == 'home'")
    found = []
    for value in table.loc[table["method"] == _solver_style.MEAN_VALUE, "relative_error"]:
        for method, own in summaries.groups(scores, "method"):
            if few := int((own["score"] > HARDLY * value).sum()):
                found.append(
                    f"{label(method)}: {few} of {len(own)} seeds have learned next to nothing, with errors above "
                    f"{HARDLY:g} times {short(value)}, that of the mean value of the solution; the geometric mean of "
                    f"the others is {short(np.exp(np.log(own['score'][own['score'] <= HARDLY * value]).mean()))}."
                )
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


def _at_home(tables: Tables, problem: str = PROBLEM) -> pd.DataFrame:
    scores = summaries.solver_scores(tables, problem)
    return scores[scores["kind"] == "home"]
