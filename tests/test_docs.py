"""The documentation: its examples run and print what they say, nothing registered is missing, what it shows exists."""

import ast
import re
from pathlib import Path

import pytest

from schemenets import fluxes, networks, registry

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
TEXTS = {"README.md": (ROOT / "README.md").read_text(encoding="utf-8"), **dict(sorted(PAGES.items()))}
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
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
    library = [name for name in documented if not name.startswith("schemenets.study")]
    assert sorted(library) == [f"schemenets.{name}" for name in registry.names("schemenets") if name != "study"]
    parts = {name.split(".")[2] for name in documented if name not in library}
    assert parts == set(registry.names("schemenets.study"))


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if INCLUDE.search(text)])
def test_what_is_shown_exists(page):
    for file, name in INCLUDE.findall(PAGES[page]):
        tree = ast.parse(((ROOT / page).parent / file).read_text(encoding="utf-8"))
        assert not name or name in [getattr(node, "name", None) for node in tree.body], f"{name} in {file}"
