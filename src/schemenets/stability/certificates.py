"""Certificates: bounds that follow from a network's parameters alone, in float64.

They are about the network that runs: constrained values are those that it has in its own precision, and constraints
are stricter than their limits by more than rounding in single precision takes away. Half precision has no certificate:
there a network of twenty blocks was seen to amplify by a quarter. Nor has single precision where torch may compute
matrix products in TF32 or bfloat16, as it does after ``torch.set_float32_matmul_precision("high")``.

Explicit diffusion steps u - τKᵀΦ(Ku) with 0 ≤ g ≤ L ([A], Section 3 of its theory; the Lipschitz bound is derived):

* ‖u^{k+1}‖₂ ≤ max(1, τL‖K‖² - 1) ‖u^k‖₂, so τ ≤ 2/(L‖K‖²) gives Euclidean stability;
* ‖u^{k+1} - v^{k+1}‖₂ ≤ max(1 + τm‖K‖², |1 - τL'‖K‖²|) ‖u^k - v^k‖₂ with Φ' ∈ [-m, L'];
  where the shape of Φ is trained, for the weights that the filters have.

Steps u - KᵀDΦ(Ku) with a step size of either sign for every filter, D = diag τ_f, have the matrix I - P + N, where
0 ≤ P ≤ Lp and 0 ≤ N ≤ Ln with p = ‖√(D₊)K‖² and n = ‖√(D₋)K‖², D = D₊ - D₋. It is symmetric, so

    ‖u^{k+1}‖₂ ≤ max(1 + Ln, Lp - 1) ‖u^k‖₂,   and its Lipschitz constant is at most max(1 + mp + L'n, L'p + mn - 1).

Standard residual blocks u + W₂ᵀΦ(W₁u + b₁) + b₂ have the second kind of bound, 1 + max(L', m)‖W₁‖‖W₂‖. They are
explicit steps but for R = W₂ + τW₁, so the first is max(1, τL‖W₁‖² - 1) + L‖W₁‖‖R‖ (derived).

Biases leave bounds of differences as they are, and turn those of norms into affine ones (derived). With G = diag g(s²)
at s = Ku + b₁, an explicit step is (I - τKᵀGK)u - τKᵀGb₁ + b₂, so for root mean squares over the N positions

    rms(u^{k+1}) ≤ c rms(u^k) + δ,   δ = τL‖K‖‖b₁‖₂ + ‖b₂‖₂,

as G b₁ has at most N values of every filter; with steps of either sign δ = L‖√|D|K‖‖√|D|b₁‖₂ + ‖b₂‖₂. A network
drifts by β, the sum of the δ of its blocks, each times the factors of the blocks after it: "no amplification, drift at
most β" where all c are 1. The fixed-point iteration has another bound for its solution: with S = √τ G^½K, whose
singular values are at most σ = √(τL)‖K‖,

    u = (I + SᵀS)⁻¹(f + b₂) - √τ (I + SᵀS)⁻¹Sᵀ G^½b₁,   so rms(u) ≤ rms(f) + D,   D = √(τL) σ/(1+σ²) ‖b₁‖₂ + ‖b₂‖₂,

where 1 stands for larger σ, as x/(1+x²) is largest there.

The triangle inequality turns a factor c of explicit steps into one of networks that remember more than u^k (derived):

* e_{k+1} = βc e_k + |1-β| e_{k-1}, e_{-1} = e_0 = 1, for u^{k+1} = β (explicit step of u^k) + (1-β) u^{k-1};
* e_{j+1} = 1 + q e_j, e_1 = c, for u^{j+1} = f - τKᵀΦ(Ku^j), with q = τ max(L', m)‖K‖².

A safeguard leaves the product of the factors c of the explicit steps, and no Lipschitz bound where it can act
(``networks/_safeguard.py`` has the proof). Without skip connections the bounds are those of the residuals:
max(L', m)‖W₁‖‖W₂‖; τL‖K‖² and τ max(L', m)‖K‖².

The U-net has a Lipschitz bound by composition of its layers: double convolutions max(L', m)²‖W₁‖‖W₂‖, maxima of pairs
1 (each is nonexpansive on its pair), the transposed convolution of stride 2 and length 2 the norm of its matrix that
maps a value of all channels to a pair of values of all channels, concatenation √(a² + b²). For the multigrid U-net no
bound is derived: one by composition would grow with the number of grids, hence with the length of the signals.

What holds beyond that is proved in the modules of the networks. Norms are bounded by
:func:`schemenets.operators.norm_bound`, which is a theorem.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from schemenets.devices import exact_products
from schemenets.errors import InvalidParameterError
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.operators import norm_bound

EXACT = "matrix products in single precision, as after torch.set_float32_matmul_precision('highest')"
ADJOINT = 1e-6  # size of W₂ + τW₁ relative to W₂ up to which W₂ = -τW₁ but for rounding in single precision


@dataclass(frozen=True)
class BlockCertificate:
    """Bounds of one block; where a network remembers more than u^k, of the explicit step inside the block.

    Attributes:
        euclidean: factor c with rms(output) ≤ c rms(input) + drift; None where no theorem gives one.
        lipschitz: Lipschitz constant in the Euclidean norm, at most.
        step_margin: 1 - x for the step-size condition x ≤ 1, for example x = τL‖K‖²/2 for explicit steps; negative if
            it fails, None where there is none.
        conditions: what the network's theorem asks of this block, and whether it is so.
        drift: what its biases add to the next state, in units of the signals; where the step has a share in it,
            ``b₁`` has the same.
    """

    euclidean: float | None
    lipschitz: float
    step_margin: float | None
    conditions: Mapping[str, bool]
    drift: float = 0.0


@dataclass(frozen=True)
class Certificate:
    """Bounds of a network and its blocks, in the order they are applied.

    Attributes:
        theorem: what holds if all blocks meet their conditions; None where no theorem is known.
        blocks: one for every application of a block.
        euclidean: factor c with rms(output) ≤ c rms(input) + drift for the whole network, rms the root mean square of a
            signal; None where no theorem gives one.
        lipschitz: bound on the Lipschitz constant of the whole network; infinite where none is known.
        conditions: what the theorem asks of the network besides, and whether it is so.
        drift: β, in the units of the signals, which biases add; 0 without, so that ‖output‖₂ ≤ c ‖input‖₂.
    """

    theorem: str | None
    blocks: tuple[BlockCertificate, ...]
    euclidean: float | None
    lipschitz: float
    conditions: Mapping[str, bool] = field(default_factory=dict)
    drift: float = 0.0

    @property
    def amplification(self) -> float | None:
        """c with ‖output‖₂ ≤ c ‖input‖₂; None where there is none, as with biases, which move u = 0."""
        return None if self.drift else self.euclidean

    @property
    def bounds(self) -> dict[str, float | None]:
        """The bounds for records: None where there is none."""
        lipschitz = self.lipschitz if math.isfinite(self.lipschitz) else None
        drift = None if self.euclidean is None else self.drift
        return {"euclidean_bound": self.euclidean, "drift_bound": drift, "lipschitz_bound": lipschitz}

    @property
    def failed(self) -> list[str]:
        """The conditions of the theorem that do not hold, by name."""
        return [condition for condition, holds in self.conditions.items() if not holds] + [
            f"blocks.{index}: {condition}"
            for condition in self.blocks[0].conditions
            for index, block in enumerate(self.blocks)
            if not block.conditions[condition]
        ]

    def refuted_by(self, amplification: float, expansion: float) -> bool:
        """Whether something measured is above its bound, by more than rounding.

        Args:
            amplification: (rms(N(u)) - drift) / rms(u), without biases ‖N(u)‖₂ / ‖u‖₂.
            expansion: ‖N(u) - N(v)‖₂ / ‖u - v‖₂.
        """
        euclidean = math.inf if self.euclidean is None else self.euclidean
        return amplification > euclidean * (1 + 1e-12) or expansion > self.lipschitz * (1 + 1e-9)

    @property
    def holds(self) -> bool:
        """Whether the network is certified to be stable, in the sense of its theorem."""
        return self.theorem is not None and not self.failed


Norm = Callable[[Tensor], Tensor | float]


def certify(network: DenoisingNetwork, norm: Norm = norm_bound) -> Certificate:
    """The certificate of a network, not a stacked one, however it was built and trained.

    Args:
        network: any registered architecture.
        norm: ‖K‖ of filters K; with :func:`schemenets.stability.dense_norm` the same theorems use independent numbers,
            which are bounds for signals of one length only.

    Returns:
        One without a theorem and without bounds for networks that no certificate is known of.

    Raises:
        InvalidParameterError: not a network of :mod:`schemenets.networks`.
    """
    architecture = getattr(network, "architecture", None)
    if not isinstance(architecture, Architecture):
        expected = "a network of schemenets.networks; schemenets.multigrid.certify is for learned cycles"
        raise InvalidParameterError("network", type(network).__name__, expected)
    dtypes = {str(p.dtype).removeprefix("torch.") for p in network.parameters()}
    asked = {f"single or double precision instead of {half}": False for half in sorted(dtypes - {"float32", "float64"})}
    if "float32" in dtypes and not exact_products():
        asked[EXACT] = False
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        asked["finite weights"] = False
    if asked or architecture.name not in _CERTIFICATES:
        unknown = BlockCertificate(euclidean=None, lipschitz=math.inf, step_margin=None, conditions={})
        return Certificate(None, (unknown,) * len(network.applied), None, math.inf, asked)
    network = as_it_runs(network)
    with torch.no_grad():
        certificate = _CERTIFICATES[architecture.name](network, network.applied, norm)
        if certificate.theorem and certificate.drift:
            theorem = f"{certificate.theorem}; biases add at most the drift β to the root mean square"
            certificate = replace(certificate, theorem=theorem)
        return _without_nan(certificate if architecture.channels == 1 else _with_ends(certificate, network))


def as_it_runs(network: Any) -> Any:
    """A copy in double precision whose parameters are the constrained values that the network has in its own."""
    network = copy.deepcopy(network).requires_grad_(False)
    for module in list(network.modules()):
        if is_parametrized(module):
            values = {name: getattr(module, name) for name in module.parametrizations}
            for name, constraints in module.parametrizations.items():
                # removing them would remove the attribute of the network that is copied, as they share a class
                constraints[0], constraints.original.data = nn.Identity(), values[name]
    return network.double()


def _without_nan(certificate: Certificate) -> Certificate:
    """The certificate without bounds that are NaN because norms overflow."""

    def known(bounds: Any) -> dict[str, Any]:
        euclidean, drift = bounds.euclidean, bounds.drift
        unknown = euclidean is None or math.isnan(euclidean) or not math.isfinite(drift)
        return {
            "euclidean": None if unknown else euclidean,
            "drift": 0.0 if unknown else drift,
            "lipschitz": math.inf if math.isnan(bounds.lipschitz) else bounds.lipschitz,
        }

    blocks = tuple(replace(block, **known(block)) for block in certificate.blocks)
    return replace(certificate, blocks=blocks, **known(certificate))


# bound of the last state, from that of the first one and the (c, δ) of all steps
_Combined = Callable[[float, list[tuple[float, float]]], float]


def _certificate(theorem: str | None, blocks: Sequence[BlockCertificate], combined: _Combined) -> Certificate:
    """With the network's bounds as a function ``combined`` of those of its blocks."""
    steps = [(block.euclidean, block.drift) for block in blocks if block.euclidean is not None]
    known = len(steps) == len(blocks)
    return Certificate(
        theorem=theorem,
        blocks=tuple(blocks),
        euclidean=combined(1.0, [(c, 0.0) for c, _ in steps]) if known else None,
        lipschitz=combined(1.0, [(block.lipschitz, 0.0) for block in blocks]),
        drift=combined(0.0, steps) if known else 0.0,
    )


