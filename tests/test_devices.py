"""Where trainings run is a choice of the environment, and an impossible one is named."""

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
        with pytest.raises(InvalidParameterError, match=r"SCHEMENETS_DEVICE = 'cuda'.* allowed: .*: cpu\.$"):
            devices.device()


@pytest.mark.parametrize("value", ["tpu", "CPU", ""])
def test_other_values_are_refused_with_the_allowed_ones(value, cuda, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_DEVICE", value)
    allowed = "cpu, cuda" if cuda else "cpu"
    with pytest.raises(InvalidParameterError, match=rf"SCHEMENETS_DEVICE = '{value}'.* allowed: .*: {allowed}\.$"):
        devices.device()
