"""Checkpoints of all kinds of networks: what is written is read again, and what cannot be read is named."""

import copy
import json
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import remove_parametrizations

import schemenets as sn
from schemenets import checkpoints, networks
from schemenets.errors import CheckpointError, InvalidParameterError
from schemenets.files import read_safetensors, write_safetensors
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.networks import Architecture

PROBLEM = Problem(tau=4.0, flux="charbonnier", contrast=0.1, order=2, extent=64.0)
SMALL = {"filters": 2, "kernel_size": 3}
ARCHITECTURES = {
    **{name: Architecture(name=name, blocks=2, flux="charbonnier", **SMALL) for name in networks.available()},
    "channels": Architecture(name="fsi", blocks=2, flux="learned", channels=2, tied=True, **SMALL),
    "certified": Architecture(name="symmetric", blocks=2, flux="relu", channels=2, certified=True, **SMALL),
    "cycle": CycleArchitecture(problem=PROBLEM, flux="charbonnier", kind="W", **SMALL),
    "fixed": CycleArchitecture(problem=PROBLEM, filters=0, transfers="fixed"),
    "ablated": CycleArchitecture(problem=PROBLEM, skip="concatenated", coarse_side="restricted", **SMALL),
}
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
each_kind = pytest.mark.parametrize(
    "architecture", [ARCHITECTURES["symmetric"], ARCHITECTURES["cycle"]], ids=["network", "cycle"]
)
SEEDS = (3, 0, 7)


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "networks.safetensors"


def trained(architecture, dtype=torch.float32):
    """Networks by seed, with weights that no initialisation gives."""
    nets = {seed: architecture.build(seed).to(dtype) for seed in SEEDS}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for net in nets.values():
            for parameter in net.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return nets


def assert_same(first, second):
    assert type(first).__name__ == type(second).__name__
    assert first.architecture == second.architecture
    dtype = next(first.parameters()).dtype
    b = torch.rand(2, 32, generator=torch.Generator().manual_seed(1), dtype=dtype)
    assert torch.equal(first(b), second(b))
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert one.dtype == other.dtype == dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@each_architecture
def test_every_seed_is_read_as_it_was_written(architecture, dtype, path):
    nets = trained(architecture, dtype)
    checkpoints.save_all(nets, path)
    assert checkpoints.header(path) == (architecture, SEEDS, dtype, False)
    again = checkpoints.load_all(path)
    assert tuple(again) == SEEDS
    for seed, net in nets.items():
        assert_same(again[seed], net)
        assert_same(checkpoints.load(path, seed), net)


@each_architecture
def test_one_network_needs_no_seed(architecture, path):
    net = trained(architecture)[3]
    sn.save(net, path)
    assert_same(sn.load(path), net)
    assert checkpoints.header(path).seeds == (0,)
    checkpoints.save_all({5: net}, path)
    assert_same(checkpoints.load(path), net)
    assert_same(checkpoints.load(path, 5), net)


@each_kind
def test_the_file_holds_stacked_tensors_and_says_what_they_are(architecture, path):
    nets = trained(architecture)
    checkpoints.save_all(nets, path)
    arrays, header = read_safetensors(path)
    assert json.loads(header) == {"architecture": architecture.arguments(), "seeds": list(SEEDS), "dtype": "float32"}
    for index, net in enumerate(nets.values()):
        state = net.state_dict()
        assert set(arrays) == set(state)
        assert all((arrays[name][index] == state[name].numpy()).all() for name in state)
    content = path.read_bytes()
    checkpoints.save_all(nets, path)
    assert path.read_bytes() == content


@each_kind
def test_a_seed_has_to_be_one_of_those_in_the_file(architecture, path):
    checkpoints.save_all(trained(architecture), path)
    for seed in (None, 1):
        with pytest.raises(
            CheckpointError, match=rf"^{re.escape(str(path))}: seed: got {seed}, expected one of 3, 0, 7$"
        ):
            checkpoints.load(path, seed)


def test_only_networks_of_one_architecture_are_in_one_file(path):
    nets = {0: ARCHITECTURES["symmetric"].build(), 1: ARCHITECTURES["fsi"].build()}
    with pytest.raises(InvalidParameterError, match="architecture: got"):
        checkpoints.save_all(nets, path)
    with pytest.raises(InvalidParameterError, match="networks: got"):
        checkpoints.save_all({}, path)
    assert not path.exists()


@each_kind
def test_parameters_that_are_not_finite_are_named(architecture, path):
    for value in ("nan", "inf"):
        nets = trained(architecture)
        name, parameter = next(iter(nets[0].named_parameters()))
        checkpoints.save_all(nets, path)
        content, (tensors, header) = path.read_bytes(), read_safetensors(path)
        parameter.data.flatten()[0] = float(value)
        with pytest.raises(InvalidParameterError, match=rf"seed 0, {re.escape(name)}: got {value}, expected finite"):
            checkpoints.save_all(nets, path)
        assert path.read_bytes() == content
        tensors[name][SEEDS.index(0)].flat[0] = float(value)
        write_safetensors(path, tensors, header)
        with pytest.raises(
            CheckpointError, match=rf"networks\.safetensors: {re.escape(name)}: got {value}, expected finite"
        ):
            checkpoints.load(path, 0)
        checkpoints.load(path, 3)


