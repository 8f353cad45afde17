"""Figures of solvers on made-up tables."""

import re
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from drawing import drawn, texts
from matplotlib.text import Text

from schemenets.study import figures, summaries
from schemenets.study.figures import solver_mesh, solver_transfer
from schemenets.study.measurements.solving import LIMIT, TOLERANCE
from schemenets.study.stages.solvers import LIMITS, MEAN_VALUE
from schemenets.study.wording import NOT_MEASURED, label, listed, short

FIGURES = [name for name in figures.available() if name.startswith("solver_")]
# parameters, operations, error, factor and number of cycles to the tolerance
METHODS = {
    "cycle-1": (27, 254_052, 0.05, 0.35, 16),
    "cycle-3": (27, 762_156, 0.008, 0.3, 14),
    "cycle-1-jacobi": (7, 65_892, 0.08, 0.6, 38),
    "cycle-1-fixed": (24, 254_052, 0.06, 0.35, 17),
    "cycle-1-concatenated": (37, 263_487, 0.055, 1.001, None),
    "cycle-1-restricted": (27, 243_725, 0.09, None, None),
    "multigrid-1": (35, 302_360, 0.07, None, None),
    "multigrid-3": (105, 906_568, 0.04, None, None),
    "unet-2": (2727, 312_728, 0.06, None, None),
    "unet-4": (10685, 1_192_432, 0.03, None, None),
    "unet-6": (23875, 2_639_624, 0.02, None, None),
}
OTHERS = ("perona_malik", "perona_malik_nonconvex", "second_order", "screened_poisson", "poisson")
STUDY = {"charbonnier": tuple(METHODS)} | dict.fromkeys(OTHERS, ("cycle-1", "unet-4"))
SMOKE = {"charbonnier": ("cycle-1", "multigrid-1", "unet-2"), "poisson": ("cycle-1",)}
SCHEMES = {
    "gradient descent": (4600, 0.165, 0.99),
    "FSI, cycles of 10": (46000, 0.118, 0.81),
    "FSI, cycles of 20": (92000, 0.09, 0.7),
    "damped Jacobi": (6388, 0.159, 0.995),
    "V(2,2)": (67172, 0.08, 0.5),
    "W(2,2)": (277824, 0.062, 0.48),
    "F(2,2)": (130432, 0.063, 0.45),
    "full multigrid": (131957, 0.007, None),
    MEAN_VALUE: (None, 0.5, None),
}
# operations of an iteration, factor of the error
PATHS = {"V(2,2)": (67172, 0.5), "FSI, cycles of 10": (46000, 0.8), "FSI, cycles of 20": (92000, 0.4)}
PATHS |= {"full multigrid, then V(2,2)": (131957, 0.1), "Newton's method": (17000, 0.45)}
DIVERGED = "solvers/charbonnier/unet-2/seed-1"
HOME = {"condition": "home-256", "kind": "home", "family": "piecewise_affine", "points": 256, "mesh_width": 1.0}


def places(points):
    yield HOME | {"tau": 100.0, "signals": 128, "unique": True}
    for name in ("smooth", "rough", "scanlines", "donoho_johnstone", "ecg"):
        yield HOME | {
            "condition": f"family-{name}",
            "kind": "family",
            "family": name,
            "tau": 100.0,
            "signals": 4,
            "unique": True,
        }
    for n in points:
        other = {"tau": 100.0, "signals": 4, "unique": True}
        yield HOME | {"condition": f"longer-{n}", "kind": "longer", "points": n} | other
        finer = {"condition": f"finer-{n}", "kind": "finer", "points": n, "mesh_width": 256 / n}
        yield HOME | finer | other
    for tau in (10.0, 1000.0):
        yield HOME | {"condition": f"tau-{tau:g}", "kind": "tau", "tau": tau, "signals": 4, "unique": True}


