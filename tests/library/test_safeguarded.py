"""Safeguarded two-step schemes and networks: bounded by their start, accelerated where nothing has to be held back."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from schemenets import checkpoints, fluxes, networks
from schemenets.kernels import extrapolation
from schemenets.kernels.extrapolation import factor
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, du_fort_frankel, explicit, fsi, safeguarded_du_fort_frankel, safeguarded_fsi
from schemenets.stability import certify, verification

LINEAR = fluxes.get("linear")
NAMES = ["safeguarded_fsi", "safeguarded_du_fort_frankel"]
PLAIN = dict(zip(NAMES, ("fsi", "du_fort_frankel"), strict=True))
NONNEGATIVE = [name for name in fluxes.available() if fluxes.get(name).nonnegative]
each_network = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def random_network(name, seed=0, scale=1.0, **arguments):
    """Certified, with parameters anywhere, step sizes near their limits and, for Du Fort-Frankel, ρ near 8."""
    shape = {"blocks": 12, "filters": 3, "kernel_size": 4, "flux": "perona_malik", "certified": True, **arguments}
    net = networks.build(name, **shape, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for block in net.blocks:
            for constraint, shift in (("tau", 4.0), ("alpha", -4.0), ("rho", 3.3)):
                if constraint in block.parametrizations:
                    block.parametrizations[constraint].original += shift
    return net


def plain(net):
    """The network without safeguard that has the effective weights of ``net``."""
    architecture = {**net.architecture.arguments(), "name": PLAIN[net.architecture.name], "certified": False}
    other = networks.build(**architecture).double()
    with torch.no_grad():
        for ours, theirs in zip(net.blocks, other.blocks, strict=True):
            theirs.K.copy_(ours.K)
            for parameter in {"tau", "rho", "alpha", "lam", "w"} & set(theirs.parametrizations):
                setattr(theirs, parameter, getattr(ours, parameter))
    return other


def states(net, f):
    """u^1, ..., u^n as signals, by networks of the first blocks."""
    architecture = net.architecture
    for n in range(1, architecture.blocks + 1):
        net.architecture = replace(architecture, blocks=n)
        yield net(f)
    net.architecture = architecture


def growth(net, f):
    """The largest ‖u^k‖/‖u^0‖ of all states and signals."""
    with torch.no_grad():
        return max((u.norm(dim=-1) / f.norm(dim=-1)).max().item() for u in states(net, f))


def signals(*shape, seed=1):
    """White noise of the size of the initial contrasts."""
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def held_back(net, f):
    """For which signals the safeguard acts somewhere."""
    s_k, s = net.extrapolations(f)
    return (s != s_k).any(0)


def acting_network(name, f, **arguments):
    """The first random network whose safeguard acts on a fair part of these signals, but not on all."""
    nets = (random_network(name, seed, **arguments) for seed in range(100))
    return next(net for net in nets if 0.2 < held_back(net, f).double().mean() < 0.9)


# The factor


@given(seed=st.integers(0, 10**6), s=st.floats(0.01, 2), inside=st.booleans())
def test_the_factor_is_the_largest_one_allowed(seed, s, inside):
    """For states inside of the ball, as they are where every explicit step is stable, and for any others."""
    start, w, previous = np.random.default_rng(seed).standard_normal((3, 5))
    R = np.linalg.norm(start)
    if inside:
        w, previous = (x * min(1, R / np.linalg.norm(x)) for x in (w, previous))
    d, bound = w - previous, max(R, np.linalg.norm(w))

    def excess(x):
        return np.linalg.norm(w + x * d) - bound

    expected = s
    if excess(s) > 0:
        first = -(w @ d) / (d @ d)  # the norm falls up to here, and grows from here on
        expected = brentq(excess, max(first, 0), s, xtol=1e-14) if excess(max(first, 0)) < 0 else 0
        assert not inside or w @ d > 0
    assert safeguarded_fsi.safeguard(w, previous, start, s) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(seed=st.integers(0, 10**6), s=st.floats(-1, 2))
def test_networks_take_the_factor_of_the_schemes(seed, s):
    """One for every state of a batch, over all of its channels."""
    start, w, previous = np.random.default_rng(seed).standard_normal((3, 20, 2, 3)) * [[[[1.5]]], [[[1]]], [[[1]]]]
    states = (torch.from_numpy(x) for x in (w, w - previous, start))
    s_k = torch.tensor(s, dtype=torch.float64)[..., None, None, None]
    found = factor(s_k, *states).s.expand(20, 1, 1)[:, 0, 0]
    expected = [safeguarded_fsi.safeguard(*(x[i].ravel() for x in (w, previous, start)), s) for i in range(20)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_no_step_is_taken_along_the_sphere_of_a_state_that_is_too_long():
    """w ⟂ d and ‖w‖ > ‖u^0‖: the root vanishes, where it has no derivative."""
    start, w, d = (torch.tensor([[x]], requires_grad=True) for x in ([1.0, 0.0], [2.0, 0.0], [0.0, 1.0]))
    s = factor(torch.full((1, 1, 1), 0.5), w[None], d[None], start[None]).s
    assert s.item() == 0
    u = (w + s * d).sum()
    assert all(g.isfinite().all() for g in torch.autograd.grad(u, [w, d], allow_unused=True))


def test_rounding_makes_no_factor_larger_than_wanted():
    """Where a state is nearly that before it, on the sphere: the root may be anywhere, the factor not."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        w = rng.standard_normal(9)
        previous, start = w * (1 + 1e-16 * rng.standard_normal(9)), w * (1 + 2e-16 * rng.standard_normal(9))
        assert 0 <= safeguarded_fsi.safeguard(w, previous, start, 0.2) <= 0.2
    zero = np.zeros(3)
    assert safeguarded_fsi.safeguard(zero, zero, zero, 0.2) == 0.2


