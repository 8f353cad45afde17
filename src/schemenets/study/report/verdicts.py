"""What the report says of every claim: a row, and a chapter."""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from schemenets.study import claims, summaries
from schemenets.study.layout import Layout
from schemenets.study.report import intervals
from schemenets.study.report.content import Table, job, signed_or_short, solver, with_interval
from schemenets.study.statistics import SIDES
from schemenets.study.summaries import rows
from schemenets.study.wording import SOLVE, interval, label, listed, ranged, sentence, short, size_label

Json = dict[str, Any]
EVIDENCE = {  # where the numbers of claims without comparisons are from
    "certificates": "tables/stability.csv",
    "cycles": "tables/solver_iterations.csv",
    "fixed_points": "tables/fixed_points.csv",
}
PAPERS = ("[A]", "[B]")  # with which sources of claims of the papers begin
ANSWERS = {  # a verdict as a predicate, of one claim and of several
    "reproduced": ("is reproduced", "are reproduced"),
    "depends": ("depends on the setting", "depend on the setting"),
    "inconclusive": ("is undecided", "are undecided"),
    "not reproduced": ("is not reproduced", "are not reproduced"),
    "not testable": ("is not testable", "are not testable"),
}


@dataclass(frozen=True)
class Number:
    """One of the numbers that matter for a claim, in words, and where it is from."""

    value: str
    what: str
    source: str


def of_papers(claim: Json) -> bool:
    """Whether the papers make this claim, and not this study."""
    return str(claim["source"]).startswith(PAPERS)


def answer(judged: Sequence[Json]) -> str:
    """What was found as a whole: the verdicts on the claims of the papers, then on each of the study's own."""
    theirs = [claim for claim in judged if of_papers(claim)]
    groups = {verdict: [claim["id"] for claim in theirs if claim["verdict"] == verdict] for verdict in ANSWERS}
    exact = {claim["id"] for claim in theirs if claim["evaluator"] in EVIDENCE}
    parts = [
        f"{len(names)} {ANSWERS[verdict][len(names) > 1]} ({_by_kind(names, exact)})"
        for verdict, names in groups.items()
        if names
    ]
    sentences = [f"Of {len(theirs)} claims from the papers' abstracts, {listed(parts)}."] if theirs else []
    sentences += [
        f"{claim['id']}, a claim of this study, {ANSWERS[claim['verdict']][0]}."
        for claim in judged
        if not of_papers(claim)
    ]
    return " ".join(sentences)


def _by_kind(names: Sequence[str], exact: AbstractSet[str]) -> str:
    """The claims that are theorems or identities, then those that comparisons of networks decide."""
    kept, compared = ([name for name in names if (name in exact) == flag] for flag in (True, False))
    if not kept:
        return ", ".join(compared)
    return "; ".join([f"{', '.join(kept)}, theorems or identities", *[", ".join(compared)] * bool(compared)])


def numbers(claim: Json) -> list[Number]:
    """The three numbers that matter for a claim; fewer where they were not measured."""
    if claim["evaluator"] in EVIDENCE:
        known, source = claim["evidence"] or {}, EVIDENCE[claim["evaluator"]]
        return [Number(short(known[what], 4), what, source) for what in claims.SHOWN_EVIDENCE if what in known]
    return list(_of_comparisons(claim))


