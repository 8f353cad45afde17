"""Transfers between a grid and the one twice as coarse. Always P = 2Rᵀ."""

import numpy as np
import scipy.sparse as sp

from schemenets.errors import InvalidParameterError


def restriction(length: int, ends: str = "dirichlet") -> sp.csr_array:
    """R from ``length`` points to half as many, shape (N_c, N).

    Args:
        length: N of the fine grid.
        ends: ``dirichlet``: vertex-centred, N = 2^m - 1, coarse points are every second fine point, full
            weighting [1 2 1]/4. ``reflecting``: cell-centred, N = 2^m, coarse cells are pairs of fine cells,
            [1 3 3 1]/8 on the mirrored signal; R and P then keep constants, and R keeps the mean.

    Raises:
        InvalidParameterError: an unknown kind of ends or a length that it cannot halve.

    >>> (4 * restriction(7)).toarray().astype(int).tolist()
    [[1, 2, 1, 0, 0, 0, 0], [0, 0, 1, 2, 1, 0, 0], [0, 0, 0, 0, 1, 2, 1]]
    """
    if ends not in ("dirichlet", "reflecting"):
        raise InvalidParameterError("ends", ends, "dirichlet or reflecting")
    odd = ends == "dirichlet"
    if length % 2 != odd or length < 2:
        raise InvalidParameterError("length", length, "odd and at least 3" if odd else "even and at least 2")
    stencil = np.array([1.0, 2.0, 1.0]) / 4 if odd else np.array([1.0, 3.0, 3.0, 1.0]) / 8
    coarse = length // 2
    rows = np.repeat(np.arange(coarse), stencil.size)
    columns = 2 * rows + np.tile(np.arange(stencil.size), coarse) - (not odd)
    # the mirrored signal repeats its end points, and entries at equal places add up
    columns = np.clip(columns, 0, length - 1)
    return sp.csr_array((np.tile(stencil, coarse), (rows, columns)), shape=(coarse, length))


def prolongation(length: int, ends: str = "dirichlet") -> sp.csr_array:
    """P = 2Rᵀ to the grid of ``length`` points, shape (N, N_c): linear interpolation."""
    return sp.csr_array(2 * restriction(length, ends).T)
