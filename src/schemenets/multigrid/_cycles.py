"""Cycles of the full approximation scheme, run, or recorded as instructions that compiled code follows.

A cycle is written once, as calls of some operations (:func:`cycle`). With those of torch it computes; with those of a
:class:`Recorder` it records the instructions.
"""

from typing import Any, NamedTuple

import numpy as np

from schemenets.schemes.multigrid import CYCLES

SWEEP, RESIDUAL, RIGHT_HAND_SIDE, RESTRICT, CORRECT, MERGE = range(6)  # codes of instructions


class Kind(NamedTuple):
    """What :func:`cycle` needs to know; a :class:`schemenets.multigrid.CycleArchitecture` has it, too."""

    kind: str
    sweeps: int
    coarse_side: str = "fas"


def cycle(like: Any, do: Any, x: Any, b: Any, grid: Any, kind: str | None = None) -> Any:
    """x after one cycle.

    Args:
        like: which cycle, a :class:`Kind` or a :class:`schemenets.multigrid.CycleArchitecture`.
        do: its operations, or a :class:`Recorder` of them.
        x, b: signals as these have them.
        grid: that of x and b, hashable, with its number of points ``N``, whether it ``coarsens``, and ``coarser``.
        kind: ``V``, ``W`` or ``F``; that of ``like`` if not given.
    """
    n = like.sweeps
    if not grid.coarsens:
        for step in [*range(2 * n)] * 2:
            x = do.sweep(x, b, grid, step)
        return x
    for step in range(n):
        x = do.sweep(x, b, grid, step)
    start = do.restrict(x, grid)
    if like.coarse_side == "fas":
        b_c = do.right_hand_side(start, do.restrict(do.residual(x, b, grid), grid), grid.coarser)
    else:
        b_c = do.restrict(b, grid)
    x_c = start
    for coarse_kind in CYCLES[kind or like.kind]:
        x_c = cycle(like, do, x_c, b_c, grid.coarser, coarse_kind)
    x = do.merge(x, x_c, start, grid)
    for step in range(n, 2 * n):
        x = do.sweep(x, b, grid, step)
    return x


class Signal(NamedTuple):
    """Where a signal of N points is in the store of a program."""

    first: int
    N: int


class Program(NamedTuple):
    """Instructions, the grids that they are for, and the length of the store of all signals, x and b first.

    An instruction is its code, the points of its finer grid, where its up to three arguments and its result begin,
    the index of its grid, and the step of its damping.
    """

    instructions: Any
    grids: tuple[Any, ...]
    size: int


class Recorder:
    """Records the operations of a cycle, which begins with ``x`` and ``b``.

    Args:
        grid: that of x and b.
        additive: whether what comes from a coarser grid corrects x, or is merged with it by filters.
    """

    def __init__(self, grid: Any, additive: bool = True) -> None:
        self._merging = CORRECT if additive else MERGE
        self._size = 0
        self._grids: dict[Any, int] = {}
        self._noted: list[tuple[int, ...]] = []
        self.x, self.b = self._new(grid.N), self._new(grid.N)

    def sweep(self, x: Signal, b: Signal, grid: Any, step: int) -> Signal:
        return self._note(SWEEP, grid, grid.N, x, b, step=step)

    def residual(self, x: Signal, b: Signal, grid: Any) -> Signal:
        return self._note(RESIDUAL, grid, grid.N, x, b)

    def right_hand_side(self, start: Signal, residual: Signal, grid: Any) -> Signal:
        return self._note(RIGHT_HAND_SIDE, grid, grid.N, start, residual)

    def restrict(self, x: Signal, grid: Any) -> Signal:
        return self._note(RESTRICT, grid, grid.N // 2, x)

    def merge(self, x: Signal, x_c: Signal, start: Signal, grid: Any) -> Signal:
        return self._note(self._merging, grid, grid.N, x, x_c, start)

    def program(self) -> Program:
        """All that was recorded; the last result is that of the program."""
        return Program(np.array(self._noted), tuple(self._grids), self._size)

    def _new(self, N: int) -> Signal:
        signal = Signal(self._size, N)
        self._size += N
        return signal

    def _note(self, code: int, grid: Any, N: int, *arguments: Signal, step: int = 0) -> Signal:
        result = self._new(N)
        first = [argument.first for argument in arguments] + [0] * (3 - len(arguments))
        index = self._grids.setdefault(grid, len(self._grids))
        self._noted.append((code, grid.N, *first, result.first, index, step))
        return result
