"""The loops of the engine, on groups of signals in the lanes of vectors: see :mod:`schemenets.kernels.simd`.

States are rows of positions, channel by channel, in an array ``a`` that is addressed in vectors; ``u``, ``y``, ... say
where they begin. Numbers, the same for all signals of a group, are in ``theta``, where ``W1``, ``b1``, ... say where
they begin, -1 that there are none. Derivatives of states are at the same places of an array ``g``, those of numbers at
the same places of ``d``, in vectors whose lanes are summed up in the end. Functions whose names begin with ``add``
add to what is there.

``taps`` is any tuple of as many vectors as a filter has taps, ``flux`` the name of Φ, and ``w`` any tuple of as many
vectors as Φ has weights.
"""

from numba import literally, njit

from schemenets.kernels.flux import evaluate
from schemenets.kernels.simd import (
    INLINE,
    INNER,
    add,
    add_all,
    add_multiple,
    add_outer,
    add_tile,
    before,
    dot,
    fma,
    load,
    load_all,
    load_tile,
    number,
    numbers,
    plain,
    repeated,
    shifted,
    spread,
    store,
    store_tile,
    zeros,
)

R, X, TILE = 4, 4, 16  # filters and positions that share what is loaded: their sums stay in the registers


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
        bias = number(theta, b + c if b >= 0 else b, 0)
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


# One channel: y += W₂ᵀ Φ(W₁u + b₁), filter by filter. Windows of u and of y move on by one load per position.


@njit(**INNER)
def add_block(a, y, u, theta, W1, b1, W2, lam, w, N, F, flux, taps, weights):  # type: ignore[no-untyped-def]
    k = len(taps)
    for f in range(F):
        p, q = W1 + f * k, W2 + f * k
        b, contrast = number(theta, b1 + f if b1 >= 0 else b1, 0), number(theta, lam + f if lam >= 0 else lam, 1)
        inverse, shape = 1.0 / contrast, numbers(weights, theta, w + f * len(weights))
        window, result = before(taps, a, u), before(taps, a, y)
        for x in range(N - k + 1):
            window = shifted(window, load(a, u + x + k - 1))
            s = dot(b, theta, p, window)
            h = evaluate(literally(flux), s, contrast, inverse, shape)[0]
            result = spread(shifted(result, load(a, y + x + k - 1)), h, theta, q)
            store(a, y + x, result[0])
        for j in range(1, k):
            store(a, y + N - k + j, result[j])


@njit(**INNER)
def add_block_adjoint(a, g, d, y, u, theta, W1, b1, W2, lam, w, N, F, flux, taps, weights):  # type: ignore[no-untyped-def]
    k, zero = len(taps), number(theta, -1, 0)
    for f in range(F):
        p, q = W1 + f * k, W2 + f * k
        b, contrast = number(theta, b1 + f if b1 >= 0 else b1, 0), number(theta, lam + f if lam >= 0 else lam, 1)
        inverse, shape = 1.0 / contrast, numbers(weights, theta, w + f * len(weights))
        window, of_y, of_u = before(taps, a, u), before(taps, g, y), before(taps, g, u)
        d1, d2 = zeros(taps), zeros(taps)
        db, dlam, dw = zero, zero, zeros(weights)
        for x in range(N - k + 1):
            window = shifted(window, load(a, u + x + k - 1))
            of_y = shifted(of_y, load(g, y + x + k - 1))
            s, r = dot(b, theta, p, window), dot(zero, theta, q, of_y)
            h, slope, of_lam, of_w = evaluate(literally(flux), s, contrast, inverse, shape)
            ds = r * slope
            d1, d2 = add_multiple(d1, ds, window), add_multiple(d2, h, of_y)
            db, dlam, dw = db + ds, fma(r, of_lam, dlam), add_multiple(dw, r * contrast, of_w)
            of_u = spread(shifted(of_u, load(g, u + x + k - 1)), ds, theta, p)
            store(g, u + x, of_u[0])
        for j in range(1, k):
            store(g, u + N - k + j, of_u[j])
        add_all(d, p, d1)
        add_all(d, q, d2)  # which may be the same place
        add_all(d, w + f * len(weights), dw)
        if b1 >= 0:
            add(d, b1 + f, db)
        if lam >= 0:
            add(d, lam + f, dlam)


