"""The report's tables, and what is not known."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from schemenets.study import summaries
from schemenets.study.layout import Layout
from schemenets.study.summaries import Tables, rows
from schemenets.study.wording import NOTHING, fixed, interval, label, listed, short, signed, size_label

RATIO = "ratio of errors"  # unit of thresholds of claims on errors
RIVALS = ("idiomatic", "compiled", "vmap")
GPU_RIVALS = ("operations", "compiled_graph", "processor", *RIVALS)
STILL = 1e-9  # relative change of a solution by a cycle that rounding explains
SIZES = ("blocks", "filters", "kernel_size", "channels", "length", "seeds")  # that benchmarks vary
_NUMBER = re.compile(rf"{NOTHING}|[−+]?\d[\d.e−+]*( \[.*\])?")


@dataclass(frozen=True)
class Table:
    """A table of texts with the files that its numbers come from."""

    caption: str
    sources: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[bool]:
        """For every column, whether it holds nothing but numbers."""
        return [all(_NUMBER.fullmatch(row[index]) for row in self.rows) for index in range(len(self.columns))]


def comparisons(claim: dict[str, Any]) -> Table:
    """The comparisons of a claim."""
    return _ratios(claim) if claim["threshold"]["unit"] == RATIO else _differences(claim)


def _ratios(claim: dict[str, Any]) -> Table:
    sides = ("candidate", "reference")
    return Table(
        f"Comparisons for {claim['id']}: relative errors, candidate over reference, geometric means of the ratios over "
        "seeds; parameters and operations per signal, the median error of each. Diverged runs: candidate / reference.",
        ["claims.json", "tables/claims.csv", "tables/solver_errors.csv"],
        [
            *("Role", "Problem", "Candidate", "Reference", "Parameters", "Operations", "Median errors", "Ratio"),
            *("p (Holm)", "p of the opposite", "Seeds", "Diverged", "Outcome"),
        ],
        [
            [
                c["role"],
                label(c["size"]),
                *(_solver(c[side], c["size"]) for side in sides),
                *(" / ".join(f"{c[f'{side}_{what}']:,}" for side in sides) for what in ("parameters", "operations")),
                " / ".join(short(c[f"{side}_median"]) for side in sides),
                _with_interval(short(c["effect"]), low, high, digits=3),
                short(c["p_holm"]),
                short(c["p_opposite_holm"]),
                str(c["n"]),
                " / ".join(str(c[f"{side}_diverged"]) for side in sides),
                c["outcome"],
            ]
            for c in claim["comparisons"]
            for low, high in [c["interval"] or (None, None)]
        ],
    )


def _differences(claim: dict[str, Any]) -> Table:
    return Table(
        f"Comparisons for {claim['id']}: differences in PSNR, candidate minus reference, paired over seeds. "
        "Diverged runs: candidate / reference.",
        ["claims.json", "tables/claims.csv"],
        [
            "Role",
            "Experiment, size",
            "Candidate (parameters)",
            "Reference (parameters)",
            "Mean difference (dB)",
            "Median",
            "p (Holm)",
            "p of the opposite",
            "Seeds",
            "Diverged",
            "Outcome",
        ],
        [
            [
                c["role"],
                f"{c['experiment']}, {c['size']}",
                *(
                    Markup("{} ({})").format(_job(c[side], c), c[f"{side}_parameters"])
                    for side in ("candidate", "reference")
                ),
                _with_interval(signed(c["effect"]), *(c["interval"] or (None, None))),
                signed(c["median"]),
                short(c["p_holm"]),
                short(c["p_opposite_holm"]),
                str(c["n"]),
                f"{c['candidate_diverged']} / {c['reference_diverged']}",
                c["outcome"],
            ]
            for c in claim["comparisons"]
        ],
    )


def effect(claim: dict[str, Any]) -> str:
    """The effect of a claim with its unit and interval: differences in dB with their sign, counts and others plain.

    Beside means of differences stand their medians, which single seeds do not move.
    """
    value, unit = claim["effect"], claim["threshold"]["unit"]
    if value is None:
        return NOTHING
    number = signed(value) if unit == "dB" else short(value)
    text = _with_interval(f"{number} {unit}", *(claim["interval"] or (None, None)))
    return text if claim["median"] is None else f"{text}, median {signed(claim['median'])}"


def evidence(claim: dict[str, Any]) -> str:
    """What a verdict without comparisons rests on, in words."""
    numbers = claim["evidence"] or {}
    return "; ".join(f"{name}: {short(value, 6)}" for name, value in numbers.items())


def sensitivity(results: Layout) -> Table:
    """How verdicts move with their thresholds."""
    table = pd.read_csv(results.table("sensitivity"))
    return Table(
        "The verdict of every computed claim, had its threshold been another one. The registered threshold is marked.",
        ["tables/sensitivity.csv"],
        ["Claim", "Threshold", "Registered", "Verdict", "p (Holm)", "Seeds"],
        [
            [
                row.claim,
                f"{row.threshold:g} {row.unit}",
                "registered" if row.registered else "",
                row.verdict,
                short(row.p_holm),
                fixed(row.n, 0),
            ]
            for row in rows(table)
        ],
    )


def methods(tables: Tables) -> Table:
    """What was trained, and at which learning rate."""
    rates = {row.method: row for row in rows(summaries.chosen_rates(tables["tuning"]))}
    return Table(
        "Methods: architecture, trainable parameters per block, and the learning rate that tuning chose.",
        ["tables/runs.csv", "tables/tuning.csv"],
        [
            "Method",
            "Network",
            "Flux",
            "Certified",
            "Filters × length",
            "Parameters per block",
            "Learning rate",
            "In the grid",
        ],
        [
            [
                _code(row.method),
                label(row.network),
                label(row.flux),
                "by construction" if row.certified else "no",
                f"{row.filters} × {row.kernel_size}",
                str(row.parameters // (1 if row.tied or row.network == "implicit" else row.blocks)),
                short(row.learning_rate),
                "at the edge" if rates[row.method].at_edge else "inside",
            ]
            for row in rows(tables["runs"].drop_duplicates(["method", "kernel_size"]))
        ],
    )


def means(tables: Tables) -> Table:
    """Every experiment, method and size."""
    by = ["experiment", "method", "size", "parameters", "dataset", "noisy_psnr"]
    parts = []
    for experiment in tables["runs"]["experiment"].unique():
        part = summaries.means(summaries.at_home(summaries.scored(tables, experiment)), by, "score")
        parts.append(part.sort_values("size", key=lambda sizes: sizes.map(summaries.number), kind="stable"))
    return Table(
        "Test PSNR on the signals that the networks were trained for: means over seeds with 95 % t intervals. A "
        "diverged run counts as the noisy input. Of an evolution (data evolution_T) the noisy input is f, and the PSNR "
        "is that against u(T). All other test sets are in the source.",
        ["tables/psnr.csv", "tables/runs.csv"],
        ["Experiment", "Method", "Size", "Parameters", "Data", "Noisy (dB)", "PSNR (dB)", "Seeds", "Diverged"],
        [
            [
                row.experiment,
                _job(row.method, {"experiment": row.experiment, "size": row.size}),
                row.size,
                str(row.parameters),
                row.dataset,
                fixed(row.noisy_psnr),
                _with_interval(fixed(row.mean), row.low, row.high),
                str(row.n),
                str(row.diverged),
            ]
            for row in rows(pd.concat(parts))
        ],
    )


def stability(tables: Tables) -> Table:
    """Certificates and what the search found, by method."""
    return Table(
        "Euclidean stability of all trained networks: how many are certified by their parameters, the largest bound "
        "and the largest amplification found, the least step margin by the bound on ‖K‖ and by dense matrices. Found / "
        "bound: how tight the bounds are, of ‖N(u)‖/‖u‖ and of ‖N(u) − N(v)‖/‖u − v‖; the median over the networks.",
        ["tables/stability.csv"],
        [
            "Method",
            "Networks",
            "Certified",
            "Counterexamples",
            "Largest bound",
            "Largest found",
            "Found / bound",
            "Largest Lipschitz bound",
            "Largest expansion found",
            "Found / Lipschitz bound",
            "Least margin",
            "Least margin (dense)",
        ],
        [
            [
                _code(method),
                str(len(own)),
                str(own["certified"].sum()),
                str(own["counterexample"].sum()),
                short(own["euclidean_bound"].max(), 6),
                short(own["largest_amplification_found"].max(), 6),
                short((own["largest_amplification_found"] / own["euclidean_bound"]).median()),
                short(own["lipschitz_bound"].max()),
                short(own["largest_expansion_found"].max()),
                short((own["largest_expansion_found"] / own["lipschitz_bound"]).median()),
                short(own["least_step_margin"].min()),
                short(own["least_dense_step_margin"].min()),
            ]
            for method, own in summaries.groups(tables["stability"], "method")
        ],
    )


def speed(results: Layout) -> list[Table]:
    """What the benchmark of trainings was to show and what it measured; nothing where it has not been run."""
    paths = [results.table(name) for name in ("benchmark_targets", "benchmark")]
    if not all(path.is_file() for path in paths):
        return []
    targets, measured = map(pd.read_csv, paths)
    machine = next(rows(measured))  # the same in every row
    return [
        Table(
            "Targets of speed and memory, and the worst case measured for each.",
            ["tables/benchmark_targets.csv", "tables/benchmark.csv"],
            ["Target", "Asked", "Measured", "Reached", "Cases", "Worst case"],
            [
                [
                    row.target,
                    f"{row.asked} {row.bound:g}",
                    short(row.measured),
                    row.reached,
                    f"{row.cases_reached} of {row.cases}",
                    row.worst_case,
                ]
                for row in rows(targets)
            ],
        ),
        Table(
            f"Times per network, and how many times slower the rivals are, measured in one run on one thread of "
            f"{machine.machine}, which reaches {machine.fma_gflops:.0f} GFLOP/s in multiply-adds and "
            f"{machine.bandwidth_gbytes:.0f} GB/s in copies.",
            ["tables/benchmark.csv"],
            ["What", "Case", "Ours (ms)", "GFLOP/s", *(f"{name} (times ours)" for name in RIVALS)],
            [
                [*about, short(own["ours"].milliseconds_per_seed), short(own["ours"].gflops), *_times(own, RIVALS)]
                for about, own in _contenders(measured).items()
            ],
        ),
    ]


def gpu_speed(results: Layout) -> list[Table]:
    """What was measured of trainings on a GPU; nothing where that has not been run."""
    path = results.table("gpu_benchmark")
    if not path.is_file():
        return []
    measured = pd.read_csv(path)
    return [
        Table(
            "On a GPU: time of a step of training per network, and how many times slower the rivals are, measured in "
            "one run. Operations: launched one by one instead of as a graph; compiled graph: of what torch.compile "
            f"makes of the network; processor: ours on one core beside it. Machine: {next(rows(measured)).machine}.",
            ["tables/gpu_benchmark.csv"],
            ["What", "Case", "Ours (ms)", *(f"{name.replace('_', ' ')} (times ours)" for name in GPU_RIVALS)],
            [
                [*about, short(own["ours"].milliseconds_per_seed), *_times(own, GPU_RIVALS)]
                for about, own in _contenders(measured).items()
            ],
        )
    ]


def _contenders(measured: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of a benchmark's table by what was measured and by contender."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows(measured):
        kinds = [kind.replace("_", " ") for kind in ("certified", "tied", "implicit_gradients") if getattr(row, kind)]
        size = ", ".join(f"{key.replace('_', ' ')} {getattr(row, key)}" for key in SIZES)
        case = f"{', '.join([label(row.network), label(row.flux), *kinds])}: {size}"
        found.setdefault((row.what, case), {})[row.contender] = row
    return found


def _times(own: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [short(own[name].times_slower_than_ours) if name in own else NOTHING for name in names]


def robustness(tables: Tables) -> Table:
    """Attacks of the middle size, and noise levels never trained on, by method."""
    table = summaries.attacked(tables)
    sizes = sorted(set(table["perturbation"]) - {0})
    middle = sizes[len(sizes) // 2] if sizes else 0
    elsewhere = [summaries.elsewhere(tables, name) for name, _ in summaries.groups(table, "experiment")]
    noises = sorted({noise for scores in elsewhere for noise in scores["noise"]})
    by = ["method", "size", "noise"]
    other = {
        (row.method, row.size, row.noise): fixed(row.mean)
        for scores in elsewhere
        for row in rows(summaries.means(scores, by, "score"))
    }
    return Table(
        f"Robustness: PSNR (dB) without a perturbation, after attacks and after random perturbations of size "
        f"{middle:g} (root mean square in grey values), and the least that the Lipschitz bound guarantees; the largest "
        "‖N(f + δ) − N(f)‖₂ / ‖δ‖₂ found at any size, and the bound of that network. Last columns: PSNR at noise "
        "levels never trained on, on all test signals. Means over seeds, under attack with 95 % t intervals; diverged "
        "runs count as the noisy signals.",
        ["tables/robustness.csv", "tables/psnr.csv"],
        [
            *("Method", "Size", "Certified", "Unperturbed", "Attacked", "Random", "Guaranteed", "Gain found", "Bound"),
            *(f"Noise {noise:g}" for noise in noises),
        ],
        [
            [
                _job(method, {"experiment": own["experiment"].iloc[0], "size": size}),
                size,
                "yes" if own["certified"].all() else "no",
                fixed(own["plain"].mean()),
                _mean(at, "attacked"),
                *(fixed(at[column].mean()) for column in ("random", "psnr_guaranteed")),
                *_gain_and_bound(own),
                *(other[method, size, noise] for noise in noises),
            ]
            for method, sizes_of in summaries.groups(table, "method")
            for size, own in summaries.groups(sizes_of, "size")
            for at in [own[own["perturbation"] == middle]]
        ],
    )


def _mean(own: pd.DataFrame, column: str) -> str:
    (row,) = rows(summaries.means(own, ["method"], column))
    return _with_interval(fixed(row.mean), row.low, row.high)


def _gain_and_bound(own: pd.DataFrame) -> tuple[str, str]:
    """The largest gain of a perturbation, and the Lipschitz bound of the network that it was found for."""
    found = own.dropna(subset="lipschitz_found").sort_values("lipschitz_found", kind="stable").tail(1)
    if found.empty:
        return NOTHING, NOTHING
    return fixed(found["lipschitz_found"].iloc[0]), short(found["lipschitz_bound"].iloc[0])


def solvers(tables: Tables) -> Table:
    """Networks that learned to solve, by problem and method."""
    home = tables["solver_errors"].query("kind == 'home'")
    measured = tables["solver_runs"].merge(home[["run", *summaries.MEASURED]], on="run", how="left")
    own = tables["solver_iterations"].query("kind == 'home'")
    own = own[["run", "converged", "iterations", "factor"]].dropna(subset="run")
    measured = measured.merge(own, on="run", how="left")
    certificates = tables["solver_certificates"]
    at_home = certificates["condition"].astype(str).str.startswith("home")
    radius = certificates.loc[at_home, ["run", "radius_dense"]].rename(columns={"radius_dense": "radius"})
    measured = measured.merge(radius, on="run", how="left")
    several = summaries.several_solutions(tables)
    return Table(
        "Networks that learned to solve: geometric mean over seeds of the relative error after one application (of a "
        "run that diverged it is 1) and the worst seed, and medians of the relative residual and of the energy gap to "
        "the solution that Newton's method finds (over that of the start), on right-hand sides like those of the "
        "training. For networks of cycles: how many seeds get all of a few right-hand sides to a residual of 1e-8, "
        "after how many cycles at most, and the worst convergence factor, for multigrid U-nets with the equation that "
        "their last block has learned; for linear problems the largest spectral radius, on the grid and for the τ of "
        "the training alone. A dash for the error: solutions need not be unique.",
        [
            "tables/solver_runs.csv",
            "tables/solver_errors.csv",
            "tables/solver_iterations.csv",
            "tables/solver_certificates.csv",
        ],
        [
            *("Problem", "Method", "Loss", "Parameters", "Operations", "Seeds", "Diverged", "Relative error"),
            *("Worst seed", "Residual", "Energy gap", "Get there", "Cycles", "Factor", "Radius in training"),
        ],
        [
            [
                label(problem),
                _solver(method, problem),
                part["loss"].iloc[0],
                f"{part['parameters'].iloc[0]:,}",
                f"{part['operations'].iloc[0]:,}",
                str(len(part)),
                str((part["status"] != "ok").sum()),
                *([NOTHING] * 2 if problem in several else _errors(part)),
                *(short(part[key].median()) for key in ("residual", "energy_gap")),
                *_iterating(part),
                short(part["radius"].max()),
            ]
            for problem, of_problem in summaries.groups(measured, "problem")
            for method, part in summaries.groups(of_problem, "method")
        ],
    )


def solver_certificates(tables: Tables) -> Table:
    """How many certificates of learned cycles hold, on the grid of the training and over all grids and τ."""
    table = tables["solver_certificates"]
    holds = table["holds"].astype(bool)
    home = table["condition"].astype(str).str.startswith("home").astype(bool)  # of no rows as well
    table = table.assign(holds=holds, home=home)
    return Table(
        "Certificates of learned cycles for linear problems, of all networks whose training did not diverge: how many "
        f"hold, which is for a spectral radius below 1, on all grids of up to {table['points'].max()} points and for "
        f"all τ. Of all of them {holds.sum()} of {len(table)} hold. The radius is the largest of all networks and "
        "conditions, and what is worst is the condition that it belongs to."
        if len(table)
        else "Certificates of learned cycles for linear problems: there are none.",
        ["tables/solver_certificates.csv"],
        [
            *("Problem", "Method", "Hold, training", "Hold, all grids and τ"),
            *("Largest radius, training", "Largest radius, all", "Worst points", "Worst τ"),
        ],
        [
            [
                label(problem),
                _solver(method, problem),
                *(f"{part['holds'].sum()} of {len(part)}" for part in (own[own["home"]], own)),
                *(short(part["radius"].max()) for part in (own[own["home"]], own)),
                f"{worst['points']:,}",
                f"{worst['tau']:g}",
            ]
            for problem, of_problem in summaries.groups(table, "problem")
            for method, own in summaries.groups(of_problem, "method")
            for worst in [own.reset_index(drop=True).loc[own["radius"].to_numpy().argmax()]]
        ],
    )


def solver_fixed_points(tables: Tables) -> Table:
    """How far one cycle of every trained network moves solutions of its equation, and whether it converges to them."""
    runs = tables["solver_runs"][["run", "network", "consistent"]]
    table = tables["solver_iterations"].dropna(subset=["run", "moved"]).merge(runs, on="run")
    table = table.astype(dict.fromkeys(("moved", "local_radius", "own_error", "converged"), float))
    table = table.assign(consistent=table["consistent"].astype(bool), still=table["moved"] <= STILL)
    sure = table[table["consistent"]]
    return Table(
        "Solutions as fixed points: by how much of its norm one cycle of a trained network moves a solution that an "
        "independent solver has found, at most, over all right-hand sides, grids and τ that networks were iterated "
        f"for, and seeds. Where cycles keep solutions by construction it is at most {STILL:g} in {sure['still'].sum()} "
        f"of {len(sure)} cases{_amplified(sure)}. The local radius is the spectral radius of the derivative of a cycle "
        "at a solution, on the grid of the training, for the first right-hand side: a median over seeds, and how many "
        "are below 1, which is when iterations from near enough converge. Cycles are given the equation. Multigrid "
        "U-nets have learned one of their own, for which their last block is iterated, on signals of all lengths; the "
        "error is that of its solutions as solutions of the problem, on the grid of the training, a median over seeds.",
        ["tables/solver_iterations.csv", "tables/solver_runs.csv"],
        [
            *("Problem", "Method", "Equation", "By construction", "Seeds", "Fixed points", "Largest change"),
            *("Local radius", "Below 1", "Error of solutions"),
        ],
        [
            [
                label(problem),
                _solver(method, problem),
                "given" if own["network"].iloc[0] == summaries.CYCLE else "learned",
                "yes" if own["consistent"].all() else "no",
                str(own["run"].nunique()),
                f"{own['still'].sum()} of {len(own)}",
                short(own["moved"].max()),
                short(home["local_radius"].median()),
                f"{(home['local_radius'] < 1).sum()} of {len(home)}" if own["consistent"].all() else NOTHING,
                short(home["own_error"].median()),
            ]
            for problem, of_problem in summaries.groups(table, "problem")
            for method, own in summaries.groups(of_problem, "method")
            for home in [own[own["kind"] == "home"]]
        ],
    )


def _amplified(sure: pd.DataFrame) -> str:
    """What is known of cycles that move solutions although these are fixed points."""
    others = sure[~sure["still"]]
    if others.empty:
        return ""
    methods = listed([label(method) for method in others["method"].unique()])
    radius = f", the local radius of which is {short(others['local_radius'].min())} or more" * bool(
        others["local_radius"].notna().any()
    )
    return f"; the others are of {methods}{radius}: they amplify rounding errors"


def _errors(part: pd.DataFrame) -> list[str]:
    """Geometric mean and worst of all seeds, diverged ones among them."""
    scores = part["relative_error"].where(part["status"] == "ok", summaries.NOTHING_FOUND).astype(float)
    return [short(float(np.exp(np.log(scores).mean()))), short(scores.max())]


def _iterating(part: pd.DataFrame) -> list[str]:
    """How many seeds get to the tolerance, after how many cycles at most, and the worst factor."""
    sound = part[part["converged"].notna()]
    if sound.empty:
        return [NOTHING] * 3
    there = (sound["converged"] == 1).sum()
    factor = "diverges" if sound["factor"].isna().any() else short(sound["factor"].max())
    return [f"{there} of {len(part)}", short(sound["iterations"].max()) if there else NOTHING, factor]


def schemes_as_solvers(tables: Tables) -> Table:
    """Numerical schemes as solvers, on the grid of the training."""
    table = tables["solver_iterations"]
    own = table[table["run"].isna() & (table["kind"] == "home")]
    return Table(
        "Numerical schemes on the same right-hand sides: relative error, relative residual and energy gap after one "
        "iteration; the share of a few right-hand sides that reach a residual of 1e-8 within the limit, iterations of "
        "the slowest, worst convergence factor, operations of one iteration. A dash: not reached, or diverged; for the "
        "error: solutions need not be unique. Wall times, those of direct solvers as well, are in the section on "
        "speed.",
        ["tables/solver_iterations.csv"],
        [
            *("Problem", "Scheme", "Relative error", "Residual", "Energy gap"),
            *("Get there", "Iterations", "Factor", "Operations"),
        ],
        [
            [
                label(row.problem),
                row.method,
                *(short(getattr(row, key)) for key in (*summaries.MEASURED, "converged", "iterations", "factor")),
                NOTHING if pd.isna(row.operations) else f"{row.operations:,.0f}",
            ]
            for row in rows(own)
        ],
    )


def direct_solvers(tables: Tables) -> Table:
    """What banded matrices need."""
    paths = tables["solver_paths"]
    direct = paths[paths["method"].isin(["banded matrix", "Newton's method"])]
    last = direct.loc[direct.groupby("problem", sort=False)["iterations"].idxmax()]
    return Table(
        "Direct solution with banded matrices on the grid of the training: Newton's method for nonlinear problems, for "
        "linear ones a single system. Operations by formula, to leading order, a mean over the test right-hand sides; "
        "steps of the slowest.",
        ["tables/solver_paths.csv"],
        ["Problem", "Method", "Steps", "Operations", "Residual"],
        [
            [label(row.problem), row.method, str(row.iterations), f"{row.operations:,}", short(row.residual)]
            for row in rows(last)
        ],
    )


def schemes_by_tau(tables: Tables) -> Table:
    """Convergence factors of numerical schemes for small to large τ."""
    table = tables["solver_iterations"]
    own = table[table["run"].isna() & (table["kind"] == "tau")].astype({"factor": float})
    values = {problem: sorted(part["tau"].unique()) for problem, part in summaries.groups(own, "problem")}
    most = max(map(len, values.values()), default=0)
    return Table(
        "Convergence factors of numerical schemes on the grid of the training, for τ from small to large: the slowest "
        "of a few right-hand sides. A dash: diverged.",
        ["tables/solver_iterations.csv"],
        ["Problem", "Scheme", *[f"τ {n}" for n in range(1, most + 1)]],
        [
            row
            for problem, part in summaries.groups(own, "problem")
            for row in [
                [label(problem), "τ", *(f"{tau:g}" for tau in values[problem])],
                *(
                    ["", method, *(short(value) for value in each.sort_values("tau")["factor"])]
                    for method, each in summaries.groups(part, "method")
                ),
            ]
        ],
    )


def problems(tables: Tables) -> Table:
    """What is solved."""
    return Table(
        "Problems σx + τKᵀΦ(Kx) = b: whether their solutions are certain to be unique on the grid of the training "
        "(σ > τm‖K‖²), for how many test signals Newton's method finds another solution there from another start, and "
        "the largest relative residual of all solutions, over all grids. On grids of up to 1024 points it is below "
        "1e-10, which the audit checks; on finer ones it may be more, by rounding, which τ‖K‖² magnifies. The solution "
        "that is meant is the one that Newton's method, secured by steps with lagged diffusivities, reaches from b.",
        ["tables/problems.csv"],
        ["Problem", "Flux", "Contrast", "τ", "Order", "σ", "Unique", "Several solutions", "Largest residual"],
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
                short(row.largest_residual),
            ]
            for row in rows(tables["problems"])
        ],
    )


def guarantees(tables: Tables) -> Table:
    """What is guaranteed on paper, and the remedy, in words."""
    return Table(
        "Guarantees of the schemes on paper, their conditions, whether they survive that every block has weights of "
        "its own, and a remedy at little cost.",
        ["tables/guarantees.csv"],
        ["Scheme", "Guarantee", "Condition", "With weights of its own in every block", "Remedy"],
        [
            [label(row.scheme), row.guarantee, row.condition, row.per_block, row.remedy]
            for row in rows(tables["guarantees"])
        ],
    )


def guarantees_measured(tables: Tables) -> Table:
    """What training makes of the guarantees."""
    table = tables["guarantees"]
    runs = tables["runs"][["run", "network", "certified"]].rename(columns={"certified": "constrained"})
    apart = tables["growth"].query("kind == 'repeated_perturbation'")[["run", "amplification"]].merge(runs, on="run")
    kinds = {"": "free", "certified_": "certified by construction"}
    return Table(
        f"{_kept(table)}What training makes of guarantees: networks trained freely and networks certified by "
        "construction; how many fulfil all conditions of a theorem, how many of those with weights of their own in "
        "every block and of tied ones the conditions on single blocks, and the largest amplification ‖N(u)‖₂ / ‖u‖₂ "
        "that was found, by gradient search and under repetition. Guarantees are on norms, not on differences: the "
        "last column has the largest factor by which repetition moved close test signals apart."
        f"{_inapplicable(tables)}",
        [
            "tables/guarantees.csv",
            "tables/stability.csv",
            "tables/runs.csv",
            "tables/growth.csv",
        ],
        [
            *("Scheme", "Trained", "Networks", "Fulfil a theorem", "Block by block, own weights", "Tied"),
            *("Largest amplification", "Of", "Largest growth", "By", "Of", "Largest growth of differences"),
        ],
        [
            [
                label(row["scheme"]),
                kind,
                *(str(row[f"{prefix}{key}"]) for key in ("networks", "fulfilling")),
                *(_of(row[f"{prefix}{own}_within"], row[f"{prefix}{own}"]) for own in ("untied", "tied")),
                short(row[f"{prefix}amplification"], 6),
                _run(row[f"{prefix}amplification_run"]),
                *_growth(row, f"{prefix}growth"),
                _largest(apart[(apart["network"] == row["scheme"]) & (apart["constrained"] == bool(prefix))]),
            ]
            for row in table.to_dict("records")
            for prefix, kind in kinds.items()
            if row[f"{prefix}networks"]
        ],
    )


def _kept(table: pd.DataFrame) -> str:
    """How many networks fulfil a theorem, as a sentence."""
    parts = [
        f"{table[f'{prefix}fulfilling'].sum()} of {table[f'{prefix}networks'].sum()} {what} networks"
        for prefix, what in (("", "freely trained"), ("certified_", "certified"))
        if table[f"{prefix}networks"].sum()
    ]
    return f"{listed(parts)} fulfil a theorem on stability. " if parts else ""


def _of(count: int, total: int) -> str:
    return f"{count} of {total}" if total else NOTHING


def _inapplicable(tables: Tables) -> str:
    """Theorems that none of the networks can fulfil, whatever their weights."""
    fluxes = tables["runs"].loc[tables["runs"]["network"] == "fsi", "flux"]
    missing = len(fluxes) and "linear" not in set(fluxes)
    return " That on FSI asks for a linear flux, which none of these networks has." if missing else ""


def remedies(tables: Tables) -> Table:
    """What rules of extrapolation make of trained weights."""
    table = tables["remedies"].query("kind == 'trained'")
    table = table.assign(job=table["run"].str.rsplit("/", n=1).str[0])
    names = list(table["remedy"].unique())
    found = []
    for job, own in summaries.groups(table, "job"):
        rule = own[own["own"].astype(bool)]
        cells = []
        for _, part in summaries.groups(own, "remedy"):
            gain = part["psnr"].mean(skipna=False) - rule["psnr"].mean(skipna=False)
            quality = fixed(rule["psnr"].mean(skipna=False)) if part["own"].all() else signed(gain)
            cells.append(f"{quality} ({_largest(part)})")
        experiment, method, size = job.split("/")
        found.append([_job(method, {"experiment": experiment, "size": size}), experiment, size_label(size), *cells])
    return Table(
        f"{_costs(table)}Trained two-step networks whose extrapolation follows other rules: mean PSNR in dB on the "
        "test signals with the rule of the training, and differences from it with the others, for which the weights "
        "were not trained; in brackets the largest ‖N(u)‖₂ / ‖u‖₂ found from test and random signals by a short "
        "gradient ascent, over all seeds. Rules act on the extrapolation alone: where explicit steps amplify, as those "
        "of networks trained without constraints may, none takes that back, and gains found by so short a search can "
        "even lie above those without a rule.",
        ["tables/remedies.csv"],
        ["Weights of", "Experiment", "Size", *names],
        found,
    )


def _costs(table: pd.DataFrame) -> str:
    """What rules cost at most on weights that were trained by the scheme itself, the cheapest first, as a sentence."""
    plain = table.loc[(table["remedy"] == "none") & table["own"].astype(bool), "job"].unique()
    means = table[table["job"].isin(plain)].pivot_table("psnr", "job", "remedy")
    if means.empty:
        return ""
    costs = -means.drop(columns="none").sub(means["none"], axis=0).min()
    listing = listed([f"{rule} {fixed(max(0.0, cost))} dB" for rule, cost in costs.sort_values(kind="stable").items()])
    return f"On weights that were trained by the scheme itself its remedies cost at most, in mean PSNR: {listing}. "


def remedies_of_random_networks(tables: Tables) -> Table:
    """How far random networks grow under these rules."""
    table = tables["remedies"].query("kind == 'random'")
    deepest = table[table["n"] == table["n"].max()]
    names = list(deepest["remedy"].unique())
    kinds = deepest["network"].map(label) + np.where(
        deepest["worst"].astype(bool), ", the worst within the limit", ", random, " + deepest["flux"].map(label)
    )
    return Table(
        "Two-step networks with weights of their own in every block, at the limit of stable explicit steps, under the "
        f"same rules: the largest ‖uⁿ‖₂ / ‖u⁰‖₂ of a few random signals behind n = {short(table['n'].max())} blocks.",
        ["tables/remedies.csv"],
        ["Network", *names],
        [
            [kind, *(_largest(part) for _, part in summaries.groups(own, "remedy"))]
            for kind, own in summaries.groups(deepest.assign(kind=kinds), "kind")
        ],
    )


def _largest(own: pd.DataFrame) -> str:
    """The largest amplification, missing ones being beyond all numbers; a dash without any."""
    if own.empty:
        return NOTHING
    return "overflow" if own["amplification"].isna().any() else short(own["amplification"].max(), 4)


def _growth(row: dict[Any, Any], name: str) -> list[str]:
    by = NOTHING if pd.isna(row[f"{name}_kind"]) else f"{row[f'{name}_kind']}, {row[f'{name}_n']:g}"
    return ["overflow" if row[name] == math.inf else short(row[name], 4), by, _run(row[f"{name}_run"])]


def _run(run: Any) -> str:
    return NOTHING if pd.isna(run) else Markup('<a href="runs/{0}.json"><code>{0}</code></a>').format(run)


def limits(tables: Tables, judged: dict[str, Any]) -> list[str]:
    """What these results do not say, as far as the tables know."""
    runs, psnr = tables["runs"], tables["psnr"]
    seeds, epochs = runs["seed"].nunique(), runs["epochs"].unique()
    solving = tables["solver_runs"]
    edges = [
        row.method
        for trials in (tables["tuning"], tables["solver_tuning"])
        for row in rows(summaries.chosen_rates(trials))
        if row.at_edge
    ]
    waiting = [f"{claim['id']}: {claim['waits_for']}" for claim in judged["claims"] if claim["waits_for"]]
    diverged = [run for table in (runs, solving) for run in table.loc[table["status"] != "ok", "run"]]
    return [
        f"Claims, or parts of them, that are not measured yet: {'; '.join(waiting) or 'none'}.",
        f"All networks that denoise have {_values(runs['filters'])} filters of length {_values(runs['kernel_size'])} "
        f"per block and states of {_values(runs['channels'])} channels. They were trained on "
        f"{_values(runs['dataset'])}, and tested at noise {_values(psnr['noise'])}. Nothing is known about images, "
        "other widths and other kinds of noise.",
        f"Intervals and tests are over {seeds} seeds of initial weights and shuffling, with the data fixed; they say "
        f"nothing about other draws of the training data. The smallest p that {seeds} seeds can give is "
        f"{short(0.5**seeds)}.",
        f"Training took {_values(epochs)} epochs, of networks that solve {_values(solving['epochs'])}. What the length "
        "of training changes is known for the methods and the budget of the figure on it only, and with learning rates "
        "that were tuned for one length.",
        "Only the learning rate was tuned, at one parameter budget and for denoising, also of networks that then learn "
        "an evolution; of networks that solve on one problem. Methods "
        f"with the best rate at the edge of the grid: {', '.join(edges) or 'none'}.",
        *_solver_limits(solving, tables["problems"]),
        "The search for large amplifications gives lower bounds: that it found no counterexample proves nothing. The "
        "certificates do, up to rounding; that distances do not grow, either, they say for monotone fluxes only.",
        "Rounding differs between processors and versions of the code, and training magnifies it: the same job trained "
        "twice need not end with the same network. Jobs of two experiments can be the same: they are counted in both.",
        f"Diverged runs: {', '.join(diverged) or 'none'}. They are counted as having done nothing, and as losses in "
        "every comparison.",
    ]


def _solver_limits(solving: pd.DataFrame, solved: pd.DataFrame) -> list[str]:
    """What networks that solve were not trained for, and what the claim on them is about."""
    problems = solving.groupby("method")["problem"].unique()
    single = problems[problems.map(len) == 1]
    if problems.empty:
        return []
    by_residual = _values(solving.loc[solving["loss"] == "residual", "problem"].map(label))
    second = _values(solved.loc[solved["order"] == 2, "flux"].map(label))
    return [
        f"Networks that solve were trained for one τ per problem; {len(single)} of {len(problems)} methods on one "
        f"problem alone ({_values(single.map(lambda names: label(names[0]))) or 'none'}); by the residual for "
        f"{by_residual or 'no problem'}. Fluxes of problems with second differences: {second or 'none'}. The claim on "
        "these networks is on their errors, not on residuals, and on networks against networks: the figures and tables "
        "on solvers say where direct or classical solvers do better."
    ]


def _values(column: Any) -> str:
    return listed([f"{value:g}" if isinstance(value, float) else str(value) for value in pd.unique(column)])


def _with_interval(text: str, low: float | None, high: float | None, digits: int = 2) -> str:
    return f"{text} {interval(low, high, digits)}".rstrip()


def _code(name: str) -> str:
    return Markup("<code>{}</code>").format(name)


def _solver(method: str, problem: str) -> str:
    """The same of a method that learned to solve a problem."""
    return Markup('<a href="runs/solvers/{}/{}/"><code>{}</code></a>').format(problem, method, method)


def _job(method: str, where: dict[str, str]) -> str:
    """A method's name that leads to the records of its runs."""
    path = f"runs/{where['experiment']}/{method}/{where['size']}/"
    return Markup('<a href="{}"><code>{}</code></a>').format(path, method)
