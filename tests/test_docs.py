"""The documentation: its examples run and print what they say, nothing registered is missing, what it shows exists."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import yaml

from schemenets import fluxes, networks, registry
from schemenets.study import stages

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
TEXTS = {"README.md": (ROOT / "README.md").read_text(encoding="utf-8"), **dict(sorted(PAGES.items()))}
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^```\{literalinclude\} (\S+)\n(?::pyobject: (\S+)\n)?", re.MULTILINE)


@pytest.mark.parametrize("page", [name for name, text in TEXTS.items() if EXAMPLE.search(text)])
def test_examples_print_what_they_say(page, capsys, monkeypatch):
    """The blocks of a page share their names; a comment after print is its output, with a remark after a colon."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    names = {}
    for example in EXAMPLE.findall(TEXTS[page]):
        exec(compile(example, page, "exec"), names)
        output, said = capsys.readouterr().out.splitlines(), PRINTED.findall(example)
        assert len(output) == len(said)
        for line, comment in zip(output, said, strict=True):
            assert comment == line or comment.startswith(f"{line}: ")


@pytest.mark.parametrize("page", PAGES)
def test_directives_are_no_text(page):
    """A backtick in the line that opens a block makes ordinary text of it, and a block of what follows."""
    assert not re.search(r"^```.*`", PAGES[page], re.MULTILINE)


@pytest.mark.parametrize("name", networks.available())
def test_every_network_has_a_page_with_its_code_and_an_example(name):
    page = PAGES[f"docs/networks/{name}.md"]
    assert f"src/schemenets/networks/{name}.py\n" in page
    assert EXAMPLE.search(page)
    assert f"networks/{name}\n" in PAGES["docs/index.md"]


@pytest.mark.parametrize("name", registry.names("schemenets.schemes"))
def test_every_scheme_is_shown_on_the_page_of_a_network(name):
    assert any(f"src/schemenets/schemes/{name}.py\n" in page for page in PAGES.values())


@pytest.mark.parametrize("name", fluxes.available())
def test_every_flux_has_its_formula_in_the_table(name):
    assert f"\n| `{name}` | $" in PAGES["docs/fluxes.md"]


def test_every_module_is_in_the_api():
    documented = [
        name for page in PAGES.values() for names in re.findall(r"\{modules\} (.*)", page) for name in names.split()
    ]
    assert sorted(documented) == [f"schemenets.{name}" for name in registry.names("schemenets")]


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if INCLUDE.search(text)])
def test_what_is_shown_exists(page):
    for file, name in INCLUDE.findall(PAGES[page]):
        tree = ast.parse(((ROOT / page).parent / file).read_text(encoding="utf-8"))
        assert not name or name in [getattr(node, "name", None) for node in tree.body], f"{name} in {file}"


def test_experiments_and_the_claims_that_they_decide_are_those_of_the_configuration():
    config, claims = (yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("config", "claims"))
    rows = [line.split(" | ") for line in PAGES["docs/study.md"].splitlines() if line.startswith("| E")]
    experiments = {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in rows}
    assert set.union(*experiments.values()) == {*config["experiments"], "map", "solvers"}
    compared = {}
    for claim in claims["claims"]:
        primary = [entry["experiment"] for entry in claim.get("comparisons", ()) if entry["role"] == "primary"]
        compared[claim["id"]] = {*primary, *["solvers"] * bool(claim.keys() & {"ratios", "budgets"})}
    said = [(row[0], name) for row in rows for name in re.findall(r"\(?[CN]\d\w?", row[3])]
    without = {name for name, where in compared.items() if not where}  # comparisons
    assert {name for _, name in said} == {f"({name}" if name in without else name for name in compared}
    for name in set(compared) - without:
        own = [experiments[row] for row, other in said if other == name]
        assert all(names & compared[name] for names in own)
        assert compared[name] <= set.union(*own)


def test_jobs_of_the_smoke_tier_that_are_named_exist(monkeypatch):
    monkeypatch.chdir(ROOT)
    from schemenets.study.config import Study

    smoke, whole = Study.load(tier="smoke"), "\n".join(TEXTS.values())
    named = re.findall(r"schemenets (\w+) (\S+) --tier smoke", whole)
    named += [("train", job) for job in re.findall(r"results/smoke/runs/(\S+)/weights", whole)]
    assert len(named) >= 6
    for stage, job in named:
        assert job in smoke.specs(stage), (stage, job)


