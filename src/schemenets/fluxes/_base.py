"""What a flux function declares."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Flux:
    """A flux function Φ(s) = g(s²) s, the activation function of a diffusion block.

    All fluxes are scaled versions of one function φ of one variable: Φ(s) = λ φ(s/λ) with a contrast
    parameter λ > 0. So Φ'(s) = φ'(s/λ), and L, L' and m below do not depend on λ.

    Attributes:
        name: name in the registry.
        L: sup g, the constant of Euclidean stability.
        L_prime: sup Φ'.
        m: -inf Φ' (0 for monotone fluxes), so that Φ' ∈ [-m, L'].
        odd: whether Φ(-s) = -Φ(s).
        monotone: whether Φ is nondecreasing.
        nonnegative: whether g ≥ 0, i.e. s Φ(s) ≥ 0.
        scaled: whether Φ depends on λ at all (positively homogeneous fluxes do not, nor those with a fixed scale;
            then Φ = φ).
        phi: φ, elementwise.
        dphi: φ', elementwise.
        psi: the penaliser as a function of t = s/λ: Ψ(s²) = λ² ψ(t), with ψ'(t) = 2 φ(t) and ψ(0) = 0.
        scalar: t ↦ (φ(t), φ'(t)) in plain Python arithmetic and ``math``, for compiled loops.
    """

    name: str
    L: float
    L_prime: float
    m: float
    odd: bool
    monotone: bool
    nonnegative: bool
    scaled: bool
    phi: Callable[[Tensor], Tensor]
    dphi: Callable[[Tensor], Tensor]
    psi: Callable[[Tensor], Tensor]
    scalar: Callable[[float], tuple[float, float]]

    def __call__(self, s: Tensor, lam: Tensor | float = 1.0) -> Tensor:
        """Φ(s) for contrast λ = ``lam``, which broadcasts against ``s``."""
        return lam * self.phi(s / lam) if self.scaled else self.phi(s)

    def derivative(self, s: Tensor, lam: Tensor | float = 1.0) -> Tensor:
        """Φ'(s) for contrast λ = ``lam``."""
        return self.dphi(s / lam) if self.scaled else self.dphi(s)

    def energy(self, s: Tensor, lam: Tensor | float = 1.0) -> Tensor:
        """½ Ψ(s²) elementwise for contrast λ = ``lam``, an antiderivative of Φ."""
        return 0.5 * lam**2 * self.psi(s / lam) if self.scaled else 0.5 * self.psi(s)
