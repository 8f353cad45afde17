"""Settings of all tests, and what they share."""

import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("reproducible")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Modules that are slow as a whole come first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.parent.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """Made-up results and their study, with one diverged run; tests write nothing there but figures and a report."""
    from fabricated import DIVERGED, results

    return results(tmp_path_factory.mktemp("results"), diverged=(DIVERGED,))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The directory of the miniature with all its results; to be read only, and copied for changes."""
    import miniature  # which needs the packages of the study

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # one for all processes, whose own directories are below
        shared = shared.parent
    project, complete = shared / "miniature", shared / "miniature.complete"
    with FileLock(shared / "miniature.lock"):
        if not complete.is_file():
            miniature.make(project)
            complete.touch()
    return project


@pytest.fixture
def results(made, tmp_path, monkeypatch):
    """A copy of the results of the miniature but its data sets, in a copy of its project, the working directory."""
    import miniature

    miniature.copy(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    return Path(miniature.RESULTS)
