"""Growth: networks applied repeatedly, and networks of ever more blocks.

Certificates bound ‖N(u)‖₂; this module measures norms and distances where nothing is guaranteed. Random networks are
drawn at the edge of the condition for stable explicit steps, since a fresh network, which is close to the identity,
would show nothing.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from schemenets import networks
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.networks._parametrizations import SAFETY
from schemenets.operators import norm_bound
from schemenets.stability import certify

NEAR = 1e-8  # size of a perturbation relative to the signal, between rounding and the size of what grows
SIZES = (0.01, 1.0)  # root mean squares of the signals that go through random networks
RHO = 4.0  # 2τα of Du Fort-Frankel networks without certificate: τ is four times the limit of explicit steps
_CONSTRAINED = {"tau": 100.0, "rho": 100.0, "alpha": -100.0}  # θ where constraints reach their limits, up to rounding


class Repetition(NamedTuple):
    """Norms under repeated application.

    Attributes:
        factors: ‖u_n‖₂ / ‖u_0‖₂ for each requested n, (numbers, seeds, batch); infinite from an overflow on.
        overflow: the first n at which squares of u_n overflowed, (seeds, batch); 0 where none did.
        distances: ‖u_n - v_n‖₂ / ‖u_0 - v_0‖₂ for perturbed v_0, (numbers, seeds, perturbed); infinite likewise.
    """

    factors: Tensor
    overflow: Tensor
    distances: Tensor


def log_spaced(largest: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, ... up to ``largest``, which is always there.

    >>> log_spaced(30)
    [1, 2, 5, 10, 20, 30]
    """
    powers = [10**exponent for exponent in range(len(str(largest)))]
    return [n for power in powers for n in (power, 2 * power, 5 * power) if n < largest] + [largest]


@torch.inference_mode()
def repetition(
    network: DenoisingNetwork, starts: Tensor, numbers: Sequence[int], perturbations: Tensor | None = None
) -> Repetition:
    """Follow u_{n+1} = N(u_n) from u_0 = ``starts``.

    Args:
        network: stacked.
        starts: (seeds, batch, length), none zero.
        numbers: the requested n, ascending.
        perturbations: v_0 - u_0 for the first few of the starts, (seeds, perturbed, length), none zero.
    """
    delta = starts[..., :0, :] if perturbations is None else perturbations
    count, near = starts.shape[-2], delta.shape[-2]
    u = torch.cat([starts, starts[..., :near, :] + delta], dim=-2)
    first, apart = _norm(u), _norm(u[..., :near, :] - u[..., count:, :])
    overflow = torch.zeros(u.shape[:-1], dtype=torch.long)
    factors = torch.full((len(numbers), *u.shape[:-1]), math.inf, dtype=torch.float64)
    distances = factors[..., :near].clone()
    with parametrize.cached():
        for n in range(1, numbers[-1] + 1):
            u = network(u)
            norm = _norm(u)
            if not norm.isfinite().all():
                overflow[(overflow == 0) & ~norm.isfinite()] = n
                u = torch.where(overflow[..., None] == 0, u, 0)  # the others continue
            if n in numbers:
                factors[numbers.index(n)] = torch.where(overflow == 0, norm / first, math.inf)
                lost = (overflow[..., :near] > 0) | (overflow[..., count:] > 0)
                distance = _norm(u[..., :near, :] - u[..., count:, :]) / apart
                distances[numbers.index(n)] = torch.where(lost, math.inf, distance)
            if overflow.all():
                break
    return Repetition(factors[..., :count], overflow[..., :count], distances)


def truncated(network: DenoisingNetwork, blocks: int) -> DenoisingNetwork:
    """The network of the first ``blocks`` blocks; it shares their weights."""
    short: Any = copy.copy(network)
    short._modules = dict(network._modules)
    short.blocks = network.blocks[:blocks]
    short.architecture = replace(network.architecture, blocks=blocks)
    return short


