"""A smoothing sweep as one compiled loop nest per (fluxes, order, ends, kernel size, dtype), on one CPU thread.

Grids become short on coarse levels, where a sweep in plain torch operations is all overhead. Here it is one operation;
one signal at a time stays in the cache. The backward pass computes everything again, so that nothing but the inputs is
kept. Functions of rows have short loops over contiguous memory, which the compiler vectorises.
"""

import fcntl
import math
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.np.unsafe.ndarray import to_fixed_tuple

from schemenets.kernels.fused import OPTIONS, Scalar, _flux, _scalars, identity_of


@njit(**OPTIONS)
def _differences(x, d, reflecting):  # type: ignore[no-untyped-def]
    """d = Dx, the first differences, with zeros around x unless the ends are reflecting."""
    N = x.size
    if reflecting:
        for i in range(N - 1):
            d[i] = x[i + 1] - x[i]
    else:
        d[0] = x[0]
        for i in range(1, N):
            d[i] = x[i] - x[i - 1]
        d[N] = -x[N - 1]


@njit(**OPTIONS)
def _differences_adjoint(d, x, reflecting):  # type: ignore[no-untyped-def]
    """x = Dᵀd."""
    N = x.size
    if not reflecting:
        for i in range(N):
            x[i] = d[i] - d[i + 1]
    elif N == 1:
        x[0] = 0
    else:
        x[0] = -d[0]
        for i in range(1, N - 1):
            x[i] = d[i - 1] - d[i]
        x[N - 1] = d[N - 2]


@njit(**OPTIONS)
def _K(x, s, d, order, reflecting):  # type: ignore[no-untyped-def]
    """s = h^order Kx; d is a buffer."""
    if order == 1:
        _differences(x, s, reflecting)
    else:
        _differences(x, d, reflecting)
        _differences_adjoint(d, s, reflecting)
        for i in range(s.size):
            s[i] = -s[i]


@njit(**OPTIONS)
def _K_adjoint(s, x, d, order, reflecting):  # type: ignore[no-untyped-def]
    """x = h^order Kᵀs; d is a buffer."""
    if order == 1:
        _differences_adjoint(s, x, reflecting)
    else:
        _K(s, x, d, order, reflecting)  # symmetric


@njit(**OPTIONS)
def _squares(g, x, order, reflecting):  # type: ignore[no-untyped-def]
    """x = (K∘K)ᵀg h^(2 order), from the rows of K to points."""
    N = x.size
    if order == 2:
        _squares_of_second(g, x)
    elif not reflecting:
        for i in range(N):
            x[i] = g[i] + g[i + 1]
    elif N == 1:
        x[0] = 0
    else:
        x[0] = g[0]
        for i in range(1, N - 1):
            x[i] = g[i - 1] + g[i]
        x[N - 1] = g[N - 2]


@njit(**OPTIONS)
def _squares_adjoint(x, g, order, reflecting):  # type: ignore[no-untyped-def]
    """g = (K∘K)x h^(2 order), from points to the rows of K."""
    N = x.size
    if order == 2:
        _squares_of_second(x, g)
    elif reflecting:
        for i in range(N - 1):
            g[i] = x[i] + x[i + 1]
    else:
        g[0] = x[0]
        for i in range(1, N):
            g[i] = x[i - 1] + x[i]
        g[N] = x[N - 1]


@njit(**OPTIONS)
def _squares_of_second(g, x):  # type: ignore[no-untyped-def]
    """The same for second differences, reflecting as all of them, whose matrix of squares is symmetric."""
    N = x.size
    four = x.dtype.type(4)
    for i in range(1, N - 1):
        x[i] = g[i - 1] + four * g[i] + g[i + 1]
    if N == 1:
        x[0] = 0
    else:
        x[0] = g[0] + g[1]
        x[N - 1] = g[N - 2] + g[N - 1]


@njit(**OPTIONS)
def _correlate(w, z, y, k):  # type: ignore[no-untyped-def]
    """y[m] = Σ_j w[j] z[m + j]."""
    for m in range(y.size):
        a = y.dtype.type(0)
        for j in range(k):
            a += w[j] * z[m + j]
        y[m] = a


@njit(**OPTIONS)
def _add_adjoint(w, y, x, k):  # type: ignore[no-untyped-def]
    """x[n] += Σ_j w[j] y[n + k - 1 - j]."""
    for n in range(x.size):
        a = x[n]
        for j in range(k):
            a += w[j] * y[n + k - 1 - j]
        x[n] = a


