"""Loops of a known problem, σx + τKᵀΦ(Kx) = b; arguments and names are those of :mod:`schemenets.kernels.loops`.

``p`` says where σ, τ, the contrast of Φ and 1/h^order are. ``precision`` is that of the machine: nearer to zero than
its root times the contrast, Φ(Kx)/Kx is a limit and not a quotient. The first differences of x have N + 1 rows, zeros
being around x; if the ends are reflecting, the first and the last row are zero. The second differences have N rows, and
the ends are reflecting. ``t`` is where four times N + 1 vectors are free, of ``g`` as well.
"""

import math

from numba import literally, njit

from schemenets.fluxes import where
from schemenets.kernels.flux import evaluate
from schemenets.kernels.simd import INLINE, INNER, add, alone, fma, load, number, store


@njit(**INLINE)
def _rows(N, order):  # type: ignore[no-untyped-def]
    return N + 2 - order


@njit(**INNER)
def _difference(a, s, x, N, order, reflecting):  # type: ignore[no-untyped-def]
    """s = h^order Kx."""
    if order == 2:
        for i in range(N):
            both = load(a, x + max(i - 1, 0)) + load(a, x + min(i + 1, N - 1))
            store(a, s + i, both - 2.0 * load(a, x + i))
        return
    for i in range(1, N):
        store(a, s + i, load(a, x + i) - load(a, x + i - 1))
    first, last = load(a, x), load(a, x + N - 1)
    store(a, s, 0.0 * first if reflecting else first)
    store(a, s + N, 0.0 * last if reflecting else -last)


@njit(**INLINE)
def _adjoint(a, s, i, N, order):  # type: ignore[no-untyped-def]
    """(h^order Kᵀs)[i], with s[0] = s[N] = 0 for first differences if the ends are reflecting."""
    if order == 2:
        return load(a, s + max(i - 1, 0)) + load(a, s + min(i + 1, N - 1)) - 2.0 * load(a, s + i)
    return load(a, s + i) - load(a, s + i + 1)


@njit(**INLINE)
def _of_squares(a, s, i, N, order):  # type: ignore[no-untyped-def]
    """(h^(2 order) (K∘K)ᵀs)[i], with s[0] = s[N] = 0 for first differences if the ends are reflecting."""
    if order == 1:
        return load(a, s + i) + load(a, s + i + 1)
    both = load(a, s + max(i - 1, 0)) + load(a, s + min(i + 1, N - 1))
    if N == 1:
        return 0.0 * both
    return both if i == 0 or i == N - 1 else both + 4.0 * load(a, s + i)


@njit(**INNER)
def _flow(a, x, s, f, g, slope, theta, p, precision, N, order, reflecting, flux):  # type: ignore[no-untyped-def]
    """s = Kx, f = Φ(s), g = Φ(s)/s and its slope Φ'(s), all rows; g and slope are zero where rows of K are."""
    alone()
    contrast, c = number(theta, p + 2, 0), number(theta, p + 3, 0)
    tiny = math.sqrt(precision) * contrast
    inverse, rows, zero = 1.0 / contrast, _rows(N, order), number(theta, -1, 0)
    _difference(a, s, x, N, order, reflecting)
    for i in range(rows):
        t = c * load(a, s + i)
        value, derivative, _, _ = evaluate(literally(flux), t, contrast, inverse, ())
        quotient = where(abs(t) > tiny, value / where(abs(t) > tiny, t, 1.0), zero + derivative)
        store(a, s + i, t)
        store(a, f + i, value)
        store(a, slope + i, zero + derivative)
        store(a, g + i, quotient)
    if order == 1 and reflecting:
        for end in (0, N):
            store(a, g + end, zero)
            store(a, slope + end, zero)


@njit(**INNER)
def residual(a, e, x, b, sign, theta, p, precision, N, order, reflecting, t, flux):  # type: ignore[no-untyped-def]
    """e = sign (sign b - A(x)): b - A(x), or b + A(x)."""
    sigma, tau, c = number(theta, p, 0), number(theta, p + 1, 0), number(theta, p + 3, 0)
    s, f, g, slope = t, t + N + 1, t + 2 * (N + 1), t + 3 * (N + 1)
    _flow(a, x, s, f, g, slope, theta, p, precision, N, order, reflecting, flux)
    for i in range(N):
        A = fma(sigma, load(a, x + i), tau * c * _adjoint(a, f, i, N, order))
        store(a, e + i, load(a, b + i) - sign * A if b >= 0 else -(sign * A))


