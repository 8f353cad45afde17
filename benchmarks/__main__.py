"""How fast the library is: `python -m benchmarks` prints ratios measured in one run on one thread, and writes a table.

Rivals, all of them doing the same work in single precision on one thread:

* idiomatic: torch's own layers, one seed at a time;
* compiled: the same under ``torch.compile``;
* vmap: ``torch.func.vmap`` over stacked modules, all seeds at once.
"""

import argparse
import csv
import io
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import rivals, timing
from schemenets import files, fluxes, kernels, networks
from schemenets.networks import Architecture
from schemenets.optimisation import Adam
from schemenets.progress import Progress

SIZE = {"filters": 8, "kernel_size": 5, "channels": 1, "length": 256, "batch": 64}
PAIRS = [("resnet", "relu"), ("symmetric", "perona_malik")]
COLUMNS = ("what", "network", "flux", "blocks", "filters", "kernel_size", "channels", "length", "batch", "seeds")
RESULTS = (
    "contender",
    "milliseconds_per_seed",
    "times_slower_than_ours",
    "gflops",
    "share_of_peak",
    "saved_mib_per_seed",
)
Row = dict[str, Any]


def flops(row: Row) -> float:
    """Multiplications and additions of all convolutions of one seed's forward and backward pass, none counted twice.

    Two convolutions forward; backward the derivatives of each with respect to its input and to its filters. What our
    backward pass computes again is not counted.
    """
    windows = row["batch"] * (row["length"] - row["kernel_size"] + 1)
    return 6 * 2.0 * row["blocks"] * row["filters"] * row["channels"] * row["kernel_size"] * windows


def passes(name: str, flux: str, blocks: int, seeds: int, size: dict[str, int], compiled: bool) -> Iterator[Row]:
    """Forward and backward pass of a network, without an optimiser."""
    row = {"what": "forward and backward", "network": name, "flux": flux, "blocks": blocks, "seeds": seeds, **size}
    architecture = _architecture(name, flux, blocks, size)
    shape = (size["batch"], size["channels"], size["length"])
    u = torch.rand(seeds, *shape).requires_grad_()
    gradient = torch.rand(seeds, *shape)
    net = rivals.ours(architecture, seeds)
    plain = rivals.idiomatic(architecture)
    alone = u.detach()[0].clone().requires_grad_()

    def run(net: Callable[..., torch.Tensor], u: torch.Tensor, gradient: torch.Tensor) -> None:
        net(u).backward(gradient)

    contenders: dict[str, tuple[Callable[[], object], int]] = {
        "ours": (partial(run, net.run, u, gradient), seeds),
        "idiomatic": (partial(run, plain, alone, gradient[0]), 1),
    }
    if compiled:
        contenders["compiled"] = (partial(run, torch.compile(plain), alone, gradient[0]), 1)
    yield from _rows(row, contenders)


def training(name: str, flux: str, blocks: int, seeds: int, size: dict[str, int], compiled: bool) -> Iterator[Row]:
    """A full step of training: loss, gradients, Adam."""
    row = {"what": "training step", "network": name, "flux": flux, "blocks": blocks, "seeds": seeds, **size}
    architecture = _architecture(name, flux, blocks, size)
    shape = (size["batch"], size["length"])
    noisy, clean = torch.rand(seeds, *shape), torch.rand(seeds, *shape)
    net = rivals.ours(architecture, seeds)
    adam = Adam(net)

    def ours() -> None:
        (net(noisy) - clean).square().mean((1, 2)).sum().backward()
        adam.step(1, 1e-3)

    contenders: dict[str, tuple[Callable[[], object], int]] = {"ours": (ours, seeds)}
    for contender in ("idiomatic", "compiled")[: 1 + compiled]:
        plain = rivals.idiomatic(architecture)
        step = _step(torch.compile(plain) if contender == "compiled" else plain, plain, noisy[0], clean[0])
        contenders[contender] = (step, 1)
    if compiled:
        parameters, losses = rivals.vmapped([rivals.idiomatic(architecture) for _ in range(seeds)])
        optimiser = torch.optim.Adam(list(parameters.values()), 1e-3)

        def vmap() -> None:
            optimiser.zero_grad()
            losses(parameters, noisy[:, :, None], clean[:, :, None]).sum().backward()
            optimiser.step()

        contenders["vmap"] = (vmap, seeds)
    yield from _rows(row, contenders)


