"""The one primitive of all denoising structures, v + W₂ᵀ Φ(W₁u + b₁).

On the CPU, in single and double precision, it runs as one compiled loop nest if numba is installed. Everything
else (other devices and dtypes, ``torch.func``, fluxes without a ``scalar`` form, derivatives of higher order)
takes the plain torch operations of :mod:`schemenets.kernels.reference`, and so does everything if the
environment variable ``SCHEMENETS_KERNEL`` is ``reference``. Set it where ``torch.compile`` is to trace ``torch.func``,
whose transformations cannot be recognised there.
"""

import os
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError
from schemenets.fluxes import Flux
from schemenets.kernels import reference

__all__ = ["backend", "block"]


def block(
    u: Tensor,
    W1: Tensor,
    b1: Tensor | None,
    W2: Tensor,
    lam: Tensor | None,
    flux: Flux,
    w: Tensor | None = None,
    onto: Tensor | None = None,
) -> Tensor:
    """Valid correlation with W₁, flux, transposed correlation with W₂: y = v + W₂ᵀ Φ(W₁u + b₁; λ, w).

    With W₁ = K, W₂ = -τK, no bias and v = u it is the explicit diffusion step of [A].

    Args:
        u: signals, (batch, C_in, N) or (seeds, batch, C_in, N).
        W1: filters, (F, C_in, k) or (seeds, F, C_in, k); the same for the others, whose seeds are independent.
        b1: biases (F,), or None for none.
        W2: filters of the transposed correlation, (F, C_out, k); may be ``W1`` itself.
        lam: contrast parameters λ > 0, (F,), or None for λ = 1 and for fluxes that do not depend on it.
        flux: the flux function Φ.
        w: weights of its shape, (F, ``flux.weights``), or None for fluxes that have none.
        onto: v, of the shape of y, or None for zero; may be ``u`` itself.

    Returns:
        y, (batch, C_out, N) or (seeds, batch, C_out, N), differentiable in all tensors.

    Raises:
        InvalidParameterError: shapes or dtypes that do not fit together, something else than a flux, weights of
            it that are missing or superfluous, or k > N.
    """
    _check_shapes(u, W1, b1, W2, lam, flux, w, onto)
    tensors = [x for x in (u, W1, b1, W2, lam, w, onto) if x is not None]
    if is_compiled(flux) and are_plain(tensors):
        from schemenets.kernels import autograd

        return autograd.block(u, W1, b1, W2, lam, flux, w, onto)
    return reference.block(u, W1, b1, W2, lam, flux, w, onto)


def backend() -> str:
    """What :func:`block` runs on the CPU: ``"fused"`` or ``"reference"``.

    Raises:
        InvalidParameterError: the environment variable ``SCHEMENETS_KERNEL`` names a kernel that is not available.
    """
    chosen = os.environ.get("SCHEMENETS_KERNEL")
    if chosen == "reference":
        return chosen
    fastest = "fused" if _has_numba() else "reference"
    if chosen and chosen != fastest:
        expected = "fused or reference" if _has_numba() else "reference, as there is no numba that works"
        raise InvalidParameterError("SCHEMENETS_KERNEL", chosen, expected)
    return fastest


@cache
def _import_numba() -> bool:
    """Whether numba can be imported on a POSIX system, whose file locks the cache of compiled code needs."""
    if find_spec("numba") is None or find_spec("fcntl") is None:
        return False
    try:
        import numba  # noqa: F401
    except Exception as error:  # such as one for a version of NumPy that this numba does not know
        warnings.warn(f"numba cannot be imported, so networks take plain torch operations: {error}", stacklevel=2)
        return False
    return True


def _has_numba() -> bool:
    return _import_numba()


# what torch.compiler.assume_constant_result does, after it has imported the compiler
_has_numba._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_compiled(flux: Flux) -> bool:
    """Whether there is compiled code for this flux."""
    return getattr(flux, "scalar", None) is not None and backend() == "fused"


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether compiled code takes these."""
    dtype, traced = tensors[0].dtype, torch.compiler.is_compiling()
    return dtype in (torch.float32, torch.float64) and all(
        x.is_cpu and x.dtype == dtype and (traced or not torch._C._functorch.is_functorch_wrapped_tensor(x))
        for x in tensors
    )


def _check_shapes(
    u: Tensor,
    W1: Tensor,
    b1: Tensor | None,
    W2: Tensor,
    lam: Tensor | None,
    flux: Flux,
    w: Tensor | None,
    onto: Tensor | None,
) -> None:
    if not hasattr(flux, "weights"):
        raise InvalidParameterError("flux", flux, 'a flux, such as schemenets.fluxes.get("relu")')
    for name, x in (("u", u), ("b1", b1), ("W2", W2), ("lam", lam), ("w", w), ("onto", onto)):
        if x is not None and x.dtype != W1.dtype:
            raise InvalidParameterError(f"dtype of {name}", x.dtype, f"{W1.dtype}, that of W1")
    if W1.ndim not in (3, 4):
        raise InvalidParameterError("shape of W1", tuple(W1.shape), "(F, C_in, k) or (seeds, F, C_in, k)")
    *seeds, F, C_in, k = W1.shape
    if u.ndim != W1.ndim or [*u.shape[:-3]] != seeds or u.shape[-2] != C_in:
        expected = f"({', '.join(map(str, seeds))}{', ' * bool(seeds)}batch, {C_in}, N)"
        raise InvalidParameterError("shape of u", tuple(u.shape), f"{expected} to fit W1 {tuple(W1.shape)}")
    if not 1 <= k <= u.shape[-1]:
        raise InvalidParameterError("filter length k", k, f"1 to {u.shape[-1]}, the length of u")
    if W2.ndim != W1.ndim or [*W2.shape[:-2]] != [*seeds, F] or W2.shape[-1] != k:
        raise InvalidParameterError("shape of W2", tuple(W2.shape), f"that of W1 {tuple(W1.shape)} up to C_out")
    for name, x in (("b1", b1), ("lam", lam)):
        if x is not None and [*x.shape] != [*seeds, F]:
            raise InvalidParameterError(f"shape of {name}", tuple(x.shape), f"{(*seeds, F)}")
    found = None if w is None else tuple(w.shape)
    fitting = (*seeds, F, flux.weights) if flux.weights else None
    if found != fitting:
        raise InvalidParameterError("shape of w", found, f"{fitting} for the flux {flux.name!r}")
    shape = (*u.shape[:-2], W2.shape[-2], u.shape[-1])
    if onto is not None and onto.shape != shape:
        raise InvalidParameterError("shape of onto", tuple(onto.shape), f"{shape}")
