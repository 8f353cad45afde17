"""Every check of pages refuses pages made up to break it, and passes one that is in order."""

import findings
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.browser]


PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
IMAGE = f'<img src="{PIXEL}" alt="One pixel">'
VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'
COLOURS = """:root { color-scheme: light; color: #000; background: #fff; --link: #00c }
@media (prefers-color-scheme: dark) { :root { color-scheme: dark; color: #fff; background: #000; --link: #aaf } }
a { color: var(--link) }"""
PALE = "p { color: #bbb; background: #fff }"
LONG = "<p style='width: 1500px'>A line that does not break.</p>"
GOOD = f"""
<h1 id="top-of-it">A page</h1>
<p>It has a <a href="#below">link</a>, one to <a href="other%20page.html#there">another page</a>, one to
<a href="https://example.org/">the web</a>, and <a href="data.csv">data</a>.</p>
<figure>{IMAGE}<figcaption>A figure.</figcaption></figure>
<div style="overflow-x: auto" tabindex="0" role="region" aria-label="Wide"><p style="width: 3000px">Scrolls.</p></div>
<details><summary>More</summary><p id="below">Folded away.</p><table><tr><th>Number</th></tr><tr><td>1</td></tr></table>
</details>
"""


@pytest.fixture
def write(tmp_path):
    """Writes a page with this body, beside another one."""

    def written(body, head=VIEWPORT):
        path = tmp_path / "page.html"
        path.write_text(
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>{head}'
            f"<style>{COLOURS}</style></head><body><main>{body}</main></body></html>",
            encoding="utf-8",
        )
        return path

    (tmp_path / "other page.html").write_text("<p id='there'></p>", encoding="utf-8")
    (tmp_path / "data.csv").touch()
    return written


@pytest.mark.parametrize("check", findings.OF_ANY_PAGE)
def test_a_page_in_order_has_no_findings(check, browser, write):
    assert findings.OF_ANY_PAGE[check](browser, write(GOOD)) == []


def test_its_links_requests_and_length_are_in_order(browser, write, tmp_path):
    path = write(GOOD)
    assert findings.links(path) == []
    assert findings.requests(browser, path, tmp_path) == []
    assert findings.wordy(browser, path) == []


BAD = {
    "errors": [
        ("<script>undefined_name()</script>", "undefined_name is not defined"),
        ("<script>console.error('it went wrong')</script>", "it went wrong"),
        ("<script>setTimeout(() => { throw new Error('later') }, 20)</script>", "later"),
        ("<script src='missing.js'></script>", "ERR_FILE_NOT_FOUND"),
    ],
    "images": [
        ("<img src='missing.png' alt='Missing'>", "without pixels: missing.png"),
        ("<img src='data:image/png;base64,AAAA' alt='Damaged'>", "without pixels"),
        ("<img alt='Nothing'>", "without pixels"),
        (
            "<details><summary>More</summary><img loading='lazy' src='missing.png' alt='Missing'></details>",
            "missing.png",
        ),
        (f"<img src='{PIXEL}'>", "without a description"),
        (f"<img src='{PIXEL}' alt=' '>", "without a description"),
    ],
    "overflow": [
        (
            "<p id='wide' style='width: 401px'>Wide.</p>",
            "at 400 pixels: the page is 409 wide, expected at most 400; see p#wide",
        ),
        (LONG, "at 1400 pixels"),
        (f"<p>{'letters' * 100}</p>", "at 400 pixels"),
        (f"<details><summary>More</summary>{LONG}</details>", "at 1400 pixels"),
        (f"<div style='overflow-x: visible'>{LONG}</div>", "see p"),
        (f"<style>body {{ overflow-x: hidden }}</style>{LONG}", "at 1400 pixels"),
    ],
    "printed": [
        ("<p style='width: 720px'>Wide.</p>", "on paper: the page is 728 wide, expected at most 718; see p"),
        ("<style>@media print { p { width: 800px } }</style><p>Wide.</p>", "on paper: the page is 808 wide"),
        (f"<details><summary>Results</summary>{IMAGE}</details>", "img is folded away: One pixel"),
        (f"<details><summary>Results</summary><figure>{IMAGE}</figure></details>", "figure is folded away: Results"),
    ],
    "scripted": [
        (
            "<p id='a'>Text</p><script>document.querySelector('#a').append(' from a script')</script>",
            "expected 'from a s",
        ),
        ("<p id='a'>Text</p><script>document.querySelector('#a').remove()</script>", "got 'Text'"),
        (
            "<noscript><p>This page needs scripts.</p></noscript><p id='a'></p><script>a.append('Hello')</script>",
            "'Hello'",
        ),
    ],
    "keyboard": [
        ("<a href='#' tabindex='-1'>Never</a>", "out of reach of the keyboard: a Never"),
        ("<span onclick='alert(1)'>Press</span>", "out of reach of the keyboard: span Press"),
        ("<details><summary tabindex='-1'>More</summary><p>Text</p></details>", "summary More"),
        ("<details><summary>More</summary><a href='#' tabindex='-1'>Inside</a></details>", "a Inside"),
        ("<div><summary>No details</summary></div>", "summary No details"),
    ],
    "light": [
        (f"<style>{PALE}</style><p>Pale.</p>", "color-contrast"),
        (
            "<details><summary>More</summary><p style='color: #bbb; background: #fff'>Pale.</p></details>",
            "color-contrast",
        ),
        (f"<img src='{PIXEL}'>", "image-alt"),
        ("<button></button>", "button-name"),
        ("<svg role='img' viewBox='0 0 9 9'><rect width='9' height='9'/></svg>", "svg-img-alt"),
    ],
    "dark": [
        (
            f"<style>@media (prefers-color-scheme: dark) {{ {PALE.replace('#fff', '#ccc')} }}</style><p>Pale.</p>",
            "contrast",
        ),
    ],
}
CASES = [(check, body, message) for check, cases in BAD.items() for body, message in cases]


