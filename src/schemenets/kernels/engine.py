"""Programs in compiled loops: a group of signals, one per lane, goes through all steps and stays in the cache.

One function does all tasks: values, derivatives, a step of training. It is compiled for a flux, a length of filters and
a precision, and kept on disk; numbers of filters, steps, seeds and positions are data. What a program has no use for,
such as an equation, is not compiled into it.
"""

import fcntl
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.core.caching import FunctionCache
from numba.extending import overload

from schemenets.fluxes.linear import FLUX as LINEAR
from schemenets.kernels import flux as fluxes
from schemenets.kernels import levels, loops, problems, program
from schemenets.kernels import safeguard as guard
from schemenets.kernels.program import Program
from schemenets.kernels.simd import (
    INLINE,
    INNER,
    OPTIONS,
    Vector,
    aligned,
    alone,
    first_lanes,
    fma,
    load,
    load_all,
    load_lanes,
    load_square,
    number,
    plain,
    pointer,
    repeated,
    starts_of,
    store,
    store_all,
    store_lanes,
    store_square,
    total,
)

BLOCK, MIX, MERGE, UPSAMPLE, ACTIVATE, POOL, EXTEND, RESTRICT, PROLONG, RESIDUAL, SWEEP, SAFEGUARD = program.CODES
(
    CODE, Y, U, V, Z, W1, B1, W2, LAM, SHAPE, B2, C0, C1, R, P, N, C, D, F, SHIFT, SIGN, ORDER, REFLECTING,
) = range(WIDTH := len(program.COLUMNS))  # fmt: skip
TASKS = "run", "differentiate", "train"
RUN, DIFFERENTIATE, TRAIN = range(len(TASKS))
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
    found = njit(**OPTIONS)(function)
    try:
        found._cache = Kept(function)  # as with cache=True
    except RuntimeError:  # numba finds no directory that it may write to
        _tell_that_nothing_is_kept()
    return found


class Kept(FunctionCache):
    """Compiled code on disk, compiled anew where a file is damaged, as by a process that ended while it wrote."""

    def load_overload(self, *of: Any) -> Any:
        try:
            return super().load_overload(*of)
        except OSError:  # the directory is at fault
            raise
        except Exception as error:  # whatever reading such a file raises
            warnings.warn(f"{self.cache_path}: compiled code is damaged and compiled anew: {error!r}", stacklevel=2)
            self.flush()
            return None


@cache
def _tell_that_nothing_is_kept() -> None:
    expected = "set NUMBA_CACHE_DIR to a directory that can be written to"
    warnings.warn(f"compiled code cannot be kept, so every process compiles it anew: {expected}", stacklevel=3)


def forward(kind: str, rows: Any, count: int, a: Any, theta: Any, free: int, precision: float, tiny: float) -> None:
    """The first steps of a program of this kind, so many, in compiled code only."""
    raise NotImplementedError


def backward(
    kind: str, rows: Any, count: int, operands: int, a: Any, g: Any, d: Any, theta: Any, free: int, precision: float,
    tiny: float,
) -> None:  # fmt: skip
    """Add the derivatives of all steps to ``g`` and ``d``, the last step first, in compiled code only."""
    raise NotImplementedError


