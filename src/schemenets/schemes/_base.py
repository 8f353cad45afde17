"""What all schemes share: the diffusion operator u ↦ KᵀΦ(Ku) on NumPy arrays, and what a scheme declares."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray

from schemenets.errors import InvalidParameterError, integer
from schemenets.fluxes import Flux

Array = NDArray[np.float64]


class Diffusion:
    """The negative right-hand side of diffusion, A(u) = KᵀΦ(Ku), the gradient of E(u) = ½ Σ Ψ((Ku)²) ([A]).

    Args:
        K: matrix (rows, N), SciPy sparse or dense; several filters are stacked along the rows.
        flux: Φ.
        lam: contrast λ, one number or one per row of K.
        w: weights of the shape of Φ, (weights,) or (rows, weights); None for fluxes that have none.

    Raises:
        InvalidParameterError: ``lam`` is not positive, or the weights do not fit the flux.
    """

    def __init__(self, K: sp.sparray | ArrayLike, flux: Flux, lam: ArrayLike = 1.0, w: ArrayLike | None = None) -> None:
        self.K = sp.csr_array(K, dtype=np.float64)
        self.flux = flux
        self.lam = torch.as_tensor(lam, dtype=torch.float64)
        if not bool(((self.lam > 0) & self.lam.isfinite()).all()):
            raise InvalidParameterError("lam", lam, "positive and finite")
        if self.lam.shape not in ((), self.K.shape[:1]):
            raise InvalidParameterError("shape of lam", tuple(self.lam.shape), f"() or {self.K.shape[:1]}")
        self.w = None if w is None else torch.as_tensor(w, dtype=torch.float64)
        flux.slopes(self.w)  # refuses weights that do not fit

    def __call__(self, u: Array) -> Array:
        """KᵀΦ(Ku) of u, shape (N,)."""
        return self.K.T @ self._elementwise(self.flux, self.K @ u)

    def energy(self, u: Array) -> float:
        """E(u)."""
        return float(self._elementwise(self.flux.energy, self.K @ u).sum())

    def lagged(self, u: Array) -> sp.dia_array:
        """KᵀG(u)K with the diffusivities G = diag(g((Ku)²)), so that A(u) = KᵀG(u)K u."""
        s = self.K @ u
        zero = s == 0
        s = np.where(zero, 1.0, s)
        g = self._elementwise(self.flux, s) / s
        g[zero] = self._elementwise(self.flux.derivative, np.zeros_like(s))[zero]  # lim Φ(s)/s
        return self._weighted(g)

    def jacobian(self, u: Array) -> sp.dia_array:
        """Kᵀ diag(Φ'(Ku)) K, the Hessian of E."""
        return self._weighted(self._elementwise(self.flux.derivative, self.K @ u))

    @cached_property
    def norm_squared(self) -> float:
        """‖K‖², by singular value decomposition."""
        return float(np.linalg.norm(self.K.toarray(), 2) ** 2)

    def _elementwise(self, function: Callable[..., torch.Tensor], s: Array) -> Array:
        return function(torch.from_numpy(s), self.lam, self.w).numpy()

    def _weighted(self, weights: Array) -> sp.dia_array:
        """Kᵀ diag(weights) K."""
        products, width = self._products
        N = self.K.shape[1]
        bands = (products @ weights).reshape(2 * width + 1, N)
        return sp.dia_array((bands, np.arange(-width, width + 1)), shape=(N, N))

    @cached_property
    def _products(self) -> tuple[sp.csr_array, int]:
        """The bands of Kᵀ diag(weights) K as a matrix for the weights, and how many there are beside the diagonal."""
        K, (rows, N) = self.K, self.K.shape
        row = np.repeat(np.arange(rows), np.diff(K.indptr))
        partners = np.diff(K.indptr)[row]  # of every entry, those of its row
        first = np.repeat(np.arange(K.nnz), partners)
        before = np.repeat(np.cumsum(partners) - partners, partners)
        second = np.arange(first.size) - before + np.repeat(K.indptr[row], partners)
        i, j = K.indices[first], K.indices[second]
        width = int(np.abs(j - i).max(initial=0))
        places = (j - i + width) * N + j
        values = K.data[first] * K.data[second]
        return sp.csr_array((values, (places, row[first])), shape=((2 * width + 1) * N, rows)), width


def check_problem(f: Array, A: Diffusion, tau: float) -> None:
    """Make sure that a step from f with the operator A and the step size τ is possible.

    Raises:
        InvalidParameterError: f is not of the length that A takes or not finite, or τ is not positive and finite.
    """
    if np.shape(f) != A.K.shape[1:]:
        raise InvalidParameterError("shape of the signal", np.shape(f), f"{A.K.shape[1:]}, the columns of the operator")
    if not np.isfinite(f).all():
        raise InvalidParameterError("a value of the signal", f[~np.isfinite(f)][0].item(), "finite values")
    if not 0 < tau < np.inf:
        raise InvalidParameterError("tau", tau, "positive and finite")


def checked(run: Callable[..., Array]) -> Callable[..., Array]:
    """``run`` of a scheme, (f, A, τ, n, ...) ↦ u, that refuses invalid arguments."""

    @wraps(run)
    def refusing(f: Array, A: Diffusion, tau: float, n: int, *more: float | None, **named: float | None) -> Array:
        check_problem(f, A, tau)
        return run(f, A, tau, integer("number of steps", n, 0), *more, **named)

    return refusing


def solve_spd(A: sp.sparray, b: Array) -> Array:
    """A⁻¹b for a symmetric positive definite banded A.

    Raises:
        numpy.linalg.LinAlgError: A is not positive definite.
    """
    A = A.todia()
    width = int(A.offsets.max())
    bands = np.zeros((width + 1, A.shape[0]))
    upper = A.offsets >= 0
    bands[width - A.offsets[upper], : A.data.shape[1]] = A.data[upper]
    return scipy.linalg.solveh_banded(bands, b)


@dataclass(frozen=True)
class Scheme:
    """What a time-stepping scheme declares; the tests measure it.

    Attributes:
        order: order of accuracy in the step size τ at a fixed time.
        step_limit: diffusion operator ↦ largest τ for which a *linear* diffusion (or, with ``decreases_norm``, any
            with 0 ≤ g ≤ L) stays bounded; infinite for unconditionally stable schemes.
        decreases_norm: whether no step increases ‖u‖₂ for τ up to the limit, for any flux with g ≥ 0.
        conserves_mean: whether the mean of u is kept wherever K annihilates constants.
        run: (f, A, τ, n) ↦ u after n steps of size τ from u = f.
        stopping_time: (τ, n) ↦ the time t that these n steps reach.
    """

    order: int
    step_limit: Callable[[Diffusion], float]
    decreases_norm: bool
    conserves_mean: bool
    run: Callable[[Array, Diffusion, float, int], Array]
    stopping_time: Callable[[float, int], float] = lambda tau, n: tau * n
