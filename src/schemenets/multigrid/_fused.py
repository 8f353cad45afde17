"""Cycles as one compiled loop nest per (fluxes, order, ends, kernel size, dtype), on one CPU thread.

Grids become short on coarse levels, where plain torch operations are all overhead, and so is one compiled operation for
every sweep. Here a list of instructions, whatever the cycle, is one operation: one signal at a time goes through all of
them and stays in the cache with all of its grids. The iterates are kept for the backward pass, which computes again
what is within a sweep. Functions of rows have short loops over contiguous memory, which the compiler vectorises.

Functions of one signal have their intermediate values in rows of ``work``; what is named add_... adds its results to
what is there.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import literally, njit
from numba.np.unsafe.ndarray import to_fixed_tuple

from schemenets.kernels.fused import OPTIONS, Scalar, _flux, _scalars, identity_of
from schemenets.kernels.rows import add_adjoint, add_products, call, correlate, part
from schemenets.multigrid._cycles import CORRECT, RESIDUAL, RESTRICT, RIGHT_HAND_SIDE, SWEEP


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


@njit(**OPTIONS)
def _load(half, x, x_c, r, c, z, before, reflecting):  # type: ignore[no-untyped-def]
    """z = x, or cPx_c, what the two halves of merging filters take, in zeros of which so many are before it."""
    N = x.size
    z[:] = 0
    inner = part(z, before, N)
    if half == 0:
        inner[:] = x
    else:
        _add_restrict_adjoint(x_c, r, inner, reflecting)
        for n in range(N):
            inner[n] *= c


@njit(**OPTIONS)
def _rows(N, order, reflecting):  # type: ignore[no-untyped-def]
    return N if order == 2 else N - 1 if reflecting else N + 1


@njit(**OPTIONS)
def _workspace(N, k, dtype):  # type: ignore[no-untyped-def]
    """Buffers, each on its own: the compiler knows then that they do not overlap."""
    M = N + 2 * k - 1
    one = np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype)
    two = np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype)
    three = np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype)
    four = np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype), np.empty(M, dtype)
    return one + two + three + four


@njit(**OPTIONS)
def _residual(x, b, numbers, e, D, work, identity, order, reflecting):  # type: ignore[no-untyped-def]
    """e = the residual b - A(x), D = its diagonal; rows 0 to 3 are s = Kx, f = Φ(s), g, slope = Φ'(s)."""
    N = x.size
    rows = _rows(N, order, reflecting)
    s, f, g, slope, buffer = work[0][:rows], work[1][:rows], work[2][:rows], work[3][:rows], work[4]
    buffer = buffer[: N - 1] if reflecting else buffer[: N + 1]
    sigma, tau, contrast, c, tiny = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    _K(x, s, buffer, order, reflecting)
    for i in range(rows):
        s[i] *= c
        value, derivative, _, _ = _flux(literally(identity), s[i], contrast, ())
        f[i] = value
        slope[i] = derivative
        g[i] = value / s[i] if abs(s[i]) > tiny else derivative
    _K_adjoint(f, e, buffer, order, reflecting)
    _squares(g, D, order, reflecting)
    for i in range(N):
        e[i] = b[i] - sigma * x[i] - tau * c * e[i]
        D[i] = sigma + tau * c * c * D[i]


@njit(**OPTIONS)
def _add_residual_adjoint(x, numbers, grad, dx, work, identity, order, reflecting):  # type: ignore[no-untyped-def]
    """dx -= A'(x)ᵀ grad."""
    N = x.size
    rows = _rows(N, order, reflecting)
    s, ds, e, buffer = work[0][:rows], work[1][:rows], work[2][:N], work[4]
    buffer = buffer[: N - 1] if reflecting else buffer[: N + 1]
    sigma, tau, contrast, c = numbers[0], numbers[1], numbers[2], numbers[3]
    _K(x, s, buffer, order, reflecting)
    _K(grad, ds, buffer, order, reflecting)
    for m in range(rows):
        ds[m] *= _flux(literally(identity), c * s[m], contrast, ())[1]
    _K_adjoint(ds, e, buffer, order, reflecting)
    for n in range(N):
        dx[n] -= sigma * grad[n] + tau * c * c * e[n]


@njit(**OPTIONS)
def _sweep(x, b, omega, W, lam, numbers, y, work, identity, psi, order, reflecting, k):  # type: ignore[no-untyped-def]
    N, d = x.size, k - 1
    e, D, o, z, p = work[5][:N], work[6][:N], work[7][:N], work[8][: N + 2 * d], work[9][: N + d]
    _residual(x, b, numbers, e, D, work, identity, order, reflecting)
    z[:d] = 0
    z[d + N :] = 0
    for n in range(N):
        D[n] = D.dtype.type(1) / math.sqrt(D[n])
        z[d + n] = e[n] * D[n]
        o[n] = omega * z[d + n]
    for r in range(W.shape[0]):
        w = to_fixed_tuple(W[r], k)
        correlate(w, z, p, k)
        contrast = lam[r]
        for m in range(N + d):
            p[m] = _flux(literally(psi), p[m], contrast, ())[0]
        add_adjoint(w, p, o, k)
    for n in range(N):
        y[n] = x[n] + D[n] * o[n]


