"""Files that are complete or absent, and hashes of their content."""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from schemenets.errors import CheckpointError, MissingFileError

if TYPE_CHECKING:
    from torch import Tensor


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
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of the file's bytes.

    Raises:
        MissingFileError: there is no such file.
    """
    with _existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    # order="C" and not ascontiguousarray, which would turn scalars into arrays of shape (1,)
    arrays = {
        name: np.asarray(x if isinstance(x, np.ndarray) else x.detach().cpu().numpy(), order="C")
        for name, x in tensors.items()
    }
    atomic_write(path, save(arrays, None if metadata is None else {"metadata": metadata}))


def read_safetensors(path: Path | str) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays of a safetensors file and the ``metadata`` text it was written with.

    Raises:
        CheckpointError: the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(_existing(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in list(file.keys())}, metadata.get("metadata")
    except SafetensorError as error:
        raise CheckpointError(f"{path}: truncated or no safetensors file ({error})") from error


def _existing(path: Path | str) -> Path:
    if not Path(path).is_file():
        raise MissingFileError(path)
    return Path(path)
