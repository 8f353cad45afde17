"""Random networks: certified ones keep to their bounds, and all are drawn again."""

from collections.abc import Iterator

from schemenets import files
from schemenets.networks import Architecture
from schemenets.study.audit._findings import Audited, Finding, Json, above, difference, disagreement
from schemenets.study.audit.checks.growth import DEPTH
from schemenets.study.measurements.growth import bounds_of, random_network
from schemenets.study.stages import Job

AGAIN = 10  # blocks up to which signals are sent again through random networks
DRAWN = ("name", "flux", "tied", "certified")


def check(audited: Audited, job: Job) -> Iterator[Finding]:
    """Whether the record is of the configured networks, and certified ones keep to their bounds."""
    path, record = job.output("growth"), files.read_json(job.output("growth"))
    depth = [entry for drawn in job.spec["networks"] for entry in _expected(drawn, job.spec)]
    expected = {"depths": job.spec["depths"], "depth": depth}
    yield from disagreement(path, record, expected, "the configuration says", relative=DEPTH)
    for entry in record["depth"]:
        if entry["bounds"] is not None:
            what = ", ".join(f"{key} {entry[key]}" for key in (*DRAWN, "step", "seed"))
            yield from above(path, what, record["depths"], entry["amplification"], entry["bounds"])


def _expected(drawn: Json, spec: Json) -> Iterator[Json]:
    """The network of every seed, with the bounds of all depths: certified ones have the same for all seeds."""
    architecture, bounds = Architecture(**drawn["architecture"]), None
    if architecture.certified:
        bounds = bounds_of(random_network(architecture, spec["seeds"][:1], drawn["step"]), spec["depths"])
    for seed in [None] if drawn.get("worst") else spec["seeds"]:
        named = {key: getattr(architecture, key) for key in DRAWN}
        yield {**named, "step": drawn["step"], "seed": seed, "bounds": bounds}


def again(audited: Audited, job: Job) -> Iterator[Finding]:
    """Growth through the first few blocks."""
    path, depths = job.output("growth"), [depth for depth in job.spec["depths"] if depth <= AGAIN]
    found = files.read_json(audited.run_again(job, {**job.spec, "depths": depths})["growth"])["depth"]
    stored = [
        {key: value[: len(depths)] if isinstance(value, list) else value for key, value in entry.items()}
        for entry in files.read_json(path)["depth"]
    ]
    yield from difference(path, {"depth": stored}, {"depth": found}, "drawn again", relative=DEPTH)
