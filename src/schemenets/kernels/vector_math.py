"""exp and expm1 of vectors; those of libm are called for one number at a time.

With n the integer nearest to x/ln 2 and r = x - n ln 2, both follow from q = e^r - 1, a Taylor polynomial on
|r| ≤ ln 2 / 2, and the exact power 2^n:

    e^x = 2^n + 2^n q,   e^x - 1 = (2^n - 1) + 2^n q.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from schemenets.fluxes import where
from schemenets.kernels.simd import Vector, floor, power_of_two

DEGREE = {32: 7, 64: 13}  # the first term left out is below the rounding errors
LN_2_HIGH = 355 / 512  # n times this is exact
LN_2_LOW = -2.1219444005469058277e-4  # ln 2 - LN_2_HIGH (Cody and Waite 1980)


@lru_cache
def _functions(width: int) -> tuple[Any, Any]:
    """exp and expm1 for numbers of so many bits."""
    precision = np.finfo(f"float{width}")
    least, largest = math.log(precision.tiny), math.log(precision.max)
    n_least, n_largest = float(precision.minexp), float(precision.maxexp - 1)
    coefficients = tuple(1 / math.factorial(i) for i in range(DEGREE[width], 0, -1))
    # not reassociated, as the two parts of ln 2 would be added up
    options: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy", "forceinline": True}

    @njit(**options)
    def parts(x):  # type: ignore[no-untyped-def]
        """2^n and 2^n q; NaN in, NaN out."""
        n = floor(x * (1 / math.log(2)) + 0.5)
        n = where(n > n_least, n, n_least)  # also for NaN
        n = where(n < n_largest, n, n_largest)
        r = (x - n * LN_2_HIGH) - n * LN_2_LOW
        q = r * 0.0
        for c in coefficients:
            q = r * (q + c)
        power = power_of_two(n)
        return power, power * q

    @njit(**options)
    def exp(x):  # type: ignore[no-untyped-def]
        power, rest = parts(x)
        value = where(x < least, 0.0, power + rest)
        return where(x > largest, math.inf, value)

    @njit(**options)
    def expm1(x):  # type: ignore[no-untyped-def]
        power, rest = parts(x)
        value = where(x < least, -1.0, (power - 1.0) + rest)
        return where(x > largest, math.inf, value)

    return exp, expm1


@overload(math.exp)
def _(x):  # type: ignore[no-untyped-def]
    if not isinstance(x, Vector):
        return None
    exp, _ = _functions(x.dtype.bitwidth)
    return lambda x: exp(x)


@overload(math.expm1)
def _(x):  # type: ignore[no-untyped-def]
    if not isinstance(x, Vector):
        return None
    _, expm1 = _functions(x.dtype.bitwidth)
    return lambda x: expm1(x)
