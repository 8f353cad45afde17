"""What the stages of networks that solve share: from specifications to trained runs, and back from their files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemenets import checkpoints, files, multigrid
from schemenets.errors import CheckpointError
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.multigrid.training import Learner, SolverTraining
from schemenets.multigrid.training import fit as fit_runs
from schemenets.networks import Architecture
from schemenets.training import Run


def architecture(spec: Mapping[str, Any]) -> Learner:
    """What a job trains."""
    if spec["learner"] == "cycle":
        return CycleArchitecture.read(spec["architecture"])
    return Architecture(**spec["architecture"])


def consistent(spec: Mapping[str, Any]) -> bool:
    """Whether solutions of an equation are fixed points of what a job trains, whatever the weights are."""
    made = architecture(spec)
    return made.consistent if isinstance(made, CycleArchitecture) else made.name == "multigrid_unet"


def fit(
    spec: Mapping[str, Any], learning_rates: list[float], arrays: dict[str, np.ndarray], state: Path, label: str
) -> list[Run]:
    """All seeds of ``spec``, trained at each of these learning rates; the runs of the first rate come first."""
    seeds = spec["seeds"]
    job = SolverTraining(
        architecture=architecture(spec),
        problem=Problem(**spec["problem"]),
        loss=spec["loss"],
        seeds=tuple(seeds) * len(learning_rates),
        learning_rate=tuple(rate for rate in learning_rates for _ in seeds),
        epochs=spec["epochs"],
        batch=spec["batch"],
    )
    return fit_runs(job, arrays, state, label)


def save(network: Any, path: Path) -> None:
    """Write a checkpoint."""
    (multigrid.save if isinstance(network.architecture, CycleArchitecture) else checkpoints.save)(network, path)


def read(directory: Path, spec: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], torch.nn.Module]:
    """Record and network, in double precision, of one seed of the job in ``directory``.

    Raises:
        CheckpointError: one of them is missing or damaged, or the checkpoint is not the one of the record.
    """
    path = directory / f"seed-{seed}.safetensors"
    record = files.read_json(path.with_suffix(".json"))
    if files.sha256(path) != record["checkpoint_sha256"]:
        raise CheckpointError(f"{path}: changed since training; remove it, and the workflow trains again")
    return record, (multigrid.load if spec["learner"] == "cycle" else checkpoints.load)(path).double()
