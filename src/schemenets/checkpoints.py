"""Trained networks in ``.safetensors`` files that know what they are; nothing is unpickled.

One file holds all seeds of one architecture, of a denoising network or of a learned cycle: its tensors have a leading
dimension over the seeds, and its header is ``{"architecture": {...}, "seeds": [0, 1, ...], "dtype": "float32"}``, with
``"implicit_gradients": true`` for implicit networks that are trained by them.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.parametrize import type_before_parametrizations

from schemenets import files, networks
from schemenets.errors import CheckpointError, InvalidParameterError, SchemenetsError, integer
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.networks._base import Portable, check_finite

if TYPE_CHECKING:
    from schemenets.multigrid import CycleArchitecture, CycleNetwork


# of parameters, by name
DTYPES = {str(x).removeprefix("torch."): x for x in (torch.bfloat16, torch.float16, torch.float32, torch.float64)}


class Header(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        architecture: that of all its networks.
        seeds: those of the networks, in the order of the file.
        dtype: precision of the parameters.
        implicit_gradients: whether gradients are those of the solution, see :mod:`schemenets.networks.implicit`.
    """

    architecture: "Architecture | CycleArchitecture"
    seeds: tuple[int, ...]
    dtype: torch.dtype
    implicit_gradients: bool


def save(network: "DenoisingNetwork | CycleNetwork", path: Path | str) -> None:
    """Write one network (not a stacked one) atomically, as that of seed 0."""
    save_all({0: network}, path)


def save_all(trained: "Mapping[int, DenoisingNetwork | CycleNetwork]", path: Path | str) -> None:
    """Write the networks of all seeds atomically; the same networks give the same bytes.

    Raises:
        InvalidParameterError: no networks, or some of different architectures or precisions; one with a parameter that
            is not finite, or of another precision than the first one, or of a precision that files do not have, or with
            parts that its architecture does not have.
            Nothing is written.
    """
    of_all: list[Any] = list(trained.values())
    seeds = [integer("seed", seed, 0) for seed in trained]
    for network in of_all:
        _check_parts(network)
    stacked: Any = networks.stack(of_all)
    dtype = _same("dtype", (next(net.parameters()).dtype for net in of_all))
    implicit = _same("implicit_gradients", (net.implicit_gradients for net in of_all))
    if dtype not in DTYPES.values():
        raise InvalidParameterError(
            "dtype of the network", dtype, f"one of {', '.join(DTYPES)}, such as network.float()"
        )
    for seed, network in trained.items():
        (first, _), *_ = network.named_parameters()
        for name, parameter in network.named_parameters():
            if parameter.dtype != dtype:
                raise InvalidParameterError(f"dtype of {name}", parameter.dtype, f"{dtype}, that of {first}")
            check_finite(f"seed {seed}, {name}", parameter)
    rest: dict[str, Any] = {"seeds": seeds, "dtype": str(dtype).removeprefix("torch.")}
    rest |= {"implicit_gradients": True} if implicit else {}
    header = json.dumps({"architecture": stacked.architecture.arguments(), **rest}, default=files.plain)
    files.write_safetensors(path, stacked.state_dict(), header)


def _check_parts(network: Any) -> None:
    """Make sure that a network is what its architecture says, as this is all that a file can hold.

    Raises:
        InvalidParameterError: it is not.
    """
    if not isinstance(network, Portable):
        raise InvalidParameterError("network", type(network).__name__, "a network of schemenets")
    if network.seeds:
        raise InvalidParameterError("network", f"one of {network.seeds} stacked", "single ones, see networks.unstack")
    own, found = _parts(network)
    known, expected = _parts_of(network.architecture)  # the same for all seeds
    if own is not known:
        known_name = f"{known.__name__}, as its architecture says, which is all that a file holds"
        raise InvalidParameterError("network", own.__name__, known_name)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            have = "no such parameter" if name not in found else f"shape {found[name]}"
            want = "no such parameter" if name not in expected else f"shape {expected[name]}"
            raise InvalidParameterError(name, have, f"{want}, by the architecture of the network")


def _parts(network: Any) -> tuple[type, dict[str, tuple[int, ...]]]:
    """The class of a network, and the shapes of everything that is saved of it."""
    return type_before_parametrizations(network), {name: tuple(x.shape) for name, x in network.state_dict().items()}


@lru_cache(maxsize=1)
def _parts_of(architecture: Any) -> tuple[type, dict[str, tuple[int, ...]]]:
    return _parts(architecture.build())


def load(path: Path | str, seed: int | None = None) -> Any:
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
    return _network(path, found, {name: each[found.seeds.index(seed)] for name, each in tensors.items()})


def load_all(path: Path | str) -> dict[int, Any]:
    """The networks of a checkpoint by seed; see :func:`load`."""
    found, tensors = _read(path)
    return {
        seed: _network(path, found, {name: each[index] for name, each in tensors.items()})
        for index, seed in enumerate(found.seeds)
    }


def header(path: Path | str) -> Header:
    """Architecture and seeds of a checkpoint; builds no network.

    Raises:
        CheckpointError: the file is missing, damaged or no checkpoint.
    """
    return _read(path)[0]


def _read(path: Path | str) -> tuple[Header, dict[str, Tensor]]:
    tensors, text = files.read_safetensors(path, framework="pt")
    try:
        written = json.loads(text or "")
        dtype = next(iter(tensors.values())).dtype  # earlier headers do not have it
        found = Header(
            networks.architecture(written["architecture"]),
            tuple(written["seeds"]),
            DTYPES[written.get("dtype", str(dtype).removeprefix("torch."))],
            bool(written.get("implicit_gradients", False)),
        )
        found.architecture.check()
        if any(tensor.shape[:1] != (len(found.seeds),) for tensor in tensors.values()):
            raise InvalidParameterError("seeds", list(found.seeds), "as many as the tensors have")
    except (SchemenetsError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise _foreign(path, error) from error
    return found, tensors


def _network(path: Path | str, found: Header, tensors: dict[str, Tensor]) -> Any:
    try:
        network: Any = found.architecture.build().to(found.dtype)
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise _foreign(path, error) from error
    try:
        for name, parameter in network.named_parameters():
            check_finite(name, parameter)
    except InvalidParameterError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if found.implicit_gradients:
        network.implicit_gradients = True
    return network


def _same(key: str, values: Iterable[Any]) -> Any:
    first, *others = values
    for other in others:
        if other != first:
            raise InvalidParameterError(key, other, f"{first}, that of the first network")
    return first


def _foreign(path: Path | str, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: not a checkpoint of this library ({error})")
