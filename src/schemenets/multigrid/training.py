"""Training of networks that solve: with the solutions (supervised), or with the problem alone (by its residual).

All that training is, seeds side by side, schedule, divergence, resuming, is that of :mod:`schemenets.training`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from schemenets import networks
from schemenets.errors import InvalidParameterError
from schemenets.multigrid.cycle import CycleArchitecture
from schemenets.multigrid.problems import Problem
from schemenets.networks import Architecture
from schemenets.training import Run, Trainer, Training, check

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
        InvalidParameterError: an unknown loss, a problem that is not that of the cycle, or arrays that are missing, do
            not fit together or are not finite.
        CheckpointError: ``state`` belongs to another job or to other data.
    """
    if job.loss not in LOSSES:
        raise InvalidParameterError("loss", job.loss, ", ".join(LOSSES))
    if isinstance(job.architecture, CycleArchitecture) and job.architecture.problem != job.problem:
        raise InvalidParameterError("problem", job.problem, f"that of the architecture, {job.architecture.problem}")
    check(job, data, PAIR)
    # solutions are computed in double precision, networks trained in single
    return SolverTrainer(job, {key: array.astype(np.float32) for key, array in data.items()}).run(state, label)


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


class SolverTrainer(Trainer):
    """The trainer of denoisers with other networks, another loss and another measure."""

    job: SolverTraining
    MEASURED = "error {:.2e}"

    def _build(self, seed: int) -> Any:
        return build(self.job.architecture, seed)

    def _prepare(self, data: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor]:
        b, x = (torch.from_numpy(data[f"train/{part}"]).to(self.device) for part in PAIR)
        self.held_out = [torch.from_numpy(data[f"validation/{part}"]).to(self.device) for part in PAIR]
        if self.job.loss == "supervised":
            size = x.square().mean().sqrt()
            self.apply = lambda b: self.net(b) / size
            return b, x / size
        grid = self.job.problem.on(b.shape[-1])
        size = grid(b).square().mean().sqrt()
        self.apply = lambda b: grid(self.net(b)) / size
        return b, b / size

    def _measure(self) -> Tensor:
        return relative_errors(self.net, *self.held_out).mean(1).cpu()
