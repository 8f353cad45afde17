"""The environment chooses where trainings run, an impossible choice is named, and freed memory is used again."""

import subprocess
import sys
from platform import libc_ver

import pytest
import torch

from schemenets import devices
from schemenets.errors import InvalidParameterError


@pytest.fixture(params=[False, True], ids=["without_gpu", "with_gpu"])
def cuda(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_the_processor_unless_something_else_is_asked_for(cuda, monkeypatch):
    monkeypatch.delenv("SCHEMENETS_DEVICE", raising=False)
    assert devices.device() == torch.device("cpu")
    monkeypatch.setenv("SCHEMENETS_DEVICE", "cpu")
    assert devices.device() == torch.device("cpu")


def test_a_gpu_where_there_is_one(cuda, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_DEVICE", "cuda")
    if cuda:
        assert devices.device() == torch.device("cuda")
    else:
        with pytest.raises(InvalidParameterError, match=r": got 'cuda', expected cpu on this machine\.$"):
            devices.device()


@pytest.mark.parametrize("value", ["tpu", "CPU", ""])
def test_other_values_are_refused_with_the_known_ones(value, cuda, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_DEVICE", value)
    known = "cpu or cuda" if cuda else "cpu"
    message = rf"SCHEMENETS_DEVICE: got '{value}', expected {known} on this machine\.$"
    with pytest.raises(InvalidParameterError, match=message):
        devices.device()


PROGRAM = """
import resource
from schemenets import devices
if {keep}:
    devices.keep_freed_memory()
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