# Several channels: tiles of rows and positions, whose sums over channels and taps stay in the registers.


@njit(**INNER)
def _add_rows(out, y, gap, source, u, channels, step, theta, W, row, channel, column, M, taps, wide, like):  # type: ignore[no-untyped-def]
    """:func:`add_correlation` in tiles like this one, as wide as the tuple ``wide``; how many places that are."""
    count = M - M % len(wide)
    for x in range(0, count, len(wide)):
        tile = load_tile(like, out, y + x, gap, wide)
        for c in range(channels):
            window = load_all(taps[1:] + wide, source, u + c * step + x)
            tile = add_tile(tile, window, theta, W + c * channel, row, column, taps)
        store_tile(out, y + x, gap, tile, wide)
    return count


@njit(**INNER)
def add_correlation(out, y, rows, gap, source, u, channels, step, theta, W, row, channel, column, M, taps):  # type: ignore[no-untyped-def]
    """y[r, x] += Σ_c Σ_j theta[W + r row + c channel + j column] u[c, x + j] for M places x.

    Rows of y begin ``gap`` vectors after each other, those of u ``step``.
    """
    zero = number(theta, -1, 0)
    one, wide, high, large = repeated(zero, 1), repeated(zero, X), repeated(zero, R), repeated(zero, TILE)
    r = plain(0)
    while r < rows:
        z, w = y + r * gap, W + r * row
        if r + R <= rows:
            n = _add_rows(out, z, gap, source, u, channels, step, theta, w, row, channel, column, M, taps, wide, large)
            z, v, n = z + n, u + n, M - n
            _add_rows(out, z, gap, source, v, channels, step, theta, w, row, channel, column, n, taps, one, high)
            r += R
        else:
            n = _add_rows(out, z, gap, source, u, channels, step, theta, w, row, channel, column, M, taps, wide, wide)
            z, v, n = z + n, u + n, M - n
            _add_rows(out, z, gap, source, v, channels, step, theta, w, row, channel, column, n, taps, one, one)
            r += 1


@njit(**INNER)
def add_correlate_products(y_in, y, rows, gap, u_in, u, channels, step, d, W, row, channel, M, taps):  # type: ignore[no-untyped-def]
    """d[W + r row + c channel + j] += Σ_x y[r, x] u[c, x + j], the derivatives of a correlation in its filters."""
    k = len(taps)
    for c in range(channels):
        v = u + c * step
        for r in range(0, rows - 1, 2):
            z, p = y + r * gap, W + r * row + c * channel
            sums = load_tile(taps + taps, d, p, row, taps)
            window = before(taps, u_in, v)
            for x in range(M):
                window = shifted(window, load(u_in, v + x + k - 1))
                sums = add_outer(sums, (load(y_in, z + x), load(y_in, z + gap + x)), window)
            store_tile(d, p, row, sums, taps)
        if rows % 2:
            z, p = y + (rows - 1) * gap, W + (rows - 1) * row + c * channel
            sums, window = load_all(taps, d, p), before(taps, u_in, v)
            for x in range(M):
                window = shifted(window, load(u_in, v + x + k - 1))
                sums = add_multiple(sums, load(y_in, z + x), window)
            store_tile(d, p, 0, sums, taps)


@njit(**INNER)
def clear(a, first, count):  # type: ignore[no-untyped-def]
    for i in range(first, first + count):
        store(a, i, number(a, -1, 0))


