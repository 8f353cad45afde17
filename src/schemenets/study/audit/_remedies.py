"""Remedies: whether they are about the configured networks, keep their bounds, and start from what was evaluated."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schemenets import checkpoints, files
from schemenets.stability.remedies import BOUNDED, REMEDIES, own_remedy
from schemenets.study.audit._findings import Audited, Finding, Json, apart, difference, guarded
from schemenets.study.audit._growth import AGAIN, ROUNDING, TOLERANCE
from schemenets.study.stages import remedies


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about trained and random networks under every remedy."""
    for name, spec in audited.study.remedies.items():
        path = audited.results.remedies(name)
        yield from guarded(path, (_trained if "job" in spec else _drawn)(audited, spec, path))


def _trained(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    content = files.read_json(path)
    data = {f"{spec['dataset']}.safetensors": audited.data[spec["dataset"]]}
    yield from difference(path, content["provenance"]["data_sha256"], data, "the manifest says")
    runs = {seed: f"{spec['job']}/seed-{seed}" for seed in spec["seeds"]}
    nets = {seed: checkpoints.load(audited.results.job(f"{run}.safetensors")) for seed, run in runs.items()}
    bounds = {seed: remedies.bound(network) for seed, network in nets.items()}
    expected = [
        {"run": runs[seed], "remedy": remedy, "bound": bounds[seed] if remedy in BOUNDED else None}
        for remedy in REMEDIES
        for seed in spec["seeds"]
    ]
    stored = [{key: row[key] for key in ("run", "remedy", "bound")} for row in content["rows"]]
    yield from difference(path, stored, expected, "the checkpoints say")
    for row in content["rows"]:
        if row["bound"] is not None:
            yield from _above(path, f"{row['run']} with the remedy {row['remedy']}", row["amplification"], row["bound"])
    evaluation = files.read_json(audited.results.job(spec["job"]) / "evaluation.json")
    own = own_remedy(spec["architecture"]["name"])
    values = [row["psnr"] for row in content["rows"] if row["remedy"] == own]
    tested = [np.nan if x is None else x for x in evaluation["test_sets"][spec["dataset"]]["psnr"]]
    yield from apart(path, f"remedy {own}, that of the network", spec["seeds"], values, tested, "its evaluation")


def _drawn(audited: Audited, spec: Json, path: Path) -> Iterator[Finding]:
    """Within the bound of explicit steps, and again for few blocks."""
    rows = files.read_json(path)["rows"]
    for row in rows:
        if row["remedy"] in BOUNDED:
            what = f"{row['network']} with {row['flux']}, seed {row['seed']}, remedy {row['remedy']}, n = {row['n']}"
            yield from _above(path, what, row["amplification"], 1.0)
    again = list(remedies.random_ones({**spec, "depths": [depth for depth in spec["depths"] if depth <= AGAIN]}))
    few = [row for row in rows if row["n"] <= AGAIN]
    yield from difference(path, few, again, "drawn again it is", tolerance=TOLERANCE)
    seeds = sum(1 if entry.get("worst") else len(spec["seeds"]) for entry in spec["networks"])
    if len(rows) != (count := seeds * len(REMEDIES) * len(spec["depths"])):
        yield Finding(path, f"{len(rows)} rows, but the configuration says {count}")


def _above(path: Path, what: str, value: float | None, bound: float) -> Iterator[Finding]:
    """A finding if a factor, where null is infinite, is above its bound."""
    if (np.inf if value is None else value) > bound * (1 + ROUNDING):
        yield Finding(path, f"{what}: a factor of {value}, but the bound is {bound}")
