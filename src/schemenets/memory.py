"""Memory of trainings: freed arrays are kept for the next ones of the same size."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
KEPT = {M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**30, M_TOP_PAD: 2**25}  # bytes; glibc takes no larger first one


def keep() -> None:
    """Let this process keep up to a gibibyte of freed memory; does nothing where the C library is not glibc.

    Every step of a training frees and allocates the same arrays. As a rule glibc returns those of its last steps to
    the operating system, and getting them back page by page takes a fifth of the time of a small network.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in KEPT.items():
            mallopt(parameter, value)
