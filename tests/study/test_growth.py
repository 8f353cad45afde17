"""What becomes of norms when networks are applied again and again, or have ever more blocks."""

import copy
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trained
from dense import correlation_matrix
from scipy.linalg import svdvals

from schemenets import files, networks, signals
from schemenets.networks import Architecture
from schemenets.stability import certify
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.measurements import growth
from schemenets.study.stages import growth as stage
from schemenets.study.stages import random_growth

LENGTH = 32
NAMES = ["resnet", "symmetric", "fsi", "du_fort_frankel", "implicit"]
CERTIFIED = ["symmetric", "du_fort_frankel"]


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def architecture(name, **changes):
    return Architecture(
        **{"name": name, "blocks": 6, "filters": 3, "kernel_size": 4, "flux": "perona_malik", **changes}
    )


def random_signals(*shape, seed=0):
    return torch.randn(*shape, LENGTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scalar(factor, flux="linear"):
    """A network of one block that multiplies every value by 1 - τ = ``factor``."""
    net = networks.build("symmetric", blocks=1, filters=1, kernel_size=1, flux=flux).double()
    net.blocks[0].K.data.fill_(1.0)
    net.blocks[0].tau = torch.tensor(max(1 - factor, 1e-13), dtype=torch.float64)
    return net


def test_numbers_are_log_spaced_up_to_the_largest():
    assert growth.log_spaced(1) == [1]
    assert growth.log_spaced(10) == [1, 2, 5, 10]
    assert growth.log_spaced(1200) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1200]


def test_repetition_of_scalar_networks_gives_powers_of_their_factors():
    factors = (-1.5, 0.9)
    stacked = networks.stack([scalar(factor) for factor in factors])
    found = growth.repetition(stacked, random_signals(2, 3), [1, 2, 7, 40])
    for index, factor in enumerate(factors):
        for row, n in enumerate([1, 2, 7, 40]):
            np.testing.assert_allclose(found.factors[row, index], abs(factor) ** n, rtol=1e-12)
    assert not found.overflow.any()


def test_repetition_of_linear_networks_moves_signals_apart_by_the_same_factors():
    stacked = networks.stack([scalar(-1.5), scalar(0.9)])
    u, delta = random_signals(2, 3), 1e-3 * random_signals(2, 2, seed=1)
    found = growth.repetition(stacked, u, [1, 40], delta)
    assert found.factors.shape == (2, 2, 3)
    assert found.distances.shape == (2, 2, 2)
    for index, factor in enumerate((1.5, 0.9)):
        for row, n in enumerate((1, 40)):
            np.testing.assert_allclose(found.distances[row, index], factor**n, rtol=1e-9)


def test_distances_of_a_planted_network_are_those_of_its_outputs():
    net = networks.build("resnet", blocks=2, filters=2, kernel_size=3, flux="relu", seed=3).double()
    u, delta = random_signals(1, 2), random_signals(1, 1, seed=1)
    found = growth.repetition(networks.stack([net]), u, [3], delta)
    a, b = u[0, :1], (u + delta)[0, :1]
    with torch.no_grad():
        for _ in range(3):
            a, b = net(a), net(b)
    assert found.distances.item() == pytest.approx(((a - b).norm() / delta.norm()).item(), rel=1e-12)
    lost = growth.repetition(networks.stack([scalar(-4.0)]), u, [2, 1000], delta)
    assert lost.distances[:, 0, 0].tolist() == pytest.approx([16, math.inf])


def test_an_overflow_is_infinite_from_then_on_and_leaves_others_alone():
    """Squares of double precision overflow beyond 2^512, or some bits earlier as many are added."""
    stacked = networks.stack([scalar(-4.0), scalar(0.99)])
    u = torch.ones(2, 1, LENGTH, dtype=torch.float64)
    found = growth.repetition(stacked, u, [100, 300, 1000])
    assert found.factors[0, 0].item() == pytest.approx(4.0**100)
    assert found.factors[1:, 0].tolist() == [[math.inf], [math.inf]]
    assert 250 <= found.overflow[0].item() <= 256
    np.testing.assert_allclose(found.factors[:, 1, 0], [0.99**n for n in (100, 300, 1000)], rtol=1e-10)
    assert found.overflow[1].item() == 0
    alone = growth.repetition(networks.stack([scalar(-4.0)]), u[:1], [2, 9999])
    assert alone.factors[:, 0, 0].tolist() == pytest.approx([16, math.inf])


