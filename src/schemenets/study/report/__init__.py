"""The report: one self-contained page made from tables, verdicts, figures and records."""

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from schemenets import files
from schemenets.study import figures, summaries, wording
from schemenets.study.layout import Layout
from schemenets.study.report import content, intervals, origin, solving, verdicts
from schemenets.study.summaries import Tables

Json = dict[str, Any]
# results that were made once, and are shown where a run has none of its own
MAP = Layout(Path("results/map"))
TUNING = Layout(Path("results/tuning"))
FIRST_PROTOCOL = Path("results/first_protocol/claims.json")
LARGEST_SVG = 150_000  # bytes; a larger drawing is shown as PNG
# tables by chapter, with their sources; a chapter shows the tables whose sources exist
TABLES: dict[str, dict[Callable[[Tables], Any], tuple[str, ...]]] = {
    "C3": {content.guarantees: ("guarantees",), content.guarantees_measured: ("guarantees",)},
    "C5a": {solving.problems: ("problems",), solving.schemes: ("solver_iterations",)},
    "C5b": {
        solving.networks: ("problems", "solver_runs", "solver_errors", "solver_iterations"),
        solving.longer: ("solver_runs", "solver_errors"),
    },
    "N1": {content.robustness: ("robustness", "psnr", "runs")},
    "ladder": {content.ladder: ("ladder",)},
    "classical": {content.classical: ("classical",)},
    "methods": {
        content.methods: ("runs",),
        content.quality: ("runs", "psnr"),
        content.training_length: ("runs", "psnr"),
        content.power: ("power",),
    },
}


def committed(with_map: bool, with_tuning: bool) -> dict[str, list[str]]:
    """Files outside of a run that its report shows, those that there are, by key.

    Args:
        with_map: whether the run has no map of its own.
        with_tuning: whether it takes rates that were tuned before.
    """
    shown = [MAP.table("map"), *(MAP.figure(name, suffix) for name in _of_the_map() for suffix in ("svg", "png"))]
    tuning = [TUNING.table("tuning")] if with_tuning else []
    found = {"map": shown if with_map else [], "tuning": tuning, "earlier": [FIRST_PROTOCOL]}
    return {key: [path.as_posix() for path in paths if path.is_file()] for key, paths in found.items()}


def _of_the_map() -> list[str]:
    return [name for name, module in figures.modules().items() if module.CHAPTER == "map"]


def templates_sha256() -> str:
    """Hash of the templates, which the fingerprint of the code does not cover."""
    found = sorted((Path(__file__).parent / "templates").iterdir())
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


