"""The audit: are these results whole, consistent, and what the code and the configuration give?

Hashes find what changed after the manifest was written. Everything else is found by computing it again, from the
registered configuration down: records and checkpoints, tables, verdicts, certificates, and networks on fresh signals.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from schemenets import checkpoints, claims, files, manifest, networks, rocrate, signals
from schemenets.config import CLAIMS, CONFIG, Study
from schemenets.errors import SchemenetsError
from schemenets.evaluation import denoised_psnr
from schemenets.findings import Finding, apart, cells, difference, guarded
from schemenets.fingerprint import of_stage
from schemenets.layout import Layout
from schemenets.metrics import psnr
from schemenets.networks import Architecture, DenoisingNetwork
from schemenets.progress import Progress
from schemenets.stability import certify, dense_norm
from schemenets.stages.tables import tables

Json = dict[str, Any]
SAMPLE = 10  # jobs of which one seed is tested again
log = logging.getLogger("schemenets")


def run(results: Path, full: bool) -> int:
    """Audit and log one line per finding; exit status 0 if there is none, 1 if there is, 2 if there are no results."""
    for path in (results / "manifest.json", CONFIG):
        if not path.is_file():
            log.error("%s: file is missing; allowed: a results directory, from the directory of the project", path)
            return 2
    findings = audit(results, full)
    for finding in findings:
        log.error("%s", finding)
    log.info("%s: %s", results, f"findings: {len(findings)}" if findings else "no findings")
    return 1 if findings else 0


def audit(results: Path, full: bool = False) -> list[Finding]:
    """All findings about a results directory, with the working directory in that of the project.

    Records made by other code than the present one are no findings; their number is logged.

    Args:
        results: a directory with a ``manifest.json``.
        full: test every checkpoint on fresh signals, not one seed of at most :data:`SAMPLE` jobs.
    """
    layout = Layout(results)
    try:
        listed = files.read_json(layout.manifest)
        checks = _Audit(layout, listed, Study.check(listed["config"]))
    except (SchemenetsError, LookupError, TypeError, AttributeError) as error:
        return [Finding(layout.manifest, f"cannot be used: {error}")]
    return list(checks.findings(full))


class _Audit:
    """The checks, from the manifest to fresh signals; each yields its findings."""

    def __init__(self, results: Layout, listed: Json, study: Study) -> None:
        self.results, self.listed, self.study = results, listed, study
        self.data = {name: entry["sha256"] for name, entry in listed["data"].items()}
        self.sources = {results.root / name: entry.get("source_sha256") for name, entry in listed["files"].items()}

    def findings(self, full: bool) -> Iterator[Finding]:
        yield from guarded(self.results.manifest, self._manifest())
        progress = Progress("runs", len(self.study.jobs))
        for done, (job, spec) in enumerate(self.study.jobs.items(), start=1):
            directory = self.results.job(job)
            for seed in spec["seeds"]:
                yield from guarded(directory / f"seed-{seed}.json", self._run(spec, seed))
            yield from guarded(directory / "evaluation.json", self._evaluation(spec))
            yield from guarded(directory / "stability.json", self._stability(spec))
            progress.update(done, job)
        yield from guarded(self.results.root / "tables", self._tables())
        yield from guarded(self.results.claims, self._claims())
        with TemporaryDirectory() as temporary:
            yield from self._fresh(Layout(Path(temporary)), full)
        self._note_other_code()

    def _manifest(self) -> Iterator[Finding]:
        """Hashes, files without one, and the inputs that the manifest tells."""
        root, entries = self.results.root, self.listed["files"]
        hashes = {root / name: entry["sha256"] for name, entry in entries.items()}
        hashes |= {Path(name): entry["sha256"] for name, entry in self.listed["inputs"].items()}
        wrong = [
            Finding(root / name, "is no result: not in the manifest")
            for name in sorted(manifest.found(self.results, self.study) - set(entries))
        ]
        for path, recorded in hashes.items():
            if not path.is_file():
                wrong.append(Finding(path, "file is missing"))
            elif (actual := files.sha256(path)) != recorded:
                wrong.append(Finding(path, f"SHA-256 is {actual}, but the manifest says {recorded}"))
        if not wrong:
            content = {**manifest.build(self.results, self.study), "schemenets": self.listed["schemenets"]}
            wrong += difference(self.results.manifest, self.listed, content, "the files say")
        yield from wrong
        registered = Study.load(tier=self.study.tier).config
        yield from difference(
            self.results.manifest, {"config": self.study.config}, {"config": registered}, f"{CONFIG} says"
        )
        crate = root / "ro-crate-metadata.json"
        yield from difference(crate, files.read_json(crate), rocrate.describe(self.listed), "the manifest says")

    def _run(self, spec: Json, seed: int) -> Iterator[Finding]:
        """A record and its checkpoint, against each other and against what the configuration asks for."""
        path = self.results.job(spec["job"]) / f"seed-{seed}.json"
        record = files.read_json(path)
        count = networks.count(Architecture(**spec["architecture"]))
        expected = {
            "run": f"{spec['job']}/seed-{seed}",
            **{key: spec[key] for key in ("experiment", "method", "size", "architecture", "dataset")},
            "seed": seed,
            "parameters": count.total,
            "convolution_weights": count.convolution,
            "training": {
                "learning_rate": files.read_json(self.results.tuned(spec["method"]))["learning_rate"],
                **{key: spec[key] for key in ("epochs", "batch")},
            },
        }
        yield from difference(path, {key: record[key] for key in expected}, expected, "configuration and tuning say")
        yield from self._data(path, record, [spec["dataset"]])
        status, curve = record["status"], record["metrics"]["validation_psnr_by_epoch"]
        sound = None not in curve
        if status != ("ok" if sound else "diverged") or (record["diverged_at_step"] is None) != sound:
            yield Finding(path, f"status is {status!r}, which its curve and diverged_at_step contradict")
        if len(curve) != spec["epochs"] or curve[-1] != record["metrics"]["validation_psnr"]:
            yield Finding(path, "validation_psnr is not the end of a curve over all epochs")

        file = path.with_suffix(".safetensors")
        if (actual := files.sha256(file)) != record["checkpoint_sha256"]:
            yield Finding(file, f"SHA-256 is {actual}, but its record says {record['checkpoint_sha256']}")
        network = checkpoints.load(file)
        held = {
            "architecture": asdict(network.architecture),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        }
        yield from difference(file, held, {key: record[key] for key in held}, "its record says")
        if spec["architecture"]["certified"]:
            yield from _certificate(file, network, self.study.config["signals"]["length"])

    def _evaluation(self, spec: Json) -> Iterator[Finding]:
        """Which checkpoints were tested on what, and that the means are those of the single signals."""
        path = self.results.job(spec["job"]) / "evaluation.json"
        evaluation = files.read_json(path)
        expected = {
            **{key: spec[key] for key in ("job", "seeds")},
            "checkpoints_sha256": [files.sha256(path.with_name(f"seed-{seed}.safetensors")) for seed in spec["seeds"]],
        }
        yield from difference(path, {key: evaluation[key] for key in expected}, expected, "the checkpoints say")
        yield from self._data(path, evaluation, self.study.test_sets)
        every, _ = files.read_safetensors(path.with_suffix(".safetensors"))
        for name in self.study.test_sets:
            means = every[name].mean(1, dtype=np.float64)
            yield from apart(path, name, spec["seeds"], evaluation["test_sets"][name]["psnr"], means, "single signals")

    def _stability(self, spec: Json) -> Iterator[Finding]:
        """Bounds, computed again from the checkpoints."""
        path = self.results.job(spec["job"]) / "stability.json"
        stability = files.read_json(path)
        yield from self._data(path, stability, [spec["dataset"]])
        expected = []
        for seed in spec["seeds"]:
            certificate = certify(checkpoints.load(path.with_name(f"seed-{seed}.safetensors")))
            bounds = {"euclidean_bound": certificate.euclidean, "lipschitz_bound": certificate.lipschitz}
            expected.append({"seed": seed, "certified": certificate.holds, **bounds, "counterexample": False})
        stored = [{key: entry[key] for key in expected[0]} for entry in stability["networks"]]
        yield from difference(path, stored, expected, "the checkpoints say")

    def _tables(self) -> Iterator[Finding]:
        """Every table, computed again: those of runs from the records, those of claims from the tables of runs."""
        expected = tables(self.results, list(self.study.jobs), list(self.study.tunings))
        registered, runs, scores = self._registered()
        expected["claims"] = claims.comparison_table(claims.evaluate(registered, runs, scores))
        expected["sensitivity"] = claims.sensitivity(registered, runs, scores)
        for name, table in expected.items():
            path = self.results.table(name)
            stored = cells(path.read_text(encoding="utf-8")) if path.is_file() else {}
            yield from difference(path, stored, cells(table.to_csv(index=False)), "what it is made from says")

    def _claims(self) -> Iterator[Finding]:
        """Every claim's verdict and evidence, computed again from the tables and the registered criteria."""

        def by_id(result: Json) -> Json:
            return {**result, "claims": None, **{claim["id"]: claim for claim in result["claims"]}}

        stored, expected = by_id(files.read_json(self.results.claims)), by_id(claims.evaluate(*self._registered()))
        for key in {**stored, **expected}:
            own, other = ({key: side[key]} if key in side else {} for side in (stored, expected))
            yield from difference(self.results.claims, own, other, "the tables say")

    def _registered(self) -> tuple[Json, pd.DataFrame, pd.DataFrame]:
        runs, scores = (pd.read_csv(self.results.table(name)) for name in ("runs", "psnr"))
        return claims.load(CLAIMS), runs, scores

    def _data(self, path: Path, record: Json, names: Iterable[str]) -> Iterator[Finding]:
        """The data sets that a record says it was made from."""
        expected = {f"{name}.safetensors": self.data[f"data/{name}.safetensors"] for name in names}
        yield from difference(path, record["provenance"]["data_sha256"], expected, "the manifest says")

    def _fresh(self, fresh: Layout, full: bool) -> Iterator[Finding]:
        """Data sets, generated again, and how checkpoints do on them."""
        jobs = self.study.jobs
        chosen = list(jobs) if full else list(jobs)[:: math.ceil(len(jobs) / SAMPLE)]
        progress = Progress("fresh signals", len(self.study.datasets) + len(chosen))
        for done, (name, spec) in enumerate(self.study.datasets.items(), start=1):
            signals.write(spec, fresh.dataset(name))
            if (actual := files.sha256(fresh.dataset(name))) != self.data.get(f"data/{name}.safetensors"):
                yield Finding(self.results.dataset(name), f"generated again its SHA-256 is {actual}, not the recorded")
            progress.update(done, name)
        for index, job in enumerate(chosen):
            seeds = jobs[job]["seeds"]
            tested = seeds if full else [seeds[index % len(seeds)]]
            yield from guarded(self.results.job(job), self._tested_again(fresh, jobs[job], tested))
            progress.update(len(self.study.datasets) + index + 1, job)

    def _tested_again(self, fresh: Layout, spec: Json, seeds: list[int]) -> Iterator[Finding]:
        directory = self.results.job(spec["job"])
        records = {seed: files.read_json(directory / f"seed-{seed}.json") for seed in seeds}
        sound = [seed for seed in seeds if records[seed]["status"] == "ok"]
        if not sound:
            return
        stacked = networks.stack([checkpoints.load(directory / f"seed-{seed}.safetensors") for seed in sound])
        arrays = signals.read(fresh.dataset(spec["dataset"]))
        values = denoised_psnr(stacked, arrays["validation/noisy"], arrays["validation/clean"]).mean(1)
        for seed, value in zip(sound, values, strict=True):
            stored = records[seed]["metrics"]["validation_psnr"]
            yield from apart(directory / f"seed-{seed}.json", "validation", [seed], [stored], [value], "its checkpoint")
        path = directory / "evaluation.json"
        evaluation = files.read_json(path)
        index = [evaluation["seeds"].index(seed) for seed in sound]
        for name in self.study.test_sets:
            arrays, stored = signals.read(fresh.dataset(name)), evaluation["test_sets"][name]
            noisy, clean = arrays["test/noisy"], arrays["test/clean"]
            yield from apart(path, name, ["noisy"], [stored["noisy_psnr"]], [psnr(noisy, clean).mean()], "the data set")
            values = denoised_psnr(stacked, noisy, clean).mean(1)
            yield from apart(path, name, sound, [stored["psnr"][i] for i in index], values, "its checkpoint")

    def _note_other_code(self) -> None:
        """Log how many results come from other code than the present one."""
        present = {self.results.tuned(name): of_stage("tune", spec) for name, spec in self.study.tunings.items()}
        present[self.results.multigrid] = of_stage("multigrid", {})
        for job, spec in self.study.jobs.items():
            directory = self.results.job(job)
            records = [directory / f"seed-{seed}.json" for seed in spec["seeds"]]
            present |= dict.fromkeys(records, of_stage("train", spec))
            present[directory / "evaluation.json"] = of_stage("evaluate", spec)
            present[directory / "stability.json"] = of_stage("stability", spec)
        other = sum(self.sources.get(path) != source for path, source in present.items())
        if other:
            log.info("notice: %d of %d records were made by other code than the present one", other, len(present))


def _certificate(file: Path, network: DenoisingNetwork, length: int) -> Iterator[Finding]:
    """What is wrong with the certificate of a network that is to have one, once more by dense matrices."""
    certificate = certify(network)
    if not certificate.holds:
        reason = "; ".join(certificate.failed) or "no theorem covers it"
        yield Finding(file, f"its certificate does not hold: {reason}")
    if certificate.theorem:
        blocks: Any = network.double().blocks
        for index, block in enumerate(blocks):
            norm = dense_norm(block.K.detach().numpy(), length)
            if float(block.tau) * block.flux.L * norm**2 > 2:
                yield Finding(file, f"blocks.{index}: by its dense matrix, τ = {block.tau:g} exceeds 2/(L‖K‖²)")
