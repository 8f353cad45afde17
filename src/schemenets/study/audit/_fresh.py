"""Data sets generated again from the configuration, and what checkpoints and numerical schemes make of them."""

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from schemenets import checkpoints, files, networks, signals
from schemenets.evaluation import PEAK, denoised_psnr
from schemenets.metrics import psnr
from schemenets.progress import Progress
from schemenets.study import stages
from schemenets.study.audit import _growth
from schemenets.study.audit._findings import TOLERANCE, Audited, Finding, Json, apart, difference, guarded
from schemenets.study.layout import Layout
from schemenets.study.stages import growth
from schemenets.study.stages.evaluate import relative_error
from schemenets.study.stages.schemes import compared
from schemenets.study.stages.stability import searched

SAMPLE = 10  # jobs, at most, of which one seed is tested again
CLIMBS = 0.25  # relative: how far apart searches may end, as rounding leads to other local maxima (up to 8 % seen)


def check(audited: Audited, full: bool) -> Iterator[Finding]:
    """Findings about data sets, and about the PSNR of all networks or a sample of them."""
    made = [(stage, name) for stage in ("signals", "evolution") for name in audited.study.specs(stage)]
    jobs = audited.study.jobs
    chosen = list(jobs) if full else list(jobs)[:: math.ceil(len(jobs) / SAMPLE)]
    progress = Progress("audit with fresh signals", len(made) + len(chosen), "sets and jobs")
    with TemporaryDirectory() as directory:
        fresh = Layout(Path(directory))
        for done, (stage, name) in enumerate(made, start=1):  # evolutions start from signals
            stages.run(stage, audited.study.specs(stage)[name], fresh)
            if (actual := files.sha256(fresh.dataset(name))) != (recorded := audited.data.get(name)):
                path = audited.results.dataset(name)
                yield Finding(path, f"generated again, its SHA-256 is {actual}, but the records say {recorded}")
            progress.update(done, name)
        for index, job in enumerate(chosen):
            seeds = jobs[job]["seeds"]
            tested = seeds if full else [seeds[index % len(seeds)]]
            path = audited.results.job(job) / "evaluation.json"
            yield from guarded(path, _tested_again(audited, fresh, jobs[job], tested, path))
            path = audited.results.job(job) / "stability.json"
            yield from guarded(path, _searched_again(audited, fresh, jobs[job], tested[0], path))
            progress.update(len(made) + index + 1, job)
        followed = list(audited.study.followed.items())
        for name, spec in followed if full else followed[:: max(1, math.ceil(len(followed) / SAMPLE))]:
            path = audited.results.growth(name)
            yield from guarded(path, _followed_again(audited, fresh, spec, path))
        path = audited.results.schemes
        yield from guarded(path, _schemes_again(audited, fresh, path))


def _schemes_again(audited: Audited, fresh: Layout, path: Path) -> Iterator[Finding]:
    stored = files.read_json(path)["rows"]
    expected = [
        row
        for name, own in audited.study.specs("schemes")["all"]["datasets"].items()
        for row in compared(signals.read(fresh.dataset(name)), name, **own)
    ]
    yield from difference(path, stored, expected, "the schemes give", tolerance=1e-9)


def _followed_again(audited: Audited, fresh: Layout, spec: Json, path: Path) -> Iterator[Finding]:
    """Test signals once more through the blocks of all networks of a job."""
    directory = audited.results.job(spec["job"])
    nets = [checkpoints.load(directory / f"seed-{seed}.safetensors") for seed in spec["seeds"]]
    expected = list(growth.followed(nets, growth.starts_of(fresh.dataset(spec["dataset"])), spec))
    stored = files.read_json(path)["followed"]
    yield from difference(path, stored, expected, "followed again it is", tolerance=_growth.TOLERANCE)


def _searched_again(audited: Audited, fresh: Layout, spec: Json, seed: int, path: Path) -> Iterator[Finding]:
    """The search for the worst signals once more, for one network."""
    effort = audited.study.searches[spec["job"]]
    starts = torch.from_numpy(signals.read(fresh.dataset(spec["dataset"]))["test/noisy"][: effort["starts"]]) / PEAK
    (found,) = searched([checkpoints.load(path.with_name(f"seed-{seed}.safetensors"))], starts, effort)
    stored = files.read_json(path)["networks"][spec["seeds"].index(seed)]
    for key, new in zip(("largest_amplification_found", "largest_expansion_found"), found, strict=True):
        old = math.inf if stored[key] is None else stored[key]
        # without a Lipschitz bound quotients of close pairs have no limit that a search could come near to
        limited = key == "largest_amplification_found" or stored["lipschitz_bound"] is not None
        if limited and not math.isclose(old, new, rel_tol=CLIMBS):
            yield Finding(path, f"seed {seed}: {key} is {old}, but searched for again it is {new}")


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
    for name in audited.study.tested_on(spec["job"]):
        arrays, result = signals.read(fresh.dataset(name)), evaluation["test_sets"][name]
        noisy, clean = arrays["test/noisy"], arrays["test/clean"]
        yield from apart(path, name, ["noisy"], [result["noisy_psnr"]], [psnr(noisy, clean).mean()], "the data set")
        stored, errors = (
            [result[key][evaluation["seeds"].index(seed)] for seed in sound] for key in ("psnr", "relative_error")
        )
        values = denoised_psnr(stacked, noisy, clean)
        wrong = list(apart(path, name, sound, stored, values.mean(1), "its checkpoint"))
        yield from wrong
        for seed, old, new in zip(sound, errors, relative_error(values, clean).mean(1), strict=True):
            if not wrong and not np.isclose(np.nan if old is None else old, new, rtol=TOLERANCE, equal_nan=True):
                yield Finding(path, f"{name}, seed {seed}: relative error {old}, but its checkpoint gives {new:.6g}")
