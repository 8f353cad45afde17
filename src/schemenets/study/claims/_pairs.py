"""The evaluators that compare methods: differences of PSNR, and ratios of errors of denoisers and solvers."""

from typing import Any

import numpy as np
import pandas as pd

from schemenets.study.claims._families import Json, Tables, compared, deciding, judged, number, place
from schemenets.study.statistics import SIDES, MissingRunsError, clustered_interval, denoisers, paired

NOTHING_FOUND = 1.0  # relative error of a diverged run
EXACT = 1e-10  # smaller relative errors count as this one, since solutions are not known much better
SCHEMES = ("FSI", "full multigrid", "Newton")  # with which names of untrained solvers of C5c begin
DRIFT = "largest drift over the rms of the signals"
NOT_TESTABLE = "not testable"
MOST = "maximum of the drift over the rms of the signals"
UNREGISTERED = "No verdict yet: the largest drift that counts as a guarantee has not been registered."


def of_psnr(claim: Json, settings: Json, tables: Tables) -> Json:
    """d = PSNR(candidate) - PSNR(reference) in dB; a noninferiority claim has the margin below zero."""
    found = _by_comparisons(claim, settings, tables, "psnr")
    if ratio := claim.get("weight_ratio"):
        found = _with_weights(found, ratio)
    return _with_drift(found, claim["largest_drift"], tables) if "largest_drift" in claim else found


def of_errors(claim: Json, settings: Json, tables: Tables) -> Json:
    """error(candidate) / error(reference), of the relative errors of denoisers."""
    return _by_comparisons(claim, settings, tables, "relative_error")


def _by_comparisons(claim: Json, settings: Json, tables: Tables, measure: str) -> Json:
    runs, comparisons, absent = tables["runs"], [], []
    for entry in claim["comparisons"]:
        sizes = _sizes(entry, runs)
        comparisons += [_denoising(claim, entry, size, settings, tables, measure) for size in sizes]
        missing = [size for size in entry["sizes"] if size not in sizes] if entry["sizes"] != "all" else []
        if entry["role"] == "primary" and (missing or not sizes):
            at = f" at {', '.join(missing)}" if missing else ""
            absent.append("{experiment}, {candidate} against {reference}".format(**entry) + at)
    return judged(claim, comparisons, absent, settings["alpha"])


def _sizes(entry: Json, runs: pd.DataFrame) -> list[str]:
    own = runs[runs["experiment"] == entry["experiment"]]
    c, r = (set(own.loc[own["method"] == entry[side], "size"]) for side in SIDES)
    if not c or not r:  # some tiers leave one of them out
        return []
    # Keep a listed size that only one method ran at: the pairing then names what is missing.
    sizes = c & r if entry["sizes"] == "all" else (c | r) & set(entry["sizes"])
    return sorted(sizes, key=lambda size: int(size.split("-")[1]))


def _denoising(claim: Json, entry: Json, size: str, settings: Json, tables: Tables, measure: str) -> Json:
    runs, psnr, value = tables["runs"], tables["psnr"], claim["threshold"]["value"]
    methods = {side: entry[side] for side in ("experiment", *SIDES)}
    on = {key: entry.get(key, settings[key]) for key in ("test_set", "noise")}
    chosen = runs["method"].isin([entry[side] for side in SIDES]) & (runs["experiment"] == entry["experiment"])
    scores = denoisers(
        runs[chosen & (runs["size"] == size)],
        psnr[(psnr["test_set"] == on["test_set"]) & (psnr["noise"] == on["noise"])],
    )
    if ratio := measure == "relative_error":
        errors = scores["relative_error"].where(~scores["diverged"].astype(bool), NOTHING_FOUND).astype(float)
        scores, margin = scores.assign(score=-np.log(errors)), -np.log(value)
    else:
        margin = -value if claim["evaluator"] == "noninferiority" else value
    pairs = paired(scores, entry["candidate"], entry["reference"], f"{entry['experiment']}/{{}}/{size}")
    found = compared(pairs, margin, settings["interval_level"], ratio)
    found["image_interval"] = (
        None if ratio else _over_images(tables["psnr_images"], pairs, on, settings["interval_level"])
    )
    # The size fixes the architecture, so the first seed's counts hold for all.
    counts = _counts(scores.set_index("run"), pairs, ("parameters", "convolution_weights"))
    return {"role": entry["role"], "size": size, **methods, **on, **found, **counts}


