"""Searches for the signals, and the differences of two signals, that a network amplifies most.

Both start from given signals and from random ones of all sizes, once for every length of the first step, work in
float64, and count every iterate. From the worst few of each network they climb on until they stall. They find lower
bounds of what certificates bound from above.

Networks with N(0) ≠ 0 amplify small enough signals by any factor. So no iterate is smaller than the smallest start, and
what biases add can be taken off.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from schemenets.errors import InvalidParameterError
from schemenets.networks import DenoisingNetwork
from schemenets.networks._base import has_channels
from schemenets.stability.certificates import as_it_runs

SCALES = (1e-3, 1e-1, 1.0, 1e1, 1e3)  # root mean squares of the starts; signals of the study lie in [0, 1]
NEAR = 1e-4  # half the distance of a pair relative to its midpoint: small, yet rounding takes but 1e-11 of it away
RATES = (0.3, 0.03)  # lengths of first steps relative to the signal
CLIMBERS = 3  # signals of each network from which is climbed on
LONGER, SHORTER = 1.5, 0.5  # factors of the step when climbing, after success and failure
ROUNDING = 1e-12  # relative to the drift, which may be far larger than a signal
STALLED = 1e-3  # no climbing with steps shorter than that, relative to the signal

# (u, v) -> quotient (..., batch, 1), its gradient with respect to u, and the next v
_Measure = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def largest_amplification(
    network: DenoisingNetwork,
    starts: Tensor,
    steps: int = 20,
    climb: int = 300,
    rates: Sequence[float] = RATES,
    scales: tuple[float, ...] = SCALES,
    drift: float | Tensor = 0.0,
) -> Tensor:
    """Largest (rms(N(u)) - drift) / rms(u) found by gradient ascent; a lower bound of the true maximum.

    Without a drift this is ‖N(u)‖₂ / ‖u‖₂.

    Args:
        network: it is not changed.
        starts: what the network takes, such as (batch, length) or (batch, channels, length), for a stacked network
            (seeds, batch, length), on the scale [0, 1].
        steps: ascent steps from every start and for every rate.
        climb: most further steps from the worst signals of all.
        rates: lengths of the first step relative to ‖u‖₂; they shrink linearly.
        scales: root mean squares of random starts, each once smooth and once rough.
        drift: of the certificate, a number or (seeds,).

    Returns:
        The maximum over batch and channels, of shape () or (seeds,), in float64; infinite where an output, or the
        square of its norm, overflows.

    Raises:
        InvalidParameterError: a start is zero, holds NaN or infinite values, or has a shape that does not fit.
    """
    network, u = _prepared(network, starts, scales)
    taken_off = (1 + ROUNDING) * torch.as_tensor(drift, dtype=torch.float64)  # however small u is
    least = taken_off[..., None, None] * u.shape[-1] ** 0.5

    def measure(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u = u.requires_grad_()
        amplification = (_norm(network(u)) - least) / _norm(u)
        (gradient,) = torch.autograd.grad(amplification.sum(), u)
        return amplification.detach(), gradient, v

    return _largest(measure, u, u, steps, climb, rates)


def largest_expansion(
    network: DenoisingNetwork,
    starts: Tensor,
    steps: int = 20,
    climb: int = 300,
    rates: Sequence[float] = RATES,
    scales: tuple[float, ...] = SCALES,
    near: float = NEAR,
) -> Tensor:
    """Largest ‖N(a) - N(b)‖₂ / ‖a - b‖₂ found; a lower bound of the Lipschitz constant.

    For the close pair a, b = u ± εv and e = (N(a) - N(b)) / ‖N(a) - N(b)‖₂, one pass gives J(a)ᵀe and J(b)ᵀe. Their
    sum is the next direction v, a step of the power iteration on JᵀJ; their difference is the gradient for u, which
    ascends. What is returned are quotients of the network's values themselves, not estimates of derivatives.

    Arguments, result and errors are those of :func:`largest_amplification`, and ``near`` is half of ‖a - b‖₂ relative
    to ‖u‖₂: where ‖N(u)‖₂ ≤ c ‖u‖₂, no quotient can be above c √(1 + near²) / near.
    """
    network, u = _prepared(network, starts, scales)
    v = torch.randn(u.shape[-2:], generator=torch.Generator().manual_seed(1), dtype=u.dtype)

    def measure(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        offset = near * _norm(u) * v
        pair = torch.cat([u + offset, u - offset], dim=-2).requires_grad_()
        difference = _norm(_apart(network(pair)))
        (gradient,) = torch.autograd.grad(difference.sum(), pair)
        quotient = difference.detach() / _norm(_apart(pair.detach()))
        # the second half of the gradient is that of -N(b)
        return quotient, gradient.unflatten(-2, (2, -1)).sum(-3), _direction(_apart(gradient), otherwise=v)

    return _largest(measure, u, (v / _norm(v)).expand(u.shape), steps, climb, rates)


def _largest(measure: _Measure, u: Tensor, v: Tensor, steps: int, climb: int, rates: Sequence[float]) -> Tensor:
    """The largest quotient of each seed: from all starts by steps that shrink, then from the best while they rise."""
    least = _norm(u).amin(-2, keepdim=True)
    worst = (u.new_full((*u.shape[:-1], 1), -math.inf), u, v)
    with parametrize.cached():
        for rate in rates:
            at_u, at_v = u, v
            for left in range(steps, -1, -1):
                quotient, gradient, next_v = _measured(measure, at_u, at_v)
                worst = _worse((quotient, at_u, at_v), worst)
                at_u, at_v = _moved(at_u, gradient, rate * left / max(steps, 1), least), next_v
        largest = worst[0].amax((-2, -1))
        if climb:
            index = worst[0].topk(min(CLIMBERS, u.shape[-2]), dim=-2).indices
            u, v = (torch.take_along_dim(x, index, -2) for x in worst[1:])
            largest = torch.maximum(largest, _climbed(measure, u, v, climb, max(rates), least))
    return largest


def _climbed(measure: _Measure, u: Tensor, v: Tensor, steps: int, rate: float, least: Tensor) -> Tensor:
    """The largest quotient of each seed on the way up from these signals, with steps as long as they lead upwards."""
    largest, gradient, next_v = _measured(measure, u, v)
    length = torch.full_like(largest, rate)
    for _ in range(steps):
        moved = _moved(u, gradient, length, least)
        quotient, new_gradient, new_v = _measured(measure, moved, next_v)
        higher = quotient > largest
        largest, u, gradient = (
            torch.where(higher, new, old) for new, old in ((quotient, largest), (moved, u), (new_gradient, gradient))
        )
        next_v = torch.where(higher, new_v, next_v)
        length = length * torch.where(higher, LONGER, SHORTER)
        if (length < STALLED).all() or largest.isinf().all():
            break
    return largest.amax((-2, -1))


def _measured(measure: _Measure, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The quotients, infinite where outputs are not finite."""
    quotient, gradient, next_v = measure(u.detach(), v)
    return quotient.nan_to_num(nan=math.inf, posinf=math.inf), gradient, next_v