def test_convex_combinations_need_no_safeguard():
    start, w, previous = np.random.default_rng(0).standard_normal((3, 5))
    for s in (-1 / 3, 0.0):
        assert safeguarded_fsi.safeguard(3 * w, previous, start, s) == s


def test_the_extrapolation_is_no_lipschitz_function_of_the_states():
    """Where w, u^{k-1} and u^0 differ by h, a change of w by h²/4 makes one by h/4 or more."""
    for h in (1e-1, 1e-2, 1e-3):
        start, previous = np.array([1.0, 0.0]), np.array([1 - h**2 / 100, 0.0])
        w = [np.array([1 - x * h**2, h]) for x in (0.55, 0.8)]
        assert max(map(np.linalg.norm, [*w, previous])) <= 1
        u = [x + safeguarded_fsi.safeguard(x, previous, start, 0.9) * (x - previous) for x in w]
        assert np.linalg.norm(w[0] - w[1]) <= h**2 / 4 * (1 + 1e-6)
        assert np.linalg.norm(u[0] - u[1]) >= h / 4


# Schemes


def test_the_counterexample_of_fsi_is_bounded():
    """K₀ = 0 and τK₁² = 2 give -7/5 u₀ without safeguard; with it the extrapolation is refused altogether."""
    A, tau, u0 = [Diffusion([[K]], LINEAR) for K in (0.0, 2.0)], 0.5, np.array([3.0])
    np.testing.assert_allclose(fsi.cycle(u0, A, tau), -7 / 5 * u0, rtol=1e-14)
    np.testing.assert_allclose(safeguarded_fsi.cycle(u0, A, tau), -u0, rtol=1e-14)


