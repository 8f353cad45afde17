"""What the blocks of a symmetric network have learned, and whether they smooth or sharpen.

Close to a state u, a block is the linear map I - τ Kᵀ diag(Φ'(Ku + b₁)) K. Where Φ' is the same in all places, that
multiplies a wave of frequency ω by the gain

    G(ω) = 1 - τ Σ_f Φ'_f |K̂_f(ω)|²,   K̂_f(ω) = Σ_i K_f[i] e^(-iωi),

away from the ends. It smooths waves with |G| < 1, sharpens those with G > 1, which takes Φ' < 0, and overshoots where
G < -1. Here Φ' is the mean over places: those near jumps of the clean signal, or all others.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from schemenets.kernels.reference import correlate, per_filter
from schemenets.networks import DenoisingNetwork

FILTER, FLUX, CONTRAST, STEP = "filter", "flux", "contrast", "step size"  # parts of a block
FLAT, JUMPS = "gain away from jumps", "gain near jumps"
POINTS = 41  # of a flux
FREQUENCIES = 33  # of a gain
NOISES = 3.0  # standard deviations of the noise that a jump is higher than
COLUMNS = ["block", "part", "filter", "x", "y"]


@torch.no_grad()
def described(network: DenoisingNetwork, noisy: Tensor, clean: Tensor) -> list[dict[str, Any]]:
    """The blocks of a symmetric network, and what they do to these signals.

    Args:
        network: not stacked, with one channel, filters longer than 1, an odd flux and one step size per block.
        noisy, clean: (batch, length), on the scale of the network.

    Returns:
        Rows with the columns :data:`COLUMNS`, blocks and filters from 1 on:

        * ``filter``: x the tap, y its weight;
        * ``flux``: x = s from 0 to the largest |s| on these signals, y = Φ(s);
        * ``contrast``: x = λ, y = Φ(λ);
        * ``step size``: y = τ;
        * both gains: x the frequency ω/π from 0 to 1, y = G.
    """
    jumps = clean.diff().abs() > NOISES * (noisy - clean).std()
    near = jumps.double().unfold(-1, network.architecture.kernel_size - 1, 1).amax(-1) > 0  # under a filter
    u, found = noisy[:, None], []
    for number, block in enumerate(network.applied, start=1):
        found += [{"block": number, **row} for row in _rows(block, u, near)]
        u = block.step(u, block.tau, u)
    return found


def _rows(block: Any, u: Tensor, near: Tensor) -> Iterator[dict[str, Any]]:
    K, tau, flux = block.K.double(), float(block.tau), block.flux
    lam, w = (None if x is None else x.double() for x in (block.lam, block.w))
    s = correlate(u.double(), K)  # (batch, filters, places)
    if block.b1 is not None:
        s = s + block.b1.double()[:, None]
    of_filter, shape = per_filter(lam, w)
    slopes = flux.derivative(s, of_filter, shape)
    for f in range(len(K)):
        own = (1.0 if lam is None else lam[f], None if w is None else w[f])
        x = s[:, f].abs().max() * torch.linspace(0, 1, POINTS, dtype=s.dtype) ** 2
        yield from _curve(FILTER, f + 1, range(K.shape[-1]), K[f, 0])
        yield from _curve(FLUX, f + 1, x, flux(x, *own))
        if lam is not None:
            yield from _curve(CONTRAST, f + 1, lam[f : f + 1], flux(lam[f : f + 1], *own))
    yield from _curve(STEP, None, [None], [tau])
    omega = torch.linspace(0, math.pi, FREQUENCIES, dtype=s.dtype)
    symbol = torch.exp(-1j * omega[:, None] * torch.arange(K.shape[-1])) @ K[:, 0].mT.to(torch.complex128)
    for part, places in ((JUMPS, near), (FLAT, ~near)):
        mean = slopes.movedim(1, -1)[places].mean(0)  # of every filter
        yield from _curve(part, None, omega / math.pi, 1 - tau * (symbol.abs().square() @ mean))


def _curve(part: str, number: int | None, x: Any, y: Any) -> Iterator[dict[str, Any]]:
    for each, value in zip(x, y, strict=True):
        yield {"part": part, "filter": number, "x": None if each is None else float(each), "y": float(value)}
