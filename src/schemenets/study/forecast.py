"""What a tier costs before it is run: the measured costs of an earlier run, scaled job by job.

A job starts a process, which costs :data:`START` seconds, and then takes time in proportion to its work: the product
of those numbers in its specification that :data:`WORK` names. Rates are measured per stage and kind of network; the
records leave out the start.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from schemenets import files
from schemenets.errors import CheckpointError, ConfigError
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout

Json = dict[str, Any]
Name = tuple[str, str]  # stage and job

START = 4.0  # seconds of CPU time
COSTS = Path("results/tables/costs.csv")
GPU = Path("results/tables/gpu_benchmark.csv")
MARGIN = 2  # a job may take so many times what is forecast: other machines are slower,
SHORTEST = 10  # and so many minutes more: file systems are slow, and loops may have to be compiled
SHORT = 30.0  # seconds: jobs that take no longer tell little about others, as they mostly compile loops
TRIES = 3  # of a job by the profiles for clusters, the last one with as many times the memory and time
UNKNOWN = 60  # minutes that a job may take of whose stage nothing was measured
COLUMNS = ("stage", "network", "jobs", "work", "cpu_seconds", "megabytes", "seeds", "machine")
WORK = {
    "signals": ("train", "validation", "test", "length"),
    "evolution": ("train", "time"),
    "problems": ("train",),
    "tune": ("seeds", "learning_rates", "epochs", "architecture", "dataset"),
    "train": ("seeds", "epochs", "architecture", "dataset"),
    "cells": ("seeds", "learning_rates", "sides", "cell"),
    "evaluate": ("seeds", "architecture", "test_sets"),
    "stability": ("seeds", "architecture", "starts", "steps"),
    "robustness": ("seeds", "architecture", "starts", "steps", "sizes", "signals"),
    "growth": ("seeds", "architecture"),
    "random_growth": ("seeds", "networks", "depths"),
    "fixed_points": ("networks",),
    "schemes": ("datasets",),
    "classical": ("tuned_on",),
    "distances": ("training_sets", "test_sets"),
    "solvers": ("datasets",),
    "evaluate_solvers": ("seeds",),
}
ADDED = ("train", "validation", "test")  # numbers of signals, which add up
ANY = ""  # kind of network, where none was measured


@dataclass(frozen=True)
class Rate:
    """What jobs of one kind cost: seconds of CPU time per unit of work, and megabytes per seed."""

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Cost:
    """What one job costs."""

    cpu_seconds: float
    gpu_seconds: float
    megabytes: float

    @property
    def seconds(self) -> float:
        """How long it takes on its core or its GPU."""
        return self.gpu_seconds or self.cpu_seconds


def work(study: Study, stage: str, spec: Mapping[str, Any]) -> float:
    """What the time of a job beyond its start is proportional to."""
    keys = WORK.get(stage, ())
    total = sum(spec.get(key, 0) for key in ADDED if key in keys) or 1.0
    for key in keys:
        if key not in ADDED and key in spec:
            total *= _signals(study, spec) if key == "dataset" else _size(key, spec[key])
    return total


def _signals(study: Study, spec: Mapping[str, Any]) -> float:
    """Training signals in an epoch, passed as often as it has passes."""
    stage, name = stages.dataset(spec["dataset"])
    count = spec["draws"]["train"] if "draws" in spec else study.specs(stage)[name].get("train", 1)
    return float(count * spec.get("passes", 1))


def _size(key: str, value: Any) -> float:
    if key == "architecture":
        return math.prod(value.get(name, 1) for name in ("blocks", "cycles", "filters", "kernel_size", "channels")) or 1
    if key == "sides":
        return sum(_size("architecture", own) for own in value.values())
    if key == "cell":
        return float(value["steps"])
    return float(value) if isinstance(value, int | float) else len(value)


def kind(spec: Mapping[str, Any]) -> str:
    """The network of a job in words; empty for jobs that are not about one."""
    architecture = spec.get("architecture", {})
    parts = [architecture.get("name", ANY), *["certified"] * bool(architecture.get("certified"))]
    parts += ["learned flux"] * (architecture.get("flux") == "learned")  # which costs twice as much as others
    return " ".join(parts + ["8 channels"] * (architecture.get("channels", 1) > 1))


def measured(results: Layout, study: Study, machine: str) -> list[Json]:
    """Costs in the records of a run, by stage and kind of network; a run that is not complete will do.

    Raises:
        CheckpointError: no record of the study is there.
    """
    groups: dict[tuple[str, str], list[tuple[float, float, float, int]]] = defaultdict(list)
    for stage in stages.available():
        for name, spec in study.specs(stage).items():
            written = results.files(stage, name)
            if not stages.has_provenance(stage) or not all(path.is_file() for path in written.values()):
                continue
            provenance = files.read_json(written[stages.record_key(stage)])["provenance"]
            size = sum(path.stat().st_size for path in written.values()) / 1e6
            cost = work(study, stage, spec), provenance["cpu_seconds"], size, len(spec.get("seeds", [0]))
            groups[stage, kind(spec)].append(cost)
    if not groups:
        raise CheckpointError(f"{results.root}: no records of the tier {study.tier}; expected a directory of results")
    return [
        {
            "stage": stage,
            "network": network,
            "jobs": len(found),
            "work": sum(own for own, *_ in found),
            "cpu_seconds": round(sum(cpu for _, cpu, *_ in found), 1),
            "megabytes": round(sum(size for *_, size, _ in found), 3),
            "seeds": sum(seeds for *_, seeds in found),
            "machine": machine,
        }
        for (stage, network), found in sorted(groups.items())
    ]


def rates(table: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Rate]:
    """Rates of every stage and kind of network, and of all kinds together."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * 4)
    for row in table:
        for key in {(row["stage"], row["network"]), (row["stage"], ANY)}:
            for index, column in enumerate(("work", "cpu_seconds", "megabytes", "seeds")):
                sums[key][index] += float(row[column])
    return {key: Rate(seconds / own, size / seeds) for key, (own, seconds, size, seeds) in sums.items()}


