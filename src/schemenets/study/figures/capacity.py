"""Quality against the number of trainable parameters."""

from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, fixed, label, size_label

ORDER = 20
TITLE = "Denoising quality against the number of trainable parameters"
CAPTION = (
    "Test PSNR on signals like the training signals, against the number of trainable parameters. Each network has as "
    "many blocks as its budget allows (ticks: budgets)."
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")


def draw(tables: Tables) -> Figure:
    """One line per method."""
    measured = summaries.at_home(summaries.scored(tables, "capacity"))
    if measured.empty:
        return _style.empty("runs of experiment capacity")
    figure, (ax,) = _style.grid(1, 1, 4)
    styles = _style.method_styles(tables["runs"])
    for method, own in summaries.groups(measured, "method"):
        _style.draw_means(ax, own, "parameters", "score", styles[method])
    _style.log_ticks(ax, [summaries.number(size) for size in summaries.by_number(set(measured["size"]))])
    noisy, (low, high) = measured["noisy_psnr"].iloc[0], ax.get_ylim()
    if noisy > low - 0.3 * (high - low):
        ax.axhline(noisy, color=_style.GREY, linestyle=":", label="noisy input")
    ax.set(xlabel="trainable parameters (ticks: budgets)", ylabel="test PSNR (dB)")
    _style.legend(figure, [ax])
    return figure


def headline(tables: Tables) -> str:
    """How often networks from schemes are best, and how far the best one is from the standard residual network."""
    measured = summaries.at_home(summaries.scored(tables, "capacity"))
    if measured.empty:
        return NOT_MEASURED
    means = measured.groupby(["size", "method"])["score"].mean().unstack()
    means = means.loc[summaries.by_number(set(means.index))]
    if summaries.BASELINE in means:
        means = means[means[summaries.BASELINE].notna()]  # at smaller budgets there is nothing to compare with
    best = means.idxmax(axis=1)
    ours = sum(not str(name).startswith("resnet-") for name in best)
    size, scores = means.index[-1], means.iloc[-1]
    text = (
        f"A network from a numerical scheme has the highest mean PSNR at {ours} of {len(best)} budgets; with "
        f"{size_label(size)} the best network is {label(best[size])} with {fixed(scores.max())} dB"
    )
    return (
        f"{text}; the standard ResNet has {fixed(scores[summaries.BASELINE])} dB."
        if summaries.BASELINE in means
        else f"{text}."
    )
