"""Operations, iterations to a tolerance, and training of networks that solve."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from flop_formulas import of_cycle, of_network, of_sweep
from torch import nn

from schemenets import networks, training
from schemenets.errors import CheckpointError, InvalidParameterError, UnknownNameError
from schemenets.evaluation import relative_errors
from schemenets.multigrid import CycleArchitecture, Problem, Solving, iterate
from schemenets.networks import Architecture
from schemenets.study.measurements.flops import _Counter, counted, of_flux, of_residual
from schemenets.training import Training, fit

CHARBONNIER = Problem(tau=5.0, flux="charbonnier", contrast=0.1, extent=32.0)


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


# Operations


@pytest.mark.parametrize(
    "problem",
    [
        Problem(tau=1.0),
        Problem(tau=1.0, screened=False),
        Problem(tau=1.0, order=2),
        Problem(tau=1.0, flux="charbonnier"),
        Problem(tau=1.0, flux="perona_malik", order=2),
        Problem(tau=1.0, flux="weickert"),
    ],
    ids=["linear", "poisson", "linear-2", "charbonnier", "perona_malik-2", "weickert"],
)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"filters": 0, "transfers": "fixed"},
        {"filters": 8, "kernel_size": 7, "flux": "relu", "sweeps": 2},
        {"flux": "exponential_perona_malik"},
        {"flux": "fab", "cycles": 3},
        {"flux": "tv_regularised"},
        {"skip": "concatenated"},
        {"coarse_side": "restricted"},
    ],
    ids=str,
)
def test_the_formula_is_what_is_counted(problem, arguments):
    architecture = CycleArchitecture(problem=problem, **arguments)
    N = 1024 - (not problem.screened)
    formula = architecture.cycles * of_cycle(architecture, problem.on(N))
    assert formula == pytest.approx(counted(architecture.build(), N), rel=0.05)


@pytest.mark.parametrize("kind", ["W", "F"])
def test_the_formula_for_cycles_that_are_often_on_coarse_grids(kind):
    """Of the many operations on few points the formula knows the leading order only, which is nearly all of them."""
    architecture = CycleArchitecture(problem=CHARBONNIER, kind=kind)
    assert of_cycle(architecture, CHARBONNIER.on(256)) == pytest.approx(counted(architecture.build(), 256), rel=0.05)


@pytest.mark.parametrize("N", [64, 100, 255, 256])
@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "unet", "blocks": 4, "filters": 4, "kernel_size": 3, "flux": "relu"},
        {"name": "unet", "blocks": 1, "filters": 2, "kernel_size": 3, "flux": "relu"},
        {"name": "unet", "blocks": 3, "filters": 3, "kernel_size": 5, "flux": "charbonnier"},
        {"name": "multigrid_unet", "blocks": 1, "filters": 4, "kernel_size": 5, "flux": "charbonnier"},
        {"name": "multigrid_unet", "blocks": 3, "filters": 2, "kernel_size": 3, "flux": "relu"},
        {"name": "multigrid_unet", "blocks": 1, "filters": 1, "kernel_size": 2, "flux": "linear"},
    ],
    ids=str,
)
def test_the_formula_for_other_networks_is_what_is_counted(arguments, N):
    architecture = Architecture(**arguments)
    assert of_network(architecture, N) == counted(networks.build(**architecture.arguments()), N)


@pytest.mark.parametrize("name", [name for name in networks.available() if "safeguarded" not in name])
def test_twice_the_blocks_take_twice_the_operations(name):
    """But for what is there once."""
    arguments = {"filters": 2, "kernel_size": 3, "flux": "charbonnier"}
    one, two, four = (counted(networks.build(name, **arguments, blocks=blocks), 64) for blocks in (1, 2, 4))
    assert 0 < one < two < four
    if name != "unet":
        assert four - two == pytest.approx(2 * (two - one), rel=0.05)


def test_there_is_no_formula_for_networks_that_do_not_solve():
    with pytest.raises(UnknownNameError, match="multigrid_unet, unet"):
        of_network(Architecture(name="resnet", blocks=1, filters=2, kernel_size=3, flux="relu"), 64)


def test_v_cycles_cost_at_most_twice_what_the_finest_grid_does():
    architecture = CycleArchitecture(problem=CHARBONNIER)
    for N in (64, 1024):
        finest = of_cycle(architecture, CHARBONNIER.on(N)) - of_cycle(architecture, CHARBONNIER.on(N).coarser)
        assert finest > of_cycle(architecture, CHARBONNIER.on(N)) / 2 - 8 * of_sweep(architecture, 1)


class Countable(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 5))

    def forward(self, u):
        v = u @ self.weight.T  # 2·5·3
        v = torch.relu(v) + self.weight.exp().sum()  # 2·3, and what is there once for all signals
        return v.sum(-1).sqrt()  # 3 and 1


def test_operations_counted_by_hand():
    assert counted(Countable(), 5) == 30 + 6 + 3 + 1


COST = {
    "linear": 0,
    "relu": 1,
    "charbonnier": 4,
    "tv_regularised": 4,
    "perona_malik": 3,
    "exponential_perona_malik": 4,
    "weickert": 9,
    "fab": 9,
}  # of φ, by hand


def test_operations_of_every_flux():
    assert {name: of_flux(name) for name in COST} == COST


def test_an_operation_of_unknown_cost_is_an_error():
    class Unknown(nn.Module):
        def forward(self, u):
            return torch.special.bessel_j0(u)

    with pytest.raises(InvalidParameterError, match=r"bessel_j0.* whose cost is known"):
        counted(Unknown(), 4)


def test_counting_leaves_the_environment_as_it_was(monkeypatch):
    for before in ("fused", None):
        monkeypatch.delenv("SCHEMENETS_KERNEL") if before is None else monkeypatch.setenv("SCHEMENETS_KERNEL", before)
        counted(CycleArchitecture(problem=CHARBONNIER).build(), 8)
        assert os.environ.get("SCHEMENETS_KERNEL") == before


def test_operations_of_residuals_by_hand():
    """For every point two differences, 1/h twice, τ, b - A(x), and x + ... if the problem is screened."""
    for screened in (True, False):
        problem, x = Problem(tau=1.0, screened=screened), torch.ones(1, 1000)
        assert of_residual(problem) == 6 + screened
        with _Counter() as counter:
            _ = x - problem.on(1000)(x)
        assert counter.total == pytest.approx(6000 + 1000 * screened, rel=0.01)


# Iterations

IDENTITY = Problem(tau=1e-12, extent=16.0)  # A(x) = x up to rounding


def shrink(factor):
    """x ↦ b + factor (x - b): for A = I the residual falls by that factor."""
    return lambda x, b: b + factor * (x - b)


def test_the_factor_and_the_number_of_iterations_of_a_linear_iteration():
    grid, b = IDENTITY.on(16), torch.ones(3, 16, dtype=torch.float64)
    x = torch.stack((b[0], b[0] + 1, b[0] + 1e-3))
    found = iterate(shrink(0.5), grid, b, x, tolerance=1e-6)
    # 2⁻²⁰ < 10⁻⁶ < 2⁻¹⁹; relative residuals of the starts are 0, 1 and 10⁻³
    assert found.iterations.tolist() == [0, 20, 10]
    assert found.factor.tolist() == pytest.approx([0, 0.5, 0.5], rel=1e-4)
    assert found.residuals.shape == (21, 3)
    assert found.residuals[0].tolist() == pytest.approx([0.0, 1.0, 1e-3], abs=1e-10)
    torch.testing.assert_close(found.x, b + 2.0**-20 * (x - b), rtol=0, atol=1e-15)


def test_the_factor_is_that_of_the_long_run():
    """Fast first, slow then: over the second half of the iterations only the slow one is left."""
    grid, b = IDENTITY.on(16), torch.ones(1, 16, dtype=torch.float64)
    factors = torch.full((16,), 0.1, dtype=torch.float64)
    factors[0] = 0.7
    found = iterate(lambda x, b: b + factors * (x - b), grid, b, 0 * b, tolerance=1e-8)
    assert found.factor.item() == pytest.approx(0.7, rel=1e-3)


def test_what_is_not_reached_is_no_number():
    grid, b = IDENTITY.on(16), torch.ones(2, 16, dtype=torch.float64)
    found = iterate(shrink(0.5), grid, b, torch.stack((b[0] * 0, b[0] + 1e-3)), tolerance=1e-6, limit=12)
    np.testing.assert_equal(found.iterations.tolist(), [math.nan, 10])
    assert len(found.residuals) == 13
    none = iterate(shrink(0.5), grid, b, 0 * b, limit=0)
    assert none.iterations.isnan().all()
    assert none.factor.tolist() == [0, 0]
    assert torch.equal(none.x, 0 * b)


@pytest.mark.parametrize("factor", [100.0, math.nan])
def test_iterations_that_diverge_end_early(factor):
    grid, b = IDENTITY.on(16), torch.ones(1, 16, dtype=torch.float64)
    found = iterate(shrink(factor), grid, b, 0 * b)
    assert len(found.residuals) <= 5
    assert found.iterations.isnan().all()
    assert found.factor.tolist() == [math.inf]


@pytest.mark.parametrize("factor", [100.0, math.nan])
def test_one_that_diverges_does_not_end_the_others(factor):
    grid, b = IDENTITY.on(16), torch.ones(2, 1, 16, dtype=torch.float64)
    factors = torch.tensor([factor, 0.5], dtype=torch.float64)[:, None, None]
    found = iterate(shrink(factors), grid, b, 0 * b, tolerance=1e-6)
    np.testing.assert_equal(found.iterations.tolist(), [[math.nan], [20]])
    assert found.factor.flatten().tolist() == pytest.approx([math.inf, 0.5], rel=1e-4)
    assert found.residuals[-1, 0, 0] == math.inf


def test_a_cycle_iterated_to_tolerance_solves():
    network = CycleArchitecture(problem=CHARBONNIER).build().double()
    b = torch.rand(3, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = iterate(network.cycle, CHARBONNIER.on(32), b, b, tolerance=1e-10)
    assert found.iterations.isfinite().all()
    for x, side in zip(found.x, b, strict=True):
        np.testing.assert_allclose(x.numpy(), CHARBONNIER.on(32).solve(side.numpy()), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 2.0**-11.5)], ids=str)
@pytest.mark.parametrize("problem", [CHARBONNIER, Problem(tau=100.0)], ids=["charbonnier", "linear"])
def test_the_tolerance_that_is_not_given_can_be_reached_in_the_precision(problem, dtype, tolerance):
    network = CycleArchitecture(problem=problem, filters=0, sweeps=2).build().to(dtype)
    b = torch.rand(3, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    found = iterate(network.cycle, problem.on(256), b, b)
    assert found.tolerance == tolerance
    assert found.iterations.isfinite().all()
    assert (found.residuals[-1] <= tolerance).all()


def test_iterations_that_are_not_possible():
    grid, b = IDENTITY.on(16), torch.ones(1, 16, dtype=torch.float64)
    for tolerance in (0.0, -1.0, math.nan):
        with pytest.raises(InvalidParameterError, match=r"tolerance: got .* at least 2\.2e-16, the precision of"):
            iterate(shrink(0.5), grid, b, b, tolerance=tolerance)
    with pytest.raises(InvalidParameterError, match=r"limit: got -1, expected .*at least 0"):
        iterate(shrink(0.5), grid, b, b, limit=-1)
    with pytest.raises(InvalidParameterError, match=r"b: got 'zeros', expected .*other than zero"):
        iterate(shrink(0.5), grid, 0 * b, b)
    for pair in ((b * math.nan, b), (b, b * math.inf)):
        with pytest.raises(InvalidParameterError, match=r"a value of b or x: got .* finite"):
            iterate(shrink(0.5), grid, *pair)
    for pair in ((b, b[:, :8]), (b[:, :8], b[:, :8])):
        with pytest.raises(InvalidParameterError, match=r"shapes of b and x: got .* 16\), with the points of the grid"):
            iterate(shrink(0.5), grid, *pair)


# Training


def data(problem=CHARBONNIER, N=32, train=64, validation=16):
    sides = np.cumsum(np.random.default_rng(0).standard_normal((train + validation, N)), axis=-1) * 0.1
    solutions = np.stack([problem.on(N).solve(b) for b in sides])
    return {
        "train/b": sides[:train],
        "train/x": solutions[:train],
        "validation/b": sides[train:],
        "validation/x": solutions[train:],
    }


def job(loss="supervised", problem=CHARBONNIER, **arguments):
    architecture = CycleArchitecture(problem=problem, filters=2, kernel_size=3)
    fields = {"architecture": architecture, "seeds": (0, 1), "learning_rate": 0.02, "epochs": 2, "batch": 16}
    return Training(task=Solving(problem=problem, loss=loss), **fields | arguments)


def same(first, second, tolerance=0.0):
    assert first.seed == second.seed
    np.testing.assert_allclose(first.curve, second.curve, rtol=max(1e-12, 100 * tolerance))
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def loss_of(loss, network, problem, arrays):
    b, x = (torch.from_numpy(arrays[f"train/{part}"]).float() for part in ("b", "x"))
    with torch.no_grad():
        y = network(b)
        return (y - x if loss == "supervised" else problem.on(b.shape[-1])(y) - b).square().mean().item()


@pytest.mark.parametrize("loss", ["supervised", "residual"])
@pytest.mark.parametrize(
    "problem",
    [CHARBONNIER, Problem(tau=3e4, extent=32.0), Problem(tau=0.1, screened=False, extent=32.0)],
    ids=["charbonnier", "large tau", "poisson"],
)
def test_training_lowers_its_loss(loss, problem, tmp_path):
    arrays = data(problem, N=32 - (not problem.screened))
    for run in fit(job(loss, problem, epochs=4, learning_rate=0.003), arrays, tmp_path / "state", "test"):
        assert run.status == "ok"
        fresh = job(problem=problem).architecture.build(run.seed)
        assert loss_of(loss, run.network, problem, arrays) < 0.95 * loss_of(loss, fresh, problem, arrays)


def test_curves_are_relative_errors_on_the_validation_signals(tmp_path):
    arrays = data()
    for run in fit(job(), arrays, tmp_path / "state", "test"):
        b, x = (torch.from_numpy(arrays[f"validation/{part}"]).float() for part in ("b", "x"))
        with torch.no_grad():
            errors = (run.network(b) - x).norm(dim=-1) / x.norm(dim=-1)
        assert len(run.curve) == 2
        assert run.curve[-1] == pytest.approx(errors.mean().item(), rel=1e-4)


def test_relative_errors_are_those_of_every_seed_and_signal():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, 1.5]))

        def forward(self, b):
            return self.weight[:, None, None] * b

    x = torch.rand(230, 8)
    found = relative_errors(Scaled(), x, x)
    torch.testing.assert_close(found, torch.tensor([[0.0], [0.5]]).expand(2, 230), rtol=0, atol=1e-6)


def test_interrupted_training_ends_with_the_same_numbers(tmp_path, monkeypatch):
    arrays = data()
    whole = fit(job(epochs=3), arrays, tmp_path / "whole", "test")
    train, epochs = training.Trainer._train_epoch, []

    def interrupted(self):
        epochs.append(self.epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        train(self)

    monkeypatch.setattr(training.Trainer, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(job(epochs=3), arrays, tmp_path / "state", "test")
    resumed = fit(job(epochs=3), arrays, tmp_path / "state", "test")
    assert epochs == [0, 1, 1, 2]
    for first, second in zip(whole, resumed, strict=True):
        same(first, second)
    with pytest.raises(CheckpointError, match="another job or on other data"):
        fit(job("residual", epochs=3), arrays, tmp_path / "state", "test")
    with pytest.raises(CheckpointError, match="another job or on other data"):
        fit(job(epochs=3), arrays | {"train/b": arrays["train/b"] + 1}, tmp_path / "state", "test")


@pytest.mark.parametrize("loss", ["supervised", "residual"])
def test_seeds_side_by_side_are_single_ones(loss, tmp_path):
    arrays = data()
    together = fit(job(loss, learning_rate=(0.02, 0.01)), arrays, tmp_path / "state", "test")
    for run, rate in zip(together, (0.02, 0.01), strict=True):
        alone = job(loss, seeds=(run.seed,), learning_rate=rate)
        same(run, fit(alone, arrays, tmp_path / f"state{run.seed}", "test")[0], 1e-4)


def test_networks_of_the_registry_learn_to_solve_as_well(tmp_path):
    unet = Architecture(name="unet", blocks=1, filters=2, kernel_size=3, flux="relu")
    for run in fit(job(architecture=unet), data(), tmp_path / "state", "test"):
        assert run.status == "ok"
        assert run.curve[1] < run.curve[0]


def test_a_seed_that_diverges_is_recorded_and_the_others_go_on(tmp_path):
    bad, good = fit(job(learning_rate=(1e6, 0.01), epochs=3), data(), tmp_path / "state", "test")
    assert bad.status == "diverged"
    assert bad.curve[-1] is None
    assert all(p.isfinite().all() for p in bad.network.parameters())
    assert good.status == "ok"


def refused(key, message, value):
    return pytest.param(key, value, message, id=message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        refused("train/b", r"shape of train/b: got .* that of train/x", np.ones((64, 31))),
        refused("train/x", r"shape of train/b", np.ones((63, 32))),
        refused("validation/b", r"shape of validation/b: got \(32,\)", np.ones(32)),
        refused("train/b", r"a value of train/b: got .*nan.* finite", np.full((64, 32), np.nan)),
        refused("validation/x", r"a value of validation/x: got .*inf.* finite", np.full((16, 32), np.inf)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(key, value, message, tmp_path):
    with pytest.raises(InvalidParameterError, match=message):
        fit(job(), data() | {key: value}, tmp_path / "state", "test")


def test_jobs_that_are_not_possible(tmp_path):
    arrays = data()
    state = tmp_path / "state"
    with pytest.raises(InvalidParameterError, match=r"problem: got .* that of the architecture"):
        fit(replace(job(), task=Solving(problem=replace(CHARBONNIER, tau=2.0))), arrays, state, "test")
    with pytest.raises(InvalidParameterError, match=r"names of the arrays: got .*, expected .* validation/x"):
        fit(job(), {n: x for n, x in arrays.items() if n != "train/x"}, state, "test")
    empty = {f"validation/{part}": np.empty((0, 32)) for part in ("b", "x")}
    with pytest.raises(InvalidParameterError, match=r"shape of validation/b"):
        fit(job(), arrays | empty, state, "test")
    for batch, expected in ((0, "an integer of at least 1"), (65, "1 to 64")):
        with pytest.raises(InvalidParameterError, match=rf"batch: got {batch}, expected {expected}"):
            fit(job(batch=batch), arrays, state, "test")
    with pytest.raises(InvalidParameterError, match=r"learning_rate: got .* one for each of 2 runs"):
        fit(job(learning_rate=(0.1, 0.1, 0.1)), arrays, state, "test")
