"""Certificates are true, tight where they can be, and refuse what breaks their conditions."""

import numpy as np
import pytest
import torch
from dense import correlation_matrix
from hypothesis import given
from hypothesis import strategies as st

from schemenets import fluxes, networks
from schemenets.errors import UnknownNameError
from schemenets.stability import certify, dense_norm, largest_amplification

LENGTH = 40
NONNEGATIVE = [name for name in fluxes.available() if fluxes.get(name).nonnegative]


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


@pytest.mark.parametrize("flux", NONNEGATIVE)
@pytest.mark.parametrize("tied", [False, True])
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_certified_networks_hold_their_certificate_whatever_the_parameters(flux, tied, seed, scale):
    net = random_network(seed, scale=scale, name="symmetric", flux=flux, tied=tied, certified=True)
    certificate = certify(net)
    assert certificate.holds
    assert certificate.euclidean == 1.0
    for block in net.blocks:
        norm = np.linalg.norm(correlation_matrix(block.K.detach().numpy(), LENGTH), 2)
        assert block.tau.item() * block.flux.L * norm**2 <= 2
    u, _ = pairs(seed, scale)
    assert (ratios(net(u), u) <= 1 + 1e-12).all()


@pytest.mark.parametrize("flux", fluxes.available())
@pytest.mark.parametrize("name", networks.available())
@given(seed=st.integers(0, 10**6))
def test_bounds_are_never_exceeded(name, flux, seed):
    net = random_network(seed, name=name, flux=flux)
    certificate = certify(net)
    with torch.no_grad():
        u, v = pairs(seed)
        assert (ratios(net(u) - net(v), u - v) <= certificate.lipschitz * (1 + 1e-9)).all()
        if certificate.euclidean is not None:
            assert (ratios(net(u), u) <= certificate.euclidean * (1 + 1e-12)).all()


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


def test_residual_networks_have_no_certificate():
    certificate = certify(random_network(0, name="resnet", flux="relu"))
    assert (certificate.theorem, certificate.euclidean, certificate.holds) == (None, None, False)
    assert certificate.lipschitz > 1


def test_certificates_know_their_networks():
    net = networks.build("resnet", blocks=1, filters=1, kernel_size=1, flux="relu")
    net.architecture = type(net.architecture)(**{**vars(net.architecture), "name": "unet"})
    with pytest.raises(UnknownNameError, match="unknown network for a certificate 'unet'"):
        certify(net)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), filters=st.integers(1, 4))
def test_dense_norm_is_that_of_the_matrix_written_down_entry_by_entry(seed, k, filters):
    K = np.random.default_rng(seed).standard_normal((filters, 1, k))
    assert dense_norm(K, 30) == pytest.approx(np.linalg.norm(correlation_matrix(K, 30), 2), rel=1e-12)


def test_the_search_finds_the_largest_amplification_of_a_linear_network():
    net = random_network(3, name="symmetric", flux="linear", blocks=1)
    net.blocks[0].parametrizations.tau.original.data.fill_(2.0)
    K = correlation_matrix(net.blocks[0].K.detach().numpy(), LENGTH)
    exact = np.linalg.norm(np.eye(LENGTH) - net.blocks[0].tau.item() * K.T @ K, 2)
    found = largest_amplification(net, torch.rand(5, LENGTH, generator=torch.Generator().manual_seed(0)), steps=200)
    assert 0.98 * exact <= found <= exact * (1 + 1e-12)
