"""Loops between two resolutions; arguments and names are those of :mod:`schemenets.kernels.loops`.

N is the number of positions on the finer one. Transfers have a stencil of four numbers r and begin ``shift`` places on:
R takes r[j] x[2i + j - 1 + shift] together, and beyond its ends x is mirrored by one value.
"""

from numba import njit

from schemenets.fluxes import where
from schemenets.kernels.loops import clear
from schemenets.kernels.simd import (
    INLINE,
    INNER,
    add,
    add_all,
    add_multiple,
    dot,
    fma,
    load,
    number,
    repeated,
    store,
)


@njit(**INLINE)
def _four(a, x, i, shift, N):  # type: ignore[no-untyped-def]
    """The values that a stencil takes at the place i of the coarser grid."""
    n = 2 * i + shift
    last = N - 1
    return (
        load(a, x + max(n - 1, 0)),
        load(a, x + min(n, last)),
        load(a, x + min(n + 1, last)),
        load(a, x + min(n + 2, last)),
    )


@njit(**INNER)
def restrict(a, y, x, theta, r, shift, N):  # type: ignore[no-untyped-def]
    """y = Rx."""
    zero = number(theta, -1, 0)
    for i in range(N // 2):
        store(a, y + i, dot(zero, theta, r, _four(a, x, i, shift, N)))


@njit(**INLINE)
def _add_restrict_adjoint(a, x, i, value, theta, r, shift, N):  # type: ignore[no-untyped-def]
    """x += Rᵀ of a value at the place i."""
    n = 2 * i + shift
    last = N - 1
    add(a, x + max(n - 1, 0), value * theta[r])
    add(a, x + min(n, last), value * theta[r + 1])
    add(a, x + min(n + 1, last), value * theta[r + 2])
    add(a, x + min(n + 2, last), value * theta[r + 3])


@njit(**INNER)
def add_restrict_adjoint(a, g, d, y, x, theta, r, shift, N):  # type: ignore[no-untyped-def]
    dr = repeated(number(theta, -1, 0), 4)
    for i in range(N // 2):
        value = load(g, y + i)
        dr = add_multiple(dr, value, _four(a, x, i, shift, N))
        _add_restrict_adjoint(g, x, i, value, theta, r, shift, N)
    add_all(d, r, dr)


@njit(**INNER)
def add_prolong(a, y, x, start, theta, c, r, shift, N):  # type: ignore[no-untyped-def]
    """y += c Rᵀ(x - start), where ``start`` may be missing."""
    factor = number(theta, c, 1)
    for i in range(N // 2):
        value = load(a, x + i)
        if start >= 0:
            value = value - load(a, start + i)
        _add_restrict_adjoint(a, y, i, factor * value, theta, r, shift, N)


@njit(**INNER)
def add_prolong_adjoint(a, g, d, y, x, start, theta, c, r, shift, N):  # type: ignore[no-untyped-def]
    factor, dc = number(theta, c, 1), load(d, c)
    zero = number(theta, -1, 0)
    dr = repeated(zero, 4)
    for i in range(N // 2):
        fine = _four(g, y, i, shift, N)
        coarse = dot(zero, theta, r, fine)
        value = load(a, x + i)
        if start >= 0:
            value = value - load(a, start + i)
            add(g, start + i, -(factor * coarse))
        add(g, x + i, factor * coarse)
        dc = fma(coarse, value, dc)
        dr = add_multiple(dr, factor * value, fine)
    store(d, c, dc)
    add_all(d, r, dr)


@njit(**INNER)
def pool(a, y, x, N):  # type: ignore[no-untyped-def]
    """y = the larger one of every pair of x; channels follow each other, so N counts all of them."""
    for i in range(N // 2):
        left, right = load(a, x + 2 * i), load(a, x + 2 * i + 1)
        store(a, y + i, max(left, right))


@njit(**INNER)
def add_pool_adjoint(a, g, y, x, N):  # type: ignore[no-untyped-def]
    """Equal values share the derivative, as those of ``torch.amax`` do."""
    for i in range(N // 2):
        left, right, value = load(a, x + 2 * i), load(a, x + 2 * i + 1), load(g, y + i)
        half = 0.5 * value
        of_left = where(left > right, value, where(left < right, 0.0 * value, half))
        add(g, x + 2 * i, of_left)
        add(g, x + 2 * i + 1, value - of_left)


@njit(**INNER)
def interleave(a, y, t, theta, b, n, channels):  # type: ignore[no-untyped-def]
    """y[c, 2i + j] = t[2c + j, i] + b[c], rows of n positions of t."""
    for c in range(channels):
        bias = number(theta, b + c, 0)
        for j in range(2):
            for i in range(n):
                store(a, y + 2 * (c * n + i) + j, load(a, t + (2 * c + j) * n + i) + bias)


@njit(**INNER)
def separate(a, t, y, n, channels):  # type: ignore[no-untyped-def]
    """t[2c + j, i] = y[c, 2i + j]."""
    for c in range(channels):
        for j in range(2):
            for i in range(n):
                store(a, t + (2 * c + j) * n + i, load(a, y + 2 * (c * n + i) + j))


@njit(**INNER)
def extend(a, y, x, N, longer):  # type: ignore[no-untyped-def]
    """y = x, with its last value repeated or its end cut off."""
    for n in range(longer):
        store(a, y + n, load(a, x + min(n, N - 1)))


@njit(**INNER)
def add_extend_adjoint(g, y, x, N, longer):  # type: ignore[no-untyped-def]
    for n in range(longer):
        add(g, x + min(n, N - 1), load(g, y + n))


@njit(**INNER)
def merge(a, y, u, theta, V, N, channels, k):  # type: ignore[no-untyped-def]
    """y[n] = Σ_c Σ_j theta[V + c k + j] u[c, n + j - (k - 1)/2], where u is."""
    clear(a, y, N)
    for j in range(k):
        shift = j - (k - 1) // 2
        for c in range(channels):
            weight = number(theta, V + c * k + j, 0)
            for n in range(max(0, -shift), min(N, N - shift)):
                add(a, y + n, weight * load(a, u + c * N + n + shift))


@njit(**INNER)
def add_merge_adjoint(a, g, d, y, u, theta, V, N, channels, k):  # type: ignore[no-untyped-def]
    for j in range(k):
        shift = j - (k - 1) // 2
        for c in range(channels):
            weight, dV = number(theta, V + c * k + j, 0), number(theta, -1, 0)
            for n in range(max(0, -shift), min(N, N - shift)):
                value = load(g, y + n)
                add(g, u + c * N + n + shift, weight * value)
                dV = fma(value, load(a, u + c * N + n + shift), dV)
            add(d, V + c * k + j, dV)
