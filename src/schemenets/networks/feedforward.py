"""The standard residual network without its skip connections, W₂ᵀ Φ(W₁u + b₁) + b₂: it shows what the skips contribute.

Blocks, counts and training are those of :mod:`~schemenets.networks.resnet`. Only the initial weights cannot be: without
a skip, blocks whose first filters annihilate constants lose the mean of the signal, and filters W₂ divided by the depth
lose the rest. So W₁ starts with a mean, as in the U-net, and W₂ such that a rectified block keeps the variance, on
average over networks.
"""

import math

import torch

from schemenets.networks import resnet
from schemenets.networks._base import Architecture, fan_in_scale, random_filters


class Block(resnet.Block):
    """The weights of u ↦ W₂ᵀ Φ(W₁u + b₁) + b₂."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__(architecture, generator)
        F, C, k = architecture.filters, architecture.channels, architecture.kernel_size
        self.W1 = random_filters(architecture, generator, fan_in_scale(C * k))
        self.W2 = random_filters(architecture, generator, 1 / math.sqrt(F * k))  # no activation follows


class Feedforward(resnet.ResNet):
    """A plain convolutional network with the parameters of the residual one."""

    block = Block
    skip = False


NETWORK = Feedforward
