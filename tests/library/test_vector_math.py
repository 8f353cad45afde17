"""exp and expm1 of compiled fluxes against those of NumPy in higher precision."""

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit

from schemenets.kernels import vector_math

DTYPES = [np.float32, np.float64]


def computed(name, x):
    function = getattr(vector_math.module(x.dtype.type), name)

    @njit(fastmath={"contract", "nsz", "arcp", "reassoc"}, error_model="numpy")  # as in the kernel
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    y = np.empty_like(x)
    loop(x, y)
    return y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "expm1"])
def test_errors_are_few_units_in_the_last_place(name, dtype):
    precision = np.finfo(dtype)
    limits = np.log([precision.tiny * 2, precision.max / 2])
    x = np.concatenate([np.linspace(*limits, 20001), np.linspace(-1, 1, 20001), -np.logspace(-30, 0, 1000)]).astype(
        dtype
    )
    x = x[x != 0]
    exact = getattr(np, name)(x.astype(np.longdouble))
    assert np.max(abs(computed(name, x) - exact) / abs(exact)) <= 2 * precision.eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_out_of_range(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0, 2000, -2000], dtype)
    np.testing.assert_array_equal(computed("exp", x), [np.nan, np.inf, 0, 1, np.inf, 0])
    np.testing.assert_array_equal(computed("expm1", x), [np.nan, np.inf, -1, 0, np.inf, -1])
