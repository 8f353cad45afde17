"""Where networks are trained, what becomes of freed memory, and how arithmetic treats the smallest numbers."""

import ctypes
import gc
import getpass
import itertools
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.autograd import forward_ad

from schemenets.errors import InvalidParameterError

DEVICE = "SCHEMENETS_DEVICE"  # environment variable
WARM_UP = 3  # calls before a function is captured, in which libraries prepare themselves
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
KEPT = {M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**30, M_TOP_PAD: 2**25}  # bytes; glibc takes no larger first one


def device() -> torch.device:
    """Where trainings run: the environment variable ``SCHEMENETS_DEVICE``, ``cpu`` (if it is not set) or ``cuda``.

    Raises:
        InvalidParameterError: another value, there is no such device, or it is too old for this torch.
    """
    name = os.environ.get(DEVICE, "cpu")
    allowed = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if name not in allowed:
        raise InvalidParameterError(DEVICE, name, f"{' or '.join(allowed)} on this machine")
    if name == "cuda" and (own := torch.cuda.get_device_capability()) < (oldest := _oldest_capability()):
        old = f"{torch.cuda.get_device_name()} of compute capability {own[0]}.{own[1]}"
        raise InvalidParameterError(DEVICE, old, f"{oldest[0]}.{oldest[1]} or more with torch {torch.__version__}")
    return torch.device(name)


def described() -> str:
    """The device in words: the model of the GPU, or of the processor.

    Raises:
        InvalidParameterError: as for :func:`device`.
    """
    return torch.cuda.get_device_name() if device().type == "cuda" else processor()


def processor() -> str:
    """The model of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _oldest_capability() -> tuple[int, int]:
    """The least compute capability that this torch has code for, such as (7, 5) of sm_75."""
    found = [name.rpartition("_")[2].rstrip("af") for name in torch.cuda.get_arch_list()]
    return min(((int(name[:-1]), int(name[-1])) for name in found), default=(0, 0))


@contextmanager
def claimed() -> Iterator[None]:
    """Take one of several GPUs for this process, the first that no other process has taken in this way.

    If all are taken, they are shared evenly. Does nothing if trainings run on the processor, or if one GPU is visible,
    as in a job of a cluster.
    """
    count = torch.cuda.device_count() if device().type == "cuda" else 0
    if count < 2:
        yield
        return
    locks = Path(tempfile.gettempdir()) / f"schemenets-{getpass.getuser()}"
    locks.mkdir(exist_ok=True)
    slots = ((slot, FileLock(locks / f"gpu-{slot}.lock")) for slot in itertools.count())
    slot, lock = next((slot, lock) for slot, lock in slots if _acquired(lock))
    try:
        with torch.cuda.device(slot % count):
            yield
    finally:
        lock.release()


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


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


def exact_products() -> bool:
    """Whether torch computes matrix products of single precision in that, see ``set_float32_matmul_precision``."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it is lower for some backend
        return False


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
