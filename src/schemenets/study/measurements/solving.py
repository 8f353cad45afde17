"""How close networks and numerical schemes come to the solutions of a problem, applied once and iterated."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError
from schemenets.multigrid import CycleNetwork, Grid, LearnedEquation, iterate
from schemenets.multigrid.certificates import spectral_radius
from schemenets.multigrid.data import Condition
from schemenets.multigrid.iteration import Equation
from schemenets.networks.multigrid_unet import SWEEPS, MultigridUNet, coarsens
from schemenets.schemes import fas
from schemenets.schemes._base import Diffusion
from schemenets.schemes.implicit import residual

TOLERANCE, LIMIT = 1e-8, 60  # of the relative residual; most cycles
FEW = 4  # right-hand sides that are iterated
CERTIFIED = 512  # points up to which dense matrices are computed
ITERATED = ("home", "finer", "tau")  # kinds of conditions
OF_OWN = ("home", "longer")  # those of networks that know nothing about mesh widths and τ
AT_ONCE = 4096  # points of all signals of a seed that pass through a network at once

Step = Callable[[Tensor, Tensor], Tensor]


def pair(arrays: Mapping[str, np.ndarray], condition: Condition) -> tuple[Tensor, Tensor]:
    """Right-hand sides and solutions of a condition, from the arrays of its data set."""
    b, x = (torch.from_numpy(arrays[f"{condition.name}/{part}"]) for part in ("b", "x"))
    return b, x


def tested(stacked: torch.nn.Module, condition: Condition, b: Tensor, x: Tensor) -> dict[str, np.ndarray]:
    """Means over the right-hand sides, for every seed, after one application of stacked networks.

    Returns:
        ``relative_error``: ‖y - x‖/‖x‖, NaN where x need not be the only solution; ``residual``: ‖b - A(y)‖/‖b‖;
        ``energy_gap``: E(y) - E(x) over that of the start of the iterations. Each of shape (seeds,).
    """
    grid, seeds = condition.grid, len(next(stacked.parameters()))
    with torch.inference_mode():
        parts = b.split(max(1, AT_ONCE // grid.N))
        y = torch.cat([applied(stacked, part.expand(seeds, *part.shape), grid) for part in parts], 1)
        return {key: values.mean(-1).numpy() for key, values in measures(y, b, x, grid).items()}


def measures(y: Tensor, b: Tensor, x: Tensor, grid: Grid) -> dict[str, Tensor]:
    """The same for every right-hand side, of approximations y (..., N) of solutions x."""
    gap = (grid.energy(y, b) - grid.energy(x, b)) / (grid.energy(grid.start(b), b) - grid.energy(x, b))
    errors = (y - x).norm(dim=-1) / x.norm(dim=-1)
    return {
        "relative_error": errors if grid.unique else torch.full_like(errors, torch.nan),
        "residual": (b - grid(y)).norm(dim=-1) / b.norm(dim=-1),
        "energy_gap": gap,
    }


def applied(stacked: Any, b: Tensor, grid: Grid) -> Tensor:
    """Outputs of networks; cycles are given the problem, others know only that of their training."""
    if not isinstance(stacked, CycleNetwork):
        y: Tensor = stacked(b)
        return y
    x = grid.start(b)
    for _ in range(stacked.architecture.cycles):
        x = stacked.cycle(x, b, grid)
    return x


def kinds_iterated(network: Any) -> tuple[str, ...]:
    """Kinds of conditions under which a network is iterated as a solver."""
    if isinstance(network, CycleNetwork):
        # without fixed points there is nothing to converge to, and one grid is enough to show it
        return ITERATED if network.architecture.consistent else ITERATED[:1]
    return OF_OWN if isinstance(network, MultigridUNet) else ()


def iterated(stacked: Any, nets: Sequence[Any], condition: Condition, b: Tensor, x: Tensor) -> dict[str, np.ndarray]:
    """Whether iterated cycles converge for some right-hand sides, and whether solutions are fixed points, by seed.

    Learned cycles are iterated for the given equation, with the solutions x. Of multigrid U-nets the last block is
    iterated, for the equation that it has learned, which :class:`~schemenets.multigrid.LearnedEquation` solves.

    Args:
        stacked: the networks.
        nets: the same, one by one.
        b, x: right-hand sides and solutions, (batch, N).

    Returns:
        ``converged``: share of b that reach the tolerance; ``iterations``: most cycles to it, NaN if one did not reach
        it; ``factor``: the worst; ``moved``: largest ‖cycle(x) - x‖/‖x‖ for a solution x of the equation in question,
        with the right-hand side A(x), which it solves exactly;
        ``local_radius``: spectral radius of the derivative of a cycle at the first of these solutions, below 1 if and
        only if iterations from near enough converge to it exponentially, NaN on grids of more than :data:`CERTIFIED`
        points, and where solutions are no fixed points; ``own_error``: mean distance of these solutions to the given
        ones, relative to those, NaN where these need not be unique or the network is given the equation; ``from_fas``:
        largest relative distance of the cycle from b to that of :func:`by_scheme`, NaN if the network is given the
        equation. Each of shape (seeds,).
    """
    grid = condition.grid
    if isinstance(stacked, CycleNetwork):
        many_b, many_x = (each.expand(len(nets), *each.shape) for each in (b, x))
        found = _iterated(partial(stacked.cycle, grid=grid), grid, many_b, many_x, grid.start(many_b))
        radii = unknown = np.full(len(nets), np.nan)
        if grid.N <= CERTIFIED and stacked.architecture.consistent:
            radii = np.array([local_radius(partial(net.cycle, grid=grid), b[:1], x[:1]) for net in nets])
        return found | {"local_radius": radii, "own_error": unknown, "from_fas": unknown}
    every = []
    for network in nets:
        equation = LearnedEquation(network.applied[-1], grid.N)
        try:
            own = torch.from_numpy(np.stack([equation.solve(row) for row in b.numpy()]))
        except InvalidParameterError:  # no solution found
            own = torch.full_like(b, torch.nan)
        error = ((own - x).norm(dim=-1) / x.norm(dim=-1)).mean() if grid.unique else torch.tensor(torch.nan)
        radius = local_radius(network.cycle, b[:1], own[:1]) if grid.N <= CERTIFIED else np.nan
        with torch.inference_mode():
            once = network.cycle(b, b)
        scheme = torch.from_numpy(np.stack([by_scheme(equation, row) for row in b.numpy()]))
        apart = ((once - scheme).norm(dim=-1) / scheme.norm(dim=-1)).max()
        measured = {"local_radius": np.asarray(radius), "own_error": error.numpy(), "from_fas": apart.numpy()}
        every.append(_iterated(network.cycle, equation, b, own, b) | measured)
    return {key: np.stack([found[key] for found in every]) for key in every[0]}


def by_scheme(equation: LearnedEquation, b: np.ndarray) -> np.ndarray:
    """The cycle of a multigrid U-net's block from b, shape (N,), by the NumPy scheme with the block's weights.

    A second way to the same numbers: operators and transfers as matrices, the cycle of
    :mod:`schemenets.schemes.fas`, and this network's smoother and coarsest grid.
    """
    block, levels, diagonals = equation.block, [], {}
    with torch.no_grad():
        K, r, omega = (each.numpy() for each in (block.K, block.r.flatten(), block.omega))
        tau, c, s = (float(each) for each in (block.tau, block.c, block.s))
    N, depth = b.size, 0
    while True:
        A = equation.operator(N, s**depth)
        diagonals[N] = 1 + tau * A.flux.L * float(np.square(s**depth * K).sum())
        if not coarsens(N, K.shape[-1]):
            levels.append(fas.Level(A, sp.csr_array((0, N)), sp.csr_array((N, 0))))
            break
        R = np.zeros((N // 2, N + 2))  # on the signal mirrored by one value
        for row in range(N // 2):
            R[row, 2 * row : 2 * row + 4] = r
        R[:, 1] += R[:, 0]
        R[:, -2] += R[:, -1]
        levels.append(fas.Level(A, sp.csr_array(R[:, 1:-1]), sp.csr_array(c * R[:, 1:-1].T)))
        N, depth = N // 2, depth + 1

    def smoother(x: np.ndarray, b: np.ndarray, A: Diffusion, tau: float, damping: float) -> np.ndarray:
        return x + damping * residual(x, b, A, tau) / diagonals[x.size]

    def coarsest(x: np.ndarray, b: np.ndarray, A: Diffusion, tau: float) -> np.ndarray:
        for damping in np.tile(omega, 2):
            x = smoother(x, b, A, tau, damping)
        return x

    return fas.cycle(levels, b, b, tau, (SWEEPS, SWEEPS), omega, smoother=smoother, coarsest=coarsest)


def _iterated(step: Step, equation: Equation, b: Tensor, x: Tensor, start: Tensor) -> dict[str, np.ndarray]:
    found = iterate(step, equation, b, start, TOLERANCE, LIMIT)
    with torch.inference_mode():
        # x solves for b up to a residual of 1e-12, which trained cycles may amplify by 1e5; for this it solves exactly
        solved = torch.where(x.isfinite().all(-1, keepdim=True), equation(x), b)  # unless no solution has been found
        moved = (step(x, solved) - x).norm(dim=-1) / x.norm(dim=-1)
    return {
        "converged": found.iterations.isfinite().double().mean(-1).numpy(),
        "iterations": found.iterations.amax(-1).numpy(),
        "factor": found.factor.amax(-1).numpy(),
        "moved": moved.amax(-1).numpy(),
    }


def local_radius(step: Step, b: Tensor, x: Tensor) -> float:
    """Spectral radius of the derivative of step(x, b) in x; NaN where that is not finite.

    Args:
        b, x: one signal each, (1, N).
    """
    N = x.shape[-1]
    # each row n of the matrix needs its own copy of x
    copies = x.expand(N, N).clone().requires_grad_()
    values = step(copies, b.expand(N, N).clone())
    (derivative,) = torch.autograd.grad(values, copies, torch.eye(N, dtype=x.dtype))
    return spectral_radius(derivative.numpy()) if bool(derivative.isfinite().all()) else math.nan


def described(condition: Condition, count: int) -> dict[str, Any]:
    """The columns that tell a condition, and the number of right-hand sides."""
    grid = condition.grid
    return {
        "condition": condition.name,
        "kind": condition.kind,
        "family": condition.family,
        "points": grid.N,
        "mesh_width": grid.h,
        "tau": grid.problem.tau,
        "unique": grid.unique,
        "signals": count,
    }
