"""Verdicts on synthetic tables, one for every branch, and the errors of a wrong registry."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from schemenets.errors import ConfigError
from schemenets.study import claims
from schemenets.study.config import Study
from schemenets.study.statistics import MissingRunsError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/claims.schema.json"
REGISTERED = claims.load(ROOT / "config/claims.yaml", SCHEMA)
# the rules are tested on a C2 of one structure
COMPLETE = copy.deepcopy(REGISTERED)
(C2,) = (claim for claim in COMPLETE["claims"] if claim["id"] == "C2")
C2["comparisons"] = [c for c in C2["comparisons"] if c["candidate"] == "symmetric-perona_malik"]

NOISY = 28.0
WOBBLE = 0.05 * np.cos(np.arange(10))
WEIGHTS = {"resnet": 80, "symmetric": 40}
BUDGETS = ["budget-120", "budget-480", "budget-960"]


def tables(groups, seeds=10):
    """All tables, with runs and PSNR from {(method, size): mean PSNR, or one per seed with None for diverged}."""
    rows = []
    for (method, size), level in groups.items():
        values = level if isinstance(level, list) else [level + WOBBLE[s] * len(method) / 20 for s in range(seeds)]
        experiment = "capacity" if size.startswith("budget") else "factorial"
        for seed, value in enumerate(values):
            weights = WEIGHTS[method.split("-")[0]]
            rows.append(
                {
                    "run": f"{experiment}/{method}/{size}/seed-{seed}",
                    "experiment": experiment,
                    "method": method,
                    "size": size,
                    "seed": seed,
                    "status": "diverged" if value is None else "ok",
                    "parameters": weights + 8,
                    "convolution_weights": weights,
                    "test_set": "piecewise_affine",
                    "noise": 10.0,
                    "noisy_psnr": NOISY,
                    "psnr": np.nan if value is None else value,
                }
            )
    table = pd.DataFrame(rows)
    other = table.assign(noise=25.0, psnr=0.0)  # must be ignored
    psnr = pd.concat([table, other]).drop(columns=["parameters", "convolution_weights"])
    runs = table.drop(columns=["test_set", "noise", "noisy_psnr", "psnr"]).assign(certified=False)
    columns = ["kind", "run", "network", "flux", "tied", "certified", "seed", "n", "amplification", "bound"]
    growth = pd.DataFrame(columns=columns)
    none = {
        "stability": stability([]),
        "growth": growth,
        "fixed_points": fixed_points({}),
        "fixed_point_costs": costs(),
        **solvers({}),
    }
    return {"runs": runs, "psnr": psnr, **none}


SIZES = {"cycle": (27, 250_000), "unet": (2727, 310_000)}  # parameters and operations


def solvers(errors):
    """Tables of networks that solve, from {method: relative errors of the seeds, None for diverged}."""
    runs, measured = [], []
    for method, values in errors.items():
        parameters, operations = SIZES[method.split("-")[0]]
        for seed, value in enumerate(values):
            of = {"run": f"solvers/charbonnier/{method}/seed-{seed}", "problem": "charbonnier", "method": method}
            state = {"status": "ok" if value else "diverged", "parameters": parameters, "operations": operations}
            runs.append({**of, "seed": seed, **state})
            measured += [
                {**of, "seed": seed, "kind": "home", "relative_error": value},
                {**of, "seed": seed, "kind": "finer", "relative_error": 9.0},  # must be ignored
            ]
    columns = ["run", "problem", "method", "seed", "status", "parameters", "operations"]
    return {
        "solver_runs": pd.DataFrame(runs, columns=columns),
        "solver_errors": pd.DataFrame(measured, columns=["run", "kind", "relative_error"]),
    }


def stability(runs):
    """A flawless row for each of these runs."""
    columns = ["run", "method", "seed", "certified", "euclidean_bound", "drift_bound"]
    columns += ["least_step_margin", "least_dense_step_margin"]
    columns += ["largest_amplification_found", "counterexample", "contradictions", "repetitions", "excess"]
    rows = [[run, run.split("/")[1], int(run[-1]), True, 1.0, 0.0, 0.1, 0.2, 0.9, False, 0, 1000, 0.8] for run in runs]
    return pd.DataFrame(rows, columns=columns)


def costs(growth=()):
    """Memory of one run with 4 and with 128 iterations, from {kind of gradients: factor}."""
    rows = [
        {"run": "a", "gradients": gradients, "iterations": n, "saved_bytes": size}
        for gradients, factor in dict(growth).items()
        for n, size in ((4, 100), (128, 100 * factor))
    ]
    return pd.DataFrame(rows, columns=["run", "gradients", "iterations", "saved_bytes"])


def fixed_points(methods, seeds=8):
    """Networks that meet their rate 1/2 exactly, from {method: gradient difference, None without convergence}."""
    rows = [
        {
            "run": f"factorial/{method}/blocks-4/seed-{seed}",
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


def factorial(**levels):
    defaults = {"resnet_relu": 34.0, "symmetric_perona_malik": 34.8, "symmetric_charbonnier": 33.5}
    levels = defaults | {"symmetric_relu": 30.4} | levels
    return {(name.replace("_", "-", 1), "blocks-4"): level for name, level in levels.items()}


def capacity(gains, same_flux=0.1):
    groups = {}
    for size, gain in zip(BUDGETS, gains, strict=False):
        groups[("symmetric-perona_malik", size)] = gain if isinstance(gain, list) else 34.0 + gain
        groups[("resnet-relu", size)] = 34.0
        groups[("resnet-perona_malik", size)] = 34.0 + same_flux
    return groups


def judge(groups, name, seeds=10, registered=COMPLETE):
    result = claims.evaluate(registered, tables(groups, seeds))
    json.dumps(result, allow_nan=False)
    return next(claim for claim in result["claims"] if claim["id"] == name)


ALL = factorial() | capacity([0.5, 0.6, 0.7])


def test_every_claim_is_registered_and_judged_in_order():
    result = claims.evaluate(REGISTERED, tables(ALL))
    verdicts = {claim["id"]: claim["verdict"] for claim in result["claims"]}
    assert verdicts == {
        "C1": "reproduced",
        "C2": "inconclusive",
        "C3": "inconclusive",
        "C4a": "inconclusive",
        "C4b": "inconclusive",
        "C4c": "inconclusive",
        "C5": "inconclusive",
        "C6": "reproduced",
    }
    assert all("Not measured yet" in c["reason"] for c in result["claims"] if c["verdict"] == "not testable")


# --- C1, noninferiority -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "verdict"),
    [
        (34.8, "reproduced"),
        (33.7, "reproduced"),  # worse, by less than the margin
        (33.3, "not reproduced"),  # worse by more than the margin
        ([33.5 + x for x in 4 * WOBBLE], "inconclusive"),  # at the margin
    ],
)
def test_noninferiority(level, verdict):
    level = list(level) if isinstance(level, list) else level
    assert judge(factorial(symmetric_perona_malik=level), "C1")["verdict"] == verdict


def test_evidence_of_a_verdict():
    claim = judge(factorial(symmetric_perona_malik=[33.7] * 5 + [33.8] * 5, resnet_relu=[34.0] * 10), "C1")
    assert claim["effect"] == pytest.approx(-0.25)
    half = 2.2621571628 * np.std([0.05, -0.05] * 5, ddof=1) / np.sqrt(10)  # t quantile of 9 degrees of freedom
    assert claim["interval"] == pytest.approx([-0.25 - half, -0.25 + half])
    assert claim["p"] == claim["p_holm"] == 2.0**-10
    assert claim["n"] == 10
    assert len(claim["runs"]) == 20
    assert "factorial/resnet-relu/blocks-4/seed-9" in claim["runs"]


def test_quality_without_half_of_the_weights_does_not_reproduce_c1():
    measured = tables(factorial())
    runs = measured["runs"]
    runs.loc[runs["method"] == "symmetric-perona_malik", "convolution_weights"] = 41
    claim = claims.evaluate(REGISTERED, measured)["claims"][0]
    assert claim["verdict"] == "not reproduced"
    assert "41 of 80" in claim["reason"]


def test_secondary_comparisons_do_not_decide():
    groups = factorial(symmetric_charbonnier=20.0, symmetric_relu=20.0)
    claim = judge(groups, "C1")
    assert claim["verdict"] == "reproduced"
    assert [c["outcome"] for c in claim["comparisons"]] == ["shown", "refuted", "refuted"]


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_too_few_seeds_are_inconclusive(seeds):
    claim = judge(ALL, "C1", seeds)
    assert claim["verdict"] == "inconclusive"
    assert f"{seeds} seeds" in claim["reason"]
    assert claim["comparisons"][0]["outcome"] == "open"
    assert (claim["interval"] is None) == (seeds == 1)


def test_six_seeds_suffice_for_one_comparison():
    assert judge(ALL, "C1", 6)["verdict"] == "reproduced"


def test_no_runs_are_inconclusive():
    claim = judge(capacity([0.5]), "C1")
    assert claim["verdict"] == "inconclusive"
    assert "symmetric-perona_malik against resnet-relu" in claim["reason"]
    assert claim["effect"] is None


# --- C2, superiority over several budgets -------------------------------------------------------------

OPEN = [34.0 + x for x in (0.3, -0.3, 0.2, -0.2, 0.1, -0.1, 0.3, -0.3, 0.2, -0.2)]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.5, 0.6, 0.7], "reproduced"),
        ([0.5, 0.6, -0.7], "partly"),
        ([0.5, OPEN, OPEN], "partly"),
        ([-0.5, OPEN, OPEN], "not reproduced"),
        ([-0.5, -0.6, -0.7], "not reproduced"),
        ([OPEN, OPEN, OPEN], "inconclusive"),
    ],
)
def test_superiority(gains, verdict):
    claim = judge(capacity(gains), "C2")
    assert claim["verdict"] == verdict
    assert [c["size"] for c in claim["comparisons"]] == BUDGETS * 2


def test_holm_families_are_the_primary_and_the_secondary_comparisons():
    claim = judge(capacity([0.5, 0.6, 0.7], same_flux=0.8), "C2")
    primary, secondary = claim["comparisons"][:3], claim["comparisons"][3:]
    assert [c["p_holm"] for c in primary] == [3 / 1024] * 3
    assert [c["p_opposite_holm"] for c in secondary] == [3 / 1024] * 3
    assert {c["outcome"] for c in secondary} == {"refuted"}


def test_a_claim_shows_its_weakest_comparison():
    claim = judge(capacity([0.5, OPEN, 0.7]), "C2")
    assert claim["effect"] == claim["comparisons"][1]["effect"]
    assert claim["p_holm"] == max(c["p_holm"] for c in claim["comparisons"][:3])


def test_too_few_seeds_for_so_many_comparisons_are_said():
    groups = {}
    for budget in range(1, 5):
        groups[("symmetric-perona_malik", f"budget-{budget}")] = 35.0
        groups[("resnet-relu", f"budget-{budget}")] = 34.0
    claim = judge(groups, "C2", 6)
    assert claim["verdict"] == "inconclusive"
    assert "6 seeds cannot show 4 comparisons" in claim["reason"]


def test_only_budgets_of_both_methods_are_compared():
    groups = capacity([0.5, 0.6]) | {("resnet-relu", "budget-960"): 34.0}
    claim = judge(groups, "C2")
    assert claim["verdict"] == "reproduced"
    assert [c["size"] for c in claim["comparisons"]] == BUDGETS[:2] * 2


# --- divergence and missing runs ----------------------------------------------------------------------


def test_one_diverged_run_of_the_candidate_takes_the_verdict_away():
    values = [34.6] * 9
    assert judge(capacity([[*values, 34.6]]), "C2")["verdict"] == "reproduced"
    claim = judge(capacity([[*values, None]]), "C2")
    assert claim["verdict"] == "inconclusive"
    assert claim["comparisons"][0]["n"] == 10
    assert claim["comparisons"][0]["candidate_diverged"] == 1
    assert "Diverged runs counted as losses: 1" in claim["reason"]


def test_a_candidate_that_always_diverges_is_refuted():
    assert judge(capacity([[None] * 10]), "C2")["verdict"] == "not reproduced"


def test_a_reference_that_always_diverges_loses():
    groups = capacity([0.5]) | {("resnet-relu", "budget-120"): [None] * 10}
    assert judge(groups, "C2")["verdict"] == "reproduced"


def test_both_diverged_show_nothing():
    groups = capacity([[None] * 10]) | {("resnet-relu", "budget-120"): [None] * 10}
    claim = judge(groups, "C2")
    assert claim["verdict"] == "inconclusive"
    assert claim["effect"] == 0


def test_a_diverged_candidate_is_never_within_the_margin():
    """However little the reference improves on the noisy input, whose PSNR stands for the diverged candidate."""
    measured = tables(ALL | {("symmetric-perona_malik", "blocks-4"): [None] * 10})
    psnr = measured["psnr"]
    reference = psnr["run"].str.startswith("factorial/resnet-relu/")
    psnr.loc[reference, "psnr"] = psnr.loc[reference, "noisy_psnr"] + 0.1
    (claim,) = (c for c in claims.evaluate(REGISTERED, measured)["claims"] if c["id"] == "C1")
    assert claim["verdict"] == "inconclusive"
    assert claim["effect"] == -0.5


def test_missing_seeds_stop_the_evaluation():
    measured = tables(ALL)
    lost = measured["runs"]["run"] == "capacity/resnet-relu/budget-480/seed-7"
    with pytest.raises(MissingRunsError, match="capacity/resnet-relu/budget-480/seed-7"):
        claims.evaluate(REGISTERED, measured | {"runs": measured["runs"][~lost]})


def test_a_listed_size_that_only_one_method_ran_at_stops_the_evaluation():
    measured = tables(ALL)
    runs = measured["runs"]
    elsewhere = runs.assign(size=runs["size"].mask(runs["method"] == "resnet-relu", "blocks-2"))
    with pytest.raises(MissingRunsError, match="factorial/resnet-relu/blocks-4/seed-0"):
        claims.evaluate(REGISTERED, measured | {"runs": elsewhere})


def test_a_listed_size_or_a_method_that_did_not_run_leaves_a_claim_open():
    measured = tables(ALL)
    (claim,) = [claim for claim in REGISTERED["claims"] if claim["id"] == "C1"]
    first, *others = claim["comparisons"]
    claim = claim | {"comparisons": [first | {"sizes": ["blocks-4", "blocks-8"]}, *others]}
    (judged,) = claims.evaluate(REGISTERED | {"claims": [claim]}, measured)["claims"]
    assert judged["verdict"] == "inconclusive"
    assert judged["reason"].endswith("factorial, symmetric-perona_malik against resnet-relu at blocks-8.")
    claim = claim | {"comparisons": [first | {"candidate": "fsi-relu"}]}
    (judged,) = claims.evaluate(REGISTERED | {"claims": [claim]}, measured)["claims"]
    assert (judged["verdict"], judged["comparisons"]) == ("inconclusive", [])
    assert "factorial, fsi-relu against resnet-relu" in judged["reason"]


# --- C6, capped ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charbonnier", "relu", "verdict"),
    [(33.5, 30.4, "partly"), (35.5, 30.4, "partly"), (35.5, 35.6, "not reproduced")],
)
def test_a_claim_with_an_unmeasured_part_is_at_most_partly_reproduced(charbonnier, relu, verdict):
    registered = copy.deepcopy(COMPLETE)
    registered["claims"][-1]["waits_for"] = "the other part"
    claim = judge(factorial(symmetric_charbonnier=charbonnier, symmetric_relu=relu), "C6", registered=registered)
    assert claim["verdict"] == verdict


# --- C3, violations -----------------------------------------------------------------------------------

CERTIFIED = "symmetric-perona_malik-certified"


def certified(seeds, method=CERTIFIED):
    """The tables with that many certified runs, none of which violates anything, and growth without any."""
    measured = tables(factorial() | {(method, "blocks-4"): 34.0})
    runs = measured["runs"]
    runs = runs[(runs["method"] != method) | (runs["seed"] < seeds)].assign(certified=lambda t: t["method"] == method)
    of = runs.loc[runs["certified"], "run"].tolist()
    growth = pd.DataFrame({"run": [*of, *of], "n": [1] * len(of) + [10_000] * len(of), "amplification": 1 + 5e-10})
    random = pd.DataFrame({"network": "symmetric", "flux": ["relu", "linear"], "n": 7, "amplification": 1, "bound": 1})
    other = pd.DataFrame({"run": ["factorial/resnet-relu/blocks-4/seed-0", None], "n": 5, "amplification": 100.0})
    every = pd.concat(
        [
            growth.assign(kind="repetition"),
            random.assign(kind="depth"),
            other,
        ]
    ).assign(tied=False, seed=0)
    every["certified"] = np.where(every["network"].notna(), True, None)
    return measured | {"runs": runs, "stability": stability(of), "growth": every.reset_index(drop=True)}


def of_claim(name, measured):
    registered = REGISTERED | {"claims": [claim for claim in REGISTERED["claims"] if claim["id"] == name]}
    (claim,) = claims.evaluate(registered, measured)["claims"]
    json.dumps(claim, allow_nan=False)
    return claim


def test_certificates_without_exception_reproduce_c3():
    claim = of_claim("C3", certified(6))
    assert (claim["verdict"], claim["effect"], claim["n"]) == ("reproduced", 0, 6)
    assert claim["evidence"] == {
        "certified checkpoints": 6,
        "largest amplification found by the search": 0.9,
        "certified checkpoints applied 1000 times": 6,
        "of these, applied 10000 times": 6,
        "certified checkpoints whose bound exceeds 1, so that its powers allow much": 0,
        "largest amplification by repetition, over its bound": pytest.approx(1 + 5e-10, rel=1e-12),
        "certified random networks": 2,
        "largest amplification through depth, over its bound": 1.0,
        "least step margin": 0.1,
        "least step margin by dense matrices": 0.2,
    }
    assert claim["runs"] == [f"factorial/{CERTIFIED}/blocks-4/seed-{seed}" for seed in range(6)]
    assert (claim["interval"], claim["p_holm"], claim["comparisons"]) == (None, None, [])


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
        ("stability", "excess", 1 + 2e-9, "beyond their bound: 1. 2 certified random"),
        ("stability", "excess", np.nan, "beyond their bound: 1. 2 certified random"),
        ("growth", "amplification", 1 + 2e-9, "beyond their bound: 1. 2 certified random"),
        ("growth", "amplification", np.nan, "beyond their bound: 1. 2 certified random"),
        ("growth", "amplification", np.inf, "beyond their bound: 1. 2 certified random"),
        ("random", "amplification", 1 + 2e-9, "of up to 7 blocks: grown beyond their bound: 1"),
        ("random", "amplification", np.nan, "of up to 7 blocks: grown beyond their bound: 1"),
        ("random", "bound", np.nan, "of up to 7 blocks: grown beyond their bound: 1"),
    ],
)
@pytest.mark.parametrize("seeds", [2, 6])
def test_one_violation_refutes_c3_whatever_the_number_of_seeds(table, column, value, words, seeds):
    measured = certified(seeds)
    row, table = (2 * seeds + 1, "growth") if table == "random" else (1, table)
    measured[table] = measured[table].reset_index(drop=True).astype({column: object})
    measured[table].loc[row, column] = value
    measured[table][column] = measured[table][column].infer_objects()
    claim = of_claim("C3", measured)
    assert (claim["verdict"], claim["effect"]) == ("not reproduced", 1)
    assert words in claim["reason"]


def test_too_few_seeds_or_no_certified_network_leave_c3_open():
    claim = of_claim("C3", certified(5))
    assert (claim["verdict"], claim["n"]) == ("inconclusive", 5)
    assert "5 seeds; a verdict needs 6" in claim["reason"]
    claim = of_claim("C3", certified(0))
    assert (claim["verdict"], claim["n"], claim["runs"]) == ("inconclusive", 0, [])


def test_seeds_of_different_methods_do_not_add_up():
    measured = certified(5)
    measured["runs"] = measured["runs"].assign(certified=lambda t: t["certified"] | (t["method"] == "symmetric-relu"))
    measured["runs"] = measured["runs"][~measured["runs"]["certified"] | (measured["runs"]["seed"] < 5)]
    measured["stability"] = stability(measured["runs"].loc[measured["runs"]["certified"], "run"])
    claim = of_claim("C3", measured)
    assert (claim["verdict"], claim["n"], len(claim["runs"])) == ("inconclusive", 5, 10)


def test_growth_is_measured_by_the_bound_to_the_power_of_the_repetitions():
    measured = certified(6)
    measured["stability"]["euclidean_bound"] = 1.1
    repeated = measured["growth"]["kind"] == "repetition"
    measured["growth"].loc[repeated, ["n", "amplification"]] = 20, 1.1**20
    claim = of_claim("C3", measured)
    assert claim["effect"] == 0
    assert claim["evidence"]["certified checkpoints whose bound exceeds 1, so that its powers allow much"] == 6
    measured["growth"].loc[repeated, "amplification"] *= 1 + 2e-9
    assert of_claim("C3", measured)["effect"] == 6


def test_repetitions_of_networks_with_biases_count_by_what_their_drift_leaves():
    """Amplification alone has no bound there; the excess, which takes n drifts off, has."""
    measured = certified(6)
    repeated = measured["growth"]["kind"] == "repetition"
    measured["growth"].loc[repeated, ["n", "amplification"]] = 20, 3.0
    assert of_claim("C3", measured)["effect"] == 6
    measured["stability"]["drift_bound"] = 0.1
    assert of_claim("C3", measured)["effect"] == 0
    measured["stability"]["excess"] = 1 + 2e-9
    assert of_claim("C3", measured)["effect"] == 6


@pytest.mark.parametrize("kind", ["repetition", "depth"])
def test_growth_that_was_not_measured_reproduces_nothing(kind):
    measured = certified(6)
    measured["growth"] = measured["growth"].query("kind != @kind")
    claim = of_claim("C3", measured)
    assert (claim["verdict"], claim["effect"]) == ("inconclusive", 0)
    assert "Not all kinds of growth were measured" in claim["reason"]


def test_a_certified_run_whose_stability_was_not_measured_stops_the_evaluation():
    measured = certified(6)
    measured["stability"] = measured["stability"].iloc[1:]
    with pytest.raises(MissingRunsError, match=f"factorial/{CERTIFIED}/blocks-4/seed-0"):
        of_claim("C3", measured)


# --- C4c, maximum -------------------------------------------------------------------------------------


def of_fixed_points(table):
    return of_claim("C4c", tables(ALL) | {"fixed_points": table})


@pytest.mark.parametrize(
    ("methods", "seeds", "verdict"),
    [
        ({"a": 1e-9, "b": 1e-8}, 6, "reproduced"),
        ({"a": 1e-9, "b": 1.1e-8}, 6, "not reproduced"),
        ({"a": 1e-9, "b": 1.1e-8}, 2, "not reproduced"),
        ({"a": 1e-9}, 5, "inconclusive"),
        ({"a": 1e-9, "b": None}, 6, "partly"),
        ({"a": None}, 6, "inconclusive"),
        ({}, 6, "inconclusive"),
    ],
)
def test_gradients_of_fixed_points(methods, seeds, verdict):
    claim = of_fixed_points(fixed_points(methods, seeds))
    assert claim["verdict"] == verdict
    largest = max((x for x in methods.values() if x is not None), default=None)
    assert claim["effect"] == claim["evidence"]["largest relative difference of gradients"] == largest
    assert claim["evidence"]["networks that converge"] == seeds * sum(x is not None for x in methods.values())
    assert claim["runs"] == sorted(f"factorial/{m}/blocks-4/seed-{seed}" for m in methods for seed in range(seeds))


def test_memory_of_fixed_points_is_evidence():
    measured = tables(ALL) | {"fixed_points": fixed_points({"a": 1e-9})}
    claim = of_claim("C4c", measured | {"fixed_point_costs": costs({"unrolled": 32, "implicit": 1})})
    assert claim["evidence"]["memory kept for unrolled gradients, 128 over 4 iterations"] == 32
    assert claim["evidence"]["memory kept for implicit gradients, 128 over 4 iterations"] == 1


@pytest.mark.parametrize(
    ("iterations", "allowed", "verdict"),
    [
        (34, 34, "reproduced"),
        (35, 34, "not reproduced"),
        (35, np.nan, "reproduced"),  # a rate of 1 or more promises nothing
        (np.nan, 34, "not reproduced"),
        (np.nan, 2292, "not reproduced"),
        (np.nan, 2293, "partly"),  # it was not given as many
    ],
)
def test_rates_of_fixed_points(iterations, allowed, verdict):
    table = fixed_points({"a": 1e-9}, 7)
    table.loc[table.index[-1], ["iterations", "allowed_iterations"]] = iterations, allowed
    claim = of_fixed_points(table)
    assert claim["verdict"] == verdict
    assert f"and {int(verdict == 'not reproduced')} networks take more" in claim["reason"]


def test_gradients_that_are_not_finite_refute():
    table = fixed_points({"a": 1e-9}, 7)
    table.loc[table.index[-1], "gradient_difference"] = np.nan
    claim = of_fixed_points(table)
    assert (claim["verdict"], claim["effect"]) == ("not reproduced", None)


def test_the_threshold_of_a_maximum_can_be_moved():
    table = claims.sensitivity(REGISTERED, certified(6) | {"fixed_points": fixed_points({"a": 1e-9}, 7)})
    table = table.set_index(["claim", "threshold"])
    verdicts = {1e-12: "not reproduced", 1e-10: "not reproduced", 1e-8: "reproduced", 1e-6: "reproduced"}
    assert table.loc["C4c", "verdict"].to_dict() == verdicts
    assert table.loc["C3", "verdict"].to_dict() == dict.fromkeys((0.0, 1.0, 10.0), "reproduced")
    assert set(table.loc["C3", "n"]) == {6}
    broken = certified(6)
    broken["stability"]["counterexample"] = [True, True, *[False] * 4]
    table = claims.sensitivity(REGISTERED, broken).set_index(["claim", "threshold"])
    verdicts = {0.0: "not reproduced", 1.0: "not reproduced", 10.0: "reproduced"}
    assert table.loc["C3", "verdict"].to_dict() == verdicts


# --- another test set ---------------------------------------------------------------------------------


def test_a_comparison_may_have_a_test_set_of_its_own():
    measured = tables(factorial())
    psnr = measured["psnr"]
    own = psnr[psnr["noise"] == 10].assign(test_set="evolution_4")
    own["psnr"] += np.where(own["method"] == "symmetric-perona_malik", -3.0, 0.0)
    registered = copy.deepcopy(COMPLETE)
    comparisons = registered["claims"][0]["comparisons"]
    comparisons[1] = comparisons[0] | {"role": "secondary", "test_set": "evolution_4"}
    claim = claims.evaluate(registered, measured | {"psnr": pd.concat([psnr, own])})["claims"][0]
    assert [c["test_set"] for c in claim["comparisons"][:2]] == ["piecewise_affine", "evolution_4"]
    effects = [c["effect"] for c in claim["comparisons"][:2]]
    assert effects[0] - effects[1] == pytest.approx(3)


# --- tables -------------------------------------------------------------------------------------------


def test_comparison_table_has_one_row_per_comparison():
    result = claims.evaluate(REGISTERED, tables(ALL))
    table = claims.comparison_table(result)
    assert len(table) == 3 + 6 + 2
    row = table[(table["claim"] == "C2") & (table["size"] == "budget-480")].iloc[0]
    comparison = result["claims"][1]["comparisons"][1]
    assert [row["low"], row["high"]] == comparison["interval"]
    assert row["runs"].split() == comparison["runs"]
    assert row["candidate_parameters"] == 48
    assert row["reference_parameters"] == 88


def test_sensitivity_moves_the_verdict_with_the_threshold():
    groups = factorial(symmetric_perona_malik=33.7) | capacity([0.2, 0.4, 0.5])
    table = claims.sensitivity(COMPLETE, tables(groups)).set_index(["claim", "threshold"])
    assert table.loc["C1", "verdict"].to_dict() == {
        0.1: "not reproduced",
        0.25: "not reproduced",
        0.5: "reproduced",
        1.0: "reproduced",
    }
    assert table.loc["C2", "verdict"].to_dict() == {0.0: "reproduced", 0.1: "reproduced", 0.25: "partly"}
    absent = [("C4a", 0.0), ("C4b", 0.0)]
    expected = [("C1", 0.5), ("C2", 0.0), ("C3", 0.0), *absent, ("C4c", 1e-8), ("C5", 1.0), ("C6", 0.0)]
    assert table.index[table["registered"]].tolist() == expected


# --- the registry -------------------------------------------------------------------------------------


def written(tmp_path, change):
    registered = copy.deepcopy(REGISTERED)
    change(registered)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(registered, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (lambda r: r.update(aplha=0.1), ["(top level): got the key 'aplha'", "Did you mean 'alpha'?"]),
        (lambda r: r.update(alpha=2), ["alpha: got 2, expected less than 1."]),
        (lambda r: r.update(divergence="drop"), ["divergence: got 'drop', expected one of loss."]),
        (lambda r: r["claims"][0].pop("threshold"), ["claims.0: got no threshold"]),
        (
            lambda r: r["claims"][1].update(evaluator="superority"),
            ["claims.1.evaluator: got 'superority'", "Did you mean 'superiority'?"],
        ),
        (lambda r: r["claims"][1].update(minimum_seeds=2), ["claims.1.minimum_seeds: got 2, expected at least 6."]),
        (lambda r: r["claims"][6].update(evaluator="none"), ["got no waits_for"]),
        (lambda r: r["claims"][6].pop("ratios"), ["got no ratios"]),
        (lambda r: r["claims"][6]["ratios"][0].update(role="aside"), ["claims.6.ratios.0.role: got 'aside'"]),
        (lambda r: r["claims"][2].update(comparisons=r["claims"][0]["comparisons"]), ["claims.2.comparisons: "]),
        (lambda r: r["claims"][0].pop("comparisons"), ["got no comparisons"]),
        (lambda r: r["claims"][0]["comparisons"].pop(0), ["claims.0.comparisons: "]),
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


@pytest.mark.parametrize("change", [{"test_set": "evolution_16"}, {"noise": 20.0}])
def test_a_comparison_on_a_test_set_that_its_experiment_does_not_have_is_refused(change):
    registered = copy.deepcopy(REGISTERED)
    (claim,) = (claim for claim in registered["claims"] if claim["id"] == "C4b")
    claim["comparisons"][0].update(change)
    message = r"claims\.C4b\.evolution_4, test_set and noise: got .*, expected one of \['evolution_4-10'\]"
    with pytest.raises(ConfigError, match=message):
        Study.load(ROOT, "smoke").check_claims(registered)


@pytest.mark.parametrize("key", ["experiment", "candidate", "reference"])
def test_a_claim_on_what_the_study_does_not_have_is_refused(key):
    registered = copy.deepcopy(REGISTERED)
    registered["claims"][0]["comparisons"][0][key] = "growth"
    with pytest.raises(ConfigError, match=rf"claims\.C1\.{key}: got 'growth', expected "):
        Study.load(ROOT, "smoke").check_claims(registered)


def c5(errors, primary=(("cycle-1", "unet-2"),), secondary=(), threshold=1.0):
    """The verdict of a C5 of these comparisons on these errors."""
    registered = copy.deepcopy(REGISTERED)
    (claim,) = (claim for claim in registered["claims"] if claim["id"] == "C5")
    claim["ratios"] = [
        {"role": role, "problem": "charbonnier", "candidate": candidate, "reference": reference}
        for role, pairs in (("primary", primary), ("secondary", secondary))
        for candidate, reference in pairs
    ]
    claim["threshold"]["value"] = threshold
    (judged,) = claims.evaluate({**registered, "claims": [claim]}, solvers(errors))["claims"]
    return judged


ERRORS = np.exp(WOBBLE)


def test_a_smaller_error_of_all_seeds_is_shown_with_the_exact_p_and_the_geometric_mean():
    judged = c5({"cycle-1": 0.02 * ERRORS, "unet-2": 0.1 * ERRORS[::-1]})
    assert judged["verdict"] == "reproduced"
    (compared,) = judged["comparisons"]
    assert compared["p"] == pytest.approx(1 / 2**10)
    assert compared["effect"] == pytest.approx(0.2)
    assert compared["interval"][0] < 0.2 < compared["interval"][1]
    assert compared["candidate_median"] == pytest.approx(np.median(0.02 * ERRORS))


def test_a_larger_error_is_refuted_and_one_of_two_is_partly_so():
    errors = {"cycle-1": 0.2 * ERRORS, "cycle-3": 0.01 * ERRORS, "unet-2": 0.1 * ERRORS}
    assert c5(errors)["verdict"] == "not reproduced"
    judged = c5(errors, primary=(("cycle-1", "unet-2"), ("cycle-3", "unet-2")))
    assert judged["verdict"] == "partly"
    assert judged["effect"] == pytest.approx(2.0)  # the weakest


def test_the_threshold_of_a_ratio_can_be_moved():
    errors = {"cycle-1": 0.03 * ERRORS, "unet-2": 0.1 * ERRORS}
    assert [c5(errors, threshold=t)["verdict"] for t in (0.25, 0.5)] == ["not reproduced", "reproduced"]


def test_diverged_networks_have_found_nothing():
    one = [None, *(0.02 * ERRORS[1:])]
    (compared,) = c5({"cycle-1": one, "unet-2": 0.1 * ERRORS})["comparisons"]
    expected = np.log(np.array([1.0, *(0.02 * ERRORS[1:])]) / (0.1 * ERRORS))
    assert compared["effect"] == pytest.approx(np.exp(expected.mean()))
    assert compared["candidate_diverged"] == 1
    assert c5({"cycle-1": [None] * 10, "unet-2": 0.1 * ERRORS})["verdict"] == "not reproduced"


def test_references_with_too_few_parameters_or_operations_cannot_decide(monkeypatch):
    errors = {"cycle-1": 0.02 * ERRORS, "unet-2": 0.1 * ERRORS}
    for sizes in ((53, 310_000), (2727, 249_999)):
        monkeypatch.setitem(SIZES, "unet", sizes)
        judged = c5(errors)
        assert judged["verdict"] == "inconclusive"
        assert "cycle-1 against unet-2" in judged["reason"]
        assert c5(errors | {"cycle-3": 0.02 * ERRORS}, (("cycle-1", "cycle-3"),))["verdict"] == "inconclusive"
    monkeypatch.setitem(SIZES, "unet", (54, 250_000))
    assert c5(errors)["verdict"] == "reproduced"


def test_secondary_comparisons_of_errors_do_not_decide_and_absent_ones_are_named():
    errors = {"cycle-1": 0.02 * ERRORS, "unet-2": 0.1 * ERRORS, "unet-4": 0.01 * ERRORS}
    judged = c5(errors, secondary=(("cycle-1", "unet-4"), ("cycle-3", "unet-4")))
    assert judged["verdict"] == "reproduced"
    assert [c["outcome"] for c in judged["comparisons"]] == ["shown", "refuted"]
    judged = c5(errors, primary=(("cycle-1", "unet-2"), ("cycle-3", "unet-4")))
    assert judged["verdict"] == "inconclusive"
    assert "charbonnier, cycle-3 against unet-4" in judged["reason"]


@pytest.mark.parametrize("seeds", [1, 5])
def test_too_few_seeds_of_solvers_are_inconclusive(seeds):
    assert c5({"cycle-1": 0.02 * ERRORS[:seeds], "unet-2": 0.1 * ERRORS[:seeds]})["verdict"] == "inconclusive"


def test_errors_and_partners_that_are_missing_are_named():
    errors = {"cycle-1": 0.02 * ERRORS, "unet-2": 0.1 * ERRORS}
    measured = solvers(errors)
    (claim,) = (claim for claim in REGISTERED["claims"] if claim["id"] == "C5")
    lost = measured["solver_errors"].query("run != 'solvers/charbonnier/unet-2/seed-3'")
    with pytest.raises(MissingRunsError, match="unet-2/seed-3"):
        claims.evaluate({**REGISTERED, "claims": [claim]}, measured | {"solver_errors": lost})
    with pytest.raises(MissingRunsError, match="partners"):
        c5(errors | {"cycle-1": 0.02 * ERRORS[:9]})
