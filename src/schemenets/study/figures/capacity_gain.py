"""Difference to the standard residual network at the same budget."""

import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import BASELINE, Tables
from schemenets.study.wording import label, ranged, short, signed

TITLE = "Difference to the standard ResNet at the same budget"
CAPTION = (
    "Test PSNR minus that of the standard ResNet (untied, ReLU, biases) with the same parameter budget and the same "
    "seed. Methods are shifted sideways so that they do not hide each other. The scale is "
    "linear up to ±1 dB and logarithmic beyond. " + _style.MARKS
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")
TICKS = (-20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20)  # dB


def draw(tables: Tables) -> Figure:
    """One series per method but the baseline, at every budget that the baseline fits too."""
    differences = _differences(tables)
    if not differences:
        return _style.empty(f"runs of experiment capacity with {BASELINE} and another method")
    figure, (ax,) = _style.grid(1, 1, 3.6)
    styles = _style.method_styles(tables["runs"])
    sizes = summaries.by_number({size for table in differences.values() for size in table["size"]})
    ax.axhline(0, color="black", linewidth=0.8)
    for index, (method, table) in enumerate(differences.items()):
        shift = 0.6 * ((index + 0.5) / len(differences) - 0.5)
        placed = table.assign(x=table["size"].map(sizes.index) + shift)
        _style.draw_means(ax, placed, "x", "difference", styles[method] | {"linestyle": "none"})
    ax.grid(visible=False, axis="x")
    for index in range(1, len(sizes)):
        ax.axvline(index - 0.5, color="0.8", linewidth=0.8)
    ax.set_yscale("symlog", linthresh=1, linscale=0.8)
    ax.margins(y=0.1)
    low, high = ax.get_ylim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    ax.set_yticks(ticks, [short(tick) for tick in ticks])
    ax.set_xticks(range(len(sizes)), [str(summaries.number(size)) for size in sizes])
    ax.set(
        xlim=(-0.5, len(sizes) - 0.5),
        xlabel="budget (trainable parameters, at most)",
        ylabel="PSNR minus standard ResNet's (dB)",
    )
    _style.legend(figure, [ax])
    return figure


def findings(tables: Tables) -> list[str]:
    """Range of every method's mean difference, and at how many budgets the interval lies on one side of zero."""
    found: list[str] = []
    better: list[str] = []
    worse: list[str] = []
    for method, table in _differences(tables).items():
        means = summaries.means(table, ["size"], "difference")
        above, below = (means["low"] > 0).sum(), (means["high"] < 0).sum()
        for names, count in ((better, above), (worse, below)):
            if count == len(means):
                names.append(label(method))
        found.append(
            f"{label(method)}: {ranged(means['mean'], signed)} dB; interval above zero at {above}, below zero at "
            f"{below} of {len(means)} budget{'s' * (len(means) > 1)}."
        )
    message = (
        f"Better than the standard ResNet at every budget, by the whole interval: {'; '.join(better) or 'no method'}. "
        f"Worse at every budget: {'; '.join(worse) or 'no method'}."
    )
    return [message, *found] if found else []


def _differences(tables: Tables) -> dict[str, pd.DataFrame]:
    own = tables["runs"].query("experiment == 'capacity' and method != @BASELINE")
    tabled = {method: summaries.gains(tables, "capacity", method, BASELINE) for method in own["method"].unique()}
    return {method: table for method, table in tabled.items() if len(table)}
