"""Growth: whether it is that of the configured networks, within certified bounds, and random networks drawn again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files
from schemenets.audit._findings import Audited, Finding, Json, difference, guarded
from schemenets.stability import certify
from schemenets.stability.growth import log_spaced
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
            bounds = [_power(bound, n) for n in content["repetitions"]]
            for entry in content["repetition"]:
                if entry["run"] == run:
                    what = f"{run}, repeated from {entry['start']} signals"
                    yield from _above(path, what, content["repetitions"], entry["amplification"], bounds)
    for entry in content["depth"]:
        if entry["bounds"] is not None:
            yield from _above(path, _name(entry), content["depths"], entry["amplification"], entry["bounds"])
    yield from _drawn_again(path, spec, content["depth"])


def _power(bound: float, n: int) -> float:
    try:
        return bound**n
    except OverflowError:
        return np.inf


def _above(
    path: Path, what: str, numbers: list[int], values: list[float | None], bounds: list[float]
) -> Iterator[Finding]:
    """At most one finding: the first value above its bound; null is infinite."""
    for n, value, bound in zip(numbers, values, bounds, strict=True):
        if (np.inf if value is None else value) > bound * (1 + ROUNDING):
            yield Finding(path, f"{what}: a factor of {value} at n = {n}, but the bound is {bound}")
            return


def _drawn_again(path: Path, spec: Json, stored: list[Json]) -> Iterator[Finding]:
    """Random networks of few blocks once more, entry by entry."""
    depths = [depth for depth in spec["depths"] if depth <= AGAIN]
    few = {**spec, "depths": depths}
    made = [entry for network in growth.drawn(few) for entry in growth.behind_blocks(*network, few)] if depths else []
    for old, new in zip(stored, made, strict=False):
        yield from difference(path, _name(old), _name(new), "the configuration says")
        for key in ("amplification", "perturbation", "expansion", "bounds"):
            before, again = (_values(entry[key], len(depths)) for entry in (old, new))
            if before.shape != again.shape or not np.allclose(before, again, rtol=TOLERANCE, equal_nan=True):
                yield Finding(path, f"{_name(old)}, {key}: {before}, but drawn again it is {again}")


def _values(values: list[float | None] | None, count: int) -> np.ndarray:
    return np.array([np.nan if x is None else x for x in values or []][:count])


def _name(entry: Json) -> str:
    of = {True: "tied", False: "untied"}[entry["tied"]], "certified" if entry["certified"] else "not certified"
    return f"{entry['name']} with {entry['flux']}, {', '.join(of)}, step {entry['step']:g}, seed {entry['seed']}"
