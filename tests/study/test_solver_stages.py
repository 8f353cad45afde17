"""What stages measure of solvers, against dense matrices and counts by hand."""

import numpy as np
import pytest
import torch
import trained

from schemenets import files, networks, signals
from schemenets.multigrid import CycleArchitecture, Problem, certify, iterate
from schemenets.multigrid.data import conditions, generate
from schemenets.study import stages
from schemenets.study.layout import Layout
from schemenets.study.measurements.flops import counted
from schemenets.study.measurements.solving import FEW, TOLERANCE, described, measures
from schemenets.study.stages import evaluate_solvers, solvers, train

COUNTS = {"train": 1, "validation": 1, "test": 3, "others": 2, "points": [16]}
PROBLEMS = {
    "charbonnier": Problem(tau=20.0, flux="charbonnier", contrast=0.05, extent=32.0),
    "second_order": Problem(tau=2.0, flux="charbonnier", contrast=0.05, order=2, extent=32.0),
    "screened_poisson": Problem(tau=20.0, extent=32.0),
    "poisson": Problem(tau=100.0, screened=False, extent=32.0),
    "nonconvex": Problem(tau=20.0, flux="perona_malik", contrast=0.05, extent=32.0),
}


@pytest.fixture(scope="module", autouse=True)
def patched():
    """Plain operations, since compiling takes longer than all of this; fewer iterations and values of τ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEMENETS_KERNEL", "reference")
        patch.setattr(solvers, "LIMITS", {"cycle": 30, "single level": 40})
        patch.setattr(solvers, "TAUS", (0.01, 10.0))
        yield


@pytest.fixture(scope="module", params=PROBLEMS)
def made(request):
    """A problem, its specification and its data."""
    problem = PROBLEMS[request.param]
    spec = {"problem": problem.arguments(), "length": 32, "seed": 1, "noise": 10}
    return problem, spec | COUNTS, generate(spec | COUNTS)[0]


@pytest.fixture(scope="module")
def rows(made):
    return solvers.compared(made[2], made[1])


def home(made):
    """Right-hand sides and solutions of the tests, and A in NumPy."""
    problem, spec, arrays = made
    condition = conditions(spec)[0]
    K = condition.grid.diffusion.K.toarray()

    def flux(s):
        if problem.linear:
            return s
        g = 1 + (s / problem.contrast) ** 2
        return s / (g if problem.flux == "perona_malik" else np.sqrt(g))

    def A(x):
        return problem.sigma * x + problem.tau * flux(x @ K.T) @ K

    return arrays[f"{condition.name}/b"], arrays[f"{condition.name}/x"], A, K


def first(rows, solver, kind="home"):
    return next(row for row in rows if row["solver"] == solver and row["kind"] == kind)


def test_single_level_schemes_are_their_formulas(made, rows):
    problem, *_ = made
    b, x, A, K = home(made)
    start = b if problem.screened else np.zeros_like(b)
    steepest = 1.0  # L' of all these fluxes
    theta = 2 / (2 * problem.sigma + problem.tau * steepest * np.linalg.norm(K, 2) ** 2)
    squares = K**2
    g = np.ones((len(b), len(K)))
    if not problem.linear:
        t = 1 + (start @ K.T / problem.contrast) ** 2
        g = 1 / (t if problem.flux == "perona_malik" else np.sqrt(t))
    jacobi = start + 2 / 3 * (b - A(start)) / (problem.sigma + problem.tau * g @ squares)
    previous, u = start, start
    for k in range(10):
        alpha = (4 * k + 2) / (2 * k + 3)
        previous, u = u, alpha * (u + theta * (b - A(u))) + (1 - alpha) * previous
    expected = {
        "gradient descent": start + theta * (b - A(start)),
        "FSI, cycles of 10": u,
        "damped Jacobi": jacobi,
        solvers.MEAN_VALUE: np.repeat(x.mean(-1, keepdims=True), x.shape[-1], -1),
    }
    for solver, y in expected.items():
        row = first(rows, solver)
        residual = np.mean(np.linalg.norm(b - A(y), axis=-1) / np.linalg.norm(b, axis=-1))
        assert row["residual"] == pytest.approx(residual, rel=1e-9)
        error = np.mean(np.linalg.norm(y - x, axis=-1) / np.linalg.norm(x, axis=-1))
        assert row["relative_error"] == (pytest.approx(error, rel=1e-9) if row["unique"] else None)


def test_iterations_are_those_of_the_slowest_right_hand_side(made, rows):
    _, spec, arrays = made
    condition = conditions(spec)[0]
    b, grid = torch.from_numpy(arrays[f"{condition.name}/b"]), condition.grid
    step, limit = solvers.steps(grid, "V")["FSI, cycles of 20"]
    found = [iterate(step, grid, each, grid.start(each), TOLERANCE, solvers.LIMITS[limit]) for each in b.split(1)]
    counts = [one.iterations.item() for one in found]
    row = first(rows, "FSI, cycles of 20")
    assert row["converged"] == pytest.approx(np.isfinite(counts).mean())
    assert row["iterations"] == (max(counts) if np.isfinite(counts).all() else None)
    assert row["factor"] == pytest.approx(max(one.factor.item() for one in found), rel=1e-6)


def test_there_is_no_distance_where_solutions_need_not_be_unique(made, rows):
    problem, spec, arrays = made
    unique = problem.flux != "perona_malik"
    measured = [row for row in rows if row["kind"] != "tau"]
    assert {row["unique"] for row in measured} == {unique}
    assert {row["unique"] for row in rows if row["tau"] == 0.01 * problem.tau} == {True}
    assert all((row["relative_error"] is not None) == unique for row in measured)
    assert all(row["residual"] is not None for row in measured)
    condition = conditions(spec)[0]
    b, x = (torch.from_numpy(arrays[f"{condition.name}/{part}"]) for part in "bx")
    found = measures(b, b, x, condition.grid)
    assert found["relative_error"].isnan().all() != unique
    # the start itself, and the solution
    start = condition.grid.start(b)
    assert measures(start, b, x, condition.grid)["energy_gap"] == pytest.approx(1)
    assert measures(x, b, x, condition.grid)["energy_gap"].abs().max() == 0


def test_a_grid_may_be_fine_enough_for_several_solutions():
    """τm‖K‖² grows with the number of points: m = 1/8, and ‖K‖² near 4 on 32 points."""
    problem = Problem(tau=1.5, flux="perona_malik", contrast=0.02, extent=32.0)
    spec = {"problem": problem.arguments(), "length": 32, "points": [16, 64]}
    unique = {each.name: described(each, 1)["unique"] for each in conditions(spec)}
    assert unique["home-32"]
    assert unique["finer-16"]
    assert not unique["finer-64"]
    assert unique["longer-64"]
    assert [unique[f"tau-{tau}"] for tau in ("0.15", "15")] == [True, False]


def test_paths_end_at_the_tolerance_or_where_operations_run_out(made):
    problem, spec, arrays = made
    b, _, A, _ = home(made)
    paths = {}
    for row in solvers.followed(arrays, spec):
        paths.setdefault(row["solver"], []).append(row)
    direct = "banded matrix" if problem.linear else "Newton's method"
    assert set(paths) == {
        *("V(2,2)", "F(2,2)", "full multigrid, then V(2,2)", direct),
        *(f"FSI, cycles of {n}" for n in (10, 20, 50)),
    }
    for solver, path in paths.items():
        assert [row["iterations"] for row in path] == list(range(len(path)))
        operations = np.array([row["operations"] for row in path])
        assert (np.diff(operations) >= 0).all()
        if solver != direct:
            steps = set(np.diff(operations))
            assert len(steps) <= 1
            ended = path[-1]["residual"] <= TOLERANCE
            assert ended or solvers.BUDGET - max(steps) < operations[-1] <= solvers.BUDGET
            assert all(row["residual"] > TOLERANCE for row in path[:-1])
    last = paths[direct][-1]
    assert last["residual"] < 1e-10
    assert last["relative_error"] == (pytest.approx(0, abs=1e-10) if problem.flux != "perona_malik" else None)
    if not problem.linear:
        # the first step of Newton's method, or of lagged diffusivities, in every path starts at b
        start = np.mean(np.linalg.norm(b - A(b), axis=-1) / np.linalg.norm(b, axis=-1))
        assert paths[direct][0]["residual"] == pytest.approx(start, rel=1e-12)
        assert paths[direct][0]["operations"] == 0


def test_paths_take_no_step_that_would_be_beyond_the_budget(made, monkeypatch):
    problem, spec, arrays = made
    whole, cut = {}, {}
    for row in solvers.followed(arrays, spec):
        whole.setdefault(row["solver"], []).append(row["operations"])
    direct = "banded matrix" if problem.linear else "Newton's method"
    budget = sorted(operations[1] for solver, operations in whole.items() if solver != direct)[-1]
    monkeypatch.setattr(solvers, "BUDGET", budget)  # exactly one step of the dearest iteration
    for row in solvers.followed(arrays, spec):
        cut.setdefault(row["solver"], []).append(row["operations"])
    del whole[direct], cut[direct]
    assert cut == {solver: [n for n in operations if n <= budget] for solver, operations in whole.items()}
    assert any(len(cut[solver]) < len(whole[solver]) for solver in whole)


@pytest.mark.parametrize("w", [1, 2])
def test_operations_of_banded_matrices_by_hand(w):
    """LDLᵀ with w bands and its solution, every operation counted where it is done."""
    N, count = 200, 0
    rng = np.random.default_rng(0)
    A = np.diag(np.full(N, 10.0))
    for band in range(1, w + 1):
        A += np.diag(v := rng.random(N - band), band) + np.diag(v, -band)
    b, L, D = rng.random(N), np.eye(N), np.zeros(N)
    work = A.copy()
    for j in range(N):
        D[j] = work[j, j]
        below = range(j + 1, min(j + w + 1, N))
        for i in below:
            L[i, j] = work[i, j] / D[j]
            count += 1
        for i in below:
            for k in range(j + 1, i + 1):
                work[i, k] -= L[i, j] * work[k, j]
                count += 2
    x = b.copy()
    for i in range(N):
        for j in range(max(0, i - w), i):
            x[i] -= L[i, j] * x[j]
            count += 2
    x /= D
    count += N
    for i in reversed(range(N)):
        for j in range(i + 1, min(i + w + 1, N)):
            x[i] -= L[j, i] * x[j]
            count += 2
    np.testing.assert_allclose(A @ x, b)
    grid = Problem(tau=1.0, order=w, extent=float(N)).on(N)
    assert count == pytest.approx(solvers.of_banded(grid), rel=0.02)


def test_newtons_method_is_watched_without_being_changed():
    problem = PROBLEMS["charbonnier"]
    grid = problem.on(32)
    b = np.random.default_rng(0).random(32)
    path = solvers._newton(b, grid)
    np.testing.assert_array_equal(path[-1][0], grid.solve(b))
    np.testing.assert_array_equal(path[0][0], b)
    # from iterate to iterate by one matrix, or by two where the first was of no use
    matrix = (8 + 10) * 32
    step = (2 * 13 + 4) * 32  # the residual: 7 operations per point, and 6 for the flux
    costs = np.diff([operations for _, operations in path])
    assert len(costs) > 2
    assert set(costs) <= {step + matrix, step + 2 * matrix}


# Trained networks that solve

UNET = {"name": "unet", "blocks": 3, "filters": 2, "kernel_size": 3, "flux": "relu"}
JOB = "solve_p/m/points-32"


def cycle(problem, **arguments):
    return CycleArchitecture(problem=problem, **arguments).arguments()


def solver_runs(problem, architecture, validation=0.25):
    """What becomes of the record of one run."""
    runs = [{"seed": 0, "status": "ok", "validation": validation, "validation_by_epoch": [0.5, validation]}]
    record = {
        "task": {"name": "solving", "problem": problem.arguments(), "loss": "supervised"},
        "architecture": architecture,
        **{"parameters": 25, "points": 32 - (not problem.screened), "dataset": "problem_p"},
        "training": {"learning_rate": 0.01, "epochs": 2, "batch": 32},
        "runs": runs,
    }
    return train.tables({JOB: record})


@pytest.mark.parametrize("name", PROBLEMS)
def test_validation_errors_are_told_only_where_the_solution_is_certain_to_be_unique(name):
    tables = solver_runs(PROBLEMS[name], UNET)
    errors = [None, None] if name == "nonconvex" else [0.5, 0.25]
    (row,) = tables["solver_runs"]
    assert row["validation_error"] == errors[-1]
    assert [(row["epoch"], row["validation"]) for row in tables["curves"]] == [(1, errors[0]), (2, errors[1])]
    assert {row["measure"] for row in tables["curves"]} == {"relative_error"}


def test_operations_are_those_of_a_whole_application():
    problem = PROBLEMS["charbonnier"]
    for architecture in (cycle(problem, cycles=2), UNET):
        (row,) = solver_runs(problem, architecture)["solver_runs"]
        assert row["operations"] == counted(networks.architecture(architecture).build(), 32)
        assert row["consistent"] == (architecture is not UNET)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Evaluates networks of three seeds, the second of which has diverged."""

    def run(problem, architecture):
        results = Layout(tmp_path_factory.mktemp("results"))
        data = {"problem": problem.arguments(), "length": 32, "seed": 1, "noise": 10} | COUNTS
        stages.run("problems", "problem_p", data, results)
        nets = {seed: networks.architecture(architecture).build(seed) for seed in (0, 1, 5)}
        trained.write(results, JOB, nets, diverged=[1])
        spec = {"job": JOB, "architecture": architecture, "dataset": "problem_p", "data": data}
        stages.run("evaluate_solvers", JOB, spec, results)
        record = files.read_json(results.file("evaluate_solvers", JOB, "solutions"))
        return record, nets, signals.read(results.dataset("problem_p")), conditions(data)

    return run


