"""From tables to the numbers that figures and report show: scores, means, intervals, gains."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from schemenets.layout import Layout
from schemenets.statistics import paired_differences, t_interval

TABLES = ("runs", "psnr", "curves", "tuning", "stability", "multigrid")
BASELINE = "resnet-relu"  # the standard residual network
MIDDLE = 240  # budget at which methods are shown where only one fits

Tables = dict[str, pd.DataFrame]


def groups(table: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The values of a column and their rows, in order of appearance."""
    return ((str(value), own) for value, own in table.groupby(column, sort=False))


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """The rows, with the columns as attributes."""
    return table.itertuples(index=False)


def read(results: Layout) -> Tables:
    """All tables by name."""
    return {name: pd.read_csv(results.table(name)) for name in TABLES}


def scored(tables: Tables, experiment: str) -> pd.DataFrame:
    """Every measurement of an experiment with the description of its run.

    Three columns are added: ``diverged``; ``score``, the PSNR in dB, for a diverged run that of the noisy input (it
    counts as having done nothing, as in :func:`schemenets.statistics.paired_differences`); and ``gain``, the score
    minus the PSNR of the noisy input.
    """
    own = tables["runs"].query("experiment == @experiment")
    described = own[["run", *own.columns.difference(tables["psnr"].columns, sort=False)]]
    table = tables["psnr"].merge(described, on="run")
    diverged = (table["status"] != "ok") | table["psnr"].isna()
    score = table["noisy_psnr"].where(diverged, table["psnr"])
    return table.assign(diverged=diverged, score=score, gain=score - table["noisy_psnr"])


def at_home(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test set that belongs to the data set a run was trained on."""
    return scores[scores["test_set"] + scores["noise"].map("-{:g}".format) == scores["dataset"]]


def means(table: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Mean of a column over seeds, with its 95 % t interval (NaN for one seed) and the number of diverged runs.

    Returns:
        One row per group in order of appearance: the columns ``by``, ``mean``, ``low``, ``high``, ``n``, ``diverged``.
    """
    found = []
    for key, group in table.groupby(by, sort=False):
        values = group[value].to_numpy()
        low, high = t_interval(values) if values.size > 1 else (np.nan, np.nan)
        counts = {"n": values.size, "diverged": int(group["diverged"].sum())}
        found.append(dict(zip(by, key, strict=True)) | {"mean": values.mean(), "low": low, "high": high} | counts)
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "n", "diverged"])


def gains(tables: Tables, experiment: str, candidate: str, reference: str) -> pd.DataFrame:
    """PSNR of one method minus that of another at every size both ran at, paired over seeds, on their own test set.

    Returns:
        One row per size and seed: ``size``, ``seed``, ``difference`` (dB), ``diverged`` (either of the two).
    """
    measured = at_home(scored(tables, experiment))
    sizes = [set(measured.loc[measured["method"] == method, "size"]) for method in (candidate, reference)]
    parts = []
    for size in by_number(set.intersection(*sizes)):
        methods = {"experiment": experiment, "candidate": candidate, "reference": reference}
        pairs = paired_differences(tables["runs"], measured, size=size, **methods)
        diverged = pairs["candidate_diverged"] | pairs["reference_diverged"]
        parts.append(pairs[["seed", "difference"]].assign(size=size, diverged=diverged))
    return pd.concat(parts) if parts else pd.DataFrame(columns=["seed", "difference", "size", "diverged"])


def by_number(sizes: set[str]) -> list[str]:
    """Sizes such as ``budget-240`` in the order of their numbers."""
    return sorted(sizes, key=number)


def number(size: str) -> int:
    """The number in a size: 240 for ``budget-240``."""
    return int(size.rpartition("-")[2])


def middle_size(runs: pd.DataFrame, experiment: str) -> str | None:
    """The size of an experiment nearest to :data:`MIDDLE`; None without runs."""
    sizes = by_number(set(runs.loc[runs["experiment"] == experiment, "size"]))
    return min(sizes, key=lambda size: abs(number(size) - MIDDLE), default=None)


def example_run(runs: pd.DataFrame) -> str | None:
    """The run whose output is shown: a sound one, of the symmetric network at the middle budget if there is one."""
    sound = runs[runs["status"] == "ok"]
    shown = sound[(sound["method"] == "symmetric-perona_malik") & (sound["size"] == middle_size(runs, "capacity"))]
    return next(iter([*shown["run"], *sound["run"]]), None)


def chosen_rates(tuning: pd.DataFrame) -> pd.DataFrame:
    """One row per method: ``method``, the ``learning_rate`` chosen for it, and ``at_edge`` of the grid or not."""
    found = []
    for method, own in groups(tuning, "method"):
        rates, chosen = own["learning_rate"], own.loc[own["chosen"], "learning_rate"].iloc[0]
        found.append({"method": method, "learning_rate": chosen, "at_edge": chosen in (rates.min(), rates.max())})
    return pd.DataFrame(found, columns=["method", "learning_rate", "at_edge"])
