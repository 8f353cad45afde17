"""Attacks, against optima in closed form, and what Lipschitz bounds guarantee against them."""

from importlib import import_module

import numpy as np
import pytest
import torch
from dense import correlation_matrix
from scipy.optimize import brentq

from schemenets import networks
from schemenets.stability import certify, guaranteed_psnr, worst_perturbation
from schemenets.stability.guarantees import GUARANTEES

LENGTH = 24


@pytest.fixture(autouse=True)
def plain_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")  # compiling takes longer than all of this


def linear_network(seed):
    """A network of two linear blocks that amplify some signals, and its matrix, written down independently."""
    net = networks.build("symmetric", blocks=2, filters=2, kernel_size=3, flux="linear", seed=seed).double()
    A = np.eye(LENGTH)
    for block in net.blocks:
        K = correlation_matrix(block.K.detach().numpy(), LENGTH)
        tau = 3 / np.linalg.norm(K, 2) ** 2
        block.tau = torch.tensor(tau, dtype=torch.float64)
        A = (np.eye(LENGTH) - tau * K.T @ K) @ A
    return net, A


def signals(seed, count=3):
    return torch.randn(count, LENGTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_starts(count):
    return torch.stack([signals(100 + index) for index in range(count)])


@pytest.mark.parametrize("seed", range(4))
def test_a_linear_network_is_attacked_along_its_top_singular_vector(seed):
    """Without an error before, the farthest output of the ball is at σ_max times its radius."""
    net, A = linear_network(seed)
    sigma = np.linalg.svd(A, compute_uv=False)
    assert sigma[0] > 1.2  # it amplifies
    f, radius = signals(seed), 0.3
    delta = worst_perturbation(net, f, net(f).detach(), radius, random_starts(2), steps=60)
    moved = np.linalg.norm(delta.numpy() @ A.T, axis=1)
    assert (moved >= 0.99 * sigma[0] * radius).all()
    assert (moved <= sigma[0] * radius * (1 + 1e-12)).all()


@pytest.mark.parametrize("radius", [0.1, 1.0, 10.0])
def test_a_linear_network_is_attacked_as_well_as_the_trust_region_allows(radius):
    """The maximum of ‖Aδ + r‖ over ‖δ‖ ≤ ε is at δ = (λ - AᵀA)⁻¹Aᵀr with the λ > σ_max² that makes ‖δ‖ = ε."""
    net, A = linear_network(7)
    f, clean = signals(1), signals(2)
    found = worst_perturbation(net, f, clean, radius, torch.cat([torch.zeros(1, *f.shape), random_starts(1)]), steps=60)
    values, vectors = np.linalg.eigh(A.T @ A)
    for r, delta in zip(f.numpy() @ A.T - clean.numpy(), found.numpy(), strict=True):
        b = vectors.T @ A.T @ r

        def excess(lam, b=b):
            return np.linalg.norm(b / (lam - values)) - radius

        lam = brentq(excess, values[-1] + 1e-9, values[-1] + 1e6)
        best = np.linalg.norm(A @ (vectors @ (b / (lam - values))) + r)
        distance = np.linalg.norm(A @ delta + r)
        assert 0.99 * best <= distance <= best * (1 + 1e-9)
        assert distance - np.linalg.norm(r) >= 0.97 * (best - np.linalg.norm(r))


def test_perturbations_stay_in_the_ball_and_reach_its_boundary():
    net = networks.build("resnet", blocks=2, filters=3, kernel_size=5, flux="relu", seed=3)
    f = signals(4).float()
    starts = random_starts(2).float()
    for radius in (0.01, 1.0):
        delta = worst_perturbation(net, f, 0 * f, radius, starts, steps=5)
        assert delta.norm(dim=-1) == pytest.approx(radius, rel=1e-5)
    assert worst_perturbation(net, f, 0 * f, 0.0, starts, steps=5).abs().max() == 0


def test_every_start_counts_and_those_inside_the_ball_are_not_moved():
    """Without steps the farthest of the starts is returned, signal by signal."""
    net = networks.build("resnet", blocks=1, filters=3, kernel_size=5, flux="relu", seed=3).double()
    f, inside = signals(4), 0.1 * random_starts(5)
    radius = inside.norm(dim=-1).max().item()
    delta = worst_perturbation(net, f, 0 * f, radius, inside, steps=0)
    with torch.no_grad():
        farthest = torch.stack([net(f + start).norm(dim=-1) for start in inside]).argmax(0)
    assert len(set(farthest.tolist())) > 1
    assert torch.allclose(delta, inside[farthest, torch.arange(len(f))])


def test_larger_balls_that_start_from_the_smaller_ones_are_no_better():
    net = networks.build("fsi", blocks=3, filters=3, kernel_size=5, flux="perona_malik", seed=5).double()
    f, clean = signals(6), signals(7)
    distances, worst = [], torch.zeros_like(f)
    for radius in (0.0, 0.1, 0.11, 0.5):
        worst = worst_perturbation(net, f, clean, radius, worst[None], steps=3)
        with torch.no_grad():
            distances.append((net(f + worst) - clean).norm(dim=-1))
    assert (torch.stack(distances).diff(dim=0) >= 0).all()
    assert torch.equal(distances[0], (net(f) - clean).norm(dim=-1))


def test_each_of_stacked_networks_is_attacked_as_if_alone():
    nets = [
        networks.build("symmetric", blocks=2, filters=2, kernel_size=3, flux="relu", seed=s).double() for s in (0, 1)
    ]
    f, clean, starts = signals(8), signals(9), random_starts(2)
    together = worst_perturbation(
        networks.stack(nets), f.expand(2, -1, -1), clean, 0.5, starts[:, None].expand(-1, 2, -1, -1), steps=5
    )
    for net, delta in zip(nets, together, strict=True):
        assert torch.allclose(worst_perturbation(net, f, clean, 0.5, starts, steps=5), delta, atol=1e-9)


def test_an_attack_does_not_change_the_network():
    net = networks.build("du_fort_frankel", blocks=2, filters=2, kernel_size=3, flux="perona_malik", certified=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    worst_perturbation(net, signals(0).float(), signals(1).float(), 1.0, random_starts(1).float(), steps=3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_guaranteed_psnr_by_hand():
    """20 dB is an error of 25.5; twice the perturbation of 12.75 makes it 51, a fifth of 255."""
    assert guaranteed_psnr(np.array([20.0]), 2.0, 12.75) == pytest.approx(20 * np.log10(5))
    assert guaranteed_psnr(np.array([20.0, 31.0]), 3.0, 0) == pytest.approx([20.0, 31.0])


@pytest.mark.parametrize("name", ["symmetric", "du_fort_frankel", "implicit", "fsi", "resnet"])
def test_no_attack_goes_beyond_the_guaranteed_psnr(name):
    net = networks.build(name, blocks=2, filters=2, kernel_size=3, flux="perona_malik", seed=1).double()
    lipschitz = certify(net).lipschitz
    f, clean = 0.1 * signals(2), 0.1 * signals(3)

    def psnr(u):
        with torch.no_grad():
            return -10 * np.log10((net(u) - clean).square().mean(-1).numpy())

    for size in (1.0, 20.0):
        radius = size / 255 * LENGTH**0.5
        delta = worst_perturbation(net, f, clean, radius, torch.zeros(1, *f.shape, dtype=f.dtype), steps=10)
        assert (psnr(f + delta) >= guaranteed_psnr(psnr(f), lipschitz, size) - 1e-9).all()
        assert (psnr(f + delta) < psnr(f)).all()


def test_every_scheme_has_its_guarantee_in_words():
    certifiable = {
        name for name in networks.available() if import_module(f"schemenets.networks.{name}").NETWORK.certifiable
    }
    assert {"resnet", "fsi", *certifiable} <= set(GUARANTEES)
    assert all(text for words in GUARANTEES.values() for text in words)
