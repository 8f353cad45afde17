"""Trained networks in ``.safetensors`` files that know what they are; nothing is unpickled.

One file holds all seeds of one architecture, of a denoising network or of a learned cycle: its tensors have a leading
dimension over the seeds, and its header is ``{"architecture": {...}, "seeds": [0, 1, ...]}``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from schemenets import files, networks
from schemenets.errors import CheckpointError, InvalidParameterError, SchemenetsError
from schemenets.networks import Architecture, DenoisingNetwork

if TYPE_CHECKING:
    from schemenets.multigrid import CycleArchitecture, CycleNetwork


class Header(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        architecture: that of all its networks.
        seeds: those of the networks, in the order of the file.
    """

    architecture: "Architecture | CycleArchitecture"
    seeds: tuple[int, ...]


def save(network: "DenoisingNetwork | CycleNetwork", path: Path) -> None:
    """Write one network (not a stacked one) atomically, as that of seed 0."""
    save_all({0: network}, path)


def save_all(trained: "Mapping[int, DenoisingNetwork | CycleNetwork]", path: Path) -> None:
    """Write the networks of all seeds atomically; the same networks give the same bytes.

    Raises:
        InvalidParameterError: no networks, or some of different architectures.
    """
    stacked: Any = networks.stack(list(trained.values()))
    header = json.dumps({"architecture": stacked.architecture.arguments(), "seeds": list(trained)})
    files.write_safetensors(path, stacked.state_dict(), header)


def load(path: Path, seed: int | None = None) -> Any:
    """One network of a checkpoint, in the precision that it was saved in.

    Args:
        path: of the file.
        seed: which of the networks; need not be given if there is only one.

    Raises:
        CheckpointError: the file is missing, damaged or no checkpoint, it has no network of this seed, or one with a
            parameter that is not finite.
    """
    found, tensors = _read(path)
    if seed is None and len(found.seeds) == 1:
        (seed,) = found.seeds
    if seed not in found.seeds:
        raise CheckpointError(f"{path}: seed: got {seed!r}, expected one of {', '.join(map(str, found.seeds))}")
    return _network(path, found.architecture, {name: each[found.seeds.index(seed)] for name, each in tensors.items()})


def load_all(path: Path) -> dict[int, Any]:
    """The networks of a checkpoint by seed; see :func:`load`."""
    found, tensors = _read(path)
    return {
        seed: _network(path, found.architecture, {name: each[index] for name, each in tensors.items()})
        for index, seed in enumerate(found.seeds)
    }


def header(path: Path) -> Header:
    """Architecture and seeds of a checkpoint; builds no network.

    Raises:
        CheckpointError: the file is missing, damaged or no checkpoint.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    arrays, text = files.read_safetensors(path)
    try:
        written = json.loads(text or "")
        found = Header(networks.architecture(written["architecture"]), tuple(written["seeds"]))
        found.architecture.check()
        if not arrays or any(array.shape[:1] != (len(found.seeds),) for array in arrays.values()):
            raise InvalidParameterError("seeds", list(found.seeds), "as many as the tensors have")
    except (SchemenetsError, KeyError, TypeError, ValueError) as error:
        raise _foreign(path, error) from error
    return found, {name: torch.from_numpy(array) for name, array in arrays.items()}


def _network(path: Path, architecture: "Architecture | CycleArchitecture", tensors: dict[str, Tensor]) -> Any:
    try:
        network = architecture.build().to(next(iter(tensors.values())).dtype)
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise _foreign(path, error) from error
    for name, parameter in network.named_parameters():
        if not (finite := parameter.isfinite()).all():
            raise CheckpointError(f"{path}: {name}: got {parameter[~finite][0].item()}, expected finite values")
    return network


def _foreign(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: not a checkpoint of this library ({error})")
