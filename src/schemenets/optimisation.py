"""Adam with a one-cycle learning rate, for a stack of networks that are trained side by side.

Both compute what ``torch.optim`` computes, which the tests compare. Importing its optimisers imports the compiler of
torch as well, which takes three seconds in every process, more than some trainings.
"""

import math

import torch
from torch import Tensor, nn

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
WARM_UP = 0.3  # share of the steps until the learning rate is largest
START, END = 1 / 25, 1 / 25e4  # first and last learning rate, as shares of the largest


def one_cycle(step: int, steps: int, largest: float) -> float:
    """Learning rate of a step (0, 1, ...): up from ``START`` and down to ``END`` along half cosines (Smith 2018)."""
    peak = WARM_UP * steps - 1
    if step <= peak:
        return largest * _half_cosine(START, 1, step / peak)
    return largest * _half_cosine(1, END, (step - peak) / (steps - 1 - peak))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


class Adam:
    """Adam (Kingma and Ba 2015) on all parameters of a stacked network as one matrix.

    The parameters become views of the rows of ``values``, so that changing it changes the network.

    Attributes:
        values: (networks, parameters of each).
        mean: running mean of the gradients, of the same shape.
        square: running mean of their squares.
    """

    def __init__(self, stacked: nn.Module) -> None:
        self._parameters = list(stacked.parameters())
        rows = [parameter.detach().reshape(len(parameter), -1) for parameter in self._parameters]
        self.values = torch.cat(rows, dim=1)
        parts = self.values.split([row.shape[1] for row in rows], dim=1)
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.data = part.view(parameter.shape)
        self.mean, self.square = torch.zeros_like(self.values), torch.zeros_like(self.values)

    def gradient(self) -> Tensor:
        """The gradients of all parameters, of the shape of ``values``, which are cleared; zero where there is none."""
        gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters)
        gradient = torch.cat([each.reshape(len(each), -1) for each in gradients], dim=1)
        for parameter in self._parameters:
            parameter.grad = None
        return gradient

    def step(self, gradient: Tensor, number: int, learning_rate: float | Tensor) -> None:
        """Step ``number`` (1, 2, ...) along a gradient, which is overwritten; rates of shape (networks, 1) or one."""
        self.mean.lerp_(gradient, 1 - BETA_1)
        self.square.lerp_(gradient.square_(), 1 - BETA_2)
        scale = (self.square / (1 - BETA_2**number)).sqrt_().add_(EPSILON)
        self.values.addcdiv_(self.mean * learning_rate, scale, value=-1 / (1 - BETA_1**number))

    def state(self) -> dict[str, Tensor]:
        """Everything that changes, by name."""
        return {"values": self.values, "mean": self.mean, "square": self.square}