@njit(**INNER)
def add_wide_block(a, y, u, theta, W1, b1, W2, lam, w, N, F, C, D, t, flux, taps, weights):  # type: ignore[no-untyped-def]
    """y += W₂ᵀ Φ(W₁u + b₁) for C channels of u and D of y; at t is what every filter gives, between zeros."""
    k, one = plain(len(taps)), plain(1)
    border = k - 1
    M, gap = N - border, N + border
    clear(a, t, F * gap)
    add_correlation(a, t + border, F, gap, a, u, C, N, theta, W1, C * k, k, one, M, taps)
    for f in range(F):
        b, contrast = number(theta, b1 + f if b1 >= 0 else b1, 0), number(theta, lam + f if lam >= 0 else lam, 1)
        inverse, shape = 1.0 / contrast, numbers(weights, theta, w + f * len(weights))
        for x in range(t + f * gap + border, t + f * gap + border + M):
            store(a, x, evaluate(literally(flux), load(a, x) + b, contrast, inverse, shape)[0])
    add_correlation(a, y, D, N, a, t, F, gap, theta, W2 + border, k, D * k, -one, N, taps)


@njit(**INNER)
def add_wide_block_adjoint(a, g, d, y, u, theta, W1, b1, W2, lam, w, N, F, C, D, t, flux, taps, weights):  # type: ignore[no-untyped-def]
    k, one, zero = plain(len(taps)), plain(1), number(theta, -1, 0)
    border = k - 1
    M, gap = N - border, N + border
    clear(a, t, F * gap)
    clear(g, t, F * gap)
    add_correlation(a, t + border, F, gap, a, u, C, N, theta, W1, C * k, k, one, M, taps)
    add_correlation(g, t + border, F, gap, g, y, D, N, theta, W2, D * k, k, one, M, taps)
    for f in range(F):
        b, contrast = number(theta, b1 + f if b1 >= 0 else b1, 0), number(theta, lam + f if lam >= 0 else lam, 1)
        inverse, shape = 1.0 / contrast, numbers(weights, theta, w + f * len(weights))
        db, dlam, dw = zero, zero, zeros(weights)
        for x in range(t + f * gap + border, t + f * gap + border + M):
            r = load(g, x)
            h, slope, of_lam, of_w = evaluate(literally(flux), load(a, x) + b, contrast, inverse, shape)
            store(a, x, zero + h)
            store(g, x, r * slope)
            db, dlam, dw = fma(r, zero + slope, db), fma(r, of_lam, dlam), add_multiple(dw, r * contrast, of_w)
        add_all(d, w + f * len(weights), dw)
        if b1 >= 0:
            add(d, b1 + f, db)
        if lam >= 0:
            add(d, lam + f, dlam)
    add_correlate_products(g, t + border, F, gap, a, u, C, N, d, W1, C * k, k, M, taps)
    add_correlate_products(a, t + border, F, gap, g, y, D, N, d, W2, D * k, k, M, taps)
    add_correlation(g, u, C, N, g, t, F, gap, theta, W1 + border, k, C * k, -one, N, taps)


@njit(**INNER)
def activate(a, y, u, theta, lam, w, M, channels, flux, weights):  # type: ignore[no-untyped-def]
    """y = Φ(u)."""
    zero = number(theta, -1, 0)
    for c in range(channels):
        contrast = number(theta, lam + c if lam >= 0 else lam, 1)
        inverse, shape = 1.0 / contrast, numbers(weights, theta, w + c * len(weights))
        for x in range(c * M, (c + 1) * M):
            store(a, y + x, zero + evaluate(literally(flux), load(a, u + x), contrast, inverse, shape)[0])


@njit(**INNER)
def add_activate_adjoint(a, g, d, y, u, theta, lam, w, M, channels, flux, weights):  # type: ignore[no-untyped-def]
    zero = number(theta, -1, 0)
    for c in range(channels):
        contrast = number(theta, lam + c if lam >= 0 else lam, 1)
        inverse, shape = 1.0 / contrast, numbers(weights, theta, w + c * len(weights))
        dlam, dw = zero, zeros(weights)
        for x in range(c * M, (c + 1) * M):
            r = load(g, y + x)
            _, slope, of_lam, of_w = evaluate(literally(flux), load(a, u + x), contrast, inverse, shape)
            add(g, u + x, r * slope)
            dlam, dw = fma(r, of_lam, dlam), add_multiple(dw, r * contrast, of_w)
        add_all(d, w + c * len(weights), dw)
        if lam >= 0:
            add(d, lam + c, dlam)
