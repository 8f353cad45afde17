"""Error of learned evolutions against the number of blocks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import label, listed, ranged, short

TITLE = "Learning the evolution f ↦ u(T) of diffusion with n blocks"
CAPTION = (
    "Relative error ‖v − u(T)‖₂ / ‖u(T)‖₂ of the outputs v for noisy test signals f, a mean over the signals, against "
    "the number n of blocks; above networks with weights of their own in every block, below tied ones. "
    "Dotted: the numerical schemes with n steps of the diffusion. Networks on lines and schemes keep the bound "
    "τ ≤ 2/(L‖K‖²) of a step (Du Fort–Frankel: α ≥ L‖K‖²/4), so that n steps of the explicit scheme reach at most the "
    "time n/2, and FSI and Du Fort–Frankel networks have a safeguard; hollow markers, set a little aside: means of the "
    "same networks with neither. Filters have two taps, as the forward difference. " + _style.MARKS
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv", "tables/schemes.csv")
EXPLICIT = "explicit"
SHAPES = {EXPLICIT: ("o", "-"), "fsi": ("^", "--"), "du_fort_frankel": ("s", "-.")}
COLORS = dict(zip(SHAPES, (_style.PALETTE[1], _style.PALETTE[0], _style.PALETTE[2]), strict=True))
WEIGHTS = {False: "weights of their own", True: "tied weights"}
ASIDE = 1.07  # by this factor markers of networks without bound stand beside those of the others


def draw(tables: Tables) -> Figure:
    """One column per time T; networks with weights of their own in every block above, tied ones below."""
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
            _style.draw_means(ax, own[own["certified"]], "blocks", "error", look)
            free = own[~own["certified"]].groupby("blocks")["error"].mean()
            hollow = look | {"linestyle": "none", "markerfacecolor": "white", "markeredgecolor": COLORS[scheme]}
            ax.plot(free.index * ASIDE, free, **hollow | {"label": ""})
        time = networks["time"].iloc[0]
        ax.set(title=f"{time}, {WEIGHTS[tied]}", ylabel="relative error (log scale)", xlabel="blocks or steps n")
        _style.log_ticks(ax, sorted(measured.loc[measured["test_set"] == test_set, "blocks"].unique()))
    hollow = {"marker": "o", "linestyle": "none", "markerfacecolor": "white", "markeredgecolor": _style.GREY}
    axes[0].plot([], [], label="same networks without bound", **hollow)
    axes[0].set_yscale("log")  # of all; means on a logarithmic axis would be geometric
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Where extrapolation helps, errors of all networks, what safeguards and constraints do, and the schemes."""
    measured = _measured(tables)
    if measured.empty:
        return []
    by = ["test_set", "time", "tied", "scheme", "certified", "blocks"]
    means = measured.groupby(by, sort=False)["error"].mean().reset_index()
    found = _of_extrapolation(means[means["certified"]]) + _of_tying(means) + _of_safeguards(measured, means)
    for test_set, own in summaries.groups(means, "test_set"):
        found.append(_of_schemes(own, tables["schemes"][tables["schemes"]["test_set"] == test_set]))
    if measured["diverged"].any():
        found.append(
            f"Diverged, and counted with the error of f: {', '.join(measured.loc[measured['diverged'], 'run'])}."
        )
    return found


def _of_extrapolation(means: pd.DataFrame) -> list[str]:
    """Errors of explicit networks, and those of networks that extrapolate as multiples of them."""
    place = ["time", "tied", "blocks"]
    explicit = means[means["scheme"] == EXPLICIT]
    pairs = means[means["scheme"] != EXPLICIT].merge(explicit[[*place, "error"]], on=place, suffixes=("", "_explicit"))
    pairs = pairs.assign(ratio=pairs["error"] / pairs["error_explicit"])
    found = [
        "Networks that extrapolate, all with a bound, have a smaller error than explicit ones with as many blocks in "
        f"{(pairs['ratio'] < 1).sum()} of {len(pairs)} comparisons; at best {short(best.ratio)} times as large "
        f"({label(best.scheme)}, {WEIGHTS[best.tied]}, {best.time}, {best.blocks} blocks)."
        for best in summaries.rows(pairs.nsmallest(1, "ratio"))
    ]
    for time, of_time in summaries.groups(explicit, "time"):
        for tied, own in of_time.groupby("tied"):
            others = pairs[(pairs["time"] == time) & (pairs["tied"] == tied)]
            ratios = "".join(
                f"; of {label(scheme)} networks {listed([short(ratio) for ratio in part['ratio']])} times that"
                for scheme, part in summaries.groups(others, "scheme")
            )
            found.append(
                f"{time}, {WEIGHTS[bool(tied)]}, {listed([str(n) for n in own['blocks']])} blocks: relative error "
                f"{listed([short(error) for error in own['error']])} of explicit networks{ratios}."
            )
    return found