def _worse(new: tuple[Tensor, Tensor, Tensor], old: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Quotients and where they are taken, from ``new`` where these are larger."""
    higher = new[0] > old[0]
    quotient, u, v = (torch.where(higher, a.detach(), b) for a, b in zip(new, old, strict=True))
    return quotient, u, v


def _prepared(network: DenoisingNetwork, starts: Tensor, scales: tuple[float, ...]) -> tuple[DenoisingNetwork, Tensor]:
    """A copy in float64, with the values that certificates are about, and all starts."""
    network = as_it_runs(network)
    starts = starts.detach().double()
    if has_channels(network, starts):
        starts = starts.flatten(-3, -2)
    network.check_signals(starts)
    if not _norm(starts).all():
        raise InvalidParameterError("norm of a start", 0.0, "one above 0")
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


def _direction(x: Tensor, otherwise: Tensor) -> Tensor:
    """x/‖x‖₂, where that is a number."""
    direction = x / _norm(x)
    return torch.where(direction.isfinite().all(-1, keepdim=True), direction, otherwise)


def _moved(u: Tensor, gradient: Tensor, rate: Tensor | float, least: Tensor) -> Tensor:
    """A step of a length relative to ‖u‖₂, not below the norm ``least``."""
    u = u.detach()
    u = u + rate * _norm(u) * _direction(gradient, otherwise=torch.zeros_like(u))
    return u * (least / _norm(u)).clamp_min(1)