@pytest.mark.parametrize("name", CERTIFIED)
@pytest.mark.parametrize("flux", ["perona_malik", "relu"])
@pytest.mark.parametrize("tied", [False, True])
def test_certified_networks_never_exceed_their_start(name, flux, tied):
    net = growth.random_network(architecture(name, flux=flux, tied=tied, certified=True, blocks=40), range(3))
    u = torch.cat([size * random_signals(3, 2) for size in (1e-2, 1.0)], dim=1)
    assert growth.repetition(net, u, range(1, 30)).factors.max() <= 1 + 1e-12
    assert growth.through_depth(net, u, 1e-4 * u, range(1, 41))[0].max() <= 1 + 1e-12


def test_a_planted_residual_network_grows_as_planted():
    """u + max(u, 0) doubles positive signals and leaves negative ones alone."""
    net = networks.build("resnet", blocks=3, filters=1, kernel_size=1, flux="relu").double()
    for block in net.blocks:
        block.W1.data.fill_(1.0)
        block.W2.data.fill_(1.0)
    u = random_signals(1, 2).abs() * torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None]
    stacked = networks.stack([net])
    assert growth.repetition(stacked, u, [1, 4]).factors[:, 0].tolist() == [[8, 1], [8**4, 1]]
    amplification, expansion = growth.through_depth(stacked, u, 0.1 * u, [1, 2, 3])
    np.testing.assert_allclose(amplification[:, 0], [[2, 1], [4, 1], [8, 1]], rtol=1e-12)
    np.testing.assert_allclose(expansion[:, 0], [[2, 1], [4, 1], [8, 1]], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_truncated_networks_are_networks_built_small(name, tied, blocks):
    deep = networks.build(**architecture(name, tied=tied).arguments(), seed=3).double()
    small = networks.build(**architecture(name, tied=tied, blocks=blocks).arguments(), seed=4).double()
    small.load_state_dict({key: value for key, value in deep.state_dict().items() if key in small.state_dict()})
    short = growth.truncated(deep, blocks)
    u = random_signals(5)
    assert short.architecture == small.architecture
    assert torch.equal(short(u), small(u))
    assert not torch.equal(short(u), deep(u))
    assert deep.architecture.blocks == 6
    assert len(deep.blocks) == (1 if tied or name == "implicit" else 6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tied", [False, True])
def test_growth_through_linear_networks_is_that_of_their_dense_matrices(name, tied):
    net = growth.random_network(architecture(name, flux="linear", tied=tied), [1, 2], step=1.5)
    u, delta = random_signals(2, 3), random_signals(2, 3, seed=1)
    amplification, expansion = growth.through_depth(net, u, delta, [2, 6])
    for index in range(2):
        for row, blocks in enumerate([2, 6]):
            one = networks.unstack(growth.truncated(net, blocks), index)
            matrix = one(torch.eye(LENGTH, dtype=torch.float64)).numpy().T  # of a linear map, column by column
            for found, x in ((amplification, u), (expansion, delta)):
                x = x[index].numpy()
                expected = np.linalg.norm(x @ matrix.T, axis=-1) / np.linalg.norm(x, axis=-1)
                np.testing.assert_allclose(found[row, index], expected, rtol=1e-9)
                assert found[row, index].max() <= svdvals(matrix)[0] * (1 + 1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [1.0, 1.5])
def test_random_networks_are_at_the_edge_of_their_step_sizes(name, step):
    seeds = (4, 5)
    net = growth.random_network(architecture(name, flux="weickert"), seeds, step)
    drawn = []
    for index in range(len(seeds)):
        one = networks.unstack(net, index)
        for block, bounds in zip(one.applied, certify(one).blocks, strict=True):
            filters = [W.detach().numpy() for key in ("K", "W1", "W2") if (W := getattr(block, key, None)) is not None]
            norms = [np.linalg.norm(correlation_matrix(W, 400), 2) for W in filters]
            assert norms[0] == pytest.approx(1, rel=2e-2)  # the norm bound is not attained by signals of this length
            assert norms[0] <= 1
            np.testing.assert_allclose(filters[0].sum(-1), 0, atol=1e-14)
            if name == "resnet":
                assert norms[1] == pytest.approx(2 * step, rel=2e-2)
            elif name == "du_fort_frankel":  # 2τα = 4 and 1/(2α) = step · 2/L
                assert bounds.step_margin == pytest.approx(1 - 4, abs=1e-5)
                assert 1 / (2 * block.alpha.item()) == pytest.approx(step * 2 / block.flux.L, rel=1e-5)
            else:
                assert bounds.step_margin == pytest.approx(1 - step, abs=1e-5)
            drawn.append(filters[0].tobytes())
    assert len(set(drawn)) == (2 if name == "implicit" else 12)


@pytest.mark.parametrize("name", [*CERTIFIED, "implicit"])
def test_random_certified_networks_are_at_the_limits_of_their_constraints(name):
    net = networks.unstack(growth.random_network(architecture(name, certified=True), [0, 1]), 1)
    certificate = certify(net)
    assert certificate.holds
    assert all(0 <= block.step_margin <= 0.0101 for block in certificate.blocks)
    if name == "du_fort_frankel":
        assert all(block.rho > 0.999 for block in net.blocks)


def test_random_networks_of_fewer_blocks_are_their_beginnings():
    small, large = (growth.random_network(architecture("fsi", blocks=blocks), [7]) for blocks in (2, 6))
    for a, b in zip(small.blocks, large.blocks, strict=False):
        assert torch.equal(a.K, b.K)


def test_the_worst_fsi_network_grows_like_its_bound():
    """(1+√2)^{n+1}/(4n+2) but for ((1-√2)/(1+√2))^{n+1}; no block amplifies by itself."""
    net = networks.stack([growth.worst_fsi(60)])
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    amplification, _ = growth.through_depth(net, one, one, [1, 2, 3, 60])
    assert amplification[:3, 0, 0].tolist() == pytest.approx([1, 7 / 5, 17 / 7])
    assert amplification[3, 0, 0].item() == pytest.approx((1 + math.sqrt(2)) ** 61 / 242)
    plain = networks.build("symmetric", blocks=60, filters=1, kernel_size=1, flux="linear").double()
    plain.load_state_dict(growth.worst_fsi(60).state_dict())
    assert plain(one[0]).abs().item() == pytest.approx(1)
    assert certify(growth.worst_fsi(4)).failed == ["shared weights"]


@pytest.mark.parametrize("name", [*NAMES, "safeguarded_fsi", "feedforward"])
def test_signals_are_followed_through_the_blocks_of_trained_networks_as_they_are(name):
    """Against networks that are built with fewer blocks, one after the other; and within their bounds."""
    nets = [networks.build(**architecture(name, blocks=4).arguments(), seed=seed) for seed in (0, 1)]
    for net in nets:
        for parameter in net.parameters():
            parameter.data *= 3  # blocks that change something
    u = random_signals(3)
    entries = list(stage.followed(networks.stack(nets).double().requires_grad_(False), [5, 6], u))
    assert [entry["seed"] for entry in entries] == [5, 6]
    for net, entry in zip(nets, entries, strict=True):
        found = []
        for blocks in (1, 2, 3, 4):
            small = networks.build(**architecture(name, blocks=blocks).arguments())
            small.load_state_dict({key: value for key, value in net.state_dict().items() if key in small.state_dict()})
            with torch.no_grad():
                output = small.double()(u)
            found.append((output.norm(dim=-1) / u.norm(dim=-1)).max().item())
            assert entry["bounds"][blocks - 1] == certify(small).euclidean
        assert entry["amplification"] == pytest.approx(found, rel=1e-12)
        for value, bound in zip(entry["amplification"], entry["bounds"], strict=True):
            assert bound is None or value <= bound * (1 + 1e-12)
    assert entries[0]["amplification"] != entries[1]["amplification"]


def test_signals_are_followed_through_the_blocks_of_linear_networks():
    """Blocks that multiply by -3/2, 1/2 and -3."""
    net = networks.build("symmetric", blocks=3, filters=1, kernel_size=1, flux="linear").double()
    for block, factor in zip(net.blocks, (-1.5, 0.5, -3.0), strict=True):
        block.K.data.fill_(1.0)
        block.tau = torch.tensor(max(1 - factor, 1e-13), dtype=torch.float64)
    (entry,) = stage.followed(networks.stack([net]), [0], random_signals(2))
    assert entry["amplification"] == pytest.approx([1.5, 0.75, 2.25], rel=1e-12)
    assert entry["bounds"] == pytest.approx([1.5, 1.5, 4.5], rel=1e-12)


NETWORKS = ["resnet", "fsi", "symmetric"]
JOB = "factorial/symmetric-relu/blocks-4"
ROOT = Path(__file__).parents[2]


def drawn(depths):
    """Specifications of random networks, for these depths."""
    config = copy.deepcopy(Study.load(ROOT, "smoke").config)
    config["network"] = {"filters": 2, "kernel_size": 3}
    config["signals"]["length"] = LENGTH
    config["stability"] |= {"fluxes": ["relu"]}
    config["tiers"]["smoke"]["stability"] |= {"depths": depths, "networks": NETWORKS}
    return Study(config).specs("random_growth")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Records of two trained networks, the second of which multiplies by -3, and of random ones."""
    layout = Layout(tmp_path_factory.mktemp("results"))
    dataset = "piecewise_affine-10"
    sizes = {"train": 8, "validation": 2, "test": 6}
    spec = {"family": "piecewise_affine", "noise": 10, "length": LENGTH, "seed": 1, **sizes}
    signals.write(spec, layout.dataset(dataset))
    trained.write(layout, JOB, {seed: scalar(factor).float() for seed, factor in ((0, 0.5), (7, -3.0))})
    of_job = {"job": JOB, "dataset": dataset, "architecture": scalar(1.0).architecture.arguments(), "repetitions": 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEMENETS_KERNEL", "reference")
        stages.run("growth", JOB, of_job, layout)
        for name, spec in drawn([1, 2, 5]).items():
            stages.run("random_growth", name, spec, layout)
    random = {name: files.read_json(layout.file("random_growth", name, "growth")) for name in NETWORKS}
    return files.read_json(layout.file("growth", JOB, "growth")), random


def test_the_stage_writes_powers_of_trained_networks(written):
    content, _ = written
    assert content["repetitions"] == [1, 2, 5, 10, 20]
    by = {(entry["seed"], entry["start"]): entry for entry in content["repetition"]}
    for start in ("test", "random"):
        for seed, factor in ((0, 0.5), (7, 3.0)):
            entry = by[seed, start]
            assert entry["amplification"] == pytest.approx([factor**n for n in (1, 2, 5, 10, 20)], rel=1e-5)
            assert entry["overflow"] is None
            if start == "test":
                assert entry["perturbation"] == pytest.approx([factor**n for n in (1, 2, 5, 10, 20)], rel=1e-5)
            else:
                assert entry["perturbation"] is None


def test_the_stage_follows_signals_through_trained_networks(written):
    content, _ = written
    assert content["depths"] == [1]
    for entry, (seed, factor) in zip(content["followed"], ((0, 0.5), (7, 3.0)), strict=True):
        assert entry["seed"] == seed
        assert entry["amplification"] == pytest.approx([factor], rel=1e-6)
        assert entry["bounds"] == pytest.approx([max(1, factor)], rel=1e-6)


def test_networks_that_are_not_repeated_are_followed_all_the_same():
    record = {"repetitions": [], "repetition": [], "depths": [1, 2], "followed": []}
    followed = {"seed": 3, "bounds": [1.0, None], "amplification": [0.5, None]}
    rows = stage.tables({JOB: record | {"followed": [followed]}})["growth"]
    of_run = {"run": f"{JOB}/seed-3", "method": "symmetric-relu", "start": "test", "seed": 3}
    depth = {"kind": "trained_depth", **of_run}
    assert rows == [
        {**depth, "bound": 1.0, "n": 1, "amplification": 0.5, "overflow": False},
        {**depth, "bound": None, "n": 2, "amplification": None, "overflow": True},
    ]


def test_the_stage_draws_every_network_that_can_be_built(written):
    _, random = written
    entries = [entry for content in random.values() for entry in content["depth"]]
    kinds = {(entry["name"], entry["tied"], entry["certified"], entry["step"]) for entry in entries}
    both = [False, True]
    assert kinds == {
        *((name, tied, False, step) for name in NETWORKS for tied in both for step in (1.0, 1.5)),
        *(("symmetric", tied, True, 1.0) for tied in both),
    }
    certified = [entry for entry in entries if entry["certified"]]
    assert all(entry["bounds"] == pytest.approx([1, 1, 1]) for entry in certified)
    assert all(max(entry["amplification"]) <= 1 + 1e-12 for entry in certified)
    (worst,) = [entry for entry in entries if entry["seed"] is None]
    assert worst["amplification"] == pytest.approx([1, 7 / 5, 99 / 11])
    assert all(min(entry["perturbation"]) > 0 for entry in entries)


def test_networks_of_one_kind_do_not_hang_on_others_and_fewer_depths_give_the_same(written):
    _, random = written
    for name, spec in drawn([1, 2]).items():
        for entry, again in zip(random[name]["depth"], random_growth.behind_all_blocks(spec), strict=True):
            for key in ("amplification", "perturbation"):
                assert entry[key][:2] == pytest.approx(again[key], rel=1e-9)


def test_the_table_has_one_row_per_network_quantity_and_number(written):
    repeated, random = written
    first, *others = repeated["repetition"]
    overflowed = {**first, "amplification": [*first["amplification"][:-1], None]}
    rows = stage.tables({JOB: {**repeated, "repetition": [overflowed, *others]}})["growth"]
    assert sum(row["kind"] == "repetition" for row in rows) == 2 * 2 * 5
    assert sum(row["kind"] == "repeated_perturbation" for row in rows) == 2 * 5
    assert rows[4] | {"method": "symmetric-relu", "n": 20, "amplification": None, "overflow": True} == rows[4]
    rows = random_growth.tables(random)["growth"]
    networks_drawn = sum(len(content["depth"]) for content in random.values())
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in ("depth", "perturbation")}
    assert counts == {"depth": 3 * networks_drawn, "perturbation": 3 * networks_drawn}
    assert len(rows) == sum(counts.values())
    assert sum("bound" in row and row["bound"] is not None for row in rows) == 3 * 2 * 2


@pytest.mark.parametrize("tier", ["smoke", "study", "extended"])
def test_networks_of_one_size_are_repeated_and_deep_evolutions_followed(tier):
    study = Study.load(ROOT, tier)
    found = study.specs("growth")
    deep = {job for job in study.denoisers if re.fullmatch(r"evolution_16/.*/blocks-(8|16)", job)}
    repeated = {job for job in study.denoisers if re.fullmatch(r"(ladder|evolution_16)/.*/blocks-4", job)}
    assert repeated
    assert bool(deep) == (tier != "smoke")
    assert {job for job, spec in found.items() if spec["repetitions"]} == repeated
    assert {job for job, spec in found.items() if not spec["repetitions"]} == deep


@pytest.mark.parametrize("tier", ["smoke", "study"])
def test_random_networks_of_a_job_have_one_name_and_every_flux(tier):
    study = Study.load(ROOT, tier)
    assert list(study.specs("random_growth")) == study.settings["stability"]["networks"]
    for name, spec in study.specs("random_growth").items():
        fluxes = {entry["architecture"]["flux"] for entry in spec["networks"]}
        assert {entry["architecture"]["name"] for entry in spec["networks"]} == {name}
        assert fluxes == {*study.config["stability"]["fluxes"], *(["linear"] if name == "fsi" else [])}
