"""The primitives of learned cycles: the residual b - A(x), and a smoothing sweep with it.

On the CPU, in single and double precision, each runs as one compiled operation if numba is installed. Everything else
(other devices and dtypes, ``torch.func``) takes the plain torch operations of :func:`reference`, and so does everything
if the environment variable ``SCHEMENETS_KERNEL`` is ``reference``. Derivatives of higher order need the latter: the
compiled operations refuse them.
"""

from functools import cache
from typing import Any

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
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
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
        found = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, b)]
        found += [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in weights]
        outputs = [_array(t, ndim) for t, ndim in zip((grad, *found), (3, *_DIMENSIONS), strict=True)]
        _run("sweep", True, ctx.grid, ctx.psi, tensors[3].shape[-1], *_inputs(tensors, ctx.grid), *outputs)
        return *found, None, None


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


def _array(x: Tensor, ndim: int) -> Any:
    array = x.detach().contiguous().numpy()
    return array if array.ndim == ndim else array[None]
