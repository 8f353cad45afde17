"""Networks under attack, and under noise that they were not trained for."""

from itertools import cycle
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.statistics import t_interval
from schemenets.study.summaries import Tables
from schemenets.study.wording import fixed, interval, label, ranged, signed, size_label

TITLE = "Robustness: attacks of growing size"
CAPTION = (
    "PSNR after a perturbation of the noisy test signals, against its size (root mean square in grey values), one "
    "panel per network (feedforward: without skips), at the depth that most methods have. Markers: the worst "
    "perturbation that projected gradient ascent found for every signal and every trained network, so that the truth "
    "may be worse; means with 95 % t intervals over seeds. Thin lines with small markers: a random perturbation of "
    "the same size. Hollow markers: certified by construction; dashed: tied weights; shaded: what the Lipschitz "
    "bounds of these networks exclude. Grey: the noisy signals themselves, each in its worst case; diverged runs "
    "count as them."
)
SOURCES = ("tables/robustness.csv", "tables/psnr.csv", "tables/runs.csv")


def draw(tables: Tables) -> Figure:
    """One panel per network, one line per method."""
    table = summaries.usual_size(summaries.attacked(tables))
    if table.empty:
        return _style.empty("attacked networks")
    structures = list(summaries.groups(table, "network"))
    figure, axes = _style.grid(len(structures), 3, 2.4, sharex=True, sharey=True)
    styles = _style.method_styles(tables["runs"])
    shapes = dict(zip(table["flux"].unique(), cycle(_style.SHAPES), strict=False))
    bars: Any = {"errorbar": t_interval, "err_style": "bars", "err_kws": {"capsize": 2, "elinewidth": 1}}
    for ax, (network, panel) in zip(axes, structures, strict=True):
        mean = panel.groupby("perturbation")["noisy_psnr"].mean()
        ax.plot(mean.index, mean, color="0.6", linewidth=1, label="noisy signals, worst case")
        for method, own in summaries.groups(panel, "method"):
            kinds = {name: own[name].all() for name in ("certified", "tied")}
            name = ", ".join([label(own["flux"].iloc[0]), *(name for name in kinds if kinds[name])])
            style = styles[method] | {"label": name, "linestyle": "--" if own["tied"].all() else "-", "markersize": 5}
            style["marker"], _ = shapes[own["flux"].iloc[0]]
            sns.lineplot(own, x="perturbation", y="attacked", ax=ax, legend=False, **bars, **style)
            means = own.groupby("perturbation")[["random", "psnr_guaranteed"]].mean()
            thin = {"color": style["color"], "linewidth": 0.7, "marker": style["marker"], "markersize": 2}
            ax.plot(means.index, means["random"], **thin)
            if own["certified"].all():
                ax.fill_between(means.index, means["psnr_guaranteed"], -100, color="0.9", label="excluded by bounds")
        ax.plot([], [], color="black", linewidth=0.7, label="random perturbation")
        ax.set(title=label(network), xlabel="size of the perturbation", ylabel="PSNR (dB)")
        ax.tick_params(labelbottom=True)
    shown = table[["attacked", "random", "noisy_psnr"]].to_numpy()
    axes[0].set_ylim(shown.min() - 1, shown.max() + 1)
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Who loses least to attacks of the middle size and to other noise, what certification changes, and the bounds."""
    table = summaries.usual_size(summaries.attacked(tables))
    if table.empty:
        return []
    sizes = sorted(set(table["perturbation"]) - {0})
    middle = sizes[len(sizes) // 2]
    at = table[table["perturbation"] == middle]
    losses = at.groupby("method", sort=False)[["attacked", "loss", "random_loss"]].mean().sort_values("loss")
    least, most, best = losses.iloc[0], losses.iloc[-1], losses.loc[losses["attacked"].idxmax()]
    beyond = losses["loss"] - losses["random_loss"]
    changes = []
    for method in (name for name in losses.index if summaries.CERTIFIED in name):
        free = summaries.free_twin(method)
        pair = at[at["method"] == method].merge(at[at["method"] == free], on="seed")
        pair = pair.assign(difference=pair["attacked_x"] - pair["attacked_y"], diverged=pair["diverged_x"])
        changes += [(method, free, row) for row in summaries.rows(summaries.means(pair, ["method_y"], "difference"))]
    found = []
    if changes:
        range_of_means = ranged([row.mean for _, _, row in changes], signed)
        found.append(
            f"Under attacks of size {middle:g} certification by construction changes the PSNR by {range_of_means} dB, "
            "against the same networks without it."
        )
    found += [
        f"Attacks of size {middle:g} ({size_label(at['size'].iloc[0])}): {label(best.name)} keeps most, "
        f"{fixed(best['attacked'])} dB; {label(most.name)} loses most, "
        f"{fixed(most['loss'])} dB to {fixed(most['attacked'])} dB; {label(least.name)} loses least, "
        f"{fixed(least['loss'])} dB to {fixed(least['attacked'])} dB, where it had "
        f"{fixed(least['loss'] + least['attacked'])} dB.",
        f"That is {fixed(beyond.min())} to {fixed(beyond.max())} dB more than random perturbations of this size cost.",
    ]
    found += [
        f"{label(method)}, against {label(free)}: certification changes the PSNR under these attacks by "
        f"{signed(row.mean)} dB {interval(row.low, row.high)}."
        for method, free, row in changes
    ]
    return found + _of_bounds(table) + _of_other_noise(tables, table)


def _of_bounds(table: pd.DataFrame) -> list[str]:
    """Whether attacks leave Lipschitz bounds standing, and how near those of certified networks they come."""
    bounded = table.dropna(subset=["lipschitz_found", "lipschitz_bound"])
    beyond = (bounded["lipschitz_found"] > bounded["lipschitz_bound"] * (1 + 1e-9)).sum()
    found = [f"Attacks beyond a Lipschitz bound: {beyond} of {len(bounded)}."]
    certified = bounded[bounded["certified"]]
    if len(certified):
        runs = certified.groupby("run")[["lipschitz_found", "lipschitz_bound"]].max()
        gaps = certified["attacked"] - certified["psnr_guaranteed"]
        found.append(
            "Certified networks with such a bound: outputs move by at most "
            f"{fixed(runs['lipschitz_found'].max())} times the perturbation, where the bounds allow "
            f"{fixed(runs['lipschitz_bound'].min())} to {fixed(runs['lipschitz_bound'].max())}; attacks leave at least "
            f"{fixed(gaps.min())} dB more than is "
            "guaranteed."
        )
    return found


def _of_other_noise(tables: Tables, table: pd.DataFrame) -> list[str]:
    """The best and the worst of the attacked methods at noise levels never trained on."""
    scores = summaries.elsewhere(tables, table["experiment"].iloc[0])
    scores = scores[scores["size"] == table["size"].iloc[0]]
    found = []
    for noise, own in scores.groupby("noise"):
        means = own.groupby("method", sort=False)["score"].mean().sort_values()
        found.append(
            f"At noise {noise:g}, never trained on: {label(means.index[-1])} is best with {fixed(means.iloc[-1])} dB, "
            f"{label(means.index[0])} worst with {fixed(means.iloc[0])} dB."
        )
    return found
