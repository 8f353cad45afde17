"""The implicit network: a fixed-point iteration for one implicit diffusion step, hence a recurrent network ([A]).

    u = f - τKᵀΦ(Ku)   by   u^{j+1} = f - τKᵀΦ(Ku^j),   u^0 = f.

The weights are shared and the input f enters every iteration. So the network is tied by nature: ``blocks`` is the
number of iterations, whatever ``tied`` is, and the number of parameters does not depend on it.

With Φ' ∈ [-m, L'] the iteration contracts with the rate q = τ max(L', m)‖K‖² (for m > L' more than τL'‖K‖²
matters; derived). ``certified`` networks satisfy q < 1 whatever their parameters are. Then there is one solution u, and

    ‖u^n - u‖₂ ≤ q^n ‖f - u‖₂,   ‖u‖₂ ≤ ‖f‖₂ for g ≥ 0,   ‖u^n‖₂ ≤ (1 + q^{n+1}) ‖f‖₂,

the second since ⟨f, u⟩ = ‖u‖² + τ⟨Ku, Φ(Ku)⟩ ≥ ‖u‖², the third since ‖f - u‖ = ‖τKᵀΦ(Ku)‖ ≤ q‖u‖ (derived).

Gradients are those of the iterations, or with ``implicit_gradients`` those of the solution: with the symmetric
J = Kᵀ diag(Φ'(Ku)) K, one solve with I + τJ replaces backpropagation through all iterations, and memory does not grow
with their number. The matrix is positive definite for q < 1, so conjugate gradients solve it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from schemenets import kernels
from schemenets.devices import is_readable
from schemenets.errors import InvalidParameterError
from schemenets.fluxes import Flux
from schemenets.kernels import reference
from schemenets.kernels.program import Recorder, State
from schemenets.networks._base import (
    DIFFUSION,
    WEIGHTS,
    Architecture,
    Count,
    DenoisingNetwork,
    DiffusionBlock,
    add_step_size,
    count_diffusion,
    diffusion_operands,
    entry,
)

RATE = 0.99  # largest rate q of a certified network


class Block(DiffusionBlock):
    """The weights of u ↦ τKᵀΦ(Ku)."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        add_step_size(self, architecture, RATE / max(self.flux.L_prime, self.flux.m))


class Implicit(DenoisingNetwork):
    """One implicit step by fixed-point iterations; FCk + 1 parameters, and those of F fluxes.

    Attributes:
        implicit_gradients: whether gradients are those of the solution. They are exact for the converged
            iteration; before that they differ from those of what is computed by terms of order n q^n.
    """

    certifiable = True
    block = Block
    values = DIFFUSION

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(replace(architecture, tied=True), generator)
        self.architecture = architecture

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        return count_diffusion(architecture, scalars=1)

    @classmethod
    def count(cls, architecture: Architecture) -> Count:
        return super().count(replace(architecture, tied=True))

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        return diffusion_operands(blocks, -blocks.tau)

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        f = u
        for _ in range(architecture.blocks):
            u = do.block(u, do.of(WEIGHTS, 0), fluxes[0], [(None, f)])
        return u

    @entry
    def forward(self, f: Tensor) -> Tensor:
        if not (self.implicit_gradients and torch.is_grad_enabled()):
            return super().forward(f)
        self.check_signals(f)
        block: Any = self.blocks[0]
        # here, as each access computes the constraints again
        K, lam, w, flux, tau = block.K, block.lam, block.w, block.flux, block.tau[..., None, None, None]
        start = f.unsqueeze(-2)
        if self.architecture.channels > 1:
            start = start * self.lift[..., None, :, None]
        onto = start if block.b2 is None else start + block.b2.reshape(*K.shape[:-3], 1, -1, 1)
        minus_tau_K, u = -tau * K, start
        with torch.no_grad():
            for _ in range(self.architecture.blocks - 1):
                u = kernels.block(u, K, block.b1, minus_tau_K, lam, flux, w, onto)
        # the last iteration has the right derivatives but for the factor (I + τJ)⁻¹
        u = u.detach()
        last = kernels.block(u, K, block.b1, minus_tau_K, lam, flux, w, onto)
        y: Tensor = SolutionGradient.apply(last, flux, u, K, tau, lam, w, block.b1)
        return y.squeeze(-2) if self.architecture.channels == 1 else (y * self.projection[..., None, :, None]).sum(-2)