@dataclass(frozen=True)
class Forecast:
    """The costs of all jobs of a study.

    Attributes:
        study: what is to be run.
        known: rates, as :func:`rates` gives them.
        speed: by kind of network, how many times faster than one core a GPU trains; None without GPU.
    """

    study: Study
    known: Mapping[tuple[str, str], Rate]
    speed: Mapping[str, float] | None = None

    @cached_property
    def jobs(self) -> dict[Name, Cost]:
        """The cost of every job."""
        return {
            (stage, name): self._cost(stage, spec)
            for stage in stages.available()
            for name, spec in self.study.specs(stage).items()
        }

    def _cost(self, stage: str, spec: Json) -> Cost:
        rate = self.known.get((stage, kind(spec)), self.known.get((stage, ANY), Rate(0.0, 0.0)))
        seconds, gpu = rate.seconds * work(self.study, stage, spec), 0.0
        if self.speed is not None and stages.trains(stage):
            seconds, gpu = 0.0, seconds / self.speed.get(kind(spec), self.speed[ANY]) + START
        return Cost(seconds + START, gpu, rate.megabytes * len(spec.get("seeds", [0])))

    @property
    def runs(self) -> int:
        """Trained networks."""
        return sum(len(spec["seeds"]) for spec in self.study.specs("train").values())

    def by_stage(self) -> dict[str, list[Cost]]:
        """The costs of the jobs of every stage."""
        found: dict[str, list[Cost]] = {}
        for (stage, _), cost in self.jobs.items():
            found.setdefault(stage, []).append(cost)
        return found

    def critical_path(self) -> list[Name]:
        """The jobs that take the longest of those that wait for each other: less time than theirs is not possible."""
        done: dict[Name, tuple[float, Name | None]] = {}

        def until(job: Name) -> float:
            if job not in done:
                before = {each: until(each) for each in self._before(job)}
                last = max(before, key=lambda each: before[each], default=None)
                done[job] = self.jobs[job].seconds + (before[last] if last else 0.0), last
            return done[job][0]

        at: Name | None = max(self.jobs, key=until)
        path = []
        while at is not None:
            path.append(at)
            at = done[at][1]
        return path[::-1]

    def _before(self, job: Name) -> Iterator[Name]:
        stage, name = job
        found = stages.references(stage, self.study.specs(stage)[name]).values()
        yield from dict.fromkeys((each[0], each[1]) for given in found for each in given if not isinstance(each, str))


def with_runs(study: Study, runs: int) -> Study:
    """The study with as many seeds as give at least so many trained networks."""
    seeds = math.ceil(runs / len(study.specs("train")))
    tiers = study.config["tiers"]
    return Study.check({**study.config, "tiers": {**tiers, study.tier: {**tiers[study.tier], "seeds": seeds}}})


def minutes(study: Study) -> dict[Name, dict[str, int]]:
    """How long every job may take, where trainings run on cores and where on GPUs, from the tables there are."""
    known = rates(read(COSTS)) if COSTS.is_file() else {}
    speed = speeds(read(GPU)) if GPU.is_file() else None
    forecasts = {"cpu": Forecast(study, known), "cuda": Forecast(study, known, speed)}
    found: dict[Name, dict[str, int]] = defaultdict(dict)
    for device, own in forecasts.items():
        for (stage, name), cost in own.jobs.items():
            unknown = stages.has_provenance(stage) and (stage, ANY) not in known
            found[stage, name][device] = UNKNOWN if unknown else _minutes(cost.seconds)
    return found


