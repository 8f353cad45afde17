"""Validation PSNR during training."""

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import label, ranged, signed, size_label

TITLE = "Learning curves"
CAPTION = (
    "Validation PSNR after every epoch for the networks of experiment capacity: mean over seeds, and the range of the "
    "seeds as a band. A cross marks the last epoch of a run that diverged; the mean goes on with the others. The "
    "learning rate ends at zero, so that a flat end does not prove that longer training would change nothing. "
    "What falls more than 1 dB below the noisy signals leaves the panels."
)
SOURCES = ("tables/curves.csv", "tables/tuning.csv")
BAND = {"alpha": 0.15, "linewidth": 0}


def draw(tables: Tables) -> Figure:
    """One panel per budget, one line per method."""
    curves = tables["curves"].query("experiment == 'capacity'")
    if curves.empty:
        return _style.empty("runs of experiment capacity")
    sizes = summaries.by_number(set(curves["size"]))
    figure, axes = _style.grid(len(sizes), 2, 2.3, sharey=True)
    styles = _style.method_styles(tables["runs"])
    for ax, size in zip(axes, sizes, strict=True):
        for method, own in summaries.groups(curves[curves["size"] == size], "method"):
            shown = styles[method] | {"markevery": max(1, own["epoch"].max() // 6), "legend": False, "ax": ax}
            sns.lineplot(own, x="epoch", y="validation_psnr", errorbar=("pi", 100), err_kws=BAND, **shown)
            ended = own[own["run"].isin(own.loc[own["validation_psnr"].isna(), "run"])].dropna()
            last = ended.groupby("run").tail(1)
            if len(last):
                ax.plot(last["epoch"], last["validation_psnr"], label="diverged afterwards", **_style.DIVERGED)
        ax.set(title=size_label(size), ylabel="validation PSNR (dB)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylim(bottom=max(axes[0].get_ylim()[0], tables["tuning"]["noisy_psnr"].min() - 1))
    _style.legend(figure, axes)
    return figure


def findings(tables: Tables) -> list[str]:
    """How much the last quarter of the training still changed."""
    curves = tables["curves"].query("experiment == 'capacity'")
    if curves.empty:
        return []
    epochs = curves["epoch"].max()
    quarter = max(1, epochs // 4)
    means = curves.groupby(["method", "size", "epoch"], as_index=False)["validation_psnr"].mean()
    last, before = (means[means["epoch"] == epoch] for epoch in (epochs, max(1, epochs - quarter)))
    late = last.merge(before, on=["method", "size"])
    late["rise"] = late["validation_psnr_x"] - late["validation_psnr_y"]
    (most,) = summaries.rows(late.nlargest(1, "rise"))
    return [
        f"Over the last {quarter} of {epochs} epochs the means rise by {ranged(late['rise'], signed)} "
        f"dB, most for {label(most.method)}, {size_label(most.size)}."
    ]
