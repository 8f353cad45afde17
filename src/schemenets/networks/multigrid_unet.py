"""The multigrid U-net: every block is one V-cycle of the full approximation scheme ([B], Section 4) for

    A(x) := x + τKᵀΦ(Kx) = f,   from x⁰ = f, with trainable K, τ, contrasts, smoother and transfers.

A cycle for A(x) = b smooths, replaces x by x + P(x_c - Rx), where x_c is the result of a cycle for the coarse problem
A_c(x_c) = A_c(Rx) + R(b - A(x)) from Rx, and smooths again. On level ℓ, the mesh width being 2^ℓ,

* A has s^ℓ K instead of K; s = 1/2 is the scaling of first derivatives;
* smoothing is x + ω(b - A(x))/D, a symmetric residual block, with D = 1 + τL‖s^ℓ K‖_F², away from the ends the diagonal
  of I + τLKᵀK (which is A for the linear flux), and a damping ω for every sweep of a level;
* R has the stencil r at every second place of the signal mirrored by one value, and P = cRᵀ is its exact transpose;
  r = [1 3 3 1]/8 and c = 2 are the cell-centred pair of :mod:`schemenets.operators.transfer`.

All levels share these weights, so that one network runs on grids of any size. Grids are halved as long as their length
is even and at least max(4, k) points are left, so the more factors of 2 a length has, the better; on the coarsest grid
all sweeps take place twice.

For whatever weights, a solution of A(x) = f is a fixed point of the block's cycle (derived): smoothing does not change
it, as its residual is zero; so the coarse problem is A_c(x_c) = A_c(Rx), of which Rx is a solution, and by induction
over the levels x_c = Rx. How fast cycles converge, or whether, depends on the weights: there is no certificate.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from schemenets import kernels
from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    DiffusionBlock,
    add_step_size,
    count_diffusion,
)
from schemenets.networks._parametrizations import Positive

SWEEPS = 2  # of the smoother, before and after the correction
OMEGA_0 = 2 / 3  # initial damping
STENCIL_0 = (0.125, 0.375, 0.375, 0.125)
SHORTEST = 4  # points of a coarse grid, at least


def coarsens(length: int, kernel_size: int) -> bool:
    """Whether there is a coarser grid than that of ``length`` points."""
    return length % 2 == 0 and length // 2 >= max(SHORTEST, kernel_size)


def restrict(x: Tensor, r: Tensor) -> Tensor:
    """Rx, (..., N) to (..., N/2), with the stencil r, (..., 4), in pairs of points and their neighbours."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    before, after = torch.cat((even[..., :1], odd[..., :-1]), -1), torch.cat((even[..., 1:], odd[..., -1:]), -1)
    return sum(weight * part for weight, part in zip(r.split(1, -1), (before, even, odd, after), strict=True))


def prolong(e: Tensor, r: Tensor) -> Tensor:
    """Rᵀe, (..., N/2) to (..., N), the exact transpose of :func:`restrict`."""
    r0, r1, r2, r3 = r.split(1, -1)
    even = r1 * e + torch.cat((r0 * e[..., :1], r3 * e[..., :-1]), -1)
    odd = r2 * e + torch.cat((r0 * e[..., 1:], r3 * e[..., -1:]), -1)
    return torch.stack((even, odd), -1).flatten(-2)


class Block(DiffusionBlock):
    """(x, b) ↦ the iterate after one V-cycle for x + τKᵀΦ(Kx) = b from x, states of shape (..., batch, 1, length)."""

    tau: Tensor
    s: Tensor
    omega: Tensor

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        add_step_size(self, architecture, math.inf)
        self.r = nn.Parameter(torch.tensor([[STENCIL_0]]))
        self.c = nn.Parameter(torch.tensor(2.0))
        self.s = nn.Parameter(torch.tensor(0.5))
        self.omega = nn.Parameter(torch.full((2 * SWEEPS,), OMEGA_0))
        for name in ("s", "omega"):
            register_parametrization(self, name, Positive())

    def forward(self, x: Tensor, b: Tensor) -> Tensor:
        # here, as each access computes the constraints again
        K, lam, w, flux, r = self.K, self.lam, self.w, self.flux, self.r
        tau, c, s = (scalar[..., None, None, None] for scalar in (self.tau, self.c, self.s))
        omegas = self.omega[..., None, None, None].unbind(-4)
        before, after = omegas[:SWEEPS], omegas[SWEEPS:]

        def A(x: Tensor, K: Tensor) -> Tensor:
            return kernels.block(x, K, None, tau * K, lam, flux, w, x)

        def smooth(x: Tensor, b: Tensor, K: Tensor, omegas: tuple[Tensor, ...]) -> Tensor:
            D = 1 + tau * flux.L * K.square().sum((-3, -2, -1))[..., None, None, None]
            for omega in omegas:
                x = x + omega / D * (b - A(x, K))
            return x

        def cycle(x: Tensor, b: Tensor, K: Tensor) -> Tensor:
            x = smooth(x, b, K, before)
            if coarsens(x.shape[-1], K.shape[-1]):
                start, K_c = restrict(x, r), s * K
                x_c = cycle(start, A(start, K_c) + restrict(b - A(x, K), r), K_c)
                x = x + c * prolong(x_c - start, r)
            else:
                x = smooth(x, b, K, after + before)
            return smooth(x, b, K, after)

        return cycle(x, b, K)


class MultigridUNet(DenoisingNetwork):
    """V-cycles for x + τKᵀΦ(Kx) = f; per block Fk + 11 parameters, and those of F fluxes."""

    multichannel = False
    block = Block

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        diffusion = count_diffusion(architecture, scalars=3 + 2 * SWEEPS)  # τ, c, s and ω
        return Count(diffusion.total + len(STENCIL_0), diffusion.convolution + len(STENCIL_0))

    def stride(self, length: int) -> int:
        k = self.architecture.kernel_size
        return 2 * self.stride(length // 2) if coarsens(length, k) else 1

    def reach(self, length: int) -> int:
        # 2 SWEEPS on every level and twice as many on the coarsest, where d mesh widths each; but the first sweep on a
        # coarse grid sees only the residual, d finer ones away; and 3/2 of a mesh width for every transfer
        H, d = self.stride(length), self.architecture.kernel_size - 1
        return self.architecture.blocks * (2 * SWEEPS * d * (3 * H - 1) + (3 - d) * (H - 1))

    def run(self, u: Tensor) -> Tensor:
        x = u
        for block in self.applied:
            x = block(x, u)
        return x

    def cycle(self, x: Tensor, b: Tensor, index: int = -1) -> Tensor:
        """One cycle of one block, so that a trained network can be iterated as a solver.

        Args:
            x: iterates to improve, (batch, length) or (seeds, batch, length).
            b: right-hand sides of the block's x + τKᵀΦ(Kx) = b, of the same shape.
            index: which of :attr:`applied` blocks; the last one if not given.

        Raises:
            InvalidParameterError: ``b`` is shorter than the filters or not finite.
        """
        self.check_signals(b)
        return self.applied[index](x.unsqueeze(-2), b.unsqueeze(-2)).squeeze(-2)


NETWORK = MultigridUNet
