"""Linear problems against PyAMG, which is given matrices that SciPy assembles from the definition."""

from functools import cache

import numpy as np
import pyamg
import pytest
import scipy.sparse as sp
import torch

from schemenets.multigrid import CycleArchitecture, Problem, iterate
from schemenets.operators import prolongation

POISSON = Problem(tau=6640.0, screened=False)
SCREENED = Problem(tau=100.0)
SECOND = Problem(tau=10.0, order=2)
PROBLEMS = {"poisson": POISSON, "screened": SCREENED, "second": SECOND}
TEXTBOOK = {"filters": 0, "transfers": "fixed"}
LENGTHS = (32, 64, 128, 256)
TOLERANCE = 1e-10  # of the relative residual
each_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def points(problem, length):
    return length - (not problem.screened)


@cache
def matrix(problem, N):
    """σI + τKᵀK with differences over h, with zeros around the values or without those that leave the signal."""
    h = problem.extent / (N + (not problem.screened))
    D = sp.diags_array([1.0, -1.0], offsets=[0, -1], shape=(N + 1, N), format="csr")
    D = D[1:-1] if problem.screened else D
    K = (D if problem.order == 1 else -D.T @ D) / h**problem.order
    return sp.csr_array(problem.screened * sp.eye_array(N) + problem.tau * K.T @ K)


def right_hand_side(N):
    return np.random.default_rng(N).random(N)


def by_pyamg(problem, N, **arguments):
    """The solution, and the relative residual after every iteration."""
    b, residuals = right_hand_side(N), []
    solver = pyamg.ruge_stuben_solver(matrix(problem, N))
    x = solver.solve(b, tol=TOLERANCE, maxiter=60, residuals=residuals, **arguments)
    return x, np.array(residuals) / np.linalg.norm(b)


def by_cycles(problem, N, **arguments):
    network = CycleArchitecture(problem=problem, **arguments).build().double()
    grid, b = problem.on(N), torch.from_numpy(right_hand_side(N))[None]
    return iterate(network.cycle, grid, b, grid.start(b), TOLERANCE)


def factor(residuals):
    """As :attr:`schemenets.multigrid.Iteration.factor`."""
    last = len(residuals) - 1
    return (residuals[-1] / residuals[last // 2]) ** (1 / (last - last // 2))


@pytest.mark.parametrize("length", LENGTHS)
@each_problem
def test_solutions_are_those_of_pyamg(problem, length):
    """Each is as near to x as its residual says: ‖e‖ ≤ cond(A) ‖r‖/‖b‖ ‖x‖."""
    N = points(problem, length)
    x, residuals = by_pyamg(problem, N, accel="cg")
    assert residuals[-1] <= TOLERANCE
    bound = np.linalg.cond(matrix(problem, N).toarray()) * TOLERANCE * np.linalg.norm(x)
    assert bound < 1e-5 * np.linalg.norm(x)
    assert np.linalg.norm(problem.on(N).solve(right_hand_side(N)) - x) <= bound
    for arguments in (TEXTBOOK, {"filters": 4}):
        found = by_cycles(problem, N, sweeps=2, **arguments)
        assert found.iterations.isfinite().all()
        assert np.linalg.norm(found.x[0].numpy() - x) <= 2 * bound


@pytest.mark.parametrize("length", LENGTHS)
def test_the_classical_coarsening_of_the_poisson_problem_is_halving_with_our_interpolation(length):
    grid, solver = POISSON.on(points(POISSON, length)), pyamg.ruge_stuben_solver(matrix(POISSON, length - 1))
    for level in solver.levels[:-1]:
        assert level.A.shape == (grid.N, grid.N)
        assert abs(level.P - prolongation(grid.N, "dirichlet")).max() <= 1e-12
        grid = grid.coarser


@pytest.mark.parametrize("problem", [POISSON, SCREENED], ids=["poisson", "screened"])
def test_textbook_cycles_converge_like_those_of_pyamg_on_every_grid(problem):
    """Factors below 0.2 that do not grow with the grid, with fewer entries than two matrices of the finest one."""
    ours, theirs = [], []
    for length in LENGTHS:
        N = points(problem, length)
        ours.append(float(by_cycles(problem, N, sweeps=2, **TEXTBOOK).factor[0]))
        theirs.append(factor(by_pyamg(problem, N)[1]))
        assert pyamg.ruge_stuben_solver(matrix(problem, N)).operator_complexity() < 2
    for factors in (ours, theirs):
        assert max(factors) < 0.2
        assert factors[-1] - factors[-2] < 0.02


def test_rediscretised_cycles_converge_at_fourth_order_where_classical_coarsening_does_not():
    """The positive entries beside the diagonal of KᵀK are no strong connections to Ruge and Stüben."""
    assert factor(by_pyamg(SECOND, 512)[1]) > 0.9
    assert float(by_cycles(SECOND, 512, sweeps=2, **TEXTBOOK).factor[0]) < 0.5