def _one_step(e: float, steps: list[tuple[float, float]]) -> float:
    """Of u^{k+1} that depends on u^k alone."""
    for c, delta in steps:
        e = c * e + delta
    return e


def _with_ends(certificate: Certificate, network: Any) -> Certificate:
    """The certificate of a chain between lift and projection, whose norms are those of their weights."""
    gain = float(network.lift.norm() * network.projection.norm())
    return replace(
        certificate,
        euclidean=None if certificate.euclidean is None else gain * certificate.euclidean,
        drift=float(network.projection.norm()) * certificate.drift,
        lipschitz=gain * certificate.lipschitz,
        conditions={**certificate.conditions, "‖lift‖‖projection‖ ≤ 1": gain <= 1},
    )


def _slopes(block: Any) -> tuple[float, float]:
    """m and L' of the weights that the filters of a block have."""
    m, L_prime = block.flux.slopes(block.w)
    return float(m.max()), float(L_prime.max())


def _drift(block: Any, gain: float) -> float:
    """δ of a block whose W₂ has the norm ``gain``."""
    if block.b1 is None:
        return 0.0
    return gain * block.flux.L * float(block.b1.norm()) + float(block.b2.norm())


def _explicit_step(
    block: Any, tau: Tensor, norm: Norm, condition: str = "τ ≤ 2/(L‖K‖²)", share: float = 1.0
) -> BlockCertificate:
    """Of a step of size τ; its share in the next state scales what b₁ adds, which is inside, but not b₂."""
    flux, (m, L_prime), size = block.flux, _slopes(block), norm(block.K)
    step = float(tau * size**2)  # τ‖K‖²
    margin = 1 - step * flux.L / 2
    if math.isnan(step):  # where norms overflow
        return BlockCertificate(None, math.inf, None, {"g ≥ 0": flux.nonnegative, condition: False})
    return BlockCertificate(
        euclidean=max(1.0, step * flux.L - 1) if flux.nonnegative else None,
        lipschitz=max(1 + step * m, abs(1 - step * L_prime)),
        step_margin=margin,
        conditions={"g ≥ 0": flux.nonnegative, condition: margin >= 0},
        drift=_drift(block, share * float(tau * size)),
    )


