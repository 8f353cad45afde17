"""The primitives of learned cycles: the residual b - A(x), and a smoothing sweep with it.

On the CPU, in single and double precision, each runs as one compiled operation if numba is installed. Everything else
(other devices and dtypes, ``torch.func``) takes the plain torch operations of :func:`reference`, and so does everything
if the environment variable ``SCHEMENETS_KERNEL`` is ``reference``. Derivatives of higher order need the latter: the
compiled operations refuse them.
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
from schemenets.kernels.reference import correlate, correlate_adjoint, per_filter
from schemenets.solvers.problems import Grid

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
    if x.shape[:-2] == omega.shape and _is_compiled(grid, psi, x, b, omega, W, lam):
        W = omega.new_zeros((*omega.shape, 0, NO_FILTERS)) if W is None else W
        lam = W.new_ones(W.shape[:-1]) if lam is None else lam
        y: Tensor = _Sweep.apply(x, b, omega, W, lam, grid, psi)
        return y
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
    if _is_compiled(grid, grid.flux, x, b):
        r: Tensor = _Residual.apply(x, b, grid)
        return r
    return b - grid(x)


def v_cycle(x: Tensor, b: Tensor, grid: Grid, weights: list[Any], psi: Flux, *, fas: bool) -> Tensor | None:
    """x after one V-cycle with additive skips, as one compiled operation; None where there is none.

    Args:
        x: iterates, (batch, N) or (seeds, batch, N).
        b: right-hand sides, of that shape and dtype.
        grid: the problem on N points.
        weights: those of every level, as :class:`schemenets.solvers.CycleNetwork` has them; the last ones are those of
            all coarser grids as well.
        psi: Ψ.
        fas: whether the coarse right-hand side is that of the full approximation scheme, or Rb alone.
    """
    seeds = weights[0].omega.shape[:-1]
    each = [getattr(own, name) for own in weights for name in ("omega", "W", "lam", "r", "p", "c")]
    if not grid.coarsens or x.shape[:-2] != seeds or not _is_compiled(grid, psi, x, b, *each):
        return None
    omega = _stacked(weights, "omega", seeds)
    W = omega.new_zeros((len(weights), *seeds, 0, NO_FILTERS)) if weights[0].W is None else _stacked(weights, "W", seeds)
    lam = W.new_ones(W.shape[:-1]) if weights[0].lam is None else _stacked(weights, "lam", seeds)
    r, c = _stacked(weights, "r", seeds), _stacked(weights, "c", seeds)
    p = r if weights[0].p is None else _stacked(weights, "p", seeds)
    y: Tensor = _Cycle.apply(x, b, omega, W, lam, r, p, c, grid, psi, fas)
    return y


def _stacked(weights: list[Any], name: str, seeds: torch.Size) -> Tensor:
    """(levels, seeds, ...); weights that are not trained are the same for all seeds."""
    parts = torch.stack([getattr(own, name) for own in weights])
    own = {"c": 0, "W": 2}.get(name, 1)
    return parts if parts.ndim == 1 + len(seeds) + own else parts.unsqueeze(1).expand(len(weights), *seeds, *parts.shape[1:])


def _is_compiled(grid: Grid, psi: Flux, *tensors: Tensor | None) -> bool:
    """Whether the compiled operations take these."""
    return (
        type(grid) is Grid  # what others compute is not known here
        and kernels.backend() == "fused"
        and not torch.compiler.is_compiling()
        and all(kernels._is_plain(t) for t in tensors if t is not None)
        and grid.flux.scalar is not None
        and psi.scalar is not None
    )


class _Residual(torch.autograd.Function):
    """Saves x alone."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, b, ctx.grid = inputs
        ctx.save_for_backward(x)
        r = torch.empty_like(x, memory_format=torch.contiguous_format)
        numbers = _numbers(ctx.grid, x.dtype)
        _run("residual", False, ctx.grid, ctx.grid.flux, 1, *(_array(t, 3) for t in (x, b)), numbers, _array(r, 3))
        return r

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,), (grad,), grid = ctx.saved_tensors, grads, ctx.grid
        dx = torch.zeros_like(x, memory_format=torch.contiguous_format)
        numbers = _numbers(grid, x.dtype)
        _run("residual", True, grid, grid.flux, 1, _array(x, 3), numbers, *(_array(t, 3) for t in (grad, dx)))
        return dx, grad, None


