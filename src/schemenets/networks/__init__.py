"""Networks: one module per architecture, next to the numerical scheme of the same idea in ``schemes``.

An architecture is one module of this package that defines ``NETWORK``; its name in the registry is the module's
name.
"""

import copy
import importlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from schemenets import registry
from schemenets.errors import InvalidParameterError
from schemenets.networks._base import Architecture, Count, DenoisingNetwork

if TYPE_CHECKING:
    from schemenets.multigrid import CycleArchitecture

__all__ = [
    "Architecture",
    "Count",
    "DenoisingNetwork",
    "architecture",
    "available",
    "blocks_for_budget",
    "build",
    "stack",
    "unstack",
]
Network = TypeVar("Network", bound=nn.Module)


def available() -> list[str]:
    """Names that :func:`build` takes."""
    return registry.names(__name__)


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
    biases: bool | None = None,
    steps: str = "positive",
    initialisation: str = "scaled",
    seed: int = 0,
) -> DenoisingNetwork:
    """A freshly initialised network that maps signals of shape (batch, length) to denoised signals of that shape.

    Signals are in single precision, with values of about [0, 1], and at least as long as the filters; the same network
    takes any such length.

    Args:
        name: architecture, one of :func:`available`.
        blocks: number of blocks, i.e. of steps of the scheme; of resolution levels for the standard U-net.
        filters: number of filters per block; of the finest level for the standard U-net.
        kernel_size: length of the filters.
        flux: flux (activation) function, one of :func:`schemenets.fluxes.available`.
        channels: number of channels of the state between the blocks.
        tied: whether all blocks share one set of weights.
        certified: whether the scheme's stability bound holds by construction, whatever the weights are.
        biases: whether blocks have biases b₁ inside the flux and b₂ outside; None for what is usual, with them in the
            networks of the literature, without them in those made of schemes.
        steps: ``positive``, or ``signed``: every filter has a step size of its own, of either sign.
        initialisation: ``scaled``, near the identity for deep networks, or ``glorot``; ``first_step`` in
            ``networks/_base.py`` has the formulas.
        seed: seed of the initial weights.

    Raises:
        UnknownNameError: unknown architecture, flux or kind of steps.
        InvalidParameterError: a number below 1, or what :meth:`Architecture.check` refuses.

    >>> net = build("symmetric", blocks=4, filters=8, kernel_size=5, flux="perona_malik")
    >>> net(torch.zeros(2, 256)).shape
    torch.Size([2, 256])
    """
    return Architecture(
        name=name,
        blocks=blocks,
        filters=filters,
        kernel_size=kernel_size,
        flux=flux,
        channels=channels,
        tied=tied,
        certified=certified,
        biases=biases,
        steps=steps,
        initialisation=initialisation,
    ).build(seed)


def architecture(arguments: Mapping[str, Any]) -> "Architecture | CycleArchitecture":
    """The architecture with these ``arguments()``, of a network of this package or of a learned cycle.

    >>> symmetric = Architecture(name="symmetric", blocks=4, filters=8, kernel_size=5, flux="perona_malik")
    >>> architecture(symmetric.arguments()) == symmetric
    True

    Raises:
        KeyError, TypeError: arguments that are missing or too many.
        InvalidParameterError, UnknownNameError: a value that is not possible.
    """
    if arguments["name"] == "cycle":
        # by its name, as the entries of registries, so that no other network depends on it
        cycle: Any = importlib.import_module("schemenets.multigrid.cycle")
        found: CycleArchitecture = cycle.CycleArchitecture.read(arguments)
        return found
    return Architecture(**arguments)


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
        return replace(architecture, blocks=blocks).count().total

    one = total(1)
    if one == total(2):
        expected = f"none for {architecture.name} with shared weights, whose size does not depend on its depth"
        raise InvalidParameterError("budget", budget, expected)
    if budget < one:
        raise InvalidParameterError(
            "budget", budget, f"at least {one}, one block of {architecture.name} with {architecture.flux}"
        )
    return next(blocks for blocks in itertools.count(1) if total(blocks + 1) > budget)


def stack(networks: Sequence[Network]) -> Network:
    """One network that applies several of the same architecture at once, each to its own signals.

    Its parameters have a leading dimension over the given networks, and it maps (networks, batch, length) to the
    same shape.

    Raises:
        InvalidParameterError: no networks, or some of different architectures.
    """
    if not networks:
        raise InvalidParameterError("networks", networks, "at least one")
    first = networks[0].architecture
    for network in networks:
        if network.architecture != first:
            raise InvalidParameterError("architecture", network.architecture, f"{first}, that of the first network")
    stacked = copy.deepcopy(networks[0])
    for parameter, *each in zip(stacked.parameters(), *(network.parameters() for network in networks), strict=True):
        parameter.data = torch.stack([p.detach() for p in each])
    return stacked


def unstack(stacked: Network, index: int) -> Network:
    """The network at this index of a stacked one, with weights of its own."""
    network = copy.deepcopy(stacked)
    for parameter in network.parameters():
        parameter.data = parameter.data[index].clone()
    return network