@torch.inference_mode()
def through_depth(
    network: DenoisingNetwork, starts: Tensor, perturbations: Tensor, depths: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """‖u^k‖₂ / ‖u^0‖₂, and ‖u^k - v^k‖₂ / ‖u^0 - v^0‖₂ for v^0 = u^0 + perturbation, after k blocks.

    Args:
        network: with at least as many blocks as the largest depth.
        starts: u^0, (seeds, batch, length), none zero.
        perturbations: v^0 - u^0, of the same shape, none zero.
        depths: the requested k.

    Returns:
        Both of shape (depths, seeds, batch), infinite where the output or its square overflows.
    """
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    pair = torch.cat([starts, starts + perturbations], dim=-2)
    u0, v0 = pair.chunk(2, dim=-2)
    with parametrize.cached():
        for depth in depths:
            u, v = truncated(network, depth)(pair).chunk(2, dim=-2)
            for quotients, end, start in ((found[0], u, u0), (found[1], u - v, u0 - v0)):
                quotients.append((_norm(end) / _norm(start)).nan_to_num(nan=math.inf, posinf=math.inf))
    return torch.stack(found[0]), torch.stack(found[1])


def random_network(architecture: Architecture, seeds: Sequence[int], step: float = 1.0) -> DenoisingNetwork:
    """A stacked network with random weights, in float64, at the edge of the condition for stable explicit steps.

    Filters are normally distributed, the first of every block without mean as in fresh networks, and then divided by
    their norm bound. Step sizes of certified networks are as large as their constraints allow. For the others they are
    ``step`` times the limit of the explicit steps, τ = 2/(L‖K‖²), and of the contraction, τ = 1/max(L', m)‖K‖², for
    the implicit network. Residual networks get ‖W₂‖ = 2/L times ``step``, so that their branches have the same size.

    Args:
        architecture: what to build.
        seeds: of the weights, one for each network of the stack.
        step: factor of all step sizes; only 1 makes sense for certified networks.
    """
    network: Any = networks.build(**architecture.arguments()).double().requires_grad_(False)
    for parameter in network.parameters():
        parameter.data = parameter.expand(len(seeds), *parameter.shape).clone()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for block in network.blocks:
        limit = step * (1 - SAFETY) * _limit(architecture.name, block)
        _draw(block, "K", generators)
        _draw(block, "W1", generators)
        _draw(block, "W2", generators, size=limit, zero_mean=False)
        if architecture.certified:
            for name, end in _CONSTRAINED.items():
                if name in block.parametrizations:
                    block.parametrizations[name].original.fill_(end)
        else:
            for name, value in (("tau", limit), ("alpha", 1 / (2 * limit)), ("rho", RHO)):
                if name in getattr(block, "parametrizations", ()):
                    setattr(block, name, torch.full((len(seeds),), value, dtype=torch.float64))
    return network


def _limit(name: str, block: Any) -> float:
    """The largest step size for ‖K‖ = 1."""
    m, L_prime = (slopes.max().item() for slopes in block.flux.slopes(block.w))
    return 1 / max(m, L_prime) if name == "implicit" else 2 / block.flux.L


def _draw(
    block: Any, name: str, generators: Sequence[torch.Generator], size: float = 1.0, zero_mean: bool = True
) -> None:
    """Fill the filters of this name, if there are any, so that their norm is ``size``."""
    if not hasattr(block, name):
        return
    shape = getattr(block, name).shape[1:]
    W = torch.stack([torch.randn(shape, generator=generator, dtype=torch.float64) for generator in generators])
    if zero_mean and shape[-1] > 1:
        W -= W.mean(-1, keepdim=True)
    W *= size / norm_bound(W)[:, None, None, None]
    if name in getattr(block, "parametrizations", ()):
        setattr(block, name, W)
    else:
        getattr(block, name).data = W


def worst_fsi(blocks: int) -> DenoisingNetwork:
    """The FSI network that attains the largest growth of blocks within the limits of explicit steps (derived).

    Scalar blocks, u ↦ u for K = 0 and u ↦ -u for τK² = 2 in turn, so that step and extrapolation never cancel:
    |u^n| = q_n/(2n+1) |u^0| with q_{k+1} = 2q_k + q_{k-1}, that is (1+√2)^{n+1}/(4n+2) but for rounding.
    """
    network: Any = networks.build("fsi", blocks=blocks, filters=1, kernel_size=1, flux="linear").double()
    for index, block in enumerate(network.blocks):
        block.K.data.fill_(2.0 * (index % 2))
        block.tau = torch.tensor(0.5, dtype=torch.float64)
    network.requires_grad_(False)
    return network


def random_signals(sizes: Sequence[float], length: int) -> Tensor:
    """A rough and a smooth random signal for each root mean square."""
    rough = torch.randn(len(sizes), length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = torch.cat([unit(rough), unit(rough.cumsum(-1))])
    return torch.tensor(2 * tuple(sizes), dtype=torch.float64)[:, None] * length**0.5 * both


def unit(u: Tensor) -> Tensor:
    """u/‖u‖₂ along the last axis."""
    return u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)


def _norm(u: Tensor) -> Tensor:
    return torch.linalg.vector_norm(u, dim=-1)


def bounds_of(network: DenoisingNetwork, depths: Sequence[int], index: int = 0) -> list[float | None]:
    """Certified factors of the first blocks of one network in a stack; equal for all if certified by construction."""
    return [certify(networks.unstack(truncated(network, depth), index)).amplification for depth in depths]


def perturbations_of(starts: Tensor) -> Tensor:
    """Small perturbations in rough random directions."""
    rough = torch.randn(starts.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return NEAR * torch.linalg.vector_norm(starts, dim=-1, keepdim=True) * unit(rough)


def numbers_of(x: Tensor) -> list[float | None]:
    """Numbers for JSON: null unless finite."""
    return [float(value) if value.isfinite() else None for value in x]
