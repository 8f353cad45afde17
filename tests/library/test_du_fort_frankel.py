"""Du Fort-Frankel: the textbook scheme, its root condition, its transient growth and what bounds it."""

import numpy as np
import pytest
import scipy.linalg

from schemenets import fluxes
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, du_fort_frankel

LINEAR = fluxes.get("linear")


def amplification(laplacian, tau, alpha):
    """Dense matrix from (u^k, u^{k-1}) to (u^{k+1}, u^k) for linear diffusion, written down independently."""
    eye = np.eye(len(laplacian))
    two_step = np.block([[2 * alpha * eye - laplacian, (1 / (2 * tau) - alpha) * eye], [eye, 0 * eye]])
    two_step[: len(eye)] /= 1 / (2 * tau) + alpha
    return two_step


def test_textbook_scheme():
    """(u_i^{k+1} - u_i^{k-1})/2τ = (u_{i+1}^k - u_i^{k+1} - u_i^{k-1} + u_{i-1}^k)/h² away from the ends."""
    h, tau = 0.5, 0.4
    u, previous = np.random.default_rng(0).standard_normal((2, 12))
    new = du_fort_frankel.step(u, previous, Diffusion(derivative(12, h=h), LINEAR), tau, alpha=1 / h**2)
    left = (new - previous)[1:-1] / (2 * tau)
    right = (u[2:] - new[1:-1] - previous[1:-1] + u[:-2]) / h**2
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_steps_equal_the_amplification_matrix():
    A, tau, alpha = Diffusion(derivative(9), LINEAR), 0.7, 1.3
    u, previous = np.random.default_rng(1).standard_normal((2, 9))
    both = amplification((A.K.T @ A.K).toarray(), tau, alpha) @ np.concatenate([u, previous])
    np.testing.assert_allclose(both[:9], du_fort_frankel.step(u, previous, A, tau, alpha), rtol=1e-12)


@pytest.mark.parametrize("alpha", [(1.0,), (0, 1.0), (0.5, 1.0)])
def test_root_condition_holds_exactly_from_the_least_stabilisation_on(alpha):
    A = Diffusion(derivative(12, alpha), LINEAR)
    laplacian, least = (A.K.T @ A.K).toarray(), du_fort_frankel.least_alpha(A)
    assert least == pytest.approx(scipy.linalg.eigvalsh(laplacian)[-1] / 4)
    for tau in np.geomspace(1e-3, 1e4, 29):
        assert np.abs(scipy.linalg.eigvals(amplification(laplacian, tau, 1.01 * least))).max() <= 1 + 1e-10
    assert np.abs(scipy.linalg.eigvals(amplification(laplacian, 1e4, 0.99 * least))).max() > 1.001


def test_both_sides_in_long_runs():
    A, f = Diffusion(derivative(12), LINEAR), np.random.default_rng(2).standard_normal(12)
    least = du_fort_frankel.least_alpha(A)
    bounded = du_fort_frankel.run(f, A, 100.0, 3000, alpha=1.01 * least)
    assert np.linalg.norm(bounded) < 10 * np.linalg.norm(f)
    with np.errstate(over="ignore", invalid="ignore"):
        unbounded = du_fort_frankel.run(f, A, 100.0, 3000, alpha=0.9 * least)
    assert not np.linalg.norm(unbounded) < 1e6 * np.linalg.norm(f)


def test_norm_can_grow_for_a_while_even_under_the_root_condition():
    """The amplification matrix is not normal: it is stable, and yet its powers exceed 1 first."""
    A = Diffusion(derivative(12), LINEAR)
    step = amplification((A.K.T @ A.K).toarray(), 10.0, 1.01 * du_fort_frankel.least_alpha(A))
    norms = [np.linalg.norm(np.linalg.matrix_power(step, n), 2) for n in range(1, 2000, 20)]
    assert np.abs(scipy.linalg.eigvals(step)).max() <= 1 + 1e-12
    assert max(norms) > 1.4


def test_other_operators_in_other_steps():
    """With 2τα ≤ 1 and 1/(2α) ≤ 2/(L‖K‖²) the norm stays below that of the start; without, it can grow."""
    rng = np.random.default_rng(3)
    previous = u = rng.standard_normal(10)
    start = np.linalg.norm(u)
    for _ in range(40):
        A = Diffusion(rng.standard_normal((14, 10)), fluxes.get("perona_malik"), lam=rng.uniform(0.1, 3, 14))
        alpha = du_fort_frankel.least_alpha(A)
        previous, u = u, du_fort_frankel.step(u, previous, A, 1 / (2 * alpha), alpha)
        assert np.linalg.norm(u) <= start * (1 + 1e-12)

    alpha, tau = 1.0, 50.0
    nothing, strongest = Diffusion([[0.0]], LINEAR), Diffusion([[2.0]], LINEAR)
    previous = u = np.ones(1)
    for k in range(40):
        previous, u = u, du_fort_frankel.step(u, previous, (strongest, nothing)[k % 2], tau, alpha)
    assert abs(u[0]) > 10


def test_second_order_from_an_explicit_start():
    """The declared order 1 is that of the start u^{-1} := u^0; the steps themselves are of second order."""
    A, f, T = Diffusion(derivative(12), LINEAR), np.random.default_rng(4).standard_normal(12), 1.5
    exact = scipy.linalg.expm(-T * (A.K.T @ A.K).toarray()) @ f
    errors = []
    for n in (160, 320, 640):
        tau = T / n
        previous, u = f, f - tau * A(f)
        for _ in range(n - 1):
            previous, u = u, du_fort_frankel.step(u, previous, A, tau, alpha=1.0)
        errors.append(np.linalg.norm(u - exact))
    np.testing.assert_allclose(np.log2(errors[:-1]) - np.log2(errors[1:]), 2, atol=0.05)
