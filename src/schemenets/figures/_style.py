"""How all figures look: print size, fonts, and one colour, marker and line style per method."""

from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure

from schemenets import summaries

WIDTH = 17 / 2.54  # inches: the width of a printed page
# by Okabe and Ito (2008), to be told apart by colour-blind readers as well
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#000000")
SHAPES = (("s", "--"), ("o", "-"), ("^", "-."), ("D", ":"), ("v", "--"))  # marker and line
GREY = "0.45"
MARKS = (
    "Small dots: single seeds; large markers: means with 95 % t intervals over seeds, which may leave the panel where "
    "seeds are few."
)
DIVERGED: dict[str, Any] = {"color": "black", "marker": "x", "markersize": 6, "linestyle": "none", "zorder": 5}
STYLE: Any = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "0.7",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.dpi": 150,
    "svg.hashsalt": "schemenets",  # with the date left out, equal figures are equal files
}


def method_styles(runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Line properties of every method: the colour says its flux, marker and line its network, hollow certified."""
    colours = dict(zip(runs["flux"].unique(), cycle(PALETTE), strict=False))
    shapes = dict(zip(runs["network"].unique(), cycle(SHAPES), strict=False))
    found = {}
    for row in summaries.rows(runs.drop_duplicates("method")):
        marker, line = shapes[row.network]
        face = "white" if row.certified else colours[row.flux]
        found[row.method] = {
            "color": colours[row.flux],
            "marker": marker,
            "linestyle": (0, (1, 1)) if row.certified else line,
            "markerfacecolor": face,
        }
    return found


def empty(what: str) -> Figure:
    """A figure that says what there is none of."""
    figure = Figure(figsize=(WIDTH, 1.2))
    figure.text(0.5, 0.5, f"no {what} in this tier", ha="center", va="center", color=GREY)
    return figure


def grid(panels: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of full width with this many panels, each ``height`` inches high; panels left over are removed."""
    rows = -(-panels // columns)
    figure = Figure(figsize=(WIDTH, rows * height))
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for ax in axes[panels:]:
        ax.remove()
    return figure, list(axes[:panels])


def draw_means(
    ax: Axes, table: pd.DataFrame, x: str, y: str, style: dict[str, Any], label: str, *, horizontal: bool = False
) -> None:
    """Every seed lightly, their means with 95 % t intervals, and a cross for each diverged run.

    Limits of the axes follow from the seeds, so that an interval may leave the panel.

    Args:
        table: columns ``x``, ``y`` and ``diverged``, one row per run.
        horizontal: ``y`` runs to the right.
    """

    def plot(xs: pd.Series, ys: pd.Series, **properties: Any) -> None:
        ax.plot(*((ys, xs) if horizontal else (xs, ys)), **properties)

    sound, diverged = table[~table["diverged"]], table[table["diverged"]]
    plot(sound[x], sound[y], marker=".", markersize=4, alpha=0.35, linestyle="none", color=style["color"], zorder=1.5)
    if len(diverged):
        plot(diverged[x], diverged[y], label="diverged, counted as the noisy input", **DIVERGED)
    found = summaries.means(table, [x], y)
    lengths = [found["mean"] - found["low"], found["high"] - found["mean"]]
    where = (found["mean"], found[x]) if horizontal else (found[x], found["mean"])
    xerr, yerr = (lengths, None) if horizontal else (None, lengths)
    limits = ax.dataLim.frozen()
    ax.errorbar(*where, xerr=xerr, yerr=yerr, capsize=2.5, elinewidth=1, label=label, **style)
    ax.dataLim.set(limits)  # intervals of two seeds are so long that a panel for them would show nothing else


def legend(figure: Figure, axes: list[Axes], columns: int = 3) -> None:
    """One legend for all panels, below them: each entry once, methods before what else there is."""
    found = [entry for ax in axes for entry in zip(*ax.get_legend_handles_labels(), strict=True)]
    found.sort(key=lambda entry: not isinstance(entry[0], Container))
    entries = {text: handle for handle, text in found}
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)


def log_ticks(ax: Axes, values: list[float]) -> None:
    """A logarithmic x axis with these plain numbers on it."""
    ax.set_xscale("log")
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
