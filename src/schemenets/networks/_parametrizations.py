"""Constraints as parametrizations (:mod:`torch.nn.utils.parametrize`): a constrained network is an ordinary network.

All of them accept leading seed dimensions, so they hold in stacked networks too. Values that are assigned have to lie
in the range of the constraint, and to be of the shape and precision of what they replace; or a number for a number.
"""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

from schemenets import operators
from schemenets.devices import is_readable
from schemenets.errors import InvalidParameterError
from schemenets.kernels.extrapolation import magnitude

SAFETY = 1e-6  # by which constraints are stricter than their limits: more than rounding in single precision takes away
LARGEST_NORM = 1e4  # of filters
LARGEST = 30.0  # of |θ| in exp θ: single precision still holds the value, its inverse and their squares


def largest(dtype: torch.dtype) -> float:
    """Of |θ| in exp θ, in a precision that may hold the value and its inverse for smaller ones only."""
    return min(LARGEST, -math.log(torch.finfo(dtype).tiny))


class Constraint(nn.Module):
    """What constraints share: the name of the value that they constrain, for messages."""

    name = "value"

    def check(self, value: Tensor, inside: Tensor, expected: str) -> None:
        """Make sure that all of the value is inside, where it can be looked at.

        Raises:
            InvalidParameterError: some of it is not.
        """
        if is_readable(value) and not inside.all():
            first = value[~inside].flatten()[0].item()
            raise InvalidParameterError(self.name, float(f"{first:.7g}"), expected)


def constrain(module: nn.Module, name: str, constraint: Constraint) -> None:
    """Constrain a parameter of the module, whose initial value is what it is before."""
    constraint.name = name
    register_parametrization(module, name, constraint)
    cls: Any = type(module)  # of this module alone
    assigned = getattr(cls, name)

    def assign(self: Any, value: Any) -> None:
        assigned.fset(self, _fitting(name, value, self.parametrizations[name].original))

    setattr(cls, name, assigned.setter(assign))


def _fitting(name: str, value: Any, like: Tensor) -> Tensor:
    """The value that is assigned, a number as a tensor.

    Raises:
        InvalidParameterError: it is neither a number nor a tensor, or of another shape or precision.
    """
    kind = f"{tuple(like.shape)} {like.dtype}"
    if isinstance(value, Real) and not isinstance(value, bool) and not like.ndim:
        return like.new_tensor(float(value))
    if not isinstance(value, Tensor):
        expected = f"a {'tensor' if like.ndim else 'number, or a tensor'} of shape and dtype {kind}"
        raise InvalidParameterError(name, value, expected)
    if value.shape != like.shape or value.dtype != like.dtype:
        raise InvalidParameterError(f"shape and dtype of {name}", f"{tuple(value.shape)} {value.dtype}", kind)
    return value


def check_precision(network: nn.Module) -> None:
    """Make sure that positive values are in the range of the precision that the network has.

    Raises:
        InvalidParameterError: half precision does not hold a value, or its inverse.
    """
    for constraints in network.modules():
        if isinstance(constraints, ParametrizationList) and isinstance(constraint := constraints[0], Positive):
            theta: Any = constraints.original
            if largest(theta.dtype) < LARGEST:
                constraint.check_held(theta.float().exp(), theta)


class Positive(Constraint):
    """θ ↦ exp θ, with θ held in [-30, 30], in half precision less, where neither value nor inverse overflows."""

    def forward(self, theta: Tensor) -> Tensor:
        most = largest(theta.dtype)
        return theta.clamp(-most, most).exp()

    def right_inverse(self, value: Tensor) -> Tensor:
        theta = value.log()
        self.check_held(value, theta)
        return theta

    def check_held(self, value: Tensor, theta: Tensor) -> None:
        """Make sure that a value, exp θ, is in the range.

        Raises:
            InvalidParameterError: it is not.
        """
        most, rounding = largest(theta.dtype), max(SAFETY, torch.finfo(theta.dtype).eps)
        where = f" in {theta.dtype}" if most < LARGEST else ""
        expected = f"a number from {math.exp(-most):.2g} to {math.exp(most):.2g}{where}"
        self.check(value, theta.abs() <= most + rounding * most, expected)


