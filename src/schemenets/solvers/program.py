"""Cycles as lists of instructions, which compiled code follows for one signal after the other.

A cycle is written once, as calls of some operations (``_cycle`` in :mod:`schemenets.solvers.cycle`). With those of
torch it computes; with those of a :class:`Recorder` it leaves the instructions.
"""

from typing import Any, NamedTuple

import numpy as np

from schemenets.solvers.problems import Grid

SWEEP, RESIDUAL, RIGHT_HAND_SIDE, RESTRICT, CORRECT = range(5)  # codes of instructions


class Signal(NamedTuple):
    """Where a signal of N points is in the store of a program."""

    first: int
    N: int


class Program(NamedTuple):
    """Instructions, the grids that they are for, and the length of the store of all signals, x and b first of all.

    An instruction is its code, the points of its finer grid, where its up to three arguments and its result begin,
    the index of its grid, and level and step of its weights.
    """

    instructions: Any
    grids: tuple[Grid, ...]
    size: int


class Recorder:
    """Operations of a cycle that note themselves; ``x`` and ``b`` are what it begins with."""

    def __init__(self, grid: Grid) -> None:
        self._size = 0
        self._grids: dict[Grid, int] = {}
        self._noted: list[tuple[int, ...]] = []
        self.x, self.b = self._new(grid.N), self._new(grid.N)

    def sweep(self, x: Signal, b: Signal, grid: Grid, level: int, step: int) -> Signal:
        return self._note(SWEEP, grid, grid.N, x, b, level=level, step=step)

    def residual(self, x: Signal, b: Signal, grid: Grid) -> Signal:
        return self._note(RESIDUAL, grid, grid.N, x, b)

    def right_hand_side(self, start: Signal, residual: Signal, grid: Grid) -> Signal:
        return self._note(RIGHT_HAND_SIDE, grid, grid.N, start, residual)

    def restrict(self, x: Signal, grid: Grid, level: int) -> Signal:
        return self._note(RESTRICT, grid, grid.N // 2, x, level=level)

    def merge(self, x: Signal, x_c: Signal, start: Signal, grid: Grid, level: int) -> Signal:
        return self._note(CORRECT, grid, grid.N, x, x_c, start, level=level)

    def program(self) -> Program:
        """All that was noted; the last result is that of the program."""
        return Program(np.array(self._noted), tuple(self._grids), self._size)

    def _new(self, N: int) -> Signal:
        signal = Signal(self._size, N)
        self._size += N
        return signal

    def _note(self, code: int, grid: Grid, N: int, *arguments: Signal, level: int = 0, step: int = 0) -> Signal:
        result = self._new(N)
        first = [argument.first for argument in arguments] + [0] * (3 - len(arguments))
        index = self._grids.setdefault(grid, len(self._grids))
        self._noted.append((code, grid.N, *first, result.first, index, level, step))
        return result
