"""Error of learned evolutions against the number of blocks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import label, listed, short

TITLE = "Learning the evolution f ↦ u(T) of diffusion with n blocks"
CAPTION = (
    "Relative error ‖v − u(T)‖₂ / ‖u(T)‖₂ of the outputs v for noisy test signals f, a mean over the signals, against "
    "the number n of blocks: networks with weights of their own in every block, networks with tied weights, and the "
    "numerical schemes with n steps of the diffusion. They keep the bound τ ≤ 2/(L‖K‖²) of a step (Du Fort–Frankel: "
    "α ≥ L‖K‖²/4), so that n steps of the explicit scheme reach at most the time n/2, and FSI and Du Fort–Frankel "
    "networks have a safeguard; only those without bound have neither. Filters have two taps, as the forward "
    "difference. " + _style.MARKS
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv", "tables/schemes.csv")
EXPLICIT = "explicit"
SHAPES = {EXPLICIT: "o", "fsi": "^", "du_fort_frankel": "s"}
COLORS = dict(zip(SHAPES, (_style.PALETTE[1], _style.PALETTE[0], _style.PALETTE[2]), strict=True))
TIED: dict[bool, tuple[str, dict[str, Any]]] = {
    False: ("", {"linestyle": "-"}),
    True: (", tied", {"linestyle": "--", "markerfacecolor": "white"}),
}
BOUND: dict[bool, tuple[str, dict[str, Any]]] = {
    True: ("", {}),
    False: (", without bound", {"linestyle": "", "markersize": 9, "markerfacecolor": "none"}),
}


def draw(tables: Tables) -> Figure:
    """One panel per time T."""
    measured = _measured(tables)
    if measured.empty:
        return _style.empty("runs of an evolution")
    sets = list(summaries.groups(measured, "test_set"))
    figure, axes = _style.grid(len(sets), 2, 3.6, sharey=True)
    for ax, (test_set, networks) in zip(axes, sets, strict=True):
        schemes = tables["schemes"][tables["schemes"]["test_set"] == test_set]
        _draw_schemes(ax, schemes)
        for scheme, imitators in summaries.groups(networks, "scheme"):
            look = {"color": COLORS[scheme], "marker": SHAPES[scheme], "markeredgecolor": COLORS[scheme]}
            for (tied, certified), own in imitators.groupby(["tied", "certified"]):
                (kind, style), (kept, more) = TIED[bool(tied)], BOUND[bool(certified)]
                name = f"{label(scheme)} networks{kind}{kept}"
                _style.draw_means(
                    ax, own, "blocks", "error", look | style | more | {"label": name, "markeredgewidth": 1}
                )
        ax.set(title=f"T = {schemes['time'].iloc[0]:g}", ylabel="relative error (log scale)")
        _style.log_ticks(ax, sorted(networks["blocks"].unique()))
        ax.set_xlabel("blocks or steps n")
    axes[0].set_yscale("log")  # of all; means on a logarithmic axis would be geometric
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Errors of the explicit networks, those of the others as multiples of them, and networks against schemes."""
    measured = _measured(tables)
    found = []
    for test_set, networks in summaries.groups(measured, "test_set"):
        schemes = tables["schemes"][tables["schemes"]["test_set"] == test_set]
        time = f"T = {schemes['time'].iloc[0]:g}"
        for tied, own in networks[networks["certified"].astype(bool)].groupby("tied"):
            errors = own.pivot_table("error", "blocks", "scheme").dropna()
            if EXPLICIT not in errors or errors.empty:
                continue
            kind = "tied" if tied else "untied"
            depths = listed([str(n) for n in errors.index])
            values = listed([short(error) for error in errors[EXPLICIT]])
            found.append(f"{time}, {kind}, {depths} blocks: relative error {values} of explicit networks.")
            for scheme in errors.columns.drop(EXPLICIT):
                ratios = errors[scheme] / errors[EXPLICIT]
                found.append(
                    f"{time}, {kind}: the error of {label(scheme)} networks is {listed([short(r) for r in ratios])} "
                    "times as large."
                )
        found += [f"{time}, {text}" for text in _of_safeguards(networks)]
        means = networks.groupby(["scheme", "tied", "certified", "blocks"], as_index=False)["error"].mean()
        pairs = means.merge(schemes, left_on=["scheme", "blocks"], right_on=["scheme", "steps"])
        below = (pairs["error"] < pairs["relative_error"]).sum()
        found.append(
            f"{time}: in {below} of {len(pairs)} cases networks have a smaller error than their scheme with n steps."
        )
        short_of = schemes[(schemes["reached"] < schemes["time"] * (1 - 1e-9)) & (schemes["steps"] > 0)]
        for scheme, own in summaries.groups(short_of, "scheme"):
            reached = listed([f"{row.reached:.3g} with {row.steps}" for row in summaries.rows(own)])
            found.append(f"{time}: the {label(scheme)} scheme stops short of T, at {reached} steps.")
    if measured["diverged"].any():
        found.append(
            f"Diverged, and counted with the error of f: {', '.join(measured.loc[measured['diverged'], 'run'])}."
        )
    return found


def _of_safeguards(networks: pd.DataFrame) -> list[str]:
    """How often safeguards act; errors with the constraints and a safeguard over those without either."""
    found = []
    for (scheme, tied), own in networks[networks["scheme"] != EXPLICIT].groupby(["scheme", "tied"], sort=False):
        name = f"{label(str(scheme))} networks, {'tied' if tied else 'untied'}"
        shares = own.groupby("blocks")["held_back"].mean().dropna()
        if len(shares):
            found.append(
                f"{name}: the safeguard shortens {100 * shares.min():.0f} to {100 * shares.max():.0f} % of the "
                "extrapolations."
            )
        errors = own.pivot_table("error", "blocks", "certified").dropna()
        if errors.shape[1] == 2 and len(errors):
            ratios = listed([short(ratio) for ratio in errors[True] / errors[False]])
            depths = listed([str(n) for n in errors.index])
            found.append(f"{name}, {depths} blocks: safeguard and constraints make the error {ratios} times as large.")
    return found


def _draw_schemes(ax: Axes, schemes: pd.DataFrame) -> None:
    for scheme, own in summaries.groups(schemes[schemes["steps"] > 0], "scheme"):
        style = {"color": COLORS[scheme], "marker": SHAPES[scheme], "markersize": 3}
        ax.plot(own["steps"], own["relative_error"], label=f"{label(scheme)} scheme", linestyle=":", **style)
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
    return table.assign(error=error, scheme=scheme)
