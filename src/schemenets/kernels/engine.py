"""Programs in compiled loops: a group of signals, one per lane, goes through all steps and stays in the cache.

One function runs a program forward, one backward, one does a whole step of training. They are compiled for a flux, a
length of filters and a precision, and kept on disk; numbers of filters, steps, seeds and positions are data. What a
program has no use for, such as an equation, is not compiled into them.
"""

import fcntl
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from schemenets.fluxes.linear import FLUX as LINEAR
from schemenets.kernels import flux as fluxes
from schemenets.kernels import levels, loops, problems, program
from schemenets.kernels import safeguard as guard
from schemenets.kernels.program import Program
from schemenets.kernels.simd import (
    INLINE,
    OPTIONS,
    Vector,
    aligned,
    fma,
    load,
    plain,
    repeated,
    store,
    total,
    vector,
)

BLOCK, WIDE_BLOCK, MIX, MERGE, UPSAMPLE, ACTIVATE, POOL, EXTEND, RESTRICT, PROLONG, RESIDUAL, SWEEP, SAFEGUARD = (
    program.CODES
)
(
    CODE, Y, U, V, Z, W1, B1, W2, LAM, SHAPE, B2, C0, C1, R, P, N, C, D, F, SHIFT, SIGN, ORDER, REFLECTING,
) = range(len(program.COLUMNS))  # fmt: skip
NONE = -1
ROUNDING = 4  # machine precisions by which a safeguarded state may exceed its bound


def lanes_of(array: Any) -> int:
    """How many numbers of an array a vector has, in compiled code only."""
    raise NotImplementedError


@overload(lanes_of)
def _(array):  # type: ignore[no-untyped-def]
    count = Vector(array.dtype).lanes
    return lambda array: count


