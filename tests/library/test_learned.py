"""The trainable flux: what holds for all weights in their box, and for given ones."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq, least_squares
from weights import random_weights

from schemenets import fluxes
from schemenets.errors import InvalidParameterError
from schemenets.fluxes import learned

FLUX = learned.FLUX
CORNERS = FLUX.box * np.array(list(product([-1, 1], repeat=5)))
WEIGHTS = torch.from_numpy(np.concatenate([CORNERS, random_weights(FLUX, 200), np.array([FLUX.initial])]))
MAGNITUDES = torch.from_numpy(np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 5001)]))


@cache
def sampled_slopes():
    """Φ' of all weights, by differentiating Φ."""
    t = MAGNITUDES.repeat(len(WEIGHTS), 1).requires_grad_()
    return torch.autograd.grad(FLUX(t, 1.0, WEIGHTS[:, None]).sum(), t)[0]


def test_diffusivities_lie_between_0_and_L_whatever_the_weights():
    s = MAGNITUDES[1:]
    for scale in (1, 1e3):  # also beyond the box
        g = FLUX(s, 0.2, scale * WEIGHTS[:, None]) / s
        assert g.min() >= 0
        assert g.max() <= FLUX.L
    least, largest = (learned.sigma(torch.tensor(sign * FLUX.box, dtype=torch.float64)) for sign in (-1, 1))
    g = FLUX(s, 0.2, WEIGHTS[:, None]) / s
    assert least * (1 - 1e-12) <= g.min() < 0.007
    assert 0.993 < g.max() <= largest * (1 + 1e-12)


def test_slopes_of_all_weights_fill_the_declared_interval():
    slopes = sampled_slopes()
    assert 0.998 * FLUX.L_prime < slopes.max() <= FLUX.L_prime
    assert 0.998 * FLUX.m < -slopes.min() <= FLUX.m


def test_slopes_of_given_weights_fill_the_interval_that_is_computed_for_them():
    slopes = sampled_slopes()
    m, L_prime = FLUX.slopes(WEIGHTS)
    least, largest = slopes.amin(1).clamp(max=0), slopes.amax(1)
    assert (least >= -m).all()
    assert (largest <= L_prime).all()
    torch.testing.assert_close(m, -least, rtol=0, atol=3e-3)
    torch.testing.assert_close(L_prime, largest, rtol=0, atol=3e-3)
    torch.testing.assert_close(FLUX.slopes(WEIGHTS.float())[0], m, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 0.2, 1e-3])
def test_slopes_bend_no_more_than_the_proof_says(scale):
    """The second derivative as a function of p, on which the bounds between grid points stand."""
    w = scale * WEIGHTS
    p = torch.linspace(0, 1, 501, dtype=torch.float64).repeat(len(w), 1).requires_grad_()
    (first,) = torch.autograd.grad(learned.slope(p, w[:, None]).sum(), p, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), p)
    _, _, excess = learned.enclosure(w, torch.ones(len(w), dtype=torch.float64))
    bound = 8 * learned.CELLS**2 * (excess - learned.ROUNDING)
    assert (second.abs().amax(1) <= bound * (1 + 1e-9)).all()
    assert (second.abs().amax(1) > 0.1 * bound).any()


def test_monotonicity_on_a_range_is_that_of_densely_sampled_values():
    rng = np.random.default_rng(0)
    w = WEIGHTS.numpy()
    lam, s_max = rng.uniform(0.05, 2, len(w)), rng.uniform(0.01, 5, len(w))
    words = learned.monotonicity(w, lam, s_max)
    s = np.linspace(0, 1, 20_001) * s_max[:, None]
    steps = np.diff(FLUX(torch.from_numpy(s), torch.from_numpy(lam)[:, None], WEIGHTS[:, None]).numpy())
    decided = words != "undecided"
    assert np.mean(decided) > 0.99
    assert ((words == "monotone") == (steps >= 0).all(1))[decided].all()
    assert min(np.mean(words == word) for word in ("monotone", "nonmonotone")) > 0.2


