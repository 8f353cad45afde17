"""Networks with and without their skip connections, against depth."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import fixed, interval, label, signed, size_label

TITLE = "What the skip connections bring, against depth"
CAPTION = (
    "Test PSNR of networks of experiments skips and factorial with their skip connections, and of the same networks "
    "with these removed, against the number of blocks. A triangle at the lower edge: a seed below it, with its PSNR. "
    + _style.MARKS
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")
EXPERIMENTS = ("skips", "factorial")
WITHOUT = "-no_skips"
BELOW = 8  # dB below the noisy input end the panels
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
            _style.draw_means(ax, own, "blocks", "score", STYLES[bool(without)])
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


def findings(tables: Tables) -> list[str]:
    """What the skip connections bring at every depth, and what the greatest depth brings with and without them."""
    measured = _measured(tables)
    found, brought = [], []
    for method, pair in summaries.groups(measured, "base"):
        gains = [summaries.gains(tables, experiment, method, f"{method}{WITHOUT}") for experiment in EXPERIMENTS]
        every = pd.concat(gains)
        table, medians = summaries.means(every, ["size"], "difference"), every.groupby("size")["difference"].median()
        for row in sorted(summaries.rows(table), key=lambda row: summaries.number(row.size)):
            brought.append((row.mean, f"{label(method)}, {size_label(row.size)}"))
            found.append(
                f"{label(method)}, {size_label(row.size)}: skip connections change the PSNR by {signed(row.mean)} dB "
                f"{interval(row.low, row.high)}, median {signed(medians[row.size])} dB"
                + (f", with {row.diverged} diverged." if row.diverged else ".")
            )
        depths = sorted(pair["blocks"].unique())
        means = pair.groupby(["without", "blocks"])["score"].mean()
        for without, style in STYLES.items():
            if len(depths) > 1:
                rise = means[without, depths[-1]] - means[without, depths[0]]
                found.append(
                    f"{label(method)}, {style['label']}: {signed(rise)} dB from {depths[0]} to {depths[-1]} blocks."
                )
    if brought:
        (least, of_least), (most, of_most) = min(brought), max(brought)
        found.insert(
            0,
            f"Skip connections change the mean PSNR by {signed(least)} dB ({of_least}) to {signed(most)} dB "
            f"({of_most}).",
        )
    return found


def _measured(tables: Tables) -> pd.DataFrame:
    """The methods that there are with and without skip connections, at the depths where there are both."""
    parts = [summaries.at_home(summaries.scored(tables, experiment)) for experiment in EXPERIMENTS]
    table = pd.concat(parts)
    base = table["method"].str.removesuffix(WITHOUT)
    table = table.assign(base=base, without=base != table["method"])
    both = table.groupby(["base", "blocks"])["without"].transform("nunique") == 2
    return table[both]
