"""Verdicts on the claims that ``config/claims.yaml`` registers before the runs.

A comparison takes the paired differences d = PSNR(candidate) - PSNR(reference) in dB and is ``shown``, ``refuted`` or
``open``; the verdict of a claim follows from its primary comparisons. Claims that allow no exceptions are judged by
counts and maxima over all networks instead. The head of that file states all rules.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from schemenets.errors import ConfigError
from schemenets.study import schema
from schemenets.study.statistics import MissingRunsError, holm, over_power, paired_differences, sign_flip, t_interval
from schemenets.study.wording import short

Json = dict[str, Any]
Tables = Mapping[str, pd.DataFrame]
NOTHING_FOUND = 1.0  # relative error of a diverged run
ROUNDING = 1e-9  # of growth: errors of 1e-16 in each of up to 16 blocks of 10,000 applications, with a margin


SCHEMA = Path("workflow/schemas/claims.schema.json")  # in the project's directory


def load(path: Path, schema_path: Path = SCHEMA) -> Json:
    """The claims that the YAML file ``path`` registers.

    Raises:
        ConfigError: the file breaks the schema, or gives an id twice.
    """
    registered = schema.load(path, schema_path)
    for name, times in Counter(claim["id"] for claim in registered["claims"]).items():
        if times > 1:
            raise ConfigError(f"{path}: claims.id: got {name!r} {times} times, expected ids that all differ.")
    return registered


def evaluate(registered: Json, tables: Tables) -> Json:
    """Verdict, effect and evidence of every registered claim, ready for JSON (no NaN).

    The effect (mean d in dB), median, interval, p, Holm-adjusted p and n of a claim are those of its weakest primary
    comparison, the one with the largest adjusted p, since the claim is about all of them. Without comparisons, the
    effect is the count or maximum in the unit of the threshold, and n the largest number of seeds of one method.

    Args:
        registered: what ``load`` returns.
        tables: ``solver_runs``, one row per run that learned to solve; ``solver_errors``, one per run and condition;
            ``runs``, one row per trained denoiser; ``psnr``, one row per run, test set and noise level; ``stability``,
            one row per run; ``fixed_points``, one row per run of an implicit network and tolerance;
            ``fixed_point_costs``, one row per run, kind of gradients and number of iterations; ``growth``, one row per
            network, kind of growth and number ``n`` of repetitions or blocks.

    Raises:
        MissingRunsError: runs that have no partner in a comparison, or that were not measured.
    """
    settings = {key: value for key, value in registered.items() if key != "claims"}
    return settings | {"claims": [_judged(claim, settings, tables) for claim in registered["claims"]]}


def comparison_table(result: Json) -> pd.DataFrame:
    """Every comparison in a result of ``evaluate``, one row each."""
    rows = []
    for claim in result["claims"]:
        for comparison in claim["comparisons"]:
            low, high = comparison["interval"] or (None, None)
            evidence = {key: value for key, value in comparison.items() if key not in ("interval", "runs")}
            rows.append(
                {"claim": claim["id"], **evidence, "low": low, "high": high, "runs": " ".join(comparison["runs"])}
            )
    return pd.DataFrame(rows)


def sensitivity(registered: Json, tables: Tables) -> pd.DataFrame:
    """The verdict on each computed claim at every threshold, one row each."""
    rows = []
    for claim in registered["claims"]:
        threshold = claim["threshold"]
        values = {threshold["value"], *threshold.get("sensitivity", ())} if claim["evaluator"] != "none" else ()
        for value in sorted(values):
            moved = claim | {"threshold": threshold | {"value": value}}
            (judged,) = evaluate(registered | {"claims": [moved]}, tables)["claims"]
            rows.append(
                {
                    "claim": claim["id"],
                    "threshold": value,
                    "unit": threshold["unit"],
                    "registered": value == threshold["value"],
                    **{key: judged[key] for key in ("verdict", "p_holm", "n", "reason")},
                }
            )
    return pd.DataFrame(rows)


def _judged(claim: Json, settings: Json, tables: Tables) -> Json:
    return {
        **{key: claim[key] for key in ("id", "title", "quote", "source", "measured", "direction", "threshold")},
        **{key: claim.get(key) for key in ("waits_for", "changed")},
        **dict.fromkeys(("effect", "median", "interval", "p", "p_holm", "p_opposite_holm", "n", "evidence")),
        "runs": [],
        "comparisons": [],
        **_EVALUATORS[claim["evaluator"]](claim, settings, tables),
    }


def _waiting(claim: Json, settings: Json, tables: Tables) -> Json:
    return {"verdict": "not testable", "reason": f"Not measured yet: {claim['waits_for']}."}


def _by_comparisons(claim: Json, settings: Json, tables: Tables) -> Json:
    runs, psnr = tables["runs"], tables["psnr"]
    comparisons, absent = [], []
    for entry in claim["comparisons"]:
        sizes = _sizes(entry, runs)
        comparisons += [_compared(claim, entry, size, settings, runs, psnr) for size in sizes]
        missing = sorted(set(entry["sizes"]) - set(sizes)) if entry["sizes"] != "all" else []
        if entry["role"] == "primary" and (missing or not sizes):
            at = f" at {', '.join(missing)}" if missing else ""
            absent.append("{experiment}, {candidate} against {reference}".format(**entry) + at)
    primary = _tested(claim, comparisons, settings)
    verdict, reason = _verdict(claim, primary, absent, settings["alpha"])
    weakest = max(primary, key=lambda c: (c["p_holm"], -c["effect"]), default={})
    return {
        "verdict": verdict,
        "reason": reason,
        **{key: weakest.get(key) for key in ("effect", "median", "interval", "p", "p_holm", "p_opposite_holm", "n")},
        "runs": sorted({run for c in primary for run in c["runs"]}),
        "comparisons": comparisons,
    }


def _by_ratios(claim: Json, settings: Json, tables: Tables) -> Json:
    """Errors of networks that solve, candidate over reference; smaller is better.

    A diverged run counts with a relative error of 1. The claim is inconclusive if a primary reference has less than
    twice the parameters of its candidate, or takes fewer operations.
    """
    runs, errors = tables["solver_runs"], tables["solver_errors"]
    runs = runs[runs["problem"].isin({entry["problem"] for entry in claim["ratios"]})]
    home = errors.loc[errors["kind"] == "home", ["run", "relative_error"]]
    scored = runs.merge(home, on="run", how="left", validate="one_to_one")
    scored = scored.assign(score=scored["relative_error"].where(scored["status"] == "ok", NOTHING_FOUND))
    if missing := scored.loc[scored["score"].isna(), "run"].tolist():
        raise MissingRunsError("errors of networks that solve", missing)
    comparisons, absent, unfit = [], [], []
    for entry in claim["ratios"]:
        pair = {
            side: scored[(scored["problem"] == entry["problem"]) & (scored["method"] == entry[side])].set_index("seed")
            for side in ("candidate", "reference")
        }
        name = "{problem}, {candidate} against {reference}".format(**entry)
        if any(own.empty for own in pair.values()):  # some tiers leave one of them out
            absent += [name] if entry["role"] == "primary" else []
            continue
        compared = _ratio(claim, entry, pair["candidate"], pair["reference"], settings)
        few = compared["reference_parameters"] < 2 * compared["candidate_parameters"]
        if entry["role"] == "primary" and (few or compared["reference_operations"] < compared["candidate_operations"]):
            unfit.append(name)
        comparisons.append(compared)
    primary = _tested(claim, comparisons, settings)
    if unfit:
        verdict, reason = "inconclusive", f"References with too few parameters or operations: {'; '.join(unfit)}."
    else:
        verdict, reason = _verdict(claim, primary, absent, settings["alpha"])
    weakest = max(primary, key=lambda c: (c["p_holm"], c["effect"]), default={})
    return {
        "verdict": verdict,
        "reason": reason,
        **{key: weakest.get(key) for key in ("effect", "interval", "p", "p_holm", "p_opposite_holm", "n")},
        "runs": sorted({run for c in primary for run in c["runs"]}),
        "comparisons": comparisons,
    }


def _ratio(claim: Json, entry: Json, candidate: pd.DataFrame, reference: pd.DataFrame, settings: Json) -> Json:
    """One comparison; effect and interval are the geometric mean of the ratio and its t interval."""
    if missing := sorted(set(candidate.index) ^ set(reference.index)):
        raise MissingRunsError("partners of seeds", [str(seed) for seed in missing])
    log_ratio = np.log(candidate["score"].to_numpy() / reference["score"].reindex(candidate.index).to_numpy())
    below = np.log(claim["threshold"]["value"]) - log_ratio
    interval = t_interval(log_ratio, settings["interval_level"]) if log_ratio.size > 1 else None
    return {
        "role": entry["role"],
        "size": entry["problem"],
        "experiment": "solvers",
        "candidate": entry["candidate"],
        "reference": entry["reference"],
        "effect": float(np.exp(log_ratio.mean())),
        "interval": None if interval is None else np.exp(interval).tolist(),
        "p": sign_flip(below),
        "p_opposite": sign_flip(-below),
        "n": int(log_ratio.size),
        **{
            f"{side}_diverged": int((own["status"] != "ok").sum())
            for side, own in (("candidate", candidate), ("reference", reference))
        },
        **{
            f"{side}_{what}": int(own[what].iloc[0])
            for what in ("parameters", "operations")
            for side, own in (("candidate", candidate), ("reference", reference))
        },
        **{
            f"{side}_median": float(own["score"].median())
            for side, own in (("candidate", candidate), ("reference", reference))
        },
        "runs": [*candidate["run"], *reference["run"]],
    }


def _tested(claim: Json, comparisons: list[Json], settings: Json) -> list[Json]:
    """The primary ones of these comparisons; all get their adjusted p and their outcome."""
    for role in ("primary", "secondary"):
        family = [c for c in comparisons if c["role"] == role]
        for p in ("p", "p_opposite"):
            for c, adjusted in zip(family, holm([c[p] for c in family]), strict=True):
                c[f"{p}_holm"] = float(adjusted)
    for c in comparisons:
        enough = c["n"] >= claim["minimum_seeds"]
        tests = {"shown": c["p_holm"], "refuted": c["p_opposite_holm"]}
        c["outcome"] = next((name for name, p in tests.items() if enough and p <= settings["alpha"]), "open")
    return [c for c in comparisons if c["role"] == "primary"]


def _sizes(entry: Json, runs: pd.DataFrame) -> list[str]:
    own = runs[runs["experiment"] == entry["experiment"]]
    c, r = (set(own.loc[own["method"] == entry[side], "size"]) for side in ("candidate", "reference"))
    if not c or not r:  # some tiers leave one of them out
        return []
    # Keep a listed size that only one method ran at: the pairing then names what is missing.
    sizes = c & r if entry["sizes"] == "all" else (c | r) & set(entry["sizes"])
    return sorted(sizes, key=lambda size: int(size.split("-")[1]))


def _compared(claim: Json, entry: Json, size: str, settings: Json, runs: pd.DataFrame, psnr: pd.DataFrame) -> Json:
    methods = {side: entry[side] for side in ("experiment", "candidate", "reference")}
    measured_on = {key: entry.get(key, settings[key]) for key in ("test_set", "noise")}
    own = psnr[(psnr["test_set"] == measured_on["test_set"]) & (psnr["noise"] == measured_on["noise"])]
    pairs = paired_differences(runs, own, size=size, **methods)
    t = claim["threshold"]["value"] * (-1 if claim["evaluator"] == "noninferiority" else 1)
    d = pairs["difference"].to_numpy()
    d = np.where(pairs["reference_diverged"] & ~pairs["candidate_diverged"], np.maximum(d, t), d)
    d = np.where(pairs["candidate_diverged"], np.minimum(d, t), d)
    by_run = runs.set_index("run")
    counts = {
        # The size fixes the architecture, so the first seed's counts hold for all.
        f"{side}_{what}": int(by_run.loc[pairs[f"{side}_run"].iloc[0], what])
        for what in ("parameters", "convolution_weights")
        for side in ("candidate", "reference")
    }
    return {
        "role": entry["role"],
        "size": size,
        **methods,
        **measured_on,
        "effect": float(d.mean()),
        "median": float(np.median(d)),
        "interval": list(t_interval(d, settings["interval_level"])) if d.size > 1 else None,
        "p": sign_flip(d - t),
        "p_opposite": sign_flip(t - d),
        "n": int(d.size),
        **{f"{side}_diverged": int(pairs[f"{side}_diverged"].sum()) for side in ("candidate", "reference")},
        **counts,
        "runs": [*pairs["candidate_run"], *pairs["reference_run"]],
    }


def _verdict(claim: Json, primary: list[Json], absent: list[str], alpha: float) -> tuple[str, str]:
    ratio = claim.get("weight_ratio")
    for c in primary if ratio else ():
        own, other = c["candidate_convolution_weights"], c["reference_convolution_weights"]
        if own != ratio * other:
            return (
                "not reproduced",
                f"{own} of {other} convolution weights at {c['size']}, not {ratio} of them.",
            )
    if absent:
        return "inconclusive", f"No runs of {'; '.join(absent)}."
    n, m = min(c["n"] for c in primary), len(primary)
    if n < claim["minimum_seeds"]:
        return "inconclusive", f"{n} seeds; a verdict needs {claim['minimum_seeds']}."

    outcomes = Counter(c["outcome"] for c in primary)
    reason = f"{outcomes['shown']} of {m} primary comparisons support the claim, {outcomes['refuted']} contradict it"
    reason += f" ({n} seeds)."
    if ratio:
        reason += f" Convolution weights: {own} of {other}."
    if m / 2**n > alpha:
        reason += f" {n} seeds cannot show {m} comparisons at level {alpha}."
    if diverged := sum(c["candidate_diverged"] + c["reference_diverged"] for c in primary):
        reason += f" Diverged runs counted as losses: {diverged}."
    if "waits_for" in claim:
        reason += f" Not measured yet: {claim['waits_for']}."
    if outcomes["shown"] == m:
        return ("partly" if "waits_for" in claim else "reproduced"), reason
    if outcomes["shown"]:
        return "partly", reason
    return ("not reproduced" if outcomes["refuted"] else "inconclusive"), reason


def _violations(claim: Json, settings: Json, tables: Tables) -> Json:
    """How often certified checkpoints violate their certificates."""
    constrained = tables["runs"].loc[tables["runs"]["certified"].astype(bool), ["run", "method", "seed"]]
    measured = tables["stability"].drop(columns=["method", "seed"])
    checked = constrained.merge(measured, on="run", how="left", validate="one_to_one", indicator=True)
    if len(missing := checked.loc[checked["_merge"] == "left_only", "run"]):
        raise MissingRunsError("stability of certified checkpoints", missing.tolist())
    repeated, random = _repetitions(tables, checked), _random(tables)
    beyond = repeated.loc[~(repeated["excess"] <= 1 + ROUNDING), "run"]
    broken = {  # NaN is a violation, too
        "certificates that do not hold": ~checked["certified"].astype(bool),
        "contradicted by dense matrices": ~(checked["least_dense_step_margin"] >= 0) | (checked["contradictions"] != 0),
        "counterexamples found": checked["counterexample"].astype(bool),
        "grown beyond their bound": ~(checked["excess"] <= 1 + ROUNDING) | checked["run"].isin(beyond),
    }
    counts = {name: int(each.sum()) for name, each in broken.items()}
    deep = int((~(random["excess"] <= 1 + ROUNDING)).groupby(random["network"]).any().sum())
    effect, n = sum(counts.values()) + deep, _most_seeds(checked)
    reason = f"{len(checked)} certified checkpoints: {', '.join(f'{name}: {count}' for name, count in counts.items())}."
    reason += f" {random['network'].nunique()} certified random networks of up to {_most(random['n'])} blocks: "
    reason += f"grown beyond their bound: {deep}."
    if effect > claim["threshold"]["value"]:
        verdict = "not reproduced"
    elif repeated.empty or random.empty:
        verdict, reason = "inconclusive", f"{reason} Not all kinds of growth were measured."
    elif n < claim["minimum_seeds"]:
        verdict, reason = "inconclusive", f"{reason} {n} seeds; a verdict needs {claim['minimum_seeds']}."
    else:
        verdict = "reproduced"
    evidence = {
        "certified checkpoints": len(checked),
        "largest amplification found by the search": _extreme(checked["largest_amplification_found"].max()),
        f"certified checkpoints applied {_most(checked['repetitions'])} times": int(checked["excess"].notna().sum()),
        f"of these, applied {_most(repeated['n'])} times": repeated["run"].nunique(),
        "certified checkpoints whose bound exceeds 1, so that its powers allow much": int(
            (checked["euclidean_bound"] > 1 + ROUNDING).sum()
        ),
        "largest amplification by repetition, over its bound": _extreme(
            max(checked["excess"].max(), repeated["excess"].max())
        ),
        "certified random networks": random["network"].nunique(),
        "largest amplification through depth, over its bound": _extreme(random["excess"].max()),
        "least step margin": _extreme(checked["least_step_margin"].min()),
        "least step margin by dense matrices": _extreme(checked["least_dense_step_margin"].min()),
    }
    runs = sorted(checked["run"])
    return {"verdict": verdict, "reason": reason, "effect": effect, "n": n, "evidence": evidence, "runs": runs}


def _repetitions(tables: Tables, checked: pd.DataFrame) -> pd.DataFrame:
    """Growth of these checkpoints under repetition; ``excess``: amplification over bound^n."""
    growth = tables["growth"]
    own = growth.loc[growth["kind"] == "repetition", ["run", "n", "amplification"]].astype({"run": object})
    # biases add with every repetition: of networks with them, checked["excess"] tells, which takes that off
    bounded = checked.loc[~(checked["drift_bound"] > 0), ["run", "euclidean_bound"]]
    grown = own.merge(bounded, on="run")
    return grown.assign(excess=over_power(grown["amplification"], grown["n"], grown["euclidean_bound"]))


def _random(tables: Tables) -> pd.DataFrame:
    """Rows of certified random networks; ``excess``: amplification by n blocks over their bound."""
    growth = tables["growth"]
    deep = growth[(growth["kind"] == "depth") & (growth["certified"] == True)]  # noqa: E712, empty for trained runs
    names = ([str(value) for value in row] for row in deep[["network", "flux", "tied", "seed"]].itertuples(index=False))
    excess = (deep["amplification"] / deep["bound"]).astype(float).fillna(np.inf)
    return pd.DataFrame({"network": [" ".join(name) for name in names], "n": deep["n"], "excess": excess})


def _maximum(claim: Json, settings: Json, tables: Tables) -> Json:
    """The largest difference between implicit and unrolled gradients, and whether iterations keep their rates."""
    table, threshold = tables["fixed_points"], claim["threshold"]["value"]
    # a network that does not converge within the limit breaks its rate only if the rate allows no more iterations
    taken = table["iterations"].fillna(table["limit"] + 1)
    slow = table.loc[taken > table["allowed_iterations"], "run"].unique()  # false without a rate
    last = table[table["tolerance"] == table["tolerance"].min()]
    converged = last[last["iterations"].notna()]
    differences = converged["gradient_difference"].fillna(np.inf)  # of gradients that are not finite
    large = int((differences > threshold).sum())
    n = _most_seeds(converged)
    reason = (
        f"{len(converged)} of {len(last)} networks converge; gradients of {large} of them differ by more than "
        f"{short(threshold)}, and {len(slow)} networks take more iterations than their rate allows."
    )
    if large or len(slow):
        verdict = "not reproduced"
    elif n < claim["minimum_seeds"]:
        verdict, reason = "inconclusive", f"{reason} {n} seeds; a verdict needs {claim['minimum_seeds']}."
    else:
        verdict = "reproduced" if len(converged) == len(last) else "partly"
    bounded = last[last["allowed_iterations"].notna()]
    effect = _extreme(differences.max())
    evidence = {
        "networks": len(last),
        "networks that converge": len(converged),
        "networks with a rate below 1": len(bounded),
        "largest number of iterations over the number allowed": _extreme(
            (table["iterations"] / table["allowed_iterations"]).max()
        ),
        "largest relative difference of gradients": effect,
        **_memory(tables["fixed_point_costs"]),
    }
    runs = sorted(last["run"])
    return {"verdict": verdict, "reason": reason, "effect": effect, "n": n, "evidence": evidence, "runs": runs}


def _memory(costs: pd.DataFrame) -> Json:
    """The largest growth of the memory kept for derivatives, from the fewest to the most iterations."""
    found = {}
    for gradients, own in costs.groupby("gradients", sort=False):
        wide = own.pivot_table("saved_bytes", "run", "iterations")
        name = f"memory kept for {gradients} gradients, {wide.columns[-1]} over {wide.columns[0]} iterations"
        found[name] = _extreme((wide.iloc[:, -1] / wide.iloc[:, 0]).max())
    return found


def _most(numbers: pd.Series) -> int:
    """The largest number; 0 if there is none."""
    return 0 if pd.isna(largest := numbers.max()) else int(largest)


def _most_seeds(runs: pd.DataFrame) -> int:
    """The largest number of seeds of one method."""
    return int(runs.groupby("method")["seed"].nunique().max()) if len(runs) else 0


def _extreme(value: Any) -> float | None:
    """A number for JSON; None unless it is finite."""
    return float(value) if np.isfinite(value) else None


_EVALUATORS: dict[str, Callable[[Json, Json, Tables], Json]] = {
    "noninferiority": _by_comparisons,
    "superiority": _by_comparisons,
    "ratio": _by_ratios,
    "violations": _violations,
    "maximum": _maximum,
    "none": _waiting,
}
