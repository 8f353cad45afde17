"""Structure against flux at equal depth."""

import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import interval, label, listed, ranged, signed, size_label

TITLE = "Structure and flux at equal depth"
CAPTION = (
    "Test PSNR of every combination of network and flux with the same number of blocks, on the signals they were "
    "trained for; in brackets the number of trainable parameters. " + _style.MARKS
)
TIED = "-tied"  # how the names of methods end whose blocks share their weights
SOURCES = ("tables/runs.csv", "tables/psnr.csv", "tables/stability.csv")


def draw(tables: Tables) -> Figure:
    """One panel per depth, one row per method."""
    measured = summaries.at_home(summaries.scored(tables, "factorial"))
    if measured.empty:
        return _style.empty("runs of experiment factorial")
    sizes = summaries.by_number(set(measured["size"]))
    heights = 0.7 + 0.3 * measured.groupby("size")["method"].nunique()[sizes].to_numpy()
    figure, axes = _style.grid(len(sizes), 1, heights.mean(), sharex=True, height_ratios=heights)
    styles = _style.method_styles(tables["runs"])
    for ax, size in zip(axes, sizes, strict=True):
        names = []
        for index, (method, own) in enumerate(summaries.groups(measured[measured["size"] == size], "method")):
            own = own.assign(row=index)
            style = styles[method] | {"linestyle": "none", "label": ""}
            _style.draw_means(ax, own, "score", "row", style, orient="y")
            names.append(f"{label(method)} ({own['parameters'].iloc[0]})")
        ax.set_yticks(range(len(names)), names)
        ax.set(title=size_label(size), ylim=(len(names) - 0.5, -0.5), xlabel="test PSNR (dB)", ylabel="")
        ax.label_outer()
    if measured["diverged"].any():
        _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Effects of the flux in each structure, of the structure with each flux, and of both; costs of restrictions."""
    methods = set(tables["runs"].query("experiment == 'factorial'")["method"])
    split = [method.split("-") for method in sorted(methods) if method.count("-") == 1]
    others = [flux for flux in dict.fromkeys(flux for _, flux in split) if flux != "relu"]
    structures = list(dict.fromkeys(structure for structure, _ in split))
    pairs = {
        "other fluxes than ReLU": [(f"{name}-{flux}", f"{name}-relu") for name in structures for flux in others],
        "other structures than that of ResNet": [
            (f"{name}-{flux}", f"resnet-{flux}")
            for flux in [*others, "relu"]
            for name in structures
            if name != "resnet"
        ],
    }
    found = _message(tables, pairs) + [
        text for of in pairs.values() for pair in of for text in _compared(tables, *pair)
    ]
    for flux in others:
        within = [
            summaries.gains(tables, "factorial", f"{name}-{flux}", f"{name}-relu") for name in ("symmetric", "resnet")
        ]
        both = within[0].merge(within[1], on=["size", "seed"])
        both = both.assign(
            difference=both["difference_x"] - both["difference_y"], diverged=both["diverged_x"] | both["diverged_y"]
        )
        what = (
            f"Interaction: what {label(flux)} instead of ReLU brings the symmetric network beyond what it brings ResNet"
        )
        found += _sentences(both, what)
    for method in sorted(name for name in methods if summaries.CERTIFIED in name):
        found += [f"Certification: {text}" for text in _compared(tables, method, summaries.free_twin(method))]
    for method in sorted(name for name in methods if name.endswith(TIED)):
        found += [f"Shared weights: {text}" for text in _compared(tables, method, method.removesuffix(TIED))]
    return found + _learned(tables["stability"])


def _message(tables: Tables, pairs: dict[str, list[tuple[str, str]]]) -> list[str]:
    """The range of the mean differences within each kind of pair."""
    texts = []
    for what, of_kind in pairs.items():
        gains = [summaries.gains(tables, "factorial", *pair).groupby("size")["difference"].mean() for pair in of_kind]
        if means := [mean for gain in gains for mean in gain]:
            texts.append(f"{what} change the PSNR by {ranged(means, signed)} dB")
    return [f"At equal depth {listed(texts)}."] if texts else []


def _learned(stability: pd.DataFrame) -> list[str]:
    """How many learned fluxes end nonmonotone."""
    counts = {kind: int(stability[f"{kind}_fluxes"].sum()) for kind in ("nonmonotone", "monotone", "undecided")}
    if not (fluxes := sum(counts.values())):
        return []
    return [
        f"Of {fluxes} learned fluxes, one per filter, {counts['nonmonotone']} are nonmonotone on the responses that "
        f"their filters take, {counts['monotone']} monotone, {counts['undecided']} undecided. All start nonmonotone."
    ]


def _compared(tables: Tables, candidate: str, reference: str) -> list[str]:
    difference = summaries.gains(tables, "factorial", candidate, reference)
    return _sentences(difference, f"{label(candidate)} against {label(reference)}")


def _sentences(difference: pd.DataFrame, what: str) -> list[str]:
    return [
        f"{what}, {size_label(row.size)}: {signed(row.mean)} dB {interval(row.low, row.high)}."
        for row in summaries.rows(summaries.means(difference, ["size"], "difference"))
    ]
