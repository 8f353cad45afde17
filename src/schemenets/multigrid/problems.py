"""Problems that solvers solve and networks learn to solve: σx + τKᵀΦ(Kx) = b on grids of any size.

σ = 1 is the *screened* problem, an implicit diffusion step ([A], Section 5 of [B]); with the linear flux the screened
Poisson problem. σ = 0 with the linear flux is the Poisson problem. K is the first or second difference over h^order.
Every grid discretises the same continuous problem, on an interval of length ``extent``, so that refining the grid is
what makes a problem harder.
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import pad

from schemenets import fluxes
from schemenets.errors import InvalidParameterError, integer
from schemenets.fluxes import Flux
from schemenets.operators import derivative
from schemenets.schemes._base import Array, Diffusion, check_problem, solve_spd
from schemenets.schemes.implicit import newton

ORDERS = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """σx + τKᵀΦ(Kx) = b, whatever the grid.

    Screened problems have reflecting ends and cell-centred grids, which are halved as long as N is even. The others
    have zero values just outside and vertex-centred grids, which are halved as long as N is odd.

    Attributes:
        tau: τ, in the unit of length to the power of twice the order.
        flux: Φ, a name in :mod:`schemenets.fluxes`: linear, or odd with g ≥ 0, the contrast λ and no weights.
        contrast: λ, in the unit of x per unit of length to the power of the order.
        order: m of the derivative ∂ᵐ that K discretises.
        screened: whether σ = 1 instead of 0.
        extent: length of the interval. N points have the mesh width extent/N if screened, else extent/(N + 1).

    Raises:
        InvalidParameterError: a value that is not possible, or a problem without a solution for some b.
    """

    tau: float
    flux: str = "linear"
    contrast: float = 1.0
    order: int = 1
    screened: bool = True
    extent: float = 256.0

    def __post_init__(self) -> None:
        for key in ("tau", "contrast", "extent"):
            if not 0 < getattr(self, key) < math.inf:
                raise InvalidParameterError(key, getattr(self, key), "positive and finite")
        if self.order not in ORDERS:
            raise InvalidParameterError("order", self.order, " or ".join(map(str, ORDERS)))
        flux = fluxes.get(self.flux)
        if not (flux.nonnegative and flux.odd and (flux.scaled or self.linear)) or flux.weights:
            raise InvalidParameterError("flux", self.flux, "linear, or odd with g ≥ 0, a contrast and no weights")
        if not self.screened and not (self.linear and self.order == 1):
            raise InvalidParameterError("screened", False, "True, as for all nonlinear fluxes and order 2")

    def arguments(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)

    @property
    def sigma(self) -> float:
        """σ."""
        return 1.0 if self.screened else 0.0

    @property
    def linear(self) -> bool:
        """Whether the problem is linear in x."""
        return self.flux == "linear"

    def on(self, length: int, h: float | None = None) -> "Grid":
        """The problem on N = ``length`` points, with the mesh width of the whole interval or another one.

        Raises:
            InvalidParameterError: no number of points, or a mesh width that is not positive and finite.
        """
        length = integer("length", length, 1)
        h = self.extent / (length if self.screened else length + 1) if h is None else h
        if not 0 < h < math.inf:
            raise InvalidParameterError("h", h, "positive and finite")
        return _grid(self, length, h)


@dataclass(frozen=True)
class Grid:
    """A problem on N points of mesh width h, with torch for signals (..., N) of any dtype and with SciPy for one.

    Other operators A, for example with variable coefficients, are subclasses: cycles call the grid for the values of A,
    and :meth:`smoothing`. Energy, solution and uniqueness are unknown for these, and refused.
    """

    problem: Problem
    N: int
    h: float

    @property
    def ends(self) -> str:
        """Kind of grid, see :func:`schemenets.operators.restriction`."""
        return "reflecting" if self.problem.screened else "dirichlet"

    @property
    def is_known(self) -> bool:
        """Whether the operator is the one that compiled code has, and not that of a subclass."""
        return type(self) is Grid

    @property
    def rows(self) -> int:
        """Number of rows of K."""
        return self.N if self.problem.order == 2 else self.N - 1 if self.problem.screened else self.N + 1

    @property
    def coarsens(self) -> bool:
        """Whether there is a grid with half as many points."""
        return self.N > 1 and bool(self.N % 2) is not self.problem.screened

    @cached_property
    def coarser(self) -> "Grid":
        """The grid with half as many points, rounded down, of twice the mesh width."""
        return replace(self, N=self.N // 2, h=2 * self.h)

    @cached_property
    def flux(self) -> Flux:
        """Φ."""
        return fluxes.get(self.problem.flux)

    def K(self, x: Tensor) -> Tensor:
        """Kx.

        Raises:
            InvalidParameterError: x does not have the points of the grid.
        """
        if x.shape[-1] != self.N:
            raise InvalidParameterError("points of x", x.shape[-1], f"{self.N}, those of the grid")
        d = self._D(x)
        return (d if self.problem.order == 1 else -self._D_adjoint(d)) / self.h**self.problem.order

    def K_adjoint(self, v: Tensor) -> Tensor:
        """Kᵀv, the exact transpose of :meth:`K`."""
        d = self._D_adjoint(v if self.problem.order == 1 else -self._D(v))
        return d / self.h**self.problem.order

    def __call__(self, x: Tensor) -> Tensor:
        """A(x) = σx + τKᵀΦ(Kx)."""
        p = self.problem
        flow = p.tau * self.K_adjoint(self.flux(self.K(x), p.contrast))
        return x + flow if p.screened else flow

    def smoothing(self, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """What a sweep needs: the residual b - A(x), and D = diag(σI + τKᵀG(x)K) with the diffusivities G of x."""
        p, flux = self.problem, self.flux
        if p.linear:
            return b - self(x), self._diagonal(x.new_ones(self.rows))
        # g is even, and nearer to t = 0 it is its limit, but the derivative of φ(t)/t would be lost in rounding errors
        t = self.K(x) / p.contrast
        size = t.abs().clamp_min(torch.finfo(t.dtype).eps ** 0.5)
        g = flux.phi(size) / size
        flow = p.tau * self.K_adjoint(p.contrast * g * t)
        return b - (x + flow if p.screened else flow), self._diagonal(g)

    def energy(self, x: Tensor, b: Tensor) -> Tensor:
        """σ/2 ‖x‖² + τ/2 Σ Ψ((Kx)²) - ⟨b, x⟩ (...), whose gradient is A(x) - b."""
        self._built_in("energy")
        p = self.problem
        penalty = self.flux.energy(self.K(x), p.contrast).sum(-1)
        return p.sigma / 2 * x.square().sum(-1) + p.tau * penalty - (b * x).sum(-1)

    def _built_in(self, what: str) -> None:
        if not self.is_known:
            raise InvalidParameterError(f"{what} of", type(self).__name__, "Grid itself, whose operator is known")

    def _D(self, x: Tensor) -> Tensor:
        x = pad(x, (1, 1)) if self.ends == "dirichlet" else x
        return x[..., 1:] - x[..., :-1]

    def _D_adjoint(self, v: Tensor) -> Tensor:
        v = pad(v, (1, 1)) if self.ends == "reflecting" else v
        return v[..., :-1] - v[..., 1:]

    def _diagonal(self, g: Tensor) -> Tensor:
        """σ + τ(K∘K)ᵀg."""
        p = self.problem
        if p.order == 1:
            g = pad(g, (1, 1)) if self.ends == "reflecting" else g
            squares = g[..., :-1] + g[..., 1:]
        else:  # rows (1, -2, 1), (-1, 1) at the ends
            own = torch.full((self.N,), 4.0, dtype=g.dtype, device=g.device)
            own[0] = own[-1] = 1.0 if self.N > 1 else 0.0
            g, middle = pad(g, (1, 1)), own * g
            squares = g[..., :-2] + middle + g[..., 2:]
        return p.sigma + p.tau / self.h ** (2 * p.order) * squares

    @cached_property
    def diffusion(self) -> Diffusion:
        """x ↦ KᵀΦ(Kx) with a sparse matrix K, built without torch."""
        p = self.problem
        if self.ends == "reflecting":
            K = derivative(self.N, alpha=(0,) * (p.order - 1) + (1,), h=self.h) if self.N > 1 else sp.csr_array((1, 1))
        else:
            K = sp.diags_array([1.0, -1.0], offsets=[0, -1], shape=(self.N + 1, self.N)) / self.h
        return Diffusion(K, self.flux, p.contrast)

    @cached_property
    def norm_squared(self) -> float:
        """‖K‖² by the formula (2 sin(π(N-1)/(2N))/h)^(2 order), with N+1 instead of N for zero ends."""
        angle = (self.N - 1) / (2 * self.N) if self.ends == "reflecting" else self.N / (2 * (self.N + 1))
        return float((2 * math.sin(math.pi * angle) / self.h) ** (2 * self.problem.order))

    @property
    def unique(self) -> bool:
        """Whether there is certainly only one solution: σ > τm‖K‖², so that the energy is strictly convex.

        Else the energy has saddle points or several minima for some b.
        """
        self._built_in("unique")
        p = self.problem
        return p.linear or p.tau * self.flux.m * self.norm_squared < p.sigma

    def start(self, b: Tensor) -> Tensor:
        """The default start of iterations: b for screened problems, 0 for the others."""
        return b if self.problem.screened else torch.zeros_like(b)

    def solve(self, b: Array, start: Array | None = None) -> Array:
        """The solution for b (N,), to a residual of 1e-12 ‖b‖ or of rounding errors, by banded matrices.

        Where the solution is not :attr:`unique`, it is the stationary point that Newton's method, secured by steps with
        lagged diffusivities, reaches from b, or from ``start``.

        Raises:
            InvalidParameterError: b is not a finite signal of N values, or that residual was not reached.
        """
        self._built_in("solve")
        if self.problem.linear:
            A = self.diffusion
            check_problem(b, A, self.problem.tau)
            eye = sp.eye_array(self.N)
            return solve_spd(self.problem.sigma * eye + self.problem.tau * A.jacobian(b), b)
        return newton(b, self.diffusion, self.problem.tau, start=start)


@cache
def _grid(problem: Problem, length: int, h: float) -> Grid:
    """One object for equal grids, since what they remember is looked up in every sweep."""
    return Grid(problem, length, h)