@pytest.mark.parametrize("architecture", [cycle(PROBLEMS["screened_poisson"]), UNET], ids=["cycle", "unet"])
def test_errors_of_the_sound_seeds_under_every_condition(evaluated, architecture):
    record, nets, arrays, all_conditions = evaluated(PROBLEMS["screened_poisson"], architecture)
    cycles = architecture["name"] == "cycle"
    assert record["seeds"] == [0, 1, 5]
    assert record["status"] == {"0": "ok", "1": "diverged", "5": "ok"}
    assert [entry["condition"] for entry in record["conditions"]] == [each.name for each in all_conditions]
    for entry, condition in zip(record["conditions"], all_conditions, strict=True):
        b, x = (torch.from_numpy(arrays[f"{condition.name}/{part}"]) for part in "bx")
        assert entry["relative_error"][1] is entry["residual"][1] is None
        for index, seed in ((0, 0), (2, 5)):
            net = nets[seed].double()
            with torch.no_grad():
                y = net.cycle(condition.grid.start(b), b, condition.grid) if cycles else net(b)
            error = ((y - x).norm(dim=-1) / x.norm(dim=-1)).mean().item()
            assert entry["relative_error"][index] == pytest.approx(error, rel=1e-9)
    iterated = {entry["kind"] for entry in record["iterations"]}
    assert iterated == ({"home", "finer", "tau"} if cycles else set())
    assert all(entry["signals"] == min(FEW, 3 if entry["kind"] == "home" else 2) for entry in record["iterations"])


