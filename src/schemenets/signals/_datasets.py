"""Data sets: clean and noisy signals from a plain dictionary, written once and verified on every reading."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

import numpy as np

from schemenets import files, registry
from schemenets.errors import CheckpointError, InvalidParameterError, integer
from schemenets.metrics import psnr

SPLITS = ("train", "validation", "test")
DRAW, EXPLORATORY = "draw", "exploratory"


def get(name: str) -> ModuleType:
    """The signal family of this name.

    >>> get("ecg").SPLITS
    ('test',)

    Raises:
        UnknownNameError: no such family; the message lists the known names.
        SchemenetsError: its module lacks something that families define.
    """
    return registry.module("schemenets.signals", name, "signal family", "SPLITS", "largest", "clean")


def generate(spec: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Clean and noisy signals of every split in ``spec``.

    The noise is additive, Gaussian and never clipped. Clean signals and noise of each (family, split) have
    random streams of their own, so that the size of one split changes no other, and all noise levels see the
    same signals under the same noise pattern, scaled: methods and levels can be compared in pairs.

    Args:
        spec: ``family``, ``length``, ``noise`` (its standard deviation, on the scale [0, 255]), ``seed``, and
            the number of signals of each wanted split under ``train``, ``validation``, ``test``. A number ``draw``,
            if given, makes all of it another draw: each network of a study is trained on its own. With ``exploratory``
            true, test signals of families with images are other signals from the images for validation, so that those
            for testing stay unseen.

    Returns:
        float32 arrays (count, length) named ``"train/clean"``, ``"train/noisy"``, ...; for splits in ``IMAGES`` of the
        family also ``"test/image"``, ..., the index of every signal's image there, int64 (count,).

    Raises:
        InvalidParameterError: a key or value of ``spec`` is missing, unknown or not possible.
        UnknownNameError: there is no such family.

    >>> spec = {"family": "piecewise_affine", "length": 256, "noise": 10.0, "test": 2, "seed": 1}
    >>> {name: array.shape for name, array in generate(spec).items()}
    {'test/clean': (2, 256), 'test/noisy': (2, 256)}
    """
    spec = _plain(spec)
    check(spec)
    family = get(spec["family"])
    arrays = {}
    for split, count in _counts(spec):
        clean = family.clean(_source(spec, split), count, spec["length"], _stream(spec, split, "clean"))
        noise = spec["noise"] * _stream(spec, split, "noise").standard_normal(clean.shape)
        arrays[f"{split}/clean"] = clean.astype(np.float32)
        arrays[f"{split}/noisy"] = (clean + noise).astype(np.float32)
        if images := _images(spec).get(split):
            arrays[f"{split}/image"] = np.arange(count, dtype=np.int64) % len(images)
    return arrays


def write(spec: Mapping[str, Any], path: Path | str) -> None:
    """Generate the data set and write it to ``path`` (.safetensors), with its record beside it (.json).

    The same ``spec`` gives the same bytes. The record holds ``spec``, the SHA-256 of the file and of every
    array, the mean PSNR in dB of the noisy signals of each split (null without noise), and, if the family has any,
    the names of the images of each split in the order of their indices.

    Raises:
        InvalidParameterError, UnknownNameError: see :func:`generate`; or ``path`` has another suffix.
    """
    path, spec = Path(path), _plain(spec)
    if path.suffix != ".safetensors":
        raise InvalidParameterError("path", str(path), "a path that ends in .safetensors")
    arrays = generate(spec)
    files.write_safetensors(path, arrays)
    noisy_psnr = {
        split: float(psnr(arrays[f"{split}/noisy"], arrays[f"{split}/clean"]).mean()) if spec["noise"] else None
        for split, _ in _counts(spec)
    }
    record = {
        "spec": dict(spec),
        "sha256": files.sha256(path),
        "arrays": {
            name: {"shape": list(array.shape), "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
            for name, array in arrays.items()
        },
        "noisy_psnr": noisy_psnr,
    }
    if images := _images(spec):
        record["images"] = images
    files.write_json(path.with_suffix(".json"), record)


def read(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays that :func:`write` wrote to ``path``.

    Raises:
        CheckpointError: the file or its record is missing, truncated, or not what was written.
    """
    path = Path(path)
    arrays, _ = files.read_safetensors(path)
    record = files.read_json(path.with_suffix(".json"))
    recorded = record.get("sha256") if isinstance(record, dict) else None
    if (actual := files.sha256(path)) != recorded:
        expected = f"{recorded}, that in {path.with_suffix('.json')}"
        raise CheckpointError(f"{path}: SHA-256: got {actual}, expected {expected}")
    return arrays


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    """With numbers of Python instead of those of NumPy."""
    return {key: files.plain(value) for key, value in spec.items()}


def dataset_name(spec: Mapping[str, Any]) -> str:
    """Name of the data set of a family and a noise level.

    >>> dataset_name({"family": "piecewise_affine", "noise": 10.0})
    'piecewise_affine-10'
    """
    return f"{spec['family']}-{spec['noise']:g}"


def check(spec: Mapping[str, Any]) -> None:
    """Make sure that :func:`generate` can generate ``spec``, without generating it; needs no other package.

    Raises:
        InvalidParameterError, UnknownNameError: see :func:`generate`.
    """
    required = ("family", "length", "noise", "seed")
    if missing := [key for key in required if key not in spec]:
        raise InvalidParameterError("data set", dict(spec), f"a dictionary that also has {', '.join(missing)}")
    family = get(spec["family"])
    splits = set(spec) - {*required, DRAW, EXPLORATORY}
    if not splits or not splits <= set(family.SPLITS):
        expected = f"one or more of {', '.join(family.SPLITS)} for {spec['family']}"
        raise InvalidParameterError("splits", sorted(splits), expected)
    for name, least in {"length": 2, "seed": 0, DRAW: 0, **dict.fromkeys(splits, 1)}.items():
        integer(name, spec.get(name, 0), least)
    if not isinstance(exploratory := spec.get(EXPLORATORY, False), bool):
        raise InvalidParameterError(EXPLORATORY, exploratory, "true or false")
    noise = spec["noise"]
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < math.inf:
        raise InvalidParameterError("noise", noise, "a finite number of at least 0")
    largest = family.largest(spec["length"])
    for split, count in _counts(spec):
        if count > largest:
            raise InvalidParameterError(split, count, f"at most {largest} signals of length {spec['length']}")


def _counts(spec: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    return ((split, spec[split]) for split in SPLITS if split in spec)


def _images(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the images that signals come from, by split; splits without them are left out."""
    named: Mapping[str, tuple[str, ...]] = getattr(get(spec["family"]), "IMAGES", {})
    return {split: list(named[_source(spec, split)]) for split in named if split in spec}


def _source(spec: Mapping[str, Any], split: str) -> str:
    """The split whose images are used: in an exploration those for testing are not looked at."""
    hidden = split == "test" and spec.get(EXPLORATORY, False) and hasattr(get(spec["family"]), "IMAGES")
    return "validation" if hidden else split


def _stream(spec: Mapping[str, Any], split: str, kind: str) -> np.random.Generator:
    own = [spec[DRAW]] if DRAW in spec else []
    return np.random.default_rng([spec["seed"], *(crc32(key.encode()) for key in (spec["family"], split, kind)), *own])
