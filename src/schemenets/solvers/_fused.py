"""Sweeps and V-cycles as one compiled loop nest per (fluxes, order, ends, kernel size, dtype), on one CPU thread.

Grids become short on coarse levels, where plain torch operations are all overhead, and so is one compiled operation for
every sweep. Here a whole cycle is one operation, and one signal at a time stays in the cache with all of its grids.
Backward passes compute everything within a sweep again; a cycle keeps its iterates, and nothing else. Functions of rows
have short loops over contiguous memory, which the compiler vectorises.
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

CALLED = {key: value for key, value in OPTIONS.items() if key != "forceinline"}  # compiled once, not where it is used
ROWS = 16  # of a workspace


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


@njit(**OPTIONS)
def _restrict(x, r, y, reflecting):  # type: ignore[no-untyped-def]
    """y = Rx with the stencil r from its middle outwards."""
    N, n = x.size, y.size
    if reflecting:  # r₁ r₀ r₀ r₁ on the signal that is mirrored by one value
        for i in range(n):
            beside = x[max(2 * i - 1, 0)] + x[min(2 * i + 2, N - 1)]
            y[i] = r[0] * (x[2 * i] + x[2 * i + 1]) + r[1] * beside
    else:  # r₁ r₀ r₁
        for i in range(n):
            y[i] = r[0] * x[2 * i + 1] + r[1] * (x[2 * i] + x[2 * i + 2])


@njit(**OPTIONS)
def _add_restrict_adjoint(y, r, x, reflecting):  # type: ignore[no-untyped-def]
    """x += Rᵀy."""
    N, n = x.size, y.size
    for i in range(n):
        own, beside = r[0] * y[i], r[1] * y[i]
        if reflecting:
            x[2 * i] += own
            x[2 * i + 1] += own
            x[max(2 * i - 1, 0)] += beside
            x[min(2 * i + 2, N - 1)] += beside
        else:
            x[2 * i] += beside
            x[2 * i + 1] += own
            x[2 * i + 2] += beside


@njit(**OPTIONS)
def _add_restrict_stencil(x, y, factor, dr, reflecting):  # type: ignore[no-untyped-def]
    """dr += the derivative of factor ⟨y, Rx⟩ in the stencil."""
    N, n = x.size, y.size
    middle = beside = x.dtype.type(0)
    for i in range(n):
        if reflecting:
            middle += y[i] * (x[2 * i] + x[2 * i + 1])
            beside += y[i] * (x[max(2 * i - 1, 0)] + x[min(2 * i + 2, N - 1)])
        else:
            middle += y[i] * x[2 * i + 1]
            beside += y[i] * (x[2 * i] + x[2 * i + 2])
    dr[0] += factor * middle
    dr[1] += factor * beside


def _define(identity: str, psi: str, order: int, reflecting: bool, k: int) -> dict[str, tuple[Any, Any]]:
    """Forward and backward pass of a sweep, of the residual b - A(x) and of a V-cycle, not yet compiled.

    x, b, y are of shape (seeds, batch, N), ω (seeds,), W (seeds, F, k), λ of Ψ (seeds, F); ``numbers`` are σ, τ, the
    contrast of Φ, 1/h^order, and from which |Kx| on Φ(Kx)/Kx is a quotient and not a limit. What :func:`_cycle_passes`
    adds is described there. Functions of one signal have their intermediate values in rows of ``work``; what is named
    add_... adds its results to what is there.
    """
    d = k - 1

    @njit(**OPTIONS)
    def rows_of(N):  # type: ignore[no-untyped-def]
        return N if order == 2 else N - 1 if reflecting else N + 1

    @njit(**OPTIONS)
    def workspace(N, dtype):  # type: ignore[no-untyped-def]
        return np.empty((ROWS, N + 2 * d + 1), dtype)

    @njit(**CALLED)
    def residual(x, b, numbers, e, D, work):  # type: ignore[no-untyped-def]
        """e = the residual b - A(x), D = its diagonal; rows 0 to 3 are s = Kx, f = Φ(s), g, slope = Φ'(s)."""
        N = x.size
        rows = rows_of(N)
        s, f, g, slope, buffer = work[0][:rows], work[1][:rows], work[2][:rows], work[3][:rows], work[4]
        buffer = buffer[: N - 1] if reflecting else buffer[: N + 1]
        sigma, tau, contrast, c, tiny = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
        _K(x, s, buffer, order, reflecting)
        for i in range(rows):
            s[i] *= c
            value, derivative, _, _ = _flux(identity, s[i], contrast, ())
            f[i] = value
            slope[i] = derivative
            g[i] = value / s[i] if abs(s[i]) > tiny else derivative
        _K_adjoint(f, e, buffer, order, reflecting)
        _squares(g, D, order, reflecting)
        for i in range(N):
            e[i] = b[i] - sigma * x[i] - tau * c * e[i]
            D[i] = sigma + tau * c * c * D[i]

    @njit(**CALLED)
    def add_residual_adjoint(x, numbers, grad, dx, work):  # type: ignore[no-untyped-def]
        """dx -= A'(x)ᵀ grad."""
        N = x.size
        rows = rows_of(N)
        s, ds, e, buffer = work[0][:rows], work[1][:rows], work[2][:N], work[4]
        buffer = buffer[: N - 1] if reflecting else buffer[: N + 1]
        sigma, tau, contrast, c = numbers[0], numbers[1], numbers[2], numbers[3]
        _K(x, s, buffer, order, reflecting)
        _K(grad, ds, buffer, order, reflecting)
        for m in range(rows):
            ds[m] *= _flux(identity, c * s[m], contrast, ())[1]
        _K_adjoint(ds, e, buffer, order, reflecting)
        for n in range(N):
            dx[n] -= sigma * grad[n] + tau * c * c * e[n]

    @njit(**CALLED)
    def sweep(x, b, omega, W, lam, numbers, y, work):  # type: ignore[no-untyped-def]
        N = x.size
        e, D, o, z, p = work[5][:N], work[6][:N], work[7][:N], work[8][: N + 2 * d], work[9][: N + d]
        residual(x, b, numbers, e, D, work)
        z[:d] = 0
        z[d + N :] = 0
        for n in range(N):
            D[n] = D.dtype.type(1) / math.sqrt(D[n])
            z[d + n] = e[n] * D[n]
            o[n] = omega * z[d + n]
        for r in range(W.shape[0]):
            w = to_fixed_tuple(W[r], k)
            _correlate(w, z, p, k)
            contrast = lam[r]
            for m in range(N + d):
                p[m] = _flux(psi, p[m], contrast, ())[0]
            _add_adjoint(w, p, o, k)
        for n in range(N):
            y[n] = x[n] + D[n] * o[n]

    @njit(**CALLED)
    def add_sweep_adjoint(x, b, omega, W, lam, numbers, grad, dx, db, dW, dlam, work):  # type: ignore[no-untyped-def]
        """The derivative in ω, returned; those of b and the other weights are added, that of x is not.

        ``grad`` and ``dx`` may be the same array.
        """
        N = x.size
        rows = rows_of(N)
        s, g, slope, buffer = work[0][:rows], work[2][:rows], work[3][:rows], work[4]
        buffer = buffer[: N - 1] if reflecting else buffer[: N + 1]
        e, D, o, z, p = work[5][:N], work[6][:N], work[7][:N], work[8][: N + 2 * d], work[9][: N + d]
        do, dp, dz, dD = work[10][: N + 2 * d], work[11][: N + d], work[12][:N], work[13][:N]
        ds, dg = work[14][:rows], work[15][:rows]
        sigma, tau, c, tiny = numbers[0], numbers[1], numbers[3], numbers[4]
        one, zero = x.dtype.type(1), x.dtype.type(0)
        residual(x, b, numbers, e, D, work)
        z[:d] = do[:d] = 0
        z[d + N :] = do[d + N :] = 0
        sum_omega = zero
        for n in range(N):
            D[n] = one / math.sqrt(D[n])
            z[d + n] = e[n] * D[n]
            o[n] = omega * z[d + n]
            do[d + n] = grad[n] * D[n]
            dz[n] = omega * do[d + n]
            sum_omega += do[d + n] * z[d + n]
        for r in range(W.shape[0]):
            w = to_fixed_tuple(W[r], k)
            _correlate(w, z, p, k)
            _correlate(w, do, dp, k)
            contrast, sum_lam = lam[r], zero
            for m in range(N + d):
                value, derivative, of_lam, _ = _flux(psi, p[m], contrast, ())
                p[m] = value
                sum_lam += dp[m] * of_lam
                dp[m] *= derivative
            dlam[r] += sum_lam
            _add_adjoint(w, p, o, k)
            _add_adjoint(w, dp, dz, k)
            _add_products(p, do, dW[r], k)
            _add_products(dp, z, dW[r], k)
        # y = x + qo with q = D^(-1/2) and z = qe
        for n in range(N):
            q = D[n]
            dq = grad[n] * o[n] + dz[n] * e[n]
            dD[n] = -(dq * q * q * q) * x.dtype.type(0.5) * tau * c * c
            dz[n] *= q
            db[n] += dz[n]
            dx[n] = grad[n] - sigma * dz[n]
        _K(dz, ds, buffer, order, reflecting)
        _squares_adjoint(dD, dg, order, reflecting)
        for m in range(rows):
            bend = (slope[m] - g[m]) / s[m] if abs(s[m]) > tiny else zero
            ds[m] = dg[m] * bend - tau * c * slope[m] * ds[m]
        _K_adjoint(ds, o, buffer, order, reflecting)
        for n in range(N):
            dx[n] += c * o[n]
        return sum_omega

    @njit(cache=True, **OPTIONS)
    def residual_forward(x, b, numbers, y):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        work = workspace(N, x.dtype)
        for i in range(S):
            for j in range(B):
                residual(x[i, j], b[i, j], numbers, y[i, j], work[5][:N], work)

    @njit(cache=True, **OPTIONS)
    def residual_backward(x, numbers, grad, dx):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        work = workspace(N, x.dtype)
        for i in range(S):
            for j in range(B):
                add_residual_adjoint(x[i, j], numbers, grad[i, j], dx[i, j], work)

    @njit(cache=True, **OPTIONS)
    def sweep_forward(x, b, omega, W, lam, numbers, y):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        work = workspace(N, x.dtype)
        for i in range(S):
            for j in range(B):
                sweep(x[i, j], b[i, j], omega[i], W[i], lam[i], numbers, y[i, j], work)

    @njit(cache=True, **OPTIONS)
    def sweep_backward(x, b, omega, W, lam, numbers, grad, dx, db, domega, dW, dlam):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        work = workspace(N, x.dtype)
        for i in range(S):
            for j in range(B):
                domega[i] += add_sweep_adjoint(
                    x[i, j], b[i, j], omega[i], W[i], lam[i], numbers, grad[i, j], dx[i, j], db[i, j], dW[i], dlam[i], work
                )

    parts = residual, add_residual_adjoint, sweep, add_sweep_adjoint
    return {
        "sweep": (sweep_forward, sweep_backward),
        "residual": (residual_forward, residual_backward),
        "cycle": _cycle_passes(*parts, workspace, reflecting),
    }


