"""What certification by construction costs in PSNR."""

from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import interval, label, ranged, signed, size_label

TITLE = "What certification costs"
CAPTION = (
    "Test PSNR of networks certified by construction minus that of the same networks trained freely and without a "
    "safeguard, with the same seeds and the same number of parameters, on the family of signals that they were trained "
    "on; in brackets the "
    "noise level of the training, above each panel that of the test. Left of zero, certification costs quality. "
    + _style.MARKS
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


def findings(tables: Tables) -> list[str]:
    """Range of the mean differences of every method, at the noise of the training and elsewhere; the worst."""
    table = summaries.certification(tables)
    by = ["method", "experiment", "size", "noise"]
    found = []
    if len(table):
        means = summaries.means(table[table["noise"] == table["trained"]], by, "difference")
        found.append(
            f"At the noise of the training certification changes the mean PSNR by {ranged(means['mean'], signed)} dB; "
            f"the interval lies above zero in {(means['low'] > 0).sum()}, below zero in {(means['high'] < 0).sum()} of "
            f"{len(means)} comparisons."
        )
    for method, own in summaries.groups(table, "method"):
        for where, part in (
            ("at the noise of the training", own[own["noise"] == own["trained"]]),
            ("at noise never trained on", own[own["noise"] != own["trained"]]),
        ):
            means = summaries.means(part, by, "difference")
            for worst in summaries.rows(means.sort_values("mean", kind="stable").head(1)):
                above, below = (means["low"] > 0).sum(), (means["high"] < 0).sum()
                found.append(
                    f"{label(method)}, {where}: certification changes the mean by {ranged(means['mean'], signed)} "
                    f"dB; interval above zero in {above}, below zero in {below} of {len(means)} comparisons. At worst "
                    f"{signed(worst.mean)} dB {interval(worst.low, worst.high)} ({label(worst.experiment)}, "
                    f"{size_label(worst.size)}, tested at noise {worst.noise:g})."
                )
    return found
