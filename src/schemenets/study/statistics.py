"""Exact paired tests and intervals, their correction for multiple comparisons, and how failed runs count.

Differences are paired over seeds; greater is better for the candidate. A run that failed has no meaningful score, but
must count: a difference is -∞ if the candidate failed, +∞ if the reference did, and NaN if both did.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from schemenets.errors import InvalidParameterError, SchemenetsError

SIDES = ("candidate", "reference")


class ConfidenceInterval(NamedTuple):
    """Two-sided interval, in the unit of the data."""

    low: float
    high: float


class MedianInterval(NamedTuple):
    """Two-sided interval of a median, and the probability with which it covers it."""

    low: float
    high: float
    coverage: float


class SignTest(NamedTuple):
    """One-sided p-values: of a median above the margin, and of one below."""

    p: float
    p_opposite: float


class MissingRunsError(SchemenetsError):
    """The tables lack runs that a paired comparison needs; the message names them."""

    def __init__(self, where: str, runs: list[str]) -> None:
        super().__init__(f"{where}: {len(runs)} runs are missing: {', '.join(runs)}.")


def over_power(factors: ArrayLike, numbers: ArrayLike, bound: ArrayLike) -> NDArray[np.float64]:
    """Factors over bound^number, which broadcast; infinite where one of them is NaN."""
    x, n, c = (np.asarray(values, dtype=np.float64) for values in (factors, numbers, bound))
    with np.errstate(divide="ignore"):  # in logarithms, as powers of bounds above 1 overflow
        return np.nan_to_num(np.exp(np.log(x) - n * np.log(c)), nan=np.inf, posinf=np.inf)


def median(differences: ArrayLike) -> float:
    """The median, in which a pair that failed on both sides counts as a difference of 0.

    Returns:
        Infinite if failed runs reach the middle; NaN if they do from both sides.

    Raises:
        InvalidParameterError: no differences, or another shape than (n,).
    """
    d = np.sort(np.nan_to_num(_sample(differences), nan=0.0, posinf=np.inf, neginf=-np.inf))
    low, high = d[(d.size - 1) // 2], d[d.size // 2]
    with np.errstate(invalid="ignore"):
        return float(low if low == high else (low + high) / 2)


def median_interval(differences: ArrayLike, level: float = 0.95) -> MedianInterval:
    """The k-th smallest to the k-th largest difference, with the largest k that has the coverage.

    These miss the median of the differences if fewer than k of them are below it, or above. Each has the probability
    P(X < k), X ~ Bin(n, ½), of continuous distributions, and at most that of others: n = 16 gives k = 4 and a coverage
    of 97.9 %. A pair that failed on both sides makes the interval wider at both ends.

    Args:
        differences: shape (n,), may be infinite, and NaN where both runs failed.
        level: coverage at least, in (0, 1).

    Returns:
        Infinite ends for so few differences that no k has the coverage, and where failed runs are counted.

    Raises:
        InvalidParameterError: no differences, another shape, or another level.
    """
    d, n = _sample(differences), np.size(differences)
    _check_level(level)
    k = 0
    while 2 * k + 1 < n and 1 - 2 * _at_least(n - k, n) >= level:
        k += 1
    if k == 0:
        return MedianInterval(-math.inf, math.inf, 1.0)
    ends = [np.sort(np.where(np.isnan(d), end, d)) for end in (-np.inf, np.inf)]
    return MedianInterval(float(ends[0][k - 1]), float(ends[1][n - k]), 1 - 2 * _at_least(n - k + 1, n))


def sign_test(differences: ArrayLike, margin: float = 0.0) -> SignTest:
    """The exact sign test of the median against a margin, in both directions.

    If the median is the margin or less, each difference is above it with a probability of at most ½, so that
    P(X ≥ number above), X ~ Bin(n, ½), is a p-value. A difference that equals the margin, or that is NaN since both
    runs failed, is neither above nor below it, and so counts against both directions.

    Raises:
        InvalidParameterError: no differences, or another shape than (n,).
    """
    d = _sample(differences)
    above, below = (int(np.count_nonzero(side)) for side in (d > margin, d < margin))
    return SignTest(_at_least(above, d.size), _at_least(below, d.size))


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


def share_test(failed: int, other: int, n: int) -> float:
    """Fisher's exact two-sided p-value that two methods fail equally often, ``failed`` and ``other`` of n runs each."""
    return float(stats.fisher_exact([[failed, n - failed], [other, n - other]]).pvalue)


