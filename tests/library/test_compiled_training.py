"""A compiled step of training is that of autograd on plain torch operations, for every network and every task."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_programs import FLUX, TAPS

from schemenets import kernels, networks, training
from schemenets.multigrid import CycleArchitecture, Problem, Solving
from schemenets.networks import Architecture
from schemenets.networks.implicit import Implicit
from schemenets.training import Denoising, Trainer, Training

pytest.importorskip("numba")
from compiled import compiled_calls, nothing_left_behind, one_kind

SEEDS, SIGNALS, N = (0, 1, 2), 40, 16
SIZE = {"filters": 3, "kernel_size": TAPS, "flux": FLUX}
PROBLEM = Problem(tau=1.3, flux=FLUX, contrast=0.4, extent=12.0)
SECOND = replace(PROBLEM, order=2)
TASKS = {
    "denoising": Denoising(),
    "supervised": Solving(problem=PROBLEM),
    "residual": Solving(problem=PROBLEM, loss="residual"),
    "residual of second order": Solving(problem=SECOND, loss="residual"),
}
NETWORKS = {
    **{name: Architecture(name=name, blocks=2, **SIZE) for name in networks.available()},
    "channels": Architecture(name="resnet", blocks=2, channels=2, **SIZE),
    "certified": Architecture(name="safeguarded_du_fort_frankel", blocks=2, channels=2, certified=True, **SIZE),
    "tied": Architecture(name="fsi", blocks=3, tied=True, **SIZE),
    "biased": Architecture(name="fsi", blocks=3, channels=2, biases=True, **SIZE),
    "signed": Architecture(name="symmetric", blocks=3, biases=True, steps="signed", **SIZE),
    "unbiased": Architecture(name="resnet", blocks=3, biases=False, **SIZE),
    "safeguarded, biased": Architecture(name="safeguarded_fsi", blocks=3, channels=2, biases=True, **SIZE),
    "cycle": CycleArchitecture(problem=PROBLEM, cycles=2, **SIZE),
    "second": CycleArchitecture(problem=SECOND, kind="W", **SIZE),
    "concatenated": CycleArchitecture(problem=PROBLEM, skip="concatenated", transfers="fixed", **SIZE),
}
JOBS = {
    f"{name}-{label}": (architecture, task)
    for name, architecture in NETWORKS.items()
    for label, task in TASKS.items()
    if isinstance(architecture, Architecture) or getattr(task, "problem", None) == architecture.problem
}
each_job = pytest.mark.parametrize(("architecture", "task"), JOBS.values(), ids=JOBS)
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}


@pytest.fixture(autouse=True)
def compiled_kernel(monkeypatch):
    """All steps in one function, which finds NaN wherever it has not written itself."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "fused")
    with one_kind(FLUX, TAPS), nothing_left_behind():
        yield


def trainer(architecture, task, monkeypatch, dtype=torch.float64, batch=13):
    """With random weights and signals; by default the batches fill one vector and a part of another."""
    random, build = np.random.default_rng(0), type(architecture).build
    monkeypatch.setattr(type(architecture), "build", lambda self, seed: build(self, seed).to(dtype))
    scale = 100 if isinstance(task, Denoising) else 1
    parts = (f"{split}/{part}" for split in ("train", "validation") for part in task.pair)
    data = {part: scale * random.standard_normal((SIGNALS, N)) for part in parts}
    job = Training(architecture=architecture, task=task, seeds=SEEDS, learning_rate=0.1, epochs=1, batch=batch)
    found = Trainer(job, data)
    found.adam.values += 0.1 * torch.from_numpy(random.standard_normal(found.adam.values.shape)).to(dtype)
    return found


def losses_and_gradient(differentiate, own, batch):
    own.adam.gradient.fill_(float("nan"))
    return differentiate(batch), own.adam.gradient.clone()


def assert_equal(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[a.dtype] * max(1.0, b.abs().max().item()))


def assert_steps_are_in_plain_operations(own, batch, monkeypatch):
    with compiled_calls() as calls:
        found = losses_and_gradient(own.differentiate, own, batch)
    assert calls == ["train"]
    with monkeypatch.context() as patch, compiled_calls() as calls:
        patch.setenv("SCHEMENETS_KERNEL", "reference")
        wanted = losses_and_gradient(own._differentiate, own, batch)
    assert not calls
    assert_equal(found, wanted)
    assert wanted[1].abs().max() > 1e-3


