"""How long solvers take: the table of ``python -m benchmarks.solvers``, and what it says."""

from typing import Any

import pandas as pd

from schemenets.study import summaries
from schemenets.study.layout import Layout
from schemenets.study.measurements.solving import LIMIT
from schemenets.study.report.content import Table
from schemenets.study.summaries import rows
from schemenets.study.wording import label, listed, short

TIME = "milliseconds_per_right_hand_side"
LARGEST = ("setup_milliseconds", "times_slower_than_banded", "iterations", "relative_error")  # shown of that grid
DIRECT = {"banded": "banded matrices", "newton": "Newton's method"}
CLASSICAL = {
    **DIRECT,
    "pyamg-ruge_stuben": "PyAMG (Ruge–Stüben)",
    "pyamg-smoothed_aggregation": "PyAMG (smoothed aggregation)",
    "textbook": "textbook V(2,2)-cycles",
}
SOLVERS = {**CLASSICAL, "cycle-1-iterated": "learned cycles, iterated"}  # to the tolerance
CYCLE = "cycle-1"  # the learned one, applied once
TRAINING, ON_TORCH = "-training", "-torch"  # ends of the names of steps of training


def findings(table: pd.DataFrame) -> list[str]:
    """Who solves each problem first on the largest grid, and where learned cycles take less time; steps of training."""
    solved = table[~table["contender"].map(_is_training)]
    found = [f"{label(name)}: {_fastest(own)} {_learned(own)}" for name, own in summaries.groups(solved, "problem")]
    return found + _trained(table)


def _is_training(contender: str) -> bool:
    return contender.removesuffix(ON_TORCH).endswith(TRAINING)


def _trained(table: pd.DataFrame) -> list[str]:
    """How many times longer steps of training take on torch operations than compiled."""
    times = table.set_index("contender")[TIME]
    ratios = [
        f"{short(times[name + ON_TORCH] / times[name], 2)} times ({label(name.removesuffix(TRAINING))})"
        for name in times.index
        if name.endswith(TRAINING) and name + ON_TORCH in times
    ]
    return [f"Steps of training take longer on torch operations than compiled: {listed(ratios)}."] if ratios else []


def _fastest(own: pd.DataFrame) -> str:
    """The winner at a residual of 1e-8 on the largest grid, and its lead, for every number of right-hand sides."""
    largest = own[(own["points"] == own["points"].max()) & own["contender"].isin(SOLVERS)]
    verdicts = {}
    for count, part in largest.dropna(subset=TIME).groupby("right_hand_sides"):
        first, *others = rows(part.sort_values(TIME))
        verdict = "the classical solver simply wins" if first.contender in CLASSICAL else "the learned solver wins"
        lead = f"no other one gets there in {LIMIT} cycles"
        if others:
            lead = f"{_times(others[0], first)} times faster than the next, {SOLVERS[others[0].contender]}"
        verdicts[count] = f"{verdict}, {SOLVERS[first.contender]}: {lead}"
    return f"To a residual of 1e-8 on {own['points'].max()} points, {_by_count(verdicts)}."


def _learned(own: pd.DataFrame) -> str:
    """From which number of points on one application of the learned cycle takes less time than the direct solver."""
    cycle = own[own["contender"] == CYCLE]
    if cycle.empty:
        return "No learned cycle was measured."
    direct, places = DIRECT[own["contender"].iloc[0]], {}
    for count, part in cycle.groupby("right_hand_sides"):
        faster = part.groupby("points")["times_slower_than_banded"].min() < 1
        lasting = faster[::-1].cummin()  # on this grid and all larger ones
        places[count] = f"from {lasting[lasting].index.min()} points on" if lasting.any() else "on no grid"
    known = cycle["relative_error"].dropna()
    errors = " to ".join(dict.fromkeys(short(error, 2) for error in (known.min(), known.max())))
    reached = f", to a relative error of {errors}" if len(known) else ", with solutions that need not be unique"
    return f"One learned cycle{reached}, takes less time than {direct} {_by_count(places)}."


def _times(slower: Any, faster: Any) -> str:
    """Ratio of two times, with two digits at least."""
    ratio = getattr(slower, TIME) / getattr(faster, TIME)
    return short(ratio, 2) if ratio < 10 else f"{ratio:,.0f}"


def _by_count(texts: dict[Any, str]) -> str:
    """What holds for which numbers of right-hand sides."""
    counts: dict[str, list[str]] = {}
    for count, text in texts.items():
        counts.setdefault(text, []).append(str(count))
    return "; ".join(
        f"with {listed(numbers)} right-hand side{'' if numbers == ['1'] else 's'} {text}"
        for text, numbers in counts.items()
    )


def _name(contender: str) -> str:
    """Of a network applied once, or of a step of its training."""
    method = contender.removesuffix(ON_TORCH).removesuffix(TRAINING)
    words = [label(method), *["step of training"] * _is_training(contender)]
    return ", ".join(words + ["on torch operations"] * contender.endswith(ON_TORCH))


def shown(results: Layout) -> list[Table]:
    """Times by grid, and what else was measured on the largest one; nothing where there is no such table."""
    path = results.table("solver_benchmark")
    if not path.is_file():
        return []
    table = pd.read_csv(path)
    table["grid"] = table["points"] + table["points"] % 2  # zero ends take a point away
    grids = sorted(table["grid"].unique())
    cases: dict[tuple[str, ...], dict[int, Any]] = {}
    for row in rows(table):
        contender = SOLVERS.get(row.contender) or _name(row.contender)
        case = (label(row.problem), str(row.right_hand_sides), contender, row.dtype)
        cases.setdefault(case, {})[row.grid] = row
    return [
        Table(
            "Wall time of solvers in milliseconds per right-hand side, by points of the grid (one less for Poisson) "
            "and right-hand sides (b) solved together. On the largest grid: setup, which is not part of these times; "
            "how many times slower than the direct solver; iterations to a residual of 1e-8; relative error. A dash: "
            f"not measured, or 1e-8 not reached. Steps of training: of ten networks side by side, per network and "
            f"right-hand side. In one run on {table['machine'].iloc[0]}. {' '.join(findings(table))}",
            ["tables/solver_benchmark.csv"],
            [
                *("Problem", "b", "Solver", "Precision", *(f"{grid} points" for grid in grids)),
                *("Setup (ms)", "Times the direct solver", "Iterations", "Relative error"),
            ],
            [
                [
                    *case,
                    *(short(getattr(own.get(grid), TIME, None)) for grid in grids),
                    *(short(getattr(own.get(grids[-1]), key, None)) for key in LARGEST),
                ]
                for case, own in cases.items()
            ],
        )
    ]
