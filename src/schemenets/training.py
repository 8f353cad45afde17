"""Training: all seeds of one job at once, as one stacked network whose seeds do not touch each other."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from schemenets import files, networks
from schemenets.devices import captured, device, flushed_subnormals
from schemenets.errors import CheckpointError, InvalidParameterError
from schemenets.evaluation import PEAK, denoised_psnr
from schemenets.networks import Architecture
from schemenets.optimisation import Adam, one_cycle
from schemenets.progress import Progress

PAIR = "noisy", "clean"
DIVERGED = 1e4  # mean squared error on [0, 1] from which a run counts as diverged: -40 dB


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training job: everything that determines its result, but the data.

    Attributes:
        architecture: what is trained.
        seeds: seed of the initial weights and of the shuffling of every run.
        learning_rate: the largest of the one-cycle schedule, of all runs or of every one.
        epochs: passes over the training signals.
        batch: signals per step; an incomplete last batch is left out.
    """

    architecture: Architecture
    seeds: tuple[int, ...]
    learning_rate: float | tuple[float, ...]
    epochs: int
    batch: int


@dataclass(frozen=True)
class Run:
    """The outcome of one seed.

    Attributes:
        seed: seed of the initial weights and of the shuffling.
        network: the trained network; for a diverged run as it was at the last epoch's end that was still finite.
        curve: what is measured on the validation signals after every epoch, for denoisers the PSNR in dB; None from
            divergence on.
        diverged_at: step at which the loss was no longer finite, or beyond all bounds; None for a run that went well.
    """

    seed: int
    network: Any
    curve: list[float | None]
    diverged_at: int | None

    @property
    def status(self) -> str:
        """``"ok"`` or ``"diverged"``."""
        return "ok" if self.diverged_at is None else "diverged"

    @property
    def outcome(self) -> float | None:
        """The end of the curve; None for a diverged run."""
        return self.curve[-1]


def fit(job: Training, data: Mapping[str, np.ndarray], state: Path, label: str) -> list[Run]:
    """Train all seeds of a job.

    A run whose loss is not finite any more is frozen and recorded as diverged; the others go on. Interrupted work
    resumes from the last epoch in ``state`` and ends with the same numbers. Two processes with the same ``state``
    work one after the other.

    Args:
        job: what to train.
        data: arrays ``train/noisy``, ``train/clean``, ``validation/noisy``, ``validation/clean`` of shape
            (signals, length) with values on [0, 255], in single precision as the networks.
        state: file of the interrupted work; the caller removes it when the result is stored.
        label: name of the job in the progress lines.

    Raises:
        InvalidParameterError: a job that is not possible, arrays that are missing, do not fit together or hold NaN or
            infinite values, or fewer signals than a batch.
        CheckpointError: ``state`` belongs to another job or to other data.
    """
    check(job, data, PAIR)
    return Trainer(job, data).run(state, label)


