"""What the benchmark measures: our networks and their rivals, each measurement giving rows of the table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import rivals, timing
from benchmarks.targets import BLOCKS, OTHER, PASSES, SEEDS, SIZE, STEP, STUDY, Row
from schemenets import networks, training
from schemenets.devices import device
from schemenets.evaluation import PEAK
from schemenets.networks import Architecture
from schemenets.study.config import Study
from schemenets.training import Denoising, Trainer, Training

SIGNALS = 1024  # training signals; with the states they do not fit in the second cache
PAIRS = [("resnet", "relu"), ("symmetric", "perona_malik")]
CROSSED = [("resnet", "perona_malik"), ("symmetric", "relu")]  # they show the cost of the flux
BEYOND = [("multigrid_unet", "perona_malik"), ("unet", "relu")]  # mostly not blocks: flops are not counted
SIZES = {"filters": (32, 4, 16), "length": (1024, 64, 4096), "channels": (8, 16)}  # of one block besides the usual
MORE_SEEDS, MORE_BLOCKS = (1, 2, 5, 20), (1, 2, 8, 16)
ITERATIONS = 32  # of implicit networks: enough for implicit gradients to pay off
RATE = 1e-3


class Contender(NamedTuple):
    """Something to time; one call does the ``work`` of so many passes or steps of one seed."""

    run: Callable[[], object]
    work: int


def flops(row: Row) -> float:
    """Multiplications and additions of all convolutions of one seed's forward and backward pass, none counted twice.

    Two convolutions forward; backward the derivatives of each with respect to its input and to its filters. What our
    backward pass computes again is not counted, nor is any flux.
    """
    windows = row["batch"] * (row["length"] - row["kernel_size"] + 1)
    return 6 * 2.0 * row["blocks"] * row["filters"] * row["channels"] * row["kernel_size"] * windows


def bytes_moved(row: Row) -> float:
    """Bytes of the states that one seed's passes must move: u and the result; u, its derivative, the result's."""
    return 5 * 4.0 * row["blocks"] * row["batch"] * row["channels"] * row["length"]


def passes(
    name: str, flux: str, seeds: int = SEEDS, against: tuple[str, ...] = (), size: Mapping[str, int] = SIZE
) -> Iterator[Row]:
    """Forward and backward pass of one block, with the derivatives of everything."""
    architecture = _architecture(name, flux, 1, size)
    u = torch.rand(seeds, size["batch"], size["channels"], size["length"]).requires_grad_()
    gradient = torch.rand(u.shape)
    net, plain = rivals.ours(architecture, seeds), rivals.idiomatic(architecture)
    alone = u[0].detach().clone().requires_grad_()  # a copy: of a view, the whole storage would count as saved

    def both(apply: rivals.Apply, u: Tensor, parameters: list[Tensor], gradient: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(apply(u), [u, *parameters], gradient)

    contenders = {
        "ours": Contender(both(net.run, u, list(net.blocks.parameters()), gradient), seeds),
        "idiomatic": Contender(both(plain, alone, list(plain.parameters()), gradient[0]), 1),
    }
    if "compiled" in against:
        apply = rivals.compiled(plain)
        contenders["compiled"] = Contender(both(apply, alone, list(plain.parameters()), gradient[0]), 1)
    if "vmap" in against:
        parameters, apply = rivals.vmapped([rivals.idiomatic(architecture) for _ in range(seeds)])
        contenders["vmap"] = Contender(both(apply, u, parameters, gradient), seeds)
    for row in _rows(_row(PASSES, architecture, size, seeds), contenders):
        contender = contenders[row["contender"]]
        peak = timing.peak_mib(contender.run)
        row["peak_mib_per_seed"] = None if peak is None else peak / contender.work
        if row["contender"] != "compiled":  # the hooks that measure it would trigger recompilation
            row["saved_mib_per_seed"] = timing.saved_mib(contender.run) / contender.work
        yield row


def steps(
    name: str, flux: str, blocks: int = BLOCKS, seeds: int = SEEDS, against: tuple[str, ...] = ()
) -> Iterator[Row]:
    """A full step of training: rows of the training set, loss, gradients, Adam."""
    architecture = _architecture(name, flux, blocks, SIZE)
    data = _signals(SIZE["length"])
    contenders = {
        "ours": of_trainer(trainer(architecture, seeds, data)),
        **stepping_rivals(architecture, seeds, data, against),
    }
    yield from _rows(_row(STEP, architecture, SIZE, seeds), contenders)


def stepping_rivals(
    architecture: Architecture, seeds: int, data: dict[str, np.ndarray], against: tuple[str, ...]
) -> dict[str, Contender]:
    """Training with the idiomatic module, and with the faster rivals ``against``."""
    found = {}
    for rival in ("idiomatic", "compiled"):
        if rival in ("idiomatic", *against):
            plain = rivals.idiomatic(architecture).to(device())
            apply = rivals.compiled(plain) if rival == "compiled" else plain
            found[rival] = _rival(apply, list(plain.parameters()), data)
    if "vmap" in against:
        parameters, apply = rivals.vmapped([rivals.idiomatic(architecture).to(device()) for _ in range(seeds)])
        found["vmap"] = _rival(apply, parameters, data, (seeds,))
    return found


def any_network(what: str, architecture: Architecture, seeds: int, implicit_gradients: bool = False) -> Iterator[Row]:
    """A full training step of any network of the library, against the same on torch's convolutions."""
    data = _signals(SIZE["length"])
    training_ours = trainer(architecture, seeds, data)
    if implicit_gradients:
        training_ours.net.implicit_gradients = True
    contenders = {
        "ours": of_trainer(training_ours),
        "idiomatic": convolutional(architecture, data, implicit_gradients),
    }
    about = _row(what, architecture, SIZE, seeds) | {"implicit_gradients": implicit_gradients}
    for row in _rows(about, contenders, rounds=3):
        if row["contender"] == "ours":
            row["share_in_compiled_loops"] = timing.share_in_compiled_loops(partial(whole_epoch, training_ours))
        yield row


