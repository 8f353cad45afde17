"""Whether the iterated cycle of a linear problem converges, computed twice.

One cycle maps the error e = x - A⁻¹b to Me with a matrix M that does not depend on b. The iteration converges from
every start if and only if the spectral radius of M is below 1, and then the error falls by that factor per cycle in
the long run. Where the energy norm ‖M‖_A = ‖A^(½)MA^(-½)‖₂ is below 1, it falls by at least that factor in every cycle.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from schemenets.devices import exact_products
from schemenets.errors import InvalidParameterError
from schemenets.multigrid.cycle import STENCILS, CycleNetwork
from schemenets.multigrid.problems import Grid
from schemenets.operators import restriction
from schemenets.schemes._base import Array
from schemenets.schemes.multigrid import CYCLES

ROUNDING = 1e-8  # relative: by which the two computations may differ


@dataclass(frozen=True)
class CycleCertificate:
    """Convergence of an iterated cycle on one grid.

    Attributes:
        length: N.
        radius: spectral radius of M, the columns of which are cycles of the network.
        radius_dense: the same from dense matrices of the weights by the formula of multigrid, without torch's networks.
        energy_norm: ‖M‖_A, infinite for matrices A that are not positive definite.
    """

    length: int
    radius: float
    radius_dense: float
    energy_norm: float

    @property
    def holds(self) -> bool:
        """Whether the iteration converges, and both computations agree."""
        same = abs(self.radius - self.radius_dense) <= ROUNDING * max(1.0, self.radius_dense)
        return bool(same and self.radius_dense < 1)


def certify(network: CycleNetwork, length: int, grid: Grid | None = None) -> CycleCertificate:
    """The certificate of a cycle for a linear problem, in float64.

    Args:
        network: not stacked; with a linear Ψ.
        length: N.
        grid: the problem to solve, for another τ or mesh width; that of the architecture if not given.

    Raises:
        InvalidParameterError: the network is no learned cycle, the problem, that of ``grid`` or Ψ is nonlinear, the
            coarse side is not that of FAS, the operator is not that of the problem, or the grid has another number of
            points.
    """
    if not isinstance(network, CycleNetwork):
        expected = "a learned cycle; schemenets.stability.certify is for networks that denoise"
        raise InvalidParameterError("network", type(network).__name__, expected)
    architecture = network.architecture
    if (dtype := next(network.parameters()).dtype) not in (torch.float32, torch.float64):
        raise InvalidParameterError("precision of the network", dtype, "single or double, which certificates are about")
    if dtype == torch.float32 and not exact_products():
        expected = "single, as after torch.set_float32_matmul_precision('highest')"
        raise InvalidParameterError("precision of matrix products", "TF32 or bfloat16", expected)
    if not architecture.linear:
        expected = "one with a linear problem, a linear Ψ, an additive skip and the coarse side of FAS"
        raise InvalidParameterError("architecture", architecture, expected)
    grid = grid or architecture.problem.on(length)
    if type(grid) is not Grid:
        raise InvalidParameterError("grid", type(grid).__name__, "Grid itself, whose matrices are known")
    if not grid.problem.linear:
        raise InvalidParameterError("flux of the grid", grid.problem.flux, "linear")
    if length != grid.N:
        raise InvalidParameterError("length", length, f"{grid.N}, the points of the grid")
    double = architecture.build().double()
    double.load_state_dict({name: tensor.double() for name, tensor in network.state_dict().items()})
    with torch.inference_mode():
        eye = torch.eye(length, dtype=torch.float64)
        M = double.cycle(eye, torch.zeros_like(eye), grid).numpy().T
    dense = error_matrix(double, grid)
    A = _matrix(grid)
    try:
        root = np.linalg.cholesky(A).T  # ‖M‖_A = ‖RMR⁻¹‖₂ for A = RᵀR
        energy = float(np.linalg.norm(scipy.linalg.solve_triangular(root.T, (root @ M).T, lower=True), 2))
    except np.linalg.LinAlgError:
        energy = np.inf
    return CycleCertificate(length, spectral_radius(M), spectral_radius(dense), energy)


def spectral_radius(M: Array) -> float:
    """The largest absolute value of an eigenvalue."""
    return float(np.abs(np.linalg.eigvals(M)).max())


def error_matrix(network: CycleNetwork, grid: Grid) -> Array:
    """M of one cycle, by dense matrices: S₂(I - P(I - M_c)A_c⁻¹RA)S₁ with the smoothers S = I - BA.

    M_c is that of the cycles on the coarser grid, on the coarsest one (S₂S₁)².
    """
    values = {name: getattr(network.weights, name, None) for name in ("omega", "W", "lam", "r", "c", "V")}
    weights = {name: value.detach().numpy() for name, value in values.items() if value is not None}
    return _error_matrix(weights, grid, network.architecture.kind)


def _error_matrix(own: dict[str, Array], grid: Grid, kind: str) -> Array:
    A, N = _matrix(grid), grid.N
    B = [np.eye(N) * omega + _filters(own.get("W"), N) for omega in own["omega"]]
    scale = np.diag(A) ** -0.5
    smoothers = [np.eye(N) - scale[:, None] * each * scale @ A for each in B]
    half = len(smoothers) // 2
    before, after = (_product(each, N) for each in (smoothers[:half], smoothers[half:]))
    if not grid.coarsens:
        return after @ before @ after @ before
    coarser = grid.coarser
    R = _transfer(own["r"], grid)
    M_c = _product([_error_matrix(own, coarser, each) for each in CYCLES[kind]], coarser.N)
    correction = own["c"] * R.T @ (np.eye(coarser.N) - M_c) @ np.linalg.solve(_matrix(coarser), R @ A)
    return after @ (np.eye(N) - correction) @ before


def _matrix(grid: Grid) -> Array:
    K = grid.diffusion.K.toarray()
    return grid.problem.sigma * np.eye(grid.N) + grid.problem.tau * K.T @ K


def _filters(W: Array | None, N: int) -> Array:
    """WᵀW as a matrix, W acting on signals with zeros around them."""
    total = np.zeros((N, N))
    for w in () if W is None else W:
        # the autocorrelation of the filter, on all diagonals
        products = np.correlate(w, w, "full")
        for offset, value in zip(range(1 - w.size, w.size), products, strict=True):
            if abs(offset) < N:
                total += value * np.eye(N, k=offset)
    return total


def _transfer(r: Array, grid: Grid) -> Array:
    """R with the stencil r: the textbook's entries, replaced by their trained values."""
    R = restriction(grid.N, grid.ends).toarray()
    inner, outer = STENCILS[grid.ends]
    if grid.ends == "dirichlet":
        return np.select([inner == R, outer == R], r, 0.0)
    # at reflecting ends inner and outer entries fall on the same place
    own = np.kron(np.eye(grid.N // 2), [1.0, 1.0])
    return r[0] * own + r[1] * (R - inner * own) / outer


def _product(matrices: list[Array], N: int) -> Array:
    """The matrices one after the other, the first one acting first."""
    product = np.eye(N)
    for matrix in matrices:
        product = matrix @ product
    return product