def check(job: Training, data: Mapping[str, np.ndarray], pair: tuple[str, str]) -> None:
    """Make sure that the job is possible, and that the arrays of these pairs, inputs and targets, can be trained on."""
    if not hasattr(job.architecture, "arguments"):
        allowed = "the architecture of a registered network; others are trained as any module of torch"
        raise InvalidParameterError("architecture", type(job.architecture).__name__, allowed)
    if not isinstance(job.seeds, tuple | list) or not job.seeds:
        raise InvalidParameterError("seeds", job.seeds, "one seed or more, such as (0, 1)")
    if job.epochs < 1:
        raise InvalidParameterError("epochs", job.epochs, "at least 1")
    if not (np.min(job.learning_rate) > 0 and np.isfinite(job.learning_rate).all()):
        raise InvalidParameterError("learning_rate", job.learning_rate, "positive and finite")
    keys = [f"{split}/{part}" for split in ("train", "validation") for part in pair]
    if not set(keys) <= set(data):
        raise InvalidParameterError("names of the arrays", sorted(data), ", ".join(keys))
    for key in keys:
        if not isinstance(data[key], np.ndarray):
            raise InvalidParameterError(f"type of {key}", type(data[key]).__name__, "an array of NumPy")
        other = f"{key.partition('/')[0]}/{pair[1]}"
        if data[key].ndim != 2 or 0 in data[key].shape or data[key].shape != data[other].shape:
            allowed = f"(signals, length), that of {other}, {data[other].shape}"
            raise InvalidParameterError(f"shape of {key}", data[key].shape, allowed)
        if not np.isfinite(data[key]).all():
            raise InvalidParameterError(f"a value of {key}", data[key][~np.isfinite(data[key])][0], "finite values")
    if np.size(job.learning_rate) not in (1, len(job.seeds)):
        raise InvalidParameterError("learning_rate", job.learning_rate, f"one, or one of each of {len(job.seeds)} runs")
    if not 1 <= job.batch <= len(data[keys[0]]):
        raise InvalidParameterError("batch", job.batch, f"1 to {len(data[keys[0]])}, the number of training signals")


def _identity(job: Training, data: Mapping[str, np.ndarray]) -> str:
    """Hash of all that the result of a job depends on, but the code."""
    whole = hashlib.sha256(json.dumps(asdict(job), sort_keys=True).encode())
    for key in sorted(data):
        if not key.startswith("test/"):
            whole.update(f"{key} {data[key].dtype} {data[key].shape}".encode() + np.ascontiguousarray(data[key]).data)
    return whole.hexdigest()


def _rows(signals: Tensor, indices: Tensor) -> Tensor:
    """``signals[indices]``, faster: torch copies the rows that one dimension of indices selects as a whole."""
    return signals.index_select(0, indices.flatten()).unflatten(0, indices.shape)