def whole_epoch(trainer: Trainer) -> None:
    """Everything that a job of the study does in an epoch: training, validation, saving."""
    trainer._train_epoch()
    trainer._validate()
    with TemporaryDirectory() as folder:
        trainer._save(Path(folder) / "state.safetensors")


def convolutional(
    architecture: Architecture, data: dict[str, np.ndarray], implicit_gradients: bool = False
) -> Contender:
    """Training of one seed of any network of the library, with torch's convolutions."""
    alone: Any = networks.build(**architecture.arguments()).to(device())
    if implicit_gradients:
        alone.implicit_gradients = True

    def apply(u: Tensor) -> Tensor:
        return alone(u.squeeze(-2)).unsqueeze(-2)

    rival = _rival(apply, list(alone.parameters()), data)

    def run() -> None:
        with rivals.on_torch_convolutions():
            rival.run()

    return Contender(run, rival.work)


def trainer(architecture: Architecture, seeds: int, data: dict[str, np.ndarray]) -> Trainer:
    """The study's own trainer."""
    # many epochs, so that the one that is repeated has small learning rates
    job = Training(
        architecture=architecture, seeds=tuple(range(seeds)), learning_rate=RATE, epochs=1000, batch=SIZE["batch"]
    )
    return Trainer(job, data)


def of_trainer(trainer: Trainer) -> Contender:
    """An epoch of all seeds."""
    return Contender(trainer._train_epoch, len(trainer.job.seeds) * trainer.steps)


