"""The convolution K of the papers, its exact transpose Kᵀ, and a bound of ‖K‖ that is a theorem."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from schemenets.errors import InvalidParameterError, integer
from schemenets.kernels.reference import correlate, correlate_adjoint

BOUNDARIES = ("valid", "zero", "circular", "full")


def norm_bound(weight: Tensor, length: int | None = None) -> Tensor:
    """Upper bound of the spectral norm ‖K‖ of the convolution with ``weight``; differentiable.

    With the symbol K̂(ω) = Σ_i W_i e^(-iωi) of degree d = k - 1, every x* K̂* K̂ x is a trigonometric polynomial
    of degree d, so its values on M > 2d equispaced frequencies control it in between (derived):

        ‖K‖² ≤ sup_ω σ_max(K̂(ω))² ≤ max_j σ_max(K̂(2πj/M))² / cos(πd/M).

    It holds for valid, zero-padded, full and circular convolution of signals of any length. Here M = 64 d,
    which makes the last factor 1/cos(π/64) < 1.0013: the bound is within 0.07 % of the supremum of the
    symbol. Reflecting and replicating p values are *not* covered: there ‖K‖ can exceed the supremum by the
    factors √2 and √(1 + p).

    Args:
        weight: (..., F, C, k); leading dimensions stack independent kernels.
        length: signal length N of a *circular* convolution, whose norm is exactly the maximum over the N grid
            frequencies.

    Returns:
        (...), one bound per stacked kernel.

    >>> forward_difference = torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64)
    >>> round(norm_bound(forward_difference).item(), 4), norm_bound(forward_difference, length=8).item()
    (2.0012, 2.0)
    """
    length = None if length is None else integer("length", length, 1)
    if weight.dtype.itemsize < 4:  # decompositions of matrices are not there for half precision
        return norm_bound(weight.float(), length).to(weight.dtype)
    k = weight.shape[-1]
    d = k - 1
    M = length or max(1, 64 * d)
    # K̂(-ω) is the complex conjugate of K̂(ω), so half of the grid has the whole maximum
    # in double precision, as the phases of long filters are large numbers
    omega = torch.arange(M // 2 + 1, dtype=torch.float64, device=weight.device) * (2 * math.pi / M)
    taps = torch.arange(k, device=weight.device)
    phase = taps[:, None] * omega
    cosine = phase.cos().to(weight.dtype)
    # only the largest value is differentiated: the others would cost several times as much
    if 1 in weight.shape[-3:-1]:  # K̂ is a vector, with ‖K̂(ω)‖² = Σ_ij (WᵀW)_ij cos((i-j)ω)
        W = weight.flatten(-3, -2)
        products = (W.mT @ W).flatten(-2)
        cosines = cosine[(taps[:, None] - taps).abs().flatten()]
        largest = (products.detach() @ cosines).argmax(-1)
        squared = (products * cosines.mT[largest[..., None]].squeeze(-2)).sum(-1)
    else:
        real, imag = weight @ cosine, weight @ phase.sin().to(weight.dtype)  # (..., F, C, M//2+1)
        symbol = torch.complex(real, imag).movedim(-1, -3)
        gram = (symbol.mH @ symbol).detach()
        largest = torch.linalg.eigvalsh(gram)[..., -1].argmax(-1)[..., None, None, None]
        squared = torch.linalg.svdvals(symbol.take_along_dim(largest, -3))[..., 0, 0] ** 2
    slack = 1.0 if length else math.cos(math.pi * d / M)
    return (squared / slack).sqrt()


class Conv1dOperator:
    """K: (Ku)_f[n] = Σ_c Σ_i W[f, c, i] u_c[n + i], what deep learning calls convolution.

    Args:
        weight: W, shape (F, C, k) for F filters over C channels.
        boundary: what u is outside of its N points, and how long Ku is: ``valid`` (nothing is needed;
            N - k + 1), ``zero`` (zero; N), ``circular`` (periodic; N) or ``full`` (zero; N + k - 1).

    Raises:
        InvalidParameterError: ``weight`` has not three dimensions, or ``boundary`` is none of the four.
    """

    def __init__(self, weight: Tensor, boundary: str = "valid") -> None:
        if weight.dim() != 3 or 0 in weight.shape:
            raise InvalidParameterError("weight.shape", tuple(weight.shape), "(filters, channels, taps) without 0")
        if not weight.isfinite().all():
            raise InvalidParameterError("a weight", weight[~weight.isfinite()][0].item(), "finite values")
        if boundary not in BOUNDARIES:
            raise InvalidParameterError("boundary", boundary, " or ".join(BOUNDARIES))
        self.weight = weight
        self.boundary = boundary
        d = weight.shape[-1] - 1
        self._pads = {"valid": (0, 0), "full": (d, d)}.get(boundary, (d // 2, d - d // 2))

    def __repr__(self) -> str:
        F, C, k = self.weight.shape
        return f"Conv1dOperator({C} -> {F} channels, {k} taps, {self.boundary})"

    def apply(self, u: Tensor) -> Tensor:
        """Ku: (..., C, N) to (..., F, N').

        Raises:
            InvalidParameterError: u has another number of channels, or is shorter than a valid kernel.
        """
        self._check("u", u, self.weight.shape[1])
        if self.boundary == "valid" and u.shape[-1] < self.weight.shape[-1]:
            raise InvalidParameterError("length", u.shape[-1], f"at least {self.weight.shape[-1]} taps")
        extended = u[..., self._wrapped(u.shape[-1])] if self.boundary == "circular" else pad(u, self._pads)
        return correlate(extended.unsqueeze(-3), self.weight).squeeze(-3)

    def adjoint(self, v: Tensor) -> Tensor:
        """Kᵀv: (..., F, N') to (..., C, N), the exact transpose of :meth:`apply`.

        Raises:
            InvalidParameterError: v has another number of filters.
        """
        self._check("v", v, self.weight.shape[0])
        if self.boundary == "full" and v.shape[-1] < self.weight.shape[-1]:
            raise InvalidParameterError("length", v.shape[-1], f"at least {self.weight.shape[-1]} taps")
        extended = correlate_adjoint(v.unsqueeze(-3), self.weight).squeeze(-3)
        if self.boundary == "circular":
            u = extended.new_zeros((*extended.shape[:-1], v.shape[-1]))
            return u.index_add(-1, self._wrapped(v.shape[-1]), extended)
        left, right = self._pads
        return extended[..., left : extended.shape[-1] - right]

    def as_matrix(self, length: int) -> Tensor:
        """K as a dense matrix (F N', C N) for signals of ``length`` points, in the dtype of the weight."""
        C = self.weight.shape[1]
        basis = torch.eye(C * length, dtype=self.weight.dtype, device=self.weight.device)
        return self.apply(basis.unflatten(-1, (C, length))).flatten(-2).T

    def norm_bound(self, length: int | None = None) -> Tensor:
        """:func:`norm_bound` of the weight; exact for ``circular`` when the signal length is given."""
        return norm_bound(self.weight, length if self.boundary == "circular" else None)

    def _wrapped(self, length: int) -> Tensor:
        left, right = self._pads
        return torch.arange(-left, length + right, device=self.weight.device) % length

    def _check(self, name: str, u: Tensor, channels: int) -> None:
        if u.dim() < 2 or u.shape[-2] != channels:
            raise InvalidParameterError(f"{name}.shape", tuple(u.shape), f"(..., {channels}, length)")
        if u.dtype != self.weight.dtype:
            raise InvalidParameterError(f"{name}.dtype", u.dtype, f"{self.weight.dtype}, that of the weight")
