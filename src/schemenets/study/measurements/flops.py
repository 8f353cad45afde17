"""Floating-point operations: counted while a network runs, and by formula.

Every addition, multiplication, division, root, exponential, comparison and maximum of two numbers is one operation;
moving numbers is none. The plain torch operations are counted, the same way for every network.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from schemenets import fluxes
from schemenets.errors import InvalidParameterError
from schemenets.multigrid.problems import Problem

MOVES = frozenset(
    """_unsafe_view alias arange as_strided cat clone constant_pad_nd detach empty expand full ones ones_like permute
    select slice split split_with_sizes stack t transpose unbind unfold unsqueeze squeeze view zeros zeros_like
    scalar_tensor _to_copy copy_ empty_like new_ones new_zeros new_empty reshape fill_ lift_fresh new_full
    _local_scalar_dense""".split()  # noqa: SIM905
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
def plain_kernels() -> Iterator[None]:
    """Networks take plain torch operations, whatever the kernel."""
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
    """Operations that a network takes for one signal of this length, without those for its weights.

    They are what a second signal adds: constraints are computed only once, and drop out.

    Raises:
        InvalidParameterError: the network runs an operation whose cost is not known.
    """
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    one = torch.ones(1, length, dtype=dtype)
    return counted_step(lambda x, b: network(b), one, one)


def counted_step(step: Callable[[Tensor, Tensor], Tensor], b: Tensor, x: Tensor) -> int:
    """The same for one iteration x ↦ step(x, b), for x and b of shape (1, N)."""
    totals = []
    with torch.no_grad(), plain_kernels():
        for signals in (1, 2):
            with _Counter() as counter:
                step(*(each.expand(signals, -1).contiguous() for each in (x, b)))
            totals.append(counter.total)
    return totals[1] - totals[0]


def of_residual(problem: Problem) -> int:
    """Operations per point of b - A(x)."""
    flux = 0 if problem.linear else of_flux(problem.flux) + 2
    return 6 + problem.screened + 4 * (problem.order - 1) + flux


@cache
def of_flux(name: str) -> int:
    """Operations of φ of a flux, for one number."""
    numbers = torch.ones(10)
    with _Counter() as counter:
        fluxes.get(name).phi(numbers)
    return counter.total // len(numbers)
