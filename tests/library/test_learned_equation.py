"""The equations that multigrid U-nets have learned, against dense matrices."""

import numpy as np
import pytest
import torch

from schemenets import networks
from schemenets.multigrid import Grid, LearnedEquation, iterate
from schemenets.operators import Conv1dOperator


@pytest.fixture(autouse=True)
def plain_operations(monkeypatch):
    """Compiling takes longer than all of these tests, and compiled cycles have tests of their own."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def network(flux="charbonnier", seed=0, blocks=2):
    """Random weights, with contrasts that differ from filter to filter."""
    generator = torch.Generator().manual_seed(seed)
    net = networks.build("multigrid_unet", blocks=blocks, filters=3, kernel_size=4, flux=flux, seed=seed).double()
    for block in net.blocks:
        with torch.no_grad():
            block.K.copy_(torch.randn(block.K.shape, generator=generator, dtype=torch.float64) / 3)
            block.tau = torch.tensor(0.5, dtype=torch.float64)
            if block.lam is not None:
                block.lam = 0.1 + torch.rand(3, generator=generator, dtype=torch.float64)
            if block.w is not None:
                block.w.copy_(torch.randn(block.w.shape, generator=generator, dtype=torch.float64))
    return net


def values(block, x):
    """x + τKᵀΦ(Kx) of one signal by the dense matrix of every filter."""
    y = x.clone()
    with torch.no_grad():
        for f in range(block.K.shape[0]):
            K = Conv1dOperator(block.K[f : f + 1]).as_matrix(x.size(0))
            lam = 1.0 if block.lam is None else block.lam[f]
            y += block.tau * K.T @ block.flux(K @ x, lam, None if block.w is None else block.w[f])
    return y


def right_hand_sides(N=32, count=3):
    return torch.from_numpy(np.random.default_rng(0).random((count, N)).cumsum(-1) / N)


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
