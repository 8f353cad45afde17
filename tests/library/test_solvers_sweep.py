"""The compiled residual and sweep of learned cycles against plain torch operations, and these against NumPy."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from compiled import passes_of, rows_kept
from dense import correlation_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from schemenets import fluxes, kernels, networks
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.multigrid import sweep as module
from schemenets.multigrid._cycles import CORRECT, RESIDUAL, RESTRICT, RIGHT_HAND_SIDE, SWEEP
from schemenets.multigrid.sweep import reference, residual, sweep

pytest.importorskip("numba")

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}


POISSON = Problem(tau=0.7, screened=False, extent=12.0)
LINEAR, CHARBONNIER, PERONA_MALIK, EXPONENTIAL, WEICKERT = (
    Problem(tau=1.3, flux=name, contrast=0.4, extent=12.0)
    for name in ("linear", "charbonnier", "perona_malik", "exponential_perona_malik", "weickert")
)


def second(problem):
    return replace(problem, order=2)


# All fluxes, orders and ends that there may be, and all Ψ. To compile a pair takes seconds, so most are slow.
PAIRS = [
    (POISSON, "charbonnier"),
    (second(LINEAR), "relu"),
    (CHARBONNIER, "exponential_perona_malik"),
    (PERONA_MALIK, "linear"),
    (second(PERONA_MALIK), "linear"),
]
MORE = [
    (LINEAR, "fab"),
    (second(CHARBONNIER), "perona_malik"),
    (EXPONENTIAL, "weickert"),
    (second(EXPONENTIAL), "tv_regularised"),
    (WEICKERT, "charbonnier"),
    (second(WEICKERT), "linear"),
]
each_pair = pytest.mark.parametrize(
    ("problem", "psi"),
    [PAIRS[2], *[pytest.param(*pair, marks=pytest.mark.slow) for pair in (*PAIRS[:2], *PAIRS[3:], *MORE)]],
    ids=lambda x: x if isinstance(x, str) else f"{x.flux}-{x.order}-{'reflecting' if x.screened else 'dirichlet'}",
)


@pytest.fixture(autouse=True)
def fused_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "fused")


compiled_calls = partial(passes_of, module)


def inputs(grid, psi, seeds=(), B=3, F=2, k=5, dtype=torch.float64, seed=0):
    """x, b, ω, W and the contrasts of Ψ, which require gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (B, grid.N), "b": (B, grid.N), "omega": (), "W": (F, k), "lam": (F,)}
    tensors = {n: torch.randn((*seeds, *shape), generator=generator, dtype=dtype) for n, shape in shapes.items()}
    tensors["omega"], tensors["lam"] = (0.3 * tensors["omega"]).exp(), (0.3 * tensors["lam"]).exp()
    tensors["lam"] = tensors["lam"] if fluxes.get(psi).scaled else None
    return {n: None if x is None else x.requires_grad_() for n, x in tensors.items()}


def value_and_gradients(function, tensors, *rest):
    """Output, then the gradients of Σ cos(index) y, a functional without symmetry."""
    y = function(*rest, **tensors)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, [x for x in tensors.values() if x is not None], weights)]


def swept(function, grid, psi):
    return lambda **tensors: function(grid=grid, psi=fluxes.get(psi), **tensors)


