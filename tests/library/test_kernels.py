"""The compiled block primitive against torch's own convolutions."""

import ast
import itertools
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from torch._dynamo.backends.debugging import aot_eager
from torch.autograd import forward_ad
from torch.nn.functional import conv1d, conv_transpose1d
from weights import random_weights

from schemenets import fluxes, kernels, networks, registry
from schemenets.errors import InvalidParameterError
from schemenets.kernels import reference

pytest.importorskip("numba")
from compiled import compiled_calls, nothing_left_behind

from schemenets.kernels import engine
from schemenets.kernels import flux as compiled_fluxes
from schemenets.kernels.simd import lanes

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
each_onto = pytest.mark.parametrize("onto", [None, "another", "u"])


def expected(u, W1, b1, W2, lam, flux, w=None, onto=None):
    """The primitive from torch's convolutions, seed by seed."""
    if W1.ndim == 4:
        columns = [[None] * len(u) if x is None else x for x in (u, W1, b1, W2, lam, w, onto)]
        return torch.stack([expected(*row[:5], flux, *row[5:]) for row in zip(*columns, strict=True)])
    s = conv1d(u, W1, b1)
    y = conv_transpose1d(flux(s, 1.0 if lam is None else lam[:, None], None if w is None else w[:, None]), W2)
    return y if onto is None else onto + y