class _Sweep(torch.autograd.Function):
    """Saves nothing but its inputs; the backward pass computes the residual again."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, grid, psi = inputs
        ctx.save_for_backward(*tensors)
        ctx.grid, ctx.psi = grid, psi
        y = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
        _run("sweep", False, grid, psi, tensors[3].shape[-1], *_inputs(tensors, grid), _array(y, 3))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        tensors, (grad,) = ctx.saved_tensors, grads
        x, b, *weights = tensors
        found = [torch.empty_like(x, memory_format=torch.contiguous_format)]
        found += [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (b, *weights)]
        outputs = [_array(t, ndim) for t, ndim in zip((grad, *found), (3, *_DIMENSIONS), strict=True)]
        _run("sweep", True, ctx.grid, ctx.psi, tensors[3].shape[-1], *_inputs(tensors, ctx.grid), *outputs)
        return *found, None, None


class _Cycle(torch.autograd.Function):
    """Saves its inputs, and all iterates of all grids if anything requires a gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, b, *weights, grid, psi, fas = inputs
        ctx.grid, ctx.psi, ctx.fas = grid, psi, np.bool_(fas)
        numbers, grids, size = _levels(grid, x.dtype, weights[0].shape[-1] // 2)
        signals = _array(x, 3).shape[:2] if any(ctx.needs_input_grad) else (1, 1)
        ctx.store, y = np.empty((*signals, size), numbers.dtype), torch.empty_like(x, memory_format=torch.contiguous_format)
        ctx.save_for_backward(*weights)
        arrays = [*_weight_arrays(weights, x.ndim), numbers, grids]
        k = weights[1].shape[-1]
        _run("cycle", False, grid, psi, k, *(_array(t, 3) for t in (x, b)), *arrays, ctx.fas, ctx.store, _array(y, 3))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,), weights = grads, ctx.saved_tensors
        numbers, grids, _ = _levels(ctx.grid, grad.dtype, weights[0].shape[-1] // 2)
        found = [torch.empty_like(grad, memory_format=torch.contiguous_format) for _ in range(2)]
        found += [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in weights]
        inputs = [*_weight_arrays(weights, grad.ndim), numbers, grids, ctx.fas, ctx.store]
        outputs = [*(_array(t, 3) for t in (grad, *found[:2])), *_weight_arrays(found[2:], grad.ndim)]
        _run("cycle", True, ctx.grid, ctx.psi, weights[1].shape[-1], *inputs, *outputs)
        return *found, None, None, None


def _weight_arrays(weights: Any, ndim: int) -> list[Any]:
    """Weights of all levels for signals with ``ndim`` dimensions, with the seeds."""
    return [t.detach().contiguous().numpy() if ndim == 3 else t.detach().contiguous().numpy()[:, None] for t in weights]


_DIMENSIONS = (3, 3, 1, 3, 2)  # of x, b, omega, W, lam with the seeds


def _inputs(tensors: Any, grid: Grid) -> list[Any]:
    arrays = [_array(t, ndim) for t, ndim in zip(tensors, _DIMENSIONS, strict=True)]
    return [*arrays, _numbers(grid, tensors[0].dtype)]


def _run(what: str, derivative: bool, grid: Grid, psi: Flux, k: int, *arrays: Any) -> None:
    from schemenets.solvers import _fused  # needs numba

    scalars: Any = (grid.flux.scalar, psi.scalar)
    _fused.run(what, derivative, scalars, (grid.problem.order, grid.problem.screened, k), *arrays)


@cache
def _numbers(grid: Grid, dtype: torch.dtype) -> Any:
    """σ, τ, the contrast, 1/h^order, and from which |Kx| on Φ(Kx)/Kx is a quotient and not a limit."""
    p = grid.problem
    tiny = torch.finfo(dtype).eps ** 0.5 * p.contrast
    return torch.tensor([p.sigma, p.tau, p.contrast, grid.h**-p.order, tiny], dtype=dtype).numpy()


@cache
def _levels(grid: Grid, dtype: torch.dtype, sweeps: int) -> tuple[Any, Any, int]:
    """What :func:`schemenets.solvers._fused._cycle_passes` has to know of all grids; the length of a row of ``store``."""
    chain = [grid]
    while chain[-1].coarsens:
        chain.append(chain[-1].coarser)
    stages = [2 * sweeps + 3] * (len(chain) - 1) + [4 * sweeps + 2]
    first = np.cumsum([0, *(own.N * count for own, count in zip(chain, stages, strict=True))])
    grids = np.stack(([own.N for own in chain], first[:-1]), axis=1)
    return np.stack([_numbers(own, dtype) for own in chain]), grids, int(first[-1])


def _array(x: Tensor, ndim: int) -> Any:
    array = x.detach().contiguous().numpy()
    return array if array.ndim == ndim else array[None]
