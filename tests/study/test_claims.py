"""Verdicts and sentences on made-up tables, for every verdict of every claim, and the errors of a wrong registry."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from schemenets.errors import ConfigError
from schemenets.study import claims
from schemenets.study.claims._families import compared
from schemenets.study.claims._pairs import UNREGISTERED
from schemenets.study.config import Study
from schemenets.study.statistics import MissingRunsError, clustered_interval

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/claims.schema.json"
REGISTERED = claims.load(ROOT / "config/claims.yaml", SCHEMA)
NOISY = 28.0
REFERENCE = 34.0
BUDGETS = ["budget-120", "budget-240", "budget-480", "budget-960"]
# paired differences, beside a constant, of 16 seeds; their median is 0
WOBBLE = 0.01 * np.array([-8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8])
OPEN = 20 * WOBBLE  # half of the seeds on either side of every registered margin


def registered(name):
    (claim,) = (claim for claim in REGISTERED["claims"] if claim["id"] == name)
    return copy.deepcopy(claim)


def tables(groups):
    """All tables, with runs and PSNR from {(experiment, method, size): PSNR of every seed, None for diverged}."""
    rows = []
    for (experiment, method, size), values in groups.items():
        weights = (80 if method.startswith("resnet") else 40) * (8 if "8_channels" in method else 1)
        for seed, value in enumerate(values):
            own = np.nan if value is None else float(value)
            rows.append(
                {
                    "run": f"{experiment}/{method}/{size}/seed-{seed}",
                    "experiment": experiment,
                    "method": method,
                    "size": size,
                    "seed": seed,
                    "network": method.split("-")[0],
                    "status": "diverged" if value is None else "ok",
                    "certified": "certified" in method,
                    "parameters": weights + 8,
                    "convolution_weights": weights,
                    "test_set": experiment if experiment in ("scanlines", "evolution_16") else "piecewise_affine",
                    "noise": 10.0,
                    "noisy_psnr": NOISY,
                    "psnr": own,
                    "relative_error": 2 * 10 ** (-own / 20),
                }
            )
    measured = ["test_set", "noise", "noisy_psnr", "psnr", "relative_error"]
    columns = ["run", "experiment", "method", "size", "seed", "network", "status", "certified", "parameters"]
    table = pd.DataFrame(rows, columns=[*columns, "convolution_weights", *measured])
    other = [table.assign(noise=25.0, psnr=0.0), table.assign(test_set="ecg", psnr=0.0)]  # must be ignored
    return {
        "runs": table.drop(columns=measured),
        "psnr": pd.concat([table, *other]).drop(columns=["parameters", "convolution_weights", "network", "certified"]),
        "psnr_images": pd.DataFrame(columns=["run", "test_set", "noise", "image", "noisy_psnr", "psnr"]),
        "stability": stability(table.loc[table["certified"], "run"]),
        "growth": growth([]),
        "fixed_points": fixed_points({}),
        "fixed_point_costs": costs(),
        **solvers({}),
    }


def judge(name, measured, **changes):
    (claim,) = claims.evaluate(REGISTERED | {"claims": [registered(name) | changes]}, measured)["claims"]
    json.dumps(claim, allow_nan=False)
    return claim


def comparisons_of(name):
    """Places of the primary comparisons of a claim: experiment, size, candidate and reference."""
    return [
        (entry["experiment"], size, entry["candidate"], entry["reference"])
        for entry in registered(name)["comparisons"]
        if entry["role"] == "primary"
        for size in entry["sizes"]
    ]


def with_gains(name, gains, seeds=16):
    """Tables of the primary comparisons of a claim; ``gains`` are those of the candidates, one each or one per seed.

    A candidate that has several references is one method, so all get the gain that is given last.
    """
    groups = {}
    for (experiment, size, candidate, reference), gain in zip(comparisons_of(name), gains, strict=True):
        own = np.asarray(gain) + (WOBBLE if np.ndim(gain) == 0 else 0)
        groups[experiment, candidate, size] = [None if math.isnan(x) else REFERENCE + x for x in own[:seeds]]
        groups[experiment, reference, size] = [REFERENCE] * seeds
    return tables(groups)


def test_every_claim_is_registered_and_judged_in_order():
    result = claims.evaluate(REGISTERED, with_gains("C1", [0.0] * 4))
    verdicts = {claim["id"]: claim["verdict"] for claim in result["claims"]}
    others = ["C2", "C3", "C4a", "C4b", "C4c", "C5a", "C5b", "C5c", "C6", "N1"]
    assert verdicts == {"C1": "reproduced"} | dict.fromkeys(others, "inconclusive")
    assert all(claim["sentence"].startswith("Undecided") for claim in result["claims"][1:])
    found = {claim["id"]: claim["sentence"] for claim in result["claims"]}
    assert found["C6"] == "Undecided: not all comparisons that decide have runs."


def test_comparisons_on_photographs_have_an_interval_over_seeds_and_images():
    measured = with_gains("N1", [0.1] * 9, seeds=3)
    psnr = measured["psnr"]
    own = psnr[(psnr["test_set"] == "scanlines") & (psnr["noise"] == 10)]
    shifts = {"clock": -1.0, "coins": 0.0, "text": 4.0}  # of all networks; the certified ones gain more on one
    images = [
        own.assign(image=name, psnr=own["psnr"] + shift + (name == "text") * own["run"].str.contains("certified"))
        for name, shift in shifts.items()
    ]
    measured["psnr_images"] = pd.concat(images)
    lost = measured["psnr_images"]["run"].eq("scanlines/resnet-relu/budget-240/seed-0")
    measured["psnr_images"]["psnr"] = measured["psnr_images"]["psnr"].mask(lost)
    claim = judge("N1", measured)
    found = {(c["experiment"], c["size"]): c["image_interval"] for c in claim["comparisons"]}
    assert [key for key, value in found.items() if value] == [("scanlines", f"budget-{n}") for n in (240, 480, 960)]
    gains = 0.1 + WOBBLE[:3, None] + np.array([0, 0, 1.0])
    assert found["scanlines", "budget-480"] == pytest.approx(list(clustered_interval(gains)))
    gains[0] += REFERENCE + np.array([-1, 0, 4]) - NOISY  # a diverged run counts as the noisy input
    assert found["scanlines", "budget-240"] == pytest.approx(list(clustered_interval(gains)))
    table = claims.comparison_table({"claims": [claim]}).set_index(["experiment", "size"])
    assert (
        table.loc[("scanlines", "budget-480"), ["image_low", "image_high"]].tolist() == found["scanlines", "budget-480"]
    )
    assert table.loc[("capacity", "budget-480"), ["image_low", "image_high"]].isna().all()


# --- C1, noninferiority, all needed -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.2, -0.1, 0.0, -0.3], "reproduced"),  # worse, by less than the margin
        ([0.2, 0.2, 0.2, -0.7], "not reproduced"),
        ([0.2, 0.2, 0.2, OPEN - 0.5], "inconclusive"),
        ([-0.7, OPEN - 0.5, OPEN - 0.5, OPEN - 0.5], "not reproduced"),
        ([OPEN - 0.5] * 4, "inconclusive"),
    ],
)
def test_all_have_to_be_within_the_margin(gains, verdict):
    assert judge("C1", with_gains("C1", gains))["verdict"] == verdict


def won(n, margin):
    """Differences of ten seeds, n of them above the margin."""
    return np.array([margin + 0.1] * n + [margin - 0.1] * (10 - n))


def test_all_together_need_no_correction_to_be_shown_but_single_ones_do_to_be_refuted():
    """With ten seeds 9 wins have p = 11/1024, and after the correction for four 44/1024."""
    claim = judge("C1", with_gains("C1", [won(9, -0.5)] * 4, seeds=10))
    assert claim["verdict"] == "reproduced"
    assert [c["outcome"] for c in claim["comparisons"]] == ["shown"] * 4
    assert (claim["p"], claim["comparisons"][0]["p_holm"]) == (11 / 1024, 44 / 1024)
    claim = judge("C1", with_gains("C1", [won(10, -0.5)] * 3 + [won(8, -0.5)], seeds=10))
    assert claim["verdict"] == "inconclusive"
    assert [c["outcome"] for c in claim["comparisons"]] == ["shown"] * 3 + ["open"]
    claim = judge("C1", with_gains("C1", [won(10, -0.5)] * 3 + [won(1, -0.5)], seeds=10))
    assert claim["verdict"] == "inconclusive"
    assert claim["p_opposite"] == 44 / 1024
    assert judge("C1", with_gains("C1", [won(10, -0.5)] * 3 + [won(0, -0.5)], seeds=10))["verdict"] == "not reproduced"


def test_evidence_of_a_verdict():
    claim = judge("C1", with_gains("C1", [0.1, 0.2, -0.1, 0.3]))
    weakest = claim["comparisons"][2]
    assert claim["effect"] == weakest["effect"] == pytest.approx(-0.1)
    assert claim["interval"] == weakest["interval"] == pytest.approx([-0.1 - 0.05, -0.1 + 0.05])
    assert claim["coverage"] == 1 - 2 * 697 / 2**16
    assert claim["mean"] == pytest.approx(-0.1)
    half = 2.1314495456 * np.std(WOBBLE, ddof=1) / 4  # t quantile of 15 degrees of freedom
    assert claim["mean_interval"] == pytest.approx([-0.1 - half, -0.1 + half])
    assert claim["p"] == weakest["p"] == 2.0**-16
    assert claim["p_opposite"] == 1
    assert claim["n"] == 16
    assert len(claim["runs"]) == 4 * 2 * 16
    assert "ladder/resnet-relu/blocks-4/seed-15" in claim["runs"]
    assert claim["sentence"] == (
        "At 4 blocks, the PSNR of the symmetric Perona–Malik network is at most 0.5 dB below that of the ResNet with "
        "ReLU in all 4 comparisons; the weakest median difference is −0.10 dB [−0.15, −0.05]; with 40 against "
        "80 and 320 against 640 convolution weights and 51 to 55 % of the parameters."
    )


def test_quality_without_half_of_the_weights_does_not_reproduce_c1():
    measured = with_gains("C1", [0.0] * 4)
    runs = measured["runs"]
    runs.loc[runs["method"] == "symmetric-perona_malik-no_biases", "convolution_weights"] = 41
    claim = judge("C1", measured)
    assert claim["verdict"] == "not reproduced"
    assert claim["reason"] == (
        "41 of 80 convolution weights in ladder, blocks-4, symmetric-perona_malik-no_biases against "
        "resnet-relu-no_biases, not 0.5 of them."
    )


def test_secondary_comparisons_do_not_decide_and_are_a_family_of_their_own():
    measured = with_gains("C1", [0.1] * 4)
    more = tables({("ladder", "symmetric-learned", "blocks-4"): REFERENCE - 3 + WOBBLE})
    measured |= {name: pd.concat([measured[name], more[name]]) for name in ("runs", "psnr")}
    claim = judge("C1", measured)
    assert claim["verdict"] == "reproduced"
    assert claim["comparisons"][4]["outcome"] == "refuted"
    assert claim["comparisons"][4]["p_opposite_holm"] == 2.0**-16
    assert "symmetric-learned" not in " ".join(claim["runs"])


def test_equal_fluxes_are_named_where_those_that_decide_are_not():
    measured = with_gains("C1", [0.1] * 4)
    more = tables({("ladder", "resnet-perona_malik", "blocks-4"): REFERENCE + 0.6 + WOBBLE})
    measured |= {name: pd.concat([measured[name], more[name]]) for name in ("runs", "psnr")}
    claim = judge("C1", measured)
    assert "[0.05, 0.15]; with equal fluxes (secondary) −0.50 dB; with 40 against" in claim["sentence"]


@pytest.mark.parametrize("seeds", [1, 2, 9])
def test_too_few_seeds_are_inconclusive(seeds):
    claim = judge("C1", with_gains("C1", [0.1] * 4, seeds))
    assert claim["verdict"] == "inconclusive"
    assert claim["reason"] == f"{seeds} seeds; a verdict needs 10."
    assert claim["sentence"] == f"Undecided. {claim['reason']}"
    assert {c["outcome"] for c in claim["comparisons"]} == {"open"}
    assert (claim["mean_interval"] is None) == (seeds == 1)
    assert (claim["interval"] is None) == (seeds < 6)


def test_comparisons_without_runs_leave_a_claim_open():
    measured = with_gains("C1", [0.1] * 4)
    for table in ("runs", "psnr"):
        measured[table] = measured[table].query("experiment == 'ladder'")
    claim = judge("C1", measured)
    assert claim["verdict"] == "inconclusive"
    assert claim["reason"] == (
        "No runs of channels, symmetric-perona_malik-8_channels against resnet-relu-8_channels at blocks-4; channels, "
        "symmetric-perona_malik-no_biases-8_channels against resnet-relu-no_biases-8_channels at blocks-4."
    )
    assert claim["effect"] == pytest.approx(0.1)
    claim = judge("C1", tables({}))
    assert (claim["verdict"], claim["effect"], claim["comparisons"]) == ("inconclusive", None, [])


def test_a_listed_size_that_only_one_method_ran_at_stops_the_evaluation():
    measured = with_gains("C1", [0.1] * 4)
    runs = measured["runs"]
    elsewhere = runs.assign(size=runs["size"].mask(runs["method"] == "resnet-relu", "blocks-2"))
    with pytest.raises(MissingRunsError, match="ladder/resnet-relu/blocks-4/seed-0"):
        judge("C1", measured | {"runs": elsewhere})


@pytest.mark.parametrize("table", ["runs", "psnr"])
def test_missing_seeds_stop_the_evaluation(table):
    measured = with_gains("C1", [0.1] * 4)
    measured[table] = measured[table].query("run != 'ladder/resnet-relu/blocks-4/seed-7'")
    with pytest.raises(MissingRunsError, match="ladder/resnet-relu/blocks-4/seed-7"):
        judge("C1", measured)


def test_methods_with_more_seeds_than_their_partner_are_paired_over_the_first_ones():
    measured = with_gains("C1", [0.1] * 4)
    fewer = (measured["runs"]["seed"] < 10) | (measured["runs"]["method"] == "resnet-relu")
    claim = judge("C1", measured | {"runs": measured["runs"][fewer]})
    assert {c["n"] for c in claim["comparisons"]} == {10}
    assert claim["verdict"] == "reproduced"


# --- failed runs --------------------------------------------------------------------------------------


def failing(count, value=math.nan):
    """Gains of 0.2 dB, but for the first so many seeds."""
    return np.array([value] * count + [0.2] * (16 - count))


@pytest.mark.parametrize("value", [math.nan, NOISY - REFERENCE - 0.1], ids=["diverged", "collapsed"])
def test_failed_candidates_count_as_losses_below_every_margin(value):
    for failed, verdict in ((3, "reproduced"), (4, "inconclusive")):  # 13 of 16 are needed
        claim = judge("C1", with_gains("C1", [failing(failed, value), 0.2, 0.2, 0.2]), threshold=wide())
        assert claim["verdict"] == verdict
        first = claim["comparisons"][0]
        assert (first["n"], first["candidate_failed"], first["reference_failed"]) == (16, failed, 0)
        assert first["candidate_diverged"] == (failed if math.isnan(value) else 0)
        assert f"Failed runs counted as losses, once per comparison: {failed}." in claim["reason"]
        assert f"; {failed} runs of the former and 0 of the latter failed." in claim["sentence"]
    assert first["interval"][0] is None  # four of sixteen
    assert first["p_failures"] == pytest.approx(0.1012, abs=1e-4)


def wide():
    """A margin that even failed runs are within."""
    return registered("C1")["threshold"] | {"value": 50.0}


def test_a_candidate_that_always_fails_is_refuted_and_has_no_effect():
    claim = judge("C1", with_gains("C1", [failing(16), 0.2, 0.2, 0.2]), threshold=wide())
    assert (claim["verdict"], claim["effect"], claim["interval"]) == ("not reproduced", None, None)
    assert claim["mean"] == pytest.approx(NOISY - REFERENCE)
    assert "the weakest" not in claim["sentence"]


def test_failed_references_are_won_and_double_failures_are_not():
    measured = with_gains("C1", [failing(4), -0.7, 0.2, 0.2])
    psnr, runs = measured["psnr"], measured["runs"]
    for table in (psnr, runs):
        lost = table["run"].str.startswith("ladder/resnet-relu/")
        table.loc[lost, "status"] = "diverged"
        table.loc[table["run"].str.startswith("ladder/resnet-relu-no_biases/"), "status"] = "diverged"
    first, second, *_ = judge("C1", measured)["comparisons"]
    assert (first["p"], first["p_opposite"]) == (pytest.approx(0.0384, abs=1e-4), 1)  # 12 wins, 4 for nobody
    assert (second["p"], second["effect"]) == (2.0**-16, None)


# --- C2, where some suffice ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.3] * 16, "reproduced"),
        ([0.3] + [OPEN] * 15, "reproduced"),
        ([0.3] * 15 + [-0.3], "depends"),
        ([0.3] + [-0.3] * 15, "depends"),
        ([-0.3] + [OPEN] * 15, "not reproduced"),
        ([OPEN] * 16, "inconclusive"),
    ],
)
def test_some_suffice_if_none_is_refuted(gains, verdict):
    claim = judge("C2", with_gains("C2", gains))
    assert claim["verdict"] == verdict
    assert [c["size"] for c in claim["comparisons"]] == BUDGETS * 4
    assert {c["test_set"] for c in claim["comparisons"][8:]} == {"scanlines"}


def test_what_it_depends_on_is_listed_and_the_range_of_effects_is_shown():
    claim = judge("C2", with_gains("C2", [0.3, OPEN, OPEN, -0.4] + [0.1] * 12))
    assert claim["reason"].startswith(
        "13 of 16 primary comparisons support the claim, 1 contradict it (16 seeds). Shown:"
    )
    assert " Refuted: capacity, budget-960, symmetric-perona_malik against resnet-relu. Open: " in claim["reason"]
    assert (claim["effect"], claim["interval"], claim["n"]) == (None, None, 16)
    assert (claim["p"], claim["p_opposite"]) == (2.0**-12, 2.0**-12)
    assert claim["sentence"] == (
        "The PSNR of the symmetric network is above that of the ResNet with ReLU in 13 of 16 comparisons and below "
        "in 1 (affine signals, symmetric Perona–Malik, ≤ 960 parameters), undecided in 2 (affine signals, symmetric "
        "Perona–Malik, ≤ 240 and 480 parameters); median differences range over −0.40 dB to +0.30 dB; with 55 % of "
        "the parameters, as budgets are filled with whole blocks."
    )
    claim = judge("C2", with_gains("C2", [-0.3, 0.1, 0.1, -0.4] + [0.1] * 8 + [-0.2] * 4))
    assert (
        " (affine signals, symmetric Perona–Malik, ≤ 120 and 960 parameters; scan lines, symmetric learned, "
        "≤ 120, 240, 480 and 960 parameters);" in claim["sentence"]
    )


def test_holm_over_all_sixteen_in_each_direction():
    """14 wins of 16 have p = 0.002, which suffices alone; 15 wins have 17/2^16, times 16 below α/2."""
    for wins, sign, outcome in ((14, 1, "open"), (15, 1, "shown"), (15, -1, "refuted")):
        gain = np.array([0.1] * wins + [-0.1] * (16 - wins))
        first = judge("C2", with_gains("C2", [sign * gain] + [OPEN] * 15))["comparisons"][0]
        assert first["outcome"] == outcome


def test_a_family_with_fewer_seeds_or_budgets_than_registered_decides_nothing():
    assert judge("C2", with_gains("C2", [0.3] * 16, seeds=15))["reason"] == "15 seeds; a verdict needs 16."
    measured = with_gains("C2", [0.3] * 16)
    for table in ("runs", "psnr"):
        measured[table] = measured[table].query("experiment != 'scanlines' or size != 'budget-960'")
    claim = judge("C2", measured)
    assert claim["verdict"] == "inconclusive"
    assert "scanlines, symmetric-learned against resnet-relu at budget-960" in claim["reason"]


def test_too_few_seeds_for_so_many_comparisons_are_said():
    claim = judge("C2", with_gains("C2", [0.3] * 16, seeds=8), minimum_seeds=8)
    assert claim["verdict"] == "inconclusive"
    assert claim["reason"].endswith("8 seeds cannot show 16 comparisons at level 0.025.")


# --- C4a, C4b and C6: which of them hold --------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([3.0, 4.0], "reproduced"),
        ([3.0, OPEN], "depends"),
        ([3.0, -1.0], "depends"),
        ([-1.0, OPEN], "not reproduced"),
        ([OPEN, OPEN], "inconclusive"),
    ],
)
def test_skips_at_both_depths(gains, verdict):
    """The reference is without skips, so gains are those of the network with them."""
    assert judge("C4a", with_gains("C4a", gains))["verdict"] == verdict


def test_both_depths_are_corrected_for():
    nine = won(9, 0.0)
    assert judge("C4a", with_gains("C4a", [nine, nine], seeds=10))["verdict"] == "reproduced"  # 2 · 11/1024 < α/2
    claim = judge("C4a", with_gains("C4a", [won(10, 0.0), won(8, 0.0)], seeds=10))
    assert claim["verdict"] == "depends"
    assert (
        "Shown: ladder, blocks-4, resnet-relu against resnet-relu-no_skips. Open: ladder, blocks-8" in claim["reason"]
    )
    assert claim["p"] == 56 / 1024


def evolving(gains, seeds=16):
    """Gains in dB of PSNR, so that errors have the ratio 10^(-gain/20); the reference is the same for both methods."""
    return with_gains("C4b", gains, seeds)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([1.0] * 6, "reproduced"),
        ([won(9, 0.0)] * 6, "reproduced"),  # together they need no correction
        ([1.0] * 5 + [OPEN], "depends"),
        ([1.0] + [-1.0] * 5, "depends"),
        ([-1.0] + [OPEN] * 5, "not reproduced"),
        ([OPEN] * 6, "inconclusive"),
    ],
)
def test_errors_of_evolutions(gains, verdict):
    claim = judge("C4b", evolving(gains, 10 if np.size(gains[0]) == 10 else 16))
    assert claim["verdict"] == verdict
    assert {c["test_set"] for c in claim["comparisons"]} == {"evolution_16"}
    assert [c["size"] for c in claim["comparisons"]] == ["blocks-4", "blocks-8", "blocks-16"] * 2


def test_ratios_of_errors_have_medians_and_intervals_on_a_scale_of_factors():
    claim = judge("C4b", evolving([1.0] * 5 + [0.5]))
    assert claim["effect"] == pytest.approx(10 ** (-0.5 / 20))
    assert claim["interval"] == pytest.approx([10 ** (-0.55 / 20), 10 ** (-0.45 / 20)])
    assert claim["mean"] == pytest.approx(10 ** (-0.5 / 20))
    assert claim["sentence"] == (
        "At 4, 8 and 16 blocks, the error of FSI and Du Fort–Frankel networks is below that of explicit networks "
        "that learn the same diffusion in all 6 comparisons; the weakest median ratio is 0.944 [0.939, 0.950]."
    )
    moved = judge("C4b", evolving([1.0] * 5 + [0.5]), threshold=registered("C4b")["threshold"] | {"value": 0.92})
    assert [c["outcome"] for c in moved["comparisons"]] == ["shown"] * 5 + ["refuted"]


def test_diverged_evolutions_have_an_error_of_one_in_means():
    gains = [np.array([math.nan] * 16)] + [1.0] * 5
    first = judge("C4b", evolving(gains))["comparisons"][0]
    assert (first["outcome"], first["effect"]) == ("refuted", None)
    assert first["mean"] == pytest.approx(1 / (2 * 10 ** (-REFERENCE / 20)))


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.5, 0.6, 0.7], "reproduced"),
        ([0.5, 0.6, -0.7], "depends"),
        ([0.5, OPEN, OPEN], "depends"),
        ([-0.5, OPEN, OPEN], "not reproduced"),
        ([OPEN, OPEN, OPEN], "inconclusive"),
    ],
)
def test_fluxes_in_three_structures(gains, verdict):
    claim = judge("C6", with_gains("C6", gains))
    assert claim["verdict"] == verdict
    if verdict == "depends":
        assert "Shown: ladder, blocks-4, symmetric-perona_malik against symmetric-charbonnier" in claim["reason"]


# --- N1, quality with a guarantee ---------------------------------------------------------------------


def bounded(gains, drift=0.5, seeds=16):
    measured = with_gains("N1", gains, seeds)
    measured["stability"]["relative_drift"] = drift
    return measured


def most(value):
    return registered("N1")["largest_drift"] | {"value": value}


def test_a_guarantee_without_a_registered_maximum_is_not_testable_but_measured():
    claim = judge("N1", bounded([0.0] * 9), largest_drift=most(None))
    assert claim["verdict"] == "not testable"
    assert claim["reason"].startswith(f"{UNREGISTERED} 9 of 9 primary")
    assert claim["sentence"].startswith(
        f"{UNREGISTERED} The guarantee allows a drift of up to 0.5 times the rms of the signals. The PSNR of"
    )
    assert claim["evidence"] == {
        "certified candidates": 144,
        "of": 144,
        "largest drift over the rms of the signals": 0.5,
    }
    assert {c["outcome"] for c in claim["comparisons"]} == {"shown"}
    assert registered("N1")["largest_drift"]["value"] == 1


@pytest.mark.parametrize(
    ("gains", "drift", "verdict"),
    [
        ([-0.1] * 9, 0.5, "reproduced"),
        ([-0.1] * 9, 0.51, "not reproduced"),
        ([-0.1] * 9, np.nan, "not reproduced"),
        ([-0.1] * 8 + [-0.4], 0.5, "not reproduced"),
        ([-0.1] * 8 + [OPEN - 0.25], 0.5, "inconclusive"),
    ],
)
def test_a_guarantee_with_quality_and_a_small_drift(gains, drift, verdict):
    measured = bounded(gains, 0.1)
    measured["stability"].loc[77, "relative_drift"] = drift
    claim = judge("N1", measured, largest_drift=most(0.5))
    allowed = "The guarantee allows a drift of up to"
    assert claim["verdict"] == verdict
    told = [c["drift"] for c in claim["comparisons"] if c["role"] == "primary"]
    assert sorted(told, key=str) == [0.1] * 8 + [None if np.isnan(drift) else drift]
    if verdict == "reproduced":
        assert claim["sentence"].startswith(f"{allowed} 0.5 times the rms of the signals. The PSNR of")
    if np.isnan(drift):
        assert claim["sentence"].startswith("Not all candidates have a certificate. The PSNR of")
    if drift == 0.51:
        assert claim["sentence"].startswith(
            f"{allowed} 0.51 times the rms of the signals, above the maximum of 0.5. The PSNR of"
        )
    if drift != 0.5:
        assert claim["reason"].startswith("1 of 144 candidates drift by more than 0.5 of the signals' rms. 9 of 9")


def test_too_few_seeds_decide_nothing_about_a_drift_or_about_weights():
    claim = judge("N1", bounded([-0.1] * 9, drift=0.9, seeds=3), largest_drift=most(0.5))
    assert (claim["verdict"], claim["complete"]) == ("inconclusive", False)
    assert claim["sentence"].startswith("Undecided. 3 seeds")
    claim = judge("C1", with_gains("C1", [0.0] * 4, seeds=3), weight_ratio=0.25)
    assert claim["verdict"] == "inconclusive"


def test_a_candidate_without_a_certificate_has_no_bounded_drift():
    measured = bounded([0.0] * 9)
    measured["stability"].loc[3, "certified"] = False
    claim = judge("N1", measured, largest_drift=most(0.5))
    assert (claim["verdict"], claim["evidence"]["certified candidates"]) == ("not reproduced", 143)
    measured["stability"] = measured["stability"].iloc[1:]
    with pytest.raises(MissingRunsError, match="capacity/symmetric-learned-certified/budget-240/seed-0"):
        judge("N1", measured)


def test_a_guarantee_without_runs_is_inconclusive_once_a_maximum_is_registered():
    assert judge("N1", tables({}), largest_drift=most(None))["verdict"] == "not testable"
    claim = judge("N1", tables({}), largest_drift=most(0.5))
    assert (claim["verdict"], claim["evidence"]["largest drift over the rms of the signals"]) == ("inconclusive", None)


# --- C3, certificates ---------------------------------------------------------------------------------

CERTIFIED = "symmetric-perona_malik-certified-no_biases"


def stability(runs):
    """A flawless row for each of these runs."""
    values = {
        **{"certified": True, "euclidean_bound": 1.0, "drift_bound": 0.0, "relative_drift": 0.0},
        **{"least_step_margin": 0.1, "least_dense_step_margin": 0.2, "largest_amplification_found": 0.9},
        **{"counterexample": False, "contradictions": 0, "repetitions": 1000, "excess": 0.8},
    }
    rows = [{"run": run, "method": run.split("/")[1], "seed": int(run.rpartition("-")[2])} | values for run in runs]
    return pd.DataFrame(rows, columns=["run", "method", "seed", *values])


def growth(runs):
    """Repetitions of these runs, and two random networks, all within their bounds."""
    columns = ["kind", "run", "network", "flux", "tied", "certified", "seed", "n", "amplification", "bound"]
    repeated = [
        {"kind": "repetition", "run": run, "seed": 0, "n": n, "amplification": 1 + 5e-10}
        for n in (1, 10_000)
        for run in runs
    ]
    of_random = {"kind": "depth", "network": "symmetric", "tied": False, "certified": True, "seed": 0, "n": 7}
    random = [{**of_random, "flux": flux, "amplification": 1.0, "bound": 1.0} for flux in ("relu", "linear")]
    return pd.DataFrame(repeated + random * bool(runs), columns=columns)


def certified(seeds, method=CERTIFIED):
    """Tables with that many certified runs, none of which violates anything, and free ones."""
    free = {("ladder", "resnet-relu", "blocks-4"): [34.0] * 2}
    measured = tables({("ladder", method, "blocks-4"): [34.0] * seeds} | free)
    return measured | {"growth": growth(measured["runs"].loc[measured["runs"]["certified"], "run"].tolist())}


def with_others():
    """The same with certified networks with biases, other certified ones, and free symmetric ones, all bad."""
    groups = {("ladder", CERTIFIED, "blocks-4"): [34.0] * 10}
    for method in ("symmetric-perona_malik-certified", "du_fort_frankel-perona_malik-certified-no_biases"):
        groups["ladder", method, "blocks-4"] = [34.0] * 3
    groups["ladder", "symmetric-perona_malik-no_biases", "blocks-4"] = [34.0] * 4
    measured = tables(groups)
    runs = measured["runs"]
    table = stability(runs["run"]).merge(runs[["run", "certified"]].rename(columns={"certified": "made"}), on="run")
    biased, decisive = table["method"] == "symmetric-perona_malik-certified", table["method"] == CERTIFIED
    table["drift_bound"] = np.where(biased, 0.3, 0.0)
    table["counterexample"] = ~decisive & table["made"]
    free = ~table["made"]
    table.loc[free, "certified"] = [True, False, False, False]
    table.loc[free, "largest_amplification_found"] = [0.9, 2.0, 3.0, 5.0]
    of_free = pd.DataFrame({"kind": "repetition", "run": table.loc[free, "run"], "n": 500, "amplification": 7.0})
    grown = pd.concat([growth(table.loc[decisive, "run"].tolist()), of_free])
    return measured | {"stability": table.drop(columns="made"), "growth": grown}


def test_certificates_without_exception_reproduce_c3():
    claim = judge("C3", certified(10))
    assert (claim["verdict"], claim["effect"], claim["n"]) == ("reproduced", 0, 10)
    assert claim["evidence"] == {
        "certified symmetric networks without biases": 10,
        "largest amplification found by the search": 0.9,
        "largest growth in up to 1000 applications, over its bound": 0.8,
        "least step margin": 0.1,
        "least step margin by dense matrices": 0.2,
        "certified checkpoints with biases": 0,
        "violations of those with biases": 0,
        "certified checkpoints of other networks": 0,
        "violations of those of other networks": 0,
        "certified random networks": 2,
        "those of up to 7 blocks that grow beyond their bound": 0,
        "free symmetric networks": 0,
        "free symmetric networks that keep the condition": 0,
        "largest amplification of free ones found by the search": None,
        "largest growth of free ones in up to 0 applications": None,
    }
    assert claim["runs"] == sorted(f"ladder/{CERTIFIED}/blocks-4/seed-{seed}" for seed in range(10))
    assert (claim["interval"], claim["p"], claim["comparisons"]) == (None, None, [])
    assert claim["sentence"] == (
        "No violations of certificates in 10 certified symmetric networks without biases; the largest amplification "
        "found by the search is 0.9."
    )


def test_other_networks_stand_beside_and_decide_nothing():
    claim = judge("C3", with_others())
    assert (claim["verdict"], claim["effect"]) == ("reproduced", 0)
    known = claim["evidence"]
    assert (known["certified checkpoints with biases"], known["violations of those with biases"]) == (3, 3)
    assert (known["certified checkpoints of other networks"], known["violations of those of other networks"]) == (3, 3)
    assert (known["free symmetric networks"], known["free symmetric networks that keep the condition"]) == (4, 1)
    assert known["largest amplification of free ones found by the search"] == 5
    assert known["largest growth of free ones in up to 500 applications"] == 7


@pytest.mark.parametrize(
    ("table", "column", "value", "words"),
    [
        ("stability", "certified", False, "do not hold: 1"),
        ("stability", "least_dense_step_margin", -1e-9, "dense matrices: 1"),
        ("stability", "least_dense_step_margin", np.nan, "dense matrices: 1"),
        ("stability", "contradictions", 1, "dense matrices: 1"),
        ("stability", "contradictions", np.nan, "dense matrices: 1"),
        ("stability", "counterexample", True, "found: 1"),
        ("stability", "counterexample", np.nan, "found: 1"),
        ("stability", "excess", 1 + 2e-9, "beyond their bound: 1."),
        ("stability", "excess", np.nan, "beyond their bound: 1."),
        ("growth", "amplification", 1 + 2e-9, "beyond their bound: 1."),
        ("growth", "amplification", np.nan, "beyond their bound: 1."),
        ("growth", "amplification", np.inf, "beyond their bound: 1."),
    ],
)
@pytest.mark.parametrize("seeds", [2, 10])
def test_one_violation_refutes_c3_whatever_the_number_of_seeds(table, column, value, words, seeds):
    measured = certified(seeds)
    measured[table] = measured[table].reset_index(drop=True).astype({column: object})
    measured[table].loc[1, column] = value
    measured[table][column] = measured[table][column].infer_objects()
    claim = judge("C3", measured)
    assert (claim["verdict"], claim["effect"]) == ("not reproduced", 1)
    assert words in claim["reason"]
    assert claim["sentence"].startswith("1 violation of certificates in ")


@pytest.mark.parametrize(
    ("column", "value"), [("amplification", 1 + 2e-9), ("amplification", np.nan), ("bound", np.nan)]
)
def test_random_networks_beyond_their_bound_are_counted_beside(column, value):
    measured = certified(10)
    measured["growth"].loc[measured["growth"].index[-1], column] = value
    claim = judge("C3", measured)
    assert claim["verdict"] == "reproduced"
    assert claim["evidence"]["those of up to 7 blocks that grow beyond their bound"] == 1


def test_too_few_seeds_or_no_certified_network_leave_c3_open():
    claim = judge("C3", certified(9))
    assert (claim["verdict"], claim["n"]) == ("inconclusive", 9)
    assert "9 seeds; a verdict needs 10" in claim["reason"]
    claim = judge("C3", certified(0))
    assert (claim["verdict"], claim["n"], claim["runs"]) == ("inconclusive", 0, [])


def test_seeds_of_different_methods_do_not_add_up():
    other = "symmetric-learned-certified-no_biases"
    groups = {("ladder", method, "blocks-4"): [34.0] * 9 for method in (CERTIFIED, other)}
    claim = judge("C3", tables(groups))
    assert (claim["verdict"], claim["n"], len(claim["runs"])) == ("inconclusive", 9, 18)


def test_growth_is_measured_by_the_bound_to_the_power_of_the_repetitions():
    measured = certified(10)
    measured["stability"]["euclidean_bound"] = 1.1
    repeated = measured["growth"]["kind"] == "repetition"
    measured["growth"].loc[repeated, ["n", "amplification"]] = 20, 1.1**20
    assert judge("C3", measured)["effect"] == 0
    measured["growth"].loc[repeated, "amplification"] *= 1 + 2e-9
    assert judge("C3", measured)["effect"] == 10


def test_repetitions_of_networks_with_biases_count_by_what_their_drift_leaves():
    """Amplification alone has no bound there; the excess, which takes n drifts off, has."""
    measured = certified(10)
    repeated = measured["growth"]["kind"] == "repetition"
    measured["growth"].loc[repeated, ["n", "amplification"]] = 20, 3.0
    assert judge("C3", measured)["effect"] == 10
    measured["stability"]["drift_bound"] = 0.1
    assert judge("C3", measured)["evidence"]["violations of those with biases"] == 0
    measured["stability"]["excess"] = 1 + 2e-9
    assert judge("C3", measured)["evidence"]["violations of those with biases"] == 10


def test_a_certified_run_whose_stability_was_not_measured_stops_the_evaluation():
    measured = certified(10)
    measured["stability"] = measured["stability"].iloc[1:]
    with pytest.raises(MissingRunsError, match=f"ladder/{CERTIFIED}/blocks-4/seed-0"):
        judge("C3", measured)


# --- C4c, fixed points --------------------------------------------------------------------------------


def costs(factors=()):
    """Memory of one run with 4 and with 128 iterations, from {kind of gradients: factor}."""
    rows = [
        {"run": "a", "gradients": gradients, "iterations": n, "saved_bytes": size}
        for gradients, factor in dict(factors).items()
        for n, size in ((4, 100), (128, 100 * factor))
    ]
    return pd.DataFrame(rows, columns=["run", "gradients", "iterations", "saved_bytes"])


def fixed_points(methods, seeds=10):
    """Networks that meet their rate 1/2 exactly, from {method: gradient difference, None for one without a rate}."""
    rows = [
        {
            "run": f"ladder/{method}/blocks-4/seed-{seed}",
            **{"method": method, "seed": seed, "limit": 2292, "tolerance": tolerance},
            "iterations": np.nan if difference is None else steps,
            "allowed_iterations": np.nan if difference is None else steps,
            "gradient_difference": np.nan if difference is None else difference / (1 + seed),
        }
        for method, difference in methods.items()
        for seed in range(seeds)
        for tolerance, steps in ((1e-2, 7), (1e-10, 34))
    ]
    columns = ["run", "method", "seed", "limit", "tolerance", "iterations", "allowed_iterations", "gradient_difference"]
    return pd.DataFrame(rows, columns=columns)


def of_fixed_points(table, **more):
    return judge("C4c", tables({}) | {"fixed_points": table} | more)


@pytest.mark.parametrize(
    ("methods", "seeds", "verdict"),
    [
        ({"a": 1e-9, "b": 1e-8}, 10, "reproduced"),
        ({"a": 1e-9, "b": 1.1e-8}, 10, "not reproduced"),
        ({"a": 1e-9, "b": 1.1e-8}, 2, "not reproduced"),
        ({"a": 1e-9}, 9, "inconclusive"),
        ({"a": 1e-9, "b": None}, 10, "reproduced"),  # networks without a rate promise nothing
        ({"a": None}, 10, "inconclusive"),
        ({}, 10, "inconclusive"),
    ],
)
def test_gradients_of_fixed_points(methods, seeds, verdict):
    claim = of_fixed_points(fixed_points(methods, seeds))
    assert claim["verdict"] == verdict
    known = {method: x for method, x in methods.items() if x is not None}
    largest = max(known.values(), default=None)
    assert claim["effect"] == claim["evidence"]["largest relative difference of gradients"] == largest
    assert claim["evidence"]["implicit networks"] == seeds * len(methods)
    assert claim["evidence"]["implicit networks with a contraction rate below 1"] == seeds * len(known)
    assert claim["runs"] == sorted(f"ladder/{m}/blocks-4/seed-{seed}" for m in known for seed in range(seeds))


def test_what_fixed_points_show_in_a_sentence():
    table = fixed_points({"a": 1e-9, "b": None})
    table["allowed_iterations"] *= 2
    assert of_fixed_points(table)["sentence"] == (
        "10 implicit networks with a contraction rate below 1 take at most 0.5 times the iterations that it allows; "
        "the largest relative difference of gradients is 1e−09."
    )


def test_memory_of_fixed_points_is_evidence():
    claim = of_fixed_points(fixed_points({"a": 1e-9}), fixed_point_costs=costs({"unrolled": 32, "implicit": 1}))
    assert claim["evidence"]["memory kept for unrolled gradients, 128 over 4 iterations"] == 32
    assert claim["evidence"]["memory kept for implicit gradients, 128 over 4 iterations"] == 1


@pytest.mark.parametrize(
    ("iterations", "allowed", "verdict"),
    [
        (34, 34, "reproduced"),
        (35, 34, "not reproduced"),
        (np.nan, 34, "not reproduced"),
        (np.nan, 2292, "not reproduced"),
        (np.nan, 2293, "inconclusive"),  # it was not given as many
    ],
)
def test_rates_of_fixed_points(iterations, allowed, verdict):
    table = fixed_points({"a": 1e-9}, 11)
    table.loc[table.index[-1], ["iterations", "allowed_iterations"]] = iterations, allowed
    claim = of_fixed_points(table)
    assert claim["verdict"] == verdict
    assert f" {int(verdict == 'not reproduced')} take more iterations than it allows" in claim["reason"]


def test_gradients_that_are_not_finite_refute():
    table = fixed_points({"a": 1e-9}, 11)
    table.loc[table.index[-1], "gradient_difference"] = np.nan
    claim = of_fixed_points(table)
    assert (claim["verdict"], claim["effect"]) == ("not reproduced", None)


# --- C5, solvers --------------------------------------------------------------------------------------

SIZES = {  # network, parameters and operations
    "cycle": ("cycle", 27, 250_000),
    "multigrid": ("multigrid_unet", 35, 300_000),
    "unet": ("unet", 2727, 310_000),
    "large": ("unet", 9999, 900_000),
}
FACTORS = np.exp(WOBBLE)
PATHS = {"FSI, cycles of 10": [0.2, 0.1, 0.01], "Newton's method": [0.2, 0.08, 1e-12], "V(2,2)": [0.2, 1e-5, 1e-9]}


def solvers(errors, validation=()):
    """Tables of networks that solve, from {method: relative errors of the seeds, None for diverged}.

    Untrained solvers take 200,000 operations for an iteration; all start with an error of 0.2.
    """
    runs, measured, cycles = [], [], []
    for method, values in errors.items():
        network, parameters, operations = SIZES[method.split("-")[0]]
        for seed, value in enumerate(values):
            of = {"run": f"solve_charbonnier/{method}/points-256/seed-{seed}", "problem": "charbonnier"}
            of |= {"method": method, "seed": seed}
            state = {"status": "ok" if value else "diverged", "parameters": parameters, "operations": operations}
            own = dict(validation).get(method, value) if value else np.nan
            runs.append({**of, **state, "network": network, "validation_error": own})
            measured += [
                {**of, "kind": "home", "relative_error": value},
                {**of, "kind": "finer", "relative_error": 9.0},  # must be ignored
            ]
            if network == "multigrid_unet":
                cycles += [{**of, "kind": kind, "moved": 1e-13, "from_fas": 1e-15} for kind in ("home", "longer")]
    columns = ["run", "problem", "method", "seed", "status", "parameters", "operations", "network", "validation_error"]
    paths = [
        {"problem": "charbonnier", "method": method, "operations": 200_000 * n, "relative_error": value}
        for method, values in PATHS.items()
        for n, value in enumerate(values)
    ]
    paths.append({"problem": "poisson", "method": "FSI", "operations": 1, "relative_error": 0.0})  # must be ignored
    return {
        "solver_runs": pd.DataFrame(runs, columns=columns),
        "solver_errors": pd.DataFrame(measured, columns=["run", "kind", "relative_error"]),
        "solver_iterations": pd.DataFrame(cycles, columns=["run", "kind", "moved", "from_fas"]),
        "solver_paths": pd.DataFrame(paths),
    }


def pairs(*primary, secondary=()):
    return [
        {"role": role, "problem": "charbonnier", "candidate": candidate, "reference": reference}
        for role, every in (("primary", primary), ("secondary", secondary))
        for candidate, reference in every
    ]


def c5b(errors, *primary, secondary=(), **changes):
    """The verdict of a C5b of these comparisons on these errors."""
    ratios = pairs(*(primary or [("multigrid-1", "unet-2")]), secondary=secondary)
    return judge("C5b", solvers(errors), ratios=ratios, **changes)


def test_a_smaller_error_of_all_seeds_is_shown_with_the_exact_p_and_the_median():
    judged = c5b({"multigrid-1": 0.02 * FACTORS, "unet-2": 0.1 * FACTORS[::-1]})
    assert judged["verdict"] == "reproduced"
    (only,) = judged["comparisons"]
    assert only["p"] == 2.0**-16
    assert only["effect"] == pytest.approx(0.2)
    assert only["interval"] == pytest.approx([0.2 * np.exp(-0.1), 0.2 * np.exp(0.1)])
    assert only["candidate_median"] == pytest.approx(0.02)
    assert judged["sentence"] == (
        "The error of multigrid U-nets is below that of standard U-nets in the only comparison; the weakest median "
        "ratio is 0.2 [0.181, 0.221]; the former have 35 parameters, the latter 2,727."
    )


def test_failed_runs_that_comparisons_share_count_once():
    lost = [None, 0.3, *[0.1] * 14]  # untrained, the error is 0.2
    errors = {"multigrid-1": 0.02 * FACTORS, "multigrid-3": 0.02 * FACTORS, "unet-4": lost}
    judged = c5b(errors, ("multigrid-1", "unet-4"), ("multigrid-3", "unet-4"))
    assert [c["reference_failed"] for c in judged["comparisons"]] == [2, 2]
    assert judged["sentence"].endswith("; 0 runs of the former and 2 of the latter failed.")


def test_more_parameters_of_a_candidate_that_is_ahead_are_told():
    measured = with_gains("C2", [0.3] * 16)
    runs = measured["runs"]
    small = (runs["method"] == "resnet-relu") & (runs["size"] == "budget-240")
    measured["runs"] = runs.assign(parameters=runs["parameters"].mask(small, 1))
    assert judge("C2", measured)["sentence"].endswith(
        " % of the parameters, as budgets are filled with whole blocks, and more in 4 of the 16 that support the claim."
    )


SMALL, MIDDLE, LARGE = 0.02 * FACTORS, 0.05 * FACTORS, 0.1 * FACTORS
MIXED = 0.05 * np.exp(10 * WOBBLE)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (SMALL, SMALL, "reproduced"),
        (SMALL, LARGE, "depends"),
        (SMALL, MIXED, "depends"),
        (LARGE, MIXED, "not reproduced"),
        (MIXED, MIXED, "inconclusive"),
    ],
)
def test_pairs_of_solvers(first, second, verdict):
    errors = {"multigrid-1": first, "multigrid-3": second, "unet-2": np.full(16, 0.05)}
    judged = c5b(errors, ("multigrid-1", "unet-2"), ("multigrid-3", "unet-2"))
    assert judged["verdict"] == verdict
    if verdict == "depends":
        assert "Shown: solve_charbonnier, charbonnier, multigrid-1 against unet-2." in judged["reason"]


def test_pairs_are_corrected_for():
    ten = np.array([0.02] * 9 + [0.09])  # one of ten above 0.05
    errors = {f"multigrid-{k}": ten for k in (1, 2, 3)} | {"unet-2": np.full(10, 0.05)}
    of = [(f"multigrid-{k}", "unet-2") for k in (1, 2, 3)]
    assert c5b(errors, *of[:2])["verdict"] == "reproduced"
    assert c5b(errors, *of)["verdict"] == "inconclusive"  # 3 · 11/1024 > α/2


def test_the_threshold_of_a_ratio_can_be_moved():
    errors, threshold = {"multigrid-1": 0.03 * FACTORS, "unet-2": LARGE}, registered("C5b")["threshold"]
    moved = [c5b(errors, threshold=threshold | {"value": value})["verdict"] for value in (0.25, 0.5)]
    assert moved == ["not reproduced", "reproduced"]


def test_failed_networks_lose_whatever_their_error():
    """They diverged, or are further from the solution than the right-hand side, whose error is 0.2."""
    ten = 0.02 * FACTORS[:10]
    (only,) = c5b({"multigrid-1": [None, 0.35, *ten[2:]], "unet-2": [0.5] * 10})["comparisons"]
    assert (only["candidate_failed"], only["candidate_diverged"], only["reference_failed"]) == (2, 1, 10)
    assert (only["p"], only["p_opposite"]) == (56 / 1024, 1)
    (only,) = c5b({"multigrid-1": [None, 0.35, *ten[2:]], "unet-2": [0.19] * 10})["comparisons"]
    assert (only["p"], only["p_opposite"]) == (56 / 1024, 1013 / 1024)
    expected = np.log(np.array([1.0, 0.35, *ten[2:]]) / 0.19)
    assert only["mean"] == pytest.approx(np.exp(expected.mean()))
    assert only["p_failures"] == pytest.approx(0.4737, abs=1e-4)


@pytest.mark.parametrize(
    ("unet", "verdict"),
    [((69, 310_000), "inconclusive"), ((2727, 299_999), "inconclusive"), ((70, 300_000), "reproduced")],
)
def test_references_with_too_few_parameters_or_operations_cannot_decide(monkeypatch, unet, verdict):
    monkeypatch.setitem(SIZES, "unet", ("unet", *unet))
    judged = c5b({"multigrid-1": SMALL, "unet-2": LARGE})
    assert judged["verdict"] == verdict
    assert ("charbonnier, multigrid-1 against unet-2" in judged["sentence"]) == (verdict == "inconclusive")


def test_secondary_comparisons_of_errors_do_not_decide_and_absent_ones_are_named():
    errors = {"multigrid-1": SMALL, "unet-2": LARGE, "unet-4": 0.01 * FACTORS}
    secondary = (("multigrid-1", "unet-4"), ("cycle-3", "unet-4"))
    judged = c5b(errors, ("multigrid-1", "unet-2"), secondary=secondary)
    assert judged["verdict"] == "reproduced"
    assert [c["outcome"] for c in judged["comparisons"]] == ["shown", "refuted"]
    judged = c5b(errors, ("multigrid-1", "unet-2"), ("cycle-3", "unet-4"))
    assert judged["verdict"] == "inconclusive"
    assert judged["reason"] == "No runs of charbonnier, cycle-3 against unet-4."


def test_errors_and_partners_that_are_missing_are_named():
    errors = {"multigrid-1": SMALL, "unet-2": LARGE}
    measured = solvers(errors)
    lost = measured["solver_errors"].query("run != 'solve_charbonnier/unet-2/points-256/seed-3'")
    with pytest.raises(MissingRunsError, match="unet-2/points-256/seed-3"):
        judge("C5b", measured | {"solver_errors": lost}, ratios=pairs(("multigrid-1", "unet-2")))
    fewer = measured["solver_runs"].query("run != 'solve_charbonnier/unet-2/points-256/seed-3'")
    with pytest.raises(MissingRunsError, match="solve_charbonnier/unet-2/seed-3"):
        judge("C5b", measured | {"solver_runs": fewer}, ratios=pairs(("multigrid-1", "unet-2")))


BUDGET = {"problem": "charbonnier", "operations": [320_000, 1_000_000]}


def c5c(errors, validation=(), **changes):
    return judge("C5c", solvers(errors, validation), **{"budgets": BUDGET} | changes)


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [  # untrained, an error of 0.08 and one of 1e-12 within these budgets
        (0.01, 1e-11, "inconclusive"),  # both count as exact
        (0.01, 0.01, "not reproduced"),
        (0.09, 0.01, "not reproduced"),
    ],
)
def test_learned_against_untrained_solvers(small, large, verdict):
    judged = c5c({"multigrid-1": small * FACTORS, "large-1": large * FACTORS})
    assert judged["verdict"] == verdict
    first, second = judged["comparisons"]
    assert (first["candidate"], first["reference"]) == ("multigrid-1", "Newton's method")
    assert (second["candidate"], second["reference"]) == ("large-1", "Newton's method")
    assert first["effect"] == pytest.approx(small / 0.08)
    assert (first["candidate_operations"], first["reference_operations"]) == (300_000, 200_000)
    assert "against 0.08 (Newton's method) with" in judged["sentence"]
    assert "against ≤ 1e−10 (Newton's method) with" in judged["sentence"]
    assert not any("Newton" in run for run in judged["runs"])


def test_learned_solvers_that_win_within_every_budget_are_efficient(monkeypatch):
    monkeypatch.setitem(PATHS, "Newton's method", [0.2, 0.08, 0.05])
    errors = {"multigrid-1": 0.004 * FACTORS, "large-1": 0.002 * FACTORS}
    judged = c5c(errors)
    assert judged["verdict"] == "reproduced"
    assert [c["reference"] for c in judged["comparisons"]] == ["Newton's method", "FSI, cycles of 10"]
    assert judged["sentence"] == (
        "The error of the best learned solver is below that of the best untrained one in both comparisons: 0.004 "
        "(multigrid U-net, 1 cycle) against 0.08 (Newton's method) with 320,000 operations and 0.002 (large, 1) "
        "against 0.01 (FSI, cycles of 10) with 1,000,000 operations."
    )


def test_the_best_learned_solver_is_chosen_on_validation_data():
    errors = {"multigrid-1": 0.004 * FACTORS, "cycle-1": 0.002 * FACTORS}
    assert c5c(errors)["comparisons"][0]["candidate"] == "cycle-1"
    assert c5c(errors, {"cycle-1": 0.005})["comparisons"][0]["candidate"] == "multigrid-1"
    half = [None] * 9 + [0.001] * 7  # most seeds diverged
    assert c5c(errors | {"cycle-1": half})["comparisons"][0]["candidate"] == "multigrid-1"


def test_budgets_that_no_solver_keeps_leave_the_claim_open():
    judged = c5c({"multigrid-1": SMALL}, budgets=BUDGET | {"operations": [250_000, 320_000]})
    assert judged["verdict"] == "inconclusive"
    assert judged["reason"] == "No runs of charbonnier, solvers of at most 250000 operations."


def trained_cycles(seeds=10, **changes):
    measured = tables({}) | solvers({"multigrid-1": [0.02] * seeds, "unet-2": [0.1] * seeds, "cycle-1": [0.03] * seeds})
    for column, value in changes.items():
        measured["solver_iterations"].loc[3, column] = value
    return measured


@pytest.mark.parametrize(
    ("changes", "seeds", "verdict", "count"),
    [
        ({}, 10, "reproduced", 0),
        ({}, 9, "inconclusive", 0),
        ({"moved": 1e-8, "from_fas": 1e-10}, 10, "reproduced", 0),
        ({"moved": 1.1e-8}, 10, "not reproduced", 1),
        ({"from_fas": 1.1e-10}, 3, "not reproduced", 1),
        ({"moved": np.nan, "from_fas": np.nan}, 10, "not reproduced", 2),
    ],
)
def test_cycles_of_trained_networks(changes, seeds, verdict, count):
    claim = judge("C5a", trained_cycles(seeds, **changes))
    assert (claim["verdict"], claim["effect"], claim["n"]) == (verdict, count, seeds)
    assert claim["evidence"]["multigrid U-nets"] == seeds
    assert all("/multigrid-1/" in run for run in claim["runs"])


def test_what_cycles_show_in_a_sentence():
    assert judge("C5a", trained_cycles())["sentence"] == (
        "No violations of the multigrid scheme in 10 trained multigrid U-nets; the largest difference from the scheme "
        "is 1e−15, the largest change of an exact solution 1e−13."
    )


def test_cycles_that_were_not_measured_count_and_diverged_ones_are_left_out():
    measured = trained_cycles()
    lost = measured["solver_iterations"]["run"].str.endswith("seed-0")
    assert judge("C5a", measured | {"solver_iterations": measured["solver_iterations"][~lost]})["effect"] == 2
    diverged = measured["solver_runs"]["run"].str.endswith("multigrid-1/points-256/seed-0")
    measured["solver_runs"].loc[diverged, "status"] = "diverged"
    claim = judge("C5a", measured | {"solver_iterations": measured["solver_iterations"][~lost]})
    assert (claim["effect"], claim["n"]) == (0, 9)
    assert "Left out, since they diverged: 1." in claim["reason"]
    assert "diverged" not in judge("C5a", trained_cycles())["reason"]
    assert judge("C5a", tables({}))["verdict"] == "inconclusive"


# --- tables -------------------------------------------------------------------------------------------


def test_comparison_table_has_one_row_per_comparison():
    result = claims.evaluate(REGISTERED, with_gains("C2", [0.3] * 16))
    table = claims.comparison_table(result).query("claim == 'C2'")
    assert len(table) == 16
    row, comparison = table.iloc[1], result["claims"][1]["comparisons"][1]
    assert [row["low"], row["high"]] == comparison["interval"]
    assert [row["mean_low"], row["mean_high"]] == comparison["mean_interval"]
    assert row["runs"].split() == comparison["runs"]
    assert (row["candidate_parameters"], row["reference_parameters"]) == (48, 88)


def test_sensitivity_moves_the_verdict_with_the_threshold():
    measured = with_gains("C1", [-0.35, 0.2, 0.2, 0.2]) | {"fixed_points": fixed_points({"a": 1e-9})}
    table = claims.sensitivity(REGISTERED, measured).set_index(["claim", "threshold"])
    assert table.loc["C1", "verdict"].to_dict() == {
        **{0.1: "not reproduced", 0.25: "not reproduced"},
        **{0.5: "reproduced", 1.0: "reproduced"},
    }
    verdicts = {1e-12: "not reproduced", 1e-10: "not reproduced", 1e-8: "reproduced", 1e-6: "reproduced"}
    assert table.loc["C4c", "verdict"].to_dict() == verdicts
    assert [name for name, _ in table.index[table["registered"]]] == [claim["id"] for claim in REGISTERED["claims"]]
    broken = certified(10)
    broken["stability"]["counterexample"] = [True, True, *[False] * 8]
    table = claims.sensitivity(REGISTERED, broken).set_index(["claim", "threshold"])
    verdicts = {0.0: "not reproduced", 1.0: "not reproduced", 10.0: "reproduced"}
    assert table.loc["C3", "verdict"].to_dict() == verdicts


def test_equal_p_values_are_ordered_by_their_effects():
    """All are shown by all seeds: the weakest is the one with the smallest gain."""
    gains = [0.3, 0.1, 0.2, 0.4]
    assert judge("C1", with_gains("C1", gains))["effect"] == pytest.approx(0.1)
    assert judge("C1", with_gains("C1", [-x - 1 for x in gains]))["effect"] == pytest.approx(-1.4)


def test_a_pair_of_one_seed_has_no_intervals():
    sides = {f"{side}_{what}": [False] for side in ("candidate", "reference") for what in ("failed", "diverged")}
    one = pd.DataFrame(
        {"difference": [0.5], "counted": [0.5], "candidate_run": ["a"], "reference_run": [None], **sides}
    )
    found = compared(one, 0.0, 0.95)
    assert (found["effect"], found["interval"], found["mean_interval"], found["runs"]) == (0.5, None, None, ["a"])


# --- the registry -------------------------------------------------------------------------------------


def written(tmp_path, change):
    changed = copy.deepcopy(REGISTERED)
    change(changed)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (lambda r: r.update(aplha=0.1), ["(top level): got the key 'aplha'", "Did you mean 'alpha'?"]),
        (lambda r: r.update(alpha=2), ["alpha: got 2, expected less than 1."]),
        (lambda r: r["claims"][0].pop("threshold"), ["claims.0: got no threshold"]),
        (
            lambda r: r["claims"][1].update(evaluator="superority"),
            ["claims.1.evaluator: got 'superority'", "Did you mean 'superiority'?"],
        ),
        (lambda r: r["claims"][1].update(minimum_seeds=2), ["claims.1.minimum_seeds: got 2, expected at least 6."]),
        (lambda r: r["claims"][1].pop("rule"), ["claims.1: got no rule"]),
        (lambda r: r["claims"][1].update(rule="most"), ["claims.1.rule: got 'most', expected one of all, all_named"]),
        (lambda r: r["claims"][6].pop("tolerances"), ["claims.6: got no tolerances"]),
        (lambda r: r["claims"][7].pop("ratios"), ["claims.7: got no ratios"]),
        (lambda r: r["claims"][7]["ratios"][0].update(role="aside"), ["claims.7.ratios.0.role: got 'aside'"]),
        (lambda r: r["claims"][8].pop("budgets"), ["claims.8: got no budgets"]),
        (
            lambda r: r["claims"][8]["budgets"].update(operations=[1, 1]),
            ["claims.8.budgets.operations: got [1, 1], expected entries that all differ."],
        ),
        (
            lambda r: r["claims"][10]["largest_drift"].update(value=0),
            ["claims.10.largest_drift.value: got 0, expected more than 0."],
        ),
        (lambda r: r["claims"][2].update(comparisons=r["claims"][0]["comparisons"]), ["claims.2.comparisons: "]),
        (lambda r: r["claims"][0].pop("comparisons"), ["claims.0: got no comparisons"]),
        (lambda r: r["claims"][0].update(comparisons=r["claims"][0]["comparisons"][4:]), ["claims.0.comparisons: "]),
        (
            lambda r: r["claims"][1]["comparisons"][0].update(sizes="every"),
            ["claims.1.comparisons.0.sizes: got 'every', expected 'all'."],
        ),
        (
            lambda r: r["claims"][1]["comparisons"][0].update(sizes=["120"]),
            ["claims.1.comparisons.0.sizes.0: got '120', expected text that matches"],
        ),
        (lambda r: r["claims"][0].update(id="C2"), ["claims.id: got 'C2' 2 times"]),
        (lambda r: r.update(alpha="x", noise=-1), ["alpha: got 'x'", "noise: got -1"]),
        (lambda r: r["claims"][0].update(quote=1), ["claims.0.quote: got 1, expected a value of type string or null."]),
    ],
)
def test_a_wrong_registry_is_refused_with_file_key_value_and_what_is_expected(tmp_path, change, messages):
    path = written(tmp_path, change)
    with pytest.raises(ConfigError) as error:
        claims.load(path, SCHEMA)
    assert all(message in str(error.value) for message in messages)
    assert all(line.startswith(f"{path}: ") for line in str(error.value).splitlines())


@pytest.mark.parametrize("content", ["claims: [", "alpha: 0.05\nalpha: 0.1", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "claims.yaml"
    if content:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"claims\.yaml(: file is missing| cannot be read)"):
        claims.load(path, SCHEMA)


def test_the_families_have_the_registered_sizes_and_rules():
    sizes = {"C1": (4, "all"), "C2": (16, "some"), "C4a": (2, "each"), "C4b": (6, "all_named"), "C6": (3, "all_named")}
    for name, (size, rule) in (sizes | {"N1": (9, "all")}).items():
        assert (len(comparisons_of(name)), registered(name)["rule"]) == (size, rule)
    assert (len(registered("C5c")["budgets"]["operations"]), registered("C5c")["rule"]) == (3, "all")
    assert (registered("C1")["threshold"]["value"], registered("N1")["threshold"]["value"]) == (0.5, 0.25)
    assert registered("C2")["minimum_seeds"] == 16


def test_quotes_are_short_and_where_there_is_none_the_source_says_so():
    for claim in REGISTERED["claims"]:
        assert (claim["quote"] is None) == ("in our words" in claim["source"])


@pytest.mark.parametrize("tier", ["smoke", "study", "extended"])
def test_every_tier_can_decide_the_registered_claims(tier):
    Study.load(ROOT, tier).check_claims(REGISTERED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"noise": 15.0},
            r"test_set and noise: got piecewise_affine-15, expected one of .*piecewise_affine-10",
        ),
        ({"test_set": "speech"}, r"config/claims\.yaml: test_set and noise: got speech-10"),
    ],
)
def test_a_claim_on_a_test_set_that_is_not_there_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Study.load(ROOT, "smoke").check_claims(REGISTERED | change)


@pytest.mark.parametrize("change", [{"test_set": "evolution_4"}, {"noise": 20.0}])
def test_a_comparison_on_a_test_set_that_its_experiment_does_not_have_is_refused(change):
    changed = copy.deepcopy(REGISTERED)
    (claim,) = (claim for claim in changed["claims"] if claim["id"] == "C4b")
    claim["comparisons"][0].update(change)
    message = r"claims\.C4b\.evolution_16, test_set and noise: got .*, expected one of \['evolution_16-10'\]"
    with pytest.raises(ConfigError, match=message):
        Study.load(ROOT, "study").check_claims(changed)


@pytest.mark.parametrize("key", ["experiment", "candidate", "reference"])
def test_a_claim_on_what_the_study_does_not_have_is_refused(key):
    changed = copy.deepcopy(REGISTERED)
    changed["claims"][0]["comparisons"][0][key] = "growth"
    with pytest.raises(ConfigError, match=rf"claims\.C1\.{key}: got 'growth', expected "):
        Study.load(ROOT, "smoke").check_claims(changed)


@pytest.mark.parametrize(("claim", "key"), [("C5b", "candidate"), ("C5b", "problem"), ("C5c", "problem")])
def test_a_claim_on_solvers_that_the_study_does_not_have_is_refused(claim, key):
    changed = copy.deepcopy(REGISTERED)
    (own,) = (each for each in changed["claims"] if each["id"] == claim)
    (own["budgets"] if claim == "C5c" else own["ratios"][0])[key] = "growth"
    with pytest.raises(ConfigError, match=rf"claims\.{claim}\.{key}: got 'growth', expected "):
        Study.load(ROOT, "smoke").check_claims(changed)
