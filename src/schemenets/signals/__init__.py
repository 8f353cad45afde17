"""Signals: families of clean signals, and data sets made of them.

A family is one module of this package; its name in the registry is the module's name. It defines ``SPLITS``,
the splits it can fill, ``largest(length)``, the most signals of this length that a split has (``math.inf`` where
there is no limit), and ``clean(split, count, length, rng)``, its signals as a float64 array (count, length) with
values in [0, 255]. If signals come from images, ``IMAGES`` names those of each split in which signal i always is from
image number i modulo their number.
"""

from schemenets import registry
from schemenets.signals._datasets import DRAW, EXPLORATORY, check, dataset_name, generate, get, read, write

__all__ = ["DRAW", "EXPLORATORY", "available", "check", "dataset_name", "generate", "get", "read", "write"]


def available() -> list[str]:
    """Names that :func:`get` takes."""
    return registry.names(__name__)
