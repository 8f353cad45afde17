"""Gather all records into tidy tables: one row per observation, with the run it comes from."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from schemenets import files
from schemenets.stability.guarantees import GUARANTEES
from schemenets.study import stages, summaries
from schemenets.study.config import Study
from schemenets.study.layout import TABLE, Layout
from schemenets.study.records.fingerprints import module_of
from schemenets.study.stages import Job, Json

DERIVED = {  # made from other tables, with the stages behind these
    "guarantees": ("train", "stability", "growth"),
    "ladder": ("train", "evaluate", "stability"),
}
OUTPUTS = {name: TABLE.format(name) for name in (*stages.declared_tables(), *DERIVED)}


def specs(study: Study) -> dict[str, Json]:
    """All jobs whose records become tables, by stage."""
    sources = sorted({stage for found in stages.declared_tables().values() for stage in found})
    return {"all": {"jobs": {stage: list(study.specs(stage)) for stage in sources}}}


def inputs(spec: Json) -> Json:
    """All records."""
    return {stage: [(stage, name, stages.record_key(stage)) for name in names] for stage, names in spec["jobs"].items()}


def code(spec: Json) -> list[str]:
    """How every stage makes rows of its records, and their columns."""
    return [f"{module_of(stage)}:{name}" for stage in spec["jobs"] for name in ("tables", "TABLES")]


def made_from(key: str, spec: Json) -> list[stages.Reference]:
    """The records that a table is made from."""
    sources = DERIVED.get(key) or stages.declared_tables()[key]
    return [reference for stage in sources for reference in inputs(spec)[stage]]


def run(job: Job) -> None:
    """Write all tables."""
    for name, table in tables(job.results, job.spec).items():
        files.atomic_write(job.output(name), table.to_csv(index=False, lineterminator="\n"))


def tables(results: Layout, spec: Json) -> dict[str, pd.DataFrame]:
    """The tables by name.

    Raises:
        CheckpointError: a record is missing or damaged.
    """
    rows: dict[str, list[Json]] = {}
    columns: dict[str, list[str]] = {}
    for stage, names in spec["jobs"].items():
        module, key = stages.module(stage), stages.record_key(stage)
        records = {name: files.read_json(results.file(stage, name, key)) for name in names}
        made = module.tables(records) if records else {}
        for table, own in module.TABLES.items():
            rows.setdefault(table, []).extend(made.get(table, ()))
            columns[table] = own
    found = {table: pd.DataFrame(rows[table], columns=columns[table]) for table in rows}
    return found | {"guarantees": pd.DataFrame(_guarantee_rows(found)), "ladder": summaries.ladder(found)}


def _guarantee_rows(made: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Guarantees in words, and what remains of them in networks trained freely and in those certified by construction.

    ``fulfilling`` counts the networks that meet every condition of their certificate.
    """
    described = made["runs"][["run", "network", "certified"]].rename(columns={"certified": "constrained"})
    measured = made["stability"].merge(described, on="run")
    growth = _growth(made["growth"]).merge(described, on="run")
    for scheme, words in GUARANTEES.items():
        row = {"scheme": scheme, **words._asdict()}
        for constrained, prefix in ((False, ""), (True, "certified_")):
            own = measured[(measured["network"] == scheme) & (measured["constrained"] == constrained)]
            row |= {f"{prefix}networks": len(own), f"{prefix}fulfilling": int(own["certified"].sum())}
            row |= _worst(own, f"{prefix}amplification", "largest_amplification_found")
            grown = growth[(growth["network"] == scheme) & (growth["constrained"] == constrained)]
            row |= _worst(grown, f"{prefix}growth", "amplification", "kind", "n")
        yield row


def _growth(table: pd.DataFrame) -> pd.DataFrame:
    """Growth of trained networks under repetition; infinite after an overflow."""
    amplification = table["amplification"].astype(float).mask(table["overflow"].astype(bool), math.inf)
    grown = table.assign(amplification=amplification)[["run", "kind", "n", "amplification"]]
    return grown[grown["kind"] == "repetition"].astype({"run": str})


def _worst(table: pd.DataFrame, name: str, column: str, *more: str) -> dict[str, Any]:
    """The largest value of a column with its run, and what else its row says; None for all of them without rows."""
    (row,) = table.sort_values(column, ascending=False, kind="stable").head(1).to_dict("records") or [
        dict.fromkeys(table.columns)
    ]
    return {name: row[column], **{f"{name}_{key}": row[key] for key in ("run", *more)}}
