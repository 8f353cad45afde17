"""Floating-point operations by formula, which what is counted is compared with."""

import math

from schemenets import fluxes
from schemenets.errors import UnknownNameError
from schemenets.multigrid import CycleArchitecture, Grid
from schemenets.networks import Architecture
from schemenets.networks.multigrid_unet import SWEEPS, coarsens
from schemenets.schemes.multigrid import CYCLES
from schemenets.study.measurements.flops import of_flux, of_residual

# Operations of transfers for every point of the finer grid: R multiplies and adds four numbers for every second point,
# Rᵀ two for every point.
RESTRICTION = 3.5
PROLONGATION = 3


def of_cycle(architecture: CycleArchitecture, grid: Grid) -> int:
    """Operations of one cycle for one signal, by formula: to leading order in the number of points of every level.

    For V-cycles they are at most twice those on the finest grid, so their number is proportional to N.
    """
    kinds = [architecture.kind]
    total, sweeps = 0, 2 * architecture.sweeps
    while grid.coarsens:
        merging = PROLONGATION + (2.5 if architecture.skip == "additive" else 1 + 4 * architecture.kernel_size)
        coarse_side = RESTRICTION
        if architecture.coarse_side == "fas":
            coarse_side += RESTRICTION + of_residual(architecture.problem) + (of_residual(architecture.problem) + 3) / 2
        total += round(len(kinds) * (sweeps * of_sweep(architecture, grid.N) + grid.N * (merging + coarse_side)))
        kinds = [kind for visit in kinds for kind in CYCLES[visit]]
        grid = grid.coarser
    return total + len(kinds) * 2 * sweeps * of_sweep(architecture, grid.N)


def of_network(architecture: Architecture, N: int) -> int:
    """Operations of a network of the registry for one signal of N points, by formula.

    Raises:
        UnknownNameError: a network other than ``multigrid_unet`` and ``unet``.
    """
    if architecture.name == "unet":
        F, k = architecture.filters, architecture.kernel_size
        stride = 2 ** (architecture.blocks - 1)
        N = stride * max(k, math.ceil(N / stride))
        return sum(_of_level(architecture, N >> i, i) for i in range(architecture.blocks)) + (2 * F + 1) * N
    if architecture.name == "multigrid_unet":
        return architecture.blocks * _of_multigrid_unet(architecture, N)
    raise UnknownNameError("network", architecture.name, ("multigrid_unet", "unet"))


def _of_level(architecture: Architecture, N: int, index: int) -> int:
    """Of one level of a U-net: two convolutions and, but on the coarsest, maxima, the way up and two more."""
    C = 2**index * architecture.filters
    total = _of_double_convolution(architecture, C // 2 if index else 1, C, N)
    if index < architecture.blocks - 1:
        total += C * N + (4 * C + 1) * C * N + _of_double_convolution(architecture, 2 * C, C, N)
    return total


def _of_double_convolution(architecture: Architecture, inputs: int, C: int, N: int) -> int:
    activation = C * (1 + _of_flux(architecture.flux))
    M = N - architecture.kernel_size + 1  # positions of filters
    return _of_block(architecture.kernel_size, inputs, C, C, N) + activation * (M + N)


def _of_multigrid_unet(architecture: Architecture, N: int) -> int:
    """Of one V-cycle."""
    k, F = architecture.kernel_size, architecture.filters

    def of_operator(N: int) -> int:
        return _of_block(k, 1, F, 1, N) + F * _of_flux(architecture.flux) * (N - k + 1) + N

    total, sweeps = 0, 2 * SWEEPS
    while coarsens(N, k):
        # sweeps; b - A(x) and A(Rx) + R(b - A(x)), restrictions of x and the residual, and x + cRᵀ(x_c - Rx)
        total += sweeps * (of_operator(N) + 3 * N) + of_operator(N) + 2 * N + of_operator(N // 2) + N // 2
        total += round((2 * RESTRICTION + PROLONGATION + 2.5) * N) + 6  # at the ends
        N //= 2
    return total + 2 * sweeps * (of_operator(N) + 3 * N)


def _of_block(k: int, inputs: int, F: int, outputs: int, N: int) -> int:
    """Of both convolutions of W₂ᵀΦ(W₁u) with F filters."""
    return 2 * k * (inputs + outputs) * F * (N - k + 1) + (k - 1) * outputs * N


def _of_flux(flux: str) -> int:
    return of_flux(flux) + 2 * fluxes.get(flux).scaled


def of_sweep(architecture: CycleArchitecture, N: int) -> int:
    """Operations of a smoothing sweep on N points; filters have k - 1 positions more than there are points."""
    problem, F, k = architecture.problem, architecture.filters, architecture.kernel_size
    # diffusivities and diagonal; the latter is the same for all signals if the problem is linear
    lagged = 0 if problem.linear else 7 + 2 * (problem.order - 1)
    per_filter = 4 * k + _of_flux(architecture.flux)
    filters = (F * per_filter + k) * (N + k - 1) if F else 0
    return N * (of_residual(problem) + lagged + (4 if problem.linear else 5)) + filters
