"""How fast the library is: `python -m benchmarks` prints times measured in one run on one thread, and the targets.

Contenders, which do the same work in single precision and take turns:

* ours: the library, all seeds side by side;
* idiomatic: torch's own layers, one seed at a time;
* compiled: the same under ``torch.compile``;
* vmap: ``torch.func.vmap`` over stacked modules, all seeds at once;
* other: the library of another checkout.

Times are the 20 % quantile over the rounds, their spread is the 80 % quantile over it.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks import measurements, table, targets, timing
from benchmarks.checkouts import ROOT, Checkout
from benchmarks.targets import Row
from schemenets.devices import flushed_subnormals, keep_freed_memory
from schemenets.progress import Progress

ABOUT = (
    *("what", "case", "network", "flux", "certified", "tied", "blocks", "filters", "kernel_size", "channels"),
    *("length", "batch", "seeds", "contender", "milliseconds_per_seed", "spread", "times_slower_than_ours"),
)
COLUMNS = (
    *ABOUT,
    *("gflops", "share_of_peak", "saved_mib_per_seed", "peak_mib_per_seed", "training_mib_per_seed"),
    *("share_in_compiled_loops", "peak_gflops", "machine", "other_commit"),
)


@flushed_subnormals()  # as in trainings
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only the size that most targets are about")
    parser.add_argument("--without-compile", action="store_true", help="without torch.compile, which needs a compiler")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="also compare with the library of a checkout")
    parser.add_argument("--only", default="", metavar="TEXT", help='what begins like this, e.g. "network of the study"')
    parser.add_argument(
        "--out", type=Path, help="table to write, e.g. results/tables/benchmark.csv; the targets go beside it"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ["SCHEMENETS_DEVICE"] = "cpu"
    torch.set_num_threads(1)
    keep_freed_memory()
    peak, machine = timing.peak_gflops(), timing.description()
    print(f"{machine}\none core at best: {f'{peak:.0f} GFLOP/s' if peak else 'not measured'}", flush=True)
    rows: list[Row] = []
    with ExitStack() as stack:
        places = (ROOT, options.against) if options.against else ()
        checkouts = tuple(stack.enter_context(Checkout(place)) for place in places)
        every = measurements.measurements(options.quick, not options.without_compile, checkouts)
        todo = [measure for what, measure in every if what.startswith(options.only)]
        progress = Progress("benchmark", len(todo), "measurements")
        for done, measure in enumerate(todo, start=1):
            for row in measure():
                share = row["gflops"] / peak if row["gflops"] and peak else None
                rows.append(row | {"share_of_peak": share, "peak_gflops": peak, "machine": machine})
                print(line(rows[-1]), flush=True)
            progress.update(done)
    summary = targets.summary(rows)
    print("\n" + "\n".join(map(_judged, summary)))
    if options.out:
        table.write(options.out, rows, COLUMNS)
        table.write(options.out.with_stem(f"{options.out.stem}_targets"), summary, tuple(summary[0]))
    return 0


def line(row: Row) -> str:
    """A row as it is printed."""
    parts = [
        f"{row['what']}: {row['case']}".ljust(76),
        row["contender"].ljust(14),
        f"{row['milliseconds_per_seed']:9.4f} ms per seed (to {row['spread']:.2f} x)",
        f"{row['times_slower_than_ours']:6.2f} x",
    ]
    if row.get("gflops") is not None:
        parts.append(f"{row['gflops']:6.1f} GFLOP/s")
    if row.get("share_of_peak") is not None:
        parts.append(f"({row['share_of_peak']:.0%})")
    if row.get("peak_mib_per_seed") is not None:
        parts.append(f"{row['peak_mib_per_seed']:6.2f} MiB")
    if row.get("share_in_compiled_loops") is not None:
        parts.append(f"{row['share_in_compiled_loops']:.0%} in loops")
    return " ".join(parts)


def _judged(row: Row) -> str:
    measured = "" if row["measured"] is None else f"{row['measured']:.3g}"
    worst = f"{row['cases_reached']} of {row['cases']}; worst: {row['worst_case']}" if row["cases"] else ""
    return f"{row['target']:104} {row['asked']:8} {row['bound']:4} {measured:>7} {row['reached']:12} {worst}"


if __name__ == "__main__":
    sys.exit(main())
