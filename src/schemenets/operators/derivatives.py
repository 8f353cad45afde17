"""Derivative operators D = Σ_m α_m ∂x^m on N points of mesh width h, as sparse matrices."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from schemenets.errors import InvalidParameterError


def derivative(length: int, alpha: Sequence[float] = (1.0,), h: float = 1.0) -> sp.csr_array:
    """K ≈ Σ_m α_m ∂x^m for signals mirrored at both ends, shape (N, N).

    Order 1 is the forward difference, whose last row is zero; every further order alternates it with its
    negative transpose, the backward difference. So every order annihilates constants, KᵀK of order 1 is the
    reflecting (Neumann) Laplacian, and the diffusion -KᵀΦ(Ku) preserves the mean of u.

    Args:
        length: N, number of points.
        alpha: (α_1, α_2, ...); (1,) is ∂x, (0, 1) is ∂xx, (0, 0, 1) is ∂xxx, anything else is mixed.
        h: mesh width.

    Raises:
        InvalidParameterError: fewer than two points or a mesh width that is not positive.

    >>> derivative(4, alpha=(0, 1)).toarray().astype(int).tolist()
    [[-1, 1, 0, 0], [1, -2, 1, 0], [0, 1, -2, 1], [0, 0, 1, -1]]
    """
    if length < 2:
        raise InvalidParameterError("length", length, "at least 2 points")
    check_mesh_width(h)
    if not np.isfinite(alpha).all():
        raise InvalidParameterError("alpha", alpha, "finite numbers")
    forward = sp.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(length, length)).tolil()
    forward[-1, -1] = 0.0
    forward = sp.csr_array(forward) / h
    K, order = sp.csr_array((length, length)), sp.eye_array(length, format="csr")
    for m, a in enumerate(alpha):
        order = (forward if m % 2 == 0 else -forward.T) @ order
        K = K + a * order
    return sp.csr_array(K)


def check_mesh_width(h: float) -> None:
    if not 0 < h < np.inf:
        raise InvalidParameterError("h", h, "positive and finite")


def poisson(length: int, h: float = 1.0) -> sp.csr_array:
    """-∂xx with zero (Dirichlet) values just outside of the N points, shape (N, N): [-1 2 -1] / h².

    Raises:
        InvalidParameterError: no point, or a mesh width that is not positive.
    """
    if length < 1:
        raise InvalidParameterError("length", length, "at least 1 point")
    check_mesh_width(h)
    return sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(length, length), format="csr") / h**2
