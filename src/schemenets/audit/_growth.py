"""Growth: whether it is that of the configured networks, within certified bounds, and random networks drawn again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files
from schemenets.audit._findings import Audited, Finding, Json, difference, guarded
from schemenets.stability import certify
from schemenets.stability.growth import log_spaced, random_network
from schemenets.stages import growth

ROUNDING = 1e-9  # of tens of thousands of blocks
AGAIN = 10  # blocks up to which random networks are drawn again
TOLERANCE = 1e-6  # relative: what another machine's rounding may become in so many blocks


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about repetitions and random networks."""
    path = audited.results.growth
    yield from guarded(path, _growth(audited))


def _growth(audited: Audited) -> Iterator[Finding]:
    path, spec = audited.results.growth, audited.study.specs("growth")["all"]
    content = files.read_json(path)
    data = {f"{entry['dataset']}.safetensors": audited.data[entry["dataset"]] for entry in spec["jobs"].values()}
    yield from difference(path, content["provenance"]["data_sha256"], data, "the manifest says")
    runs = [f"{job}/seed-{seed}" for job, entry in spec["jobs"].items() for seed in entry["seeds"]]
    stored: Json = {key: content[key] for key in ("repetitions", "depths")}
    stored["runs"] = [entry["run"] for entry in content["repetition"] if entry["start"] == "test"]
    expected = {"repetitions": log_spaced(spec["repetitions"]), "depths": spec["depths"], "runs": runs}
    yield from difference(path, stored, expected, "the configuration says")
    for run in runs:
        bound = certify(checkpoints.load(audited.results.job(f"{run}.safetensors"))).euclidean
        if bound is not None:
            bounds = powers(bound, content["repetitions"])
            for entry in content["repetition"]:
                if entry["run"] == run:
                    what = f"{run}, repeated from {entry['start']} signals"
                    yield from above(path, what, content["repetitions"], entry["amplification"], bounds)
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
    for architecture, step in growth.drawn(spec):
        if architecture.certified:
            bounds = growth.bounds_of(random_network(architecture, spec["seeds"][:1], step), spec["depths"])
            own = {key: getattr(architecture, key) for key in ("name", "flux", "tied", "certified")}
            for entry in stored:
                if {key: entry[key] for key in own} == own:
                    yield from difference(path, entry["bounds"], bounds, f"{_name(entry)} says", tolerance=TOLERANCE)
    depths = [depth for depth in spec["depths"] if depth <= AGAIN]
    few = {**spec, "depths": depths}
    made = [entry for network in growth.drawn(few) for entry in growth.behind_blocks(*network, few)] if depths else []
    count = 1 + sum(len(spec["seeds"]) for _ in growth.drawn(spec))  # the last one is the worst FSI network
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