class SolutionGradient(torch.autograd.Function):
    """The identity of v = f - τKᵀΦ(Ku + b₁) whose derivatives are multiplied by (I + τKᵀ diag(Φ'(Ku + b₁)) K)⁻¹."""

    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, *fixed: Any) -> Tensor:
        return v.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.flux, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return Solved.apply(*gradients, ctx.flux, *ctx.saved_tensors), *[None] * 7

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        solved: Tensor = Solved.apply(tangent, ctx.flux, *ctx.saved_tensors)
        return solved


class Solved(torch.autograd.Function):
    """(I + τKᵀ diag(Φ'(Ku + b₁)) K)⁻¹b, which is not differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        b: Tensor,
        flux: Flux,
        u: Tensor,
        K: Tensor,
        tau: Tensor,
        lam: Tensor | None,
        w: Tensor | None,
        b1: Tensor | None,
    ) -> Tensor:
        if any(map(torch._C._functorch.is_functorch_wrapped_tensor, (b, u, K))):  # which take no gradients here
            s = reference.correlate(u, K) + (0 if b1 is None else b1[..., None, :, None])
            slopes = flux.derivative(s, *reference.per_filter(lam, w))
            return conjugate_gradients(
                lambda x: x + tau * reference.correlate_adjoint(slopes * reference.correlate(x, K), K), b
            )
        with torch.enable_grad():
            given: Any = (None if x is None else x.detach() for x in (u, K, tau, lam, w, b1))
            u, K, tau, lam, w, b1 = given
            y = kernels.block(u.requires_grad_(), K, b1, tau * K, lam, flux, w)

        def A(x: Tensor) -> Tensor:
            (tau_Jx,) = torch.autograd.grad(y, u, x, retain_graph=True)  # as J is symmetric
            return x + tau_Jx

        return conjugate_gradients(A, b.contiguous())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise InvalidParameterError("implicit_gradients", True, "False for derivatives of higher order")

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise InvalidParameterError("implicit_gradients", True, "False for derivatives of higher order")


def conjugate_gradients(A: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """A⁻¹b for symmetric positive definite A, to rounding errors; one system for each state of b (..., C, N).

    NaN for a state where A is not positive definite or the iteration does not converge: the training then counts as
    diverged, instead of following wrong gradients.
    """

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum((-2, -1), keepdim=True)

    precision = torch.finfo(b.dtype)
    scale = b.abs().amax((-2, -1), keepdim=True).clamp_min(precision.tiny)  # else squares of small b vanish
    b = b / scale
    x, r = torch.zeros_like(b), b
    p, rr = r, dot(r, r)
    indefinite = torch.zeros_like(rr, dtype=torch.bool)
    enough, readable = precision.eps**2 * rr, is_readable(rr)
    for _ in range(2 * b.shape[-2] * b.shape[-1]):  # without rounding errors CN iterations would do
        if readable and (rr <= enough).all():
            break
        Ap = A(p)
        pAp = dot(p, Ap)
        indefinite = indefinite | (pAp < 0)
        step = rr / pAp.clamp_min(precision.tiny)  # 0 for a signal that is solved already
        x, r = x + step * p, r - step * Ap
        previous, rr = rr, dot(r, r)
        p = r + rr / previous.clamp_min(precision.tiny) * p
    failed = indefinite | ~(rr <= precision.eps * dot(b, b))
    return torch.where(failed, torch.nan, scale * x)


NETWORK = Implicit
