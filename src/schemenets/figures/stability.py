"""What trained networks do to the Euclidean norm, found and guaranteed."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import label, short

TITLE = "Euclidean stability: guaranteed and found"
CAPTION = (
    "Left: the largest amplification ‖N(u)‖₂ / ‖u‖₂ that a gradient search found for every trained network of all "
    "experiments (dots), and the bound that follows from its parameters (bars, a grey line to each network's dot; "
    "ResNets have none: with N(0) ≠ 0 they amplify small signals by any factor, and signals below a root mean square "
    "of 10⁻³ were not searched). The search gives lower bounds of the true maximum. Right: the least margin of the "
    "blocks to the limit of their step size, 1 − τL‖K‖²/2 of explicit steps, 1 − L‖K‖²/(4α) of Du Fort–Frankel and "
    "1 − τ max(L′, m)‖K‖² of implicit networks (axis linear from −1 to 1, else logarithmic); ResNets and networks "
    "without skips have no such limit. No margin may be below zero in a certified network, but a theorem can ask for "
    "more. A cross: the run diverged, and its last sound state is shown."
)
SOURCES = ("tables/stability.csv", "tables/runs.csv")


def draw(tables: Tables) -> Figure:
    """One row per method."""
    table = _with_status(tables)
    if table.empty:
        return _style.empty("certificates")
    methods = list(summaries.groups(table, "method"))
    figure = Figure(figsize=(_style.WIDTH, 1 + 0.36 * len(methods)))
    left, right = figure.subplots(1, 2, sharey=True)
    styles = _style.method_styles(tables["runs"])
    table = pd.concat(
        own.assign(row=index + np.linspace(-0.3, 0.3, len(own))) for index, (_, own) in enumerate(methods)
    )
    failed = table[table["status"] != "ok"]
    dots: Any = {"hue": "method", "palette": {name: style["color"] for name, style in styles.items()}, "legend": False}
    for ax, column in ((left, "largest_amplification_found"), (right, "least_step_margin")):
        sns.scatterplot(table, x=column, y="row", ax=ax, s=14, linewidth=0, label="found", **dots)
        ax.plot(failed[column], failed["row"], **_style.DIVERGED)
    gaps = {"color": "0.6", "linewidth": 0.8, "zorder": 0.8}
    left.hlines(table["row"], table["largest_amplification_found"], table["euclidean_bound"], **gaps)
    left.plot(table["euclidean_bound"], table["row"], "|", color="black", markersize=6, label="bound", zorder=3)
    for index, (_, own) in enumerate(methods):
        if own["euclidean_bound"].isna().all():
            where = {"ha": "right", "va": "center", "transform": right.get_yaxis_transform()}
            text = right.text(0.98, index, "no bound", color=_style.GREY, zorder=4, **where)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    rows = [f"{label(method)}\n{own['certified'].sum()} of {len(own)} certified" for method, own in methods]
    left.set_yticks(range(len(rows)), rows)
    left.set(xlabel="amplification (log scale)", ylabel="", xscale="log", ylim=(len(rows) - 0.5, -0.5))
    right.set_xlabel("least step margin")
    right.set_xscale("symlog", linthresh=1)
    right.set_xlim(2 * min(-1, table["least_step_margin"].min()), 1.2)  # a margin is 1 at most
    right.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1))
    right.tick_params(axis="x", labelrotation=45)
    _style.legend(figure, [left])
    left.axvline(1, color="0.7", linewidth=0.8, zorder=1)
    right.axvline(0, color="0.7", linewidth=0.8, zorder=1)
    return figure


def findings(tables: Tables) -> list[str]:
    """Numbers of certificates and counterexamples, and the largest amplifications."""
    table = _with_status(tables)
    if table.empty:
        return []
    certified, others = table[table["certified"]], table[~table["certified"]]
    found = [
        f"Certified: {len(certified)} of {len(table)} networks.",
        f"Counterexamples to a bound: {table['counterexample'].sum()}.",
    ]
    for kind, own in (("certified", certified), ("not certified", others)):
        if len(own):
            (worst,) = summaries.rows(own.nlargest(1, "largest_amplification_found"))
            found.append(
                f"Largest amplification found among the networks {kind}: "
                f"{short(worst.largest_amplification_found, 6)} ({worst.run})."
            )
    tightness = table["largest_expansion_found"] / table["lipschitz_bound"]
    found.append(
        f"Largest ‖N(u) − N(v)‖₂ / ‖u − v‖₂ found, relative to its bound: {short(tightness.min())} to "
        f"{short(tightness.max())}, median {short(tightness.median())}."
    )
    return found


def _with_status(tables: Tables) -> pd.DataFrame:
    return tables["stability"].merge(tables["runs"][["run", "status"]], on="run")
