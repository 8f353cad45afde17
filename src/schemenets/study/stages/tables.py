"""Gather all records into tidy tables, one row per observation, each with the run it comes from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from schemenets import files
from schemenets.stability.guarantees import GUARANTEES
from schemenets.study.layout import Layout
from schemenets.study.stages._solver_tables import solver_tables
from schemenets.study.statistics import over_power

# what tables are made from, in the specification of this stage
WRITTEN = ("jobs", "methods", "attacked", "grown", "solver_jobs", "solver_methods")
KINDS = ("monotone", "nonmonotone", "undecided")
FOUND = ("largest_amplification_found", "largest_expansion_found")
GROWTH = [
    *("kind", "run", "method", "start", "network", "flux", "tied", "certified", "step", "seed", "n"),
    *("amplification", "bound", "overflow"),
]
COLUMNS_OF_A_RUN = ["run", "experiment", "method", "size", "seed"]
COLUMNS = {  # of tables that have no row in a tier without implicit networks
    "fixed_points": [
        *COLUMNS_OF_A_RUN,
        *("certified", "rate", "observed_rate", "limit", "signals", "signals_converged", "gradient_difference"),
        *("tolerance", "iterations", "allowed_iterations"),
    ],
    "fixed_point_costs": [*COLUMNS_OF_A_RUN, "iterations", "gradients", "parameters", "saved_bytes", "seconds"],
}
MEASURED_BY_ATTACKS = ["psnr_attacked", "psnr_random", "psnr_guaranteed", "lipschitz_found"]
COLUMNS_OF_AN_ATTACK = [
    *COLUMNS_OF_A_RUN,
    *("status", "signals", "lipschitz_bound", "perturbation", "noisy_psnr", *MEASURED_BY_ATTACKS),
]
COLUMNS_OF_SCHEMES = (
    *("test_set", "noise", "time", "signals", "scheme", "steps", "step_size", "reached"),
    *("psnr", "relative_error"),
)


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write the tables of the jobs, tuned methods and attacked jobs in ``spec``."""
    for name, table in tables(results, *(spec[key] for key in WRITTEN)).items():
        files.atomic_write(results.table(name), table.to_csv(index=False, lineterminator="\n"))


def tables(
    results: Layout,
    jobs: Sequence[str],
    methods: Sequence[str],
    attacked: Sequence[str],
    grown: Sequence[str],
    solver_jobs: Sequence[str],
    solver_methods: Sequence[str],
) -> dict[str, pd.DataFrame]:
    """The tables by name, those in :data:`schemenets.study.summaries.TABLES`.

    Raises:
        CheckpointError: a record is missing or damaged.
    """
    evaluations = {job: files.read_json(results.job(job) / "evaluation.json") for job in jobs}
    records = [
        files.read_json(results.job(job) / f"seed-{seed}.json")
        for job, evaluation in evaluations.items()
        for seed in evaluation["seeds"]
    ]
    attacks = {job: files.read_json(results.job(job) / "robustness.json") for job in attacked}
    made = {
        "runs": pd.DataFrame(map(_run_row, records)),
        "psnr": pd.DataFrame(row for record in records for row in _psnr_rows(record, evaluations)),
        "curves": pd.DataFrame(row for record in records for row in _curve_rows(record)),
        "tuning": pd.DataFrame(row for method in methods for row in _tuning_rows(results.tuned(method))),
        "stability": pd.DataFrame(row for job in jobs for row in _stability_rows(results.job(job), job)),
        "growth": pd.DataFrame(
            (row for name in grown for row in _growth_rows(files.read_json(results.growth(name)))), columns=GROWTH
        ),
        "robustness": pd.DataFrame(
            (row for record in records for row in _attack_rows(record, attacks)), columns=COLUMNS_OF_AN_ATTACK
        ),
        **solver_tables(results, solver_jobs, solver_methods),
        **_fixed_points(files.read_json(results.fixed_points)),
        "schemes": pd.DataFrame(files.read_json(results.schemes)["rows"], columns=COLUMNS_OF_SCHEMES),
    }
    return made | {"guarantees": pd.DataFrame(_guarantee_rows(made))}


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
            **{key: result[key][index] for key in ("relative_error", "held_back")},
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
    content = files.read_json(directory / "stability.json")
    for entry in content["networks"]:
        margins, dense = entry["step_margins"], entry["dense_step_margins"]
        contradictions, repeated = entry["contradictions"], entry["repeated"]
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
            **{key: entry[key] for key in (*FOUND, "overflow", "counterexample", "shift")},
            "contradictions": None if contradictions is None else len(contradictions),
            "repetitions": None if repeated is None else content["repetitions"][-1],
            "excess": None if repeated is None else excess(repeated, content["repetitions"], entry["euclidean_bound"]),
            **{f"{kind}_fluxes": entry["learned_fluxes"].get(kind, 0) for kind in KINDS},
        }


def excess(factors: Sequence[float | None], numbers: Sequence[int], bound: float | None) -> float:
    """The largest of ‖u_n‖ / ‖u_0‖ over cⁿ, for a bound c of one application; infinite after an overflow."""
    known = [math.nan if x is None else x for x in (*factors, bound)]
    return float(over_power(known[:-1], numbers, known[-1]).max())


