"""Trained networks applied again and again."""

from collections.abc import Mapping
from itertools import cycle, product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import label, listed, short

TITLE = "Growth: a trained network applied again and again"
CAPTION = (
    "A network N is repeated, u_{n+1} = N(u_n). Left: ‖u_n‖₂ / ‖u_0‖₂ over a few noisy test signals and random signals "
    "u_0 of all sizes; right: ‖u_n − v_n‖₂ / ‖u_0 − v_0‖₂ of test signals u_0 and v_0 that differ by 10⁻⁸ of their "
    "size. Every line is the largest factor over all trained networks of its kind, and so their worst case; of how "
    "many the factor exceeds 1 at one of these n stands in the panel. The grey line is 1. It bounds the norms of "
    "certified networks, but for implicit ones, whose iterations may exceed it by the power of their rate that is "
    "left; differences it does not bound. A cross: the last value before a line leaves the panel. Networks with "
    "biases turn small signals into large ones at once."
)
SOURCES = ("tables/growth.csv", "tables/runs.csv", "growth/")
RANGE = (1e-3, 1e8)  # of a panel
GROUPS = CERTIFIED, FREE, OTHERS = "certified", "trained freely", "ResNets and networks without skips"
WITHOUT_STEPS = ("resnet", "feedforward", "symmetric_feedforward")  # networks that no limit of a step size can bound
KINDS = {"repetition": "signals", "repeated_perturbation": "differences"}
WHAT = {"signals": "norms exceed that of the start", "differences": "differences grow"}
GROWN = {  # factors beyond rounding
    "signals": 1 + 1e-9,  # of tens of thousands of blocks
    "differences": 1 + 1e-6,  # of a relative size of 1e-8
}


def draw(tables: Tables) -> Figure:
    """One row per group of networks, signals on the left and differences on the right, one line per network."""
    table = described(tables, KINDS)
    return drawn(table, RANGE, "repetitions n", "log") if len(table) else _style.empty("repeated networks")


def drawn(table: pd.DataFrame, limits: tuple[float, float], below: str, scale: str) -> Figure:
    """Panels of these limits for a described table, over an axis of this name and scale."""
    rows = list(summaries.groups(table, "group"))
    figure, axes = _style.grid(2 * len(rows), 2, 2.2, sharex=True, sharey=True)
    looks = _looks(table)
    for ax, ((group, of_group), what) in zip(axes, product(rows, GROWN), strict=True):
        of_kind = of_group[of_group["what"] == what]
        for network, own in summaries.groups(of_kind, "network"):
            largest = own.groupby("n")["amplification"].max()
            shown = _style.leaving(largest, *limits)
            ax.plot(shown, label=label(network), **looks[network])
            inside = shown[shown <= limits[1]]
            if 0 < len(inside) < len(shown):
                ax.plot(inside.index[-1], inside.iloc[-1], label="beyond the panel afterwards", **_style.DIVERGED)
        text = f"{exceeding(of_kind, what)} networks exceed 1"
        ax.text(0.03, 0.06, text, transform=ax.transAxes)
        ax.axhline(1, color="0.6", linewidth=1, zorder=1)
        ax.set(title=f"{group}: {what}", xscale=scale, yscale="log", ylabel="factor", ylim=limits)
        if scale == "linear":
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes[-2:]:
        ax.set_xlabel(below)
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """How many networks grow beyond their start, certified or not, and how far close signals move apart."""
    table = described(tables, KINDS)
    repeated, apart = (table[table["what"] == what] for what in GROWN)
    if repeated.empty:
        return []
    counts = [
        f"{exceeding(own, 'signals')} {what}"
        for what, own in (
            ("certified networks", repeated[repeated["group"] == CERTIFIED]),
            ("networks not certified by construction", repeated[repeated["group"] != CERTIFIED]),
        )
        if len(own)
    ]
    found = [
        f"Test or random signals, looked at after {listed(list(map(str, sorted(repeated['n'].unique()))))} "
        f"applications, exceed the norm of their start in {listed(counts)}."
    ]
    certified = apart[apart["group"] == CERTIFIED]
    for most in summaries.rows(certified.nlargest(1, "amplification")):
        found.append(
            f"A bounded norm does not bound differences: those of close test signals grow in "
            f"{exceeding(certified, 'differences')} certified networks, in the largest one seen to about "
            f"{short(most.amplification, 1)} times their size ({most.run}, n = {most.n})."
        )
    for group, of_group in summaries.groups(table, "group"):
        for what, own in summaries.groups(of_group, "what"):
            of_networks = [
                f"{label(network)} {exceeding(part, what)} ({_factor(part)})"
                for network, part in summaries.groups(own, "network")
            ]
            start = f"{group[0].upper()}{group[1:]}, networks whose {WHAT[what]}, and the largest factor"
            found.append(f"{start}: {listed(of_networks)}.")
    return found


def exceeding(table: pd.DataFrame, what: str) -> str:
    """Of how many runs the factor of signals or differences exceeds 1 somewhere, by more than rounding."""
    worst = table.groupby("run")["amplification"].max()
    return f"{(worst > GROWN[what]).sum()} of {len(worst)}"


def _factor(table: pd.DataFrame) -> str:
    largest = table["amplification"].max()
    return "beyond double precision" if np.isinf(largest) else short(largest)


def _looks(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """A line for every network, of the colour of the one without a safeguard; markers of equal curves lie apart."""
    networks = list(table["network"].unique())
    kinds = {name: name.removeprefix(summaries.SAFEGUARDED) for name in networks}
    colours = dict(zip(dict.fromkeys(kinds.values()), cycle(_style.PALETTE), strict=False))
    return {
        name: {"color": colours[kinds[name]], "marker": marker, "linestyle": line, "markevery": (index % 4, 4)}
        for index, (name, (marker, line)) in enumerate(zip(networks, cycle(_style.SHAPES), strict=False))
    }


def described(tables: Tables, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Factors of these kinds, with what each is of, and network and group of every run, groups in order.

    They are infinite after an overflow.
    """
    growth = tables["growth"].assign(what=tables["growth"]["kind"].map(kinds))
    own = growth.loc[growth["what"].notna(), ["what", "run", "n", "amplification"]]
    table = own.merge(tables["runs"][["run", "network", "certified"]], on="run").fillna({"amplification": np.inf})
    certified, others = table["certified"].astype(bool), table["network"].isin(WITHOUT_STEPS)
    group = np.select([certified, ~others], [CERTIFIED, FREE], OTHERS)
    return table.assign(group=group).sort_values("group", key=lambda names: names.map(GROUPS.index), kind="stable")
