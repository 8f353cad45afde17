"""Where the results come from: what their records say about code, data, machines and time."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from schemenets import files
from schemenets.study import summaries
from schemenets.study.layout import Layout
from schemenets.study.report.content import Table
from schemenets.study.wording import fixed, listed

Json = dict[str, Any]
ONCE = ("fixed_points", "schemes", "solvers")  # stages with one record


def gather(results: Layout, tables: summaries.Tables) -> Json:
    """What the records have in common and where they differ.

    Returns:
        ``work`` (table of time by stage), ``facts`` (name to the list of values that occur) and ``consistent``, whether
        each data file has one hash only.
    """
    found = pd.DataFrame(_records(results, tables))
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
        "Time of all computations that left a record; several ran at the same time. Of an interrupted and resumed "
        "computation only the last process counts.",
        ["runs/", "tuning/", "growth/", *(f"{name}.json" for name in ONCE)],
        ["Stage", "Records", "Wall time (s)", "CPU time (s)"],
        [
            [stage, str(len(own)), fixed(own["wall"].sum(), 0), fixed(own["cpu"].sum(), 0)]
            for stage, own in [*summaries.groups(found, "stage"), ("total", found)]
        ],
    )
    return {"work": work, "facts": facts, "consistent": len(set(names)) == len(names)}


def _records(results: Layout, tables: summaries.Tables) -> Iterator[Json]:
    """Provenance of every record, one row each; the seeds of a job were trained together and share theirs."""
    runs, solving = tables["runs"], tables["solver_runs"]
    paths = [("tune", results.tuned(method)) for method in runs["method"].unique()]
    for run in runs.drop_duplicates(["experiment", "method", "size"])["run"]:
        job = results.job(run).parent
        paths.append(("train", job / f"{run.rpartition('/')[2]}.json"))
        paths += [("evaluate", job / "evaluation.json"), ("stability", job / "stability.json")]
    paths += [("solver_tune", results.solver_tuned(method)) for method in tables["solver_tuning"]["method"].unique()]
    for run in solving.drop_duplicates(["problem", "method"])["run"]:
        job = results.job(run).parent
        paths.append(("solver_train", job / f"{run.rpartition('/')[2]}.json"))
        paths.append(("solver_evaluate", job / "evaluation.json"))
    paths += [(name, getattr(results, name)) for name in ONCE]
    paths += [("growth", path) for path in sorted(results.root.glob("growth/**/*.json"))]
    for run in tables["robustness"].drop_duplicates(["experiment", "method", "size"])["run"]:
        paths.append(("robustness", results.job(run).parent / "robustness.json"))
    for stage, path in paths:
        record = files.read_json(path)["provenance"]
        kept = {key: record[key] for key in ("finished", "versions", "device", "platform", "threads")}
        yield {
            "stage": stage,
            "wall": record["wall_seconds"],
            "cpu": record["cpu_seconds"],
            "data": record["data_sha256"],
            "commit": f"{record['git']['commit']}{', with changes' if record['git']['dirty'] else ''}",
            **kept,
        }
