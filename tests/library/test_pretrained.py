"""Networks that come with the package: certified, better than nothing, and trained as it says."""

import pytest
import torch

from schemenets import checkpoints, evaluation, metrics, networks, pretrained, signals, stability
from schemenets.errors import UnknownNameError


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


@pytest.mark.parametrize("name", pretrained.available())
def test_networks_are_certified_and_denoise(name):
    net = checkpoints.load(pretrained.path(name))
    assert net.architecture == pretrained.ARCHITECTURE
    assert stability.certify(net).holds
    assert stability.certify(net).amplification == 1.0
    assert stability.verify(pretrained.path(name), 100) == []
    test = signals.generate({"family": name, **pretrained.DATA, "test": 100})
    noisy, clean = test["test/noisy"], test["test/clean"]
    gained = evaluation.denoised_psnr(networks.stack([net]), noisy, clean).mean() - metrics.psnr(noisy, clean).mean()
    assert gained > 3


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="pretrained network: got 'waves', expected one of piecewise_affine"):
        pretrained.path("waves")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["piecewise_affine"])  # the other one had other data
def test_they_are_trained_as_it_says(name, tmp_path):
    """On the compiled kernel; other processors may end with other digits."""
    again = checkpoints.load(pretrained.train(name, tmp_path))
    net = checkpoints.load(pretrained.path(name))
    u = signals.generate({"family": name, **pretrained.DATA, "test": 20})["test/noisy"]
    with torch.no_grad():
        first, second = (network(torch.from_numpy(u) / 255) for network in (net, again))
    assert (first - second).abs().max() < 0.05
    assert [file.name for file in tmp_path.iterdir()] == [f"{name}.safetensors"]
