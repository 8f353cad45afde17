"""The documentation is plain Markdown, and what it says is true: examples, links, included code, tables, pictures."""

import ast
import re
import shlex
import unicodedata
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from schemenets import fluxes, networks, registry
from schemenets.study import stages

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ALL = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
}
API = {name: text for name, text in ALL.items() if name.startswith("docs/api/")}  # is there on the site only
PAGES = {name: text for name, text in ALL.items() if name not in API}
TEXTS = {"README.md": (ROOT / "README.md").read_text(encoding="utf-8"), **PAGES}
TUTORIAL = "docs/tutorial.md"  # is made by a script
MADE = re.compile(r"^<!-- (?:included|generated|drawn): .*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^\*\*`(\S+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
FORMULA = re.compile(r"\$`([^`]*)`\$|`[^`\n]*`|\$([^$\n]*(?:\n[^$\n]+)?)\$")  # or code


def examples(text):
    """Blocks of Python that are neither included nor files to add."""
    return EXAMPLE.findall(FILE.sub("", MADE.sub("", text)))


def prose(text):
    """A page without blocks of code."""
    return FENCED.sub("", text)


def formulas(text):
    """The formulas in lines, without or with backticks, between the characters before and after them."""
    text = prose(text)
    for found in FORMULA.finditer(text):
        if not found[0].startswith("`"):
            start, end = found.span()
            yield text[max(0, start - 1) : start], found[2], found[1], text[end : end + 1]


def anchors(text):
    """Where links can lead in a page: its headings, as GitHub names them, and the targets in it."""
    found = {}
    for heading in re.findall(r"^#{1,6} (.*?)\s*$", prose(text), re.MULTILINE):
        shown = re.sub(r"[`*$]", "", LINK.sub(r"\1", heading)).lower()
        name = "".join(c for c in shown if c in " -_" or unicodedata.category(c)[0] in "LNM").replace(" ", "-")
        found[name] = found.get(name, 0) + 1
    numbered = {f"{name}-{number}" for name, count in found.items() for number in range(1, count)}
    return {*found, *numbered, *re.findall(r'<a id="([\w-]+)"></a>', text)}


def links(text):
    """Text and target of every link to another place in the repository."""
    found = LINK.findall(FORMULA.sub(lambda at: at[0] if at[0][:2] != "$`" and at[0][0] == "`" else "", prose(text)))
    return [(text, unquote(target)) for text, target in found if not re.match(r"\w+:", target)]


def names_of(node):
    """The names that a statement defines."""
    targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
    return {getattr(node, "name", None), *(target.id for target in targets if isinstance(target, ast.Name))}


def defines(path, name):
    """Whether a module is called like this, or defines it: ``function``, ``Class.method``, ``package.function``."""
    module = list(path.relative_to(ROOT).with_suffix("").parts)
    module = module[: -1 if path.stem == "__init__" else None]
    tree, parts = ast.parse(path.read_text(encoding="utf-8")), name.split(".")
    packages = [module[:end] for end in range(len(module) + 1)]
    for split in range(len(parts) + 1):
        before, body = parts[:split], tree.body
        if not any(package[len(package) - split :] == before for package in packages):
            continue
        for part in parts[split:]:
            found = [node for node in body if part in names_of(node)]
            body = getattr(found[0], "body", []) if found else None
            if body is None:
                break
        else:
            return split < len(parts) or module[len(module) - split :] == before
    return False


@pytest.mark.parametrize("page", [name for name, text in TEXTS.items() if examples(text) and name != TUTORIAL])
def test_examples_print_what_they_say(page, capsys, monkeypatch):
    """The blocks of a page share their names; a comment after print is its output, with a remark after a colon."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    names = {}
    for example in examples(TEXTS[page]):
        exec(compile(example, page, "exec"), names)
        output, said = capsys.readouterr().out.splitlines(), PRINTED.findall(example)
        assert len(output) == len(said)
        for line, comment in zip(output, said, strict=True):
            assert comment == line or comment.startswith(f"{line}: ")


@pytest.mark.parametrize("page", TEXTS)
def test_commands_of_pages_are_understood(page, capsys):
    """Those of make by their targets and variables, those of schemenets by its parser."""
    from schemenets.study import cli

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    variables = {*re.findall(r"^(\w+) \?=", makefile, re.MULTILINE), *re.findall(r"\$\((ARGS|CHECKOUT)\)", makefile)}
    text = TEXTS[page].replace("\\\n", "")
    lines = re.findall(r"^(?:    )?((?:make|schemenets) .*)$", text, re.MULTILINE)
    for program, *words in (shlex.split(line, comments=True) for line in lines):
        if program == "schemenets" and words[0] != "filters":  # the stage that a page adds
            cli._parser().parse_args(words)
        elif program == "make":
            assert {word for word in words if "=" not in word} <= known
            assert {word.partition("=")[0] for word in words if "=" in word} <= variables


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_plain_markdown(page):
    """No directive, role, substitution or target of MyST, which GitHub would show as they are."""
    text = PAGES[page]
    assert not re.search(r"^ *(```|:::)\{", text, re.MULTILINE)
    words = FORMULA.sub("`", prose(text))
    assert not re.search(r"\{[\w:+-]+\}`|\{\{.*?\}\}|^\([\w-]+\)=$|^: ", words, re.MULTILINE)
    assert "[](" not in text
    assert all(re.match(r" *```(\w+\n|$)", line + "\n") for line in re.findall(r"^ *```.*$", text, re.MULTILINE))


@pytest.mark.parametrize("page", TEXTS)
def test_github_shows_all_formulas(page):
    """It reads Markdown first: what that would change needs backticks in the dollars."""
    changed = re.compile(r"\\[^A-Za-z]|\*|<|~|[^\w\s]_\S|\]\(")
    for before, without, _, after in formulas(TEXTS[page]):
        assert without is None or not changed.search(without), without
        assert not re.match(r"[\w-]", before), (before, without)
        assert not re.match(r"[\w-]", after), (without, after)
        assert not re.match(r"\s|.*\s$", without or "x"), without
    for row in re.findall(r"^\|.*\|$", prose(TEXTS[page]), re.MULTILINE):
        assert all("|" not in (without or ticked) for _, without, ticked, _ in formulas(row)), row
    assert not re.search(r"\\operatorname|\$\$", TEXTS[page])


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    """To a file of the repository, to a heading or target of a page, to an object in the file that is linked."""
    for text, target in links(TEXTS[page]):
        file, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / file).resolve() if file else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target
        assert page not in PAGES or path.is_file(), f"{target}: the site has no page of a directory"
        assert DOCS / "api" not in path.parents, f"{target}: it is there on the site only"
        if path.suffix == ".py" and (name := re.fullmatch(r"`([\w.]+)`", text)) and not name[1].endswith(".py"):
            assert defines(path, name[1]), f"{name[1]} in {target}"


def test_what_pages_hold_between_comments_is_what_the_code_says(refresh, monkeypatch):
    monkeypatch.chdir(ROOT)
    fresh = refresh.fresh()
    old = [path.relative_to(ROOT).as_posix() for path, text in fresh.items() if path.read_text("utf-8") != text]
    assert not old, f"out of date: {', '.join(old)}; write them by: python docs/refresh.py"


@pytest.mark.parametrize("page", PAGES)
def test_pictures_exist_and_are_small(page):
    for text, target in re.findall(r"!\[(.*)\]\((.*)\)", PAGES[page]):
        picture = (ROOT / page).parent / target
        assert picture.stat().st_size < 100_000
        assert "<style>" in picture.read_text(encoding="utf-8")
        assert text


def test_the_plot_of_fluxes_shows_all_of_them():
    plot = (DOCS / "_static/fluxes.svg").read_text(encoding="utf-8")
    assert all(f">{name}</text>" in plot for name in fluxes.available())


def test_the_page_of_the_tutorial_shows_its_script_and_all_that_it_prints(refresh):
    parts = refresh.tutorial_page.SHOWN.findall(PAGES[TUTORIAL])
    shown = [text for kind, text in refresh.tutorial_page.cells() if kind in ("code", "commands")]
    assert [code for code, _ in parts] == shown
    assert all(output for code, output in parts if "print(" in code)


@pytest.mark.slow
def test_the_tutorial_prints_what_its_page_says(refresh, monkeypatch):
    """Numbers up to what another machine's rounding changes in a training."""
    pytest.importorskip("numba")
    monkeypatch.setattr(Path, "write_text", lambda *arguments, **options: None)  # of the pictures
    number = r"\d+(?:\.\d+)?"
    printed = refresh.tutorial_page.outputs()
    for code, said in refresh.tutorial_page.SHOWN.findall(PAGES[TUTORIAL]):
        assert re.sub(number, "#", printed[code]) == re.sub(number, "#", said)
        for found, expected in zip(*(re.findall(number, text) for text in (printed[code], said)), strict=True):
            assert float(found) == pytest.approx(float(expected), rel=0.1, abs=0.05)


@pytest.mark.parametrize("name", networks.available())
def test_every_network_has_a_page_with_its_code_and_an_example(name):
    page = PAGES[f"docs/networks/{name}.md"]
    assert f"<!-- included: src/schemenets/networks/{name}.py::" in page
    assert examples(page)
    assert f"(networks/{name}.md)" in PAGES["docs/index.md"]


@pytest.mark.parametrize("name", registry.names("schemenets.schemes"))
def test_every_scheme_is_linked_on_the_page_of_a_network(name):
    assert any(f"src/schemenets/schemes/{name}.py)" in PAGES[page] for page in PAGES if "/networks/" in page)


@pytest.mark.parametrize("name", fluxes.available())
def test_every_flux_has_its_formula_in_the_table(name):
    assert re.search(rf"^\| `{name}` \| \$", PAGES["docs/fluxes.md"], re.MULTILINE)


def test_every_module_is_in_the_api():
    documented = [
        name for page in API.values() for names in re.findall(r"\{modules\} (.*)", page) for name in names.split()
    ]
    assert sorted(documented) == [f"schemenets.{name}" for name in registry.names("schemenets")]


def test_the_site_has_all_pages_in_its_contents(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    pytest.importorskip("sphinx")
    import plain_markdown

    listed = re.findall(r"^(?:\w+/)*\w+$", plain_markdown.contents(DOCS), re.MULTILINE)
    assert sorted(listed) == sorted(
        name.removeprefix("docs/").removesuffix(".md") for name in {*PAGES, "docs/api/index.md"} - {"docs/index.md"}
    )


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


def test_every_tier_is_in_the_table_with_its_numbers_of_seeds(refresh, monkeypatch):
    monkeypatch.chdir(ROOT)
    from schemenets.study.config import Study

    rows = [line.split(" | ") for line in refresh.tables.tier_table(ROOT).splitlines()[2:]]
    tiers = yaml.safe_load((ROOT / "config/config.yaml").read_text())["tiers"]
    assert [re.findall("`(.*?)`", row[0])[0] for row in rows] == list(tiers)
    study = next(row for row in rows if "(default)" in row[0])
    assert {int(seeds) for seeds in study[2].split(", ")} == {len(seeds) for seeds in Study.load().trainings.values()}


@pytest.fixture
def refresh(monkeypatch):
    """The script that writes what pages hold between comments."""
    monkeypatch.syspath_prepend(DOCS)
    import refresh

    return refresh


@pytest.fixture
def pictures(refresh):
    """The part that draws the stages."""
    return refresh.stage_graph


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
    rows = {
        stage: [line for line in table.splitlines() if line.startswith(f"| [`{stage}`]")]
        for stage in stages.available()
    }
    assert all(stages.description(stage) in row for stage, (row,) in rows.items())
    assert "all other stages" in rows["manifest"][0]


def test_numbers_that_explain_surprises_are_those_of_the_tables_beside_them():
    sections = PAGES["docs/surprises.md"].split("\n## ")[1:]
    assert len(sections) == 7
    for section in sections:
        lines = section.splitlines()
        measured = set(re.findall(r"\d\d\.\d\d", " ".join(line for line in lines if line.startswith("|"))))
        told = re.findall(r"\d\d\.\d\d", " ".join(line for line in lines if not line.startswith("|")))
        assert set(told) <= measured, section.partition("\n")[0]