def render(results: Layout, spec: Mapping[str, Any]) -> str:
    """The report as HTML.

    Args:
        results: with tables, figures, records and, unless ``spec`` denies it, verdicts.
        spec: ``tier``, whether it is ``exploratory`` and has ``claims``, the registered ``experiments``, files outside
            of the run (``committed``), and the ``jobs`` by stage whose records have provenance.

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
    environment.filters |= {name: getattr(wording, name) for name in ("label", "listed", "sentence", "short")}
    tables = summaries.read(results)
    of_the_map = _map_tables(tables, spec["committed"]["map"])
    shown = _figures(results, tables, of_the_map)
    judged = files.read_json(results.claims) if spec["claims"] else None
    experiments = tables["runs"]["experiment"].unique()
    return environment.get_template("report.html.j2").render(
        tier=spec["tier"],
        exploratory=spec["exploratory"],
        tuned_before=next(iter(spec["committed"]["tuning"]), None),
        experiments=content.experiments({name: spec["experiments"][name]["title"] for name in experiments}),
        runs=tables["runs"],
        record=content.record,
        judged=judged,
        answer=verdicts.answer(judged["claims"]) if judged else None,
        claims=_chapters(results, judged) if judged else [],
        earlier=_earlier(judged, spec["committed"]["earlier"]) if judged else None,
        map_by_flux=figures.map_by_flux(of_the_map),
        figures={chapter: [each for each in shown if each["chapter"] == chapter] for chapter in _all_chapters(judged)},
        tables={chapter: list(_tables(chapter, tables)) for chapter in {*TABLES, *_all_chapters(judged)}},
        made_before=_directories(spec["committed"]["map"] + spec["committed"]["tuning"]),
        limits=_limits(tables, spec["committed"]["tuning"]) if len(tables["runs"]) else None,
        origin=origin.gather(results, spec["jobs"]),
    )


def _directories(tables_and_figures: Sequence[str]) -> list[str]:
    """The directories of results that these files are from."""
    return list(dict.fromkeys(Path(path).parent.parent.as_posix() for path in tables_and_figures))


def _all_chapters(judged: Json | None) -> list[str]:
    return [*(claim["id"] for claim in (judged or {"claims": []})["claims"]), *figures.FURTHER]


def _chapters(results: Layout, judged: Json) -> list[Json]:
    thresholds = verdicts.sensitivity(results)
    return [
        claim
        | {
            "of_papers": verdicts.of_papers(claim),
            "drawn": intervals.stacked(claim),
            "drift": verdicts.drift(claim),
            "numbers": verdicts.numbers(claim),
            "forest": verdicts.forest(claim),
            "statistics": verdicts.statistics(claim),
            "evidence_table": verdicts.evidence(claim),
            "rule_table": verdicts.rule(claim, thresholds.get(claim["id"], "")),
        }
        for claim in judged["claims"]
    ]


def _earlier(judged: Json, paths: Sequence[str]) -> content.Table | None:
    return verdicts.earlier(judged["claims"], files.read_json(Path(paths[0]))) if paths else None


def _tables(chapter: str, tables: Tables) -> Iterator[content.Table]:
    for make, needed in TABLES.get(chapter, {}).items():
        if all(name in tables and len(tables[name]) for name in needed):
            made = make(tables)
            yield from made if isinstance(made, list) else [made]


def _limits(tables: Tables, tuned_before: Sequence[str]) -> Json:
    """Numbers for the section on limits."""
    runs, psnr, solving_runs = (tables[name] for name in ("runs", "psnr", "solver_runs"))
    methods = {*runs["method"], *solving_runs["method"]}
    tuning = pd.read_csv(tuned_before[0]) if tuned_before else tables["tuning"]
    edges = summaries.chosen_rates(tuning[tuning["method"].isin(methods)])
    values = {
        "noises": psnr["noise"],
        **{name: runs[name] for name in ("filters", "kernel_size", "channels", "epochs")},
        "solver_epochs": solving_runs["epochs"],
    }
    return {
        **{
            name: wording.listed(
                [f"{value:g}" if isinstance(value, float) else str(value) for value in sorted(column.unique())]
            )
            for name, column in values.items()
        },
        "seeds": sorted(runs.groupby(["experiment", "method", "size"])["seed"].nunique().unique()),
        "edges": [row.name for row in summaries.rows(edges) if row.at_edge],
        "diverged": _diverged(pd.concat([runs, solving_runs])),
    }


def _diverged(runs: pd.DataFrame) -> list[str]:
    """The jobs of which runs diverged, with their number."""
    jobs = Counter(run.rpartition("/")[0] for run in runs.loc[runs["status"] != "ok", "run"])
    return [f"{name} ({count})" for name, count in jobs.items()]


def _map_tables(tables: Tables, committed: Sequence[str]) -> Tables:
    """Those of the run, with the committed map if it has none of its own."""
    return {**tables, "map": pd.read_csv(MAP.table("map"))} if MAP.table("map").as_posix() in committed else tables


def _figures(results: Layout, tables: Tables, of_the_map: Tables) -> list[Json]:
    """The figures that have a message, in the order of the page."""
    found = []
    for name, module in figures.modules().items():
        if (headline := figures.headline(name, tables)) != wording.NOT_MEASURED:
            found.append(_figure(results, name, module, headline, ""))
        elif of_the_map is not tables and module.CHAPTER == "map":
            headline = figures.headline(name, of_the_map)
            found.append(_figure(MAP, name, module, headline, f"{MAP.root.as_posix()}/"))
    return found


def _figure(results: Layout, name: str, module: ModuleType, headline: str, root: str) -> Json:
    svg = results.figure(name, "svg").read_bytes()
    kind, data = ("svg+xml", svg) if len(svg) <= LARGEST_SVG else ("png", results.figure(name, "png").read_bytes())
    return {
        "name": name,
        "chapter": module.CHAPTER,
        "folded": getattr(module, "FOLDED", False),
        "title": module.TITLE,
        "headline": headline,
        "caption": module.CAPTION,
        "sources": [f"{root}{source}" for source in module.SOURCES],
        "image": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
    }