@njit(**OPTIONS)
def _add_products(a, b, w, k):  # type: ignore[no-untyped-def]
    """w[j] += Σ_m a[m] b[m + j]."""
    sums = to_fixed_tuple(w, k)
    for m in range(a.size):
        for j in range(k):
            sums = tuple_setitem(sums, j, sums[j] + a[m] * b[m + j])
    for j in range(k):
        w[j] = sums[j]


def _define(identity: str, psi: str, order: int, reflecting: bool, k: int) -> dict[str, tuple[Any, Any]]:
    """Forward and backward pass of a sweep and of the residual b - A(x), not yet compiled.

    x, b, y are of shape (seeds, batch, N), ω (seeds,), W (seeds, F, k), λ of Ψ (seeds, F); ``numbers`` are σ, τ, the
    contrast of Φ and 1/h^order.
    """
    d = k - 1

    @njit(**OPTIONS)
    def work(N, rows, dtype):  # type: ignore[no-untyped-def]
        """Buffers: four as long as K has rows, one of points, and one of differences."""
        buffer = np.empty(N + 1, dtype)
        buffer = buffer[: N - 1] if reflecting else buffer
        s, f, g, slope = np.empty(rows, dtype), np.empty(rows, dtype), np.empty(rows, dtype), np.empty(rows, dtype)
        return s, f, g, slope, np.empty(N, dtype), buffer

    @njit(**OPTIONS)
    def residual(x, b, numbers, s, f, g, slope, e, D, buffer):  # type: ignore[no-untyped-def]
        """e = the residual b - A(x), D = its diagonal; s = Kx, f = Φ(s), g, slope = Φ'(s)."""
        sigma, tau, contrast, c = numbers[0], numbers[1], numbers[2], numbers[3]
        tiny = numbers[4]
        _K(x, s, buffer, order, reflecting)
        for i in range(s.size):
            s[i] *= c
            value, derivative, _, _ = _flux(identity, s[i], contrast, ())
            f[i] = value
            slope[i] = derivative
            g[i] = value / s[i] if abs(s[i]) > tiny else derivative
        _K_adjoint(f, e, buffer, order, reflecting)
        _squares(g, D, order, reflecting)
        for i in range(x.size):
            e[i] = b[i] - sigma * x[i] - tau * c * e[i]
            D[i] = sigma + tau * c * c * D[i]

    @njit(cache=True, **OPTIONS)
    def residual_forward(x, b, numbers, y):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        rows = N if order == 2 else N - 1 if reflecting else N + 1
        s, f, g, slope, D, buffer = work(N, rows, x.dtype)
        for i in range(S):
            for j in range(B):
                residual(x[i, j], b[i, j], numbers, s, f, g, slope, y[i, j], D, buffer)

    @njit(cache=True, **OPTIONS)
    def residual_backward(x, numbers, grad, dx):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        sigma, tau, contrast, c = numbers[0], numbers[1], numbers[2], numbers[3]
        rows = N if order == 2 else N - 1 if reflecting else N + 1
        s, ds, _, _, e, buffer = work(N, rows, x.dtype)
        for i in range(S):
            for j in range(B):
                _K(x[i, j], s, buffer, order, reflecting)
                _K(grad[i, j], ds, buffer, order, reflecting)
                for m in range(rows):
                    ds[m] *= _flux(identity, c * s[m], contrast, ())[1]
                _K_adjoint(ds, e, buffer, order, reflecting)
                for n in range(N):
                    dx[i, j, n] = -sigma * grad[i, j, n] - tau * c * c * e[n]

    @njit(cache=True, **OPTIONS)
    def forward(x, b, omega, W, lam, numbers, y):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        F = W.shape[1]
        rows = N if order == 2 else N - 1 if reflecting else N + 1
        dtype, one = x.dtype, x.dtype.type(1)
        s, f, g, slope, D, buffer = work(N, rows, dtype)
        e, o = np.empty(N, dtype), np.empty(N, dtype)
        z, p = np.zeros(N + 2 * d, dtype), np.empty(N + d, dtype)
        for i in range(S):
            for j in range(B):
                residual(x[i, j], b[i, j], numbers, s, f, g, slope, e, D, buffer)
                for n in range(N):
                    D[n] = one / math.sqrt(D[n])
                    z[d + n] = e[n] * D[n]
                    o[n] = omega[i] * z[d + n]
                for r in range(F):
                    w = to_fixed_tuple(W[i, r], k)
                    _correlate(w, z, p, k)
                    contrast = lam[i, r]
                    for m in range(N + d):
                        p[m] = _flux(psi, p[m], contrast, ())[0]
                    _add_adjoint(w, p, o, k)
                for n in range(N):
                    y[i, j, n] = x[i, j, n] + D[n] * o[n]

    @njit(cache=True, **OPTIONS)
    def backward(x, b, omega, W, lam, numbers, grad, dx, db, domega, dW, dlam):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        F = W.shape[1]
        sigma, tau, c, tiny = numbers[0], numbers[1], numbers[3], numbers[4]
        rows = N if order == 2 else N - 1 if reflecting else N + 1
        dtype, one, zero = x.dtype, x.dtype.type(1), x.dtype.type(0)
        s, f, g, slope, D, buffer = work(N, rows, dtype)
        e, o = np.empty(N, dtype), np.empty(N, dtype)
        z, p, do = np.zeros(N + 2 * d, dtype), np.empty(N + d, dtype), np.zeros(N + 2 * d, dtype)
        dp, dz, dD = np.empty(N + d, dtype), np.empty(N, dtype), np.empty(N, dtype)
        ds, dg = np.empty(rows, dtype), np.empty(rows, dtype)
        for i in range(S):
            for j in range(B):
                residual(x[i, j], b[i, j], numbers, s, f, g, slope, e, D, buffer)
                sum_omega, damping = zero, omega[i]
                for n in range(N):
                    D[n] = one / math.sqrt(D[n])
                    z[d + n] = e[n] * D[n]
                    o[n] = damping * z[d + n]
                    do[d + n] = grad[i, j, n] * D[n]
                    dz[n] = damping * do[d + n]
                    sum_omega += do[d + n] * z[d + n]
                domega[i] += sum_omega
                for r in range(F):
                    w = to_fixed_tuple(W[i, r], k)
                    _correlate(w, z, p, k)
                    _correlate(w, do, dp, k)
                    contrast, sum_lam = lam[i, r], zero
                    for m in range(N + d):
                        value, derivative, of_lam, _ = _flux(psi, p[m], contrast, ())
                        p[m] = value
                        sum_lam += dp[m] * of_lam
                        dp[m] *= derivative
                    dlam[i, r] += sum_lam
                    _add_adjoint(w, p, o, k)
                    _add_adjoint(w, dp, dz, k)
                    _add_products(p, do, dW[i, r], k)
                    _add_products(dp, z, dW[i, r], k)
                # y = x + qo with q = D^(-1/2) and z = qe
                for n in range(N):
                    q = D[n]
                    dq = grad[i, j, n] * o[n] + dz[n] * e[n]
                    dD[n] = -(dq * q * q * q) * dtype.type(0.5) * tau * c * c
                    dz[n] *= q
                    db[i, j, n] = dz[n]
                    dx[i, j, n] = grad[i, j, n] - sigma * dz[n]
                _K(dz, ds, buffer, order, reflecting)
                _squares_adjoint(dD, dg, order, reflecting)
                for m in range(rows):
                    bend = (slope[m] - g[m]) / s[m] if abs(s[m]) > tiny else zero
                    ds[m] = dg[m] * bend - tau * c * slope[m] * ds[m]
                _K_adjoint(ds, o, buffer, order, reflecting)
                for n in range(N):
                    dx[i, j, n] += c * o[n]

    return {"sweep": (forward, backward), "residual": (residual_forward, residual_backward)}


