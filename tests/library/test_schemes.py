"""What every time-stepping scheme declares, measured against matrix exponentials and dense matrices."""

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.integrate import solve_ivp
from weights import random_weights

from schemenets import fluxes, schemes
from schemenets.errors import InvalidParameterError, UnknownNameError
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, explicit

LINEAR = fluxes.get("linear")
NONNEGATIVE = [name for name in fluxes.available() if fluxes.get(name).nonnegative]
OPERATORS = {"first": (1.0,), "second": (0, 1.0), "mixed": (1.0, 0.5), "three": (0.3, -0.2, 0.4)}


@pytest.fixture(params=schemes.available())
def scheme(request):
    return schemes.get(request.param)


def signal(N, seed=0):
    return np.random.default_rng(seed).standard_normal(N)


def observed_orders(run, stopping_time, exact, T, steps):
    """log₂ of the error ratios of successive halvings of the step size at the fixed time T."""
    errors = [np.linalg.norm(run(T / stopping_time(1.0, n), n) - exact) for n in steps]
    return np.log2(errors[:-1]) - np.log2(errors[1:])


def test_order_against_the_matrix_exponential(scheme):
    A = Diffusion(derivative(12), LINEAR)
    f, T = signal(12), 1.5
    exact = scipy.linalg.expm(-T * (A.K.T @ A.K).toarray()) @ f
    orders = observed_orders(lambda tau, n: scheme.run(f, A, tau, n), scheme.stopping_time, exact, T, [100, 200, 400])
    np.testing.assert_allclose(orders, scheme.order, atol=0.05)


