"""The primitives of learned cycles: the residual b - A(x), a smoothing sweep with it, and compiled programs of both.

On the CPU, in single and double precision, a whole program, such as all cycles of a network, runs as one compiled
operation if numba is installed. Everything else (other devices and dtypes, ``torch.func``) takes the plain torch
operations of :func:`reference`, and so does everything if the environment variable ``SCHEMENETS_KERNEL`` is
``reference``. Derivatives of higher order need the latter: the compiled operation refuses them.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from schemenets import kernels
from schemenets.fluxes import Flux
from schemenets.fluxes.linear import FLUX as LINEAR
from schemenets.kernels.reference import correlate, correlate_adjoint, per_filter
from schemenets.multigrid._cycles import Program, Recorder
from schemenets.multigrid.problems import Grid

NO_FILTERS = 5  # length of the filters of which there are none: any one will do that is compiled anyway


def sweep(x: Tensor, b: Tensor, grid: Grid, omega: Tensor, W: Tensor | None, lam: Tensor | None, psi: Flux) -> Tensor:
    """The iterate after one sweep for A(x) = b: x + D^(-½) B(D^(-½)(b - A(x))) with B(z) = ωz + WᵀΨ(Wz).

    Args:
        x: iterates, (batch, N) or (seeds, batch, N).
        b: right-hand sides, of that shape and dtype.
        grid: the problem on N points.
        omega: ω > 0, () or (seeds,); the other weights have seeds where it has.
        W: filters (F, k) or (seeds, F, k); None for damped Jacobi. Around the signals are zeros, so that these may be
            shorter than filters.
        lam: contrasts of Ψ, (F,) or (seeds, F); None if it has none.
        psi: Ψ.

    Returns:
        Of the shape of x, differentiable in all tensors.
    """
    if x.shape[:-2] == omega.shape and is_compiled(grid, psi, x, b, omega, W, lam):
        return run(_alone(grid, "sweep"), x, b, omega[..., None], W, lam, psi)
    return reference(x, b, grid, omega, W, lam, psi)


def reference(
    x: Tensor, b: Tensor, grid: Grid, omega: Tensor, W: Tensor | None, lam: Tensor | None, psi: Flux
) -> Tensor:
    """:func:`sweep` in plain torch operations: any device, any dtype, any number of derivatives."""
    r, D = grid.smoothing(x, b)
    scale = D.rsqrt()
    z = r * scale
    o = omega[..., None, None] * z
    if W is not None:
        d = W.shape[-1] - 1
        s = correlate(pad(z, (d, d)).unsqueeze(-2), W.unsqueeze(-2))
        o = o + correlate_adjoint(psi(s, *per_filter(lam, None)), W.unsqueeze(-2)).squeeze(-2)[..., d : d + grid.N]
    return x + scale * o


def residual(x: Tensor, b: Tensor, grid: Grid) -> Tensor:
    """b - A(x); arguments and result are those of :func:`sweep`."""
    if is_compiled(grid, LINEAR, x, b):
        return run(_alone(grid, "residual"), x, b, x.new_zeros((*x.shape[:-2], 1)), None, None, LINEAR)
    return b - grid(x)


@cache
def _alone(grid: Grid, what: str) -> Program:
    """One instruction."""
    recorder = Recorder(grid)
    if what == "sweep":
        recorder.sweep(recorder.x, recorder.b, grid, 0)
    else:
        recorder.residual(recorder.x, recorder.b, grid)
    return recorder.program()


def is_compiled(grid: Grid, psi: Flux, *tensors: Tensor | None) -> bool:
    """Whether the compiled operation takes these."""
    return (
        type(grid) is Grid  # what others compute is not known here
        and kernels.is_compiled(grid.flux)
        and kernels.is_compiled(psi)
        and not torch.compiler.is_compiling()
        and kernels.are_plain([t for t in tensors if t is not None])
    )


def run(
    program: Program,
    x: Tensor,
    b: Tensor,
    omega: Tensor,
    W: Tensor | None,
    lam: Tensor | None,
    psi: Flux,
    transfers: tuple[Tensor, Tensor] | None = None,
    V: Tensor | None = None,
) -> Tensor:
    """The result of a program, compiled, for x and b as :func:`sweep` has them.

    Args:
        program: what to do.
        x, b: what it begins with.
        omega: (sweeps,) or (seeds, sweeps); the other weights have seeds where it has.
        W: filters (..., F, k), if there are some.
        lam: contrasts (..., F), if there are some.
        psi: Ψ.
        transfers: the stencil r of R (..., 2), and c (...), if the program has transfers.
        V: filters that merge (..., 2, k), if the program has some.
    """
    if W is None:
        W = omega.new_zeros((*omega.shape[:-1], 0, NO_FILTERS if V is None else V.shape[-1]))
    V = omega.new_zeros((*omega.shape[:-1], 2, W.shape[-1])) if V is None else V
    lam = W.new_ones(W.shape[:-1]) if lam is None else lam
    if transfers is None:
        nothing = omega.new_zeros((*omega.shape[:-1], 2))
        transfers = nothing, nothing[..., 0]
    y: Tensor = _Run.apply(x, b, omega, W, lam, *transfers, V, program, psi, torch.is_grad_enabled())
    return y


class _Run(torch.autograd.Function):
    """Saves the weights, and all signals of the program if anything requires a gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, b, *weights, ctx.program, ctx.psi, recording = inputs
        ctx.save_for_backward(*weights)
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        rows = _array(x, 3).shape[:2] if recording and any(ctx.needs_input_grad) else (1, 1)
        ctx.store = np.empty((*rows, ctx.program.size), _array(y, 3).dtype)
        _pass(ctx, False, *(_array(t, 3) for t in (x, b)), *_operands(ctx, weights, x), ctx.store, _array(y, 3))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,), weights = grads, ctx.saved_tensors
        found = [torch.empty_like(grad, memory_format=torch.contiguous_format) for _ in range(2)]
        found += [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in weights]
        outputs = [*(_array(t, 3) for t in (grad, *found[:2])), *(_weights(t, grad.ndim) for t in found[2:])]
        _pass(ctx, True, *_operands(ctx, weights, grad), ctx.store, *outputs)
        return *found, None, None, None


