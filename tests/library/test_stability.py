"""Certificates are true, tight where they can be, and refuse what breaks their conditions."""

import copy
import math
import re
from dataclasses import replace
from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from dense import correlation_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import svdvals

from schemenets import checkpoints, fluxes, networks, stability
from schemenets.errors import InvalidParameterError
from schemenets.operators import norm_bound
from schemenets.stability import (
    certify,
    dense_norm,
    largest_amplification,
    largest_expansion,
    lipschitz_part,
    of_sequence,
    verification,
    verify,
)

LENGTH = 40
MULTICHANNEL = [name for name in networks.available() if name not in ("multigrid_unet", "unet")]
SAFEGUARDED = ["safeguarded_fsi", "safeguarded_du_fort_frankel"]
CERTIFIABLE = ["symmetric", "du_fort_frankel", "implicit", *SAFEGUARDED]
NONNEGATIVE = [name for name in fluxes.available() if fluxes.get(name).nonnegative]
ONE_BLOCK = {"blocks": 1, "filters": 2, "kernel_size": 3, "flux": "perona_malik"}


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def random_network(seed, *, scale=1.0, **arguments):
    net = networks.build(**{"blocks": 3, "filters": 4, "kernel_size": 5, **arguments}, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def pairs(seed, scale=1.0):
    u = scale * torch.randn(2, 50, LENGTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return u[0], u[0] + 1e-3 * u[1]


def ratios(numerator, denominator):
    return torch.linalg.vector_norm(numerator, dim=-1) / torch.linalg.vector_norm(denominator, dim=-1)


def dense_step(block, tau):
    """τ‖K‖² by singular values."""
    return tau.item() * np.linalg.norm(correlation_matrix(block.K.detach().numpy(), LENGTH), 2) ** 2


@pytest.mark.parametrize("flux", NONNEGATIVE)
@pytest.mark.parametrize("tied", [False, True])
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_certified_networks_hold_their_certificate_whatever_the_parameters(flux, tied, seed, scale):
    net = random_network(seed, scale=scale, name="symmetric", flux=flux, tied=tied, certified=True)
    certificate = certify(net)
    assert certificate.holds
    assert certificate.euclidean == 1.0
    for block in net.blocks:
        assert dense_step(block, block.tau) * block.flux.L <= 2
    u, _ = pairs(seed, scale)
    assert (ratios(net(u), u) <= 1 + 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("flux", NONNEGATIVE)
@pytest.mark.parametrize("tied", [False, True])
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_certified_du_fort_frankel_networks_never_exceed_their_start(flux, tied, seed, scale):
    net = random_network(seed, scale=scale, name="du_fort_frankel", flux=flux, tied=tied, certified=True, blocks=6)
    certificate = certify(net)
    assert certificate.holds
    assert certificate.euclidean == pytest.approx(1.0, rel=1e-14)
    for block in net.blocks:
        assert dense_step(block, 1 / (2 * block.alpha)) * block.flux.L <= 2
        assert 2 * block.tau.item() * block.alpha.item() <= 1 + 1e-15
    f, _ = pairs(seed, scale)
    for blocks in range(1, 7):
        net.architecture = replace(net.architecture, blocks=blocks)
        assert (ratios(net(f), f) <= 1 + 1e-12).all()


@pytest.mark.parametrize("flux", NONNEGATIVE)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_certified_implicit_networks_contract_to_a_solution_not_above_their_input(flux, seed, scale):
    """With the rate q that the certificate's bound 1 + q^{n+1} is made of."""
    net = random_network(seed, scale=scale, name="implicit", flux=flux, certified=True, blocks=4)
    certificate = certify(net)
    assert certificate.holds
    q = 1 - certificate.blocks[0].step_margin
    (block,) = net.blocks
    steepest = max(slopes.max().item() for slopes in block.flux.slopes(block.w))
    assert dense_step(block, block.tau) * steepest <= q < 1
    assert certificate.euclidean <= (1 + q**5) * (1 + 1e-14)
    f = pairs(seed, scale)[0][:5]

    def iterated(n):
        net.architecture = replace(net.architecture, blocks=n)
        return net(f).detach()

    u = iterated(1 + math.ceil(-30 / math.log(q)))  # q^n < 1e-13
    assert (ratios(u, f) <= 1 + 1e-12).all()
    for n, (before, after) in enumerate(pairwise([f, *map(iterated, range(1, 7))]), start=1):
        assert (ratios(after - u, f) <= q * ratios(before - u, f) + 1e-12).all()
        assert (ratios(after, f) <= 1 + q ** (n + 1) + 1e-12).all()


@pytest.mark.parametrize("flux", ["relu", "perona_malik"])
@pytest.mark.parametrize("name", CERTIFIABLE)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_certified_networks_of_several_channels_hold_their_certificate(name, flux, seed, scale):
    net = random_network(seed, scale=scale, name=name, flux=flux, certified=True, channels=3)
    certificate, dense = certify(net), certify(net, partial(dense_norm, length=LENGTH))
    assert certificate.holds
    assert dense.holds
    for block, bounds, dense_bounds in zip(net.applied, certificate.blocks, dense.blocks, strict=True):
        if block.normalised:
            assert np.linalg.norm(correlation_matrix(block.K.detach().numpy(), LENGTH), 2) <= 1
        assert 0 <= bounds.step_margin <= dense_bounds.step_margin
    u, v = pairs(seed, scale)
    assert (ratios(net(u), u) <= certificate.euclidean * (1 + 1e-12)).all()
    assert (ratios(net(u) - net(v), u - v) <= certificate.lipschitz * (1 + 1e-9)).all()


@given(seed=st.integers(0, 10**6), blocks=st.integers(1, 30))
def test_fsi_networks_of_one_linear_operator_are_certified_up_to_the_limit_and_only_there(seed, blocks):
    net = random_network(seed, name="fsi", flux="linear", tied=True, blocks=blocks)
    (block,) = net.blocks
    limit = 2 / np.linalg.norm(correlation_matrix(block.K.detach().numpy(), 300), 2) ** 2
    block.tau = torch.tensor(0.99 * limit, dtype=torch.float64)
    certificate = certify(net)
    assert certificate.holds
    assert (certificate.euclidean, certificate.lipschitz) == (1.0, 1.0)
    matrix = net(torch.eye(LENGTH, dtype=torch.float64)).detach()
    assert torch.linalg.matrix_norm(matrix, 2) <= 1 + 1e-12
    block.tau = torch.tensor(1.01 * limit, dtype=torch.float64)
    assert certify(net).failed == [f"blocks.{index}: τ ≤ 2/(L‖K‖²)" for index in range(blocks)]
    assert not certify(net).holds


@pytest.mark.parametrize("blocks", [1, 2, 3, 6, 9])
def test_bound_of_fsi_networks_with_weights_of_their_own_is_attained_within_the_limits_of_all_steps(blocks):
    """By scalars with K = 0 or τK² = 2; q_n/(2n+1) with the numbers q = 1, 3, 7, 17, 41, ..."""
    net = networks.build("fsi", blocks=blocks, filters=1, kernel_size=1, flux="linear").double()
    q = [1, 1]
    for _ in range(blocks):
        q.append(2 * q[-1] + q[-2])
    worst = q[-1] / (2 * blocks + 1)
    assert blocks != 2 or worst == 7 / 5
    for block in net.blocks:
        block.tau = torch.tensor(0.5, dtype=torch.float64)
    found = 0.0
    for choice in product([0.0, 2.0], repeat=blocks):
        for block, K in zip(net.blocks, choice, strict=True):
            block.K.data.fill_(K)
        found = max(found, net(torch.ones(1, 1, dtype=torch.float64)).abs().item())
    assert found == pytest.approx(worst)
    certificate = certify(net)
    assert certificate.failed == ([] if blocks == 1 else ["shared weights"])
    assert certificate.holds == (blocks == 1)
    assert certificate.euclidean == pytest.approx(worst)


@pytest.mark.parametrize(
    ("flux", "blocks", "K", "lam", "f", "amplification"),
    [
        ("relu", 16, [[0.1, 0.9], [0.3, -0.4]], None, [1, -0.7, 0, 0], 1.29),
        ("weickert", 5, [[1.0]], 0.75, [1.0], 2.46),
    ],
)
def test_tied_weights_do_not_make_fsi_networks_of_a_nonlinear_flux_stable(flux, blocks, K, lam, f, amplification):
    """Not even a monotone one; the steps obey their limit, and explicit ones do not amplify."""
    K = torch.tensor(K, dtype=torch.float64)[:, None]
    shape = {"blocks": blocks, "filters": K.shape[0], "kernel_size": K.shape[-1], "flux": flux, "tied": True}
    f = torch.tensor([f], dtype=torch.float64)
    for name in ("fsi", "symmetric"):
        net = networks.build(name, **shape).double()
        (block,) = net.blocks
        block.K.data = K
        block.tau = (2 - 1e-9) / norm_bound(K) ** 2
        if lam is not None:
            block.lam = torch.tensor([lam], dtype=torch.float64)
        certificate = certify(net)
        assert certificate.failed == ([] if name == "symmetric" else ["linear flux"])
        assert certificate.holds == (name == "symmetric")
        if name == "fsi":
            assert ratios(net(f), f).item() > amplification
        else:
            assert ratios(net(f), f).item() <= 1


@pytest.mark.parametrize(
    ("name", "flux", "channels"),
    [
        *product([name for name in networks.available() if name != "multigrid_unet"], fluxes.available(), [1]),
        *product(MULTICHANNEL, ["relu", "perona_malik"], [3]),
    ],
)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_bounds_are_never_exceeded(name, flux, channels, seed):
    net = random_network(seed, name=name, flux=flux, channels=channels)
    certificate = certify(net)
    with torch.no_grad():
        u, v = pairs(seed)
        assert (ratios(net(u) - net(v), u - v) <= certificate.lipschitz * (1 + 1e-9)).all()
        if certificate.euclidean is not None:
            assert (ratios(net(u), u) <= certificate.euclidean * (1 + 1e-12)).all()


def rms(u):
    return torch.linalg.vector_norm(u, dim=-1) / u.shape[-1] ** 0.5


def biased_network(seed, *, size=1.0, **arguments):
    """With biases of this size."""
    net = random_network(seed, biases=True, **arguments)
    generator = torch.Generator().manual_seed(seed + 1)
    for block in net.blocks:
        for bias in (block.b1, block.b2):
            bias.data = size * torch.randn(bias.shape, generator=generator, dtype=torch.float64)
    return net


@pytest.mark.parametrize(
    ("name", "biases"), [*((name, True) for name in MULTICHANNEL), ("resnet", False), ("feedforward", False)]
)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_bounds_of_networks_with_other_biases(name, biases, seed):
    """Biases leave bounds of differences alone, and those of norms become affine."""
    net = random_network(seed, name=name, flux="perona_malik", channels=2, biases=biases)
    certificate = certify(net)
    with torch.no_grad():
        u, v = pairs(seed)
        assert (ratios(net(u) - net(v), u - v) <= certificate.lipschitz * (1 + 1e-9)).all()
        if certificate.euclidean is None:
            assert name not in CERTIFIABLE
            assert certificate.drift == 0.0
            return
        assert (certificate.drift > 0) == biases
        assert certificate.amplification == (None if biases else certificate.euclidean)
        for size in (1e-6, 1e-2, 1.0):
            least = certificate.drift * (1 + 1e-12)
            assert (rms(net(size * u)) <= (certificate.euclidean * rms(size * u) + least) * (1 + 1e-12)).all()


@pytest.mark.parametrize("flux", ["learned", "perona_malik", "relu"])
@pytest.mark.parametrize("name", CERTIFIABLE)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.1, 10.0]),
    size=st.sampled_from([1e-3, 1.0]),
    tied=st.booleans(),
    channels=st.sampled_from([1, 3]),
)
def test_certified_networks_with_biases_amplify_nothing_and_drift_at_most_by_their_bound(
    name, flux, tied, channels, seed, scale, size
):
    options = {"name": name, "flux": flux, "tied": tied, "channels": channels, "certified": True}
    net = biased_network(seed, scale=scale, size=size, **options)
    certificate, unbiased = certify(net), copy.deepcopy(net)
    assert certificate.holds
    assert certificate.theorem.endswith("; biases add at most the drift β to the root mean square")
    for block in unbiased.blocks:
        for bias in (block.b1, block.b2):
            bias.data.zero_()
    assert certificate.lipschitz == certify(unbiased).lipschitz
    if name != "implicit":
        assert certificate.euclidean == pytest.approx(1.0, abs=2e-6)
    u, _ = pairs(seed)
    with torch.no_grad():
        for factor in (0.0, 1e-3, 1.0, 1e3):
            bound = certificate.euclidean * rms(factor * u) + certificate.drift
            assert (rms(net(factor * u)) <= bound * (1 + 1e-9)).all()


