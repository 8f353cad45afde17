"""Networks with and without their skip connections, against depth."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.statistics import median
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, listed, ranged, signed

ORDER = 40
CHAPTER = "C4a"
TITLE = "The effect of skip connections, against depth"
CAPTION = (
    "Test PSNR with skip connections and without (seeds, medians, intervals) against the number of blocks. Triangles: "
    "seeds below the panel."
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")
WITHOUT = "-no_skips"
BELOW = 1  # dB below the noisy input, where the panels end
STYLES = {
    False: {"label": "with skip connections", "marker": "o", "linestyle": "-", "color": _style.PALETTE[0]},
    True: {"label": "without", "marker": "s", "linestyle": "--", "color": _style.PALETTE[1]},
}


def draw(tables: Tables) -> Figure:
    """One panel per network."""
    measured = _measured(tables)
    if measured.empty:
        return _style.empty("runs with skip connections removed")
    methods = list(summaries.groups(measured, "base"))
    figure, axes = _style.grid(len(methods), 2, 2.9, sharey=True)
    for ax, (method, pair) in zip(axes, methods, strict=True):
        for without, own in pair.groupby("without"):
            _style.draw_medians(ax, own, "blocks", "score", STYLES[bool(without)])
        ax.axhline(pair["noisy_psnr"].iloc[0], color=_style.GREY, linestyle=":", label="noisy input")
        lowest = pair["noisy_psnr"].iloc[0] - BELOW
        ax.set(title=label(method), ylabel="test PSNR (dB)", ylim=(lowest, measured["score"].max() + 1))
        for row in summaries.rows(pair[pair["score"] < lowest]):
            ax.plot(row.blocks, lowest + 0.3, color=STYLES[row.without]["color"], marker="v", markersize=5)
            number: Any = {"xytext": (-6, 0), "textcoords": "offset points", "ha": "right"}
            ax.annotate(fixed(row.score, 1), (row.blocks, lowest + 0.3), **number)
        _style.log_ticks(ax, sorted(pair["blocks"].unique()))
        ax.set_xlabel("blocks")
    _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """What skip connections bring every network."""
    brought = []
    for method, _ in summaries.groups(_measured(tables), "base"):
        gains = summaries.gains(tables, summaries.LADDER, method, f"{method}{WITHOUT}")
        if medians := [median(own["counted"]) for _, own in summaries.groups(gains, "size")]:
            brought.append(f"{ranged(medians, signed)} dB ({label(method)})")
    return f"Skip connections change the median PSNR by {listed(brought)}." if brought else NOT_MEASURED


def _measured(tables: Tables) -> pd.DataFrame:
    """The methods that ran with and without skip connections, at the depths of both."""
    table = summaries.at_home(summaries.scored(tables, summaries.LADDER))
    base = table["method"].str.removesuffix(WITHOUT)
    table = table.assign(base=base, without=base != table["method"])
    both = table.groupby(["base", "blocks"])["without"].transform("nunique") == 2
    return table[both]
