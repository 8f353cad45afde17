"""Fixed-point iterations of implicit networks: convergence against the certified rate, gradients, memory and time.

For the iteration u^{n+1} = T(u^n), T(u) = f - τKᵀΦ(Ku), u^0 = f, with the rate q = τ max(L', m)‖K‖² as a Lipschitz
constant of T, the residuals are bounded by what can be computed without the solution (derived):

    ‖T(u^n) - u^n‖₂ = ‖T(u^n) - T(u^{n-1})‖₂ ≤ q ‖T(u^{n-1}) - u^{n-1}‖₂ ≤ ... ≤ q^n ‖T(f) - f‖₂.

So if q < 1, the residual relative to that of the start is at most ε after ⌈log ε / log q⌉ iterations, and then u^n is
no farther than ε‖T(f) - f‖₂/(1-q) from the solution.
"""

import copy
import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from schemenets.networks.implicit import Implicit
from schemenets.study.measurements.flops import plain_kernels


def relative_residuals(network: Implicit, f: Tensor, tolerance: float, limit: int) -> Tensor:
    """‖T(u^n) - u^n‖₂ / ‖T(f) - f‖₂ for n = 0, 1, ... in float64, until all are at most ``tolerance``.

    Args:
        network: not stacked; its own number of iterations does not matter.
        f: signals (batch, length).
        tolerance: 0 to continue to the limit.
        limit: largest number of iterations.

    Returns:
        (iterations + 1, batch); 0 for signals that T leaves as they are.
    """
    network = copy.deepcopy(network).double()
    block: Any = network.blocks[0]
    residuals: list[Tensor] = []
    with torch.no_grad(), parametrize.cached():
        f = f.double().unsqueeze(-2)
        u = f = f if network.architecture.channels == 1 else f * network.lift[:, None]
        for _ in range(limit + 1):
            v = block.step(u, block.tau, f)
            residuals.append(torch.linalg.vector_norm(v - u, dim=(-2, -1)))
            if (residuals[-1] <= tolerance * residuals[0]).all():
                break
            u = v
    found = torch.stack(residuals)
    return torch.where(found[0] == 0, 0.0, found / found[0])


def iterations_to(tolerance: float, residuals: Tensor) -> int | None:
    """Iterations until every signal has reached a relative residual of at most ``tolerance``; None if one does not.

    Args:
        residuals: those of :func:`relative_residuals`.

    >>> iterations_to(0.3, torch.tensor([[1.0, 1.0], [0.5, 0.2], [0.25, 0.04]]))
    2
    """
    reached = residuals <= tolerance
    return int(_first(reached).max()) if bool(reached.any(0).all()) else None


def _first(reached: Tensor) -> Tensor:
    """For every column the index of its first True, or of its last entry if there is none."""
    reached = reached.clone()
    reached[-1] = True
    return reached.int().argmax(0)


def allowed_iterations(tolerance: float, q: float) -> int | None:
    """⌈log ε / log q⌉, the most iterations that the rate q allows until a tolerance ε < 1; None for q ≥ 1.

    >>> allowed_iterations(1e-3, 0.5), allowed_iterations(1e-3, 1.0)
    (10, None)
    """
    if not q < 1:
        return None
    return math.ceil(math.log(tolerance) / math.log(q)) if q > 0 else 0


def observed_rate(tolerance: float, residuals: Tensor) -> float | None:
    """Geometric mean of the factors by which iterations reduced the residual of the slowest signal.

    The mean is over the iterations until ``tolerance``, or over all if a signal does not reach it. None if residuals
    are not finite, or there was nothing to reduce.
    """
    n = _first(residuals <= tolerance)
    rates = residuals.gather(0, n[None])[0] ** (1 / n.to(residuals.dtype))
    rates = rates[n > 0]
    return rates.max().item() if len(rates) and rates.isfinite().all() else None


def gradient_difference(network: Implicit, noisy: Tensor, clean: Tensor, iterations: int) -> float:
    """Largest relative difference between implicit and unrolled gradients, in float64 after so many iterations.

    That is max ‖a - b‖₂/‖b‖₂ over the parameters, with their implicit and unrolled gradients a and b of the training
    loss, the mean squared error; NaN if a gradient is not finite.

    Args:
        network: not stacked; it is not changed.
        noisy: (batch, length).
        clean: of the same shape.
        iterations: enough of them, as the two differ by terms of order n q^n.
    """
    deep = at_depth(network, iterations).double()
    gradients = []
    for deep.implicit_gradients in (True, False):
        loss = (deep(noisy.double()) - clean.double()).square().mean()
        gradients.append(torch.autograd.grad(loss, list(deep.parameters())))
    differences = [
        float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b).clamp_min(torch.finfo(b.dtype).tiny))
        for a, b in zip(*gradients, strict=True)
    ]
    return max(differences) if all(map(math.isfinite, differences)) else math.nan


def at_depth(network: Implicit, iterations: int) -> Implicit:
    """The same network with another number of iterations."""
    deep = copy.deepcopy(network)
    deep.architecture = replace(deep.architecture, blocks=iterations)
    return deep


def saved_bytes(network: Implicit, f: Tensor) -> int:
    """Bytes of memory that torch keeps for derivatives in one forward and backward pass, each storage once.

    Of plain torch operations: the compiled loops keep the input only and compute all states again, whatever the kind of
    gradients.
    """
    storages = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()  # held here, so that its address is not used again
        storages[storage.data_ptr()] = storage
        return x

    with plain_kernels(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        network(f).square().mean().backward()
    return sum(storage.nbytes() for storage in storages.values())


def least_seconds(contenders: Mapping[Any, Callable[[], object]], rounds: int) -> dict[Any, float]:
    """Seconds of every contender: the least of several rounds, in which they take turns."""
    best = dict.fromkeys(contenders, math.inf)
    for run in contenders.values():
        run()  # compiles, fills caches
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in contenders.items():
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
    finally:
        gc.enable()
    return best
