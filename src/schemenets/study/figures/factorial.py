"""Structure against flux at equal depth."""

from typing import Any

from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, listed, ranged, signed, size_label

ORDER = 30
TITLE = "Structure and flux at equal depth"
CAPTION = (
    "Test PSNR of every combination of network and flux with the same number of blocks, on signals like the "
    "training signals. In brackets: the number of trainable parameters; a triangle at the left edge: a seed "
    "below it, with its PSNR."
)
BELOW = 8  # dB below the noisy input, where the panels end
SOURCES = ("tables/runs.csv", "tables/psnr.csv")


def draw(tables: Tables) -> Figure:
    """One panel per depth, one row per method."""
    measured = summaries.at_home(summaries.scored(tables, "factorial"))
    if measured.empty:
        return _style.empty("runs of experiment factorial")
    sizes = summaries.by_number(set(measured["size"]))
    heights = 0.7 + 0.3 * measured.groupby("size")["method"].nunique()[sizes].to_numpy()
    figure, axes = _style.grid(len(sizes), 1, heights.mean(), sharex=True, height_ratios=heights)
    styles = _style.method_styles(tables["runs"])
    lowest = measured["noisy_psnr"].iloc[0] - BELOW
    for ax, size in zip(axes, sizes, strict=True):
        names = []
        for index, (method, own) in enumerate(summaries.groups(measured[measured["size"] == size], "method")):
            own = own.assign(row=index)
            style = styles[method] | {"linestyle": "none", "label": ""}
            _style.draw_means(ax, own, "score", "row", style, orient="y")
            names.append(f"{label(method)} ({own['parameters'].iloc[0]})")
            for score in own.loc[own["score"] < lowest, "score"]:
                ax.plot(lowest, index, color=styles[method]["color"], marker="<", markersize=5, clip_on=False)
                place: Any = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
                ax.annotate(fixed(score, 1), (lowest, index), **place)
        ax.set_yticks(range(len(names)), names)
        ax.set(title=size_label(size), ylim=(len(names) - 0.5, -0.5), xlabel="test PSNR (dB)", ylabel="")
        ax.label_outer()
    if measured["score"].min() < lowest:
        axes[0].set_xlim(left=lowest)  # of all panels
    if measured["diverged"].any():
        _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """The range of the mean differences that the flux makes, and of those that the structure makes."""
    methods = set(tables["runs"].query("experiment == 'factorial'")["method"])
    split = [method.split("-") for method in sorted(methods) if method.count("-") == 1]
    changes = {
        "a flux other than ReLU changes the mean PSNR": [
            (f"{name}-{flux}", f"{name}-relu") for name, flux in split if flux != "relu"
        ],
        "a structure other than ResNet": [
            (f"{name}-{flux}", f"resnet-{flux}") for name, flux in split if name != "resnet"
        ],
    }
    texts = []
    for what, pairs in changes.items():
        gains = [summaries.gains(tables, "factorial", *pair).groupby("size")["difference"].mean() for pair in pairs]
        if means := [mean for gain in gains for mean in gain]:
            texts.append(f"{what} by {ranged(means, signed)} dB")
    return f"At equal depth, {listed(texts)}." if texts else NOT_MEASURED
