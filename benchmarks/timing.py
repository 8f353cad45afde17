"""Measures comparable times, memory, and the peak rates of one core."""

import ctypes
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from schemenets import kernels
from schemenets.multigrid import _fused_unet
from schemenets.study.records import provenance

ROUNDS = 5
SLICE = 0.15  # seconds per contender and round, at least
ELEMENTS = 1024  # of the arrays that the peak is measured on: they stay in the first cache
CHAIN = 8  # multiply-adds per element
PRODUCTS = (256, 512, 1024)  # sizes of the matrix products
CPUINFO = Path("/proc/cpuinfo")  # on Linux
VECTORS = {"avx512f": 512, "avx2": 256, "sse2": 128}  # bits, by flag
COPIED = 2**26  # numbers in the copy that the bandwidth is measured by: 256 MiB, beyond all caches


def least_seconds(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    least: float | None = None,
    finish: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Seconds per call of every contender: the least of the means of several rounds, in which they take turns.

    A turn takes ``least`` seconds at least, :data:`SLICE` if not given, and ends when ``finish`` returns, which waits
    for work on another device.
    """
    least = SLICE if least is None else least
    calls = {}
    for name, run in contenders.items():
        run()  # compiles, fills caches
        finish()
        start = time.perf_counter()
        run()
        finish()
        calls[name] = max(1, round(least / max(time.perf_counter() - start, 1e-9)))
    best = dict.fromkeys(contenders, float("inf"))
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in contenders.items():
                start = time.perf_counter()
                for _ in range(calls[name]):
                    run()
                finish()
                best[name] = min(best[name], (time.perf_counter() - start) / calls[name])
    finally:
        gc.enable()
    return best


def peak_fma_gflops() -> float | None:
    """Peak rate of single-precision multiply-adds on one core, in GFLOP/s; None without numba.

    A compiled loop over arrays in the first cache, in which every element goes through a chain of multiply-adds and
    the elements do not depend on each other.
    """
    try:
        from numba import njit
    except ImportError:
        return None

    @njit(fastmath={"contract"}, error_model="numpy")
    def multiply_adds(values: np.ndarray, x: np.float32, y: np.float32, times: int) -> None:
        for _ in range(times):
            for i in range(values.size):
                t = values[i]
                t = t * x + y
                t = t * x + y
                t = t * x + y
                t = t * x + y
                t = t * x + y
                t = t * x + y
                t = t * x + y
                t = t * x + y
                values[i] = t

    # t stays at 1, away from overflow and denormal numbers
    times, half = 1000, np.float32(0.5)
    run = partial(multiply_adds, np.ones(ELEMENTS, np.float32), half, half, times)
    return 2 * CHAIN * ELEMENTS * times / least_seconds({"": run}, rounds=2 * ROUNDS)[""] / 1e9


def peak_blas_gflops() -> float:
    """Peak rate of single-precision multiply-adds in torch's BLAS matrix products, in GFLOP/s."""
    best = 0.0
    for n in PRODUCTS:
        a, b, c = torch.ones(n, n), torch.ones(n, n), torch.empty(n, n)
        best = max(best, 2 * n**3 / least_seconds({"": partial(torch.mm, a, b, out=c)}, rounds=3)[""] / 1e9)
    return best


def bandwidth_gbytes() -> float:
    """Bytes read and written by a copy far beyond the caches, in GB/s."""
    x = torch.ones(COPIED)
    y = torch.empty_like(x)
    return 2 * x.nbytes / least_seconds({"": partial(y.copy_, x)}, rounds=3)[""] / 1e9


def share_in_compiled_loops(run: Callable[[], object]) -> float | None:
    """Share of the CPU time of a call that is spent in the library's compiled loops; None if it does not use them."""
    if kernels.backend() != "fused":
        return None
    from schemenets.kernels import fused
    from schemenets.multigrid import _fused

    spent, compiled = 0.0, fused._compiled

    def timed(loops: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            nonlocal spent
            start = time.process_time()
            loops(*arguments)
            spent += time.process_time() - start

        return call

    with ExitStack() as patches:
        patches.enter_context(patch.object(fused, "_compiled", lambda *key: timed(compiled(*key))))
        for cycles in (_fused_unet, _fused):
            patches.enter_context(patch.object(cycles, "call", timed(cycles.call)))
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


def description() -> str:
    """Processor, how many there are and the width of their vectors; software, and the commit that was measured."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    pairs = (line.partition(":")[::2] for line in reversed(lines))  # reversed, so that the first of equal keys is kept
    cpu = {key.strip(): value.strip() for key, value in pairs}
    parts = [cpu.get("model name") or platform.processor() or platform.machine()]
    if {"cpu family", "model"} <= set(cpu):
        parts.append(f"family {cpu['cpu family']} model {cpu['model']}")
    parts.append(f"{os.cpu_count()} processors")
    flags = cpu.get("flags", "").split()
    parts += [f"vectors of {bits} bits" for bits in [width for flag, width in VECTORS.items() if flag in flags][:1]]
    git = provenance.git_state()
    commit = [f"commit {git['commit'][:7]}{' and changes' * git['dirty']}"] if git["commit"] else []
    software = [f"torch {torch.__version__}", f"kernel {kernels.backend()}", *commit]
    return ", ".join([*parts, "one thread", *software])
