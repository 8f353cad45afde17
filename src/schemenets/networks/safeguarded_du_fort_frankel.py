"""The safeguarded Du Fort-Frankel network: stable for every step size, with other weights in every block (derived).

The explicit step w = u^k - KᵀΦ(Ku^k)/(2α) is mixed with the state before the last as in
:mod:`~schemenets.networks.du_fort_frankel`, but for ρ = 2τα > 1, where this extrapolates, by no more than keeps the
state in the ball of the first one: with u^{-1} := u^0 and s_k = 2ρ/(1+ρ) - 1 = (ρ-1)/(ρ+1),

    u^{k+1} = w + s (w - u^{k-1}),   s the largest number in [0, s_k] with ‖u^{k+1}‖₂ ≤ ‖u^0‖₂; s = s_k for ρ ≤ 1.

0 ≤ g ≤ L and 1/(2α) ≤ 2/(L‖K‖²) in every block give ‖u^k‖₂ ≤ ‖u^0‖₂ for all k, for every step size τ = ρ/(2α), any
weights and nonmonotone fluxes (``networks/_safeguard.py`` has the proof, and what happens where the
condition fails). ``certified`` networks satisfy it whatever their parameters are, ‖K‖ ≤ 1 and α > L/4; ρ > 0 is free.

Unlike FSI the scheme itself can exceed its start for one linear operator, so the safeguard acts there as well.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.parametrize import remove_parametrizations

from schemenets.kernels.program import Numbers, Recorder
from schemenets.networks import du_fort_frankel
from schemenets.networks._base import Architecture, diffusion_operands
from schemenets.networks._parametrizations import Positive, constrain
from schemenets.networks._safeguard import Safeguarded


class Block(du_fort_frankel.Block):
    """The weights of a Du Fort-Frankel step, with any ρ > 0 in certified networks, too."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        remove_parametrizations(self, "rho")
        constrain(self, "rho", Positive())


class SafeguardedDuFortFrankel(Safeguarded, du_fort_frankel.DuFortFrankel):
    """Du Fort-Frankel steps that extrapolate within a bound; the same numbers of parameters."""

    block = Block

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        s = (blocks.rho - 1) / (blocks.rho + 1)
        return diffusion_operands(blocks, -1 / (2 * blocks.alpha)) | {"s": s}

    @classmethod
    def wanted(cls, do: Recorder, k: int) -> Numbers:
        found: Numbers = do.numbers["s"][k]
        return found

    def factors(self, operands: dict[str, Tensor], k: int) -> Tensor:
        return operands["s"][..., k % operands["s"].shape[-1]]


NETWORK = SafeguardedDuFortFrankel
