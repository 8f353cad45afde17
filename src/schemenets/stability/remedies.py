"""Remedies for two-step networks whose blocks have weights of their own: what to do about their extrapolation.

With w an explicit step of u^k, s_k the extrapolation that FSI or Du Fort and Frankel ask for, and u^{-1} := u^0, all of
these compute u^{k+1} from v = w + s_k (w - u^{k-1}). Where s_k ≤ 0 that is a convex combination, and no remedy touches
it. The radius of the ball is R = max(‖w‖₂, ‖u^0‖₂), as in ``networks/_safeguard.py``; norms are those of all channels
and positions of the state. Where s_k > 0, u^{k+1} is

* ``none``: v, the scheme as it is;
* ``less``: w, no extrapolation at all;
* ``energy``: v if E(v) ≤ E(u^k) for the energy E(u) = ½ Σ Ψ((Ku)²) that the block's own step descends, else w;
* ``restart``: v if ‖v‖₂ ≤ R, else w;
* ``projection``: v, scaled down to ‖v‖₂ = R if it is longer;
* ``surface``: w + s (w - u^{k-1}) with the largest s in [0, s_k] that keeps it in the ball, the safeguarded networks.

If no explicit step increases the norm, R = ‖u^0‖₂ and ``less``, ``restart``, ``projection`` and ``surface`` give
‖u^k‖₂ ≤ ‖u^0‖₂ for all k (derived: by induction, as in ``networks/_safeguard.py``). ``energy`` gives no such bound: the
energy of one block says nothing about the norm, nor about the energy of the next block.

Trained weights are used here with rules that they were not trained with, so differences in quality are those of the
rule alone, without what training would make of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError, UnknownNameError
from schemenets.kernels.reference import correlate, per_filter
from schemenets.networks import DenoisingNetwork
from schemenets.networks._safeguard import ROUNDING, Safeguarded, extrapolated
from schemenets.networks.safeguarded_du_fort_frankel import SafeguardedDuFortFrankel
from schemenets.networks.safeguarded_fsi import SafeguardedFSI


class Step(NamedTuple):
    """What a remedy decides about; states are of shape (..., batch, channels, length).

    Attributes:
        block: of the network.
        s: s_k, of shape (1, 1, 1), in stacked networks (seeds, 1, 1, 1).
        w: the explicit step of u^k.
        v: w + s_k (w - u^{k-1}).
        u: u^k.
        previous: u^{k-1}.
        start: u^0.
    """

    block: Any
    s: Tensor
    w: Tensor
    v: Tensor
    u: Tensor
    previous: Tensor
    start: Tensor


def _energy(step: Step) -> Tensor:
    falls = _energy_of(step.block, step.v) <= _energy_of(step.block, step.u)
    return torch.where(falls, step.v, step.w)


def _restart(step: Step) -> Tensor:
    return torch.where(_norm(step.v) <= _radius(step), step.v, step.w)


def _projection(step: Step) -> Tensor:
    R, norm = _radius(step), _norm(step.v)
    return torch.where(norm > R, step.v * (R / norm), step.v)


REMEDIES: dict[str, Callable[[Step], Tensor]] = {
    "none": lambda step: step.v,
    "less": lambda step: step.w,
    "energy": _energy,
    "restart": _restart,
    "projection": _projection,
    "surface": lambda step: extrapolated(step.s, step.w, step.previous, step.start),
}
# those with ‖u^n‖₂ ≤ c_0 ... c_{n-1} ‖u^0‖₂ for explicit steps with factors c_k ≥ 1
BOUNDED = ("less", "restart", "projection", "surface")
PLAIN = ("fsi", "du_fort_frankel")  # names of the networks that remedies are for, and how
SAFEGUARDED = "safeguarded_"  # those of their safeguarded variants begin


def with_remedy(network: DenoisingNetwork, remedy: str) -> DenoisingNetwork:
    """The network with the weights of this one, whose extrapolation follows the remedy; they share the weights.

    Args:
        network: FSI or Du Fort-Frankel, with or without safeguard, stacked or not, its state of one channel.
        remedy: one of :data:`REMEDIES`.

    Raises:
        UnknownNameError: another network or remedy.
        InvalidParameterError: a state of several channels.
    """
    architecture = network.architecture
    plain = architecture.name.removeprefix(SAFEGUARDED)
    if plain not in _KINDS:
        raise UnknownNameError("two-step network", architecture.name, [*PLAIN, *(SAFEGUARDED + name for name in PLAIN)])
    if remedy not in REMEDIES:
        raise UnknownNameError("remedy", remedy, REMEDIES)
    if architecture.channels > 1:
        raise InvalidParameterError("channels", architecture.channels, "1 where the extrapolation is changed")
    changed: Any = _KINDS[plain](architecture, torch.Generator())
    changed.blocks, changed.remedy = network.blocks, remedy
    return changed


def own_remedy(name: str) -> str:
    """The remedy that the network of this name is built with."""
    return "surface" if name.startswith(SAFEGUARDED) else "none"


class _Remedied(Safeguarded):
    """Explicit steps and extrapolations of a safeguarded network, under another rule."""

    remedy: str

    def run(self, u: Tensor) -> Tensor:
        start = previous = u
        for k, block in enumerate(self.applied):
            w, s = self.explicit(block, u), self._wanted(k, block, u)
            v = w + s * (w - previous)
            held = REMEDIES[self.remedy](Step(block, s, w, v, u, previous, start))
            previous, u = u, torch.where(s > 0, held, v)
        return u


class _FSI(_Remedied, SafeguardedFSI):
    pass


class _DuFortFrankel(_Remedied, SafeguardedDuFortFrankel):
    pass


_KINDS: dict[str, type[_Remedied]] = dict(zip(PLAIN, (_FSI, _DuFortFrankel), strict=True))


def _energy_of(block: Any, u: Tensor) -> Tensor:
    """E(u) = ½ Σ Ψ((Ku)²) of a block, (..., batch, 1, 1)."""
    Ku = correlate(u, block.K)
    return block.flux.energy(Ku, *per_filter(block.lam, block.w)).sum((-2, -1), keepdim=True)


def _radius(step: Step) -> Tensor:
    """R, but for rounding, or rounding errors would count as growth."""
    largest = torch.maximum(_norm(step.w), _norm(step.start))
    return largest * (1 + ROUNDING * torch.finfo(largest.dtype).eps)


def _norm(u: Tensor) -> Tensor:
    return torch.linalg.vector_norm(u, dim=(-2, -1), keepdim=True)
