"""Responses of the filters of a network to signals: the arguments that its fluxes take."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from schemenets.fluxes._base import Flux


@dataclass(frozen=True)
class Responses:
    """The fluxes of the F filters of a layer, and how far their arguments s reach.

    Attributes:
        layer: name of the layer in its network, such as ``blocks.0``.
        flux: Φ.
        lam: contrasts λ, (F,); None if Φ has none.
        w: weights of the shape of Φ, (F, ``flux.weights``); None if it has none.
        s_max: largest |s|, (F,), over all places, signals and applications of the layer.
    """

    layer: str
    flux: Flux
    lam: Tensor | None
    w: Tensor | None
    s_max: Tensor


def responses(network: nn.Module, f: Tensor) -> list[Responses]:
    """Run a network on signals f, (batch, length), and see which arguments its fluxes take, layer by layer.

    Args:
        network: any registered architecture, not stacked; it is not changed.
        f: signals such as the network was trained on.
    """
    network = copy.deepcopy(network)
    layers: list[tuple[str, Any, Flux, list[Tensor]]] = []
    for name, layer in network.named_modules():
        flux = getattr(layer, "flux", None)
        if isinstance(flux, Flux):
            layers.append((name, layer, flux, []))
            # without its scalar form, a flux is not compiled and its Python functions are called
            layer.flux = replace(flux, scalar=None, phi=_recorded(flux.phi, layers[-1][-1]))
    with torch.no_grad():
        network(f)
        return [
            Responses(name, flux, layer.lam, layer.w, torch.stack(t).amax(0) * (layer.lam if flux.scaled else 1))
            for name, layer, flux, t in layers
        ]


def _recorded(phi: Callable[..., Tensor], largest: list[Tensor]) -> Callable[..., Tensor]:
    """φ, which notes the largest |t| of every filter in states t, (batch, F, places)."""

    def recorded(t: Tensor, *shape: Tensor) -> Tensor:
        largest.append(t.abs().amax((0, 2)))
        return phi(t, *shape)

    return recorded
