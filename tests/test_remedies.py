"""Rules for the extrapolation of two-step networks, against NumPy with dense matrices, and what they bound."""

import numpy as np
import pytest
import torch
from dense import correlation_matrix
from scipy.optimize import brentq

from schemenets import checkpoints, files, networks, signals
from schemenets.errors import InvalidParameterError, UnknownNameError
from schemenets.networks import Architecture
from schemenets.operators import norm_bound
from schemenets.stability.remedies import BOUNDED, PLAIN, REMEDIES, own_remedy, with_remedy
from schemenets.study import stages
from schemenets.study.layout import Layout
from schemenets.study.measurements import growth
from schemenets.study.stages import remedies as stage

LENGTH = 24


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def architecture(name, **changes):
    return Architecture(
        **{"name": name, "blocks": 8, "filters": 3, "kernel_size": 3, "flux": "perona_malik", **changes}
    )


def random_signals(*shape, seed=0):
    return torch.randn(*shape, LENGTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(name, **changes):
    """Stacks of two at the limit of explicit steps; every other block turns the sign of rough signals, as in the worst.

    Contrasts are above most responses of the filters, so that little is lost to the flux.
    """
    net = growth.random_network(architecture(name, **changes), [3, 4])
    rough = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64) / 48**0.5
    for index, block in enumerate(net.blocks):
        K = rough + 0.03 * block.K
        turning = index % 2 or net.architecture.tied
        block.K.data = K / norm_bound(K)[:, None, None, None] * (1.0 if turning else 0.1)
        block.lam = torch.full_like(block.lam, 3.0)
    return net


def rough_signals(*shape):
    return random_signals(*shape, seed=1) + 2.0 * (-1.0) ** torch.arange(LENGTH)


