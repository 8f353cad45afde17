"""Tuning, records, checkpoints, evaluations and stability: against each other, the configuration and theory."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files, networks
from schemenets.audit._findings import Audited, Finding, Json, apart, difference, guarded
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.operators import norm_bound
from schemenets.progress import Progress
from schemenets.stability import Norm, certify, dense_norm


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about everything that training, evaluation and the search for instability wrote."""
    for method, spec in audited.study.tunings.items():
        path = audited.results.tuned(method)
        yield from guarded(path, _tuning(audited, spec, path))
    progress = Progress("audit of runs", len(audited.study.jobs), "jobs")
    for done, (job, spec) in enumerate(audited.study.jobs.items(), start=1):
        directory = audited.results.job(job)
        for seed in spec["seeds"]:
            path = directory / f"seed-{seed}.json"
            yield from guarded(path, _record(audited, spec, seed, path))
            path = path.with_suffix(".safetensors")
            yield from guarded(path, _checkpoint(audited, spec, path))
        for name, check_file in (("evaluation", _evaluation), ("stability", _stability)):
            path = directory / f"{name}.json"
            yield from guarded(path, check_file(audited, spec, path))
        progress.update(done, job)


def _tuning(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    tuning = files.read_json(path)
    yield from _data(audited, path, tuning, [spec["dataset"]])
    tried = [trial["learning_rate"] for trial in tuning["trials"]]
    yield from difference(path, tried, sorted(spec["learning_rates"]), "the configuration says")
    best = max(tuning["trials"], key=lambda trial: trial["mean_validation_psnr"])["learning_rate"]
    if tuning["learning_rate"] != best:
        yield Finding(path, f"learning_rate is {tuning['learning_rate']}, but the best trial has {best}")


def _record(audited: Audited, spec: Json, seed: int, path: Path) -> Iterator[Finding]:
    record = files.read_json(path)
    count = networks.count(Architecture(**spec["architecture"]))
    expected = {
        "run": f"{spec['job']}/seed-{seed}",
        **{key: spec[key] for key in ("experiment", "method", "size", "architecture", "dataset")},
        "seed": seed,
        "parameters": count.total,
        "convolution_weights": count.convolution,
        "training": {
            "learning_rate": files.read_json(audited.results.tuned(spec["method"]))["learning_rate"],
            **{key: spec[key] for key in ("epochs", "batch")},
        },
    }
    yield from difference(path, {key: record[key] for key in expected}, expected, "configuration and tuning say")
    yield from _data(audited, path, record, [spec["dataset"]])
    status, curve = record["status"], record["metrics"]["validation_psnr_by_epoch"]
    sound = None not in curve
    if status != ("ok" if sound else "diverged") or (record["diverged_at_step"] is None) != sound:
        yield Finding(path, f"status is {status!r}, which its curve or diverged_at_step contradicts")
    if len(curve) != spec["epochs"] or curve[-1] != record["metrics"]["validation_psnr"]:
        yield Finding(path, "validation_psnr is not the end of a curve over all epochs")


def _checkpoint(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    record = files.read_json(path.with_suffix(".json"))
    if (actual := files.sha256(path)) != record["checkpoint_sha256"]:
        yield Finding(path, f"SHA-256 is {actual}, but its record says {record['checkpoint_sha256']}")
    network = checkpoints.load(path)
    held = {
        "architecture": network.architecture.arguments(),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    yield from difference(path, held, {key: record[key] for key in held}, "its record says")
    if spec["architecture"]["certified"]:
        yield from _certificate(path, network, audited.study.config["signals"]["length"])


def _certificate(path: Path, network: DenoisingNetwork, length: int) -> Iterator[Finding]:
    """What is wrong with the certificate of a network that is to have one, once more by dense matrices."""
    norms: dict[str, Norm] = {"": norm_bound, " by dense matrices": partial(dense_norm, length=length)}
    for by, norm in norms.items():
        certificate = certify(network, norm)
        if certificate.theorem is None:
            yield Finding(path, "its certificate does not hold: no theorem covers it")
            return
        if certificate.failed:
            yield Finding(path, f"its certificate does not hold{by}: {'; '.join(certificate.failed)}")


def _evaluation(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    """Which checkpoints were tested on what, and whether the means are those of the single signals."""
    evaluation = files.read_json(path)
    expected = {
        **{key: spec[key] for key in ("job", "seeds")},
        "checkpoints_sha256": [files.sha256(path.with_name(f"seed-{seed}.safetensors")) for seed in spec["seeds"]],
    }
    yield from difference(path, {key: evaluation[key] for key in expected}, expected, "the checkpoints say")
    yield from _data(audited, path, evaluation, audited.study.test_sets)
    every, _ = files.read_safetensors(path.with_suffix(".safetensors"))
    for name in audited.study.test_sets:
        means = every[name].mean(1, dtype=np.float64)
        yield from apart(path, name, spec["seeds"], evaluation["test_sets"][name]["psnr"], means, "mean of signals")


def _stability(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    """Whether the bounds are those of the checkpoints, and whether the search left them standing."""
    stability = files.read_json(path)
    yield from _data(audited, path, stability, [spec["dataset"]])
    expected = []
    for seed in spec["seeds"]:
        certificate = certify(checkpoints.load(path.with_name(f"seed-{seed}.safetensors")))
        margins = [block.step_margin for block in certificate.blocks]
        expected.append({"seed": seed, "certified": certificate.holds, **certificate.bounds, "step_margins": margins})
    stored = [{key: entry[key] for key in expected[0]} for entry in stability["networks"]]
    yield from difference(path, stored, expected, "the checkpoints say")
    for entry in stability["networks"]:
        bound, found = entry["euclidean_bound"], entry["largest_amplification_found"]
        if entry["counterexample"] or (bound is not None and found > bound * (1 + 1e-12)):
            yield Finding(path, f"seed {entry['seed']}: a signal is amplified by {found}, but the bound is {bound}")


def _data(audited: Audited, path: Path, record: Json, names: Iterable[str]) -> Iterator[Finding]:
    """Whether a record was made from these data sets, in the manifest's version."""
    expected = {f"{name}.safetensors": audited.data[name] for name in names}
    yield from difference(path, record["provenance"]["data_sha256"], expected, "the manifest says")
