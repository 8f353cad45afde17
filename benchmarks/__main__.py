"""How fast the library is: `python -m benchmarks` prints ratios measured in one run on one thread, and the targets.

Rivals, which all do the same work in single precision on one thread:

* idiomatic: torch's own layers, one seed at a time;
* compiled: the same under ``torch.compile``;
* vmap: ``torch.func.vmap`` over stacked modules, all seeds at once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import measurements, table, targets
from benchmarks.targets import Row
from schemenets.devices import flushed_subnormals, keep_freed_memory
from schemenets.progress import Progress

COLUMNS = (
    *targets.CONFIGURATION,
    "contender",
    "milliseconds_per_seed",
    "times_slower_than_ours",
    "gflops",
    "share_of_peak",
    "gbytes_per_second",
    "share_of_bandwidth",
    "saved_mib_per_seed",
    "peak_mib_per_seed",
    "share_in_compiled_loops",
    "fma_gflops",
    "blas_gflops",
    "bandwidth_gbytes",
    "machine",
)


@flushed_subnormals()  # as in trainings
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only one size")
    parser.add_argument("--without-compile", action="store_true", help="without torch.compile, which needs a compiler")
    parser.add_argument(
        "--out", type=Path, help="table to write, e.g. results/tables/benchmark.csv; the targets go beside it"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ["SCHEMENETS_DEVICE"] = "cpu"
    torch.set_num_threads(1)
    keep_freed_memory()
    here = measurements.machine()
    fma = "not measured" if here["fma_gflops"] is None else f"{here['fma_gflops']:.0f} GFLOP/s"
    print(
        f"{here['machine']}\none core at best: {fma} in multiply-adds, {here['blas_gflops']:.0f} GFLOP/s in matrix "
        f"products, {here['bandwidth_gbytes']:.1f} GB/s in a copy",
        flush=True,
    )
    rows = []
    todo = measurements.measurements(options.quick, compiled=not options.without_compile)
    progress = Progress("benchmark", len(todo), "measurements")
    for done, measure in enumerate(todo, start=1):
        for row in measure():
            rows.append(measurements.with_shares(row, here))
            print(_line(rows[-1]), flush=True)
        progress.update(done)
    summary = targets.summary(rows)
    print("\n" + "\n".join(_judged(row) for row in summary))
    if options.out:
        table.write(options.out, rows, COLUMNS)
        table.write(options.out.with_stem(f"{options.out.stem}_targets"), summary, tuple(summary[0]))
    return 0


def _line(row: Row) -> str:
    parts = [
        f"{row['what']}: {targets.case(row)}".ljust(70),
        row["contender"].ljust(9),
        f"{row['milliseconds_per_seed']:9.3f} ms per seed {row['times_slower_than_ours']:6.2f} x",
    ]
    if row["gflops"] is not None:
        parts += [f"{row['gflops']:6.1f} GFLOP/s ({row['share_of_peak']:.0%})", f"{row['gbytes_per_second']:5.2f} GB/s"]
    if row.get("peak_mib_per_seed") is not None:
        parts += [f"{row['peak_mib_per_seed']:6.2f} MiB"]
    if row.get("share_in_compiled_loops") is not None:
        parts += [f"{row['share_in_compiled_loops']:.0%} in loops"]
    return " ".join(parts)


def _judged(row: Row) -> str:
    measured = "" if row["measured"] is None else f"{row['measured']:.3g}"
    worst = f"{row['cases_reached']} of {row['cases']}; worst: {row['worst_case']}" if row["cases"] else ""
    return f"{row['target']:76} {row['asked']:8} {row['bound']:4} {measured:>7} {row['reached']:12} {worst}"


if __name__ == "__main__":
    sys.exit(main())
