"""What the whole study costs, by rule: CPU time of all processes, their start and the compiling of loops included.

    python -m benchmarks.study [--tier study] [--cores 2] [--sample 5] [--out results/tables/study_benchmark.csv]

It also writes ``costs.csv`` beside the table, from which ``schemenets plan`` forecasts the costs of other tiers.

With ``--sample`` only every fifth training is run, with all that follows from it alone, and the cost of a rule is that
of its jobs that were run, times all of its jobs over these. What needs all results at once, the report and what it is
made of, is not run then.

It is run in a copy of the project, so nothing that was computed or compiled before is taken, and its results are thrown
away. If it is interrupted, `--directory` goes on with what is there, but only what is computed then is counted.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks import table, timing, workflow
from benchmarks.targets import Row
from schemenets.study import forecast
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.plan import Plan

COPIED = (*workflow.COPIED, ".git")  # which says what commit is measured
WORKFLOW = "the workflow itself"
OF_ALL = "tables", "claims", "figures", "report", "manifest"  # stages that need all results at once
COLUMNS = (
    *("rule", "jobs", "run", "cpu_minutes", "wall_minutes", "share", "longest_job_minutes", "largest_job_megabytes"),
    *("tier", "machine"),
)
# stands for `python` in the rules, and notes what each call costs
SHIM = """#!{python}
import json, os, sys, time
start = time.perf_counter()
child = os.posix_spawn({python!r}, [{python!r}, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(child, 0)
cost = usage.ru_utime + usage.ru_stime
line = json.dumps([sys.argv[3], cost, time.perf_counter() - start, usage.ru_maxrss / 1024]) + "\\n"
file = os.open({notes!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(file, line.encode())
sys.exit(os.waitstatus_to_exitcode(status))
"""


def shimmed(directory: Path) -> tuple[Path, Path]:
    """A folder with a ``python`` that notes its costs, and the file where it does."""
    notes, shims = directory / "costs.jsonl", directory / "shims"
    notes.unlink(missing_ok=True)
    shims.mkdir(exist_ok=True)
    shim = shims / "python"
    shim.write_text(SHIM.format(python=sys.executable, notes=str(notes)))
    shim.chmod(0o755)
    return shims, notes


def measured(directory: Path, tier: str, cores: str, sample: int = 1) -> list[Row]:
    """Run the study there, or a sample of its trainings; a row for every rule, and one for the workflow itself."""
    shims, notes = shimmed(directory)
    machine = timing.description()  # with the commit, which may be another one when it ends
    path = f"{shims}{os.pathsep}{os.environ['PATH']}"
    targets, jobs = planned(directory, tier, sample)
    total = workflow.measured(directory, "--cores", cores, "--", *targets, tier=tier, path=path, quiet=False)
    costs = [json.loads(line) for line in notes.read_text().splitlines()]
    return rows(costs, total.cpu, total.wall, tier, jobs, machine)


def planned(directory: Path, tier: str, sample: int) -> tuple[list[str], dict[str, int]]:
    """The files to ask for, none for everything, and the number of jobs of every rule of the tier."""
    with chdir(directory):
        config = yaml.safe_load(Path("config/config.yaml").read_text(encoding="utf-8"))
        plan = Plan.of(config | {"tier": tier})
    jobs = {stage: len(plan.names(stage)) for stage in plan.stages}
    if sample == 1:
        return [], jobs
    chosen = set(sorted(plan.names("train"))[::sample])
    alone = [stage for stage in plan.stages if set(plan.names(stage)) <= set(plan.names("train"))]
    single = [stage for stage in plan.stages if stage not in {*alone, "tune", *OF_ALL}]
    wanted = [(stage, name) for stage in alone for name in plan.names(stage) if name in chosen]
    wanted += [(stage, name) for stage in single for name in plan.names(stage)]
    return [file for stage, name in wanted for file in plan.files(stage, name)], jobs


def rows(
    costs: Sequence[tuple[str, float, float, float]],
    total: float,
    wall: float,
    tier: str,
    jobs: Mapping[str, int],
    machine: str,
) -> list[Row]:
    """The table, from rule, CPU and wall seconds and memory of every job that was run, and the sums of everything."""
    by_rule = defaultdict(list)
    largest: dict[str, float] = defaultdict(float)
    for rule, cpu, seconds, megabytes in costs:
        by_rule[rule].append((cpu, seconds))
        largest[rule] = max(largest[rule], megabytes)
    groups: dict[str, tuple[int, int, float, float | None]] = {}
    for rule, each in by_rule.items():
        times = jobs[rule] / len(each)
        groups[rule] = jobs[rule], len(each), times * sum(c for c, _ in each), times * sum(w for _, w in each)
    own = total - sum(cpu for _, cpu, *_ in costs)
    own *= sum(jobs[rule] for rule in by_rule) / max(len(costs), 1)
    whole = len(costs) == sum(jobs.values())
    total = own + sum(cpu for _, _, cpu, _ in groups.values())
    groups["all"] = sum(jobs[rule] for rule in by_rule), len(costs), total, wall if whole else None
    groups[WORKFLOW] = 0, 0, own, None
    longest = {rule: max(cpu for cpu, _ in each) for rule, each in by_rule.items()}
    return [
        {
            "rule": rule,
            "jobs": count,
            "run": run,
            "cpu_minutes": round(cpu / 60, 2),
            "wall_minutes": None if seconds is None else round(seconds / 60, 2),
            "share": round(cpu / total, 4),
            "longest_job_minutes": round(longest[rule] / 60, 2) if rule in longest else None,
            "largest_job_megabytes": round(largest[rule]) if rule in largest else None,
            "tier": tier,
            "machine": machine,
        }
        for rule, (count, run, cpu, seconds) in sorted(groups.items(), key=lambda item: -item[1][2])
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tier", default="study", help="tier to run (default: study; smoke takes minutes)")
    parser.add_argument("--cores", default="2", help="cores, which should be idle otherwise (default: 2)")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="run only every Nth training (default: all)")
    parser.add_argument("--directory", type=Path, help="where to work and leave everything (default: temporary)")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/study_benchmark.csv")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        directory = (options.directory or Path(temporary)).resolve()
        workflow.copied(directory, COPIED)
        found = measured(directory, options.tier, options.cores, options.sample)
        if options.out:
            with chdir(directory):
                own = Study.load(tier=options.tier)
                costs = forecast.measured(Layout(directory / own.results), own, found[0]["machine"])
            table.write(options.out.with_name(forecast.COSTS.name), costs, forecast.COLUMNS)
    for row in found:
        run = f"{row['run']} of {row['jobs']} jobs"
        print(f"{row['rule']:20} {run:>16} {row['cpu_minutes']:8.2f} CPU-minutes {row['share']:7.1%}")
    if options.out:
        table.write(options.out, found, COLUMNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
