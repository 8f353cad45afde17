"""Gain of networks and of classical denoisers against the distance of a test set from the training signals."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, listed, signed

ORDER = 60
CHAPTER = "classical"
TITLE = "Gain against distance from the training signals"
CAPTION = (
    "Median gain in PSNR over the noisy input against the distance of a test set from the training signals "
    "(1-Wasserstein, of neighbouring differences); lines connect test sets of one noise level. Solid: networks trained "
    "at one level. Hollow: classical denoisers."
)
SOURCES = ("tables/psnr.csv", "tables/runs.csv", "tables/classical.csv", "tables/distances.csv")
RIVALS = ("diffusion", "total_variation", "wavelets")
LOOKS: dict[str, dict[str, Any]] = {
    method: {
        **{"color": color, "marker": marker, "linestyle": "--" if method in RIVALS else "-", "linewidth": 0.7},
        **{"markerfacecolor": "white" if method in RIVALS else color, "markeredgecolor": color, "markersize": 4.5},
        "label": f"_{method}",  # the lines have names beside them
    }
    for (method, color), marker in zip(_style.COMPARED.items(), "so^Dvp", strict=True)
}
LINE, SLANTED = 0.08, 0.036  # distances of lines of text, as shares of a panel's height and width


def draw(tables: Tables) -> Figure:
    """One panel per experiment; lines connect test sets of one noise level."""
    table = _gains(tables)
    if table.empty:
        return _style.empty(f"runs of experiments {' and '.join(summaries.EXPERIMENTS)}")
    panels = list(summaries.groups(table, "training_set"))
    figure, axes = _style.grid(len(panels), 1, 3.8, sharey=True)
    for ax, (training_set, own) in zip(axes, panels, strict=True):
        for (method, _), points in own.groupby(["method", "noise"], sort=False):
            _style.draw_medians(ax, points, "distance", "gain", LOOKS[str(method)])
        ax.axhline(0, color=_style.GREY, linewidth=0.8)
        family, _, trained = training_set.rpartition("-")
        ax.set(xlabel=f"distance from {label(family)}, noise {trained} (grey values)", ylabel="gain (dB)")
        _name_test_sets(ax, own)
    for ax, (_, own) in zip(axes, panels, strict=True):
        _name_lines(ax, own)
    if table["diverged"].any():
        _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """Who is ahead on signals like the training signals, and how often a rival is ahead elsewhere."""
    table = _gains(tables)
    home = table["test_set"] + table["noise"].map("-{:g}".format) == table["training_set"]
    if not home.any():
        return NOT_MEASURED
    place = ["training_set", "test_set", "noise"]
    gains = table.groupby([*place, "rival", "method"])["gain"].median().reset_index()
    best = gains.pivot_table("gain", place, "rival", "max")
    lead = (best[False] - best[True]).rename("lead")
    at_home = lead.index.isin(list(table.loc[home, place].itertuples(index=False, name=None)))
    behind, others = (lead[~at_home] < 0).sum(), (~at_home).sum()
    leads = [f"{signed(row.lead)} dB ({label(row.test_set)})" for row in summaries.rows(lead[at_home].reset_index())]
    return (
        "On signals like the training signals, the gain of the best network shown minus that of the best classical "
        f"denoiser is {listed(leads)}; on {behind} of {others} other test sets the classical denoiser gains more."
    )


def _gains(tables: Tables) -> pd.DataFrame:
    """Every run of the networks shown and every rival, on every test set.

    Columns ``training_set``, ``test_set``, ``noise``, ``distance``, ``method``, ``rival``, ``gain``, ``diverged``.
    """
    runs, rivals = summaries.compared(tables["runs"]), tables["classical"]
    rivals = rivals[rivals["method"].isin(RIVALS)]
    rivals = rivals.assign(gain=rivals["psnr"] - rivals["noisy_psnr"], rival=True, diverged=False)
    parts = []
    for training_set, own in summaries.groups(runs, "dataset"):
        scores = summaries.scored(tables, own["experiment"].iloc[0])
        networks = scores[scores["run"].isin(own["run"])].assign(rival=False)
        parts += [part.assign(training_set=training_set) for part in (networks, rivals)]
    columns = ["training_set", "test_set", "noise", "method", "rival", "gain", "diverged"]
    table = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
    return table.merge(tables["distances"], on=["training_set", "test_set", "noise"])


def _name_test_sets(ax: Axes, own: pd.DataFrame) -> None:
    """A light line at the distance of every test set, with its family and noise above the panel."""
    places = own.groupby(["test_set", "noise"])["distance"].first().sort_values()
    names = [f"{label(str(family))}, {noise:g}" for family, noise in places.index]
    ax.set_xlim(-0.03 * places.max(), 1.03 * places.max())
    texts = _style.spread(places.to_numpy() / places.max(), SLANTED) * places.max()
    top = ax.secondary_xaxis("top")
    top.set_xticks(texts, names, rotation=45, ha="left", rotation_mode="anchor")
    top.set_xlabel("test set, noise")
    for x in places:
        ax.axvline(x, color="0.85", linewidth=0.8, zorder=0)


def _name_lines(ax: Axes, own: pd.DataFrame) -> None:
    """The names of the lines, right of the panel, as near to their ends as there is place."""
    ends = own[own["distance"] == own["distance"].max()].groupby("method")["gain"].median().sort_values()
    low, high = ax.get_ylim()
    heights = _style.spread((ends.to_numpy() - low) / (high - low), LINE)
    for method, height in zip(map(str, ends.index), heights, strict=True):
        ax.annotate(label(method), (1.03, height), xycoords="axes fraction", va="center", color=LOOKS[method]["color"])