class Trainer:
    """A stacked network on its way through the epochs.

    Networks that learn something else than denoising override what is built, trained on and measured: ``_build``,
    ``_prepare``, ``_measure`` and the format ``MEASURED`` of the latter.
    """

    MEASURED = "{:.2f} dB"

    def __init__(self, job: Training, data: Mapping[str, np.ndarray]) -> None:
        self.job, self.identity, self.device = job, _identity(job, data), device()
        self.net = networks.stack([self._build(seed) for seed in job.seeds]).to(self.device)
        self.apply: Callable[[Tensor], Tensor] = self.net
        self.inputs, self.targets = self._prepare(data)
        self.steps = len(self.inputs) // job.batch  # per epoch
        self.adam = Adam(self.net)
        rates = np.broadcast_to(job.learning_rate, len(job.seeds))
        self.largest = torch.tensor(rates).to(self.adam.values).unsqueeze(1)
        self.sound = self.adam.values.clone()  # as they were when all was well last
        self.epoch = 0
        self.diverged_at: list[int | None] = [None] * len(job.seeds)
        self.curves: list[list[float | None]] = [[] for _ in job.seeds]
        self.differentiate: Callable[[Tensor], tuple[Tensor, Tensor]] = self._differentiate
        if self.device.type == "cuda":  # where many small operations take as long as large ones
            self.differentiate = captured(self._differentiate, self._batches()[0])

    def _build(self, seed: int) -> Any:
        """A network with fresh weights."""
        return networks.build(**self.job.architecture.arguments(), seed=seed)

    def _prepare(self, data: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the training, (signals, length) on the device; ``apply`` maps one to the other."""
        self.validation = [data[f"validation/{part}"] for part in PAIR]
        noisy, clean = (torch.from_numpy(data[f"train/{part}"]).to(self.device) / PEAK for part in PAIR)
        return noisy, clean

    def _measure(self) -> Tensor:
        """The mean over the validation signals of every seed, (seeds,)."""
        return torch.from_numpy(denoised_psnr(self.net, *self.validation).mean(1))

    def run(self, state: Path, label: str) -> list[Run]:
        """Train on from where ``state`` was left, see :func:`fit`."""
        state.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(state.with_suffix(".lock")), flushed_subnormals():
            return self._run(state, label)

    def _run(self, state: Path, label: str) -> list[Run]:
        if state.is_file():
            self._load(state)
        progress = Progress(
            label, self.job.epochs * len(self.job.seeds), "epochs of single seeds", self.epoch * len(self.job.seeds)
        )
        while self.epoch < self.job.epochs:
            self._train_epoch()
            self._validate()
            self.epoch += 1
            self._save(state)
            progress.update(self.epoch * len(self.job.seeds), self._summary())
        return [
            Run(seed, networks.unstack(self.net, index).cpu(), self.curves[index], self.diverged_at[index])
            for index, seed in enumerate(self.job.seeds)
        ]

    def _train_epoch(self) -> None:
        for step, batch in enumerate(self._batches(), start=self.epoch * self.steps):
            losses, gradient = self.differentiate(batch)
            self._note_divergence(losses < DIVERGED, step)  # false for NaN
            self.adam.step(gradient, step + 1, self.largest * one_cycle(step, self.job.epochs * self.steps, 1))
            self._restore_diverged()

    def _batches(self) -> list[Tensor]:
        """Indices of the signals of every step of an epoch, (seeds, batch)."""
        # every seed shuffles for itself, and anew from (seed, epoch), so that resuming needs no generator state
        shuffled = [np.random.default_rng([seed, self.epoch]).permutation(len(self.inputs)) for seed in self.job.seeds]
        return list(torch.from_numpy(np.stack(shuffled)).to(self.device).split(self.job.batch, dim=1)[: self.steps])

    def _differentiate(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (seeds,) of the signals with these indices (seeds, batch), and gradient (seeds, parameters)."""
        losses = (self.apply(_rows(self.inputs, batch)) - _rows(self.targets, batch)).square().mean((1, 2))
        losses.sum().backward()  # the sum, not the mean: each seed gets the gradient it would get alone
        return losses.detach(), self.adam.gradient()

    def _note_divergence(self, sound: Tensor, step: int) -> None:
        """Give up the runs that are not sound any more at this step."""
        for seed in torch.nonzero(~sound).flatten().tolist():
            if self.diverged_at[seed] is None:
                self.diverged_at[seed] = step

    def _restore_diverged(self) -> None:
        diverged = [step is not None for step in self.diverged_at]
        if any(diverged):
            self.adam.values[diverged] = self.sound[diverged]

    def _validate(self) -> None:
        values = self._measure()
        self._note_divergence(values.isfinite(), (self.epoch + 1) * self.steps)
        for curve, step, value in zip(self.curves, self.diverged_at, values.tolist(), strict=True):
            curve.append(value if step is None else None)
        self._restore_diverged()
        self.sound.copy_(self.adam.values)

    def _summary(self) -> str:
        values = [curve[-1] for curve in self.curves if curve[-1] is not None]
        diverged = len(self.curves) - len(values)
        text = self.MEASURED.format(np.mean(values)) if values else "no run left"
        return f"epoch {self.epoch}, validation {text}" + (f", {diverged} diverged" if diverged else "")

    def _save(self, state: Path) -> None:
        rest = {"identity": self.identity, "epoch": self.epoch, "diverged_at": self.diverged_at, "curves": self.curves}
        files.write_safetensors(state, self.adam.state(), json.dumps(rest))

    def _load(self, state: Path) -> None:
        arrays, rest_json = files.read_safetensors(state)
        rest = json.loads(rest_json or "{}")
        if rest.get("identity") != self.identity:
            raise CheckpointError(f"{state}: interrupted work of another job or on other data; remove it to begin anew")
        for name, tensor in self.adam.state().items():
            tensor.copy_(torch.from_numpy(arrays[name]))
        self.sound.copy_(self.adam.values)
        self.epoch, self.diverged_at, self.curves = rest["epoch"], rest["diverged_at"], rest["curves"]
