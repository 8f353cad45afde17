"""Random networks of many blocks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.measurements.growth import NEAR
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, listed

ORDER = 90
CHAPTER = "C3"
FOLDED = True
TITLE = "Growth through depth: networks with random weights"
CAPTION = (
    "Networks with random filters, ‖K‖ = 1. Left: growth of signals after k blocks; right: of the difference of "
    "signals that start 10⁻⁸ apart."
)
SOURCES = ("tables/growth.csv", "growth/")
RANGE = (1e-4, 1e10)  # of a panel
LEGEND = 0.8  # inches below the panels
CEILING = 2 / NEAR  # of differences between states that do not exceed their start
KINDS = {"depth": "signals", "perturbation": "differences"}
ROUNDING = 1e-9


def draw(tables: Tables) -> Figure:
    """One row per network, signals on the left and differences on the right."""
    table = _random(tables)
    if table.empty:
        return _style.empty("random networks")
    rows = list(summaries.groups(table, "network"))
    figure, axes = _style.grid(2 * len(rows), 2, 1.35, sharex=True, sharey=True)
    figure.set_figheight(figure.get_figheight() + LEGEND)
    kinds = ("certified", "at the limit", "1.5 times the limit")
    looks = {
        kind: {"color": colour, "marker": shape}
        for kind, colour, shape in zip(kinds, _style.PALETTE, "os^", strict=False)
    }
    for index, ((network, of_network), (kind, quantity)) in enumerate(
        (row, column) for row in rows for column in KINDS.items()
    ):
        ax = axes[index]
        of_kind = of_network[of_network["kind"] == kind]
        weights: Any
        for (weights, tied), own in of_kind.groupby(["weights", "tied"], sort=False):
            curve = own.groupby("n")["amplification"].max()
            look: Any = {
                **looks.get(str(weights), {"color": "black"}),
                **{"linestyle": "--" if tied else "-", "linewidth": 1.2, "markersize": 3},
            }
            name = f"{weights}{', tied' if tied else ''}"
            if weights == "worst FSI":
                look |= {"linestyle": ":"}
            ax.plot(_style.leaving(curve, *RANGE), label=name, **look)
        bounds = of_network.loc[of_network["weights"] == "certified", "bound"]
        if kind == "perturbation" and bounds.max() <= 1 + ROUNDING:
            ax.axhline(CEILING, color="black", linewidth=1, linestyle="-.", label="ceiling of bounded states")
        ax.axhline(1, color="0.6", linewidth=1, zorder=1)
        ax.set(xscale="log", yscale="log", ylabel="factor", title=f"{label(network)}: {quantity}")
    for ax in axes[-2:]:
        ax.set_xlabel("blocks k")
    ends = [value for value in table["amplification"] if np.isfinite(value) and value > 0]
    axes[0].set_ylim(max(RANGE[0], min([*ends, 0.5]) / 2), min(RANGE[1], max([*ends, 2]) * 2))
    _style.legend(figure, axes, columns=3)
    return figure


def headline(tables: Tables) -> str:
    """How many kinds of networks amplify signals, with a certificate and without."""
    table = _random(tables)
    signals = table[table["kind"] == "depth"]
    texts = []
    for weights, name in (("certified", "certified"), ("at the limit", "uncertified")):
        worst = signals[signals["weights"] == weights].groupby("network")["amplification"].max()
        if len(worst):
            texts.append(f"{(worst > 1 + ROUNDING).sum()} of {len(worst)} kinds of {name} networks")
    if not texts:
        return NOT_MEASURED
    return f"Up to {signals['n'].max()} random blocks at the step-size limit amplify signals in {listed(texts)}."


def _random(tables: Tables) -> pd.DataFrame:
    """Networks with random weights, with a description of these; infinite after an overflow."""
    table = tables["growth"][tables["growth"]["run"].isna()]
    limit = np.where(table["step"] > 1, "1.5 times the limit", "at the limit")
    weights = np.where(table["certified"].astype(bool), "certified", limit)
    return table.assign(
        weights=np.where(table["seed"].isna(), "worst FSI", weights),
        tied=table["tied"].astype(bool),
        amplification=table["amplification"].fillna(np.inf),
    )