@each_job
def test_every_network_and_task(architecture, task, monkeypatch):
    own = trainer(architecture, task, monkeypatch)
    assert_steps_are_in_plain_operations(own, own._batches()[1], monkeypatch)


@pytest.mark.slow
@each_job
def test_single_precision(architecture, task, monkeypatch):
    own = trainer(architecture, task, monkeypatch, torch.float32)
    assert_steps_are_in_plain_operations(own, own._batches()[1], monkeypatch)


@pytest.mark.parametrize("batch", [1, 7, 8, 16, 40])
def test_batches_of_any_size(batch, monkeypatch):
    own = trainer(NETWORKS["resnet"], TASKS["residual"], monkeypatch, batch=batch)
    assert_steps_are_in_plain_operations(own, own._batches()[0], monkeypatch)


@pytest.mark.parametrize("name", ["symmetric", "channels", "unet"])
def test_signals_of_every_seed_and_of_all(name):
    """(seeds, signals, length) instead of (signals, length), for inputs, targets or both."""
    stacked = networks.stack([NETWORKS[name].build(seed).double() for seed in SEEDS])
    program, operands = stacked.recorded(N)
    operands = operands.detach().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    own, other = (torch.randn(len(SEEDS), SIGNALS, N, generator=generator, dtype=torch.float64) for _ in range(2))
    batch = torch.stack([torch.randperm(SIGNALS, generator=generator)[:11] for _ in SEEDS])

    def taken(x):
        return torch.stack([rows[index] for rows, index in zip(x.expand_as(own), batch, strict=True)])

    for inputs, targets in ((own, other), (own[0], other), (own, other[0])):
        found = kernels.differentiate(program, inputs, targets, batch, 0.7, operands)
        y = kernels.reference.run(program, [taken(inputs)], operands)
        losses = (0.7 * y - taken(targets)).square().mean((1, 2))
        assert_equal(found, (losses.detach(), *torch.autograd.grad(losses.sum(), operands)))


def test_a_seed_that_diverges_shows_and_leaves_the_others_alone(monkeypatch):
    for name, task in (("safeguarded_fsi", "denoising"), ("unet", "supervised"), ("cycle", "residual")):
        own = trainer(NETWORKS[name], TASKS[task], monkeypatch)
        batch = own._batches()[0]
        clean = losses_and_gradient(own.differentiate, own, batch)
        own.adam.values[1] = float("nan")
        spoilt = losses_and_gradient(own.differentiate, own, batch)
        for a, b in zip(clean, spoilt, strict=True):
            assert torch.equal(a[[0, 2]], b[[0, 2]])
        assert spoilt[0][1].isnan()


def test_gradients_of_solutions_are_those_of_torch(monkeypatch):
    """Where they are asked for, which compiled iterations do not know."""
    unrolled = trainer(NETWORKS["implicit"], TASKS["denoising"], monkeypatch)
    monkeypatch.setattr(Implicit, "implicit_gradients", True)
    own = trainer(NETWORKS["implicit"], TASKS["denoising"], monkeypatch)
    with compiled_calls() as calls:
        losses, gradient = losses_and_gradient(own.differentiate, own, own._batches()[0])
    assert "train" not in calls
    others = losses_and_gradient(unrolled.differentiate, unrolled, unrolled._batches()[0])
    torch.testing.assert_close(losses, others[0])
    assert not torch.allclose(gradient, others[1])


@pytest.mark.parametrize("name", ["resnet", "unet", "cycle"])
def test_whole_trainings_are_those_of_plain_operations(name, monkeypatch, tmp_path):
    runs = []
    for kernel in ("fused", "reference"):
        monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
        task = TASKS["supervised" if name == "cycle" else "denoising"]
        with monkeypatch.context() as patch, compiled_calls() as calls:
            own = trainer(NETWORKS[name], task, patch)
            runs.append(training.Trainer.run(own, tmp_path / kernel, kernel))
        assert ("train" in calls) == (kernel == "fused")
    for one, other in zip(*runs, strict=True):
        assert one.curve == pytest.approx(other.curve, rel=1e-8)
        for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)
