"""Extrapolation within the ball of the first state (``networks/_safeguard.py`` has the formulas), in compiled loops.

Arguments and names are those of :mod:`schemenets.kernels.loops`; a state of ``count`` vectors is one of every lane's
signal, so what is a number for a signal is a vector here.
"""

import math

from numba import njit

from schemenets.fluxes import where
from schemenets.kernels.simd import INLINE, INNER, add, fma, load, number, store


@njit(**INLINE)
def _factor(a, w, previous, start, s_k, count, precision, tiny, rounding):  # type: ignore[no-untyped-def]
    """s, 1 where it is not s_k, √(b² + ac) where it is a root, 1 where ‖w‖ < ‖u⁰‖, and what all is
    scaled by, the inverse of the largest value of w, d and u⁰."""
    zero = 0.0 * s_k
    largest = zero + tiny
    for i in range(count):
        v = load(a, w + i)
        largest = max(max(abs(load(a, start + i)), abs(v)), max(abs(v - load(a, previous + i)), largest))
    inverse = 1.0 / largest
    A = B = C = R2 = W2 = zero  # ‖w + s d‖² - ‖w‖² = A s² + 2 B s, which may be as large as C
    for i in range(count):
        v, u0 = inverse * load(a, w + i), inverse * load(a, start + i)
        d = v - inverse * load(a, previous + i)
        A, B, R2, W2 = fma(d, d, A), fma(v, d, B), fma(u0, u0, R2), fma(v, v, W2)
        C = fma(u0 + v, u0 - v, C)
    C = max(C + rounding * precision * R2, zero)
    square = fma(B, B, A * C)
    extrapolates = where(s_k > 0.0, 1.0 + zero, zero)
    acts = where(s_k * (s_k * A + 2.0 * B) > C, extrapolates, zero)
    smallest = precision * precision * max(max(R2, W2), A)
    regular = where(square > smallest * smallest, acts, zero)  # else s = 0, and the root's derivative is infinite
    root = math.sqrt(where(regular > 0.0, square, 1.0 + zero))
    # for either sign of B the form that does not subtract
    positive = C / where(B > 0.0, B + root, 1.0 + zero)
    negative = (root - B) / where(B > 0.0, 1.0 + zero, where(regular > 0.0, A, 1.0 + zero))
    s = where(regular > 0.0, where(B > 0.0, positive, negative), where(acts > 0.0, zero, s_k))
    return s, acts, where(regular > 0.0, root, zero), where(C > 0.0, 1.0 + zero, zero), inverse


@njit(**INNER)
def safeguard(a, y, w, previous, start, theta, s_k, count, precision, tiny, rounding):  # type: ignore[no-untyped-def]
    """y = w + s (w - previous) with the largest s in [0, s_k] that keeps it in the ball, s = s_k where s_k ≤ 0."""
    s, _, _, _, _ = _factor(a, w, previous, start, number(theta, s_k, 0), count, precision, tiny, rounding)
    for i in range(count):
        v = load(a, w + i)
        store(a, y + i, fma(s, v - load(a, previous + i), v))


@njit(**INNER)
def add_safeguard_adjoint(a, g, d, y, w, previous, start, theta, s_k, count, precision, tiny, rounding):  # type: ignore[no-untyped-def]
    s, acts, root, inside, inverse = _factor(
        a, w, previous, start, number(theta, s_k, 0), count, precision, tiny, rounding
    )
    zero = 0.0 * s
    change = zero  # the derivative in s
    for i in range(count):
        change = fma(load(g, y + i), load(a, w + i) - load(a, previous + i), change)
    p = where(root > 0.0, change * inverse / where(root > 0.0, root, 1.0 + zero), zero)
    of_start = inverse * where(inside > 0.0, p, zero)
    of_w = inverse * where(inside > 0.0, zero, p)
    for i in range(count):
        v = load(a, w + i)
        u = fma(s, v - load(a, previous + i), v)
        e = load(g, y + i) - p * inverse * u
        add(g, w + i, fma(1.0 + s, e, of_w * v))
        add(g, previous + i, -(s * e))
        add(g, start + i, of_start * load(a, start + i))
    add(d, s_k, where(acts > 0.0, zero, change))
