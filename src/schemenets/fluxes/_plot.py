"""Diffusivities, fluxes and energies, drawn with matplotlib; imported only to draw."""

from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import style
from matplotlib.figure import Figure
from torch import Tensor

from schemenets.fluxes import Flux, Responses, get

WIDTH, HEIGHT = 17 / 2.54, 3  # inches: the width of a printed page
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.8",
    "axes.grid": True,
    "grid.color": "0.9",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 8.8,
    "axes.titlesize": 8.8,
    "xtick.labelsize": 8.1,
    "ytick.labelsize": 8.1,
    "legend.fontsize": 8.1,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "lines.linewidth": 1.2,
    "svg.hashsalt": "schemenets",  # with the date left out, equal figures are equal files
}
# to be told apart by colour-blind readers as well (the palette of seaborn); the darker ones first
COLOURS = ("#0173b2", "#d55e00", "#029e73", "#cc78bc", "#ca9161", "#de8f05", "#949494")
# to be told apart in grey as well; their number has no factor in common with that of the colours
DASHES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (1, 3)), (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (3, 3)))
PANELS = ("diffusivity $g(s^2)$", "flux $\\Phi(s)$", "energy density $\\Psi(s^2)$")
EXTENT = 1.5  # of a panel, in largest magnitudes of the curve that three quarters of the others do not exceed


class Curve(NamedTuple):
    label: str
    flux: Flux
    lam: Tensor | float
    w: Tensor | None
    s_max: float


def curves(shown: Iterable[str | Flux | Responses], s_max: float) -> Iterator[Curve]:
    for entry in shown:
        if isinstance(entry, Responses):
            for index, reach in enumerate(entry.s_max.tolist()):
                lam, w = (None if x is None else x[index].double() for x in (entry.lam, entry.w))
                yield Curve(f"{entry.layer}, filter {index + 1}", entry.flux, 1.0 if lam is None else lam, w, reach)
        else:
            flux = get(entry) if isinstance(entry, str) else entry
            w = torch.tensor(flux.initial, dtype=torch.float64) if flux.weights else None
            yield Curve(flux.name.replace("_", " "), flux, 1.0, w, s_max)


class Drawn(Figure):
    """A figure that is drawn and saved whatever settings users have; what they ask of ``savefig`` counts."""

    def savefig(self, *arguments: Any, **options: Any) -> None:
        with style.context(STYLE, after_reset=True):
            super().savefig(*arguments, **options)


def draw(shown: Iterable[str | Flux | Responses], s_max: float) -> Figure:
    """See :func:`schemenets.fluxes.plot`."""
    with style.context(STYLE, after_reset=True):
        figure = Drawn(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots(1, 3)
        styles = zip(cycle(COLOURS), cycle(DASHES), strict=False)
        for (text, flux, lam, w, reach), (color, dashes) in zip(curves(shown, s_max), styles, strict=False):
            s = torch.linspace(-reach, reach, 800, dtype=torch.float64)  # an even number: without 0, where g is 0/0
            phi = flux(s, lam, w)
            for ax, values in zip(axes, (phi / s, phi, 2 * flux.energy(s, lam, w)), strict=True):
                ax.plot(s, values, color=color, linestyle=dashes, label=text)
        for ax, title in zip(axes, PANELS, strict=True):
            drawn = np.array([line.get_ydata() for line in ax.lines])
            extent = EXTENT * np.quantile(abs(drawn).max(1), 0.75)
            low, high = drawn.min().clip(min=-extent), drawn.max().clip(max=extent)
            margin = 0.05 * (high - low)
            ax.set(title=title, xlabel="$s$", ylim=(low - margin, high + margin))
            ax.locator_params(axis="x", steps=[1, 2, 5, 10])
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
