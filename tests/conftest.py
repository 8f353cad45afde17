"""Settings of all tests."""

import pytest
import torch
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
