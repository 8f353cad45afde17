"""Searches for what a network amplifies most: signals, and differences between two signals.

Both start from given signals and from random ones of all sizes, work in float64, and count every iterate. They find
lower bounds of what certificates bound from above.
"""

import copy

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from schemenets.errors import InvalidParameterError
from schemenets.networks import DenoisingNetwork

SCALES = (1e-3, 1e-1, 1.0, 1e1, 1e3)  # root mean squares of the starts; signals of the study lie in [0, 1]
NEAR = 1e-4  # half the distance of a pair relative to its midpoint: small, yet rounding takes but 1e-11 of it away


def largest_amplification(
    network: DenoisingNetwork, starts: Tensor, steps: int = 50, rate: float = 0.1, scales: tuple[float, ...] = SCALES
) -> Tensor:
    """Largest ‖N(u)‖₂ / ‖u‖₂ found by gradient ascent; a lower bound of the true maximum.

    Args:
        network: it is not changed.
        starts: (batch, length), for a stacked network (seeds, batch, length), on the scale [0, 1].
        steps: ascent steps.
        rate: length of the first step relative to ‖u‖₂; they shrink linearly.
        scales: root mean squares of random starts, each once smooth and once rough.

    Returns:
        The maximum over the batch, of shape () or (seeds,), in float64.

    Raises:
        InvalidParameterError: a start is zero, or holds NaN or infinite values.
    """
    network, u = _prepared(network, starts, scales)
    largest = torch.zeros(u.shape[:-2], dtype=u.dtype)
    with parametrize.cached():
        for left in range(steps, -1, -1):
            u = u.requires_grad_()
            amplification = _norm(network(u)) / _norm(u)
            largest = torch.maximum(largest, _maximum(amplification))
            (gradient,) = torch.autograd.grad(amplification.sum(), u)
            u = _moved(u.detach(), gradient, rate * left / max(steps, 1))
    return largest


def largest_expansion(
    network: DenoisingNetwork, starts: Tensor, steps: int = 30, rate: float = 0.1, scales: tuple[float, ...] = SCALES
) -> Tensor:
    """Largest ‖N(a) - N(b)‖₂ / ‖a - b‖₂ found; a lower bound of the Lipschitz constant.

    For the close pair a, b = u ± εv and e = (N(a) - N(b)) / ‖N(a) - N(b)‖₂, one pass gives J(a)ᵀe and J(b)ᵀe. Their
    sum is the next direction v, a step of the power iteration on JᵀJ; their difference is the gradient for u, which
    ascends. What is returned are quotients of the network's values themselves, not estimates of derivatives.

    Arguments, result and errors are those of :func:`largest_amplification`.
    """
    network, u = _prepared(network, starts, scales)
    v = torch.randn(u.shape[-2:], generator=torch.Generator().manual_seed(1), dtype=u.dtype)
    v = (v / _norm(v)).expand(u.shape)
    largest = torch.zeros(u.shape[:-2], dtype=u.dtype)
    with parametrize.cached():
        for left in range(steps, -1, -1):
            offset = NEAR * _norm(u) * v
            pair = torch.cat([u + offset, u - offset], dim=-2).requires_grad_()
            difference = _norm(_apart(network(pair)))
            largest = torch.maximum(largest, _maximum(difference.detach() / _norm(_apart(pair.detach()))))
            (gradient,) = torch.autograd.grad(difference.sum(), pair)
            v = _direction(_apart(gradient), otherwise=v)  # as the second half is that of -N(b)
            u = _moved(u, gradient.unflatten(-2, (2, -1)).sum(-3), rate * left / max(steps, 1))
    return largest


def _prepared(network: DenoisingNetwork, starts: Tensor, scales: tuple[float, ...]) -> tuple[DenoisingNetwork, Tensor]:
    """A copy in float64 and all starts."""
    network = copy.deepcopy(network).double().requires_grad_(False)
    starts = starts.detach().double()
    network.check_signals(starts)
    if not _norm(starts).all():
        raise InvalidParameterError("norm of a start", 0.0, "signals that are not zero")
    *seeds, _, length = starts.shape
    generator = torch.Generator().manual_seed(0)
    rough = torch.randn(len(scales), length, generator=generator, dtype=torch.float64)
    both = torch.cat([signal / _norm(signal) for signal in (rough, rough.cumsum(-1))])
    random = torch.tensor(2 * scales, dtype=torch.float64)[:, None] * length**0.5 * both
    return network, torch.cat([starts, random.expand(*seeds, *random.shape)], dim=-2)


def _norm(u: Tensor) -> Tensor:
    return torch.linalg.vector_norm(u, dim=-1, keepdim=True)


def _apart(pair: Tensor) -> Tensor:
    a, b = pair.chunk(2, dim=-2)
    return a - b


def _maximum(quotients: Tensor) -> Tensor:
    """The largest of each seed (..., batch, 1); what overflows counts as not found."""
    return quotients.detach().nan_to_num(nan=0.0, posinf=0.0).amax((-2, -1))


def _direction(x: Tensor, otherwise: Tensor) -> Tensor:
    """x/‖x‖₂, where that is a number."""
    direction = x / _norm(x)
    return torch.where(direction.isfinite().all(-1, keepdim=True), direction, otherwise)


def _moved(u: Tensor, gradient: Tensor, rate: float) -> Tensor:
    return u + rate * _norm(u) * _direction(gradient, otherwise=torch.zeros_like(u))
