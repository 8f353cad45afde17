"""Programs in compiled loops are those in plain torch operations: every step, any sequence of steps, every network."""

import os
import subprocess
import sys
from dataclasses import replace
from random import Random
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import FLUX, STEPS, TAPS, random_program, random_tensors

from schemenets import fluxes, kernels, networks
from schemenets.errors import InvalidParameterError
from schemenets.kernels import reference
from schemenets.kernels.extrapolation import factor
from schemenets.kernels.program import BLOCK, PROLONG, RESIDUAL, RESTRICT, SWEEP, Recorder
from schemenets.multigrid import CycleArchitecture, Grid, Problem
from schemenets.networks import Architecture

pytest.importorskip("numba")
import compiled
from compiled import compiled_calls, nothing_left_behind

from schemenets.kernels import engine

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}


@pytest.fixture(autouse=True)
def compiled_kernel(monkeypatch):
    """Compiled functions find NaN wherever they have not written themselves."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "fused")
    with nothing_left_behind():
        yield


@pytest.fixture
def one_kind():
    with compiled.one_kind(FLUX, TAPS):
        yield


def value_and_gradients(run, program, tensors):
    """The result, then the gradients of Σ cos(index) y, a functional without symmetry."""
    y = run(program, tensors[:-1], tensors[-1])
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, tensors, weights, allow_unused=True, materialize_grads=True)]


def assert_equal(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        atol = TOLERANCE[a.dtype] * max(1.0, b.abs().max().item() if b.numel() else 0.0)
        torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=atol)


def assert_equal_to_plain_operations(names, seed, seeds, batch, dtype):
    """These are in double precision."""
    program, shapes = random_program(names, seed)
    tensors = random_tensors(program, shapes, seeds, batch, dtype, seed)
    with compiled_calls() as calls:
        found = value_and_gradients(kernels.run, program, tensors)
    assert calls == ["run", "differentiate"]
    assert all(a.dtype == dtype for a in found)
    double = [x.detach().double().requires_grad_() for x in tensors]
    assert_equal(found, value_and_gradients(reference.run, program, double))


in_both_precisions = pytest.mark.parametrize(
    "dtype", [pytest.param(torch.float32, marks=pytest.mark.slow), torch.float64], ids=["single", "double"]
)
any_numbers_of_seeds_and_signals = given(
    seed=st.integers(0, 10**6), seeds=st.sampled_from([(), (1,), (3,)]), batch=st.integers(0, 20)
)


@pytest.mark.usefixtures("one_kind")
@in_both_precisions
@pytest.mark.parametrize("name", STEPS)
@settings(max_examples=50)
@any_numbers_of_seeds_and_signals
def test_every_step(name, dtype, seed, seeds, batch):
    assert_equal_to_plain_operations([name], seed, seeds, batch, dtype)


@pytest.mark.usefixtures("one_kind")
@settings(max_examples=100)
@any_numbers_of_seeds_and_signals
def test_any_sequence_of_steps(seed, seeds, batch):
    """States that several steps read, parts of states, and inputs that are results. Pairs of equal values are left out:
    their larger one is a matter of rounding."""
    random = Random(seed)
    without = random.choice(["POOL", "EXTEND"])
    names = random.choices([name for name in STEPS if name != without], k=random.randint(0, 8))
    assert_equal_to_plain_operations(names, seed, seeds, batch, torch.float64)


def as_they_are(do, f, channels):
    """Single channels of a state of several, one after the other; what is not used is multiplied by zero."""
    for channel in range(channels):
        yield do.mix(f, do.numbers["one at a time"][channel])


def special_states(dtype):
    """w, u^{k-1} and u^0, signal by signal: at rest, of any size, on and inside of the sphere of the start."""
    generator = torch.Generator().manual_seed(0)
    f, w, previous = torch.randn(3, 40, 6, generator=generator, dtype=torch.float64)
    zero, length = torch.zeros(1, 6, dtype=torch.float64), f.norm(dim=-1, keepdim=True)
    inside = [0.9 * length * x / x.norm(dim=-1, keepdim=True) for x in (w, previous)]
    rows = [
        (w, previous, f),
        (*inside, f),
        (zero, zero, zero),
        (f[:1], f[:1], f[:1]),
        (-f[:1], f[:1], f[:1]),
        (2 * f[:1], 0.5 * f[:1], f[:1]),
        (0.5 * f[:1], f[:1], f[:1]),
        (zero, f[:1], f[:1]),
        *((size * inside[0][:5], size * inside[1][:5], size * f[:5]) for size in (1e-30, 1e-10, 1e10, 1e30)),
    ]
    return (torch.cat(x).to(dtype) for x in zip(*rows, strict=True))


def test_a_block_is_added_onto_two_states_at_most():
    do = Recorder({"K": (2, 1, 3), "c": ()}, TAPS)
    u, c = do.state(1, 6), do.numbers["c"]
    weights = {"W1": do.numbers["K"], "W2": do.numbers["K"]}
    do.block(u, weights, fluxes.get("relu"), [(c, u), (None, u)])
    with pytest.raises(InvalidParameterError, match=r"^pairs in onto: got 3, expected at most 2\.$"):
        do.block(u, weights, fluxes.get("relu"), [(c, u)] * 3)


@pytest.mark.usefixtures("one_kind")
@in_both_precisions
@pytest.mark.parametrize("s_k", [0.8, -1 / 3, 0.0])
def test_safeguards_of_special_states(s_k, dtype):
    """Values and derivatives are finite, and those of plain operations, whatever the sizes of squares."""
    do = Recorder({"one at a time": (3, 1, 3), "s_k": ()}, TAPS)
    f = do.state(3, 6)
    program = do.program([f], do.safeguard(*as_they_are(do, f, 3), do.numbers["s_k"]))
    states = torch.stack([*special_states(dtype)], 1)
    tensors = [states.flatten(1).requires_grad_()]
    tensors.append(torch.cat([torch.eye(3).flatten(), torch.tensor([s_k])]).to(dtype).requires_grad_())
    found, wanted = (value_and_gradients(run, program, tensors) for run in (kernels.run, reference.run))
    assert all(x.isfinite().all() for x in found)
    sizes = states.abs().amax((1, 2)).clamp_min(torch.finfo(dtype).tiny)[:, None]
    for a, b in ((found[0] / sizes, wanted[0] / sizes), (found[1], wanted[1])):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[dtype] * max(1, b.abs().max().item()))
    w, previous, start = states.double().unsqueeze(-2).unbind(1)
    acts = factor(torch.full((1, 1, 1), s_k, dtype=torch.float64), w, w - previous, start).acts
    assert acts.any() == (s_k > 0)
    assert not acts.all()


# Networks

SIZE = {"filters": 3, "kernel_size": TAPS, "flux": FLUX}
PROBLEM = Problem(tau=1.3, flux=FLUX, contrast=0.4, extent=12.0)
NETWORKS = {
    **{name: Architecture(name=name, blocks=2 if "unet" in name else 3, **SIZE) for name in networks.available()},
    **{f"{name}, channels": Architecture(name=name, blocks=3, channels=2, **SIZE) for name in ("resnet", "fsi")},
    **{
        f"{name}, tied": Architecture(name=name, blocks=3, tied=True, **SIZE) for name in ("symmetric", "resnet", "fsi")
    },
    "safeguarded, channels": Architecture(name="safeguarded_du_fort_frankel", blocks=3, channels=2, **SIZE),
    "certified": Architecture(name="safeguarded_fsi", blocks=3, certified=True, **SIZE),
    "biased": Architecture(name="fsi", blocks=3, channels=2, biases=True, **SIZE),
    "signed": Architecture(name="symmetric", blocks=3, biases=True, steps="signed", **SIZE),
    "unbiased": Architecture(name="resnet", blocks=3, biases=False, **SIZE),
    "safeguarded, biased": Architecture(name="safeguarded_fsi", blocks=3, channels=2, biases=True, **SIZE),
    "deep unet": Architecture(name="unet", blocks=3, **SIZE),
    "cycle": CycleArchitecture(problem=PROBLEM, **SIZE),
    "W": CycleArchitecture(problem=PROBLEM, kind="W", cycles=2, **SIZE),
    "F": CycleArchitecture(problem=PROBLEM, kind="F", sweeps=2, **SIZE),
    "second": CycleArchitecture(problem=replace(PROBLEM, order=2), transfers="fixed", **SIZE),
    "restricted": CycleArchitecture(problem=PROBLEM, coarse_side="restricted", **SIZE | {"filters": 0}),
    "concatenated": CycleArchitecture(problem=PROBLEM, skip="concatenated", cycles=2, **SIZE),
}
each_network = pytest.mark.parametrize("architecture", NETWORKS.values(), ids=NETWORKS)
LENGTHS = 3, 9, 16  # as long as the filters, not to be halved, and to be halved


def random_network(architecture, seeds, dtype=torch.float64, scale=0.2):
    """With weights far from those of the start; a stack of networks if there are seeds."""
    nets = [architecture.build(seed).double() for seed in range(*seeds or (1,))]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for net in nets:
            for parameter in net.parameters():
                parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return (networks.stack(nets) if seeds else nets[0]).to(dtype)


def random_signals(*shape, dtype=torch.float64, seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.to(dtype).requires_grad_()


def network_value_and_gradients(function, net, inputs):
    """The result, then the gradients of a functional without symmetry by inputs and parameters."""
    y = function(*inputs)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, [*inputs, *net.parameters()], weights, materialize_grads=True)]


def assert_network_is_in_plain_operations(function, net, inputs):
    """``function`` calls the network once."""
    found = {}
    for kernel in ("fused", "reference"):
        with compiled_calls() as calls, patch.dict(os.environ, SCHEMENETS_KERNEL=kernel):
            found[kernel] = network_value_and_gradients(function, net, inputs)
        assert calls == (["run", "differentiate"] if kernel == "fused" else [])
    assert_equal(*found.values())


@pytest.mark.usefixtures("one_kind")
@in_both_precisions
@each_network
def test_every_network(architecture, dtype):
    for seeds in ((), (2,)):
        net = random_network(architecture, seeds, dtype)
        for length in LENGTHS:
            assert_network_is_in_plain_operations(net, net, [random_signals(*seeds, 9, length, dtype=dtype)])


@pytest.mark.slow
@each_network
def test_every_network_by_functions_of_its_own_steps(architecture):
    """What no step of it needs is not compiled into these."""
    net = random_network(architecture, (2,))
    assert_network_is_in_plain_operations(net, net, [random_signals(2, 9, 16)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {"flux": "learned"}) for name in networks.available()),
        *(("multigrid_unet", {"flux": flux}) for flux in ("linear", "charbonnier", "relu")),
        *(("multigrid_unet", {"filters": F, "kernel_size": k}) for F, k in ((1, 1), (4, 2), (3, 6))),
        *(("unet", {"filters": F, "kernel_size": k}) for F, k in ((1, 1), (4, 2), (3, 6))),
        *(("concatenated", {"filters": F, "kernel_size": k}) for F, k in ((1, 1), (4, 2), (3, 6))),
    ],
    ids=str,
)
def test_other_fluxes_and_filters(name, changes):
    for seeds in ((), (2,)):
        net = random_network(replace(NETWORKS[name], **changes), seeds)
        for length in (8, 16):
            assert_network_is_in_plain_operations(net, net, [random_signals(*seeds, 9, length)])


@pytest.mark.usefixtures("one_kind")
@pytest.mark.parametrize("name", ["multigrid_unet", "cycle", "W", "concatenated"])
def test_cycles_from_any_start(name):
    for seeds in ((), (2,)):
        net = random_network(NETWORKS[name], seeds)
        for length in LENGTHS:
            x, b = (random_signals(*seeds, 9, length, seed=seed) for seed in (1, 2))
            assert_network_is_in_plain_operations(net.cycle, net, [x, b])


@pytest.mark.usefixtures("one_kind")
def test_tensors_need_not_be_contiguous():
    net = random_network(NETWORKS["cycle"], (2,))
    x, b = (random_signals(2, 9, 16, seed=seed).detach() for seed in (1, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.set_(torch.stack((parameter, parameter), -1)[..., 0])
    x = x.mT.contiguous().mT
    for side in (b[:, :1].expand(2, 9, 16), b[:1].expand(2, 9, 16)):
        assert not any(each.is_contiguous() for each in (x, side, net.weights.W))
        assert_network_is_in_plain_operations(net.cycle, net, [x.requires_grad_(), side.detach().requires_grad_()])


@pytest.mark.usefixtures("one_kind")
def test_seeds_and_signals_alone_give_the_same_numbers():
    for name in ("resnet, channels", "unet", "multigrid_unet", "safeguarded_fsi", "cycle"):
        net = random_network(NETWORKS[name], (3,))
        u = random_signals(3, 19, 16)
        together = network_value_and_gradients(net, net, [u])
        weights = torch.cos(torch.arange(u.numel(), dtype=u.dtype)).view_as(u)
        for index in range(3):
            alone, v = networks.unstack(net, index), u[index].detach().requires_grad_()
            y = alone(v)
            found = [y, *torch.autograd.grad(y, [v, *alone.parameters()], weights[index], materialize_grads=True)]
            for a, b in zip(together, found, strict=True):
                assert torch.equal(a[index], b)
            for signal in (0, 7, 18):
                assert torch.equal(alone(v[signal : signal + 1])[0], y[signal])


@pytest.mark.usefixtures("one_kind")
@each_network
def test_a_seed_that_diverges_shows_and_leaves_the_others_alone(architecture, monkeypatch):
    net, u = random_network(architecture, (3,)), random_signals(3, 9, 16)
    clean = network_value_and_gradients(net, net, [u])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter[1] = float("nan")
    spoilt = network_value_and_gradients(net, net, [u])
    for a, b in zip(clean, spoilt, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    assert spoilt[0][1].isnan().all()
    for a, b in zip(spoilt, network_value_and_gradients(net, net, [u]), strict=True):
        assert not a[~b.isfinite()].isfinite().any()


# Derivatives of other kinds


@pytest.mark.usefixtures("one_kind")
@pytest.mark.parametrize("name", ["resnet", "multigrid_unet", "cycle", "safeguarded_fsi"])
def test_derivatives_of_second_order(name):
    """Those of the compiled gradients are of plain operations."""
    net, u = random_network(NETWORKS[name], ()), random_signals(2, 8)
    parameters = dict(net.named_parameters())

    def output(u, *values):
        return torch.func.functional_call(net, dict(zip(parameters, values, strict=True)), u)

    with compiled_calls() as calls:
        assert torch.autograd.gradcheck(output, (u, *parameters.values()), fast_mode=True)
        assert torch.autograd.gradgradcheck(output, (u, *parameters.values()), fast_mode=True)
    assert calls


@pytest.mark.usefixtures("one_kind")
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", ["resnet", "multigrid_unet", "cycle"])
def test_transforms_of_functions_take_plain_operations(name):
    """torch.func.vmap over networks and torch.func.grad, as the stacked network and autograd have it."""
    nets = [NETWORKS[name].build(seed).double() for seed in range(3)]
    stacked, u = networks.stack(nets), random_signals(3, 2, 16).detach()
    weights = {name: parameter.detach() for name, parameter in stacked.named_parameters()}

    def loss(weights, u):
        return torch.func.functional_call(nets[0], weights, u).square().sum()

    with compiled_calls() as calls:
        gradients, values = torch.func.vmap(torch.func.grad_and_value(loss))(weights, u)
    assert not calls
    expected = stacked(u).square().sum((1, 2))
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=0)
    expected.sum().backward()
    for name, parameter in stacked.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-11 * parameter.grad.abs().max())


# What is kept, and what is compiled


@pytest.mark.usefixtures("one_kind")
@each_network
def test_nothing_is_kept_but_the_inputs_and_the_operands(architecture):
    """States are computed again for derivatives, a few signals at a time."""
    net, u = random_network(architecture, (2,)), random_signals(2, 9, 16)
    program, operands = net.recorded(16)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()), lambda x: x):
        kernels.run(program, [u], operands)
    assert sum(sizes) == u.numel() + operands.numel()


def test_a_cycle_is_a_sequence_of_steps():
    """On 12, 6 and 3 points, and on 16, 8 and 4."""

    def steps_of(net, length):
        return [step.code for step in net.recorded(length)[0].steps]

    down, up = [SWEEP, RESTRICT, RESIDUAL, RESTRICT, RESIDUAL], [PROLONG, SWEEP]
    assert steps_of(NETWORKS["cycle"].build(), 12) == [*down, *down, *[SWEEP] * 4, *up, *up]
    down, up = [BLOCK, BLOCK, RESTRICT, BLOCK, RESTRICT, BLOCK], [PROLONG, BLOCK, BLOCK]
    cycle = [*down, *down, *[BLOCK] * 8, *up, *up]
    assert steps_of(NETWORKS["multigrid_unet"].build(), 16) == cycle * 2


def test_programs_have_names_that_tell_them_apart():
    """Equal ones have equal names, also in other processes; others differ in steps, sizes, numbers or fluxes."""
    net = NETWORKS["symmetric"].build()
    program, _ = net.recorded(16)
    changes = {"blocks": 4}, {"filters": 2}, {"kernel_size": 5}, {"flux": "charbonnier"}, {"tied": True}
    others = [replace(NETWORKS["symmetric"], **change).build().recorded(16)[0] for change in changes]
    others += [net.recorded(17)[0], NETWORKS["fsi"].build().recorded(16)[0]]
    others += [program.followed_by(replace(PROBLEM, tau=tau).on(16)) for tau in (1.0, 2.0)]
    assert len({each.key for each in (program, *others)}) == 1 + len(others)
    code = "from schemenets.networks import Architecture\n"
    code += f"print({NETWORKS['symmetric']!r}.build().recorded(16)[0].key)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == program.key


def test_functions_are_compiled_for_a_kind_of_program_and_not_for_its_size():
    def kind(**changes):
        architecture = replace(NETWORKS["symmetric"], **changes)
        return engine._kind(architecture.build().recorded(16 + len(changes))[0])

    assert len({kind(), kind(blocks=7), kind(filters=20), kind(tied=True), kind(name="fsi"), kind(name="resnet")}) == 1
    assert len({kind(), kind(kernel_size=5), kind(flux="relu"), kind(channels=2), kind(name="safeguarded_fsi")}) == 5


class Doubled(Grid):
    """Another operator than that of the problem."""

    def __call__(self, x):
        return 2 * super().__call__(x)


@pytest.mark.usefixtures("one_kind")
def test_what_is_not_compiled_takes_plain_operations():
    """Several fluxes in one network, and operators that compiled code does not know."""
    net, u = random_network(NETWORKS["symmetric"], ()), random_signals(3, 16)
    with compiled_calls() as calls:
        compiled = net(u)
        net.blocks[1].flux = fluxes.get("relu")
        net(u)
    assert calls == ["run"]
    for block in net.blocks:
        block.flux = fluxes.get(FLUX)
    torch.testing.assert_close(net(u), compiled)
    cycle, grid = random_network(NETWORKS["cycle"], ()), PROBLEM.on(16)
    with compiled_calls() as calls:
        plain = cycle.cycle(u, u, Doubled(PROBLEM, 16, grid.h))
        cycle.cycle(u, u, grid)
    assert calls == ["run"]
    assert not torch.allclose(plain, cycle.cycle(u, u, grid))


@pytest.mark.usefixtures("one_kind")
def test_inputs_of_other_shapes_take_plain_operations():
    """Which broadcast them, or say what does not fit; compiled code would read beyond them."""
    net, x, b = random_network(NETWORKS["cycle"], ()), *(random_signals(2, 9, 16, seed=seed) for seed in (1, 2))
    program, operands = net._recorded(PROBLEM.on(16), 1, same=False)
    with compiled_calls() as calls:
        wanted = kernels.run(program, [x[0], b[0]], operands)
    assert calls == ["run"]
    with compiled_calls() as calls:
        for index, result in enumerate(kernels.run(program, [x, b], operands)):
            torch.testing.assert_close(result, net.cycle(x[index], b[index]))
        calls.clear()  # those of single ones
        several = kernels.run(program, [x[0], b[0]], operands.expand(2, -1))
        one_side = kernels.run(program, [x[0], b[0, :1]], operands)
        with pytest.raises(RuntimeError, match=r"multiply up to the size .* \(15\)"):
            kernels.run(program, [x[0, :, :15], b[0]], operands)
    assert not calls
    torch.testing.assert_close(several, torch.stack((wanted, wanted)))
    torch.testing.assert_close(one_side[0], wanted[0])
