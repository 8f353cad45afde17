"""exp and expm1 that the compiler can turn into vector instructions; those of libm are called for one number at a time.

With n the integer nearest to x/ln 2 and r = x - n ln 2, both follow from q = e^r - 1, a Taylor polynomial on
|r| ≤ ln 2 / 2, and the exact power 2^n:

    e^x = 2^n + 2^n q,   e^x - 1 = (2^n - 1) + 2^n q.
"""

import math
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

DEGREE = {np.float32: 7, np.float64: 13}  # the first term left out is below the rounding errors
LN_2_HIGH = 355 / 512  # n times this is exact
LN_2_LOW = -2.1219444005469058277e-4  # ln 2 - LN_2_HIGH (Cody and Waite 1980)


@intrinsic
def _power_of_two(context: Any, n: Any) -> Any:
    """2^n of a whole floating-point number n, through its exponent bits."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = np.finfo(f"float{n.bitwidth}").nmant
        integer = ir.IntType(n.bitwidth)
        exponent = builder.add(builder.fptosi(arguments[0], integer), integer(2 ** (n.bitwidth - bits - 2) - 1))
        return builder.bitcast(builder.shl(exponent, integer(bits)), context.get_value_type(n))

    return n(n), code


@lru_cache
def module(dtype: Any) -> ModuleType:
    """A module with what fluxes use of ``math``, for numbers of one type in compiled code."""
    precision = np.finfo(dtype)
    least, largest = dtype(math.log(precision.tiny)), dtype(math.log(precision.max))
    n_least, n_largest = dtype(precision.minexp), dtype(precision.maxexp - 1)
    per_ln_2, high, low = dtype(1 / math.log(2)), dtype(LN_2_HIGH), dtype(LN_2_LOW)
    zero, half, one, infinite = dtype(0), dtype(0.5), dtype(1), dtype(math.inf)
    coefficients = tuple(dtype(1 / math.factorial(i)) for i in range(DEGREE[dtype], 0, -1))
    # not reassociated, as the two parts of ln 2 would be added up
    options: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy", "forceinline": True}

    @njit(**options)
    def parts(x):  # type: ignore[no-untyped-def]
        """2^n and 2^n q; NaN in, NaN out."""
        n = math.floor(x * per_ln_2 + half)
        n = n if n > n_least else n_least  # also for NaN
        n = n if n < n_largest else n_largest
        r = (x - n * high) - n * low
        q = zero
        for c in coefficients:
            q = r * (c + q)
        power = _power_of_two(n)
        return power, power * q

    @njit(**options)
    def exp(x):  # type: ignore[no-untyped-def]
        power, rest = parts(x)
        value = power + rest
        value = zero if x < least else value
        return infinite if x > largest else value

    @njit(**options)
    def expm1(x):  # type: ignore[no-untyped-def]
        power, rest = parts(x)
        value = (power - one) + rest
        value = -one if x < least else value
        return infinite if x > largest else value

    found = ModuleType("vector_math")
    vars(found).update(exp=exp, expm1=expm1, sqrt=math.sqrt)
    return found