def _of_tying(means: pd.DataFrame) -> list[str]:
    """Where tied networks, which are special untied ones, have the smaller error: what training does not find."""
    place = ["time", "scheme", "certified", "blocks"]
    tied, untied = (means.loc[means["tied"] == flag, [*place, "error"]] for flag in (True, False))
    pairs = untied.merge(tied, on=place, suffixes=("", "_tied"))
    pairs = pairs.assign(ratio=pairs["error"] / pairs["error_tied"])
    better = pairs[pairs["ratio"] > 1].sort_values("ratio", ascending=False)
    if better.empty:
        return []
    bound = {True: "with", False: "without"}
    named = [
        f"{label(row.scheme)} {bound[row.certified]} bound, {row.time}, {row.blocks} blocks ({short(row.ratio)})"
        for row in summaries.rows(better)
    ]
    return [
        "A tied network is a special case of one with weights of its own in every block, and yet the mean error of the "
        f"latter is the larger one in {len(better)} of {len(pairs)} cases, as a multiple: {listed(named)}. There "
        "training, and not the architecture, decides."
    ]


def _of_safeguards(measured: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    """How often safeguards act; errors with the constraints and a safeguard over those without either."""
    found = []
    place = ["time", "tied", "scheme", "blocks"]
    shares = measured.groupby(place, sort=False)["held_back"].mean().dropna()
    acting = shares[shares > 0]
    if len(acting):
        found.append(
            f"The safeguard acts on test signals in {len(acting)} of {len(shares)} cases, where it shortens at most "
            f"{short(100 * acting.max(), 2)} % of the extrapolations in the mean over seeds, and "
            f"{short(100 * measured['held_back'].max(), 2)} % for one seed."
        )
    elif len(shares):
        found.append("The safeguard never acts on test signals.")
    free, kept = (means[means["certified"] == certified] for certified in (False, True))
    pairs = kept.merge(free[[*place, "error"]], on=place, suffixes=("", "_free"))
    pairs = pairs.assign(ratio=pairs["error"] / pairs["error_free"])
    for time, own in summaries.groups(pairs, "time"):
        (most,) = summaries.rows(own.nlargest(1, "ratio"))
        found.append(
            f"{time}: safeguard and constraints make the error {ranged(own['ratio'], short)} times as large, at most "
            f"with {label(most.scheme)}, {WEIGHTS[most.tied]}, {most.blocks} blocks."
        )
    return found


def _of_schemes(means: pd.DataFrame, schemes: pd.DataFrame) -> str:
    """In how many cases networks are better than their scheme, and which schemes do not get to the time T."""
    pairs = means.merge(schemes, left_on=["scheme", "blocks"], right_on=["scheme", "steps"])
    below = pairs["error"] < pairs["relative_error"]
    text = f"{means['time'].iloc[0]}: networks have a smaller error than their scheme with n steps in {below.sum()} of "
    text += f"{len(pairs)} cases"
    if not below.all():
        others = [
            f"{label(row.scheme)}, {WEIGHTS[row.tied]}, n = {row.blocks}" for row in summaries.rows(pairs[~below])
        ]
        text += f", but not {listed(others)}"
    short_of = schemes[(schemes["reached"] < schemes["time"] * (1 - 1e-9)) & (schemes["steps"] > 0)]
    for scheme, own in summaries.groups(short_of, "scheme"):
        reached = listed([f"{row.reached:.3g} with {row.steps}" for row in summaries.rows(own)])
        text += f"; the {label(scheme)} scheme stops short of T, at {reached} steps"
    return f"{text}."


def _draw_schemes(ax: Axes, schemes: pd.DataFrame) -> None:
    for scheme, own in summaries.groups(schemes[schemes["steps"] > 0], "scheme"):
        look: Any = {"marker": SHAPES[scheme][0], "markersize": 2.5, "linestyle": ":", "linewidth": 1}
        ax.plot(own["steps"], own["relative_error"], color=COLORS[scheme], **look)
    ax.plot([], [], color=_style.GREY, linestyle=":", linewidth=1, label="scheme of the same marker")
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
    scheme = table["network"].str.removeprefix("safeguarded_").replace("symmetric", EXPLICIT)
    times = tables["schemes"].groupby("test_set")["time"].first().map("T = {:g}".format)
    flags = {name: table[name].astype(bool) for name in ("tied", "certified")}
    return table.assign(error=error, scheme=scheme, time=table["test_set"].map(times), **flags)
