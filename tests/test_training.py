"""Training: seeds do not touch each other, interruptions leave no trace, divergence is an outcome."""

import numpy as np
import pytest
import torch

from schemenets import networks, signals, training
from schemenets.evaluation import denoised_psnr
from schemenets.networks import Architecture
from schemenets.training import Training, fit

ARCHITECTURE = Architecture(name="symmetric", blocks=2, filters=3, kernel_size=5, flux="perona_malik")
BUILD = networks.build
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
    untrained = networks.stack([networks.build(**vars(ARCHITECTURE), seed=seed) for seed in JOB.seeds])
    before = denoised_psnr(untrained, data["validation/noisy"], data["validation/clean"]).mean(1)
    for run, start in zip(fit(JOB, data, state, "job"), before, strict=True):
        assert run.status == "ok"
        assert len(run.curve) == JOB.epochs
        assert run.validation_psnr > start + 1


@pytest.mark.parametrize(("name", "flux"), [("symmetric", "perona_malik"), ("resnet", "relu")])
def test_seeds_together_equal_seeds_alone(data, state, tmp_path, name, flux, monkeypatch):
    monkeypatch.setattr(training.networks, "build", lambda **arguments: BUILD(**arguments).double())
    double = {key: value.astype(np.float64) for key, value in data.items()}
    job = Training(
        architecture=Architecture(name=name, blocks=2, filters=3, kernel_size=5, flux=flux),
        seeds=(0, 1, 2),
        learning_rate=0.02,
        epochs=2,
        batch=16,
    )
    together = fit(job, double, state, "job")
    for index, seed in enumerate(job.seeds):
        own = Training(**{**vars(job), "seeds": (seed,)})
        (alone,) = fit(own, double, tmp_path / f"{seed}.safetensors", "job")
        for key, value in alone.network.state_dict().items():
            torch.testing.assert_close(together[index].network.state_dict()[key], value, rtol=1e-9, atol=1e-9)


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
    train_epoch = training._Trainer._train_epoch
    monkeypatch.setattr(training._Trainer, "_train_epoch", lambda self: (epochs.append(self.epoch), train_epoch(self)))
    assert_equal_runs(fit(JOB, data, state, "job"), expected)
    assert epochs == list(range(interrupted_after, JOB.epochs))  # the rest, and nothing again


def test_a_diverged_seed_is_frozen_and_the_others_go_on(data, state, tmp_path, monkeypatch):
    expected = fit(JOB, data, tmp_path / "sound.safetensors", "job")

    def build(**arguments):
        net = BUILD(**arguments)
        if arguments["seed"] == 1:
            net.blocks[0].parametrizations.tau.original.data.fill_(40.0)  # a step size of e^40
        return net

    monkeypatch.setattr(training.networks, "build", build)
    runs = fit(JOB, data, state, "job")
    assert [run.status for run in runs] == ["ok", "diverged", "ok"]
    assert runs[1].diverged_at == 0
    assert runs[1].curve == [None] * JOB.epochs
    assert runs[1].validation_psnr is None
    start = build(**vars(ARCHITECTURE), seed=1).state_dict()
    assert all(torch.equal(start[name], value) for name, value in runs[1].network.state_dict().items())
    assert_equal_runs([runs[0], runs[2]], [expected[0], expected[2]])


def test_every_seed_and_every_epoch_has_a_shuffling_of_its_own(data, monkeypatch):
    trainer = training._Trainer(JOB, data)
    seen = []
    monkeypatch.setattr(trainer, "noisy", _Recorded(trainer.noisy, seen))
    for trainer.epoch in range(2):
        trainer._train_epoch()
    orders = torch.cat(seen, dim=1).unflatten(1, (2, -1)).flatten(0, 1).tolist()
    assert len({tuple(order) for order in orders}) == 2 * len(JOB.seeds)
    assert all(len(set(order)) == len(order) for order in orders)


class _Recorded:
    """A tensor that notes what it is indexed with."""

    def __init__(self, tensor, seen):
        self.tensor, self.seen = tensor, seen

    def __len__(self):
        return len(self.tensor)

    def index_select(self, dim, index):
        self.seen.append(index.unflatten(0, (len(JOB.seeds), -1)))
        return self.tensor.index_select(dim, index)


def test_divergence_later_keeps_the_last_sound_epoch(data):
    trainer = training._Trainer(JOB, data)
    trainer._train_epoch()
    trainer._validate()
    sound = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.epoch = 1
    trainer.clean = torch.full_like(trainer.clean, float("nan"))
    trainer._train_epoch()
    trainer._validate()
    assert trainer.diverged_at == [trainer.steps] * 3
    assert all(curve[0] is not None and curve[1] is None for curve in trainer.curves)
    assert all(torch.equal(sound[name], value) for name, value in trainer.net.state_dict().items())


def test_divergence_in_the_last_step_of_an_epoch_keeps_the_last_sound_epoch(data):
    trainer = training._Trainer(JOB, data)
    start = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer._train_epoch()
    trainer.adam.values[1] = float("nan")
    trainer._validate()
    trainer.epoch = 1
    trainer._train_epoch()
    assert [step is None for step in trainer.diverged_at] == [True, False, True]
    assert all(torch.equal(start[name][1], value[1]) for name, value in trainer.net.state_dict().items())


def test_denoised_psnr_is_nan_where_the_output_is_not_finite(data):
    nets = [networks.build(**vars(ARCHITECTURE), seed=seed) for seed in (0, 1)]
    nets[1].blocks[1].K.data.fill_(float("nan"))
    values = denoised_psnr(networks.stack(nets), data["test/noisy"], data["test/clean"])
    assert values.shape == (2, 10)
    assert np.isfinite(values[0]).all()
    assert np.isnan(values[1]).all()
