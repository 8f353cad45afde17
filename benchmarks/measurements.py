"""What the benchmark measures: our networks and their rivals, each measurement giving rows of the table."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import rivals, timing
from benchmarks.checkouts import Checkout
from benchmarks.jobs import RATE, Job, chain
from benchmarks.targets import AGAINST, BLOCKS, PASSES, SEEDS, SIZE, STEP, STUDY, Row
from schemenets import networks, training
from schemenets.devices import device
from schemenets.multigrid import Solving
from schemenets.networks import Architecture
from schemenets.study.config import Study
from schemenets.training import Trainer

PAIRS = [("resnet", "relu"), ("symmetric", "perona_malik")]
CROSSED = [("resnet", "perona_malik"), ("symmetric", "relu")]  # they show the cost of the flux
# of one block, and of training steps, besides the usual; rivals that are slow to prepare run at the first of each
SIZES = {"filters": (32, 4), "length": (1024, 64), "channels": (8, 16)}
STEPS: tuple[dict[str, Any], ...] = ({"blocks": 1}, {"blocks": 16})
CONSTRAINED = ("symmetric", "safeguarded_fsi", "safeguarded_du_fort_frankel")
UNETS = (("multigrid_unet", "perona_malik"), ("unet", "relu"))
SOLVERS = ("cycle-1", "cycle-3", "multigrid-1", "unet-4")  # methods of the study

Measurement = Callable[[], Iterator[Row]]


class Contender(NamedTuple):
    """Something to time; one call does the ``work`` of so many passes or steps of one seed."""

    turn: timing.Turn
    work: int


def flops(row: Row) -> float | None:
    """Multiplications and additions of all convolutions of one seed, none counted twice; None where not known.

    Two convolutions forward; backward the derivatives of each with respect to its input, but for the signals in
    training, and to its filters. What our backward pass computes again is not counted, nor is any flux.
    """
    if row["what"] not in (PASSES, STEP) or (row["what"] == STEP and row["channels"] > 1):
        return None
    windows = row["batch"] * (row["length"] - row["kernel_size"] + 1)
    products = 6 * row["blocks"] - (row["what"] == STEP)
    return products * 2.0 * row["filters"] * row["channels"] * row["kernel_size"] * windows


def passes(
    name: str, flux: str, seeds: int = SEEDS, against: tuple[str, ...] = (), size: Mapping[str, int] = SIZE
) -> Iterator[Row]:
    """Forward and backward pass of one block, with the derivatives of everything."""
    architecture = chain(name, flux, 1, **size)
    u = torch.rand(seeds, size["batch"], size["channels"], size["length"]).requires_grad_()
    gradient = torch.rand(u.shape)
    block = networks.stack([architecture.build(seed) for seed in range(seeds)]).blocks[0]
    weights: list[Tensor] = [x for key, x in block.named_parameters() if key != "b2"]
    alone = u[0].detach().clone().requires_grad_()  # a copy: of a view, the whole storage would count as saved

    def both(apply: rivals.Apply, parameters: list[Tensor], stacked: bool) -> Callable[[], object]:
        x, dy = (u, gradient) if stacked else (alone, gradient[0])
        return lambda: torch.autograd.grad(apply(x), [x, *parameters], dy)

    runs = {"ours": (both(rivals.our_block(block), weights, True), seeds)}
    nets = [rivals.idiomatic_block(architecture) for _ in range(seeds)]
    for rival, (apply, parameters, work) in rivals.prepared(nets, against).items():
        runs[rival] = both(apply, parameters, rival == "vmap"), work
    about = Job(architecture=architecture, seeds=seeds, batch=size["batch"], length=size["length"]).row(PASSES)
    for row in timed(about, {key: Contender(timing.turn(run), work) for key, (run, work) in runs.items()}):
        run, work = runs[row["contender"]]
        peak = timing.peak_mib(run)
        row["peak_mib_per_seed"] = None if peak is None else peak / work
        if row["contender"] != "compiled":  # the hooks that measure it would trigger recompilation
            row["saved_mib_per_seed"] = timing.saved_mib(run) / work
        yield row


def steps(
    name: str, flux: str, against: tuple[str, ...] = (), seeds: int = SEEDS, blocks: int = BLOCKS, **size: int
) -> Iterator[Row]:
    """Training steps: rows of the training set, loss, gradients, Adam."""
    job = Job(architecture=chain(name, flux, blocks, **size), seeds=seeds)
    yield from timed(job.row(STEP), {"ours": ours(job.trainer(), job), **stepping_rivals(job, against)})


def study_network(job: Job) -> Iterator[Row]:
    """Training steps of a network of the study, against the same on torch's convolutions."""
    trainer = job.trainer()
    for row in timed(job.row(STUDY), {"ours": ours(trainer, job), "idiomatic": convolutional(job)}, rounds=5):
        if row["contender"] == "ours":
            row["share_in_compiled_loops"] = timing.share_in_compiled_loops(partial(whole_epoch, trainer))
        yield row


