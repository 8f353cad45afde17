"""Networks: one module per architecture, next to the numerical scheme of the same idea in ``schemes``.

An architecture is one module of this package that defines ``NETWORK``; its name in the registry is the module's
name.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch

from schemenets import fluxes, registry
from schemenets.errors import InvalidParameterError
from schemenets.networks._base import Architecture, Count, DenoisingNetwork

__all__ = [
    "Architecture",
    "Count",
    "DenoisingNetwork",
    "available",
    "blocks_for_budget",
    "build",
    "check",
    "count",
    "stack",
    "unstack",
]


def available() -> list[str]:
    """Names that :func:`build` takes."""
    return registry.names(__name__)


def _network(name: str) -> type[DenoisingNetwork]:
    network: type[DenoisingNetwork] = registry.module(__name__, name, "network").NETWORK
    return network


def build(
    name: str,
    *,
    blocks: int,
    filters: int,
    kernel_size: int,
    flux: str,
    channels: int = 1,
    tied: bool = False,
    certified: bool = False,
    seed: int = 0,
) -> DenoisingNetwork:
    """A freshly initialised network that maps signals of shape (batch, length) to denoised signals of that shape.

    Args:
        name: architecture, one of :func:`available`.
        blocks: number of blocks, i.e. of steps of the scheme; of resolution levels for the standard U-net.
        filters: number of filters per block; of the finest level for the standard U-net.
        kernel_size: length of the filters.
        flux: flux (activation) function, one of :func:`schemenets.fluxes.available`.
        channels: number of channels of the state between the blocks.
        tied: whether all blocks share one set of weights.
        certified: whether the scheme's stability bound holds by construction, whatever the weights are.
        seed: seed of the initial weights.

    Raises:
        UnknownNameError: unknown architecture or flux.
        InvalidParameterError: a number below 1, or what :func:`check` refuses.

    >>> net = build("symmetric", blocks=4, filters=8, kernel_size=5, flux="perona_malik")
    >>> net(torch.zeros(2, 256)).shape
    torch.Size([2, 256])
    """
    architecture = Architecture(
        name=name,
        blocks=blocks,
        filters=filters,
        kernel_size=kernel_size,
        flux=flux,
        channels=channels,
        tied=tied,
        certified=certified,
    )
    check(architecture)
    return _network(name)(architecture, torch.Generator().manual_seed(seed))


def check(architecture: Architecture) -> None:
    """Make sure that :func:`build` can build this architecture, without building it.

    Raises:
        UnknownNameError: unknown architecture or flux.
        InvalidParameterError: ``tied`` or several ``channels`` where the network cannot have them, ``certified``
            where there is no certificate, or the flux breaks its condition g ≥ 0.
    """
    flux, network = fluxes.get(architecture.flux), _network(architecture.name)
    the_network = f"for the network {architecture.name!r}"
    if architecture.tied and not network.tieable:
        raise InvalidParameterError("tied", True, f"only False {the_network}, whose blocks differ in their shapes")
    if architecture.channels > 1 and not network.multichannel:
        raise InvalidParameterError("channels", architecture.channels, f"only 1 {the_network}")
    if architecture.certified and not network.certifiable:
        raise InvalidParameterError("certified", True, f"only False {the_network}, which has none by construction")
    if architecture.certified and not flux.nonnegative:
        raise InvalidParameterError("certified", True, f"only False for {flux.name!r}, whose g is negative somewhere")


def count(architecture: Architecture) -> Count:
    """Numbers of trainable parameters of a network, by formula; builds nothing."""
    return _network(architecture.name).count(architecture)


def blocks_for_budget(architecture: Architecture, budget: int) -> int:
    """The largest number of blocks with at most ``budget`` trainable parameters.

    Args:
        architecture: what to build; its number of blocks is ignored.
        budget: largest number of trainable parameters.

    Raises:
        InvalidParameterError: not even one block fits, or all blocks share their weights, so that the number of
            parameters says nothing about the depth.
    """

    def total(blocks: int) -> int:
        return count(replace(architecture, blocks=blocks)).total

    one = total(1)
    if one == total(2):
        allowed = f"none for {architecture.name} with shared weights, whose size does not depend on its depth"
        raise InvalidParameterError("budget", budget, allowed)
    if budget < one:
        raise InvalidParameterError(
            "budget", budget, f"at least {one}, one block of {architecture.name} with {architecture.flux}"
        )
    return next(blocks for blocks in itertools.count(1) if total(blocks + 1) > budget)


def stack(networks: Sequence[DenoisingNetwork]) -> DenoisingNetwork:
    """One network that applies several of the same architecture at once, each to its own signals.

    Its parameters have a leading dimension over the given networks, and it maps (networks, batch, length) to the
    same shape.

    Raises:
        InvalidParameterError: networks of different architectures.
    """
    first = networks[0].architecture
    for network in networks:
        if network.architecture != first:
            raise InvalidParameterError("architecture", network.architecture, f"{first}, that of the first network")
    stacked = copy.deepcopy(networks[0])
    for parameter, *each in zip(stacked.parameters(), *(network.parameters() for network in networks), strict=True):
        parameter.data = torch.stack([p.detach() for p in each])
    return stacked


def unstack(stacked: DenoisingNetwork, index: int) -> DenoisingNetwork:
    """The network at this index of a stacked one, with weights of its own."""
    network = copy.deepcopy(stacked)
    for parameter in network.parameters():
        parameter.data = parameter.data[index].clone()
    return network
