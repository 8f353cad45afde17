"""The compiled block primitive as a node of torch's graph."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemenets.fluxes import Flux
from schemenets.kernels import fused, reference

DIMENSIONS = (4, 4, 2, 4, 2, 3)  # of u, W1, b1, W2, lam, w with the seeds


def block(
    u: Tensor, W1: Tensor, b1: Tensor | None, W2: Tensor, lam: Tensor | None, flux: Flux, w: Tensor | None = None
) -> Tensor:
    """W₂ᵀ Φ(W₁u + b₁); see :func:`schemenets.kernels.block`."""
    if b1 is None:
        b1 = u.new_zeros(W1.shape[:-2])
    if lam is None or not flux.scaled:
        lam = u.new_ones(W1.shape[:-2])
    if w is None:
        w = u.new_empty((*W1.shape[:-2], 0))
    y: Tensor = _Block.apply(u, W1, b1, W2, lam, w, flux)
    return y


class _Block(torch.autograd.Function):
    """Saves nothing but its inputs; the backward pass computes the pre-activation again."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, flux = inputs
        ctx.save_for_backward(*tensors)
        ctx.flux = flux
        u, W2 = tensors[0], tensors[3]
        out = u.new_empty((*u.shape[:-2], W2.shape[-2], u.shape[-1]))
        fused.forward(flux.scalar, _arrays(tensors), _array(out, 4))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        tensors, (grad,) = ctx.saved_tensors, grads
        if torch.is_grad_enabled():
            return *_differentiable_gradients(tensors, grad, ctx.flux), None
        derivatives = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in tensors]
        fused.backward(ctx.flux.scalar, _arrays(tensors), _array(grad, 4), _arrays(derivatives))
        return *derivatives, None


def _array(x: Tensor, ndim: int) -> np.ndarray:
    array = x.detach().contiguous().numpy()
    return array if array.ndim == ndim else array[None]


def _arrays(tensors: Any) -> list[np.ndarray]:
    return [_array(x, ndim) for x, ndim in zip(tensors, DIMENSIONS, strict=True)]


def _differentiable_gradients(tensors: Any, grad: Tensor, flux: Flux) -> tuple[Tensor | None, ...]:
    """The gradients as a graph of plain torch operations, for derivatives of higher order."""
    # W2 may be W1: as views they are two variables, and each gets its own share
    views = [x.view_as(x) for x in tensors]
    used = [x for x in views if x.requires_grad]
    u, W1, b1, W2, lam, w = views
    y = reference.block(u, W1, b1, W2, lam, flux, w if flux.weights else None)
    found = iter(torch.autograd.grad(y, used, grad, create_graph=True, allow_unused=True))
    return tuple(next(found) if x.requires_grad else None for x in views)
