"""Scan lines: rows and columns of photographs that scikit-image and PyWavelets ship (``skimage.data``, ``pywt.data``).

The packages hold 17 photographs and micrographs of at least 256 pixels in one direction, stored without loss; JPEG
files are left out, since their pixels depend on the decoder. No image or scene is in two splits. The splits follow from
names and licences, not from results: in alphabetical order, every second image, from the first on, is for testing among
those whose own licence the packages state and which no earlier protocol used; every third of the others is for
validation. ``docs/photographs.md`` lists all of them.

Colours become luma, Y = (299 R + 587 G + 114 B)/1000 in [0, 255] (ITU-R BT.601), computed from integers and so the same
on every machine; other images are grey, of 8 bits. ``moon`` is reduced to every second row and column, since its file
repeats every pixel.

Lines are cut into disjoint pieces; constant ones are left out. Signals come from the images in turn, so that all images
contribute equally.

* For validation and test, the pieces of an image are in random order. After the last one they come again, with new
  noise: of length 256 there are 172 in the smallest test image, and 512 in the smallest one for validation.
* For training, images are drawn with replacement, as many as there are, then pieces of these with replacement: another
  generator gives other images.

Every pixel is in a row and in a column, and neighbouring lines are alike, so the signals of an image are not
independent of each other.
"""

import math
from functools import cache

import numpy as np

from schemenets.errors import InvalidParameterError
from schemenets.signals import _packages

SPLITS = ("train", "validation", "test")
TRAINING = ("aero", "ascent", "camera", "chelsea", "grass", "immunohistochemistry", "page", "stereo_motorcycle")
IMAGES = {
    "validation": ("brick", "coffee", "moon"),
    "test": ("astronaut", "cell", "clock", "coins", "gravel", "text"),
}
SIZE = 256  # larger side of the smallest image, moon


def largest(length: int) -> float:
    """No limit: pieces come again, with new noise.

    Raises:
        InvalidParameterError: an image has no line of this length.
    """
    if length > SIZE:
        raise InvalidParameterError("length", length, f"at most {SIZE}, the size of the smallest image")
    return math.inf


def clean(split: str, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Signals (count, length) in [0, 255]; number i is from image ``IMAGES[split][i % len(IMAGES[split])]``.

    Training signals are from the image that is drawn as number ``i % len(TRAINING)``.

    Raises:
        InvalidParameterError: an image has no line of this length.
    """
    largest(length)
    if split == "train":
        pieces = [_pieces(name, length) for name in TRAINING]
        drawn = rng.integers(len(pieces), size=len(pieces))
        images = drawn[np.arange(count) % len(pieces)]
        chosen = rng.integers([len(pieces[image]) for image in images])
    else:
        pieces = [rng.permutation(_pieces(name, length)) for name in IMAGES[split]]
        images = np.arange(count) % len(pieces)
        chosen = np.arange(count) // len(pieces) % np.array([len(pieces[image]) for image in images])
    return np.stack([pieces[image][piece] for image, piece in zip(images, chosen, strict=True)])


def _pieces(name: str, length: int) -> np.ndarray:
    """All pieces of an image that are not constant, (count, length)."""
    image = _grey(name)
    whole = [lines[:, : lines.shape[1] // length * length].reshape(-1, length) for lines in (image, image.T)]
    pieces = np.concatenate(whole)
    return pieces[np.ptp(pieces, axis=1) > 0]


@cache
def _grey(name: str) -> np.ndarray:
    """An image, (rows, columns), in [0, 255]."""
    package = "pywt" if name in ("aero", "ascent") else "skimage"
    image = getattr(_packages.data(package), name)()
    if name == "stereo_motorcycle":
        image = image[0]  # of the left camera
    if name == "moon":
        image = image[::2, ::2]
    if image.ndim == 3:
        return image.astype(np.int64) @ [299, 587, 114] / 1000
    return image.astype(np.float64)