def test_the_drift_is_attained():
    """u - τK(Ku + b₁) + b₂ = -u - b₁ + b₂ for K = 2 and τ = 1/2."""
    net = networks.build("symmetric", blocks=1, filters=1, kernel_size=1, flux="linear", biases=True).double()
    (block,) = net.blocks
    for parameter, value in ((block.K, 2.0), (block.b1, 0.3), (block.b2, -0.2)):
        parameter.data.fill_(value)
    block.tau = torch.tensor(0.5, dtype=torch.float64)
    certificate = certify(net)
    assert (certificate.euclidean, certificate.drift) == pytest.approx((1.0, 0.5))
    u = torch.ones(1, 7, dtype=torch.float64)
    assert rms(net(u)).item() == pytest.approx(rms(u).item() + 0.5)


@pytest.mark.parametrize("blocks", [1, 40])
def test_the_drift_of_implicit_networks_is_that_of_their_solution(blocks):
    """u = f - τ(u + b₁) + b₂; many iterations drift by no more than τ|b₁|/(1+τ) + |b₂|, which b₁ attains."""
    size = {"blocks": blocks, "filters": 1, "kernel_size": 1}
    net = networks.build("implicit", flux="linear", biases=True, **size).double()
    (block,) = net.blocks
    block.K.data.fill_(1.0)
    block.b1.data.fill_(-0.4)
    block.b2.data.fill_(0.1)
    block.tau = torch.tensor(0.5, dtype=torch.float64)
    certificate = certify(net)
    if blocks == 1:
        assert (certificate.euclidean, certificate.drift) == pytest.approx((1.0, 0.5 * 0.4 + 0.1))
    else:
        assert (certificate.euclidean, certificate.drift) == pytest.approx((1.0, 0.5 * 0.4 / 1.5 + 0.1))
        zero = torch.zeros(1, 1, dtype=torch.float64)
        assert net(zero).item() == pytest.approx((0.5 * 0.4 + 0.1) / 1.5)
        block.b2.data.zero_()
        assert net(zero).item() == pytest.approx(certify(net).drift)


def test_the_drift_of_implicit_networks_with_large_steps_does_not_depend_on_their_filters():
    """Where τL‖K‖² > 1, as a learned flux may have small slopes."""
    net = networks.build("implicit", blocks=60, filters=1, kernel_size=1, flux="learned", biases=True).double()
    (block,) = net.blocks
    block.K.data.fill_(1.0)
    block.b1.data.fill_(0.4)
    block.w = torch.full((1, 5), -1.0, dtype=torch.float64)
    block.tau = torch.tensor(4.0, dtype=torch.float64)
    certificate = certify(net)
    assert certificate.holds
    assert certificate.drift == pytest.approx(4**0.5 / 2 * 0.4, rel=1e-3)


def test_biases_that_are_zero_change_no_certificate():
    net = random_network(0, name="symmetric", flux="perona_malik", scale=0, biases=True)
    without = random_network(0, name="symmetric", flux="perona_malik", scale=0)
    assert certify(net) == certify(without)
    net.blocks[1].b2.data.fill_(1e-3)
    certificate = certify(net)
    assert (certificate.holds, certificate.drift, certificate.blocks[1].drift) == (True, 1e-3, 1e-3)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("flux", ["learned", "perona_malik", "tv_regularised"])
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_drifts_and_maps_with_biases_are_verified_by_dense_matrices(name, flux, channels, tmp_path, monkeypatch):
    size = {"blocks": 3, "filters": 3, "kernel_size": 4, "channels": channels}
    path = tmp_path / "net.safetensors"
    for tied in (False, True):
        net = biased_network(7, name=name, flux=flux, certified=True, tied=tied, size=0.1, **size)
        checkpoints.save(net.float(), path)
        assert verify(path, LENGTH) == []
    true = certify(net)
    dense = verification._Dense.read(path, LENGTH)
    if not (flux == "learned" and name == "implicit"):  # whose slopes are those of all weights there
        assert 0.9 * true.drift <= dense.drift() <= true.drift * (1 + 1e-6)
        monkeypatch.setattr(verification, "certify", lambda network: replace(true, drift=0.8 * true.drift))
        (problem,) = verify(path, LENGTH)
        assert problem.startswith(f"its drift is {0.8 * true.drift:.6g}, but by dense matrices ")
    monkeypatch.setattr(verification._Dense, "drift", lambda scheme: -100.0)
    assert any("amplifies a signal by" in problem for problem in verify(path, LENGTH))


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_searches_find_no_signal_beyond_the_drift(name):
    nets = [biased_network(seed, name=name, flux="perona_malik", certified=True, size=0.1) for seed in range(3)]
    certificates = [certify(net) for net in nets]
    drifts = torch.tensor([certificate.drift for certificate in certificates], dtype=torch.float64)
    starts, _ = pairs(0)
    of_each = starts[:3].expand(3, -1, -1)
    found = largest_amplification(networks.stack(nets), of_each, steps=5, climb=30, drift=drifts)
    free = largest_amplification(networks.stack(nets), of_each, steps=5, climb=30)
    for amplification, without, certificate in zip(found.tolist(), free.tolist(), certificates, strict=True):
        assert not certificate.refuted_by(amplification, 0.0)
        assert certificate.refuted_by(without, 0.0)  # small signals are drowned in what biases add
    assert largest_amplification(nets[0], starts[:3], steps=0, climb=0, drift=0.3).item() < free[0].item()


