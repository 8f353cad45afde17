"""The signals of Donoho and Johnstone, *Ideal spatial adaptation by wavelet shrinkage*, Biometrika 81 (1994).

Blocks, Bumps, HeaviSine and Doppler from ``pywt.data.demo_signal``, each scaled affinely to [0, 255].
For tests only: there are four signals, in turn, and after the fourth only the noise is new.
"""

import math

import numpy as np

from schemenets.errors import InvalidParameterError
from schemenets.signals import _packages

SPLITS = ("test",)
NAMES = ("Blocks", "Bumps", "HeaviSine", "Doppler")


def largest(length: int) -> float:
    """No limit: the signals come again, with new noise.

    Raises:
        InvalidParameterError: ``length`` is no power of two.
    """
    if length & (length - 1):
        # at other lengths the sampling points of PyWavelets can round beyond 1: one sample too many, or NaN
        raise InvalidParameterError("length", length, "a power of two")
    return math.inf


def clean(split: str, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Signals (count, length) in [0, 255]; number i is ``NAMES[i % 4]``.

    Raises:
        InvalidParameterError: ``length`` is no power of two.
    """
    largest(length)
    signals = np.stack([_packages.data("pywt").demo_signal(name, length) for name in NAMES])
    low, high = signals.min(axis=1, keepdims=True), signals.max(axis=1, keepdims=True)
    return (255 * (signals - low) / (high - low))[np.arange(count) % len(NAMES)]
