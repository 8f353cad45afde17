"""How all figures look: print size, fonts, and one colour, marker and line style per method."""

from itertools import cycle
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.statistics import median_interval
from schemenets.study.wording import label

WIDTH = 17 / 2.54  # inches: the width of a printed page
# colour-blind readers can tell these apart; the darker ones first
PALETTE = [sns.color_palette("colorblind").as_hex()[index] for index in (0, 3, 2, 4, 5, 1, 7)]
FLUXES = {"relu": "0.15", "perona_malik": PALETTE[0], "learned": PALETTE[1], "charbonnier": PALETTE[2]}
# of networks and classical denoisers that are compared with each other
COMPARED = {
    **dict(zip(summaries.COMPARED, (FLUXES["relu"], FLUXES["perona_malik"], PALETTE[4]), strict=True)),
    **{"diffusion": PALETTE[2], "total_variation": PALETTE[3], "wavelets": PALETTE[5]},
}
SHAPES = (  # marker and line
    *(("s", "--"), ("o", "-"), ("^", "-."), ("D", ":"), ("v", "--")),
    *(("P", "-"), ("X", "-."), ("<", ":"), (">", "--")),
)
GREY = "0.45"
TITLE_WIDTH = 80  # characters of bold text that fit into the width
LONG = 26  # characters; three longer labels do not fit into the width
DIVERGED: dict[str, Any] = {"color": "black", "marker": "x", "markersize": 6, "linestyle": "none", "zorder": 5}
ON_WHITE: dict[str, Any] = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5}}  # texts over lines
STYLE: Any = {
    **sns.axes_style("whitegrid", {"grid.color": "0.9"}),
    **sns.plotting_context("paper", font_scale=0.92),  # no text below 8 pt
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "legend.frameon": False,
    "legend.handlelength": 3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
    "svg.hashsalt": "schemenets",  # with the date left out, equal figures are equal files
}


def ends(values: Any) -> tuple[float, float]:
    """Of the interval of the median; NaN where there are too few values."""
    low, high, _ = median_interval(np.asarray(values, dtype=float))
    return (low, high) if np.isfinite([low, high]).all() else (np.nan, np.nan)


# of seaborn.lineplot
MEDIANS: Any = {
    "estimator": "median",
    "errorbar": ends,
    "err_style": "bars",
    "err_kws": {"capsize": 2.5, "elinewidth": 1},
}


def method_styles(runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Line of every method: the colour stands for its flux, marker and dashes for its network.

    A hollow marker means certified, one filled on the left several channels, at the top signed step sizes, a small one
    with a thin line tied weights, and one with a thick edge no biases.
    """
    others = (flux for flux in runs["flux"].unique() if flux not in FLUXES)
    colours = FLUXES | dict(zip(others, cycle(PALETTE[len(FLUXES) - 1 :]), strict=False))
    shapes = dict(zip(runs["network"].unique(), cycle(SHAPES), strict=False))
    found = {}
    for row in summaries.rows(runs.drop_duplicates("method")):
        marker, line = shapes[row.network]
        face = "white" if row.certified else colours[row.flux]
        found[row.method] = {
            "label": label(row.method),
            "color": colours[row.flux],
            "marker": marker,
            "linestyle": (0, (1, 1)) if row.certified else line,
            "markerfacecolor": face,
            "fillstyle": "left" if row.channels > 1 else "top" if summaries.SIGNED in row.method else "full",
            "markeredgecolor": colours[row.flux],
            "markeredgewidth": 2 if summaries.NO_BIASES in row.method else 1,
        } | ({"markersize": 3.5, "linewidth": 0.8} if row.tied else {})
    return found


def empty(what: str) -> Figure:
    """A figure that only says what is missing."""
    figure = Figure(figsize=(WIDTH, 1.2))
    figure.text(0.5, 0.5, f"no {what} in this tier", ha="center", va="center", color=GREY)
    return figure


def entitle(figure: Figure, text: str) -> None:
    """Write a sentence above a figure, which grows by its lines."""
    lines = wrap(text, TITLE_WIDTH)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.17 * len(lines))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=9.5, fontweight="bold")


def grid(panels: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of full width with this many panels, each ``height`` inches high; panels left over are removed."""
    rows = -(-panels // columns)
    figure = Figure(figsize=(WIDTH, rows * height))
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for ax in axes[panels:]:
        ax.remove()
    return figure, list(axes[:panels])


def draw_seeds(ax: Axes, table: pd.DataFrame, x: str, y: str, color: str) -> None:
    """Every sound run lightly, and a cross for each diverged one.

    Args:
        table: columns ``x``, ``y`` and ``diverged``, one row per run.
    """
    diverged = table[table["diverged"]]
    sns.scatterplot(table[~table["diverged"]], x=x, y=y, ax=ax, color=color, s=10, alpha=0.4, linewidth=0, legend=False)
    if len(diverged):
        ax.plot(diverged[x], diverged[y], label="diverged, counted as the noisy input", **DIVERGED)


def draw_medians(ax: Axes, table: pd.DataFrame, x: str, y: str, style: dict[str, Any], orient: str = "x") -> None:
    """Every seed as by :func:`draw_seeds`, and their medians with order-statistic intervals where there are enough.

    Args:
        table: columns ``x``, ``y`` and ``diverged``, one row per run.
        style: properties of the line, see :func:`method_styles`.
        orient: the axis at each of whose values the median is taken.
    """
    draw_seeds(ax, table, x, y, style["color"])
    sns.lineplot(table, x=x, y=y, orient=orient, ax=ax, legend=False, **MEDIANS, **style)


def legend(figure: Figure, axes: list[Axes], columns: int = 3) -> None:
    """One legend for all panels, below them: each entry once, crosses last, with a column less if one is long."""
    found = [entry for ax in axes for entry in zip(*ax.get_legend_handles_labels(), strict=True)]
    found.sort(key=lambda entry: entry[0].get_zorder())
    entries = {text: handle for handle, text in found}
    long = max(map(len, entries), default=0) > LONG
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns - long)


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """Places of texts near ascending ones, at least ``gap`` apart.

    >>> spread(np.array([0.0, 5.0, 5.0]), 2.0).tolist()
    [0.0, 4.0, 6.0]
    """
    steps = gap * np.arange(len(places))
    rest = places - steps
    above, below = np.maximum.accumulate(rest), np.minimum.accumulate(rest[::-1])[::-1]
    spaced: np.ndarray = (above + below) / 2 + steps
    return spaced


def leaving(curve: pd.Series, low: float, high: float) -> pd.Series:
    """A curve up to its first value above a panel from ``low`` to ``high``, and slightly beyond the edge it leaves.

    >>> leaving(pd.Series([1.0, 1e-5, 1e9, 1e5]), 1e-3, 1e6).tolist()
    [1.0, 0.0001, 10000000.0]
    """
    above = (curve > high).to_numpy()
    return curve.iloc[: np.argmax(above) + 1 if above.any() else None].clip(low / 10, 10 * high)


def log_ticks(ax: Axes, values: list[float]) -> None:
    """A logarithmic x axis with these plain numbers on it."""
    ax.set_xscale("log")
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
