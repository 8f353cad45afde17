"""Data sets generated again from the configuration, and what checkpoints make of them."""

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from schemenets import checkpoints, files, networks, signals
from schemenets.audit._findings import Audited, Finding, Json, apart, guarded
from schemenets.evaluation import denoised_psnr
from schemenets.layout import Layout
from schemenets.metrics import psnr
from schemenets.progress import Progress

SAMPLE = 10  # jobs, at most, of which one seed is tested again


def check(audited: Audited, full: bool) -> Iterator[Finding]:
    """Findings about data sets, and about the PSNR of all networks or a sample of them."""
    datasets, jobs = audited.study.datasets, audited.study.jobs
    chosen = list(jobs) if full else list(jobs)[:: math.ceil(len(jobs) / SAMPLE)]
    progress = Progress("audit with fresh signals", len(datasets) + len(chosen), "sets and jobs")
    with TemporaryDirectory() as directory:
        fresh = Layout(Path(directory))
        for done, (name, spec) in enumerate(datasets.items(), start=1):
            signals.write(spec, fresh.dataset(name))
            if (actual := files.sha256(fresh.dataset(name))) != (recorded := audited.data.get(name)):
                path = audited.results.dataset(name)
                yield Finding(path, f"generated again, its SHA-256 is {actual}, but the records say {recorded}")
            progress.update(done, name)
        for index, job in enumerate(chosen):
            seeds = jobs[job]["seeds"]
            tested = seeds if full else [seeds[index % len(seeds)]]
            path = audited.results.job(job) / "evaluation.json"
            yield from guarded(path, _tested_again(audited, fresh, jobs[job], tested, path))
            progress.update(len(datasets) + index + 1, job)


def _tested_again(audited: Audited, fresh: Layout, spec: Json, seeds: list[int], path: Path) -> Iterator[Finding]:
    records = {seed: path.with_name(f"seed-{seed}.json") for seed in seeds}
    metrics = {seed: files.read_json(record)["metrics"] for seed, record in records.items()}
    sound = [seed for seed in seeds if metrics[seed]["validation_psnr"] is not None]
    if not sound:
        return
    stacked = networks.stack([checkpoints.load(records[seed].with_suffix(".safetensors")) for seed in sound])
    arrays = signals.read(fresh.dataset(spec["dataset"]))
    values = denoised_psnr(stacked, arrays["validation/noisy"], arrays["validation/clean"]).mean(1)
    for seed, value in zip(sound, values, strict=True):
        stored = metrics[seed]["validation_psnr"]
        yield from apart(records[seed], "validation", [seed], [stored], [value], "its checkpoint")
    evaluation = files.read_json(path)
    for name in audited.study.test_sets:
        arrays, result = signals.read(fresh.dataset(name)), evaluation["test_sets"][name]
        noisy, clean = arrays["test/noisy"], arrays["test/clean"]
        yield from apart(path, name, ["noisy"], [result["noisy_psnr"]], [psnr(noisy, clean).mean()], "the data set")
        stored = [result["psnr"][evaluation["seeds"].index(seed)] for seed in sound]
        yield from apart(path, name, sound, stored, denoised_psnr(stacked, noisy, clean).mean(1), "its checkpoint")
