"""What the stages after training share: the networks of a job, as its record describes them."""

from typing import Any, NamedTuple

from schemenets import checkpoints, files
from schemenets.errors import CheckpointError
from schemenets.study.layout import Layout
from schemenets.study.stages import Json


class Trained(NamedTuple):
    """What a training job has written.

    Attributes:
        record: its record.
        networks: the network of every seed.
    """

    record: Json
    networks: dict[int, Any]

    @property
    def status(self) -> dict[int, str]:
        """Outcome of every seed, ``"ok"`` or ``"diverged"``."""
        return {entry["seed"]: entry["status"] for entry in self.record["runs"]}

    @property
    def sound(self) -> dict[int, Any]:
        """The networks of the seeds that did not diverge."""
        return {seed: network for seed, network in self.networks.items() if self.status[seed] == "ok"}


def read(results: Layout, job: str) -> Trained:
    """Record and networks of a training job.

    Raises:
        CheckpointError: one of the files is missing or damaged, or the weights are not those of the record.
    """
    path = results.file("train", job, "weights")
    record = files.read_json(results.file("train", job, "record"))
    if (actual := files.sha256(path)) != record["weights_sha256"]:
        raise CheckpointError(
            f"{path}: SHA-256: got {actual}, expected {record['weights_sha256']} as in its record; remove the file, "
            "and the workflow trains again"
        )
    return Trained(record, checkpoints.load_all(path))
