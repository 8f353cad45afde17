"""What the stages after training share: a trained network, as its record describes it."""

from pathlib import Path
from typing import Any

from schemenets import checkpoints, files
from schemenets.errors import CheckpointError
from schemenets.networks import DenoisingNetwork


def read(directory: Path, seed: int) -> tuple[dict[str, Any], DenoisingNetwork]:
    """Record and network of one seed of the job in ``directory``.

    Raises:
        CheckpointError: one of them is missing or damaged, or the checkpoint is not the one of the record.
    """
    path = directory / f"seed-{seed}.safetensors"
    record = files.read_json(path.with_suffix(".json"))
    if (actual := files.sha256(path)) != record["checkpoint_sha256"]:
        raise CheckpointError(
            f"{path}: changed since training (SHA-256 {actual}, its record says {record['checkpoint_sha256']}); "
            "remove it, and the workflow trains again"
        )
    return record, checkpoints.load(path)
