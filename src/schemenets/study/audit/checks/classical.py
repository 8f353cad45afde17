"""Classical denoisers: what they gain, and the same again."""

from collections.abc import Iterator

from schemenets import files
from schemenets.study.audit._findings import Audited, Finding, difference
from schemenets.study.measurements.classical import METHODS
from schemenets.study.stages import Job
from schemenets.study.stages.classical import noise_of

ROUNDING = 1e-9  # dB


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the record is of the configured data sets, and no choice is better than that of the oracle."""
    path = job.output("classical")
    record = files.read_json(path)
    yield from difference(path, record["tuned_on"], job.spec["tuned_on"], "the configuration says")
    for name, found in record["test_sets"].items():
        for key in METHODS:
            tuned, oracle = found[key]["psnr"], found[key]["oracle_psnr"]
            if tuned > oracle + ROUNDING:
                yield Finding(path, f"{name}, {key}: got {tuned} dB, expected at most {oracle} dB, as the oracle has")


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """All denoisers on the test sets of the first noise level, or of all levels."""
    path, pairs = job.output("classical"), job.spec["tuned_on"]
    if not audited.full:
        first = noise_of(next(iter(pairs)))
        pairs = {name: source for name, source in pairs.items() if noise_of(name) == first}
    stored, found = (
        {
            "tuning": {name: record["tuning"][name] for name in pairs.values()},
            "test_sets": {name: record["test_sets"][name] for name in pairs},
        }
        for record in map(files.read_json, (path, audited.run_again(job, {"tuned_on": pairs})["classical"]))
    )
    yield from difference(path, stored, found, "the denoisers give", absolute=ROUNDING)
