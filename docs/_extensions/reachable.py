"""Pages that keyboards and screen readers can use, and whose links lead somewhere: what theme and Sphinx leave out."""

import re
from typing import Any

from sphinx.application import Sphinx

PARTS = ("body", "furo_navigation_tree")  # of a page, in the context of its template
WITH_HEADINGS = re.compile(r'<p class="caption" role="heading">')
CODE = re.compile(r"<pre>")
SOURCE = "_modules/"  # pages with the code of modules
BACK = re.compile(r'(<a class="viewcode-back" href="[^"#]*#)([^"]+)(")')


def complete(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Give captions of the navigation a level, let code be scrolled by keyboard, correct links from code to the API."""
    for part in PARTS:
        if part in context:
            text = WITH_HEADINGS.sub('<p class="caption" role="heading" aria-level="2">', context[part])
            context[part] = CODE.sub('<pre tabindex="0">', text)
    if page.startswith(SOURCE):
        module, objects = page.removeprefix(SOURCE).replace("/", "."), app.env.get_domain("py").objects

        def corrected(link: re.Match[str]) -> str:
            """Sphinx takes all names of a module for names of the package that one of them is exported by."""
            start, target, end = link.groups()
            package = next((each for each in _parents(module) if target.startswith(f"{each}.")), module)
            own = f"{module}.{target.removeprefix(f'{package}.')}"
            return f"{start}{own if target not in objects and own in objects else target}{end}"

        context["body"] = BACK.sub(corrected, context["body"])


def _parents(module: str) -> list[str]:
    """A module and the packages that it is in, innermost first."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", complete, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
