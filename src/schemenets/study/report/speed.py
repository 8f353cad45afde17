"""The report's tables on speed, from the tables of the benchmarks; no tables without benchmarks."""

import pandas as pd

from schemenets.study import summaries
from schemenets.study.report.content import Table
from schemenets.study.summaries import Tables, rows
from schemenets.study.wording import NOTHING, label, ranged, short

RIVALS = {
    "idiomatic": "torch's own layers",
    "compiled": "torch.compile",
    "vmap": "torch.func.vmap",
    "other": "the library of another checkout",
    "operations": "operations one by one",
    "compiled_graph": "torch.compile as a graph",
    "processor": "ours on one core",
}
TIME = "milliseconds_per_right_hand_side"
SOLVERS = {  # all but the last reach a residual of 1e-8
    "banded": "Banded matrix",
    "newton": "Newton's method",
    "pyamg-ruge_stuben": "PyAMG (Ruge–Stüben)",
    "pyamg-smoothed_aggregation": "PyAMG (smoothed aggregation)",
    "textbook": "V(2,2)",
    "cycle-1-iterated": "Learned cycle, iterated",
    "cycle-1": "Learned cycle, applied once",
}


def targets(tables: Tables) -> Table:
    """Targets of the training benchmark, and what it measured."""
    return Table(
        "Targets of speed and memory, and the worst case measured for each.",
        ["results/tables/benchmark_targets.csv"],
        ["Target", "Required", "Measured", "Reached", "Cases reached"],
        [
            [
                row.target,
                f"{row.asked} {row.bound:g}",
                short(row.measured),
                row.reached,
                f"{row.cases_reached} of {row.cases}",
            ]
            for row in rows(tables["benchmark_targets"])
        ],
    )


def processor(tables: Tables) -> Table:
    """How many times longer rivals take on one core."""
    return _rivals(tables["benchmark"], "benchmark", "On one core")


def gpu(tables: Tables) -> Table:
    """How many times longer rivals take on a GPU."""
    return _rivals(tables["gpu_benchmark"], "gpu_benchmark", "On a GPU")


def _rivals(measured: pd.DataFrame, name: str, where: str) -> Table:
    """Median and range over all cases of the times of rivals, over ours."""
    names = [rival for rival in RIVALS if (measured["contender"] == rival).any()]
    found = []
    for what, own in summaries.groups(measured, "what"):
        times = {rival: part["times_slower_than_ours"] for rival, part in summaries.groups(own, "contender")}
        cells = [f"{short(times[n].median())} ({ranged(times[n], short)})" if n in times else NOTHING for n in names]
        found.append([what, str((own["contender"] == "ours").sum()), *cells])
    return Table(
        f"{where}: time of rivals over ours, median and range over the cases. Machine: {measured['machine'].iloc[0]}.",
        [f"results/tables/{name}.csv"],
        ["What", "Cases", *(RIVALS[rival] for rival in names)],
        found,
    )


def solvers(tables: Tables) -> Table:
    """Times of solvers on the largest grid, with the most right-hand sides at once."""
    table = tables["solver_benchmark"]
    table = table[table["contender"].isin(SOLVERS)]
    count = table["right_hand_sides"].max()
    largest = table.groupby("problem")["points"].transform("max")
    own = table[(table["points"] == largest) & (table["right_hand_sides"] == count)]
    times = own.groupby(["problem", "contender"])[TIME].min()
    names = [name for name in SOLVERS if name in set(own["contender"])]
    return Table(
        f"Solvers on the largest grid ({largest.max():,} points), {count} right-hand sides at once: milliseconds per "
        "right-hand side to a residual of 1e-8, without setup, in the faster precision; a learned cycle applied once "
        f"does not reach it. A dash: not measured, or not reached. Machine: {table['machine'].iloc[0]}.",
        ["results/tables/solver_benchmark.csv"],
        ["Problem", *(SOLVERS[name] for name in names)],
        [
            [label(problem), *(short(times.get((problem, name))) for name in names)]
            for problem in own["problem"].unique()
        ],
    )
