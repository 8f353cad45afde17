"""Tests and intervals against enumeration, SciPy and simulation; the pairing against hand-made tables.

Simulations are seeded. A rate of N repetitions may be off by FOUR standard errors of a binomial share.
"""

import math
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from schemenets.errors import InvalidParameterError
from schemenets.study.claims._families import outcomes, verdict
from schemenets.study.statistics import (
    MissingRunsError,
    clustered_interval,
    holm,
    median,
    median_interval,
    paired_differences,
    power_table,
    share_test,
    sign_test,
    t_interval,
)

RNG = np.random.default_rng(5)
FOUR, MANY = 4, 2000
INF, NAN = math.inf, math.nan
LEVEL = 0.025  # of every direction


@pytest.fixture(autouse=True)
def same_draws():
    """Every test draws the same numbers, whatever ran before it."""
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state


def error(rate, repetitions=MANY):
    """Four standard errors of a rate."""
    return FOUR * math.sqrt(max(rate * (1 - rate), 1 / repetitions) / repetitions)


# --- sign test and intervals of medians ---------------------------------------------------------------


@pytest.mark.parametrize(("above", "below", "ties"), [(3, 2, 0), (6, 0, 0), (0, 4, 1), (2, 2, 3), (9, 1, 0), (0, 0, 2)])
def test_the_sign_test_counts_all_ways_to_win(above, below, ties):
    n, margin = above + below + ties, 0.5
    d = [0.75] * above + [0.25] * below + [0.5] * ties
    ways = np.array([sum(way) for way in product((0, 1), repeat=n)])
    found = sign_test(d, margin)
    assert found.p == np.mean(ways >= above)
    assert found.p_opposite == np.mean(ways >= below)
    if not ties:
        assert found.p == pytest.approx(stats.binomtest(above, n, alternative="greater").pvalue, rel=1e-12)


def test_failed_runs_are_beyond_every_margin_and_double_failures_speak_for_nobody():
    assert sign_test([-INF] * 6, -1e9) == (1, 2**-6)
    assert sign_test([INF] * 6, 1e9) == (2**-6, 1)
    assert sign_test([NAN] * 6) == (1, 1)
    assert sign_test([1.0] * 5 + [NAN]) == (7 / 64, 1)


@pytest.mark.parametrize(
    ("n", "k", "coverage"), [(16, 4, 1 - 2 * 697 / 2**16), (10, 2, 1 - 2 * 11 / 2**10), (6, 1, 31 / 32)]
)
def test_the_interval_of_a_median_has_the_ranks_of_its_sample_size(n, k, coverage):
    d = RNG.permutation(np.arange(1.0, n + 1))
    assert median_interval(d) == (k, n + 1 - k, coverage)


@pytest.mark.parametrize("n", range(1, 30))
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_no_narrower_interval_has_the_coverage(n, level):
    low, high, coverage = median_interval(np.arange(1.0, n + 1), level)
    assert coverage >= level
    k = 0 if low == -INF else int(low)
    assert high == (INF if k == 0 else n + 1 - k)
    if 2 * (k + 1) <= n:
        assert 1 - 2 * stats.binom.cdf(k, n, 0.5) < level


@pytest.mark.parametrize("n", [10, 16])
def test_the_interval_excludes_what_the_test_rejects(n):
    for _ in range(300):
        d = RNG.normal(0.6, 1, n)
        low, high, _ = median_interval(d)
        p, p_opposite = sign_test(d)
        assert (low > 0, high < 0) == (p <= LEVEL, p_opposite <= LEVEL)


def test_failed_runs_widen_the_interval_and_move_the_median():
    d = [*np.arange(1.0, 13.0), -INF, -INF, -INF, NAN]
    assert median_interval(d)[:2] == (-INF, 10.0)  # four may be below, one above all others
    assert median(d) == 4.5  # of -∞, -∞, -∞, 0, 1, 2, ..., 12
    assert median([-INF, -INF, 1.0]) == -INF
    assert median([-INF, -INF, 1.0, 2.0]) == -INF
    assert math.isnan(median([-INF, INF]))
    assert median([NAN, NAN, 3.0]) == 0
    assert median([2.0, 1.0, 4.0]) == 2


@pytest.mark.parametrize("function", [sign_test, median, median_interval])
@pytest.mark.parametrize("d", [[], [[1.0, 2.0]]])
def test_samples_of_another_shape_are_refused(function, d):
    with pytest.raises(InvalidParameterError, match="differences"):
        function(d)


