"""The manifest: the SHA-256 of every result file, and what each file was made from.

Files are named relative to the results directory. Two kinds of inputs are not results: the configuration
(``config/…``, relative to the project's directory) and the data sets (``data/…``), which are generated anew
rather than kept; their hashes are those that the records tell.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

import schemenets
from schemenets import files
from schemenets.errors import CheckpointError
from schemenets.study import summaries
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.layout import DEPTH, Layout
from schemenets.study.records.provenance import digest

Json = dict[str, Any]
NOT_RESULTS = ("data", "logs", ".resume", "manifest.json", "ro-crate-metadata.json")


def build(results: Layout, study: Study) -> Json:
    """The manifest of the results of a study, ready for JSON.

    Raises:
        CheckpointError: a result file is missing or no JSON, was made for another configuration, or two were made from
            different versions of a data set.
    """
    made = list(_made(results, study))
    if missing := [str(path) for path, _, _ in made if not path.is_file()]:
        others = f" (and {len(missing) - 1} more)" if missing[1:] else ""
        raise CheckpointError(f"{missing[0]}: file is missing{others}")
    for path, (stage, spec) in records(results, study).items():
        if files.read_json(path)["provenance"]["config_sha256"] != digest(spec):
            repair = f"remove it and run the workflow again, or run: schemenets {stage} --tier {study.tier} ..."
            raise CheckpointError(f"{path}: made for another configuration than the present one; {repair}")
    entries, data, finished = {}, dict[str, str](), []
    for path, inputs, record in made:
        provenance = files.read_json(record)["provenance"] if record else {}
        used = {f"data/{name}": sha256 for name, sha256 in provenance.get("data_sha256", {}).items()}
        for name, sha256 in used.items():
            if data.setdefault(name, sha256) != sha256:
                raise CheckpointError(f"{record}: made from another {name} than other results ({sha256})")
        entry = {"sha256": files.sha256(path), "inputs": sorted({*used, *(_name(results, file) for file in inputs)})}
        if record:
            entry["source_sha256"] = provenance["source_sha256"]
            finished.append(provenance["finished"])
        entries[_name(results, path)] = entry
    return {
        "schemenets": schemenets.__version__,
        "tier": study.tier,
        "finished": max(finished),  # all are in UTC
        "config": study.config,
        "inputs": {path.as_posix(): {"sha256": files.sha256(path)} for path in (CLAIMS, CONFIG)},
        "data": {
            name: {"sha256": data[name], "inputs": [CONFIG.as_posix()], "regenerated": True} for name in sorted(data)
        },
        "files": dict(sorted(entries.items())),
    }


def records(results: Layout, study: Study) -> dict[Path, tuple[str, Json]]:
    """Every file that tells its provenance, with the stage and the specification that it is to come from."""
    by_file = {results.tuned(name): ("tune", spec) for name, spec in study.specs("tune").items()}
    by_file[results.multigrid] = ("multigrid", study.specs("multigrid")["all"])
    by_file |= {results.growth(name): ("growth", spec) for name, spec in study.specs("growth").items()}
    by_file |= {results.remedies(name): ("remedies", spec) for name, spec in study.remedies.items()}
    by_file[results.fixed_points] = ("fixed_points", study.specs("fixed_points")["all"])
    by_file[results.schemes] = ("schemes", study.specs("schemes")["all"])
    by_file[results.solvers] = ("solvers", study.specs("solvers")["all"])
    by_file |= {results.solver_tuned(name): ("solver_tune", spec) for name, spec in study.solver_tunings.items()}
    for job, spec in study.solver_jobs.items():
        directory = results.job(job)
        by_file |= {directory / f"seed-{seed}.json": ("solver_train", spec) for seed in spec["seeds"]}
        by_file[directory / "evaluation.json"] = ("solver_evaluate", study.solver_evaluations[job])
    for job, spec in study.specs("train").items():
        directory = results.job(job)
        by_file |= {directory / f"seed-{seed}.json": ("train", spec) for seed in spec["seeds"]}
        by_file[directory / "evaluation.json"] = ("evaluate", study.specs("evaluate")[job])
        by_file[directory / "stability.json"] = ("stability", study.specs("stability")[job])
    for job, spec in study.attacks.items():
        by_file[results.job(job) / "robustness.json"] = ("robustness", spec)
    return by_file


def found(results: Layout, study: Study) -> set[str]:
    """Names of the result files that are there; results of other tiers inside the directory do not count."""
    others = {*NOT_RESULTS, *study.config["tiers"]}
    names = (path.relative_to(results.root) for path in results.root.rglob("*") if path.is_file())
    return {name.as_posix() for name in names if name.parts[0] not in others}


def _name(results: Layout, path: Path) -> str:
    return (path.relative_to(results.root) if path.is_relative_to(results.root) else path).as_posix()


def _made(results: Layout, study: Study) -> Iterator[tuple[Path, list[Path], Path | None]]:
    """Every result file with its direct inputs, data sets excepted, and the JSON file that tells its provenance."""
    tunings = [results.tuned(method) for method in study.tunings]
    for tuning in tunings:
        yield tuning, [CONFIG], tuning
    records, stabilities, attacks = [], [], []
    for job, spec in study.jobs.items():
        directory = results.job(job)
        own = [directory / f"seed-{seed}.json" for seed in spec["seeds"]]
        checkpoints = [record.with_suffix(".safetensors") for record in own]
        for record, checkpoint in zip(own, checkpoints, strict=True):
            yield record, [CONFIG, results.tuned(spec["method"]), checkpoint], record
            yield checkpoint, [CONFIG, results.tuned(spec["method"])], record
        evaluation, stability = directory / "evaluation.json", directory / "stability.json"
        yield evaluation, [*own, *checkpoints], evaluation
        yield evaluation.with_suffix(".safetensors"), [*own, *checkpoints], evaluation
        yield stability, checkpoints, stability
        records += [*own, evaluation]
        stabilities.append(stability)
        if job in study.attacks:
            attack = directory / "robustness.json"
            yield attack, [*own, *checkpoints], attack
            attacks += [*own, attack]
    yield results.multigrid, [], results.multigrid
    grown, remedied = (
        {name: file_of(name) for name in study.specs(stage)}
        for stage, file_of in (("growth", results.growth), ("remedies", results.remedies))
    )
    for name, path in (*grown.items(), *remedied.items()):
        yield path, [CONFIG, *_checkpoints(results, name, study)], path
    iterated = [
        results.job(spec["job"]) / f"seed-{seed}.{suffix}"
        for spec in study.specs("fixed_points")["all"]["networks"]
        for seed in spec["seeds"]
        for suffix in ("json", "safetensors")
    ]
    yield results.fixed_points, iterated, results.fixed_points
    schemes = results.schemes
    yield schemes, [CONFIG], schemes
    yield results.solvers, [CONFIG], results.solvers
    solver_tunings = [results.solver_tuned(method) for method in study.solver_tunings]
    for tuning in solver_tunings:
        yield tuning, [CONFIG], tuning
    solved = []
    for job, spec in study.solver_jobs.items():
        own = [results.job(job) / f"seed-{seed}.json" for seed in spec["seeds"]]
        checkpoints = [record.with_suffix(".safetensors") for record in own]
        trained_by = [CONFIG, results.solver_tuned(spec["tuned_as"])]
        for record, checkpoint in zip(own, checkpoints, strict=True):
            yield record, [*trained_by, checkpoint], record
            yield checkpoint, trained_by, record
        evaluation = results.job(job) / "evaluation.json"
        yield evaluation, [*own, *checkpoints], evaluation
        solved += [*own, evaluation]

    measured = ["runs", "psnr", "stability", "growth", "fixed_points", "fixed_point_costs"]
    measured += ["solver_runs", "solver_errors"]
    judged = [CLAIMS, *map(results.table, measured)]
    tables = {
        **dict.fromkeys(("runs", "psnr", "curves"), records),
        "tuning": tunings,
        "stability": stabilities,
        "growth": list(grown.values()),
        "remedies": list(remedied.values()),
        "multigrid": [results.multigrid],
        "fixed_points": [results.fixed_points],
        "fixed_point_costs": [results.fixed_points],
        "robustness": attacks,
        "guarantees": [*records, *stabilities, *grown.values()],
        "schemes": [schemes],
        "problems": [results.solvers],
        "solver_paths": [results.solvers],
        **dict.fromkeys(("solver_runs", "solver_curves"), solved),
        "solver_tuning": solver_tunings,
        **dict.fromkeys(("solver_errors", "solver_certificates"), solved),
        "solver_iterations": [results.solvers, *solved],
        **dict.fromkeys(("claims", "sensitivity"), judged),
    }
    for name, inputs in tables.items():
        yield results.table(name), inputs, None
    yield results.claims, judged, None
    for benchmark in results.benchmarks:
        yield benchmark, [], None
    shown = [results.table(name) for name in tables]
    figures = sorted((results.root / "figures").glob("*"))
    drawn = [*shown, *map(results.dataset, study.test_sets), *_example(results)]
    for figure in figures:
        yield figure, drawn, None
    yield results.report, [*shown, *results.benchmarks, *figures, results.claims], None


def _checkpoints(results: Layout, name: str, study: Study) -> list[Path]:
    """Those of a training job; random networks, which are named otherwise, have none."""
    job = name.removeprefix(DEPTH)
    seeds = study.jobs[job]["seeds"] if job in study.jobs else ()
    return [results.job(job) / f"seed-{seed}.safetensors" for seed in seeds]


def _example(results: Layout) -> list[Path]:
    """The checkpoint whose output the figures show."""
    runs = results.table("runs")
    example = summaries.example_run(pd.read_csv(runs)) if runs.is_file() else None
    return [results.job(f"{example}.safetensors")] if example else []
