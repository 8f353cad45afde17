"""Choice of the learning rates."""

from textwrap import fill

import seaborn as sns
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import label

TITLE = "Tuning of the learning rate"
CAPTION = (
    "Validation PSNR of every trial against its learning rate, one panel per method; the ring marks the rate that was "
    "chosen and is used everywhere else. The seeds (small dots) are used for nothing but tuning; lines join their "
    "means, in which a diverged trial (cross) counts as the noisy input."
)
SOURCES = ("tables/tuning.csv",)
LINE = 30  # letters of a title that fit above one panel


def draw(tables: Tables) -> Figure:
    """One panel per method."""
    tuning = tables["tuning"]
    if tuning.empty:
        return _style.empty("trials")
    score = tuning["validation_psnr"].fillna(tuning["noisy_psnr"])
    tuning = tuning.assign(score=score, diverged=tuning["status"] != "ok")
    methods = list(summaries.groups(tuning, "method"))
    figure, axes = _style.grid(len(methods), 3, 1.05, sharex=True, sharey=True)
    styles = _style.method_styles(tables["runs"])
    for ax, (method, own) in zip(axes, methods, strict=True):
        style = styles[method] | {"label": ""}
        _style.draw_seeds(ax, own, "learning_rate", "score", style["color"])
        sns.lineplot(own, x="learning_rate", y="score", errorbar=None, legend=False, ax=ax, **style)
        ring = own[own["chosen"]].groupby("learning_rate")["score"].mean()
        ax.plot(ring, "o", markersize=11, markerfacecolor="none", markeredgecolor="black", clip_on=False)
        ax.margins(0.12)
        ax.set(title=fill(label(method), LINE), ylabel="validation PSNR (dB)")
        _style.log_ticks(ax, sorted(own["learning_rate"].unique()))
    for ax in axes[-3:]:
        ax.tick_params(labelbottom=True)
        ax.set_xlabel("learning rate", visible=True)
    if tuning["diverged"].any():
        _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """Methods whose best rate lies at an edge of the grid, and how many trials diverged."""
    tuning = tables["tuning"]
    if tuning.empty:
        return []
    edges = [label(row.method) for row in summaries.rows(summaries.chosen_rates(tuning)) if row.at_edge]
    diverged = (tuning["status"] != "ok").sum()
    return [
        f"{len(edges)} of {tuning['method'].nunique()} methods have the chosen rate at an edge of the grid, so that a "
        "better one may lie outside.",
        f"These methods: {'; '.join(edges) or 'none'}.",
        f"Trials: {len(tuning)}, diverged: {diverged}.",
    ]
