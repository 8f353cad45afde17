"""Signals in CSV and .npy files, denoised by a checkpoint: ``schemenets denoise``."""

import csv
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from schemenets import checkpoints, files, pretrained
from schemenets.errors import CheckpointError, InvalidParameterError, MissingFileError, UnknownNameError
from schemenets.networks import DenoisingNetwork

SUFFIXES = ".csv", ".npy"
log = logging.getLogger("schemenets")


class Signals(NamedTuple):
    """Signals of one length, and how they were written.

    Attributes:
        values: (signals, length), float64.
        header: of a CSV file; empty without.
        flat: whether a .npy file has one signal without a dimension for signals.
    """

    values: np.ndarray
    header: Sequence[str] = ()
    flat: bool = False


def run(
    checkpoint: str | Path | None, signal: Path, output: Path, seed: int | None, span: tuple[float, float] | None
) -> None:
    """Denoise the signals of a file.

    Args:
        checkpoint: a file, or a name of :func:`schemenets.pretrained.available`; the first of these if not given.
        signal: a CSV file with one signal per column, with or without a line of names, or a .npy file of shape
            (length,) or (signals, length).
        output: a file of either kind.
        seed: which network of the checkpoint, if it holds several.
        span: the values that become 0 and 1; those of the signals if not given.

    Raises:
        CheckpointError, InvalidParameterError: a file that is missing or cannot be read, a checkpoint of a network that
            does not denoise, signals shorter than its filters, or an impossible range.
    """
    if output.suffix not in SUFFIXES:
        raise InvalidParameterError("suffix of the output", output.name, " or ".join(SUFFIXES))
    given = read(signal)
    name = str(checkpoint or pretrained.available()[0])
    path = pretrained.path(name) if name in pretrained.available() else Path(name)
    if not path.suffix and not path.exists():
        raise UnknownNameError("checkpoint", name, [*pretrained.available(), "a file (.safetensors)"])
    network = checkpoints.load(path, seed)
    if not isinstance(network, DenoisingNetwork):
        raise CheckpointError(f"{path}: got a network that solves a problem, expected one that denoises")
    if given.values.shape[1] < (k := network.architecture.kernel_size):
        raise InvalidParameterError(f"length of {signal}", given.values.shape[1], f"at least the kernel size {k}")
    low, high = span or (float(given.values.min()), float(given.values.max()))
    if not (math.isfinite(high - low) and low < high):
        raise InvalidParameterError("range", (low, high), "two numbers, the smaller one first; give --range LOW HIGH")
    count, length = given.values.shape
    log.info("%s: %d %s of length %d", signal, count, "signal" if count == 1 else "signals", length)
    if span is None:
        log.info("%s: values from %g to %g are taken for 0 to 1; --range sets others", signal, low, high)
    dtype = next(network.parameters()).dtype
    with torch.inference_mode():
        denoised = network(torch.from_numpy((given.values - low) / (high - low)).to(dtype)).double().numpy()
    write(output, given._replace(values=low + (high - low) * denoised))


def read(path: Path) -> Signals:
    """Signals in a file.

    Raises:
        CheckpointError: the file is missing, of another kind, or holds something else; the line and column are named.
    """
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"{path}: got the suffix {path.suffix!r}, expected {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise MissingFileError(path)
    return _from_npy(path) if path.suffix == ".npy" else _from_csv(path)


def write(path: Path, signals: Signals) -> None:
    """Write signals atomically, as they were read."""
    if path.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, signals.values[0] if signals.flat else signals.values, allow_pickle=False)
        files.atomic_write(path, content.getvalue())
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if signals.header:
        rows.writerow(signals.header)
    rows.writerows([f"{value:.9g}" for value in row] for row in signals.values.T)
    files.atomic_write(path, text.getvalue())


def _from_npy(path: Path) -> Signals:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CheckpointError(f"{path}: no array in the format of NumPy ({error})") from error
    if not isinstance(values, np.ndarray):
        raise CheckpointError(f"{path}: got an archive of arrays, expected one array, as numpy.save writes it")
    if values.ndim not in (1, 2) or 0 in values.shape or values.dtype.kind not in "fiu":
        expected = "real numbers of shape (length,) or (signals, length)"
        raise CheckpointError(f"{path}: got {values.dtype} of shape {values.shape}, expected {expected}")
    if not np.isfinite(values).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(values))[0]))
        raise CheckpointError(f"{path}: value {place}: got {values[place]}, expected finite numbers")
    return Signals(np.atleast_2d(values).astype(np.float64), flat=values.ndim == 1)


def _from_csv(path: Path) -> Signals:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: no text in UTF-8 ({error})") from error
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(lines), start=1) if any(map(str.strip, row))]
    except csv.Error as error:
        raise CheckpointError(f"{path}: no CSV file ({error})") from error
    header: Sequence[str] = ()
    if rows and all(_number(cell) is None for cell in rows[0][1]):
        header = rows.pop(0)[1]
    if not rows:
        raise CheckpointError(f"{path}: got no numbers, expected one signal per column")
    width = len(header or rows[0][1])
    for number, row in rows:
        if len(row) != width:
            raise CheckpointError(f"{path}, line {number}: got {len(row)} values, expected {width}, as before")
        for column, cell in enumerate(row, start=1):
            if (value := _number(cell)) is None or not math.isfinite(value):
                separated = ", and commas between columns" * any(each in cell for each in ";\t")
                expected = f"a finite number{separated}"
                raise CheckpointError(f"{path}, line {number}, column {column}: got {cell!r}, expected {expected}")
    values = np.array([[float(cell) for cell in row] for _, row in rows]).T
    if len(values) > 1 and len(rows) > 1 and (np.diff(values[0]) == 1).all():
        log.warning("%s: column 1 seems to number the rows; it is taken for a signal, so leave it out", path)
    return Signals(values, header)


def _number(text: str) -> float | None:
    """NaN and infinite ones are numbers, too: lines of them are no lines of names."""
    try:
        return float(text)
    except ValueError:
        return None
