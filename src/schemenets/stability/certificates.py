"""Certificates: bounds that follow from a network's parameters alone, in float64.

Explicit diffusion steps u - τKᵀΦ(Ku) with 0 ≤ g ≤ L ([A], Section 3 of its theory; the Lipschitz bound is derived):

* ‖u^{k+1}‖₂ ≤ max(1, τL‖K‖² - 1) ‖u^k‖₂, so τ ≤ 2/(L‖K‖²) gives Euclidean stability;
* ‖u^{k+1} - v^{k+1}‖₂ ≤ max(1 + τm‖K‖², |1 - τL'‖K‖²|) ‖u^k - v^k‖₂ with Φ' ∈ [-m, L'].

Standard residual blocks u + W₂ᵀΦ(W₁u + b₁) + b₂ have only the second kind of bound, 1 + max(L', m)‖W₁‖‖W₂‖.
Norms are bounded by :func:`schemenets.operators.norm_bound`, which is a theorem.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from schemenets.errors import UnknownNameError
from schemenets.networks import DenoisingNetwork
from schemenets.operators import norm_bound


@dataclass(frozen=True)
class BlockCertificate:
    """Bounds of one block.

    Attributes:
        euclidean: factor c with ‖output‖₂ ≤ c ‖input‖₂; None where no theorem gives one.
        lipschitz: Lipschitz constant in the Euclidean norm, at most.
        step_margin: (2/L - τ‖K‖²) / (2/L), negative if the step-size condition fails; None where there is none.
        nonnegative: whether g ≥ 0.
    """

    euclidean: float | None
    lipschitz: float
    step_margin: float | None
    nonnegative: bool


@dataclass(frozen=True)
class Certificate:
    """Bounds of a network and its blocks, in the order they are applied."""

    theorem: str | None
    blocks: tuple[BlockCertificate, ...]

    @property
    def euclidean(self) -> float | None:
        """Factor c with ‖output‖₂ ≤ c ‖input‖₂ for the whole network; None where no theorem gives one."""
        factors = [block.euclidean for block in self.blocks if block.euclidean is not None]
        return math.prod(factors) if len(factors) == len(self.blocks) else None

    @property
    def lipschitz(self) -> float:
        """Bound on the Lipschitz constant of the whole network."""
        return math.prod(block.lipschitz for block in self.blocks)

    @property
    def failed(self) -> list[str]:
        """The conditions of the theorem that do not hold, by name."""
        conditions = {
            "g ≥ 0": [block.nonnegative for block in self.blocks],
            "τ ≤ 2/(L‖K‖²)": [block.step_margin is None or block.step_margin >= 0 for block in self.blocks],
        }
        return [
            f"blocks.{index}: {condition}"
            for condition, met in conditions.items()
            for index, is_met in enumerate(met)
            if not is_met
        ]

    @property
    def holds(self) -> bool:
        """Whether the network is certified to be Euclidean stable."""
        return self.theorem is not None and not self.failed


def certify(network: DenoisingNetwork) -> Certificate:
    """The certificate of a network (not of a stacked one), whatever it was trained as.

    Raises:
        UnknownNameError: no certificate is implemented for this architecture.
    """
    name = network.architecture.name
    if name not in _BLOCKS:
        raise UnknownNameError("network for a certificate", name, _BLOCKS)
    theorem, block_certificate = _BLOCKS[name]
    with torch.no_grad():
        blocks = [block_certificate(block) for block in copy.deepcopy(network).double().blocks]
    applied = [blocks[index % len(blocks)] for index in range(network.architecture.blocks)]
    return Certificate(theorem, tuple(applied))


def _symmetric(block: Any) -> BlockCertificate:
    flux = block.flux
    step = float(block.tau * norm_bound(block.K) ** 2)  # τ‖K‖²
    return BlockCertificate(
        euclidean=max(1.0, step * flux.L - 1) if flux.nonnegative else None,
        lipschitz=max(1 + step * flux.m, abs(1 - step * flux.L_prime)),
        step_margin=1 - step * flux.L / 2,
        nonnegative=flux.nonnegative,
    )


def _resnet(block: Any) -> BlockCertificate:
    slope = max(block.flux.L_prime, block.flux.m)
    return BlockCertificate(
        euclidean=None,
        lipschitz=1 + slope * float(norm_bound(block.W1) * norm_bound(block.W2)),
        step_margin=None,
        nonnegative=block.flux.nonnegative,
    )


_BLOCKS: dict[str, tuple[str | None, Callable[[Any], BlockCertificate]]] = {
    "symmetric": ("explicit steps with 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) do not increase ‖u‖₂", _symmetric),
    "resnet": (None, _resnet),
}
