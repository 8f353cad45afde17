"""Piecewise affine signals with jumps, the study's primary family (its own protocol, from neither paper).

Each segment has a length uniform in {10, ..., 50} and two end values, independent and uniform in [0, 255];
it is affine between them. The last segment is cut off where the signal ends.
"""

import math

import numpy as np

SPLITS = ("train", "validation", "test")
SHORTEST, LONGEST = 10, 50


def largest(length: int) -> float:
    """No limit."""
    return math.inf


def clean(split: str, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Signals (count, length) in [0, 255]; fewer signals from the same stream are the first of more."""
    # the same number of draws for every signal, in one array, is what makes them so
    draws = rng.random((count, -(-length // SHORTEST), 3))
    lengths = SHORTEST + (draws[..., 0] * (LONGEST - SHORTEST + 1)).astype(int)
    ends = np.cumsum(lengths, axis=1)
    left, right = 255 * draws[..., 1], 255 * draws[..., 2]
    x = np.arange(length)
    begins = (np.arange(count)[:, None] * length + ends)[ends < length]
    segment = np.bincount(begins, minlength=count * length).reshape(count, length).cumsum(axis=1)  # of every position
    n, end, a, b = (np.take_along_axis(v, segment, axis=1) for v in (lengths, ends, left, right))
    weight = (x - (end - n)) / (n - 1)
    return (1 - weight) * a + weight * b