def _operands(ctx: Any, weights: Any, x: Tensor) -> list[Any]:
    numbers = _numbers(ctx.program.grids, x.dtype)
    return [*(_weights(t, x.ndim) for t in weights), numbers, ctx.program.instructions]


def _pass(ctx: Any, derivative: bool, *arrays: Any) -> None:
    from schemenets.multigrid import _fused  # needs numba

    grid, k = ctx.program.grids[0], ctx.saved_tensors[1].shape[-1] if derivative else arrays[3].shape[-1]
    _fused.run(derivative, (grid.flux.scalar, ctx.psi.scalar), (grid.problem.order, grid.problem.screened, k), *arrays)


@cache
def _numbers(grids: tuple[Grid, ...], dtype: torch.dtype) -> Any:
    """σ, τ, the contrast, 1/h^order, and from which |Kx| on Φ(Kx)/Kx is a quotient and not a limit, of every grid."""
    p, eps = grids[0].problem, torch.finfo(dtype).eps
    rows = [[p.sigma, p.tau, p.contrast, grid.h**-p.order, eps**0.5 * p.contrast] for grid in grids]
    return torch.tensor(rows, dtype=dtype).numpy()


def _weights(t: Tensor, ndim: int) -> Any:
    """Weights for signals with ``ndim`` dimensions, with the seeds."""
    array = t.detach().contiguous().numpy()
    return array if ndim == 3 else array[None]


def _array(x: Tensor, ndim: int) -> Any:
    array = x.detach().contiguous().numpy()
    return array if array.ndim == ndim else array[None]