DRAWS = {  # with the median 0
    "normal": lambda shape: RNG.standard_normal(shape),
    "skewed": lambda shape: RNG.exponential(size=shape) - math.log(2),
    "heavy-tailed": lambda shape: RNG.standard_cauchy(shape),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))
@pytest.mark.parametrize("n", [10, 16])
def test_coverage_and_size_do_not_depend_on_the_distribution(n, draw):
    covered, shown, refuted = 0, 0, 0
    for d in draw((MANY, n)):
        low, high, coverage = median_interval(d)
        covered += low <= 0 <= high
        p, p_opposite = sign_test(d)
        shown, refuted = shown + (p <= LEVEL), refuted + (p_opposite <= LEVEL)
    assert covered / MANY == pytest.approx(coverage, abs=error(coverage))
    size = (1 - coverage) / 2
    assert shown / MANY == pytest.approx(size, abs=error(size))
    assert refuted / MANY == pytest.approx(size, abs=error(size))


def test_ties_with_the_margin_make_the_test_conservative_in_both_directions():
    d = np.round(RNG.standard_normal((MANY, 16)))  # 38 % are 0
    rates = np.mean([[p <= LEVEL for p in sign_test(row)] for row in d], axis=0)
    assert (rates <= 697 / 2**16 + error(LEVEL)).all()
    far = np.mean([[p <= LEVEL for p in sign_test(row + 2)] for row in d], axis=0)
    assert far[0] > 0.9


# --- families -----------------------------------------------------------------------------------------


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


def sharing_a_reference(effects, repetitions=MANY, n=16):
    """p-values in both directions, (repetitions, 2, m), of m candidates that are compared with one reference."""
    effects = np.asarray(effects)
    candidates = RNG.standard_normal((repetitions, effects.size, n)) + effects[:, None]
    d = candidates - RNG.standard_normal((repetitions, 1, n))
    tails = stats.binom.sf(np.arange(-1, n), n, 0.5)  # P(X ≥ k)
    return np.stack([tails[(side > 0).sum(-1)] for side in (d, -d)], axis=1)


def test_simulated_p_values_are_those_of_the_sign_test():
    d = RNG.standard_normal(16)
    tails = stats.binom.sf(np.arange(-1, 16), 16, 0.5)
    assert (tails[(d > 0).sum()], tails[(d < 0).sum()]) == pytest.approx(sign_test(d), rel=1e-12)


@pytest.mark.parametrize("true", [0, 8])
def test_holm_keeps_the_level_of_a_family_that_shares_its_reference(true):
    """With effects in some members, the others are wrongly shown at most as often."""
    p = sharing_a_reference([3.0] * true + [0.0] * (16 - true))
    wrong = np.mean([(holm(each[0]) <= LEVEL)[true:].any() for each in p])
    assert wrong <= LEVEL + error(LEVEL)
    uncorrected = np.mean((p[:, 0, true:] <= LEVEL).any(1))
    assert uncorrected > 2 * LEVEL  # what the correction is for


def rates(rule, effects, **sizes):
    """Shares of the verdicts on a claim with these effects."""
    found = [verdict(rule, outcomes(rule, *each, LEVEL)) for each in sharing_a_reference(effects, **sizes)]
    return {
        name: found.count(name) / len(found) for name in ("reproduced", "depends", "not reproduced", "inconclusive")
    }


@pytest.mark.parametrize("rule", ["all", "all_named"])
@pytest.mark.parametrize("n", [10, 16])
def test_all_needed_and_one_at_the_margin_is_reproduced_as_rarely_as_its_test_is_wrong(rule, n):
    size = 1 - stats.binom.cdf({10: 8, 16: 12}[n], n, 0.5)
    found = rates(rule, [0.0, 9.0, 9.0, 9.0], n=n)
    assert found["reproduced"] == pytest.approx(size, abs=error(size))
    assert size <= LEVEL
    assert rates(rule, [9.0] * 4, n=n)["reproduced"] == 1


def test_all_needed_is_refuted_at_the_level_although_one_of_many_suffices():
    found = rates("all", [0.0] * 9)
    assert found["not reproduced"] <= LEVEL + error(LEVEL)
    assert found["reproduced"] <= LEVEL
    assert rates("all", [9.0] * 8 + [-9.0])["not reproduced"] == 1


def test_where_some_suffice_nothing_is_found_in_both_directions_at_twice_the_level():
    found = rates("some", [0.0] * 16)
    assert found["reproduced"] <= LEVEL + error(LEVEL)
    assert found["not reproduced"] <= LEVEL + error(LEVEL)
    assert 1 - found["inconclusive"] <= 2 * LEVEL + error(2 * LEVEL)


