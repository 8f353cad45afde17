"""Trainings on a GPU: those on the processor, as one CUDA graph per step.

Without a GPU it is seen at least that no step looks at values or copies from the processor, which cannot be captured.
"""

from functools import cache

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from schemenets import devices, networks, signals, training
from schemenets.errors import InvalidParameterError
from schemenets.multigrid import CycleArchitecture, Problem, Solving
from schemenets.multigrid.solving import LOSSES
from schemenets.networks import Architecture

BUILD, BUILD_CYCLE = Architecture.build, CycleArchitecture.build
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SIZE = {"blocks": 2, "filters": 4, "kernel_size": 5}
PROBLEM = Problem(tau=5.0, flux="charbonnier", contrast=0.1, extent=32.0)


def possible(name, certified, tied, flux):
    try:
        networks.build(name, certified=certified, tied=tied, flux=flux, **SIZE)
    except InvalidParameterError:
        return False
    return True


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


DENOISERS = [
    Architecture(name=name, certified=certified, tied=tied, flux=flux, **SIZE)
    for name in networks.available()
    for certified in (False, True)
    for tied in (False, True)
    for flux in ("perona_malik", *["learned"] * (name == "symmetric"))
    if possible(name, certified, tied, flux)
]
CYCLES = [
    CycleArchitecture(problem=PROBLEM, **arguments)
    for arguments in (
        {"filters": 4},
        {"cycles": 3},
        {"transfers": "fixed"},
        {"skip": "concatenated"},
        {"coarse_side": "restricted"},
    )
]
SOLVERS = [(architecture, loss) for architecture in (*CYCLES, DENOISERS[0]) for loss in LOSSES]


def label(value):
    return "-".join(str(x) for x in vars(value).values()) if isinstance(value, Architecture) else str(value)


@cache
def noisy_signals():
    spec = {"family": "piecewise_affine", "length": 64, "noise": 10.0, "seed": 1, "train": 100, "validation": 20}
    return {key: array.astype(np.float64) for key, array in signals.generate({**spec, "test": 1}).items()}


def denoising(architecture, seeds=(0, 1, 2)):
    job = training.Training(architecture=architecture, seeds=seeds, learning_rate=0.01, epochs=2, batch=16)
    return job, noisy_signals()


def solving(architecture, loss, seeds=(0, 1, 2)):
    generator = np.random.default_rng(1)
    data = {f"{part}/{key}": generator.normal(size=(40, 32)) for part in ("train", "validation") for key in "bx"}
    sizes = {"seeds": seeds, "learning_rate": 0.003, "epochs": 2, "batch": 16}
    return training.Training(architecture=architecture, task=Solving(problem=PROBLEM, loss=loss), **sizes), data


class NothingNew(TorchFunctionMode):
    """Fails where a tensor is made of numbers of the processor."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func.__name__ not in ("tensor", "as_tensor", "asarray", "from_numpy", "new_tensor")
        return func(*args, **(kwargs or {}))


class OnOneDevice(TorchDispatchMode):
    """Fails where a tensor of another device takes part in an operation."""

    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        assert all(x.device.type == "meta" for x in tensors), f"{func}: on {[x.device.type for x in tensors]}"
        return result


def trainer(architecture, loss, monkeypatch, device="cpu", **arguments):
    """In double precision."""
    monkeypatch.setattr(Architecture, "build", lambda self, seed: BUILD(self, seed).double())
    monkeypatch.setattr(CycleArchitecture, "build", lambda self, seed: BUILD_CYCLE(self, seed).double())
    monkeypatch.setattr(training, "device", lambda: torch.device(device))
    job = denoising(architecture, **arguments) if loss is None else solving(architecture, loss, **arguments)
    return training.Trainer(*job)


JOBS = [(architecture, None) for architecture in DENOISERS] + SOLVERS
each_job = pytest.mark.parametrize(("architecture", "loss"), JOBS, ids=label)


@pytest.mark.slow
@each_job
def test_a_step_takes_place_on_one_device_and_looks_at_no_values(architecture, loss, monkeypatch):
    stepping = trainer(architecture, loss, monkeypatch, device="meta")  # where there are no values
    batch = torch.zeros(3, 16, dtype=torch.long, device="meta")
    with NothingNew(), OnOneDevice() as mode:
        losses = stepping.differentiate(batch)
    assert mode.operations > 10
    assert losses.shape == (3,)
    assert stepping.adam.gradient.shape == stepping.adam.values.shape


def assert_close_runs(first, second):
    assert [run.diverged_at for run in first] == [run.diverged_at for run in second]
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.curve, b.curve, rtol=1e-7, atol=1e-7)
        for key, value in a.network.state_dict().items():
            torch.testing.assert_close(value, b.network.state_dict()[key].cpu(), rtol=1e-6, atol=1e-8)


@needs_gpu
@each_job
def test_trainings_are_those_on_the_processor(architecture, loss, monkeypatch, tmp_path):
    runs = {
        device: trainer(architecture, loss, monkeypatch, device).run(tmp_path / device, device)
        for device in ("cpu", "cuda")
    }
    assert_close_runs(runs["cuda"], runs["cpu"])


@needs_gpu
def test_a_seed_that_diverges_leaves_the_others_alone(monkeypatch, tmp_path):
    alone = trainer(DENOISERS[0], None, monkeypatch, "cuda", seeds=(0,)).run(tmp_path / "alone", "alone")
    together = trainer(DENOISERS[0], None, monkeypatch, "cuda", seeds=(0, 1))
    with torch.no_grad():
        together.adam.values[1] = 1e30
    good, bad = together.run(tmp_path / "together", "together")
    assert bad.diverged_at == 0
    assert bad.curve == [None, None]
    assert_close_runs(alone, [good])


@needs_gpu
def test_interrupted_trainings_resume(monkeypatch, tmp_path):
    whole = trainer(DENOISERS[0], None, monkeypatch, "cuda").run(tmp_path / "whole", "whole")
    first = trainer(DENOISERS[0], None, monkeypatch, "cuda")
    validate, epochs = first._validate, []

    def interrupted():
        if epochs:
            raise KeyboardInterrupt
        epochs.append(first.epoch)
        validate()

    monkeypatch.setattr(first, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "state", "interrupted")
    resumed = trainer(DENOISERS[0], None, monkeypatch, "cuda").run(tmp_path / "state", "resumed")
    assert_close_runs(whole, resumed)


@needs_gpu
def test_a_captured_function_computes_what_it_is_given():
    calls = []

    def function(x):
        calls.append(1)
        return x.square().sum(), x + 1

    x = torch.rand(5, device="cuda")
    run = devices.captured(function, torch.zeros_like(x))
    made = len(calls)
    for factor in (1, 2):
        total, more = run(factor * x)
        torch.testing.assert_close(total, (factor * x).square().sum())
        torch.testing.assert_close(more, factor * x + 1)
    assert len(calls) == made