@given(seed=st.integers(0, 10**6), constant=st.sampled_from([0.5, 2.0]), at_zero=st.sampled_from([0.0, 0.3]))
def test_bounds_of_sequences_hold(seed, constant, at_zero):
    options = {"name": "symmetric", "flux": "perona_malik"}
    parts = [biased_network(seed, size=0.1, **options), random_network(seed + 1, **options)]
    certificates = [certify(net) for net in parts]
    bounds = of_sequence([certificates[0], lipschitz_part(constant, at_zero), certificates[1]])

    def whole(u):
        return parts[1](constant * parts[0](u) + at_zero)

    u, v = pairs(seed)
    with torch.no_grad():
        for size in (0.0, 1e-3, 1.0):
            assert (rms(whole(size * u)) <= (bounds.euclidean * rms(size * u) + bounds.drift) * (1 + 1e-12)).all()
        assert (ratios(whole(u) - whole(v), u - v) <= bounds.lipschitz * (1 + 1e-9)).all()


def test_bounds_of_sequences_are_attained():
    """u ↦ 2u + 1 twice."""
    assert of_sequence([lipschitz_part(2.0, 1.0)] * 2) == (4.0, 3.0, 4.0)
    assert of_sequence([]) == (1.0, 0.0, 1.0)
    unknown = certify(networks.build("multigrid_unet", **ONE_BLOCK))
    assert of_sequence([unknown, lipschitz_part(0.0)]) == (0.0, 0.0, 0.0)
    assert of_sequence([lipschitz_part(2.0, 1.0), unknown]) == (math.inf, math.inf, math.inf)


def test_parts_that_are_none_are_named():
    with pytest.raises(InvalidParameterError, match="part: got 'float', expected a certificate"):
        of_sequence([2.0])
    with pytest.raises(InvalidParameterError, match="parts: got 'Bounds', expected a list"):
        of_sequence(lipschitz_part(1.0))
    for arguments, name in (((-1.0,), "constant"), ((1.0, math.nan), "at_zero")):
        with pytest.raises(InvalidParameterError, match=f"{name}: got .*, expected a number of at least 0"):
            lipschitz_part(*arguments)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("flux", ["perona_malik", "learned", "relu"])
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_bounds_of_signed_steps_are_never_exceeded(flux, channels, seed):
    net = biased_network(seed, name="symmetric", flux=flux, channels=channels, steps="signed")
    certificate = certify(net)
    with torch.no_grad():
        u, v = pairs(seed)
        assert (ratios(net(u) - net(v), u - v) <= certificate.lipschitz * (1 + 1e-9)).all()
        for size in (1e-3, 1.0):
            found = rms(net(size * u))
            assert (found <= (certificate.euclidean * size * rms(u) + certificate.drift) * (1 + 1e-12)).all()


def signed_block(tau):
    net = networks.build("symmetric", blocks=1, filters=len(tau), kernel_size=1, flux="linear", steps="signed").double()
    (block,) = net.blocks
    block.K.data.fill_(1.0)
    block.tau.data = torch.tensor(tau, dtype=torch.float64)
    return net


@pytest.mark.parametrize(("tau", "bound"), [([-0.5], 1.5), ([2.5], 1.5), ([-0.5, -0.25], 1.75), ([1.0, 0.5], 1.0)])
def test_bounds_of_signed_steps_are_attained_by_filters_of_one_sign(tau, bound):
    """u - Στ_f u for filters [1] and the linear flux."""
    certificate = certify(signed_block(tau))
    assert (certificate.euclidean, certificate.lipschitz) == pytest.approx((bound, bound))
    assert certificate.holds == (min(tau) > 0 and sum(tau) <= 2)
    if bound > 1:
        assert abs(signed_block(tau)(torch.ones(1, 3, dtype=torch.float64))).max().item() == pytest.approx(bound)


def test_conditions_of_signed_steps_fail_one_by_one():
    assert certify(signed_block([-0.5, 1.0])).failed == ["blocks.0: τ_f ≥ 0"]
    assert certify(signed_block([1.5, 1.0])).failed == ["blocks.0: ‖√τ_f K‖² ≤ 2/L"]


def test_signed_steps_that_are_equal_and_positive_have_the_bounds_of_one_step():
    one = random_network(3, name="symmetric", flux="perona_malik", biases=True, scale=0.1)
    several = networks.build(
        "symmetric", blocks=3, filters=4, kernel_size=5, flux="perona_malik", biases=True, steps="signed"
    ).double()
    with torch.no_grad():
        for block, other in zip(several.blocks, one.blocks, strict=True):
            for name in ("K", "b1", "b2"):
                getattr(block, name).copy_(getattr(other, name))
            block.lam = other.lam
            block.tau.fill_(other.tau)
    found, expected = certify(several), certify(one)
    for key in ("euclidean", "lipschitz", "drift"):
        assert getattr(found, key) == pytest.approx(getattr(expected, key))


def test_networks_with_signed_steps_are_not_verified(tmp_path):
    path = tmp_path / "net.safetensors"
    checkpoints.save(networks.build("symmetric", **ONE_BLOCK, steps="signed"), path)
    with pytest.raises(InvalidParameterError, match=r"steps: got 'signed', expected positive, for a verification"):
        verify(path, LENGTH)


def test_lipschitz_bounds_stand_on_the_weights_that_the_filters_have():
    net = random_network(0, name="symmetric", flux="learned", blocks=1, scale=0.1)
    (block,) = net.blocks
    block.tau = 0.5 / norm_bound(block.K.detach()).square()
    step, (m, _) = block.tau.item() * norm_bound(block.K.detach()).item() ** 2, block.flux.slopes(block.w.detach())
    assert step < 1  # so that the lower bounds of slopes count
    assert m.min() < m.max() < 0.2 * block.flux.m
    assert certify(net).lipschitz == pytest.approx(1 + step * m.max().item())


def test_bounds_are_tight_for_a_linear_block():
    net = random_network(3, name="symmetric", flux="linear", blocks=1)
    net.blocks[0].parametrizations.tau.original.data.fill_(2.0)
    K = correlation_matrix(net.blocks[0].K.detach().numpy(), 400)
    exact = np.linalg.norm(np.eye(400) - net.blocks[0].tau.item() * K.T @ K, 2)
    certificate = certify(net)
    assert exact > 1
    assert exact <= certificate.euclidean <= 1.003 * exact
    assert exact <= certificate.lipschitz <= 1.003 * exact


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_the_step_size_condition_is_the_only_one_that_fails_beyond_its_limit(factor):
    net = random_network(1, name="symmetric", flux="perona_malik", certified=False)
    for block in net.blocks:
        limit = 2 / np.linalg.norm(correlation_matrix(block.K.detach().numpy(), 300), 2) ** 2
        block.tau = torch.tensor(0.5 * limit, dtype=torch.float64)
        if block is net.blocks[1]:
            block.tau = torch.tensor(factor * limit, dtype=torch.float64)
    certificate = certify(net)
    assert certificate.failed == ([] if factor < 1 else ["blocks.1: τ ≤ 2/(L‖K‖²)"])
    assert certificate.holds == (factor < 1)


def test_a_flux_with_negative_diffusivities_is_not_certified():
    certificate = certify(random_network(0, name="symmetric", flux="fab", scale=0))
    assert certificate.euclidean is None
    assert "blocks.0: g ≥ 0" in certificate.failed
    assert not certificate.holds


