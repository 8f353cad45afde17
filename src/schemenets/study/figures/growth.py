"""Trained networks applied repeatedly."""

from itertools import cycle, product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label

ORDER = 80
CHAPTER = "C3"
FOLDED = True
TITLE = "Growth: a trained network applied repeatedly"
CAPTION = (
    "A network is applied repeatedly. Left: growth of signals; right: of the difference of signals that start 10⁻⁸ "
    "apart; biases add a drift. Lines: the worst case over the networks of a kind; crosses: where it leaves the panel."
)
SOURCES = ("tables/growth.csv", "tables/runs.csv")
RANGE = (1e-3, 1e8)  # of a panel
GROUPS = CERTIFIED, FREE, OTHERS = "certified", "trained freely", "ResNets and networks without skips"
WITHOUT_STEPS = ("resnet", "feedforward", "symmetric_feedforward")  # networks that no limit of a step size can bound
KINDS = {"repetition": "signals", "repeated_perturbation": "differences"}
GROWN = {  # factors beyond rounding
    "signals": 1 + 1e-9,  # of tens of thousands of blocks
    "differences": 1 + 1e-6,  # of a relative size of 1e-8
}


def draw(tables: Tables) -> Figure:
    """One row per group of networks, signals on the left and differences on the right, one line per network."""
    table = _described(tables)
    if table.empty:
        return _style.empty("repeated networks")
    rows = list(summaries.groups(table, "group"))
    figure, axes = _style.grid(2 * len(rows), 2, 2.2, sharex=True, sharey=True)
    looks = _looks(table)
    for ax, ((group, of_group), what) in zip(axes, product(rows, GROWN), strict=True):
        of_kind = of_group[of_group["what"] == what]
        for network, own in summaries.groups(of_kind, "network"):
            largest = own.groupby("n")["amplification"].max()
            shown = _style.leaving(largest, *RANGE)
            ax.plot(shown, label=label(network), **looks[network])
            inside = shown[shown <= RANGE[1]]
            if 0 < len(inside) < len(shown):
                ax.plot(inside.index[-1], inside.iloc[-1], label="beyond the panel afterwards", **_style.DIVERGED)
        ax.text(0.03, 0.06, f"{_exceeding(of_kind, what)} networks exceed 1", transform=ax.transAxes)
        ax.axhline(1, color="0.6", linewidth=1, zorder=1)
        ax.set(title=f"{group}: {what}", xscale="log", yscale="log", ylabel="factor", ylim=RANGE)
    for ax in axes[-2:]:
        ax.set_xlabel("repetitions n")
    _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """How many networks grow beyond their start, certified or not, and for how many certified ones differences grow."""
    table = _described(tables)
    repeated, apart = (table[table["what"] == what] for what in GROWN)
    certified, others = (repeated[(repeated["group"] == CERTIFIED) == flag] for flag in (True, False))
    if repeated.empty:
        return NOT_MEASURED
    return (
        f"In up to {repeated['n'].max():,} repetitions {_exceeding(certified, 'signals')} certified networks exceed "
        f"the norm of their start, and {_exceeding(others, 'signals')} others do; differences of close "
        f"signals grow in {_exceeding(apart[apart['group'] == CERTIFIED], 'differences')} certified ones."
    )


def _exceeding(table: pd.DataFrame, what: str) -> str:
    """In how many runs the factor of signals or differences ever exceeds 1 by more than rounding."""
    worst = table.groupby("run")["amplification"].max()
    return f"{(worst > GROWN[what]).sum()} of {len(worst)}"


def _looks(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """A line for every network, of the colour of the one without a safeguard; markers of equal curves lie apart."""
    networks = list(table["network"].unique())
    kinds = {name: name.removeprefix(summaries.SAFEGUARDED) for name in networks}
    colours = dict(zip(dict.fromkeys(kinds.values()), cycle(_style.PALETTE), strict=False))
    return {
        name: {"color": colours[kinds[name]], "marker": marker, "linestyle": line, "markevery": (index % 4, 4)}
        for index, (name, (marker, line)) in enumerate(zip(networks, cycle(_style.SHAPES), strict=False))
    }


def _described(tables: Tables) -> pd.DataFrame:
    """Factors with what each is of, network and group of its run, groups in order; infinite after an overflow."""
    growth = tables["growth"].assign(what=tables["growth"]["kind"].map(KINDS))
    own = growth.loc[growth["what"].notna(), ["what", "run", "n", "amplification"]]
    table = own.merge(tables["runs"][["run", "network", "certified"]], on="run").fillna({"amplification": np.inf})
    certified, others = table["certified"].astype(bool), table["network"].isin(WITHOUT_STEPS)
    group = np.select([certified, ~others], [CERTIFIED, FREE], OTHERS)
    return table.assign(group=group).sort_values("group", key=lambda names: names.map(GROUPS.index), kind="stable")
