"""Tuning, records, checkpoints, evaluations, stability, attacks: against each other, the configuration and theory."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files, networks
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.operators import norm_bound
from schemenets.progress import Progress
from schemenets.stability import Norm, certify, dense_norm, guaranteed_psnr, to_verify, verify
from schemenets.study.audit._findings import TOLERANCE, Audited, Finding, Json, apart, difference, guarded
from schemenets.study.audit._growth import above, powers
from schemenets.study.measurements import fixed_points
from schemenets.study.measurements.growth import log_spaced


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about everything that training, evaluation, attacks and the search for instability wrote."""
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
        for name, check_file in (("evaluation", _evaluation), ("stability", _stability), ("robustness", _robustness)):
            path = directory / f"{name}.json"
            if name != "robustness" or job in audited.study.attacks:
                yield from guarded(path, check_file(audited, spec, path))
        progress.update(done, job)
    path = audited.results.fixed_points
    yield from guarded(path, _fixed_points(audited, path))


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
    length = audited.study.config["signals"]["length"]
    if spec["architecture"]["certified"]:
        yield from _certificate(path, network, length)
    elif to_verify(network.architecture, certify(network)):
        yield from _verification(path, length)


def _certificate(path: Path, network: DenoisingNetwork, length: int) -> Iterator[Finding]:
    """What is wrong with the certificate of a network that is to have one, and with its map; by dense matrices too."""
    norms: dict[str, Norm] = {"": norm_bound, " by dense matrices": partial(dense_norm, length=length)}
    for by, norm in norms.items():
        certificate = certify(network, norm)
        if certificate.theorem is None:
            yield Finding(path, "its certificate does not hold: no theorem covers it")
            return
        if certificate.failed:
            yield Finding(path, f"its certificate does not hold{by}: {'; '.join(certificate.failed)}")
    yield from _verification(path, length)


def _verification(path: Path, length: int) -> Iterator[Finding]:
    for problem in verify(path, length):
        yield Finding(path, problem)


