"""Vectors in compiled code: their operators are those of NumPy, and exp and expm1 those in higher precision."""

import math

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit

from schemenets.fluxes import where
from schemenets.kernels import vector_math  # noqa: F401, which makes exp and expm1 known
from schemenets.kernels.simd import OPTIONS, aligned, fma, lane, lanes, load, store, total, vector, with_lane

DTYPES = [np.float32, np.float64]


@njit(**OPTIONS)
def exp(x, y, count):
    for i in range(count):
        store(y, i, math.exp(load(x, i)))


@njit(**OPTIONS)
def expm1(x, y, count):
    for i in range(count):
        store(y, i, math.expm1(load(x, i)))


def computed(function, x):
    """In vectors; what does not fill the last one is zero."""
    count = -(-x.size // lanes(x.dtype))
    before, after = (aligned(count, x.dtype) for _ in range(2))
    before[: x.size] = x
    function(before, after, count)
    return after[: x.size]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [exp, expm1], ids=["exp", "expm1"])
def test_errors_are_few_units_in_the_last_place(function, dtype):
    precision = np.finfo(dtype)
    limits = np.log([precision.tiny * 2, precision.max / 2])
    x = np.concatenate([np.linspace(*limits, 20001), np.linspace(-1, 1, 20001), -np.logspace(-30, 0, 1000)]).astype(
        dtype
    )
    x = x[x != 0]
    exact = getattr(np, function.__name__)(x.astype(np.longdouble))
    assert np.max(abs(computed(function, x) - exact) / abs(exact)) <= 2 * precision.eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_out_of_range(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0, 2000, -2000], dtype)
    np.testing.assert_array_equal(computed(exp, x), [np.nan, np.inf, 0, 1, np.inf, 0])
    np.testing.assert_array_equal(computed(expm1, x), [np.nan, np.inf, -1, 0, np.inf, -1])


@njit(**OPTIONS)
def arithmetic(x, y, out):
    a, b = load(x, 0), load(y, 0)
    store(out, 0, a + b)
    store(out, 1, a - b)
    store(out, 2, a * b)
    store(out, 3, a / b)
    store(out, 4, -a)
    store(out, 5, 2.0 - a * 3)
    store(out, 6, fma(a, b, a))
    store(out, 7, abs(a))
    store(out, 8, math.sqrt(math.fabs(a)))
    c = a
    c += 1.5
    c *= b
    store(out, 9, c)
    store(out, 10, vector(x[1]))
    store(out, 11, with_lane(a, 2, lane(b, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic(dtype):
    L = lanes(dtype)
    x, y, out = aligned(1, dtype), aligned(1, dtype), aligned(12, dtype)
    x[:], y[:] = np.random.default_rng(0).standard_normal((2, L))
    arithmetic(x, y, out)
    changed = x.copy()
    changed[2] = y[1]
    expected = [x + y, x - y, x * y, x / y, -x, 2 - x * 3, x * y + x, abs(x), np.sqrt(abs(x)), (x + 1.5) * y]
    expected += [np.full(L, x[1]), changed]
    np.testing.assert_allclose(out.reshape(12, L), expected, rtol=0, atol=16 * np.finfo(dtype).eps)


@njit(**OPTIONS)
def choices(x, y, out):
    a, b = load(x, 0), load(y, 0)
    zero = 0.0 * y[0]
    store(out, 0, where(a < b, a, zero))
    store(out, 1, where(a <= b, a, zero))
    store(out, 2, where(a > b, a, zero))
    store(out, 3, where(a >= b, a, zero))
    store(out, 4, where(a == b, a, zero))
    store(out, 5, max(a, b))
    store(out, 6, min(a, b))
    store(out, 7, where(x[0] < y[0], a, b))
    return total(b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_choices(dtype):
    """Comparisons with NaN are false; the larger and the smaller number are the first one if that is NaN."""
    pairs = np.array([[1, 2, 3, np.nan, np.inf, -np.inf, 0, -3], [2, 2, 1, 5, 1, 1, 0, -4]], dtype)
    L = min(lanes(dtype), pairs.shape[1])
    for first in range(0, pairs.shape[1], L):
        assert_choices(*pairs[:, first : first + L])


def assert_choices(left, right):
    L, dtype = lanes(left.dtype), left.dtype
    x, y, out = aligned(1, dtype), aligned(1, dtype), aligned(8, dtype)
    x[: left.size], y[: right.size] = left, right
    found = choices(x, y, out)
    assert found == y.sum()
    expected = [np.where(compare(x, y), x, 0) for compare in (np.less, np.less_equal, np.greater, np.greater_equal)]
    expected += [np.where(x == y, x, 0), np.maximum(x, y), np.minimum(x, y), x if x[0] < y[0] else y]
    np.testing.assert_array_equal(out.reshape(8, L), expected)
