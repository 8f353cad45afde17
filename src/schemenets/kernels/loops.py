"""The loops of the engine, on groups of signals in the lanes of vectors: see :mod:`schemenets.kernels.simd`.

States are rows of positions, channel by channel, in an array ``a`` that is addressed in vectors; ``u``, ``y``, ... say
where they begin. Numbers, the same for all signals of a group, are in ``theta``, where ``W1``, ``b1``, ... say where
they begin, -1 that there are none. Derivatives of states are at the same places of an array ``g``, those of numbers at
the same places of ``d``, in vectors whose lanes are summed up in the end. Functions whose names begin with ``add``
add to what is there.

``taps`` is any tuple as long as a filter, ``weights`` one as long as the weights of Φ, and ``flux`` the name of Φ.
"""

from numba import literally, njit

from schemenets.kernels.flux import evaluate
from schemenets.kernels.simd import (
    BYTES,
    INLINE,
    INNER,
    add,
    add_all,
    add_dots,
    add_multiple,
    alike,
    alone,
    fma,
    load,
    load_all,
    number,
    numbers,
    plain,
    repeated,
    store,
    store_all,
)

TILE = 8  # positions whose sums stay in registers, enough of them that none waits for the one before
CHUNK = 4096 // BYTES  # positions that a block takes at once, so that what it needs stays in the nearest cache


@njit(**INLINE)
def optional(theta, first, i, otherwise):  # type: ignore[no-untyped-def]
    """theta[first + i] in all lanes, or another number if there are none."""
    return number(theta, first + i if first >= 0 else first, otherwise)


@njit(**INLINE)
def shape_of(theta, lam, w, f, weights):  # type: ignore[no-untyped-def]
    """λ, 1/λ and the weights of Φ of a filter or channel."""
    contrast = optional(theta, lam, f, 1)
    return contrast, 1.0 / contrast, numbers(weights, theta, w + f * len(weights))


@njit(**INNER)
def add_scaled(out, y, source, x, theta, c, count):  # type: ignore[no-untyped-def]
    """y += c x."""
    factor = number(theta, c, 1)
    for n in range(count):
        store(out, y + n, fma(factor, load(source, x + n), load(out, y + n)))


@njit(**INNER)
def fill(a, y, theta, b, N, channels):  # type: ignore[no-untyped-def]
    """y = b, with a number for every channel."""
    for c in range(channels):
        bias = optional(theta, b, c, 0)
        for n in range(N):
            store(a, y + c * N + n, bias)


@njit(**INNER)
def add_product(a, g, d, y, x, c, count):  # type: ignore[no-untyped-def]
    """The derivative of c x in c."""
    s = load(d, c)
    for n in range(count):
        s = fma(load(g, y + n), load(a, x + n), s)
    store(d, c, s)


@njit(**INNER)
def add_bias_adjoint(g, d, y, b, N, channels):  # type: ignore[no-untyped-def]
    for c in range(channels):
        s = load(d, b + c)
        for n in range(N):
            s = s + load(g, y + c * N + n)
        store(d, b + c, s)


@njit(**INNER)
def clear(a, first, count):  # type: ignore[no-untyped-def]
    for i in range(first, first + count):
        store(a, i, number(a, -1, 0))