def _two_steps(betas: Sequence[float]) -> _Combined:
    """The bound e_n for u^{k+1} = β (explicit step of u^k) + (1-β) u^{k-1} + what biases add."""

    def combined(e: float, steps: list[tuple[float, float]]) -> float:
        previous = e
        for beta, (factor, delta) in zip(betas, steps, strict=True):
            previous, e = e, beta * factor * e + abs(1 - beta) * previous + delta
        return e

    return combined


def _symmetric(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    if network.architecture.steps == "signed":
        return _signed(applied, norm)
    theorem = "explicit steps with 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) do not increase ‖u‖₂"
    return _certificate(theorem, [_explicit_step(block, block.tau, norm) for block in applied], _one_step)


def _signed(applied: list[Any], norm: Norm) -> Certificate:
    theorem = "explicit steps with 0 ≤ g ≤ L, positive τ_f and ‖√τ_f K‖² ≤ 2/L do not increase ‖u‖₂"

    def size(block: Any, tau: Tensor) -> float:
        return float(norm(tau.sqrt()[:, None, None] * block.K))

    def bounds(block: Any) -> BlockCertificate:
        tau, flux, (m, L_prime) = block.tau, block.flux, _slopes(block)
        positive, negative = size(block, tau.clamp_min(0)) ** 2, size(block, (-tau).clamp_min(0)) ** 2
        drift = 0.0
        if block.b1 is not None:
            inside = float((tau.abs().sqrt() * block.b1).norm())
            drift = flux.L * size(block, tau.abs()) * inside + float(block.b2.norm())
        return BlockCertificate(
            euclidean=max(1 + flux.L * negative, flux.L * positive - 1) if flux.nonnegative else None,
            lipschitz=max(1 + m * positive + L_prime * negative, L_prime * positive + m * negative - 1),
            step_margin=1 - flux.L * positive / 2,
            conditions={
                "g ≥ 0": flux.nonnegative,
                "τ_f ≥ 0": bool((tau >= 0).all()),
                "‖√τ_f K‖² ≤ 2/L": flux.L * positive <= 2,
            },
            drift=drift,
        )

    return _certificate(theorem, [bounds(block) for block in applied], _one_step)


def _resnet(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    theorem = (
        "residual blocks with W₂ = −τW₁, 0 ≤ g ≤ L and τ ≤ 2/(L‖W₁‖²) do not increase ‖u‖₂, but for what rounding "
        "makes of W₂"
    )

    def bounds(block: Any) -> BlockCertificate:
        W1, W2, flux = block.W1, block.W2, block.flux
        tau = (-(W1 * W2).sum() / W1.square().sum().clamp_min(torch.finfo(W1.dtype).tiny)).clamp_min(0)
        rest = W2 + tau * W1  # of an explicit step of size τ
        adjoint = bool(rest.norm() <= ADJOINT * W2.norm())
        first, second = float(norm(W1)), float(norm(W2))
        step = float(tau) * first**2 * flux.L
        bounded = flux.nonnegative and math.isfinite(step)
        return BlockCertificate(
            euclidean=max(1, step - 1) + flux.L * first * float(norm(rest)) if bounded else None,
            lipschitz=1 + max(_slopes(block)) * first * second,
            step_margin=1 - step / 2 if adjoint else None,
            conditions={
                "g ≥ 0": flux.nonnegative,
                "W₂ = −τW₁": adjoint,
                "τ ≤ 2/(L‖W₁‖²)": adjoint and step <= 2,
            },
            drift=_drift(block, second) if bounded else 0.0,
        )

    return _certificate(theorem, [bounds(block) for block in applied], _one_step)


def _feedforward(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    def bounds(block: Any) -> BlockCertificate:
        lipschitz = max(_slopes(block)) * float(norm(block.W1) * norm(block.W2))
        return BlockCertificate(euclidean=None, lipschitz=lipschitz, step_margin=None, conditions={})

    return _certificate(None, [bounds(block) for block in applied], _one_step)


def _symmetric_feedforward(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    def bounds(block: Any) -> BlockCertificate:
        size = float(norm(block.K))
        gain = float(block.tau) * size**2  # τ‖K‖²
        return BlockCertificate(
            euclidean=gain * block.flux.L if block.flux.nonnegative else None,
            lipschitz=gain * max(_slopes(block)),
            step_margin=None,
            conditions={},
            drift=_drift(block, float(block.tau) * size),
        )

    return _certificate(None, [bounds(block) for block in applied], _one_step)


def _unet(network: Any, applied: list[Any], norm: Norm) -> Certificate:
    """The blocks of this certificate are whole levels, the coarser ones included."""

    def double(layer: Any) -> float:
        return max(_slopes(layer)) * max(_slopes(layer.second)) * float(norm(layer.W1) * norm(layer.W2))

    lipschitz: list[float] = []
    for level in reversed(applied):
        bound = double(level.before)
        if lipschitz:
            up = float(torch.linalg.matrix_norm(level.up.W.flatten(-2), 2))
            bound *= double(level.after) * math.hypot(1, up * lipschitz[-1])
        lipschitz.append(bound)
    stride, k = 2 ** (len(applied) - 1), network.architecture.kernel_size
    repeated = k * (stride - 1)  # how often the last value of a signal is repeated, at most: for the shortest ones
    ends = math.sqrt(1 + repeated) * float(network.W.norm())
    blocks = [BlockCertificate(euclidean=None, lipschitz=x, step_margin=None, conditions={}) for x in lipschitz[::-1]]
    return _certificate(None, blocks, lambda e, steps: e * ends * steps[0][0])


def _extrapolation(n: int) -> list[float]:
    """The weights α_k of a cycle of n steps."""
    return [(4 * k + 2) / (2 * k + 3) for k in range(n)]


def _fsi(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    theorem = "FSI cycles of one linear operator with τ ≤ 2/(L‖K‖²) do not increase ‖u‖₂"
    alphas = _extrapolation(len(applied))
    blocks = [_explicit_step(block, block.tau, norm, share=alpha) for block, alpha in zip(applied, alphas, strict=True)]
    certificate = replace(
        _certificate(theorem, blocks, _two_steps(alphas)),
        # also an untied network of one block has but one operator
        conditions={
            "shared weights": len(network.blocks) == 1,
            "linear flux": network.architecture.flux == "linear",
            "no biases": not any(block.drift for block in blocks),
        },
    )
    if certificate.holds and not certificate.drift:
        return replace(certificate, euclidean=1.0, lipschitz=1.0)
    return certificate


def _safeguarded(theorem: str, blocks: Sequence[BlockCertificate], betas: Sequence[float]) -> Certificate:
    """Of a safeguarded two-step network whose explicit steps these are."""
    lipschitz = math.inf if max(betas) > 1 else _two_steps(betas)(1.0, [(block.lipschitz, 0.0) for block in blocks])
    return replace(_certificate(theorem, blocks, _one_step), lipschitz=lipschitz)


def _safeguarded_fsi(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    theorem = "safeguarded FSI cycles with 0 ≤ g ≤ L and τ ≤ 2/(L‖K‖²) do not increase ‖u‖₂ beyond the start"
    blocks = [_explicit_step(block, block.tau, norm) for block in applied]
    certificate = _safeguarded(theorem, blocks, _extrapolation(len(applied)))
    one_linear_operator = len(network.blocks) == 1 and network.architecture.flux == "linear"
    if one_linear_operator and certificate.holds and not certificate.drift:  # the safeguard does not act: this is FSI
        return replace(certificate, lipschitz=1.0)
    return certificate


def _stabilised_steps(applied: list[Any], norm: Norm, shares: Sequence[float]) -> list[BlockCertificate]:
    """Of the explicit steps of size 1/(2α) inside of Du Fort-Frankel steps."""
    condition = "1/(2α) ≤ 2/(L‖K‖²)"
    return [
        _explicit_step(block, 1 / (2 * block.alpha), norm, condition, share)
        for block, share in zip(applied, shares, strict=True)
    ]


def _safeguarded_du_fort_frankel(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    theorem = (
        "safeguarded Du Fort-Frankel steps with 0 ≤ g ≤ L and 1/(2α) ≤ 2/(L‖K‖²) do not increase ‖u‖₂ beyond the start"
    )
    steps = _stabilised_steps(applied, norm, [1.0] * len(applied))
    return _safeguarded(theorem, steps, [2 * float(block.rho) / (1 + float(block.rho)) for block in applied])


def _du_fort_frankel(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    theorem = (
        "Du Fort-Frankel steps with 0 ≤ g ≤ L, 1/(2α) ≤ 2/(L‖K‖²) and 2τα ≤ 1 do not increase ‖u‖₂ beyond the start"
    )
    rhos = [float(block.rho) for block in applied]
    betas = [2 * rho / (1 + rho) for rho in rhos]
    steps = _stabilised_steps(applied, norm, betas)
    blocks = [
        replace(
            step,
            step_margin=None if step.step_margin is None else min(step.step_margin, 1 - rho),
            conditions={**step.conditions, "2τα ≤ 1": rho <= 1},
        )
        for step, rho in zip(steps, rhos, strict=True)
    ]
    return _certificate(theorem, blocks, _two_steps(betas))


def _implicit(network: DenoisingNetwork, applied: list[Any], norm: Norm) -> Certificate:
    block, n = applied[0], len(applied)
    q = float(block.tau * norm(block.K) ** 2) * max(_slopes(block))
    conditions = {"g ≥ 0": block.flux.nonnegative, "τ max(L', m)‖K‖² < 1": q < 1}
    bounds = replace(_explicit_step(block, block.tau, norm), step_margin=1 - q, conditions=conditions)

    def combined(e: float, steps: list[tuple[float, float]]) -> float:
        first, (c, delta) = e, steps[0]
        e = c * e + delta
        for _ in range(n - 1):
            e = first + q * e + delta
        return e

    theorem = "for g ≥ 0 and τ max(L', m)‖K‖² < 1 the iteration contracts to u = f - τKᵀΦ(Ku), and ‖u‖₂ ≤ ‖f‖₂"
    certificate = _certificate(theorem, [bounds] * n, combined)
    if certificate.euclidean is None or not certificate.holds:
        return certificate
    if certificate.euclidean < 1 + q ** (n + 1):
        return certificate
    delta, c = bounds.drift, 1 + q ** (n + 1)
    sigma = min(1.0, math.sqrt(float(block.tau) * block.flux.L) * float(norm(block.K)))
    solution = _drift(block, math.sqrt(float(block.tau) / block.flux.L) * sigma / (1 + sigma**2))  # D
    return replace(certificate, euclidean=c, drift=c * solution + q**n * delta)


_CERTIFICATES: dict[str, Callable[[DenoisingNetwork, list[Any], Norm], Certificate]] = {
    "du_fort_frankel": _du_fort_frankel,
    "feedforward": _feedforward,
    "fsi": _fsi,
    "implicit": _implicit,
    "resnet": _resnet,
    "safeguarded_du_fort_frankel": _safeguarded_du_fort_frankel,
    "safeguarded_fsi": _safeguarded_fsi,
    "symmetric": _symmetric,
    "symmetric_feedforward": _symmetric_feedforward,
    "unet": _unet,
}