def reference(net, f, remedy):
    """The states u^0, ..., u^n in NumPy, the root of ``surface`` by bisection, and how often v was not taken."""
    plain = net.architecture.name.removeprefix("safeguarded_")
    start = previous = u = f
    states, changed = [f], 0
    for k, block in enumerate(net.applied):
        K = correlation_matrix(block.K.detach().numpy(), len(f))
        lam = np.repeat(block.lam.detach().numpy(), len(K) // len(block.K))
        if plain == "fsi":
            tau, s = float(block.tau), (4 * k + 2) / (2 * k + 3) - 1
        else:
            rho = float(block.rho)
            tau, s = 1 / (2 * float(block.alpha)), 2 * rho / (1 + rho) - 1

        def energy(x, K=K, lam=lam):
            return (lam**2 * np.log1p((K @ x / lam) ** 2)).sum() / 2

        x = K @ u
        w = u - tau * K.T @ (x / (1 + (x / lam) ** 2))
        d = w - previous
        v = w + s * d
        R = max(np.linalg.norm(w), np.linalg.norm(start))
        outside = np.linalg.norm(v) > R * (1 + 1e-15)
        acts = {"none": False, "less": True, "energy": energy(v) > energy(u)}.get(remedy, outside) and s > 0
        new = v
        if acts and remedy in ("less", "energy", "restart"):
            new = w
        elif acts and remedy == "projection":
            new = v * R / np.linalg.norm(v)
        elif acts:
            grid = np.linspace(0, s, 1001)  # the last sign change is that of the largest root
            excess = np.array([np.linalg.norm(w + t * d) - R for t in grid])
            last = np.flatnonzero(excess <= 1e-15)[-1]
            new = w + brentq(lambda t: np.linalg.norm(w + t * d) - R, grid[last], grid[last + 1], xtol=1e-15) * d  # noqa: B023
        changed += acts
        previous, u = u, new
        states.append(u)
    return states, changed


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["fsi", "du_fort_frankel", "safeguarded_fsi", "safeguarded_du_fort_frankel"])
@pytest.mark.parametrize("remedy", REMEDIES)
def test_every_rule_is_that_of_numpy_with_dense_matrices(name, tied, remedy):
    stacked = drawn(name, tied=tied)
    f = rough_signals(2, 3)
    found = with_remedy(stacked, remedy)(f)
    for index in range(2):
        one = networks.unstack(stacked, index)
        for row in range(3):
            states, _ = reference(one, f[index, row].numpy(), remedy)
            np.testing.assert_allclose(found[index, row], states[-1], rtol=1e-9, atol=1e-10)
        single = with_remedy(one, remedy)(f[index])
        np.testing.assert_allclose(single, found[index], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("remedy", [remedy for remedy in REMEDIES if remedy != "none"])
def test_every_rule_acts_somewhere(name, remedy):
    """So the agreement with NumPy says something about it."""
    net = networks.unstack(drawn(name), 0)
    assert sum(reference(net, f.numpy(), remedy)[1] for f in rough_signals(3)) > 0


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_one_rule_is_the_plain_network_and_one_the_safeguarded(name, tied):
    f = rough_signals(2, 5)
    for own in (name, f"safeguarded_{name}"):
        net = drawn(own, tied=tied)
        torch.testing.assert_close(with_remedy(net, own_remedy(own))(f), net(f), rtol=1e-12, atol=1e-13)
    plain, safeguarded = drawn(name), drawn(f"safeguarded_{name}")
    for remedy in REMEDIES:  # the same weights from the same seeds
        assert torch.equal(with_remedy(plain, remedy)(f), with_remedy(safeguarded, remedy)(f))
    assert not torch.allclose(plain(f), safeguarded(f))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("remedy", BOUNDED)
def test_states_stay_in_the_ball(name, remedy):
    net = drawn(name, blocks=30)
    assert stage.bound(networks.unstack(net, 0)) == 1
    changed = with_remedy(net, remedy)
    f = rough_signals(2, 6)
    held, free = (growth.through_depth(of, f, f, range(1, 31))[0] for of in (changed, net))
    assert held.max() <= 1 + 1e-12
    assert free.max() > 1.1


def test_the_worst_network_is_held_by_the_ball_but_not_by_the_energy():
    worst = networks.stack([growth.worst_fsi(40)])
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    grown = {remedy: with_remedy(worst, remedy)(one).abs().item() for remedy in REMEDIES}
    assert grown["none"] == pytest.approx(worst(one).abs().item())
    assert grown["none"] > 1e10
    assert grown["energy"] > 10
    assert all(grown[remedy] <= 1 + 1e-12 for remedy in BOUNDED)


@pytest.mark.parametrize("remedy", REMEDIES)
def test_convex_combinations_are_left_alone(remedy):
    net = growth.random_network(architecture("du_fort_frankel", certified=True), [0])
    f = random_signals(1, 4)
    torch.testing.assert_close(with_remedy(net, remedy)(f), net(f), rtol=1e-13, atol=1e-14)


def test_what_is_no_two_step_network_of_one_channel_is_refused():
    with pytest.raises(UnknownNameError, match="two-step network"):
        with_remedy(networks.build(**architecture("symmetric").arguments()), "none")
    with pytest.raises(UnknownNameError, match="remedy"):
        with_remedy(networks.build(**architecture("fsi").arguments()), "more")
    with pytest.raises(InvalidParameterError, match="channels"):
        with_remedy(networks.build(**architecture("fsi", channels=2).arguments()), "none")


def test_bounds_are_products_of_what_explicit_steps_may_add():
    net = networks.build(**architecture("fsi", blocks=3, flux="linear").arguments()).double()
    for block, tau in zip(net.blocks, (1.0, 3.0, 4.0), strict=True):
        block.K.data *= 1 / np.linalg.norm(correlation_matrix(block.K.detach().numpy(), 300), 2)
        block.tau = torch.tensor(tau, dtype=torch.float64)
    assert stage.bound(net) == pytest.approx(2.0 * 3.0, rel=1e-2)  # the norm bound is above that of any length


def test_the_stage_writes_a_row_for_every_rule_and_seed(tmp_path):
    layout, job = Layout(tmp_path), "evolution_4/fsi-perona_malik/blocks-4"
    dataset = layout.dataset("piecewise_affine-10")
    counts = {"train": 8, "validation": 2, "test": 6}
    signals.write({"family": "piecewise_affine", "noise": 10, "length": LENGTH, "seed": 1, **counts}, dataset)
    own = architecture("fsi", blocks=4)
    for seed in (0, 1):
        path = layout.job(job) / f"seed-{seed}.safetensors"
        checkpoints.save(networks.build(**own.arguments(), seed=seed), path)
        files.write_json(path.with_suffix(".json"), {"status": "ok", "checkpoint_sha256": files.sha256(path)})
    spec = {"job": job, "seeds": [0, 1], "architecture": own.arguments(), "dataset": dataset.stem}
    stages.run("remedies", spec | {"starts": 2, "steps": 2}, layout)
    rows = files.read_json(layout.remedies(job))["rows"]
    assert [(row["remedy"], row["seed"]) for row in rows] == [(name, seed) for name in REMEDIES for seed in (0, 1)]
    arrays = signals.read(dataset)
    f, clean = (torch.from_numpy(arrays[f"test/{part}"]).double() for part in ("noisy", "clean"))
    for row in rows:
        net = checkpoints.load(layout.job(f"{row['run']}.safetensors")).double()
        with torch.no_grad():
            u = 255 * with_remedy(net, row["remedy"])(f / 255)
        psnr = 10 * torch.log10(255**2 / (u - clean).square().mean(-1))
        assert row["psnr"] == pytest.approx(psnr.mean().item(), abs=1e-9)
        errors = (u - clean).norm(dim=-1) / clean.norm(dim=-1)
        assert row["relative_error"] == pytest.approx(errors.mean().item(), rel=1e-9)
        assert row["own"] == (row["remedy"] == "none")
        assert row["amplification"] >= (u[:2].norm(dim=-1) / f[:2].norm(dim=-1)).max().item()
        assert (row["bound"] is not None) == (row["remedy"] in BOUNDED)
