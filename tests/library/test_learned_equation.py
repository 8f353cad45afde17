"""The equations that multigrid U-nets have learned, against dense matrices."""

import pytest
import torch
from multigrid_unets import network, right_hand_sides, values

from schemenets.multigrid import Grid, LearnedEquation, iterate


@pytest.fixture(autouse=True)
def plain_operations(monkeypatch):
    """Compiling takes longer than all of these tests, and compiled cycles have tests of their own."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


@pytest.mark.parametrize("flux", ["charbonnier", "linear", "perona_malik", "learned"])
@pytest.mark.parametrize("N", [32, 25])
def test_values_and_solutions_are_those_of_dense_matrices(flux, N):
    for block in network(flux).blocks:
        equation = LearnedEquation(block, N)
        b = right_hand_sides(N)
        with torch.no_grad():
            found = equation(b)
        torch.testing.assert_close(found, torch.stack([values(block, row) for row in b]), rtol=1e-13, atol=1e-13)
        for row in b:
            x = torch.from_numpy(equation.solve(row.numpy()))
            assert (values(block, x) - row).norm() <= 1e-11 * row.norm()
            assert (x - row).norm() > 0.01 * row.norm()


def test_any_object_that_is_called_can_be_iterated_for():
    class Half:
        N = 4

        def __call__(self, x):
            return x / 2

    b = torch.rand(2, 4, dtype=torch.float64) + 0.1
    found = iterate(lambda x, b: x + (b - x / 2), Half(), b, b)
    torch.testing.assert_close(found.x, 2 * b, rtol=1e-7, atol=0)
    assert not isinstance(Half(), Grid)
