"""What the workflow itself costs: reading its rules, as every job of a cluster does, and a dry run of many jobs.

    python -m benchmarks.workflow [--jobs 10000] [--out results/tables/workflow_benchmark.csv]

Both run in a copy of the project with a tier of that many jobs. The rules are read first without a plan, then with the
one cached (see ``schemenets.study.plan``); the dry run has the latter. Memory is the largest resident set.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import yaml

from benchmarks import table

ROOT = Path(__file__).parents[1]
COPIED = ("Snakefile", "config", "workflow", "src")
STAGES = 3  # jobs of every training: it, its evaluation and its stability
COLUMNS = ("measured", "jobs", "plan", "cpu_seconds", "wall_seconds", "megabytes")


class Cost(NamedTuple):
    """Cost of a process and its children: seconds of CPU and of wall time, and largest resident set in MB."""

    cpu: float
    wall: float
    megabytes: float


def copied(directory: Path, names: Sequence[str] = COPIED) -> None:
    """Copy these parts of the project to a folder, but for those that are there."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        source, copy = ROOT / name, directory / name
        if copy.exists():
            continue
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    if not (directory / "profiles").exists():
        (directory / "profiles").symlink_to("workflow/profiles")


def project(directory: Path, jobs: int) -> Path:
    """A copy of the project whose smoke tier has about this many jobs."""
    copied(directory)
    path = directory / "config/config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    methods = ["resnet-relu", "resnet-charbonnier", "symmetric-relu", "symmetric-perona_malik", "fsi-relu"]
    sizes = list(range(1, jobs // (STAGES * len(methods)) + 1))
    config["tiers"]["smoke"]["experiments"] = {"factorial": [{"methods": methods, "blocks": sizes}]}
    config["tiers"]["smoke"]["robustness"]["experiment"] = "capacity"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return directory


def measured(
    directory: Path, *arguments: str, tier: str = "smoke", path: str | None = None, quiet: bool = True
) -> Cost:
    """The cost of a call of snakemake, which finds programs on ``path``."""
    command = [sys.executable, "-m", "snakemake", "--config", f"tier={tier}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(directory / "src"), "OMP_NUM_THREADS": "1"}
    environment |= {} if path is None else {"PATH": path}
    start = time.perf_counter()
    output = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workflow", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--jobs", type=int, default=10_000, help="approximate number of jobs (default: 10000)")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/workflow_benchmark.csv")
    options = parser.parse_args(arguments)
    rows = []
    print(" ".join(f"{name:>12}" for name in COLUMNS))
    for jobs in dict.fromkeys((100, options.jobs)):
        with TemporaryDirectory() as temporary:
            directory = project(Path(temporary), jobs)
            for what, call in {"rules": ["--list"], "dry run": ["--cores", "1", "--dry-run", "--quiet", "all"]}.items():
                for plan in ("made", "kept") if what == "rules" else ("kept",):
                    cost = measured(directory, *call)
                    values = (what, jobs, plan, round(cost.cpu, 2), round(cost.wall, 2), round(cost.megabytes))
                    rows.append(dict(zip(COLUMNS, values, strict=True)))
                    print(" ".join(f"{value!s:>12}" for value in values), flush=True)
    if options.out:
        table.write(options.out, rows, COLUMNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
