"""The implicit and semi-implicit schemes: solutions, unconditional stability, and rates of the iterations."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import root

from schemenets import fluxes
from schemenets.errors import InvalidParameterError
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, implicit, semi_implicit
from schemenets.schemes._base import solve_spd

NONNEGATIVE = [name for name in fluxes.available() if fluxes.get(name).nonnegative]
MONOTONE = [name for name in fluxes.available() if fluxes.get(name).monotone]


def walk(N, seed=0):
    return np.cumsum(np.random.default_rng(seed).standard_normal(N)) * 0.2


@pytest.mark.parametrize("name", MONOTONE)
def test_newton_agrees_with_a_general_purpose_solver(name):
    A, f, tau = Diffusion(derivative(15, (1.0, 0.4)), fluxes.get(name), lam=0.5), walk(15), 0.8
    independent = root(lambda u: u - f + tau * A(u), f, method="krylov", options={"fatol": 1e-11}).x
    np.testing.assert_allclose(implicit.newton(f, A, tau), independent, atol=1e-8)


@pytest.mark.parametrize("tau", [0.1, 10.0, 1e3])
@pytest.mark.parametrize("name", NONNEGATIVE)
def test_newton_solves_and_never_increases_the_norm_whatever_the_step(name, tau):
    flux = fluxes.get(name)
    A, f = Diffusion(derivative(200), flux, 0.1, flux.initial or None), walk(200)
    u = implicit.newton(f, A, tau)
    rounding = 1e-15 * tau * A.flux.L_prime * 4
    assert np.linalg.norm(u - f + tau * A(u)) <= (1e-12 + rounding) * np.linalg.norm(f)
    assert np.linalg.norm(u) <= np.linalg.norm(f) * (1 + 1e-12)
    assert 0.5 * np.sum((u - f) ** 2) + tau * A.energy(u) <= tau * A.energy(f)


@pytest.mark.parametrize("tau", [1.0, 10.0])
def test_newton_needs_few_steps_for_a_convex_energy(tau, monkeypatch):
    """With lagged diffusivities alone it would be 30 and 184."""
    solves = []
    monkeypatch.setattr(implicit, "solve_spd", lambda A, b: solves.append(1) or solve_spd(A, b))
    implicit.newton(walk(200), Diffusion(derivative(200), fluxes.get("charbonnier"), lam=0.1), tau)
    assert len(solves) <= 10


@pytest.mark.parametrize("name", ["charbonnier", "perona_malik"])
def test_lagged_steps_alone_find_the_solution(name, monkeypatch):
    A, f, tau = Diffusion(derivative(30), fluxes.get(name), lam=0.5), walk(30), 2.0
    monkeypatch.setattr(Diffusion, "jacobian", lambda A, u: -A.K.T @ A.K)  # so that Newton steps are impossible
    u = implicit.newton(f, A, tau)
    assert np.linalg.norm(u - f + tau * A(u)) <= 1e-11 * np.linalg.norm(f)


@pytest.mark.parametrize("name", MONOTONE)
def test_nonexpansive_for_monotone_fluxes(name):
    A = Diffusion(derivative(30), fluxes.get(name), lam=0.3)
    for seed in range(5):
        f, g = walk(30, seed), walk(30, seed + 100)
        distance = np.linalg.norm(implicit.newton(f, A, 20.0) - implicit.newton(g, A, 20.0))
        assert distance <= np.linalg.norm(f - g) * (1 + 1e-10)


@pytest.mark.parametrize("name", ["linear", "charbonnier", "perona_malik"])
def test_plain_iteration_contracts_at_the_stated_rate(name):
    A, f = Diffusion(derivative(40), fluxes.get(name), lam=0.5), walk(40)
    tau = 0.8 / (A.flux.L_prime * A.norm_squared)
    u = implicit.newton(f, A, tau)
    errors = [np.linalg.norm(implicit.fixed_point(f, A, tau, iterations=n) - u) for n in range(12)]
    assert implicit.rate(A, tau) == pytest.approx(0.8)
    assert (np.array(errors[1:]) <= 0.8 * np.array(errors[:-1]) + 1e-14).all()


def test_plain_iteration_diverges_beyond_its_bound_where_the_damped_one_converges():
    A, f = Diffusion(derivative(40), fluxes.get("charbonnier"), lam=100.0), walk(40)
    tau = 1.2 / (A.flux.L_prime * A.norm_squared)
    u = implicit.newton(f, A, tau)
    assert np.linalg.norm(implicit.fixed_point(f, A, tau, iterations=30) - u) > 10 * np.linalg.norm(f - u)
    tau = 50.0
    u = implicit.newton(f, A, tau)
    omega = 1.95 / (1 + tau * A.flux.L_prime * A.norm_squared)
    assert implicit.rate(A, tau, omega) < 1
    np.testing.assert_allclose(implicit.fixed_point(f, A, tau, omega, iterations=3000), u, atol=1e-8)
    assert implicit.rate(A, tau, 2.05 / 1.95 * omega) > 1
    assert np.abs(implicit.fixed_point(f, A, tau, 2.05 / 1.95 * omega, iterations=3000) - u).max() > 1


def test_semi_implicit_step_is_the_dense_solution():
    u, tau = walk(25), 7.0
    K = derivative(25).toarray()
    G = np.diag(1 / (1 + (K @ u / 0.3) ** 2))
    expected = np.linalg.solve(np.eye(25) + tau * K.T @ G @ K, u)
    A = Diffusion(derivative(25), fluxes.get("perona_malik"), lam=0.3)
    np.testing.assert_allclose(semi_implicit.step(u, A, tau), expected, rtol=1e-11)


def test_semi_implicit_step_keeps_the_range_of_first_order_diffusion():
    """Its matrix is an M-matrix with unit row sums: the maximum-minimum principle holds for every τ."""
    A, u = Diffusion(derivative(50), fluxes.get("exponential_perona_malik"), lam=0.2), walk(50)
    for tau in (0.1, 10.0, 1e4):
        after = semi_implicit.step(u, A, tau)
        assert u.min() - 1e-12 <= after.min() <= after.max() <= u.max() + 1e-12


def test_failure_to_converge_is_an_error():
    """Here it cannot: the flux declares slopes of 0, so rounding errors are taken for smaller than they are."""
    flux = dataclasses.replace(fluxes.get("linear"), L_prime=0.0)
    with pytest.raises(InvalidParameterError, match="tolerance"):
        implicit.newton(walk(5), Diffusion(derivative(5), flux), 1e6, tolerance=0.0)


def test_a_step_too_large_for_negative_diffusivities_is_refused_by_name():
    A = Diffusion(derivative(12), fluxes.get("fab"), 0.1)
    f = 0.15 * np.arange(12)
    with pytest.raises(InvalidParameterError, match=r"tau: got 50.0, expected a smaller one, since g of 'fab'"):
        implicit.newton(f, A, 50.0)
