"""Networks on signals and noise levels that they were not trained for."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, signed

ORDER = 60
TITLE = "Transfer to other signals and noise levels"
CAPTION = (
    "Mean gain in PSNR (dB) over the noisy input, by family of test signals and noise level, at the budget nearest to "
    f"{summaries.MIDDLE}. All networks were trained at one noise level; rows with an asterisk on scan lines, the "
    "others on piecewise affine signals. ×: the mean includes a diverged run, as gain 0."
)
SOURCES = ("tables/psnr.csv", "tables/runs.csv")
EXPERIMENTS = ("capacity", "scanlines")
MARK = {"capacity": "", "scanlines": " *"}


def draw(tables: Tables) -> Figure:
    """One panel per test family: methods by noise levels."""
    table = _gains(tables)
    if table.empty:
        return _style.empty("runs of experiments capacity and scanlines")
    table["network"] = table["method"].map(label) + table["experiment"].map(MARK)
    table["text"] = table["mean"].map(lambda gain: signed(gain, 1)) + np.where(table["diverged"] > 0, "×", "")
    networks = table["network"].unique()
    families = list(summaries.groups(table, "test_set"))
    figure, axes = _style.grid(len(families), 2, 0.65 + 0.24 * len(networks), sharey=True)
    largest = table["mean"].abs().max()
    looks = {
        "cmap": sns.diverging_palette(20, 245, l=65, as_cmap=True),  # light enough for black text in every cell
        "annot_kws": {"color": "black"},
        "fmt": "",
        "vmin": -largest,
        "vmax": largest,
        "cbar": False,
    }
    for ax, (family, own) in zip(axes, families, strict=True):
        cells = own.pivot_table("mean", "network", "noise").reindex(networks)
        text = own.pivot_table("text", "network", "noise", aggfunc="first").reindex(networks)
        sns.heatmap(cells, annot=text, xticklabels=[f"{noise:g}" for noise in cells], ax=ax, **looks)
        ax.axhline(table.loc[table["experiment"] == EXPERIMENTS[0], "network"].nunique(), color="black", linewidth=2)
        ax.set(title=label(family), xlabel="standard deviation of the noise", ylabel="")
    return figure


def headline(tables: Tables) -> str:
    """How often a network does harm, and where it is worst."""
    table = _gains(tables)
    if table.empty:
        return NOT_MEASURED
    (worst,) = summaries.rows(table.nsmallest(1, "mean"))
    return (
        f"In {(table['mean'] < 0).sum()} of {len(table)} cells the output is worse than the noisy input; the smallest "
        f"gain is {signed(worst.mean)} dB ({label(worst.method)}{MARK[worst.experiment]} on "
        f"{label(worst.test_set)}, noise {worst.noise:g})."
    )


def _gains(tables: Tables) -> pd.DataFrame:
    """Mean gains of the shown networks, by experiment, method, test family and noise."""
    parts = []
    for experiment in EXPERIMENTS:
        scores = summaries.scored(tables, experiment)
        parts.append(scores[scores["size"] == summaries.middle_size(tables["runs"], experiment)])
    return summaries.means(pd.concat(parts), ["experiment", "method", "test_set", "noise"], "gain")