def both_checkouts(job: Job, own: Checkout, other: Checkout) -> Iterator[Row]:
    """Training steps of this library and of another one, each in a process of its own."""
    found = {}
    for name, checkout in (("ours", own), ("other", other)):
        memory = checkout.prepare(job)
        if memory is None:
            print(f"{job.row(AGAINST)['case']}: not possible with the library of {checkout.root}", flush=True)
            return
        found[name] = checkout, memory
    contenders = {name: Contender(checkout.turn, job.steps) for name, (checkout, _) in found.items()}
    for row in timed(job.row(AGAINST) | {"other_commit": other.commit}, contenders):
        yield row | found[row["contender"]][1]


def ours(trainer: Trainer, job: Job, finish: Callable[[], object] = lambda: None) -> Contender:
    """An epoch of all seeds by the study's trainer."""
    return Contender(timing.turn(trainer._train_epoch, finish), job.steps)


def whole_epoch(trainer: Trainer) -> None:
    """Everything that a job of the study does in an epoch: training, validation, saving."""
    trainer._train_epoch()
    trainer._validate()
    with TemporaryDirectory() as folder:
        trainer._save(Path(folder) / "state.safetensors")


def stepping_rivals(
    job: Job, against: tuple[str, ...], finish: Callable[[], object] = lambda: None
) -> dict[str, Contender]:
    """Training with the idiomatic module, and with the faster rivals ``against``."""
    nets = [rivals.idiomatic(job.architecture).to(device()) for _ in range(job.seeds)]
    return {
        rival: Contender(timing.turn(_stepping(apply, parameters, job, rival == "vmap"), finish), work)
        for rival, (apply, parameters, work) in rivals.prepared(nets, against).items()
    }


def convolutional(job: Job, finish: Callable[[], object] = lambda: None) -> Contender:
    """Training of one seed of any network of the library, with torch's convolutions."""
    net: Any = job.architecture.build().to(device())
    step = timing.turn(_stepping(lambda u: net(u.squeeze(-2)).unsqueeze(-2), list(net.parameters()), job), finish)

    def turn(calls: int) -> float:
        with rivals.on_torch_convolutions():
            return step(calls)

    return Contender(turn, 1)