def inputs(flux, seeds=(), B=3, C_in=1, C_out=1, F=2, k=3, N=17, dtype=torch.float64, bias=True, onto=None, seed=0):
    """Arguments of the primitive that require gradients; ``onto`` is None, "another" tensor, or "u" itself."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"u": (B, C_in, N), "W1": (F, C_in, k), "b1": (F,), "W2": (F, C_out, k), "lam": (F,)}
    shapes |= {"onto": (B, C_out, N)} if onto == "another" else {}
    x = {n: torch.randn(*seeds, *shape, generator=generator, dtype=dtype) for n, shape in shapes.items()}
    x["lam"] = torch.exp(0.3 * x["lam"]) if flux.scaled else None
    x["b1"] = x["b1"] if bias else None
    if flux.weights:
        x["w"] = torch.from_numpy(random_weights(flux, *seeds, F)).to(dtype)
    x = {n: None if v is None else v.requires_grad_() for n, v in x.items()}
    return x | {"onto": x["u"]} if onto == "u" else x


def of_tensors(function, x, flux):
    """``function`` as one of the distinct tensors among its arguments ``x``, and these tensors."""
    tensors = {id(v): v for v in x.values() if v is not None}

    def of_these(*given):
        by_id = dict(zip(tensors, given, strict=True))
        return function(**{n: None if v is None else by_id[id(v)] for n, v in x.items()}, flux=flux)

    return of_these, tuple(tensors.values())


def value_and_gradients(function, x, flux):
    """Output, then the gradients of Σ cos(index) y, a functional without symmetry."""
    of_these, tensors = of_tensors(function, x, flux)
    y = of_these(*tensors)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, tensors, weights)]


def assert_equal_to_torch(x, flux, falls_back=False):
    dtype = x["u"].dtype
    with compiled_calls() as calls:
        found = value_and_gradients(kernels.block, x, flux)
    assert calls == ([] if falls_back else ["run", "differentiate"])
    wanted = value_and_gradients(expected, x, flux)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        assert largest(a - b) <= TOLERANCE[dtype] * max(1, largest(b))


def largest(x):
    return x.abs().max() if x.numel() else 0


@pytest.fixture(autouse=True)
def chosen_automatically(monkeypatch):
    monkeypatch.delenv("SCHEMENETS_KERNEL", raising=False)


SINGLE = ["perona_malik", "relu", "learned"]
REST = [name for name in fluxes.available() if name not in SINGLE]
SHAPES = {
    "plain": {},
    "seeds": {"seeds": (2,), "bias": False},
    "channels": {"seeds": (3,), "C_in": 2, "C_out": 3, "F": 4, "B": 2, "N": 9},
    "several_groups": {"B": 70, "N": 40},
    "one_window": {"B": 2, "N": 3},
    "chunks": {"B": 2, "N": 257},  # one position more than whole ones
    "chunks_of_channels": {"C_in": 2, "C_out": 3, "F": 4, "B": 2, "N": 257},
}


def slow_unless(quick, *values, **options):
    """A parameter; most are slow, as each kind of compiled code takes seconds to compile."""
    return pytest.param(*values, **options, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        slow_unless(name in SINGLE[: 1 if "channels" in label else 3], name, shape, id=f"{label}-{name}")
        for name in SINGLE + REST
        for label, shape in SHAPES.items()
    ],
)
def test_values_and_gradients(name, shape):
    flux = fluxes.get(name)
    assert_equal_to_torch(inputs(flux, **shape), flux)


@pytest.mark.parametrize("C_in", [1, 2])
@pytest.mark.parametrize("name", [slow_unless(name == "perona_malik", name) for name in SINGLE + REST])
def test_single_precision(name, C_in):
    flux = fluxes.get(name)
    assert_equal_to_torch(inputs(flux, (2,), B=20, C_in=C_in, F=8, N=64, dtype=torch.float32), flux)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("C_in", [1, 2])
def test_any_number_of_signals(C_in, dtype):
    """None, one, and any number that fills the lanes of vectors or does not."""
    flux, L = fluxes.get("perona_malik"), lanes(inputs(fluxes.get("relu"), dtype=dtype)["u"].detach().numpy().dtype)
    for B in (0, 1, L - 1, L, L + 1, 2 * L, 2 * L + 5):
        for seeds in ((), (2,)):
            assert_equal_to_torch(inputs(flux, seeds, B=B, C_in=C_in, dtype=dtype), flux)


@pytest.mark.parametrize("seeds", [(), (2,)])
def test_tied_filters(seeds):
    flux = fluxes.get("perona_malik")
    x = inputs(flux, seeds, C_in=2, C_out=2)
    assert_equal_to_torch(x | {"W2": x["W1"]}, flux)


@each_onto
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seeds", [(), (3,)])
@pytest.mark.parametrize(("C", "F"), [(1, 4), (2, 4), (2, 3)])
def test_residuals(onto, dtype, seeds, C, F):
    flux = fluxes.get("perona_malik")
    assert_equal_to_torch(inputs(flux, seeds, B=5, C_in=C, C_out=C, F=F, dtype=dtype, onto=onto), flux)


@pytest.mark.parametrize("k", [slow_unless(k == 1, k) for k in (1, 2, 12, 13)])
@pytest.mark.parametrize("F", [1, 3])
def test_filters_of_any_length(F, k):
    flux = fluxes.get("perona_malik")
    for N in (k, k + 1, 2 * k + 70):
        assert_equal_to_torch(inputs(flux, F=F, k=k, N=N, onto="u"), flux)


@pytest.mark.parametrize("F", [1, 3, 4, 9])
@pytest.mark.parametrize(("C_in", "C_out"), [(1, 2), (2, 1), (2, 5), (3, 4), (4, 3), (5, 9)])
def test_several_channels(C_in, C_out, F):
    """Filters and channels that fill the tiles that are computed together or do not, and so positions."""
    flux = fluxes.get("perona_malik")
    for N in (3, 4, 6, 17, 20):
        assert_equal_to_torch(inputs(flux, (2,), C_in=C_in, C_out=C_out, F=F, N=N), flux)


@pytest.mark.slow
@pytest.mark.parametrize("C", [1, 2])
def test_filters_longer_than_all_registers(C):
    flux = fluxes.get("relu")
    for N in (66, 140):
        assert_equal_to_torch(inputs(flux, C_in=C, C_out=C, k=66, N=N, onto="u"), flux)


def assert_equal_for_any_shape(data, names, sizes, dtypes):
    flux, k = fluxes.get(data.draw(st.sampled_from(names))), data.draw(st.sampled_from(sizes))
    onto = data.draw(st.sampled_from([None, "another", "u"]))
    shape = {n: data.draw(st.integers(1, top)) for n, top in {"C_in": 5, "C_out": 5, "F": 9}.items()}
    shape["B"] = data.draw(st.integers(0, 40))
    if onto == "u":
        shape["C_out"] = shape["C_in"]
    N, seeds = data.draw(st.integers(k, 70)), data.draw(st.sampled_from([(), (1,), (2,), (3,)]))
    dtype = data.draw(st.sampled_from(dtypes))
    x = inputs(flux, seeds, k=k, N=N, dtype=dtype, bias=data.draw(st.booleans()), onto=onto, **shape)
    assert_equal_to_torch(x, flux)


@settings(max_examples=40)
@given(st.data())
def test_any_shape(data):
    assert_equal_for_any_shape(data, ["perona_malik"], [3], list(TOLERANCE))


@pytest.mark.slow
@settings(max_examples=16)
@given(st.data())
def test_any_shape_flux_and_length_of_filters(data):
    """In double precision, as every type is compiled anew; single precision has tests of its own for every flux."""
    assert_equal_for_any_shape(data, fluxes.available(), [1, 2, 5, 13], [torch.float64])


@each_onto
@pytest.mark.parametrize("function", [kernels.block, reference.block])
@pytest.mark.parametrize("name", ["perona_malik", "learned"])
def test_gradcheck(function, name, onto):
    flux = fluxes.get(name)
    shape = {"C_in": 2, "C_out": 2 if onto == "u" else 1} if name == "perona_malik" else {}
    x = inputs(flux, (2,), B=2, N=6, onto=onto, **shape)
    assert torch.autograd.gradcheck(*of_tensors(function, x, flux))


@each_onto
@pytest.mark.parametrize("function", [kernels.block, reference.block])
@pytest.mark.parametrize("name", ["perona_malik", "learned"])
def test_second_derivatives(function, name, onto):
    flux = fluxes.get(name)
    x = inputs(flux, B=2, N=5, onto=onto)
    assert torch.autograd.gradgradcheck(*of_tensors(function, x, flux))
    assert torch.autograd.gradgradcheck(*of_tensors(function, x | {"W2": x["W1"]}, flux))


@each_onto
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["perona_malik", "learned"])
def test_differentiable_gradients_are_those_of_torch(name, tied, onto):
    flux = fluxes.get(name)
    x = inputs(flux, (2,), onto=onto)
    x |= {"W2": x["W1"]} if tied else {}

    def first_and_second(function):
        of_these, tensors = of_tensors(function, x, flux)
        first = torch.autograd.grad(of_these(*tensors).sin().sum(), tensors, create_graph=True)
        return [*first, *torch.autograd.grad(sum(gradient.sin().sum() for gradient in first), tensors)]

    with compiled_calls() as calls:
        found = first_and_second(kernels.block)
    assert calls
    for a, b in zip(found, first_and_second(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "create_graph"),
    [
        *itertools.product(["u", "W1", "b1", "W2", "lam", "onto"], [False]),
        *itertools.product(["u", "W1", "b1", "W2", "lam"], [True]),
        ("onto", True),
    ],
)
def test_gradients_by_one_tensor_alone(name, create_graph):
    flux = fluxes.get("perona_malik")
    x = inputs(flux, onto="another")
    x = {n: v if n == name else v.detach() for n, v in x.items()}
    found, wanted = (
        torch.autograd.grad(f(**x, flux=flux).square().sum(), x[name], create_graph=create_graph)[0]
        for f in (kernels.block, expected)
    )
    torch.testing.assert_close(found, wanted)


@each_onto
@pytest.mark.parametrize("name", ["perona_malik", "learned"])
def test_functorch(name, onto):
    flux = fluxes.get(name)
    x = inputs(flux, (3,), onto=onto)
    block, tensors = of_tensors(kernels.block, x, flux)
    torch.testing.assert_close(torch.func.vmap(block)(*tensors), expected(**x, flux=flux))


def operator_arguments(x, flux):
    """What the operator takes for these arguments of the primitive: inputs, operands and the name of the program."""
    noted, run = [], torch.ops.schemenets.run
    with patch.object(torch.ops.schemenets, "run", lambda *arguments: noted.append(arguments) or run(*arguments)):
        kernels.block(**x, flux=flux)
    *tensors, program = noted[0]
    return *(each.detach().clone() for each in tensors), program


@each_onto
@pytest.mark.parametrize("name", ["perona_malik", "learned"])
def test_the_operator_keeps_the_rules_of_torch(name, onto):
    flux = fluxes.get(name)
    shape = {"C_in": 2, "C_out": 2} if name == "perona_malik" else {}
    *tensors, program = operator_arguments(inputs(flux, (2,), B=2, N=9, onto=onto, **shape), flux)
    for differentiable in (False, True):
        given = [each.requires_grad_(differentiable and each.numel() > 0) for each in tensors]
        torch.library.opcheck(torch.ops.schemenets.run.default, (*given, program))


@each_onto
@pytest.mark.parametrize("name", ["perona_malik", "learned"])
@pytest.mark.parametrize("F", [2, 3])
def test_the_derivative_keeps_the_rules_of_torch(name, onto, F):
    flux = fluxes.get(name)
    shape = {"C_in": 2, "C_out": 2} if name == "perona_malik" else {}
    *tensors, program = operator_arguments(inputs(flux, (2,), B=2, F=F, N=9, onto=onto, **shape), flux)
    y = torch.ops.schemenets.run(*tensors, program)
    torch.library.opcheck(torch.ops.schemenets.run_backward.default, (y.cos(), *tensors, program))


def assert_compiles(name, **architecture):
    """A stacked network under ``torch.compile`` has the values and gradients that it has without; gives its graphs."""
    architecture = {"blocks": 2, "filters": 4, "kernel_size": 3, "flux": "perona_malik", **architecture}
    net = networks.stack([networks.build(name, **architecture, seed=seed).double() for seed in (0, 1)])
    u = torch.rand(2, 3, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.compiler.reset()
    targets = []

    def backend(graph, inputs):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return aot_eager(graph, inputs)

    found, wanted = (
        [y, *torch.autograd.grad(y.square().sum(), [u, *net.parameters()], materialize_grads=True)]
        for y in (torch.compile(net, backend=backend)(u), net(u))
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    return targets


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
@pytest.mark.parametrize(
    "name", [slow_unless(name in ("symmetric", "du_fort_frankel", "resnet"), name) for name in networks.available()]
)
def test_compiled_networks(name):
    """The graph of a network has one operator, however many blocks there are."""
    with compiled_calls() as calls:
        targets = assert_compiles(name)
    assert sorted(calls) == ["differentiate", "differentiate", "run", "run"]
    assert sum("schemenets.run" in target for target in targets) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
@pytest.mark.parametrize("name", networks.available())
def test_compiled_networks_on_plain_operations(name, monkeypatch):
    """What is compiled on a GPU."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    assert assert_compiles(name, certified=registry.module(networks.__name__, name, "network").NETWORK.certifiable)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_signals_of_a_batch_are_independent(dtype):
    flux = fluxes.get("perona_malik")
    x = inputs(flux, B=50, C_in=2, N=37, dtype=dtype)
    together = kernels.block(**x, flux=flux)
    for i in (0, 17, 49):
        alone = kernels.block(**(x | {"u": x["u"][i : i + 1]}), flux=flux)
        assert torch.equal(together[i], alone[0])