@njit(**OPTIONS)
def _add_sweep_adjoint(  # type: ignore[no-untyped-def]
    x, b, omega, W, lam, numbers, grad, dx, db, dW, dlam, work, identity, psi, order, reflecting, k
):
    """The derivative in ω is returned."""
    N, d = x.size, k - 1
    rows = _rows(N, order, reflecting)
    s, g, slope, buffer = work[0][:rows], work[2][:rows], work[3][:rows], work[4]
    buffer = buffer[: N - 1] if reflecting else buffer[: N + 1]
    e, D, o, z, p = work[5][:N], work[6][:N], work[7][:N], work[8][: N + 2 * d], work[9][: N + d]
    do, dp, dz, dD = work[10][: N + 2 * d], work[11][: N + d], work[12][:N], work[13][:N]
    ds, dg = work[14][:rows], work[15][:rows]
    sigma, tau, c, tiny = numbers[0], numbers[1], numbers[3], numbers[4]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    _residual(x, b, numbers, e, D, work, identity, order, reflecting)
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
        correlate(w, z, p, k)
        correlate(w, do, dp, k)
        contrast, sum_lam = lam[r], zero
        for m in range(N + d):
            value, derivative, of_lam, _ = _flux(literally(psi), p[m], contrast, ())
            p[m] = value
            sum_lam += dp[m] * of_lam
            dp[m] *= derivative
        dlam[r] += sum_lam
        add_adjoint(w, p, o, k)
        add_adjoint(w, dp, dz, k)
        add_products(p, do, dW[r], k)
        add_products(dp, z, dW[r], k)
    # y = x + qo with q = D^(-1/2) and z = qe
    for n in range(N):
        q = D[n]
        dq = grad[n] * o[n] + dz[n] * e[n]
        dD[n] = -(dq * q * q * q) * x.dtype.type(0.5) * tau * c * c
        dz[n] *= q
        db[n] += dz[n]
        dx[n] += grad[n] - sigma * dz[n]
    _K(dz, ds, buffer, order, reflecting)
    _squares_adjoint(dD, dg, order, reflecting)
    for m in range(rows):
        bend = (slope[m] - g[m]) / s[m] if abs(s[m]) > tiny else zero
        ds[m] = dg[m] * bend - tau * c * slope[m] * ds[m]
    _K_adjoint(ds, o, buffer, order, reflecting)
    for n in range(N):
        dx[n] += c * o[n]
    return sum_omega


