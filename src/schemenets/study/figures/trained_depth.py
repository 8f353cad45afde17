"""Trained networks, block by block."""

import numpy as np
from matplotlib.figure import Figure

from schemenets.study.figures import _style, growth
from schemenets.study.summaries import Tables
from schemenets.study.wording import listed, short

TITLE = "Growth through depth: the blocks of trained networks"
CAPTION = (
    "Left: largest ‖u^k‖₂ / ‖u^0‖₂ behind k blocks of trained networks over a few noisy test signals; right: "
    "‖u^k − v^k‖₂ / ‖u^0 − v^0‖₂ of the same signals and of others that differ by 10⁻⁸ of their size in a random "
    "direction. Denoisers have few blocks, networks that learn an evolution up to the most. Every line is the largest "
    "factor over all trained networks of its kind, and so their worst case; of how many the factor exceeds 1 somewhere "
    "stands in the panel. The grey line is 1, which bounds the norms in certified networks, but for implicit ones, "
    "whose iterations may exceed it by the power of their rate that is left. A cross: the last value before a line "
    "leaves the panel."
)
SOURCES = ("tables/growth.csv", "tables/runs.csv", "growth/")
KINDS = {"trained_depth": "signals", "trained_perturbation": "differences"}
MOST = 1e8  # of a panel


def draw(tables: Tables) -> Figure:
    """The panels of the figure on repetition, with blocks instead of repetitions."""
    table = growth.described(tables, KINDS)
    if table.empty:
        return _style.empty("blocks of trained networks")
    ends = table.loc[table["amplification"].between(0, MOST, inclusive="neither"), "amplification"]
    return growth.drawn(table, (min(ends.min(), 0.5) / 2, min(ends.max() * 2, MOST)), "blocks k", "linear")


def findings(tables: Tables) -> list[str]:
    """In how many networks signals and differences grow behind some block, certified or not."""
    table = growth.described(tables, KINDS)
    found = []
    for what, name in (("signals", "test signals"), ("differences", "differences of close ones")):
        parts = []
        for of, own in (
            ("certified networks", table[table["group"] == growth.CERTIFIED]),
            ("others", table[table["group"] != growth.CERTIFIED]),
        ):
            largest = (part := own[own["what"] == what])["amplification"].max()
            if len(part):
                factor = "beyond double precision" if np.isinf(largest) else short(largest, 6)
                parts.append(f"{growth.exceeding(part, what)} {of} (largest factor {factor})")
        if parts:
            found.append(f"Behind up to {table['n'].max()} blocks {name} grow in {listed(parts)}.")
    return found
