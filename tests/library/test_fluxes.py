"""Every flux of the registry against what it declares, measured in float64 on a fine grid."""

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import comb
from weights import random_weights

from schemenets import fluxes
from schemenets.errors import InvalidParameterError, UnknownNameError


def with_weights(flux, w):
    """The flux with these weights, as one of fixed shape that declares what is known of them."""
    tensor = torch.tensor(w, dtype=torch.float64)
    m, L_prime = flux.slopes(tensor)
    return dataclasses.replace(
        flux,
        **{name: partial(getattr(flux, name), w=tensor) for name in ("phi", "dphi", "psi")},
        scalar=lambda t: flux.scalar(t, tuple(w))[:2],
        initial=(),
        bounds=None,
        m=m.item(),
        L_prime=L_prime.item(),
        monotone=m.item() == 0,
    )


FIXED = [fluxes.get(name) for name in fluxes.available() if not fluxes.get(name).weights] + [
    fluxes.get("fab", kappa=1.1),
    fluxes.get("fab", kappa=50.0),
    fluxes.get("tv_regularised", epsilon=0.5),
]
LEARNED = fluxes.get("learned")
WEIGHTS = [
    LEARNED.initial,
    *random_weights(LEARNED, 3).tolist(),
    [0.5, 0.5, 1.0, 1.0, 2.0],
    [6.0, 6.0, -6.0, -6.0, -6.0],
]
VARIANTS = FIXED + [with_weights(LEARNED, w) for w in WEIGHTS]
MAGNITUDES = np.geomspace(1e-6, 1e3, 90_001)
GRID = torch.from_numpy(np.concatenate([-MAGNITUDES[::-1], [0.0], MAGNITUDES]))

ln2 = math.log(2)
# g as a function of s and λ, as the literature has it
DIFFUSIVITY = {
    "linear": lambda s, lam: np.ones_like(s),
    "charbonnier": lambda s, lam: (1 + s**2 / lam**2) ** -0.5,
    "perona_malik": lambda s, lam: 1 / (1 + s**2 / lam**2),
    "exponential_perona_malik": lambda s, lam: np.exp(-(s**2) / lam**2 / 2),
    "weickert": lambda s, lam: 1 - np.exp(-3.31488 * (lam / s) ** 8),
    "fab": lambda s, lam: (
        2 * np.exp(-4 * ln2 / 3 * s**2 / lam**2) - np.exp(-ln2 / 3 * s**2 / lam**2)  # κ = 2
    ),
    "tv_regularised": lambda s, lam: (s**2 + 0.01**2) ** -0.5,
    "relu": lambda s, lam: (s > 0).astype(float),
    "learned": lambda s, lam: sigmoid(
        sum(w * comb(4, j) * (s / lam) ** (2 * j) / (1 + s**2 / lam**2) ** 4 for j, w in enumerate(LEARNED.initial))
    ),
}


def sigmoid(z):
    return (1 + z / np.sqrt(1 + z**2)) / 2


def identity(flux):
    return f"{flux.name}-{flux.m:.3f}-{flux.L:g}"


@pytest.fixture(params=VARIANTS, ids=identity)
def flux(request):
    return request.param