@pytest.mark.parametrize("name", ["u", "W1", "b1", "W2", "lam", "w"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_seed_that_diverges_shows_and_leaves_the_others_alone(name, bad):
    flux = fluxes.get("learned" if name == "w" else "perona_malik")
    clean = inputs(flux, (3,), B=20)
    spoilt = {n: v.detach().clone().requires_grad_() for n, v in clean.items()}
    with torch.no_grad():
        spoilt[name][1].flatten()[4 % spoilt[name][1].numel()] = bad
    pairs = zip(*(value_and_gradients(kernels.block, x, flux) for x in (clean, spoilt)), strict=True)
    for a, b in pairs:
        assert torch.equal(a[[0, 2]], b[[0, 2]])
    values = value_and_gradients(kernels.block, spoilt, flux)
    wanted = value_and_gradients(expected, spoilt, flux)
    compared = 1 if bad == float("inf") else len(wanted)  # for λ → ∞ the gradients have finite limits
    for a, b in zip(values[:compared], wanted[:compared], strict=True):
        assert not a[~b.isfinite()].isfinite().any()


@pytest.mark.parametrize("name", [slow_unless(name in SINGLE, name) for name in fluxes.available()])
def test_nan_stays_where_torch_has_it(name):
    flux = fluxes.get(name)
    x = inputs(flux, B=20)
    with torch.no_grad():
        x["u"][7, 0, 15] = float("nan")
    a, b = kernels.block(**x, flux=flux), expected(**x, flux=flux)
    assert b.isnan().any()
    assert torch.equal(a.isnan(), b.isnan())


def test_a_seed_alone_gives_the_same_numbers():
    flux = fluxes.get("perona_malik")
    x = inputs(flux, (3,), B=20, C_in=2)
    alone = {n: v[1].detach().requires_grad_() for n, v in x.items()}
    y = [kernels.block(**v, flux=flux) for v in (x, alone)]
    y[0].sum().backward()
    y[1].sum().backward()
    assert torch.equal(y[0][1], y[1])
    assert all(torch.equal(x[n].grad[1], alone[n].grad) for n in x)


def test_fluxes_of_one_name_are_told_apart():
    relu, other = fluxes.get("relu"), replace(fluxes.get("perona_malik"), name="relu")
    for flux in (relu, other, relu):
        assert_equal_to_torch(inputs(flux), flux)


@pytest.mark.parametrize("name", ["perona_malik", "relu"])
def test_no_contrasts_are_contrasts_of_one(name):
    flux = fluxes.get(name)
    assert_equal_to_torch(inputs(flux) | {"lam": None}, flux)


@pytest.mark.parametrize("C", [1, 2])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_what_is_left_in_memory_is_not_seen(C, dtype):
    flux = fluxes.get("perona_malik")
    with nothing_left_behind():
        assert_equal_to_torch(inputs(flux, (2,), C_in=C, C_out=C, dtype=dtype, onto="another"), flux)


def test_compiled_code_is_kept_under_the_formulas_that_are_in_it(monkeypatch, tmp_path):
    flux = fluxes.get("charbonnier")
    before = compiled_fluxes.register(flux)
    assert compiled_fluxes.register(replace(flux, name="another")) == before
    altered = [{"scaled": False}, {"scalar": fluxes.get("linear").scalar}]
    altered += [{"scalar": multiple(factor)} for factor in (2.0, 3.0)]
    names = [compiled_fluxes.register(replace(flux, **change)) for change in altered]
    assert len({before, *names}) == 1 + len(names)
    assert compiled_fluxes.register(replace(flux, scalar=multiple(2.0))) == names[-2]
    monkeypatch.setattr(compiled_fluxes, "__file__", str(tmp_path / "flux.py"))  # code that is compiled with all fluxes
    compiled_fluxes._sources.cache_clear()
    try:
        assert compiled_fluxes.register(flux) != before
    finally:
        compiled_fluxes._sources.cache_clear()


def multiple(factor):
    return lambda t: (factor * t, factor)


def half_tanh(t):
    if t < 0.0:
        return 0.0, 0.0
    y = math.tanh(t)
    return y, 1.0 - y * y


@pytest.mark.slow
def test_scalar_forms_that_vectors_do_not_know():
    """With ``if``, and with functions that are there for single numbers only."""
    changes = {"phi": lambda t: torch.tanh(torch.relu(t)), "scalar": half_tanh, "scaled": True}
    flux = replace(fluxes.get("relu"), name="half_tanh", **changes)
    for shape in ({}, {"seeds": (2,), "B": 9}):
        assert_equal_to_torch(inputs(flux, **shape), flux)


def half_linear(t, w):
    if t < 0.0:
        return 0.0, 0.0, (0.0,)
    return w[0] * t, w[0], (t,)


def gaussian_error(t):
    return special.erf(t), 2.0 / math.sqrt(math.pi) * math.exp(-t * t)


def importing(t):
    from scipy import special as own

    return own.erf(t), 2.0 / math.sqrt(math.pi) * math.exp(-t * t)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("learned", {"phi": lambda t, w: w[..., 0] * torch.relu(t), "scalar": half_linear, "initial": (0.5,)}),
        ("perona_malik", {"phi": torch.erf, "scalar": gaussian_error}),
        ("perona_malik", {"phi": torch.erf, "scalar": importing}),
        ("perona_malik", {"phi": torch.erf, "scalar": partial(gaussian_error)}),
    ],
    ids=["if_with_weights", "unknown_function", "import", "no_function"],
)
def test_scalar_forms_that_cannot_be_compiled_are_told_and_done_without(name, change):
    flux = replace(fluxes.get(name), name="half_known", **change)
    x = inputs(flux)
    with pytest.warns(UserWarning, match="half_known: plain torch operations are taken, since the scalar form") as told:
        kernels.block(**x, flux=flux)
    assert len(told) == 1
    assert_equal_to_torch(x, flux, falls_back=True)


