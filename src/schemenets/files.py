"""Files that are complete or absent, and hashes of their content."""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from schemenets.errors import CheckpointError, MissingFileError

if TYPE_CHECKING:
    from torch import Tensor


PATIENCE = 5.0  # seconds that a process waits for a lock without a word
log = logging.getLogger("schemenets")


def atomic_write(path: Path | str, content: bytes | str) -> None:
    """Write ``content`` (text as UTF-8), so that ``path`` never holds a part of it; parents are created.

    A file that has this content already is left alone with its time, so that nothing that was made from it is outdated.
    """
    path, content = Path(path), content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # os.replace is atomic only within one file system, hence the same directory
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # as a full disk names none
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path | str, label: str, timeout: float = 3600) -> Iterator[None]:
    """Hold the lock of ``path``, a file beside it with the suffix ``.lock``; parents are created.

    Args:
        label: who waits, for the message after a few seconds.
        timeout: seconds until it gives up.

    Raises:
        CheckpointError: another process holds the lock for so long, or it cannot be had at all.
    """
    lock = FileLock(Path(path).with_suffix(".lock"))
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=min(PATIENCE, timeout))
        except Timeout:
            log.warning("%s: another process holds %s; waiting for it, up to %g s", label, lock.lock_file, timeout)
            lock.acquire(timeout=timeout)
    except Timeout as error:
        message = (
            f"{lock.lock_file}: another process has held this lock for {timeout:g} s; wait until it ends, or end it"
        )
        raise CheckpointError(message) from error
    except (OSError, NotImplementedError) as error:
        raise CheckpointError(f"{lock.lock_file}: cannot be locked ({error})") from error
    try:
        yield
    finally:
        lock.release()


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of the file's bytes.

    Raises:
        MissingFileError: there is no such file.
    """
    with _existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """A number of Python instead of one of NumPy, which JSON does not take."""
    return value.item() if isinstance(value, np.generic) else value


def write_json(path: Path | str, obj: Any) -> None:
    """Write ``obj`` atomically as JSON, keys in their order.

    Raises:
        ValueError: ``obj`` holds NaN or an infinity, which JSON does not have; nothing is written.
    """
    atomic_write(path, json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The object in a JSON file.

    Raises:
        CheckpointError: the file is missing or not valid JSON.
    """
    try:
        return json.loads(_existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: no valid JSON ({error})") from error


def write_safetensors(
    path: Path | str, tensors: "Mapping[str, np.ndarray | Tensor]", metadata: str | None = None
) -> None:
    """Write arrays or tensors atomically; the same input gives the same bytes.

    Args:
        metadata: a JSON text, stored in the header under the one key ``"metadata"``: safetensors does not
            order several keys, so that the bytes would change from run to run.
    """
    header = None if metadata is None else {"metadata": metadata}
    if all(isinstance(x, np.ndarray) for x in tensors.values()):
        # order="C" and not ascontiguousarray, which would turn scalars into arrays of shape (1,)
        content = save({name: np.asarray(x, order="C") for name, x in tensors.items()}, header)
    else:
        import torch
        from safetensors.torch import save as save_tensors

        given = {name: np.asarray(x, order="C") if isinstance(x, np.ndarray) else x for name, x in tensors.items()}
        content = save_tensors({name: torch.as_tensor(x).detach().contiguous() for name, x in given.items()}, header)
    atomic_write(path, content)


def read_safetensors(path: Path | str, framework: str = "numpy") -> tuple[dict[str, Any], str | None]:
    """The arrays of a safetensors file and the ``metadata`` text it was written with.

    Args:
        framework: ``numpy`` for arrays, ``pt`` for tensors of torch, which can be of more types.

    Raises:
        CheckpointError: the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(_existing(path), framework=framework) as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in list(file.keys())}, metadata.get("metadata")
    except SafetensorError as error:
        raise CheckpointError(f"{path}: truncated or no safetensors file ({error})") from error


def _existing(path: Path | str) -> Path:
    if not Path(path).is_file():
        raise MissingFileError(path)
    return Path(path)
