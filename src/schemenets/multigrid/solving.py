"""The task of networks that solve: to learn it with the solutions (supervised), or with the problem alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from schemenets.errors import InvalidParameterError
from schemenets.evaluation import Prepared, relative_errors
from schemenets.multigrid.cycle import CycleArchitecture
from schemenets.multigrid.problems import Problem
from schemenets.networks import Architecture

LOSSES = ("supervised", "residual")


@dataclass(frozen=True, kw_only=True)
class Solving:
    """Solutions x* of a problem A(x) = b from b, a task of :mod:`schemenets.training`; measured is the relative error.

    Attributes:
        problem: what is solved.
        loss: ``supervised``: mean of (x - x*)² over that of x*²; ``residual``: mean of (b - A(x))² over that of A(b)².
            The divisors are those of all training signals, so that a loss does not count as diverged just because A or
            its inverse is large.

    Raises:
        InvalidParameterError: an unknown loss.
    """

    pair: ClassVar[tuple[str, str]] = "b", "x"
    measured: ClassVar[str] = "error {:.2e}"
    larger_is_better: ClassVar[bool] = False

    problem: Problem
    loss: str = "supervised"

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InvalidParameterError("loss", self.loss, " or ".join(LOSSES))

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Solving":
        """The task with these fields, see :func:`schemenets.training.task`."""
        return cls(**{**fields, "problem": Problem(**fields["problem"])})

    def arguments(self) -> dict[str, Any]:
        """The name of the task and its fields, plain enough for JSON."""
        return {"name": "solving", "problem": self.problem.arguments(), "loss": self.loss}

    def check(self, architecture: Architecture | CycleArchitecture) -> None:
        """Make sure that a cycle has the same problem.

        Raises:
            InvalidParameterError: it has another one.
        """
        if isinstance(architecture, CycleArchitecture) and architecture.problem != self.problem:
            raise InvalidParameterError("problem", self.problem, f"that of the architecture, {architecture.problem}")

    def prepare(self, b: Tensor, x: Tensor) -> Prepared:
        """Right-hand sides; solutions, or right-hand sides again, over the square root of their mean square."""
        if self.loss == "supervised":
            size = x.square().mean().sqrt()
            return Prepared(b, x / size, 1 / size)
        grid = self.problem.on(b.shape[-1])
        size = grid(b).square().mean().sqrt()
        return Prepared(b, b / size, 1 / size, grid)

    def measure(self, network: Any, b: np.ndarray, x: np.ndarray) -> Tensor:
        """Mean relative error of every seed, (seeds,)."""
        device = next(network.parameters()).device
        return relative_errors(network, *(torch.from_numpy(part).to(device) for part in (b, x))).mean(1).cpu()

    def unlearned(self, b: np.ndarray, x: np.ndarray) -> float:
        """1, the relative error of x = 0."""
        return 1.0