@pytest.mark.parametrize("name", DIFFUSIVITY)
@pytest.mark.parametrize("lam", [0.1, 1.0, 7.0])
def test_flux_is_diffusivity_times_s(name, lam):
    s = GRID[GRID != 0].numpy()
    with np.errstate(over="ignore"):
        expected = DIFFUSIVITY[name](s, lam) * s
    # 1 - exp of the literature's formula cancels where the flux is tiny
    flux = fluxes.get(name)
    w = torch.tensor(flux.initial, dtype=torch.float64) if flux.weights else None
    np.testing.assert_allclose(flux(torch.from_numpy(s), lam, w), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("flux", FIXED, ids=identity)
def test_L_is_the_supremum_of_g(flux):
    s = GRID[GRID != 0]
    g = flux(s, 0.3) / s
    assert g.max().item() == pytest.approx(flux.L, rel=1e-5)  # that of a kink is not attained
    assert g.max() <= flux.L * (1 + 1e-14)


@pytest.mark.parametrize("flux", FIXED, ids=identity)
def test_slopes_fill_the_declared_interval(flux):
    slope = flux.derivative(GRID, 0.3)
    assert slope.max().item() == pytest.approx(flux.L_prime, rel=1e-6)
    assert slope.max() <= flux.L_prime * (1 + 1e-14)
    assert min(0, slope.min().item()) == pytest.approx(-flux.m, rel=1e-5, abs=1e-6 * flux.L_prime)
    assert slope.min() >= -flux.m * (1 + 1e-12)


def test_derivative_is_that_of_the_flux(flux):
    s = GRID.clone().requires_grad_()
    (slope,) = torch.autograd.grad(flux(s, 0.3).sum(), s)
    torch.testing.assert_close(flux.derivative(GRID, 0.3), slope, rtol=1e-9, atol=1e-12 * flux.L)
    t, h = GRID[(GRID.abs() > 1e-3) & (GRID.abs() < 20)], 1e-6
    sides = torch.stack([(flux.phi(t + x * t.abs()) - flux.phi(t)) / (x * t.abs()) for x in (h, -h)])
    least, most = sides.amin(0), sides.amax(0)  # which differ in kinks of Φ or Φ'
    slope = flux.dphi(t)
    error = torch.maximum(least - slope, slope - most)
    wrong = t[error > 1e-5 * slope.abs() + 1e-7 * flux.L]
    assert len(wrong) == 0, f"Φ' is no slope of Φ at t = {wrong[:5].tolist()}"


def test_psi_has_the_derivative_2_phi(flux):
    t = GRID[::50].clone().requires_grad_()
    (slope,) = torch.autograd.grad(flux.psi(t).sum(), t)
    torch.testing.assert_close(slope, 2 * flux.phi(t), rtol=1e-9, atol=1e-10)
    assert flux.psi(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-15)


def test_energy_is_the_antiderivative_of_the_flux(flux):
    for s in (-2.0, 0.05, 0.4, 3.0):
        value, _ = quad(lambda x: flux(torch.tensor(x).double(), 0.3).item(), 0, s, limit=200)
        energy = flux.energy(torch.tensor(s, dtype=torch.float64), 0.3).item()
        assert energy == pytest.approx(value, rel=1e-7, abs=1e-12)


def test_symmetry_sign_and_monotonicity(flux):
    t = GRID[GRID > 0]
    assert torch.equal(flux.phi(-t), -flux.phi(t)) == flux.odd
    assert bool((GRID * flux.phi(GRID) >= 0).all()) == flux.nonnegative
    assert bool((flux.phi(GRID).diff() >= -1e-16).all()) == flux.monotone
    assert flux.monotone == (flux.m == 0)


def test_dependence_on_the_contrast(flux):
    depends = not torch.allclose(flux(GRID, 0.3), flux(GRID, 1.0))
    assert depends == flux.scaled


def test_scalar_version_equals_the_tensor_version(flux):
    t = torch.cat([GRID[::501], torch.tensor([0.0, -0.5, 0.5, 1e60], dtype=torch.float64)])
    values = torch.tensor([flux.scalar(x) for x in t.tolist()], dtype=torch.float64)
    torch.testing.assert_close(values[:, 0], flux.phi(t), rtol=1e-12, atol=0)
    torch.testing.assert_close(values[:, 1], flux.dphi(t), rtol=1e-9, atol=1e-14 * flux.L)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_where_formulas_divide_by_zero(flux, dtype):
    s = torch.tensor([0.0, -0.0, 1e-30, 1e-8, 1e2], dtype=dtype, requires_grad=True)
    lam = torch.tensor(0.1, dtype=dtype, requires_grad=True)
    value = flux(s, lam)
    gradients = torch.autograd.grad(value.sum() + flux.energy(s, lam).sum(), (s, lam), allow_unused=True)
    assert value.isfinite().all()
    assert all(g is None or g.isfinite().all() for g in gradients)


def test_fab_grows_where_its_diffusivity_is_negative():
    """One explicit step u - τΦ(u) of the scalar K = 1 with |u| > λ: every τ, however small, increases |u|."""
    u = torch.tensor(1.5, dtype=torch.float64)
    for tau in (1e-3, 0.1, 1.0, 2.0):
        assert (u - tau * fluxes.get("fab")(u)).abs() > u
        assert (u - tau * fluxes.get("weickert")(u)).abs() <= u


def test_tv_regularised_is_a_charbonnier_flux():
    epsilon = 0.05
    torch.testing.assert_close(
        fluxes.get("tv_regularised", epsilon=epsilon)(GRID), fluxes.get("charbonnier")(GRID, epsilon) / epsilon
    )


@pytest.mark.parametrize("lam", [0, -0.1, float("nan")])
@pytest.mark.parametrize("method", ["__call__", "derivative", "energy"])
def test_contrasts_that_are_not_positive_are_refused(method, lam):
    for name in fluxes.available():
        with pytest.raises(InvalidParameterError, match=r"lam: got .* expected positive"):
            getattr(fluxes.get(name), method)(torch.ones(3), lam)


@pytest.mark.parametrize("method", ["__call__", "derivative", "energy", "slopes"])
def test_weights_that_are_missing_or_superfluous_are_refused(method):
    arguments = [] if method == "slopes" else [torch.ones(3)]
    for name, w in [("learned", None), ("learned", torch.ones(4)), ("perona_malik", torch.ones(1))]:
        with pytest.raises(InvalidParameterError, match=r"shape of w: got .*, expected (a last axis of 5|none)"):
            getattr(fluxes.get(name), method)(*arguments, w=w)


def test_slopes_of_a_fixed_shape_are_those_that_it_declares():
    m, L_prime = fluxes.get("weickert").slopes()
    assert (m.item(), L_prime.item()) == (fluxes.get("weickert").m, 1.0)


def test_misuse_is_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'perona_malik'"):
        fluxes.get("perona_malk")
    with pytest.raises(UnknownNameError, match="expected none"):
        fluxes.get("linear", kappa=2.0)
    with pytest.raises(UnknownNameError, match="kappa"):
        fluxes.get("fab", epsilon=2.0)
    with pytest.raises(InvalidParameterError):
        fluxes.get("fab", kappa=1.0)
    with pytest.raises(InvalidParameterError):
        fluxes.get("tv_regularised", epsilon=0.0)


def test_declarations_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        fluxes.get("relu").L = 2.0
