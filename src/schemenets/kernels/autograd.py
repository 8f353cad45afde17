"""Compiled programs as operators of torch, ``schemenets::run`` and its derivative.

They are registered at a low level: ``torch.library.custom_op`` would import the compiler of torch, three seconds for
every process. ``torch.compile`` takes them as they are.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numba.core.errors import NumbaError
from torch import Tensor

from schemenets.kernels import reference
from schemenets.kernels.engine import Engine
from schemenets.kernels.program import Program
from schemenets.kernels.simd import BYTES

__all__ = ["NumbaError", "run"]

_library = torch.library.Library("schemenets", "FRAGMENT")
_library.define("run(Tensor u, Tensor v, Tensor operands, str program, bool keep) -> (Tensor, Tensor)")
_library.define(
    "run_backward(Tensor grad, Tensor u, Tensor v, Tensor operands, Tensor saved, str program)"
    " -> (Tensor, Tensor, Tensor)"
)
_programs: dict[str, Program] = {}


def run(program: Program, inputs: Sequence[Tensor], operands: Tensor) -> Tensor:
    """The result of a program; see :func:`schemenets.kernels.reference.run`."""
    u, v = inputs if len(inputs) == 2 else (inputs[0], inputs[0].new_empty(0))
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (u, v, operands))
    y: Tensor = torch.ops.schemenets.run(u, v, operands, _name(program), keep)[0]
    return y


def _name(program: Program) -> str:
    """Name of a program as operators take it."""
    _programs[program.key] = program
    return program.key


# what torch.compiler.assume_constant_result does, after it has imported the compiler
_name._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=1024)
def engine(program: Program, dtype: Any) -> Engine:
    """The compiled functions of a program in a precision of NumPy."""
    return Engine(program, dtype)


class _Run(torch.autograd.Function):
    """Saves its inputs, and the states that derivatives need."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor, operands: Tensor, program: str, keep: bool) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            y, saved = torch.ops.schemenets.run(u, v, operands, program, keep)
        ctx.save_for_backward(u, v, operands, saved)
        ctx.program = program
        ctx.mark_non_differentiable(saved)
        return y, saved

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (u, v, operands, saved), grad = ctx.saved_tensors, grads[0]
        if torch.is_grad_enabled():  # for derivatives of higher order, a graph of plain torch operations
            found = _differentiable(_programs[ctx.program], u, v, operands, grad)
        else:
            found = torch.ops.schemenets.run_backward(grad, u, v, operands, saved, ctx.program)
        return *found, None, None


def _differentiable(program: Program, *tensors: Tensor) -> Any:
    *given, grad = tensors
    views = [x.view_as(x) for x in given]
    used = [x for x in views if x.requires_grad]
    y = reference.run(program, views[: len(program.inputs)], views[2])
    found = iter(torch.autograd.grad(y, used, grad, create_graph=True, allow_unused=True) if used else ())
    return tuple(next(found) if x.requires_grad else None for x in views)


def _run(u: Tensor, v: Tensor, operands: Tensor, program: str, keep: bool) -> tuple[Tensor, Tensor]:
    numbers = array(operands, 2)
    of, x = engine(_programs[program], numbers.dtype), signals(u)
    saved = of.saved(len(numbers), x.shape[1] if keep else 0)
    y = of.run(x, signals(v) if v.ndim > 1 else x[:0], numbers, saved)
    return torch.from_numpy(y).view(*operands.shape[:-1], *y.shape[1:]), torch.from_numpy(saved)


def _run_backward(
    grad: Tensor, u: Tensor, v: Tensor, operands: Tensor, saved: Tensor, program: str
) -> tuple[Tensor, ...]:
    numbers, x = array(operands, 2), signals(u)
    of = engine(_programs[program], numbers.dtype)
    found = of.differentiate(x, signals(v) if v.ndim > 1 else x[:0], numbers, saved.numpy(), array(grad, 3))
    return tuple(torch.from_numpy(y).view(x.shape) for y, x in zip(found, (u, v, operands), strict=True))


def _like_run(u: Tensor, v: Tensor, operands: Tensor, program: str, keep: bool) -> tuple[Tensor, Tensor]:
    of, seeds, batch = _programs[program], operands.shape[:-1], u.shape[-2]
    y = u.new_empty((*seeds, batch, of.output.channels * of.output.N))
    lanes = BYTES // u.element_size()
    groups = -(-batch // lanes) if keep else 0
    return y, u.new_empty((seeds.numel(), groups, int(of.layout[7]) * lanes))


def _like_run_backward(
    grad: Tensor, u: Tensor, v: Tensor, operands: Tensor, saved: Tensor, program: str
) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (u, v, operands))


_library.impl("run", _run, "CPU")
_library.impl("run", _like_run, "Meta")
_library.impl("run", _Run.apply, "Autograd")
_library.impl("run_backward", _run_backward, "CPU")
_library.impl("run_backward", _like_run_backward, "Meta")


def array(x: Tensor, ndim: int) -> np.ndarray:
    """The values as a contiguous array with so many dimensions, one for the seeds first."""
    values: np.ndarray = x.detach().contiguous().numpy()
    return values if values.ndim == ndim else values[None]


def signals(x: Tensor) -> np.ndarray:
    """(seeds, batch, numbers); equal signals of all seeds are there once."""
    return array(x[:1] if x.ndim == 3 and len(x) > 1 and x.stride(0) == 0 else x, 3)