def test_certificates_of_residual_networks_name_what_makes_them_no_explicit_steps():
    certificate = certify(random_network(0, name="resnet", flux="relu"))
    assert certificate.drift > 0
    assert not certificate.holds
    assert {problem.partition(": ")[2] for problem in certificate.failed} == {
        "W₂ = −τW₁",
        "τ ≤ 2/(L‖W₁‖²)",
    }
    assert certificate.lipschitz > 1


@given(seed=st.integers(0, 10**6), rest=st.sampled_from([0.0, 1e-9, 0.1, 1.0]), size=st.sampled_from([0.5, 0.99, 1.6]))
@pytest.mark.parametrize("flux", ["perona_malik", "relu"])
def test_residual_networks_without_biases_are_explicit_steps_and_a_rest(flux, seed, rest, size):
    """The bound is that of the same weights, but for the rest, in the symmetric network."""
    net = networks.build("resnet", blocks=2, filters=3, kernel_size=4, flux=flux, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    for block in net.blocks:
        tau = 2 * size / norm_bound(block.W1.detach()) ** 2
        R = torch.randn(block.W2.shape, generator=generator, dtype=torch.float64)
        R *= rest * tau / R.norm()
        block.W2.data = -tau * block.W1.detach() + R
    certificate = certify(net)
    step = [f"blocks.{i}: τ ≤ 2/(L‖W₁‖²)" for i in (0, 1)] if size > 1 or rest > 1e-6 else []
    same = [f"blocks.{i}: W₂ = −τW₁" for i in (0, 1)] if rest > 1e-6 else []
    assert certificate.failed == same + step
    assert certificate.holds == (not step)
    u, _ = pairs(seed)
    gain = ratios(net(u), u).max().item()
    assert gain <= certificate.euclidean * (1 + 1e-12)
    if rest == 0:
        assert certificate.euclidean == pytest.approx(max(1, 2 * size - 1) ** 2, rel=1e-9)
        assert certificate.blocks[0].step_margin == pytest.approx(1 - size, abs=1e-9)


def test_the_bound_of_a_residual_block_with_a_rest_is_attained():
    """u + W₂ W₁ u = (1 - τW₁² + R W₁) u for one filter of length one and the linear flux, R of the same sign."""
    net = networks.build("resnet", blocks=1, filters=1, kernel_size=1, flux="linear").double()
    (block,) = net.blocks
    block.W1.data.fill_(2.0)
    block.W2.data.fill_(0.7)  # the part along W₁ has the wrong sign, so all of it is rest
    assert certify(net).euclidean == pytest.approx(1 + 1.4)
    for bias, drift in ((block.b1, 0.07), (block.b2, 0.1)):
        bias.data.fill_(0.1)
        assert certify(net).drift == pytest.approx(drift)
        bias.data.fill_(0.0)
    assert net(torch.ones(1, 3, dtype=torch.float64)).max().item() == pytest.approx(2.4)


def slopes_of(net, end):
    """Difference quotients of a network of signals of one sample, from 0 to ``end``."""
    u = torch.linspace(0, end, 30_001, dtype=torch.float64)
    return net(u[:, None])[:, 0].diff() / u.diff()


@pytest.mark.parametrize(("name", "weights"), [("symmetric", {"K": 1.0}), ("resnet", {"W1": 1.0, "W2": -1.0})])
def test_the_lipschitz_bound_of_a_block_is_attained_where_its_flux_falls(name, weights):
    net = networks.build(name, blocks=1, filters=1, kernel_size=1, flux="weickert").double()
    (block,) = net.blocks
    for weight, value in weights.items():
        getattr(block, weight).data.fill_(value)
    slopes = slopes_of(net, end=0.3)
    assert slopes.max().item() == pytest.approx(certify(net).lipschitz, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "weights"), [("symmetric_feedforward", {"K": 2.0}), ("feedforward", {"W1": 2.0, "W2": -0.6})]
)
def test_bounds_of_blocks_without_skip_connections_are_attained(name, weights):
    """τK² = 0.3 · 2² and W₁W₂ = -2 · 0.6, times the steepest slope m = 2.3 of Weickert's flux, where it falls."""
    net = networks.build(name, blocks=1, filters=1, kernel_size=1, flux="weickert").double()
    (block,) = net.blocks
    for weight, value in weights.items():
        getattr(block, weight).data.fill_(value)
    slopes = slopes_of(net, end=0.2)
    certificate = certify(net)
    assert (certificate.theorem, certificate.holds) == (None, False)
    assert slopes.abs().max().item() == pytest.approx(certificate.lipschitz, rel=1e-4)
    if name == "feedforward":
        assert certificate.euclidean is None
    else:
        small = torch.full((1, 1), 1e-3, dtype=torch.float64)
        assert ratios(net(small), small).item() == pytest.approx(certificate.euclidean)


@pytest.mark.parametrize("name", SAFEGUARDED)
def test_safeguarded_networks_have_a_lipschitz_bound_only_where_the_safeguard_cannot_act(name):
    net = random_network(0, name=name, flux="perona_malik", certified=True)
    for block in net.blocks:
        if name == "safeguarded_du_fort_frankel":
            block.rho = torch.tensor(1.01, dtype=torch.float64)
    assert certify(net).lipschitz == math.inf
    if name == "safeguarded_fsi":
        net = random_network(0, name=name, flux="linear", certified=True, tied=True)
        assert certify(net).lipschitz == 1.0
        return
    plain = networks.build(**{**net.architecture.arguments(), "name": "du_fort_frankel"}).double()
    plain.load_state_dict(net.state_dict())
    for block in [*net.blocks, *plain.blocks]:
        block.rho = torch.tensor(0.99, dtype=torch.float64)
    assert certify(net).lipschitz == pytest.approx(certify(plain).lipschitz)


@pytest.mark.parametrize(("name", "limit"), [("safeguarded_fsi", "tau"), ("safeguarded_du_fort_frankel", "alpha")])
def test_conditions_of_safeguarded_networks_fail_beyond_the_limit_of_explicit_steps(name, limit):
    condition = {"tau": "τ ≤ 2/(L‖K‖²)", "alpha": "1/(2α) ≤ 2/(L‖K‖²)"}[limit]
    for factor in (0.99, 1.01):
        net = random_network(1, name=name, flux="perona_malik", certified=False)
        for block in net.blocks:
            largest = 2 / np.linalg.norm(correlation_matrix(block.K.detach().numpy(), 300), 2) ** 2
            step = (factor if block is net.blocks[1] else 0.5) * largest
            setattr(block, limit, torch.tensor(step if limit == "tau" else 1 / (2 * step), dtype=torch.float64))
        certificate = certify(net)
        assert certificate.failed == ([] if factor < 1 else [f"blocks.1: {condition}"])
        assert certificate.holds == (factor < 1)
        assert (certificate.euclidean > 1) == (factor > 1)


def test_the_bound_of_a_du_fort_frankel_step_is_attained_where_it_extrapolates():
    """1 - K²/(2α) = -2 and ρ = 3 make the factor (6 (-2) - 2)/4 of the step."""
    net = networks.build("du_fort_frankel", blocks=1, filters=1, kernel_size=1, flux="linear").double()
    (block,) = net.blocks
    block.K.data.fill_(1.0)
    block.alpha, block.rho = (torch.tensor(x, dtype=torch.float64) for x in (1 / 6, 3.0))
    assert net(torch.ones(1, 1, dtype=torch.float64)).item() == pytest.approx(-3.5)
    certificate = certify(net)
    assert (certificate.euclidean, certificate.lipschitz) == pytest.approx((3.5, 3.5))


def test_the_bound_of_two_fixed_point_iterations_is_attained():
    """For τK² = 3 they turn 1 into -2 and -2 into 7."""
    net = networks.build("implicit", blocks=2, filters=1, kernel_size=1, flux="linear").double()
    (block,) = net.blocks
    block.K.data.fill_(1.0)
    block.tau = torch.tensor(3.0, dtype=torch.float64)
    assert net(torch.ones(1, 1, dtype=torch.float64)).item() == pytest.approx(7)
    certificate = certify(net)
    assert (certificate.euclidean, certificate.lipschitz) == pytest.approx((7.0, 7.0))
    assert not certificate.holds


