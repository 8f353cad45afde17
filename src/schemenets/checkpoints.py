"""Trained networks in ``.safetensors`` files that know what they are; nothing is unpickled."""

import json
from pathlib import Path

import torch

from schemenets import files, networks
from schemenets.errors import CheckpointError, SchemenetsError
from schemenets.networks import Architecture, DenoisingNetwork


def save(network: DenoisingNetwork, path: Path) -> None:
    """Write the network's parameters, and its architecture in the header, atomically."""
    header = json.dumps({"architecture": network.architecture.arguments()})
    files.write_safetensors(path, network.state_dict(), header)


def load(path: Path) -> DenoisingNetwork:
    """The network in a checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or holds a parameter that is not finite.
    """
    arrays, header = files.read_safetensors(path)
    if header and header.startswith('{"cycle"'):
        raise CheckpointError(f"{path}: a checkpoint of a learned cycle, which schemenets.multigrid.load reads")
    try:
        architecture = Architecture(**json.loads(header or "")["architecture"])
        network = networks.build(**architecture.arguments())
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except (SchemenetsError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of this library ({error})") from error
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds a value that is not finite")
    return network
