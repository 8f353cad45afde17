"""The Du Fort-Frankel network: two-step diffusion with a stabilisation α in every block ([A]), u^{-1} := u^0:

    u^{k+1} = 4τα/(1+2τα) (u^k - KᵀΦ(Ku^k)/(2α)) + (1-2τα)/(1+2τα) u^{k-1}.

Trainable are α and the ratio ρ = 2τα, both positive; the step size is τ = ρ/(2α).

Stability (derived): if 0 ≤ g ≤ L, 1/(2α) ≤ 2/(L‖K‖²) and ρ ≤ 1 in every block, then ‖u^k‖₂ ≤ ‖u^0‖₂ for all k, also
for a nonmonotone flux and for different K, α and τ in every block. For the explicit step of size 1/(2α) does not
increase the norm, and u^{k+1} is the convex combination of its result and u^{k-1} with the weights 2ρ/(1+ρ) and
(1-ρ)/(1+ρ) ≥ 0; so ‖u^{k+1}‖ ≤ max(‖u^k‖, ‖u^{k-1}‖), and both start values are u^0. ``certified`` networks satisfy
the conditions whatever their parameters are: ‖K‖ ≤ 1, α > L/4 and ρ < 1.

Beyond ρ = 1 the step extrapolates. The root condition α ≥ L‖K‖²/4 of one linear operator still bounds the iterates
for every τ then, but not by ‖u^0‖₂, and not for different K in different blocks.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from schemenets import operators
from schemenets.fluxes import Flux
from schemenets.kernels.program import Recorder, State
from schemenets.networks._base import (
    DIFFUSION,
    WEIGHTS,
    Architecture,
    Count,
    DenoisingNetwork,
    DiffusionBlock,
    count_diffusion,
    diffusion_operands,
    first_step,
)
from schemenets.networks._parametrizations import LARGEST, SAFETY, Below, Constraint, Positive, constrain

LARGEST_RHO_0 = 0.9  # of free networks, which start within the conditions
RHO_0 = 0.3  # initial ρ of certified networks; with α = L/2 it makes τ = 0.3/L, for filters of a norm of about 1


class Above(Constraint):
    """θ ↦ limit + exp θ, in (limit, ∞) for whatever θ, as the limit is raised by a safety margin."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.nominal, self.limit = limit, limit * (1 + SAFETY)

    def forward(self, theta: Tensor) -> Tensor:
        return self.limit + theta.clamp(-LARGEST, LARGEST).exp()

    def right_inverse(self, value: Tensor) -> Tensor:
        expected = f"a number above {self.nominal:.6g}, the limit of a certified network, to {math.exp(LARGEST):.2g}"
        theta = (value - self.limit).clamp_min(math.exp(-LARGEST)).log()
        self.check(value, (value > self.nominal) & (theta <= LARGEST + SAFETY * LARGEST), expected)
        return theta


class Block(DiffusionBlock):
    """The weights of (u^k, u^{k-1}) ↦ u^{k+1}."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        alpha, rho = torch.tensor(self.flux.L / 2), torch.tensor(RHO_0)
        if not architecture.certified:
            alpha = alpha * operators.norm_bound(self.K.detach()).square()
            rho = (2 * alpha * first_step(architecture)).clamp_max(LARGEST_RHO_0)
        self.alpha, self.rho = nn.Parameter(alpha), nn.Parameter(rho)
        constrain(self, "alpha", Above(self.flux.L / 4) if architecture.certified else Positive())
        constrain(self, "rho", Below(1.0) if architecture.certified else Positive())

    @classmethod
    def starts_normalised(cls, architecture: Architecture) -> bool:
        return architecture.certified

    @property
    def tau(self) -> Tensor:
        """The step size τ = ρ/(2α)."""
        return self.rho / (2 * self.alpha)


class DuFortFrankel(DenoisingNetwork):
    """Du Fort-Frankel steps; per block FCk + 2 parameters, and those of F fluxes."""

    certifiable = True
    block = Block
    values = {name: n for name, n in DIFFUSION.items() if name != "tau"} | {"alpha": 0, "rho": 0}

    @staticmethod
    def count_block(architecture: Architecture) -> Count:
        return count_diffusion(architecture, scalars=2)

    def operands_of(self, blocks: Any, length: int) -> dict[str, Any]:
        share = 2 * blocks.rho / (1 + blocks.rho)  # of the explicit step of size 1/(2α), the rest is the previous state
        return diffusion_operands(blocks, -share / (2 * blocks.alpha)) | {"share": share, "rest": 1 - share}

    @classmethod
    def record(cls, do: Recorder, architecture: Architecture, fluxes: tuple[Flux, ...], u: State) -> State:
        previous = u
        for k in range(architecture.blocks):
            onto = [(do.numbers["share"][k], u), (do.numbers["rest"][k], previous)]
            previous, u = u, do.block(u, do.of(WEIGHTS, k), fluxes[k % len(fluxes)], onto)
        return u


NETWORK = DuFortFrankel
