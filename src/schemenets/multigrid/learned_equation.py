"""The equation that a trained multigrid U-net solves; it need not be the one it was trained to solve."""

from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from schemenets.schemes._base import Array, Diffusion
from schemenets.schemes.implicit import newton


class LearnedEquation:
    """x + τKᵀΦ(Kx) = b on N points, with the τ, K and Φ that a block of a multigrid U-net has learned.

    Args:
        block: of :class:`schemenets.networks.multigrid_unet.MultigridUNet`, in double precision, not stacked.
        N: number of points.
    """

    def __init__(self, block: Any, N: int) -> None:
        self.block, self.N = block, N

    def __call__(self, x: Tensor) -> Tensor:
        """x + τKᵀΦ(Kx) for x of shape (batch, N), as the network computes it."""
        state = x.unsqueeze(-2)
        return (2 * state - self.block.step(state, self.block.tau, state)).squeeze(-2)

    def solve(self, b: Array) -> Array:
        """The solution for b (N,), to a residual of 1e-12 ‖b‖, by Newton's method with banded matrices.

        For fluxes that are not monotone it is the stationary point that is reached from b.

        Raises:
            InvalidParameterError: that residual was not reached.
        """
        return newton(b, self.operator(self.N), float(self.block.tau.detach()))

    def operator(self, N: int, scale: float = 1.0) -> Diffusion:
        """KᵀΦ(Kx) on N points, with the filters times ``scale``."""
        block = self.block
        with torch.no_grad():
            filters = scale * block.K[:, 0].numpy()
            rows = N - filters.shape[-1] + 1
            # those of the first filter come first
            lam, w = (None if each is None else each.repeat_interleave(rows, 0) for each in (block.lam, block.w))
        K = sp.vstack([sp.diags_array(list(own), offsets=range(own.size), shape=(rows, N)) for own in filters])
        return Diffusion(sp.csr_array(K), block.flux, 1.0 if lam is None else lam.numpy(), w)