class Below(Constraint):
    """θ ↦ limit · sigmoid θ, in (0, limit) for whatever θ, as the limit is lowered by a safety margin."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.nominal, self.limit = limit, limit * (1 - SAFETY)

    def forward(self, theta: Tensor) -> Tensor:
        return self.limit * theta.sigmoid()

    def right_inverse(self, value: Tensor) -> Tensor:
        expected = f"a number above 0 and below {self.nominal:.6g}, the limit of a certified network"
        self.check(value, (value > 0) & (value < self.nominal), expected)
        return (value / self.limit).clamp_max(1 - torch.finfo(value.dtype).eps).logit()


class Stable(Below):
    """θ ↦ limit · sigmoid θ/‖K‖², a share of the largest stable step size for whatever filters K the block has.

    They stay free, as the condition is about τ‖K‖². A value that is assigned has to fit the filters of that time.
    """

    def __init__(self, block: Any, limit: float) -> None:
        super().__init__(limit)
        self._block = (block,)  # no part of this module

    def forward(self, theta: Tensor) -> Tensor:
        return super().forward(theta) / self._squared_norm()

    def right_inverse(self, value: Tensor) -> Tensor:
        return super().right_inverse(value * self._squared_norm())

    def _squared_norm(self) -> Tensor:
        K = self._block[0].K
        bound = operators.norm_bound(K).clamp_min(torch.finfo(K.dtype).eps) * (1 + SAFETY)  # K = 0 stays 0
        return bound.square()

    def check(self, value: Tensor, inside: Tensor, expected: str) -> None:
        squared = self._squared_norm()
        limit = (self.nominal / squared).min().item() if is_readable(squared) else math.nan
        expected = f"a number above 0 and below {limit:.6g}, the limit of a certified network with these filters"
        super().check(value / squared, inside, expected)


class Within(Constraint):
    """θ ↦ limit · tanh θ, in (-limit, limit)."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, theta: Tensor) -> Tensor:
        return self.limit * theta.tanh()

    def right_inverse(self, value: Tensor) -> Tensor:
        self.check(value, value.abs() <= self.limit, f"a number from {-self.limit:g} to {self.limit:g}")
        largest = 1 - torch.finfo(value.dtype).eps
        return (value / self.limit).clamp(-largest, largest).atanh()


class Unit(Constraint):
    """v ↦ v/‖v‖₂, so ‖v‖₂ ≤ 1 for whatever v; of what is assigned, only the direction counts."""

    def forward(self, v: Tensor) -> Tensor:
        v = v / magnitude(v, -1)
        norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)  # 0 stays 0
        return v / (norm * (1 + SAFETY))

    def right_inverse(self, v: Tensor) -> Tensor:
        self.check(v, v.isfinite(), "finite numbers")
        return v


class Bounded(Constraint):
    """W ↦ W, but for ‖W‖₂ > 10⁴, far beyond all that is of use: shortened to that, so that squares do not overflow."""

    def forward(self, W: Tensor) -> Tensor:
        size = magnitude(W, (-3, -2, -1))
        direction = W / size
        norm = direction.square().sum((-3, -2, -1), keepdim=True).sqrt()
        return direction * torch.minimum(size, LARGEST_NORM / norm.clamp_min(torch.finfo(W.dtype).tiny))

    def right_inverse(self, W: Tensor) -> Tensor:
        self.check(W, W.isfinite(), "finite numbers")
        return W


class UnitNorm(Constraint):
    """W ↦ W / β(W) with the certified bound β(W) ≥ ‖W‖ of :func:`schemenets.operators.norm_bound`, so ‖W‖ ≤ 1.

    Of what is assigned, the size does not count.
    """

    def forward(self, W: Tensor) -> Tensor:
        W = W / magnitude(W, (-3, -2, -1))
        bound = operators.norm_bound(W).clamp_min(torch.finfo(W.dtype).tiny)  # W = 0 stays 0
        return W / (bound * (1 + SAFETY))[..., None, None, None]

    def right_inverse(self, W: Tensor) -> Tensor:
        self.check(W, W.isfinite(), "finite numbers")
        return W
