"""Training: records against architectures, tuning and learning curves; weights against records and certificates."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from schemenets import checkpoints, files, networks, signals, training
from schemenets.networks import DenoisingNetwork
from schemenets.operators import norm_bound
from schemenets.stability import Norm, certify, dense_norm, to_verify, verify
from schemenets.study import stages
from schemenets.study.audit._findings import DECIBELS, Audited, Finding, Json, difference, disagreement, guarded
from schemenets.study.stages import Job, _trained

ERRORS = 1e-3  # relative: what another machine's single precision may change of the errors of solvers


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether record and weights are those of the specification."""
    spec, path, weights = job.spec, job.output("record"), job.output("weights")
    record = files.read_json(path)
    stage, name = stages.dataset(spec["dataset"])
    data, count = audited.study.specs(stage)[name], networks.architecture(spec["architecture"]).count()
    tuned = {} if "learning_rate" in spec else files.read_json(job.results.file("tune", spec["rate"], "trials"))
    rate = (spec | tuned)["learning_rate"]
    expected = {
        "job": job.name,
        **{key: spec[key] for key in ("experiment", "method", "size", "task", "architecture", "dataset")},
        "parameters": count.total,
        "convolution_weights": count.convolution,
        "data_seed": data["seed"],
        "training": {"learning_rate": rate, **{key: spec[key] for key in ("epochs", "batch")}},
        "runs": [{"seed": seed} for seed in spec["seeds"]],
        "weights_sha256": files.sha256(weights),
    }
    if spec["task"]["name"] == "solving":
        expected["points"] = data["length"] - (not spec["task"]["problem"]["screened"])
    yield from disagreement(path, record, expected, "configuration, tuning and weights say")
    runs = [_of_curve(run["validation_by_epoch"]) for run in record["runs"]]
    yield from disagreement(path, record, {"runs": runs}, "the learning curves say")
    for run in record["runs"]:
        diverged, epochs = run["status"] != "ok", len(run["validation_by_epoch"])
        if diverged == (run["diverged_at_step"] is None) or epochs != spec["epochs"]:
            problem = f"{epochs} epochs and divergence at the step {run['diverged_at_step']}"
            yield Finding(path, f"seed {run['seed']}: got {problem}, expected {spec['epochs']} and {run['status']!r}")
    yield from guarded(weights, _weights(record, weights, audited.study.config["signals"]["length"]))


def _of_curve(curve: list[float | None]) -> Json:
    return {"status": "diverged" if None in curve else "ok", "validation": curve[-1]}


def _weights(record: Json, path: Path, length: int) -> Iterator[Finding]:
    trained = checkpoints.load_all(path)
    (architecture,) = {network.architecture for network in trained.values()}
    stored = {
        "architecture": architecture.arguments(),
        "parameters": sum(parameter.numel() for parameter in next(iter(trained.values())).parameters()),
        "runs": [{"seed": seed} for seed in trained],
    }
    expected = {**{key: record[key] for key in stored}, "runs": [{"seed": run["seed"]} for run in record["runs"]]}
    yield from difference(path, stored, expected, "its record says")
    for seed, network in trained.items() if record["task"]["name"] == "denoising" else ():
        for problem in _contradictions(path, seed, network, length, record["architecture"]["certified"]):
            yield Finding(path, f"seed {seed}: {problem}")


def _contradictions(path: Path, seed: int, network: DenoisingNetwork, length: int, certified: bool) -> Iterator[str]:
    """What is wrong with a certificate that has to hold, and with any certificate by dense matrices."""
    norms: dict[str, Norm] = {"": norm_bound, " by dense matrices": partial(dense_norm, length=length)}
    for by, norm in norms.items() if certified else ():
        certificate = certify(network, norm)
        if certificate.theorem is None:
            yield "its certificate does not hold: no theorem covers it"
            return
        if certificate.failed:
            yield f"its certificate does not hold{by}: {'; '.join(certificate.failed)}"
    if certified or to_verify(network.architecture, certify(network)):
        yield from verify(path, length, seed)


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All networks on the validation data again."""
    spec, trained = job.spec, _trained.read(job.results, job.name)
    if trained.sound:
        task = training.task(spec["task"])
        stacked = networks.stack(list(trained.sound.values()))
        precision = next(stacked.parameters()).detach().numpy().dtype
        arrays = signals.read(audited.dataset(spec["dataset"]))
        pair = (arrays[f"validation/{part}"].astype(precision) for part in task.pair)
        measured = task.measure(stacked, *pair).tolist()
        values = dict(zip(trained.sound, measured, strict=True))
        expected = {"runs": [{"validation": values.get(seed)} for seed in trained.networks]}
        tolerance = {"absolute": DECIBELS} if spec["task"]["name"] == "denoising" else {"relative": ERRORS}
        yield from disagreement(job.output("record"), trained.record, expected, "the weights give", **tolerance)
