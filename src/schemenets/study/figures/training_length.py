"""Quality against the length of training."""

from functools import partial
from itertools import pairwise

import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import interval, label, ranged, signed, size_label

TITLE = "Does longer training change the picture?"
CAPTION = (
    "Test PSNR of the headline methods at one budget, each trained anew with schedules of several lengths; the "
    "learning rate is the one tuned for the middle length. " + _style.MARKS
)
SOURCES = ("tables/runs.csv", "tables/psnr.csv")
EXPERIMENTS = ("short", "capacity", "long")
ENOUGH = 0.05  # dB by which doubling the training of a converged method changes its mean at most


def draw(tables: Tables) -> Figure:
    """One line per method."""
    measured = _measured(tables)
    if measured.empty:
        return _style.empty("runs of experiments short and long")
    figure, ax = _style.draw_methods(measured, tables["runs"], "epochs", 3.2)
    _style.log_ticks(ax, sorted(measured["epochs"].unique()))
    ax.set(xlabel="epochs", title=size_label(measured["size"].iloc[0]))
    _style.legend(figure, [ax])
    return figure


def findings(tables: Tables) -> list[str]:
    """What doubling the training changes, method by method, and the order of the methods at every length."""
    measured = _measured(tables)
    if measured.empty:
        return []
    found, orders, lengths = [], [], sorted(measured["epochs"].unique())
    changes: dict[str, list[float]] = {}
    for before, after in ((a, b) for a, b in pairwise(lengths) if b == 2 * a):
        for method, own in summaries.groups(measured, "method"):
            gain = _gain(own, before, after)
            (row,) = summaries.rows(summaries.means(gain, ["size"], "difference"))
            changes.setdefault(f"from {before} to {after}", []).append(row.mean)
            verdict = "at most" if abs(row.mean) <= ENOUGH else "more than"
            found.append(
                f"{label(method)}: {signed(row.mean, 3)} dB {interval(row.low, row.high, 3)} from {before} to {after} "
                f"epochs, {verdict} {ENOUGH} dB."
            )
    for epochs in lengths:
        means = measured[measured["epochs"] == epochs].groupby("method", sort=False)["score"].mean()
        order = [label(method) for method in means.sort_values(ascending=False).index]
        orders.append(order)
        found.append(f"From best to worst mean after {epochs} epochs: {'; '.join(order)}.")
    texts = [
        f"training {which} epochs changes the means by {ranged(own, partial(signed, digits=3))} dB"
        for which, own in changes.items()
    ]
    same = "the same" if all(order == orders[0] for order in orders) else "not the same"
    return [f"The order of the methods is {same} at all lengths{''.join(f'; {text}' for text in texts)}.", *found]


def _measured(tables: Tables) -> pd.DataFrame:
    """The headline methods at every length."""
    parts = [summaries.at_home(summaries.scored(tables, experiment)) for experiment in EXPERIMENTS]
    others = pd.concat([parts[0], parts[2]])
    pairs = set(zip(others["method"], others["size"], strict=True))
    return pd.concat(part[[pair in pairs for pair in zip(part["method"], part["size"], strict=True)]] for part in parts)


def _gain(own: pd.DataFrame, before: int, after: int) -> pd.DataFrame:
    pair = [own[own["epochs"] == epochs].set_index(["size", "seed"]) for epochs in (before, after)]
    difference = (pair[1]["score"] - pair[0]["score"]).rename("difference")
    return difference.reset_index().assign(diverged=(pair[0]["diverged"] | pair[1]["diverged"]).to_numpy())
