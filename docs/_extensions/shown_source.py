"""``literalinclude`` whose caption is the path of the file, with a link to all of it, highlighted, at that place."""

import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.directives.code import LiteralInclude
from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).parents[2]
SHOWN = re.compile(r"^```\{literalinclude\} (\S+)$", re.MULTILINE)


def page(path: Path) -> str:
    """Name of the page with the source of a file of the repository."""
    return f"source/{path.relative_to(ROOT).with_suffix('').as_posix()}"


def first_line(path: Path, name: str) -> int:
    """Line at which the object of this name starts in a module."""
    return ModuleAnalyzer.for_file(str(path), path.stem).find_tags()[name][1]


class ShownSource(LiteralInclude):
    def run(self) -> list[nodes.Node]:
        path = Path(self.env.relfn2path(self.arguments[0])[1]).resolve()
        self.options["caption"] = text = path.relative_to(ROOT).as_posix()
        found = super().run()
        uri = self.env.app.builder.get_relative_uri(self.env.docname, page(path))
        if name := self.options.get("pyobject"):
            text += f" · {name}"
            uri += f"#line-{first_line(path, name)}"
        for caption in found[0].findall(nodes.caption):  # none where the file or the object is missing
            caption.clear()
            caption += nodes.reference("", text, refuri=uri, internal=True)
        return found


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """A page with the highlighted source of every file that is shown somewhere."""
    texts = {path: path.read_text(encoding="utf-8") for path in Path(app.srcdir).rglob("*.md")}
    shown = {(path.parent / name).resolve() for path, text in texts.items() for name in SHOWN.findall(text)}
    for path in sorted(shown):
        code = path.read_text(encoding="utf-8")
        body = app.builder.highlighter.highlight_block(code, "python", linenos="inline", linespans="line")
        title = path.relative_to(ROOT).as_posix()
        yield page(path), {"title": title, "body": f"<h1>{title}</h1>{body}"}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("literalinclude", ShownSource, override=True)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
