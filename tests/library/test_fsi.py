"""The fast semi-iterative scheme: box filter, stopping time, and what is lost with other operators in other steps."""

import numpy as np
import pytest

from schemenets import fluxes
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, explicit, fsi

LINEAR = fluxes.get("linear")


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12])
def test_a_cycle_is_a_box_filter(n):
    N = 64
    A = Diffusion(derivative(N), LINEAR)
    f = np.random.default_rng(0).standard_normal(N)
    u = fsi.cycle(f, [A] * n, tau=0.5)
    box = np.convolve(f, np.full(2 * n + 1, 1 / (2 * n + 1)), mode="valid")
    np.testing.assert_allclose(u[n:-n], box, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_stopping_time(n):
    """To first order in a small eigenvalue z of KᵀK a cycle multiplies by 1 - T_n z; n explicit steps by 1 - nτz."""
    z, tau = 1e-7, 0.5
    A = Diffusion([[np.sqrt(z)]], LINEAR)
    one = np.ones(1)
    assert (1 - fsi.cycle(one, [A] * n, tau)[0]) / z == pytest.approx(tau * n * (n + 1) / 3, rel=1e-4)
    assert fsi.stopping_time(tau, n) == pytest.approx(tau * n * (n + 1) / 3)
    assert (1 - explicit.run(one, A, tau, n)[0]) / z == pytest.approx(tau * n, rel=1e-4)


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_one_linear_operator_is_stable_within_the_limit_and_only_there(n):
    """The polynomial of a cycle is at most 1 in magnitude on [0, 2], the longer the less far beyond."""
    for z in np.linspace(0, 2, 201):
        A = Diffusion([[np.sqrt(z)]], LINEAR)
        assert abs(fsi.cycle(np.ones(1), [A] * n, tau=1.0)[0]) <= 1 + 1e-12
    if n >= 5:
        beyond = Diffusion([[np.sqrt(2 + 12 / n**2)]], LINEAR)
        assert abs(fsi.cycle(np.ones(1), [beyond] * n, tau=1.0)[0]) > 1


def test_other_operators_in_other_steps_break_the_guarantee():
    """K₀ = 0 and τK₁² = 2 give u₂ = -7/5 u₀, though each step obeys the limit of stable explicit steps."""
    K0, K1 = Diffusion([[0.0]], LINEAR), Diffusion([[2.0]], LINEAR)
    tau, u0 = 0.5, np.array([3.0])
    assert tau <= explicit.step_limit(K1)
    np.testing.assert_allclose(fsi.cycle(u0, [K0, K1], tau), -7 / 5 * u0, rtol=1e-14)
    u = explicit.step(explicit.step(u0, K0, tau), K1, tau)
    assert abs(u[0]) <= abs(u0[0])


def test_a_cycle_of_an_odd_smooth_monotone_flux_can_amplify():
    """Φ(s) = s⁹/(T⁸ + s⁸) has 0 ≤ g < L = 1, and grows as g grows with |s|; the step size is the limit 2."""
    T = 0.566
    previous = u = 1.0
    for k in range(8):
        alpha = (4 * k + 2) / (2 * k + 3)
        previous, u = u, alpha * (u - 2 * u**9 / (T**8 + u**8)) + (1 - alpha) * previous
    assert abs(u) > 2.6
