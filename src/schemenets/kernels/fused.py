"""The block primitive as one compiled loop nest per (flux, kernel size, dtype), on one CPU thread.

A few signals at a time are laid end to end in a buffer that stays in the cache. Where there are several channels, two
filters or two channels share what is loaded, since loading takes as much time as multiplying. The windows that
straddle two signals are set to zero after the flux. The backward pass computes the pre-activation again, so that
nothing but the inputs is kept.
"""

import fcntl
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

import numpy as np
from llvmlite import binding
from numba import config, from_dtype, njit, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import overload
from numba.np.unsafe.ndarray import to_fixed_tuple

from schemenets.kernels import vector_math

# No "nnan" and no "ninf": a diverging network has to show.
ELEMENTWISE: dict[str, Any] = {
    "fastmath": {"contract", "nsz", "arcp"},
    "error_model": "numpy",
    "forceinline": True,
}
# Sums may be reordered; in a flux that would cancel λ(s/λ), and an infinite λ would not show.
OPTIONS = ELEMENTWISE | {"fastmath": ELEMENTWISE["fastmath"] | {"reassoc"}}
BLOCK = 64  # rows are padded to a multiple, so that no element falls into the scalar rest of a vector loop
CACHE = 96 * 1024  # bytes that the buffers of one group of signals may take
REGISTERS = 24  # for weights; of the 16 of AVX2 some are read again from the cache
LINE = 64  # bytes of a cache line


def _limit_vectors() -> None:
    """Let numba compile without AVX-512 in this process, unless a target is set or something is compiled already.

    With AVX-512 these loops are vectorised in another way and take 2 to 3 times as long (measured on an EPYC 9004).
    """
    settings: Any = config
    if settings.CPU_NAME is None and settings.CPU_FEATURES is None:
        try:
            features = binding.get_host_cpu_features()
        except RuntimeError:  # not known to LLVM
            return
        for name in features:
            features[name] &= not name.startswith(("avx512", "avx10"))
        settings.CPU_FEATURES = features.flatten()


_limit_vectors()

Scalar = Callable[..., tuple]
_scalars: dict[str, Scalar] = {}


def identity_of(scalar: Scalar) -> str:
    """Name under which compiled code that contains ``scalar`` may be kept: it changes when the formula does."""
    code, variables = scalar.__code__, inspect.getclosurevars(scalar)
    numbers = {n: v for n, v in {**variables.globals, **variables.nonlocals}.items() if isinstance(v, float | tuple)}
    return sha256(repr((code.co_code, code.co_consts, code.co_names, numbers, _sources())).encode()).hexdigest()


