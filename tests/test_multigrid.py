"""Linear multigrid and the nonlinear full approximation scheme, against direct solvers and textbook factors."""

import numpy as np
import pytest
import scipy.sparse as sp

from schemenets import fluxes
from schemenets.errors import InvalidParameterError
from schemenets.operators import derivative, poisson
from schemenets.schemes import Diffusion, fas, implicit, multigrid
from schemenets.schemes.multigrid import CYCLES, cycle, full_multigrid, hierarchy
from schemenets.stages.multigrid import convergence_factor, jacobi_factor


def error_matrix(levels, **options):
    """Dense matrix that one cycle multiplies the error by, column by column."""
    N = levels[0].A.shape[0]
    return np.stack([cycle(levels, np.zeros(N), e, **options) for e in np.eye(N)], axis=1)


def spectral_radius(M):
    return np.abs(np.linalg.eigvals(M)).max()


def helmholtz(N, tau):
    K = derivative(N)
    return sp.csr_array(sp.eye_array(N) + tau * K.T @ K)


@pytest.mark.parametrize("sweeps", [(1, 1), (2, 0), (0, 2)])
@pytest.mark.parametrize("N", [31, 63])
def test_two_grid_factor_for_poisson_is_one_ninth_per_two_sweeps(N, sweeps):
    factor = spectral_radius(error_matrix(hierarchy(poisson(N), 2), sweeps=sweeps))
    assert factor == pytest.approx(1 / 9, rel=1e-6)


