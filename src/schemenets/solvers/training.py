"""Training of networks that solve: with the solutions (supervised), or with the problem alone (by its residual).

All that training is, seeds side by side, schedule, divergence, resuming, is that of :mod:`schemenets.training`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from schemenets import networks
from schemenets.devices import device, flushed_subnormals
from schemenets.errors import InvalidParameterError
from schemenets.networks import Architecture
from schemenets.optimisation import Adam
from schemenets.solvers.cycle import CycleArchitecture
from schemenets.solvers.problems import Grid, Problem
from schemenets.training import Run, Training, _identity, _Trainer

Learner = CycleArchitecture | Architecture
LOSSES = ("supervised", "residual")
PAIR = "b", "x"


@dataclass(frozen=True, kw_only=True)
class SolverTraining(Training):
    """One training job.

    Attributes:
        architecture: what is trained, a cycle or a network of :mod:`schemenets.networks`.
        problem: what it learns to solve.
        loss: ``supervised``: mean of (x - x*)² over that of x*²; ``residual``: mean of (b - A(x))² over that of A(b)².
            What is divided by is of all training signals, and keeps a loss from being beyond all bounds just because
            A or its inverse is large.
    """

    architecture: Any  # wider than that of the base class
    problem: Problem
    loss: str = "supervised"


def fit(job: SolverTraining, data: Mapping[str, np.ndarray], state: Path, label: str) -> list[Run]:
    """Train all seeds of a job, as :func:`schemenets.training.fit` does; the curves are relative errors.

    Args:
        job: what to train.
        data: arrays ``train/b``, ``train/x``, ``validation/b``, ``validation/x`` of shape (signals, N).
        state: file of the interrupted work; the caller removes it when the result is stored.
        label: name of the job in the progress lines.

    Raises:
        InvalidParameterError: an unknown loss, or arrays that are missing, do not fit together or are not finite.
        CheckpointError: ``state`` belongs to another job or to other data.
    """
    if job.loss not in LOSSES:
        raise InvalidParameterError("loss", job.loss, ", ".join(LOSSES))
    keys = [f"{split}/{part}" for split in ("train", "validation") for part in PAIR]
    if not set(keys) <= set(data):
        raise InvalidParameterError("names of the arrays", sorted(data), ", ".join(keys))
    for key in keys:
        shape = data[f"{key.partition('/')[0]}/x"].shape
        if data[key].ndim != 2 or 0 in shape or data[key].shape != shape:
            allowed = f"(signals, N), that of {key.partition('/')[0]}/x, {shape}"
            raise InvalidParameterError(f"shape of {key}", data[key].shape, allowed)
        if not np.isfinite(data[key]).all():
            raise InvalidParameterError(f"a value of {key}", data[key][~np.isfinite(data[key])][0], "finite values")
    if np.size(job.learning_rate) not in (1, len(job.seeds)):
        raise InvalidParameterError("learning_rate", job.learning_rate, f"one, or one of each of {len(job.seeds)} runs")
    if not 1 <= job.batch <= len(data[keys[0]]):
        raise InvalidParameterError("batch", job.batch, f"1 to {len(data[keys[0]])}, the number of training signals")
    state.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(state.with_suffix(".lock")), flushed_subnormals():
        return _SolverTrainer(job, data).run(state, label)


def build(architecture: Learner, seed: int) -> Any:
    """A network with fresh weights."""
    if isinstance(architecture, CycleArchitecture):
        return architecture.build(seed)
    return networks.build(**architecture.arguments(), seed=seed)


def relative_errors(network: nn.Module, b: Tensor, x: Tensor) -> Tensor:
    """‖network(b) - x‖₂/‖x‖₂ of every signal with a stacked network: (signals, N) to (seeds, signals)."""
    seeds = len(next(network.parameters()))
    with torch.inference_mode():
        parts = [network(part.expand(seeds, *part.shape)) for part in b.split(100)]
    return (torch.cat(parts, 1) - x).norm(dim=-1) / x.norm(dim=-1)


def _relative(network: nn.Module, grid: Grid | None, size: Tensor, b: Tensor) -> Tensor:
    """network(b)/size, or A(network(b))/size if there is a grid; it depends on all weights, if only by a factor 0."""
    x: Tensor = network(b)
    if not getattr(network.architecture, "shared", True):  # transfers of the coarsest level are not used
        sums = [weights.reshape(len(weights), -1).sum(1) for weights in network.parameters()]
        x = x + 0 * torch.stack(sums).sum(0)[:, None, None]
    return (x if grid is None else grid(x)) / size


class _SolverTrainer(_Trainer):
    """The trainer of denoisers with other networks, another loss and another measure."""

    job: SolverTraining

    def __init__(self, job: SolverTraining, data: Mapping[str, np.ndarray]) -> None:
        single = {key: array.astype(np.float32) for key, array in data.items()}
        # what the base class prepares is for denoisers; all that follows from the networks is made here
        self.job, self.identity, self.device = job, _identity(job, single), device()
        b, x = (torch.from_numpy(single[f"train/{part}"]).to(self.device) for part in PAIR)
        self.held_out = [torch.from_numpy(single[f"validation/{part}"]).to(self.device) for part in PAIR]
        self.steps = len(b) // job.batch
        self.net = networks.stack([build(job.architecture, seed) for seed in job.seeds]).to(self.device)
        grid = job.problem.on(b.shape[-1])
        supervised = job.loss == "supervised"
        size = (x if supervised else grid(b)).square().mean().sqrt()
        self.noisy, self.clean = b, (x if supervised else b) / size
        self.denoise = partial(_relative, self.net, None if supervised else grid, size)
        self.adam = Adam(self.net)
        rates = np.broadcast_to(job.learning_rate, len(job.seeds))
        self.largest = torch.tensor(rates).to(self.adam.values).unsqueeze(1)
        self.sound = self.adam.values.clone()
        self.epoch = 0
        self.diverged_at, self.curves = [None] * len(job.seeds), [[] for _ in job.seeds]

    def _validate(self) -> None:
        errors = relative_errors(self.net, *self.held_out).mean(1).cpu()
        self._note_divergence(errors.isfinite(), (self.epoch + 1) * self.steps)
        for curve, step, error in zip(self.curves, self.diverged_at, errors.tolist(), strict=True):
            curve.append(error if step is None else None)
        self._restore_diverged()
        self.sound.copy_(self.adam.values)

    def _summary(self) -> str:
        errors = [curve[-1] for curve in self.curves if curve[-1] is not None]
        text = f"{np.mean(errors):.2e}" if errors else "no run left"
        return f"epoch {self.epoch}, validation error {text}"
