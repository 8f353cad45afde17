"""From paired differences to outcomes, and from the outcomes of a family of comparisons to a verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from schemenets.study.statistics import SIDES, holm, median, median_interval, share_test, sign_test, t_interval
from schemenets.study.wording import listed

Json = dict[str, Any]
Tables = Mapping[str, pd.DataFrame]
ALL, ALL_NAMED, EACH, SOME = RULES = ("all", "all_named", "each", "some")
OUTCOMES = ("shown", "refuted", "open")
RATIO = "ratio of errors"  # unit of thresholds of claims on errors


def outcomes(rule: str, p: ArrayLike, p_opposite: ArrayLike, level: float) -> list[str]:
    """The outcome of every comparison of a family.

    Args:
        rule: one of :data:`RULES`.
        p, p_opposite: one-sided p-values of both directions, (m,).
        level: of the family in each direction, α/2.
    """
    shown, refuted = holm(p) <= level, holm(p_opposite) <= level
    if rule in (ALL, ALL_NAMED):  # intersection-union: all together need no correction
        shown |= np.all(np.asarray(p) <= level)
    return [OUTCOMES[0] if s else OUTCOMES[1] if r else OUTCOMES[2] for s, r in zip(shown, refuted, strict=True)]


def deciding(comparisons: Sequence[Json]) -> list[Json]:
    """The primary ones, which a verdict is about; secondary ones stand beside."""
    return [each for each in comparisons if each["role"] == "primary"]


def verdict(rule: str, found: Sequence[str]) -> str:
    """The verdict on a claim from the outcomes of its primary comparisons."""
    shown, refuted = "shown" in found, "refuted" in found
    if all(outcome == "shown" for outcome in found) or (rule == SOME and shown and not refuted):
        return "reproduced"
    if rule != ALL and shown:
        return "depends"
    return "not reproduced" if refuted else "inconclusive"


def compared(pairs: pd.DataFrame, margin: float, level: float, ratio: bool = False) -> Json:
    """What a comparison measures, from the pairs of :func:`schemenets.study.statistics.paired`.

    Args:
        pairs: their scores are -log(error) for ratios.
        margin: of the difference of the scores.
        level: of the intervals.
        ratio: whether to give effect and intervals as error(candidate) / error(reference).
    """
    counted, n = pairs["counted"].to_numpy(dtype=float), len(pairs)
    low, high, coverage = median_interval(counted, level)
    tested, failed = sign_test(counted, margin), {side: int(pairs[f"{side}_failed"].sum()) for side in SIDES}
    interval = None if np.isinf([low, high]).all() else _ends(low, high, ratio)
    differences = pairs["difference"].to_numpy(dtype=float)
    return {
        "effect": number(_shown(median(counted), ratio)),
        "interval": interval,
        "coverage": None if interval is None else coverage,
        "mean": number(_shown(differences.mean(), ratio)),
        "mean_interval": _ends(*t_interval(differences, level), ratio) if n > 1 else None,
        "p": tested.p,
        "p_opposite": tested.p_opposite,
        "n": n,
        **{f"{side}_failed": failed[side] for side in SIDES},
        **{f"{side}_diverged": int(pairs[f"{side}_diverged"].sum()) for side in SIDES},
        "p_failures": share_test(failed["candidate"], failed["reference"], n),
        "runs": [run for side in SIDES for run in pairs[f"{side}_run"].dropna()],
    }


def _shown(difference: float, ratio: bool) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(-difference)) if ratio else float(difference)


def _ends(low: float, high: float, ratio: bool) -> list[float | None]:
    """An interval for JSON, with null for infinite ends."""
    ends = (_shown(high, True), _shown(low, True)) if ratio else (low, high)
    return [number(end) for end in ends]


def number(value: Any) -> float | None:
    """A number for JSON; None unless it is finite."""
    return float(value) if np.isfinite(value) else None


def judged(claim: Json, comparisons: list[Json], absent: list[str], alpha: float) -> Json:
    """Outcomes of the comparisons, which are written into them, and the verdict of the primary ones.

    Args:
        claim: as registered.
        comparisons: what :func:`compared` gives, with role, experiment, size, candidate and reference.
        absent: names of primary comparisons without runs.
        alpha: level of both directions together.
    """
    for role in ("primary", "secondary"):
        family = [c for c in comparisons if c["role"] == role]
        p, opposite = ([c[key] for c in family] for key in ("p", "p_opposite"))
        found = outcomes(claim["rule"] if role == "primary" else EACH, p, opposite, alpha / 2)
        for c, outcome, own, other in zip(family, found, holm(p), holm(opposite), strict=True):
            enough = c["n"] >= claim["minimum_seeds"]
            c.update(p_holm=float(own), p_opposite_holm=float(other), outcome=outcome if enough else "open")
    primary = deciding(comparisons)
    n = min((c["n"] for c in primary), default=0)
    complete = not absent and n >= claim["minimum_seeds"]
    if complete:
        decided, reason = _decided(claim, primary, n, alpha)
    else:
        few = f"{n} seeds; a verdict needs {claim['minimum_seeds']}."
        decided, reason = "inconclusive", f"No runs of {'; '.join(absent)}." if absent else few
    return {
        "verdict": decided,
        "reason": reason,
        "complete": complete,
        "absent": len(absent),
        **_summary(claim, primary),
        "runs": sorted({run for c in primary for run in c["runs"]}),
        "comparisons": comparisons,
    }


def _summary(claim: Json, primary: list[Json]) -> Json:
    """What stands for the whole family: its weakest comparison, or what all have in common where some suffice."""
    keys = ("effect", "interval", "coverage", "mean", "mean_interval", "n")
    if not primary:
        return {}
    if claim["rule"] == SOME:
        smallest = {name: min(c[f"{name}_holm"] for c in primary) for name in ("p", "p_opposite")}
        return {**smallest, "n": min(c["n"] for c in primary)}
    weakest = max(primary, key=lambda c: (c["p"], -c["p_opposite"], _badness(claim, c)))
    p = weakest["p" if claim["rule"] in (ALL, ALL_NAMED) else "p_holm"]
    return {**{key: weakest[key] for key in keys}, "p": p, "p_opposite": weakest["p_opposite_holm"]}


def _badness(claim: Json, comparison: Json) -> float:
    """By which comparisons with equal p-values are ordered; an unbounded effect is in favour of the likelier side."""
    effect = comparison["effect"]
    if effect is None:
        return -np.inf if comparison["p"] < comparison["p_opposite"] else np.inf
    return float(effect) if claim["threshold"]["unit"] == RATIO else -float(effect)


def _decided(claim: Json, primary: list[Json], n: int, alpha: float) -> tuple[str, str]:
    """Verdict and reason, of comparisons of at least n seeds."""
    found, m = [c["outcome"] for c in primary], len(primary)
    counts, decided = Counter(found), verdict(claim["rule"], found)
    reason = f"{counts['shown']} of {m} primary comparisons support the claim, {counts['refuted']} contradict it"
    reason += f" ({n} seeds)."
    if decided == "depends":
        reason += "".join(f" {each.capitalize()}: {_places(primary, each)}." for each in OUTCOMES if counts[each])
    if claim["rule"] not in (ALL, ALL_NAMED) and m / 2**n > alpha / 2:
        reason += f" {n} seeds cannot show {m} comparisons at level {alpha / 2:g}."
    if failed := sum(c[f"{side}_failed"] for c in primary for side in SIDES):
        reason += f" Failed runs counted as losses, once per comparison: {failed}."
    return decided, reason


def _places(primary: list[Json], outcome: str) -> str:
    return listed([place(c) for c in primary if c["outcome"] == outcome])


def place(comparison: Json) -> str:
    """Which comparison it is."""
    return "{experiment}, {size}, {candidate} against {reference}".format(**comparison)
