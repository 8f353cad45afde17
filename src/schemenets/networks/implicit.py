"""The implicit network: a fixed-point iteration for one implicit diffusion step, hence a recurrent network ([A]).

    u = f - τKᵀΦ(Ku)   by   u^{j+1} = f - τKᵀΦ(Ku^j),   u^0 = f.

The weights are shared and the input f enters every iteration. So the network is tied by nature: ``blocks`` is the
number of iterations, whatever ``tied`` is, and the number of parameters does not depend on it.

With Φ' ∈ [-m, L'] the iteration contracts with the rate q = τ max(L', m)‖K‖² (for m > L' more than τL'‖K‖²
matters; derived). ``certified`` networks satisfy q < 1 whatever their parameters are. Then there is one solution u, and

    ‖u^n - u‖₂ ≤ q^n ‖f - u‖₂,   ‖u‖₂ ≤ ‖f‖₂ for g ≥ 0,   ‖u^n‖₂ ≤ (1 + q^{n+1}) ‖f‖₂,

the second since ⟨f, u⟩ = ‖u‖² + τ⟨Ku, Φ(Ku)⟩ ≥ ‖u‖², the third since ‖f - u‖ = ‖τKᵀΦ(Ku)‖ ≤ q‖u‖ (derived).

Gradients are those of the iterations, or with ``implicit_gradients`` those of the solution: with the symmetric
J = Kᵀ diag(Φ'(Ku)) K, one solve with I + τJ replaces the way back through all iterations, and memory does not grow
with their number. The matrix is positive definite for q < 1, so conjugate gradients solve it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.parametrize import register_parametrization

from schemenets import fluxes, kernels
from schemenets.fluxes import Flux
from schemenets.kernels.reference import correlate, correlate_adjoint
from schemenets.networks._base import (
    Architecture,
    Count,
    DenoisingNetwork,
    add_contrast,
    contrast_count,
    derivative_filters,
)
from schemenets.networks._parametrizations import Below, Positive, UnitNorm

TAU_0 = 0.3  # initial step size
RATE = 0.99  # largest rate q of a certified network


class Block(nn.Module):
    """The weights of u ↦ τKᵀΦ(Ku)."""

    lam: Tensor | None

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        self.flux = fluxes.get(architecture.flux)
        F, k = architecture.filters, architecture.kernel_size
        self.K = derivative_filters(architecture, generator, 1 / math.sqrt(F * k))
        if architecture.certified:
            limit = RATE / max(self.flux.L_prime, self.flux.m)
            self.tau = nn.Parameter(torch.tensor(min(TAU_0, limit / 2)))
            register_parametrization(self, "K", UnitNorm())
            register_parametrization(self, "tau", Below(limit))
        else:
            self.tau = nn.Parameter(torch.tensor(TAU_0))
            register_parametrization(self, "tau", Positive())
        add_contrast(self, architecture)


class Implicit(DenoisingNetwork):
    """One implicit step by fixed-point iterations; Fk + 1 parameters, and F contrasts if the flux has them.

    Attributes:
        implicit_gradients: whether gradients are those of the solution. They are exact for the converged
            iteration; before that they differ from those of what is computed by terms of order q^n.
    """

    certifiable = True
    block = Block
    implicit_gradients = False

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(replace(architecture, tied=True), generator)
        self.architecture = architecture

    @staticmethod
    def count(architecture: Architecture) -> Count:
        F, k = architecture.filters, architecture.kernel_size
        return Count(F * k + 1 + contrast_count(architecture), F * k)

    def forward(self, f: Tensor) -> Tensor:
        u = f = f.unsqueeze(-2)  # one channel
        block: Any = self.blocks[0]
        # here, as each access computes the constraints again
        K, lam, flux, tau = block.K, block.lam, block.flux, block.tau[..., None, None, None]

        def iterate(u: Tensor) -> Tensor:
            return f - tau * kernels.block(u, K, None, K, lam, flux)

        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.implicit_gradients):
            for _ in range(self.architecture.blocks - 1):
                u = iterate(u)
        if not self.implicit_gradients:
            return iterate(u).squeeze(-2)
        # the last iteration has the right derivatives but for the factor (I + τJ)⁻¹
        u = u.detach()
        return SolutionGradient.apply(iterate(u), u, K, tau, lam, flux).squeeze(-2)


class SolutionGradient(torch.autograd.Function):
    """The identity of v = f - τKᵀΦ(Ku) whose gradients are multiplied by (I + τKᵀ diag(Φ'(Ku)) K)⁻¹."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, u: Tensor, K: Tensor, tau: Tensor, lam: Tensor | None, flux: Flux) -> Tensor:
        ctx.save_for_backward(u, K, tau, lam)
        ctx.flux = flux
        return v.view_as(v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, K, tau, lam = ctx.saved_tensors
        s = correlate(u, K)
        slopes = ctx.flux.derivative(s) if lam is None else ctx.flux.derivative(s, lam[..., None, :, None])
        solution = conjugate_gradients(
            lambda x: x + tau * correlate_adjoint(slopes * correlate(x, K), K), gradient.contiguous()
        )
        return solution, None, None, None, None, None


def conjugate_gradients(A: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """A⁻¹b for symmetric positive definite A, to rounding errors; one system for each signal of b (..., 1, N)."""

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(-1, keepdim=True)

    precision = torch.finfo(b.dtype)
    x, r = torch.zeros_like(b), b
    p, rr = r, dot(r, r)
    enough = precision.eps**2 * rr
    for _ in range(2 * b.shape[-1]):  # without rounding errors N iterations would do
        if (rr <= enough).all():
            break
        Ap = A(p)
        step = rr / dot(p, Ap).clamp_min(precision.tiny)  # 0 for a signal that is solved already
        x, r = x + step * p, r - step * Ap
        previous, rr = rr, dot(r, r)
        p = r + rr / previous.clamp_min(precision.tiny) * p
    return x


NETWORK = Implicit
