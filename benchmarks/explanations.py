"""Experiments that explain what surprised in the study: `python -m benchmarks.explanations`.

Each experiment is a function. Its docstring has the question, the hypotheses that compete, and the interventions that
tell them apart: networks that differ from those of the study in one respect. Denoisers are those of
:mod:`benchmarks.certified`: trained on piecewise affine signals (σ = 10), the best of some learning rates on
validation signals counts. What was found is in `docs/surprises.md`.
"""

import argparse
import csv
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from benchmarks import table
from benchmarks.certified import COUNTS, RATES, SIGNALS, Change, norm_1, trained
from benchmarks.targets import Row
from schemenets import fluxes, signals, training
from schemenets.fluxes import Flux, where
from schemenets.multigrid import Problem, Solving
from schemenets.multigrid.data import generate
from schemenets.networks import Architecture, fsi, resnet, symmetric, unet
from schemenets.study.records import provenance

COLUMNS = (
    "experiment",
    "case",
    "setting",
    "parameters",
    "measured",
    "value",
    "standard_deviation",
    "seeds",
    "rate",
    "commit",
)
PSNR = "PSNR in dB"
PROBLEM: dict[str, Any] = {"flux": "charbonnier", "contrast": 0.02, "tau": 100}  # that of the study's solvers


@dataclass(frozen=True)
class Size:
    """How large the experiments are.

    Attributes:
        seeds: denoisers of every case.
        solvers: U-nets of every case.
        epochs: length of the trainings.
        rates: learning rates to search.
        counts: signals of denoisers.
        problems: right-hand sides of U-nets.
    """

    seeds: int = 4
    solvers: int = 20
    epochs: int = 20
    rates: Sequence[float] = RATES
    counts: Mapping[str, int] = field(default_factory=lambda: COUNTS)
    problems: Mapping[str, int] = field(default_factory=lambda: {"train": 1024, "validation": 128})


class Case(NamedTuple):
    """Denoisers to train: ``arguments`` of their architecture, where it is not the usual one, and what is changed."""

    name: str
    setting: str
    arguments: dict[str, Any]
    change: Change = nullcontext


SYMMETRIC = {"name": "symmetric", "flux": "perona_malik"}
UNBIASED = {**SYMMETRIC, "biases": False}


# Interventions


def with_flux(flux: Flux) -> AbstractContextManager[Any]:
    """Networks may have this flux, which is not registered."""
    get = fluxes.get
    return patch.object(
        fluxes, "get", lambda name, **parameters: flux if name == flux.name else get(name, **parameters)
    )


def after_building(block: Any, change: Callable[[Any], object]) -> AbstractContextManager[Any]:
    """Blocks of this class are changed as soon as they are built."""
    build = block.__init__

    def changed(self: Any, *arguments: Any) -> None:
        build(self, *arguments)
        change(self)

    return patch.object(block, "__init__", changed)