def test_the_counterexample_of_du_fort_frankel_is_bounded():
    """Two operators that are stable each grow by more than 10 without safeguard when they take turns."""
    alpha, tau, u0 = 1.0, 50.0, np.ones(1)
    nothing, strongest = Diffusion([[0.0]], LINEAR), Diffusion([[2.0]], LINEAR)
    previous = u = held_previous = held = u0
    for k in range(40):
        A = (strongest, nothing)[k % 2]
        previous, u = u, du_fort_frankel.step(u, previous, A, tau, alpha)
        held_previous, held = held, safeguarded_du_fort_frankel.step(held, held_previous, u0, A, tau, alpha)
        assert abs(held[0]) <= 1 + 1e-14
    assert abs(u[0]) > 10


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_fsi_of_one_linear_operator_is_never_held_back(n):
    """Also where the norm does not fall in every step, as for a single oscillation."""
    A = [Diffusion(derivative(40), LINEAR)] * n
    for f in (np.random.default_rng(0).standard_normal(40), np.cos(13 * np.pi * (np.arange(40) + 0.5) / 40)):
        for tau in (0.1, 0.3, 0.5):
            np.testing.assert_allclose(safeguarded_fsi.cycle(f, A, tau), fsi.cycle(f, A, tau), rtol=0, atol=1e-13)


@pytest.mark.parametrize("flux", NONNEGATIVE)
def test_no_step_exceeds_the_start_whatever_the_operators_are(flux):
    rng, flux = np.random.default_rng(3), fluxes.get(flux)
    start = fsi_u = fsi_previous = dff_u = dff_previous = 3 * rng.standard_normal(10)
    R = np.linalg.norm(start)
    for k in range(40):
        w = flux.box * rng.uniform(-1, 1, (14, flux.weights)) if flux.weights else None
        A = Diffusion(rng.standard_normal((14, 10)), flux, rng.uniform(0.1, 3, 14), w)
        tau, alpha = explicit.step_limit(A), du_fort_frankel.least_alpha(A)
        factor = fsi.extrapolation(k)
        fsi_previous, fsi_u = fsi_u, safeguarded_fsi.step(fsi_u, fsi_previous, start, A, tau, factor)
        dff_previous, dff_u = dff_u, safeguarded_du_fort_frankel.step(dff_u, dff_previous, start, A, 10 / alpha, alpha)
        assert max(map(np.linalg.norm, (fsi_u, dff_u))) <= R * (1 + 1e-12)


# Networks


@each_network
@pytest.mark.parametrize("flux", NONNEGATIVE)
@pytest.mark.parametrize("tied", [False, True])
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_certified_safeguarded_networks_never_exceed_their_start(name, flux, tied, seed, scale):
    net = random_network(name, seed, scale, flux=flux, tied=tied, blocks=6)
    certificate = certify(net)
    assert certificate.holds
    assert certificate.euclidean == 1.0
    assert growth(net, 10 * scale * signals(10, 30, seed=seed)) <= 1 + 1e-12


@each_network
def test_without_safeguard_the_same_weights_amplify(name):
    """Otherwise the tests of the bound would say nothing about the safeguard."""
    f = signals(10, 30)
    net = acting_network(name, f, flux="relu")
    assert growth(plain(net), f) > 1.05
    assert growth(net, f) <= 1 + 1e-12


@each_network
@pytest.mark.parametrize("blocks", [2, 5])
def test_the_worst_blocks_of_plain_extrapolation_stay_at_the_start(name, blocks):
    """All sequences of the scalars K = 0 and K² = 2/τ or 4α, which attain the bounds of the plain networks."""
    net = networks.build(name, blocks=blocks, filters=1, kernel_size=1, flux="linear").double()
    one, largest, unheld = torch.ones(1, 1, dtype=torch.float64), 0.0, 0.0
    for choice in product([0.0, 2.0], repeat=blocks):
        for block, K in zip(net.blocks, choice, strict=True):
            block.K.data.fill_(K)
            for parameter, value in {"tau": 0.5, "alpha": 1.0, "rho": 20.0}.items():
                if parameter in block.parametrizations:
                    setattr(block, parameter, torch.tensor(value, dtype=torch.float64))
        largest, unheld = max(largest, growth(net, one)), max(unheld, growth(plain(net), one))
    assert unheld >= 7 / 5
    assert largest <= 1 + 1e-12