@njit(**INNER)
def add_residual_adjoint(a, g, e, x, b, sign, theta, p, precision, N, order, reflecting, t, flux):  # type: ignore[no-untyped-def]
    sigma, tau, c = number(theta, p, 0), number(theta, p + 1, 0), number(theta, p + 3, 0)
    s, f, quotient, slope = t, t + N + 1, t + 2 * (N + 1), t + 3 * (N + 1)
    _flow(a, x, s, f, quotient, slope, theta, p, precision, N, order, reflecting, flux)
    _difference(g, t, e, N, order, reflecting)
    for i in range(_rows(N, order)):
        store(g, t + i, tau * c * c * load(a, slope + i) * load(g, t + i))
    for i in range(N):
        value = load(g, e + i)
        if b >= 0:
            add(g, b + i, value)
        add(g, x + i, -(sign * fma(sigma, value, _adjoint(g, t, i, N, order))))


@njit(**INNER)
def smoothing(a, z, q, x, b, theta, p, precision, N, order, reflecting, t, flux):  # type: ignore[no-untyped-def]
    """q = D^(-½) with D = diag(σI + τKᵀG(x)K), and z = q (b - A(x))."""
    sigma, tau, c = number(theta, p, 0), number(theta, p + 1, 0), number(theta, p + 3, 0)
    s, f, g, slope = t, t + N + 1, t + 2 * (N + 1), t + 3 * (N + 1)
    _flow(a, x, s, f, g, slope, theta, p, precision, N, order, reflecting, flux)
    for i in range(N):
        e = load(a, b + i) - fma(sigma, load(a, x + i), tau * c * _adjoint(a, f, i, N, order))
        scale = 1.0 / math.sqrt(fma(tau * c * c, _of_squares(a, g, i, N, order), sigma))
        store(a, q + i, scale)
        store(a, z + i, scale * e)


@njit(**INNER)
def add_smoothing_adjoint(a, d, z, q, x, b, theta, p, precision, N, order, t):  # type: ignore[no-untyped-def]
    """``d`` are the derivatives of states; what :func:`smoothing` left of x is at ``t`` still."""
    sigma, tau, c = number(theta, p, 0), number(theta, p + 1, 0), number(theta, p + 3, 0)
    tiny = math.sqrt(precision) * number(theta, p + 2, 0)
    s, g, slope, zero = t, t + 2 * (N + 1), t + 3 * (N + 1), number(theta, -1, 0)
    de, dD, ds, dg = t, t + N + 1, t + 2 * (N + 1), t + 3 * (N + 1)  # of d
    for i in range(N):
        scale, dz = load(a, q + i), load(d, z + i)
        e = load(a, z + i) / scale
        dq = fma(dz, e, load(d, q + i))
        store(d, dD + i, -(0.5 * tau * c * c * dq * scale * scale * scale))
        store(d, de + i, scale * dz)
        add(d, b + i, scale * dz)
        add(d, x + i, -(sigma * scale * dz))
    _difference(d, ds, de, N, order, False)  # at reflecting ends the slope is zero
    for i in range(_rows(N, order)):
        if order == 2:
            of_g = _of_squares(d, dD, i, N, order)
        else:
            of_g = zero
            if i < N:
                of_g = of_g + load(d, dD + i)
            if i > 0:
                of_g = of_g + load(d, dD + i - 1)
        size = load(a, s + i)
        bend = (load(a, slope + i) - load(a, g + i)) / where(abs(size) > tiny, size, 1.0)
        bend = where(abs(size) > tiny, bend, zero)
        store(d, dg + i, c * fma(of_g, bend, -(tau * c * load(a, slope + i) * load(d, ds + i))))
    for i in range(N):
        add(d, x + i, _adjoint(d, dg, i, N, order))


@njit(**INNER)
def scaled_step(a, y, x, q, o, N):  # type: ignore[no-untyped-def]
    """y = x + q∘o."""
    for i in range(N):
        store(a, y + i, fma(load(a, q + i), load(a, o + i), load(a, x + i)))


@njit(**INNER)
def add_scaled_step_adjoint(a, g, y, x, q, o, N):  # type: ignore[no-untyped-def]
    for i in range(N):
        value = load(g, y + i)
        add(g, x + i, value)
        add(g, q + i, value * load(a, o + i))
        add(g, o + i, value * load(a, q + i))
