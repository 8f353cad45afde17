"""Where networks are trained, and how its arithmetic treats the smallest numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def flushed_subnormals() -> Iterator[None]:
    """Numbers too small for full precision count as zero on the CPU, in the calling thread.

    Filters that die out, and norms that vanish, are made of them, and they are computed thirty times slower.
    """
    smallest = torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64)
    before = (smallest / 2).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
