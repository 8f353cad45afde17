"""Times that can be compared: every contender in turn, again and again, and the least time of each."""

import gc
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch

ROUNDS = 7
SLICE = 0.15  # seconds per contender and round, at least


def least_seconds(contenders: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds per call of every contender: the least of the means of several rounds, in which they take turns."""
    calls = {}
    for name, run in contenders.items():
        run()  # compiles, fills caches
        start = time.perf_counter()
        run()
        calls[name] = max(1, round(SLICE / max(time.perf_counter() - start, 1e-9)))
    best = dict.fromkeys(contenders, float("inf"))
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in contenders.items():
                start = time.perf_counter()
                for _ in range(calls[name]):
                    run()
                best[name] = min(best[name], (time.perf_counter() - start) / calls[name])
    finally:
        gc.enable()
    return best


def peak_gflops() -> float:
    """Single-precision multiply-adds that one core does at best, in GFLOP/s: those of the BLAS library's products."""
    best = 0.0
    for n in (256, 512, 1024):
        a, b, c = torch.ones(n, n), torch.ones(n, n), torch.empty(n, n)
        best = max(best, 2 * n**3 / least_seconds({"": partial(torch.mm, a, b, out=c)})[""] / 1e9)
    return best


def bandwidth_gbytes() -> float:
    """Bytes read and written by a copy far beyond the caches, in GB/s."""
    x = torch.ones(64 * 2**20)
    y = torch.empty_like(x)
    return 2 * x.nbytes / least_seconds({"": partial(y.copy_, x)}, rounds=3)[""] / 1e9


def saved_mib(run: Callable[[], object]) -> float:
    """What autograd keeps from the forward for the backward pass, in MiB; every storage counts once."""
    sizes: dict[int, int] = {}
    kept = []  # so that no storage is freed and its address used again

    def pack(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run()
    return sum(sizes.values()) / 2**20
