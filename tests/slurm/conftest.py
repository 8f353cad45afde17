"""The cluster of the tests; without SLURM they are skipped, or fail if the environment says ``SLURM=required``."""

import os

import one_node
import pytest


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """One node with a GPU in name."""
    if reason := one_node.missing():
        if os.environ.get("SLURM") == "required":
            pytest.fail(f"{reason}, but SLURM=required")
        pytest.skip(reason)
    found = one_node.Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        found.start()
        yield found
    finally:
        found.stop()
