"""Fixed-point iterations of implicit networks, against dense matrices and networks whose iterations are known."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trained
from dense import correlation_matrix

from schemenets import files, fluxes, networks, signals
from schemenets.stability import certify
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.measurements import fixed_points
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.stages import fixed_points as stage

NONNEGATIVE = [name for name in fluxes.available() if fluxes.get(name).nonnegative]
LENGTH = 20


@pytest.fixture(autouse=True)
def plain_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")  # compiling takes longer than all of this


def scalar(a, iterations=4):
    """u ↦ f - a u: linear flux, one filter of length 1, τK² = a."""
    net = networks.build("implicit", blocks=iterations, filters=1, kernel_size=1, flux="linear").double()
    with torch.no_grad():
        net.blocks[0].K.fill_(2.0)
        net.blocks[0].tau = torch.tensor(a / 4, dtype=torch.float64)
    return net


def randomised(net, scale=0.3):
    """The network in float64 with all parameters moved away from their initial values."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.double().parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def f(batch=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((batch, LENGTH)).cumsum(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_residuals_are_those_of_dense_matrices(channels):
    size = {"blocks": 2, "filters": 3, "kernel_size": 4, "channels": channels}
    net = randomised(networks.build("implicit", **size, flux="charbonnier"))
    block = net.blocks[0]
    K, tau = correlation_matrix(block.K.detach().numpy(), LENGTH), block.tau.item()
    lam = np.repeat(block.lam.detach().numpy(), LENGTH - 3)
    start = np.kron(net.lift.detach().numpy() if channels > 1 else [1.0], f(1)[0].numpy())

    def residual(u):
        s = K @ u
        return start - tau * K.T @ (s / np.sqrt(1 + (s / lam) ** 2)) - u

    u, expected = start, []
    for _ in range(6):
        expected.append(np.linalg.norm(residual(u)))
        u = u + residual(u)
    found = fixed_points.relative_residuals(net, f(1), tolerance=0, limit=5)
    np.testing.assert_allclose(found[:, 0].numpy(), np.array(expected) / expected[0], rtol=1e-10)


@pytest.mark.parametrize("flux", NONNEGATIVE)
def test_residuals_fall_at_least_at_the_certified_rate(flux):
    net = randomised(networks.build("implicit", blocks=3, filters=4, kernel_size=5, flux=flux, certified=True))
    q = 1 - certify(net).blocks[0].step_margin
    assert 0.1 < q < 1
    residuals = fixed_points.relative_residuals(net, f(), tolerance=1e-9, limit=500)
    assert (residuals <= q ** torch.arange(len(residuals))[:, None] * (1 + 1e-6)).all()
    assert fixed_points.observed_rate(1e-9, residuals) <= q
    for tolerance in (1e-2, 1e-9):
        taken = fixed_points.iterations_to(tolerance, residuals)
        assert 0 < taken <= fixed_points.allowed_iterations(tolerance, q)


@pytest.mark.parametrize("a", [0.3, 0.5, 0.9])
def test_the_rate_is_attained(a):
    """The residual of u ↦ f - a u is reduced by a exactly; allowed is what the rate needs, and not one more."""
    net = scalar(a)
    assert 1 - certify(net).blocks[0].step_margin == pytest.approx(a, rel=1e-12)
    residuals = fixed_points.relative_residuals(net, f(), tolerance=1e-5, limit=1000)
    taken = fixed_points.iterations_to(1e-5, residuals)
    assert a**taken <= 1e-5 < a ** (taken - 1)
    assert fixed_points.allowed_iterations(1e-5, a) == taken
    assert fixed_points.observed_rate(1e-5, residuals) == pytest.approx(a, rel=1e-9)


def test_a_rate_beyond_1_allows_nothing_and_need_not_converge():
    net = scalar(1.25)
    residuals = fixed_points.relative_residuals(net, f(), tolerance=1e-5, limit=30)
    assert len(residuals) == 31
    assert residuals[-1].tolist() == pytest.approx([1.25**30] * 3)
    assert fixed_points.iterations_to(1e-5, residuals) is None
    assert fixed_points.observed_rate(1e-5, residuals) == pytest.approx(1.25)
    assert [fixed_points.allowed_iterations(1e-5, q) for q in (1.0, 1.25, math.nan)] == [None] * 3


def test_the_slowest_signal_counts():
    residuals = torch.tensor([[1.0, 1.0, 0.0], [0.01, 0.9, 0.0], [0.5, 0.1, 0.0], [0.001, 0.01, 0.0]])
    assert fixed_points.iterations_to(0.1, residuals) == 2
    assert fixed_points.iterations_to(0.01, residuals) == 3
    assert fixed_points.iterations_to(0.005, residuals) is None
    assert fixed_points.observed_rate(0.1, residuals) == pytest.approx(0.1**0.5)
    assert fixed_points.observed_rate(0.001, residuals) == pytest.approx(0.01 ** (1 / 3))
    assert fixed_points.observed_rate(0.1, residuals[:, 2:]) is None


def test_a_signal_that_is_a_fixed_point_needs_no_iteration():
    residuals = fixed_points.relative_residuals(scalar(0.5), torch.zeros(2, LENGTH), tolerance=1e-5, limit=10)
    assert residuals.tolist() == [[0.0, 0.0]]
    assert fixed_points.iterations_to(1e-5, residuals) == 0


