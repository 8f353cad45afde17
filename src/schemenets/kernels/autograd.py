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

__all__ = ["NumbaError", "run"]

_library = torch.library.Library("schemenets", "FRAGMENT")
_library.define("run(Tensor u, Tensor v, Tensor operands, str program) -> Tensor")
_library.define(
    "run_backward(Tensor grad, Tensor u, Tensor v, Tensor operands, str program) -> (Tensor, Tensor, Tensor)"
)
_programs: dict[str, Program] = {}


def run(program: Program, inputs: Sequence[Tensor], operands: Tensor) -> Tensor:
    """The result of a program; see :func:`schemenets.kernels.reference.run`."""
    u, v = inputs if len(inputs) == 2 else (inputs[0], inputs[0].new_empty(0))
    y: Tensor = torch.ops.schemenets.run(u, v, operands, _name(program))
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
    """Saves nothing but its inputs; the backward pass computes states again, a group of signals at a time."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor, operands: Tensor, program: str) -> Any:
        ctx.save_for_backward(u, v, operands)
        ctx.program = program
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.schemenets.run(u, v, operands, program)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        tensors, (grad,) = ctx.saved_tensors, grads
        if torch.is_grad_enabled():  # for derivatives of higher order, a graph of plain torch operations
            return *_differentiable(_programs[ctx.program], *tensors, grad), None
        return *torch.ops.schemenets.run_backward(grad, *tensors, ctx.program), None


def _differentiable(program: Program, *tensors: Tensor) -> Any:
    *given, grad = tensors
    views = [x.view_as(x) for x in given]
    used = [x for x in views if x.requires_grad]
    y = reference.run(program, views[: len(program.inputs)], views[2])
    found = iter(torch.autograd.grad(y, used, grad, create_graph=True, allow_unused=True) if used else ())
    return tuple(next(found) if x.requires_grad else None for x in views)


def _run(u: Tensor, v: Tensor, operands: Tensor, program: str) -> Tensor:
    numbers, x = array(operands, 2), signals(u)
    y = engine(_programs[program], numbers.dtype).run(x, signals(v) if v.ndim > 1 else x[:0], numbers)
    return torch.from_numpy(y).view(*operands.shape[:-1], *y.shape[1:])


def _run_backward(grad: Tensor, u: Tensor, v: Tensor, operands: Tensor, program: str) -> tuple[Tensor, ...]:
    numbers, x = array(operands, 2), signals(u)
    second = signals(v) if v.ndim > 1 else x[:0]
    found = engine(_programs[program], numbers.dtype).differentiate(x, second, numbers, array(grad, 3))
    return tuple(torch.from_numpy(y).view(x.shape) for y, x in zip(found, (u, v, operands), strict=True))


def _like_run(u: Tensor, v: Tensor, operands: Tensor, program: str) -> Tensor:
    output = _programs[program].output
    return u.new_empty((*operands.shape[:-1], u.shape[-2], output.channels * output.N))


def _like_run_backward(grad: Tensor, u: Tensor, v: Tensor, operands: Tensor, program: str) -> tuple[Tensor, ...]:
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
