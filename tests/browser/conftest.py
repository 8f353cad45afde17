"""The browser of the tests; without one they are skipped, or fail if the environment says ``BROWSER=required``."""

import os

import headless
import pytest


@pytest.fixture(scope="session")
def unavailable():
    """What to do if something that a test needs is not there: a function of the reason."""
    return pytest.fail if os.environ.get("BROWSER") == "required" else pytest.skip


@pytest.fixture(scope="session")
def browser(unavailable):
    """The browser of all tests."""
    if reason := headless.missing():
        unavailable(reason)
    with headless.Headless() as found:
        yield found