def test_the_bound_of_lift_and_projection_is_attained():
    """Between l = (1, 1, 1, 1) and p = 3/2 l, blocks with K = 0 make the factor ⟨p, l⟩ = 6 of the network."""
    net = networks.build("symmetric", blocks=2, filters=1, kernel_size=1, flux="linear", channels=4).double()
    net.lift.data.fill_(1.0)
    net.projection.data.fill_(1.5)
    for block in net.blocks:
        block.K.data.zero_()
    f, _ = pairs(0)
    torch.testing.assert_close(net(f), 6 * f)
    certificate = certify(net)
    assert (certificate.euclidean, certificate.lipschitz) == pytest.approx((6.0, 6.0))
    assert certificate.failed == ["‖lift‖‖projection‖ ≤ 1"]


def test_conditions_of_du_fort_frankel_fail_one_by_one():
    net = random_network(0, name="du_fort_frankel", flux="relu", certified=False, scale=0)
    for block in net.blocks:
        block.alpha = 0.6 * norm_bound(block.K.detach()) ** 2 / 2
    assert certify(net).holds
    assert [block.step_margin for block in certify(net).blocks] == pytest.approx(
        [min(1 - 1 / 1.2, 1 - block.rho.item()) for block in net.blocks]
    )
    net.blocks[0].rho = torch.tensor(1.01, dtype=torch.float64)
    net.blocks[2].alpha = 0.99 * norm_bound(net.blocks[2].K.detach()) ** 2 / 4
    certificate = certify(net)
    assert certificate.failed == ["blocks.2: 1/(2α) ≤ 2/(L‖K‖²)", "blocks.0: 2τα ≤ 1"]
    assert [block.step_margin < 0 for block in certificate.blocks] == [
        True,
        False,
        True,
        *[False] * (len(net.blocks) - 3),
    ]
    assert not certificate.holds
    assert certificate.euclidean > 1


@pytest.mark.parametrize("name", [name for name in networks.available() if name != "multigrid_unet"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nothing_is_certain_of_weights_that_are_not_finite(name, value):
    for index, _ in enumerate(random_network(0, name=name, flux="perona_malik").parameters()):
        net = random_network(0, name=name, flux="perona_malik")
        with torch.no_grad():
            list(net.parameters())[index].view(-1)[0] = value
        certificate = certify(net)
        assert "finite weights" in certificate.failed
        assert not certificate.holds
        assert (certificate.euclidean, certificate.lipschitz) == (None, math.inf)


@pytest.mark.parametrize(("tau", "unique"), [(0.4, True), (0.9, False)])
def test_the_largest_slope_alone_does_not_make_fixed_point_iterations_contract(tau, unique):
    """Weickert's flux falls more steeply than it rises, m = 2.3 > L' = 1: for τm > 1 the limit jumps as f grows."""
    net = networks.build("implicit", blocks=500, filters=1, kernel_size=1, flux="weickert").double()
    (block,) = net.blocks
    block.K.data.fill_(1.0)
    block.tau, block.lam = (torch.tensor(x, dtype=torch.float64) for x in (tau, [1.0]))
    f = torch.linspace(0.5, 3, 2501, dtype=torch.float64)
    certificate = certify(net)
    assert certificate.holds == unique
    assert unique or certificate.failed[0] == "blocks.0: τ max(L', m)‖K‖² < 1"
    expansion = (net(f[None])[0].diff() / f.diff()).abs().max().item()
    if unique:
        assert expansion <= certificate.lipschitz < 20
    else:
        assert expansion > 200


@given(seed=st.integers(0, 10**6), length=st.integers(5, 45), scale=st.sampled_from([0.1, 1.0]))
def test_bounds_of_unets_hold_for_signals_of_any_length(seed, length, scale):
    """Also where their last value is repeated, and only that value changes."""
    net = random_network(seed, name="unet", flux="relu", filters=2, scale=scale)
    certificate = certify(net)
    assert (certificate.theorem, certificate.euclidean, certificate.holds) == (None, None, False)
    u, v = (x[:, :length] for x in pairs(seed))
    v[::2, :-1] = u[::2, :-1]
    assert (ratios(net(u) - net(v), u - v) <= certificate.lipschitz * (1 + 1e-9)).all()


def test_the_bound_of_a_unet_is_the_one_found_by_hand_and_nearly_attained():
    """On the way down (δ, 0) becomes δ, on the way up (δ, δ)/√2, and together (δ + δ/√2, δ/√2)/√2."""
    net = networks.build("unet", blocks=2, filters=1, kernel_size=1, flux="linear").double()
    fine, coarse = net.blocks
    half = math.sqrt(0.5)
    weights = {
        fine.before.W1: [[[1.0]]],
        fine.before.W2: [[[1.0]]],
        coarse.before.W1: [[[half]], [[half]]],
        coarse.before.W2: [[[1.0], [0.0]], [[0.0], [1.0]]],
        fine.up.W: [[[1.0, 0.0]], [[0.0, 1.0]]],
        fine.after.W1: [[[half], [half]]],
        fine.after.W2: [[[1.0]]],
        net.W: [[[1.0]]],
    }
    for parameter, values in weights.items():
        parameter.data = torch.tensor(values, dtype=torch.float64)
    u = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    v = torch.tensor([[1.1, 0.0]], dtype=torch.float64)
    assert ratios(net(v) - net(u), v - u).item() == pytest.approx(math.sqrt(1 + half))
    # √2 of the two ways, and √2 as the last value of signals of odd length is repeated
    assert certify(net).lipschitz == pytest.approx(2.0)


def test_the_slopes_of_both_activations_of_a_unet_count():
    """For this flux they are 1/ε = 100 near 0."""
    net = networks.build("unet", blocks=1, filters=1, kernel_size=1, flux="tv_regularised").double()
    for parameter in (net.blocks[0].before.W1, net.blocks[0].before.W2, net.W):
        parameter.data.fill_(1.0)
    u = torch.tensor([[1e-9, -1e-9]], dtype=torch.float64)
    assert ratios(net(u), u).item() == pytest.approx(1e4)
    assert certify(net).lipschitz == pytest.approx(1e4)


def test_nothing_is_certain_of_multigrid_networks():
    certificate = certify(random_network(0, name="multigrid_unet", flux="charbonnier"))
    assert (certificate.theorem, certificate.euclidean, certificate.lipschitz) == (None, None, math.inf)
    assert not certificate.holds


def test_networks_that_no_certificate_is_known_of_have_no_bounds():
    net = networks.build("resnet", blocks=2, filters=1, kernel_size=1, flux="relu")
    net.architecture = replace(net.architecture, name="perceptron")
    certificate = certify(net)
    assert (certificate.theorem, certificate.euclidean, certificate.lipschitz) == (None, None, math.inf)
    assert (certificate.holds, certificate.failed, len(certificate.blocks)) == (False, [], 2)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), filters=st.integers(1, 4), channels=st.integers(1, 3))
def test_dense_norm_is_that_of_the_matrix_written_down_entry_by_entry(seed, k, filters, channels):
    K = np.random.default_rng(seed).standard_normal((filters, channels, k))
    assert dense_norm(K, 30) == pytest.approx(np.linalg.norm(correlation_matrix(K, 30), 2), rel=1e-12)


def test_dense_norm_of_a_large_matrix_is_its_largest_singular_value():
    K = np.random.default_rng(3).standard_normal((6, 6, 5))
    M = verification.dense_matrix(K, 100)
    assert min(M.shape) > verification.LARGEST_DECOMPOSED
    assert dense_norm(K, 100) == pytest.approx(np.linalg.norm(M, 2), rel=1e-12)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("flux", verification._FLUXES)  # written anew there, all of them nonnegative
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_certified_checkpoints_compute_what_the_schemes_compute_by_dense_matrices(name, flux, channels, tmp_path):
    size = {"blocks": 3, "filters": 3, "kernel_size": 4, "channels": channels}
    for tied in (False, True):
        net = random_network(7, name=name, flux=flux, certified=True, tied=tied, **size)
        checkpoints.save(net.float(), tmp_path / "net.safetensors")
        assert verify(tmp_path / "net.safetensors", LENGTH) == []


