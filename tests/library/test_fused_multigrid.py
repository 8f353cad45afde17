"""The compiled cycles of the multigrid U-net against those of plain torch operations."""

from functools import partial
from unittest.mock import patch

import pytest
import torch
from compiled import passes_of, rows_kept

from schemenets import fluxes, networks
from schemenets.errors import InvalidParameterError
from schemenets.multigrid._cycles import CORRECT, RESIDUAL, RESTRICT, RIGHT_HAND_SIDE, SWEEP
from schemenets.networks import multigrid_unet as module

pytest.importorskip("numba")

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}


@pytest.fixture(autouse=True)
def fused_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "fused")


compiled_calls = partial(passes_of, module)


def random_network(seed=0, seeds=(), dtype=torch.float64, **arguments):
    """With weights far from those of the start, and a stack of networks if there are seeds."""
    arguments = {"blocks": 1, "filters": 2, "kernel_size": 5, "flux": "charbonnier", **arguments}
    nets = [
        networks.build("multigrid_unet", **arguments, seed=seed + index).to(dtype) for index in range(*seeds or (1,))
    ]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for net in nets:
            for parameter in net.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    return networks.stack(nets) if seeds else nets[0]


def signals(net, N, batch=3, seed=0):
    """x and b."""
    weight = next(net.parameters())
    seeds = net.blocks[0].tau.shape
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):
        x = torch.randn((*seeds, batch, N), generator=generator, dtype=torch.float64)
        yield x.to(weight.dtype).requires_grad_()


def value_and_gradients(net, x, b):
    """One cycle and the gradients of Σ cos(index) y, a functional without symmetry."""
    y = net.cycle(x, b)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, [x, b, *net.parameters()], weights, materialize_grads=True)]


def check(net, x, b, monkeypatch):
    found = {}
    for kernel in ("fused", "reference"):
        monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
        with compiled_calls() as calls:
            found[kernel] = value_and_gradients(net, x, b)
        assert [backward for _, backward in calls] == ([False, True] if kernel == "fused" else [])
    for ours, theirs in zip(*found.values(), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        atol = TOLERANCE[ours.dtype] * max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "flux",
    ["linear", "charbonnier", *(pytest.param(flux, marks=pytest.mark.slow) for flux in ("relu", "perona_malik"))],
)
def test_compiled_cycles_are_the_plain_ones_with_all_gradients(flux, monkeypatch):
    """On grids that are halved down to 5 and 8 points, on one that is not, and on one as short as the filters."""
    for seeds in ((), (2,)):
        net = random_network(seeds=seeds, flux=flux)
        for N in (40, 16, 9, 5):
            check(net, *signals(net, N), monkeypatch)


@pytest.mark.parametrize(
    ("filters", "kernel_size"), [(4, 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 1), (3, 6)))]
)
def test_filters_of_any_number_and_length(filters, kernel_size, monkeypatch):
    net = random_network(seeds=(2,), filters=filters, kernel_size=kernel_size)
    check(net, *signals(net, 24), monkeypatch)


@pytest.mark.parametrize("flux", ["charbonnier", pytest.param("relu", marks=pytest.mark.slow)])
def test_single_precision(flux, monkeypatch):
    net = random_network(seeds=(3,), flux=flux, dtype=torch.float32)
    check(net, *signals(net, 64), monkeypatch)


def test_tensors_need_not_be_contiguous(monkeypatch):
    net = random_network(seeds=(2,))
    x, b = (t.detach() for t in signals(net, 16))
    x = x.transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_()
    b = b[:, :1].expand(2, 3, 16).requires_grad_()
    assert not x.is_contiguous()
    check(net, x, b, monkeypatch)


@pytest.mark.parametrize("kernel", ["fused", "reference"])
def test_shapes_that_do_not_fit_are_refused(kernel, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    net = random_network(seeds=(2,))
    for seeds in (1, 3):
        with pytest.raises(InvalidParameterError, match="shape of u"):
            net(torch.rand(seeds, 4, 16, dtype=torch.float64))


def test_a_cycle_is_a_list_of_instructions():
    net = random_network()
    with compiled_calls() as calls:
        net(torch.rand(1, 24, dtype=torch.float64))
    down, up = [SWEEP, SWEEP, RESTRICT, RESIDUAL, RESTRICT, RIGHT_HAND_SIDE], [CORRECT, SWEEP, SWEEP]
    assert calls == [([*down, *down, *[SWEEP] * 8, *up, *up], False)]  # 24, 12 and 6 points


def test_derivatives_of_second_order():
    """Those of the compiled gradients are of plain operations."""
    net = random_network(kernel_size=2)
    x, b = signals(net, 8, batch=1)
    with compiled_calls() as calls:
        assert torch.autograd.gradgradcheck(net.cycle, (x, b))
    assert calls
    (g,) = torch.autograd.grad(net.cycle(x, b).square().sum(), x, create_graph=True)
    found = torch.autograd.grad(g.square().sum(), [*net.parameters()], allow_unused=True)
    plain = random_network(kernel_size=2)
    with patch.dict("os.environ", SCHEMENETS_KERNEL="reference"):
        (g,) = torch.autograd.grad(plain.cycle(x, b).square().sum(), x, create_graph=True)
        wanted = torch.autograd.grad(g.square().sum(), [*plain.parameters()], allow_unused=True)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_what_needs_no_gradients_is_not_kept():
    net, b = random_network(), torch.rand(5, 24, dtype=torch.float64)
    with rows_kept(module) as rows:
        with torch.no_grad():
            without = net(b)
        kept = net(b)
    assert rows == [(1, 1), (1, 5)]
    torch.testing.assert_close(kept, without, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_transforms_and_learned_fluxes_take_plain_operations(monkeypatch):
    nets = [random_network(seed) for seed in range(2)]
    stacked, b = networks.stack(nets), torch.rand(2, 3, 16, dtype=torch.float64)
    weights = {name: p.detach() for name, p in stacked.named_parameters()}
    with compiled_calls() as calls:
        mapped = torch.func.vmap(lambda w, b: torch.func.functional_call(nets[0], w, b))(weights, b)
        random_network(flux="learned")(b[0])
    assert not calls
    torch.testing.assert_close(mapped, stacked(b), rtol=0, atol=1e-12)


def test_compiled_code_is_found_again_on_disk():
    """Numba knows closures by their pickles there, and those of functions differ from process to process."""

    from schemenets.multigrid import _fused_unet

    passes = _fused_unet._passes(fluxes.get("charbonnier").scalar, 5)
    constants = [cell.cell_contents for each in passes for cell in each.py_func.__closure__]
    assert constants
    assert {type(constant) for constant in constants} <= {str, int}
