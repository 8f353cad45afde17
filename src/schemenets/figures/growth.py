"""Trained networks applied again and again."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import label, listed, short

TITLE = "Growth: a trained network applied again and again"
CAPTION = (
    "Largest ‖u_n‖₂ / ‖u_0‖₂ over a few noisy test signals u_0 for u_{n+1} = N(u_n), one panel per network, denoisers "
    "and networks that learned an evolution apart: median "
    "over seeds, and their range as a band. Hollow markers: certified networks. The grey line is 1, the bound of all "
    "of these but implicit ones, whose iterations may exceed it by the power of their rate that is left. A cross: the "
    "last value of a run before it leaves the panel."
)
SOURCES = ("tables/growth.csv", "tables/runs.csv", "growth/")
RANGE = (1e-3, 1e6)  # of a panel, at most
BAND = {"alpha": 0.15, "linewidth": 0}
ROUNDING = 1e-9  # of tens of thousands of blocks
NEAR = 1e-6  # of differences of a relative size of 1e-8


def draw(tables: Tables) -> Figure:
    """One panel per network, one line per method; where these learned an evolution, panels of their own."""
    table = _repetitions(tables)
    if table.empty:
        return _style.empty("repeated networks")
    evolution = table["experiment"].str.startswith(summaries.EVOLUTION)
    table = table.assign(panel=table["network"].map(label) + np.where(evolution, "\nevolution", ""))
    panels = list(summaries.groups(table, "panel"))
    figure, axes = _style.grid(len(panels), min(3, len(panels)), 2.3, sharex=True, sharey=True)
    styles = _style.method_styles(tables["runs"])
    for ax, (name, of_network) in zip(axes, panels, strict=True):
        for method, own in summaries.groups(of_network, "method"):
            values = own["amplification"].fillna(np.inf)
            outside = values > RANGE[1]
            shown = own.assign(amplification=values.clip(RANGE[0] / 10, 10 * RANGE[1]))  # seen to leave the panel
            look = styles[method] | {"markevery": 3, "markersize": 4, "legend": False, "ax": ax, "err_kws": BAND}
            sns.lineplot(shown, x="n", y="amplification", estimator="median", errorbar=("pi", 100), **look)
            last = shown[~outside & shown["run"].isin(shown.loc[outside, "run"])].groupby("run").tail(1)
            if len(last):
                ax.plot(last["n"], last["amplification"], label="beyond the range afterwards", **_style.DIVERGED)
        ax.axhline(1, color="0.6", linewidth=1, zorder=1)
        ax.set(title=name, xscale="log", yscale="log", xlabel="repetitions n", ylabel="‖u_n‖₂ / ‖u_0‖₂")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(max(low, RANGE[0]), min(max(high, 2), RANGE[1]))
    _style.legend(figure, axes, columns=2)
    return figure


def findings(tables: Tables) -> list[str]:
    """Which networks grow beyond their start, certified or not."""
    table = tables["growth"].query("kind == 'repetition'")
    if table.empty:
        return []
    table = _described(table, tables)
    times, found = table["n"].max(), []
    for name, own in [("certified networks", table[table["certified"]]), *_others(table)]:
        if own.empty:
            continue
        worst = own.fillna({"amplification": np.inf}).groupby("run")["amplification"].max()
        overflows = own.loc[own["overflow"], "run"].nunique()
        finite = worst[np.isfinite(worst)]
        text = f"{name[0].upper()}{name[1:]}: {(worst > 1 + ROUNDING).sum()} of {len(worst)} ever exceed their start"
        text += f", from test or random signals, within {times} repetitions"
        text += f"; {overflows} leave the range of double precision" if overflows else ""
        found.append(f"{text}; largest factor{' of the others' if overflows else ''} {short(finite.max(), 6)}.")
    return [*found, *_differences(tables)]


def _differences(tables: Tables) -> list[str]:
    """How repetition moves close signals apart."""
    table = tables["growth"].query("kind == 'repeated_perturbation'")
    if table.empty:
        return []
    table = _described(table, tables)
    grown = table.fillna({"amplification": np.inf}).groupby(["certified", "network", "run"])["amplification"].max()
    apart = []
    for certified, what in ((True, "certified"), (False, "not certified")):
        if certified in grown.index.get_level_values("certified"):
            of_network = grown[certified].groupby("network", sort=False)
            counts = [f"{(own > 1 + NEAR).sum()} of {len(own)} {label(str(name))}" for name, own in of_network]
            apart.append(f"{listed(counts)} ({what})")
    text = f"Differences of close test signals ever grow in {', in '.join(apart)}"
    return [f"{text}. Certificates bound norms; how far differences may grow, their Lipschitz bounds say."]


def _others(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    others = table[~table["certified"]]
    return [(f"{label(network)}, not certified", own) for network, own in summaries.groups(others, "network")]


def _repetitions(tables: Tables) -> pd.DataFrame:
    return _described(tables["growth"].query("kind == 'repetition' and start == 'test'"), tables)


def _described(table: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """With the network of every run, and whether its certificate holds by construction."""
    own = table[["run", "method", "seed", "start", "n", "amplification", "overflow"]]
    described = own.merge(tables["runs"][["run", "experiment", "network", "flux", "certified"]], on="run")
    return described.astype({"overflow": bool, "certified": bool})
