"""Evaluation: means follow from single signals, and networks are tested again."""

from collections.abc import Iterator

import numpy as np

from schemenets import files
from schemenets.study.audit._findings import DECIBELS, Audited, Finding, disagreement, of_training
from schemenets.study.stages import Job, _trained

ABSOLUTE = ("signals", "noisy_psnr", "psnr", "held_back")  # all others are compared relative to their size
TOLERANCE = 1e-3


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the means are those of the single signals, on all test sets."""
    path = job.output("means")
    record = files.read_json(path)
    trained = _trained.read(job.results, job.name)
    yield from disagreement(path, record, of_training(trained, job), "the training says")
    every, _ = files.read_safetensors(job.output("every"))
    means = {name: {"psnr": every[name].mean(1, dtype=np.float64).tolist()} for name in job.spec["test_sets"]}
    yield from disagreement(path, record, {"test_sets": means}, "the single signals give", absolute=DECIBELS)


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All networks on all test sets."""
    path = job.output("means")
    stored, found = files.read_json(path), files.read_json(audited.run_again(job)["means"])["test_sets"]
    for keys, tolerance in ((ABSOLUTE, {"absolute": DECIBELS}), (["relative_error"], {"relative": TOLERANCE})):
        expected = {"test_sets": {name: {key: own[key] for key in keys} for name, own in found.items()}}
        yield from disagreement(path, stored, expected, "the weights give", **tolerance)