def compiled(function: Any) -> Any:
    """A function that is compiled when it is called, and kept on disk where there is a place for it."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba finds no directory that it may write to
        _tell_that_nothing_is_kept()
        return njit(**OPTIONS)(function)


@cache
def _tell_that_nothing_is_kept() -> None:
    expected = "set NUMBA_CACHE_DIR to a directory that can be written to"
    warnings.warn(f"compiled code cannot be kept, so every process compiles it anew: {expected}", stacklevel=3)


def forward(kind: str, rows: Any, count: int, a: Any, theta: Any, free: int, precision: float, tiny: float) -> None:
    """The first steps of a program of this kind, so many, in compiled code only."""
    raise NotImplementedError


def backward(
    kind: str, rows: Any, operands: int, a: Any, g: Any, d: Any, theta: Any, free: int, precision: float, tiny: float
) -> None:
    """Add the derivatives of all steps to ``g`` and ``d``, the last step first, in compiled code only."""
    raise NotImplementedError


@overload(forward)
def _(kind, rows, count, a, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
    return _passes(kind.literal_value)[0] if isinstance(kind, types.StringLiteral) else None


@overload(backward)
def _(kind, rows, operands, a, g, d, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
    return _passes(kind.literal_value)[1] if isinstance(kind, types.StringLiteral) else None


@lru_cache
def _passes(kind: str) -> tuple[Any, Any]:
    """Both for a kind (:func:`_kind`)."""
    flux, problem, *rest = kind.split()
    k, weights = map(int, rest[:2])
    used = [str(code) in rest[2:] for code in program.CODES]
    narrow, wide, mix, merge, upsample, activate, pool, extend, restrict, prolong, residual, sweeps, safeguard = used

    def forward(kind, rows, count, a, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
        zero = vector(theta.dtype.type(0))
        taps, one, shape = repeated(zero, k), repeated(zero, 1), repeated(zero, weights)
        for i in range(count):
            s = rows[i]
            code = s[CODE]
            if code <= WIDE_BLOCK:
                loops.fill(a, s[Y], theta, s[B2], s[N], s[D])
                if s[V] >= 0:
                    loops.add_scaled(a, s[Y], a, s[V], theta, s[C0], s[N] * s[D])
                if s[Z] >= 0:
                    loops.add_scaled(a, s[Y], a, s[Z], theta, s[C1], s[N] * s[D])
                if narrow and code == BLOCK:
                    loops.add_block(
                        a, s[Y], s[U], theta, s[W1], s[B1], s[W2], s[LAM], s[SHAPE], s[N], s[F], flux, taps, shape
                    )
                if wide and code == WIDE_BLOCK:
                    loops.add_wide_block(
                        a, s[Y], s[U], theta, s[W1], s[B1], s[W2], s[LAM], s[SHAPE], s[N], s[F], s[C], s[D], free,
                        flux, taps, shape,
                    )  # fmt: skip
            if safeguard and code == SAFEGUARD:
                guard.safeguard(a, s[Y], s[U], s[V], s[Z], theta, s[C0], s[N] * s[C], precision, tiny, ROUNDING)
            if mix and code == MIX:
                loops.fill(a, s[Y], theta, s[B2], s[N], s[D])
                loops.add_correlation(
                    a, s[Y], s[D], s[N], a, s[U], s[C], s[N], theta, s[W1], s[C], plain(1), plain(1), s[N], one
                )
            if merge and code == MERGE:
                levels.merge(a, s[Y], s[U], theta, s[W1], s[N], s[C], k)
            if activate and code == ACTIVATE:
                loops.activate(a, s[Y], s[U], theta, s[LAM], s[SHAPE], s[N], s[C], flux, shape)
            if upsample and code == UPSAMPLE:
                n = s[N] // 2
                loops.clear(a, free, s[D] * s[N])
                loops.add_correlation(
                    a, free, 2 * s[D], n, a, s[U], s[C], n, theta, s[W1], plain(1), 2 * s[D], plain(1), n, one
                )
                levels.interleave(a, s[Y], free, theta, s[B2], n, s[D])
            if pool and code == POOL:
                levels.pool(a, s[Y], s[U], s[N] * s[C])
            if extend and code == EXTEND:
                levels.extend(a, s[Y], s[U], s[N], s[D])
            if restrict and code == RESTRICT:
                levels.restrict(a, s[Y], s[U], theta, s[R], s[SHIFT], s[N])
            if prolong and code == PROLONG:
                loops.clear(a, s[Y], s[N])
                if s[V] >= 0:
                    loops.add_scaled(a, s[Y], a, s[V], theta, NONE, s[N])
                levels.add_prolong(a, s[Y], s[U], s[Z], theta, s[C0], s[R], s[SHIFT], s[N])
            if residual and code == RESIDUAL:
                problems.residual(
                    a, s[Y], s[U], s[V], s[SIGN], theta, s[P], precision, s[N], s[ORDER], s[REFLECTING], free, problem
                )
            if sweeps and code == SWEEP:
                sweep(s, a, theta, free, precision, taps, shape)
                _, q, o = parts_of_sweep(s, free)
                problems.scaled_step(a, s[Y], s[U], q, o + k - 1, s[N])

    @njit(**INLINE)
    def parts_of_sweep(s, free):  # type: ignore[no-untyped-def]
        z = free + 4 * (s[N] + 1)
        o = z + s[N] + 2 * (k - 1)
        return z, o + s[N] + 2 * (k - 1), o

    @njit(**INLINE)
    def sweep(s, a, theta, free, precision, taps, shape):  # type: ignore[no-untyped-def]
        """q = D^(-½), z = q (b - A(x)) between zeros, and o = ωz + WᵀΨ(Wz)."""
        z, q, o = parts_of_sweep(s, free)
        padded = s[N] + 2 * (k - 1)
        problems.smoothing(
            a, z + k - 1, q, s[U], s[V], theta, s[P], precision, s[N], s[ORDER], s[REFLECTING], free, problem
        )
        for j in range(k - 1):
            store(a, z + j, taps[0])
            store(a, z + padded - 1 - j, taps[0])
        loops.clear(a, o, padded)
        loops.add_scaled(a, o, a, z, theta, s[C0], padded)
        loops.add_block(a, o, z, theta, s[W1], -1, s[W1], s[LAM], -1, padded, s[F], flux, taps, shape)

    def backward(kind, rows, operands, a, g, d, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
        zero = vector(theta.dtype.type(0))
        taps, one, shape = repeated(zero, k), repeated(zero, 1), repeated(zero, weights)
        for i in range(rows.shape[0] - 1, -1, -1):
            s = rows[i]
            code = s[CODE]
            if code <= WIDE_BLOCK:
                count = s[N] * s[D]
                if s[V] >= 0:
                    loops.add_scaled(g, s[V], g, s[Y], theta, s[C0], count)
                    if 0 <= s[C0] < operands:
                        loops.add_product(a, g, d, s[Y], s[V], s[C0], count)
                if s[Z] >= 0:
                    loops.add_scaled(g, s[Z], g, s[Y], theta, s[C1], count)
                    if 0 <= s[C1] < operands:
                        loops.add_product(a, g, d, s[Y], s[Z], s[C1], count)
                if s[B2] >= 0:
                    loops.add_bias_adjoint(g, d, s[Y], s[B2], s[N], s[D])
                if narrow and code == BLOCK:
                    loops.add_block_adjoint(
                        a, g, d, s[Y], s[U], theta, s[W1], s[B1], s[W2], s[LAM], s[SHAPE], s[N], s[F], flux, taps, shape
                    )
                if wide and code == WIDE_BLOCK:
                    loops.add_wide_block_adjoint(
                        a, g, d, s[Y], s[U], theta, s[W1], s[B1], s[W2], s[LAM], s[SHAPE], s[N], s[F], s[C], s[D],
                        free, flux, taps, shape,
                    )  # fmt: skip
            if safeguard and code == SAFEGUARD:
                guard.add_safeguard_adjoint(
                    a, g, d, s[Y], s[U], s[V], s[Z], theta, s[C0], s[N] * s[C], precision, tiny, ROUNDING
                )
            if mix and code == MIX:
                if s[B2] >= 0:
                    loops.add_bias_adjoint(g, d, s[Y], s[B2], s[N], s[D])
                loops.add_correlate_products(
                    g, s[Y], s[D], s[N], a, s[U], s[C], s[N], d, s[W1], s[C], plain(1), s[N], one
                )
                loops.add_correlation(
                    g, s[U], s[C], s[N], g, s[Y], s[D], s[N], theta, s[W1], plain(1), s[C], plain(1), s[N], one
                )
            if merge and code == MERGE:
                levels.add_merge_adjoint(a, g, d, s[Y], s[U], theta, s[W1], s[N], s[C], k)
            if activate and code == ACTIVATE:
                loops.add_activate_adjoint(a, g, d, s[Y], s[U], theta, s[LAM], s[SHAPE], s[N], s[C], flux, shape)
            if upsample and code == UPSAMPLE:
                n = s[N] // 2
                loops.add_bias_adjoint(g, d, s[Y], s[B2], s[N], s[D])
                levels.separate(g, free, s[Y], n, s[D])
                loops.add_correlate_products(
                    g, free, 2 * s[D], n, a, s[U], s[C], n, d, s[W1], plain(1), 2 * s[D], n, one
                )
                loops.add_correlation(
                    g, s[U], s[C], n, g, free, 2 * s[D], n, theta, s[W1], 2 * s[D], plain(1), plain(1), n, one
                )
            if pool and code == POOL:
                levels.add_pool_adjoint(a, g, s[Y], s[U], s[N] * s[C])
            if extend and code == EXTEND:
                levels.add_extend_adjoint(g, s[Y], s[U], s[N], s[D])
            if restrict and code == RESTRICT:
                levels.add_restrict_adjoint(a, g, d, s[Y], s[U], theta, s[R], s[SHIFT], s[N])
            if prolong and code == PROLONG:
                if s[V] >= 0:
                    loops.add_scaled(g, s[V], g, s[Y], theta, NONE, s[N])
                levels.add_prolong_adjoint(a, g, d, s[Y], s[U], s[Z], theta, s[C0], s[R], s[SHIFT], s[N])
            if residual and code == RESIDUAL:
                problems.add_residual_adjoint(
                    a, g, s[Y], s[U], s[V], s[SIGN], theta, s[P], precision, s[N], s[ORDER], s[REFLECTING], free,
                    problem,
                )  # fmt: skip
            if sweeps and code == SWEEP:
                sweep(s, a, theta, free, precision, taps, shape)
                z, q, o = parts_of_sweep(s, free)
                padded = s[N] + 2 * (k - 1)
                for n in range(free, q + s[N]):
                    store(g, n, zero)
                problems.add_scaled_step_adjoint(a, g, s[Y], s[U], q, o + k - 1, s[N])
                loops.add_scaled(g, z, g, o, theta, s[C0], padded)
                loops.add_product(a, g, d, o, z, s[C0], padded)
                loops.add_block_adjoint(
                    a, g, d, o, z, theta, s[W1], -1, s[W1], s[LAM], -1, padded, s[F], flux, taps, shape
                )
                problems.add_smoothing_adjoint(
                    a, g, z + k - 1, q, s[U], s[V], theta, s[P], precision, s[N], s[ORDER], free
                )

    return forward, backward


# in loops, since assignments of slices compile error messages about their shapes for three seconds
@njit(**INLINE)
def fill(a, first, values):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        a[first + i] = values[i]


@njit(**INLINE)
def clear(a, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        a[i] = 0


@njit(**INLINE)
def gather(a, at, x, first, count):  # type: ignore[no-untyped-def]
    """Signals x[first], x[first + 1], ... in the lanes, and zeros where there are no more of them."""
    L = lanes_of(a)
    for i in range(L):
        for n in range(x.shape[1]):
            a[(at + n) * L + i] = x[first + i, n] if i < count else 0


@njit(**INLINE)
def pick(a, at, x, batch, first, count):  # type: ignore[no-untyped-def]
    """The same for signals x[batch[first]], x[batch[first + 1]], ..."""
    L = lanes_of(a)
    for i in range(L):
        row = batch[first + i] if i < count else 0
        for n in range(x.shape[1]):
            a[(at + n) * L + i] = x[row, n] if i < count else 0


@njit(**INLINE)
def scatter(a, at, x, first, count):  # type: ignore[no-untyped-def]
    L = lanes_of(a)
    for i in range(count):
        for n in range(x.shape[1]):
            x[first + i, n] = a[(at + n) * L + i]


@lru_cache
def _define(kind: str) -> SimpleNamespace:
    """The functions for programs of a kind, not yet compiled.

    Constants in them are plain data, by which numba recognises them in its cache on disk: it never would by functions.
    """

    @compiled
    def run(rows, layout, constants, u, v, operands, a, theta, y, precision, tiny):  # type: ignore[no-untyped-def]
        """The result y (seeds, batch, numbers) for inputs u and v of such a shape."""
        L, Q = lanes_of(a), operands.shape[1]
        fill(theta, Q, constants)
        for s in range(operands.shape[0]):
            fill(theta, 0, operands[s])
            for j in range(0, y.shape[1], L):
                count = min(L, y.shape[1] - j)
                gather(a, layout[0], u[s % u.shape[0]], j, count)
                if layout[3]:
                    gather(a, layout[2], v[s % v.shape[0]], j, count)
                forward(kind, rows, rows.shape[0], a, theta, layout[6], precision, tiny)
                scatter(a, layout[4], y[s], j, count)

    @compiled
    def differentiate(  # type: ignore[no-untyped-def]
        rows, layout, constants, u, v, operands, a, g, d, theta, dy, du, dv, doperands, precision, tiny
    ):
        """The derivatives of inputs and operands from that of the result; states are computed again."""
        L, Q = lanes_of(a), operands.shape[1]
        fill(theta, Q, constants)
        for s in range(operands.shape[0]):
            fill(theta, 0, operands[s])
            clear(d, d.size)
            for j in range(0, dy.shape[1], L):
                count = min(L, dy.shape[1] - j)
                gather(a, layout[0], u[s % u.shape[0]], j, count)
                if layout[3]:
                    gather(a, layout[2], v[s % v.shape[0]], j, count)
                forward(kind, rows, layout[7], a, theta, layout[6], precision, tiny)
                clear(g, layout[6] * L)
                gather(g, layout[4], dy[s], j, count)
                backward(kind, rows, Q, a, g, d, theta, layout[6], precision, tiny)
                scatter(g, layout[0], du[s], j, count)
                if layout[3]:
                    scatter(g, layout[2], dv[s], j, count)
            for i in range(Q):
                doperands[s, i] = total(load(d, i))

    @compiled
    def train(  # type: ignore[no-untyped-def]
        rows,
        layout,
        constants,
        inputs,
        targets,
        batch,
        scale,
        operands,
        a,
        g,
        d,
        theta,
        losses,
        doperands,
        precision,
        tiny,
    ):
        """Mean squared differences of scale times the result and targets, and their derivatives in the operands.

        ``inputs`` and ``targets`` are of shape (1 or seeds, signals, numbers), ``batch`` (seeds, rows) says which
        signals.
        """
        L, Q, size = lanes_of(a), operands.shape[1], layout[5]
        fill(theta, Q, constants)
        factor = a.dtype.type(2 / (batch.shape[1] * size))
        for s in range(operands.shape[0]):
            fill(theta, 0, operands[s])
            clear(d, d.size)
            u, t = inputs[s % inputs.shape[0]], targets[s % targets.shape[0]]
            loss = vector(a.dtype.type(0))
            for j in range(0, batch.shape[1], L):
                count = min(L, batch.shape[1] - j)
                pick(a, layout[0], u, batch[s], j, count)
                forward(kind, rows, rows.shape[0], a, theta, layout[6], precision, tiny)
                clear(g, layout[6] * L)
                pick(g, layout[4], t, batch[s], j, count)
                for n in range(layout[5]):
                    difference = scale * load(a, layout[4] + n) - load(g, layout[4] + n)
                    store(g, layout[4] + n, difference)
                if count < L:  # there are no signals in these lanes
                    for n in range(layout[5]):
                        for i in range(count, L):
                            g[(layout[4] + n) * L + i] = 0
                for n in range(layout[5]):
                    difference = load(g, layout[4] + n)
                    loss = fma(difference, difference, loss)
                    store(g, layout[4] + n, factor * scale * difference)
                backward(kind, rows, Q, a, g, d, theta, layout[6], precision, tiny)
            losses[s] = total(loss) / (batch.shape[1] * size)
            for i in range(Q):
                doperands[s, i] = total(load(d, i))

    return SimpleNamespace(run=run, differentiate=differentiate, train=train)


@compiled
def _adam(values, gradient, mean, square, rates, beta_1, beta_2, bias_2, epsilon):  # type: ignore[no-untyped-def]
    for s in range(values.shape[0]):
        for i in range(values.shape[1]):
            g = gradient[s, i]
            m = mean[s, i] + (1 - beta_1) * (g - mean[s, i])
            v = square[s, i] + (1 - beta_2) * (g * g - square[s, i])
            mean[s, i], square[s, i] = m, v
            values[s, i] -= rates[s] * m / (math.sqrt(v / bias_2) + epsilon)


def adam(
    values: np.ndarray, gradient: np.ndarray, mean: np.ndarray, square: np.ndarray, rates: np.ndarray, *numbers: float
) -> None:
    """One step of Adam: matrices (seeds, parameters), rates over 1 - β₁ⁿ (seeds,), and β₁, β₂, 1 - β₂ⁿ and ε."""
    call(_adam, values, gradient, mean, square, rates, *map(values.dtype.type, numbers))


def call(function: Any, *arguments: Any) -> None:
    """Call a compiled function; if it is compiled now, no other process compiles it at once."""
    kind = function, arguments[-1].dtype
    if kind in _called:
        function(*arguments)
        return
    with locked(function):
        function(*arguments)
    _called.add(kind)


_called: set[tuple[Any, Any]] = set()  # functions that were called before, and in which precision


def _kind(of: Program) -> str:
    """What a compiled function depends on."""
    flux = of.fluxes[0] if of.fluxes else LINEAR
    names = fluxes.register(flux), fluxes.register(of.problem or LINEAR)
    return " ".join(map(str, (*names, of.k, flux.weights, *sorted({step.code for step in of.steps}))))


@contextmanager
def locked(function: Any) -> Iterator[None]:
    """Only one process at a time compiles what is kept on disk; the others take it from there."""
    cache_path = getattr(getattr(function, "_cache", None), "cache_path", None)
    if cache_path is None:
        yield
        return
    Path(cache_path).mkdir(parents=True, exist_ok=True)
    with (Path(cache_path) / f"{function.__name__}.lock").open("w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@lru_cache(maxsize=64)
def _workspace(count: int, dtype: np.dtype, name: str) -> np.ndarray:
    """So many vectors for passes that need as many; they hold the interpreter's lock, so none of them meets another."""
    return aligned(count, dtype)


