"""How fast trainings are on a GPU: `python -m benchmarks.gpu` prints steps of training, compared in one run.

A step is that of the study, in single precision: signals, loss, gradients of all seeds, Adam. The contenders:

* ours: the library's trainer, gradients as one CUDA graph;
* operations: the same, with the operations launched one by one;
* compiled_graph: a CUDA graph of the network under ``torch.compile``;
* processor: the trainer on one core of the processor beside the GPU, in compiled loops where numba is installed;
* idiomatic, compiled, vmap: torch's own layers one seed at a time, the same under ``torch.compile``, and
  ``torch.func.vmap`` over stacked modules, all on the GPU.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import measurements, rivals, table, targets, timing
from benchmarks.measurements import BEYOND, PAIRS, Contender
from benchmarks.targets import BLOCKS, OTHER, SEEDS, SIZE, STEP, STUDY, Row
from schemenets.devices import captured, keep_freed_memory
from schemenets.networks import Architecture
from schemenets.progress import Progress

COLUMNS = (
    *targets.CONFIGURATION,
    "contender",
    "milliseconds_per_seed",
    "times_slower_than_ours",
    "machine",
)
MORE_SEEDS = (1, 100)
ROUNDS = 3
FAST = ("compiled", "vmap")


def steps(architecture: Architecture, seeds: int, fast: bool) -> Iterator[Row]:
    """A training step of one of the :data:`PAIRS`; ``fast`` adds contenders."""
    data = measurements._signals(SIZE["length"])
    rivalling = measurements.stepping_rivals(architecture, seeds, data, FAST if fast else ())
    return _rows(STEP, architecture, seeds, _own(architecture, seeds, data, fast) | rivalling)


def any_network(what: str, architecture: Architecture, seeds: int) -> Iterator[Row]:
    """A step of training any network of the library."""
    data = measurements._signals(SIZE["length"])
    rivalling = {"idiomatic": measurements.convolutional(architecture, data)}
    return _rows(what, architecture, seeds, _own(architecture, seeds, data) | rivalling)


def _own(
    architecture: Architecture, seeds: int, data: dict[str, np.ndarray], fast: bool = False
) -> dict[str, Contender]:
    """The library's trainer in its variants."""
    with patch.dict(os.environ, SCHEMENETS_DEVICE="cpu"):
        processor = measurements.trainer(architecture, seeds, data)
    ours, plain = (measurements.trainer(architecture, seeds, data) for _ in range(2))
    plain.differentiate = plain._differentiate
    trainers = {"ours": ours, "operations": plain, "processor": processor}
    if fast:
        trainers["compiled_graph"] = graph = measurements.trainer(architecture, seeds, data)
        graph.apply = rivals.compiled(graph.net)
        graph.differentiate = captured(graph._differentiate, graph._batches()[0])
    return {name: measurements.of_trainer(trainer) for name, trainer in trainers.items()}


def _rows(what: str, architecture: Architecture, seeds: int, contenders: dict[str, Contender]) -> Iterator[Row]:
    about = measurements._row(what, architecture, SIZE, seeds)
    return measurements.timed(about, contenders, ROUNDS, torch.cuda.synchronize)


def todo(quick: bool, compiled: bool) -> list[Callable[[], Iterator[Row]]]:
    """Everything that is measured, in order."""
    pairs = [measurements._architecture(name, flux, BLOCKS, SIZE) for name, flux in PAIRS]
    found: list[Callable[[], Iterator[Row]]] = [partial(steps, pair, SEEDS, compiled) for pair in pairs]
    if quick:
        return found
    found += [partial(steps, pair, seeds, False) for pair in pairs for seeds in MORE_SEEDS]
    largest: dict[str, Architecture] = {}
    for architecture, _ in measurements.study_networks():
        name, blocks = architecture.name, architecture.blocks
        if architecture.channels == 1 and (name not in largest or largest[name].blocks < blocks):
            largest[name] = architecture
    found += [partial(any_network, STUDY, architecture, SEEDS) for architecture in largest.values()]
    beyond = [measurements._architecture(name, flux, 2, SIZE) for name, flux in BEYOND]
    return found + [partial(any_network, OTHER, architecture, SEEDS) for architecture in beyond]


def machine() -> str:
    """GPU and processor, measured rates of the former, software."""
    product, x = 8192, torch.ones(2**28, device="cuda")
    y, a = torch.empty_like(x), torch.ones(product, product, device="cuda")
    b = torch.empty_like(a)
    runs = {"copy": partial(y.copy_, x), "product": partial(torch.mm, a, a, out=b)}
    seconds = timing.least_seconds(runs, ROUNDS, finish=torch.cuda.synchronize)
    return (
        f"{torch.cuda.get_device_name()}, {2 * product**3 / seconds['product'] / 1e12:.0f} TFLOP/s in products, "
        f"{2 * x.nbytes / seconds['copy'] / 1e12:.2f} TB/s in copies, CUDA {torch.version.cuda}; {timing.description()}"
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
    os.environ["SCHEMENETS_DEVICE"] = "cuda"
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
            print(
                f"{row['what']}: {targets.case(row)}".ljust(70),
                row["contender"].ljust(14),
                f"{row['milliseconds_per_seed']:9.4f} ms per seed {row['times_slower_than_ours']:8.2f} x",
                flush=True,
            )
        if options.out:
            table.write(options.out, rows, COLUMNS)  # in case the next one fails
        progress.update(done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