def made(problems=STUDY, seeds=10, points=(64, 128, 512, 1024, 2048, 4096), diverged=(DIVERGED,)):
    """Errors that scatter by 5 % over seeds and grow away from home; seed 3 of unet-2 learns nothing."""
    rng = np.random.default_rng(0)
    runs, errors, iterations = [], [], []
    for problem, methods in problems.items():
        for place in places(points):
            if place["kind"] not in ("home", "finer", "tau"):
                continue
            place = place | {"unique": problem != OTHERS[1]}
            for name, (operations, error, factor) in SCHEMES.items():
                if name.startswith("W") and place["kind"] != "home":
                    continue
                slower = (256 / place["points"]) ** 0.3 * (100 / place["tau"]) ** 0.2
                grown = None if factor is None else factor**slower
                count = None if factor is None or grown > 0.74 else np.ceil(-18 / np.log(grown))
                known = {
                    "run": None,
                    "problem": problem,
                    "method": name,
                    **place,
                    "converged": float(count is not None),
                }
                known |= {"iterations": count, "factor": grown, "relative_error": error if place["unique"] else None}
                iterations.append(known | {"operations": operations and operations * place["points"] / 256})
        for method in methods:
            parameters, operations, error, factor, count = METHODS[method]
            for seed in range(seeds):
                run = f"solvers/{problem}/{method}/seed-{seed}"
                of_run = {"run": run, "problem": problem, "method": method, "seed": seed}
                ok = run not in diverged
                status = "ok" if ok else "diverged"
                cost = {"parameters": parameters, "operations": operations, "points": 256}
                runs.append(of_run | cost | {"network": method.partition("-")[0], "status": status})
                own = 0.9 if method == "unet-2" and seed == 3 else error * np.exp(0.05 * rng.standard_normal())
                for place in places(points):
                    place = place | {"unique": problem != OTHERS[1]}
                    change = np.log2(place["points"] / 256) + np.log10(place["tau"] / 100)
                    blind = 0.0 if method.startswith("cycle") else 0.5
                    away = own * (1 + 0.1 * abs(change) + blind * abs(change) + (place["kind"] == "family"))
                    measured = dict.fromkeys(("relative_error", "residual", "energy_gap"), away if ok else None)
                    measured |= {} if place["unique"] else {"relative_error": None}
                    errors.append(of_run | {"status": status, **place, **measured})
                    if method.startswith("cycle") and place["kind"] in ("home", "finer", "tau"):
                        steep = None if factor is None or not ok else factor * (1 + 0.05 * change + 0.01 * seed)
                        steep = None if steep and place["points"] == 4096 and seed % 3 else steep
                        reached = count and steep and not (method == "cycle-1-fixed" and seed < 3)
                        found = {"converged": float(bool(reached)), "iterations": count + seed % 3 if reached else None}
                        iterations.append(of_run | place | found | {"factor": steep, "operations": operations})
    known = [
        {"problem": problem, "unique": problem != OTHERS[1], "several_solutions": 0.5 * (problem == OTHERS[1])}
        for problem in problems
    ]
    paths = [
        {"problem": problem, "method": name, "iterations": n, "operations": n * operations, "residual": 0.3 * factor**n}
        | {"relative_error": 0.2 * factor**n if problem != OTHERS[1] else None, "energy_gap": factor**n}
        for problem in problems
        for name, (operations, factor) in PATHS.items()
        for n in range(1 + 2_000_000 // operations)
    ]
    found = {
        "solver_paths": paths,
        "solver_runs": runs,
        "solver_errors": errors,
        "solver_iterations": iterations,
        "problems": known,
    }
    # as they are read
    texts = {name: pd.DataFrame(table).to_csv(index=False) for name, table in found.items()}
    return {name: pd.read_csv(StringIO(text), dtype=summaries.TEXT) for name, text in texts.items()}


@pytest.fixture(scope="module")
def tables():
    return made()


def lines(ax, **wanted):
    return [line for line in ax.lines if all(getattr(line, f"get_{key}")() == value for key, value in wanted.items())]


def by_hand(tables, method, measure="relative_error", kind="home", problem="charbonnier", **where):
    """The median of the errors, diverged runs with an error of 1."""
    table = tables["solver_errors"]
    for key, value in {"method": method, "kind": kind, "problem": problem, **where}.items():
        table = table[table[key] == value]
    return float(table[measure].astype(float).fillna(1).median())


def changed(tables, name, where, **values):
    """The tables with other values in the rows of one of them."""
    table = tables[name].copy()
    for key, value in values.items():
        table.loc[where(table), key] = value
    return tables | {name: table}


def test_names_of_solvers():
    assert label("multigrid-1") == "multigrid U-net, 1 cycle"
    assert label("cycle-1-restricted") == "1 learned cycle, coarse side without FAS term"
    assert label("cycle-1-unheard_of") == "1 learned cycle, unheard_of"
    assert label("poisson") == "Poisson"


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"problems": SMOKE, "seeds": 2, "points": (64, 512), "diverged": ()},
        {"seeds": 1, "diverged": ()},
        {"problems": {"charbonnier": ("cycle-1",)}, "seeds": 2, "diverged": ("solvers/charbonnier/cycle-1/seed-0",)},
        {"problems": {"charbonnier": ("cycle-3", "unet-2")}, "seeds": 1},
        {"problems": {"charbonnier": ("unet-2",)}, "seeds": 2, "diverged": ()},
    ],
)
def test_a_figure_is_readable_in_print(name, settings):
    tables = made(**settings)
    figure = drawn(name, tables)
    assert figure.get_figwidth() * 2.54 == pytest.approx(17)
    assert all(text.get_fontsize() >= 8 for text in figure.findobj(Text) if text.get_text())
    assert not any("nan" in text or "inf" in text for text in [figures.headline(name, tables), *texts(figure)])


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_to_show(name, tables):
    nothing = {key: table.iloc[:0] for key, table in tables.items()}
    networks = tables | {key: nothing[key] for key in ("solver_runs", "solver_errors")}
    for missing in ({}, nothing, networks):
        assert any(re.fullmatch("no .* in this tier", text) for text in texts(drawn(name, missing)))
        assert figures.headline(name, missing) == NOT_MEASURED