@pytest.mark.parametrize("iterations", [1, 2, 5, 40])
def test_gradients_differ_by_what_the_iteration_lacks(iterations):
    """u^n = f Σ (-a)^j, and the implicit derivative of it by a is -u^{n-1}/(1+a) instead of -Σ j (-a)^{j-1} f."""
    a, n = 0.4, iterations
    unrolled = -sum(j * (-a) ** (j - 1) for j in range(1, n + 1))
    implicit = -sum((-a) ** j for j in range(n)) / (1 + a)
    found = fixed_points.gradient_difference(scalar(a), f(), torch.zeros(3, LENGTH), n)
    assert found == pytest.approx(abs(implicit / unrolled - 1), rel=1e-6, abs=1e-12)


def test_gradients_that_are_not_finite_are_nan():
    assert math.isnan(fixed_points.gradient_difference(scalar(1.5), f(), f(), 5000))


def test_memory_counts_every_storage_once():
    v, w = (torch.ones(8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    # f for both products, and the sum for its square
    assert fixed_points.saved_bytes(lambda f: f * v + f * w, torch.ones(1, 8, dtype=torch.float64)) == 2 * 8 * 8


def test_memory_of_unrolled_gradients_grows_with_every_iteration_and_that_of_implicit_ones_does_not(monkeypatch):
    """Whatever the kernel: that of compiled loops, which compute states again, would not."""
    monkeypatch.delenv("SCHEMENETS_KERNEL")
    net, found = networks.build("implicit", blocks=1, filters=2, kernel_size=3, flux="perona_malik"), {}
    for implicit in (False, True):
        for iterations in (4, 8, 16):
            deep = fixed_points.at_depth(net, iterations)
            deep.implicit_gradients = implicit
            found[implicit, iterations] = fixed_points.saved_bytes(deep, f().float())
    assert found[True, 4] == found[True, 8] == found[True, 16]
    assert found[False, 16] - found[False, 8] == 2 * (found[False, 8] - found[False, 4])
    assert (found[False, 8] - found[False, 4]) / 4 >= 3 * LENGTH * 4  # a state per iteration, at least


def test_seconds_are_the_least_of_all_rounds(monkeypatch):
    clock = iter([0, 3, 10, 11, 20, 22, 30, 34])  # a: 3, b: 1, a: 2, b: 4
    monkeypatch.setattr(fixed_points.time, "perf_counter", lambda: next(clock))
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in "ab"}
    assert fixed_points.least_seconds(contenders, rounds=2) == {"a": 2, "b": 1}
    assert calls == ["a", "b"] * 3


def test_the_stage_writes_every_network_and_the_costs_of_each_method_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "DEPTHS", (2, 4))
    monkeypatch.setattr(stage, "ROUNDS", 1)
    results, dataset = Layout(tmp_path), "piecewise_affine-10"
    sizes = {"train": 4, "validation": 4, "test": 3}
    signals.write(
        {"family": "piecewise_affine", "noise": 10, "length": 64, "seed": 1, **sizes}, results.dataset(dataset)
    )
    entries = []
    for blocks in (2, 3):
        for method, a in (("converges", 0.5), ("diverges", 1.5)):
            job = f"e/{method}/blocks-{blocks}"
            net = scalar(a, blocks).float()
            trained.write(results, job, {7: net})
            architecture = net.architecture.arguments()
            entries.append({"job": job, "method": method, "architecture": architecture, "dataset": dataset})
    stages.run("fixed_points", "all", {"networks": entries}, results)
    written = files.read_json(results.file("fixed_points", "all", "fixed_points"))
    assert [(entry["job"], entry["seed"]) for entry in written["networks"]] == [(each["job"], 7) for each in entries]
    good, bad = written["networks"][:2]
    assert good["rate"] == pytest.approx(0.5, rel=1e-6)
    for step in good["steps"]:
        taken = math.ceil(math.log2(1 / step["tolerance"]))
        assert step["iterations"] == taken
        assert step["allowed_iterations"] in (taken, taken + 1)  # the rate in single precision is not quite 1/2
    assert (good["certified"], good["signals"], good["signals_converged"]) == (True, 3, 3)
    assert 0 <= good["gradient_difference"] < 1e-12
    assert (bad["certified"], bad["signals_converged"], bad["gradient_difference"]) == (False, 0, None)
    assert {(step["iterations"], step["allowed_iterations"]) for step in bad["steps"]} == {(None, None)}
    measured = [f"e/{method}/blocks-2" for method in ("converges", "diverges")]
    assert [cost["job"] for cost in written["costs"]] == [job for job in measured for _ in range(4)]
    assert {(cost["iterations"], cost["gradients"], cost["parameters"]) for cost in written["costs"]} == {
        (n, kind, 2) for n in (2, 4) for kind in ("implicit", "unrolled")
    }
    tables = stage.tables({"all": written})
    assert {name: len(rows) for name, rows in tables.items()} == {"fixed_points": 4 * 9, "fixed_point_costs": 2 * 4}
    assert all(set(row) == set(stage.TABLES[name]) for name, rows in tables.items() for row in rows)


def test_the_fingerprint_holds_the_fluxes_of_all_networks():
    (spec,) = Study.load(Path(__file__).parents[2], "smoke").specs("fixed_points").values()
    assert {entry["architecture"]["flux"] for entry in spec["networks"]} == {"perona_malik"}
    other = {**spec["networks"][0], "architecture": spec["networks"][0]["architecture"] | {"flux": "relu"}}
    assert of_stage("fixed_points", spec) == of_stage("fixed_points", {"networks": spec["networks"][:1]})
    assert of_stage("fixed_points", spec) != of_stage("fixed_points", {"networks": [*spec["networks"], other]})