def _over_images(table: pd.DataFrame, pairs: pd.DataFrame, on: Json, level: float) -> list[float] | None:
    """Interval of the mean difference over new seeds and images; None for signals that are not from several images.

    A diverged run counts as the noisy input, as in the mean over seeds.
    """
    own = table[(table["test_set"] == on["test_set"]) & (table["noise"] == on["noise"])]
    scores = own.assign(score=own["psnr"].fillna(own["noisy_psnr"])).pivot_table("score", "run", "image")
    if len(scores.columns) < 2 or len(pairs) < 2:
        return None
    candidate, reference = (scores.loc[pairs[f"{side}_run"]].to_numpy() for side in SIDES)
    return list(clustered_interval(candidate - reference, level))


def _counts(by_run: pd.DataFrame, pairs: pd.DataFrame, what: tuple[str, ...]) -> Json:
    return {f"{side}_{key}": int(by_run.loc[pairs[f"{side}_run"].iloc[0], key]) for key in what for side in SIDES}


def _with_weights(found: Json, ratio: float) -> Json:
    """Not reproduced, unless the candidate has exactly this share of the reference's convolution weights."""
    counts: dict[str, None] = {}
    for c in deciding(found["comparisons"]):
        own, other = (c[f"{side}_convolution_weights"] for side in SIDES)
        counts[f"{own} of {other}"] = None
        if own != ratio * other and found["complete"]:
            reason = f"{own} of {other} convolution weights in {place(c)}, not {ratio} of them."
            return found | {"verdict": "not reproduced", "reason": reason}
    if found["complete"]:
        found["reason"] += f" Convolution weights: {', '.join(counts)}."
    return found


def _with_drift(found: Json, registered: Json, tables: Tables) -> Json:
    """The largest drift β of the candidates, relative to the rms of the signals, against its registered maximum.

    Not testable without a maximum; not reproduced where one is above it, or where a candidate holds no certificate.
    """
    primary = deciding(found["comparisons"])
    runs = {run for c in primary for run in c["runs"] if f"/{c['candidate']}/" in run}
    stability = tables["stability"].set_index("run")
    if missing := sorted(runs - set(stability.index)):
        raise MissingRunsError("stability of certified candidates", missing)
    own = stability.loc[sorted(runs)]
    drifts = own["relative_drift"].where(own["certified"].astype(bool)).astype(float).fillna(np.inf)
    largest, most = number(drifts.max()) if runs else None, registered["value"]
    for c in primary:
        c["drift"] = number(drifts.loc[[run for run in c["runs"] if f"/{c['candidate']}/" in run]].max())
    evidence = {"certified candidates": int(np.isfinite(drifts).sum()), "of": len(runs), DRIFT: largest}
    found |= {"evidence": evidence}
    if most is None:
        return found | {"verdict": NOT_TESTABLE, "reason": f"{UNREGISTERED} {found['reason']}"}
    if not found["complete"]:
        return found
    evidence[MOST] = most
    if far := int((drifts > most).sum()):
        reason = f"{far} of {len(runs)} candidates drift by more than {most:g} of the signals' rms. {found['reason']}"
        return found | {"verdict": "not reproduced", "reason": reason}
    return found


def of_solvers(claim: Json, settings: Json, tables: Tables) -> Json:
    """error(candidate) / error(reference), of the relative errors of networks that solve.

    The claim is inconclusive if a primary reference has less than twice the parameters of its candidate, or takes fewer
    operations.
    """
    comparisons, absent, unfit = [], [], []
    for entry in claim["ratios"]:
        scores = _solving(tables, entry["problem"])
        name = "{problem}, {candidate} against {reference}".format(**entry)
        if not {entry[side] for side in SIDES} <= set(scores["method"]):  # some tiers leave one of them out
            absent += [name] if entry["role"] == "primary" else []
            continue
        found = _solved(claim, scores, entry["candidate"], entry["reference"], entry["problem"], settings)
        few = found["reference_parameters"] < 2 * found["candidate_parameters"]
        if entry["role"] == "primary" and (few or found["reference_operations"] < found["candidate_operations"]):
            unfit.append(name)
        comparisons.append({"role": entry["role"], "size": entry["problem"], **found})
    result = judged(claim, comparisons, absent, settings["alpha"])
    if unfit:
        reason = f"References with too few parameters or operations: {'; '.join(unfit)}."
        return result | {"verdict": "inconclusive", "reason": reason, "complete": False}
    return result


