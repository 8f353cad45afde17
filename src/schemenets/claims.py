"""Verdicts on the claims that ``config/claims.yaml`` registers before the runs.

A comparison takes the paired differences d = PSNR(candidate) - PSNR(reference) in dB and is ``shown``, ``refuted`` or
``open``; the verdict of a claim follows from its deciding comparisons. The rules of both are registered with the
claims, at the head of that file.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from schemenets import schema
from schemenets.errors import ConfigError
from schemenets.statistics import holm, paired_differences, sign_flip, t_interval

Json = dict[str, Any]


def load(path: Path, schema_path: Path = Path("workflow/schemas/claims.schema.json")) -> Json:
    """Registered claims of the YAML file ``path``; the schema's default path is that of a checkout.

    Raises:
        ConfigError: not valid under the schema, or an id given twice.
    """
    registered = schema.load(path, schema_path)
    for name, times in Counter(claim["id"] for claim in registered["claims"]).items():
        if times > 1:
            raise ConfigError(f"{path}: claims.id = {name!r}: given {times} times; allowed: ids that all differ.")
    return registered


def evaluate(registered: Json, runs: pd.DataFrame, psnr: pd.DataFrame) -> Json:
    """Verdict, effect and evidence of every registered claim, ready for JSON (no NaN).

    The effect (mean d in dB), interval, p, Holm-adjusted p and n of a claim are those of its weakest deciding
    comparison, the one with the largest adjusted p, since the claim is about all of them.

    Args:
        registered: what ``load`` returns.
        runs: table of trained runs, one row per run.
        psnr: table of measured PSNR, one row per run, test set and noise level.

    Raises:
        MissingRunsError: a comparison with runs that have no partner or no measurement.
    """
    settings = {key: value for key, value in registered.items() if key != "claims"}
    measured = psnr[psnr["test_set"] == settings["test_set"]]
    return settings | {"claims": [_judged(claim, settings, runs, measured) for claim in registered["claims"]]}


def comparison_table(result: Json) -> pd.DataFrame:
    """Every comparison of what ``evaluate`` returned, one row each."""
    rows = []
    for claim in result["claims"]:
        for comparison in claim["comparisons"]:
            low, high = comparison["interval"] or (None, None)
            evidence = {key: value for key, value in comparison.items() if key not in ("interval", "runs")}
            rows.append(
                {"claim": claim["id"], **evidence, "low": low, "high": high, "runs": " ".join(comparison["runs"])}
            )
    return pd.DataFrame(rows)


def sensitivity(registered: Json, runs: pd.DataFrame, psnr: pd.DataFrame) -> pd.DataFrame:
    """How each computed verdict moves when its threshold moves, one row per claim and threshold."""
    rows = []
    for claim in registered["claims"]:
        threshold = claim["threshold"]
        values = {threshold["value"], *threshold.get("sensitivity", ())} if claim["evaluator"] != "none" else ()
        for value in sorted(values):
            moved = claim | {"threshold": threshold | {"value": value}}
            (judged,) = evaluate(registered | {"claims": [moved]}, runs, psnr)["claims"]
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


def _judged(claim: Json, settings: Json, runs: pd.DataFrame, psnr: pd.DataFrame) -> Json:
    comparisons, absent = [], []
    for entry in claim.get("comparisons", ()) if claim["evaluator"] != "none" else ():
        sizes = _sizes(entry, runs)
        comparisons += [_compared(claim, entry, size, settings, runs, psnr) for size in sizes]
        if entry["role"] == "deciding" and not sizes:
            absent.append("{experiment}, {candidate} against {reference}".format(**entry))
    for role in ("deciding", "beside"):
        family = [c for c in comparisons if c["role"] == role]
        for p in ("p", "p_opposite"):
            for c, adjusted in zip(family, holm([c[p] for c in family]), strict=True):
                c[f"{p}_holm"] = float(adjusted)
    for c in comparisons:
        enough = c["n"] >= claim["minimum_seeds"]
        tests = {"shown": c["p_holm"], "refuted": c["p_opposite_holm"]}
        c["outcome"] = next((name for name, p in tests.items() if enough and p <= settings["alpha"]), "open")

    deciding = [c for c in comparisons if c["role"] == "deciding"]
    verdict, reason = _verdict(claim, deciding, absent, settings["alpha"])
    weakest = max(deciding, key=lambda c: (c["p_holm"], -c["effect"]), default={})
    return {
        **{key: claim[key] for key in ("id", "title", "quote", "source", "measured", "direction", "threshold")},
        **{key: claim.get(key) for key in ("waits_for", "changed")},
        "verdict": verdict,
        "reason": reason,
        **{key: weakest.get(key) for key in ("effect", "interval", "p", "p_holm", "p_opposite_holm", "n")},
        "runs": sorted({run for c in deciding for run in c["runs"]}),
        "comparisons": comparisons,
    }


def _sizes(entry: Json, runs: pd.DataFrame) -> list[str]:
    own = runs[runs["experiment"] == entry["experiment"]]
    c, r = (set(own.loc[own["method"] == entry[side], "size"]) for side in ("candidate", "reference"))
    # A listed size that only one method ran at stays, so that the pairing names what is missing.
    sizes = c & r if entry["sizes"] == "all" else (c | r) & set(entry["sizes"])
    return sorted(sizes, key=lambda size: int(size.split("-")[1]))


def _compared(claim: Json, entry: Json, size: str, settings: Json, runs: pd.DataFrame, psnr: pd.DataFrame) -> Json:
    methods = {side: entry[side] for side in ("experiment", "candidate", "reference")}
    noise = entry.get("noise", settings["noise"])
    pairs = paired_differences(runs, psnr[psnr["noise"] == noise], size=size, **methods)
    t = claim["threshold"]["value"] * (-1 if claim["evaluator"] == "noninferiority" else 1)
    d = pairs["difference"].to_numpy()
    d = np.where(pairs["reference_diverged"], np.maximum(d, t), d)
    d = np.where(pairs["candidate_diverged"], np.minimum(d, t), d)
    by_run = runs.set_index("run")
    counts = {
        # The size fixes the architecture, so that the first seed's counts are those of all seeds.
        f"{side}_{what}": int(by_run.loc[pairs[f"{side}_run"].iloc[0], what])
        for what in ("parameters", "convolution_weights")
        for side in ("candidate", "reference")
    }
    return {
        "role": entry["role"],
        "size": size,
        **methods,
        "noise": noise,
        "effect": float(d.mean()),
        "interval": list(t_interval(d, settings["interval_level"])) if d.size > 1 else None,
        "p": sign_flip(d - t),
        "p_opposite": sign_flip(t - d),
        "n": int(d.size),
        **{f"{side}_diverged": int(pairs[f"{side}_diverged"].sum()) for side in ("candidate", "reference")},
        **counts,
        "runs": [*pairs["candidate_run"], *pairs["reference_run"]],
    }


def _verdict(claim: Json, deciding: list[Json], absent: list[str], alpha: float) -> tuple[str, str]:
    if claim["evaluator"] == "none":
        return "not testable", f"Not measured yet: {claim['waits_for']}."
    ratio = claim.get("weight_ratio")
    for c in deciding if ratio else ():
        own, other = c["candidate_convolution_weights"], c["reference_convolution_weights"]
        if own != ratio * other:
            return (
                "not reproduced",
                f"{own} of {other} convolution weights at {c['size']}, not {ratio} of them.",
            )
    if absent:
        return "inconclusive", f"No runs of {'; '.join(absent)}."
    n, m = min(c["n"] for c in deciding), len(deciding)
    if n < claim["minimum_seeds"]:
        return "inconclusive", f"{n} seeds; a verdict needs {claim['minimum_seeds']}."

    outcomes = Counter(c["outcome"] for c in deciding)
    reason = f"Of {m} deciding comparisons {outcomes['shown']} shown, {outcomes['refuted']} refuted"
    reason += f", {outcomes['open']} open (n = {n})."
    if ratio:
        reason += f" Convolution weights: {own} of {other}."
    if m / 2**n > alpha:
        reason += f" {n} seeds cannot show {m} comparisons at level {alpha}."
    if diverged := sum(c["candidate_diverged"] + c["reference_diverged"] for c in deciding):
        reason += f" Diverged runs counted as losses: {diverged}."
    if "waits_for" in claim:
        reason += f" Not measured yet: {claim['waits_for']}."
    if outcomes["shown"] == m:
        return ("partly" if "waits_for" in claim else "reproduced"), reason
    if outcomes["shown"]:
        return "partly", reason
    return ("not reproduced" if outcomes["refuted"] else "inconclusive"), reason