def _evaluation(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    """Which checkpoints were tested on what, and whether the means are those of the single signals."""
    evaluation = files.read_json(path)
    expected = {
        **{key: spec[key] for key in ("job", "seeds")},
        "checkpoints_sha256": [files.sha256(path.with_name(f"seed-{seed}.safetensors")) for seed in spec["seeds"]],
    }
    yield from difference(path, {key: evaluation[key] for key in expected}, expected, "the checkpoints say")
    test_sets = audited.study.tested_on(spec["job"])
    yield from _data(audited, path, evaluation, test_sets)
    every, _ = files.read_safetensors(path.with_suffix(".safetensors"))
    for name in test_sets:
        means = every[name].mean(1, dtype=np.float64)
        yield from apart(path, name, spec["seeds"], evaluation["test_sets"][name]["psnr"], means, "mean of signals")


def _stability(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    """Whether the bounds are those of the checkpoints, and whether search and repetition left them standing."""
    stability = files.read_json(path)
    yield from _data(audited, path, stability, [spec["dataset"]])
    numbers = log_spaced(audited.study.searches[spec["job"]]["repetitions"])
    yield from difference(path, stability["repetitions"], numbers, "the configuration says")
    expected, certificates = [], []
    for seed in spec["seeds"]:
        network = checkpoints.load(path.with_name(f"seed-{seed}.safetensors"))
        certificate = certify(network)
        certificates.append(certificate)
        margins = [block.step_margin for block in certificate.blocks]
        of_theorem = {"theorem": certificate.theorem, "failed_conditions": certificate.failed}
        held = {"certified": certificate.holds, **of_theorem, **certificate.bounds, "step_margins": margins}
        # what contradicts a checkpoint is found anew with the checkpoint
        expected.append(
            {"seed": seed, **held, "contradictions": [] if to_verify(network.architecture, certificate) else None}
        )
    stored = [{key: entry[key] for key in expected[0]} for entry in stability["networks"]]
    yield from difference(path, stored, expected, "the checkpoints say")
    for entry, certificate in zip(stability["networks"], certificates, strict=True):
        by, apart_by = (
            np.inf if entry[key] is None else entry[key]
            for key in ("largest_amplification_found", "largest_expansion_found")
        )
        if entry["counterexample"] or certificate.refuted_by(by, apart_by):
            yield Finding(
                path,
                f"seed {entry['seed']}: a signal is amplified by {by}, but the bound is {entry['euclidean_bound']}, or "
                f"a difference by {apart_by}, but the bound is {entry['lipschitz_bound']}",
            )
        if spec["architecture"]["certified"]:
            bounds = powers(np.inf if certificate.euclidean is None else certificate.euclidean, numbers)
            yield from above(path, f"seed {entry['seed']}, repeated", numbers, entry["repeated"], bounds)


def _fixed_points(audited: Audited, path: Path) -> Iterator[Finding]:
    """Whether the rates are those of the checkpoints, and whether the iterations keep to them."""
    result, specs = files.read_json(path), audited.study.specs("fixed_points")["all"]["networks"]
    yield from _data(audited, path, result, {spec["dataset"] for spec in specs})
    expected = []
    for spec in specs:
        for seed in spec["seeds"]:
            run = f"{spec['job']}/seed-{seed}"
            certificate = certify(checkpoints.load(audited.results.job(f"{run}.safetensors")))
            margin = certificate.blocks[0].step_margin
            rate = None if margin is None else 1 - margin
            expected.append({"run": run, "certified": certificate.holds, "rate": rate})
    stored = [{key: entry[key] for key in ("run", "certified", "rate")} for entry in result["networks"]]
    yield from difference(path, stored, expected, "the checkpoints say")
    for entry in result["networks"]:
        for step in entry["steps"]:
            q, tolerance, taken = entry["rate"], step["tolerance"], step["iterations"]
            allowed = fixed_points.allowed_iterations(tolerance, q) if q is not None else None
            if allowed != step["allowed_iterations"]:
                problem = f"{step['allowed_iterations']} iterations allowed until {tolerance:g}, but the rate {q} says"
                yield Finding(path, f"{entry['run']}: {problem} {allowed}")
            if allowed is not None and allowed <= entry["limit"] and (taken is None or taken > allowed):
                problem = f"{taken} iterations until {tolerance:g}, but its rate allows {allowed}"
                yield Finding(path, f"{entry['run']}: {problem}")


def _robustness(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    """Whether it is about the tested networks and signals, and no attack went beyond what is guaranteed."""
    robustness = files.read_json(path)
    yield from _data(audited, path, robustness, [spec["dataset"]])
    checkpoints_of = [path.with_name(f"seed-{seed}.safetensors") for seed in spec["seeds"]]
    bounds = [certify(checkpoints.load(file)).bounds["lipschitz_bound"] for file in checkpoints_of]
    expected = {
        **{key: spec[key] for key in ("job", "seeds")},
        "checkpoints_sha256": [files.sha256(file) for file in checkpoints_of],
        "signals": audited.study.attacks[spec["job"]]["signals"],
        "lipschitz_bound": bounds,
    }
    yield from difference(path, {key: robustness[key] for key in expected}, expected, "the checkpoints say")
    sizes = [entry["size"] for entry in robustness["sizes"]]
    yield from difference(path, sizes, [0, *audited.study.attacks[spec["job"]]["sizes"]], "the configuration says")
    every, _ = files.read_safetensors(path.with_name("evaluation.safetensors"))
    plain = every[spec["dataset"]][:, : robustness["signals"]].astype(np.float64)
    for entry in robustness["sizes"]:
        what = f"perturbations of {entry['size']}"
        limits = [
            np.nan if bound is None else guaranteed_psnr(own, bound, entry["size"]).mean()
            for own, bound in zip(plain, bounds, strict=True)
        ]
        stored = entry["psnr_guaranteed"]
        yield from apart(path, f"guaranteed for {what}", spec["seeds"], stored, limits, "its bound")
        if entry["size"] == 0:
            for key in ("psnr_attacked", "psnr_random"):
                yield from apart(path, f"{key} without one", spec["seeds"], entry[key], plain.mean(1), "its evaluation")
        for seed, bound, found in zip(spec["seeds"], bounds, entry["lipschitz_found"], strict=True):
            if bound is not None and found is not None and found > bound * (1 + 1e-9):
                yield Finding(path, f"seed {seed}: {what} are amplified by {found}, but the Lipschitz bound is {bound}")
        for seed, limit, found in zip(spec["seeds"], limits, entry["psnr_attacked"], strict=True):
            if found is not None and found < limit - TOLERANCE:
                yield Finding(path, f"seed {seed}: {what} leave {found} dB, but {limit:.4f} dB are guaranteed")


def _data(audited: Audited, path: Path, record: Json, names: Iterable[str]) -> Iterator[Finding]:
    """Whether a record was made from these data sets, in the manifest's version."""
    expected = {f"{name}.safetensors": audited.data[name] for name in names}
    yield from difference(path, record["provenance"]["data_sha256"], expected, "the manifest says")
