"""What the whole study costs, by rule.

    python -m benchmarks.study [--tier study] [--cores 2] [--out results/tables/study_benchmark.csv]
    python -m benchmarks.study --records results/exploratory --cpu-minutes 200 [--out ...]

Run in a copy of the project, nothing that was computed or compiled before is taken, and its results are thrown away.
Counted is the CPU time of all processes, their start and the compiling of loops included. If it is interrupted,
`--directory` goes on with what is there, but only what is computed then is counted.

Of a run that has ended, the records tell the CPU time of every job once its process has started. What
`--cpu-minutes`, the sum of what `time make study` prints, is above theirs went into starts, Snakemake, tables and
the report.

It also writes ``costs.csv`` beside the table, from which ``schemenets plan`` forecasts the costs of other tiers; rows
of stages that this run lacks stay.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import table, timing, workflow
from benchmarks.targets import Row
from schemenets import files
from schemenets.study import forecast, stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout

COPIED = (*workflow.COPIED, ".git")  # which says what commit is measured
REST = "starts of processes, tables, report and the workflow"
WORKFLOW = "the workflow itself"
COLUMNS = "rule", "jobs", "cpu_minutes", "share", "longest_job_minutes", "largest_job_megabytes", "tier", "machine"
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


def measured(directory: Path, tier: str, cores: str) -> tuple[list[Row], list[Row]]:
    """Run the study there: rows for every rule, with one for the workflow itself, and rows of ``costs.csv``."""
    shims, notes = shimmed(directory)
    machine = timing.description()  # with the commit, which may be another one when it ends
    path = f"{shims}{os.pathsep}{os.environ['PATH']}"
    total = workflow.measured(directory, "--cores", cores, tier=tier, path=path, quiet=False).cpu
    costs = [json.loads(line) for line in notes.read_text().splitlines()]
    with chdir(directory):
        own = Study.load(tier=tier)
        kinds = forecast.measured(Layout(directory / own.results), own, machine)
    return rows([(rule, cpu, size) for rule, cpu, _, size in costs], total, WORKFLOW, tier, machine), kinds


def recorded(results: Layout, cpu_minutes: float) -> tuple[list[Row], list[Row]]:
    """The same from the records of a run that took so many CPU-minutes in all."""
    manifest = files.read_json(results.manifest)
    own = Study(manifest["config"])  # checked when it ran, by what was expected then
    written = [
        (stage, results.files(stage, name)[stages.record_key(stage)])
        for stage in stages.available()
        if stages.has_provenance(stage)
        for name in own.specs(stage)
    ]
    provenances = [(stage, files.read_json(path)["provenance"]) for stage, path in written if path.is_file()]
    commits = sorted({provenance["git"]["commit"][:7] for _, provenance in provenances})
    machine = timing.description(" and ".join(commits))
    costs = [(stage, provenance["cpu_seconds"], None) for stage, provenance in provenances]
    return rows(costs, 60 * cpu_minutes, REST, own.tier, machine), forecast.measured(results, own, machine)


def rows(
    costs: Sequence[tuple[str, float, float | None]], total: float, rest: str, tier: str, machine: str
) -> list[Row]:
    """The table, from rule, CPU seconds and memory of every job, and the CPU seconds of everything."""
    by_rule = defaultdict(list)
    for rule, cpu, megabytes in costs:
        by_rule[rule].append((cpu, megabytes))
    sums = {rule: sum(cpu for cpu, _ in each) for rule, each in by_rule.items()}
    sums |= {"all": total, rest: total - sum(sums.values())}

    def row(rule: str, cpu: float) -> Row:
        each = by_rule.get(rule, [])
        sizes = [size for _, size in each if size is not None]
        return {
            "rule": rule,
            "jobs": len(costs) if rule == "all" else len(each),
            "cpu_minutes": round(cpu / 60, 2),
            "share": round(cpu / total, 4),
            "longest_job_minutes": round(max(own for own, _ in each) / 60, 2) if each else None,
            "largest_job_megabytes": round(max(sizes)) if sizes else None,
            "tier": tier,
            "machine": machine,
        }

    return [row(*each) for each in sorted(sums.items(), key=lambda item: -item[1])]


def with_others(path: Path, costs: Sequence[Row]) -> list[Row]:
    """These costs, and from the table that is there those of stages that they lack, such as ones of other tiers."""
    own = {row["stage"] for row in costs}
    there = forecast.read(path) if path.is_file() else []
    return sorted([*costs, *(row for row in there if row["stage"] not in own)], key=lambda row: str(row["stage"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or read, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tier", default="study", help="tier to run (default: study; smoke takes minutes)")
    parser.add_argument("--cores", default="2", help="cores, which should be idle otherwise (default: 2)")
    parser.add_argument("--directory", type=Path, help="where to work and leave everything (default: temporary)")
    parser.add_argument("--records", type=Path, help="results of a run that has ended, on this machine; runs nothing")
    parser.add_argument("--cpu-minutes", type=float, help="what that run took in all")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/study_benchmark.csv")
    options = parser.parse_args(arguments)
    if (options.records is None) != (options.cpu_minutes is None):
        parser.error("--records and --cpu-minutes need each other")
    if options.records:
        found, costs = recorded(Layout(options.records), options.cpu_minutes)
    else:
        with TemporaryDirectory() as temporary:
            directory = (options.directory or Path(temporary)).resolve()
            workflow.copied(directory, COPIED)
            found, costs = measured(directory, options.tier, options.cores)
    for row in found:
        print(f"{row['rule']:52} {row['jobs']:5} jobs {row['cpu_minutes']:8.2f} CPU-minutes {row['share']:7.1%}")
    if options.out:
        path = options.out.with_name(forecast.COSTS.name)
        table.write(path, with_others(path, costs), forecast.COLUMNS)
        table.write(options.out, found, COLUMNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
