"""Scanlines: rows and columns of the photographs that PyWavelets ships (``pywt.data``, 512 × 512, 8 bit).

Split by image, so that no test image is trained on: train ``ascent`` (the widest mix of flat regions, edges
and fine periodic structure), validation ``aero`` (an aerial photograph, a scene unlike the test image, so
that tuning cannot fit the test), test ``camera`` (the customary test image of denoising).

A row or column gives ⌊512/length⌋ disjoint pieces, hence 2 · 512 · ⌊512/length⌋ signals per split: 2048 of
length 256. Every pixel is in a row and in a column, and neighbouring lines are alike: the signals of a split
are not independent of each other.
"""

import numpy as np

from schemenets.errors import InvalidParameterError
from schemenets.signals import _pywavelets

SIZE = 512  # rows and columns of each image
IMAGES = {"train": "ascent", "validation": "aero", "test": "camera"}
SPLITS = tuple(IMAGES)


def largest(length: int) -> int:
    """Number of pieces of each image.

    Raises:
        InvalidParameterError: ``length`` exceeds the image.
    """
    if length > SIZE:
        raise InvalidParameterError("length", length, f"at most {SIZE}, the size of the images")
    return 2 * SIZE * (SIZE // length)


def clean(split: str, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """A random subset, (count, length) in [0, 255], of the pieces of the split's image.

    Raises:
        InvalidParameterError: ``length`` exceeds the image, or ``count`` the number of its pieces.
    """
    image = getattr(_pywavelets.data(), IMAGES[split])().astype(np.float64)
    most = largest(length)
    whole = SIZE // length * length
    pieces = np.concatenate([lines[:, :whole].reshape(-1, length) for lines in (image, image.T)])
    if count > most:
        raise InvalidParameterError(split, count, f"at most {most}, the pieces of length {length} in {IMAGES[split]!r}")
    return pieces[rng.permutation(len(pieces))[:count]]
