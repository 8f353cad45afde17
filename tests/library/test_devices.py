"""The environment chooses where trainings run, an impossible choice is named, and freed memory is used again."""

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from platform import libc_ver

import pytest
import torch

from schemenets import devices
from schemenets.errors import InvalidParameterError


@pytest.fixture(params=[False, True], ids=["without_gpu", "with_gpu"])
def cuda(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_100a", "compute_120"])
    return request.param


def test_the_processor_unless_something_else_is_asked_for(cuda, monkeypatch):
    monkeypatch.delenv(devices.DEVICE, raising=False)
    assert devices.device() == torch.device("cpu")
    monkeypatch.setenv(devices.DEVICE, "cpu")
    assert devices.device() == torch.device("cpu")
    assert devices.described() == devices.processor()


def test_a_gpu_where_there_is_one(cuda, monkeypatch):
    monkeypatch.setenv(devices.DEVICE, "cuda")
    if cuda:
        assert devices.device() == torch.device("cuda")
        assert devices.described() == "Some GPU"
    else:
        with pytest.raises(InvalidParameterError, match=r": got 'cuda', expected cpu on this machine\.$"):
            devices.device()


@pytest.mark.parametrize("cuda", [True], indirect=True)
def test_a_gpu_that_is_too_old_is_named(cuda, monkeypatch):
    monkeypatch.setenv(devices.DEVICE, "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    message = r"got 'Some GPU of compute capability 7\.0', expected 7\.5 or more with torch 2"
    with pytest.raises(InvalidParameterError, match=message):
        devices.device()


@pytest.fixture
def several_gpus(monkeypatch, tmp_path):
    """Two of them; what is chosen is kept."""
    chosen = []

    @contextmanager
    def choose(index):
        chosen.append(index)
        yield

    monkeypatch.setattr(devices, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", choose)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return chosen


def test_every_process_takes_a_gpu_of_its_own_and_shares_evenly_if_there_are_more(several_gpus):
    with devices.claimed():
        with devices.claimed(), devices.claimed():
            pass
        with devices.claimed():
            pass
    with devices.claimed():
        pass
    assert several_gpus == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_chosen_where_there_is_one_gpu_or_none(several_gpus, count, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with devices.claimed():
        pass
    assert several_gpus == []


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
