"""Pages are plain Markdown that GitHub shows as well; this is what the site makes of it.

* A link to a file of this repository leads to a page with its highlighted source. If the text of the link is the name
  of an object in code, such as [`Flux`](../src/schemenets/fluxes/_base.py), it leads to the API of the object, or where
  there is none, to the line at which it starts. A name that the file does not have is a warning.
* ``<a id="name"></a>`` alone on a line is a target.
* Formulas can have backticks inside their dollars.
* The tables of contents are here, and not in the pages.
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

ROOT = Path(__file__).parents[2]
CONTENTS = {
    "Start": ["quick_start", "tutorial"],
    "How to": ["training", "extending", "cluster", "audit"],
    "Networks": [
        "networks/symmetric",
        "networks/du_fort_frankel",
        "networks/fsi",
        "networks/safeguarded_fsi",
        "networks/safeguarded_du_fort_frankel",
        "networks/implicit",
        "networks/multigrid_unet",
        "networks/learned_cycles",
        "networks/resnet",
        "networks/feedforward",
        "networks/symmetric_feedforward",
        "networks/unet",
    ],
    "Explanations": ["fluxes", "operators", "stability", "study", "history"],
    "Reference": ["api/index", "notation", "photographs", "bibliography"],
}
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\[\]]*\]\(([^):#\s]+)")
LANGUAGES = {".py": "python", ".smk": "python", ".yaml": "yaml", ".json": "json", ".md": "markdown"}
log = logging.getLogger(__name__)


def contents(srcdir: Path) -> str:
    """The tables of contents, hidden, for the sidebar; pages that are not listed follow those of their kind."""
    known = {"index", *(page for part in CONTENTS.values() for page in part)}
    paths = [*srcdir.glob("*.md"), *srcdir.glob("networks/*.md")]
    others = sorted({path.relative_to(srcdir).with_suffix("").as_posix() for path in paths} - known)
    own = {
        "Networks": [page for page in others if page.startswith("networks/")],
        "Explanations": [page for page in others if not page.startswith("networks/")],
    }
    parts = {name: [*part, *own.get(name, [])] for name, part in CONTENTS.items()}
    lines = (
        ["", "```{toctree}", ":hidden:", f":caption: {name}", "", *part, "```", ""] for name, part in parts.items()
    )
    return "".join("\n".join(each) for each in lines)


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Turn plain Markdown into that of MyST."""
    if not docname.startswith("api/"):
        parts = FENCED.split(content[0])
        for index in range(0, len(parts), 2):
            text = re.sub(r'^<a id="([\w-]+)"></a>$', r"(\1)=", parts[index], flags=re.MULTILINE)
            parts[index] = re.sub(r"\$`([^`]+)`\$", r"$\1$", text)
        content[0] = "".join(parts)
    if docname == "index":
        content[0] += contents(Path(app.srcdir))


def module_name(path: Path) -> str | None:
    """Name of the module in a file of the package."""
    inside = path.relative_to(ROOT)
    if inside.parts[:2] != ("src", "schemenets") or path.suffix != ".py":
        return None
    return ".".join(inside.with_suffix("").parts[1:]).removesuffix(".__init__")


def names(module: str, text: str) -> list[str]:
    """Full names that the API may have for an object of a module, as a text calls it; empty if there is none."""
    if module == text or module.endswith(f".{text}"):
        return [module]
    packages = [module.rsplit(".", parts)[0] for parts in range(module.count(".") + 1)]
    short = text
    for package in packages:
        last = package.rpartition(".")[2]
        short = min((text.removeprefix(f"{each}.") for each in (package, last)), key=len)
        if short != text:
            break
    value: Any = importlib.import_module(module)
    for part in short.split("."):
        if not hasattr(value, part) and part not in getattr(value, "__annotations__", ()):
            return []
        value = getattr(value, part, None)
    return [f"{package}.{short}" for package in packages]


def first_line(path: Path, name: str) -> int | None:
    """Line at which an object starts in a file of Python."""
    if path.suffix != ".py":
        return None
    found = ModuleAnalyzer.for_file(str(path), path.stem).find_tags().get(name)
    return found[1] if found else None


class RepositoryLinks(SphinxTransform):
    """Links to files of the repository become references, resolved when the API is known."""

    default_priority = 210

    def apply(self, **kwargs: object) -> None:
        for node in list(self.document.findall(addnodes.download_reference)):
            path = Path(self.env.relfn2path(node["reftarget"], self.env.docname)[1]).resolve()
            codes = list(node.findall(nodes.literal))
            text = node.astext() if codes and re.fullmatch(r"[\w.]+", node.astext()) else ""
            reference = addnodes.pending_xref(
                "", *node.children, refdomain="", reftype="repository", reftarget=str(path), refdoc=self.env.docname
            )
            reference["called"] = text if path.suffix == ".py" and not text.endswith(".py") else ""
            reference.source, reference.line = node.source, node.line
            node.replace_self(reference)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """The API of an object, else the source of a file."""
    if node.get("reftype") != "repository":
        return None
    path, called = Path(node["reftarget"]), node["called"]
    module, line = module_name(path), first_line(path, called)
    if called and module:
        found = names(module, called)
        for name in found:
            for known, entry in env.domains.python_domain.objects.items():
                if known == name:
                    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
                    return linked(node, f"{uri}#{entry.node_id}", name)
        if not found:
            log.warning("%s has no %s", path.relative_to(ROOT), called, location=node, type="ref")
    elif called and line is None:
        log.warning("%s has no %s", path.relative_to(ROOT), called, location=node, type="ref")
    uri = app.builder.get_relative_uri(node["refdoc"], page(path)) + (f"#line-{line}" if line else "")
    return linked(node, uri, path.relative_to(ROOT).as_posix())


def linked(node: addnodes.pending_xref, uri: str, title: str) -> nodes.reference:
    return nodes.reference(
        "", "", *(child.deepcopy() for child in node.children), refuri=uri, internal=True, reftitle=title
    )


def page(path: Path) -> str:
    """Name of the page with the source of a file."""
    return f"source/{path.relative_to(ROOT).as_posix()}"


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """A page with the highlighted source of every file that is linked somewhere."""
    srcdir = Path(app.srcdir)
    found = {
        (path.parent / name).resolve()
        for path in srcdir.rglob("*.md")
        for name in LINK.findall(path.read_text(encoding="utf-8"))
    }
    for path in sorted(found):
        if path.is_file() and not (path.suffix == ".md" and srcdir in path.parents):
            code, language = path.read_text(encoding="utf-8"), LANGUAGES.get(path.suffix, "text")
            body = app.builder.highlighter.highlight_block(code, language, linenos="inline", linespans="line")
            title = path.relative_to(ROOT).as_posix()
            yield page(path), {"title": title, "body": f"<h1>{title}</h1>{body}"}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(RepositoryLinks)
    app.connect("source-read", read)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
