"""Extrapolation within the ball of the first state, in torch; ``networks/_safeguard.py`` has the theory."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from schemenets.devices import is_dual, is_ordinary

ROUNDING = 4  # machine precisions by which ‖u^{k+1}‖² may exceed its bound, or rounding errors would count as growth


def magnitude(W: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The largest |w|, a constant to divide by, so that squares neither overflow nor all vanish.

    The smallest normal number where all weights are below it, and for zeros.
    """
    return W.detach().abs().amax(dim, keepdim=True).clamp_min(torch.finfo(W.dtype).tiny)


def extrapolated(s_k: Tensor, w: Tensor, previous: Tensor, start: Tensor) -> Tensor:
    """w + s (w - u^{k-1}) with the largest s in [0, s_k] that keeps it in the ball, and s = s_k where s_k ≤ 0.

    Args:
        s_k: of shape (1, 1, 1), in stacked networks (seeds, 1, 1, 1).
        w: explicit step of u^k, (..., batch, channels, length).
        previous: u^{k-1}, of that shape.
        start: u^0, of that shape.

    Returns:
        u^{k+1}, of that shape, with finite derivatives.
    """
    inputs = s_k, w, previous, start
    if torch.compiler.is_compiling() or not all(is_ordinary(x) and not is_dual(x) for x in inputs):
        return _extrapolated(*inputs)
    u: Tensor = _Extrapolation.apply(*inputs)
    return u


def _extrapolated(s_k: Tensor, w: Tensor, previous: Tensor, start: Tensor) -> Tensor:
    """The definition, which torch differentiates as often as wanted, in four times as many passes over the states."""
    d = w - previous
    return w + factor(s_k, w, d, start).s * d


class _Extrapolation(torch.autograd.Function):
    """With its derivative by hand (derived).

    Where the safeguard acts, u = w + s d with d = w - u^{k-1} lies on the sphere, ‖u‖² = ‖v‖² for the longer one v of
    w and u^0, so that ⟨d, u⟩ ds = ⟨v, dv⟩ - ⟨u, dw + s dd⟩ and ⟨d, u⟩ = √(b² + ac) in the letters of :func:`factor`.
    """

    @staticmethod
    def forward(ctx: Any, s_k: Tensor, w: Tensor, previous: Tensor, start: Tensor) -> Tensor:
        d = w - previous
        found = factor(s_k, w, d, start)
        u = torch.addcmul(w, found.s, d)
        ctx.save_for_backward(s_k, w, previous, start, u, *found)
        return u

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (*inputs, u, s, acts, root, inside), (grad,) = ctx.saved_tensors, grads
        if torch.is_grad_enabled():  # for derivatives of higher order
            views = [x.view_as(x) for x in inputs]
            used = [x for x in views if x.requires_grad]
            found = iter(torch.autograd.grad(_extrapolated(*views), used, grad, create_graph=True))
            return tuple(next(found) if x.requires_grad else None for x in views)
        s_k, w, previous, start = inputs
        d = w - previous
        scale = _scale(w, d, start)
        change = _dot(grad, d)  # with respect to s
        p = torch.where(root > 0, change / scale / torch.where(root > 0, root, 1), 0)
        e = torch.addcmul(grad, p, u / scale, value=-1)
        d_w = torch.addcmul((1 + s) * e, torch.where(inside, 0, p), w / scale)
        d_start = torch.where(inside, p, 0) * (start / scale)
        return torch.where(acts, 0, change).sum_to_size(s_k.shape), d_w, -s * e, d_start


class Factor(NamedTuple):
    """How far a step is extrapolated, and what the derivative of that needs; all of shape (..., batch, 1, 1).

    Attributes:
        s: the factor, with finite derivatives.
        acts: whether it is not s_k.
        root: √(b² + ac) where s is a root, for w, d and u^0 with largest value 1, and 0 elsewhere.
        inside: whether ‖w‖ < ‖u^0‖, up to rounding.
    """

    s: Tensor
    acts: Tensor
    root: Tensor
    inside: Tensor


def factor(s_k: Tensor, w: Tensor, d: Tensor, start: Tensor) -> Factor:
    """The largest s in [0, s_k] with ‖w + s d‖ ≤ max(‖w‖, ‖u^0‖), and s_k where it is not positive.

    Args:
        s_k: of shape (1, 1, 1), in stacked networks (seeds, 1, 1, 1).
        w: explicit step of u^k, (..., batch, channels, length).
        d: w - u^{k-1}, of that shape.
        start: u^0, of that shape.
    """
    scale = _scale(w, d, start)  # s does not depend on it, squares overflow and vanish without
    w, d, start = w / scale, d / scale, start / scale
    R2, eps = _dot(start, start), torch.finfo(w.dtype).eps
    # ‖w + s d‖² - ‖w‖² = a s² + 2 b s, which may be as large as c = R² - ‖w‖²
    a, b, c = _dot(d, d), _dot(w, d), (_dot(start + w, start - w) + ROUNDING * eps * R2).clamp_min(0)
    acts = (s_k > 0) & (s_k * (s_k * a + 2 * b) > c)
    square = b * b + a * c
    smallest = eps**2 * torch.maximum(R2, torch.maximum(a, _dot(w, w)))
    regular = acts & (square > smallest**2)  # else s = 0, and the derivative of the root is infinite
    root = torch.where(regular, square, 1).sqrt()
    forward = b > 0  # for either sign of b the form that does not subtract; what is not taken must be finite, too
    positive = c / torch.where(regular & forward, b + root, 1)
    negative = (root - b) / torch.where(regular & ~forward, a, 1)
    s = torch.where(regular, torch.where(forward, positive, negative), torch.where(acts, 0, s_k))
    return Factor(s, acts, torch.where(regular, root, 0), c > 0)


def _scale(w: Tensor, d: Tensor, start: Tensor) -> Tensor:
    """The largest value of all three: with biases, w and d may be far larger than u^0, which may be 0."""
    return magnitude(torch.maximum(torch.maximum(w.abs(), d.abs()), start.abs()), (-2, -1))


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum((-2, -1), keepdim=True)
