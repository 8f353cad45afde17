"""The report: one self-contained page made from tables, verdicts, figures and records."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from schemenets import files
from schemenets.study import figures, summaries, wording
from schemenets.study.layout import Layout
from schemenets.study.report import content, origin, solving, speed
from schemenets.study.summaries import Tables

BENCHMARKS = Path("results/tables")  # the project's, not those of one run of the study
LARGEST_SVG = 150_000  # bytes; a larger drawing is shown as PNG
# tables by section, with their sources; a section shows the tables whose sources exist
SECTIONS: dict[str, dict[Callable[[Tables], Any], tuple[str, ...]]] = {
    "verdicts": {content.power: ("power",)},
    "methods": {
        content.methods: ("runs", "tuning"),
        content.quality: ("runs", "psnr"),
        content.training_length: ("runs", "psnr"),
        content.classical: ("classical",),
    },
    "stability": {
        content.guarantees: ("guarantees",),
        content.guarantees_measured: ("guarantees",),
        content.ladder: ("ladder",),
        content.robustness: ("robustness", "psnr", "runs"),
    },
    "solvers": {
        solving.problems: ("problems",),
        solving.networks: ("problems", "solver_runs", "solver_errors", "solver_iterations"),
        solving.schemes: ("solver_iterations",),
    },
    "speed": {
        speed.targets: ("benchmark_targets",),
        speed.processor: ("benchmark",),
        speed.gpu: ("gpu_benchmark",),
        speed.solvers: ("solver_benchmark",),
    },
}


def benchmarks() -> list[Path]:
    """Tables of the benchmarks that have been run."""
    return sorted(BENCHMARKS.glob("*benchmark*.csv"))


def templates_sha256() -> str:
    """Hash of the templates, which the fingerprint of the code does not cover."""
    found = sorted((Path(__file__).parent / "templates").iterdir())
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


def render(results: Layout, spec: Mapping[str, Any]) -> str:
    """The report as HTML.

    Args:
        results: with tables, verdicts, figures and records.
        spec: ``tier``, the registered ``experiments``, and the ``jobs`` by stage whose records have provenance.

    Raises:
        CheckpointError: a record is missing or damaged.
    """
    environment = Environment(
        loader=PackageLoader("schemenets.study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(wording, name) for name in ("fixed", "label", "listed", "sentence", "short")}
    tables = summaries.read(results) | {Path(path).stem: pd.read_csv(path) for path in spec["benchmarks"]}
    judged = files.read_json(results.claims)
    thresholds = content.sensitivity(results)
    for claim in judged["claims"]:
        claim["table"], claim["secondary"] = content.comparisons(claim), content.secondary(claim)
        claim["shown_effect"], claim["shown_evidence"] = content.effect(claim), content.evidence(claim)
        claim["other_thresholds"] = thresholds.get(claim["id"])
    return environment.get_template("report.html.j2").render(
        tier=spec["tier"],
        experiments={name: spec["experiments"][name]["title"] for name in tables["runs"]["experiment"].unique()},
        runs=tables["runs"],
        record=content.record,
        judged=judged,
        figures=[_figure(results, name, module, tables) for name, module in figures.modules().items()],
        tables={section: list(_tables(section, tables)) for section in SECTIONS},
        limits=_limits(tables),
        origin=origin.gather(results, spec["jobs"]),
    )


def _tables(section: str, tables: Tables) -> Iterator[content.Table]:
    for make, needed in SECTIONS[section].items():
        if all(name in tables and len(tables[name]) for name in needed):
            made = make(tables)
            yield from made if isinstance(made, list) else [made]


def _limits(tables: Tables) -> dict[str, Any]:
    """Numbers for the section on limits."""
    runs, psnr, solving_runs = (tables[name] for name in ("runs", "psnr", "solver_runs"))
    values = {
        "noises": psnr["noise"],
        **{name: runs[name] for name in ("filters", "kernel_size", "channels", "dataset", "epochs")},
        "solver_epochs": solving_runs["epochs"],
    }
    return {
        **{
            name: wording.listed(
                [f"{value:g}" if isinstance(value, float) else str(value) for value in column.unique()]
            )
            for name, column in values.items()
        },
        "seeds": runs["seed"].nunique(),
        "edges": [row.name for row in summaries.rows(summaries.chosen_rates(tables["tuning"])) if row.at_edge],
        "diverged": [run for own in (runs, solving_runs) for run in own.loc[own["status"] != "ok", "run"]],
    }


def _figure(results: Layout, name: str, module: ModuleType, tables: Tables) -> dict[str, Any]:
    svg = results.figure(name, "svg").read_bytes()
    kind, data = ("svg+xml", svg) if len(svg) <= LARGEST_SVG else ("png", results.figure(name, "png").read_bytes())
    return {
        "name": name,
        "title": module.TITLE,
        "headline": figures.headline(name, tables),
        "caption": module.CAPTION,
        "sources": module.SOURCES,
        "image": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
    }