def _growth_rows(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One row per network, quantity and number n of repetitions or blocks; after an overflow without a number."""
    for entry in content.get("repetition", ()):
        of_run = {"run": entry["run"], "method": entry["run"].split("/")[1], "seed": entry["seed"]}
        for kind, quantity in (("repetition", "amplification"), ("repeated_perturbation", "perturbation")):
            if entry[quantity] is not None:  # not every start is perturbed
                for n, value in zip(content["repetitions"], entry[quantity], strict=True):
                    yield {"kind": kind, **of_run, "start": entry["start"], **_grown(n, value)}
    for entry in content.get("followed", ()):
        of_run = {"run": entry["run"], "method": entry["run"].split("/")[1], "start": "test", "seed": entry["seed"]}
        for n, value, bound in zip(content["depths"], entry["amplification"], entry["bounds"], strict=True):
            yield {"kind": "trained_depth", **of_run, "bound": bound, **_grown(n, value)}
        for n, value in zip(content["depths"], entry["perturbation"], strict=True):
            yield {"kind": "trained_perturbation", **of_run, **_grown(n, value)}
    for entry in content.get("depth", ()):
        network = {key: entry[key] for key in ("flux", "tied", "certified", "step", "seed")}
        bounds = entry["bounds"] or [None] * len(content["depths"])
        for kind, quantity in (("depth", "amplification"), ("perturbation", "perturbation"), ("worst", "expansion")):
            # the worst perturbation is not searched for behind as many blocks
            for n, value, bound in zip(content["depths"], entry[quantity], bounds, strict=False):
                limit = {"bound": bound} if kind == "depth" else {}
                yield {"kind": kind, "network": entry["name"], **network, **limit, **_grown(n, value)}


def _grown(n: int, value: float | None) -> dict[str, Any]:
    return {"n": n, "amplification": value, "overflow": value is None}


def _fixed_points(result: dict[str, Any]) -> dict[str, pd.DataFrame]:
    rows: dict[str, list[dict[str, Any]]] = {
        "fixed_points": [entry | step for entry in result["networks"] for step in entry["steps"]],
        "fixed_point_costs": result["costs"],
    }
    return {
        name: pd.DataFrame([row | _parts(row["run"]) for row in rows[name]], columns=columns)
        for name, columns in COLUMNS.items()
    }


def _parts(run: str) -> dict[str, Any]:
    """The columns that the name of a run tells."""
    experiment, method, size, seed = run.split("/")
    return {"experiment": experiment, "method": method, "size": size, "seed": int(seed.removeprefix("seed-"))}


def _attack_rows(record: dict[str, Any], attacks: dict[str, Any]) -> Iterator[dict[str, Any]]:
    robustness = attacks.get(record["run"].rpartition("/")[0])
    if robustness is None:
        return
    index = robustness["seeds"].index(record["seed"])
    for entry in robustness["sizes"]:
        yield {
            **_of_run(record),
            "status": record["status"],
            "signals": robustness["signals"],
            "lipschitz_bound": robustness["lipschitz_bound"][index],
            "perturbation": float(entry["size"]),
            "noisy_psnr": entry["noisy_psnr"],
            **{key: entry[key][index] for key in MEASURED_BY_ATTACKS},
        }


def _guarantee_rows(made: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Guarantees in words, and what is left of them in networks trained freely and in those certified by construction.

    ``fulfilling`` counts the networks that meet every condition of their certificate, ``untied_within`` and
    ``tied_within`` those that meet the conditions on their single blocks.
    """
    described = made["runs"][["run", "network", "certified", "tied"]].rename(columns={"certified": "constrained"})
    measured = made["stability"].merge(described, on="run")
    growth = _growth(made["growth"]).merge(described, on="run")
    for scheme, words in GUARANTEES.items():
        row = {"scheme": scheme, **words._asdict()}
        for constrained, prefix in ((False, ""), (True, "certified_")):
            own = measured[(measured["network"] == scheme) & (measured["constrained"] == constrained)]
            of_blocks = own["failed_conditions"].astype(str).str.contains("blocks.", regex=False)
            within = ~of_blocks & own["least_step_margin"].notna()
            tied = own["tied"].astype(bool)
            counts = {
                **{"networks": len(own), "fulfilling": int(own["certified"].sum())},
                **{"untied": int((~tied).sum()), "untied_within": int((within & ~tied).sum())},
                **{"tied": int(tied.sum()), "tied_within": int((within & tied).sum())},
            }
            row |= {f"{prefix}{key}": value for key, value in counts.items()}
            row |= _worst(own, f"{prefix}amplification", "largest_amplification_found")
            grown = growth[(growth["network"] == scheme) & (growth["constrained"] == constrained)]
            row |= _worst(grown, f"{prefix}growth", "amplification", "kind", "n")
        yield row


def _growth(table: pd.DataFrame) -> pd.DataFrame:
    """What is known of trained networks that are applied again and again; infinite after an overflow."""
    amplification = table["amplification"].astype(float).mask(table["overflow"].astype(bool), math.inf)
    grown = table.assign(amplification=amplification)[["run", "kind", "n", "amplification"]]
    return grown[grown["kind"] == "repetition"].astype({"run": str})


def _worst(table: pd.DataFrame, name: str, column: str, *more: str) -> dict[str, Any]:
    """The largest value of a column with its run, and what else its row says; None for all of them without rows."""
    (row,) = table.sort_values(column, ascending=False, kind="stable").head(1).to_dict("records") or [
        dict.fromkeys(table.columns)
    ]
    return {name: row[column], **{f"{name}_{key}": row[key] for key in ("run", *more)}}
