"""How figures show solvers: colour and marker stand for the family, hollow marks for a single cycle."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from schemenets.study import summaries
from schemenets.study.figures import _style

PROBLEM = "charbonnier"  # the one that all methods are trained on
FAMILIES = {
    "cycle": ("given operator, by cycles", _style.PALETTE[0], "o"),
    "multigrid": ("learned operator, by cycles", _style.PALETTE[1], "s"),
    "unet": ("standard U-net, by channels", _style.PALETTE[2], "^"),
}
DIVERGED = _style.DIVERGED | {"label": "diverged, counted as an error of 1"}
STEPS = {  # ticks of error axes, by upper limits of the ratio of the largest to the smallest error
    1.6: (1, 1.2, 1.5, *range(2, 10)),
    4: (1, 1.5, 2, 3, 4, 6),
    20: (1, 2, 5),
    300: (1, 3),
}


def family(method: str) -> str:
    """``cycle`` for ``cycle-1-jacobi``."""
    return method.partition("-")[0]


def plain(method: str) -> bool:
    """Whether a method is the usual one of its family and size, not a variant."""
    return family(method) in FAMILIES and method.count("-") == 1


def number(method: str) -> int:
    """Number of cycles or channels."""
    return int(method.split("-")[1])


def style(method: str) -> dict[str, Any]:
    """Line of a method; hollow and dashed with one cycle."""
    _, color, marker = FAMILIES[family(method)]
    one = family(method) != "unet" and number(method) == 1
    return {
        "color": color,
        "marker": marker,
        "linestyle": "--" if one else "-" if family(method) == "cycle" else "-.",
        "markerfacecolor": "white" if one else color,
        "markeredgecolor": color,
        "markeredgewidth": 1.2,
        "markersize": 6,
    }


def draw_scores(ax: Axes, scores: pd.DataFrame, x: str, look: dict[str, Any], sideways: bool = False) -> None:
    """Every seed lightly, crosses for diverged ones, and medians with their intervals, at every value of x.

    Args:
        scores: from :func:`schemenets.study.summaries.solver_scores`, one row per run and value of ``x``.
        sideways: whether the scores are on the horizontal axis.
    """
    order = -1 if sideways else 1
    for own, dots in (
        (scores[~scores["diverged"]], {"s": 9, "alpha": 0.35, "linewidth": 0, "color": look["color"]}),
        (scores[scores["diverged"]], {"s": 30, "color": "black", "marker": "x", "linewidth": 1, "zorder": 5}),
    ):
        ax.scatter(*(own[x], own["score"])[::order], **dots)
    if scores["diverged"].any():
        ax.plot([], [], **DIVERGED)
    found = summaries.median_errors(scores, [x], "score").sort_values(x)
    bars = np.stack([found["median"] - found["low"], found["high"] - found["median"]])
    bars[~np.isfinite(bars)] = np.nan  # too few seeds
    which: Any = {"xerr" if sideways else "yerr": bars}
    middle = (found[x], found["median"])[::order]
    ax.errorbar(middle[0], middle[1], **which, fmt="none", ecolor=look["color"], capsize=2.5, elinewidth=1, zorder=3)
    ax.plot(*middle, **{"zorder": 3} | look)


def error_axis(ax: Axes, values: pd.Series, sideways: bool = False) -> None:
    """A logarithmic axis for these errors, with plain numbers on it; long intervals may extend beyond it."""
    low, high = values.min(), values.max()
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    steps = next((each for ratio, each in STEPS.items() if high / low < ratio), (1,))
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axis = ax.xaxis if sideways else ax.yaxis
    (ax.set_xscale if sideways else ax.set_yscale)("log")
    axis.set_major_locator(ticker.FixedLocator(ticks))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(ticker.NullLocator())
    (ax.set_xlim if sideways else ax.set_ylim)(low / 1.3, high * 1.3)
