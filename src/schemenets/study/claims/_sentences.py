"""One plain sentence per claim, composed from the numbers of its verdict alone."""

from collections.abc import Callable

from schemenets.study.claims._exceptions import BOUNDED, CHECKED, CYCLES, FROM_FAS, GRADIENTS, LARGEST, MOVED, SLOWEST
from schemenets.study.claims._families import SOME, Json, deciding
from schemenets.study.claims._pairs import DRIFT, EXACT, MOST, NOT_TESTABLE, UNREGISTERED
from schemenets.study.statistics import SIDES
from schemenets.study.wording import SOLVE, interval, label, listed, ranged, short, signed, size_label

MANY = 3  # undecided comparisons, which the sentence does not name
BUDGET, BLOCKS = "budget-", "blocks-"  # sizes that are numbers of parameters, and of blocks


def sentence(claim: Json) -> str:
    """What was found about a claim that :func:`schemenets.study.claims.evaluate` judges, to check against a figure."""
    if not claim["complete"]:
        if claim["absent"]:
            return "Undecided: not all comparisons that decide have runs."
        return f"Undecided. {claim['reason']}"
    found = _SENTENCES[claim["evaluator"]](claim)
    return f"{UNREGISTERED} {found}" if claim["verdict"] == NOT_TESTABLE else found


def _of_psnr(claim: Json) -> str:
    value = f"{claim['threshold']['value']:g} dB"
    if claim["evaluator"] == "noninferiority":
        return _compared(claim, "PSNR", f"at most {value} below", "further below", lambda x: f"{signed(x)} dB")
    by = f"more than {value} " if claim["threshold"]["value"] else ""
    return _compared(claim, "PSNR", f"{by}above", "below", lambda x: f"{signed(x)} dB")


def _of_errors(claim: Json) -> str:
    times = claim["threshold"]["value"]
    below = "below" if times == 1 else f"less than {times:g} times"
    return _compared(claim, "error", below, "above", short)


def _compared(claim: Json, measure: str, relation: str, opposite: str, write: Callable[[float | None], str]) -> str:
    primary = deciding(claim["comparisons"])
    sizes = list(dict.fromkeys(c["size"] for c in primary if "-" in c["size"]))
    lost = sum(c["outcome"] == "refuted" for c in primary)
    named = sizes and (len(sizes) == 1 or all(size.startswith(BLOCKS) for size in sizes))
    at = f"At {_sizes(sizes)}, the" if named else "The"
    text = f"{_drifting(claim['evidence'])}{at} {measure} of {claim['candidate']} is {relation} that of "
    text += f"{claim['reference']} in {_shown(primary)}"
    text += f" and {opposite} in {lost}" if lost else ""
    text += f" ({_where(primary, 'refuted')})" if 0 < lost < len(primary) else ""
    undecided = sum(c["outcome"] == "open" for c in primary)
    text += f", undecided in {undecided}" if 0 < undecided < len(primary) else ""
    text += f" ({_where(primary, 'open')})" if 0 < undecided < min(len(primary), MANY) else ""
    what = "difference" if measure == "PSNR" else "ratio"
    known = [c["effect"] for c in primary if c["effect"] is not None]
    if claim["rule"] == SOME and known:
        text += f"; median {what}s range over {ranged(known, write)}"
    elif claim["effect"] is not None:
        low, high = claim["interval"] or (None, None)
        ends = interval(low, high, 2 if measure == "PSNR" else 3)
        text += f"; the weakest median {what} is {write(claim['effect'])} {ends}".rstrip()
    if equal := _with_equal_fluxes(claim["comparisons"]):
        text += f"; with equal fluxes (secondary) {ranged(equal, write)}"
    if claim["weight_ratio"]:
        counts = "{candidate_convolution_weights} against {reference_convolution_weights}"
        weights = (counts.format(**c) for c in primary)
        text += f"; with {listed(list(dict.fromkeys(weights)))} convolution weights and {_share(primary)}"
    elif sizes and all(size.startswith(BUDGET) for size in sizes):
        larger = _larger(primary) if claim["rule"] == SOME else ""
        text += f"; with {_share(primary)}, as budgets are filled with whole blocks{larger}"
    elif claim["evaluator"] == "solvers":
        numbers = (ranged([c[f"{side}_parameters"] for c in primary], "{:,}".format) for side in SIDES)
        text += "; the former have {} parameters, the latter {}".format(*numbers)
    failed = [_failed(primary, side) for side in SIDES]
    if any(failed):
        text += f"; {failed[0]} runs of the former and {failed[1]} of the latter failed"
    return f"{text}."


def _with_equal_fluxes(comparisons: list[Json]) -> list[float]:
    """Effects of those whose sides differ in their structure alone, if those that decide differ in more."""
    equal = [c for c in comparisons if len({c[side].partition("-")[2] for side in SIDES}) == 1]
    if any(c in equal for c in deciding(comparisons)):
        return []
    return [c["effect"] for c in equal if c["effect"] is not None]


def _drifting(evidence: Json | None) -> str:
    """How far a guarantee lets networks with biases drift, where that matters."""
    if not evidence or not evidence["of"]:
        return ""
    if evidence[DRIFT] is None:
        return "Not all candidates have a certificate. "
    most = evidence.get(MOST)
    above = f", above the maximum of {most:g}" if most and evidence[DRIFT] > most else ""
    return f"The guarantee allows a drift of up to {short(evidence[DRIFT])} times the rms of the signals{above}. "


