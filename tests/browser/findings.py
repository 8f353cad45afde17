"""What is wrong with a page: each function opens it and returns one line per finding, or none."""

import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from headless import Headless, allowed, local

PHONE, DESKTOP = 400, 1400  # pixels
A4 = 718  # pixels at 96 per inch, between margins of 1 cm
WORDS = 4000
SETTLED = 100  # milliseconds for what scripts start once the page is loaded
NAMED = re.compile(r"<(?!script|style)[a-z][^<>]*\s(?:id|name|href)\s*=[^<]*", re.IGNORECASE)  # tags that links need
SERIOUS = ("serious", "critical")  # impacts in axe
UNFOLD = "document.querySelectorAll('details').forEach(each => { each.open = true })"
AHEAD = {"preconnect", "dns-prefetch", "prefetch", "prerender", "preload", "modulepreload"}  # kinds of <link>

# Text as it is read: a space where lines break, none inside a word of which a part is set in another way.
TEXT = """([root, folded]) => {
  const parts = []
  const read = node => {
    if (node.nodeType === Node.TEXT_NODE) { parts.push(node.data); return }
    if (node.nodeType !== Node.ELEMENT_NODE) return
    const name = node.localName
    if (["script", "style", "noscript", "template", "svg"].includes(name)) return
    if (name === "math") { parts.push(" formula "); return }
    if (!folded && name === "table" && node.closest("details")) return
    const apart = name === "br" || !getComputedStyle(node).display.startsWith("inline")
    if (apart) parts.push(" ")
    node.childNodes.forEach(read)
    if (apart) parts.push(" ")
  }
  read(root && document.querySelector(root) || document.body)
  return parts.join("").split(/\\s+/).filter(word => /[\\p{L}\\p{N}]/u.test(word))
}"""

STICKING_OUT = """() => {
  const root = document.scrollingElement
  if (root.scrollWidth <= root.clientWidth) return null
  const scrolls = element => element && element !== document.body && element !== root &&
    (getComputedStyle(element).overflowX !== "visible" || scrolls(element.parentElement))
  const out = [...document.body.querySelectorAll("*")].filter(element =>
    element.getBoundingClientRect().right > root.clientWidth && element.checkVisibility() &&
    !scrolls(element.parentElement))
  const named = element => element.localName + (element.id ? "#" + element.id : "") +
    (element.classList.length ? "." + [...element.classList].join(".") : "")
  return [root.scrollWidth, root.clientWidth, [...new Set(out.map(named))].slice(-3).join(", ")]
}"""

IMAGES = """async () => {
  const found = []
  for (const image of document.images) {
    image.loading = "eager"
    await image.decode().catch(() => null)
    const name = image.getAttribute("src")?.slice(0, 60)
    if (!image.naturalWidth) found.push(`image without pixels: ${name}`)
    if (!image.alt.trim()) found.push(`image without a description: ${name}`)
  }
  return found
}"""

HIDDEN_FIGURES = """() => [...document.querySelectorAll("main img, main svg, figure")]
  .filter(element => element.closest("details") && !element.checkVisibility())
  .map(element => `${element.localName} is folded away: ` +
    (element.id || element.alt || element.closest("details").querySelector("summary")?.textContent.trim() || "?"))"""

UNREACHABLE = """() => {
  const found = [], shown = element => element.checkVisibility({ visibilityProperty: true })
  for (const element of document.querySelectorAll("a[href], area[href], summary, button, [onclick]")) {
    if (!shown(element) || element.disabled) continue
    element.focus({ preventScroll: true })
    if (document.activeElement !== element || element.tabIndex < 0)
      found.push(`out of reach of the keyboard: ${element.localName} ${element.textContent.trim().slice(0, 60)}`)
  }
  return found
}"""


def requests(browser: Headless, path: Path, within: Path) -> list[str]:
    """Requests other than for files in the folder ``within`` and for data inside the page."""
    with browser.visit(path) as visit:
        visit.page.wait_for_timeout(SETTLED)
        asked = [url for url in visit.requests if not (allowed(url) and _inside(local(url), within))]
        hints = visit.page.eval_on_selector_all("link", "links => links.map(link => [link.rel, link.href])")
    ahead = [url for kinds, url in hints if AHEAD & set(kinds.split()) and not allowed(url)]
    return [f"request: {url[:200]}" for url in dict.fromkeys([*asked, *ahead])]


def _inside(path: Path | None, folder: Path) -> bool:
    return path is None or path.resolve().is_relative_to(folder.resolve())


def errors(browser: Headless, path: Path) -> list[str]:
    """Errors of scripts and on the console, files that are missing included."""
    with browser.visit(path) as visit:
        visit.page.wait_for_timeout(SETTLED)
        return [f"error: {message}" for message in visit.errors]


def images(browser: Headless, path: Path) -> list[str]:
    """Images that show nothing, or that have no description."""
    with browser.visit(path) as visit:
        return list(visit.page.evaluate(IMAGES))


