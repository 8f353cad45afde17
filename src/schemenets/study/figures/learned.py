"""What two symmetric networks have learned, block by block, and whether it smooths or sharpens."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.measurements.learned import CONTRAST, FILTER, FLAT, FLUX, JUMPS, STEP
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, listed

ORDER = 33
CHAPTER = "C6"
TITLE = "What symmetric networks learn, block by block"
CAPTION = (
    "One trained network per flux: its filters; its fluxes as far as responses to test signals reach (dashed where "
    "they fall, dot: contrast λ); the gain by which the linearised block multiplies waves, which sharpens above 1. "
    "Numbers: the gain's root mean square over high frequencies."
)
SOURCES = ("tables/learned.csv",)
FOLDED = True  # it shows two networks, the verdict compares many
LEAST = 0.01  # above 1: a gain that sharpens
LOOKS: dict[str, dict[str, Any]] = {
    FLAT: {"color": _style.PALETTE[0], "linestyle": "-", "label": "away from jumps"},
    JUMPS: {"color": _style.PALETTE[1], "linestyle": "--", "label": "near jumps"},
}


def draw(tables: Tables) -> Figure:
    """Three rows of panels per network, one column per block."""
    methods = list(summaries.groups(tables["learned"], "method"))
    figure = Figure(figsize=(_style.WIDTH, 0.4 + 3.6 * len(methods)))
    for part, (method, own) in zip(figure.subfigures(len(methods), 1, squeeze=False)[:, 0], methods, strict=True):
        part.suptitle(label(method), fontweight="bold")
        axes = part.subplots(3, own["block"].max(), squeeze=False, sharey="row")
        for (filters, fluxes, gains), (block, of_block) in zip(axes.T, summaries.groups(own, "block"), strict=True):
            filters.set_title(f"block {block}, τ = {fixed(_part(of_block, STEP)['y'].iloc[0])}")
            _draw_filters(filters, of_block)
            _draw_fluxes(fluxes, of_block)
            _draw_gains(gains, of_block)
        for row, text in zip(axes, ("filters\nby tap", "flux Φ(s)\nby s", "gain\nby frequency / π"), strict=True):
            row[0].set_ylabel(text)
    _style.legend(figure, figure.axes)
    return figure


def _part(own: pd.DataFrame, part: str) -> pd.DataFrame:
    return own[own["part"] == part]


def _draw_filters(ax: Axes, own: pd.DataFrame) -> None:
    """Every filter as a line above a line of zero, at its number."""
    table = _part(own, FILTER)
    scale = 1.4 * table["y"].abs().max()
    for number, (_, of_filter) in enumerate(table.groupby("filter")):
        ax.axhline(number, color="0.85", linewidth=0.6)
        ax.plot(of_filter["x"] + 1, number + of_filter["y"] / scale, ".-", color="0.2", linewidth=0.9, markersize=3)
    ax.set(xticks=table["x"].unique() + 1, yticks=[])
    ax.grid(visible=False)


def _draw_fluxes(ax: Axes, own: pd.DataFrame) -> None:
    for _, of_filter in _part(own, FLUX).groupby("filter"):
        x, y = of_filter["x"].to_numpy(), of_filter["y"].to_numpy()
        falls = np.append(np.diff(y) < 0, y[-1] < y[-2])
        ax.plot(x, np.where(falls, np.nan, y), color="0.2", linewidth=0.9)
        start = np.append(falls[1:], False) & ~falls  # joins the parts
        ax.plot(x, np.where(falls | start, y, np.nan), color=_style.PALETTE[1], linewidth=0.9, linestyle=(0, (2, 1)))
    contrast = _part(own, CONTRAST)
    ax.plot(contrast["x"], contrast["y"], ".", color="0.2", markersize=4)
    ax.set_xscale("function", functions=(np.sqrt, np.square))  # most responses are small
    ax.set(xlim=(0, None), xticks=[0, 0.1, 0.5, 1])


def _draw_gains(ax: Axes, own: pd.DataFrame) -> None:
    ax.axhline(1, color="0.5", linewidth=0.8)
    for index, (part, look) in enumerate(LOOKS.items()):
        curve = _part(own, part)
        ax.plot(curve["x"], curve["y"], linewidth=1.3, **look)
        place: Any = {"ha": "center", "va": "bottom", "transform": ax.transAxes}
        ax.text(0.25 + 0.5 * index, 1.01, f"× {fixed(_high(curve))}", color=look["color"], **place)
    ax.set(xticks=[0, 0.5, 1])


def _high(curve: pd.DataFrame) -> float:
    """Root mean square of the gain over the upper half of the frequencies."""
    return float(np.sqrt(np.square(curve.loc[curve["x"] >= 0.5, "y"]).mean()))


def headline(tables: Tables) -> str:
    """How many blocks sharpen."""
    texts = []
    for method, own in summaries.groups(tables["learned"], "method"):
        blocks = [of_block for _, of_block in own.groupby("block")]
        curves = [np.concatenate([_part(of_block, part)["y"] for part in LOOKS]) for of_block in blocks]
        sharpen, overshoot = (sum(max(sign * y) > 1 + LEAST for y in curves) for sign in (1, -1))
        texts.append(f"{sharpen} of {len(blocks)} sharpen and {overshoot} overshoot some waves ({label(method)})")
    return f"Of the blocks shown, {listed(texts)}." if texts else NOT_MEASURED
