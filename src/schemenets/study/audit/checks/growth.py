"""Growth of trained networks: within certified bounds, and measured again block by block."""

from collections.abc import Iterator

from schemenets import files
from schemenets.stability import certify
from schemenets.study.audit._findings import ROUNDING, Audited, Finding, above, disagreement, powers
from schemenets.study.measurements.growth import log_spaced, truncated
from schemenets.study.stages import Job, _trained

DEPTH = 1e-6  # relative: how far another machine's rounding may grow through all blocks


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the record is of the configured networks, and they keep to their bounds."""
    spec, path, networks = job.spec, job.output("growth"), _trained.read(job.results, job.name).networks
    record, depths = files.read_json(path), list(range(1, spec["architecture"]["blocks"] + 1))
    numbers = log_spaced(spec["repetitions"]) if spec["repetitions"] else []
    measured = {seed: net.double() for seed, net in networks.items()}  # as the stage does
    bounds = {seed: [certify(truncated(net, n)).amplification for n in depths] for seed, net in measured.items()}
    expected = {
        **{"job": job.name, "depths": depths, "repetitions": numbers},
        "repetition": [{"seed": seed, "start": start} for seed in networks for start in ("test", "random") if numbers],
        "followed": [{"seed": seed, "bounds": own} for seed, own in bounds.items()],
    }
    yield from disagreement(path, record, expected, "configuration and weights say", relative=ROUNDING)
    for entry in record["repetition"]:
        what, bound = f"seed {entry['seed']}, repeated from {entry['start']} signals", bounds[entry["seed"]][-1]
        yield from above(path, what, numbers, entry["amplification"], powers(bound, numbers))
    for entry in record["followed"]:
        yield from above(path, f"seed {entry['seed']}, block by block", depths, entry["amplification"], entry["bounds"])


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """Test signals through the blocks of all networks; repetitions take too long."""
    path, written = job.output("growth"), audited.run_again(job, {**job.spec, "repetitions": 0})
    found = files.read_json(written["growth"])["followed"]
    yield from disagreement(path, files.read_json(path), {"followed": found}, "the weights give", relative=DEPTH)
