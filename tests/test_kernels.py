"""The compiled block primitive against torch's own convolutions."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv1d, conv_transpose1d
from weights import random_weights

from schemenets import fluxes, kernels
from schemenets.errors import InvalidParameterError
from schemenets.kernels import autograd, reference

pytest.importorskip("numba")
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def expected(u, W1, b1, W2, lam, flux, w=None):
    """The primitive from torch's convolutions, seed by seed."""
    if W1.ndim == 4:
        columns = [[None] * len(u) if x is None else x for x in (u, W1, b1, W2, lam, w)]
        return torch.stack([expected(*row, flux, own) for *row, own in zip(*columns, strict=True)])
    s = conv1d(u, W1, b1)
    return conv_transpose1d(flux(s, 1.0 if lam is None else lam[:, None], None if w is None else w[:, None]), W2)


def inputs(flux, seeds=(), B=3, C_in=1, C_out=1, F=2, k=3, N=17, dtype=torch.float64, bias=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"u": (B, C_in, N), "W1": (F, C_in, k), "b1": (F,), "W2": (F, C_out, k), "lam": (F,)}
    x = {n: torch.randn(*seeds, *shape, generator=generator, dtype=dtype) for n, shape in shapes.items()}
    x["lam"] = torch.exp(0.3 * x["lam"]) if flux.scaled else None
    x["b1"] = x["b1"] if bias else None
    if flux.weights:
        x["w"] = torch.from_numpy(random_weights(flux, *seeds, F)).to(dtype)
    return {n: None if v is None else v.requires_grad_() for n, v in x.items()}


def value_and_gradients(function, x, flux):
    """Output, then the gradients of Σ cos(index) y, a functional without symmetry."""
    y = function(**x, flux=flux)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    variables = list({id(v): v for v in x.values() if v is not None}.values())
    return [y, *torch.autograd.grad(y, variables, weights)]


def assert_equal_to_torch(x, flux):
    dtype = x["u"].dtype
    found, wanted = (value_and_gradients(f, x, flux) for f in (kernels.block, expected))
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        assert (a - b).abs().max() <= TOLERANCE[dtype] * max(1, b.abs().max())


@pytest.fixture
def compiled(monkeypatch):
    """Calls of the compiled primitive, so that no test passes by falling back."""
    calls = []
    block = autograd.block
    monkeypatch.delenv("SCHEMENETS_KERNEL", raising=False)
    monkeypatch.setattr(autograd, "block", lambda *a: calls.append(a) or block(*a))
    return calls


@pytest.mark.parametrize("name", fluxes.available())
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"seeds": (2,), "bias": False},
        {"seeds": (3,), "C_in": 2, "C_out": 3, "F": 4, "B": 2, "N": 9},
        {"B": 70, "N": 40},
        {"B": 2, "N": 3},
    ],
    ids=["plain", "seeds", "channels", "several_groups", "one_window"],
)
def test_values_and_gradients(name, shape, compiled):
    flux = fluxes.get(name)
    assert_equal_to_torch(inputs(flux, **shape), flux)
    assert compiled


SINGLE = ["perona_malik", "relu", "learned"]
REST = [pytest.param(name, marks=pytest.mark.slow) for name in fluxes.available() if name not in SINGLE]


@pytest.mark.parametrize("name", SINGLE + REST)
def test_single_precision(name):
    flux = fluxes.get(name)
    assert_equal_to_torch(inputs(flux, (2,), B=8, C_in=2, F=8, N=64, dtype=torch.float32), flux)


@pytest.mark.parametrize("seeds", [(), (2,)])
def test_tied_filters(seeds):
    flux = fluxes.get("perona_malik")
    x = inputs(flux, seeds, C_in=2, C_out=2)
    assert_equal_to_torch(x | {"W2": x["W1"]}, flux)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.data())
def test_any_shape(data):
    flux = fluxes.get("perona_malik")
    k = data.draw(st.sampled_from([1, 3]))
    sizes = {n: data.draw(st.integers(1, top)) for n, top in {"B": 6, "C_in": 5, "C_out": 5, "F": 5}.items()}
    N, seeds = data.draw(st.integers(k, 300)), data.draw(st.sampled_from([(), (1,), (3,)]))
    assert_equal_to_torch(inputs(flux, seeds, k=k, N=N, bias=data.draw(st.booleans()), **sizes), flux)


@pytest.mark.parametrize("function", [kernels.block, reference.block])
@pytest.mark.parametrize("name", ["charbonnier", "learned"])
def test_gradcheck(function, name):
    flux = fluxes.get(name)
    x = inputs(flux, (2,), B=2, C_in=2, N=6)
    assert torch.autograd.gradcheck(lambda *v: function(*v[:5], flux, *v[5:]), tuple(x.values()))


@pytest.mark.parametrize("function", [kernels.block, reference.block])
@pytest.mark.parametrize("name", ["perona_malik", "learned"])
def test_second_derivatives(function, name):
    flux = fluxes.get(name)
    x = inputs(flux, B=2, N=5)
    assert torch.autograd.gradgradcheck(lambda *v: function(*v[:5], flux, *v[5:]), tuple(x.values()))
    del x["W2"]
    assert torch.autograd.gradgradcheck(lambda u, W, b, lam, *w: function(u, W, b, W, lam, flux, *w), tuple(x.values()))


@pytest.mark.parametrize("name", ["perona_malik", "learned"])
def test_functorch(name):
    flux = fluxes.get(name)
    x = inputs(flux, (3,))
    block = torch.func.vmap(lambda *v: kernels.block(*v[:5], flux, *v[5:]))
    torch.testing.assert_close(block(*x.values()), expected(**x, flux=flux))


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


@pytest.mark.parametrize("name", fluxes.available())
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


def test_strided_inputs():
    flux = fluxes.get("perona_malik")
    x = inputs(flux, C_in=3, C_out=3)
    strided = {
        n: v.detach().mT.contiguous().mT if v.ndim > 1 else v.detach().repeat_interleave(2)[::2] for n, v in x.items()
    }
    assert not any(v.is_contiguous() for v in strided.values())
    assert_equal_to_torch({n: v.requires_grad_() for n, v in strided.items()}, flux)


def test_falls_back(compiled, monkeypatch):
    flux = fluxes.get("perona_malik")
    x = inputs(flux)
    kernels.block(**inputs(flux, dtype=torch.bfloat16), flux=flux)
    kernels.block(**x, flux=replace(flux, scalar=None))
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    y = kernels.block(**x, flux=flux)
    assert not compiled
    torch.testing.assert_close(y, expected(**x, flux=flux))


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
    ],
)
def test_shapes_that_do_not_fit(name, shape):
    flux = fluxes.get("perona_malik")
    with pytest.raises(InvalidParameterError, match="allowed"):
        kernels.block(**(inputs(flux) | {name: torch.ones(shape, dtype=torch.float64)}), flux=flux)


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
    names = ["relu", "linear", "relu"]
    cold = [p.communicate()[0] for p in [start(name) for name in names]]
    warm = [p.communicate()[0] for p in [start(name) for name in names]]
    assert cold == warm
    assert cold[0] == cold[2]
    assert cold[0] != cold[1]
    assert "0x" in cold[0]