def test_monotonicity_changes_where_the_slope_does():
    w = torch.tensor(FLUX.initial, dtype=torch.float64)
    turn = brentq(lambda t: FLUX.derivative(torch.tensor(t, dtype=torch.float64), 1.0, w).item(), 0.5, 1.5, xtol=1e-14)
    assert learned.monotonicity(w, 0.1, [0, 0.0999 * turn]).tolist() == ["monotone"] * 2
    assert learned.monotonicity(w, 0.1, [0.1001 * turn, 10]).tolist() == ["nonmonotone"] * 2
    assert learned.monotonicity(w, 0.1, 0.1 * turn) == "undecided"


def test_initial_diffusivity_is_close_to_perona_and_malik():
    w, s = torch.tensor(FLUX.initial, dtype=torch.float64), MAGNITUDES[1:]
    assert (w.abs() < 0.9 * FLUX.box).all()  # else the box would hinder training
    difference = (FLUX(s, 1.0, w) - fluxes.get("perona_malik")(s)) / s
    assert difference.abs().max() < 0.05


def test_initial_weights_are_those_of_least_squares():
    p = torch.linspace(0, 1, 201, dtype=torch.float64)

    def rest(w):
        return (learned.sigma(learned.curve(p, torch.from_numpy(w))[0]) - (1 - p)).numpy()

    found = least_squares(rest, [2, 1, 0, -1, -2], bounds=(-FLUX.box, FLUX.box), xtol=1e-12)
    np.testing.assert_allclose(FLUX.initial, found.x, atol=1e-6)


@pytest.mark.parametrize("w", [*CORNERS[1:-1:4].tolist(), FLUX.initial], ids=lambda w: " ".join(f"{x:.0f}" for x in w))
def test_quadrature_of_the_energy_is_as_accurate_as_it_says(w):
    """With q = e^v - 1, panel by panel; for t up to 10⁴."""
    w = torch.tensor(w, dtype=torch.float64)

    def integrand(v):
        return learned.sigma(learned.curve(torch.tensor(-np.expm1(-v)).double(), w)[0]).item() * np.exp(v)

    total, panel = 0.0, 0.5
    for end in np.arange(panel, 2 * np.log(1e4), panel):
        total += quad(integrand, end - panel, end, epsrel=1e-13)[0]
        t = torch.tensor(np.sqrt(np.expm1(end)))
        assert learned.psi(t, w).item() == pytest.approx(total, rel=1e-11)
    small = torch.tensor(1e-6, dtype=torch.float64)
    assert learned.psi(small, w).item() == pytest.approx(1e-12 * learned.sigma(w[0]).item(), rel=1e-9)


def test_scalar_version_has_the_derivatives_by_weights():
    t = torch.linspace(-6, 6, 25, dtype=torch.float64)
    for w in WEIGHTS[::11]:
        for x in t.tolist():
            own = w.clone().requires_grad_()
            (wanted,) = torch.autograd.grad(learned.phi(torch.tensor(x, dtype=torch.float64), own), own)
            found = torch.tensor(learned.scalar(x, tuple(w.tolist()))[2], dtype=torch.float64)
            torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-14)


def test_misuse_is_named():
    for w in ([6.1, 0, 0, 0, 0], [float("nan"), 0, 0, 0, 0]):
        with pytest.raises(InvalidParameterError, match=r"w: got .* numbers between"):
            FLUX.slopes(torch.tensor(w))
        with pytest.raises(InvalidParameterError, match=r"w: got .* numbers between"):
            learned.monotonicity(w, 1.0, 1.0)
    with pytest.raises(InvalidParameterError, match=r"lam: got \[1\.0, 0\.0\]"):
        learned.monotonicity(FLUX.initial, [1.0, 0.0], 1.0)
    with pytest.raises(InvalidParameterError, match=r"s_max: got -1\.0"):
        learned.monotonicity(FLUX.initial, 1.0, -1.0)
