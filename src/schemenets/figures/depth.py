"""Random networks of many blocks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import label, listed, short

TITLE = "Growth through depth: networks with random weights"
CAPTION = (
    "Left: largest ‖u^k‖₂ / ‖u^0‖₂ behind k blocks over a few random signals, right: ‖u^k − v^k‖₂ / ‖u^0 − v^0‖₂ of "
    "close ones, with v^0 − u^0 in a random direction and of 10⁻⁸ times the size, which factors of more than 10⁸ would "
    "outgrow; largest over seeds and fluxes. Filters are random with ‖K‖ = 1. Step sizes are at the limit of stable "
    "explicit steps (implicit: of the contraction), by construction in certified networks, or 1.5 times that; Du "
    "Fort–Frankel networks have α at its limit and 2τα = 4, certified ones 2τα = 1 or with a safeguard the largest "
    "number there is; ResNets have branches of the same size. Full lines: blocks of their own weights; dashed: one "
    "block again and again. The dotted line is the worst that FSI can do within the limit. The grey line is 1. Curves "
    "end where they leave the panel; explicit steps at the limit lie under the certified ones."
)
SOURCES = ("tables/growth.csv", "growth/")
RANGE = (1e-4, 1e8)  # of a panel
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
    figure, axes = _style.grid(2 * len(rows), 2, 1.7, sharex=True, sharey=True)
    colours = dict(zip(("certified", "at the limit", "1.5 times the limit"), _style.PALETTE, strict=False))
    for index, ((network, of_network), (kind, quantity)) in enumerate(
        (row, column) for row in rows for column in KINDS.items()
    ):
        ax = axes[index]
        of_kind = of_network[of_network["kind"] == kind]
        weights: Any
        for (weights, tied), own in of_kind.groupby(["weights", "tied"], sort=False):
            curve = own.assign(amplification=own["amplification"].fillna(np.inf)).groupby("n")["amplification"].max()
            look: Any = {
                "color": colours.get(str(weights), "black"),
                "linestyle": ("--" if tied else "-"),
                "linewidth": 1.4,
            }
            name = f"{weights}{', tied' if tied else ''}"
            if weights == "worst FSI":
                look |= {"linestyle": ":"}
            inside = curve.index[: 1 + np.argmax(~(curve <= RANGE[1]))] if (curve > RANGE[1]).any() else curve.index
            ax.plot(inside, curve[inside].clip(*_beyond()), label=name, **look)
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
            if of_kind.empty:
                continue
            grown = []
            for network, of_network in summaries.groups(of_kind, "network"):
                worst = of_network["amplification"].fillna(np.inf).max()
                if worst > 1 + ROUNDING:
                    size = "beyond double precision" if np.isinf(worst) else f"by up to {short(worst)}"
                    grown.append(f"{label(network)} ({size})")
            deepest = of_kind["n"].max()
            one = weights == "worst FSI"
            which = "The worst FSI network within the limit" if one else f"Random networks, {weights}"
            verb = "amplifies" if one else "amplify"
            text = f"{verb} {what}: {listed(grown)}" if grown else f"{verb} no {what}"
            found.append(f"{which}, up to {deepest} blocks, {text}.")
    return found


def _beyond() -> tuple[float, float]:
    """Slightly beyond the panel, so that a curve is seen to leave it."""
    return RANGE[0] / 10, 10 * RANGE[1]


def _random(tables: Tables) -> pd.DataFrame:
    table = tables["growth"][tables["growth"]["run"].isna()]
    limit = np.where(table["step"] > 1, "1.5 times the limit", "at the limit")
    weights = np.where(table["certified"].astype(bool), "certified", limit)
    return table.assign(weights=np.where(table["seed"].isna(), "worst FSI", weights), tied=table["tied"].astype(bool))
