"""Tidy tables of solvers, numerical and learned, one row per observation.

Distances to a solution are empty where it is not certain to be the only one, those on validation data as well.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from schemenets import files
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.study.layout import Layout
from schemenets.study.measurements.flops import of_cycle, of_network
from schemenets.study.stages import _solvers

Json = dict[str, Any]
OF_A_RUN = ["run", "problem", "method", "seed"]
PLACE = ["condition", "kind", "family", "points", "mesh_width", "tau", "unique", "signals"]
ERRORS = ["relative_error", "residual", "energy_gap"]
ITERATED = ["converged", "iterations", "factor"]
OF_EQUATION = ["moved", "local_radius", "own_error"]  # of networks only
CERTIFIED = ["condition", "points", "tau", "radius", "radius_dense", "energy_norm", "holds"]
FOLLOWED = ["iterations", "operations", *ERRORS]
COLUMNS = {
    "solver_errors": [*OF_A_RUN, "status", *PLACE, *ERRORS],
    "solver_iterations": [*OF_A_RUN, *PLACE, *ITERATED, *OF_EQUATION, "operations", *ERRORS],
    "solver_certificates": [*OF_A_RUN, *CERTIFIED],
    "solver_paths": ["problem", "method", *FOLLOWED],
}


def solver_tables(results: Layout, jobs: Sequence[str], methods: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables by name.

    Raises:
        CheckpointError: a record is missing or damaged.
    """
    schemes = files.read_json(results.solvers)
    evaluations = {job: files.read_json(results.job(job) / "evaluation.json") for job in jobs}
    records = {
        job: [files.read_json(results.job(job) / f"seed-{seed}.json") for seed in evaluation["seeds"]]
        for job, evaluation in evaluations.items()
    }
    every = [(record, evaluations[job], index) for job, own in records.items() for index, record in enumerate(own)]
    rows = {
        "solver_errors": [row for each in every for row in _error_rows(*each)],
        "solver_iterations": [
            *_scheme_rows(schemes["rows"]),
            *(row for each in every for row in _iteration_rows(*each)),
        ],
        "solver_certificates": [
            _of(record) | {key: entry[key] for key in CERTIFIED}
            for record, evaluation, _ in every
            for entry in evaluation["certificates"]
            if entry["seed"] == record["seed"]
        ],
        "solver_paths": [
            {"problem": row["problem"], "method": row["solver"], **{key: row[key] for key in FOLLOWED}}
            for row in schemes["paths"]
        ],
    }
    return {
        "problems": pd.DataFrame(schemes["problems"]),
        "solver_runs": pd.DataFrame(_run_row(record) for record, _, _ in every),
        "solver_curves": pd.DataFrame(row for record, _, _ in every for row in _curve_rows(record)),
        "solver_tuning": pd.DataFrame(row for method in methods for row in _tuning_rows(results, method)),
        **{name: pd.DataFrame(rows[name], columns=columns) for name, columns in COLUMNS.items()},
    }


def _of(record: Json) -> Json:
    return {"run": record["run"], "problem": record["problem_name"], **{key: record[key] for key in ("method", "seed")}}


def _run_row(record: Json) -> Json:
    architecture = record["architecture"]
    return {
        **_of(record),
        "network": architecture.get("name", record["learner"]),
        **{key: record[key] for key in ("loss", "parameters", "operations")},
        "operations_by_formula": _by_formula(record),
        "consistent": _solvers.consistent(record),
        **{key: record[key] for key in ("points", "dataset")},
        **record["training"],
        "status": record["status"],
        "validation_error": _validation_errors(record)[-1],
    }


def _by_formula(record: Json) -> int:
    """Operations, for learned cycles to leading order."""
    architecture = _solvers.architecture(record)
    if isinstance(architecture, CycleArchitecture):
        return architecture.cycles * of_cycle(architecture, architecture.problem.on(record["points"]))
    return of_network(architecture, record["points"])


def _validation_errors(record: Json) -> list[float | None]:
    """Distances to the solution that the training was towards, by epoch; none where there may be other solutions."""
    errors: list[float | None] = record["validation_error_by_epoch"]
    unique = Problem(**record["problem"]).on(record["points"]).unique
    return errors if unique else [None] * len(errors)


def _curve_rows(record: Json) -> Iterator[Json]:
    for epoch, value in enumerate(_validation_errors(record), start=1):
        yield {**_of(record), "epoch": epoch, "validation_error": value}


def _tuning_rows(results: Layout, method: str) -> Iterator[Json]:
    tuned = files.read_json(results.solver_tuned(method))
    for trial in tuned["trials"]:
        chosen = trial["learning_rate"] == tuned["learning_rate"]
        for run in trial["runs"]:
            yield {"method": method, "learning_rate": trial["learning_rate"], "chosen": chosen, **run}


def _error_rows(record: Json, evaluation: Json, index: int) -> Iterator[Json]:
    for entry in evaluation["conditions"]:
        values = {key: entry[key][index] for key in ERRORS}
        yield {**_of(record), "status": record["status"], **{key: entry[key] for key in PLACE}, **values}


def _iteration_rows(record: Json, evaluation: Json, index: int) -> Iterator[Json]:
    tested = {entry["condition"]: {key: entry[key][index] for key in ERRORS} for entry in evaluation["conditions"]}
    for entry in evaluation["iterations"]:
        place = {key: entry[key] for key in (*PLACE, "operations")}
        values = {key: entry[key][index] for key in (*ITERATED, *OF_EQUATION)}
        # an application of several cycles is more than one iteration
        architecture = _solvers.architecture(record)
        cycles = architecture.cycles if isinstance(architecture, CycleArchitecture) else architecture.blocks
        errors = tested[entry["condition"]] if cycles == 1 else dict.fromkeys(ERRORS)
        yield {**_of(record), **place, **values, **errors}


def _scheme_rows(rows: Sequence[Json]) -> Iterator[Json]:
    for row in rows:
        measured = {key: row[key] for key in (*ITERATED, "operations", *ERRORS)}
        yield {"problem": row["problem"], "method": row["solver"], **{key: row[key] for key in PLACE}, **measured}