@njit(**INNER)
def copy(a, to, source, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        store(a, to + i, load(a, source + i))


# Correlations with filters of as many taps as ``taps`` has vectors


@njit(**INNER)
def _correlate(out, y, b, adds, source, u, channels, gap, theta, W, row, step, first, last, taps, tile):  # type: ignore[no-untyped-def]
    alone()
    for x in range(first, last, len(tile)):
        sums = load_all(tile, out, y + x) if adds else alike(tile, b)
        for c in range(channels):
            sums = add_dots(sums, theta, W + c * row, step, source, u + c * gap + x, taps)
        store_all(out, y + x, sums)


@njit(**INNER)
def correlate(out, y, b, adds, source, u, channels, gap, theta, W, row, step, count, taps):  # type: ignore[no-untyped-def]
    """y[x] = b + Σ_c Σ_j theta[W + c row + j step] u[c gap + x + j] for so many x; y itself instead of b if it adds."""
    rest = count % TILE
    tile, one = repeated(False, TILE), repeated(False, 1)
    _correlate(out, y, b, adds, source, u, channels, gap, theta, W, row, step, plain(0), count - rest, taps, tile)
    _correlate(out, y, b, adds, source, u, channels, gap, theta, W, row, step, count - rest, count, taps, one)


@njit(**INLINE)
def add_transposed(a, y, h, theta, W, count, taps):  # type: ignore[no-untyped-def]
    """y[x] += Σ_j theta[W + j] h[x + k - 1 - j] for so many x."""
    end, zero = W + len(taps) - 1, number(theta, -1, 0)
    correlate(a, y, zero, plain(1), a, h, plain(1), plain(0), theta, end, plain(0), plain(-1), count, taps)


@njit(**INNER)
def add_products(out, y, source, u, d, W, count, taps):  # type: ignore[no-untyped-def]
    """d[W + j] += Σ_x y[x] u[x + j] for so many x, the derivatives of a filter."""
    alone()
    even, odd = load_all(taps, d, W), alike(taps, number(d, -1, 0))
    for x in range(0, count - 1, 2):
        even = add_multiple(even, load(out, y + x), load_all(taps, source, u + x))
        odd = add_multiple(odd, load(out, y + x + 1), load_all(taps, source, u + x + 1))
    if count % 2:
        even = add_multiple(even, load(out, y + count - 1), load_all(taps, source, u + count - 1))
    store_all(d, W, even)
    add_all(d, W, odd)


@njit(**INNER)
def mix(a, y, u, theta, W, row, channel, N, C, D, adds):  # type: ignore[no-untyped-def]
    """y[r] = Σ_c theta[W + r row + c channel] u[c] for D channels of y and C of u, or in addition to it."""
    zero = number(theta, -1, 0)
    for r in range(D):
        correlate(a, y + r * N, zero, adds, a, u, C, N, theta, W + r * row, channel, plain(0), N, repeated(False, 1))


@njit(**INNER)
def add_mix_products(a, g, d, y, u, W, row, channel, N, C, D):  # type: ignore[no-untyped-def]
    for r in range(D):
        for c in range(C):
            at = W + r * row + c * channel
            add_products(g, y + r * N, a, u + c * N, d, at, N, repeated(False, 1))


# y += W₂ᵀ Φ(W₁u + b₁) for C channels of u and D of y, chunk by chunk and filter by filter. At t are, for every filter,
# the last values of Φ, or of their derivatives, in the chunk before, then two rows for one filter.


@njit(**INLINE)
def _chunk(C, D):  # type: ignore[no-untyped-def]
    return max(32, 2 * CHUNK // (C + D))


@njit(**INNER)
def add_block(a, y, u, theta, W1, b1, W2, lam, w, N, F, C, D, t, flux, taps, weights):  # type: ignore[no-untyped-def]
    alone()
    k = plain(len(taps))
    border = k - 1
    M, row = N - border, t + (F + 1) * border
    s = row + min(N, _chunk(C, D))  # values that Φ takes: in place, compilers would make slow masked stores of choices
    clear(a, t, F * border)
    for x in range(0, N, _chunk(C, D)):
        n = min(_chunk(C, D), N - x)
        m = max(0, min(n, M - x))
        for f in range(F):
            p, q, last = W1 + f * C * k, W2 + f * D * k, t + f * border
            b, (contrast, inverse, shape) = optional(theta, b1, f, 0), shape_of(theta, lam, w, f, weights)
            correlate(a, s, b, plain(0), a, u + x, C, N, theta, p, k, plain(1), m, taps)
            for i in range(m):
                store(a, row + i, evaluate(literally(flux), load(a, s + i), contrast, inverse, shape)[0])
            clear(a, row + m, n - m)
            copy(a, row - border, last, border)
            for c in range(D):
                add_transposed(a, y + c * N + x, row - border, theta, q + c * k, n, taps)
            copy(a, last, row + n - border, border)


@njit(**INNER)
def add_block_adjoint(a, g, d, y, u, theta, W1, b1, W2, lam, w, N, F, C, D, t, flux, taps, weights):  # type: ignore[no-untyped-def]
    alone()
    k, zero = plain(len(taps)), number(theta, -1, 0)
    border = k - 1
    M, row = N - border, t + (F + 1) * border
    s = row + min(N, _chunk(C, D))  # values that Φ takes: in place, compilers would make slow masked stores of choices
    clear(g, t, F * border)
    for x in range(0, N, _chunk(C, D)):
        n = min(_chunk(C, D), N - x)
        m = max(0, min(n, M - x))
        for f in range(F):
            p, q, last = W1 + f * C * k, W2 + f * D * k, t + f * border
            b, (contrast, inverse, shape) = optional(theta, b1, f, 0), shape_of(theta, lam, w, f, weights)
            correlate(a, s, b, plain(0), a, u + x, C, N, theta, p, k, plain(1), m, taps)
            correlate(g, s, zero, plain(0), g, y + x, D, N, theta, q, k, plain(1), m, taps)
            db, dlam, dw = zero, zero, alike(weights, zero)
            for i in range(m):
                r = load(g, s + i)
                h, slope, of_lam, of_w = evaluate(literally(flux), load(a, s + i), contrast, inverse, shape)
                ds = r * slope
                store(a, row + i, zero + h)
                store(g, row + i, ds)
                db, dlam, dw = db + ds, fma(r, of_lam, dlam), add_multiple(dw, r * contrast, of_w)
            add_all(d, w + f * len(weights), dw)
            if b1 >= 0:
                add(d, b1 + f, db)
            if lam >= 0:
                add(d, lam + f, dlam)
            for c in range(C):
                add_products(g, row, a, u + c * N + x, d, p + c * k, m, taps)
            for c in range(D):
                add_products(a, row, g, y + c * N + x, d, q + c * k, m, taps)
            clear(g, row + m, n - m)
            copy(g, row - border, last, border)
            for c in range(C):
                add_transposed(g, u + c * N + x, row - border, theta, p + c * k, n, taps)
            copy(g, last, row + n - border, border)


@njit(**INNER)
def activate(a, y, u, theta, lam, w, M, channels, flux, weights):  # type: ignore[no-untyped-def]
    """y = Φ(u)."""
    zero = number(theta, -1, 0)
    for c in range(channels):
        contrast, inverse, shape = shape_of(theta, lam, w, c, weights)
        for x in range(c * M, (c + 1) * M):
            store(a, y + x, zero + evaluate(literally(flux), load(a, u + x), contrast, inverse, shape)[0])


@njit(**INNER)
def add_activate_adjoint(a, g, d, y, u, theta, lam, w, M, channels, flux, weights):  # type: ignore[no-untyped-def]
    zero = number(theta, -1, 0)
    for c in range(channels):
        contrast, inverse, shape = shape_of(theta, lam, w, c, weights)
        dlam, dw = zero, alike(weights, zero)
        for x in range(c * M, (c + 1) * M):
            r = load(g, y + x)
            _, slope, of_lam, of_w = evaluate(literally(flux), load(a, u + x), contrast, inverse, shape)
            add(g, u + x, r * slope)
            dlam, dw = fma(r, of_lam, dlam), add_multiple(dw, r * contrast, of_w)
        add_all(d, w + c * len(weights), dw)
        if lam >= 0:
            add(d, lam + c, dlam)
