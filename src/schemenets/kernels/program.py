"""Programs: what a network computes, as a list of steps on named states, whatever runs them.

A network is recorded once (:class:`Recorder`). Its steps are run by compiled loops, :mod:`schemenets.kernels.engine`,
or by plain torch operations, :mod:`schemenets.kernels.reference`. All numbers that they depend on, weights and what
follows from these, are one row of *operands* for each seed; steps know where their numbers are among them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from schemenets.errors import InvalidParameterError
from schemenets.fluxes import Flux

# What steps do, see Recorder.
CODES = range(12)
BLOCK, MIX, MERGE, UPSAMPLE, ACTIVATE, POOL, EXTEND, RESTRICT, PROLONG, RESIDUAL, SWEEP, SAFEGUARD = CODES
STATES = "y", "u", "v", "z"  # result and arguments of a step: where they begin, -1 for none
NUMBERS = (
    "W1",
    "b1",
    "W2",
    "lam",
    "w",
    "b2",
    "c0",
    "c1",
    "r",
    "p",
)  # where numbers begin among the operands, -1 for none
SIZES = "N", "C", "D", "F", "shift", "sign", "order", "reflecting"
COLUMNS = ("code", *STATES, *NUMBERS, *SIZES)
# states that derivatives are computed from, by the code of a step
READ = {
    BLOCK: ("u",),
    MIX: ("u",),
    MERGE: ("u",),
    UPSAMPLE: ("u",),
    ACTIVATE: ("u",),
    POOL: ("u",),
    EXTEND: (),
    RESTRICT: ("u",),
    PROLONG: ("u", "z"),
    RESIDUAL: ("u",),
    SWEEP: ("u", "v"),
    SAFEGUARD: ("u", "v", "z"),
}


class State(NamedTuple):
    """Channels of a buffer, each with N positions."""

    buffer: int
    channels: int
    N: int
    first: int = 0

    def part(self, first: int, channels: int) -> "State":
        """So many of its channels."""
        return State(self.buffer, channels, self.N, self.first + first)


@dataclass(frozen=True)
class Numbers:
    """An array among the operands, or constants after them."""

    first: int
    shape: tuple[int, ...]

    def __getitem__(self, index: int) -> "Numbers":
        """The part at this index of its first dimension, which is taken as periodic."""
        size = math.prod(self.shape[1:])
        return Numbers(self.first + index % self.shape[0] * size, self.shape[1:])


class Step(NamedTuple):
    """One step: its code, its states and numbers by name, its sizes, and the flux and the grid if it has some."""

    code: int
    states: dict[str, State]
    numbers: dict[str, Numbers]
    sizes: dict[str, int]
    flux: Flux | None = None
    grid: Any = None


@dataclass(frozen=True, eq=False)
class Program:
    """Steps, and where their states and numbers are.

    Attributes:
        steps: what is done, in this order.
        inputs: the states that it begins with.
        output: the one that is its result.
        buffers: channels times positions of every buffer.
        operands: how many numbers it depends on.
        constants: those that are the same for all weights; they follow the operands.
        k: number of taps of all filters.
        problem: Φ of the equation that steps solve, if some do.
        known: whether compiled code knows the operator of that equation.
        segments: lengths of the pieces of the operands that steps take, and which piece begins where.
    """

    steps: tuple[Step, ...]
    inputs: tuple[State, ...]
    output: State
    buffers: tuple[int, ...]
    operands: int
    constants: tuple[float, ...]
    k: int
    problem: Flux | None
    known: bool
    segments: tuple[list[int], dict[int, int]]

    def followed_by(self, grid: Any) -> "Program":
        """The program whose result is A(x) of an equation for the result x of this one."""
        constants = Numbers(self.operands + len(self.constants), (4,))
        y = State(len(self.buffers), 1, grid.N)
        step = Step(RESIDUAL, {"y": y, "u": self.output}, *equation(grid, -1, constants), grid=grid)
        return replace(
            self,
            steps=(*self.steps, step),
            output=y,
            buffers=(*self.buffers, grid.N),
            constants=(*self.constants, *of_equation(grid)),
            problem=grid.flux,
            known=self.known and grid.is_known,
        )

    @cached_property
    def fluxes(self) -> tuple[Flux, ...]:
        """Φ of all steps."""
        return tuple({step.flux: None for step in self.steps if step.flux is not None})

    @cached_property
    def all_fluxes(self) -> tuple[Flux, ...]:
        """Φ of all steps and of the equation."""
        return self.fluxes if self.problem is None else (*self.fluxes, self.problem)

    @cached_property
    def repeated(self) -> int:
        """How many steps a backward pass repeats first, to have all states again that it reads."""
        read = set()
        for step in self.steps:
            names = list(READ[step.code])
            if step.code == BLOCK:
                names += [state for state, c in (("v", "c0"), ("z", "c1")) if self.is_trained(step, c)]
            read |= {step.states[name].buffer for name in names if name in step.states}
        return max((i for i, step in enumerate(self.steps, start=1) if step.states["y"].buffer in read), default=0)

    def is_trained(self, step: Step, number: str) -> bool:
        """Whether a number of this step is among the operands."""
        return number in step.numbers and step.numbers[number].first < self.operands

    @cached_property
    def places(self) -> list[int]:
        """Where every buffer begins."""
        places: list[int] = np.cumsum([0, *self.buffers[:-1]]).tolist()
        return places

    @cached_property
    def size(self) -> int:
        """Vectors of all buffers together."""
        return sum(self.buffers)

    @cached_property
    def free(self) -> int:
        """Vectors that the steps need besides, for what is within one of them."""
        return max((_free(step, self.k) for step in self.steps), default=0)

    def place(self, state: State | None) -> int:
        """Where a state begins."""
        return -1 if state is None else self.places[state.buffer] + state.first * state.N

    @cached_property
    def rows(self) -> np.ndarray:
        """The steps as compiled code takes them, a row for each with the columns :data:`COLUMNS`."""
        rows = np.full((len(self.steps), len(COLUMNS)), -1, np.int64)
        for row, step in zip(rows, self.steps, strict=True):
            known: dict[str, int] = {
                "code": step.code,
                **{name: self.place(state) for name, state in step.states.items()},
                **{name: numbers.first for name, numbers in step.numbers.items()},
                **step.sizes,
            }
            for name, value in known.items():
                row[COLUMNS.index(name)] = value
        return rows

    @cached_property
    def layout(self) -> np.ndarray:
        """Beginning and length of both inputs and of the result, the length of all buffers, and :attr:`repeated`."""
        none = State(self.inputs[0].buffer, 0, 0)
        first, second = (*self.inputs, none)[:2]
        numbers = []
        for state in (first, second, self.output):
            numbers += [self.place(state), state.channels * state.N]
        return np.array([*numbers, self.size, self.repeated], np.int64)

    @cached_property
    def key(self) -> str:
        """A name that other programs do not have, in other processes neither."""
        from schemenets.kernels import flux  # needs numba

        fluxes = [flux.register(each) for each in self.all_fluxes]
        whole = repr((self.rows.tolist(), self.layout.tolist(), self.operands, self.constants, self.k, fluxes))
        return sha256(whole.encode()).hexdigest()


def _free(step: Step, k: int) -> int:
    """Vectors that a step needs for what is within it."""
    N, d = step.sizes.get("N", 0), k - 1
    if step.code == UPSAMPLE:
        return step.sizes["D"] * N
    block = (step.sizes.get("F", 0) + 1) * d + 2 * N
    sweep = 4 * (N + 1) + N + 2 * (N + 2 * d) + block + 4 * d
    return {BLOCK: block, RESIDUAL: 4 * (N + 1), SWEEP: sweep}.get(step.code, 0)


def of_equation(grid: Any) -> tuple[float, ...]:
    """Constants of the equation of a :class:`schemenets.multigrid.Grid`: σ, τ, the contrast and 1/h^order."""
    p = grid.problem
    return p.sigma, p.tau, p.contrast, grid.h**-p.order


def equation(grid: Any, sign: int, constants: Numbers) -> tuple[dict[str, Numbers], dict[str, int]]:
    """Numbers and sizes of a step with b - A(x), or for the sign -1 with b + A(x)."""
    p = grid.problem
    return {"p": constants}, {"N": grid.N, "sign": sign, "order": p.order, "reflecting": int(p.screened)}


class Recorder:
    """Records a program.

    Args:
        shapes: of all operands by name, without the seeds.
        k: number of taps of all filters.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], k: int) -> None:
        self.k = k
        self.numbers: dict[str, Numbers] = {}
        self.operands = 0
        for name, shape in shapes.items():
            self.numbers[name] = Numbers(self.operands, tuple(shape))
            self.operands += math.prod(shape)
        self._constants: list[float] = []
        self._buffers: list[int] = []
        self._steps: list[Step] = []
        self._problem: Flux | None = None
        self._known = True

    def state(self, channels: int, N: int) -> State:
        """A new one."""
        self._buffers.append(channels * N)
        return State(len(self._buffers) - 1, channels, N)

    def constant(self, *values: float) -> Numbers:
        """Numbers that are the same for all weights."""
        self._constants += values
        return Numbers(self.operands + len(self._constants) - len(values), (len(values),))

    def program(self, inputs: Iterable[State], output: State) -> Program:
        """All that was recorded."""
        return Program(
            steps=tuple(self._steps),
            inputs=tuple(inputs),
            output=output,
            buffers=tuple(self._buffers),
            operands=self.operands,
            constants=tuple(self._constants),
            k=self.k,
            problem=self._problem,
            known=self._known,
            segments=self._segments(),
        )

    def _segments(self) -> tuple[list[int], dict[int, int]]:
        found = {n.first: math.prod(n.shape) for step in self._steps for n in step.numbers.values()}
        end, lengths, pieces = 0, [], {}
        for first in sorted(first for first in found if first < self.operands):
            if first > end:
                lengths.append(first - end)
            pieces[first] = len(lengths)
            lengths.append(found[first])
            end = first + found[first]
        return ([*lengths, self.operands - end] if end < self.operands else lengths), pieces

    def of(self, names: Iterable[str], index: int) -> dict[str, Numbers]:
        """The operands of these names, as far as there are some, at an index of their first dimensions."""
        return {name: self.numbers[name][index] for name in names if name in self.numbers}

    def block(
        self,
        u: State,
        weights: Mapping[str, Numbers],
        flux: Flux,
        onto: Iterable[tuple[Numbers | None, State]] = (),
        y: State | None = None,
    ) -> State:
        """y = Σ c v + W₂ᵀ Φ(W₁u + b₁; λ, w) + b₂, with up to two states v and factors c (None for 1).

        Args:
            u: the state that the filters take.
            weights: W1 (F, C, k), W2 (F, D, k), b1, lam (F,), w (F, weights), b2 (D,), as far as there are some.
            flux: Φ.
            onto: c and v.
            y: where the result is to be; a new state if not given.
        """
        F, C, _ = weights["W1"].shape
        D = weights["W2"].shape[1]
        y = y or self.state(D, u.N)
        states, numbers = {"y": y, "u": u}, dict(weights)
        onto = list(onto)
        if len(onto) > 2:
            raise InvalidParameterError("pairs in onto", len(onto), "at most 2")
        for (c, v), name, factor in zip(onto, ("v", "z"), ("c0", "c1"), strict=False):
            states[name] = v
            if c is not None:
                numbers[factor] = c
        return self._note(BLOCK, states, numbers, {"N": u.N, "C": C, "D": D, "F": F}, flux)

    def mix(self, u: State, W: Numbers, b: Numbers | None = None) -> State:
        """y[d] = Σ_c W[d, c] u[c] + b[d] at every position, with W (D, C) and b (D,)."""
        numbers = {"W1": W} | ({} if b is None else {"b2": b})
        sizes = {"N": u.N, "C": u.channels, "D": W.shape[0]}
        return self._note(MIX, {"y": self.state(W.shape[0], u.N), "u": u}, numbers, sizes)

    def merge(self, u: State, V: Numbers) -> State:
        """y = Vu, one channel of C, with filters (C, k) and zeros around u."""
        sizes = {"N": u.N, "C": u.channels}
        return self._note(MERGE, {"y": self.state(1, u.N), "u": u}, {"W1": V}, sizes)

    def upsample(self, u: State, W: Numbers, b: Numbers, y: State) -> State:
        """y[c, 2i + j] = Σ_q W[q, c, j] u[q, i] + b[c]."""
        return self._note(UPSAMPLE, {"y": y, "u": u}, {"W1": W, "b2": b}, {"N": y.N, "C": u.channels, "D": y.channels})

    def activate(self, u: State, weights: Mapping[str, Numbers], flux: Flux, y: State | None = None) -> State:
        """y = Φ(u; λ, w), with numbers for every channel."""
        y = y or self.state(u.channels, u.N)
        return self._note(ACTIVATE, {"y": y, "u": u}, dict(weights), {"N": u.N, "C": u.channels}, flux)

    def pool(self, u: State) -> State:
        """The larger one of every pair."""
        y = self.state(u.channels, u.N // 2)
        return self._note(POOL, {"y": y, "u": u}, {}, {"N": u.N, "C": u.channels})

    def extend(self, u: State, N: int, y: State | None = None) -> State:
        """One channel, with its last value repeated or its end cut off, so that it has N positions."""
        return self._note(EXTEND, {"y": y or self.state(1, N), "u": u}, {}, {"N": u.N, "D": N})

    def restrict(self, u: State, r: Numbers, shift: int = 0) -> State:
        """Ru, (N,) to (N/2 rounded down,), with r[j] at the place 2i + j - 1 + shift."""
        return self._note(RESTRICT, {"y": self.state(1, u.N // 2), "u": u}, {"r": r}, {"N": u.N, "shift": shift})

    def prolong(
        self, u: State, r: Numbers, c: Numbers, onto: State | None = None, start: State | None = None,
        shift: int = 0, y: State | None = None, N: int | None = None,
    ) -> State:  # fmt: skip
        """onto + c Rᵀ(u - start)."""
        N = onto.N if onto else N or 2 * u.N
        states = {"y": y or self.state(1, N), "u": u}
        states |= ({"v": onto} if onto else {}) | ({"z": start} if start else {})
        return self._note(PROLONG, states, {"r": r, "c0": c}, {"N": N, "shift": shift})

    def residual(self, x: State, b: State | None, grid: Any, sign: int = 1) -> State:
        """b - A(x) for the sign 1, b + A(x) for -1; b = 0 if not given."""
        states = {"y": self.state(1, x.N), "u": x} | ({"v": b} if b else {})
        numbers, sizes = self._equation(grid, sign)
        return self._note(RESIDUAL, states, numbers, sizes, grid=grid)

    def sweep(
        self, x: State, b: State, grid: Any, omega: Numbers, W: Numbers | None, lam: Numbers | None, psi: Flux
    ) -> State:
        """x + D^(-½) B(D^(-½)(b - A(x))) with B(z) = ωz + WᵀΨ(Wz)."""
        numbers, sizes = self._equation(grid, 1)
        numbers |= {"c0": omega} | ({} if W is None else {"W1": W}) | ({} if lam is None else {"lam": lam})
        states = {"y": self.state(1, x.N), "u": x, "v": b}
        return self._note(SWEEP, states, numbers, sizes | {"F": 0 if W is None else W.shape[0]}, psi, grid)

    def safeguard(self, w: State, previous: State, start: State, s_k: Numbers) -> State:
        """w + s (w - previous) with the largest s in [0, s_k] that keeps it in the ball of ``start``."""
        states = {"y": self.state(w.channels, w.N), "u": w, "v": previous, "z": start}
        return self._note(SAFEGUARD, states, {"c0": s_k}, {"N": w.N, "C": w.channels})

    def _equation(self, grid: Any, sign: int) -> tuple[dict[str, Numbers], dict[str, int]]:
        self._problem = grid.flux
        self._known &= grid.is_known
        return equation(grid, sign, self.constant(*of_equation(grid)))

    def _note(
        self, code: int, states: dict[str, State], numbers: dict[str, Numbers], sizes: dict[str, int],
        flux: Flux | None = None, grid: Any = None,
    ) -> State:  # fmt: skip
        self._steps.append(Step(code, states, numbers, sizes, flux, grid))
        return states["y"]
