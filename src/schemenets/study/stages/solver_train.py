"""Train all seeds of one network that learns to solve a problem; write one record and one checkpoint per seed."""

from collections.abc import Mapping
from typing import Any

from schemenets import files, networks, signals
from schemenets.networks import Architecture
from schemenets.study.layout import Layout
from schemenets.study.measurements.flops import counted
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect
from schemenets.study.stages import _fits, _solvers


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Train at the method's tuned learning rate; write ``seed-N.json`` and ``seed-N.safetensors`` of every seed N."""
    stopwatch = Stopwatch()
    dataset, out = results.dataset(spec["dataset"]), results.job(spec["job"])
    learning_rate = files.read_json(results.solver_tuned(spec["tuned_as"]))["learning_rate"]
    source = of_stage("solver_train", spec)
    data = {dataset.name: files.sha256(dataset)}
    state = _fits.state_file(results.resume, spec, [learning_rate], source, data)
    arrays = signals.read(dataset)
    runs = _solvers.fit(spec, [learning_rate], arrays, state, spec["job"])
    trained = _solvers.architecture(spec)
    length = arrays["train/b"].shape[-1]
    provenance = collect(stopwatch, spec=spec, source=source, data=data)
    for run in runs:
        path = out / f"seed-{run.seed}.safetensors"
        _solvers.save(run.network, path)
        record = {
            "run": f"{spec['job']}/seed-{run.seed}",
            **{key: spec[key] for key in ("problem_name", "method", "learner", "loss", "architecture", "problem")},
            "seed": run.seed,
            "parameters": networks.count(trained).total if isinstance(trained, Architecture) else trained.parameters,
            "operations": counted(run.network, length),
            "points": length,
            "dataset": spec["dataset"],
            "training": {"learning_rate": learning_rate, "epochs": spec["epochs"], "batch": spec["batch"]},
            "status": run.status,
            "diverged_at_step": run.diverged_at,
            "validation_error_by_epoch": run.curve,
            "checkpoint_sha256": files.sha256(path),
            "provenance": provenance,
        }
        files.write_json(path.with_suffix(".json"), record)
    _fits.forget(state)
