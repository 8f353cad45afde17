"""Trained cycles in ``.safetensors`` files that know what they solve; nothing is unpickled."""

import json
from pathlib import Path

import torch

from schemenets import files
from schemenets.errors import CheckpointError, SchemenetsError
from schemenets.multigrid.cycle import CycleArchitecture, CycleNetwork

KEY = "cycle"  # of the architecture in the header


def save(network: CycleNetwork, path: Path) -> None:
    """Write the network's parameters, and its architecture in the header, atomically."""
    files.write_safetensors(path, network.state_dict(), json.dumps({KEY: network.architecture.arguments()}))


def is_cycle(path: Path) -> bool:
    """Whether a checkpoint is that of a cycle.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    _, header = files.read_safetensors(path)
    try:
        return KEY in json.loads(header or "{}")
    except ValueError:
        return False


def load(path: Path) -> CycleNetwork:
    """The network in a checkpoint, in the precision that it was saved in.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint of a cycle, or not finite.
    """
    arrays, header = files.read_safetensors(path)
    try:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        network = CycleArchitecture.read(json.loads(header or "")[KEY]).build()
        network.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
    except (SchemenetsError, KeyError, StopIteration, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a learned cycle ({error})") from error
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds a value that is not finite")
    return network
