"""The report of a run and the documentation, as a browser shows them.

``REPORT`` and ``SITE`` name others than the report of the smoke tier and the documentation that ``make docs`` builds.
"""

import json
import os
from pathlib import Path

import findings
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.browser]
ROOT = Path(__file__).parents[2]
REPORT = Path(os.environ.get("REPORT", ROOT / "results/smoke/report.html"))
SITE = Path(os.environ.get("SITE", ROOT / "docs/_build/html"))
EXPLORATORY = ROOT / "results/exploratory/report.html"
REPORTS = ("report", "exploratory")
PAGES = (*REPORTS, "index", "networks/resnet", "extending", "study")  # reports, and kinds of pages of the site


@pytest.fixture
def existing(unavailable):
    """A page, by its name in ``PAGES``."""

    def found(name):
        path = {"report": REPORT, "exploratory": EXPLORATORY}.get(name, SITE / f"{name}.html")
        if not path.is_file():
            unavailable(f"{path}: file is missing; make {'study TIER=smoke' if name == 'report' else 'docs'} makes it")
        return path

    return found


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("check", findings.OF_ANY_PAGE)
def test_a_page_has_no_findings(page, check, browser, existing):
    found = findings.OF_ANY_PAGE[check](browser, existing(page))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_no_request_leaves_a_page(page, browser, existing):
    path = existing(page)
    found = findings.requests(browser, path, path.parent if page in REPORTS else SITE)
    assert not found, "\n".join(found)


def test_links_of_the_report_lead_somewhere(existing):
    found = findings.links(existing("report"), folders=True)
    assert not found, "\n".join(found)


def test_links_of_the_committed_report_lead_to_files_that_its_manifest_names(existing):
    """The folder leaves out most files, to stay small."""
    path = existing("exploratory")
    named = json.loads(path.with_name("manifest.json").read_text(encoding="utf-8"))["files"]
    found = findings.links(path, folders=True, left_out=named)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_is_short(browser, existing, name):
    found = findings.wordy(browser, existing(name))
    assert not found, "\n".join(found)


def test_links_of_all_pages_of_the_documentation_lead_somewhere(existing):
    existing("index")
    found = [
        f"{path.relative_to(SITE)}: {each}" for path in sorted(SITE.rglob("*.html")) for each in findings.links(path)
    ]
    assert not found, "\n".join(found)
