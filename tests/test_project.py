"""What describes the project agrees with itself: version, citation, pinned packages, the catalogue of workflows."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import schemenets

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = re.compile(r"[A-Za-z0-9_.-]+")


def normal(name):
    """The name of a package as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere(citation):
    changes = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {schemenets.__version__, PROJECT["version"], citation["version"], changes[1]} == {PROJECT["version"]}


def test_the_citation_has_what_its_format_requires(citation):
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["message"]
    assert citation["title"].startswith(PROJECT["name"])
    assert citation["authors"] == PROJECT["authors"]
    assert citation["license"] == PROJECT["license"]
    assert "preferred-citation" not in citation  # cite the software
    for paper in citation["references"]:
        assert {"type", "title", "authors", "year"} <= paper.keys()
        assert all(author.keys() == {"family-names", "given-names"} for author in paper["authors"])


def test_the_papers_are_cited_as_in_the_bibliography(citation):
    bibliography = (ROOT / "docs/bibliography.md").read_text(encoding="utf-8")
    entries = re.findall(r'^<a id="paper-[ab]"></a>\n(.*?)\n\n', bibliography, re.MULTILINE | re.DOTALL)
    assert len(entries) == len(citation["references"]) == 2
    for entry, paper in zip(entries, citation["references"], strict=True):
        authors = ", ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
        arxiv = [each["value"].removeprefix("arXiv:") for each in paper["identifiers"]]
        place = paper.get("journal") or paper["collection-title"]
        for part in (authors, paper["title"], place, str(paper["year"]), *arxiv, paper.get("doi", "")):
            assert part in " ".join(entry.split()), part


def test_the_catalogue_of_workflows_finds_what_it_asks_for():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert {"mandatory-flags", "software-stack-deployment", "report"} <= usage.keys()
    assert usage["mandatory-flags"].keys() == {"desc", "flags"}
    snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert usage["software-stack-deployment"]["apptainer"] == ("\ncontainer:" in snakefile)
    assert usage["software-stack-deployment"]["conda"] == ("\nconda:" in snakefile)
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (ROOT / "config/README.md").is_file()
    assert (ROOT / "workflow/Snakefile").read_text(encoding="utf-8").count('include: "../Snakefile"\n') == 1


@pytest.mark.parametrize("extra", ["study", "slurm", "test", "browser", "docs"])
def test_packages_of_an_extra_are_pinned(extra):
    pinned = "".join(
        (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8") for name in {"study", "test", extra}
    )
    names = {normal(NAME.match(line)[0]) for line in pinned.splitlines() if NAME.match(line)}
    wanted = {normal(NAME.match(each)[0]) for each in PROJECT["optional-dependencies"][extra]}
    assert wanted - {PROJECT["name"]} <= names


def test_links_of_pages_at_the_top_lead_to_files():
    for page in ("CONTRIBUTING.md", "CHANGELOG.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
            assert (ROOT / link).is_file(), f"{page}: {link}"
