"""Gather all records into tidy tables, one row per observation, each with the run it comes from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from schemenets import files
from schemenets.layout import Layout

KINDS = ("monotone", "nonmonotone", "undecided")
COLUMNS_OF_A_RUN = ["run", "experiment", "method", "size", "seed"]


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write the tables of the jobs and tuned methods in ``spec``."""
    for name, table in tables(results, spec["jobs"], spec["methods"]).items():
        files.atomic_write(results.table(name), table.to_csv(index=False, lineterminator="\n"))


def tables(results: Layout, jobs: Sequence[str], methods: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables by name: ``runs``, ``psnr``, ``curves``, ``tuning``, ``stability`` and ``multigrid``.

    Raises:
        CheckpointError: a record is missing or damaged.
    """
    evaluations = {job: files.read_json(results.job(job) / "evaluation.json") for job in jobs}
    records = [
        files.read_json(results.job(job) / f"seed-{seed}.json")
        for job, evaluation in evaluations.items()
        for seed in evaluation["seeds"]
    ]
    return {
        "runs": pd.DataFrame(map(_run_row, records)),
        "psnr": pd.DataFrame(row for record in records for row in _psnr_rows(record, evaluations)),
        "curves": pd.DataFrame(row for record in records for row in _curve_rows(record)),
        "tuning": pd.DataFrame(row for method in methods for row in _tuning_rows(results.tuned(method))),
        "stability": pd.DataFrame(row for job in jobs for row in _stability_rows(results.job(job), job)),
        "multigrid": pd.DataFrame(files.read_json(results.multigrid)["rows"]),
    }


def _of_run(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in COLUMNS_OF_A_RUN}


def _run_row(record: dict[str, Any]) -> dict[str, Any]:
    architecture = record["architecture"]
    return {
        **_of_run(record),
        "network": architecture["name"],
        **{key: architecture[key] for key in ("flux", "blocks", "filters", "kernel_size", "tied", "certified")},
        "channels": architecture.get("channels", 1),
        **{key: record[key] for key in ("parameters", "convolution_weights", "dataset")},
        **record["training"],
        "status": record["status"],
        "validation_psnr": record["metrics"]["validation_psnr"],
    }


def _psnr_rows(record: dict[str, Any], evaluations: dict[str, Any]) -> Iterator[dict[str, Any]]:
    evaluation = evaluations[record["run"].rpartition("/")[0]]
    index = evaluation["seeds"].index(record["seed"])
    for name, result in evaluation["test_sets"].items():
        family, _, noise = name.rpartition("-")
        yield {
            **_of_run(record),
            "status": record["status"],
            "test_set": family,
            "noise": float(noise),
            "signals": result["signals"],
            "noisy_psnr": result["noisy_psnr"],
            "psnr": result["psnr"][index],
        }


def _curve_rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for epoch, value in enumerate(record["metrics"]["validation_psnr_by_epoch"], start=1):
        yield {**_of_run(record), "epoch": epoch, "validation_psnr": value}


def _tuning_rows(path: Path) -> Iterator[dict[str, Any]]:
    result = files.read_json(path)
    for trial in result["trials"]:
        for run in trial["runs"]:
            yield {
                "method": result["method"],
                "learning_rate": trial["learning_rate"],
                "chosen": trial["learning_rate"] == result["learning_rate"],
                "noisy_psnr": result["noisy_psnr"],
                **run,
            }


def _stability_rows(directory: Path, job: str) -> Iterator[dict[str, Any]]:
    experiment, method, size = job.split("/")
    for entry in files.read_json(directory / "stability.json")["networks"]:
        margins, dense = entry["step_margins"], entry["dense_step_margins"]
        yield {
            "run": f"{job}/seed-{entry['seed']}",
            "experiment": experiment,
            "method": method,
            "size": size,
            "seed": entry["seed"],
            "certified": entry["certified"],
            "failed_conditions": "; ".join(entry["failed_conditions"]),
            **{key: entry[key] for key in ("euclidean_bound", "lipschitz_bound")},
            "least_step_margin": None if None in margins else min(margins),
            "least_dense_step_margin": None if None in dense else min(dense),
            **{key: entry[key] for key in ("largest_amplification_found", "counterexample")},
            **{f"{kind}_fluxes": entry["learned_fluxes"].get(kind, 0) for kind in KINDS},
        }