def _larger(primary: list[Json]) -> str:
    """In how many of the comparisons that support a claim the candidate has more parameters."""
    shown = [c for c in primary if c["outcome"] == "shown"]
    more = sum(c["candidate_parameters"] > c["reference_parameters"] for c in shown)
    return f", and more in {more} of the {len(shown)} that support the claim" if more and len(shown) > 1 else ""


def _failed(primary: list[Json], side: str) -> int:
    """How many runs of a side failed; those that several comparisons share count once."""
    failed: dict[tuple[str, str, str], int] = {}
    for c in primary:
        runs = c["experiment"], c[side], c["size"]
        failed[runs] = max(failed.get(runs, 0), c[f"{side}_failed"])
    return sum(failed.values())


def _share(primary: list[Json]) -> str:
    """The number of parameters of candidates in per cent of that of their references."""
    shares = (100 * c["candidate_parameters"] / c["reference_parameters"] for c in primary)
    return f"{ranged(shares, '{:.0f}'.format)} % of the parameters"


def _where(primary: list[Json], outcome: str) -> str:
    """The places of the comparisons with an outcome; only what differs between all of them is named.

    Of references those are named that do not follow from the candidate.
    """
    differ = {key: len({c[key] for c in primary}) > 1 for key in ("experiment", "size", "candidate")}
    pairs = {tuple(c[side] for side in SIDES) for c in primary}
    differ["reference"] = len(pairs) > len({candidate for candidate, _ in pairs})
    groups: dict[tuple[str, ...], list[str]] = {}
    for c in primary:
        if c["outcome"] == outcome:
            place = tuple(c[key] if differ[key] else "" for key in ("experiment", *SIDES))
            groups.setdefault(place, []).append(c["size"])
    found = []
    for (experiment, candidate, reference), sizes in groups.items():
        parts = [label(experiment.removeprefix(SOLVE)), label(candidate).replace(",", "")]
        parts += [f"against {label(reference).replace(',', '')}" if reference else ""]
        parts += [_sizes(sizes) if differ["size"] else ""]
        found.append(", ".join(part for part in parts if part))
    return "; ".join(found)


def _sizes(sizes: list[str]) -> str:
    """Several sizes of one kind: ``≤ 120 and 240 parameters``."""
    kind, _, _ = sizes[0].rpartition("-")
    return size_label(f"{kind}-{listed([size.rpartition('-')[2] for size in sizes])}")


def _shown(primary: list[Json]) -> str:
    """In how many comparisons a claim holds."""
    m, shown = len(primary), sum(c["outcome"] == "shown" for c in primary)
    if m == 1:
        return "the only comparison" if shown else "no comparison"
    if shown == m == 2:
        return "both comparisons"
    return f"all {m} comparisons" if shown == m else f"{shown or 'none'} of {m} comparisons"


def _of_budgets(claim: Json) -> str:
    primary = claim["comparisons"]
    budgets: dict[str, list[str]] = {}
    for c in primary:
        best = f"{short(c['candidate_median'])} ({label(c['candidate'])})"
        rival = f"{least(c['reference_median'])} ({c['reference']})"
        budgets.setdefault(f"{best} against {rival}", []).append(f"{int(c['size'].partition('-')[2]):,}")
    each = [f"{pair} with {listed(operations)} operations" for pair, operations in budgets.items()]
    head = f"The error of {claim['candidate']} is below that of {claim['reference']} in {_shown(primary)}"
    return f"{head}: {listed(each)}."


def least(error: float) -> str:
    """An error, which the evaluators do not tell from smaller ones where it is as small as theirs.

    >>> least(1e-10), least(0.01)
    ('≤ 1e−10', '0.01')
    """
    return short(error) if error > EXACT * (1 + 1e-9) else f"≤ {short(EXACT)}"


def _violations(claim: Json) -> str:
    count = int(claim["effect"])
    return f"{count or 'No'} violation{'s' * (count != 1)}"


def _of_certificates(claim: Json) -> str:
    known = claim["evidence"]
    return (
        f"{_violations(claim)} of certificates in {known[CHECKED]} {CHECKED}; the {LARGEST} is {short(known[LARGEST])}."
    )


def _of_cycles(claim: Json) -> str:
    known = claim["evidence"]
    return (
        f"{_violations(claim)} of the multigrid scheme in {known[CYCLES]} trained {CYCLES}; the {FROM_FAS} is "
        f"{short(known[FROM_FAS])}, the {MOVED} {short(known[MOVED])}."
    )


def _of_fixed_points(claim: Json) -> str:
    known = claim["evidence"]
    return (
        f"{known[BOUNDED]} {BOUNDED} take at most {short(known[SLOWEST])} times the iterations that it allows; the "
        f"{GRADIENTS} is {short(known[GRADIENTS])}."
    )


_SENTENCES: dict[str, Callable[[Json], str]] = {
    "noninferiority": _of_psnr,
    "superiority": _of_psnr,
    "errors": _of_errors,
    "solvers": _of_errors,
    "budgets": _of_budgets,
    "certificates": _of_certificates,
    "cycles": _of_cycles,
    "fixed_points": _of_fixed_points,
}
