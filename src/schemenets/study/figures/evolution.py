"""Error of learned evolutions against the number of blocks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, listed, ranged, short

ORDER = 50
CHAPTER = "C4b"
TITLE = "Learning the evolution f ↦ u(T) of diffusion with n blocks"
CAPTION = (
    "Relative error of u(T), to which diffusion leads a noisy signal f (seeds, medians, intervals), against the number "
    "n of blocks. "
    "Hollow: networks whose bound holds by construction. Dotted: the untrained scheme with n steps; explicit ones "
    "reach T if n ≥ 2T."
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv", "tables/schemes.csv")
EXPLICIT = "explicit"
SHAPES = {EXPLICIT: ("o", "-"), "fsi": ("^", "--"), "du_fort_frankel": ("s", "-.")}
COLORS = dict(zip(SHAPES, (_style.PALETTE[1], _style.PALETTE[0], _style.PALETTE[2]), strict=True))
WEIGHTS = {False: "untied weights", True: "tied weights"}
ASIDE = 1.07  # factor by which markers of networks with a bound are offset
REACHED = {False: "do not reach T", True: "reach T"}


def draw(tables: Tables) -> Figure:
    """One column per time T; untied networks above, tied ones below."""
    measured = _measured(tables)
    if measured.empty:
        return _style.empty("runs of an evolution")
    sets = [test_set for test_set, _ in summaries.groups(measured, "test_set")]
    panels = [(tied, test_set) for tied in WEIGHTS if (measured["tied"] == tied).any() for test_set in sets]
    figure, axes = _style.grid(len(panels), len(sets), 2.7, sharex="col", sharey=True)
    for ax, (tied, test_set) in zip(axes, panels, strict=True):
        schemes = tables["schemes"][tables["schemes"]["test_set"] == test_set]
        networks = measured[(measured["test_set"] == test_set) & (measured["tied"] == tied)]
        _draw_schemes(ax, schemes)
        for scheme, own in summaries.groups(networks, "scheme"):
            marker, line = SHAPES[scheme]
            look = {"color": COLORS[scheme], "marker": marker, "linestyle": line, "label": f"{label(scheme)} networks"}
            _style.draw_medians(ax, own[~own["certified"]], "blocks", "error", look)
            bounded = own[own["certified"]].groupby("blocks")["error"].median()
            hollow = look | {"linestyle": "none", "markerfacecolor": "white", "markeredgecolor": COLORS[scheme]}
            ax.plot(bounded.index * ASIDE, bounded, **hollow | {"label": ""})
        time = networks["time"].iloc[0]
        ax.set(title=f"{time}, {WEIGHTS[tied]}", ylabel="relative error (log scale)", xlabel="blocks or steps n")
        _style.log_ticks(ax, sorted(measured.loc[measured["test_set"] == test_set, "blocks"].unique()))
    hollow = {"marker": "o", "linestyle": "none", "markerfacecolor": "white", "markeredgecolor": _style.GREY}
    axes[0].plot([], [], label="with a bound by construction", **hollow)
    axes[0].set_yscale("log")  # of all panels
    _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """How often extrapolation makes the error smaller than that of free explicit networks with as many blocks."""
    measured = _measured(tables)
    if measured.empty:
        return NOT_MEASURED
    place = ["time", "tied", "blocks"]
    errors = measured.groupby([*place, "certified", "scheme"], sort=False)["error"].median().reset_index()
    explicit = errors.loc[(errors["scheme"] == EXPLICIT) & ~errors["certified"], [*place, "error"]]
    pairs = errors[errors["scheme"] != EXPLICIT].merge(explicit, on=place, suffixes=("", "_explicit"))
    if pairs.empty:
        return NOT_MEASURED
    pairs = pairs.assign(ratio=pairs["error"] / pairs["error_explicit"])
    ends = pairs["blocks"] >= 2 * pairs["time"].str.removeprefix("T = ").astype(float)
    counts = [
        f"in {(own['ratio'] < 1).sum()} of {len(own)} cases where n explicit steps {REACHED[bool(reached)]} "
        f"({ranged(own['ratio'], short)} times)"
        for reached, own in pairs.groupby(ends)
    ]
    return (
        "Networks that extrapolate have a smaller median error than free explicit ones of equal depth "
        f"{listed(counts)}."
    )


def _draw_schemes(ax: Axes, schemes: pd.DataFrame) -> None:
    for scheme, own in summaries.groups(schemes[schemes["steps"] > 0], "scheme"):
        look: Any = {"marker": SHAPES[scheme][0], "markersize": 2.5, "linestyle": ":", "linewidth": 1}
        ax.plot(own["steps"], own["relative_error"], color=COLORS[scheme], **look)
    ax.plot([], [], color=_style.GREY, linestyle=":", linewidth=1, label="scheme with the same marker")
    for row in summaries.rows(schemes[schemes["steps"] == 0]):
        ax.axhline(row.relative_error, color=_style.GREY, linewidth=0.8, label="f itself")


def _measured(tables: Tables) -> pd.DataFrame:
    """Every run of an evolution with the ``scheme`` that its network imitates and its ``error``.

    A diverged run counts as having done nothing: it has the error of f.
    """
    experiments = sorted(
        {name for name in tables["runs"]["experiment"] if name.startswith(summaries.EVOLUTION)},
        key=lambda name: int(name.removeprefix(summaries.EVOLUTION)),
    )
    parts = [summaries.scored(tables, experiment) for experiment in experiments]
    if not parts:
        return pd.DataFrame(columns=["test_set", "diverged"])
    table = pd.concat(parts)
    idle = tables["schemes"].query("steps == 0").set_index("test_set")["relative_error"]
    error = np.where(table["diverged"], table["test_set"].map(idle), table["relative_error"])
    scheme = table["network"].str.removeprefix(summaries.SAFEGUARDED).replace("symmetric", EXPLICIT)
    times = tables["schemes"].groupby("test_set")["time"].first().map("T = {:g}".format)
    flags = {name: table[name].astype(bool) for name in ("tied", "certified")}
    return table.assign(error=error, scheme=scheme, time=table["test_set"].map(times), **flags)