@pytest.mark.parametrize("name", FIGURES)
def test_a_job_of_which_all_runs_diverged_is_not_dropped(name):
    """Its evaluation has no conditions, and hence the tables no rows but those of the runs."""
    lost = [f"solvers/charbonnier/cycle-1/seed-{seed}" for seed in (0, 1)]
    tables = made({"charbonnier": ("cycle-1", "cycle-1-fixed", "unet-4")}, 2, (64, 512), lost)
    for table in ("solver_errors", "solver_iterations"):
        tables[table] = tables[table][~tables[table]["run"].isin(lost)]
    drawn(name, tables)
    assert {
        "solver_efficiency": f"have {short(1 / by_hand(tables, 'unet-4'))} (given operator, 1 learned cycle) times the",
        "solver_mesh": "for 0 of 1 problems",
        "solver_transfer": "the smallest median error is that of U-net, 4 channels in 11.",
        "solver_parts": "and 0 of 2 of the whole cycle.",
    }[name] in figures.headline(name, tables)


def test_efficiency_compares_the_best_networks_and_the_cheapest_scheme_as_good(tables):
    rival = by_hand(tables, "unet-6")
    learned, given = (short(by_hand(tables, method) / rival) for method in ("multigrid-3", "cycle-3"))
    steps = np.ceil(np.log(by_hand(tables, "cycle-3") / 0.2) / np.log(0.45))
    assert figures.headline("solver_efficiency", tables) == (
        f"Networks of cycles have {learned} (learned operator, multigrid U-net, 3 cycles) and {given} (given operator, "
        "3 learned cycles) times the median error of the best U-net (U-net, 6 channels), with "
        f"{short(105 / 23875)} and {short(27 / 23875)} times its parameters; untrained, Newton's method is as accurate "
        f"as the best of all with {short(steps * 17000 / 762156)} times its operations."
    )
    worse = changed(
        tables, "solver_errors", lambda t: t["method"].str.startswith(("cycle", "multi")), relative_error=0.5
    )
    text = figures.headline("solver_efficiency", worse)
    assert f" have {short(0.5 / rival)} (learned operator, " in text
    other = changed(tables, "solver_paths", lambda t: t["method"] == "V(2,2)", relative_error=0)  # which is not drawn
    assert figures.headline("solver_efficiency", other) == figures.headline("solver_efficiency", tables)
    never = tables | {"solver_paths": tables["solver_paths"].assign(relative_error=0.9)}
    text = figures.headline("solver_efficiency", never)
    assert text.endswith(" times its parameters.")


