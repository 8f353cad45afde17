"""The fast semi-iterative network: one cycle of extrapolated diffusion steps (Hafner et al. 2016; [A]).

With u^{-1} := u^0 and α_k = (4k+2)/(2k+3), the n blocks of a network are one cycle:

    u^{k+1} = α_k (u^k - τ_k K_kᵀ Φ(K_k u^k)) + (1 - α_k) u^{k-1},   k = 0, ..., n-1.

The extrapolation is a second skip connection without weights. What is known of its stability (all derived):

* Tied weights, the linear flux and τ‖K‖² ≤ 2 give ‖u^n‖₂ ≤ ‖u^0‖₂. For then u^n = p_n(τKᵀK) u^0, and with
  z = 2 sin²θ the polynomials are p_n(z) = sin((2n+1)θ) / ((2n+1) sin θ): they fulfil the recursion, as
  sin((2n+3)θ) + sin((2n-1)θ) = 2(1-z) sin((2n+1)θ), and start with p_{-1} = p_0 = 1. So |p_n| ≤ 1 on [0, 2].
* With weights of their own in every block, each obeying 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²), the best bound is
  ‖u^n‖₂ ≤ q_n/(2n+1) ‖u^0‖₂, where q_{k+1} = 2q_k + q_{k-1}: 1, 3, 7, 17, 41, ... So already two blocks can
  amplify by 7/5, and n blocks by about (1+√2)^{n+1}/(4n+2). It is the triangle inequality with |1-α_k| =
  |2k-1|/(2k+3), and scalar blocks with K = 0 or τK² = 2 attain it.
* Tied weights do not help a nonlinear flux, not even a monotone one. The tests hold counterexamples with the
  rectifier and, of one scalar filter, with a nonmonotone flux and with an odd, smooth and monotone one. For odd
  fluxes with 0 ≤ Φ' ≤ L, such as Charbonnier's, neither proof nor counterexample is known here.

Hence no constraint on single blocks certifies this network, and ``certified`` is refused.
"""

from typing import Any

import torch

from schemenets.fluxes import Flux
from schemenets.kernels.program import Recorder, State
from schemenets.networks._base import WEIGHTS, Architecture, diffusion_operands
from schemenets.networks.symmetric import Symmetric


def extrapolation(k: int) -> float:
    """α_k."""
    return (4 * k + 2) / (2 * k + 3)


class FSI(Symmetric):
    """The blocks of the symmetric network, extrapolated; the same numbers of parameters."""

    certifiable = False

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        count = max(self.architecture.blocks, blocks.K.shape[-4])
        k = torch.arange(count, dtype=blocks.tau.dtype, device=blocks.tau.device)
        alpha = (4 * k + 2) / (2 * k + 3)
        if blocks.tau.ndim == blocks.K.ndim - 2:  # one of every filter
            alpha = alpha[:, None]
        return diffusion_operands(blocks, -alpha * blocks.tau)

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        previous = u
        for k in range(architecture.blocks):
            alpha = extrapolation(k)
            onto = [(do.constant(alpha), u), (do.constant(1 - alpha), previous)]
            previous, u = u, do.block(u, do.of(WEIGHTS, k), fluxes[k % len(fluxes)], onto)
        return u


NETWORK = FSI
