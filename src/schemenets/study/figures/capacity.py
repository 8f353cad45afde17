"""Quality against the number of trainable parameters."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import fixed, interval, label, listed, size_label

TITLE = "Denoising quality against the number of trainable parameters"
CAPTION = (
    "Test PSNR of the networks of experiment capacity on the signals they were trained for, against their actual "
    "number of trainable parameters. Each has as many blocks as fit its budget. " + _style.MARKS
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")


def draw(tables: Tables) -> Figure:
    """One line per method."""
    measured = summaries.at_home(summaries.scored(tables, "capacity"))
    if measured.empty:
        return _style.empty("runs of experiment capacity")
    figure, ax = _style.draw_methods(measured, tables["runs"], "parameters", 4)
    _style.log_ticks(ax, [summaries.number(size) for size in summaries.by_number(set(measured["size"]))])
    noisy, (low, high) = measured["noisy_psnr"].iloc[0], ax.get_ylim()
    if noisy > low - 0.3 * (high - low):
        ax.axhline(noisy, color=_style.GREY, linestyle=":", label="noisy input")
    ax.set_xlabel("trainable parameters (ticks: budgets)")
    _style.legend(figure, [ax])
    return figure


def findings(tables: Tables) -> list[str]:
    """The best method at each budget, beside the standard residual network."""
    measured = summaries.at_home(summaries.scored(tables, "capacity"))
    if measured.empty:
        return []
    table = summaries.means(measured, ["size", "method", "parameters"], "score")
    sizes = summaries.by_number(set(table["size"]))
    best = table.loc[table.groupby("size")["mean"].idxmax()].set_index("size").loc[sizes]
    at = [
        f"{label(str(name))} at {count} of {len(sizes)} budgets"
        for name, count in best["method"].value_counts().items()
    ]
    levels = [
        f"{fixed(best['mean'][size])} dB with {size_label(size)}" for size in dict.fromkeys((sizes[0], sizes[-1]))
    ]
    found = [
        f"From {fixed(measured['noisy_psnr'].iloc[0])} dB of the noisy input the highest mean is {listed(levels)}; it "
        f"belongs to {listed(at)}."
    ]
    for size in sizes:
        own = table[table["size"] == size]
        shown = [own.nlargest(1, "mean"), own[own["method"] == summaries.BASELINE]]
        texts = [_described(row) for row in summaries.rows(pd.concat(shown).drop_duplicates("method"))]
        found.append(f"{size_label(size)}: highest mean {'; standard ResNet '.join(texts)}.")
    return found


def _described(row: Any) -> str:
    level = f"{fixed(row.mean)} dB {interval(row.low, row.high)}"
    return f"{level} by {label(row.method)} with {row.parameters} parameters"