def every_network(name: str, flux: str, blocks: int, seeds: int, size: dict[str, int]) -> Iterator[Row]:
    """A forward and backward pass of any network of the library, against itself on torch's convolutions."""
    row = {"what": "network", "network": name, "flux": flux, "blocks": blocks, "seeds": seeds, **size}
    architecture = _architecture(name, flux, blocks, size)
    f = torch.rand(seeds, size["batch"], size["length"])
    net, alone = rivals.ours(architecture, seeds), networks.build(**architecture.arguments())

    def ours() -> None:
        net(f).sum().backward()

    def plain() -> None:
        with rivals.on_torch_convolutions():
            alone(f[0]).sum().backward()

    yield from _rows(row, {"ours": (ours, seeds), "idiomatic": (plain, 1)})


def _step(net: Callable[..., Any], owner: Any, noisy: torch.Tensor, clean: torch.Tensor) -> Callable[[], object]:
    optimiser = torch.optim.Adam(owner.parameters(), 1e-3)

    def step() -> None:
        optimiser.zero_grad()
        (net(noisy[:, None])[:, 0] - clean).square().mean().backward()
        optimiser.step()

    return step


def _architecture(name: str, flux: str, blocks: int, size: dict[str, int]) -> Architecture:
    kept = {key: size[key] for key in ("filters", "kernel_size", "channels")}
    return Architecture(name=name, flux=flux, blocks=blocks, **kept)


def _rows(row: Row, contenders: dict[str, tuple[Callable[[], object], int]]) -> Iterator[Row]:
    seconds = timing.least_seconds({name: run for name, (run, _) in contenders.items()})
    each = {name: seconds[name] / seeds for name, (_, seeds) in contenders.items()}
    for name, (run, seeds) in contenders.items():
        gflops = flops(row) / each[name] / 1e9
        yield row | {
            "contender": name,
            "milliseconds_per_seed": 1e3 * each[name],
            "times_slower_than_ours": each[name] / each["ours"],
            "gflops": gflops,
            "saved_mib_per_seed": timing.saved_mib(run) / seeds,
        }


def measurements(quick: bool) -> list[Callable[[], Iterator[Row]]]:
    """Everything that is measured, in order."""
    found: list[Callable[[], Iterator[Row]]] = []
    for name, flux in PAIRS:
        found += [partial(passes, name, flux, 1, seeds, SIZE, compiled=seeds == 1) for seeds in (1, 10)]
        found += [partial(training, name, flux, 4, 10, SIZE, compiled=True)]
    if quick:
        return found
    for name, flux in PAIRS:
        found += [partial(training, name, flux, 4, seeds, SIZE, compiled=False) for seeds in (1, 2, 5, 20)]
        found += [partial(training, name, flux, blocks, 10, SIZE, compiled=False) for blocks in (1, 16)]
        for key, values in {"filters": (4, 16, 32), "length": (64, 1024, 4096), "channels": (8, 16)}.items():
            found += [partial(passes, name, flux, 1, 10, SIZE | {key: value}, compiled=False) for value in values]
    for name in networks.available():
        for flux in fluxes.available():
            found += [partial(every_network, name, flux, 2, 10, SIZE)]
    return found


def machine() -> str:
    """Description of processor and software."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    return f"{processor}, one thread, torch {torch.__version__}, kernel {kernels.backend()}"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only one block and one network")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/benchmark.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak, bandwidth = timing.peak_gflops(), timing.bandwidth_gbytes()
    here = machine()
    print(f"{here}; at best {peak:.0f} GFLOP/s (matrix product) and {bandwidth:.1f} GB/s (copy)")
    rows = []
    todo = measurements(options.quick)
    progress = Progress("benchmark", len(todo), "measurements")
    for done, measure in enumerate(todo, start=1):
        for row in measure():
            row |= {"share_of_peak": row["gflops"] / peak, "peak_gflops": peak, "machine": here}
            rows.append(row)
            size = ", ".join(f"{key} {row[key]}" for key in COLUMNS[3:])
            print(
                f"{row['what']:20} {row['network']:12} {row['flux']:14} {size}: {row['contender']:10}"
                f"{row['milliseconds_per_seed']:9.3f} ms {row['times_slower_than_ours']:6.1f} x"
                f" {row['gflops']:6.1f} GFLOP/s ({row['share_of_peak']:.0%})",
                flush=True,
            )
        progress.update(done)
    if options.out:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(
            table, [*COLUMNS, *RESULTS, "saved_mib_per_seed", "peak_gflops", "machine"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
        files.atomic_write(options.out, table.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