def of_budgets(claim: Json, settings: Json, tables: Tables) -> Json:
    """error of the best learned solver / error of the best untrained one, within budgets of operations.

    The best learned solver is chosen by the median validation error, so its test errors are not selected; the best
    untrained one by its test error, which does not depend on seeds.
    """
    problem, comparisons, absent = claim["budgets"]["problem"], [], []
    scores = _solving(tables, problem)
    paths = tables["solver_paths"].query("problem == @problem and operations > 0")
    paths = paths[paths["method"].str.startswith(SCHEMES)]
    for most in claim["budgets"]["operations"]:
        learned, untrained = (table[table["operations"] <= most] for table in (scores, paths))
        if learned.empty or untrained.empty:
            absent.append(f"{problem}, solvers of at most {most} operations")
            continue
        chosen = learned.groupby("method")["validation"].median().idxmin()
        (rival,) = untrained.nsmallest(1, "relative_error").to_dict("records")
        own = learned[learned["method"] == chosen]
        always = {"run": None, "diverged": False, "failed": False, "parameters": 0}
        always |= {key: rival[key] for key in ("method", "operations")}
        against = own[["seed"]].assign(**always, score=_score(pd.Series(rival["relative_error"], own.index)))
        found = _solved(claim, pd.concat([own, against]), str(chosen), rival["method"], problem, settings)
        comparisons.append({"role": "primary", "size": f"operations-{most}", **found})
    return judged(claim, comparisons, absent, settings["alpha"])


def _solving(tables: Tables, problem: str) -> pd.DataFrame:
    """The scores of networks that solve a problem, as :func:`schemenets.study.statistics.paired` takes them.

    A run has failed if it diverged, or if its error is larger than that of its input, the right-hand side.
    """
    runs, errors, paths = (tables[name] for name in ("solver_runs", "solver_errors", "solver_paths"))
    home = errors.loc[errors["kind"] == "home", ["run", "relative_error"]]
    table = runs[runs["problem"] == problem].merge(home, on="run", how="left", validate="one_to_one")
    diverged = table["status"] != "ok"
    if missing := table.loc[~diverged & table["relative_error"].isna(), "run"].tolist():
        raise MissingRunsError("errors of networks that solve", missing)
    error = table["relative_error"].astype(float).mask(diverged, NOTHING_FOUND)
    start = paths.loc[(paths["problem"] == problem) & (paths["operations"] == 0), "relative_error"].max()
    return table.assign(
        relative_error=error,
        diverged=diverged,
        failed=diverged | (error > start),  # false without paths
        score=_score(error),
        validation=table["validation_error"].astype(float).mask(diverged, np.inf),
    )


def _score(error: pd.Series) -> pd.Series:
    score: pd.Series = -np.log(error.clip(lower=EXACT))
    return score


def _solved(claim: Json, scores: pd.DataFrame, candidate: str, reference: str, problem: str, settings: Json) -> Json:
    pairs = paired(scores, candidate, reference, f"solve_{problem}/{{}}")
    found = compared(pairs, -np.log(claim["threshold"]["value"]), settings["interval_level"], ratio=True)
    first: Any = scores.drop_duplicates("method").set_index("method")
    methods = dict(zip(SIDES, (candidate, reference), strict=True))
    sides = {
        f"{side}_{what}": int(first.loc[method, what])
        for what in ("parameters", "operations")
        for side, method in methods.items()
    }
    medians = {f"{side}_median": float(np.exp(-pairs[f"{side}_score"].median())) for side in SIDES}
    return {"experiment": f"solve_{problem}", **methods, **found, **sides, **medians}
