"""The residual and the sweep of learned cycles, for all kinds of problems, against dense matrices and plain torch.

Cycles, seeds, strides and derivatives of second order are those of all programs, see test_programs.py.
"""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from dense import correlation_matrix
from random_programs import FLUX, TAPS

from schemenets import fluxes, kernels, networks
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.multigrid.sweep import residual, sweep

pytest.importorskip("numba")
from compiled import compiled_calls, nothing_left_behind, one_kind

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}


POISSON = Problem(tau=0.7, screened=False, extent=12.0)
LINEAR, CHARBONNIER, PERONA_MALIK, EXPONENTIAL, WEICKERT = (
    Problem(tau=1.3, flux=name, contrast=0.4, extent=12.0)
    for name in ("linear", "charbonnier", "perona_malik", "exponential_perona_malik", "weickert")
)


def second(problem):
    return replace(problem, order=2)


# All fluxes, orders and ends that there may be, and all Ψ. To compile a pair takes seconds, so most are slow.
QUICK = [(PERONA_MALIK, FLUX), (second(PERONA_MALIK), FLUX)]
PAIRS = [
    (POISSON, "charbonnier"),
    (PERONA_MALIK, "linear"),
    (second(PERONA_MALIK), "linear"),
    (LINEAR, "fab"),
    (second(LINEAR), "relu"),
    (CHARBONNIER, "exponential_perona_malik"),
    (second(CHARBONNIER), "perona_malik"),
    (EXPONENTIAL, "weickert"),
    (second(EXPONENTIAL), "tv_regularised"),
    (WEICKERT, "charbonnier"),
    (second(WEICKERT), "linear"),
]
IDS = {
    "ids": lambda x: x if isinstance(x, str) else f"{x.flux}-{x.order}-{'reflecting' if x.screened else 'dirichlet'}"
}
each_pair = pytest.mark.parametrize(
    ("problem", "psi"), [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS)], **IDS
)


@pytest.fixture(autouse=True)
def compiled_kernel(monkeypatch):
    """Compiled functions find NaN wherever they have not written themselves."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "fused")
    with nothing_left_behind():
        yield


@pytest.fixture
def quick_kind(request):
    """What test_programs.py compiles anyway, but for slow tests."""
    with nullcontext() if request.node.get_closest_marker("slow") else one_kind(FLUX, TAPS):
        yield


def inputs(grid, psi, seeds=(), B=9, F=2, k=TAPS, dtype=torch.float64, seed=0):
    """x, b, ω, W and the contrasts of Ψ, which require gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (B, grid.N), "b": (B, grid.N), "omega": (), "W": (F, k), "lam": (F,)}
    tensors = {n: torch.randn((*seeds, *shape), generator=generator, dtype=dtype) for n, shape in shapes.items()}
    tensors["omega"], tensors["lam"] = (0.3 * tensors["omega"]).exp(), (0.3 * tensors["lam"]).exp()
    tensors["lam"] = tensors["lam"] if fluxes.get(psi).scaled else None
    return {n: None if x is None else x.requires_grad_() for n, x in tensors.items()}


def value_and_gradients(function, tensors):
    """Output, then the gradients of Σ cos(index) y, a functional without symmetry."""
    y = function(**tensors)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view_as(y)
    return [y, *torch.autograd.grad(y, [x for x in tensors.values() if x is not None], weights)]


def swept(grid, psi):
    return lambda **tensors: sweep(grid=grid, psi=fluxes.get(psi), **tensors)


def in_plain_operations(function, tensors):
    with pytest.MonkeyPatch.context() as patch, compiled_calls() as calls:
        patch.setenv("SCHEMENETS_KERNEL", "reference")
        found = value_and_gradients(function, tensors)
    assert not calls
    return found