def test_every_check_has_pages_to_refuse():
    assert BAD.keys() == findings.OF_ANY_PAGE.keys()


@pytest.mark.parametrize(("check", "body", "message"), CASES, ids=[f"{case[0]}: {case[2]}" for case in CASES])
def test_pages_made_up_to_break_a_check_are_refused(check, body, message, browser, write):
    found = findings.OF_ANY_PAGE[check](browser, write(body))
    assert any(message in finding for finding in found), found


def test_a_page_laid_out_for_a_wide_window_is_refused(browser, write):
    (found,) = findings.overflow(browser, write("<p>Text.</p>", head=""))
    assert found.startswith("at 400 pixels: laid out for 980; a meta element with the name viewport")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<script src='https://example.org/a.js'></script>", "https://example.org/a.js"),
        ("<img src='//example.org/a.png' alt='A'>", "example.org/a.png"),
        ("<img src='http://127.0.0.1:9/a.png' alt='A'>", "http://127.0.0.1:9/a.png"),
        ("<style>@import 'https://example.org/a.css';</style>", "https://example.org/a.css"),
        ("<p style='background: url(https://example.org/b.png)'>A</p>", "https://example.org/b.png"),
        ("<iframe src='https://example.org/'></iframe>", "https://example.org/"),
        ("<script>setTimeout(() => fetch('https://example.org/c'), 20)</script>", "https://example.org/c"),
        ("<script>navigator.sendBeacon('https://example.org/d')</script>", "https://example.org/d"),
        ("<script>new WebSocket('wss://example.org/e')</script>", "wss://example.org/e"),
        ("<link rel='preconnect' href='https://example.org/'>", "https://example.org/"),
        ("<link rel='alternate dns-prefetch' href='https://example.org/f'>", "https://example.org/f"),
        ("<img src='../outside.png' alt='A'>", "/outside.png"),
    ],
)
def test_requests_that_leave_are_refused(body, message, browser, write, tmp_path):
    (found,) = findings.requests(browser, write(body), tmp_path)
    assert found.startswith("request: ")
    assert message in found


def test_colours_of_one_scheme_do_not_excuse_the_other(browser, write):
    body = f"<style>@media (prefers-color-scheme: dark) {{ {PALE} }}</style><p>Pale.</p>"
    found = {scheme: findings.OF_ANY_PAGE[scheme](browser, write(body)) for scheme in ("light", "dark")}
    assert not found["light"]
    assert "color-contrast" in found["dark"][0]


def test_links_to_folders_are_allowed_only_where_they_may_be(write, tmp_path):
    (tmp_path / "runs").mkdir()
    path = write("<p><a href='runs/'>Runs</a></p>")
    assert findings.links(path, folders=True) == []
    assert findings.links(path) == ["link: runs/: file is missing"]
    (tmp_path / "runs").rmdir()
    assert findings.links(path, folders=True) == ["link: runs/: file is missing"]


def test_links_to_files_that_are_left_out_are_allowed(write):
    path = write("<p><a href='runs/a/'>Runs</a> <a href='runs/a/record.json'>Record</a> <a href='runs/b/'>None</a></p>")
    left_out = ["runs/a/record.json"]
    assert findings.links(path, folders=True, left_out=left_out) == ["link: runs/b/: file is missing"]
    assert len(findings.links(path, left_out=left_out)) == 2


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("#nowhere", "page.html has no such place"),
        ("missing.html", "missing.html: file is missing"),
        ("missing.json", "missing.json: file is missing"),
        (".", ".: file is missing"),
        ("other%20page.html#nowhere", "other page.html has no such place"),
        ("/no/such/page", "expected a path relative to the page"),
        ("file:page.html", "expected a path relative to the page"),
        ("javascript:alert(1)", "expected a path relative to the page"),
    ],
)
def test_links_that_lead_nowhere_are_refused(link, message, write):
    (found,) = findings.links(write(f"<p id='here'><a href='#here'>Here</a> <a href='{link}'>There</a></p>"))
    assert found.endswith(message) or message in found


def test_words_are_those_of_prose_and_of_tables_that_stand_open(browser, write):
    table = "<table><tr><td>one</td><td>two</td></tr></table>"
    body = f"""<h1>Three little words</h1><p>H<sub>2</sub>O – is a<br>word.</p><ul><li>four</li><li>five</li></ul>
    {table}<details><summary>folded</summary><p>prose</p>{table}</details>{IMAGE}
    <svg><text>drawn</text></svg><script>var a = "b c d"</script><p><math><mi>x</mi><mi>y</mi></math></p>"""
    # the heading, H2O is a word, two entries, an open table, folded prose, a formula
    assert findings.words(browser, write(body)) == 3 + 4 + 2 + 2 + 2 + 1


def test_too_many_words_are_refused(browser, write):
    path = write("<p>four words stand here</p>")
    assert findings.wordy(browser, path, limit=4) == []
    assert findings.wordy(browser, path, limit=3) == ["got 4 words, expected at most 3"]