def _define(identity: str, psi: str, order: int, reflecting: bool, k: int) -> tuple[Any, Any]:
    """Forward and backward pass of a program (:class:`schemenets.multigrid._cycles.Program`), not yet compiled.

    x, b, y are of shape (seeds, batch, N). Weights are ω (seeds, sweeps), W (seeds, F, k), λ of Ψ (seeds, F), the
    stencil r of R (seeds, 2), c (seeds,) and V (seeds, 2, k). ``numbers`` of every grid are σ, τ, the contrast of Φ,
    1/h^order, and from which |Kx| on Φ(Kx)/Kx is a quotient and not a limit. A row of ``store`` has room for all
    signals of the program, from x and b on.

    Constants in them are plain data, by which numba recognises them in its cache on disk: it never would by functions.
    """

    @njit(cache=True, **OPTIONS)
    def forward(x, b, omega, W, lam, r, c, V, numbers, program, store, y):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        work = _workspace(N, k, x.dtype)
        for i in range(S):
            for j in range(B):
                own = store[i % store.shape[0], j % store.shape[1]]
                part(own, 0, N)[:] = x[i, j]
                part(own, N, N)[:] = b[i, j]
                for code, n, first, second, third, to, grid, step in program:
                    u, v, out = part(own, first, n), part(own, second, n), part(own, to, n)
                    if code == SWEEP:
                        damping, filters, contrasts = omega[i, step], W[i], lam[i]
                        _sweep(
                            u,
                            v,
                            damping,
                            filters,
                            contrasts,
                            numbers[grid],
                            out,
                            work,
                            identity,
                            psi,
                            order,
                            reflecting,
                            k,
                        )
                    elif code in (RESIDUAL, RIGHT_HAND_SIDE):
                        sign = x.dtype.type(1 if code == RESIDUAL else -1)
                        t = work[5][:n]
                        for m in range(n):
                            t[m] = sign * v[m]
                        _residual(u, t, numbers[grid], out, work[6][:n], work, identity, order, reflecting)
                        for m in range(n):
                            out[m] *= sign
                    elif code == RESTRICT:
                        _restrict(u, r[i], part(own, to, n // 2), reflecting)
                    elif code == CORRECT:
                        e, P_e = work[5][: n // 2], work[6][:n]
                        found, start = part(own, second, n // 2), part(own, third, n // 2)
                        for m in range(n // 2):
                            e[m] = found[m] - start[m]
                        P_e[:] = 0
                        _add_restrict_adjoint(e, r[i], P_e, reflecting)
                        for m in range(n):
                            out[m] = u[m] + c[i] * P_e[m]
                    else:
                        z, y_half, found = work[8][: n + k - 1], work[9][:n], part(own, second, n // 2)
                        out[:] = 0
                        for half in range(2):
                            _load(half, u, found, r[i], c[i], z, (k - 1) // 2, reflecting)
                            correlate(to_fixed_tuple(V[i, half], k), z, y_half, k)
                            for m in range(n):
                                out[m] += y_half[m]
                y[i, j] = part(own, program[-1, 5], N)

    @njit(cache=True, **OPTIONS)
    def backward(  # type: ignore[no-untyped-def]
        omega, W, lam, r, c, V, numbers, program, store, grad, dx, db, domega, dW, dlam, dr, dc, dV
    ):
        S, B, N = dx.shape
        one = dx.dtype.type(1)
        work, grads = _workspace(N, k, dx.dtype), np.empty(store.shape[2], dx.dtype)
        for i in range(S):
            for j in range(B):
                own = store[i, j]
                grads[:] = 0
                part(grads, program[-1, 5], N)[:] = grad[i, j]
                for index in range(len(program) - 1, -1, -1):
                    code, n, first, second, third, to, grid, step = program[index]
                    u, v = part(own, first, n), part(own, second, n)
                    du, dv, d_out = part(grads, first, n), part(grads, second, n), part(grads, to, n)
                    if code == SWEEP:
                        damping, filters, contrasts = omega[i, step], W[i], lam[i]
                        d_W, d_lam = dW[i], dlam[i]
                        domega[i, step] += _add_sweep_adjoint(
                            u, v, damping, filters, contrasts, numbers[grid], d_out, du, dv, d_W, d_lam, work,
                            identity, psi, order, reflecting, k,
                        )  # fmt: skip
                    elif code in (RESIDUAL, RIGHT_HAND_SIDE):
                        sign = dx.dtype.type(1 if code == RESIDUAL else -1)
                        t = work[5][:n]
                        for m in range(n):
                            t[m] = sign * d_out[m]
                            dv[m] += d_out[m]
                        _add_residual_adjoint(u, numbers[grid], t, du, work, identity, order, reflecting)
                    elif code == RESTRICT:
                        d_coarse = part(grads, to, n // 2)
                        _add_restrict_adjoint(d_coarse, r[i], du, reflecting)
                        _add_restrict_stencil(u, d_coarse, one, dr[i], reflecting)
                    elif code == CORRECT:
                        e, g = work[5][: n // 2], work[6][: n // 2]
                        found, start = part(own, second, n // 2), part(own, third, n // 2)
                        d_found, d_start = part(grads, second, n // 2), part(grads, third, n // 2)
                        _restrict(d_out, r[i], g, reflecting)
                        for m in range(n // 2):
                            e[m] = found[m] - start[m]
                            dc[i] += g[m] * e[m]
                            d_found[m] += c[i] * g[m]
                            d_start[m] -= c[i] * g[m]
                        for m in range(n):
                            du[m] += d_out[m]
                        _add_restrict_stencil(d_out, e, c[i], dr[i], reflecting)
                    else:
                        z, dz, o = work[8][: n + k - 1], work[9][: n + k - 1], work[10][: n + 2 * (k - 1)]
                        found, d_found, g = part(own, second, n // 2), part(grads, second, n // 2), work[5][: n // 2]
                        o[: k - 1] = o[n + k - 1 :] = 0
                        o[k - 1 : n + k - 1] = d_out
                        for half in range(2):
                            _load(half, u, found, r[i], c[i], z, (k - 1) // 2, reflecting)
                            add_products(d_out, z, dV[i, half], k)
                            dz[:] = 0
                            add_adjoint(to_fixed_tuple(V[i, half], k), o, dz, k)
                            inner = part(dz, (k - 1) // 2, n)
                            if half == 0:
                                for m in range(n):
                                    du[m] += inner[m]
                            else:
                                _restrict(inner, r[i], g, reflecting)
                                for m in range(n // 2):
                                    dc[i] += g[m] * found[m]
                                    d_found[m] += c[i] * g[m]
                                _add_restrict_stencil(inner, found, c[i], dr[i], reflecting)
                dx[i, j] = part(grads, 0, N)
                db[i, j] = part(grads, N, N)

    return forward, backward


@lru_cache
def _passes(flux: Scalar, psi: Scalar, order: int, reflecting: bool, k: int) -> tuple[Any, Any]:
    names = identity_of(flux), identity_of(psi)
    _scalars.update(zip(names, (flux, psi), strict=True))
    return _define(*names, order, reflecting, k)


def run(derivative: bool, fluxes: tuple[Scalar, Scalar], shape: tuple[int, bool, int], *arrays: np.ndarray) -> None:
    """The forward or the backward pass of a program.

    Args:
        derivative: whether the backward pass.
        fluxes: Φ and Ψ in scalar arithmetic.
        shape: order of K, whether the ends are reflecting, and the length of the filters.
        arrays: arguments of the pass, see :func:`_define`.
    """
    call(_passes(*fluxes, *shape)[derivative], *arrays)
