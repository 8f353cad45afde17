"""The block primitive as one compiled loop nest per (flux, kernel size, dtype), on one CPU thread.

A few signals at a time are laid end to end in a buffer that stays in the cache, each filter runs over that
buffer once, and the windows that straddle two signals are set to zero after the flux. The backward pass
computes the pre-activation again, so that nothing but the inputs is kept.
"""

import fcntl
import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

import numpy as np
from numba import from_dtype, njit, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import overload
from numba.np.unsafe.ndarray import to_fixed_tuple

# No "nnan" and no "ninf": a diverging network has to show.
ELEMENTWISE: dict[str, Any] = {
    "fastmath": {"contract", "nsz", "arcp"},
    "error_model": "numpy",
    "forceinline": True,
}
# Sums may be reordered; in a flux that would cancel λ(s/λ), and an infinite λ would not show.
OPTIONS = ELEMENTWISE | {"fastmath": ELEMENTWISE["fastmath"] | {"reassoc"}}
BLOCK = 64  # rows are padded to a multiple, so that no element falls into the scalar rest of a vector loop
CACHE = 40 * 1024  # bytes that the buffers of one group of signals may take


Scalar = Callable[..., tuple]
_scalars: dict[str, Scalar] = {}


def _identity(scalar: Scalar) -> str:
    """Name under which compiled code that contains ``scalar`` may be kept: it changes when the formula does."""
    code, variables = scalar.__code__, inspect.getclosurevars(scalar)
    numbers = {n: v for n, v in {**variables.globals, **variables.nonlocals}.items() if isinstance(v, float)}
    return sha256(repr((code.co_code, code.co_consts, code.co_names, numbers)).encode()).hexdigest()


def _in_single_precision(scalar: Scalar) -> Any:
    """``scalar`` with float32 constants, since one float64 constant makes all of the arithmetic float64."""

    def cast(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(cast, value))
        return np.float32(value) if isinstance(value, float) else value

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
    phi = njit(_in_single_precision(scalar) if s == types.float32 else scalar, **ELEMENTWISE)

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
def _correlate(w, u, s, k):  # type: ignore[no-untyped-def]
    """s += w u, valid correlation."""
    for x in range(s.size):
        a = s[x]
        for j in range(k):
            a += w[j] * u[x + j]
        s[x] = a


@njit(**OPTIONS)
def _correlate_adjoint(w, y, o, k):  # type: ignore[no-untyped-def]
    """o += wᵀ y, where ``y`` starts with k - 1 zeros."""
    for x in range(o.size):
        a = o[x]
        for j in range(k):
            a += w[j] * y[x + k - 1 - j]
        o[x] = a


@njit(**OPTIONS)
def _add_products(y, u, w, k):  # type: ignore[no-untyped-def]
    """w[j] += Σ_x y[x] u[x + j], the derivative of a correlation with respect to its weights."""
    a = to_fixed_tuple(w, k)
    for x in range(y.size):
        for j in range(k):
            a = tuple_setitem(a, j, a[j] + y[x] * u[x + j])
    for j in range(k):
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
    """Undo :func:`_load` and clear the buffer."""
    signals, channels, N = u.shape
    for c in range(channels):
        for i in range(signals):
            for x in range(N):
                u[i, c, x] = buffer[c, i * N + x]
        for x in range(buffer.shape[1]):
            buffer[c, x] = 0


@njit(**OPTIONS)
def _mark_valid(valid, signals, N, k):  # type: ignore[no-untyped-def]
    """Windows that lie in one signal; the others are none of the valid correlation."""
    for x in range(valid.size):
        valid[x] = x % N <= N - k and x < signals * N


