"""Train all seeds of one job; write one record and one checkpoint per seed."""

from collections.abc import Mapping
from typing import Any

from schemenets import checkpoints, files, networks, signals
from schemenets.networks import Architecture
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _fits


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Train at the method's tuned learning rate; write ``seed-N.json`` and ``seed-N.safetensors`` of every seed N."""
    stopwatch = Stopwatch()
    dataset, out = results.dataset(spec["dataset"]), results.job(spec["job"])
    architecture = Architecture(**spec["architecture"])
    learning_rate = files.read_json(results.tuned(spec["method"]))["learning_rate"]
    source = of_stage("train", spec)
    data = {dataset.name: files.sha256(dataset)}
    state = _fits.state_file(results.resume, spec, [learning_rate], source, data)
    runs = _fits.fit(spec, [learning_rate], signals.read(dataset), state, spec["job"])
    data_seed = files.read_json(dataset.with_suffix(".json"))["spec"]["seed"]
    count = networks.count(architecture)
    provenance = collect(stopwatch, spec=spec, source=source, data=data)
    for run in runs:
        checkpoints.save(run.network, out / f"seed-{run.seed}.safetensors")
        record = {
            "run": f"{spec['job']}/seed-{run.seed}",
            **{key: spec[key] for key in ("experiment", "method", "size")},
            "seed": run.seed,
            "seeds": {"weights": run.seed, "shuffling": run.seed, "data": data_seed},
            "architecture": architecture.arguments(),
            "parameters": count.total,
            "convolution_weights": count.convolution,
            "dataset": spec["dataset"],
            "training": {"learning_rate": learning_rate, "epochs": spec["epochs"], "batch": spec["batch"]},
            "status": run.status,
            "diverged_at_step": run.diverged_at,
            "metrics": {"validation_psnr": run.outcome, "validation_psnr_by_epoch": run.curve},
            "checkpoint_sha256": files.sha256(out / f"seed-{run.seed}.safetensors"),
            "provenance": provenance,
        }
        files.write_json(out / f"seed-{run.seed}.json", record)
    _fits.forget(state)