def _stepping(apply: rivals.Apply, parameters: list[Tensor], job: Job, stacked: bool = False) -> Callable[[], object]:
    """One step as tutorials write it, for signals (batch, 1, length), or (seeds, batch, 1, length) if ``stacked``."""
    data = job.data()
    pair = (torch.from_numpy(data[f"train/{part}"]).to(device()) for part in job.task.pair)
    inputs, targets, scale, grid = job.task.prepare(*pair)
    inputs, targets = inputs[:, None], targets[:, None]
    shuffled = torch.stack([torch.randperm(len(inputs), device=device()) for _ in range(job.seeds)])
    batches = cycle((shuffled if stacked else shuffled[0]).split(job.batch, -1)[: len(inputs) // job.batch])
    optimiser = torch.optim.Adam(parameters, RATE)

    def run() -> None:
        rows = next(batches)
        # as x[rows], faster
        u, target = (x.index_select(0, rows.flatten()).unflatten(0, rows.shape) for x in (inputs, targets))
        optimiser.zero_grad()
        y = apply(u)
        y = y if grid is None else grid(y)
        y = y if scale == 1 else scale * y
        (y - target).square().mean((-3, -2, -1)).sum().backward()
        optimiser.step()

    return run


def timed(about: Row, contenders: dict[str, Contender], rounds: int | None = None) -> Iterator[Row]:
    """A row with its time for every contender."""
    found = timing.seconds({name: contender.turn for name, contender in contenders.items()}, rounds)
    operations = flops(about)
    for name, contender in contenders.items():
        one = found[name].low / contender.work
        yield about | {
            "contender": name,
            "milliseconds_per_seed": 1e3 * one,
            "spread": found[name].high / found[name].low,
            "times_slower_than_ours": one / (found["ours"].low / contenders["ours"].work),
            "gflops": None if operations is None else operations / one / 1e9,
        }


def study_jobs() -> list[Job]:
    """Everything that the study trains or tunes, as many networks side by side as it does."""
    study = Study.load()
    found = []
    for name, spec in [*study.specs("train").items(), *study.specs("tune").items()]:
        task, batch, seeds = training.task(spec["task"]), spec["batch"], len(spec["seeds"])
        architecture = networks.architecture(spec["architecture"])
        if isinstance(task, Solving):
            method = spec.get("method") or name.split("/")[1]
            problem = spec["dataset"].removeprefix("problem_")
            job = solver(architecture, task, batch, f"{method} for {problem}")
        else:
            job = Job(architecture=architecture, batch=batch)
        at_once = len(spec.get("learning_rates", [None])[:3])  # the search begins with three rates
        found.append(replace(job, seeds=seeds * at_once))
    return list(dict.fromkeys(found))


def solver(architecture: Any, task: Solving, batch: int, method: str) -> Job:
    """A network that solves; signals have one number less where solutions are zero at both ends."""
    length = SIZE["length"] - (not task.problem.screened)
    return Job(architecture=architecture, task=task, batch=batch, length=length, method=method)


def compared_jobs(seeds: int) -> list[Job]:
    """What is compared with another checkout: chains, several channels, U-nets and learned cycles."""
    architectures: list[Architecture] = [chain(*pair) for pair in PAIRS]
    architectures += [replace(chain(name, "perona_malik"), certified=True) for name in CONSTRAINED]
    architectures += [chain(*pair, channels=8) for pair in PAIRS]
    architectures += [chain(*pair, blocks=2) for pair in UNETS]
    found = [Job(architecture=architecture) for architecture in architectures]
    study = Study.load()
    problem, batch = next(iter(study.config["solvers"]["problems"])), study.config["solvers"]["batch"]
    task = Solving(problem=study.problem(problem))
    for method in SOLVERS:
        architecture = networks.architecture(study.solver_training(method, problem)["architecture"])
        found.append(solver(architecture, task, batch, f"{method} for {problem}"))
    return [replace(job, seeds=seeds) for job in found]


def measurements(quick: bool, compiled: bool, checkouts: tuple[Checkout, ...] = ()) -> list[tuple[str, Measurement]]:
    """Everything that is measured, in order, each with its kind; ``checkouts``: ours and another one."""
    fast = ("compiled", "vmap") if compiled else ("vmap",)
    found: list[tuple[str, Measurement]] = []
    for pair in PAIRS:
        found += [(PASSES, partial(passes, *pair, 1)), (PASSES, partial(passes, *pair, against=fast))]
        found += [(STEP, partial(steps, *pair, fast)), (STEP, partial(steps, *pair, seeds=1))]
        found += [(STEP, partial(steps, *pair, channels=8))]
    found += [(PASSES, partial(passes, *pair, seeds)) for pair in CROSSED for seeds in (1, SEEDS)]
    if not quick:
        for pair in PAIRS:
            for key, (first, *others) in SIZES.items():
                found += [(PASSES, partial(passes, *pair, against=fast, size=SIZE | {key: first}))]
                found += [(PASSES, partial(passes, *pair, size=SIZE | {key: value})) for value in others]
            found += [(STEP, partial(steps, *pair, **size)) for size in STEPS]
        found += [(STUDY, partial(study_network, job)) for job in study_jobs()]
    if checkouts:
        jobs = [job for seeds in (SEEDS, 1)[: 1 if quick else 2] for job in compared_jobs(seeds)]
        found += [(AGAINST, partial(both_checkouts, job, *checkouts)) for job in jobs]
    return found
