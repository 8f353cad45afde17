"""Floating-point operations: counted while a network runs, and by formula.

Every addition, multiplication, division, root, exponential, comparison and maximum of two numbers is one operation;
moving numbers is none. Counted are those of the plain torch operations, the same way for every network.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from schemenets import fluxes
from schemenets.errors import InvalidParameterError, UnknownNameError
from schemenets.multigrid.cycle import CycleArchitecture
from schemenets.multigrid.problems import Grid, Problem
from schemenets.networks import Architecture
from schemenets.networks.multigrid_unet import SWEEPS, coarsens
from schemenets.schemes.multigrid import CYCLES

MOVES = frozenset(
    """_unsafe_view alias as_strided cat clone constant_pad_nd detach empty expand full ones ones_like permute select
    slice split stack t transpose unbind unfold unsqueeze squeeze view zeros zeros_like scalar_tensor _to_copy copy_
    empty_like new_ones new_zeros new_empty reshape fill_ lift_fresh new_full _local_scalar_dense""".split()  # noqa: SIM905
)
ELEMENTWISE = frozenset(
    """abs add clamp clamp_min div exp expm1 maximum minimum mul neg pow reciprocal relu rsqrt sqrt square sub rsub
    sigmoid tanh log where gt lt ge le eq ne isfinite""".split()  # noqa: SIM905
)
REDUCTIONS = {"sum", "amax", "mean", "max", "all"}
PRODUCTS = {"mm", "bmm"}


class _Counter(TorchDispatchMode):
    """Adds up operations."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ELEMENTWISE:
            self.total += result.numel()
        elif name in REDUCTIONS:
            self.total += args[0].numel()
        elif name in PRODUCTS:
            self.total += 2 * result.numel() * args[0].shape[-1]
        elif name not in MOVES:
            raise InvalidParameterError("an operation", name, f"those whose cost is known, see {__name__}")
        return result


@contextmanager
def _plain_kernels() -> Iterator[None]:
    before = os.environ.get("SCHEMENETS_KERNEL")
    os.environ["SCHEMENETS_KERNEL"] = "reference"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SCHEMENETS_KERNEL"]
        else:
            os.environ["SCHEMENETS_KERNEL"] = before


def counted(network: nn.Module, length: int) -> int:
    """Operations that a network takes for one signal of this length, those for its weights not counted.

    These are what a second signal adds, so that constraints, which are computed once, drop out.

    Raises:
        InvalidParameterError: the network runs an operation whose cost is not known.
    """
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    one = torch.ones(1, length, dtype=dtype)
    return counted_step(lambda x, b: network(b), one, one)


def counted_step(step: Callable[[Tensor, Tensor], Tensor], b: Tensor, x: Tensor) -> int:
    """The same for one iteration x ↦ step(x, b), for x and b of shape (1, N)."""
    totals = []
    with torch.no_grad(), _plain_kernels():
        for signals in (1, 2):
            with _Counter() as counter:
                step(*(each.expand(signals, -1).contiguous() for each in (x, b)))
            totals.append(counter.total)
    return totals[1] - totals[0]


def of_cycle(architecture: CycleArchitecture, grid: Grid) -> int:
    """Operations of one cycle for one signal, by formula: to leading order in the number of points of every level.

    For V-cycles they are at most twice those on the finest grid, so their number is proportional to N.
    """
    kinds = [architecture.kind]
    total, sweeps = 0, 2 * architecture.sweeps
    while grid.coarsens:
        merging = 4 if architecture.skip == "additive" else 3 + 4 * architecture.kernel_size
        coarse_side = 2.5  # a restriction
        if architecture.coarse_side == "fas":
            coarse_side += 2.5 + of_residual(architecture.problem) + (of_residual(architecture.problem) + 3) / 2
        total += round(len(kinds) * (sweeps * of_sweep(architecture, grid.N) + grid.N * (merging + coarse_side)))
        kinds = [kind for visit in kinds for kind in CYCLES[visit]]
        grid = grid.coarser
    return total + len(kinds) * 2 * sweeps * of_sweep(architecture, grid.N)


def of_network(architecture: Architecture, N: int) -> int:
    """Operations of a network of the registry for one signal of N points, by formula, with a sum of N to check it.

    Raises:
        UnknownNameError: a network other than ``multigrid_unet`` and ``unet``.
    """
    check = N
    if architecture.name == "unet":
        F, k = architecture.filters, architecture.kernel_size
        stride = 2 ** (architecture.blocks - 1)
        N = stride * max(k, math.ceil(N / stride))
        return sum(_of_level(architecture, N >> i, i) for i in range(architecture.blocks)) + (2 * F + 1) * N + check
    if architecture.name == "multigrid_unet":
        return architecture.blocks * _of_multigrid_unet(architecture, N) + check
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
        # sweeps; the residual and A(Rx); restrictions of x and residual, the other sum, and the correction
        total += sweeps * (of_operator(N) + 3 * N) + of_operator(N) + of_operator(N // 2) + 15 * N
        N //= 2
    return total + 2 * sweeps * (of_operator(N) + 3 * N)


def _of_block(k: int, inputs: int, F: int, outputs: int, N: int) -> int:
    """Of both convolutions of W₂ᵀΦ(W₁u) with F filters."""
    return 2 * k * (inputs + outputs) * F * (N - k + 1) + (k - 1) * outputs * N


def _of_flux(flux: str) -> int:
    return COST[flux] + 2 * fluxes.get(flux).scaled


def of_residual(problem: Problem) -> int:
    """Operations per point of b - A(x)."""
    flux = 0 if problem.linear else COST[problem.flux] + 2
    return 6 + problem.screened + 4 * (problem.order - 1) + flux


def of_sweep(architecture: CycleArchitecture, N: int) -> int:
    """Operations of a smoothing sweep on N points; filters have k - 1 positions more than there are points."""
    problem, F, k = architecture.problem, architecture.filters, architecture.kernel_size
    # diffusivities and diagonal; the latter is the same for all signals if the problem is linear
    lagged = 0 if problem.linear else 7 + 2 * (problem.order - 1)
    per_filter = 4 * k + _of_flux(architecture.flux)
    filters = (F * per_filter + k) * (N + k - 1) if F else 0
    return N * (of_residual(problem) + lagged + (4 if problem.linear else 5)) + filters


COST = {
    "linear": 0,
    "relu": 1,
    "charbonnier": 4,
    "tv_regularised": 4,
    "perona_malik": 3,
    "exponential_perona_malik": 4,
    "weickert": 9,
    "fab": 9,
}  # of φ