class Engine:
    """A program in compiled loops, for one precision."""

    def __init__(self, of: Program, dtype: Any) -> None:
        self.program, self.dtype = of, np.dtype(dtype)
        self.functions = _define(_kind(of))
        self.constants = np.array(of.constants, dtype)
        numbers = np.finfo(dtype)
        self.limits = numbers.eps, numbers.tiny

    def _call(self, name: str, *arguments: Any) -> None:
        common = self.program.rows, self.program.layout, self.constants
        call(getattr(self.functions, name), *common, *arguments, *self.limits)

    def _spaces(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """States, their derivatives, the derivatives of numbers, and numbers."""
        states, numbers = self.program.size + self.program.free, self.program.operands + len(self.constants)
        a, g = (_workspace(states, self.dtype, name) for name in ("states", "derivatives"))
        d = _workspace(numbers, self.dtype, "numbers")
        return a, g, d, _workspace(numbers, self.dtype, "operands")[:numbers]

    def run(self, u: np.ndarray, v: np.ndarray, operands: np.ndarray) -> np.ndarray:
        """The result (seeds, batch, numbers) for inputs of such a shape, seeds being one or all."""
        state = self.program.output
        y = np.empty((len(operands), u.shape[1], state.channels * state.N), self.dtype)
        a, _, _, theta = self._spaces()
        self._call("run", u, v, operands, a, theta, y)
        return y

    def differentiate(
        self, u: np.ndarray, v: np.ndarray, operands: np.ndarray, dy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The derivatives of both inputs and of the operands."""
        S = len(operands)
        du, dv = (np.empty((S if x.size else 0, *x.shape[1:]), self.dtype) for x in (u, v))
        doperands = np.empty_like(operands)
        a, g, d, theta = self._spaces()
        self._call("differentiate", u, v, operands, a, g, d, theta, dy, du, dv, doperands)
        return du, dv, doperands

    def train(
        self, inputs: np.ndarray, targets: np.ndarray, batch: np.ndarray, scale: float, operands: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Losses (seeds,) and their derivatives in the operands, see ``train`` in the source of this module."""
        losses, doperands = np.empty(len(operands), self.dtype), np.empty_like(operands)
        a, g, d, theta = self._spaces()
        scale = self.dtype.type(scale)
        self._call("train", inputs, targets, batch, scale, operands, a, g, d, theta, losses, doperands)
        return losses, doperands