def _cycle_passes(
    residual: Any, add_residual_adjoint: Any, sweep: Any, add_sweep_adjoint: Any, workspace: Any, reflecting: bool
) -> tuple[Any, Any]:
    """Forward and backward pass of a whole V-cycle, which has a signal's grids all in the cache.

    ``grids`` has a row (N, first) for every grid from the finest: its number of points, and where its part of a row of
    ``store`` begins. There are, one after the other, the right-hand side, the iterates from the start through the n
    sweeps before the correction, and those from the correction through the n sweeps after it; on the coarsest grid, all
    of 4n sweeps. ``numbers`` are those of every grid. Weights are of shape (levels, seeds, ...); the last ones are
    those of all further grids.
    """

    @njit(**OPTIONS)
    def at(store, grids, level, stage):  # type: ignore[no-untyped-def]
        N, first = grids[level]
        return store[first + stage * N : first + (stage + 1) * N]

    @njit(cache=True, **OPTIONS)
    def forward(x, b, omega, W, lam, r, p, c, numbers, grids, fas, store, y):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        last, n = len(grids) - 1, omega.shape[2] // 2
        work = workspace(N, x.dtype)
        for i in range(S):
            for j in range(B):
                own = store[i % store.shape[0], j % store.shape[1]]
                at(own, grids, 0, 0)[:] = b[i, j]
                at(own, grids, 0, 1)[:] = x[i, j]
                for level in range(last):
                    q = min(level, len(omega) - 1)
                    b_l = at(own, grids, level, 0)
                    for step in range(n):
                        before, after = at(own, grids, level, 1 + step), at(own, grids, level, 2 + step)
                        sweep(before, b_l, omega[q, i, step], W[q, i], lam[q, i], numbers[level], after, work)
                    x_l = at(own, grids, level, 1 + n)
                    side, start = at(own, grids, level + 1, 0), at(own, grids, level + 1, 1)
                    _restrict(x_l, r[q, i], start, reflecting)
                    if fas:  # A_c(Rx) + R(b - A(x))
                        e, D, t = work[5][: len(x_l)], work[6], work[7][: len(start)]
                        residual(x_l, b_l, numbers[level], e, D[: len(x_l)], work)
                        _restrict(e, r[q, i], t, reflecting)
                        for m in range(len(t)):
                            t[m] = -t[m]
                        residual(start, t, numbers[level + 1], side, D[: len(t)], work)
                        for m in range(len(t)):
                            side[m] = -side[m]
                    else:
                        _restrict(b_l, r[q, i], side, reflecting)
                q = min(last, len(omega) - 1)
                b_l = at(own, grids, last, 0)
                for step in range(4 * n):
                    before, after = at(own, grids, last, 1 + step), at(own, grids, last, 2 + step)
                    sweep(before, b_l, omega[q, i, step % (2 * n)], W[q, i], lam[q, i], numbers[last], after, work)
                for level in range(last - 1, -1, -1):
                    q = min(level, len(omega) - 1)
                    b_l, x_l = at(own, grids, level, 0), at(own, grids, level, 1 + n)
                    e, u = work[7][: len(x_l) // 2], work[5][: len(x_l)]
                    found = at(own, grids, level + 1, 4 * n + 1 if level + 1 == last else 2 * n + 2)
                    start, corrected = at(own, grids, level + 1, 1), at(own, grids, level, 2 + n)
                    for m in range(len(e)):
                        e[m] = found[m] - start[m]
                    u[:] = 0
                    _add_restrict_adjoint(e, p[q, i], u, reflecting)
                    for m in range(len(u)):
                        corrected[m] = x_l[m] + c[q, i] * u[m]
                    for step in range(n):
                        before, after = at(own, grids, level, 2 + n + step), at(own, grids, level, 3 + n + step)
                        sweep(before, b_l, omega[q, i, n + step], W[q, i], lam[q, i], numbers[level], after, work)
                y[i, j] = at(own, grids, 0, 2 * n + 2)

    @njit(cache=True, **OPTIONS)
    def backward(  # type: ignore[no-untyped-def]
        omega, W, lam, r, p, c, numbers, grids, fas, store, grad, dx, db, domega, dW, dlam, dr, dp, dc
    ):
        S, B, N = dx.shape
        last, n = len(grids) - 1, omega.shape[2] // 2
        work = workspace(N, dx.dtype)
        x_grads, b_grads = np.empty((last + 1, N), dx.dtype), np.empty((last + 1, N), dx.dtype)
        for i in range(S):
            for j in range(B):
                own = store[i, j]
                x_grads[0] = grad[i, j]
                b_grads[:] = 0
                for level in range(last):
                    q, N_l = min(level, len(omega) - 1), grids[level, 0]
                    b_l, g, db_l = at(own, grids, level, 0), x_grads[level][:N_l], b_grads[level][:N_l]
                    for step in range(n - 1, -1, -1):
                        domega[q, i, n + step] += add_sweep_adjoint(
                            at(own, grids, level, 2 + n + step), b_l, omega[q, i, n + step], W[q, i], lam[q, i],
                            numbers[level], g, g, db_l, dW[q, i], dlam[q, i], work,
                        )  # fmt: skip
                    # x + cP(x_c - Rx), P the transpose of what has the stencil p
                    e, v, g_c = work[7][: N_l // 2], work[5][: N_l // 2], x_grads[level + 1][: N_l // 2]
                    found = at(own, grids, level + 1, 4 * n + 1 if level + 1 == last else 2 * n + 2)
                    start = at(own, grids, level + 1, 1)
                    _restrict(g, p[q, i], v, reflecting)
                    for m in range(len(e)):
                        e[m] = found[m] - start[m]
                        dc[q, i] += v[m] * e[m]
                        g_c[m] = c[q, i] * v[m]
                    _add_restrict_stencil(g, e, c[q, i], dp[q, i], reflecting)
                q = min(last, len(omega) - 1)
                g, db_l = x_grads[last][: grids[last, 0]], b_grads[last][: grids[last, 0]]
                for step in range(4 * n - 1, -1, -1):
                    domega[q, i, step % (2 * n)] += add_sweep_adjoint(
                        at(own, grids, last, 1 + step), at(own, grids, last, 0), omega[q, i, step % (2 * n)], W[q, i],
                        lam[q, i], numbers[last], g, g, db_l, dW[q, i], dlam[q, i], work,
                    )  # fmt: skip
                for level in range(last - 1, -1, -1):
                    q, N_l = min(level, len(omega) - 1), grids[level, 0]
                    b_l, x_l, start = at(own, grids, level, 0), at(own, grids, level, 1 + n), at(own, grids, level + 1, 1)
                    g, db_l = x_grads[level][:N_l], b_grads[level][:N_l]
                    d_start, d_side, v = x_grads[level + 1][: N_l // 2], b_grads[level + 1][: N_l // 2], work[5][: N_l // 2]
                    # the start is subtracted again in the correction
                    _restrict(g, p[q, i], v, reflecting)
                    for m in range(len(v)):
                        d_start[m] -= c[q, i] * v[m]
                    if fas:
                        e, D, de = work[5][:N_l], work[6][:N_l], work[7][:N_l]
                        for m in range(len(v)):
                            d_side[m] = -d_side[m]
                        add_residual_adjoint(start, numbers[level + 1], d_side, d_start, work)
                        for m in range(len(v)):
                            d_side[m] = -d_side[m]
                        _add_restrict_stencil(x_l, d_start, g.dtype.type(1), dr[q, i], reflecting)
                        _add_restrict_adjoint(d_start, r[q, i], g, reflecting)
                        residual(x_l, b_l, numbers[level], e, D, work)
                        _add_restrict_stencil(e, d_side, g.dtype.type(1), dr[q, i], reflecting)
                        de[:] = 0
                        _add_restrict_adjoint(d_side, r[q, i], de, reflecting)
                        add_residual_adjoint(x_l, numbers[level], de, g, work)
                        for m in range(N_l):
                            db_l[m] += de[m]
                    else:
                        _add_restrict_stencil(x_l, d_start, g.dtype.type(1), dr[q, i], reflecting)
                        _add_restrict_adjoint(d_start, r[q, i], g, reflecting)
                        _add_restrict_stencil(b_l, d_side, g.dtype.type(1), dr[q, i], reflecting)
                        _add_restrict_adjoint(d_side, r[q, i], db_l, reflecting)
                    for step in range(n - 1, -1, -1):
                        domega[q, i, step] += add_sweep_adjoint(
                            at(own, grids, level, 1 + step), b_l, omega[q, i, step], W[q, i], lam[q, i],
                            numbers[level], g, g, db_l, dW[q, i], dlam[q, i], work,
                        )  # fmt: skip
                dx[i, j] = x_grads[0]
                db[i, j] = b_grads[0]

    return forward, backward


@lru_cache
def _passes(flux: Scalar, psi: Scalar, order: int, reflecting: bool, k: int) -> dict[str, tuple[Any, Any]]:
    names = identity_of(flux), identity_of(psi)
    _scalars.update(zip(names, (flux, psi), strict=True))
    return _define(*names, order, reflecting, k)


def run(
    what: str, derivative: bool, fluxes: tuple[Scalar, Scalar], shape: tuple[int, bool, int], *arrays: np.ndarray
) -> None:
    """The forward or the backward pass of a ``sweep``, a ``residual`` or a ``cycle``.

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
