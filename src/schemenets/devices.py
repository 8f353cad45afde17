"""Where networks are trained."""

import os

import torch

from schemenets.errors import InvalidParameterError


def device() -> torch.device:
    """Where trainings run: the environment variable ``SCHEMENETS_DEVICE``, ``cpu`` (if it is not set) or ``cuda``.

    Raises:
        InvalidParameterError: another value, or there is no such device.
    """
    name = os.environ.get("SCHEMENETS_DEVICE", "cpu")
    allowed = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if name not in allowed:
        raise InvalidParameterError("SCHEMENETS_DEVICE", name, f"on this machine: {', '.join(allowed)}")
    return torch.device(name)
