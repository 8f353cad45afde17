"""Exact paired tests, their correction for multiple comparisons, and how diverged runs count."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from schemenets.errors import InvalidParameterError, SchemenetsError


class ConfidenceInterval(NamedTuple):
    """Two-sided interval, in the unit of the data."""

    low: float
    high: float


class MissingRunsError(SchemenetsError):
    """The tables lack runs that a paired comparison needs; the message names them."""

    def __init__(self, where: str, runs: list[str]) -> None:
        super().__init__(f"{where}: {len(runs)} runs are missing: {', '.join(runs)}.")


def over_power(factors: ArrayLike, numbers: ArrayLike, bound: ArrayLike) -> NDArray[np.float64]:
    """Factors over bound^number, which broadcast; infinite where one of them is NaN."""
    x, n, c = (np.asarray(values, dtype=np.float64) for values in (factors, numbers, bound))
    with np.errstate(divide="ignore"):  # in logarithms, as powers of bounds above 1 overflow
        return np.nan_to_num(np.exp(np.log(x) - n * np.log(c)), nan=np.inf, posinf=np.inf)


def sign_flip(differences: ArrayLike) -> float:
    """One-sided p-value of the exact paired sign-flip test for a mean above zero.

    Under the null hypothesis the differences are symmetric about zero, so all 2ⁿ choices of their signs are
    equally likely. To count them all, the signed sums of one half of the differences are sorted and searched for the
    complements of the sums of the other half: about 2^(n/2) steps instead of 2ⁿ.

    Args:
        differences: shape (n,) with 1 ≤ n ≤ 40, finite.

    Raises:
        InvalidParameterError: differences of another shape or not finite.
    """
    d = _sample(differences, least=1, most=40)

    def sums(x: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(1)
        for value in x:
            total = np.concatenate([total + value, total - value])
        return total

    first, second = sums(d[0::2]), sums(d[1::2])
    # Sums that are equal in exact arithmetic must count as equal whatever order they were added in.
    least = d.sum() - 1e-12 * np.abs(d).sum()
    below = np.searchsorted(np.sort(first), least - second)
    return 1.0 - below.sum() / (first.size * second.size)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values, in the order given.

    Args:
        p_values: shape (m,), in [0, 1]; the family of tests.

    Raises:
        InvalidParameterError: another shape, or a value outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise InvalidParameterError("p_values", p_values, "a list of numbers in [0, 1]")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def t_interval(differences: ArrayLike, level: float = 0.95) -> ConfidenceInterval:
    """Student's two-sided confidence interval of the mean.

    Args:
        differences: shape (n,) with n ≥ 2, finite.
        level: in (0, 1).

    Raises:
        InvalidParameterError: fewer than two differences, another shape, not finite, or another level.
    """
    d = _sample(differences, least=2)
    if not 0 < level < 1:
        raise InvalidParameterError("level", level, "a number in (0, 1)")
    half = stats.t.ppf((1 + level) / 2, d.size - 1) * d.std(ddof=1) / np.sqrt(d.size)
    return ConfidenceInterval(float(d.mean() - half), float(d.mean() + half))


def paired_differences(
    runs: pd.DataFrame, psnr: pd.DataFrame, *, experiment: str, size: str, candidate: str, reference: str
) -> pd.DataFrame:
    """PSNR of one method minus PSNR of another, seed by seed.

    A run has diverged if its status says so or if its PSNR is not finite. It counts as having done nothing
    (PSNR of the noisy input) and as a loss for its side: for a diverged candidate
    d = -|PSNR(reference) - PSNR(noisy)|, for a diverged reference d = +|PSNR(candidate) - PSNR(noisy)|, and
    d = 0 if both diverged. No run is dropped.

    Args:
        runs: the table of trained runs.
        psnr: the table of measured PSNR, the rows of ONE test set at ONE noise level.
        experiment, size: which runs.
        candidate, reference: the two methods.

    Returns:
        One row per seed: ``seed``, ``candidate_run``, ``reference_run``, ``difference`` (dB),
        ``candidate_diverged``, ``reference_diverged``.

    Raises:
        MissingRunsError: a seed of one method that the other lacks, or a run without a measurement.
    """
    where = f"{experiment}, {size}, {candidate} against {reference}"
    chosen = runs.query("experiment == @experiment and size == @size and method in [@candidate, @reference]")
    scores = psnr[["run", "noisy_psnr", "psnr"]]
    table = chosen[["run", "method", "seed", "status"]].merge(
        scores, on="run", how="left", validate="one_to_one", indicator=True
    )
    seeds = {method: set(table.loc[table["method"] == method, "seed"]) for method in (candidate, reference)}
    missing = [
        f"{experiment}/{method}/{size}/seed-{seed}"
        for method, own in seeds.items()
        for seed in sorted(set().union(*seeds.values()) - own)
    ]
    missing += table.loc[table["_merge"] == "left_only", "run"].tolist()
    if missing:
        raise MissingRunsError(where, missing)

    table["diverged"] = (table["status"] != "ok") | ~np.isfinite(table["psnr"])
    table["score"] = table["noisy_psnr"].where(table["diverged"], table["psnr"])
    c, r = (table[table["method"] == method].set_index("seed").sort_index() for method in (candidate, reference))
    d = c["score"] - r["score"]
    sign = r["diverged"].astype(int) - c["diverged"].astype(int)
    return pd.DataFrame(
        {
            "candidate_run": c["run"],
            "reference_run": r["run"],
            "difference": d.where(~(c["diverged"] | r["diverged"]), sign * d.abs()),
            "candidate_diverged": c["diverged"],
            "reference_diverged": r["diverged"],
        }
    ).reset_index()


def _sample(differences: ArrayLike, least: int, most: float = np.inf) -> NDArray[np.float64]:
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or not least <= d.size <= most or not np.all(np.isfinite(d)):
        raise InvalidParameterError("differences", differences, f"{least} to {most} finite numbers")
    return d
