"""From a guarantee to the residual network: quality, and what becomes of the guarantee."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import NO_GUARANTEE, RUNGS, Tables
from schemenets.study.wording import fixed, label, listed, ranged, short, signed

ORDER = 30
TITLE = "From a guarantee to the residual network"
CAPTION = (
    "From top to bottom, one restriction less on every rung; all but the first have biases. Left: median test PSNR "
    "over seeds, with order-statistic intervals of 95 % or more; right: the largest amplification (rms(N(u)) − β) / "
    "rms(u) that a search found in any network (filled), and the largest bound c that follows from its parameters "
    "(hollow; none with signed step sizes). A triangle at an edge stands for a value beyond it; crosses count failed "
    "runs."
)
SOURCES = ("tables/ladder.csv",)
FLUXES = {"perona_malik": "o", "learned": "D", "charbonnier": "^", "relu": "s"}  # markers
NAMES = dict(zip(list(RUNGS)[1:], ("biases bring", "free step sizes", "signed ones", "untied weights"), strict=True))
BELOW = 2.0  # dB below the median of a panel, where it ends
HIGHEST = 1e4  # of amplifications in the panel
TICKS: dict[float, list[float]] = {10: [1, 2, 5], 100: [1, 3, 10, 30], np.inf: [1, 10, 100, 1000]}  # by the largest
HEIGHT = 0.5  # inches of a rung


def draw(tables: Tables) -> Figure:
    """One row of panels per number of blocks; one row per rung in each, one colour and marker per flux."""
    table = tables["ladder"]
    depths = sorted(table["blocks"].unique())
    figure = Figure(figsize=(_style.WIDTH, 0.7 + len(depths) * (0.5 + HEIGHT * len(RUNGS))))
    axes = figure.subplots(len(depths), 2, squeeze=False, sharex="col", width_ratios=(3, 2))
    low, high = table["psnr"].median() - BELOW, table[["psnr", "high"]].replace(np.inf, np.nan).max().max()
    for (quality, amplification), depth in zip(axes, depths, strict=True):
        own = table[table["blocks"] == depth]
        for index, (flux, marker) in enumerate(FLUXES.items()):
            of_flux = own[own["flux"] == flux]
            rungs = of_flux["rung"].map(list(RUNGS).index).to_numpy()
            heights = rungs + 0.16 * (index - 1.5)
            look: Any = {"color": _style.FLUXES[flux], "marker": marker, "markersize": 5, "linewidth": 0.9}
            if len(of_flux):
                _draw_quality(quality, of_flux, heights, low, look | {"label": label(flux)})
                _draw_amplification(amplification, of_flux, heights, look)
        quality.set_yticks(range(len(RUNGS)), [_rung(own[own["rung"] == rung], rung) for rung in RUNGS])
        amplification.set_yticks(range(len(RUNGS)), [""] * len(RUNGS))
        for ax in (quality, amplification):
            ax.set_ylim(len(RUNGS) - 0.5, -0.5)
        quality.set_title(f"{depth} blocks", loc="left")
    axes[0, 0].set_xlim(low - 0.1, high + 0.1)
    most = table[["amplification", "bound"]].max().max()
    _style.log_ticks(axes[0, 1], next(values for limit, values in TICKS.items() if most < limit))
    axes[-1, 0].set_xlabel("test PSNR (dB)")
    axes[-1, 1].set_xlabel("largest amplification:\nfound (filled), bound (hollow)")
    _style.legend(figure, list(axes[:, 0]), columns=4)
    return figure


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
            place: Any = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(", ".join(texts), (x, height), color=look["color"], **place)


def _draw_amplification(ax: Axes, own: pd.DataFrame, heights: np.ndarray, look: dict[str, Any]) -> None:
    """What was found, and the bound joined with it."""
    for column, face in (("bound", "white"), ("amplification", look["color"])):
        values = own[column].clip(upper=HIGHEST)
        ax.plot(values, heights, **look | {"linestyle": "none", "markersize": 4.5}, markerfacecolor=face)
        if (beyond := own[column] > HIGHEST).any():
            ax.plot(values[beyond], heights[beyond], ">", color=look["color"], markersize=7, clip_on=False)
    joined = own["bound"].notna()
    ends = own.loc[joined, ["amplification", "bound"]].clip(upper=HIGHEST)
    ax.hlines(heights[joined], ends["amplification"], ends["bound"], color=look["color"], linewidth=0.6, zorder=1)
    ax.axvline(1, color="0.6", linewidth=1, zorder=0)


def headline(tables: Tables) -> str:
    """What every rung changes, and what the search finds with and without a guarantee."""
    table = tables["ladder"]
    changes = [
        f"{NAMES[rung]} {ranged(own['change'], signed)} dB"
        for rung in NAMES
        if len(own := table[(table["rung"] == rung) & table["change"].notna()])
    ]
    guaranteed = table["guarantee"] != NO_GUARANTEE
    found = [
        f"{short(own['amplification'].max(), 4)} {text} a guarantee"
        for own, text in ((table[guaranteed], "with"), (table[~guaranteed], "without"))
        if len(own)
    ]
    start = f"Over fluxes and depths, {listed(changes)} of PSNR; the" if changes else "The"
    return f"{start} largest amplification found is {listed(found)}."
