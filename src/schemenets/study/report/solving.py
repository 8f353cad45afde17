"""The report's tables on networks and schemes that solve problems."""

import numpy as np
import pandas as pd

from schemenets.study import summaries
from schemenets.study.report.content import Table, solver, with_interval
from schemenets.study.summaries import Tables, rows
from schemenets.study.wording import NOTHING, label, ranged, short, signed


def problems(tables: Tables) -> Table:
    """What is solved."""
    return Table(
        "Problems σx + τKᵀΦ(Kx) = b: whether the solution is known to be unique on the training grid, and for how many "
        "test right-hand sides Newton's method finds another one from another start.",
        ["tables/problems.csv"],
        ["Problem", "Flux", "Contrast", "τ", "Order", "σ", "Unique", "Other solutions"],
        [
            [
                label(row.problem),
                label(row.flux),
                short(row.contrast),
                short(row.tau, 4),
                str(row.order),
                "1" if row.screened else "0",
                "yes" if row.unique else "no",
                f"{row.several_solutions:.0%}",
            ]
            for row in rows(tables["problems"])
        ],
    )


def networks(tables: Tables) -> Table:
    """Networks that learned to solve, by problem and method: error once applied, and convergence when iterated."""
    errors = tables["solver_errors"].query("kind == 'home'")
    measured = tables["solver_runs"].merge(errors[["run", *summaries.MEASURED]], on="run", how="left")
    iterated = tables["solver_iterations"].dropna(subset="run").astype({"moved": float})
    home = iterated.loc[iterated["kind"] == "home", ["run", "converged", "iterations", "factor", "own_error"]]
    measured = measured.merge(home, on="run", how="left")
    moved = iterated.groupby("run")["moved"].max()
    certificates = tables.get("solver_certificates", pd.DataFrame({"run": [], "holds": []}))
    several = summaries.several_solutions(tables)
    return Table(
        "Networks that learned to solve. Applied once: geometric mean and worst seed of the relative error (1 for a "
        "diverged run), median residual. Iterated: seeds that converge, most cycles to a residual of 1e-8, worst "
        "factor. Then: the largest relative change that a cycle makes to a solution of its equation; error of the "
        "solution of a learned equation; certificates of convergence that hold, over all grids and τ.",
        [f"tables/solver_{name}.csv" for name in ("runs", "errors", "iterations", "certificates")],
        [
            *("Problem", "Method", "Parameters", "Operations", "Error", "Worst seed", "Residual"),
            *("Converge", "Cycles", "Factor", "Solution moved", "Learned equation", "Certificates"),
        ],
        [
            [
                label(problem),
                solver(method, problem),
                f"{part['parameters'].iloc[0]:,}",
                f"{part['operations'].iloc[0]:,}",
                *([NOTHING] * 2 if problem in several else _errors(part)),
                short(part["residual"].median()),
                *_iterating(part),
                short(part["run"].map(moved).max()),
                short(part["own_error"].astype(float).median()),
                _held(certificates[certificates["run"].isin(part["run"])]),
            ]
            for problem, of_problem in summaries.groups(measured, "problem")
            for method, part in summaries.groups(of_problem, "method")
        ],
    )


def longer(tables: Tables) -> list[Table]:
    """What longer training changes: networks beside those whose names go on from theirs and which saw fewer epochs."""
    found, changes = [], []
    for problem, _ in summaries.groups(tables["solver_runs"], "problem"):
        scores = summaries.solver_scores(tables, problem).query("kind == 'home' and score.notna()")
        medians = {row.method: row for row in rows(summaries.median_errors(scores, ["method", "epochs"], "score"))}
        for usual in medians.values():
            for other in medians.values():
                if other.method.startswith(f"{usual.method}-") and other.epochs < usual.epochs:
                    errors = [with_interval(short(x.median), (x.low, x.high), 4) for x in (other, usual)]
                    changes.append(100 * (usual.median / other.median - 1))
                    epochs = str(other.epochs), str(usual.epochs)
                    found.append([label(problem), solver(usual.method, problem), *epochs, *errors])
    if not found:
        return []
    return [
        Table(
            "Longer training of networks that solve: median relative errors, with order-statistic intervals, on "
            "right-hand sides like the training ones. They change by "
            f"{ranged(changes, lambda x: signed(x, 0))} %.",
            ["tables/solver_runs.csv", "tables/solver_errors.csv"],
            ["Problem", "Network", "Epochs", "Longer", "Error", "Error after longer training"],
            found,
        )
    ]


def _errors(part: pd.DataFrame) -> list[str]:
    """Geometric mean and worst of all seeds, diverged ones among them."""
    scores = part["relative_error"].where(part["status"] == "ok", summaries.NOTHING_FOUND).astype(float)
    return [short(float(np.exp(np.log(scores).mean()))), short(scores.max())]


def _iterating(part: pd.DataFrame) -> list[str]:
    """How many seeds reach the tolerance, their most cycles, and the worst factor."""
    sound = part[part["converged"].notna()]
    if sound.empty:
        return [NOTHING] * 3
    there = (sound["converged"] == 1).sum()
    factor = "diverges" if sound["factor"].isna().any() else short(sound["factor"].max())
    return [f"{there} of {len(part)}", short(sound["iterations"].max()) if there else NOTHING, factor]


def _held(certificates: pd.DataFrame) -> str:
    return f"{certificates['holds'].astype(bool).sum()} of {len(certificates)}" if len(certificates) else NOTHING


def schemes(tables: Tables) -> Table:
    """Convergence factors of untrained schemes, on the training grid."""
    table = tables["solver_iterations"]
    own = table[table["run"].isna() & (table["kind"] == "home")].astype({"factor": float})
    factors = {(row.method, row.problem): row.factor for row in rows(own)}
    names = own["problem"].unique()
    return Table(
        "Untrained schemes: convergence factor of the slowest of a few right-hand sides, on the training grid. "
        "A dash: the scheme diverges there, or does not iterate.",
        ["tables/solver_iterations.csv"],
        ["Scheme", *map(label, names)],
        [[method, *(short(factors.get((method, name))) for name in names)] for method in own["method"].unique()],
    )