def t_interval(differences: ArrayLike, level: float = 0.95) -> ConfidenceInterval:
    """Student's two-sided confidence interval of the mean.

    Args:
        differences: shape (n,) with n ≥ 2, finite.
        level: in (0, 1).

    Raises:
        InvalidParameterError: fewer than two differences, another shape, not finite, or another level.
    """
    d = _sample(differences, least=2, finite=True)
    _check_level(level)
    half = stats.t.ppf((1 + level) / 2, d.size - 1) * d.std(ddof=1) / np.sqrt(d.size)
    return ConfidenceInterval(float(d.mean() - half), float(d.mean() + half))


def clustered_interval(differences: ArrayLike, level: float = 0.95) -> ConfidenceInterval:
    """Interval of the mean difference over new seeds and new images, for seeds tested on the same few images.

    Signals of one image resemble each other, and all images share the seeds, so differences are not independent. The
    model is d = μ + seed + image + rest, with independent and roughly normal effects of seeds, of images, and of both
    together. The interval is mean ± t √(v_S/S + v_I/I), where v_S and v_I are the variances of the means of seeds and
    of images, and t is the quantile for min(S, I) - 1 degrees of freedom. Both variances contain a share of the rest,
    which so counts twice; the coverage is the level or more. It says nothing about images unlike the tested ones.

    Args:
        differences: shape (S, I), S ≥ 2 seeds and I ≥ 2 images, each the mean over the signals of an image; finite.
        level: in (0, 1).

    Raises:
        InvalidParameterError: another shape, not finite, or another level.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 2 or min(d.shape) < 2 or not np.all(np.isfinite(d)):
        raise InvalidParameterError("differences", differences, "finite numbers of 2 or more seeds and images")
    _check_level(level)
    variance = sum(d.mean(axis=other).var(ddof=1) / d.shape[own] for own, other in ((0, 1), (1, 0)))
    half = stats.t.ppf((1 + level) / 2, min(d.shape) - 1) * math.sqrt(variance)
    return ConfidenceInterval(float(d.mean() - half), float(d.mean() + half))


def power_table(
    seeds: Sequence[int], families: Sequence[int], effects: Sequence[float], level: float = 0.025
) -> pd.DataFrame:
    """What the sign test can show: its exact power in one direction for normal differences.

    Args:
        seeds: numbers of pairs.
        families: numbers of comparisons that Holm's correction is for; 1 is no correction.
        effects: distances of the true median from the margin, in standard deviations of the differences.
        level: of the family in one direction.

    Returns:
        One row per choice: ``seeds``, ``family``, ``level`` (of the comparison), ``wins_needed`` (seeds beyond the
        margin), ``effect``, ``power``. In a family it is that of a test at the level over its size, which is a lower
        bound of Holm's. If all seeds do not suffice, the wins needed are one more than there are, and the power is 0.
    """
    rows = []
    for n in seeds:
        for family in families:
            own = level / family
            wins = next(k for k in range(n + 2) if _at_least(k, n) <= own)
            rows += [
                {
                    **{"seeds": n, "family": family, "level": own, "wins_needed": wins, "effect": effect},
                    "power": float(stats.binom.sf(wins - 1, n, stats.norm.cdf(effect))),
                }
                for effect in effects
            ]
    return pd.DataFrame(rows)


def paired(scores: pd.DataFrame, candidate: str, reference: str, job: str) -> pd.DataFrame:
    """Scores of one method minus those of another, seed by seed.

    The pairs are those of all seeds; if one method has more seeds than the other, of the first ones.

    Args:
        scores: one row per run with ``run``, ``method``, ``seed``, ``score`` (finite, greater is better), ``diverged``
            and ``failed``.
        candidate, reference: the two methods.
        job: name of the jobs, with {} for the method; for errors.

    Returns:
        One row per seed: ``seed``, ``candidate_run``, ``reference_run``, ``difference`` (of the scores), ``counted``
        (the same as tests and medians count it, see the head of this module), and for both sides ``_diverged``,
        ``_failed`` and ``_score``.

    Raises:
        MissingRunsError: a seed of one method that the other lacks, although it has later ones or none at all.
    """
    own = [scores[scores["method"] == method].set_index("seed").sort_index() for method in (candidate, reference)]
    seeds = [set(side.index) for side in own]
    missing = [
        f"{job.format(method)}/seed-{seed}"
        for method, there in zip((candidate, reference), seeds, strict=True)
        for seed in sorted(set.union(*seeds) - there)
        if seed < max(there, default=math.inf)
    ]
    if missing:
        raise MissingRunsError(f"{candidate} against {reference}", missing)
    c, r = (side.loc[sorted(set.intersection(*seeds))] for side in own)
    failures = [side["failed"].astype(bool) for side in (c, r)]
    difference = c["score"] - r["score"]
    counted = difference.mask(failures[0], -np.inf).mask(failures[1], np.inf).mask(failures[0] & failures[1], np.nan)
    of_sides = {
        f"{side}_{what}": rows[what]
        for what in ("run", "diverged", "failed", "score")
        for side, rows in zip(SIDES, (c, r), strict=True)
    }
    return pd.DataFrame({"difference": difference, "counted": counted, **of_sides}).reset_index()


def denoisers(runs: pd.DataFrame, psnr: pd.DataFrame) -> pd.DataFrame:
    """The scores of trained denoisers, as :func:`paired` takes them.

    A run has diverged if its status says so or its PSNR is not finite; its score is then the PSNR of the noisy input.
    It has failed if it diverged or collapsed: its PSNR is below that of its input.

    Args:
        runs: rows of the table of trained runs.
        psnr: the table of measured PSNR, the rows of ONE test set at ONE noise level.

    Raises:
        MissingRunsError: a run without a measurement.
    """
    measured = psnr[["run", *psnr.columns.difference(runs.columns)]]
    table = runs.merge(measured, on="run", how="left", validate="one_to_one", indicator=True)
    if missing := table.loc[table["_merge"] == "left_only", "run"].tolist():
        raise MissingRunsError("PSNR on the test set", missing)
    diverged = (table["status"] != "ok") | ~np.isfinite(table["psnr"])
    return table.drop(columns="_merge").assign(
        diverged=diverged,
        failed=diverged | (table["psnr"] < table["noisy_psnr"]),
        score=table["noisy_psnr"].where(diverged, table["psnr"]),
    )


def paired_differences(
    runs: pd.DataFrame, psnr: pd.DataFrame, *, experiment: str, size: str, candidate: str, reference: str
) -> pd.DataFrame:
    """PSNR of one method minus PSNR of another in dB, seed by seed; see :func:`denoisers` and :func:`paired`.

    Args:
        runs: the table of trained runs.
        psnr: the table of measured PSNR, the rows of ONE test set at ONE noise level.
        experiment, size: which runs.
        candidate, reference: the two methods.

    Raises:
        MissingRunsError: runs that have no partner, or that were not measured.
    """
    chosen = runs.query("experiment == @experiment and size == @size and method in [@candidate, @reference]")
    return paired(denoisers(chosen, psnr), candidate, reference, f"{experiment}/{{}}/{size}")


def _at_least(k: int, n: int) -> float:
    """P(X ≥ k) for X ~ Bin(n, ½)."""
    return sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n


def _sample(differences: ArrayLike, least: int = 1, finite: bool = False) -> NDArray[np.float64]:
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or d.size < least or (finite and not np.all(np.isfinite(d))):
        kind = "finite numbers" if finite else "numbers"
        raise InvalidParameterError("differences", differences, f"{least} or more {kind}")
    return d


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InvalidParameterError("level", level, "a number in (0, 1)")
