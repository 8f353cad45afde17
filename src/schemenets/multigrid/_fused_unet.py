"""V-cycles of :mod:`schemenets.networks.multigrid_unet` as one compiled loop nest per (flux, kernel size, dtype).

One signal at a time goes through a list of instructions (:mod:`schemenets.multigrid._cycles`) and stays in the cache
with all of its grids. The iterates are kept for the backward pass, which computes again what is within a sweep.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numba import literally, njit
from numba.np.unsafe.ndarray import to_fixed_tuple

from schemenets.kernels.fused import OPTIONS, Scalar, _flux, _scalars, identity_of
from schemenets.kernels.rows import add_adjoint, add_products, call, correlate, part
from schemenets.multigrid._cycles import RESIDUAL, RESTRICT, RIGHT_HAND_SIDE, SWEEP


@njit(**OPTIONS)
def _residual(x, b, K, tau, lam, e, p, identity, k):  # type: ignore[no-untyped-def]
    """e = b - x - τKᵀΦ(Kx); p is a row with k - 1 zeros on both sides of the windows."""
    M, d = x.size - k + 1, k - 1
    for n in range(x.size):
        e[n] = b[n] - x[n]
    for f in range(K.shape[0]):
        w, contrast, s = to_fixed_tuple(K[f], k), lam[f], p[d : d + M]
        correlate(w, x, s, k)
        for m in range(M):
            s[m] = -tau * _flux(literally(identity), s[m], contrast, ())[0]
        add_adjoint(w, p, e, k)


@njit(**OPTIONS)
def _add_operator_adjoint(x, K, tau, lam, sign, g, dx, dK, dlam, p, q, identity, k):  # type: ignore[no-untyped-def]
    """What sign ⟨g, A(x)⟩ with A(x) = x + τKᵀΦ(Kx) has as derivatives in x, K and λ; ⟨g, KᵀΦ(Kx)⟩ is returned."""
    M, d = x.size - k + 1, k - 1
    total = x.dtype.type(0)
    for n in range(x.size):
        dx[n] += sign * g[n]
    for f in range(K.shape[0]):
        w, contrast, s, ds = to_fixed_tuple(K[f], k), lam[f], p[d : d + M], q[d : d + M]
        correlate(w, x, s, k)
        correlate(w, g, ds, k)
        sum_lam = x.dtype.type(0)
        for m in range(M):
            value, slope, of_lam, _ = _flux(literally(identity), s[m], contrast, ())
            total += ds[m] * value
            sum_lam += ds[m] * of_lam
            s[m] = sign * tau * value
            ds[m] *= sign * tau * slope
        dlam[f] += sign * tau * sum_lam
        add_adjoint(w, q, dx, k)
        add_products(s, g, dK[f], k)
        add_products(ds, x, dK[f], k)
    return total


@njit(**OPTIONS)
def _restrict(x, r, y):  # type: ignore[no-untyped-def]
    """y = Rx."""
    N = x.size
    for i in range(y.size):
        beside = r[0] * x[max(2 * i - 1, 0)] + r[3] * x[min(2 * i + 2, N - 1)]
        y[i] = r[1] * x[2 * i] + r[2] * x[2 * i + 1] + beside


@njit(**OPTIONS)
def _add_restrict_adjoint(y, r, x):  # type: ignore[no-untyped-def]
    """x += Rᵀy."""
    N = x.size
    for i in range(y.size):
        x[max(2 * i - 1, 0)] += r[0] * y[i]
        x[2 * i] += r[1] * y[i]
        x[2 * i + 1] += r[2] * y[i]
        x[min(2 * i + 2, N - 1)] += r[3] * y[i]


@njit(**OPTIONS)
def _add_restrict_stencil(x, y, factor, dr):  # type: ignore[no-untyped-def]
    """dr += the derivative of factor ⟨y, Rx⟩ in the stencil."""
    N = x.size
    for i in range(y.size):
        dr[0] += factor * y[i] * x[max(2 * i - 1, 0)]
        dr[1] += factor * y[i] * x[2 * i]
        dr[2] += factor * y[i] * x[2 * i + 1]
        dr[3] += factor * y[i] * x[min(2 * i + 2, N - 1)]


def _define(identity: str, k: int) -> tuple[Any, Any]:
    """Forward and backward pass of a program (:class:`schemenets.multigrid._cycles.Program`), not yet compiled.

    x, b, y are of shape (seeds, batch, N). Weights are K (levels, seeds, F, k), τ (seeds,), λ (seeds, F), θ = ω/D
    (levels, seeds, sweeps), r (seeds, 4) and c (seeds,). A row of ``store`` has room for all signals of the program.
    """

    @njit(cache=True, **OPTIONS)
    def forward(x, b, K, tau, lam, theta, r, c, program, store, y):  # type: ignore[no-untyped-def]
        S, B, N = x.shape
        e, g, p = np.empty(N, x.dtype), np.empty(N, x.dtype), np.zeros(N + k - 1, x.dtype)
        for i in range(S):
            for j in range(B):
                own = store[i % store.shape[0], j % store.shape[1]]
                part(own, 0, N)[:] = x[i, j]
                part(own, N, N)[:] = b[i, j]
                for code, n, first, second, third, to, level, step in program:
                    u, v, out = part(own, first, n), part(own, second, n), part(own, to, n)
                    filters, row = K[level, i], p[: n + k - 1]
                    row[n:] = 0
                    if code == SWEEP:
                        _residual(u, v, filters, tau[i], lam[i], e[:n], row, identity, k)
                        for m in range(n):
                            out[m] = u[m] + theta[level, i, step] * e[m]
                    elif code == RESIDUAL:
                        _residual(u, v, filters, tau[i], lam[i], out, row, identity, k)
                    elif code == RIGHT_HAND_SIDE:
                        for m in range(n):
                            g[m] = -v[m]
                        _residual(u, g[:n], filters, tau[i], lam[i], out, row, identity, k)
                        for m in range(n):
                            out[m] = -out[m]
                    elif code == RESTRICT:
                        _restrict(u, r[i], part(own, to, n // 2))
                    else:
                        found, start = part(own, second, n // 2), part(own, third, n // 2)
                        for m in range(n // 2):
                            e[m] = c[i] * (found[m] - start[m])
                        out[:] = u
                        _add_restrict_adjoint(e[: n // 2], r[i], out)
                y[i, j] = part(own, program[-1, 5], N)

    @njit(cache=True, **OPTIONS)
    def backward(  # type: ignore[no-untyped-def]
        K, tau, lam, theta, r, c, program, store, grad, dx, db, dK, dtau, dlam, dtheta, dr, dc
    ):
        S, B, N = dx.shape
        zero, one = dx.dtype.type(0), dx.dtype.type(1)
        e, g, grads = np.empty(N, dx.dtype), np.empty(N, dx.dtype), np.empty(store.shape[2], dx.dtype)
        p, q = np.zeros(N + k - 1, dx.dtype), np.zeros(N + k - 1, dx.dtype)
        for i in range(S):
            for j in range(B):
                own = store[i, j]
                grads[:] = 0
                part(grads, program[-1, 5], N)[:] = grad[i, j]
                for index in range(len(program) - 1, -1, -1):
                    code, n, first, second, third, to, level, step = program[index]
                    u, v = part(own, first, n), part(own, second, n)
                    du, dv, d_out = part(grads, first, n), part(grads, second, n), part(grads, to, n)
                    if code == RESTRICT:
                        d_coarse = part(grads, to, n // 2)
                        _add_restrict_adjoint(d_coarse, r[i], du)
                        _add_restrict_stencil(u, d_coarse, one, dr[i])
                    elif code in (SWEEP, RESIDUAL, RIGHT_HAND_SIDE):
                        # out = αx + θ(b - A(x)) with α = 1, 0, and A(x) + b
                        damping = theta[level, i, step] if code == SWEEP else one
                        sign = damping if code == RIGHT_HAND_SIDE else -damping
                        row, d_row = p[: n + k - 1], q[: n + k - 1]
                        row[n:] = d_row[n:] = 0
                        T = _add_operator_adjoint(
                            u, K[level, i], tau[i], lam[i], sign, d_out, du, dK[level, i], dlam[i], row, d_row,
                            identity, k,
                        )  # fmt: skip
                        dtau[i] += sign * T
                        for m in range(n):
                            dv[m] += damping * d_out[m]
                        if code == SWEEP:
                            of_theta = -tau[i] * T
                            for m in range(n):
                                du[m] += d_out[m]
                                of_theta += d_out[m] * (v[m] - u[m])
                            dtheta[level, i, step] += of_theta
                    else:
                        found, start = part(own, second, n // 2), part(own, third, n // 2)
                        d_found, d_start = part(grads, second, n // 2), part(grads, third, n // 2)
                        _restrict(d_out, r[i], g[: n // 2])
                        sum_c = zero
                        for m in range(n // 2):
                            e[m] = found[m] - start[m]
                            sum_c += g[m] * e[m]
                            d_found[m] += c[i] * g[m]
                            d_start[m] -= c[i] * g[m]
                        dc[i] += sum_c
                        for m in range(n):
                            du[m] += d_out[m]
                        _add_restrict_stencil(d_out, e[: n // 2], c[i], dr[i])
                dx[i, j] = part(grads, 0, N)
                db[i, j] = part(grads, N, N)

    return forward, backward


@lru_cache
def _passes(flux: Scalar, k: int) -> tuple[Any, Any]:
    name = identity_of(flux)
    _scalars[name] = flux
    return _define(name, k)


def run(derivative: bool, flux: Scalar, k: int, *arrays: np.ndarray) -> None:
    """The forward or the backward pass of a program with these arguments, see :func:`_define`."""
    call(_passes(flux, k)[derivative], *arrays)
