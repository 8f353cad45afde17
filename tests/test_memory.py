"""Memory that is freed is kept, so that the next array of the same size needs no new pages."""

import subprocess
import sys
from platform import libc_ver

import pytest

PROGRAM = """
import resource
from schemenets import memory
if {keep}:
    memory.keep()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    for array in [bytearray(2**20) for _ in range(8)]:
        array[::4096] = b"x" * 256
use()
before = faults()
for _ in range(5):
    use()
print(faults() - before)
"""


def new_pages(keep):
    program = PROGRAM.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_used_again():
    assert new_pages(keep=True) < new_pages(keep=False) / 10
