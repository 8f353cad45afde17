"""The report: one page that holds everything and needs nothing, made from tables, verdicts, figures and records."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from schemenets import files
from schemenets.study import figures, summaries, wording
from schemenets.study.layout import Layout
from schemenets.study.report import content, origin, solver_speed

BENCHMARKED = Layout(Path("results"))
LARGEST_SVG = 150_000  # bytes; a larger drawing is shown as PNG


def benchmarks() -> list[Path]:
    """The tables of the benchmarks that have been run. They are the project's, not those of one run of the study."""
    return sorted(BENCHMARKED.table("benchmark").parent.glob("*benchmark*.csv"))


def templates_sha256() -> str:
    """Hash of the templates, which are no code that a fingerprint covers."""
    found = sorted((Path(__file__).parent / "templates").iterdir())
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


def render(results: Layout, spec: Mapping[str, Any]) -> str:
    """The report as HTML.

    Args:
        results: with tables, verdicts, figures and records.
        spec: ``tier``, the registered ``experiments``, and the ``jobs`` by stage whose records tell their provenance.

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
    tables = summaries.read(results)
    judged = files.read_json(results.claims)
    for claim in judged["claims"]:
        claim["table"], claim["shown_effect"] = content.comparisons(claim), content.effect(claim)
        claim["shown_evidence"] = content.evidence(claim)
    return environment.get_template("report.html.j2").render(
        tier=spec["tier"],
        experiments={name: spec["experiments"][name]["title"] for name in tables["runs"]["experiment"].unique()},
        runs=tables["runs"],
        judged=judged,
        sensitivity=content.sensitivity(results),
        figures=[_figure(results, name, module, tables) for name, module in figures.modules().items()],
        methods=content.methods(tables),
        means=content.means(tables),
        stability=content.stability(tables),
        robustness=content.robustness(tables),
        guarantees=content.guarantees(tables),
        guarantees_measured=content.guarantees_measured(tables),
        remedies=[content.remedies(tables), content.remedies_of_random_networks(tables)],
        solvers=[
            content.problems(tables),
            content.solvers(tables),
            content.solver_certificates(tables),
            content.solver_fixed_points(tables),
            content.schemes_as_solvers(tables),
            content.direct_solvers(tables),
            content.schemes_by_tau(tables),
        ],
        speed=content.speed(BENCHMARKED),
        gpu_speed=content.gpu_speed(BENCHMARKED),
        solver_speed=solver_speed.shown(BENCHMARKED),
        limits=content.limits(tables, judged),
        origin=origin.gather(results, spec["jobs"]),
    )


def _figure(results: Layout, name: str, module: ModuleType, tables: summaries.Tables) -> dict[str, Any]:
    svg = results.figure(name, "svg").read_bytes()
    kind, data = ("svg+xml", svg) if len(svg) <= LARGEST_SVG else ("png", results.figure(name, "png").read_bytes())
    return {
        "name": name,
        "title": module.TITLE,
        "caption": module.CAPTION,
        "findings": module.findings(tables),
        "sources": module.SOURCES,
        "image": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
    }
