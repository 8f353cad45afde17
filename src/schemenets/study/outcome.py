"""The outcome of a run in a few lines: the verdict on every claim, and where its report is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemenets import files
from schemenets.errors import CheckpointError
from schemenets.study.claims import SOME, deciding
from schemenets.study.config import MINE, RESULTS
from schemenets.study.layout import Layout
from schemenets.study.wording import NOTHING, interval, listed, ranged, short, signed

DIRECTORIES = (MINE, Path("results/study"), Path("results/exploratory"))  # where to look, in this order


def find(directory: Path | None = None) -> Layout:
    """The results in a directory; without one, the first of :data:`DIRECTORIES` that has a report.

    Raises:
        CheckpointError: there is no report.
    """
    tried = [Layout(each) for each in (DIRECTORIES if directory is None else (directory,))]
    if found := [each for each in tried if each.report.is_file()]:
        return found[0]
    names = listed([str(each.report) for each in tried])
    if directory is not None:
        raise CheckpointError(f"{names}: file is missing, expected the results of a run of the study")
    (smoke,) = RESULTS.values()
    raise CheckpointError(
        f"{names}: no such file; make study makes the first, and make study TIER=smoke makes one in miniature, which "
        f"schemenets report {smoke} shows"
    )


def lines(results: Layout) -> Iterator[str]:
    """One line per claim, if the run has any: id, verdict and effect; then the path of the report.

    Raises:
        CheckpointError: ``claims.json`` is damaged, or another file.
    """
    if not results.claims.is_file():  # some tiers have none
        yield str(results.report)
        return
    judged = files.read_json(results.claims)
    try:
        rows = [(claim["id"], claim["verdict"], _effect(claim)) for claim in judged["claims"]]
        widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:2]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{results.claims}: got another file, expected verdicts of the stage claims") from error
    for name, verdict, effect in rows:
        yield f"{name:{widths[0]}}  {verdict:{widths[1]}}  {effect}"
    yield str(results.report)


def _effect(claim: dict[str, Any]) -> str:
    """The effect with its unit and interval; where some comparisons suffice, the range of their effects."""
    unit = claim["threshold"]["unit"]
    write, digits = (signed, 2) if unit == "dB" else (short, 3)
    if claim.get("rule") == SOME:  # the first protocol had no rules
        known = [each["effect"] for each in deciding(claim["comparisons"]) if each["effect"] is not None]
        return f"{ranged(known, write)} {unit}" if known else NOTHING
    if claim["effect"] is None:
        return NOTHING
    low, high = claim["interval"] or (None, None)
    return f"{write(claim['effect'])} {unit} {interval(low, high, digits)}".rstrip()