def test_depends_needs_effects_in_both_directions():
    """That it depends is said wrongly at most at the level of the direction without an effect."""
    for sign in (1, -1):
        found = rates("some", [sign * 9.0] * 8 + [0.0] * 8)
        assert found["depends"] <= LEVEL + error(LEVEL)
        assert found["reproduced" if sign > 0 else "not reproduced"] >= 1 - LEVEL - error(LEVEL)
    assert rates("some", [9.0] * 8 + [-9.0] * 8)["depends"] == 1


@pytest.mark.parametrize("rule", ["all_named", "each"])
def test_members_that_are_named_are_named_wrongly_at_most_at_the_level(rule):
    effects = np.array([9.0] * 3 + [0.0] * 3)
    p = sharing_a_reference(effects)
    named = np.array([[each == "shown" for each in outcomes(rule, *one, LEVEL)] for one in p])
    assert np.mean(named[:, effects == 0].any(1)) <= LEVEL + error(LEVEL)
    assert named[:, effects > 0].all()


# --- shares of failures, and power --------------------------------------------------------------------


def test_shares_of_failures_by_counting_tables():
    """Of 5 failures in 10 + 10 runs, all tables that are no likelier than the one observed."""
    ways = [math.comb(10, k) * math.comb(10, 5 - k) for k in range(6)]
    assert share_test(5, 0, 10) == pytest.approx(sum(way for way in ways if way <= ways[5]) / sum(ways))
    assert share_test(3, 3, 10) == share_test(0, 0, 16) == 1


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_equal_shares_are_told_apart_at_most_at_the_level(share):
    counts = RNG.binomial(16, share, (MANY, 2))
    test = cache(share_test)
    found = np.mean([test(int(a), int(b), 16) <= 0.05 for a, b in counts])
    assert found <= 0.05 + error(0.05)


def test_the_power_is_that_of_simulated_tests():
    table = power_table([10, 16], [1, 16], [0.0, 0.5, 1.0, 2.0])
    assert len(table) == 16
    wins = table.set_index(["seeds", "family"])["wins_needed"].groupby(level=[0, 1]).first()
    assert wins.to_dict() == {(10, 1): 9, (10, 16): 10, (16, 1): 13, (16, 16): 15}
    for row in table.itertuples():
        d = RNG.standard_normal((MANY, row.seeds)) + row.effect
        found = np.mean([sign_test(each).p <= LEVEL / row.family for each in d])
        assert row.power == pytest.approx(found, abs=error(row.power)), row


def test_families_in_which_nothing_can_be_shown_have_no_power():
    table = power_table([6], [1, 16], [5.0])
    assert table["wins_needed"].tolist() == [6, 7]
    assert table["power"].tolist() == pytest.approx([1, 0], abs=1e-4)


def test_holm_has_at_least_the_power_of_the_table():
    effect = 1.0
    p = sharing_a_reference([effect * math.sqrt(2)] * 16)  # differences have the standard deviation √2
    shown = np.mean([(holm(each[0]) <= LEVEL).mean() for each in p])
    (least,) = power_table([16], [16], [effect])["power"]
    assert shown >= least


# --- intervals of means -------------------------------------------------------------------------------


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


@pytest.mark.parametrize("n", [10, 16])
def test_coverage_of_t_intervals(n):
    found = np.mean([low <= 0 <= high for low, high in map(t_interval, RNG.standard_normal((MANY, n)))])
    assert found == pytest.approx(0.95, abs=error(0.95))


def test_the_clustered_interval_by_hand():
    d = np.array([[1.0, 3.0, 5.0], [2.0, 6.0, 7.0]])  # means of seeds 3 and 5, of images 1.5, 4.5 and 6
    half = stats.t.ppf(0.975, 1) * math.sqrt(2 / 2 + 5.25 / 3)
    assert clustered_interval(d) == pytest.approx((4 - half, 4 + half))
    assert clustered_interval(d.T) == pytest.approx((4 - half, 4 + half))


