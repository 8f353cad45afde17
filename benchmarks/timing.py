"""Measures comparable times, memory, and what one core can do at best."""

import ctypes
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from schemenets import kernels
from schemenets.study.records import provenance

ROUNDS = 11
SLICE = 0.05  # seconds per contender and round, at least
QUANTILES = 0.2, 0.8  # of the rounds: the time, and how far it scatters
CHAINS = (6, 12)  # of multiply-adds that do not wait for each other: for machines with few and with many registers
MULTIPLY_ADDS = 100_000  # in each of them
CPUINFO = Path("/proc/cpuinfo")  # on Linux
VECTORS = {"avx512f": 512, "avx2": 256, "sse2": 128}  # bits, by flag

Turn = Callable[[int], float]  # makes so many calls, and gives the seconds that they take


class Seconds(NamedTuple):
    """Seconds per call: the :data:`QUANTILES` of the means of all rounds."""

    low: float
    high: float


def turn(run: Callable[[], object], finish: Callable[[], object] = lambda: None) -> Turn:
    """Turns of a function; each ends when ``finish`` returns, which waits for work on another device."""

    def calls(count: int) -> float:
        gc.disable()
        try:
            start = time.perf_counter()
            for _ in range(count):
                run()
            finish()
            return time.perf_counter() - start
        finally:
            gc.enable()

    return calls


def seconds(turns: Mapping[str, Turn], rounds: int | None = None, least: float | None = None) -> dict[str, Seconds]:
    """Seconds per call of every contender, which take turns of at least so many seconds in so many rounds."""
    rounds, least = ROUNDS if rounds is None else rounds, SLICE if least is None else least
    calls = {}
    for name, run in turns.items():
        run(1)  # compiles, fills caches
        calls[name] = max(1, round(least / max(run(1), 1e-9)))
    means: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, run in turns.items():
            means[name].append(run(calls[name]) / calls[name])
    return {name: Seconds(*np.quantile(of_rounds, QUANTILES).tolist()) for name, of_rounds in means.items()}


def peak_gflops() -> float | None:
    """What one core does at best in single-precision multiply-adds, in GFLOP/s; None without numba.

    Chains of them on the vectors of the engine, which stay in registers.
    """
    try:
        from numba import njit

        from schemenets.kernels.simd import OPTIONS, add_multiple, lanes, repeated, total, vector
    except ImportError:
        return None

    def chains(count: int) -> Callable[[], object]:
        @njit(**OPTIONS)
        def run(x, times):  # type: ignore[no-untyped-def]
            factor, values = vector(x), repeated(vector(x), count)
            for _ in range(times):
                values = add_multiple(values, factor, values)
            s = factor
            for value in values:
                s = s + value
            return total(s)

        return partial(run, np.float32(0), MULTIPLY_ADDS)  # zeros stay zeros, neither subnormal nor infinite

    found = seconds({str(count): turn(chains(count)) for count in CHAINS})
    return max(2 * lanes(np.float32) * int(n) * MULTIPLY_ADDS / time.low for n, time in found.items()) / 1e9


def share_in_compiled_loops(run: Callable[[], object]) -> float | None:
    """Share of the CPU time of a call that is spent in the engine; None if nothing is compiled."""
    if kernels.backend() != "fused":
        return None
    from schemenets.kernels import engine

    run()  # compiles
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:
            nonlocal spent
            start = time.process_time()
            result = function(*arguments)
            spent += time.process_time() - start
            return result

        return call

    with (
        patch.object(engine.Engine, "_call", timed(engine.Engine._call)),
        patch.object(engine, "adam", timed(engine.adam)),
    ):
        start = time.process_time()
        run()
        return spent / (time.process_time() - start)


def saved_mib(run: Callable[[], object]) -> float:
    """Memory that autograd keeps for the backward pass, in MiB; every storage counts once."""
    sizes: dict[int, int] = {}
    kept = []  # so that no storage is freed and its address used again

    def pack(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run()
    return sum(sizes.values()) / 2**20


def peak_mib(run: Callable[[], object]) -> float | None:
    """Peak resident memory of a call beyond that before it, in MiB; None unless on Linux.

    The least of three calls, since holes that earlier calls left decide how much memory is reused.
    """
    run()
    gc.disable()  # memory that it frees in between would hide what the call takes
    try:
        return min(_growth(run) for _ in range(3)) / 1024
    except (OSError, AttributeError):
        return None
    finally:
        gc.enable()


def _growth(run: Callable[[], object]) -> int:
    """Growth of the resident memory up to its peak, in KiB."""
    ctypes.CDLL(None).malloc_trim(0)  # else memory that earlier calls have freed would be reused, unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    """A number of the process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def description(measured: str = "") -> str:
    """Processor, how many there are and the width of their vectors; software, and the commit, by default this one."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    pairs = (line.partition(":")[::2] for line in reversed(lines))  # reversed, so that the first of equal keys is kept
    cpu = {key.strip(): value.strip() for key, value in pairs}
    parts = [cpu.get("model name") or platform.processor() or platform.machine()]
    if {"cpu family", "model"} <= set(cpu):
        parts.append(f"family {cpu['cpu family']} model {cpu['model']}")
    parts.append(f"{os.cpu_count()} processors")
    flags = cpu.get("flags", "").split()
    parts += [f"vectors of {bits} bits" for bits in [width for flag, width in VECTORS.items() if flag in flags][:1]]
    software = [f"torch {torch.__version__}", f"kernel {kernels.backend()}"]
    measured = measured or commit()
    return ", ".join([*parts, "one thread", *software, *([f"commit {measured}"] if measured else [])])


def commit() -> str:
    """The commit of this library, and whether files differ from it; empty outside a git checkout."""
    git = provenance.git_state()
    return f"{git['commit'][:7]}{' and changes' * git['dirty']}" if git["commit"] else ""
