"""Training: seeds do not touch each other, interruptions leave no trace, divergence is an outcome."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from schemenets import networks, signals, training
from schemenets.errors import CheckpointError, InvalidParameterError, UnknownNameError
from schemenets.evaluation import denoised_psnr
from schemenets.multigrid import CycleArchitecture, Problem, Solving
from schemenets.networks import Architecture
from schemenets.training import Denoising, Training, fit, task

ARCHITECTURE = Architecture(name="symmetric", blocks=2, filters=3, kernel_size=3, flux="perona_malik")
BUILD = Architecture.build
JOB = Training(architecture=ARCHITECTURE, seeds=(0, 1, 2), learning_rate=0.02, epochs=3, batch=16)


@pytest.fixture(scope="module")
def data():
    spec = {"family": "piecewise_affine", "length": 64, "noise": 10.0, "seed": 1}
    return signals.generate({**spec, "train": 100, "validation": 20, "test": 10})


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state.safetensors"


def weights(runs):
    return [run.network.state_dict() for run in runs]


def assert_equal_runs(first, second):
    assert [run.curve for run in first] == [run.curve for run in second]
    assert [run.diverged_at for run in first] == [run.diverged_at for run in second]
    for a, b in zip(weights(first), weights(second), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_training_denoises(data, state):
    """From a start that is far from denoising."""
    architecture = replace(ARCHITECTURE, initialisation="glorot")
    untrained = networks.stack([architecture.build(seed) for seed in JOB.seeds])
    before = denoised_psnr(untrained, data["validation/noisy"], data["validation/clean"]).mean(1)
    for run, start in zip(fit(replace(JOB, architecture=architecture), data, state, "job"), before, strict=True):
        assert run.status == "ok"
        assert len(run.curve) == JOB.epochs
        assert run.outcome > start + 1


def test_training_is_the_loop_one_writes_with_torch(data, state, monkeypatch):
    monkeypatch.setattr(Architecture, "build", lambda self, seed: BUILD(self, seed).double())
    double = {key: value.astype(np.float64) for key, value in data.items()}
    noisy, clean = (torch.from_numpy(double[f"train/{part}"]) / 255 for part in ("noisy", "clean"))
    seed, steps = 3, len(noisy) // JOB.batch
    net = BUILD(ARCHITECTURE, seed).double()
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, JOB.learning_rate, total_steps=JOB.epochs * steps, cycle_momentum=False
    )
    for epoch in range(JOB.epochs):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(noisy)))
        for batch in order[: steps * JOB.batch].split(JOB.batch):
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(net(noisy[batch]), clean[batch]).backward()
            optimiser.step()
            if schedule.last_epoch + 1 < schedule.total_steps:
                schedule.step()
    (run,) = fit(replace(JOB, seeds=(seed,)), double, state, "job")
    for own, expected in zip(run.network.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "variant",
    [
        *({"name": name, "flux": "perona_malik"} for name in networks.available() if name != "unet"),
        pytest.param({"name": "unet", "flux": "perona_malik"}, marks=pytest.mark.slow),
        {"name": "resnet", "flux": "relu"},
        {"name": "fsi", "flux": "perona_malik", "channels": 2, "filters": 4},
        pytest.param({"name": "fsi", "flux": "learned", "channels": 2, "filters": 4}, marks=pytest.mark.slow),
        {"name": "symmetric", "flux": "perona_malik", "channels": 2, "tied": True, "certified": True},
    ],
    ids=lambda variant: "-".join(map(str, variant.values())),
)
def test_seeds_together_equal_seeds_alone(data, state, tmp_path, variant, monkeypatch):
    monkeypatch.setattr(Architecture, "build", lambda self, seed: BUILD(self, seed).double())
    double = {key: value[:40].astype(np.float64) for key, value in data.items()}
    job = replace(JOB, architecture=replace(ARCHITECTURE, **variant), epochs=2)
    together = fit(job, double, state, "job")
    for run, seed in zip(together, job.seeds, strict=True):
        (alone,) = fit(replace(job, seeds=(seed,)), double, tmp_path / f"{seed}.safetensors", "job")
        assert run.curve == pytest.approx(alone.curve, abs=1e-9)
        start = BUILD(job.architecture, seed).double()
        for a, b, c in zip(*(net.parameters() for net in (run.network, alone.network, start)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
            assert not torch.equal(a, c)


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_interrupted_training_ends_with_the_same_numbers(data, state, tmp_path, monkeypatch, interrupted_after):
    expected = fit(JOB, data, tmp_path / "undisturbed.safetensors", "job")

    class InterruptionError(Exception):
        pass

    class Interrupting(training.Progress):
        def update(self, done, message):
            if done == interrupted_after * len(JOB.seeds):
                raise InterruptionError

    with monkeypatch.context() as patch:
        patch.setattr(training, "Progress", Interrupting)
        with pytest.raises(InterruptionError):
            fit(JOB, data, state, "job")
    epochs = []
    train_epoch = training.Trainer._train_epoch
    monkeypatch.setattr(training.Trainer, "_train_epoch", lambda self: (epochs.append(self.epoch), train_epoch(self)))
    assert_equal_runs(fit(JOB, data, state, "job"), expected)
    assert epochs == list(range(interrupted_after, JOB.epochs))  # the rest, and nothing again


def test_a_diverged_seed_is_frozen_and_the_others_go_on(data, state, tmp_path, monkeypatch):
    expected = fit(JOB, data, tmp_path / "sound.safetensors", "job")

    def build(self, seed):
        net = BUILD(self, seed)
        if seed == 1:
            net.blocks[0].parametrizations.tau.original.data.fill_(40.0)  # a step size of e^40
        return net

    monkeypatch.setattr(Architecture, "build", build)
    runs = fit(JOB, data, state, "job")
    assert [run.status for run in runs] == ["ok", "diverged", "ok"]
    assert runs[1].diverged_at == 0
    assert runs[1].curve == [None] * JOB.epochs
    assert runs[1].outcome is None
    start = build(ARCHITECTURE, 1).state_dict()
    assert all(torch.equal(start[name], value) for name, value in runs[1].network.state_dict().items())
    assert_equal_runs([runs[0], runs[2]], [expected[0], expected[2]])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "unet")) for name in networks.available()]
)
def test_a_diverged_seed_leaves_the_others_alone_in_every_network(data, state, tmp_path, name, monkeypatch):
    job = replace(JOB, architecture=replace(ARCHITECTURE, name=name), epochs=2)
    few = {key: value[:40] for key, value in data.items()}
    expected = fit(job, few, tmp_path / "sound.safetensors", "job")

    def build(self, seed):
        net = BUILD(self, seed)
        if seed == 1:
            for parameter in net.parameters():
                parameter.data.fill_(1e30)
        return net

    monkeypatch.setattr(Architecture, "build", build)
    runs = fit(job, few, state, "job")
    assert [run.diverged_at for run in runs] == [None, 0, None]
    assert all((parameter == 1e30).all() for parameter in runs[1].network.parameters())
    assert_equal_runs([runs[0], runs[2]], [expected[0], expected[2]])


def test_every_seed_and_every_epoch_has_a_shuffling_of_its_own(data, monkeypatch):
    trainer = training.Trainer(JOB, data)
    seen, differentiate = [], trainer.differentiate
    monkeypatch.setattr(trainer, "differentiate", lambda batch: seen.append(batch) or differentiate(batch))
    for trainer.epoch in range(2):
        trainer._train_epoch()
    orders = torch.cat(seen, dim=1).unflatten(1, (2, -1)).flatten(0, 1).tolist()
    assert len({tuple(order) for order in orders}) == 2 * len(JOB.seeds)
    assert all(len(set(order)) == len(order) for order in orders)


@pytest.mark.parametrize(("distance", "diverged_at"), [(90.0, None), (110.0, 0)])
def test_an_error_beyond_minus_forty_decibels_is_divergence(data, distance, diverged_at):
    trainer = training.Trainer(JOB, data)
    trainer.targets = trainer.inputs + distance
    trainer._train_epoch()
    assert trainer.diverged_at == [diverged_at] * len(JOB.seeds)


def test_divergence_later_keeps_the_last_sound_epoch(data):
    trainer = training.Trainer(JOB, data)
    trainer._train_epoch()
    trainer._validate()
    sound = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.epoch = 1
    trainer.targets = torch.full_like(trainer.targets, float("nan"))
    trainer._train_epoch()
    trainer._validate()
    assert trainer.diverged_at == [trainer.steps] * 3
    assert all(curve[0] is not None and curve[1] is None for curve in trainer.curves)
    assert all(torch.equal(sound[name], value) for name, value in trainer.net.state_dict().items())


def test_divergence_in_the_last_step_of_an_epoch_keeps_the_last_sound_epoch(data):
    trainer = training.Trainer(JOB, data)
    start = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer._train_epoch()
    trainer.adam.values[1] = float("nan")
    trainer._validate()
    trainer.epoch = 1
    trainer._train_epoch()
    assert [step is None for step in trainer.diverged_at] == [True, False, True]
    assert all(torch.equal(start[name][1], value[1]) for name, value in trainer.net.state_dict().items())


def test_denoised_psnr_is_nan_where_the_output_is_not_finite(data):
    nets = [ARCHITECTURE.build(seed) for seed in (0, 1)]
    nets[1].blocks[1].K.data.fill_(float("nan"))
    values = denoised_psnr(networks.stack(nets), data["test/noisy"], data["test/clean"])
    assert values.shape == (2, 10)
    assert np.isfinite(values[0]).all()
    assert np.isnan(values[1]).all()


def test_arrays_are_converted_to_the_precision_of_the_networks(data, state, tmp_path):
    double = {key: array.astype(np.float64) for key, array in data.items()}
    job = replace(JOB, epochs=1)
    assert_equal_runs(fit(job, double, state, "job"), fit(job, data, tmp_path / "single", "job"))


PROBLEM = Problem(tau=2.0, flux="charbonnier", contrast=0.1)
TASKS = [Denoising(), Solving(problem=PROBLEM), Solving(problem=PROBLEM, loss="residual")]


@pytest.mark.parametrize("own", TASKS, ids=["denoising", "supervised", "residual"])
def test_tasks_are_read_from_their_arguments(own):
    assert task(json.loads(json.dumps(own.arguments()))) == own


def test_tasks_that_are_not_possible_are_refused():
    with pytest.raises(UnknownNameError, match="task: got 'denoisin', expected one of denoising, solving"):
        task({"name": "denoisin"})
    with pytest.raises(InvalidParameterError, match="loss: got 'energy', expected supervised or residual"):
        task({**TASKS[1].arguments(), "loss": "energy"})


def test_what_is_measured_if_nothing_has_been_learned(data):
    """The PSNR of the noisy signals, and the error of x = 0."""
    noisy, clean = (data[f"validation/{part}"].astype(np.float64) for part in Denoising.pair)
    expected = np.mean(10 * np.log10(255**2 / ((noisy - clean) ** 2).mean(1)))
    assert Denoising().unlearned(data["validation/noisy"], data["validation/clean"]) == pytest.approx(
        expected, rel=1e-5
    )
    stacked = networks.stack([ARCHITECTURE.build()])
    stacked.forward = lambda b: 0 * b
    error = TASKS[1].measure(stacked, noisy, clean)
    assert TASKS[1].unlearned(noisy, clean) == error.item() == 1
    assert Denoising.larger_is_better
    assert not Solving.larger_is_better


def test_interrupted_work_of_another_job_is_refused(data, state):
    fit(replace(JOB, epochs=1), data, state, "job")
    kept = state.read_bytes()
    other = {**data, "validation/noisy": data["validation/noisy"] + 1}
    for job, arrays in ((replace(JOB, epochs=2), data), (replace(JOB, epochs=1), other)):
        with pytest.raises(CheckpointError, match="interrupted work of another job"):
            fit(job, arrays, state, "job")
    assert state.read_bytes() == kept


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("train/clean", None, "names of the arrays: got .*expected train/noisy, train/clean, validation/noisy"),
        ("train/clean", lambda x: x[:-1], r"shape of train/noisy: got .*expected \(signals, length\)"),
        ("validation/noisy", lambda x: x[0], r"shape of validation/noisy: got .*expected \(signals, length\)"),
        (
            "train/noisy",
            lambda x: np.where(x == x[3, 5], np.nan, x),
            "a value of train/noisy: got .*nan.*finite values",
        ),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(data, state, key, change, message):
    arrays = dict(data)
    if change is None:
        del arrays[key]
    else:
        arrays[key] = change(arrays[key])
    with pytest.raises(InvalidParameterError, match=message):
        fit(JOB, arrays, state, "job")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": torch.nn.Linear(2, 2)}, "architecture: got 'Linear', expected .*a registered network"),
        (
            {"architecture": CycleArchitecture(problem=Problem(tau=1.0))},
            "architecture: got .*one of a network that denoises",
        ),
        ({"seeds": ()}, r"seeds: got \(\), expected .*one seed or more"),
        ({"seeds": 3}, "seeds: got 3, expected .*one seed or more"),
        ({"epochs": 0}, "epochs: got 0, expected .*at least 1"),
        ({"learning_rate": -1.0}, "learning_rate: got -1.0, expected .*positive and finite"),
        ({"learning_rate": (0.1, float("nan"))}, "learning_rate: got .*nan.*positive and finite"),
    ],
)
def test_jobs_that_are_not_possible_are_refused(data, state, change, message):
    with pytest.raises(InvalidParameterError, match=message):
        fit(replace(JOB, **change), data, state, "job")


def test_tensors_are_no_arrays(data, state):
    tensors = {key: torch.from_numpy(array) for key, array in data.items()}
    with pytest.raises(InvalidParameterError, match=r"type of train/noisy: got 'Tensor', expected .*an array of NumPy"):
        fit(JOB, tensors, state, "job")


def test_batches_have_no_more_signals_than_there_are(data, state):
    with pytest.raises(InvalidParameterError, match=r"batch: got .*expected 1 to"):
        fit(replace(JOB, batch=len(data["train/noisy"]) + 1), data, state, "job")


@pytest.mark.parametrize("before", [False, True])
def test_training_leaves_the_arithmetic_of_the_process_as_it_was(data, state, before):
    tiny = torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64)
    torch.set_flush_denormal(before)
    try:
        fit(replace(JOB, epochs=1), data, state, "job")
        assert ((tiny / 2).item() == 0) is before
    finally:
        torch.set_flush_denormal(False)


def test_an_epoch_may_be_several_passes_over_few_signals():
    """Every pass takes the signals in an order of its own, and leaves an incomplete batch out."""
    data = {
        f"{split}/{part}": 255 * np.random.default_rng(0).random((10, 16))
        for split in ("train", "validation")
        for part in ("noisy", "clean")
    }
    job = {"architecture": ARCHITECTURE, "seeds": (0, 3), "learning_rate": 0.01, "epochs": 2, "batch": 4}
    trainer = training.Trainer(training.Training(**job, passes=3), data)
    batches = torch.stack(trainer._batches())
    assert batches.shape == (trainer.steps, 2, 4) == (6, 2, 4)
    once = torch.stack(training.Trainer(training.Training(**job), data)._batches())
    assert torch.equal(batches[:2], once)
    for seed in range(2):
        passes = batches[:, seed].reshape(3, 8)
        assert all(len(set(own.tolist())) == 8 for own in passes)
        assert not torch.equal(passes[0], passes[1])
    with pytest.raises(InvalidParameterError, match="passes: got 0, expected"):
        training.check(training.Training(**job, passes=0), data)