def check(function, tensors):
    with compiled_calls() as calls:
        found = value_and_gradients(function, tensors)
    assert calls == ["run", "differentiate"]
    for a, b in zip(found, in_plain_operations(function, tensors), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        atol = TOLERANCE[a.dtype] * max(1.0, b.abs().max().item() if b.numel() else 0.0)
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.usefixtures("quick_kind")
@each_pair
def test_compiled_sweeps_are_the_plain_ones_with_all_gradients(problem, psi):
    for N in (1, 2, 3, 8, 17):
        grid = problem.on(N)
        for seeds in ((), (2,)):
            check(swept(grid, psi), inputs(grid, psi, seeds))


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "psi"), [*QUICK, *(PAIRS[n] for n in (0, 2, 3))], **IDS)
def test_sweeps_in_single_precision(problem, psi):
    for N in (1, 2, 17):
        grid = problem.on(N)
        for seeds in ((), (2,)):
            check(swept(grid, psi), inputs(grid, psi, seeds, B=19, dtype=torch.float32))


@pytest.mark.usefixtures("quick_kind")
@pytest.mark.parametrize(
    "problem",
    [PERONA_MALIK, second(PERONA_MALIK), *(pytest.param(problem, marks=pytest.mark.slow) for problem, _ in PAIRS)],
    **IDS,
)
def test_compiled_residuals_are_the_plain_ones_with_all_gradients(problem):
    for N in (1, 2, 3, 17):
        grid = problem.on(N)
        for seeds in ((), (2,)):
            tensors = {n: x for n, x in inputs(grid, "linear", seeds).items() if n in ("x", "b")}
            check(lambda x, b, grid=grid: residual(x, b, grid), tensors)
            wanted = value_and_gradients(lambda x, b, grid=grid: b - grid(x), tensors)
            found = value_and_gradients(lambda x, b, grid=grid: residual(x, b, grid), tensors)
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-11 * max(1, b.abs().max().item()))


