"""A headless Chromium that opens local pages and lets no request leave."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("playwright", "axe_playwright_python")
NO_HOST = "--host-resolver-rules=MAP * ~NOTFOUND"  # for what no handler sees, such as names resolved in advance
HEIGHT = 900


def missing() -> str:
    """Why no page can be opened here; empty if one can."""
    if lacking := [name for name in PACKAGES if find_spec(name) is None]:
        return f"Python packages are missing: {', '.join(lacking)}; make test-browser has them"
    if not any(map(shutil.which, COMMANDS)):
        return f"no browser on the path: expected one of {', '.join(COMMANDS)}"
    return ""


def local(url: str) -> Path | None:
    """The file that a URL names; None for URLs of other kinds."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


class Visit(NamedTuple):
    """An open page, and what happened while it was opened.

    Attributes:
        page: the page of playwright.
        requests: URLs that it asked for, itself included.
        errors: errors of its scripts, and errors on the console.
    """

    page: Any
    requests: list[str]
    errors: list[str]


class Headless:
    """The browser; to be used as a context."""

    def __enter__(self) -> "Headless":
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=next(filter(None, map(shutil.which, COMMANDS))),
            args=[NO_HOST, *["--no-sandbox"] * (os.getuid() == 0)],
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._browser.close()
        self._playwright.stop()

    @contextmanager
    def visit(self, path: Path, width: int = 1400, scripts: bool = True, **settings: Any) -> Iterator[Visit]:
        """Open a file.

        Args:
            path: the page.
            width: of the window, in pixels.
            scripts: whether scripts of the page run.
            settings: more of them for ``new_context`` of playwright, such as ``color_scheme``.
        """
        context = self._browser.new_context(
            viewport={"width": width, "height": HEIGHT}, java_script_enabled=scripts, **settings
        )
        requests: list[str] = []
        errors: list[str] = []
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda socket: requests.append(socket.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        context.route(
            "**/*", lambda route: route.continue_() if allowed(route.request.url) else route.abort("blockedbyclient")
        )
        try:
            page.goto(path.resolve().as_uri(), wait_until="load")
            yield Visit(page, requests, errors)
        finally:
            context.close()


def allowed(url: str) -> bool:
    """Whether a URL is on this machine: a file, or data inside the page."""
    return urlsplit(url).scheme in ("file", "data")
