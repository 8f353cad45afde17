"""What a flux function declares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError


def where(condition: Any, x: Any, y: Any) -> Any:
    """x if the condition holds, else y: how scalar forms choose, so that vectors of numbers can do it, too."""
    return x if condition else y


@dataclass(frozen=True)
class Flux:
    """A flux function Φ(s) = g(s²) s, the activation function of a diffusion block.

    All fluxes are scaled versions of one function φ of one variable: Φ(s) = λ φ(s/λ) with a contrast
    parameter λ > 0. So Φ'(s) = φ'(s/λ), and L, L' and m below do not depend on λ.

    The shape of some fluxes is given by weights w besides, one row of them per filter. Their φ, φ' and ψ are functions
    of (t, w), where w has a trailing axis for the weights and broadcasts against t without it.

    Attributes:
        name: name in the registry.
        L: sup g, the constant of Euclidean stability.
        L_prime: sup Φ', or a bound of it for all weights in their box.
        m: -inf Φ' (0 for monotone fluxes), or a bound of it, so that Φ' ∈ [-m, L'].
        odd: whether Φ(-s) = -Φ(s).
        monotone: whether Φ is nondecreasing, whatever the weights are.
        nonnegative: whether g ≥ 0, i.e. s Φ(s) ≥ 0.
        scaled: whether Φ depends on λ at all (positively homogeneous fluxes do not, nor those with a fixed scale;
            then Φ = φ).
        phi: φ, elementwise.
        dphi: φ', elementwise.
        psi: the penaliser as a function of t = s/λ: Ψ(s²) = λ² ψ(t), with ψ'(t) = 2 φ(t) and ψ(0) = 0.
        scalar: t ↦ (φ(t), φ'(t)) in plain Python arithmetic and ``math``, for compiled loops; with weights, a tuple
            of numbers, (t, w) ↦ (φ, φ', (∂φ/∂w_0, ...)). Fastest with :func:`where` instead of ``if``, and with no
            other functions than ``sqrt``, ``exp``, ``expm1``, ``fabs``, ``min`` and ``max``. None for a flux that is
            not compiled.
        initial: weights to start training from; none if the shape is fixed.
        box: W, where the weights are to satisfy |w_j| ≤ W.
        bounds: weights (..., j) ↦ m and L' of these, both (...); None if the shape is fixed.
    """

    name: str
    L: float
    L_prime: float
    m: float
    odd: bool
    monotone: bool
    nonnegative: bool
    scaled: bool
    phi: Callable[..., Tensor]
    dphi: Callable[..., Tensor]
    psi: Callable[..., Tensor]
    scalar: Callable[..., tuple] | None
    initial: tuple[float, ...] = ()
    box: float = 0.0
    bounds: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    def __reduce__(self) -> Any:
        """Registered fluxes are pickled by name, as their functions cannot be pickled."""
        from schemenets import fluxes  # which imports this module

        if self.name in fluxes.available() and fluxes.get(self.name) is self:
            return fluxes.get, (self.name,)
        return super().__reduce__()

    @property
    def weights(self) -> int:
        """Number of weights that the shape has."""
        return len(self.initial)

    def __call__(self, s: Tensor, lam: Tensor | float = 1.0, w: Tensor | None = None) -> Tensor:
        """Φ(s) for contrast λ = ``lam``, which broadcasts against ``s``, and weights ``w``, with a trailing axis.

        Raises:
            InvalidParameterError: those of :meth:`arguments`.
        """
        shape = self.arguments(lam, w)
        return lam * self.phi(s / lam, *shape) if self.scaled else self.phi(s, *shape)

    def derivative(self, s: Tensor, lam: Tensor | float = 1.0, w: Tensor | None = None) -> Tensor:
        """Φ'(s); arguments and errors are those of Φ."""
        shape = self.arguments(lam, w)
        return self.dphi(s / lam if self.scaled else s, *shape)

    def energy(self, s: Tensor, lam: Tensor | float = 1.0, w: Tensor | None = None) -> Tensor:
        """½ Ψ(s²) elementwise, an antiderivative of Φ; arguments and errors are those of Φ."""
        shape = self.arguments(lam, w)
        return 0.5 * lam**2 * self.psi(s / lam, *shape) if self.scaled else 0.5 * self.psi(s, *shape)

    def slopes(self, w: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(m, L') with Φ' ∈ [-m, L'], in float64: for every row of the weights ``w`` (..., j), two tensors (...).

        Raises:
            InvalidParameterError: weights that are missing, too many, too few or outside their box.
        """
        shape = self.arguments(1.0, w)
        if self.bounds is None:
            return torch.tensor(self.m, dtype=torch.float64), torch.tensor(self.L_prime, dtype=torch.float64)
        return self.bounds(*shape)

    def arguments(self, lam: Tensor | float, w: Tensor | None) -> tuple[Tensor, ...]:
        """What φ takes after t.

        Raises:
            InvalidParameterError: a number λ ≤ 0; weights that are missing, too many or too few.
        """
        if not isinstance(lam, Tensor) and not lam > 0:
            raise InvalidParameterError("lam", lam, "positive")
        if (0 if w is None else w.shape[-1]) != self.weights:
            expected = f"a last axis of {self.weights} for {self.name!r}" if self.weights else f"none for {self.name!r}"
            raise InvalidParameterError("shape of w", None if w is None else tuple(w.shape), expected)
        return () if w is None else (w,)
