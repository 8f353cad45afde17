"""Random networks of many blocks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.measurements.growth import NEAR
from schemenets.study.summaries import Tables
from schemenets.study.wording import label, listed, short

TITLE = "Growth through depth: networks with random weights"
CAPTION = (
    "Left: largest ‖u^k‖₂ / ‖u^0‖₂ behind k blocks over a few random signals, right: ‖u^k − v^k‖₂ / ‖u^0 − v^0‖₂ of "
    "close ones, with v^0 − u^0 in a random direction and of 10⁻⁸ times the size of u^0; largest over seeds and "
    "fluxes. Where no state exceeds its start, two states are at most 2‖u^0‖₂ apart, so that the factor of "
    "differences ends at 2 · 10⁸, the dash-dotted ceiling, which binds no others: curves that bend there are "
    "saturated, and say that close "
    "signals become unrelated, not that the network is unbounded. Filters are random with ‖K‖ = 1. Step sizes are at "
    "the limit of stable explicit steps (implicit: of the contraction), by construction in certified networks, or 1.5 "
    "times that; Du "
    "Fort–Frankel networks have α at its limit and 2τα = 4, certified ones 2τα = 1 or with a safeguard the largest "
    "number there is; ResNets have branches of the same size. Full lines: blocks of their own weights; dashed: one "
    "block again and again. The dotted line is the worst that FSI can do within the limit. The grey line is 1. Curves "
    "end where they leave the panel; explicit steps at the limit lie under the certified ones."
)
SOURCES = ("tables/growth.csv", "growth/")
RANGE = (1e-4, 1e10)  # of a panel
CEILING = 2 / NEAR  # of differences between states that do not exceed their start
KINDS = {"depth": "signals", "perturbation": "differences"}
WHAT = {
    "depth": "signals",
    "perturbation": "differences in a random direction",
    "worst": "differences in the worst direction found",
}
ROUNDING = 1e-9


def draw(tables: Tables) -> Figure:
    """One row per network, signals on the left and differences on the right."""
    table = _random(tables)
    if table.empty:
        return _style.empty("random networks")
    rows = list(summaries.groups(table, "network"))
    figure, axes = _style.grid(2 * len(rows), 2, 1.35, sharex=True, sharey=True)
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


def findings(tables: Tables) -> list[str]:
    """Where norms and distances grow, and by how much at the largest depth."""
    table = _random(tables)
    found = []
    for weights, own in summaries.groups(table, "weights"):
        for kind, what in WHAT.items():
            of_kind = own[own["kind"] == kind]
            if len(of_kind):
                one = weights == "worst FSI"
                which = "The worst FSI network within the limit" if one else f"Random networks, {weights}"
                verb, deepest = "amplifies" if one else "amplify", of_kind["n"].max()
                found.append(f"{which}, up to {deepest} blocks, {verb} {_amplified(of_kind, what)}.")
    return _message(table) + found


def _message(table: pd.DataFrame) -> list[str]:
    """What certification changes, and how near differences in certified networks come to the ceiling."""
    signals, apart = (table[table["kind"] == kind] for kind in KINDS)
    certified, others = signals[signals["weights"] == "certified"], signals[signals["weights"] == "at the limit"]
    if certified.empty or others.empty:
        return []
    text = (
        f"Behind up to {signals['n'].max()} random blocks certified networks amplify "
        f"{_amplified(certified, 'signals')}; at the limit of stable explicit steps, but without a certificate, "
        f"networks amplify {_amplified(others, 'signals')}."
    )
    largest = apart.loc[apart["weights"] == "certified", "amplification"].max()
    if largest > 1 + ROUNDING:
        text += (
            f" Close signals move apart in certified networks as well, by up to {short(largest)}, where states that do "
            f"not exceed their start allow {short(CEILING)}."
        )
    return [text]


def _amplified(table: pd.DataFrame, what: str) -> str:
    """The networks whose largest factor exceeds 1, with that factor."""
    worst = table.groupby("network", sort=False)["amplification"].max()
    grown = [
        f"{label(str(network))} ({'beyond double precision' if np.isinf(factor) else f'by up to {short(factor)}'})"
        for network, factor in worst[worst > 1 + ROUNDING].items()
    ]
    return f"{what}: {listed(grown)}" if grown else f"no {what}"


def _random(tables: Tables) -> pd.DataFrame:
    """Networks with random weights, described by these; infinite after an overflow."""
    table = tables["growth"][tables["growth"]["run"].isna()]
    limit = np.where(table["step"] > 1, "1.5 times the limit", "at the limit")
    weights = np.where(table["certified"].astype(bool), "certified", limit)
    return table.assign(
        weights=np.where(table["seed"].isna(), "worst FSI", weights),
        tied=table["tied"].astype(bool),
        amplification=table["amplification"].fillna(np.inf),
    )