def test_two_grid_cycle_is_the_formula():
    """S (I - P A_c⁻¹ R A) S with S = I - ωD⁻¹A, assembled from dense matrices."""
    N = 15
    A = 2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1)
    P = np.array([[max(0, 1 - abs(i - 2 * j - 1) / 2) for j in range(N // 2)] for i in range(N)])
    coarse = P.T @ A @ P / 2
    S = np.eye(N) - 2 / 3 * A / 2
    expected = S @ (np.eye(N) - P @ np.linalg.solve(coarse, P.T @ A / 2)) @ S
    np.testing.assert_allclose(error_matrix(hierarchy(poisson(N), 2)), expected, atol=1e-13)


@pytest.mark.parametrize("kind", CYCLES)
def test_convergence_does_not_depend_on_the_grid(kind):
    bound = 0.2 if kind == "V" else 0.12
    for levels in (3, 4, 5, 6):
        assert spectral_radius(error_matrix(hierarchy(poisson(2 ** (levels + 1) - 1), levels), kind=kind)) < bound


@pytest.mark.parametrize("kind", CYCLES)
@pytest.mark.parametrize("N", [15, 63, 127])
def test_the_stage_finds_the_spectral_radius_of_cycles(N, kind):
    levels = hierarchy(poisson(N), N.bit_length() - 1)
    found = convergence_factor(lambda x: cycle(levels, np.zeros(N), x, kind), N)
    assert found == pytest.approx(spectral_radius(error_matrix(levels, kind=kind)), rel=1e-3)


@pytest.mark.parametrize("N", [15, 127])
def test_the_stage_finds_the_textbook_factor_of_damped_jacobi(N):
    assert 1 - jacobi_factor(poisson(N).toarray()) == pytest.approx(2 / 3 * (1 - np.cos(np.pi / (N + 1))), rel=1e-9)


@pytest.mark.parametrize("tau", [1.0, 100.0, 1e4])
def test_implicit_diffusion_with_reflecting_ends(tau):
    assert spectral_radius(error_matrix(hierarchy(helmholtz(64, tau), 5, "reflecting"))) < 0.12


@pytest.mark.parametrize("kind", CYCLES)
def test_the_solution_is_a_fixed_point_and_the_limit(kind):
    rng = np.random.default_rng(0)
    for A, ends in ((poisson(63, 1 / 64), "dirichlet"), (helmholtz(64, 30.0), "reflecting")):
        b = rng.standard_normal(A.shape[0])
        exact = np.linalg.solve(A.toarray(), b)
        levels = hierarchy(A, 4, ends)
        np.testing.assert_allclose(cycle(levels, b, exact, kind), exact, rtol=0, atol=1e-12 * np.abs(exact).max())
        x = np.zeros_like(b)
        for _ in range(25):
            x = cycle(levels, b, x, kind)
        np.testing.assert_allclose(x, exact, rtol=0, atol=1e-11 * np.abs(exact).max())


def test_cycles_visit_the_coarsest_grid_as_often_as_their_names_say(monkeypatch):
    visits = []
    monkeypatch.setattr(multigrid, "solve_spd", lambda A, b: visits.append(1) or 0 * b)
    levels = hierarchy(poisson(63), 5)
    for kind, expected in {"V": 1, "W": 2**4, "F": 5}.items():
        visits.clear()
        cycle(levels, np.ones(63), np.zeros(63), kind)
        assert len(visits) == expected


def test_full_multigrid_reaches_discretisation_error_in_one_pass():
    """-u'' = π² sin πx: the algebraic error is of the size of the discretisation error, on every grid."""
    for m in (4, 6, 8):
        N = 2**m - 1
        x = np.arange(1, N + 1) / (N + 1)
        A, b = poisson(N, 1 / (N + 1)), np.pi**2 * np.sin(np.pi * x)
        exact = np.linalg.solve(A.toarray(), b)
        levels = hierarchy(A, m - 1)
        discretisation = np.abs(exact - np.sin(np.pi * x)).max()
        assert np.abs(full_multigrid(levels, b) - exact).max() < 2 * discretisation
        assert np.abs(full_multigrid(levels, b, cycles=3) - exact).max() < 0.1 * discretisation


def fas_levels(flux, levels=6, N=128, lam=0.1):
    return fas.hierarchy(lambda n, h: Diffusion(derivative(n, h=h), fluxes.get(flux), lam), N, levels)


def right_hand_side(N=128):
    return np.cumsum(np.random.default_rng(1).standard_normal(N)) * 0.1


@pytest.mark.parametrize("flux", ["linear", "charbonnier", "perona_malik"])
@pytest.mark.parametrize("tau", [1.0, 30.0])
def test_the_solution_is_a_fixed_point_of_fas(flux, tau):
    levels, b = fas_levels(flux), right_hand_side()
    exact = implicit.newton(b, levels[0].A, tau)
    np.testing.assert_allclose(fas.cycle(levels, b, exact, tau), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "broken",
    [lambda b: np.maximum(b, 0), lambda b: (b - b.mean()) / b.std()],
    ids=["rectified", "normalised"],
)
def test_touching_the_coarse_right_hand_side_loses_the_solution(broken):
    levels, b = fas_levels("charbonnier"), right_hand_side()
    exact = implicit.newton(b, levels[0].A, 30.0)
    after = fas.cycle(levels, b, exact, 30.0, coarse_side=broken)
    assert np.linalg.norm(after - exact) > 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize(("flux", "factor"), [("linear", 0.3), ("charbonnier", 0.4)])
@pytest.mark.parametrize("tau", [1.0, 30.0, 1000.0])
def test_fas_converges(flux, factor, tau):
    levels, b = fas_levels(flux), right_hand_side()
    exact = implicit.newton(b, levels[0].A, tau)
    errors, x = [], b
    for _ in range(10):
        x = fas.cycle(levels, b, x, tau)
        errors.append(np.linalg.norm(x - exact))
    assert (errors[-1] / errors[2]) ** (1 / 7) < factor


def test_fas_is_linear_multigrid_for_a_linear_problem():
    """Same smoother, transfers and (rediscretised) coarse operators: one cycle gives the same iterate."""
    tau, N = 5.0, 64
    levels = fas_levels("linear", levels=4, N=N)
    linear = [
        multigrid.Level(
            sp.csr_array(sp.eye_array(n) + tau * derivative(n, h=N / n).T @ derivative(n, h=N / n)), a.R, a.P
        )
        for a in levels
        for n in [a.R.shape[1]]
    ]
    b, x = right_hand_side(N), np.random.default_rng(2).standard_normal(N)
    np.testing.assert_allclose(fas.cycle(levels, b, x, tau), cycle(linear, b, x), rtol=0, atol=1e-12)


def test_misuse_is_named():
    with pytest.raises(InvalidParameterError, match="kind"):
        cycle(hierarchy(poisson(15), 2), np.ones(15), np.zeros(15), kind="X")
    with pytest.raises(InvalidParameterError, match="length"):
        hierarchy(poisson(15), 4)
    with pytest.raises(InvalidParameterError, match="length"):
        fas_levels("linear", levels=4, N=36)
