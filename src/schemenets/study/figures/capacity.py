"""Quality against the number of trainable parameters and of blocks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.statistics import median
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, signed, size_label

ORDER = 20
CHAPTER = "C2"
TITLE = "Denoising quality against the numbers of parameters and of blocks"
CAPTION = (
    "Median test PSNR on signals like the training signals, with order-statistic intervals, of the same networks in "
    "both columns. Crosses: failed runs."
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")
FAMILIES = {"capacity": "affine signals", "scanlines": "scan lines"}
CERTIFIED = "symmetric-learned-certified"
PROPOSED = ("symmetric-perona_malik", "symmetric-learned", CERTIFIED)  # compared with the residual network
METHODS = {  # colour, marker and line
    summaries.BASELINE: ("relu", "s", "-"),
    "resnet-perona_malik": ("perona_malik", "P", ":"),
    "fsi-perona_malik": ("perona_malik", "^", "-."),
    PROPOSED[0]: ("perona_malik", "o", "-"),
    PROPOSED[1]: ("learned", "D", "-"),
    CERTIFIED: ("learned", "D", "--"),
}
GAP = 0.15  # between labels, of the height of a panel
MARGIN = 0.06  # above and below all values, likewise
BELOW = 2.0  # dB below the median of all, where the panels end
NEAR = 0.8  # of the largest number of parameters: ends of lines that are close to their names


def draw(tables: Tables) -> Figure:
    """One row per family of signals; left against blocks, right against parameters, with the names of the lines."""
    rows = {text: measured for name, text in FAMILIES.items() if len(measured := _measured(tables, name))}
    if not rows:
        return _style.empty("runs of experiment capacity")
    figure = Figure(figsize=(_style.WIDTH, 0.4 + 2.7 * len(rows)))
    axes = figure.subplots(len(rows), 2, squeeze=False, sharex="col", sharey="row", width_ratios=(1, 1.15))
    for (blocks, parameters), (text, measured) in zip(axes, rows.items(), strict=True):
        low, high = _limits(measured)
        blocks.set(ylabel=f"{text}: test PSNR (dB)", ylim=(low, high))
        for ax, column in ((blocks, "blocks"), (parameters, "parameters")):
            for method, own in summaries.groups(measured, "method"):
                _draw_method(ax, own, column, low, high, _look(method))
        _write_names(parameters, measured, low, high)
    every = pd.concat(rows.values())
    _style.log_ticks(axes[-1, 0], [n for n in (1, 2, 4, 8, 16, 32) if n <= every["blocks"].max()])
    _style.log_ticks(axes[-1, 1], [summaries.number(size) for size in summaries.by_number(set(every["size"]))])
    axes[-1, 0].set_xlabel("blocks")
    axes[-1, 1].set_xlabel("trainable parameters (ticks: budgets)")
    return figure


def _measured(tables: Tables, experiment: str) -> pd.DataFrame:
    """Median and interval of every method and size, in the order of the methods and of their sizes."""
    scores = summaries.at_home(summaries.scored(tables, experiment))
    place = scores["method"].map({method: number for number, method in enumerate(METHODS)})
    shown = scores[place.notna()].assign(place=place).sort_values(["place", "parameters"])
    return summaries.medians(shown, ["method", "size", "parameters", "blocks"], "score")


def _limits(measured: pd.DataFrame) -> tuple[float, float]:
    """Of the axis: all medians and ends of intervals that are finite, and not far below the others."""
    values = measured[["median", "low", "high"]].to_numpy()
    values = values[np.isfinite(values)]
    if not values.size:
        return 0, 1
    lowest = max(values.min(), np.median(values) - BELOW)
    margin = MARGIN * max(values.max() - lowest, 0.1)
    return lowest - margin, values.max() + margin


def _look(method: str) -> dict[str, Any]:
    flux, marker, line = METHODS[method]
    compared = method in (summaries.BASELINE, *PROPOSED)
    return {
        **{"color": _style.FLUXES[flux], "marker": marker, "linestyle": line},
        **({"linewidth": 1.5, "markersize": 5} if compared else {"linewidth": 0.9, "markersize": 4}),
        "markerfacecolor": "white" if method == CERTIFIED else _style.FLUXES[flux],
    }


def _draw_method(ax: Axes, own: pd.DataFrame, column: str, low: float, high: float, look: dict[str, Any]) -> None:
    """Medians, intervals as far as the panel goes, and crosses at its lower edge."""
    known = own[np.isfinite(own["median"])]
    ax.plot(known[column], known["median"], **look)
    known = own[np.isfinite(own["low"]) | np.isfinite(own["high"])]
    ax.vlines(known[column], known["low"].clip(lower=low), known["high"].clip(upper=high), look["color"], linewidth=0.9)
    for row in summaries.rows(own):
        x, is_last = getattr(row, column), row.size == own["size"].iloc[-1]
        texts = []
        if np.isfinite(row.median) and row.median < low:
            ax.plot(x, low, "v", color=look["color"], markersize=6, clip_on=False)
            texts.append(fixed(row.median, 1))
        if row.failed:
            ax.plot(x, low, clip_on=False, **_style.DIVERGED)
            texts.append(f"{row.failed} of {row.n} failed")
        if texts:
            place: Any = {"xytext": (-7 if is_last else 7, 3), "textcoords": "offset points", **_style.ON_WHITE}
            ax.annotate(", ".join(texts), (x, low), color=look["color"], ha="right" if is_last else "left", **place)


def _write_names(ax: Axes, measured: pd.DataFrame, low: float, high: float) -> None:
    """The methods' names right of the panel in the order of the ends of their lines, which they are joined with."""
    ends = measured[measured["median"] >= low].groupby("method").last().sort_values("median").reset_index()
    heights = _style.spread(((ends["median"] - low) / (high - low)).to_numpy(), GAP)
    heights -= max(0, heights[-1] - 1) if len(heights) else 0
    last = ends["parameters"].max()
    for row, height in zip(summaries.rows(ends), heights, strict=True):
        look = _look(row.method)
        ax.plot([1.06, 1.14], [height] * 2, transform=ax.transAxes, clip_on=False, markevery=[1], **look)
        name = label(row.method).replace(", ", "\n", 1)
        ax.text(1.17, height, name, transform=ax.transAxes, color=look["color"], va="center")
        if row.parameters > NEAR * last:
            ax.annotate(
                "",
                (row.parameters, row.median),
                (1.06, height),
                textcoords="axes fraction",
                arrowprops={"arrowstyle": "-", "color": look["color"], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
                annotation_clip=False,
            )


def headline(tables: Tables) -> str:
    """At how many budgets a proposed network is ahead of the residual network, and how far they are apart."""
    effects, budgets, ahead = {}, 0, 0
    compared: set[str] = set()
    for experiment, text in FAMILIES.items():
        found = {}
        for method in PROPOSED:
            pairs = summaries.gains(tables, experiment, method, summaries.BASELINE)
            for size, own in summaries.groups(pairs, "size"):
                found[method, size] = median(own["counted"])
                effects[f"{label(method)}, {size_label(size)}, {text}"] = found[method, size]
        sizes = {size for _, size in found}
        budgets += len(sizes)
        compared |= {method for method, _ in found}
        ahead += sum(max(value for (_, at), value in found.items() if at == size) > 0 for size in sizes)
    if not effects:
        return NOT_MEASURED
    least, most = min(effects, key=effects.__getitem__), max(effects, key=effects.__getitem__)
    best = f"the best of {len(compared)} symmetric networks" if len(compared) > 1 else "a symmetric network"
    to = f" to {signed(effects[most])} dB ({most})" if len(effects) > 1 else ""
    return (
        f"With equal budgets of parameters, {best} is ahead of the ResNet with ReLU at {ahead} of {budgets}; median "
        f"differences of all: {signed(effects[least])} dB ({least}){to}."
    )