@pytest.mark.parametrize("name", CERTIFIABLE)
@pytest.mark.parametrize("weights", [(), (0.3,)])
def test_a_flux_that_somebody_added_is_verified_as_it_is(name, weights, tmp_path, monkeypatch):
    """Huber's, and a mixture with the linear one whose weights stay in a box of 1/2."""

    def phi(t, w=None):
        share = 0 if w is None else 0.5 + w[..., 0]
        return share * t + (1 - share) * t.clamp(-1, 1)

    def dphi(t, w=None):
        share = 0 if w is None else 0.5 + w[..., 0]
        return share + (1 - share) * (t.abs() <= 1)

    own = replace(fluxes.get("charbonnier"), name="own", phi=phi, dphi=dphi, scalar=None, initial=weights, box=0.5)
    own = replace(own, bounds=lambda w: (torch.zeros(w.shape[:-1]), torch.ones(w.shape[:-1]))) if weights else own
    get = fluxes.get
    monkeypatch.setattr(fluxes, "get", lambda name, **given: own if name == "own" else get(name, **given))
    net = random_network(7, name=name, flux="own", certified=True, blocks=3, filters=3, kernel_size=4)
    checkpoints.save(net.float(), tmp_path / "net.safetensors")
    assert verification.can_verify(net.architecture)
    assert verify(tmp_path / "net.safetensors", LENGTH) == []


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_bounds_by_dense_matrices_are_not_above_those_of_certificates(name, tmp_path):
    net = random_network(7, name=name, flux="perona_malik", certified=True, blocks=2, filters=3, kernel_size=4)
    checkpoints.save(net, tmp_path / "net.safetensors")
    dense, certificate = verification._Dense.read(tmp_path / "net.safetensors", LENGTH), certify(net)
    assert 1 <= dense.bound() <= certificate.euclidean * (1 + 1e-12)
    if certificate.lipschitz == math.inf:
        assert dense.lipschitz() == math.inf
    else:  # ‖K‖ for this length is little below the bound for all lengths
        assert 0.95 * certificate.lipschitz <= dense.lipschitz() <= certificate.lipschitz * (1 + 1e-12)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_bounds_of_norms_that_are_promised_otherwise_are_noticed_by_dense_matrices(
    name, blocks, channels, tmp_path, monkeypatch
):
    """Smaller ones, also by little; and, where the theorem says that norms do not increase, others and none."""
    size = {"blocks": blocks, "filters": 3, "kernel_size": 4, "channels": channels}
    net = random_network(7, name=name, flux="perona_malik", certified=True, **size)
    path, true = tmp_path / "net.safetensors", certify(net.float())
    checkpoints.save(net, path)
    for bound in (0.5, 0.99 * true.euclidean, true.euclidean, 1.01 * true.euclidean, None):
        monkeypatch.setattr(verification, "certify", lambda network, c=bound: replace(true, euclidean=c))
        problems = verify(path, LENGTH)
        larger = bound is None or bound > true.euclidean
        if bound == true.euclidean or (name == "implicit" and larger):  # whose bound depends on the norm of K
            assert problems == []
        else:
            (problem,) = problems
            c = math.inf if bound is None else bound
            assert problem.startswith(f"its bound is {c:.6g}, but by dense matrices ")


@pytest.mark.parametrize("name", ["symmetric", "safeguarded_fsi"])
def test_bounds_of_norms_beyond_the_limit_of_explicit_steps_are_not_below_those_of_dense_matrices(
    name, tmp_path, monkeypatch
):
    """For τ‖K‖² = 2.5 they are 3/2 for every step."""
    net = networks.build(name, blocks=2, filters=1, kernel_size=1, flux="linear")
    for block in net.blocks:
        block.K.data.fill_(1.0)
        block.tau = torch.tensor(2.5)
    path, true = tmp_path / "net.safetensors", certify(net)
    checkpoints.save(net, path)
    for bound, told in ((2.24, True), (2.26, False)):
        monkeypatch.setattr(verification, "certify", lambda network, c=bound: replace(true, euclidean=c))
        message = f"its bound is {bound}, but by dense matrices 2.25"
        assert (message in verify(path, LENGTH)) == told


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_lipschitz_bounds_that_are_too_small_are_noticed_by_dense_matrices(name, tmp_path, monkeypatch):
    blocks = 1 if name == "safeguarded_fsi" else 2  # one does not extrapolate, so it has a bound
    net = random_network(7, name=name, flux="perona_malik", certified=True, blocks=blocks, filters=3, kernel_size=4)
    if name == "safeguarded_du_fort_frankel":
        for block in net.blocks:
            block.rho = torch.tensor(0.9, dtype=torch.float64)
    path = tmp_path / "net.safetensors"
    checkpoints.save(net.float(), path)
    assert verify(path, LENGTH) == []
    smaller = replace(certify(net), lipschitz=0.9 * certify(net).lipschitz)
    monkeypatch.setattr(verification, "certify", lambda network: smaller)
    (problem,) = verify(path, LENGTH)
    assert problem.startswith(f"its Lipschitz bound is {smaller.lipschitz:.6g}, but by dense matrices ")
    monkeypatch.setattr(verification._Dense, "lipschitz", lambda scheme: 0.01)
    assert any("moves signals apart by" in problem for problem in verify(path, LENGTH))


@pytest.mark.parametrize(
    ("name", "parameter", "limit", "condition"),
    [
        ("symmetric", "tau", 2.0, "τ ≤ 2/(L‖K‖²)"),
        ("safeguarded_fsi", "tau", 2.0, "τ ≤ 2/(L‖K‖²)"),
        ("implicit", "tau", 1.0, "τ max(L', m)‖K‖² < 1"),
        ("du_fort_frankel", "alpha", 0.25, "1/(2α) ≤ 2/(L‖K‖²)"),
        ("du_fort_frankel", "rho", 1.0, "2τα ≤ 1"),
        ("safeguarded_du_fort_frankel", "alpha", 0.25, "1/(2α) ≤ 2/(L‖K‖²)"),
    ],
)
def test_broken_conditions_are_noticed_by_dense_matrices(name, parameter, limit, condition, tmp_path):
    """On either side of the limit for ‖K‖ = 1, and with K beyond it; blocks and conditions are named."""
    net = networks.build(name, blocks=1 if name == "implicit" else 2, filters=1, kernel_size=1, flux="linear")
    block, path = net.blocks[-1], tmp_path / "net.safetensors"
    for each in net.blocks:  # within all limits for K = 0.5
        each.K.data.fill_(0.5)
        if hasattr(each, "alpha"):
            each.alpha = 0.5

    def problems(size, K=1.0):
        with torch.no_grad():
            block.K.fill_(K)
            setattr(block, parameter, torch.tensor(limit * (1 / size if parameter == "alpha" else size)))
        checkpoints.save(net, path)
        return verify(path, LENGTH)

    assert problems(0.999) == []
    for size, K, margin in ((1.01, 1.0, -0.01), (0.8, 1.5, -0.8)):
        if parameter != "rho" or K == 1:
            (problem,) = problems(size, K)
            what, _, number = problem.partition(" fails by dense matrices, with a margin of ")
            assert what == f"blocks.{len(net.blocks) - 1}: {condition}"
            assert float(number) == pytest.approx(margin, rel=1e-4)


@pytest.mark.parametrize("name", CERTIFIABLE)
@pytest.mark.parametrize("end", ["lift", "projection"])
def test_broken_conditions_on_lift_and_projection_are_noticed_by_dense_matrices(name, end, tmp_path):
    """On either side of ‖lift‖‖projection‖ = 1, where all blocks are within their limits."""
    net = networks.build(name, blocks=2, filters=2, kernel_size=3, flux="relu", channels=3)
    for block in net.blocks:
        block.K.data *= 0.1
    path, unit = tmp_path / "net.safetensors", getattr(net, end).detach().clone()
    for size in (0.999, 1.25):
        getattr(net, end).data = size * unit
        checkpoints.save(net, path)
        problems = [] if size < 1 else ["‖lift‖‖projection‖ ≤ 1 fails by dense matrices, with a margin of -0.25"]
        assert verify(path, LENGTH) == problems
        assert certify(net).failed == [problem.partition(" fails ")[0] for problem in problems]


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_maps_that_are_not_those_of_the_scheme_are_noticed(name, tmp_path, monkeypatch):
    """By what is wrong with the output alone, in single and in double precision."""
    net = random_network(7, name=name, flux="perona_malik", certified=True, blocks=2, filters=3, kernel_size=4)
    path, forward = tmp_path / "net.safetensors", type(net).forward
    checkpoints.save(net.float(), path)
    monkeypatch.setattr(type(net), "forward", lambda own, f: 1.01 * forward(own, f))
    single, double = verify(path, LENGTH)
    assert re.match(r"in 32 bits its output differs by (1\.0e-02|9\..e-03) from that of its scheme", single)
    assert re.match(r"in 64 bits its output differs by (1\.0e-02|9\..e-03) from that of its scheme", double)