@pytest.mark.usefixtures("quick_kind")
@pytest.mark.parametrize("kernel", ["fused", "reference"])
@each_pair
def test_a_sweep_is_the_formula_in_dense_matrices(problem, psi, kernel, monkeypatch):
    """x + D^(-½)(ωz + WᵀΨ(Wz)) with z = D^(-½)(b - A(x)) and the diagonal of σI + τKᵀG(x)K."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    for N in (1, 2, 3, 17):
        grid = problem.on(N)
        tensors = inputs(grid, psi, B=3)
        x, b, omega, W, lam = (None if t is None else t.detach().numpy() for t in tensors.values())
        k = W.shape[-1]
        matrix = correlation_matrix(W[:, None], N + 2 * (k - 1))[:, k - 1 : k - 1 + N]  # zeros around the signal
        rows = N + k - 1
        contrast = 1.0 if lam is None else torch.from_numpy(np.repeat(lam, rows))
        for signal, side, found in zip(x, b, swept(grid, psi)(**tensors), strict=True):
            A = grid.diffusion
            D = problem.sigma + problem.tau * A.lagged(signal).diagonal()
            z = (side - problem.sigma * signal - problem.tau * A(signal)) / np.sqrt(D)
            of_filters = fluxes.get(psi)(torch.from_numpy(matrix @ z), contrast).numpy()
            expected = signal + (omega * z + matrix.T @ of_filters) / np.sqrt(D)
            np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.usefixtures("quick_kind")
@pytest.mark.parametrize("kernel", ["fused", "reference"])
def test_small_differences_have_the_diffusivity_of_the_limit_and_its_slope(kernel, monkeypatch):
    """Φ(s)/s at s = 0 and nearby, where its derivative must not be lost in rounding errors."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    grid, psi = PERONA_MALIK.on(8, 1.0), FLUX
    given = inputs(grid, psi)
    at_zero = None
    for scale in (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7):
        found = value_and_gradients(swept(grid, psi), given | {"x": (given["x"].detach() * scale).requires_grad_()})
        at_zero = at_zero or found
        for a, b in zip(found, at_zero, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    x = torch.full((1, 8), 0.5, dtype=torch.float64)
    r, D = grid.smoothing(x, x)
    assert r.abs().max() == 0
    np.testing.assert_allclose(D[0], 1 + 1.3 * np.array([1, 2, 2, 2, 2, 2, 2, 1]))


@pytest.mark.usefixtures("quick_kind")
def test_without_filters_it_is_damped_jacobi():
    grid = PERONA_MALIK.on(17)
    tensors = {n: x if n in ("x", "b", "omega") else None for n, x in inputs(grid, FLUX).items()}
    check(swept(grid, FLUX), tensors)
    r, D = grid.smoothing(tensors["x"], tensors["b"])
    expected = tensors["x"] + tensors["omega"] * r / D
    torch.testing.assert_close(swept(grid, FLUX)(**tensors), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("quick_kind")
@pytest.mark.parametrize("kernel", ["reference", "fused"])
@pytest.mark.parametrize(("problem", "psi"), QUICK, ids=["1", "2"])
def test_gradients_by_finite_differences(problem, psi, kernel, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    grid = problem.on(7)
    given = {n: x for n, x in inputs(grid, psi, seeds=(2,), B=2).items() if x is not None}
    assert torch.autograd.gradcheck(
        lambda *values: swept(grid, psi)(**dict(zip(given, values, strict=True))), [*given.values()]
    )
    assert torch.autograd.gradcheck(lambda x, b: residual(x, b, grid), [given["x"], given["b"]])


# Cycles of linear problems; test_programs.py has those of nonlinear ones


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(), (2,)], ids=["alone", "stacked"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kind": "W", "cycles": 2},
        {"kind": "F", "sweeps": 2, "transfers": "fixed"},
        {"coarse_side": "restricted", "filters": 0, "cycles": 3},
    ],
    ids=str,
)
def test_compiled_cycles_of_the_poisson_problem_are_the_plain_ones(arguments, seeds):
    """From any x for any b, on grids that are halved down to 1 and 2 points; with zeros around the signals."""
    check_cycles(POISSON, seeds, arguments, (15, 11, 5))


@pytest.mark.parametrize("problem", [pytest.param(POISSON, marks=pytest.mark.slow), LINEAR], **IDS)
def test_merging_filters_are_of_any_length(problem):
    """Of an even one as well, and with no other filters."""
    merging = {"skip": "concatenated", "filters": 0, "kernel_size": 4}
    check_cycles(problem, (2,), merging, (16, 8, 12) if problem.screened else (15, 11, 5))


def check_cycles(problem, seeds, arguments, lengths):
    architecture = CycleArchitecture(problem=problem, **{"filters": 2, **arguments})
    nets = [architecture.build(seed).double() for seed in range(*seeds or (1,))]
    net, generator = networks.stack(nets) if seeds else nets[0], torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    own = {f"parameter_{index}": parameter for index, parameter in enumerate(net.parameters())}
    for N in lengths:
        b, x = (torch.randn(*seeds, 9, N, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
        check(lambda x, b, **own: net.cycle(x, b), {"x": x, "b": b, **own})
        check(lambda b, **own: net(b), {"b": b, **own})


def test_what_is_not_plain_takes_plain_operations(monkeypatch):
    """Half precision, and weights of another number of seeds than signals, which compiled loops would read beyond."""
    grid, psi = second(LINEAR).on(8), fluxes.get("linear")
    tensors = {n: x.detach() for n, x in inputs(grid, "linear").items() if x is not None}
    assert kernels.backend() == "fused"
    with compiled_calls() as calls:
        wide = sweep(**{n: x.bfloat16() for n, x in tensors.items()}, lam=None, grid=grid, psi=psi)
        signals = {n: torch.stack((tensors[n], 2 * tensors[n])) for n in ("x", "b")}
        several = sweep(**tensors | signals, lam=None, grid=grid, psi=psi)
        one_side = sweep(**tensors | {"b": tensors["b"][:1]}, lam=None, grid=grid, psi=psi)
    assert not calls
    assert wide.dtype == torch.bfloat16
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    single = sweep(**tensors, lam=None, grid=grid, psi=psi)
    for n, y in enumerate(several, start=1):  # linear
        torch.testing.assert_close(y, n * single, rtol=0, atol=1e-12)
    torch.testing.assert_close(one_side[0], single[0], rtol=0, atol=1e-12)
