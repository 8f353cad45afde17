"""Specification curve: where a symmetric network is ahead of a residual one."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study.figures import _map, _style
from schemenets.study.stages.cells import CHOICES, DEPTH, DESIGN, FURTHER
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, listed, signed

ORDER = 36
CHAPTER = "map"
TITLE = "Where a symmetric network is ahead of a residual one"
CAPTION = (
    "Test PSNR of the symmetric minus that of the residual network for every combination of choices, sorted: median "
    "and range of the seeds (dotted: the margin of C1). Below: the choices (PM: Perona–Malik); right of the gap: a "
    "centre and changes of it. Triangles: ranges that go further; crosses: cells with failed runs."
)
SOURCES = ("tables/map.csv",)
MARGIN = 0.5  # dB, of claim C1
ROW = 0.16  # inches of a choice
GAP = 2  # columns between the design and what is around its centre


def draw(tables: Tables) -> Figure:
    """Left with as many blocks, right with as many parameters; the order is that of each panel's effects."""
    table = _map.cells(tables)
    rows = _rows(table)
    figure = Figure(figsize=(_style.WIDTH, 2.6 + ROW * len(rows)))
    axes = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=(2, ROW * len(rows)))
    low, high = _limits(table)
    for (curve, choices), (side, text) in zip(axes.T, _map.SIDES.items(), strict=True):
        own = _placed(table[table["side"] == side])
        _draw_curve(curve, own, low, high)
        _draw_choices(choices, own, rows)
        curve.set_title(text)
    axes[0, list(_map.SIDES).index(DEPTH)].axhline(-MARGIN, color=_style.GREY, linewidth=0.8, linestyle=":")
    axes[0, 0].set(ylabel="symmetric − residual (dB)", ylim=(low, high))
    axes[1, 0].set_yticks(range(len(rows)), [_map.choice(*row) for row in rows])
    for ax in axes[1]:
        ax.set(xticks=[], xlabel="combinations of choices, sorted")
    return figure


def _rows(table: pd.DataFrame) -> list[tuple[str, Any]]:
    """Factor and level of every choice; of the further factors only the levels that few cells have."""
    usual = {factor: table[factor].mode()[0] for factor in FURTHER}
    return [
        (factor, level)
        for factor in (*CHOICES, *FURTHER)
        for level in sorted(set(table[factor]))
        if factor in CHOICES or level != usual[factor]
    ]


def _placed(own: pd.DataFrame) -> pd.DataFrame:
    """With the place ``x`` of every cell: those of the design by their effect, then the others as they come."""
    design = own["kind"] == DESIGN
    ordered = pd.concat([own[design].sort_values("effect", kind="stable"), own[~design]])
    number = np.arange(len(own))
    return ordered.assign(x=number + GAP * (number >= design.sum()))


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Of the differences: all medians that are finite; ranges of a few seeds may go further."""
    values = table["effect"].to_numpy()
    finite = [-MARGIN, *values[np.isfinite(values)], MARGIN]
    margin = 0.15 * (max(finite) - min(finite))
    return min(finite) - margin, max(finite) + margin


def _draw_curve(ax: Axes, own: pd.DataFrame, low: float, high: float) -> None:
    """Medians and ranges as far as the panel goes; crosses at its edges, where failed runs are counted."""
    ax.axhline(0, color="black", linewidth=0.8)
    ax.vlines(own["x"], own["low"].clip(lower=low), own["high"].clip(upper=high), color=_style.GREY, linewidth=0.8)
    for beyond, edge, marker in ((own["high"] > high, high, "^"), (own["low"] < low, low, "v")):
        if beyond.any():  # or nothing would be laid out around nothing
            ax.plot(own.loc[beyond, "x"], [edge] * beyond.sum(), marker, color=_style.GREY, markersize=5, clip_on=False)
    for ahead, color in ((True, _style.PALETTE[0]), (False, _style.PALETTE[1])):
        part = own[(own["effect"] > 0) == ahead]
        look: Any = {"color": color, "markersize": 3.5, "markerfacecolor": color if ahead else "white"}
        ax.plot(part["x"], part["effect"].clip(low, high), "o", markeredgewidth=0.9, **look)
    for name, edge in (("candidate", low), ("reference", high)):
        failed = own.loc[own[f"{name}_failed"] > 0, "x"]
        if len(failed):
            ax.plot(failed, [edge] * len(failed), **_style.DIVERGED | {"markersize": 4}, clip_on=False)


def _draw_choices(ax: Axes, own: pd.DataFrame, rows: list[tuple[str, Any]]) -> None:
    """A mark in the row of every choice of a cell."""
    for number, (factor, level) in enumerate(rows):
        chosen = own.loc[own[factor] == level, "x"]
        ax.plot(chosen, [number] * len(chosen), "|", color="0.2", markersize=6, markeredgewidth=1.5)
    _map.shade(ax, [factor for factor, _ in rows])


def headline(tables: Tables) -> str:
    """In how many combinations it is ahead, for as many blocks and for as many parameters."""
    table = _map.cells(tables)
    table = table[table["kind"] == DESIGN]
    if table.empty:
        return NOT_MEASURED
    texts = []
    for side, text in _map.SIDES.items():
        effect = table.loc[table["side"] == side, "effect"]
        behind = f"; at most {MARGIN:g} dB behind in {(effect >= -MARGIN).sum()}" if side == DEPTH else ""
        texts.append(f"in {(effect > 0).sum()} with {text} (median {signed(effect.median())} dB{behind})")
    once = table[table["side"] == DEPTH]
    failed = table["candidate_failed"].sum() + once["reference_failed"].sum()
    runs = table["seeds"].sum() + once["seeds"].sum()
    return f"Of {len(once)} settings, the symmetric network is ahead {listed(texts)}; {failed} of {runs} runs failed."
