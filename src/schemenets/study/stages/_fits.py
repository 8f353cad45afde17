"""What tuning and training share: from specifications to trained runs, resumable."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from schemenets.networks import Architecture
from schemenets.study.specs import dumps
from schemenets.training import Run, Training
from schemenets.training import fit as fit_runs


def fit(
    spec: Mapping[str, Any], learning_rates: list[float], arrays: dict[str, np.ndarray], state: Path, label: str
) -> list[Run]:
    """All seeds of ``spec``, trained at each of these learning rates; the runs of the first rate come first."""
    seeds = spec["seeds"]
    job = Training(
        architecture=Architecture(**spec["architecture"]),
        seeds=tuple(seeds) * len(learning_rates),
        learning_rate=tuple(rate for rate in learning_rates for _ in seeds),
        epochs=spec["epochs"],
        batch=spec["batch"],
    )
    return fit_runs(job, arrays, state, label)


def forget(state: Path) -> None:
    """Remove the interrupted work of a job whose result is stored."""
    state.unlink(missing_ok=True)
    state.with_suffix(".lock").unlink(missing_ok=True)


def state_file(
    directory: Path, spec: Mapping[str, Any], learning_rates: list[float], source: str, data: Mapping[str, str]
) -> Path:
    """File of interrupted work, named after all that the result depends on."""
    key = dumps({"spec": spec, "learning_rates": learning_rates, "source": source, "data": data})
    return directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
