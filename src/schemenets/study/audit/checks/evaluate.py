"""Evaluation: means follow from single signals, and networks are tested again."""

from collections.abc import Iterator

import numpy as np

from schemenets import files
from schemenets.study.audit._findings import DECIBELS, Audited, Finding, Json, disagreement, of_training
from schemenets.study.stages import Job, _trained

ABSOLUTE = ("signals", "noisy_psnr", "psnr", "held_back", "images")  # all others are compared relative to their size
TOLERANCE = 1e-3


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the means are those of the single signals, on all test sets."""
    path = job.output("means")
    record = files.read_json(path)
    trained = _trained.read(job.results, job.name)
    yield from disagreement(path, record, of_training(trained, job), "the training says")
    every, _ = files.read_safetensors(job.output("every"))
    means: Json = {}
    for name in job.spec["test_sets"]:
        means[name] = _mean(every[name])
        if images := record["test_sets"][name].get("images"):
            own = (
                every[name][:, index :: len(images)] for index in range(len(images))
            )  # signals are from each in turn
            means[name]["images"] = dict(zip(images, map(_mean, own), strict=True))
    yield from disagreement(path, record, {"test_sets": means}, "the single signals give", absolute=DECIBELS)


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All networks on all test sets."""
    path = job.output("means")
    stored, found = files.read_json(path), files.read_json(audited.run_again(job)["means"])["test_sets"]
    for keys, tolerance in ((ABSOLUTE, {"absolute": DECIBELS}), (["relative_error"], {"relative": TOLERANCE})):
        expected = {"test_sets": {name: {key: own[key] for key in keys if key in own} for name, own in found.items()}}
        yield from disagreement(path, stored, expected, "the weights give", **tolerance)


def _mean(values: np.ndarray) -> Json:
    return {"psnr": values.mean(1, dtype=np.float64).tolist()}
