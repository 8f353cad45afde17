"""Networks on signals and noise levels that they were not trained for."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import label, signed, size_label

TITLE = "Transfer to other signals and noise levels"
CAPTION = (
    "Mean gain in PSNR (dB) over the noisy input, by family of test signals and noise level. Upper rows: trained on "
    "piecewise affine signals (experiment capacity, the budget nearest to 240); rows with an asterisk: trained on real "
    "scan lines (experiment scanlines). All were trained at one noise level. A cross beside a number: diverged runs "
    "are in the mean, as gain 0."
)
SOURCES = ("tables/psnr.csv", "tables/runs.csv")
EXPERIMENTS = ("capacity", "scanlines")


def draw(tables: Tables) -> Figure:
    """One panel per test family: methods by noise levels."""
    table = _gains(tables)
    if table.empty:
        return _style.empty("runs of experiments capacity and scanlines")
    families = table["test_set"].unique()
    rows = table[["experiment", "method"]].drop_duplicates()
    names = [label(row.method) + (" *" if row.experiment == "scanlines" else "") for row in summaries.rows(rows)]
    figure, axes = _style.grid(len(families), 2, 0.65 + 0.24 * len(rows), sharey=True)
    largest = table["mean"].abs().max()
    for ax, family in zip(axes, families, strict=True):
        own = table[table["test_set"] == family]
        texts = own["mean"].map(lambda gain: signed(gain, 1)) + own["diverged"].map(lambda n: " ×" if n else "")
        pivots = [
            own.assign(text=texts).pivot_table(
                index=["experiment", "method"], columns="noise", values=value, sort=False, aggfunc="first"
            )
            for value in ("mean", "text")
        ]
        sns.heatmap(
            pivots[0], ax=ax, annot=pivots[1], fmt="", cmap="RdBu", vmin=-largest, vmax=largest, center=0, cbar=False,
            linewidths=0.5, annot_kws={"fontsize": 8},
        )  # fmt: skip
        ax.axhline((rows["experiment"] == EXPERIMENTS[0]).sum(), color="black", linewidth=2)
        ax.set_yticks([i + 0.5 for i in range(len(rows))], names, rotation=0)
        ax.set_xticks(
            [i + 0.5 for i in range(own["noise"].nunique())], [f"{noise:g}" for noise in own["noise"].unique()]
        )
        ax.set(title=label(family), xlabel="standard deviation of the noise", ylabel="")
        ax.tick_params(length=0)
    return figure


def findings(tables: Tables) -> list[str]:
    """Where a network does harm, and what training on scan lines brings on scan lines."""
    table = _gains(tables)
    if table.empty:
        return []
    harmful = table[table["mean"] < 0].sort_values("mean")
    sizes = {experiment: summaries.middle_size(tables["runs"], experiment) for experiment in EXPERIMENTS}
    found = [
        "Sizes shown: " + "; ".join(f"{name}, {size_label(size)}" for name, size in sizes.items() if size) + ".",
        f"In {len(harmful)} of {len(table)} cells the output is worse than the noisy input.",
    ]
    found += [
        f"The worst is {label(row.method)} ({row.experiment}) on {label(row.test_set)} at noise {row.noise:g}: "
        f"{signed(row.mean)} dB."
        for row in summaries.rows(harmful.head(1))
    ]
    here = table[table["test_set"] == "scanlines"]
    other, own = (here[here["experiment"] == experiment] for experiment in EXPERIMENTS)
    found += [
        f"On scan lines at noise {row.noise:g}, training on scan lines instead of piecewise affine signals changes the "
        f"mean of {label(row.method)} by {signed(row.mean_y - row.mean_x)} dB."
        for row in summaries.rows(other.merge(own, on=["method", "noise"]))
    ]
    return found


def _gains(tables: Tables) -> pd.DataFrame:
    """Mean gains of the shown networks, by experiment, method, test family and noise."""
    parts = []
    for experiment in EXPERIMENTS:
        scores = summaries.scored(tables, experiment)
        parts.append(scores[scores["size"] == summaries.middle_size(tables["runs"], experiment)])
    return summaries.means(pd.concat(parts), ["experiment", "method", "test_set", "noise"], "gain")