def test_efficiency_leaves_ablations_to_their_own_figure(tables):
    better = changed(tables, "solver_errors", lambda t: t["method"] == "cycle-1-jacobi", relative_error=1e-5)
    assert figures.headline("solver_efficiency", better) == figures.headline("solver_efficiency", tables)
    assert not any(
        line.get_ydata()[0] == 1e-5
        for line in drawn("solver_efficiency", better).axes[0].lines
        if len(line.get_ydata())
    )


def test_places_with_several_solutions_are_grey(tables):
    def alone(t):
        return (t["problem"] == "second_order") & t["points"].isin([1024, 4096])

    other = changed(changed(tables, "solver_errors", alone, unique=False), "solver_iterations", alone, unique=False)
    grey = [len(ax.patches) for ax in drawn("solver_mesh", other).axes if ax.get_title().startswith("second order")]
    assert grey == [1]
    assert not any(ax.patches for ax in drawn("solver_mesh", tables).axes)


def test_distances_do_not_count_where_solutions_are_not_unique(tables):
    distant = changed(tables, "solver_errors", lambda t: t["problem"] == "perona_malik_nonconvex", relative_error=77.0)
    for name in FIGURES:
        assert figures.headline(name, distant) == figures.headline(name, tables)


def test_problems_are_counted_that_cycles_solve_everywhere(tables):
    name, where = "solver_mesh", "on all grids"

    def cycles(t):
        return t["run"].notna()

    start = (
        f"Learned cycles reach a residual of 1e-8 within 60 iterations {where}, for all seeds and right-hand sides, "
    )
    solved = changed(tables, "solver_iterations", lambda t: t["factor"].notna() | cycles(t), converged=1.0)
    assert figures.headline(name, solved) == f"{start}for 6 of 6 problems; untrained V(2,2) cycles for 6."
    one = changed(
        solved,
        "solver_iterations",
        lambda t: cycles(t) & (t["problem"] == "poisson") & (t["seed"] == 9),
        converged=0.75,
    )
    assert figures.headline(name, one) == f"{start}for 5 of 6 problems; untrained V(2,2) cycles for 6."
    none = changed(solved, "solver_iterations", lambda t: cycles(t) | (t["method"] == "V(2,2)"), converged=0.75)
    assert figures.headline(name, none) == f"{start}for 0 of 6 problems; untrained V(2,2) cycles for 0."


def test_only_the_length_of_fsi_cycles_that_is_best_per_step_is_shown(tables):
    """0.81^(1/10) < 0.7^(1/20)."""

    def shown(tables):
        factors = solver_mesh._factors(tables)
        return {name for name in factors["method"] if name.startswith("FSI")}

    assert shown(tables) == {"FSI, cycles of 10"}
    faster = changed(tables, "solver_iterations", lambda t: t["method"] == "FSI, cycles of 20", factor=0.1)
    assert shown(faster) == {"FSI, cycles of 20"}


def test_cycles_against_the_grid(tables):
    own = tables["solver_iterations"].query("problem == 'poisson' and method == 'cycle-1'")
    own = own[own["kind"].isin(["home", "finer"])]
    *digits, _ = -np.log10(own.groupby("points")["factor"].median())  # on the finest grid most seeds stagnate
    curves = [list(line.get_ydata()) for ax in drawn("solver_mesh", tables).axes for line in ax.lines]
    assert [*digits, solver_mesh.EDGE] in [pytest.approx(curve) for curve in curves]


def test_transfer_counts_who_is_best_where_none_was_trained(tables):
    figure = drawn("solver_transfer", tables)
    assert [ax.get_title() for ax in figure.axes] == [title for _, title, _ in solver_transfer.KINDS.values()]
    start = "Over 19 conditions outside the training, the smallest median error is that of 3 learned cycles in "
    assert figures.headline("solver_transfer", tables) == f"{start}19."
    ecg = changed(
        tables, "solver_errors", lambda t: (t["method"] == "unet-4") & (t["family"] == "ecg"), relative_error=1e-9
    )
    assert figures.headline("solver_transfer", ecg) == f"{start}18 and U-net, 4 channels in 1."


