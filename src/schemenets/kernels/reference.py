"""The block primitive in plain torch operations: any device, any dtype, any number of derivatives."""

from torch import Tensor
from torch.nn.functional import pad

from schemenets.fluxes import Flux


def correlate(u: Tensor, W: Tensor) -> Tensor:
    """W u: valid correlation of ``u`` (..., batch, C, N) with ``W`` (..., F, C, k), to (..., batch, F, N-k+1)."""
    windows = u.unfold(-1, W.shape[-1], 1)  # (..., batch, C, N-k+1, k)
    return (W.flatten(-2).unsqueeze(-3) @ windows.transpose(-2, -1).flatten(-3, -2)).contiguous()


def correlate_adjoint(v: Tensor, W: Tensor) -> Tensor:
    """Wᵀ v: transposed correlation of ``v`` (..., batch, F, M) with ``W`` (..., F, C, k), to (..., batch, C, M+k-1)."""
    k = W.shape[-1]
    taps = (W.flatten(-2).transpose(-2, -1).unsqueeze(-3) @ v).unflatten(-2, (-1, k))  # (..., batch, C, k, M)
    return sum((pad(taps[..., i, :], (i, k - 1 - i)) for i in range(1, k)), pad(taps[..., 0, :], (0, k - 1)))


def per_filter(lam: Tensor | None, w: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
    """λ (..., F) and w (..., F, j) as fluxes take them together with states (..., batch, F, M)."""
    return 1.0 if lam is None else lam[..., None, :, None], None if w is None else w[..., None, :, None, :]


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
    """``onto`` + W₂ᵀ Φ(W₁u + b₁); see :func:`schemenets.kernels.block`."""
    s = correlate(u, W1)
    if b1 is not None:
        s = s + b1[..., None, :, None]
    y = correlate_adjoint(flux(s, *per_filter(lam, w)), W2)
    return y if onto is None else onto + y