def test_certificates_are_those_of_linear_cycles(evaluated):
    linear = evaluated(PROBLEMS["screened_poisson"], cycle(PROBLEMS["screened_poisson"]))
    record, nets, _, _ = linear
    places = {(entry["seed"], entry["condition"]) for entry in record["certificates"]}
    assert places == {(seed, name) for seed in (0, 5) for name in ("home-32", "finer-16", "tau-2", "tau-200")}
    expected = certify(nets[5].double(), 32)
    (own,) = [each for each in record["certificates"] if (each["seed"], each["condition"]) == (5, "home-32")]
    assert own["radius"] == pytest.approx(expected.radius, rel=1e-9)
    assert own["holds"] == expected.holds
    others = (PROBLEMS["charbonnier"], cycle(PROBLEMS["charbonnier"])), (PROBLEMS["screened_poisson"], UNET)
    assert all(evaluated(*other)[0]["certificates"] == [] for other in others)


@pytest.mark.parametrize("cycles", [1, 2])
def test_errors_after_one_iteration_are_those_of_networks_of_one_cycle(evaluated, cycles):
    record, *_ = evaluated(PROBLEMS["charbonnier"], cycle(PROBLEMS["charbonnier"], cycles=cycles))
    tables = evaluate_solvers.tables({JOB: record})
    assert {row["run"] for row in tables["solver_errors"]} == {f"{JOB}/seed-{seed}" for seed in (0, 1, 5)}
    tested = {(row["seed"], row["condition"]): row["relative_error"] for row in tables["solver_errors"]}
    for row in tables["solver_iterations"]:
        one = tested[row["seed"], row["condition"]] if cycles == 1 else None
        assert row["relative_error"] == one
