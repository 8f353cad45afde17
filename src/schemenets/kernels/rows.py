"""What compiled cycles share: short loops over rows, and the first call of a pass.

Rows are contiguous and do not overlap; functions named ``add_...`` add their results to what is there.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.np.unsafe.ndarray import to_fixed_tuple

from schemenets.kernels.fused import OPTIONS, locked


@njit(**OPTIONS)
def correlate(w, z, y, k):  # type: ignore[no-untyped-def]
    """y[m] = Σ_j w[j] z[m + j]."""
    for m in range(y.size):
        a = y.dtype.type(0)
        for j in range(k):
            a += w[j] * z[m + j]
        y[m] = a


@njit(**OPTIONS)
def add_adjoint(w, y, x, k):  # type: ignore[no-untyped-def]
    """x[n] += Σ_j w[j] y[n + k - 1 - j]."""
    for n in range(x.size):
        a = x[n]
        for j in range(k):
            a += w[j] * y[n + k - 1 - j]
        x[n] = a


@njit(**OPTIONS)
def add_products(a, b, w, k):  # type: ignore[no-untyped-def]
    """w[j] += Σ_m a[m] b[m + j]."""
    sums = to_fixed_tuple(w, k)
    for m in range(a.size):
        for j in range(k):
            sums = tuple_setitem(sums, j, sums[j] + a[m] * b[m + j])
    for j in range(k):
        w[j] = sums[j]


@njit(**OPTIONS)
def part(row, begin, N):  # type: ignore[no-untyped-def]
    return row[begin : begin + N]


def call(function: Any, *arrays: np.ndarray) -> None:
    """Call a pass, compiled or taken from the cache on disk the first time."""
    signature = tuple((array.dtype, array.ndim) for array in arrays)
    if signature in _compiled(function):
        function(*arrays)
        return
    with locked(function):
        function(*arrays)
    _compiled(function).add(signature)


@lru_cache
def _compiled(function: Any) -> set[tuple[Any, ...]]:
    """The signatures that a function was called with before."""
    return set()
