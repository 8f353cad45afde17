"""What trained networks do to the Euclidean norm, found and guaranteed."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, listed, short

ORDER = 70
CHAPTER = "C3"
TITLE = "Euclidean stability: guaranteed and found"
CAPTION = (
    "One dot per trained network. Left: the largest amplification ‖N(u)‖₂ / ‖u‖₂ that a search found, less the bound "
    "on the drift; middle: this over its bound. Right: the least margin of a block to its step-size limit."
)
SOURCES = ("tables/stability.csv", "tables/runs.csv")
SMALLEST = 1e-4  # of found over bound in the panel
ROUNDING, VISIBLE = 1e-9, 1.01  # from which three digits tell a factor from 1
LOOKS: dict[bool, dict[str, Any]] = {
    True: {"label": "fulfils a theorem", "color": _style.PALETTE[0], "marker": "o"},
    False: {"label": "does not", "color": _style.PALETTE[1], "marker": "s"},
}
COLUMNS = {
    "largest_amplification_found": "amplification found",
    "share": "found / bound",
    "least_step_margin": "least step margin",
}


def draw(tables: Tables) -> Figure:
    """One row per network, trained freely or certified by construction."""
    table = _described(tables)
    if table.empty:
        return _style.empty("certificates")
    rows = list(summaries.groups(table, "row"))
    heights = [index + np.linspace(-0.3, 0.3, len(own)) for index, (_, own) in enumerate(rows)]
    table = table.assign(height=np.concatenate(heights), share=table["share"].clip(lower=SMALLEST))
    failed, low = table[table["status"] != "ok"], table[table["share"] == SMALLEST]
    figure = Figure(figsize=(_style.WIDTH, 1.2 + 0.4 * len(rows)))
    axes = found, share, margin = figure.subplots(1, 3, sharey=True)
    for ax, (column, text), limit in zip(axes, COLUMNS.items(), (1, 1, 0), strict=True):
        for certified, look in LOOKS.items():
            own = table[table["certified"] == certified]
            ax.plot(own[column], own["height"], linestyle="none", markersize=3, markeredgewidth=0, alpha=0.7, **look)
        if len(failed):
            ax.plot(failed[column], failed["height"], label="diverged", **_style.DIVERGED)
        for index, (_, own) in enumerate(rows):
            if own[column].isna().all():
                where = {"ha": "center", "va": "center", "transform": ax.get_yaxis_transform()}
                ax.text(0.5, index, "none", color=_style.GREY, **where)
        ax.axvline(limit, color="0.6", linewidth=1, zorder=1)
        ax.set_xlabel(text)
    share.plot(low["share"], low["height"], "<", color="black", markersize=4, label=f"below {SMALLEST:g}", zorder=4)
    names = [f"{name}\n{own['certified'].sum()} of {len(own)} fulfil a theorem" for name, own in rows]
    found.set_yticks(range(len(rows)), names)
    found.set(ylim=(len(rows) - 0.5, -0.5))
    found.set_xscale("log")
    share.set_xscale("log")
    share.set_xlim(SMALLEST / 2, 2)
    margin.set_xscale("symlog", linthresh=1)
    margin.set_xlim(2 * min(-1, table["least_step_margin"].min()), 1.2)  # a margin is 1 at most
    margin.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1))
    margin.tick_params(axis="x", labelrotation=45)
    _style.legend(figure, list(axes))
    return figure


def headline(tables: Tables) -> str:
    """Which networks amplify signals, as far as the search found."""
    table = _described(tables)
    if table.empty:
        return NOT_MEASURED
    texts = []
    for kind, own in (
        ("that fulfil a theorem", table[table["certified"]]),
        ("that do not", table[~table["certified"]]),
    ):
        if len(own):
            found = own["largest_amplification_found"]
            count = (found > 1 + ROUNDING).sum()
            factor = short(found.max(), 3 if found.max() >= VISIBLE else 7)
            texts.append(f"{count} of {len(own)} networks {kind} (largest factor {factor})")
    return f"The search finds signals that are amplified by {listed(texts)}."


def _described(tables: Tables) -> pd.DataFrame:
    """With ``share``, found over bound, and ``row``: safeguarded and certified networks follow the free ones."""
    runs = tables["runs"][["run", "status", "network", "certified"]].rename(columns={"certified": "constrained"})
    table = tables["stability"].merge(runs, on="run")
    base = table["network"].str.removeprefix(summaries.SAFEGUARDED)
    constrained = table["constrained"].astype(bool)
    table = table.assign(
        share=table["largest_amplification_found"] / table["euclidean_bound"],
        row=table["network"].map(label) + np.where(constrained, ", certified", ""),
        kind=pd.factorize(base)[0],
        safeguarded=base != table["network"],
    )
    return table.sort_values(["kind", "safeguarded", "constrained"], kind="stable")