@overload(forward, jit_options=INNER)
def _(kind, rows, count, a, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
    return _passes(kind.literal_value)[0] if isinstance(kind, types.StringLiteral) else None


@overload(backward, jit_options=INNER)
def _(kind, rows, count, operands, a, g, d, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
    return _passes(kind.literal_value)[1] if isinstance(kind, types.StringLiteral) else None


@lru_cache
def _passes(kind: str) -> tuple[Any, Any]:
    """Both for a kind (:func:`_kind`)."""
    flux, problem, *rest = kind.split()
    k, weights = map(int, rest[:2])
    used = [str(code) in rest[2:] for code in program.CODES]
    block, mix, merge, upsample, activate, pool, extend, restrict, prolong, residual, sweeps, safeguard = used

    def forward(kind, rows, count, a, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
        alone()
        taps, shape = repeated(False, k), repeated(False, weights)
        for i in range(count):
            s = pointer(rows, i * WIDTH)
            code = s[CODE]
            if block and code == BLOCK:
                loops.fill(a, s[Y], theta, s[B2], s[N], s[D])
                if s[V] >= 0:
                    loops.add_scaled(a, s[Y], a, s[V], theta, s[C0], s[N] * s[D])
                if s[Z] >= 0:
                    loops.add_scaled(a, s[Y], a, s[Z], theta, s[C1], s[N] * s[D])
                loops.add_block(
                    a, s[Y], s[U], theta, s[W1], s[B1], s[W2], s[LAM], s[SHAPE], s[N], s[F], s[C], s[D], free, flux,
                    taps, shape,
                )  # fmt: skip
            if safeguard and code == SAFEGUARD:
                guard.safeguard(a, s[Y], s[U], s[V], s[Z], theta, s[C0], s[N] * s[C], precision, tiny, ROUNDING)
            if mix and code == MIX:
                loops.fill(a, s[Y], theta, s[B2], s[N], s[D])
                loops.mix(a, s[Y], s[U], theta, s[W1], s[C], plain(1), s[N], s[C], s[D], plain(1))
            if merge and code == MERGE:
                levels.merge(a, s[Y], s[U], theta, s[W1], s[N], s[C], k)
            if activate and code == ACTIVATE:
                loops.activate(a, s[Y], s[U], theta, s[LAM], s[SHAPE], s[N], s[C], flux, shape)
            if upsample and code == UPSAMPLE:
                n = s[N] // 2
                loops.mix(a, free, s[U], theta, s[W1], plain(1), 2 * s[D], n, s[C], 2 * s[D], plain(0))
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
        loops.clear(a, z, k - 1)
        loops.clear(a, z + padded - (k - 1), k - 1)
        loops.clear(a, o, padded)
        loops.add_scaled(a, o, a, z, theta, s[C0], padded)
        t, one = o + padded + s[N], plain(1)
        loops.add_block(a, o, z, theta, s[W1], NONE, s[W1], s[LAM], NONE, padded, s[F], one, one, t, flux, taps, shape)

    def backward(kind, rows, count, operands, a, g, d, theta, free, precision, tiny):  # type: ignore[no-untyped-def]
        alone()
        taps, shape = repeated(False, k), repeated(False, weights)
        for i in range(count - 1, -1, -1):
            s = pointer(rows, i * WIDTH)
            code = s[CODE]
            if block and code == BLOCK:
                numbers = s[N] * s[D]
                if s[V] >= 0:
                    loops.add_scaled(g, s[V], g, s[Y], theta, s[C0], numbers)
                    if 0 <= s[C0] < operands:
                        loops.add_product(a, g, d, s[Y], s[V], s[C0], numbers)
                if s[Z] >= 0:
                    loops.add_scaled(g, s[Z], g, s[Y], theta, s[C1], numbers)
                    if 0 <= s[C1] < operands:
                        loops.add_product(a, g, d, s[Y], s[Z], s[C1], numbers)
                if s[B2] >= 0:
                    loops.add_bias_adjoint(g, d, s[Y], s[B2], s[N], s[D])
                loops.add_block_adjoint(
                    a, g, d, s[Y], s[U], theta, s[W1], s[B1], s[W2], s[LAM], s[SHAPE], s[N], s[F], s[C], s[D], free,
                    flux, taps, shape,
                )  # fmt: skip
            if safeguard and code == SAFEGUARD:
                guard.add_safeguard_adjoint(
                    a, g, d, s[Y], s[U], s[V], s[Z], theta, s[C0], s[N] * s[C], precision, tiny, ROUNDING
                )
            if mix and code == MIX:
                if s[B2] >= 0:
                    loops.add_bias_adjoint(g, d, s[Y], s[B2], s[N], s[D])
                loops.add_mix_products(a, g, d, s[Y], s[U], s[W1], s[C], plain(1), s[N], s[C], s[D])
                loops.mix(g, s[U], s[Y], theta, s[W1], plain(1), s[C], s[N], s[D], s[C], plain(1))
            if merge and code == MERGE:
                levels.add_merge_adjoint(a, g, d, s[Y], s[U], theta, s[W1], s[N], s[C], k)
            if activate and code == ACTIVATE:
                loops.add_activate_adjoint(a, g, d, s[Y], s[U], theta, s[LAM], s[SHAPE], s[N], s[C], flux, shape)
            if upsample and code == UPSAMPLE:
                n = s[N] // 2
                loops.add_bias_adjoint(g, d, s[Y], s[B2], s[N], s[D])
                levels.separate(g, free, s[Y], n, s[D])
                loops.add_mix_products(a, g, d, free, s[U], s[W1], plain(1), 2 * s[D], n, s[C], 2 * s[D])
                loops.mix(g, s[U], free, theta, s[W1], 2 * s[D], plain(1), n, 2 * s[D], s[C], plain(1))
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
                loops.clear(g, free, q + s[N] - free)
                problems.add_scaled_step_adjoint(a, g, s[Y], s[U], q, o + k - 1, s[N])
                loops.add_scaled(g, z, g, o, theta, s[C0], padded)
                loops.add_product(a, g, d, o, z, s[C0], padded)
                loops.add_block_adjoint(
                    a, g, d, o, z, theta, s[W1], NONE, s[W1], s[LAM], NONE, padded, s[F], plain(1), plain(1),
                    q + s[N], flux, taps, shape,
                )  # fmt: skip
                problems.add_smoothing_adjoint(
                    a, g, z + k - 1, q, s[U], s[V], theta, s[P], precision, s[N], s[ORDER], free
                )

    return forward, backward


@njit(**INNER)
def gather(a, at, x, starts):  # type: ignore[no-untyped-def]
    """Signals of x, one per lane, from where ``starts`` of :func:`rows_of` says."""
    alone()
    rest = x.shape[2] % len(starts)
    for n in range(0, x.shape[2] - rest, len(starts)):
        store_all(a, at + n, load_square(x, starts, n))
    for n in range(x.shape[2] - rest, x.shape[2]):
        store(a, at + n, load_lanes(x, starts, n))


@njit(**INNER)
def scatter(a, at, x, starts):  # type: ignore[no-untyped-def]
    """The other way round."""
    alone()
    rest = x.shape[2] % len(starts)
    for n in range(0, x.shape[2] - rest, len(starts)):
        store_square(x, starts, n, load_all(starts, a, at + n))
    for n in range(x.shape[2] - rest, x.shape[2]):
        store_lanes(x, starts, n, load(a, at + n))


@njit(**INLINE)
def rows_of(x, s, batch, first, count):  # type: ignore[no-untyped-def]
    """Where ``count`` signals of a batch begin in x (1 or seeds, signals, numbers); more lanes repeat the first."""
    at = s % batch.shape[0] * batch.shape[1] + first
    return starts_of(x, s % x.shape[0] * x.shape[1], batch, at, count)


@lru_cache
def _define(kind: str) -> Any:
    """The function for programs of a kind, not yet compiled.

    Constants in it are plain data, by which numba recognises it in its cache on disk: it never would by functions.
    """

    def work(  # type: ignore[no-untyped-def]
        task, rows, layout, u, v, t, batch, theta, a, g, d, y, z, losses, dtheta, scale, factor, precision, tiny
    ):
        """One task for signals ``batch`` (1 or seeds, rows) of u, v and t, each (1 or seeds, signals, numbers).

        RUN: the results y. DIFFERENTIATE: the derivatives y, z and dtheta of u, v and theta from those of the
        results, t. TRAIN: sums of squared differences of scale times the results and t, and dtheta.
        """
        L, Q = lanes_of(a), dtheta.shape[1]
        zero = number(theta, NONE, 0)
        first, second, result, end = layout[0], layout[2], layout[4], layout[4] + layout[5]
        # all steps, or those whose states the derivatives are computed from
        count = rows.shape[0]
        again = layout[7] if task == DIFFERENTIATE else count
        program, states, slopes, sums = pointer(rows, 0), pointer(a, 0), pointer(g, 0), pointer(d, 0)
        for s in range(theta.shape[0]):
            loss, numbers = zero, pointer(theta, s * theta.shape[1])
            loops.clear(sums, plain(0), Q)
            for j in range(0, batch.shape[1], L):
                there = min(L, batch.shape[1] - j)
                gather(states, first, u, rows_of(u, s, batch, j, there))
                if layout[3]:
                    gather(states, second, v, rows_of(v, s, batch, j, there))
                forward(kind, program, again, states, numbers, layout[6], precision, tiny)
                if task == RUN:
                    scatter(states, result, y, rows_of(y, s, batch, j, there))
                    continue
                loops.clear(slopes, plain(0), layout[6])
                gather(slopes, result, t, rows_of(t, s, batch, j, there))
                for n in range(result, end):
                    difference = load(slopes, n)
                    if task == TRAIN:
                        difference = scale * load(states, n) - difference
                    difference = first_lanes(difference, there)
                    loss = fma(difference, difference, loss)
                    store(slopes, n, factor * difference)
                backward(kind, program, count, Q, states, slopes, sums, numbers, layout[6], precision, tiny)
                if task == DIFFERENTIATE:
                    scatter(slopes, first, y, rows_of(y, s, batch, j, there))
                    if layout[3]:
                        scatter(slopes, second, z, rows_of(z, s, batch, j, there))
            if task != RUN:
                losses[s] = total(loss)
                for i in range(Q):
                    dtheta[s, i] = total(load(sums, i))

    # numba keeps what it knows of a function by this name, and processes that compile other kinds do not wait
    work.__qualname__ = f"work_{sha256(kind.encode()).hexdigest()[:16]}"
    return compiled(work)


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
    with (Path(cache_path) / f"{function.py_func.__qualname__}.lock").open("w") as lock:
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
        self.work = _define(_kind(of))
        self.constants = np.array(of.constants, dtype)
        self.none = np.empty((1, 0, 0), dtype)
        numbers = np.finfo(dtype)
        self.limits = numbers.eps, numbers.tiny

    def _call(
        self, task: str, u: np.ndarray, v: np.ndarray, t: np.ndarray, batch: np.ndarray, operands: np.ndarray,
        y: np.ndarray, z: np.ndarray, scale: float = 1, factor: float = 1,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """A task of ``work``, see there, whose losses and derivatives of operands are returned."""
        states, (S, Q), K = self.program.size + self.program.free, operands.shape, len(self.constants)
        a, g = (_workspace(states, self.dtype, name) for name in ("states", "derivatives"))
        d = _workspace(Q + K, self.dtype, "numbers")
        theta = operands
        if K:  # into an array of its own, since concatenating may order the numbers by columns
            theta = np.empty((S, Q + K), self.dtype)
            theta[:, :Q], theta[:, Q:] = operands, self.constants
        losses, doperands = np.empty(S, self.dtype), np.empty_like(operands)
        numbers = map(self.dtype.type, (scale, factor, *self.limits))
        arrays = self.program.rows, self.program.layout, u, v, t, batch, theta, a, g, d, y, z, losses, doperands
        call(self.work, TASKS.index(task), *arrays, *numbers)
        return losses, doperands

    def run(self, u: np.ndarray, v: np.ndarray, operands: np.ndarray) -> np.ndarray:
        """The result (seeds, batch, numbers) for inputs of such a shape, seeds being one or all."""
        state = self.program.output
        y = np.empty((len(operands), u.shape[1], state.channels * state.N), self.dtype)
        self._call("run", u, v, self.none, _all(u.shape[1]), operands, y, self.none)
        return y

    def differentiate(
        self, u: np.ndarray, v: np.ndarray, operands: np.ndarray, dy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The derivatives of both inputs and of the operands."""
        du, dv = (np.empty((len(operands) if x.size else 0, *x.shape[1:]), self.dtype) for x in (u, v))
        _, doperands = self._call("differentiate", u, v, dy, _all(dy.shape[1]), operands, du, dv)
        return du, dv, doperands

    def train(
        self, inputs: np.ndarray, targets: np.ndarray, batch: np.ndarray, scale: float, operands: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean squared differences of ``scale`` times the results and targets (seeds,), derivatives in the operands.

        ``inputs`` and ``targets`` are of shape (1 or seeds, signals, numbers), ``batch`` (seeds, rows) says which
        signals.
        """
        size = batch.shape[1] * targets.shape[2]
        none = self.none
        found = self._call("train", inputs, none, targets, batch, operands, none, none, scale, 2 * scale / max(size, 1))
        losses, doperands = found
        return losses / self.dtype.type(size), doperands


@lru_cache
def _all(count: int) -> np.ndarray:
    """The batch of all signals, for all seeds."""
    return np.arange(count)[None]
