"""Multigrid U-nets with random weights, and the equations that they have learned, by dense matrices."""

import numpy as np
import torch

from schemenets import networks
from schemenets.operators import Conv1dOperator


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
