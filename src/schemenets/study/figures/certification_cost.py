"""What certification by construction costs in PSNR."""

from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, ranged, signed, size_label

ORDER = 100
TITLE = "What certification costs"
CAPTION = (
    "Test PSNR of networks certified by construction minus that of the same networks trained freely, paired over "
    "seeds. Left of zero, certification costs quality. In brackets: training noise."
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")


def draw(tables: Tables) -> Figure:
    """One panel per noise level of the test, one row per experiment and size, one colour per method."""
    table = summaries.certification(tables)
    if table.empty:
        return _style.empty("pairs of certified and free networks")
    jobs = (
        table["experiment"].map(label)
        + ", "
        + table["size"].map(size_label)
        + table["trained"].map(" (noise {:g})".format)
    )
    names, methods = list(jobs.unique()), list(table["method"].unique())
    noises = sorted(table["noise"].unique())
    figure, axes = _style.grid(len(noises), min(3, len(noises)), 1.2 + 0.4 * len(names), sharex=True, sharey=True)
    for ax, noise in zip(axes, noises, strict=True):
        ax.axvline(0, color="black", linewidth=0.8)
        for index, method in enumerate(methods):
            own = table[(table["noise"] == noise) & (table["method"] == method)]
            shift = 0.5 * ((index + 0.5) / len(methods) - 0.5)
            placed = own.assign(row=jobs.map(names.index) + shift)
            marker, _ = _style.SHAPES[index % len(_style.SHAPES)]
            look = {"label": label(method), "color": _style.PALETTE[index % len(_style.PALETTE)], "marker": marker}
            _style.draw_means(ax, placed, "difference", "row", look | {"linestyle": "none"}, orient="y")
        ax.set_yticks(range(len(names)), names)
        ax.set(
            title=f"tested at noise {noise:g}", ylim=(len(names) - 0.5, -0.5), xlabel="certified − free (dB)", ylabel=""
        )
    _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """Range of the mean differences at the training noise."""
    table = summaries.certification(tables)
    table = table[table["noise"] == table["trained"]]
    if table.empty:
        return NOT_MEASURED
    means = summaries.means(table, ["method", "experiment", "size", "noise"], "difference")
    return (
        f"At the training noise, certification changes the mean PSNR by {ranged(means['mean'], signed)} dB; the "
        f"interval lies above zero in {(means['low'] > 0).sum()} and below zero in {(means['high'] < 0).sum()} of "
        f"{len(means)} comparisons."
    )
