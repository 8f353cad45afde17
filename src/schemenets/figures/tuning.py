"""Choice of the learning rates."""

from matplotlib.figure import Figure

from schemenets import summaries
from schemenets.figures import _style
from schemenets.summaries import Tables
from schemenets.wording import label

TITLE = "Tuning of the learning rate"
CAPTION = (
    "Validation PSNR of every trial against its learning rate, one panel per method; the ring marks the rate that was "
    "chosen and is used everywhere else. The seeds are used for nothing but tuning. A cross at the lower edge is a "
    "diverged trial; where one diverged, no mean is drawn."
)
SOURCES = ("tables/tuning.csv",)


def draw(tables: Tables) -> Figure:
    """One panel per method."""
    tuning = tables["tuning"]
    if tuning.empty:
        return _style.empty("trials")
    methods = list(summaries.groups(tuning, "method"))
    figure, axes = _style.grid(len(methods), 3, 1.75, sharex=True, sharey=True)
    styles = _style.method_styles(tables["runs"])
    for ax, (method, own) in zip(axes, methods, strict=True):
        style = styles[method]
        rates = own["learning_rate"]
        ax.plot(rates, own["validation_psnr"], ".", markersize=4, alpha=0.5, color=style["color"])
        diverged = own[own["status"] != "ok"]
        ax.plot(
            diverged["learning_rate"], [0.04] * len(diverged), transform=ax.get_xaxis_transform(), **_style.DIVERGED
        )
        means = own.groupby("learning_rate")["validation_psnr"].agg(lambda values: values.mean(skipna=False))
        ax.plot(means, **style)
        chosen = means[rates[own["chosen"]].unique()]
        ax.plot(chosen, "o", markersize=11, markerfacecolor="none", markeredgecolor="black", clip_on=False)
        ax.margins(0.12)
        ax.set_title(label(method))
        _style.log_ticks(ax, sorted(rates.unique()))
    for ax in axes[::3]:
        ax.set_ylabel("validation PSNR (dB)")
    for ax in axes[-3:]:
        ax.set_xlabel("learning rate")
        ax.tick_params(labelbottom=True)
    return figure


def findings(tables: Tables) -> list[str]:
    """Methods whose best rate lies at an edge of the grid, and how many trials diverged."""
    tuning = tables["tuning"]
    if tuning.empty:
        return []
    edges = [label(row.method) for row in summaries.rows(summaries.chosen_rates(tuning)) if row.at_edge]
    diverged = (tuning["status"] != "ok").sum()
    return [
        f"Chosen at an edge of the grid, so that a better rate may lie outside: {'; '.join(edges) or 'none'}.",
        f"Trials: {len(tuning)}, diverged: {diverged}.",
    ]
