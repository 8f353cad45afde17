"""Where the results come from: what their records say about code, data, machines and time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from schemenets import files
from schemenets.study import stages, summaries
from schemenets.study.layout import Layout
from schemenets.study.records.manifest import DATA
from schemenets.study.report.content import Table
from schemenets.study.wording import fixed, listed

Json = dict[str, Any]
FOLDERS = "runs", "tuning", "growth", "map"  # of records


def gather(results: Layout, jobs: Mapping[str, Sequence[str]]) -> Json:
    """What the records have in common and where they differ.

    Returns:
        ``work`` (table of time by stage), ``facts`` (name to the list of values that occur) and ``consistent``, whether
        each data file has one hash only.
    """
    found = pd.DataFrame(_records(results, jobs))
    names = [name for name, _ in {entry for record in found["data"] for entry in record.items()}]
    facts = {
        "commit": [
            f"{commit} ({listed(sorted(own['stage'].unique()))})" for commit, own in summaries.groups(found, "commit")
        ],
        "versions": sorted({f"{name} {version}" for record in found["versions"] for name, version in record.items()}),
        **{key: sorted(map(str, found[key].unique())) for key in ("device", "platform", "threads")},
        "finished": sorted({found["finished"].min(), found["finished"].max()}),
    }
    work = Table(
        "Time of all recorded computations, several of which ran at once. Of a resumed computation, only the last "
        "process counts.",
        [f"{name}/" for name in FOLDERS if (results.root / name).is_dir()],
        ["Stage", "Records", "Wall time (s)", "CPU time (s)"],
        [
            [stage, str(len(own)), fixed(own["wall"].sum(), 0), fixed(own["cpu"].sum(), 0)]
            for stage, own in [*summaries.groups(found, "stage"), ("total", found)]
        ],
    )
    return {"work": work, "facts": facts, "consistent": len(set(names)) == len(names)}


def _records(results: Layout, jobs: Mapping[str, Sequence[str]]) -> Iterator[Json]:
    """Provenance of every record, one row each."""
    for stage, names in jobs.items():
        for name in names:
            record = files.read_json(results.file(stage, name, stages.record_key(stage)))["provenance"]
            kept = {key: record[key] for key in ("finished", "versions", "device", "platform", "threads")}
            yield {
                "stage": stage,
                "wall": record["wall_seconds"],
                "cpu": record["cpu_seconds"],
                "data": {key: sha256 for key, sha256 in record["inputs_sha256"].items() if key.startswith(DATA)},
                "commit": f"{record['git']['commit']}{', with changes' if record['git']['dirty'] else ''}",
                **kept,
            }