def test_every_tier_is_in_the_table_with_its_numbers_of_seeds(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    monkeypatch.chdir(ROOT)
    import tables

    from schemenets.study.config import Study

    rows = [line.split(" | ") for line in tables.tier_table(ROOT).splitlines()[2:]]
    tiers = yaml.safe_load((ROOT / "config/config.yaml").read_text())["tiers"]
    assert [re.findall("`(.*?)`", row[0])[0] for row in rows] == list(tiers)
    study = next(row for row in rows if "(default)" in row[0])
    assert {int(seeds) for seeds in study[2].split(", ")} == {len(seeds) for seeds in Study.load().trainings.values()}


@pytest.fixture
def pictures(monkeypatch):
    """The extension that draws the stages."""
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    pytest.importorskip("sphinx")
    import stage_graph

    return stage_graph


@pytest.fixture
def graph(pictures, monkeypatch):
    from schemenets.study.config import Study

    monkeypatch.chdir(ROOT)
    return pictures.inputs(Study.load(tier=pictures.TIER))


def test_the_picture_of_the_stages_has_a_box_for_each_and_a_way_for_all_that_they_read(pictures, graph):
    read, _ = graph
    shown = pictures.reduced(read)
    assert set(shown) == set(stages.available())
    assert all(pictures.ancestors(shown, stage) == pictures.ancestors(read, stage) for stage in read)
    svg = pictures.Drawing(shown).svg("title", pictures.described(shown))
    assert all(f">{stage}</text>" in svg for stage in read)
    assert svg.count("<polygon") == sum(map(len, shown.values()))
    assert "signals" in re.search("<desc.*?</desc>", svg)[0]


def test_no_arrow_of_the_picture_runs_through_a_box(pictures, graph):
    drawing = pictures.Drawing(pictures.reduced(graph[0]))
    for way in drawing.ways:
        for place, after in pairwise(way[1:]):
            passed = [box for box in drawing.boxes if drawing.column[box] == drawing.column[place]]
            assert all(abs(drawing.y[box] - drawing.y[place]) > pictures.HALF for box in passed), (way, after)


def test_every_stage_is_in_the_table_with_what_it_does(pictures, graph):
    table = pictures.stage_table(*graph)
    rows = {stage: [line for line in table.splitlines() if f"`{stage} <" in line] for stage in stages.available()}
    assert all(stages.description(stage) in row for stage, (row,) in rows.items())
    assert "all other stages" in rows["manifest"][0]


@pytest.mark.slow
def test_everything_is_added_as_shown(tmp_path):
    """All files of the page, put into a copy of the project: from the signals to the report and its audit."""
    for name in ("Snakefile", "config", "workflow", "src"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "profiles").symlink_to("workflow/profiles")
    for name, text in FILE.findall(PAGES["docs/extending.md"]):
        path = tmp_path / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(before + text, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PATH": path, "SCHEMENETS_KERNEL": "fused"}

    def successful(*command):
        found = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr

    successful("snakemake", "--cores", "2", "--configfile", "mine.yaml")
    successful("schemenets", "audit", "results/mine")
    results = tmp_path / "results/mine"
    job = results / "runs/sawtooth/heavy_ball-huber/blocks-4"
    records = {name: json.loads((job / f"{name}.json").read_text()) for name in ("record", "stability")}
    assert records["record"]["provenance"]["kernel"] == "fused"
    assert [network["theorem"] for network in records["stability"]["networks"]] == [None, None]
    tables = {name: pd.read_csv(results / f"tables/{name}.csv") for name in ("runs", "filters")}
    assert set(tables["filters"]["method"]) == {"symmetric-perona_malik"}  # of symmetric networks
    assert (tables["filters"]["mean_absolute"] > 0).all()
    claims = {claim["id"]: claim for claim in json.loads((results / "claims.json").read_text())["claims"]}
    assert claims["M1"]["verdict"] == "inconclusive"  # with two seeds
    report = (results / "report.html").read_text(encoding="utf-8")
    for shown in ("Momentum helps", "The mean absolute value of the filters lies between", "heavy_ball"):
        assert shown in report
