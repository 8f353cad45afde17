"""Verdicts: what the tables and the registered criteria say."""

from collections.abc import Iterator
from pathlib import Path

from schemenets import files
from schemenets.study import claims, summaries
from schemenets.study.audit._findings import Audited, Finding, Json, cells, difference
from schemenets.study.stages import Job

SOURCE = "the tables say"


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Every claim's verdict and evidence, and the tables of comparisons."""
    registered, measured = claims.load(Path(job.spec["registered"])), summaries.read(job.results)
    judged, path = claims.evaluate(registered, measured), job.output("claims")
    stored, expected = _by_id(files.read_json(path)), _by_id(judged)
    for key in {**stored, **expected}:
        own, other = ({key: side[key]} if key in side else {} for side in (stored, expected))
        yield from difference(path, own, other, SOURCE)
    made = {
        "comparisons": claims.comparison_table(judged),
        "sensitivity": claims.sensitivity(registered, measured),
    }
    for name, table in made.items():
        text = job.output(name).read_text(encoding="utf-8")
        yield from difference(job.output(name), cells(text), cells(table.to_csv(index=False)), SOURCE)


def _by_id(judged: Json) -> Json:
    settings = {key: value for key, value in judged.items() if key != "claims"}
    return settings | {claim["id"]: claim for claim in judged["claims"]}