@pytest.mark.parametrize("spreads", [(1, 1, 1), (1, 0, 0.3), (0, 1, 0.3), (0, 0, 1), (0.2, 1, 0)])
def test_the_clustered_interval_covers_whatever_varies(spreads):
    """Seeds, images and the rest, with standard deviations ``spreads``."""
    of_seeds, of_images, of_rest = spreads
    draws = (
        of_seeds * RNG.standard_normal((MANY, 16, 1)) + of_images * RNG.standard_normal((MANY, 1, 6))
    ) + of_rest * RNG.standard_normal((MANY, 16, 6))
    covered = np.mean([low <= 0 <= high for low, high in map(clustered_interval, draws)])
    assert covered >= 0.95 - error(0.95)


def test_images_and_seeds_that_are_taken_for_independent_are_covered_too_rarely():
    draws = RNG.standard_normal((MANY, 16, 1)) + RNG.standard_normal((MANY, 1, 6))
    covered = np.mean([low <= 0 <= high for low, high in map(t_interval, draws.reshape(MANY, -1))])
    assert covered < 0.7


@pytest.mark.parametrize("d", [[1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, NAN], [1.0, 2.0]]])
def test_too_few_clusters_are_refused(d):
    with pytest.raises(InvalidParameterError, match="differences"):
        clustered_interval(d)


@pytest.mark.parametrize("function", [t_interval, clustered_interval, median_interval])
@pytest.mark.parametrize("level", [0, 1, 95])
def test_levels_are_shares(function, level):
    d = np.eye(2) if function is clustered_interval else [1.0, 2.0]
    with pytest.raises(InvalidParameterError, match="level"):
        function(d, level)


# --- pairs --------------------------------------------------------------------------------------------

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


def test_a_failed_run_has_done_nothing_in_means_and_loses_by_more_than_any_margin_in_tests():
    runs, psnr = tables(a=[None, 35.0, None, 27.0, 27.0, 30.0], b=[34.0, None, None, 33.0, None, 29.0])
    pairs = pair(runs, psnr)
    assert pairs["difference"].tolist() == [-6.0, 7.0, 0.0, -6.0, -1.0, 1.0]
    assert pairs["counted"].tolist()[:2] == [-INF, INF]
    assert math.isnan(pairs["counted"][2])  # both diverged
    assert pairs["counted"][3] == -INF  # worse than its input
    assert math.isnan(pairs["counted"][4])  # one is worse than its input, the other diverged
    assert pairs["counted"][5] == 1
    assert pairs["candidate_diverged"].tolist() == [True, False, True, False, False, False]
    assert pairs["candidate_failed"].tolist() == [True, False, True, True, True, False]
    assert pairs["reference_failed"].tolist() == [False, True, True, False, True, False]


def test_a_run_that_leaves_its_input_as_it_is_has_not_failed():
    runs, psnr = tables(a=[NOISY], b=[30.0])
    assert pair(runs, psnr)["counted"].tolist() == [-2.0]


def test_an_output_that_is_not_finite_counts_as_diverged():
    runs, psnr = tables(a=[33.0, 33.0], b=[32.0, 32.0])
    psnr.loc[psnr["run"] == "factorial/a/blocks-4/seed-1", "psnr"] = np.nan
    assert pair(runs, psnr)["difference"].tolist() == [1.0, -4.0]


def test_a_diverged_status_outweighs_a_finite_psnr():
    runs, psnr = tables(a=[33.0], b=[32.0])
    runs.loc[runs["method"] == "a", "status"] = "diverged"
    assert pair(runs, psnr)["difference"].tolist() == [-4.0]


def test_pairs_are_the_first_seeds_of_a_method_that_has_more():
    runs, psnr = tables(a=[33.0, 34.0], b=[32.0, 30.0, 31.0])
    assert pair(runs, psnr)["difference"].tolist() == [1.0, 4.0]


def test_missing_seeds_are_named_on_both_sides():
    runs, psnr = tables(a=[33.0] * 4, b=[32.0] * 4)
    kept = ~runs["run"].isin(["factorial/a/blocks-4/seed-1", "factorial/b/blocks-4/seed-2"])
    with pytest.raises(MissingRunsError, match="2 runs") as error:
        pair(runs[kept], psnr)
    assert "factorial/a/blocks-4/seed-1, factorial/b/blocks-4/seed-2" in str(error.value)
    with pytest.raises(MissingRunsError, match="factorial/b/blocks-4/seed-0"):
        pair(runs[runs["method"] == "a"], psnr)


def test_a_run_that_was_never_measured_is_named():
    runs, psnr = tables(a=[33.0] * 3, b=[32.0] * 3)
    with pytest.raises(MissingRunsError, match="factorial/b/blocks-4/seed-2"):
        pair(runs, psnr[psnr["run"] != "factorial/b/blocks-4/seed-2"])