def _rival(
    apply: rivals.Apply, parameters: list[Tensor], data: dict[str, np.ndarray], seeds: tuple[int, ...] = ()
) -> Contender:
    """One step as tutorials write it, for signals (*seeds, batch, 1, length)."""
    noisy, clean = (torch.from_numpy(data[f"train/{part}"])[:, None].to(device()) / PEAK for part in Denoising.pair)
    shuffled = torch.stack([torch.randperm(len(noisy), device=device()) for _ in range(seeds[0] if seeds else 1)])
    batch = SIZE["batch"]
    batches = cycle(shuffled.view(*seeds, -1).split(batch, -1)[: len(noisy) // batch])
    optimiser = torch.optim.Adam(parameters, RATE)

    def run() -> None:
        rows = next(batches)
        u, target = (training._rows(x, rows) for x in (noisy, clean))
        optimiser.zero_grad()
        (apply(u) - target).square().mean((-3, -2, -1)).sum().backward()
        optimiser.step()

    return Contender(run, seeds[0] if seeds else 1)


def _signals(length: int) -> dict[str, np.ndarray]:
    """Signals in the form of the study's data sets, ten times fewer for validation; their content is irrelevant."""
    generator = np.random.default_rng(0)
    clean = generator.uniform(0, 255, (SIGNALS, length)).astype(np.float32)
    pair = (clean + generator.normal(0, 10, clean.shape)).astype(np.float32), clean
    return {
        f"{split}/{part}": array[:count]
        for split, count in (("train", SIGNALS), ("validation", max(1, SIGNALS // 10)))
        for part, array in zip(Denoising.pair, pair, strict=True)
    }


def _architecture(name: str, flux: str, blocks: int, size: Mapping[str, int]) -> Architecture:
    F, k, C = (size[key] for key in ("filters", "kernel_size", "channels"))
    return Architecture(name=name, flux=flux, blocks=blocks, filters=F, kernel_size=k, channels=C)


def _row(what: str, architecture: Architecture, size: Mapping[str, int], seeds: int) -> Row:
    """What a measurement is about."""
    a, shape = architecture, {key: size[key] for key in ("length", "batch")}
    names = ("flux", "certified", "tied", "blocks", "filters", "kernel_size", "channels")
    own = {key: getattr(a, key) for key in names} | {"implicit_gradients": False}
    return {"what": what, "network": a.name, **own, **shape, "seeds": seeds}


def _rows(about: Row, contenders: dict[str, Contender], rounds: int = timing.ROUNDS) -> Iterator[Row]:
    counted = about["what"] != OTHER
    for row in timed(about, contenders, rounds):
        seconds = row["milliseconds_per_seed"] / 1e3
        yield row | {
            "gflops": flops(about) / seconds / 1e9 if counted else None,
            "gbytes_per_second": bytes_moved(about) / seconds / 1e9 if counted else None,
        }


def timed(
    about: Row, contenders: dict[str, Contender], rounds: int, finish: Callable[[], object] = lambda: None
) -> Iterator[Row]:
    """A row with its time for every contender; ``finish`` waits for work on another device."""
    runs = {name: contender.run for name, contender in contenders.items()}
    calls = timing.least_seconds(runs, rounds, finish=finish)
    seconds = {name: calls[name] / contender.work for name, contender in contenders.items()}
    for name in contenders:
        yield about | {
            "contender": name,
            "milliseconds_per_seed": 1e3 * seconds[name],
            "times_slower_than_ours": seconds[name] / seconds["ours"],
        }


def study_networks() -> list[tuple[Architecture, int]]:
    """Every architecture that the study trains or tunes to denoise, with the number of its seeds."""
    study = Study.load()
    specs = [*study.specs("train").values(), *study.specs("tune").values()]
    denoisers = [spec for spec in specs if spec["task"]["name"] == "denoising"]
    return list(dict.fromkeys((Architecture(**spec["architecture"]), len(spec["seeds"])) for spec in denoisers))


def measurements(quick: bool, compiled: bool) -> list[Callable[[], Iterator[Row]]]:
    """Everything that is measured, in order; without torch.compile unless ``compiled``."""
    fast = ("compiled", "vmap") if compiled else ("vmap",)
    found: list[Callable[[], Iterator[Row]]] = []
    for name, flux in PAIRS:
        found += [partial(passes, name, flux, 1), partial(passes, name, flux, against=fast)]
        found += [partial(steps, name, flux, against=fast)]
    for name, flux in CROSSED:
        found += [partial(passes, name, flux, seeds) for seeds in (1, SEEDS)]
    if quick:
        return found
    for name, flux in PAIRS:
        for key, (first, *others) in SIZES.items():
            # rivals that are slow to prepare run at only one other size of each kind
            found += [partial(passes, name, flux, against=fast, size=SIZE | {key: first})]
            found += [partial(passes, name, flux, size=SIZE | {key: value}) for value in others]
        found += [partial(steps, name, flux, seeds=seeds) for seeds in MORE_SEEDS]
        found += [partial(steps, name, flux, blocks) for blocks in MORE_BLOCKS]
    found += [partial(any_network, STUDY, architecture, seeds) for architecture, seeds in study_networks()]
    found += [partial(any_network, OTHER, _architecture(name, flux, 2, SIZE), SEEDS) for name, flux in BEYOND]
    implicit = replace(_architecture("implicit", "perona_malik", ITERATIONS, SIZE), certified=True)
    found += [partial(any_network, OTHER, implicit, SEEDS, implicit_gradients=how) for how in (False, True)]
    return found


def machine() -> dict[str, Any]:
    """Measured peak rates of one core, and the machine they were measured on."""
    fma, blas = timing.peak_fma_gflops(), timing.peak_blas_gflops()
    return {
        "fma_gflops": fma,
        "blas_gflops": blas,
        "bandwidth_gbytes": timing.bandwidth_gbytes(),
        "machine": timing.description(),
    }


def with_shares(row: Row, here: dict[str, Any]) -> Row:
    """A row with the machine, and its speed as a share of the machine's peak."""
    peak = here["fma_gflops"] or here["blas_gflops"]
    counted = row["gflops"] is not None
    return row | {
        "share_of_peak": row["gflops"] / peak if counted else None,
        "share_of_bandwidth": row["gbytes_per_second"] / here["bandwidth_gbytes"] if counted else None,
        **here,
    }
