"""The one primitive of all denoising structures, W₂ᵀ Φ(W₁u + b₁)."""

from schemenets.kernels.reference import block

__all__ = ["block"]
