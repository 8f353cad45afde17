"""Adam with a one-cycle learning rate, for a stack of networks that are trained side by side.

Both compute what ``torch.optim`` computes, which the tests compare. Importing its optimisers imports the compiler of
torch as well, which takes three seconds in every process, more than some trainings.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from schemenets import kernels

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
        gradient: of the same shape.
        mean: running mean of the gradients, of the same shape.
        square: running mean of their squares.
        blocks: a block whose parameters (networks, blocks, ...) are those of all blocks; None if they differ in shape.
    """

    def __init__(self, stacked: Any) -> None:
        parameters = list(stacked.parameters())
        self.values = torch.cat([p.detach().reshape(len(p), -1) for p in parameters], dim=1)
        self.gradient, self.mean, self.square = (torch.zeros_like(self.values) for _ in range(3))
        columns = list(itertools.accumulate((p[0].numel() for p in parameters), initial=0))
        parts = [slice(*pair) for pair in itertools.pairwise(columns)]
        self._own = [
            self._place(p, [m[:, part] for m in self._matrices()]) for p, part in zip(parameters, parts, strict=True)
        ]
        self.blocks, self._together = None, self._own
        blocks = [list(block.parameters()) for block in getattr(stacked, "blocks", [])]
        if blocks and all([p.shape for p in block] == [p.shape for p in blocks[0]] for block in blocks):
            self.blocks = copy.deepcopy(stacked.blocks[0])
            first = next(i for i, p in enumerate(parameters) if p is blocks[0][0])
            count, size = len(blocks[0]), sum(p[0].numel() for p in blocks[0])
            place = slice(columns[first], columns[first] + len(blocks) * size)
            of_blocks = [m[:, place].unflatten(1, (len(blocks), size)) for m in self._matrices()]
            self._together = self._own[:first] + self._own[first + count * len(blocks) :]
            for parameter, part in zip(self.blocks.parameters(), parts[first : first + count], strict=True):
                own = slice(part.start - place.start, part.stop - place.start)
                self._together.append(self._place(parameter, [m[:, :, own] for m in of_blocks]))

    def _matrices(self) -> tuple[Tensor, Tensor]:
        return self.values, self.gradient

    def _place(self, parameter: nn.Parameter, places: Sequence[Tensor]) -> tuple[nn.Parameter, Tensor]:
        """Make a parameter a view of the values at its place, and find the place of its gradient."""
        shape = parameter.shape[1:]
        parameter.data, gradient = (x.unflatten(-1, shape) if shape else x.squeeze(-1) for x in places)
        return parameter, gradient

    def differentiate(self, y: Tensor, dy: Tensor | None = None, together: bool = False) -> None:
        """Put the derivatives of y, weighted by ``dy``, into ``gradient``, and zeros where y depends on nothing.

        Args:
            y: a number, or anything if ``dy`` is given.
            dy: of its shape.
            together: whether y depends on the parameters of ``blocks`` instead of those of single blocks.
        """
        parameters, places = zip(*(self._together if together else self._own), strict=True)
        found = torch.autograd.grad(y, parameters, dy, allow_unused=True)
        for place, derivative in zip(places, found, strict=True):
            place.zero_() if derivative is None else place.copy_(derivative)

    def step(self, number: int, learning_rate: float | Tensor) -> None:
        """Step ``number`` (1, 2, ...) along the gradient; rates of shape (networks, 1) or one."""
        bias_1, bias_2 = 1 - BETA_1**number, 1 - BETA_2**number
        if self.values.is_cpu and kernels.backend() == "fused":
            from schemenets.kernels import engine

            rates = (
                torch.as_tensor(learning_rate / bias_1, dtype=self.values.dtype).expand(len(self.values), 1).flatten()
            )
            values, gradient, mean, square = (x.numpy() for x in (*self._matrices(), self.mean, self.square))
            engine.adam(values, gradient, mean, square, rates.contiguous().numpy(), BETA_1, BETA_2, bias_2, EPSILON)
            return
        self.mean.lerp_(self.gradient, 1 - BETA_1)
        self.square.lerp_(self.gradient.square(), 1 - BETA_2)
        scale = (self.square / bias_2).sqrt_().add_(EPSILON)
        self.values.addcdiv_(self.mean * learning_rate, scale, value=-1 / bias_1)

    def state(self) -> dict[str, Tensor]:
        """Everything that changes and is kept, by name."""
        return {"values": self.values, "mean": self.mean, "square": self.square}