def test_files_say_which_gradients_implicit_networks_have(path):
    architecture = Architecture(name="implicit", blocks=9, filters=2, kernel_size=3, flux="charbonnier", certified=True)
    nets = {seed: architecture.build(seed) for seed in (0, 1)}
    nets[0].implicit_gradients = True
    with pytest.raises(InvalidParameterError, match="implicit_gradients: got False, expected True"):
        checkpoints.save_all(nets, path)
    nets[1].implicit_gradients = True
    checkpoints.save_all(nets, path)
    assert checkpoints.header(path).implicit_gradients
    assert all(net.implicit_gradients for net in checkpoints.load_all(path).values())


def test_networks_of_one_file_have_one_precision(path):
    nets = trained(ARCHITECTURES["symmetric"])
    nets[7].double()
    with pytest.raises(InvalidParameterError, match=r"dtype: got torch\.float64, expected torch\.float32"):
        checkpoints.save_all(nets, path)
    for net in nets.values():
        net.float().blocks[1].double()
    message = r"^dtype of blocks\.1\..*: got torch\.float64, expected torch\.float32, that of blocks\.0\."
    with pytest.raises(InvalidParameterError, match=message):
        checkpoints.save_all(nets, path)
    assert not path.exists()


def test_checkpoints_without_a_precision_in_their_header_are_read(path):
    net = trained(ARCHITECTURES["symmetric"], torch.float64)[0]
    header = {"architecture": net.architecture.arguments(), "seeds": [0]}
    write_safetensors(path, networks.stack([net]).state_dict(), json.dumps(header))
    assert_same(checkpoints.load(path), net)


@each_kind
def test_missing_damaged_and_foreign_files_are_named(architecture, path):
    calls = (checkpoints.load, checkpoints.load_all, checkpoints.header)
    for call in calls:
        with pytest.raises(CheckpointError, match=r"networks\.safetensors: file is missing"):
            call(path)
    net = architecture.build()
    stacked = networks.stack([net]).state_dict()
    whole, written = {"architecture": architecture.arguments(), "seeds": [0]}, {}
    for change in ("name", "unknown", "range"):
        changed = {"name": {"name": "nothing"}, "unknown": {"x": 1}, "range": {"kernel_size": 0}}[change]
        written[change] = json.dumps({**whole, "architecture": {**whole["architecture"], **changed}})
    for header in (None, "", "{}", "[]", json.dumps({**whole, "seeds": [0, 1]}), *written.values()):
        write_safetensors(path, stacked, header)
        for call in calls:
            with pytest.raises(CheckpointError, match=r"networks\.safetensors: not a checkpoint of this library"):
                call(path)
    other = {**whole, "architecture": {**whole["architecture"], "kernel_size": 4}}
    for arrays, header in ((stacked, other), ({}, whole), (net.state_dict(), whole)):
        write_safetensors(path, arrays, json.dumps(header))
        with pytest.raises(CheckpointError, match=r"networks\.safetensors: not a checkpoint of this library"):
            checkpoints.load(path)
    checkpoints.save(net, path)
    path.write_bytes(path.read_bytes()[:-8])
    for call in calls:
        with pytest.raises(CheckpointError, match=r"networks\.safetensors: truncated"):
            call(path)


def test_both_kinds_of_architecture_answer_the_same_questions():
    for architecture in ARCHITECTURES.values():
        arguments = json.loads(json.dumps(architecture.arguments()))
        assert arguments["name"] == architecture.name
        assert networks.architecture(arguments) == architecture
        architecture.check()
        net = architecture.build(seed=2)
        assert net.architecture == architecture
        assert architecture.count().total == sum(p.numel() for p in net.parameters())
        assert 0 <= architecture.count().convolution <= architecture.count().total
    consistent = [name for name, architecture in ARCHITECTURES.items() if architecture.consistent]
    assert consistent == ["multigrid_unet", "cycle", "fixed"]


def without_constraint(net):
    remove_parametrizations(net.blocks[0], "tau")
    return net


def of_another_shape(net):
    net.blocks[0].parametrizations.tau.original.data = torch.full((3,), 0.5)
    return net


def with_a_block_more(net):
    net.blocks.append(copy.deepcopy(net.blocks[0]))
    return net


def of_a_class_of_its_own(net):
    net.__class__ = type("Mine", (type(net),), {})
    return net


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without_constraint,
            r"blocks\.0\.parametrizations\.tau\.original: got 'no such parameter', expected shape \(\)",
        ),
        (of_another_shape, r"tau\.original: got 'shape \(3,\)', expected shape \(\)"),
        (with_a_block_more, r"blocks\.2\.K: got 'shape \(2, 1, 3\)', expected no such parameter"),
        (of_a_class_of_its_own, r"network: got 'Mine', expected Symmetric"),
        (lambda net: networks.stack([net, net]), r"network: got 'one of \(2,\) stacked', expected single ones"),
        (lambda net: nn.Linear(2, 2), r"network: got 'Linear', expected a network of schemenets"),
    ],
)
def test_nothing_is_saved_that_is_not_what_its_architecture_says(change, message, tmp_path):
    net = change(networks.build("symmetric", blocks=2, filters=2, kernel_size=3, flux="perona_malik"))
    with pytest.raises(InvalidParameterError, match=message):
        checkpoints.save(net, tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_seeds_are_integers_and_truth_values_may_be_those_of_numpy(tmp_path):
    net = networks.build("symmetric", blocks=1, filters=2, kernel_size=3, flux="relu", biases=np.True_)
    with pytest.raises(InvalidParameterError, match=r"seed: got 0\.5, expected an integer"):
        checkpoints.save_all({0: net, 0.5: net}, tmp_path / "nets.safetensors")
    checkpoints.save_all({np.int64(3): net}, tmp_path / "nets.safetensors")
    assert checkpoints.load(tmp_path / "nets.safetensors", 3).architecture.biases is True