def _define(identity: str, k: int, n: int) -> tuple[Any, Any]:
    """Forward and backward pass, not yet compiled; flux, k and the number n of its weights are constants in them.

    Gradients other than ``du`` are added to. ``group`` is the number of signals to lay end to end, the arrays
    after it are the buffers for that: U, G of the signals with k - 1 places more than windows, Y, D of what is
    to be written and ``padded`` with k - 1 zeros before the windows, all of them zero at first.
    """

    @njit(cache=True, **OPTIONS)
    def forward(u, W1, b1, W2, lam, w, out, group, valid, padded, U, Y):  # type: ignore[no-untyped-def]
        S, B, C_in, N = u.shape
        F, C_out = W2.shape[1:3]
        y = padded[k - 1 :]
        P, zero = y.size, u.dtype.type(0)
        for i in range(S):
            for start in range(0, B, group):
                stop = min(start + group, B)
                _load(U, u[i, start:stop])
                _mark_valid(valid, stop - start, N, k)
                for f in range(F):
                    w1, u0 = W1[i, f, 0], U[0]
                    shape = to_fixed_tuple(w[i, f], n)
                    for x in range(P):
                        y[x] = b1[i, f]
                    for c in range(1, C_in):
                        _correlate(W1[i, f, c], U[c], y, k)
                    for x in range(P):
                        s = y[x]
                        for j in range(k):
                            s += w1[j] * u0[x + j]
                        value = _flux(identity, s, lam[i, f], shape)[0]
                        y[x] = value if valid[x] else zero
                    for c in range(C_out):
                        _correlate_adjoint(W2[i, f, c], padded, Y[c], k)
                _unload(out[i, start:stop], Y)

    @njit(cache=True, **OPTIONS)
    def backward(  # type: ignore[no-untyped-def]
        u, W1, b1, W2, lam, w, grad, du, dW1, db1, dW2, dlam, dw, group, valid, padded, U, D, G, y
    ):
        S, B, C_in, N = u.shape
        F, C_out = W2.shape[1:3]
        ds = padded[k - 1 :]
        P, zero = y.size, u.dtype.type(0)
        zeros = np.zeros(n, u.dtype)
        for i in range(S):
            for start in range(0, B, group):
                stop = min(start + group, B)
                _load(U, u[i, start:stop])
                _load(G, grad[i, start:stop])
                _mark_valid(valid, stop - start, N, k)
                for f in range(F):
                    w1, u0, w2, g0 = W1[i, f, 0], U[0], W2[i, f, 0], G[0]
                    for x in range(P):
                        y[x] = b1[i, f]
                        ds[x] = zero
                    for c in range(1, C_in):
                        _correlate(W1[i, f, c], U[c], y, k)
                    for c in range(1, C_out):
                        _correlate(W2[i, f, c], G[c], ds, k)
                    sum_b = sum_lam = zero
                    shape, sums_w = to_fixed_tuple(w[i, f], n), to_fixed_tuple(zeros, n)
                    for x in range(P):
                        s, dy = y[x], ds[x]
                        for j in range(k):
                            s += w1[j] * u0[x + j]
                            dy += w2[j] * g0[x + j]
                        if n:  # here, since sums of several terms under a condition are not vectorised
                            s = s if valid[x] else zero
                            dy = dy if valid[x] else zero
                        value, slope, slope_lam, slopes_w = _flux(identity, s, lam[i, f], shape)
                        y[x] = value if valid[x] else zero
                        d = dy * slope if valid[x] else zero
                        ds[x] = d
                        sum_b += d
                        sum_lam += dy * slope_lam if valid[x] else zero
                        if n:
                            sums_w = _add_multiple(sums_w, dy, slopes_w)
                    db1[i, f] += sum_b
                    dlam[i, f] += sum_lam
                    for j in range(n):
                        dw[i, f, j] += lam[i, f] * sums_w[j]
                    for c in range(C_out):
                        _add_products(y, G[c], dW2[i, f, c], k)
                    for c in range(C_in):
                        _add_products(ds, U[c], dW1[i, f, c], k)
                        _correlate_adjoint(W1[i, f, c], padded, D[c], k)
                _unload(du[i, start:stop], D)

    return forward, backward


@lru_cache
def _passes(scalar: Scalar, k: int, n: int) -> tuple[Any, Any]:
    identity = _identity(scalar)
    _scalars[identity] = scalar
    return _define(identity, k, n)


@lru_cache
def _compiled(scalar: Scalar, k: int, n: int, dtype: np.dtype, derivative: bool) -> Any:
    """Forward or backward pass, compiled or taken from the cache on disk."""
    a1, a2, a3, a4 = (types.Array(from_dtype(dtype), ndim, "C") for ndim in (1, 2, 3, 4))
    integers = (types.intp, types.Array(types.boolean, 1, "C"))
    arguments = (a4, a4, a2, a4, a2, a3, a4) + (a4, a4, a2, a4, a2, a3) * derivative
    function = _passes(scalar, k, n)[derivative]
    # All fluxes share one cache index, and numba lets two processes that write it at once mix up the entries.
    with (Path(function.stats.cache_path) / "schemenets.lock").open("w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        function.compile(arguments + integers + (a1, a2, a2) + (a2, a1) * derivative)
    return function


def _buffers(u: np.ndarray, W2: np.ndarray) -> tuple[Any, ...]:
    """What both passes take after their inputs and outputs: as many signals as fit into the cache together."""
    (_, B, C_in, N), (C_out, k) = u.shape, W2.shape[2:]
    group = max(1, min(B, CACHE // ((2 * C_in + C_out + 2) * N * u.itemsize)))
    P = -(-group * N // BLOCK) * BLOCK
    padded, U = np.zeros(k - 1 + P, u.dtype), np.zeros((C_in, P + k - 1), u.dtype)
    return group, np.zeros(P, np.bool_), padded, U


def forward(scalar: Scalar, inputs: list[np.ndarray], out: np.ndarray) -> None:
    """Write W₂ᵀ Φ(W₁u + b₁) to ``out`` (seeds, batch, C_out, N); ``inputs`` are u, W1, b1, W2, lam, w."""
    u, _, _, W2, _, w = inputs
    group, valid, padded, U = _buffers(u, W2)
    Y = np.zeros((W2.shape[2], valid.size), u.dtype)
    _compiled(scalar, W2.shape[3], w.shape[2], u.dtype, False)(*inputs, out, group, valid, padded, U, Y)


def backward(scalar: Scalar, inputs: list[np.ndarray], grad: np.ndarray, derivatives: list[np.ndarray]) -> None:
    """Write the derivatives with respect to ``inputs`` to ``derivatives``, which are zero at first."""
    u, _, _, W2, _, w = inputs
    group, valid, padded, U = _buffers(u, W2)
    D, G = np.zeros((u.shape[2], valid.size), u.dtype), np.zeros((W2.shape[2], U.shape[1]), u.dtype)
    y = np.zeros(valid.size, u.dtype)
    function = _compiled(scalar, W2.shape[3], w.shape[2], u.dtype, True)
    function(*inputs, grad, *derivatives, group, valid, padded, U, D, G, y)