def _minutes(seconds: float) -> int:
    return SHORTEST + math.ceil(MARGIN * seconds / 60)


def speeds(rows: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """How many times faster than a core a GPU trains, by network and on average, from the rows of its benchmark."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["contender"] == "processor":
            architecture = {"name": row["network"], "certified": row["certified"] == "True", "flux": row["flux"]}
            for key in {kind({"architecture": architecture | {"channels": int(row["channels"])}}), ANY}:
                found[key].append(float(row["times_slower_than_ours"]))
    if not found:
        raise ConfigError(f"{GPU}: got no rows of the contender processor, expected those of python -m benchmarks.gpu")
    return {key: math.exp(sum(map(math.log, values)) / len(values)) for key, values in found.items()}


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table.

    Raises:
        ConfigError: the file is missing.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: file is missing; expected a table of measurements")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def told(study: Study, device: str, records: Path | None) -> Iterator[str]:
    """The forecast of a study as text.

    Args:
        study: what is to be run.
        device: where trainings run.
        records: a results directory to take costs from; None for the table :data:`COSTS`.

    Raises:
        ConfigError, CheckpointError: a table, the manifest or the records are missing.
    """
    if records is None:
        table: list[Any] = read(COSTS)
        sources = [f"{COSTS}: {sum(int(row['jobs']) for row in table)} jobs on {machines(table)}"]
    else:
        measured_study = Study.check(files.read_json(Layout(records).manifest)["config"])
        table = measured(Layout(records), measured_study, "")
        longest = max(float(row["cpu_seconds"]) / row["jobs"] for row in table)
        short = "; its jobs are so short that this is far too much: take those of a larger tier" * (longest < SHORT)
        sources = [f"the records in {records}{short}"]
    speed = None
    if device == "cuda":
        rows = read(GPU)
        speed = speeds(rows)
        sources.append(f"{GPU}: {rows[0]['machine']}")
    yield from lines(Forecast(study, rates(table), speed), sources)


def machines(table: Sequence[Mapping[str, Any]]) -> str:
    """All that costs were measured on, in words."""
    return "; ".join(dict.fromkeys(str(row["machine"]) for row in table))


def lines(forecast: Forecast, sources: Sequence[str]) -> Iterator[str]:
    """The forecast as text."""
    study, jobs = forecast.study, forecast.jobs
    networks = f", {forecast.runs} trained networks, {len(study.seeds)} seeds of each" if forecast.runs else ""
    yield f"tier {study.tier}: {len(jobs)} jobs{networks}"
    yield f"{'stage':18}{'jobs':>7}{'CPU-hours':>11}{'GPU-hours':>11}{'gigabytes':>11}{'longest job':>14}"
    missing = {stage for stage, _ in jobs if stages.has_provenance(stage) and (stage, ANY) not in forecast.known}
    speed = forecast.speed
    guessed = [
        (stage, name)
        for stage, name in jobs
        if speed is not None and stages.trains(stage) and kind(study.specs(stage)[name]) not in speed
    ]
    averaged = {stage for stage, _ in guessed}
    rows = [(stage, own) for stage, own in forecast.by_stage().items()]
    rows.sort(key=lambda row: -sum(cost.seconds for cost in row[1]))
    for stage, own in [*rows, ("all", list(jobs.values()))]:
        cpu, gpu = (sum(getattr(cost, f"{device}_seconds") for cost in own) / 3600 for device in ("cpu", "gpu"))
        size, longest = sum(cost.megabytes for cost in own) / 1000, max(cost.seconds for cost in own)
        unknown = "*" * (stage in missing) + "+" * (stage in averaged)
        yield f"{stage + unknown:18}{len(own):7}{cpu:11.2f}{gpu:11.2f}{size:11.3f}{_duration(longest):>14}"
    path = forecast.critical_path()
    total = sum(jobs[job].seconds for job in path)
    yield f"critical path: {_duration(total)}, {' -> '.join(stage for stage, _ in path)}; no cluster is faster"
    asked = 60.0 * max(_minutes(cost.seconds) for cost in jobs.values())
    yield f"on a cluster a job asks for {_duration(asked)} at most, and for {TRIES} times as much before it is given up"
    if missing:
        yield f"* not measured: only the start of each process, {START:g} s, is counted"
    if guessed:
        share = sum(jobs[job].gpu_seconds for job in guessed) / sum(cost.gpu_seconds for cost in jobs.values())
        yield f"+ with kinds of networks that no GPU has trained, {share:.0%} of its time: as fast as others on average"
    yield from (f"from {source}" for source in sources)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
