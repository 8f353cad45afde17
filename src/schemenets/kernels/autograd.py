"""The compiled block primitive as operators of torch, ``schemenets::block`` and its derivative.

They are registered at a low level: ``torch.library.custom_op`` would import the compiler of torch, three seconds for
every process. ``torch.compile`` takes them as they are.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemenets.fluxes import Flux
from schemenets.kernels import fused, reference

DIMENSIONS = (4, 4, 2, 4, 2, 3)  # of u, W1, b1, W2, lam, w with the seeds
TENSORS = "Tensor u, Tensor W1, Tensor b1, Tensor W2, Tensor lam, Tensor w, str flux"

_library = torch.library.Library("schemenets", "FRAGMENT")
_library.define(f"block({TENSORS}, Tensor? onto, bool residual) -> Tensor")
_library.define(f"block_backward(Tensor grad, {TENSORS}, bool residual) -> ({', '.join(['Tensor'] * 6)})")
_fluxes: dict[str, Any] = {}


def block(
    u: Tensor,
    W1: Tensor,
    b1: Tensor | None,
    W2: Tensor,
    lam: Tensor | None,
    flux: Flux,
    w: Tensor | None = None,
    onto: Tensor | None = None,
) -> Tensor:
    """``onto`` + W₂ᵀ Φ(W₁u + b₁); see :func:`schemenets.kernels.block`."""
    if b1 is None:
        b1 = u.new_zeros(W1.shape[:-2])
    if lam is None or not flux.scaled:
        lam = u.new_ones(W1.shape[:-2])
    if w is None:
        w = u.new_empty((*W1.shape[:-2], 0))
    residual = onto is u
    y: Tensor = torch.ops.schemenets.block(u, W1, b1, W2, lam, w, _key(flux), None if residual else onto, residual)
    return y


@lru_cache
def _register(flux: Any) -> str:
    key = f"{flux.name} {fused.identity_of(flux.scalar)}"  # fluxes of one name may differ
    _fluxes[key] = flux
    return key


def _key(flux: Flux) -> str:
    """Name of a flux as operators take it."""
    return _register(flux)


# what torch.compiler.assume_constant_result does, after it has imported the compiler
_key._dynamo_marked_constant = True  # type: ignore[attr-defined]


class _Block(torch.autograd.Function):
    """Saves nothing but its inputs; the backward pass computes the pre-activation again."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, flux, onto, residual = inputs
        ctx.save_for_backward(*tensors)
        ctx.flux, ctx.residual, ctx.added = flux, residual, onto is not None
        with torch._C._AutoDispatchBelowAutograd():
            y: Tensor = torch.ops.schemenets.block(*inputs)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        tensors, (grad,) = ctx.saved_tensors, grads
        if torch.is_grad_enabled():
            derivatives = _differentiable_gradients(tensors, grad, _fluxes[ctx.flux], ctx.residual)
        else:
            derivatives = torch.ops.schemenets.block_backward(grad, *tensors, ctx.flux, ctx.residual)
        return *derivatives, None, grad if ctx.added else None, None


def _forward(
    u: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, lam: Tensor, w: Tensor, flux: str, onto: Any, residual: bool
) -> Tensor:
    out = _empty_result(u, W1, b1, W2)
    arrays = _arrays((u, W1, b1, W2, lam, w))
    base = arrays[0] if residual else None if onto is None else _array(onto, 4)
    fused.forward(_fluxes[flux].scalar, arrays, base, _array(out, 4))
    return out


def _backward(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    *tensors, flux, residual = inputs
    found = fused.backward(_fluxes[flux].scalar, _arrays(tensors), _array(grad, 4), residual)
    return tuple(torch.from_numpy(y.reshape(x.shape)) for x, y in zip(tensors, found, strict=True))


def _empty_result(u: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, *rest: Any) -> Tensor:
    return u.new_empty((*u.shape[:-2], W2.shape[-2], u.shape[-1]))


def _empty_derivatives(grad: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in inputs[: len(DIMENSIONS)])


_library.impl("block", _forward, "CPU")
_library.impl("block", _empty_result, "Meta")
_library.impl("block", _Block.apply, "Autograd")
_library.impl("block_backward", _backward, "CPU")
_library.impl("block_backward", _empty_derivatives, "Meta")


def _array(x: Tensor, ndim: int) -> np.ndarray:
    array = x.detach().contiguous().numpy()
    return array if array.ndim == ndim else array[None]


def _arrays(tensors: Any) -> list[np.ndarray]:
    return [_array(x, ndim) for x, ndim in zip(tensors, DIMENSIONS, strict=True)]


def _differentiable_gradients(tensors: Any, grad: Tensor, flux: Flux, residual: bool) -> tuple[Tensor | None, ...]:
    """The gradients as a graph of plain torch operations, for derivatives of higher order."""
    # W2 may be W1: as views they are two variables, and each gets its own share
    views = [x.view_as(x) for x in tensors]
    used = [x for x in views if x.requires_grad]
    u, W1, b1, W2, lam, w = views
    y = reference.block(u, W1, b1, W2, lam, flux, w if flux.weights else None, u if residual else None)
    found = iter(torch.autograd.grad(y, used, grad, create_graph=True, allow_unused=True) if used else ())
    return tuple(next(found) if x.requires_grad else None for x in views)