class _Parts(HTMLParser):
    """Targets and places of the links of a page, as they stand in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = {"", "top"}
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids |= {found[key] or "" for key in ("id", *["name"] * (tag == "a")) if key in found}
        if tag in ("a", "area") and "href" in found:
            self.links.append(found["href"] or "")


@cache
def _parts(path: Path) -> _Parts:
    parts = _Parts()
    parts.feed("".join(NAMED.findall(path.read_text(encoding="utf-8"))))  # most tags are colours of code
    return parts


def links(path: Path, folders: bool = False, left_out: Iterable[str] = ()) -> list[str]:
    """Links to files that do not exist, and to places that no page has; those to the web are not followed.

    Args:
        path: the page.
        folders: whether links may lead to folders, if they end with a slash.
        left_out: files beside the page that need not be there.
    """
    found = []
    named = {name for file in left_out for name in (file, *(f"{each}/" for each in PurePosixPath(file).parents))}
    for link in dict.fromkeys(_parts(path).links):
        parts = urlsplit(link)
        if parts.scheme in ("http", "https", "mailto"):
            continue
        target = path.parent / unquote(parts.path) if parts.path else path
        if parts.scheme or parts.netloc or parts.path.startswith("/"):
            found.append(f"link: got {link!r}, expected a path relative to the page, or one to the web")
        elif parts.path.endswith("/") and folders and (target.is_dir() or unquote(parts.path) in named):
            continue
        elif not target.is_file() and (parts.path.endswith("/") or unquote(parts.path) not in named):
            found.append(f"link: {link}: file is missing")
        elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in _parts(target).ids:
            found.append(f"link: {link}: {target.name} has no such place")
    return found


def overflow(browser: Headless, path: Path) -> list[str]:
    """Widths of a window at which the page has to be scrolled sideways, with everything unfolded."""
    return [
        *_overflow(browser, path, PHONE, is_mobile=True),
        *_overflow(browser, path, DESKTOP),
    ]


def _overflow(browser: Headless, path: Path, width: int, **settings: Any) -> list[str]:
    with browser.visit(path, width, **settings) as visit:
        visit.page.evaluate(UNFOLD)
        found = visit.page.evaluate(STICKING_OUT)
        laid_out = visit.page.evaluate("document.scrollingElement.clientWidth")
    if laid_out > width:
        return [f"at {width} pixels: laid out for {laid_out}; a meta element with the name viewport is missing"]
    return [_told(f"at {width} pixels", found)] if found else []


def _told(where: str, found: tuple[int, int, str]) -> str:
    got, expected, names = found
    return f"{where}: the page is {got} wide, expected at most {expected}; see {names}"


def printed(browser: Headless, path: Path) -> list[str]:
    """What is lost on paper of the size A4: what is too wide, and figures in parts that are folded away."""
    with browser.visit(path, A4) as visit:
        visit.page.emulate_media(media="print")
        hidden = visit.page.evaluate(HIDDEN_FIGURES)
        found = visit.page.evaluate(STICKING_OUT)
    return [*([_told("on paper", found)] if found else []), *(f"on paper: {line}" for line in hidden)]


def words(browser: Headless, path: Path) -> int:
    """The number of words of a page.

    All prose counts, folded away or not: headings, captions, lists and tables that stand open. Tables inside
    ``details`` do not count: they are data to look up. Nor do drawings (SVG) and descriptions of images; a formula is
    one word. A word is what stands between spaces and has a letter or a digit.
    """
    with browser.visit(path, scripts=False) as visit:
        return len(visit.page.evaluate(TEXT, ["", False]))


def wordy(browser: Headless, path: Path, limit: int = WORDS) -> list[str]:
    """Whether the page has more words than the limit, see :func:`words`."""
    number = words(browser, path)
    return [f"got {number} words, expected at most {limit}"] if number > limit else []


def scripted(browser: Headless, path: Path) -> list[str]:
    """Words of the main part that are only there, or not there, with scripts."""
    texts = []
    for scripts in (True, False):
        with browser.visit(path, scripts=scripts) as visit:
            visit.page.wait_for_timeout(SETTLED * scripts)
            texts.append(visit.page.evaluate(TEXT, ["main, [role=main]", True]))
    if texts[0] == texts[1]:
        return []
    lost, gained = _first(texts[0], texts[1]), _first(texts[1], texts[0])
    return [f"other text without scripts: got {gained!r}, expected {lost!r}"]


def _first(text: list[str], other: list[str]) -> str:
    """The first few words that differ from another text."""
    pairs = zip([*text, ""], [*other, *[""] * len(text)], strict=False)
    start = next((place for place, (ours, theirs) in enumerate(pairs) if ours != theirs), len(text))
    return " ".join(text[start : start + 6])


def keyboard(browser: Headless, path: Path) -> list[str]:
    """Links, buttons and parts to unfold that the keyboard does not reach."""
    with browser.visit(path) as visit:
        visit.page.evaluate(UNFOLD)
        return list(visit.page.evaluate(UNREACHABLE))


def accessible(browser: Headless, path: Path, scheme: str) -> list[str]:
    """Serious violations of accessibility that axe finds: in light colours all, in dark ones those of contrast."""
    from axe_playwright_python.sync_playwright import Axe

    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if scheme == "dark":
        options["runOnly"] = ["color-contrast"]
    with browser.visit(path, color_scheme=scheme) as visit:
        visit.page.evaluate(UNFOLD)
        violations = Axe().run(visit.page, options=options).response["violations"]
    return [
        f"{each['id']}: {each['help']}; {len(each['nodes'])} times, first {each['nodes'][0]['html'][:200]}"
        for each in violations
        if each["impact"] in SERIOUS
    ]


OF_ANY_PAGE: dict[str, Callable[[Headless, Path], list[str]]] = {
    **{each.__name__: each for each in (errors, images, overflow, printed, scripted, keyboard)},
    **{scheme: partial(accessible, scheme=scheme) for scheme in ("light", "dark")},
}
