"""How fast trainings are on a GPU: `python -m benchmarks.gpu` prints steps of training, compared in one run.

A step is that of the study, in single precision: signals, loss, gradients of all seeds, Adam. The contenders:

* ours: the library's trainer, gradients as one CUDA graph;
* processor: the trainer on one core of the processor beside the GPU, in compiled loops where numba is installed;

and for two of the networks also

* operations: the trainer on the GPU, with the operations launched one by one;
* compiled_graph: a CUDA graph of the network under ``torch.compile``;
* idiomatic, compiled, vmap: torch's own layers one seed at a time, the same under ``torch.compile``, and
  ``torch.func.vmap`` over stacked modules, all on the GPU.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks import __main__, measurements, rivals, table, timing
from benchmarks.jobs import Job, chain
from benchmarks.measurements import PAIRS, UNETS, Contender
from benchmarks.targets import SEEDS, STEP, STUDY, Row
from schemenets.devices import DEVICE, captured, keep_freed_memory
from schemenets.progress import Progress

COLUMNS = (*__main__.ABOUT, "machine")
ROUNDS = 5
OTHER = "network beyond the study"
MORE_SEEDS = 100
FAST = ("compiled", "vmap")


def finish() -> None:
    """Wait for the GPU."""
    torch.cuda.synchronize()


def steps(job: Job, fast: bool) -> Iterator[Row]:
    """Training steps of one of the :data:`PAIRS`; ``fast`` adds contenders."""
    rivalling = measurements.stepping_rivals(job, FAST if fast else (), finish)
    return _rows(STEP, job, own(job) | variants(job, fast) | rivalling)


def any_network(what: str, job: Job) -> Iterator[Row]:
    """Training steps of any network of the library."""
    return _rows(what, job, own(job))


def own(job: Job) -> dict[str, Contender]:
    """The library's trainer on the GPU and on the processor."""
    with patch.dict(os.environ, {DEVICE: "cpu"}):
        processor = job.trainer()
    trainers = {"ours": job.trainer(), "processor": processor}
    return {name: measurements.ours(trainer, job, finish) for name, trainer in trainers.items()}


def variants(job: Job, fast: bool) -> dict[str, Contender]:
    """The library's trainer in variants; ``fast`` adds the one that has to be compiled."""
    trainers = {"operations": (plain := job.trainer())}
    plain.differentiate = plain._differentiate
    if fast:
        trainers["compiled_graph"] = graph = job.trainer()
        graph.net = rivals.compiled(graph.net)
        graph.differentiate = captured(graph._differentiate, graph._batches()[0])
    return {name: measurements.ours(trainer, job, finish) for name, trainer in trainers.items()}


def _rows(what: str, job: Job, contenders: dict[str, Contender]) -> Iterator[Row]:
    for row in measurements.timed(job.row(what), contenders, ROUNDS):
        yield {key: row[key] for key in __main__.ABOUT}


def todo(quick: bool, compiled: bool) -> list[Callable[[], Iterator[Row]]]:
    """Everything that is measured, in order."""
    pairs = [Job(architecture=chain(*pair)) for pair in PAIRS]
    found: list[Callable[[], Iterator[Row]]] = [partial(steps, pair, compiled) for pair in pairs]
    if quick:
        return found
    largest: dict[tuple[str, bool, bool], Job] = {}
    for job in measurements.study_jobs():
        a = job.architecture
        kind = a.name, getattr(a, "certified", False), getattr(a, "channels", 1) > 1
        if job.seeds == SEEDS:
            largest[kind] = max(largest.get(kind, job), job, key=_depth)
    jobs = [(STUDY, job) for job in largest.values()]
    known = {job.architecture.name for job in largest.values()}
    others = [pair for pair in UNETS if pair[0] not in known]
    jobs += [(OTHER, Job(architecture=chain(*pair, blocks=2))) for pair in others]
    return found + [
        partial(any_network, what, replace(job, seeds=seeds)) for what, job in jobs for seeds in (SEEDS, MORE_SEEDS)
    ]


def _depth(job: Job) -> int:
    return int(getattr(job.architecture, "blocks", 0) or getattr(job.architecture, "cycles", 0))


def machine() -> str:
    """GPU and processor, measured rates of the former, software."""
    product, x = 8192, torch.ones(2**28, device="cuda")
    y, a = torch.empty_like(x), torch.ones(product, product, device="cuda")
    b = torch.empty_like(a)
    runs = {"copy": partial(y.copy_, x), "product": partial(torch.mm, a, a, out=b)}
    seconds = timing.seconds({name: timing.turn(run, finish) for name, run in runs.items()})
    return (
        f"{torch.cuda.get_device_name()}, {2 * product**3 / seconds['product'].low / 1e12:.0f} TFLOP/s in products, "
        f"{2 * x.nbytes / seconds['copy'].low / 1e12:.2f} TB/s in copies, CUDA {torch.version.cuda}; "
        f"{timing.description()}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only one size")
    parser.add_argument("--without-compile", action="store_true", help="without torch.compile, which needs a compiler")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/gpu_benchmark.csv")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("python -m benchmarks.gpu: got no GPU, expected one that this torch can use", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ[DEVICE] = "cuda"
    torch.set_num_threads(1)
    keep_freed_memory()
    here = machine()
    print(here, flush=True)
    rows: list[Row] = []
    measuring = todo(options.quick, not options.without_compile)
    progress = Progress("benchmark", len(measuring), "measurements")
    for done, measure in enumerate(measuring, start=1):
        for row in measure():
            rows.append(row | {"machine": here})
            print(__main__.line(rows[-1]), flush=True)
        if options.out:
            table.write(options.out, rows, COLUMNS)  # in case the next one fails
        progress.update(done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
