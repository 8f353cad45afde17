"""Growth: whether it is that of the configured networks, within certified bounds, and random networks drawn again.

Signals that have gone through trained blocks are sent there again with the fresh data sets, in ``_fresh.py``.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files
from schemenets.networks import Architecture
from schemenets.stability import certify
from schemenets.study.audit._findings import Audited, Finding, Json, difference, guarded
from schemenets.study.measurements.growth import log_spaced, random_network, truncated
from schemenets.study.stages import growth

ROUNDING = 1e-9  # of tens of thousands of blocks
AGAIN = 10  # blocks up to which random networks are drawn again
TOLERANCE = 1e-6  # relative: what another machine's rounding may become in so many blocks


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about repetitions, the way through trained blocks, and random networks."""
    study = audited.study
    for check_file, specs in ((_repeated, study.repeated), (_followed, study.followed), (_drawn, study.drawn)):
        for name, spec in specs.items():
            path = audited.results.growth(name)
            yield from guarded(path, check_file(audited, spec, path))


def _repeated(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    content = files.read_json(path)
    data = {f"{spec['dataset']}.safetensors": audited.data[spec["dataset"]]}
    yield from difference(path, content["provenance"]["data_sha256"], data, "the manifest says")
    runs = [f"{spec['job']}/seed-{seed}" for seed in spec["seeds"]]
    tested = [entry["run"] for entry in content["repetition"] if entry["start"] == "test"]
    stored = {"repetitions": content["repetitions"], "runs": tested}
    yield from difference(
        path, stored, {"repetitions": log_spaced(spec["repetitions"]), "runs": runs}, "the configuration says"
    )
    for run in runs:
        bound = certify(checkpoints.load(audited.results.job(f"{run}.safetensors"))).euclidean
        if bound is not None:
            bounds = powers(bound, content["repetitions"])
            for entry in content["repetition"]:
                if entry["run"] == run:
                    what = f"{run}, repeated from {entry['start']} signals"
                    yield from above(path, what, content["repetitions"], entry["amplification"], bounds)


def _followed(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    content, depths = files.read_json(path), list(range(1, spec["architecture"]["blocks"] + 1))
    data = {f"{spec['dataset']}.safetensors": audited.data[spec["dataset"]]}
    yield from difference(path, content["provenance"]["data_sha256"], data, "the manifest says")
    expected = []
    for seed in spec["seeds"]:
        run = f"{spec['job']}/seed-{seed}"
        network = checkpoints.load(audited.results.job(f"{run}.safetensors"))
        bounds = [certify(truncated(network, n)).euclidean for n in depths]
        expected.append({"run": run, "seed": seed, "bounds": bounds})
    stored = [{key: entry[key] for key in ("run", "seed", "bounds")} for entry in content["followed"]]
    yield from difference(
        path,
        {"depths": content["depths"], "followed": stored},
        {"depths": depths, "followed": expected},
        "configuration and checkpoints say",
        tolerance=ROUNDING,
    )
    for entry in content["followed"]:
        allowed = [np.inf if bound is None else bound for bound in entry["bounds"]]
        yield from above(path, f"{entry['run']}, block by block", depths, entry["amplification"], allowed)


def _drawn(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    content = files.read_json(path)
    yield from difference(path, content["depths"], spec["depths"], "the configuration says")
    for entry in content["depth"]:
        if entry["bounds"] is not None:
            yield from above(path, _name(entry), content["depths"], entry["amplification"], entry["bounds"])
    yield from _drawn_again(path, spec, content["depth"])


def powers(bound: float, numbers: list[int]) -> list[float]:
    """bound^n, infinite where that is beyond all numbers."""
    with np.errstate(over="ignore"):
        found: list[float] = (np.float64(bound) ** np.array(numbers)).tolist()
    return found


def above(
    path: Path, what: str, numbers: list[int], values: list[float | None], bounds: list[float]
) -> Iterator[Finding]:
    """At most one finding: the first value above its bound; null is infinite."""
    for n, value, bound in zip(numbers, values, bounds, strict=True):
        if (np.inf if value is None else value) > bound * (1 + ROUNDING):
            yield Finding(path, f"{what}: a factor of {value} at n = {n}, but the bound is {bound}")
            return


def _drawn_again(path: Path, spec: Json, stored: list[Json]) -> Iterator[Finding]:
    """Random networks of few blocks once more, entry by entry; of certified ones the bounds of all depths."""
    for drawn in spec["networks"]:
        architecture = Architecture(**drawn["architecture"])
        if architecture.certified:
            bounds = growth.bounds_of(random_network(architecture, spec["seeds"][:1], drawn["step"]), spec["depths"])
            own = {key: getattr(architecture, key) for key in ("name", "flux", "tied", "certified")}
            for entry in stored:
                if {key: entry[key] for key in own} == own:
                    yield from difference(path, entry["bounds"], bounds, f"{_name(entry)} says", tolerance=TOLERANCE)
    depths = [depth for depth in spec["depths"] if depth <= AGAIN]
    made = list(growth.behind_all_blocks({**spec, "depths": depths})) if depths else []
    count = sum(1 if drawn.get("worst") else len(spec["seeds"]) for drawn in spec["networks"])
    if len(stored) != count:
        yield Finding(path, f"{len(stored)} random networks, but the configuration says {count}")
    for old, new in zip(stored, made, strict=False):
        yield from difference(path, _name(old), _name(new), "the configuration says")
        for key in ("amplification", "perturbation", "expansion"):
            before, again = (_values(entry[key], len(depths)) for entry in (old, new))
            if before.shape != again.shape or not np.allclose(before, again, rtol=TOLERANCE, equal_nan=True):
                yield Finding(path, f"{_name(old)}, {key}: {before}, but drawn again it is {again}")


def _values(values: list[float | None] | None, count: int) -> np.ndarray:
    return np.array([np.nan if x is None else x for x in values or []][:count])


def _name(entry: Json) -> str:
    of = {True: "tied", False: "untied"}[entry["tied"]], "certified" if entry["certified"] else "not certified"
    return f"{entry['name']} with {entry['flux']}, {', '.join(of)}, step {entry['step']:g}, seed {entry['seed']}"
