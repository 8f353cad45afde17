"""exp and expm1 of vectors against those of NumPy in higher precision."""

import math

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit

from schemenets.kernels import vector_math  # noqa: F401, which makes them known
from schemenets.kernels.simd import OPTIONS, aligned, lanes, load, store

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
