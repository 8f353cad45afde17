"""What tuning and training share: from specifications to trained runs, resumable."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from schemenets import networks, signals, training
from schemenets.study.records.provenance import dumps
from schemenets.study.stages import Job
from schemenets.training import Run


@contextmanager
def fitted(job: Job, learning_rates: list[float]) -> Iterator[list[Run]]:
    """All seeds of a job, trained at each of these learning rates; the runs of the first rate come first.

    Interrupted work resumes. Its state is deleted when the block ends without an error, so store the results inside
    the block.
    """
    spec, seeds = job.spec, job.spec["seeds"]
    state = _state_file(job, learning_rates)
    made = training.Training(
        architecture=networks.architecture(spec["architecture"]),
        task=training.task(spec["task"]),
        seeds=tuple(seeds) * len(learning_rates),
        learning_rate=tuple(rate for rate in learning_rates for _ in seeds),
        epochs=spec["epochs"],
        batch=spec["batch"],
        passes=spec.get("passes", 1),
    )
    yield training.fit(made, data(job, len(learning_rates)), state, f"{job.stage} {job.name}")
    state.unlink(missing_ok=True)
    state.with_suffix(".lock").unlink(missing_ok=True)


def data(job: Job, times: int = 1) -> dict[str, np.ndarray]:
    """The data set of a job; with ``draws`` in its specification, training signals that every seed draws for itself.

    These are of shape (times seeds, signals, length), the same for a seed every time.
    """
    found = signals.read(job.results.dataset(job.spec["dataset"]))
    if draws := job.spec.get("draws"):
        each = [signals.generate({**draws, signals.DRAW: seed}) for seed in job.spec["seeds"]] * times
        found |= {name: np.stack([own[name] for own in each]) for name in each[0]}
    return found


def _state_file(job: Job, learning_rates: list[float]) -> Path:
    """File of interrupted work, named after everything that the result depends on."""
    own = {"stage": job.stage, "spec": job.spec, "learning_rates": learning_rates, "source": job.source}
    key = dumps({**own, "inputs": job.inputs_sha256})
    return job.results.resume / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
