"""Cells of the map: the configured networks and rates, and signals as noisy as the record says."""

from collections.abc import Iterator

from schemenets import files, networks, signals
from schemenets.metrics import psnr
from schemenets.study.audit._findings import DECIBELS, Audited, Finding, disagreement
from schemenets.study.stages import Job


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether choices, networks, learning rates and seeds are those of the specification."""
    spec, path = job.spec, job.output("cell")
    record, grid = files.read_json(path), sorted(spec["learning_rates"])
    sides = {
        side: {
            "parameters": networks.architecture(architecture).count().total,
            "runs": [{"seed": seed} for seed in spec["seeds"]],
        }
        for side, architecture in spec["sides"].items()
    }
    yield from disagreement(path, record, {**spec["cell"], "sides": sides}, "the configuration says")
    edges = {
        side: {"at_edge_of_grid": found["learning_rate"] in (grid[0], grid[-1])}
        for side, found in record["sides"].items()
    }
    yield from disagreement(path, record, {"sides": edges}, "the learning rates say")
    for side, found in record["sides"].items():
        if found["learning_rate"] not in grid:
            problem = f"got the learning rate {found['learning_rate']}, expected one of {grid}"
            yield Finding(path, f"{side}: {problem}")
        for run in found["runs"]:
            if (run["status"] == "ok") == (run["psnr"] is None):
                yield Finding(path, f"{side}, seed {run['seed']}: got {run['psnr']} dB, which is not {run['status']!r}")


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """The PSNR of the noisy test signals; networks would have to be trained again."""
    arrays, path = signals.read(audited.dataset(job.spec["dataset"])), job.output("cell")
    expected = {"noisy_psnr": float(psnr(arrays["test/noisy"], arrays["test/clean"]).mean())}
    yield from disagreement(path, files.read_json(path), expected, "the signals give", absolute=DECIBELS)
