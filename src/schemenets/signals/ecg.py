"""An electrocardiogram: the 1024 samples of ``pywt.data.ecg``, scaled affinely to [0, 255] as a whole.

For tests only: there are ⌊1024/length⌋ disjoint windows, in turn, and after the last only the noise is new.
"""

import math

import numpy as np

from schemenets.errors import InvalidParameterError
from schemenets.signals import _packages

SPLITS = ("test",)
SIZE = 1024  # samples of the recording


def largest(length: int) -> float:
    """No limit: windows come again, with new noise.

    Raises:
        InvalidParameterError: ``length`` exceeds the recording.
    """
    if length > SIZE:
        raise InvalidParameterError("length", length, f"at most {SIZE}, the length of the recording")
    return math.inf


def clean(split: str, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Windows (count, length) in [0, 255]; number i starts at ``length * (i % windows)``.

    Raises:
        InvalidParameterError: ``length`` exceeds the recording.
    """
    ecg = _packages.data("pywt").ecg().astype(np.float64)
    largest(length)
    windows = SIZE // length
    scaled = 255 * (ecg - ecg.min()) / (ecg.max() - ecg.min())
    return scaled[: windows * length].reshape(windows, length)[np.arange(count) % windows]