class Inside(nn.Module):
    """b ↦ λ tanh(b/λ): biases on the rising branch of the flux of Perona and Malik."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._block = (block,)  # no part of this module

    def forward(self, b: Tensor) -> Tensor:
        lam: Tensor = self._block[0].lam
        return lam * torch.tanh(b / lam)

    def right_inverse(self, b: Tensor) -> Tensor:
        return b  # zeros


def rising() -> AbstractContextManager[Any]:
    """|b₁| < λ in symmetric networks, so that the flux rises where filters respond weakly."""
    return after_building(symmetric.Block, lambda block: register_parametrization(block, "b1", Inside(block)))


def first_start(contrast: float | None = None, step: float | None = None) -> AbstractContextManager[Any]:
    """Filters of norm 1 and τ = 0.3 at the beginning, as in the first protocol; or another contrast or step."""

    def change(block: Any) -> None:
        if contrast is not None:
            block.lam = torch.full_like(block.lam, contrast)
        if step is not None:
            block.tau = torch.tensor(step)

    stack = ExitStack()
    stack.enter_context(norm_1())
    stack.enter_context(after_building(symmetric.Block, change))
    return stack


class Combined(nn.Module):
    """W ↦ W B: filters that are combinations of the rows of B (weights, taps)."""

    basis: Tensor

    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", basis)

    def forward(self, W: Tensor) -> Tensor:
        return W @ self.basis

    def right_inverse(self, W: Tensor) -> Tensor:
        return W @ torch.linalg.pinv(self.basis)


TAPS = torch.eye(9)
CENTRAL = TAPS[2:7]
DILATED = TAPS[::2]
SMOOTHED = torch.stack([TAPS[i : i + 5].T @ torch.tensor([1.0, 4, 6, 4, 1]) / 16 for i in range(5)])


def combined(kind: Any, **bases: Tensor) -> AbstractContextManager[Any]:
    """Filters of length 9, by their names, as combinations of 5; they begin with the norm of 5 taps."""

    def change(block: Any) -> None:
        for name, basis in bases.items():
            W = getattr(block, name).detach() @ CENTRAL.T
            W = (9 / 5) ** 0.5 * (W - W.mean(-1, keepdim=True))
            setattr(block, name, nn.Parameter(W @ basis * W.norm() / (W @ basis).norm()))
            register_parametrization(block, name, Combined(basis))

    return after_building(kind, change)


def bounded_steps() -> AbstractContextManager[Any]:
    """FSI networks may be built with τ < 2/(L‖K‖²), although that bounds nothing."""
    return patch.object(fsi.FSI, "certifiable", True)


def output(change: Callable[[Any], None]) -> AbstractContextManager[Any]:
    """The last layer of U-nets, y = Wh + b, begins otherwise."""
    build = unet.UNet.__init__

    def changed(self: Any, *arguments: Any) -> None:
        build(self, *arguments)
        with torch.no_grad():
            change(self)

    return patch.object(unet.UNet, "__init__", changed)


# Fluxes that are not registered. A trainable shape needs no energy here.

PERONA_MALIK, CHARBONNIER = fluxes.get("perona_malik"), fluxes.get("charbonnier")


def _pair(t: float, w: tuple[float]) -> tuple[float, float, tuple[float]]:
    a, b = t + w[0], t - w[0]
    p, q = 1.0 / (1.0 + a * a), 1.0 / (1.0 + b * b)
    da, db = (1.0 - a * a) * p * p, (1.0 - b * b) * q * q
    return 0.5 * (a * p + b * q), 0.5 * (da + db), (0.5 * (da - db),)


def pair(box: float) -> Flux:
    """Mean of the fluxes of Perona and Malik with biases w and -w: odd, and falling at 0 if |w| > 1.

    Args:
        box: bound of |w|.
    """
    phi, dphi = PERONA_MALIK.phi, PERONA_MALIK.dphi
    return replace(
        PERONA_MALIK,
        name="pair",
        m=1.0,
        nonnegative=False,
        phi=lambda t, w: (phi(t + w[..., 0]) + phi(t - w[..., 0])) / 2,
        dphi=lambda t, w: (dphi(t + w[..., 0]) + dphi(t - w[..., 0])) / 2,
        scalar=_pair,
        initial=(0.5,),
        box=box,
    )


def _one_sided_perona_malik(t: float) -> tuple[float, float]:
    g = 1.0 / (1.0 + t * t)
    return where(t <= 0.0, 0.0, t * g), where(t <= 0.0, 0.0, (1.0 - t * t) * g * g)


def _one_sided_charbonnier(t: float) -> tuple[float, float]:
    g = 1.0 / math.sqrt(1.0 + t * t)
    return where(t <= 0.0, 0.0, t * g), where(t <= 0.0, 0.0, g * g * g)


def _even_perona_malik(t: float) -> tuple[float, float]:
    g = 1.0 / (1.0 + t * t)
    sign = where(t <= 0.0, -1.0, 1.0)
    return sign * t * g, sign * (1.0 - t * t) * g * g


def changed_sides(flux: Flux, name: str, scalar: Callable[..., Any], left: float) -> Flux:
    """A flux that is ``left`` times itself for negative responses."""

    def factor(t: Tensor) -> Tensor:
        return torch.where(t > 0, 1.0, left).to(t.dtype)

    return replace(
        flux,
        name=name,
        odd=False,
        monotone=False,
        nonnegative=False,
        phi=lambda t: factor(t) * flux.phi(t),
        dphi=lambda t: factor(t) * flux.dphi(t),
        scalar=scalar,
    )


ONE_SIDED_PERONA_MALIK = changed_sides(PERONA_MALIK, "one_sided_perona_malik", _one_sided_perona_malik, 0.0)
ONE_SIDED_CHARBONNIER = changed_sides(CHARBONNIER, "one_sided_charbonnier", _one_sided_charbonnier, 0.0)
EVEN_PERONA_MALIK = changed_sides(PERONA_MALIK, "even_perona_malik", _even_perona_malik, -1.0)


def _leaky(t: float) -> tuple[float, float]:
    return where(t <= 0.0, 0.1 * t, t), where(t <= 0.0, 0.1, 1.0)


LEAKY = replace(
    fluxes.get("relu"),
    name="leaky",
    phi=lambda t: torch.where(t > 0, t, 0.1 * t),
    dphi=lambda t: torch.where(t > 0, 1.0, 0.1).to(t.dtype),
    scalar=_leaky,
)


# Experiments


def depth() -> Iterator[Case]:
    """Why did symmetric networks with the flux of Perona and Malik gain nothing from depth, in the first protocol?

    Bounded flux: a block moves values by no more than τ‖K‖₁λ/2 per filter; then a learned flux, which need not be
    bounded, gains from depth, and neither biases nor another start help. Missing biases: these alone bring the gain
    back. Start: the same networks gain once they begin like ResNets, with filters of 4 times the size and steps of
    τ = √(1/F)/n instead of 0.3. Either may matter for what the network computes at first, a contrast that is smaller
    in relation to the responses and a longer step; or for the units in which it is trained. With a quarter of the
    contrast and steps of 16√(1/F)/n the network computes at first what ResNets compute, in the units of the first
    start.
    """
    for blocks in (4, 8):
        contrast, step = 0.025, 16 * 8**-0.5 / blocks
        for name, arguments, change in (
            ("first start, no biases", UNBIASED, first_start),
            ("first start, biases", SYMMETRIC, first_start),
            ("first start, learned flux, no biases", {**UNBIASED, "flux": "learned"}, first_start),
            ("a quarter of the contrast", UNBIASED, partial(first_start, contrast=contrast)),
            ("longer steps", UNBIASED, partial(first_start, step=step)),
            ("both", UNBIASED, partial(first_start, contrast=contrast, step=step)),
            ("the ResNet's start, no biases", UNBIASED, nullcontext),
            ("the ResNet's start, biases", SYMMETRIC, nullcontext),
            ("ResNet + ReLU, no biases", {"name": "resnet", "flux": "relu", "biases": False}, nullcontext),
        ):
            yield Case(name, f"{blocks} blocks", {**arguments, "blocks": blocks}, change)


def sharpening() -> Iterator[Case]:
    """What do biases and signed steps give to symmetric networks with the flux of Perona and Malik?

    Sharpening: without them a block cannot amplify what filters respond to weakly, since Φ' > 0 at 0. A bias |b₁| > λ
    puts that point on the falling branch, a negative step does the same. Asymmetry: without biases a network is odd.
    Mere freedom: one more parameter per filter. Biases that stay on the rising branch have asymmetry and freedom but
    no sharpening; an odd pair of shifted fluxes has sharpening and freedom but no asymmetry; with |w| < 1 it
    has freedom only. The flux of Charbonnier has no falling branch.
    """
    for blocks in (4, 8):
        for name, arguments, change in (
            ("no biases", UNBIASED, nullcontext),
            ("biases", SYMMETRIC, nullcontext),
            ("biases on the rising branch", SYMMETRIC, rising),
            ("odd pair of shifted fluxes", {**UNBIASED, "flux": "pair"}, partial(with_flux, pair(20.0))),
            ("the same on the rising branch", {**UNBIASED, "flux": "pair"}, partial(with_flux, pair(1.0))),
            ("signed steps, no biases", {**UNBIASED, "steps": "signed"}, nullcontext),
            ("signed steps, biases", {**SYMMETRIC, "steps": "signed"}, nullcontext),
            ("Charbonnier, no biases", {**UNBIASED, "flux": "charbonnier"}, nullcontext),
            ("Charbonnier, biases", {**SYMMETRIC, "flux": "charbonnier"}, nullcontext),
        ):
            if blocks == 4 or "Charbonnier" not in name:
                yield Case(name, f"{blocks} blocks", {**arguments, "blocks": blocks}, change)


def length() -> Iterator[Case]:
    """Why do filters of length 9 help, and symmetric networks more than ResNets?

    Reach: so do 5 taps with gaps between them, and 5 taps in twice as many blocks. Averaging of noise: so do 5 taps
    applied to the smoothed signal. Freedom: neither does. The central 5 of 9 taps are the control: they differ from 5
    taps in how the network begins and treats ends. In a ResNet each of both filters can be long alone: the one
    that detects, W₁, or the one that distributes, W₂. The symmetric network has one for both.
    """
    relu, residual = {"name": "resnet", "flux": "relu"}, {"name": "resnet", "flux": "perona_malik"}
    for method, arguments in (("symmetric + Perona-Malik", SYMMETRIC), ("ResNet + ReLU", relu)):
        kind = symmetric.Block if method.startswith("symmetric") else resnet.Block
        names = ("K",) if kind is symmetric.Block else ("W1", "W2")
        yield Case("5 taps", method, arguments)
        yield Case("5 taps, 8 blocks", method, {**arguments, "blocks": 8})
        long = {**arguments, "kernel_size": 9}
        for name, basis in (
            ("5 of 9 taps, the central ones", CENTRAL),
            ("5 of 9 taps, every other one", DILATED),
            ("5 taps of the smoothed signal", SMOOTHED),
        ):
            yield Case(name, method, long, partial(combined, kind, **dict.fromkeys(names, basis)))
        yield Case("9 taps", method, long)
    for method, arguments in (("ResNet + ReLU", relu), ("ResNet + Perona-Malik", residual)):
        long = {**arguments, "kernel_size": 9}
        if arguments is residual:
            yield Case("5 taps", method, arguments)
            yield Case("9 taps", method, long)
        yield Case("9 taps detect, 5 distribute", method, long, partial(combined, resnet.Block, W2=CENTRAL))
        yield Case("5 taps detect, 9 distribute", method, long, partial(combined, resnet.Block, W1=CENTRAL))


def activation() -> Iterator[Case]:
    """What does the flux of Perona and Malik gain over the rectifier in a ResNet?

    Two sides: the odd flux responds to both signs of Ku, the rectifier to one; then both its sides matter, and
    twice as many rectifiers catch up. Boundedness: large responses are limited; then the flux of Charbonnier gains as
    much. Nonmonotonicity: large responses count less; then Perona-Malik gains over Charbonnier, on one side as well.
    Oddness: |Φ| is worse than Φ.
    """
    for name, flux, change in (
        ("rectifier", "relu", nullcontext),
        ("rectifier, 16 filters", "relu", nullcontext),
        ("Charbonnier", "charbonnier", nullcontext),
        ("Perona-Malik", "perona_malik", nullcontext),
        ("Charbonnier, positive side", "one_sided_charbonnier", partial(with_flux, ONE_SIDED_CHARBONNIER)),
        ("Perona-Malik, positive side", "one_sided_perona_malik", partial(with_flux, ONE_SIDED_PERONA_MALIK)),
        ("Perona-Malik, absolute value", "even_perona_malik", partial(with_flux, EVEN_PERONA_MALIK)),
        ("exponential Perona-Malik", "exponential_perona_malik", nullcontext),
        ("Weickert", "weickert", nullcontext),
    ):
        filters = 16 if "16" in name else 8
        arguments = {"name": "resnet", "flux": flux, "filters": filters}
        yield Case(name, "biases", arguments, change)
        if flux in ("relu", "charbonnier", "perona_malik", "one_sided_perona_malik"):
            yield Case(name, "no biases", {**arguments, "biases": False}, change)


def extrapolation() -> Iterator[Case]:
    """When does FSI help a denoiser?

    Diffusion time: extrapolated steps get further than explicit ones of the same size, which matters only where steps
    are bounded. Theory: it accelerates the powers of one operator, which matters only where blocks share their weights.
    A mere second skip connection would help everywhere. Steps bounded by 2/(L‖K‖²) or free, weights shared or not.
    """
    for kernel_size, tied, bounded in (
        (5, True, True),
        (5, True, False),
        (5, False, True),
        (5, False, False),
        (2, True, True),
        (2, True, False),
    ):
        weights = "one set of weights" if tied else "weights of each block"
        steps = "bounded steps" if bounded else "free steps"
        arguments = {**SYMMETRIC, "blocks": 8, "tied": tied, "certified": bounded, "kernel_size": kernel_size}
        case = f"{weights}, {steps}, {kernel_size} taps"
        yield Case(case, "explicit", arguments)
        yield Case(case, "FSI", {**arguments, "name": "fsi"}, bounded_steps)


DENOISERS = {each.__name__: each for each in (depth, sharpening, length, activation, extrapolation)}


def denoisers(experiment: str, size: Size) -> Iterator[Row]:
    """Rows of the cases of an experiment; with the share of filters that sharpen, for that one."""
    data = signals.generate({**SIGNALS, **size.counts})
    for case in DENOISERS[experiment]():
        architecture = Architecture(**{"blocks": 4, "filters": 8, "kernel_size": 5, "biases": True, **case.arguments})
        found = trained(architecture, case.change, data, seeds=size.seeds, epochs=size.epochs, rates=size.rates)
        row = {
            "experiment": experiment,
            "case": case.name,
            "setting": case.setting,
            "parameters": sum(p.numel() for p in found.networks[0].parameters()),
            "seeds": size.seeds,
            "rate": found.rate,
        }
        yield row | described(PSNR, found.psnr)
        if experiment == "sharpening":
            yield row | described("share of filters that sharpen", np.array(list(map(sharpen, found.networks))))


def described(measured: str, values: np.ndarray) -> Row:
    """Mean and standard deviation over seeds."""
    return {"measured": measured, "value": values.mean(), "standard_deviation": values.std(ddof=1)}


def sharpen(network: Any) -> float:
    """Share of the filters of a symmetric network with τΦ' < 0 where they do not respond, Φ'(b₁)."""
    slopes = []
    for block in network.blocks:
        s = torch.zeros_like(block.lam) if block.b1 is None else block.b1
        slopes.append((block.tau * block.flux.derivative(s, block.lam, block.w)).detach())
    return float((torch.stack(slopes) < 0).double().mean())


def solvers(size: Size) -> Iterator[Row]:
    """Why do U-nets fail that learn to solve, in about one of ten seeds?

    A failed network gives nearly the same output for every right-hand side. Dead rectifiers: they let next to nothing
    through; then none fails with leaky rectifiers. Learning rate: none fails with a third of it and three times the
    steps. Start: y = Wh + b with h ≥ 0 begins with b = 0 and W of random signs, and the
    solutions are positive. Where W is mostly negative, the quickest way up to their mean is h = 0. Then fewer fail with
    W > 0, or with a b that gives y the right mean at the start; and more with W < 0.
    """
    spec = {"problem": PROBLEM, "length": 256, "noise": 10, "seed": SIGNALS["seed"]}
    arrays, _ = generate({**spec, **size.problems, "test": 1, "others": 1, "points": []})
    task = Solving(problem=Problem(**PROBLEM))
    b, x = (torch.from_numpy(arrays[f"validation/{part}"]).float() for part in "bx")

    def positive(net: Any) -> None:
        net.W.copy_(net.W.abs())

    def negative(net: Any) -> None:
        net.W.copy_(-net.W.abs())

    def centred(net: Any) -> None:
        net.b += x.mean() - net(b).mean()

    cases: tuple[tuple[str, Change, str, int], ...] = (
        ("unchanged", nullcontext, "relu", 1),
        ("leaky rectifiers", partial(with_flux, LEAKY), "leaky", 1),
        ("a third of the rate, three times the steps", nullcontext, "relu", 3),
        ("W > 0", partial(output, positive), "relu", 1),
        ("W < 0", partial(output, negative), "relu", 1),
        ("b for the mean", partial(output, centred), "relu", 1),
    )
    for filters, rate in ((3, 0.01), (4, 0.03)):
        for name, change, flux, longer in cases:
            architecture = Architecture(name="unet", blocks=4, filters=filters, kernel_size=3, flux=flux)
            job = training.Training(
                architecture=architecture,
                seeds=tuple(range(size.solvers)),
                learning_rate=rate / longer,
                epochs=longer * size.epochs,
                batch=32,
                task=task,
            )
            with change(), TemporaryDirectory() as folder:
                runs = training.fit(job, arrays, Path(folder) / "state.safetensors", name)
                errors = np.array([np.inf if run.outcome is None else run.outcome for run in runs])
                dead = np.array([transmission(run.network, b) for run in runs]) < 0.1
            constant = ((x - x.mean()).norm(dim=-1) / x.norm(dim=-1)).mean().item()
            failed = errors > 0.9 * constant
            row = {
                "experiment": "solvers",
                "case": name,
                "setting": f"unet-{filters}",
                "parameters": architecture.count().total if flux == "relu" else None,
                "seeds": size.solvers,
                "rate": rate / longer,
            }
            for measured, value in (
                ("failed networks", failed.sum()),
                ("failed networks that let nothing through", (failed & dead).sum()),
                ("other networks that let nothing through", (~failed & dead).sum()),
                ("median relative error", np.median(errors)),
            ):
                yield row | {"measured": measured, "value": value}


def transmission(network: Any, b: Tensor) -> float:
    """Mean |∂/∂b Σ y| over the middle of right-hand sides b and outputs y of a U-net.

    It is about 1 for a network that solves, as constants are their own solutions, and 0 if all ways through the
    network have a rectifier that is dead.
    """
    middle = slice(b.shape[-1] // 4, -(b.shape[-1] // 4))
    b = b.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(network(b)[:, middle].sum(), b)
    return float(derivative[:, middle].abs().mean())


EXPERIMENTS: dict[str, Callable[[Size], Iterator[Row]]] = {
    **{name: partial(denoisers, name) for name in DENOISERS},
    "solvers": solvers,
}


def rows(names: Sequence[str], size: Size) -> Iterator[Row]:
    """The rows of these experiments."""
    commit = provenance.git_state()["commit"]
    for name in names:
        for row in EXPERIMENTS[name](size):
            yield {"standard_deviation": None, **row, "commit": commit}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.explanations", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", choices=EXPERIMENTS, help="one experiment; others keep their rows in the table")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/explanations.csv")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    names = [options.only] if options.only else list(EXPERIMENTS)
    found: list[Row] = []
    for row in rows(names, Size()):
        found.append(row)
        print(f"{row['case']:50} {row['setting']:24} {row['measured']}: {row['value']:.4g}", flush=True)
        if options.out:
            table.write(options.out, [*kept(options.out, names), *found], COLUMNS)
    return 0


def kept(path: Path, names: Sequence[str]) -> list[Row]:
    """The rows of other experiments in a table."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["experiment"] not in names]


if __name__ == "__main__":
    sys.exit(main())
