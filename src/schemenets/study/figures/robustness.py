"""Networks under attack, and under noise that they were not trained for."""

from itertools import cycle

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, ranged, signed

ORDER = 110
CHAPTER = "N1"
FOLDED = True
TITLE = "Robustness: attacks of growing size"
CAPTION = (
    "PSNR after perturbing the noisy test signals, against the size of the perturbation (root mean square, grey "
    "values). Markers: the worst one that gradient ascent found. Shaded: what Lipschitz bounds exclude."
)
SOURCES = ("tables/robustness.csv", "tables/runs.csv")


def draw(tables: Tables) -> Figure:
    """One panel per network, one line per method."""
    table = summaries.usual_size(summaries.attacked(tables))
    if table.empty:
        return _style.empty("attacked networks")
    structures = list(summaries.groups(table, "network"))
    figure, axes = _style.grid(len(structures), 3, 2.4, sharex=True, sharey=True)
    styles = _style.method_styles(tables["runs"])
    shapes = dict(zip(table["flux"].unique(), cycle(_style.SHAPES), strict=False))
    for ax, (network, panel) in zip(axes, structures, strict=True):
        mean = panel.groupby("perturbation")["noisy_psnr"].mean()
        ax.plot(mean.index, mean, color="0.6", linewidth=1, label="noisy signals, worst case")
        for method, own in summaries.groups(panel, "method"):
            _, _, variant = method.partition("-")  # all but the network
            style = styles[method] | {"label": label(variant), "linestyle": _line(method, own), "markersize": 5}
            style["marker"], _ = shapes[own["flux"].iloc[0]]
            sns.lineplot(own, x="perturbation", y="attacked", ax=ax, legend=False, **_style.MEDIANS, **style)
            others = own.groupby("perturbation")[["random", "psnr_guaranteed"]].median()
            thin = {"color": style["color"], "linewidth": 0.7, "marker": style["marker"], "markersize": 2}
            ax.plot(others.index, others["random"], **thin)
            if own["certified"].all():
                ax.fill_between(others.index, others["psnr_guaranteed"], -100, color="0.9", label="excluded by bounds")
        ax.plot([], [], color="black", linewidth=0.7, label="random perturbation")
        ax.set(title=label(network), xlabel="size of the perturbation", ylabel="PSNR (dB)")
        ax.tick_params(labelbottom=True)
    shown = table[["attacked", "random", "noisy_psnr"]].to_numpy()
    axes[0].set_ylim(shown.min() - 1, shown.max() + 1)
    _style.legend(figure, axes)
    return figure


def _line(method: str, own: pd.DataFrame) -> str:
    if summaries.NO_BIASES in method:
        return ":"
    return "-." if summaries.SIGNED in method else "--" if own["tied"].all() else "-"


def headline(tables: Tables) -> str:
    """What attacks of the middle size cost, and what certification changes under them."""
    table = summaries.usual_size(summaries.attacked(tables))
    sizes = sorted(set(table["perturbation"]) - {0})
    if not sizes:
        return NOT_MEASURED
    at = table[table["perturbation"] == sizes[len(sizes) // 2]]
    losses = at.groupby("method")[["loss", "random_loss"]].median()
    text = (
        f"Attacks of size {sizes[len(sizes) // 2]:g} cost {ranged(losses['loss'], fixed)} dB, random perturbations of "
        f"this size {ranged(losses['random_loss'], fixed)} dB"
    )
    attacked = at.pivot_table("attacked", "seed", "method")
    twins = {name: summaries.free_twin(name) for name in attacked if summaries.CERTIFIED in name}
    changes = [(attacked[name] - attacked[free]).median() for name, free in twins.items() if free in attacked]
    return (
        f"{text}; certification changes the PSNR under attack by {ranged(changes, signed)} dB."
        if changes
        else f"{text}."
    )
