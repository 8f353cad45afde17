"""A stage reads what it declares and nothing else, and writes every file that it declares and no other."""

import shutil

import miniature
import pytest

from schemenets import files
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout

SECONDS = ("figures", "fixed_points", "solvers")
STAGES = [pytest.param(stage, marks=[pytest.mark.slow] * (stage in SECONDS)) for stage in stages.available()]


def without_times(content):
    """The content of a file, of JSON without provenance and measured seconds."""
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items() if key not in ("provenance", "seconds")}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def content_of(path):
    return without_times(files.read_json(path)) if path.suffix == ".json" else path.read_bytes()


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_needs_only_what_it_declares(made, tmp_path, monkeypatch, stage):
    monkeypatch.chdir(made)  # what has been benchmarked is part of the report
    study = Study.load()
    name, spec = next(iter(study.specs(stage).items()))
    read = {file for found in stages.input_files(stage, spec).values() for file in found}
    given = {*stages.project_files(stage, spec), *((miniature.RESULTS / file).as_posix() for file in read)}
    for file in given:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    stages.run(stage, name, spec, Layout(miniature.RESULTS))
    there = {path.relative_to(miniature.RESULTS).as_posix() for path in miniature.RESULTS.rglob("*") if path.is_file()}
    written = stages.output_files(stage, name).values()
    assert there - read == set(written)
    for file in written:
        expected = content_of(made / miniature.RESULTS / file)
        assert content_of(miniature.RESULTS / file) == expected, file
