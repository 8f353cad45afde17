"""Training: all seeds of one job at once, as one stacked network whose seeds do not touch each other."""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from schemenets import files, kernels, networks
from schemenets.devices import captured, device, flushed_subnormals
from schemenets.errors import CheckpointError, InvalidParameterError, UnknownNameError, integer
from schemenets.evaluation import PEAK, Prepared, denoised_psnr
from schemenets.kernels.program import Program
from schemenets.metrics import psnr
from schemenets.networks import Architecture
from schemenets.optimisation import Adam, one_cycle
from schemenets.progress import Progress

if TYPE_CHECKING:
    from schemenets.multigrid import CycleArchitecture

UNIT = 2.0  # largest absolute value of signals that were meant to lie on [0, 1]
DIVERGED = 1e4  # mean squared error on [0, 1] from which a run counts as diverged: -40 dB


class Task(Protocol):
    """What networks learn.

    Attributes:
        pair: names of the arrays of inputs and targets, each after ``train/`` and ``validation/``.
        measured: what is measured on the validation signals, as progress lines show it.
        larger_is_better: whether larger values of it are better.
    """

    pair: ClassVar[tuple[str, str]]
    measured: ClassVar[str]
    larger_is_better: ClassVar[bool]

    def arguments(self) -> dict[str, Any]:
        """The name of the task and its fields, plain enough for JSON; :func:`task` reads them."""

    def check(self, architecture: "Architecture | CycleArchitecture") -> None:
        """Make sure that this architecture can learn the task."""

    def prepare(self, inputs: Tensor, targets: Tensor) -> Prepared:
        """What the loss is made of, from arrays (signals, length), or (seeds, signals, length), on the device."""

    def measure(self, network: Any, inputs: np.ndarray, targets: np.ndarray) -> Tensor:
        """The mean over the validation signals of every seed of a stacked network, (seeds,)."""

    def unlearned(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """What is measured if nothing has been learned."""


@dataclass(frozen=True)
class Denoising:
    """Clean signals from noisy ones, by the mean squared error; measured is the PSNR."""

    pair: ClassVar[tuple[str, str]] = "noisy", "clean"
    measured: ClassVar[str] = "{:.2f} dB"
    larger_is_better: ClassVar[bool] = True

    def arguments(self) -> dict[str, Any]:
        """The name of the task."""
        return {"name": "denoising"}

    def check(self, architecture: "Architecture | CycleArchitecture") -> None:
        """Make sure that it is the architecture of a denoising network.

        Raises:
            InvalidParameterError: it is not.
        """
        if not isinstance(architecture, Architecture):
            raise InvalidParameterError("architecture", architecture, "one of a network that denoises")

    def prepare(self, inputs: Tensor, targets: Tensor) -> Prepared:
        """Signals on [0, 1]."""
        return Prepared(inputs / PEAK, targets / PEAK)

    def measure(self, network: Any, inputs: np.ndarray, targets: np.ndarray) -> Tensor:
        """Mean PSNR in dB of every seed, (seeds,)."""
        return torch.from_numpy(denoised_psnr(network, inputs, targets).mean(1))

    def unlearned(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Mean PSNR in dB of the noisy signals."""
        return float(psnr(inputs, targets).mean())


def task(arguments: Mapping[str, Any]) -> Task:
    """The task with these ``arguments()``.

    Raises:
        UnknownNameError: a task of another name.
        KeyError, TypeError: arguments that are missing or too many.
        InvalidParameterError: a value that is not possible.
    """
    fields = {key: value for key, value in arguments.items() if key != "name"}
    if arguments["name"] == "denoising":
        return Denoising(**fields)
    if arguments["name"] == "solving":
        # by its name, as the entries of registries, so that denoising does not depend on it
        solving: Any = importlib.import_module("schemenets.multigrid.solving")
        found: Task = solving.Solving.read(fields)
        return found
    raise UnknownNameError("task", arguments["name"], ["denoising", "solving"])


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training job: everything that determines its result, but the data.

    Attributes:
        architecture: what is trained, a network of :mod:`schemenets.networks` or a learned cycle.
        seeds: seed of the initial weights and of the shuffling of every run.
        learning_rate: the largest of the one-cycle schedule, of all runs or of every one.
        epochs: how often the validation signals are looked at; passes over the training signals, see ``passes``.
        batch: signals per step; an incomplete last batch is left out.
        task: what is learned.
        passes: passes over the training signals per epoch, for so few of them that more are wanted between two
            validations.
    """

    architecture: "Architecture | CycleArchitecture"
    seeds: tuple[int, ...]
    learning_rate: float | tuple[float, ...]
    epochs: int
    batch: int
    task: Task = Denoising()
    passes: int = 1

    def __post_init__(self) -> None:
        for key in ("seeds", "learning_rate", "epochs", "batch", "passes"):
            value = getattr(self, key)
            several = isinstance(value, tuple | list | np.ndarray) and np.ndim(value) > 0
            object.__setattr__(self, key, tuple(map(files.plain, value)) if several else files.plain(value))


@dataclass(frozen=True)
class Run:
    """The outcome of one seed.

    Attributes:
        seed: seed of the initial weights and of the shuffling.
        network: the trained network; for a diverged run as it was at the last epoch's end that was still finite.
        curve: what the task measures on the validation signals after every epoch; None from divergence on.
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


def fit(job: Training, data: Mapping[str, np.ndarray], state: Path | str, label: str) -> list[Run]:
    """Train all seeds of a job.

    A run whose loss is not finite any more is frozen and recorded as diverged; the others go on. Interrupted work
    resumes from the last epoch in ``state`` and ends with the same numbers. Two processes with the same ``state``
    work one after the other, unless the first takes more than an hour.

    Args:
        job: what to train.
        data: arrays of shape (signals, length), for denoising ``train/noisy``, ``train/clean``, ``validation/noisy``
            and ``validation/clean`` with values on [0, 255], for solving ``train/b``, ``train/x``, ``validation/b``
            and ``validation/x``. Those of ``train/`` may also be of shape (seeds, signals, length), with signals for
            every seed. They are converted to the precision of the networks, which is single.
        state: file of the interrupted work; the caller removes it when the result is stored.
        label: name of the job in the progress lines.

    Raises:
        InvalidParameterError: an impossible job, arrays that are missing, do not fit together or hold NaN or
            infinite values, or fewer signals than a batch.
        CheckpointError: ``state`` belongs to another job or to other data, or cannot be locked.
    """
    check(job, data)
    return Trainer(job, data).run(Path(state), label)


def check(job: Training, data: Mapping[str, np.ndarray]) -> None:
    """Make sure that the job is possible and that its arrays fit.

    Raises:
        InvalidParameterError: see :func:`fit`.
    """
    if not hasattr(job.architecture, "arguments"):
        expected = "the architecture of a registered network; others are trained as any module of torch"
        raise InvalidParameterError("architecture", type(job.architecture).__name__, expected)
    job.task.check(job.architecture)
    if not isinstance(job.seeds, tuple) or not job.seeds:
        raise InvalidParameterError("seeds", job.seeds, "one seed or more, such as (0, 1)")
    for seed in job.seeds:
        integer("a seed", seed, 0)
    integer("epochs", job.epochs, 1)
    integer("batch", job.batch, 1)
    integer("passes", job.passes, 1)
    if not (np.min(job.learning_rate) > 0 and np.isfinite(job.learning_rate).all()):
        raise InvalidParameterError("learning_rate", job.learning_rate, "positive and finite numbers")
    keys = [f"{split}/{part}" for split in ("train", "validation") for part in job.task.pair]
    if not set(keys) <= set(data):
        raise InvalidParameterError("names of the arrays", sorted(data), ", ".join(keys))
    for key in keys:
        if not isinstance(data[key], np.ndarray):
            raise InvalidParameterError(f"type of {key}", type(data[key]).__name__, "an array of NumPy")
        other = f"{key.partition('/')[0]}/{job.task.pair[1]}"
        shapes = [(len(job.seeds),), ()] if key.startswith("train/") else [()]
        fitting = data[key].shape[:-2] in shapes and 0 not in data[key].shape and data[key].ndim > 1
        if not fitting or data[key].shape != data[other].shape:
            each = f" or ({len(job.seeds)}, signals, length)" * (len(shapes) > 1)
            expected = f"(signals, length){each}, that of {other}, {data[other].shape}"
            raise InvalidParameterError(f"shape of {key}", data[key].shape, expected)
        if data[key].dtype.kind not in "fiu":
            raise InvalidParameterError(f"dtype of {key}", data[key].dtype, "real numbers")
        if not np.isfinite(data[key]).all():
            raise InvalidParameterError(
                f"a value of {key}", data[key][~np.isfinite(data[key])][0].item(), "finite values"
            )
    if np.size(job.learning_rate) not in (1, len(job.seeds)):
        raise InvalidParameterError(
            "learning_rate", job.learning_rate, f"one, or one for each of {len(job.seeds)} runs"
        )
    runs = list(zip(job.seeds, np.broadcast_to(job.learning_rate, len(job.seeds)).tolist(), strict=True))
    if len(set(runs)) < len(runs):
        raise InvalidParameterError("seeds", job.seeds, "seeds that differ, or learning rates of equal seeds that do")
    count = data[keys[0]].shape[-2]
    if job.batch > count:
        raise InvalidParameterError("batch", job.batch, f"1 to {count}, the number of training signals")
    for key in keys if isinstance(job.task, Denoising) else ():
        if (largest := np.abs(data[key]).max()) <= UNIT:
            expected = "values on [0, 255]: multiply signals on [0, 1] by 255"
            raise InvalidParameterError(f"largest value of {key}", float(largest), expected)


def _identity(job: Training, data: Mapping[str, np.ndarray]) -> str:
    """Hash of all that the result of a job depends on, but the code."""
    plain = {**vars(job), "architecture": job.architecture.arguments(), "task": job.task.arguments()}
    whole = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for key in sorted(data):
        if not key.startswith("test/"):
            whole.update(f"{key} {data[key].dtype} {data[key].shape}".encode() + np.ascontiguousarray(data[key]).data)
    return whole.hexdigest()


def _rows(signals: Tensor, indices: Tensor) -> Tensor:
    """The signals (seeds, batch, length) with these indices (seeds, batch); seeds may have signals of their own."""
    if signals.ndim == 3:
        return signals.take_along_dim(indices.unsqueeze(-1), 1)
    # torch copies the rows that one dimension of indices selects as a whole
    return signals.index_select(0, indices.flatten()).unflatten(0, indices.shape)


class Trainer:
    """The training of a stacked network, epoch by epoch."""

    def __init__(self, job: Training, data: Mapping[str, np.ndarray]) -> None:
        self.job, self.identity, self.device = job, _identity(job, data), device()
        stacked: Any = networks.stack([job.architecture.build(seed) for seed in job.seeds])
        precision = next(stacked.parameters()).detach().numpy().dtype
        train, self.validation = (
            [np.ascontiguousarray(data[f"{split}/{part}"], precision) for part in job.task.pair]
            for split in ("train", "validation")
        )
        self.net = stacked.to(self.device)
        pair = (torch.from_numpy(array).to(self.device) for array in train)
        self.inputs, self.targets, self.scale, self.grid = job.task.prepare(*pair)
        self.signals = self.inputs.shape[-2]
        self.steps = job.passes * (self.signals // job.batch)  # per epoch
        self.adam = Adam(self.net)
        rates = np.broadcast_to(job.learning_rate, len(job.seeds))
        self.largest = torch.tensor(rates).to(self.adam.values).unsqueeze(1)
        self.sound = self.adam.values.clone()  # as they were when all was well last
        self.epoch = 0
        self.diverged_at: list[int | None] = [None] * len(job.seeds)
        self.curves: list[list[float | None]] = [[] for _ in job.seeds]
        self.differentiate: Callable[[Tensor], Tensor] = self._differentiate
        with torch.no_grad():
            self.net(_rows(self.inputs, self._batches()[0][:, :1]))  # whatever cannot be compiled shows
        program, operands = self._recorded()
        if kernels.takes(program, [self.inputs, operands]) and not self.net.implicit_gradients:
            self.differentiate = self._differentiate_compiled
        if self.device.type == "cuda":  # where many small operations take as long as large ones
            self.differentiate = captured(self._differentiate, self._batches()[0])

    def run(self, state: Path, label: str) -> list[Run]:
        """Train on from where ``state`` was left, see :func:`fit`."""
        with files.locked(state, label), flushed_subnormals():
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
            sound = self.differentiate(batch) < DIVERGED  # false for NaN
            if not sound.all():
                self._note_divergence(sound, step)
            self.adam.step(step + 1, self.largest * one_cycle(step, self.job.epochs * self.steps, 1))
            self._restore_diverged()

    def _batches(self) -> list[Tensor]:
        """Indices of the signals of every step of an epoch, (seeds, batch)."""
        # every seed shuffles for itself, and anew from (seed, epoch), so that resuming needs no generator state
        whole = self.signals - self.signals % self.job.batch
        generators = [np.random.default_rng([seed, self.epoch]) for seed in self.job.seeds]
        passes = [[rng.permutation(self.signals)[:whole] for _ in range(self.job.passes)] for rng in generators]
        shuffled = np.array(passes).reshape(len(passes), -1)
        return list(torch.from_numpy(shuffled).to(self.device).split(self.job.batch, dim=1))

    def _recorded(self) -> tuple[Program, Tensor]:
        """What is trained as a program, and its operands."""
        program, operands = self.net.recorded(self.inputs.shape[-1], self.adam.blocks)
        return (program if self.grid is None else program.followed_by(self.grid)), operands

    def _differentiate(self, batch: Tensor) -> Tensor:
        """Losses (seeds,) of the signals with these indices (seeds, batch); their gradient is left to Adam."""
        y = self.net(_rows(self.inputs, batch))
        y = self.scale * (y if self.grid is None else self.grid(y))
        losses = (y - _rows(self.targets, batch)).square().mean((1, 2))
        self.adam.differentiate(losses.sum())  # the sum, not the mean: each seed gets the gradient it would get alone
        return losses.detach()

    def _differentiate_compiled(self, batch: Tensor) -> Tensor:
        """The same, all that grows with the signals as one compiled call."""
        program, operands = self._recorded()
        losses, derivatives = kernels.differentiate(
            program, self.inputs, self.targets, batch, float(self.scale), operands.detach()
        )
        self.adam.differentiate(operands, derivatives, together=True)
        return losses

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
        values = self.job.task.measure(self.net, *self.validation)
        self._note_divergence(values.isfinite(), (self.epoch + 1) * self.steps)
        for curve, step, value in zip(self.curves, self.diverged_at, values.tolist(), strict=True):
            curve.append(value if step is None else None)
        self._restore_diverged()
        self.sound.copy_(self.adam.values)

    def _summary(self) -> str:
        values = [curve[-1] for curve in self.curves if curve[-1] is not None]
        diverged = len(self.curves) - len(values)
        text = self.job.task.measured.format(np.mean(values)) if values else "no run left"
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