def test_parts_tells_errors_and_who_converges(tables):
    whole = by_hand(tables, "cycle-1")
    names = {"jacobi": "no learned filters", "fixed": "textbook transfers", "concatenated": "concatenating skip"}
    names |= {"restricted": "coarse side without FAS term"}
    ratios = [f"{short(by_hand(tables, f'cycle-1-{key}') / whole)} ({name})" for key, name in names.items()]
    start = f"The median error after one cycle is {listed(ratios)} times that of the whole cycle; "
    end = "seeds of these variants reach a residual of 1e-8 within 60 cycles, and"
    assert figures.headline("solver_parts", tables) == f"{start}17 of 40 {end} 10 of 10 of the whole cycle."
    lost = changed(tables, "solver_iterations", lambda t: t["run"].notna(), iterations=np.nan)
    assert figures.headline("solver_parts", lost) == f"{start}0 of 40 {end} 0 of 10 of the whole cycle."


@pytest.mark.parametrize(("row", "measure"), [(0, "relative_error"), (1, "residual")])
def test_efficiency_shows_medians_and_every_seed(tables, row, measure):
    apart = tables["solver_errors"].astype({measure: float}).copy()
    apart[measure] *= 0.9**row
    tables = tables | {"solver_errors": apart}
    axes = drawn("solver_efficiency", tables).axes
    assert len(axes) == 4
    for ax, column in zip(axes[2 * row : 2 * row + 2], ("parameters", "operations"), strict=True):
        for method in ("cycle-3", "unet-2", "unet-6"):
            x = tables["solver_runs"].set_index("method")[column][method].iloc[0]
            middle = by_hand(tables, method, measure)
            assert any(line.get_xydata().tolist() == [[x, pytest.approx(middle)]] for line in ax.lines)
        dots = np.concatenate([np.asarray(each.get_offsets()) for each in ax.collections if hasattr(each, "get_sizes")])
        home = tables["solver_errors"].query("problem == 'charbonnier' and kind == 'home'")
        home = home[home["method"].str.count("-") == 1]
        assert sorted(dots[:, 1]) == pytest.approx(sorted(home[measure].astype(float).fillna(1)))
        assert ax.get_ylim()[0] < dots[:, 1].min()
        assert ax.get_ylim()[1] > 1


def test_efficiency_draws_paths_and_the_fastest_fsi(tables):
    further = tables["solver_paths"].assign(residual=lambda table: 3 * table["relative_error"])
    _, right, _, below = drawn("solver_efficiency", tables | {"solver_paths": further}).axes
    labels = {line.get_label(): line for line in right.lines}
    assert "FSI, cycles of 20" in labels
    assert "FSI, cycles of 10" not in labels
    assert not {"V(2,2)", "F(2,2)"} & set(labels)
    own = labels[name := "full multigrid, then V(2,2)"]
    residuals = {line.get_label(): line for line in below.lines}[name].get_ydata()
    assert residuals.tolist() == pytest.approx((3 * own.get_ydata()).tolist())
    assert own.get_xydata()[:2].tolist() == [[131957, pytest.approx(0.02)], [2 * 131957, pytest.approx(0.002)]]


def test_mesh_shows_medians_and_what_does_not_converge_on_the_edge(tables):
    axes = drawn("solver_mesh", tables).axes
    assert [ax.get_title() for ax in axes] == [label(name) for name in STUDY]
    own = tables["solver_iterations"].query(
        "problem == 'charbonnier' and method == 'cycle-3' and kind in ['home', 'finer']"
    )
    medians = own.groupby("points")["factor"].median()
    (line,) = [
        line
        for line in axes[0].lines
        if len(line.get_xdata()) == 7 and line.get_ydata()[0] == pytest.approx(-np.log10(medians[64]))
    ]
    assert line.get_ydata()[:-1] == pytest.approx(-np.log10(medians[medians.index < 4096].to_numpy()))
    assert line.get_ydata()[-1] == solver_mesh.EDGE  # of 6 of 10 seeds there is no factor
    edge = [
        line
        for line in lines(axes[0], markerfacecolor="white")
        if line.get_xydata().tolist() == [[4096, solver_mesh.EDGE]]
    ]
    assert len(edge) == 2


