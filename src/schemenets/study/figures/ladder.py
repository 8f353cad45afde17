"""From a guarantee to the residual network: quality, and what becomes of the guarantee."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import NO_GUARANTEE, RUNGS, Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, listed, ranged, short, signed

ORDER = 30
CHAPTER = "ladder"
TITLE = "From a guarantee to the residual network"
CAPTION = (
    "All rungs but the first have biases; left: medians with order-statistic intervals (numbers: beyond the edge, "
    "crosses: failed runs). Middle: how much certificates let signals of usual size grow, c + β / rms. Right: how much "
    "small differences grow, as far as a search found."
)
SOURCES = ("tables/ladder.csv",)
FLUXES = {"perona_malik": "o", "learned": "D", "charbonnier": "^", "relu": "s"}  # markers
BRINGS = dict(zip(list(RUNGS)[1:], ("biases bring", "free step sizes", "signed ones", "untied weights"), strict=True))
GROWTH = {"allowed": "allowed growth\nof signals", "expansion": "found growth\nof differences"}
BELOW = 2.0  # dB below the median of all, where the panels end
HEIGHT = 0.5  # inches of a rung
TICKS: dict[float, list[float]] = {10: [1, 2, 5], 100: [1, 3, 10, 30], np.inf: [1, 100, 10000]}  # by the largest


def draw(tables: Tables) -> Figure:
    """One row of panels per number of blocks; one row per rung in each, one colour and marker per flux."""
    table = tables["ladder"]
    depths = sorted(table["blocks"].unique())
    figure = Figure(figsize=(_style.WIDTH, 0.8 + len(depths) * (0.5 + HEIGHT * len(RUNGS))))
    axes = figure.subplots(len(depths), 3, squeeze=False, sharex="col", width_ratios=(5, 3, 3))
    low = table["psnr"].median() - BELOW
    for row, depth in zip(axes, depths, strict=True):
        _draw_depth(row, table[table["blocks"] == depth], low)
        row[0].set_title(f"{depth} blocks", loc="left")
    axes[0, 0].set_xlim(low - 0.1, table[["psnr", "high"]].replace(np.inf, np.nan).max().max() + 0.1)
    for ax, column in zip(axes[0, 1:], GROWTH, strict=True):
        most = table[column].replace(np.inf, np.nan).max()
        _style.log_ticks(ax, next(values for limit, values in TICKS.items() if not most >= limit))
    for ax, text in zip(axes[-1], ("test PSNR (dB)", *GROWTH.values()), strict=True):
        ax.set_xlabel(text)
    _style.legend(figure, list(axes[:, 0]), columns=4)
    return figure


def _draw_depth(row: Any, table: pd.DataFrame, low: float) -> None:
    """The rungs of networks with the same number of blocks, in three panels."""
    names = list(RUNGS)
    for index, (flux, marker) in enumerate(FLUXES.items()):
        own = table[table["flux"] == flux]
        heights = own["rung"].map(names.index).to_numpy() + 0.16 * (index - 1.5)
        look: Any = {"color": _style.FLUXES[flux], "marker": marker, "linewidth": 0.9, "markersize": 5}
        if len(own):
            _draw_quality(row[0], own, heights, low, look | {"label": label(flux)})
            for ax, column in zip(row[1:], GROWTH, strict=True):
                ax.plot(own[column], heights, **look | {"linestyle": "none"})
    for rung, own in summaries.groups(table, "rung"):
        if own["allowed"].isna().all():
            place: Any = {"transform": row[1].get_yaxis_transform(), "ha": "center", "va": "center"}
            row[1].text(0.5, names.index(rung), "no bound", color=_style.GREY, **place)
    row[0].set_yticks(range(len(names)), [_rung(table[table["rung"] == rung], rung) for rung in names])
    for ax in row[1:]:
        ax.axvline(1, color="0.6", linewidth=1, zorder=0)
        ax.set_yticks(range(len(names)), [""] * len(names))
    for ax in row:
        ax.set_ylim(len(names) - 0.5, -0.5)


def _rung(own: pd.DataFrame, rung: str) -> str:
    """Name of a rung, and what it guarantees."""
    if own.empty or (own["guarantee"] == NO_GUARANTEE).all():
        return f"{rung}\nno guarantee"
    text = f"{rung}\n{own['guarantee'].iloc[0]}"
    drift = own["relative_drift"].max()
    return f"{text},\nβ ≤ {short(drift, 2)} rms of the signals" if drift else text


def _draw_quality(ax: Axes, own: pd.DataFrame, heights: np.ndarray, low: float, look: dict[str, Any]) -> None:
    """Medians and intervals, as far as the panel goes; what is below with its number, and how many runs failed."""
    ax.plot(own["psnr"].where(own["psnr"] >= low), heights, **look)
    known = np.isfinite(own["low"]) | np.isfinite(own["high"])
    ends = own.loc[known, ["low", "high"]].clip(lower=low)
    ax.hlines(heights[known], ends["low"], ends["high"], color=look["color"], linewidth=0.9)
    for row, height in zip(summaries.rows(own), heights, strict=True):
        x, texts = max(low, row.psnr), []
        if row.psnr < low:
            ax.plot(low, height, "<", color=look["color"], markersize=7)
            texts += [fixed(row.psnr, 1)] if np.isfinite(row.psnr) else []
        if row.failed:
            ax.plot(x, height, **_style.DIVERGED)
            texts += [f"{row.failed} of {row.seeds} failed"]
        if texts:
            place: Any = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", **_style.ON_WHITE}
            ax.annotate(", ".join(texts), (x, height), color=look["color"], **place)


def headline(tables: Tables) -> str:
    """What every rung brings, and how much signals may grow with a guarantee."""
    table = tables["ladder"]
    changes = [
        f"{name} {ranged(own['change'], signed)} dB"
        for rung, name in BRINGS.items()
        if len(own := table[(table["rung"] == rung) & table["change"].notna()])
    ]
    start = [f"over fluxes and depths, {listed(changes)} of PSNR"] if changes else []
    if len(own := table[table["guarantee"] != NO_GUARANTEE]):
        growth = short(own["allowed"].max())
        start.append(f"with a guarantee, signals of usual size may still grow by a factor of up to {growth}")
    text = "; ".join(start)
    return f"{text[:1].upper()}{text[1:]}." if text else NOT_MEASURED
