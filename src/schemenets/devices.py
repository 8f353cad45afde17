"""Where networks are trained, what becomes of freed memory, and how arithmetic treats the smallest numbers."""

import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from schemenets.errors import InvalidParameterError

WARM_UP = 3  # calls before a function is captured, in which libraries prepare themselves
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
KEPT = {M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**30, M_TOP_PAD: 2**25}  # bytes; glibc takes no larger first one


def device() -> torch.device:
    """Where trainings run: the environment variable ``SCHEMENETS_DEVICE``, ``cpu`` (if it is not set) or ``cuda``.

    Raises:
        InvalidParameterError: another value, or there is no such device.
    """
    name = os.environ.get("SCHEMENETS_DEVICE", "cpu")
    allowed = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if name not in allowed:
        raise InvalidParameterError("SCHEMENETS_DEVICE", name, f"{' or '.join(allowed)} on this machine")
    return torch.device(name)


def captured(function: Callable[[Tensor], Any], example: Tensor) -> Callable[[Tensor], Any]:
    """``function`` as one CUDA graph: launched at once, its many small operations no longer wait for Python.

    Args:
        function: computes on the GPU, always the same operations without looking at values.
        example: an argument; those of all calls are of its shape, dtype and device.

    Returns:
        The function; its result is overwritten by the next call.
    """
    argument, stream = example.clone(), torch.cuda.Stream(example.device)
    stream.wait_stream(torch.cuda.current_stream(example.device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            function(argument)
    torch.cuda.current_stream(example.device).wait_stream(stream)
    gc.collect()  # what autograd has left of other streams must not be met while capturing
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        result = function(argument)

    def replay(x: Tensor) -> Any:
        argument.copy_(x)
        graph.replay()
        return result

    return replay


def is_readable(x: Tensor) -> bool:
    """Whether Python may look at the values of x, as nothing compiles, traces, captures or transforms them."""
    if torch.compiler.is_compiling() or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    return is_ordinary(x)


def is_ordinary(x: Tensor) -> bool:
    """Whether x is a tensor with data that operations are run on as they are called."""
    if x.is_meta or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return False
    return torch._C._dispatch_keys(x) in _ordinary(x.device.type)


@cache
def _ordinary(device: str) -> list[Any]:
    """What torch dispatches operations of ordinary tensors by; wrapped ones and those without data have others."""
    found = []
    for mode in (nullcontext, torch.inference_mode):
        with mode():
            found.append(torch._C._dispatch_keys(torch.zeros((), device=device)))
    return found


def is_dual(x: Tensor) -> bool:
    """Whether x carries a tangent of forward-mode differentiation."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def autocasts(x: Tensor) -> bool:
    """Whether operations on x may be cast to a lower precision, see ``torch.autocast``."""
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


@contextmanager
def flushed_subnormals() -> Iterator[None]:
    """Numbers too small for full precision count as zero on the CPU, in the calling thread.

    Filters that die out, and norms that vanish, are made of them, and they are computed thirty times slower.
    """
    smallest = torch.tensor(torch.finfo(torch.float64).tiny, dtype=torch.float64)
    before = (smallest / 2).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def keep_freed_memory() -> None:
    """Let this process keep up to a gibibyte of freed memory; does nothing where the C library is not glibc.

    Every step of a training frees and allocates the same arrays. As a rule glibc returns those of its last steps to
    the operating system, and getting them back page by page takes a fifth of the time of a small network.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in KEPT.items():
            mallopt(parameter, value)