@pytest.mark.parametrize("size", [1.5, 2.5])
def test_dense_bounds_of_explicit_steps_are_attained_by_one_filter_of_length_one(size, tmp_path, monkeypatch):
    """|1 - size| is the factor of the step."""
    net = networks.build("symmetric", blocks=2, filters=1, kernel_size=1, flux="linear")
    with torch.no_grad():
        net.blocks[0].K.fill_(1.0)
        net.blocks[1].K.fill_(1.0)
        for block in net.blocks:
            block.tau = torch.tensor(size)
    checkpoints.save(net, tmp_path / "net.safetensors")
    scheme = verification._Dense.read(tmp_path / "net.safetensors", LENGTH)
    assert scheme.bound() == pytest.approx(max(1, (size - 1) ** 2), rel=1e-6)
    assert not any("amplifies" in problem for problem in verify(tmp_path / "net.safetensors", LENGTH))
    monkeypatch.setattr(verification._Symmetric, "factor", lambda scheme: 0.2)
    (problem,) = [problem for problem in verify(tmp_path / "net.safetensors", LENGTH) if "amplifies" in problem]
    assert problem.endswith("but its bound by dense matrices is 0.2")


@pytest.mark.parametrize(
    ("name", "flux", "message"),
    [
        ("resnet", "relu", f"network to verify: got 'resnet', expected one of {', '.join(sorted(CERTIFIABLE))},"),
        ("symmetric", "fab", "flux of the network to verify: got 'fab', expected one with diffusivities g ≥ 0"),
    ],
)
def test_what_is_not_written_anew_is_refused_by_name(name, flux, message, tmp_path):
    net = networks.build(name, blocks=1, filters=1, kernel_size=3, flux=flux)
    checkpoints.save(net, tmp_path / "net.safetensors")
    with pytest.raises(InvalidParameterError, match=f"^{message}"):
        verify(tmp_path / "net.safetensors", LENGTH)


def test_the_search_finds_the_largest_amplification_of_a_linear_network():
    net = random_network(3, name="symmetric", flux="linear", blocks=1)
    net.blocks[0].parametrizations.tau.original.data.fill_(2.0)
    K = correlation_matrix(net.blocks[0].K.detach().numpy(), LENGTH)
    exact = np.linalg.norm(np.eye(LENGTH) - net.blocks[0].tau.item() * K.T @ K, 2)
    found = largest_amplification(net, torch.rand(5, LENGTH, generator=torch.Generator().manual_seed(0)), steps=200)
    assert 0.98 * exact <= found <= exact * (1 + 1e-12)


@pytest.mark.parametrize("name", ["symmetric", "fsi", "du_fort_frankel", "implicit", "resnet"])
def test_both_searches_find_the_largest_singular_value_of_a_linear_network(name):
    """That of the dense matrix of all blocks, by SciPy."""
    net = random_network(1, name=name, flux="linear", blocks=2)
    for parameter_name, parameter in net.named_parameters():
        if "b1" in parameter_name or "b2" in parameter_name:
            parameter.data.zero_()
    matrix = net(torch.eye(LENGTH, dtype=torch.float64)).detach().numpy().T
    exact = svdvals(matrix)[0]
    assert exact > 1.5
    starts = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(0))
    for search in (largest_amplification, largest_expansion):
        for climb in (0, 300):
            assert 0.98 * exact <= search(net, starts, steps=100, climb=climb) <= exact * (1 + 1e-9)


@pytest.mark.parametrize("flux", ["perona_malik", "weickert", "relu", "fab"])
def test_searches_find_what_a_grid_finds_in_a_scalar_network(flux):
    """Two blocks that act on every value by itself: the slopes and quotients of a function of one variable."""
    net = networks.build("symmetric", blocks=2, filters=1, kernel_size=1, flux=flux).double()
    for block, K in zip(net.blocks, (1.3, -0.8), strict=True):
        block.K.data.fill_(K)
        block.tau = torch.tensor(2.5, dtype=torch.float64)
    s = torch.linspace(-3, 3, 600_001, dtype=torch.float64)
    with torch.no_grad():
        values = net(s[None])[0]
    slope = (values.diff() / s.diff()).abs().max().item()
    quotient = (values / s)[s.abs() > 1e-9].abs().max().item()
    starts = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    for climb in (0, 300):
        assert 0.95 * slope <= largest_expansion(net, starts, steps=200, climb=climb) <= slope * (1 + 1e-3)
    assert 0.95 * quotient <= largest_amplification(net, starts, steps=200) <= quotient * (1 + 1e-3)


def test_searches_find_a_planted_direction_that_only_large_signals_show():
    """u + 3 p max(⟨p, u⟩ - 20, 0) with ‖p‖ = 1 is the identity for small u, and 4 times as long in the direction p."""
    p = torch.randn(LENGTH, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    p /= p.norm()
    net = networks.build("resnet", blocks=1, filters=1, kernel_size=LENGTH, flux="relu").double()
    (block,) = net.blocks
    block.W1.data, block.W2.data = p[None, None].clone(), 3 * p[None, None]
    block.b1.data.fill_(-20.0)
    starts = 0.1 * torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(0))
    for search in (largest_amplification, largest_expansion):
        assert search(net, starts, scales=()) == pytest.approx(1, rel=1e-9)
        assert 3.9 <= search(net, starts, steps=80) <= 4 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("symmetric", {}),  # ∞ · 0 of the largest and the smallest slope
        ("safeguarded_fsi", {}),
        ("symmetric_feedforward", {"blocks": 2}),  # ∞ · 0 of two blocks
        ("safeguarded_fsi", {"channels": 2, "blocks": 3}),  # ∞ · 0 of a network and its lift
    ],
)
def test_bounds_that_overflow_are_infinite_or_none_and_never_nan(name, change):
    size = {"blocks": 1, "filters": 2, "kernel_size": 3} | change
    net = networks.build(name, **size, flux="charbonnier").double()
    with torch.no_grad():
        net.blocks[0].K.fill_(1e200)
        net.blocks[-1].K *= 1 if size["blocks"] == 1 else 0
        if "channels" in size:
            net.lift *= 0
    certificate = certify(net)
    for bounds in (certificate, *certificate.blocks):
        assert bounds.euclidean is None or bounds.euclidean >= 0
        assert bounds.lipschitz >= 0
    assert certificate.lipschitz == np.inf


@pytest.mark.parametrize("search", [largest_amplification, largest_expansion])
def test_searches_report_an_overflow_as_infinite(search):
    """u ↦ u + 1e200 max(0, 1e200 u): beyond all numbers for positive signals, the identity for others."""
    net = networks.build("resnet", blocks=1, filters=1, kernel_size=1, flux="relu").double()
    (block,) = net.blocks
    block.W1.data.fill_(1e200)
    block.W2.data.fill_(1e200)
    u = torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert search(net, u, scales=()).item() == math.inf
    assert certify(random_network(0, name="symmetric", flux="relu", scale=0)).refuted_by(math.inf, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["symmetric", "fsi", "safeguarded_fsi"])
@pytest.mark.parametrize("flux", ["perona_malik", "relu"])
def test_searches_of_ten_times_the_length_find_hardly_more(name, flux):
    """In two networks of three at least: there are local maxima."""
    nets = [random_network(seed, name=name, flux=flux, blocks=2) for seed in (2, 3, 4)]
    u = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    stacked = networks.stack(nets)
    usual, long = largest_amplification(stacked, u), largest_amplification(stacked, u, steps=200, climb=3000)
    assert ((usual / long - 1).abs() < 0.01).sum() >= 2
    unclimbed = largest_amplification(stacked, u, steps=1, climb=0)
    climbed = largest_amplification(stacked, u, steps=1, climb=300)
    assert (unclimbed < 0.97 * climbed).all()