@lru_cache
def _passes(flux: Scalar, psi: Scalar, order: int, reflecting: bool, k: int) -> dict[str, tuple[Any, Any]]:
    names = identity_of(flux), identity_of(psi)
    _scalars.update(zip(names, (flux, psi), strict=True))
    return _define(*names, order, reflecting, k)


def run(
    what: str, derivative: bool, fluxes: tuple[Scalar, Scalar], shape: tuple[int, bool, int], *arrays: np.ndarray
) -> None:
    """The forward or the backward pass of a ``sweep`` or a ``residual``.

    Args:
        what: which.
        derivative: whether the backward pass.
        fluxes: Φ and Ψ in scalar arithmetic.
        shape: order of K, whether the ends are reflecting, and the length of the filters.
        arrays: arguments of the pass, see :func:`_define`.
    """
    function = _passes(*fluxes, *shape)[what][derivative]
    signature = tuple((array.dtype, array.ndim) for array in arrays)
    if signature in _compiled(function):
        function(*arrays)
        return
    # all passes share one cache index, and numba lets two processes that write it at once mix up the entries
    with (Path(function.stats.cache_path) / "schemenets.lock").open("w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        function(*arrays)
    _compiled(function).add(signature)


@lru_cache
def _compiled(function: Any) -> set[tuple[Any, ...]]:
    """The signatures that a function was called with before."""
    return set()