def _of_comparisons(claim: Json) -> Iterator[Number]:
    found = [c for c in claims.deciding(claim["comparisons"]) if c["effect"] is not None]
    if not found:
        return
    ratio = claim["threshold"]["unit"] == claims.RATIO
    write, unit = signed_or_short(ratio), "" if ratio else " dB"
    digits = 3 if ratio else 2
    measure = "ratio" if ratio else "difference"
    ordered = sorted(found, key=lambda c: -c["effect"] if ratio else c["effect"])
    if claim["rule"] == claims.SOME:
        best, worst = ordered[-1], ordered[0]
        for c, what in ((best, "best"), (worst, "worst")):
            text = with_interval(f"{write(c['effect'])}{unit}", c["interval"], digits)
            yield Number(text, f"{what} median {measure} ({place(c)})", runs_of(c))
    else:
        weakest = next((c for c in found if c["effect"] == claim["effect"]), ordered[0])
        if claim["evaluator"] == "budgets":
            errors = f"{short(weakest['candidate_median'])} against {claims.least(weakest['reference_median'])}"
            yield Number(errors, f"median error, learned against untrained ({place(weakest)})", runs_of(weakest))
        text = with_interval(f"{write(weakest['effect'])}{unit}", weakest["interval"], digits)
        yield Number(text, f"weakest median {measure} ({place(weakest)})", runs_of(weakest))
    shown = sum(c["outcome"] == "shown" for c in found)
    lost = sum(c["outcome"] == "refuted" for c in found)
    yield Number(
        f"{shown} of {len(found)}", f"comparisons support the claim, {lost} contradict it", "tables/claims.csv"
    )
    if claim["weight_ratio"]:
        c = found[0]
        sizes = "{candidate_convolution_weights} against {reference_convolution_weights}".format(**c)
        text = "convolution weights; all parameters: {candidate_parameters} against {reference_parameters}".format(**c)
        yield Number(sizes, text, runs_of(c))
    elif claim["evidence"]:
        most = claim["evidence"].get(claims.MOST)
        allowed = f"; at most {most:g} is a guarantee" if most else ""
        yield Number(short(claim["evidence"][claims.DRIFT]), f"{claims.DRIFT}{allowed}", "tables/stability.csv")
    elif claim["rule"] != claims.SOME and claim["evaluator"] != "budgets":
        spread = f"{ranged([c['effect'] for c in found], write)}{unit}"
        yield Number(spread, f"range of the median {measure}s", "tables/claims.csv")


def drift(claim: Json) -> str:
    """How far a guarantee lets networks drift, and how far at most they may; empty for other claims."""
    known = claim["evidence"] or {}
    return f"drift {short(known[claims.DRIFT])} (at most {known[claims.MOST]:g})" if claims.MOST in known else ""


def place(comparison: Json) -> str:
    """Where a comparison was made: experiment and size."""
    experiment = comparison["experiment"]
    name = label(experiment.removeprefix(SOLVE))
    size = comparison["size"]
    return f"{name}, {size_label(size)}" if "-" in size else label(size)


def runs_of(comparison: Json) -> str:
    """The folder with the runs of a comparison's candidate."""
    experiment, method, size = (comparison[key] for key in ("experiment", "candidate", "size"))
    return f"runs/{experiment}/{method}/" if experiment.startswith(SOLVE) else f"runs/{experiment}/{method}/{size}/"


def forest(claim: Json) -> Table | None:
    """The primary comparisons with their intervals drawn; none for claims without comparisons."""
    found = claims.deciding(claim["comparisons"])
    if not found:
        return None
    scale = intervals.Scale.of(claim)
    write, digits = signed_or_short(scale.ratio), 3 if scale.ratio else 2
    unit = "ratio of errors" if scale.ratio else "difference in dB"
    return Table(
        f"Primary comparisons, median {unit} with interval; dashed: the threshold, {scale.label}.",
        ["tables/claims.csv"],
        ["Where", "Candidate", "Reference", "Effect", "Median", "Outcome"],
        [
            [
                place(c),
                *(_method(c[side], c) for side in SIDES),
                intervals.single(c, scale),
                with_interval(write(c["effect"]), c["interval"], digits),
                c["outcome"],
            ]
            for c in found
        ],
    )


def statistics(claim: Json) -> Table | None:
    """Everything else about the primary comparisons."""
    found = claims.deciding(claim["comparisons"])
    if not found:
        return None
    ratio = claim["threshold"]["unit"] == claims.RATIO
    write, digits = signed_or_short(ratio), 3 if ratio else 2
    solves = any(c["experiment"].startswith(SOLVE) for c in found)
    sizes = ["Parameters", *(["Operations"] if solves else [])]
    of_images = any(c.get("image_interval") for c in found)
    drifts = any("drift" in c for c in found)
    return Table(
        "The same in numbers: means with t intervals"
        + (", also over images" if of_images else "")
        + ("; the largest drift over the rms of the signals" if drifts else "")
        + "; failed runs (candidate / reference) with the p-value of Fisher's test.",
        ["tables/claims.csv"],
        [
            "Where",
            "Candidate",
            *sizes,
            "Seeds",
            "Mean",
            *(["Images"] if of_images else []),
            *(["Largest drift"] if drifts else []),
            "p",
            "p (Holm)",
            "p (opposite direction)",
            "Failed",
        ],
        [
            [
                place(c),
                _method(c["candidate"], c),
                *(" / ".join(f"{c[f'{side}_{key.lower()}']:,}" for side in SIDES) for key in sizes),
                str(c["n"]),
                with_interval(write(c["mean"]), c["mean_interval"], digits),
                *([interval(*(c["image_interval"] or (None, None)))] if of_images else []),
                *([short(c.get("drift"))] if drifts else []),
                *(short(c[key]) for key in ("p", "p_holm", "p_opposite_holm")),
                " / ".join(str(c[f"{side}_failed"]) for side in SIDES) + _of_failures(c),
            ]
            for c in found
        ],
    )


