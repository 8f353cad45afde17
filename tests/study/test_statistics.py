"""Tests and intervals against enumeration, counting and SciPy; the pairing against hand-made tables."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from schemenets.errors import InvalidParameterError
from schemenets.study.statistics import MissingRunsError, holm, paired_differences, sign_flip, t_interval

RNG = np.random.default_rng(5)
SAMPLES = [
    *(RNG.normal(0.4, 1.0, n) for n in range(1, 11)),
    np.array([0.1, 0.2, 0.3, -0.3, 0.1, 0.2]),  # ties only in exact arithmetic
    np.array([1.0, -1.0, 2.0, 0.0, 3.0]),
    np.zeros(4),
]


def enumerated(d):
    """p by definition: every choice of signs, the observed one included."""
    sums = np.array([np.dot(signs, np.abs(d)) for signs in product((-1, 1), repeat=len(d))])
    return np.mean(sums >= d.sum() - 1e-9)


@pytest.mark.parametrize("d", SAMPLES, ids=lambda d: f"n={len(d)}")
def test_sign_flip_is_the_enumeration_of_all_signs(d):
    assert sign_flip(d) == pytest.approx(enumerated(d), abs=1e-15)


def test_sign_flip_is_scipys_exact_permutation_test():
    d = RNG.normal(0.3, 1.0, 12)
    reference = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    assert sign_flip(d) == pytest.approx(reference.pvalue, abs=1e-15)


def test_sign_flip_of_many_seeds_is_the_count_of_integer_sums():
    d = RNG.integers(-5, 9, 33)
    counts = np.ones(1)  # coefficients of Π (x^-|d| + x^|d|), shifted: how many sign choices give each sum
    for value in np.abs(d):
        counts = np.convolve(counts, np.eye(2 * value + 1)[0] + np.eye(2 * value + 1)[-1])
    sums = np.arange(counts.size) - np.abs(d).sum()
    assert sign_flip(d) == pytest.approx(counts[sums >= d.sum()].sum() / 2.0**33, rel=1e-12)


@pytest.mark.parametrize("n", [1, 6, 7, 10])
def test_smallest_p(n):
    assert sign_flip(np.linspace(0.1, 1, n)) == 2.0**-n
    assert sign_flip(-np.linspace(0.1, 1, n)) == 1


@pytest.mark.parametrize("d", [[], [1.0, np.nan], [np.inf], [[1.0, 2.0]], np.ones(41)])
def test_sign_flip_refuses(d):
    with pytest.raises(InvalidParameterError, match="differences"):
        sign_flip(d)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert holm([0.02]) == pytest.approx([0.02])
    assert holm([]).size == 0


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_holm_rejects_what_the_step_down_procedure_rejects(alpha):
    for _ in range(50):
        p = RNG.uniform(0, 0.15, 7)
        rejected = set()
        for step, index in enumerate(sorted(range(7), key=lambda i: p[i])):
            if p[index] > alpha / (7 - step):
                break
            rejected.add(index)
        assert set(np.flatnonzero(holm(p) <= alpha)) == rejected


@pytest.mark.parametrize("p", [[0.5, 1.1], [-0.1], [np.nan], 0.5])
def test_holm_refuses(p):
    with pytest.raises(InvalidParameterError, match="p_values"):
        holm(p)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [2, 6, 10])
def test_t_interval_is_scipys(n, level):
    d = RNG.normal(0.3, 0.2, n)
    interval = t_interval(d, level)
    assert interval == pytest.approx(stats.ttest_1samp(d, 0).confidence_interval(level))
    assert interval.low < d.mean() < interval.high


def test_t_interval_of_equal_differences_is_a_point():
    assert t_interval([0.5] * 6) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(("d", "level"), [([1.0], 0.95), ([], 0.95), ([1.0, np.nan], 0.95), ([1.0, 2.0], 1.0)])
def test_t_interval_refuses(d, level):
    with pytest.raises(InvalidParameterError):
        t_interval(d, level)


NOISY = 28.0


def tables(**psnr):
    """Both tables of methods with one PSNR per seed; None stands for a diverged run."""
    rows = [
        {
            "run": f"factorial/{method}/blocks-4/seed-{seed}",
            "experiment": "factorial",
            "method": method,
            "size": "blocks-4",
            "seed": seed,
            "status": "diverged" if value is None else "ok",
            "noisy_psnr": NOISY,
            "psnr": np.nan if value is None else value,
        }
        for method, values in psnr.items()
        for seed, value in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    return table.drop(columns=["noisy_psnr", "psnr"]), table


def pair(runs, psnr):
    return paired_differences(runs, psnr, experiment="factorial", size="blocks-4", candidate="a", reference="b")


def test_differences_are_paired_by_seed_whatever_the_order_of_the_rows():
    runs, psnr = tables(a=[30.0, 31.0, 33.0], b=[29.0, 31.5, 30.0], c=[0.0, 0.0, 0.0])
    pairs = pair(runs.sample(frac=1, random_state=1), psnr.sample(frac=1, random_state=2))
    assert pairs["seed"].tolist() == [0, 1, 2]
    assert pairs["difference"].tolist() == [1.0, -0.5, 3.0]
    assert pairs["candidate_run"][2] == "factorial/a/blocks-4/seed-2"
    assert pairs["reference_run"][2] == "factorial/b/blocks-4/seed-2"


def test_a_diverged_run_is_a_loss_even_against_one_that_made_it_worse():
    runs, psnr = tables(a=[None, 35.0, None, None, 25.0], b=[34.0, None, None, 26.0, None])
    pairs = pair(runs, psnr)
    #  reference 6 above noisy, candidate 7 above, both, reference 2 below, candidate 3 below
    assert pairs["difference"].tolist() == [-6.0, 7.0, 0.0, -2.0, 3.0]
    assert pairs["candidate_diverged"].tolist() == [True, False, True, True, False]
    assert pairs["reference_diverged"].tolist() == [False, True, True, False, True]


def test_an_output_that_is_not_finite_counts_as_diverged():
    runs, psnr = tables(a=[33.0, 33.0], b=[32.0, 32.0])
    psnr.loc[psnr["run"] == "factorial/a/blocks-4/seed-1", "psnr"] = np.nan
    assert pair(runs, psnr)["difference"].tolist() == [1.0, -4.0]


def test_a_diverged_status_outweighs_a_finite_psnr():
    runs, psnr = tables(a=[33.0], b=[32.0])
    runs.loc[runs["method"] == "a", "status"] = "diverged"
    assert pair(runs, psnr)["difference"].tolist() == [-4.0]


def test_missing_seeds_are_named_on_both_sides():
    runs, psnr = tables(a=[33.0] * 4, b=[32.0] * 4)
    kept = ~runs["run"].isin(["factorial/a/blocks-4/seed-1", "factorial/b/blocks-4/seed-3"])
    with pytest.raises(MissingRunsError, match="2 runs") as error:
        pair(runs[kept], psnr)
    assert "factorial/a/blocks-4/seed-1, factorial/b/blocks-4/seed-3" in str(error.value)


def test_a_run_that_was_never_measured_is_named():
    runs, psnr = tables(a=[33.0] * 3, b=[32.0] * 3)
    with pytest.raises(MissingRunsError, match="factorial/b/blocks-4/seed-2"):
        pair(runs, psnr[psnr["run"] != "factorial/b/blocks-4/seed-2"])