def test_a_search_of_no_steps_is_the_largest_quotient_of_the_starts():
    net = random_network(3, name="fsi", flux="relu")
    u = torch.rand(5, LENGTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = largest_amplification(net, u, steps=0, climb=0, scales=())
    assert found == pytest.approx(ratios(net(u), u).max().item())


def test_searches_take_no_signal_that_is_no_smaller_than_the_starts():
    """A network with N(0) ≠ 0, u ↦ u + 1: the smallest constant signals are amplified most."""
    net = networks.build("resnet", blocks=1, filters=1, kernel_size=1, flux="relu").double()
    (block,) = net.blocks
    block.W2.data.fill_(0.0)
    block.b2.data.fill_(1.0)
    u = torch.tensor([1.0, 2.0], dtype=torch.float64)[:, None].expand(2, LENGTH)
    assert largest_amplification(net, u, scales=()).item() == pytest.approx(2)


@pytest.mark.parametrize("search", [largest_amplification, largest_expansion])
def test_searches_treat_the_networks_of_a_stack_one_by_one_and_change_nothing(search):
    nets = [random_network(seed, name="symmetric", flux="perona_malik", blocks=2).float() for seed in range(3)]
    stacked = networks.stack(nets)
    before = [parameter.clone() for parameter in stacked.parameters()]
    starts = torch.rand(3, 4, LENGTH, generator=torch.Generator().manual_seed(0))
    found = search(stacked, starts, steps=5)
    assert found.shape == (3,)
    assert found.tolist() == pytest.approx(
        [search(net, u, steps=5).item() for net, u in zip(nets, starts, strict=True)]
    )
    assert len(set(found.tolist())) == 3
    assert all(map(torch.equal, before, stacked.parameters()))
    assert torch.equal(search(stacked, starts.unflatten(-2, (2, 2)), steps=5), found)
    assert torch.equal(search(nets[0], starts[0, :, None], steps=5), search(nets[0], starts[0], steps=5))
    with pytest.raises(InvalidParameterError, match=rf"got \(2, 4, 1, {LENGTH}\), expected \(3, batch, length\)"):
        search(stacked, starts[:2, :, None])


@pytest.mark.parametrize("search", [largest_amplification, largest_expansion])
@pytest.mark.parametrize(
    ("value", "what"), [(math.nan, "finite"), (math.inf, "finite"), (-math.inf, "finite"), (0.0, "above 0")]
)
def test_searches_refuse_starts_that_say_nothing(search, value, what):
    net = random_network(0, name="symmetric", flux="relu", blocks=1)
    starts = torch.rand(2, LENGTH)
    starts[1] = value if value == 0 else starts[1]
    starts[1, 7] = value
    with pytest.raises(InvalidParameterError, match=what):
        search(net, starts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["symmetric", "fsi", "du_fort_frankel", "implicit", "resnet"])
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_searches_leave_the_bounds_standing(name, seed):
    net = random_network(seed, name=name, flux="weickert")
    starts = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(seed))
    amplification, expansion = (
        search(net, starts, steps=10).item() for search in (largest_amplification, largest_expansion)
    )
    certificate = certify(net)
    assert not certificate.refuted_by(amplification, expansion)
    assert certificate.refuted_by(0.0, certificate.lipschitz * (1 + 1e-6))
    if certificate.euclidean is not None:
        assert certificate.refuted_by(certificate.euclidean * (1 + 1e-6), 0.0)


@pytest.mark.parametrize("flux", NONNEGATIVE)
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_constraints_go_up_to_the_limits_of_the_step_sizes_and_not_beyond(name, flux):
    margins = []
    for end in (-100.0, 100.0):
        net = networks.build(name, blocks=2, filters=3, kernel_size=4, flux=flux, certified=True).double()
        for block in net.blocks:
            for parameter in {"tau", "alpha", "rho"} & set(block.parametrizations):
                block.parametrizations[parameter].original.data.fill_(end)
        certificate = certify(net)
        assert certificate.holds
        margins.append(certificate.blocks[0].step_margin)
    assert min(margins) > 0
    # those of a learned flux are for all weights, the margins for the weights that it starts with
    assert min(margins) < 0.011 or (name, flux) == ("implicit", "learned")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [0.0, 1e-40, 1e-25, 1e25, 1e37])
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_constraints_hold_for_weights_whose_squares_vanish_or_overflow(name, factor, dtype):
    size = {"blocks": 2, "filters": 3, "kernel_size": 4, "channels": 2}
    net = networks.build(name, **size, flux="perona_malik", certified=True).to(dtype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(factor)
    u = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    bound = certify(net).euclidean
    assert bound <= 2
    assert (net(u).norm(dim=-1) <= bound * u.norm(dim=-1) * (1 + 1e-6)).all()


def test_a_sequence_with_a_part_of_no_bound_has_none_even_behind_zeros():
    """Of a network without a theorem on norms, biases move the zero signal by what is not known."""
    net = networks.build("feedforward", blocks=2, filters=2, kernel_size=3, flux="relu")
    with torch.no_grad():
        net.blocks[-1].b2.fill_(0.7)
    found = stability.of_sequence([stability.lipschitz_part(0.0), stability.certify(net)])
    assert net(torch.zeros(1, 32)).abs().max() > 0.5
    assert (found.drift, found.lipschitz) == (math.inf, 0.0)


def biased(dtype=torch.float64, size=1.0, **arguments):
    """A certified network with biases of this size."""
    shape = {"blocks": 3, "filters": 3, "kernel_size": 3, "flux": "perona_malik", "certified": True, "biases": True}
    net = networks.build("symmetric", **{**shape, **arguments}).to(dtype)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for block in net.blocks:
            for bias in (block.b1, block.b2):
                bias.copy_(size * torch.randn(bias.shape, generator=generator, dtype=torch.float64))
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_nothing_contradicts_networks_in_either_precision_whatever_their_biases_are(dtype, size, tmp_path):
    """Parameters in double precision are not those in single precision, and biases may be far larger than signals."""
    checkpoints.save(biased(dtype, size), tmp_path / "net.safetensors")
    for length in (3, 24):
        assert stability.verify(tmp_path / "net.safetensors", length) == []


def test_signals_are_not_moved_apart_by_rounding_of_large_biases(tmp_path):
    """Where the Lipschitz bound of 1 is attained, as steps are tiny."""
    net = biased(size=1e6, flux="linear")
    for block in net.blocks:
        block.tau = torch.tensor(1e-12, dtype=torch.float64)
    checkpoints.save(net, tmp_path / "net.safetensors")
    assert stability.verify(tmp_path / "net.safetensors", 24) == []


def test_the_search_refutes_no_network_by_rounding_of_its_drift():
    net = biased(size=1e2)
    certificate, starts = stability.certify(net), 1e-6 * torch.randn(4, 24, dtype=torch.float64)
    found = stability.largest_amplification(net, starts, steps=5, climb=20, drift=certificate.drift).item()
    assert not certificate.refuted_by(found, 0.0)


@pytest.mark.parametrize("seed", range(8))
def test_searches_are_of_the_values_that_certificates_are_about(seed):
    """Constrained values in single precision; in double precision they differ, and linear networks attain bounds."""
    shape = {"blocks": 2, "filters": 1, "kernel_size": 1, "flux": "linear"}
    net = networks.build("symmetric", **shape, seed=seed)
    with torch.no_grad():
        for block in net.blocks:
            block.K.fill_(1.1)
            block.tau = torch.tensor(2.0 + 0.1 * seed)
    certificate = stability.certify(net)
    starts = torch.randn(2, 8, dtype=torch.float64)
    found = [
        search(net, starts, steps=3, climb=5).item()
        for search in (stability.largest_amplification, stability.largest_expansion)
    ]
    assert found[0] == pytest.approx(certificate.euclidean, rel=1e-9)
    assert not certificate.refuted_by(*found)


@pytest.mark.parametrize("name", ["symmetric", "safeguarded_fsi"])
def test_filters_of_certified_networks_are_free_and_steps_a_share_of_what_they_allow(name):
    net = networks.build(name, blocks=2, filters=3, kernel_size=4, flux="perona_malik", certified=True).double()
    block, W = net.blocks[0], torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    block.K = 5 * W
    torch.testing.assert_close(block.K, 5 * W, rtol=1e-15, atol=0)
    limit = 2 / norm_bound(block.K).item() ** 2
    block.tau = 0.9 * limit
    assert block.tau.item() == pytest.approx(0.9 * limit, rel=1e-12)
    for wrong in (1.0001 * limit, 0.0, -0.1):
        with pytest.raises(InvalidParameterError, match=r"tau: got .*below .*, the limit of .* with these filters"):
            block.tau = wrong
    block.K = 10 * W  # the share is kept
    assert block.tau.item() == pytest.approx(0.9 * limit / 4, rel=1e-12)
    assert certify(net).holds
    (derivative,) = torch.autograd.grad(block.tau, block.parametrizations.K.original)
    assert (derivative * W).sum() < 0  # longer filters allow shorter steps


def test_certified_networks_start_as_free_ones_where_these_are_stable():
    size = {"blocks": 8, "filters": 3, "kernel_size": 4, "flux": "perona_malik", "seed": 3}
    free, certified = (networks.build("symmetric", **size, certified=value) for value in (False, True))
    assert certify(free).holds
    u = torch.rand(2, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(certified(u), free(u), rtol=1e-5, atol=1e-6)