def _of_failures(comparison: Json) -> str:
    """How likely shares of failures that are so different are by chance, where any run failed."""
    failed = any(comparison[f"{side}_failed"] for side in SIDES)
    return f" (p = {short(comparison['p_failures'])})" if failed else ""


def evidence(claim: Json) -> Table | None:
    """All that a verdict without comparisons rests on, and what stands beside it; None where :func:`numbers` say it."""
    if claim["evaluator"] not in EVIDENCE or len(claim["evidence"] or {}) <= len(numbers(claim)):
        return None
    return Table(
        "What the verdict rests on, and what was measured beside it.",
        [EVIDENCE[claim["evaluator"]]],
        ["What", "Value"],
        [[what, short(value, 6)] for what, value in claim["evidence"].items()],
    )


def secondary(claim: Json) -> str:
    """How many secondary comparisons support and contradict a claim; empty if there are none.

    Of those with fewer seeds than a verdict needs, only the range of their medians is told.
    """
    found = [c for c in claim["comparisons"] if c["role"] == "secondary"]
    outcomes = [c["outcome"] for c in found if c["n"] >= claim["minimum_seeds"]]
    few = [c["effect"] for c in found if c["n"] < claim["minimum_seeds"] and c["effect"] is not None]
    parts = []
    if outcomes:
        shown, refuted = (outcomes.count(outcome) for outcome in ("shown", "refuted"))
        parts.append(f"{shown} of {len(outcomes)} secondary comparisons support the claim, {refuted} contradict it.")
    if few:
        ratio = claim["threshold"]["unit"] == claims.RATIO
        medians = f"{ranged(few, signed_or_short(ratio))}{'' if ratio else ' dB'}"
        parts.append(f"Secondary comparisons with too few seeds to decide: {len(few)}, with medians of {medians}.")
    return " ".join(parts)


def decision(claim: Json) -> str:
    """The reason of a verdict without lists of comparisons, which the tables have; empty where some have no runs."""
    if claim["absent"]:
        return ""
    return re.sub(r" (Shown|Refuted|Open): [^.]*\.", "", claim["reason"])


def rule(claim: Json, other_thresholds: str) -> Table:
    """How a claim was decided: what was measured, by which criterion, with which result.

    Args:
        claim: its entry of ``claims.json``.
        other_thresholds: its verdicts at other thresholds; empty if there are none.
    """
    threshold = claim["threshold"]
    facts = {
        "Measured": sentence(claim["measured"]),
        "Criterion": f"{claim['direction']}; threshold {threshold['value']:g} {threshold['unit']}",
        "Decision": decision(claim),
        "Beside it": secondary(claim),
        "At other thresholds": other_thresholds,
    }
    return Table(
        "How the verdict was decided.",
        ["claims.json", "tables/sensitivity.csv"],
        ["What", "How"],
        [[what, how] for what, how in facts.items() if how],
    )


def sensitivity(results: Layout) -> dict[str, str]:
    """The verdicts on every claim at other thresholds."""
    table = pd.read_csv(results.table("sensitivity"))
    return {
        claim: "; ".join(f"{row.threshold:g} {row.unit}: {row.verdict}" for row in rows(own))
        for claim, own in summaries.groups(table[~table["registered"].astype(bool)], "claim")
    }


def earlier(judged: Sequence[Json], first: Mapping[str, Any]) -> Table:
    """The verdicts of the first protocol beside those of this run."""
    before = {claim["id"]: claim["verdict"] for claim in first["claims"]}
    return Table(
        "Verdicts of the first protocol, which compared unequal networks, beside those of this run. docs/history.md "
        "says what changed, and why.",
        ["results/first_protocol/claims.json", "claims.json"],
        ["Claim", "First protocol", "This run"],
        [[c["id"], before.get(c["id"], before.get(c["id"].rstrip("abc"), "–")), c["verdict"]] for c in judged],
    )


def _method(method: str, comparison: Json) -> str:
    """A method's name with a link to its records; untrained solvers have none."""
    if not comparison["experiment"].startswith(SOLVE):
        return job(method, comparison)
    if " " in method or "-" not in method:
        return method
    return Markup(solver(method, comparison["experiment"].removeprefix(SOLVE)))
