"""Write what pages hold between comments: code of this repository, tables made from code and results, pictures.

    python docs/refresh.py           write what is out of date
    python docs/refresh.py --all     also draw the plot of fluxes, and run the tutorial (a minute)

In a page, the first comment says what stands up to the second one:

    <!-- included: src/schemenets/schemes/fsi.py::step -->  functions, classes, methods (a,b); without a name the file
    <!-- generated: flux_table -->                          a table of ``_parts/tables.py``
    <!-- drawn: fsi.svg ... -->                             a picture in ``_static``, of the wiring described there
    <!-- end -->
"""

import argparse
import ast
import os
import re
import textwrap
from functools import partial
from pathlib import Path

from _parts import stage_graph, tables, tutorial_page, wiring

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BLOCK = re.compile(
    r"^(<!-- (included|generated|drawn): (\S+)\s(.*?)-->\n)(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL
)
ALT = {
    "stages.svg": "Which stages read results of which; the table below says the same",
    "fluxes.svg": "Plots of all fluxes",
}
MADE = {"stage_table": lambda: stage_graph.stage_table(*stage_graph.read_graph())}
MADE |= {name: partial(make, ROOT) for name, make in tables.MADE.items()}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".smk": "python"}


def pages() -> list[Path]:
    """All pages that are plain Markdown."""
    return sorted([ROOT / "README.md", *DOCS.glob("*.md"), *(DOCS / "networks").glob("*.md")])


def source(path: Path, name: str = "") -> str:
    """The lines of a function, class or method in a file; without a name the whole file.

    Raises:
        LookupError: the file has no such object.
    """
    text = path.read_text(encoding="utf-8")
    body, node = ast.parse(text).body if name else [], None
    for part in name.split(".") if name else ():
        found = [each for each in body if getattr(each, "name", None) == part]
        if not found:
            raise LookupError(f"{path}: has no {name}")
        node, body = found[0], getattr(found[0], "body", [])
    if node is None:
        return text
    start = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
    return textwrap.dedent("\n".join(text.splitlines()[start - 1 : node.end_lineno])) + "\n"


def included(page: Path, what: str) -> str:
    """Code, with a link to its file."""
    file, _, name = what.partition("::")
    link = f"[{file}]({Path(os.path.relpath(ROOT / file, page.parent)).as_posix()})"
    code = "\n\n".join(source(ROOT / file, each) for each in name.split(","))
    return f"```{LANGUAGES[Path(file).suffix]}\n{code}```\n\nFrom {link}\n"


def drawn(page: Path, file: str, description: str) -> str:
    """The image of a picture."""
    text = ALT.get(file) or wiring.words(description)
    return f"![{text}]({Path(os.path.relpath(DOCS / '_static' / file, page.parent)).as_posix()})\n"


def content(page: Path, kind: str, what: str, description: str) -> str:
    """What stands between two comments."""
    if kind == "included":
        return included(page, what)
    return MADE[what]() + "\n" if kind == "generated" else drawn(page, what, description)


def fresh() -> dict[Path, str]:
    """What the pages and pictures are to hold, but for plots and the output of the tutorial."""
    found = {DOCS / "_static/stages.svg": stage_graph.drawing()}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if page == tutorial_page.PAGE:
            text = tutorial_page.page(text)
        parts, end = [], 0
        for block in BLOCK.finditer(text):
            comment, kind, what, description = block.group(1, 2, 3, 4)
            parts += [text[end : block.start()], f"{comment}\n{content(page, kind, what, description)}\n<!-- end -->"]
            end = block.end()
            if kind == "drawn" and description.strip():
                found[DOCS / "_static" / what] = wiring.draw(description)
        found[page] = "".join([*parts, text[end:]])
    return found


def main() -> None:
    """Write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="also draw the plots and run the tutorial")
    if parser.parse_args().all:
        (DOCS / "_static/fluxes.svg").write_text(tables.flux_plot(), encoding="utf-8")
        tutorial_page.run()
    for path, text in fresh().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
