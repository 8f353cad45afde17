"""The same noisy signals, denoised by networks and by TV."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.metrics import psnr
from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, listed, ranged

ORDER = 25
CHAPTER = "C2"
TITLE = "The same noisy signals, denoised"
CAPTION = (
    f"The first test signal of a family, denoised by networks of about {summaries.MIDDLE} parameters that were trained "
    "on such signals, and by tuned TV. Grey: the clean signal; below: the error."
)
SOURCES = ("data/*.safetensors", "tables/runs.csv", "tables/psnr.csv", "tables/classical.csv")
RIVAL = "total_variation"
COLORS = {"noisy": _style.GREY, **{name: _style.COMPARED[name] for name in (*summaries.COMPARED, RIVAL)}}


def draw(tables: Tables) -> Figure:
    """Two rows per data set of the table ``denoised``: ``dataset``, ``method``, ``clean`` and ``result``."""
    denoised = tables.get("denoised", pd.DataFrame())
    if denoised.empty:
        return _style.empty("denoised signals")
    names = list(denoised["dataset"].unique())
    methods = [method for method in COLORS if method in set(denoised["method"])]
    figure = Figure(figsize=(_style.WIDTH, 2.9 * len(names)))
    ratios = [2, 1] * len(names)
    axes = figure.subplots(len(ratios), len(methods), sharex=True, sharey="row", squeeze=False, height_ratios=ratios)
    for row, name in enumerate(names):
        for column, method in enumerate(methods):
            signal = denoised[(denoised["dataset"] == name) & (denoised["method"] == method)]
            above, below = axes[2 * row : 2 * row + 2, column]
            if len(signal):
                _draw_signal(above, below, signal, method)
            else:
                above.remove()
                below.remove()
        axes[2 * row, 0].set_ylabel(f"{label(name.rpartition('-')[0])}\n(grey value)")
        axes[2 * row + 1, 0].set_ylabel("error")
    for ax in axes[-1]:
        ax.set_xlabel("position")
    return figure


def _draw_signal(above: Axes, below: Axes, signal: pd.DataFrame, method: str) -> None:
    x, clean, result = range(len(signal)), signal["clean"].to_numpy(), signal["result"].to_numpy()
    above.plot(x, clean, color="0.6", linewidth=0.7)
    above.plot(x, result, color=COLORS[method], linewidth=0.9)
    below.plot(x, result - clean, color=COLORS[method], linewidth=0.9)
    name = label(method).replace(", ", "\n")
    above.set(title=f"{name}\n{fixed(float(psnr(result, clean)), 1)} dB", xlim=(0, len(signal) - 1))


def headline(tables: Tables) -> str:
    """PSNR over all test signals of the networks, medians over seeds, of TV, and of the best classical denoiser."""
    texts = []
    for dataset, runs in summaries.groups(summaries.compared(tables["runs"]), "dataset"):
        scores = summaries.at_home(summaries.scored(tables, runs["experiment"].iloc[0]))
        medians = scores[scores["run"].isin(runs["run"])].groupby("method")["score"].median()
        rivals = summaries.classical(tables, dataset)
        if len(medians) and (rivals["method"] == RIVAL).any():
            psnr_of = rivals.set_index("method")["psnr"]
            shown = dict.fromkeys((RIVAL, str(psnr_of.idxmax())))
            against = listed([f"{fixed(psnr_of[name])} ({label(name)})" for name in shown])
            family = label(dataset.rpartition("-")[0])
            texts.append(f"{ranged(medians, fixed)} dB against {against} for {family}")
    if not texts:
        return NOT_MEASURED
    return f"Median PSNR of these networks, against TV and the best classical denoiser: {'; '.join(texts)}."