def test_the_bound_of_explicit_steps_remains_where_they_grow():
    """For τK² = 4 every step multiplies by -3; the extrapolation by 1/5 adds nothing to that."""
    net = networks.build("safeguarded_fsi", blocks=2, filters=1, kernel_size=1, flux="linear").double()
    first, second = net.blocks
    first.K.data.fill_(0.0)
    second.K.data.fill_(2.0)
    second.tau = torch.tensor(1.0, dtype=torch.float64)
    assert net(torch.ones(1, 1, dtype=torch.float64)).item() == pytest.approx(-3)
    certificate = certify(net)
    assert certificate.euclidean == pytest.approx(3)
    assert certificate.failed == ["blocks.1: τ ≤ 2/(L‖K‖²)"]


@each_network
def test_where_the_safeguard_does_not_act_the_network_is_the_plain_one(name):
    f = signals(50, 30)
    net = acting_network(name, f, flux="charbonnier", channels=2)
    s_k, s = net.extrapolations(f)
    assert s_k.shape == s.shape == (12, 50)
    assert (s <= s_k).all()
    held = held_back(net, f)
    other = plain(net)
    with torch.no_grad():
        other.lift.copy_(net.lift)
        other.projection.copy_(net.projection)
    if name == "safeguarded_fsi":
        expected = torch.tensor([fsi.extrapolation(k) - 1 for k in range(12)], dtype=torch.float64)
    else:
        expected = torch.stack([2 * block.rho / (1 + block.rho) - 1 for block in net.blocks])
    torch.testing.assert_close(s_k, expected[:, None].expand_as(s_k))
    ours, theirs = net(f), other(f)
    torch.testing.assert_close(ours[~held], theirs[~held], rtol=0, atol=1e-12)
    assert ((ours - theirs).abs().amax(-1)[held] > 1e-9).any()


@torch.no_grad()
@each_network
def test_factors_of_networks_with_biases(name):
    """The last one is what the network makes of its last explicit step, and smaller than wanted for some signals."""
    f, acting = signals(50, 30), 0
    for seed in range(5):
        net = networks.build(name, blocks=6, filters=3, kernel_size=4, flux="relu", biases=True, seed=seed).double()
        generator = torch.Generator().manual_seed(seed)
        for block in net.blocks:
            for bias in (block.b1, block.b2):
                bias += 0.02 * torch.randn(bias.shape, generator=generator, dtype=torch.float64)
            if name == "safeguarded_du_fort_frankel":
                block.rho = torch.tensor(8.0, dtype=torch.float64)
        *_, previous, before, after = states(net, f)
        s_k, s = (factors[-1] for factors in net.extrapolations(f))
        tau = block.tau if name == "safeguarded_fsi" else 1 / (2 * block.alpha)
        w = block.step(before[:, None], tau, before[:, None])[:, 0]
        # not to all digits, as s is no Lipschitz function of the states
        torch.testing.assert_close(after, w + s[:, None] * (w - previous), rtol=0, atol=1e-6)
        acting += ((s > 0) & (s < s_k)).sum()
    assert acting > 0


@each_network
def test_a_stack_tells_the_factors_of_each_network(name):
    nets, f = [random_network(name, seed) for seed in range(3)], signals(3, 4, 30)
    both = networks.stack(nets).extrapolations(f)
    for index, net in enumerate(nets):
        for stacked, own in zip(both, net.extrapolations(f[index]), strict=True):
            torch.testing.assert_close(stacked[:, index], own, rtol=1e-9, atol=1e-9)


@each_network
def test_the_mean_is_kept_by_filters_that_annihilate_constants(name):
    f = 1 + signals(20, 30)
    for seed in range(100):
        net = random_network(name, seed, flux="charbonnier")
        with torch.no_grad():
            for block in net.blocks:
                K = block.parametrizations.K.original
                K -= K.mean(-1, keepdim=True)
        if held_back(net, f).any():
            break
    assert held_back(net, f).any()
    out = net(f)
    assert (out - f).abs().max() > 0.1
    torch.testing.assert_close(out.mean(-1), f.mean(-1), rtol=1e-12, atol=0)