@lru_cache
def _sources() -> str:
    """Hash of what is compiled together with a flux, of which numba sees only the file that it finds a function in."""
    files = (Path(__file__), Path(vector_math.__file__), Path(__file__).with_name("rows.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _specialised(scalar: Scalar, dtype: Any) -> Any:
    """``scalar`` with constants of one type, since one float64 makes all of the arithmetic float64, and vector math."""

    def cast(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(cast, value))
        return dtype(value) if isinstance(value, float) else vector_math.module(dtype) if value is math else value

    code = scalar.__code__.replace(co_consts=cast(scalar.__code__.co_consts))
    cells = tuple(CellType(cast(cell.cell_contents)) for cell in scalar.__closure__ or ())
    return FunctionType(code, {n: cast(v) for n, v in scalar.__globals__.items()}, None, None, cells)


def _flux(identity: str, s: float, lam: float, w: tuple[float, ...]) -> tuple[float, float, float, tuple[float, ...]]:
    """(Φ, ∂Φ/∂s, ∂Φ/∂λ, ∂Φ/∂w/λ) at (s, λ, w) of the flux with this identity, in compiled code only."""
    raise NotImplementedError


@overload(_flux)
def _(identity, s, lam, w):  # type: ignore[no-untyped-def]
    if not isinstance(identity, types.StringLiteral):
        return None
    scalar = _scalars[identity.literal_value]
    phi = njit(_specialised(scalar, np.float32 if s == types.float32 else np.float64), **ELEMENTWISE)

    def fixed(s, lam, w):  # type: ignore[no-untyped-def]
        t = s / lam
        value, slope = phi(t)
        return lam * value, slope, value - t * slope, ()

    def weighted(s, lam, w):  # type: ignore[no-untyped-def]
        t = s / lam
        value, slope, slopes_w = phi(t, w)
        return lam * value, slope, value - t * slope, slopes_w

    flux = njit(weighted if w.count else fixed, **ELEMENTWISE)
    return lambda identity, s, lam, w: flux(s, lam, w)


@njit(**OPTIONS)
def _add_multiple(a, x, b):  # type: ignore[no-untyped-def]
    """a + x b of two tuples."""
    for j in range(len(b)):
        a = tuple_setitem(a, j, a[j] + x * b[j])
    return a


@njit(**OPTIONS)
def _fill(rows, values, P, margin):  # type: ignore[no-untyped-def]
    """One value for the windows of every row."""
    for r in range(len(rows)):
        for x in range(P):
            rows[r, margin + x] = values[r]


@njit(**OPTIONS)
def _correlate(w, u, s, P, k, R, margin):  # type: ignore[no-untyped-def]
    """s[r] += w[r] u, valid correlation; ``w`` is a tuple of R k weights."""
    for x in range(P):
        for r in range(R):
            a = s[r, margin + x]
            for j in range(k):
                a += w[r * k + j] * u[x + j]
            s[r, margin + x] = a


@njit(**OPTIONS)
def _filled(a, values):  # type: ignore[no-untyped-def]
    """A tuple of the length of ``a`` with the first of these values."""
    for j in range(len(a)):
        a = tuple_setitem(a, j, values[j])
    return a


# Transposed correlations: a row begins k - 1 places before the windows of a filter. Indices that the compiler cannot
# see to be positive might count from the end, and then it would vectorise nothing.
@njit(**OPTIONS)
def _add_adjoint(w, y, o, P, k):  # type: ignore[no-untyped-def]
    """o += wᵀ y."""
    for x in range(P):
        s = o[x]
        for j in range(k):
            s += w[j] * y[x + (k - 1 - j)]
        o[x] = s


@njit(**OPTIONS)
def _add_adjoint_of_two(w, v, y, z, o, P, k):  # type: ignore[no-untyped-def]
    """o += wᵀ y + vᵀ z: two filters."""
    for x in range(P):
        a = o[x]
        for j in range(k):
            a += w[j] * y[x + (k - 1 - j)] + v[j] * z[x + (k - 1 - j)]
        o[x] = a


@njit(**OPTIONS)
def _add_adjoint_to_two(w, v, y, o, p, P, k):  # type: ignore[no-untyped-def]
    """o += wᵀ y, p += vᵀ y: what is loaded of one filter's windows serves two channels."""
    for x in range(P):
        a, b = o[x], p[x]
        for j in range(k):
            a += w[j] * y[x + (k - 1 - j)]
            b += v[j] * y[x + (k - 1 - j)]
        o[x], p[x] = a, b


@njit(**OPTIONS)
def _add_adjoints(W, y, rows, P, k, R, taps, margin, several):  # type: ignore[no-untyped-def]
    """rows[c] += Σ_r W[c, r]ᵀ y[r] for all channels, if there are ``several``; ``taps`` is any tuple of length k."""
    last, before = len(rows) - 1, margin - (k - 1)
    if several:
        for c in range(0, last, 2):
            for r in range(R):
                w, v = _filled(taps, W[c, r * k :]), _filled(taps, W[c + 1, r * k :])
                _add_adjoint_to_two(w, v, y[r, before:], rows[c], rows[c + 1], P, k)
    if last % 2 == 0:  # one is left
        w = _filled(taps, W[last])
        if R == 2:
            _add_adjoint_of_two(w, _filled(taps, W[last, k:]), y[0, before:], y[1, before:], rows[last], P, k)
        else:
            _add_adjoint(w, y[0, before:], rows[last], P, k)


@njit(**OPTIONS)
def _add_products(y, u, w, P, k, R, taps, margin):  # type: ignore[no-untyped-def]
    """w[r k + j] += Σ_x y[r, x] u[x + j], the derivatives of correlations with respect to their weights."""
    a = to_fixed_tuple(w, taps)
    for x in range(P):
        for r in range(R):
            for j in range(k):
                a = tuple_setitem(a, r * k + j, a[r * k + j] + y[r, margin + x] * u[x + j])
    for j in range(taps):
        w[j] = a[j]


@njit(**OPTIONS)
def _load(buffer, u):  # type: ignore[no-untyped-def]
    """Lay the signals of ``u`` (signals, channels, N) end to end, channel by channel, and zeros after them."""
    signals, channels, N = u.shape
    for c in range(channels):
        for i in range(signals):
            for x in range(N):
                buffer[c, i * N + x] = u[i, c, x]
        for x in range(signals * N, buffer.shape[1]):
            buffer[c, x] = 0


@njit(**OPTIONS)
def _unload(u, buffer):  # type: ignore[no-untyped-def]
    """Undo :func:`_load`."""
    signals, channels, N = u.shape
    for c in range(channels):
        for i in range(signals):
            for x in range(N):
                u[i, c, x] = buffer[c, i * N + x]


def _define(identity: str, k: int, n: int, R: int, several: tuple[bool, bool]) -> tuple[Any, Any]:
    """Forward and backward pass, not yet compiled.

    Constants in them: the flux and the number n of its weights, k, the number R of filters that share what is loaded
    of the signals, and whether there are ``several`` channels of u and of the result.

    Filters come in groups of R: W1, W2 of shape (seeds, F/R, channels, R k), b1, lam of shape (seeds, F/R, R), and so
    do their derivatives, which are added to what is there. ``add``: the result is added to ``onto``, and the derivative
    with respect to u to ``grad``. ``group`` is the number of signals to lay end to end, ``valid`` marks the windows
    that lie in one of them, and the arrays after it are buffers: U, G of the signals with k - 1 places more than
    windows, Y, D of what is to be written, and R rows with a margin of zeros before the windows.
    """
    several_in, several_out = several
    margin, taps = _margin(k), R * k

    @njit(cache=True, **OPTIONS)
    def forward(u, W1, b1, W2, lam, w, onto, add, out, group, valid, U, Y, y):  # type: ignore[no-untyped-def]
        S, B, C_in = u.shape[:3]
        F, P, zero = W2.shape[1], valid.size, u.dtype.type(0)
        for i in range(S):
            for start in range(0, B, group):
                stop = min(start + group, B)
                _load(U, u[i, start:stop])
                if add:
                    _load(Y, onto[i, start:stop])
                else:
                    Y[:] = zero
                u0 = U[0]
                for f in range(F):
                    if several_in:
                        _fill(y, b1[i, f], P, margin)
                        for c in range(1, C_in):
                            _correlate(to_fixed_tuple(W1[i, f, c], taps), U[c], y, P, k, R, margin)
                    for r in range(R):
                        y_r, bias, contrast = y[r, margin:], b1[i, f, r], lam[i, f, r]
                        w1 = to_fixed_tuple(W1[i, f, 0, r * k : (r + 1) * k], k)
                        shape = to_fixed_tuple(w[i, f * R + r], n)
                        for x in range(P):
                            s = y_r[x] if several_in else bias
                            for j in range(k):
                                s += w1[j] * u0[x + j]
                            value = _flux(identity, s, contrast, shape)[0]
                            y_r[x] = value if valid[x] else zero
                    _add_adjoints(W2[i, f], y, Y, P, k, R, w1, margin, several_out)
                _unload(out[i, start:stop], Y)

    @njit(cache=True, **OPTIONS)
    def backward(  # type: ignore[no-untyped-def]
        u, W1, b1, W2, lam, w, grad, add, du, dW1, db1, dW2, dlam, dw, group, valid, U, D, y, G, ds
    ):
        S, B, C_in = u.shape[:3]
        F, C_out = W2.shape[1:3]
        P, zero = valid.size, u.dtype.type(0)
        zeros = np.zeros(max(n, R), u.dtype)
        for i in range(S):
            for start in range(0, B, group):
                stop = min(start + group, B)
                _load(U, u[i, start:stop])
                _load(G, grad[i, start:stop])
                if add:
                    _load(D, grad[i, start:stop])
                else:
                    D[:] = zero
                u0, g0 = U[0], G[0]
                for f in range(F):
                    if several_in:
                        _fill(y, b1[i, f], P, margin)
                        for c in range(1, C_in):
                            _correlate(to_fixed_tuple(W1[i, f, c], taps), U[c], y, P, k, R, margin)
                    if several_out:
                        _fill(ds, zeros, P, margin)
                        for c in range(1, C_out):
                            _correlate(to_fixed_tuple(W2[i, f, c], taps), G[c], ds, P, k, R, margin)
                    for r in range(R):
                        y_r, ds_r, bias, contrast = y[r, margin:], ds[r, margin:], b1[i, f, r], lam[i, f, r]
                        w1 = to_fixed_tuple(W1[i, f, 0, r * k : (r + 1) * k], k)
                        w2 = to_fixed_tuple(W2[i, f, 0, r * k : (r + 1) * k], k)
                        shape, sums_w = to_fixed_tuple(w[i, f * R + r], n), to_fixed_tuple(zeros, n)
                        sum_b = sum_lam = zero
                        for x in range(P):
                            s = y_r[x] if several_in else bias
                            dy = ds_r[x] if several_out else zero
                            for j in range(k):
                                s += w1[j] * u0[x + j]
                                dy += w2[j] * g0[x + j]
                            if n:  # here, since sums of several terms under a condition are not vectorised
                                s = s if valid[x] else zero
                                dy = dy if valid[x] else zero
                            value, slope, slope_lam, slopes_w = _flux(identity, s, contrast, shape)
                            y_r[x] = value if valid[x] else zero
                            d = dy * slope if valid[x] else zero
                            ds_r[x] = d
                            sum_b += d
                            sum_lam += dy * slope_lam if valid[x] else zero
                            if n:
                                sums_w = _add_multiple(sums_w, dy, slopes_w)
                        db1[i, f, r] += sum_b
                        dlam[i, f, r] += sum_lam
                        for j in range(n):
                            dw[i, f * R + r, j] += contrast * sums_w[j]
                    for c in range(C_out):
                        _add_products(y, G[c], dW2[i, f, c], P, k, R, taps, margin)
                    for c in range(C_in):
                        _add_products(ds, U[c], dW1[i, f, c], P, k, R, taps, margin)
                    _add_adjoints(W1[i, f], ds, D, P, k, R, w1, margin, several_in)
                _unload(du[i, start:stop], D)

    return forward, backward


@lru_cache
def _passes(scalar: Scalar, k: int, n: int, R: int, several: tuple[bool, bool]) -> tuple[Any, Any]:
    name = identity_of(scalar)
    _scalars[name] = scalar
    return _define(name, k, n, R, several)


@contextmanager
def locked(function: Any) -> Iterator[None]:
    """The cache of compiled code on disk for this process alone.

    All passes of a file share one index, and numba lets two processes that write it at once mix up the entries.
    """
    with (Path(function.stats.cache_path) / "schemenets.lock").open("w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@lru_cache
def _compiled(
    scalar: Scalar, k: int, n: int, R: int, several: tuple[bool, bool], dtype: np.dtype, derivative: bool
) -> Any:
    """Forward or backward pass, compiled or taken from the cache on disk."""
    a2, a3, a4 = (types.Array(from_dtype(dtype), ndim, "C") for ndim in (2, 3, 4))
    filters, marks = (a4, a3, a4, a3, a3), types.Array(types.boolean, 1, "C")
    outer = (a4, types.boolean, a4, *filters) if derivative else (a4, types.boolean, a4)
    function = _passes(scalar, k, n, R, several)[derivative]
    with locked(function):
        function.compile((a4, *filters, *outer, types.intp, marks) + (a2,) * (5 if derivative else 3))
    return function


@lru_cache
def _marks(N: int, k: int, P: int) -> np.ndarray:
    """Which of P windows on signals of length N lie in one signal; the others are none of the valid correlation."""
    return np.arange(P) % N <= N - k


def _margin(k: int) -> int:
    """Zeros before the windows of a row: at least k - 1, and the windows start with a cache line."""
    return -(-(k - 1) // BLOCK) * BLOCK


@lru_cache(maxsize=32)
def _buffer(index: int, margin: int, rows: int, length: int, dtype: np.dtype) -> np.ndarray:
    """Rows of a margin and so much more, the buffer of this number for all passes that need one like it.

    It is zero at first and its margins stay so; nothing reads what passes leave elsewhere. They hold the interpreter's
    lock, so that two of them cannot use it at once. It starts with a cache line: vectors that straddle two lines take
    twice as long.
    """
    size = rows * (margin + length)
    buffer = np.zeros(size + LINE // dtype.itemsize, dtype)
    start = -buffer.ctypes.data % LINE // dtype.itemsize
    return buffer[start : start + size].reshape(rows, margin + length)


def _grouped(W: np.ndarray, R: int) -> np.ndarray:
    """(seeds, F, C, k) as (seeds, F/R, C, R k)."""
    S, F, C, k = W.shape
    if C == 1:  # no copy
        return W.reshape(S, F // R, 1, R * k)
    return np.ascontiguousarray(W.reshape(S, F // R, R, C, k).swapaxes(2, 3)).reshape(S, F // R, C, R * k)


def _ungrouped(W: np.ndarray, R: int) -> np.ndarray:
    """Undo :func:`_grouped`."""
    S, groups, C, Rk = W.shape
    rows = np.ascontiguousarray(W.reshape(S, groups, C, R, Rk // R).swapaxes(2, 3))
    return rows.reshape(S, groups * R, C, Rk // R)


def _filters_at_once(F: int, k: int) -> int:
    """How many filters share what is loaded of the signals; their weights are to stay in the registers."""
    return 2 if F % 2 == 0 and 2 * k <= REGISTERS else 1


def _run(scalar: Scalar, inputs: list[np.ndarray], outer: list[Any], derivative: bool) -> None:
    """Prepare and call a pass."""
    u, W1, b1, W2, lam, w = inputs
    (_, B, C_in, N), (S, F, C_out, k), n = u.shape, W2.shape, w.shape[2]
    R = _filters_at_once(F, k)
    group = max(1, min(B, CACHE // ((2 * C_in + C_out + 2 * R) * N * u.itemsize)))
    group = math.ceil(B / math.ceil(B / group))  # as equal as can be: a smaller last group takes as long as the others
    P = -(-group * N // BLOCK) * BLOCK
    longer, rows = (0, C_in, P + k - 1), (_margin(k), R, P)
    shapes = [longer, (0, C_in, P), rows, (0, C_out, P + k - 1), rows] if derivative else [longer, (0, C_out, P), rows]
    b1, lam = (x.reshape(S, F // R, R) for x in (b1, lam))
    function = _compiled(scalar, k, n, R, (C_in > 1, C_out > 1), u.dtype, derivative)
    buffers = [_buffer(index, *shape, u.dtype) for index, shape in enumerate(shapes)]
    function(u, _grouped(W1, R), b1, _grouped(W2, R), lam, w, *outer, group, _marks(N, k, P), *buffers)


def forward(scalar: Scalar, inputs: list[np.ndarray], onto: np.ndarray | None, out: np.ndarray) -> None:
    """Write ``onto`` + W₂ᵀ Φ(W₁u + b₁) to ``out`` (seeds, batch, C_out, N); ``inputs`` are u, W1, b1, W2, lam, w."""
    _run(scalar, inputs, [out if onto is None else onto, onto is not None, out], derivative=False)


def backward(scalar: Scalar, inputs: list[np.ndarray], grad: np.ndarray, residual: bool) -> list[np.ndarray]:
    """Derivatives with respect to ``inputs``; ``residual``: those of u + W₂ᵀ Φ(W₁u + b₁)."""
    u, W1, b1, W2, lam, w = inputs
    S, F, _, k = W1.shape
    R = _filters_at_once(F, k)
    dW1, dW2 = (np.zeros((S, F // R, W.shape[2], R * k), W.dtype) for W in (W1, W2))
    du, db1, dlam, dw = np.empty_like(u), *map(np.zeros_like, (b1, lam, w))
    grouped = [x.reshape(S, F // R, R) for x in (db1, dlam)]
    _run(scalar, inputs, [grad, residual, du, dW1, grouped[0], dW2, grouped[1], dw], derivative=True)
    return [du, _ungrouped(dW1, R), db1, _ungrouped(dW2, R), dlam, dw]