def at(method, points):
    return lambda t: (t["method"] == method) & (t["points"] == points) & (t["kind"] == "finer")


@pytest.mark.parametrize(
    ("converged", "factor", "outcome"),
    [
        (1.0, 0.5, summaries.REACHED),
        (1.0, 0.0, summaries.REACHED),  # the start was good enough
        (0.75, 0.5, summaries.SLOW),
        (0.0, 0.998, summaries.SLOW),
        (0.0, 0.99999, summaries.STAGNATES),
        (0.75, 1.0, summaries.STAGNATES),
        (0.0, 1.5, summaries.STAGNATES),
        (0.0, None, summaries.STAGNATES),
        (None, None, summaries.STAGNATES),  # the training diverged
    ],
)
def test_what_becomes_of_an_iteration(converged, factor, outcome):
    table = pd.DataFrame({"converged": [converged], "factor": [factor]})
    assert list(summaries.outcome(table)) == [outcome]


def test_limits_are_those_of_the_stages():
    assert summaries.TOLERANCE == TOLERANCE
    assert summaries.MOST_CYCLES == LIMIT == LIMITS["cycle"]
    assert LIMITS["single level"] == summaries.MOST_STEPS


@pytest.mark.parametrize("factor", [0.99, 0.99999])
def test_iterations_short_of_the_tolerance_have_open_marks_and_stagnating_ones_lie_on_the_edge(tables, factor):
    found = changed(tables, "solver_iterations", at("V(2,2)", 64), factor=factor, converged=0.75)
    axes, before = (drawn("solver_mesh", each).axes[0] for each in (found, tables))
    place = [64, pytest.approx(max(-np.log10(factor), solver_mesh.EDGE))]
    look = {"markerfacecolor": "white", "marker": "v"}
    assert any(place in line.get_xydata().tolist() for line in lines(axes, **look))
    assert not any(64 in line.get_xdata() for line in lines(before, **look))
    assert not any(64 in line.get_xdata() for line in lines(before, markerfacecolor="white", marker="o"))


def test_mesh_says_so_where_a_problem_is_not_convex(tables):
    known = tables["problems"].assign(unique=lambda t: t["problem"] != "second_order")
    titles = [ax.get_title() for ax in drawn("solver_mesh", tables | {"problems": known}).axes]
    assert "second order, nonconvex" in titles


def test_transfer_shows_what_a_tier_has():
    tables = made(SMOKE, 2, (64, 512), ())
    shown = texts(drawn("solver_transfer", tables))
    assert {"1 learned cycle", "multigrid U-net, 1 cycle", "U-net, 2 channels"} <= set(shown)


def test_parts_marks_what_does_not_converge(tables):
    left, right = drawn("solver_parts", tables).axes
    rows = [text.get_text() for text in left.get_yticklabels()]
    assert rows[0] == "the whole cycle (27)"
    assert rows[-1] == "coarse side without FAS term (27)"
    marks = [line.get_ydata()[0] for line in lines(right, marker=">") if len(line.get_xdata())]
    assert [rows[row].partition(" (")[0] for row in marks] == [
        "textbook transfers",
        "concatenating skip",
        "coarse side without FAS term",
    ]
    assert {"3 of 10", "10 of 10"} <= set(texts(right.figure))


def test_scores_have_all_runs_under_all_conditions(tables):
    scores = summaries.solver_scores(tables, "charbonnier")
    assert len(scores) == len(METHODS) * 10 * len(list(places((64, 128, 512, 1024, 2048, 4096))))
    assert (scores.loc[scores["run"] == DIVERGED, "score"] == 1).all()
    assert set(scores.loc[scores["diverged"], "run"]) == {DIVERGED}