def assert_equal(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        atol = TOLERANCE[a.dtype] * max(1.0, b.abs().max().item() if b.numel() else 0.0)
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def check_sweep(grid, psi, tensors):
    with compiled_calls() as calls:
        found = value_and_gradients(swept(sweep, grid, psi), tensors)
    assert calls == [([SWEEP], False), ([SWEEP], True)]
    assert_equal(found, value_and_gradients(swept(reference, grid, psi), tensors))


@each_pair
def test_compiled_sweeps_are_the_plain_ones_with_all_gradients(problem, psi):
    for N in (1, 2, 3, 8, 17):
        check_sweep(problem.on(N), psi, inputs(problem.on(N), psi))
        check_sweep(problem.on(N), psi, inputs(problem.on(N), psi, seeds=(2,)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "psi"),
    [PAIRS[n] for n in (2, 0, 1, 4)],
    ids=["charbonnier", "poisson", "linear-2", "perona_malik-2"],
)
def test_sweeps_in_single_precision(problem, psi):
    for N in (1, 2, 17):
        check_sweep(problem.on(N), psi, inputs(problem.on(N), psi, dtype=torch.float32))
        check_sweep(problem.on(N), psi, inputs(problem.on(N), psi, seeds=(2,), dtype=torch.float32))


@pytest.mark.parametrize("problem", [PERONA_MALIK, second(PERONA_MALIK)], ids=["1", "2"])
def test_compiled_residuals_are_the_plain_ones_with_all_gradients(problem):
    """Those of all other problems are parts of cycles below, here they are alone."""
    for N in (1, 2, 3, 17):
        grid = problem.on(N)
        tensors = {n: x for n, x in inputs(grid, "linear", seeds=(2,)).items() if n in ("x", "b")}
        with compiled_calls() as calls:
            found = value_and_gradients(lambda x, b, grid=grid: residual(x, b, grid), tensors)
        assert calls == [([RESIDUAL], False), ([RESIDUAL], True)]
        assert_equal(found, value_and_gradients(lambda x, b, grid=grid: b - grid(x), tensors))


@each_pair
def test_a_sweep_is_the_formula_in_dense_matrices(problem, psi):
    """x + D^(-½)(ωz + WᵀΨ(Wz)) with z = D^(-½)(b - A(x)) and the diagonal of σI + τKᵀG(x)K."""
    for N in (1, 2, 3, 17):
        grid = problem.on(N)
        tensors = inputs(grid, psi)
        x, b, omega, W, lam = (None if t is None else t.detach().numpy() for t in tensors.values())
        k = W.shape[-1]
        matrix = correlation_matrix(W[:, None], N + 2 * (k - 1))[:, k - 1 : k - 1 + N]  # zeros around the signal
        rows = N + k - 1
        contrast = 1.0 if lam is None else torch.from_numpy(np.repeat(lam, rows))
        for signal, side, found in zip(x, b, sweep(**tensors, grid=grid, psi=fluxes.get(psi)), strict=True):
            A = grid.diffusion
            D = problem.sigma + problem.tau * A.lagged(signal).diagonal()
            z = (side - problem.sigma * signal - problem.tau * A(signal)) / np.sqrt(D)
            of_filters = fluxes.get(psi)(torch.from_numpy(matrix @ z), contrast).numpy()
            expected = signal + (omega * z + matrix.T @ of_filters) / np.sqrt(D)
            np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@settings(max_examples=40)
@given(
    order=st.sampled_from([1, 2]),
    N=st.integers(1, 40),
    B=st.integers(1, 4),
    F=st.integers(1, 3),
    seeds=st.sampled_from([(), (1,), (3,)]),
    tau=st.floats(0.01, 100),
    seed=st.integers(0, 1000),
)
def test_any_shapes(order, N, B, F, seeds, tau, seed):
    grid = replace(PERONA_MALIK, tau=tau, order=order).on(N, 1.0)
    check_sweep(grid, "linear", inputs(grid, "linear", seeds, B, F, seed=seed))


def test_small_differences_have_the_diffusivity_of_the_limit_and_its_slope():
    """Φ(s)/s at s = 0 and nearby, where its derivative must not be lost in rounding errors."""
    grid, psi = PERONA_MALIK.on(8, 1.0), "linear"
    given = inputs(grid, psi)
    at_zero = None
    for scale in (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7):
        tensors = given | {"x": (given["x"].detach() * scale).requires_grad_()}
        for function in (sweep, reference):
            found = value_and_gradients(swept(function, grid, psi), tensors)
            at_zero = at_zero or found
            for a, b in zip(found, at_zero, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    x = torch.full((1, 8), 0.5, dtype=torch.float64)
    r, D = grid.smoothing(x, x)
    assert r.abs().max() == 0
    np.testing.assert_allclose(D[0], 1 + 1.3 * np.array([1, 2, 2, 2, 2, 2, 2, 1]))


def test_without_filters_it_is_damped_jacobi():
    grid = PERONA_MALIK.on(17)
    tensors = {n: x if n in ("x", "b", "omega") else None for n, x in inputs(grid, "linear").items()}
    check_sweep(grid, "linear", tensors)
    r, D = grid.smoothing(tensors["x"], tensors["b"])
    expected = tensors["x"] + tensors["omega"] * r / D
    torch.testing.assert_close(sweep(**tensors, grid=grid, psi=fluxes.get("linear")), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["reference", "fused"])
@pytest.mark.parametrize(("problem", "psi"), [PAIRS[2], PAIRS[4]], ids=["1", "2"])
def test_gradients_by_finite_differences(problem, psi, name, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", name)
    grid, flux = problem.on(7), fluxes.get(psi)
    given = [x for x in inputs(grid, psi, seeds=(2,), B=2).values() if x is not None]
    torch.autograd.gradcheck(lambda x, b, omega, W, lam=None: sweep(x, b, grid, omega, W, lam, flux), given)
    if psi == "linear":  # which compiled residuals have, too
        torch.autograd.gradcheck(lambda x, b: residual(x, b, grid), given[:2])


def test_seeds_side_by_side_are_single_ones():
    problem, psi = PAIRS[2]
    grid = problem.on(17)
    tensors = inputs(grid, psi, seeds=(3,))
    stacked = value_and_gradients(swept(sweep, grid, psi), tensors)
    weights = torch.cos(torch.arange(stacked[0].numel(), dtype=torch.float64)).view_as(stacked[0])
    for index in range(3):
        single = {n: None if x is None else x[index].detach().requires_grad_() for n, x in tensors.items()}
        y = swept(sweep, grid, psi)(**single)
        gradients = torch.autograd.grad(y, [x for x in single.values() if x is not None], weights[index])
        for a, b in zip(stacked, (y, *gradients), strict=True):
            torch.testing.assert_close(a[index], b, rtol=0, atol=1e-13)


def test_tensors_need_not_be_contiguous():
    problem, psi = PAIRS[2]
    grid = problem.on(9)
    plain = {n: None if x is None else x.detach() for n, x in inputs(grid, psi, seeds=(2,)).items()}
    strided = {n: None if x is None else torch.stack((x, x), -1)[..., 0].requires_grad_() for n, x in plain.items()}
    strided["x"] = plain["x"].transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_()
    strided["b"] = plain["b"][:, :1].expand(2, 3, 9).requires_grad_()
    assert not any(x.is_contiguous() for x in (strided["x"], strided["b"], strided["W"]))
    check_sweep(grid, psi, strided)


CYCLES = [
    {},
    {"kind": "W", "cycles": 2},
    {"kind": "F", "sweeps": 2},
    {"transfers": "fixed"},
    {"coarse_side": "restricted", "filters": 0, "cycles": 3},
    {"skip": "concatenated", "cycles": 2},
]


@pytest.mark.parametrize(("problem", "psi"), [PAIRS[0], PAIRS[3], PAIRS[4]], ids=["poisson", "1", "2"])
@pytest.mark.parametrize("seeds", [(), (2,)], ids=["alone", "stacked"])
@pytest.mark.parametrize("arguments", CYCLES, ids=str)
def test_compiled_cycles_are_the_plain_ones_with_all_gradients(problem, psi, seeds, arguments, monkeypatch):
    check_cycles(problem, psi, seeds, arguments, monkeypatch)


def test_merging_filters_are_of_any_length(monkeypatch):
    """Of an even one as well, and with no other filters."""
    merging = {"skip": "concatenated", "filters": 0, "kernel_size": 4}
    check_cycles(PAIRS[0][0], "linear", (2,), merging, monkeypatch)


def check_cycles(problem, psi, seeds, arguments, monkeypatch):
    """From any x for any b, with random weights, on grids that are halved down to 1, 2 and 3 points."""
    architecture = CycleArchitecture(problem=problem, flux=psi, **{"filters": 2, **arguments})
    nets = [architecture.build(seed).double() for seed in range(*seeds or (1,))]
    net, generator = networks.stack(nets) if seeds else nets[0], torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    for N in (16, 8, 12) if problem.screened else (15, 11, 5):
        b, x = (torch.randn(*seeds, 3, N, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
        tensors = {"x": x, "b": b, **dict(net.named_parameters())}
        found = {}
        for kernel in ("fused", "reference"):
            monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
            with compiled_calls() as calls:
                y = net.cycle(x, b) + net(b).sin()
                weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
                gradients = torch.autograd.grad(y, tensors.values(), weights, allow_unused=True, materialize_grads=True)
            found[kernel] = [y, *gradients]
            assert [backward for _, backward in calls] == ([False, False, True, True] if kernel == "fused" else [])
        assert_equal(*found.values())


def test_a_cycle_is_a_list_of_instructions():
    with compiled_calls() as calls:
        small_network(0)(torch.rand(1, 12, dtype=torch.float64))
    down, up = [SWEEP, RESTRICT, RESIDUAL, RESTRICT, RIGHT_HAND_SIDE], [CORRECT, SWEEP]
    assert calls == [([*down, *down, *[SWEEP] * 4, *up, *up], False)]  # 12, 6 and 3 points


def test_compiled_code_is_found_again_on_disk():
    """Numba knows closures by their pickles there, and those of functions differ from process to process."""
    from schemenets.multigrid import _fused

    passes = _fused._passes(fluxes.get("charbonnier").scalar, fluxes.get("linear").scalar, 1, True, 5)
    constants = [cell.cell_contents for each in passes for cell in each.py_func.__closure__]
    assert constants
    assert {type(constant) for constant in constants} <= {str, int, bool}


def test_what_needs_no_gradients_is_not_kept():
    network, b = small_network(0), torch.rand(5, 12, dtype=torch.float64)
    with rows_kept(module) as rows:
        with torch.no_grad():
            without = network(b)
        kept = network(b)
    assert rows == [(1, 1), (1, 5)]
    torch.testing.assert_close(kept, without, rtol=0, atol=0)


def small_network(seed, **arguments):
    return CycleArchitecture(problem=PERONA_MALIK, filters=2, **arguments).build(seed).double()


def test_the_environment_chooses_plain_operations(monkeypatch):
    network, b = small_network(0), torch.rand(2, 12, dtype=torch.float64)
    with compiled_calls() as calls:
        compiled = network(b)
    assert len(calls) == 1
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    with compiled_calls() as calls:
        torch.testing.assert_close(network(b), compiled, rtol=0, atol=1e-12)
    assert not calls


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_transforms_of_functions_take_plain_operations():
    """torch.func.vmap over networks and torch.func.grad, as the stacked network and autograd have it."""
    nets = [small_network(seed) for seed in range(3)]
    b = torch.rand(3, 2, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stacked = networks.stack(nets)
    weights = {name: p.detach() for name, p in stacked.named_parameters()}

    def loss(weights, b):
        return torch.func.functional_call(nets[0], weights, b).square().sum()

    gradients, values = torch.func.vmap(torch.func.grad_and_value(loss))(weights, b)
    expected = stacked(b).square().sum((1, 2))
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=0)
    expected.sum().backward()
    for name, parameter in stacked.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-11)


def test_second_derivatives_need_plain_operations(monkeypatch):
    network, b = small_network(0), torch.rand(2, 12, dtype=torch.float64)

    def penalty():
        (gradient,) = torch.autograd.grad(network(b).square().sum(), network.weights.W, create_graph=True)
        return gradient.square().sum()

    with pytest.raises(RuntimeError, match="once_differentiable"):
        penalty().backward()
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    penalty().backward()
    assert network.weights.W.grad.abs().max() > 0


def test_what_is_not_plain_takes_plain_operations():
    """Half precision, and weights of another number of seeds than signals, which compiled loops would read beyond."""
    grid = second(LINEAR).on(8)
    tensors = {n: x.detach() for n, x in inputs(grid, "linear").items() if x is not None}
    psi = fluxes.get("linear")
    assert kernels.backend() == "fused"
    with compiled_calls() as calls:
        wide = sweep(**{n: x.bfloat16() for n, x in tensors.items()}, lam=None, grid=grid, psi=psi)
        signals = {n: torch.stack((tensors[n], 2 * tensors[n])) for n in ("x", "b")}
        several = sweep(**tensors | signals, lam=None, grid=grid, psi=psi)
    assert not calls
    assert wide.dtype == torch.bfloat16
    for n, y in enumerate(several, start=1):  # linear
        torch.testing.assert_close(y, n * sweep(**tensors, lam=None, grid=grid, psi=psi), rtol=0, atol=1e-12)