def test_threads_do_not_meet():
    flux = fluxes.get("perona_malik")
    given = [inputs(flux, B=40, N=60, seed=seed) for seed in range(8)]
    wanted = [value_and_gradients(kernels.block, x, flux) for x in given]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = list(pool.map(lambda x: value_and_gradients(kernels.block, x, flux), given))
            assert all(
                torch.equal(a, b) for pair in zip(found, wanted, strict=True) for a, b in zip(*pair, strict=True)
            )


def test_strided_inputs():
    flux = fluxes.get("perona_malik")
    x = inputs(flux, C_in=3, C_out=3, onto="another")
    strided = {
        n: v.detach().mT.contiguous().mT if v.ndim > 1 else v.detach().repeat_interleave(2)[::2] for n, v in x.items()
    }
    assert not any(v.is_contiguous() for v in strided.values())
    assert_equal_to_torch({n: v.requires_grad_() for n, v in strided.items()}, flux)


@each_onto
def test_falls_back(onto, monkeypatch):
    flux = fluxes.get("perona_malik")
    x = inputs(flux, onto=onto)
    low = inputs(flux, dtype=torch.bfloat16)
    wanted = reference.block(**{name: v.float() for name, v in low.items()}, flux=flux)
    with compiled_calls() as calls:
        torch.testing.assert_close(kernels.block(**low, flux=flux).float(), wanted, rtol=0.05, atol=0.05)
    assert not calls
    assert_equal_to_torch(x, replace(flux, scalar=None), falls_back=True)
    with monkeypatch.context() as patch:
        patch.setenv("SCHEMENETS_KERNEL", "reference")
        assert_equal_to_torch(x, flux, falls_back=True)
    monkeypatch.setattr(kernels, "_has_numba", lambda: False)
    assert_equal_to_torch(x, flux, falls_back=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch itself
def test_tangents_take_plain_operations():
    flux = fluxes.get("perona_malik")
    x = {n: v if v is None else v.detach() for n, v in inputs(flux).items()}
    tangent = x["u"].cos()
    found = []
    with compiled_calls() as calls:
        for function in (kernels.block, expected):
            with forward_ad.dual_level():
                y = function(**(x | {"u": forward_ad.make_dual(x["u"], tangent)}), flux=flux)
                found.append(forward_ad.unpack_dual(y).tangent)
    assert not calls
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_of_many_directions_at_once():
    flux = fluxes.get("perona_malik")
    of_these, tensors = of_tensors(kernels.block, inputs(flux, B=2, N=5), flux)
    y = of_these(*tensors)
    directions = torch.randn(4, *y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    together = torch.autograd.grad(y, tensors, directions, retain_graph=True, is_grads_batched=True)
    for i, direction in enumerate(directions):
        for a, b in zip(together, torch.autograd.grad(y, tensors, direction, retain_graph=True), strict=True):
            torch.testing.assert_close(a[i], b, rtol=1e-12, atol=1e-12)


def test_tensors_without_data_have_shapes():
    flux = fluxes.get("perona_malik")
    x = {n: v if v is None else v.to("meta") for n, v in inputs(flux, (2,), C_out=2).items()}
    with compiled_calls() as calls:
        assert kernels.block(**x, flux=flux).shape == (2, 3, 2, 17)
    assert not calls


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
def test_values_without_gradients(mode):
    flux = fluxes.get("perona_malik")
    with mode():
        x = {n: v if v is None else v.detach().clone() for n, v in inputs(flux).items()}
        with compiled_calls() as calls:
            y = kernels.block(**x, flux=flux)
        assert calls == ["run"]
        assert not y.requires_grad
        torch.testing.assert_close(y, expected(**x, flux=flux), rtol=1e-12, atol=1e-12)


def told(code, **environment):
    """What a process with these variables prints, and what it says on its error channel."""
    own = {name: value for name, value in os.environ.items() if name != "SCHEMENETS_KERNEL"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=own | environment, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


WIDTH = """
from unittest.mock import patch
from llvmlite import binding
class Features(type(binding.get_host_cpu_features())):
    def get(self, name):
        return {wide}
with patch.object(binding, "get_host_cpu_features", lambda real=binding.get_host_cpu_features: Features(real())):
    from schemenets.kernels import simd
print(simd.BYTES)
"""


@pytest.mark.slow
def test_vectors_of_every_width_give_the_same():
    """Processors with shorter registers split them."""
    found = []
    for width in (32, 64):
        said = told(WIDTH.format(wide=width == 64) + PROGRAM.format(flux="perona_malik"))[0].splitlines()
        assert said[0] == str(width)
        found.append(torch.tensor([float.fromhex(x) for x in ast.literal_eval(said[1])]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_a_numba_that_cannot_be_imported_is_told_and_done_without(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs another NumPy')")
    code = "from schemenets import kernels, networks; print(kernels.backend(), kernels.backend())"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    said, warned = told(code, PYTHONPATH=path)
    assert said == "reference reference\n"
    message = "numba cannot be imported, so networks take plain torch operations: Numba needs another NumPy"
    assert warned.count(message) == 1


def test_a_numba_that_is_not_to_compile_is_done_without():
    said, warned = told(PROGRAM.format(flux="perona_malik") + "print(kernels.backend())", NUMBA_DISABLE_JIT="1")
    assert said.endswith("\nreference\n")
    assert warned.count("NUMBA_DISABLE_JIT is set, so networks take plain torch operations") == 1


@pytest.mark.slow
def test_a_numba_without_a_place_for_its_cache_compiles_anew(tmp_path):
    package = tmp_path / "schemenets"
    shutil.copytree(Path(kernels.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "kernels" / "__pycache__").touch()  # no directory, so that nothing can be kept there
    code = COUNTING + PROGRAM.format(flux="perona_malik") + "print(kernels.backend(), *calls)"
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "NUMBA_CACHE_DIR": ""}
    said, warned = told(code, **nowhere, PYTHONPATH=str(tmp_path), PYTHONWARNINGS="always")
    assert said.endswith("\nfused run differentiate\n")
    assert warned.count("compiled code cannot be kept, so every process compiles it anew") == 1
    assert "NUMBA_CACHE_DIR" in warned
    assert said.splitlines()[0] == told(PROGRAM.format(flux="perona_malik"))[0].strip()


def doubled(x, number):
    x[0] *= number


@pytest.mark.parametrize("left", [0, 20, -1])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_files_of_compiled_code_are_told_and_replaced(kind, left, tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    def call():
        function, x = engine.compiled(doubled), np.ones(1)
        engine.call(function, x, np.float64(2))
        assert x[0] == 2
        return sum(function.stats.cache_hits.values())

    call()
    (file,) = tmp_path.glob(f"*/*.{kind}")
    file.write_bytes(file.read_bytes()[:left])
    assert call() == 0
    (told,) = recwarn
    assert f"{file.parent}: compiled code is damaged and compiled anew" in str(told.message)
    assert call() == 1
    assert len(recwarn) == 1


@pytest.mark.slow
def test_compiled_code_is_found_again_on_disk():
    """By processes that come later, as nothing in it is known by what differs from one to the next."""
    code = STATISTICS + PROGRAM.format(flux="perona_malik") + "print(*statistics())"
    first, later = (told(code)[0].splitlines() for _ in range(2))
    assert first[0] == later[0]
    assert later[1] == "1 0"


STATISTICS = """
from schemenets.kernels import engine
define, functions = engine._define, []
engine._define = lambda kind: functions.append(define(kind)) or functions[-1]
def statistics():
    stats = functions[0].stats
    return (sum(counts.values()) for counts in (stats.cache_hits, stats.cache_misses))
"""
COUNTING = """
from schemenets.kernels.engine import Engine
calls, call = [], Engine._call
Engine._call = lambda self, name, *arguments: calls.append(name) or call(self, name, *arguments)
"""


@pytest.mark.parametrize(
    ("has_numba", "chosen", "expected"),
    [
        (True, None, "fused"),
        (True, "", "fused"),
        (True, "fused", "fused"),
        (True, "reference", "reference"),
        (True, "fast", "expected fused or reference"),
        (False, None, "reference"),
        (False, "reference", "reference"),
        (False, "fused", "expected reference, as there is no numba that works"),
    ],
)
def test_backend(has_numba, chosen, expected, monkeypatch):
    monkeypatch.setattr(kernels, "_has_numba", lambda: has_numba)
    monkeypatch.delenv("SCHEMENETS_KERNEL", raising=False)
    if chosen is not None:
        monkeypatch.setenv("SCHEMENETS_KERNEL", chosen)
    if "expected" in expected:
        with pytest.raises(InvalidParameterError, match=f"SCHEMENETS_KERNEL: got '{chosen}'.*{expected}"):
            kernels.backend()
    else:
        assert kernels.backend() == expected


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("u", (3, 2, 17)),
        ("u", (2, 3, 1, 17)),
        ("u", (3, 1, 2)),
        ("W1", (2, 3)),
        ("W2", (3, 1, 3)),
        ("W2", (2, 1, 2)),
        ("b1", (3,)),
        ("lam", (1,)),
        ("onto", (3, 1, 16)),
        ("onto", (3, 2, 17)),
        ("onto", (1, 1, 17)),
        ("onto", (17,)),
        ("onto", (2, 3, 1, 17)),
    ],
)
def test_shapes_that_do_not_fit(name, shape):
    flux = fluxes.get("perona_malik")
    with pytest.raises(InvalidParameterError, match=r"(shape of|filter length).* expected"):
        kernels.block(**(inputs(flux) | {name: torch.ones(shape, dtype=torch.float64)}), flux=flux)


@pytest.mark.parametrize("name", ["u", "W2", "lam", "onto"])
def test_dtypes_that_do_not_fit(name):
    flux = fluxes.get("perona_malik")
    x = inputs(flux, onto="another")
    with pytest.raises(InvalidParameterError, match=rf"dtype of {name}: got torch.float32, expected torch.float64"):
        kernels.block(**(x | {name: x[name].detach().float()}), flux=flux)


def test_a_name_is_no_flux():
    with pytest.raises(InvalidParameterError, match=r"flux: got 'relu', expected a flux, such as"):
        kernels.block(**inputs(fluxes.get("relu")), flux="relu")


@pytest.mark.parametrize(("name", "shape"), [("perona_malik", (2, 5)), ("learned", None), ("learned", (5,))])
def test_weights_that_do_not_fit(name, shape):
    flux = fluxes.get(name)
    w = None if shape is None else torch.ones(shape, dtype=torch.float64)
    with pytest.raises(InvalidParameterError, match="shape of w"):
        kernels.block(**(inputs(flux) | {"w": w}), flux=flux)


PROGRAM = """
import torch
from schemenets import fluxes, kernels
torch.manual_seed(0)
u, W = torch.randn(5, 1, 30), torch.randn(4, 1, 3).requires_grad_()
y = kernels.block(u, W, None, W, None, fluxes.get("{flux}"))
y.square().sum().backward()
print([x.hex() for x in [*y.flatten().tolist(), *W.grad.flatten().tolist()]])
"""


@pytest.mark.slow
def test_processes_that_compile_at_once_agree(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    start = lambda flux: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", PROGRAM.format(flux=flux)], env=environment, stdout=subprocess.PIPE, text=True
    )
    names = ["relu", "perona_malik", "relu"]
    cold = [p.communicate()[0] for p in [start(name) for name in names]]
    warm = [p.communicate()[0] for p in [start(name) for name in names]]
    assert cold == warm
    assert cold[0] == cold[2]
    assert cold[0] != cold[1]
    assert "0x" in cold[0]
