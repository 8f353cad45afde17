"""Tables and verdicts, computed again from what they were made from."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from schemenets import files
from schemenets.study import claims, summaries
from schemenets.study.audit._findings import Audited, Finding, Json, cells, difference, guarded
from schemenets.study.config import CLAIMS
from schemenets.study.stages.tables import WRITTEN, tables


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about tables and claims."""
    yield from guarded(audited.results.root / "tables", _of_runs(audited))
    yield from guarded(audited.results.claims, _of_claims(audited))


def _of_runs(audited: Audited) -> Iterator[Finding]:
    spec = audited.study.specs("tables")["all"]
    made = tables(audited.results, *(spec[key] for key in WRITTEN))
    for name, table in made.items():
        yield from _table(audited.results.table(name), table, "the records say")


def _of_claims(audited: Audited) -> Iterator[Finding]:
    """Every claim's verdict and evidence, from the tables of runs and the registered criteria."""
    registered = claims.load(CLAIMS)
    measured = summaries.read(audited.results)
    judged = claims.evaluate(registered, measured)
    path, source = audited.results.claims, "the tables say"
    stored, expected = _by_id(files.read_json(path)), _by_id(judged)
    for key in {**stored, **expected}:
        own, other = ({key: side[key]} if key in side else {} for side in (stored, expected))
        yield from difference(path, own, other, source)
    yield from _table(audited.results.table("claims"), claims.comparison_table(judged), source)
    yield from _table(audited.results.table("sensitivity"), claims.sensitivity(registered, measured), source)


def _by_id(judged: Json) -> Json:
    settings = {key: value for key, value in judged.items() if key != "claims"}
    return settings | {claim["id"]: claim for claim in judged["claims"]}


def _table(path: Path, made: pd.DataFrame, source: str) -> Iterator[Finding]:
    stored = cells(path.read_text(encoding="utf-8")) if path.is_file() else {}
    yield from difference(path, stored, cells(made.to_csv(index=False)), source)