@each_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_the_bound_holds_for_signals_whose_squares_vanish_or_overflow(name, dtype, size):
    """And for a flux that knows no scale, the network is homogeneous."""
    f = signals(20, 30)
    net, f = acting_network(name, f, flux="relu").to(dtype), f.to(dtype)
    u = net(size * f) / size
    assert (u.double().norm(dim=-1) <= f.double().norm(dim=-1) * (1 + 1e-5)).all()
    torch.testing.assert_close(u, net(f), rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-9)


@pytest.mark.slow
@each_network
@pytest.mark.parametrize("kernel", ["reference", "fused"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2])
def test_biases_may_be_far_larger_than_the_signals(name, kernel, dtype, channels, tmp_path, monkeypatch):
    """So far that squares of steps would overflow in units of the start, which may be zero."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    for seed in range(4):
        net = random_network(name, seed, blocks=4, channels=channels, biases=True).to(dtype)
        checkpoints.save(net, tmp_path / "net.safetensors")
        certificate = certify(net)
        assert certificate.holds
        scheme = verification._Dense.read(tmp_path / "net.safetensors", 24)
        for size in (0.0, 1e-30, 1e-20, 1e-6, 1.0):
            f = size * signals(1, 24)
            output = net(f.to(dtype))
            expected = torch.from_numpy(scheme(f[0].numpy()))
            error = (output[0].detach().double() - expected).norm() / expected.norm()
            assert error < verification.ROOTS[dtype]
            rms = output.detach().square().mean().sqrt()
            assert rms <= (size + certificate.drift) * (1 + 1e-5)
            gradients = torch.autograd.grad(output.sum(), list(net.parameters()))
            assert all(gradient.isfinite().all() for gradient in gradients)


@each_network
def test_every_value_acts_on_all_others_where_the_safeguard_acts(name):
    f = signals(20, 100)
    net = acting_network(name, f, flux="relu", blocks=4)
    assert net.reach(100) == 100
    held = held_back(net, f)
    (gradient,) = torch.autograd.grad(net(f.requires_grad_())[:, 0].sum(), f)
    far = gradient[:, 50:].abs().amax(-1)  # four blocks of filters of length 4 reach as far as 12
    assert (far[held] > 0).all()
    assert (far[~held] == 0).all()


@each_network
def test_shifts_commute_with_the_network_for_signals_that_vanish_near_the_ends(name):
    f = torch.zeros(20, 140, dtype=torch.float64)
    f[:, 50:80] = signals(20, 30)
    net = acting_network(name, f, flux="charbonnier")
    torch.testing.assert_close(net(f.roll(9, -1)), net(f).roll(9, -1), rtol=0, atol=1e-12)


# Gradients


def gradients_are_right(net, f):
    names, values = zip(*net.named_parameters(), strict=True)

    def output(u, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), u)

    return torch.autograd.gradcheck(output, (f.requires_grad_(), *values))


@each_network
@pytest.mark.parametrize("acts", [False, True])
def test_gradients_equal_difference_quotients_whether_the_safeguard_acts_or_not(name, acts):
    f = signals(50, 8)
    net = acting_network(name, f, blocks=6, filters=1, kernel_size=2, flux="charbonnier")
    s_k, s = net.extrapolations(f)
    held = ((s < s_k - 1e-3) & (s > 1e-3)).any(0)  # not where it begins to act
    f = f[held if acts else ~held_back(net, f)][:2].clone()
    assert len(f) == 2
    assert gradients_are_right(net, f)


@pytest.mark.parametrize("length", [1.0, 1.3])
def test_the_derivative_by_hand_is_that_of_the_definition(length):
    """Of first and second order, as a graph and under function transforms, for steps inside and outside of the ball."""
    f, w, previous = (signals(40, 3, 6, seed=seed) for seed in (1, 2, 3))
    sizes = torch.linspace(0.1, length, 40, dtype=torch.float64) * f.norm(dim=(1, 2))
    w, previous = (x * (sizes / x.norm(dim=(1, 2)))[:, None, None] for x in (w, previous))
    s_k = torch.tensor(0.8, dtype=torch.float64)[..., None, None, None]
    acts = factor(s_k, w, w - previous, f).acts
    assert acts.any()
    assert not acts.all()
    inputs = [x.requires_grad_() for x in (s_k, w, previous, f)]

    def scalar(form):
        return lambda *x: (form(*x) ** 3).sum()

    orders = []
    for form in (extrapolation.extrapolated, extrapolation._extrapolated):
        first = torch.autograd.grad(scalar(form)(*inputs), inputs)
        graph = torch.autograd.grad(scalar(form)(*inputs), inputs, create_graph=True)
        second = torch.autograd.grad(sum((x**2).sum() for x in graph), inputs)
        transformed = torch.func.grad(scalar(form), argnums=(0, 1, 2, 3))(*inputs)
        orders.append([*first, *graph, *transformed, *second])
    for found, expected in zip(*orders, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_values_and_gradients_where_the_norm_falls_first():
    """⟨w, w - u^{k-1}⟩ < 0 needs steps that grow: u^0, -5u^0, -5u^0, then w = -1.1u^0 is extrapolated to 1.1u^0."""
    net = networks.build("safeguarded_du_fort_frankel", blocks=3, filters=1, kernel_size=1, flux="linear").double()
    for block, K in zip(net.blocks, (6**0.5, 0.0, 0.78**0.5), strict=True):
        block.K.data.fill_(K)
        block.alpha, block.rho = (torch.tensor(x, dtype=torch.float64) for x in (0.5, 1e3))
    f = torch.tensor([[1.0, -0.4]], dtype=torch.float64)
    torch.testing.assert_close(net(f), 1.1 * f)
    assert gradients_are_right(net, f)


@each_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_gradients_at_constant_signals_are_those_of_the_plain_network(name, dtype, constant):
    """Where nothing moves, ‖w‖ = ‖u^0‖ and w = u^{k-1}, and the root has no derivative."""
    net = random_network(name, flux="linear" if name == "safeguarded_fsi" else "charbonnier", tied=True)
    with torch.no_grad():
        K = net.blocks[0].parametrizations.K.original
        K -= K.mean(-1, keepdim=True)
    nets = [each.to(dtype) for each in (net, plain(net))]
    f = torch.full((1, 40), constant, dtype=dtype).requires_grad_()
    gradients = [torch.autograd.grad(each(f)[0, 20], [f, *each.blocks[0].parameters()]) for each in nets]
    assert all(x.isfinite().all() for each in gradients for x in each)
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_where_the_root_vanishes(dtype):
    """An explicit step to -u^0 makes ‖w‖ = ‖u^0‖, and a filter of zeros makes w = u^k."""
    net = networks.build("safeguarded_fsi", blocks=4, filters=1, kernel_size=1, flux="linear").to(dtype)
    for block, K in zip(net.blocks, (0.0, 2.0, 0.0, 2.0), strict=True):
        block.K.data.fill_(K)
        block.tau = torch.tensor(0.5, dtype=dtype)
    f = torch.tensor([[1.0, -2.0], [0.0, 0.0], [1e-30, 1e30]], dtype=dtype).requires_grad_()
    out = net(f)
    torch.testing.assert_close(out[:2].norm(dim=-1), f[:2].norm(dim=-1), rtol=1e-5, atol=0)
    loss = (out / f.detach().norm(dim=-1, keepdim=True).clamp_min(1)).sum()
    for gradient in torch.autograd.grad(loss, [f, *net.parameters()]):
        assert gradient.isfinite().all()