def test_order_for_a_nonlinear_nonmonotone_flux(scheme):
    K, f, T = derivative(12), signal(12), 1.0

    def right_hand_side(t, u):
        s = np.diff(u)
        flow = s / (1 + (s / 0.8) ** 2)
        return np.concatenate([flow, [0]]) - np.concatenate([[0], flow])

    exact = solve_ivp(right_hand_side, (0, T), f, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    A = Diffusion(K, fluxes.get("perona_malik"), lam=0.8)
    orders = observed_orders(lambda tau, n: scheme.run(f, A, tau, n), scheme.stopping_time, exact, T, [50, 100, 200])
    np.testing.assert_allclose(orders, scheme.order, atol=0.1)


@pytest.mark.parametrize("alpha", OPERATORS.values(), ids=OPERATORS)
def test_linear_stability_on_both_sides_of_the_step_limit(scheme, alpha):
    A = Diffusion(derivative(10, alpha), LINEAR)
    limit = scheme.step_limit(A)
    f = signal(10)
    conditional = np.isfinite(limit)
    # without a limit but with two steps in memory, the norm is bounded and yet not by that of f
    factor = 1 + 1e-8 if conditional or scheme.decreases_norm else 20
    for tau in [limit, limit / 3] if conditional else [1e-2, 1.0, 1e6]:
        assert np.linalg.norm(scheme.run(f, A, tau, 60)) <= factor * np.linalg.norm(f)
    if conditional:  # a cycle that ends with damping allows somewhat more than the limit, a safeguard more than that
        beyond = 1.6 if scheme is schemes.get("safeguarded_fsi") else 1.1
        assert np.linalg.norm(scheme.run(f, A, beyond * limit, 60)) > 100 * np.linalg.norm(f)


@pytest.mark.parametrize("name", NONNEGATIVE)
@pytest.mark.parametrize("scheme_name", [name for name in schemes.available() if schemes.get(name).decreases_norm])
def test_norm_decreases_in_every_step_with_another_operator_in_each(scheme_name, name):
    """The schemes that declare no such guarantee have their counterexamples in their own tests."""
    scheme = schemes.get(scheme_name)
    rng = np.random.default_rng(1)
    u = 3 * signal(16)
    for _ in range(12):
        flux = fluxes.get(name)
        w = -np.sort(-random_weights(flux, 24)) if flux.weights else None  # decreasing as g, which Newton steps want
        A = Diffusion(rng.standard_normal((24, 16)), flux, rng.uniform(0.1, 2, 24), w)
        after = scheme.run(u, A, min(scheme.step_limit(A), 10.0), 1)
        assert np.linalg.norm(after) <= np.linalg.norm(u) * (1 + 1e-12)
        u = after


@pytest.mark.parametrize("alpha", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("name", NONNEGATIVE)
def test_mean_is_conserved(scheme, alpha, name):
    A = Diffusion(derivative(20, alpha), fluxes.get(name), 0.5, fluxes.get(name).initial or None)
    f = signal(20) + 3
    u = scheme.run(f, A, min(scheme.step_limit(A), 0.4), 4)
    assert np.abs(u - f).max() > 1e-4  # else the test says nothing
    assert (u.mean() == pytest.approx(f.mean(), rel=1e-12)) == scheme.conserves_mean


@pytest.mark.parametrize("name", fluxes.available())
def test_diffusion_operator_against_dense_matrices(name):
    rng = np.random.default_rng(2)
    K = rng.standard_normal((18, 7))
    K[3] = 0  # a response of exactly zero
    flux, lam = fluxes.get(name), rng.uniform(0.2, 2, 18)
    w = random_weights(flux, 18)
    A, u = Diffusion(K, flux, lam, w), signal(7)
    s = K @ u
    rows = [()] * 18 if w is None else [(tuple(row),) for row in w]
    phi = np.array([flux.scalar(t, *row)[0] for t, row in zip(s / lam if flux.scaled else s, rows, strict=True)])
    phi = phi * lam if flux.scaled else phi
    np.testing.assert_allclose(A(u), K.T @ phi, rtol=1e-11)
    np.testing.assert_allclose(A.lagged(u) @ u, A(u), rtol=1e-9, atol=1e-12)
    basis = 1e-6 * np.eye(7)
    np.testing.assert_allclose(A(u), [(A.energy(u + e) - A.energy(u - e)) / 2e-6 for e in basis], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        A.jacobian(u).toarray(), [(A(u + e) - A(u - e)) / 2e-6 for e in basis], rtol=1e-4, atol=1e-5 * flux.L
    )
    G_0 = np.diag([flux.scalar(0.0, *row)[1] for row in rows])
    np.testing.assert_allclose(A.lagged(0 * u).toarray(), K.T @ G_0 @ K, rtol=1e-11, atol=1e-14)
    assert A.norm_squared == pytest.approx(scipy.linalg.svdvals(K)[0] ** 2)


def test_explicit_step_is_the_formula():
    u, tau = signal(9), 0.2
    s = np.diff(u)
    flow = s * np.exp(-(s**2) / (2 * 0.5**2))
    expected = u + tau * np.diff(np.concatenate([[0], flow, [0]]))
    A = Diffusion(derivative(9), fluxes.get("exponential_perona_malik"), lam=0.5)
    np.testing.assert_allclose(explicit.step(u, A, tau), expected, rtol=1e-13)


@pytest.mark.parametrize("name", fluxes.available())
@pytest.mark.parametrize("alpha", OPERATORS.values(), ids=OPERATORS)
def test_energy_decreases_along_explicit_steps(name, alpha):
    K, flux = derivative(30, alpha), fluxes.get(name)
    A = Diffusion(K, flux, 0.7, random_weights(flux, K.shape[0]))
    u, tau = 2 * signal(30), explicit.energy_limit(A)
    energies = []
    for _ in range(50):
        energies.append(A.energy(u))
        u = explicit.step(u, A, tau)
    assert (np.diff(energies) <= 1e-10 * max(np.abs(energies))).all()
    assert energies[-1] < energies[0]


def test_energy_increases_beyond_the_limit():
    A = Diffusion(derivative(30), LINEAR)
    u = (-1.0) ** np.arange(30)
    assert A.energy(explicit.step(u, A, 1.1 * explicit.energy_limit(A))) > A.energy(u)


@pytest.mark.parametrize("name", NONNEGATIVE)
def test_lipschitz_bound_of_explicit_steps(name):
    """Also its sharpness on the scalar problem K = 1: the worst pair of points attains it."""
    rng = np.random.default_rng(3)
    flux = fluxes.get(name)
    A = Diffusion(rng.standard_normal((10, 6)), flux, w=random_weights(flux, 10))
    steepest = flux.box * np.array([1, 1, -1, -1, -1]) if flux.weights else None
    scalar = Diffusion([[1.0]], flux, w=steepest)
    points = torch.logspace(-7, 1, 20_000, dtype=torch.float64)
    for fraction in (0.3, 1.0, 1.6):
        tau = fraction * explicit.energy_limit(A)
        for size in (0.1, 1.0, 10.0):
            u, v = size * rng.standard_normal((2, 6))
            expansion = np.linalg.norm(explicit.step(u, A, tau) - explicit.step(v, A, tau))
            assert expansion <= explicit.lipschitz_bound(A, tau) * np.linalg.norm(u - v) * (1 + 1e-12)
        tau = fraction * explicit.energy_limit(scalar)
        slopes = (1 - tau * flux.derivative(points, 1.0, scalar.w)).abs()
        if A.flux.m > 0 or fraction > 1:
            assert slopes.max().item() == pytest.approx(explicit.lipschitz_bound(scalar, tau), rel=2e-3)


def test_stable_steps_of_a_nonmonotone_flux_can_expand_distances():
    """Euclidean stability is not nonexpansiveness: Perona-Malik has the one and not the other."""
    A = Diffusion([[1.0]], fluxes.get("perona_malik"))
    u, v, tau = np.array([1.7]), np.array([1.8]), explicit.step_limit(A)
    assert abs(explicit.step(u, A, tau)[0]) <= abs(u[0])
    assert abs(explicit.step(u, A, tau) - explicit.step(v, A, tau))[0] > 1.2 * abs(u - v)[0]


def test_forward_backward_diffusion_grows_at_every_step_size():
    """g < 0 beyond the contrast: the condition g ≥ 0 of the guarantee cannot be dropped."""
    A = Diffusion(derivative(2), fluxes.get("fab"), lam=1.0)
    u = np.array([-0.75, 0.75])
    for tau in (1e-3, 1e-1, explicit.step_limit(A)):
        assert np.linalg.norm(explicit.step(u, A, tau)) > np.linalg.norm(u)


def test_misuse_is_named():
    with pytest.raises(InvalidParameterError):
        Diffusion(derivative(4), LINEAR, lam=0.0)
    with pytest.raises(InvalidParameterError, match="shape of w"):
        Diffusion(derivative(4), fluxes.get("learned"), w=np.zeros((3, 4)))
    with pytest.raises(InvalidParameterError, match="shape of lam"):
        Diffusion(derivative(4), LINEAR, lam=[1.0, 2.0])
    with pytest.raises(UnknownNameError, match="Did you mean 'explicit'"):
        schemes.get("explict")
    with pytest.raises(UnknownNameError, match="scheme: got 'multigrid', expected one of du_fort_frankel, explicit"):
        schemes.get("multigrid")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau": -1.0}, "tau: got -1.0, expected positive and finite"),
        ({"tau": np.inf}, "tau: got inf"),
        ({"tau": np.nan}, "tau: got nan"),
        ({"f": signal(5)}, r"shape of the signal: got \(5,\), expected \(8,\)"),
        ({"f": np.full(8, np.nan)}, "a value of the signal: got .*nan"),
        ({"n": -1}, "number of steps: got -1"),
        ({"n": 2.5}, "number of steps: got 2.5"),
    ],
)
def test_steps_that_make_no_sense_are_refused_by_name(scheme, change, message):
    arguments = {"f": signal(8), "tau": 0.1, "n": 2, **change}
    with pytest.raises(InvalidParameterError, match=message):
        scheme.run(arguments["f"], Diffusion(derivative(8), LINEAR), arguments["tau"], arguments["n"])
