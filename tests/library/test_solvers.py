"""Problems on grids of any size, and learned cycles that solve them, against dense matrices and numerical schemes."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from dense import correlation_matrix

from schemenets import fluxes, networks, stability
from schemenets.errors import InvalidParameterError, SchemenetsError, UnknownNameError
from schemenets.kernels.reference import prolong, restrict
from schemenets.multigrid import CycleArchitecture, Grid, Problem, certify, iterate
from schemenets.operators import prolongation, restriction
from schemenets.schemes import Diffusion, fas, multigrid

LINEAR = Problem(tau=7.0, extent=64.0)
POISSON = Problem(tau=0.5, screened=False, extent=64.0)
CHARBONNIER = Problem(tau=30.0, flux="charbonnier", contrast=0.1, extent=64.0)
PERONA_MALIK = Problem(tau=2.0, flux="perona_malik", contrast=0.1, extent=64.0)
SECOND = Problem(tau=4.0, flux="charbonnier", contrast=0.1, order=2, extent=64.0)
NONLINEAR = [
    name
    for name in fluxes.available()
    if name in ("charbonnier", "perona_malik", "exponential_perona_malik", "weickert")
]
PROBLEMS = {
    "poisson": POISSON,
    **{
        f"{name}-{order}": Problem(tau=1.5, flux=name, contrast=0.1, order=order, extent=64.0)
        for name in ["linear", *NONLINEAR]
        for order in (1, 2)
    },
}
each_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def numbers(x):
    return x.detach().numpy()


def torched(x):
    return torch.from_numpy(np.asarray(x, dtype=np.float64))


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1e-300))


def dense_K(problem, N, h):
    """Differences of the values with zeros around them, or without those that leave the signal; twice for order 2."""
    D = np.eye(N + 1, N) - np.eye(N + 1, N, k=-1)
    D = D[1:-1] if problem.screened else D
    return (D if problem.order == 1 else -D.T @ D) / h**problem.order


def dense_A(problem, x, N, h):
    K = dense_K(problem, N, h)
    flow = problem.tau * K.T @ fluxes.get(problem.flux)(torched(K @ x), problem.contrast).numpy()
    return problem.screened * x + flow


def right_hand_sides(N, count=2, seed=1):
    return np.cumsum(np.random.default_rng(seed).standard_normal((count, N)), axis=-1) * 0.1


# Problems


@each_problem
@pytest.mark.parametrize("N", [1, 2, 3, 8, 17])
def test_operators_are_their_dense_matrices(problem, N):
    for h in (None, 0.3):
        grid = problem.on(N, h)
        eye, K = torch.eye(N, dtype=torch.float64), dense_K(problem, N, grid.h)
        assert K.shape == (grid.rows, N)
        close(numbers(grid.K(eye)).T, K)
        close(numbers(grid.K_adjoint(torch.eye(grid.rows, dtype=torch.float64))), K)
        x = np.random.default_rng(N).standard_normal((3, N))
        close(numbers(grid(torched(x))), [dense_A(problem, signal, N, grid.h) for signal in x])
        A = grid.diffusion
        close(problem.sigma * x[0] + problem.tau * A(x[0]), dense_A(problem, x[0], N, grid.h))
        assert grid.norm_squared == pytest.approx(np.linalg.norm(K, 2) ** 2 if K.size else 0.0, rel=1e-12, abs=1e-20)


@each_problem
@pytest.mark.parametrize("N", [1, 2, 17])
def test_what_a_sweep_needs(problem, N):
    """The residual, and the diagonal of σI + τKᵀG(x)K with g = Φ(s)/s."""
    grid, (x, b) = problem.on(N), np.random.default_rng(N).standard_normal((2, N))
    K = dense_K(problem, N, grid.h)
    s = K @ x
    g = np.divide(fluxes.get(problem.flux)(torched(s), problem.contrast).numpy(), s, out=np.ones_like(s), where=s != 0)
    r, D = grid.smoothing(torched(x), torched(b))
    close(numbers(r), b - dense_A(problem, x, N, grid.h))
    close(numbers(D), problem.sigma + problem.tau * np.diag(K.T @ np.diag(g) @ K))


@each_problem
def test_the_energy_has_the_gradient_of_the_problem(problem):
    grid, (x, b) = problem.on(17), np.random.default_rng(3).standard_normal((2, 17))
    x = torched(x).requires_grad_()
    (gradient,) = torch.autograd.grad(grid.energy(x, torched(b)), x)
    close(numbers(gradient), numbers(grid(x)) - b, 1e-11)


@pytest.mark.parametrize("name", [name for name in NONLINEAR if not fluxes.get(name).monotone])
@pytest.mark.parametrize("order", [1, 2])
def test_one_solution_is_certain_where_every_hessian_is_positive(name, order):
    """σI + τKᵀ diag(Φ')K with Φ' = -m everywhere is the least there may be."""
    K = dense_K(replace(LINEAR, order=order), 16, 1.0)
    limit = 1 / (fluxes.get(name).m * np.linalg.norm(K, 2) ** 2)
    for tau in (0.99 * limit, 1.01 * limit):
        grid = Problem(tau=tau, flux=name, order=order, extent=16.0).on(16)
        least = np.linalg.eigvalsh(np.eye(16) - tau * fluxes.get(name).m * K.T @ K).min()
        assert grid.unique == (least > 0)
    for problem in (POISSON, LINEAR, CHARBONNIER):
        assert problem.on(63).unique


@each_problem
@pytest.mark.parametrize("N", [1, 2, 40])
def test_solutions(problem, N):
    grid, (b, _) = problem.on(N, 1.0), right_hand_sides(N)
    x = grid.solve(b)
    assert np.linalg.norm(b - dense_A(problem, x, N, 1.0)) <= 1e-10 * np.linalg.norm(b)
    if problem.linear:
        K = dense_K(problem, N, 1.0)
        close(x, np.linalg.solve(problem.sigma * np.eye(N) + problem.tau * K.T @ K, b), 1e-11)


@each_problem
@pytest.mark.parametrize(
    ("b", "message"),
    [(np.ones(39), r"shape of the signal: got \(39,\)"), (np.full(40, np.nan), "a value of the signal: got .*nan")],
)
def test_right_hand_sides_that_make_no_sense(problem, b, message):
    with pytest.raises(InvalidParameterError, match=message):
        problem.on(40).solve(b)


def test_a_problem_with_several_solutions_says_so_and_starts_choose_among_them():
    """On two points the difference s solves s + 2τΦ(s) = β, for Perona-Malik with λ = 1 a cubic equation."""
    tau, beta = 30.0, 20.0
    grid = Problem(tau=tau, flux="perona_malik", extent=2.0).on(2)
    roots = np.sort(np.roots([1.0, -beta, 1 + 2 * tau, -beta]).real)
    assert not grid.unique
    b = np.array([3.0, 3.0 + beta])
    found = [grid.solve(b, start) for start in (None, np.array([3.0, 3.1]))]
    close([x[1] - x[0] for x in found], [roots[2], roots[0]], 1e-10)
    energies = [grid.energy(torched(x), torched(b)).item() for x in found]
    assert energies[0] != pytest.approx(energies[1], rel=1e-2)
    for x in found:
        assert x.mean() == pytest.approx(b.mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("problem", "order"),
    [(LINEAR, 2), (POISSON, 2), (CHARBONNIER, 2), (PERONA_MALIK, 2), (replace(LINEAR, order=2), 2), (SECOND, 2)],
    ids=["linear", "poisson", "charbonnier", "perona_malik", "linear-2", "charbonnier-2"],
)
def test_all_grids_discretise_one_problem(problem, order):
    """For the solution x(s) = cos(πs/extent), or sin for zero ends, b = σx + τ(-∂)ᵐΦ(∂ᵐx) is found by autograd."""
    errors = []
    for N in (63, 127, 255) if not problem.screened else (64, 128, 256):
        h = problem.extent / (N + (not problem.screened))
        s = ((torch.arange(N, dtype=torch.float64) + (0.5 if problem.screened else 1.0)) * h).requires_grad_()
        x = 3 * (torch.cos if problem.screened else torch.sin)(math.pi * s / problem.extent)

        def derivative(y, s=s):
            return torch.autograd.grad(y.sum(), s, create_graph=True)[0]

        v = x
        for _ in range(problem.order):
            v = derivative(v)
        v = fluxes.get(problem.flux)(v, problem.contrast)
        for _ in range(problem.order):
            v = -derivative(v)
        b = problem.sigma * x + problem.tau * v
        grid = problem.on(N)
        assert grid.h == h
        errors.append(np.abs(grid.solve(numbers(b)) - numbers(x)).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, order, atol=0.1)


@each_problem
def test_coarse_grids_have_the_same_interval(problem):
    grid = problem.on(64 - (not problem.screened))
    sizes = []
    while grid.coarsens:
        grid = grid.coarser
        sizes.append(grid.N)
        assert grid.h * (grid.N + (not problem.screened)) == problem.extent
    assert sizes == ([32, 16, 8, 4, 2, 1] if problem.screened else [31, 15, 7, 3, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.0}, "tau: got 0.0, expected .*positive"),
        ({"tau": math.inf}, "tau: got inf, expected .*finite"),
        ({"tau": math.nan}, "tau: got nan"),
        ({"contrast": -1.0}, "contrast: got -1.0, expected .*positive"),
        ({"extent": 0.0}, "extent: got 0.0, expected .*positive"),
        ({"order": 3}, "order: got 3, expected .*1 or 2"),
        ({"flux": "relu"}, "flux: got 'relu', expected .*odd"),
        ({"flux": "fab"}, "flux: got 'fab', expected .*g ≥ 0"),
        ({"flux": "tv_regularised"}, "flux: got 'tv_regularised', expected .*a contrast"),
        ({"flux": "learned"}, "flux: got 'learned', expected .*no weights"),
        ({"flux": "charbonier"}, "charbonnier"),
        ({"screened": False, "order": 2}, "screened: got False, expected .*order 2"),
        ({"screened": False, "flux": "charbonnier"}, "screened: got False, expected .*nonlinear"),
    ],
)
def test_problems_that_are_not_possible(arguments, message):
    with pytest.raises(SchemenetsError, match=message):
        Problem(**{"tau": 1.0, **arguments})


def test_grids_that_are_not_possible():
    with pytest.raises(InvalidParameterError, match=r"length: got 0, expected .*at least 1"):
        LINEAR.on(0)
    for h in (0.0, math.inf):
        with pytest.raises(InvalidParameterError, match=f"h: got {h}, expected .*positive and finite"):
            LINEAR.on(8, h)


# Cycles


def build(problem=LINEAR, seed=0, randomness=0.3, **arguments):
    """A network in double precision with random weights everywhere."""
    network = CycleArchitecture(problem=problem, **{"filters": 2, "kernel_size": 3, **arguments}).build(seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += randomness * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network


def textbook(problem, **arguments):
    """Damped Jacobi with the transfers of the textbook."""
    network = build(problem, randomness=0, filters=0, transfers="fixed", **arguments)
    network.weights.omega = torch.full_like(network.weights.omega, 2 / 3)  # to all digits
    return network


def applied(network, x, b):
    return numbers(network.cycle(torched(x)[None], torched(b)[None]))[0]


@pytest.mark.parametrize("sweeps", [1, 2])
@pytest.mark.parametrize(
    "problem", [LINEAR, replace(LINEAR, order=2), CHARBONNIER, SECOND, PERONA_MALIK, replace(PERONA_MALIK, order=2)]
)
def test_with_textbook_weights_it_is_the_full_approximation_scheme(problem, sweeps):
    sizes = [64, 32, 16, 8, 4, 2, 1]
    levels = [
        fas.Level(
            Diffusion(dense_K(problem, N, 64 / N) if N > 1 else [[0.0]], fluxes.get(problem.flux), problem.contrast),
            *([f(N, "reflecting") for f in (restriction, prolongation)] if N > 1 else [None, None]),
        )
        for N in sizes
    ]

    def coarsest(x, b, A, tau):
        for _ in range(4 * sweeps):
            x = fas.smooth(x, b, A, tau, 2 / 3)
        return x

    network = textbook(problem, sweeps=sweeps)
    x, b = right_hand_sides(64)
    close(applied(network, x, b), fas.cycle(levels, b, x, problem.tau, (sweeps, sweeps), coarsest=coarsest))


@pytest.mark.parametrize("kind", multigrid.CYCLES)
@pytest.mark.parametrize("problem", [LINEAR, replace(LINEAR, order=2), POISSON], ids=["1", "2", "poisson"])
def test_with_textbook_weights_it_is_linear_multigrid_with_rediscretised_operators(problem, kind):
    N = 64 - (not problem.screened)
    levels, h, ends = [], 1.0, "reflecting" if problem.screened else "dirichlet"
    n = N
    while n:
        K = dense_K(problem, n, h)
        transfers = [f(n, ends) for f in (restriction, prolongation)] if n > 1 else [None, None]
        matrix = multigrid.sp.csr_array(problem.sigma * np.eye(n) + problem.tau * K.T @ K)
        levels.append(multigrid.Level(matrix, *transfers))
        n, h = n // 2, 2 * h

    def coarsest(A, b, x):
        for _ in range(4):
            x = multigrid.smooth(A, b, x, 2 / 3)
        return x

    x, b = right_hand_sides(N)
    expected = multigrid.cycle(levels, b, x, kind, coarsest=coarsest)
    close(applied(textbook(problem, kind=kind), x, b), expected)


def unchanged(b):
    return b


def dense_cycle(network, x, b, N, h, kind, coarse_side=unchanged):
    """One cycle by dense matrices of the weights, from the formulas alone."""
    architecture, problem = network.architecture, network.architecture.problem
    weights = network.weights
    K = dense_K(problem, N, h)
    W, psi = getattr(weights, "W", None), fluxes.get(architecture.flux)
    k = architecture.kernel_size
    lam = 1.0 if weights.lam is None else weights.lam.detach().repeat_interleave(N + k - 1)

    def A(x, n=N, h=h):
        return dense_A(problem, x, n, h)

    def smooth(x, omega):
        s = K @ x
        g = np.divide(
            fluxes.get(problem.flux)(torched(s), problem.contrast).numpy(), s, out=np.ones_like(s), where=s != 0
        )
        D = problem.sigma + problem.tau * np.diag(K.T @ np.diag(g) @ K)
        z = (b - A(x)) / np.sqrt(D)
        o = omega * z
        if W is not None:
            matrix = correlation_matrix(numbers(W)[:, None], N + 2 * (k - 1))[:, k - 1 : k - 1 + N]
            o = o + matrix.T @ numbers(psi(torched(matrix @ z), lam))
        return x + o / np.sqrt(D)

    before, after = np.split(numbers(weights.omega), 2)
    odd = not problem.screened
    if N == 1 or bool(N % 2) is not odd:
        for omega in np.tile([*before, *after], 2):
            x = smooth(x, omega)
        return x
    for omega in before:
        x = smooth(x, omega)

    def transfer(r):
        stencil = [r[1], r[0], r[1]] if odd else [r[1], r[0], r[0], r[1]]
        R = np.zeros((N // 2, N))
        for row in range(N // 2):
            for place, value in enumerate(stencil, start=2 * row - (not odd)):
                R[row, min(max(place, 0), N - 1)] += value
        return R

    r = numbers(weights.r)
    R, P = transfer(r), weights.c.item() * transfer(r).T
    b_c = R @ b
    if architecture.coarse_side == "fas":
        b_c = coarse_side(A(R @ x, N // 2, 2 * h) + R @ (b - A(x)))
    x_c = R @ x
    for coarse_kind in {"V": "V", "W": "WW", "F": "FV"}[kind]:
        x_c = dense_cycle(network, x_c, b_c, N // 2, 2 * h, coarse_kind, coarse_side)
    if architecture.skip == "additive":
        x = x + P @ (x_c - R @ x)
    else:
        V = numbers(weights.V)
        x = sum(
            np.convolve(np.pad(u, k), v[::-1])[k + (k - 1) - (k - 1) // 2 :][:N]
            for u, v in zip((x, P @ x_c), V, strict=True)
        )
    for omega in after:
        x = smooth(x, omega)
    return x


ARCHITECTURES = {
    "V": {},
    "W": {"kind": "W", "sweeps": 2},
    "F": {"kind": "F", "flux": "charbonnier"},
    "relu": {"flux": "relu", "kernel_size": 4},
    "fixed": {"transfers": "fixed", "filters": 0},
    "fixed with filters": {"transfers": "fixed", "flux": "perona_malik", "filters": 1},
}
ABLATIONS = {"concatenated": {"skip": "concatenated"}, "restricted": {"coarse_side": "restricted"}}
each_architecture = pytest.mark.parametrize("arguments", ARCHITECTURES.values(), ids=ARCHITECTURES)
some_problems = pytest.mark.parametrize(
    "problem",
    [LINEAR, POISSON, CHARBONNIER, PERONA_MALIK, SECOND],
    ids=["linear", "poisson", "charbonnier", "perona_malik", "second"],
)


@some_problems
@pytest.mark.parametrize("arguments", [*ARCHITECTURES.values(), *ABLATIONS.values()], ids=[*ARCHITECTURES, *ABLATIONS])
def test_a_cycle_is_its_formula_in_dense_matrices_whatever_the_weights(problem, arguments):
    network = build(problem, randomness=0.1, **arguments)
    odd = not problem.screened
    for N in (16 - odd, 36 - odd, 25 - odd):
        x, b = right_hand_sides(N)
        grid = problem.on(N)
        expected = dense_cycle(network, x, b, N, grid.h, network.architecture.kind)
        close(applied(network, x, b), expected, 1e-10)
        close(
            numbers(network(torched(b)[None]))[0],
            dense_cycle(network, b * problem.screened, b, N, grid.h, network.architecture.kind),
            1e-10,
        )


@each_problem
@each_architecture
def test_a_solution_is_a_fixed_point_whatever_the_weights(problem, arguments):
    """Up to the residual of the solution, times what a cycle with such weights makes of it."""
    network = build(problem, randomness=0.1, **arguments)
    for N in (64, 36, 25) if problem.screened else (63, 35, 24):
        b = right_hand_sides(N)[0]
        exact = problem.on(N).solve(b)
        close(applied(network, exact, b), exact, 1e-8)
        assert np.abs(applied(network, b, b) - b).max() > 1e-4


@pytest.mark.parametrize("problem", [LINEAR, POISSON, CHARBONNIER, PERONA_MALIK])
def test_so_it_is_on_a_grid_of_a_thousand_points(problem):
    N = 1000 - (not problem.screened)
    b = right_hand_sides(N)[0]
    exact = problem.on(N).solve(b)
    close(applied(build(problem, randomness=0.1), exact, b), exact, 1e-8)


@some_problems
@pytest.mark.parametrize("arguments", ABLATIONS.values(), ids=ABLATIONS)
def test_ablations_lose_the_solution(problem, arguments):
    N = 64 - (not problem.screened)
    network, b = build(problem, randomness=0, **arguments), right_hand_sides(N)[0]
    exact = problem.on(N).solve(b)
    assert np.linalg.norm(applied(network, exact, b) - exact) > 1e-3 * np.linalg.norm(exact)


def test_a_rectified_coarse_right_hand_side_loses_the_solution():
    network, b = build(CHARBONNIER), right_hand_sides(64)[0]
    exact = CHARBONNIER.on(64).solve(b)
    close(dense_cycle(network, exact, b, 64, 1.0, "V"), exact, 1e-9)
    broken = dense_cycle(network, exact, b, 64, 1.0, "V", coarse_side=lambda b: np.maximum(b, 0))
    assert np.linalg.norm(broken - exact) > 1e-2 * np.linalg.norm(exact)


@pytest.mark.parametrize(("problem", "N"), [(LINEAR, 2), (LINEAR, 34), (POISSON, 3), (POISSON, 35)])
def test_transfers_are_transposes_and_the_textbook_ones_at_first(problem, N):
    grid = problem.on(N)
    eye, coarse = (torch.eye(n, dtype=torch.float64) for n in (N, N // 2))
    shift = 1 if grid.ends == "dirichlet" else 0
    r = torch.tensor([0.7, -0.2, 0.4, 0.3], dtype=torch.float64)
    close(numbers(prolong(coarse, r, N, shift)), numbers(restrict(eye, r, shift)).T, 1e-15)
    for transfers in ("tied", "fixed"):
        own = build(problem, randomness=0, transfers=transfers).operands(grid, 0)
        close(numbers(restrict(eye, own["r"], shift)).T, restriction(N, grid.ends).toarray(), 1e-15)
        close(numbers(own["c"] * prolong(coarse, own["r"], N, shift)).T, prolongation(N, grid.ends).toarray(), 1e-15)


@pytest.mark.parametrize("flux", [name for name in fluxes.available() if not fluxes.get(name).weights])
@pytest.mark.parametrize("arguments", [*ARCHITECTURES.values(), *ABLATIONS.values()], ids=[*ARCHITECTURES, *ABLATIONS])
def test_numbers_of_parameters(arguments, flux):
    for problem in (LINEAR, POISSON):
        network = build(problem, **{**arguments, "flux": flux})
        assert network.architecture.count().total == sum(p.numel() for p in network.parameters())
        named = dict(network.named_parameters())
        filters = [p for name, p in named.items() if name.removeprefix("weights.") in ("W", "V", "r")]
        assert network.architecture.count().convolution == sum(p.numel() for p in filters)
    fields = {"filters": 4, "kernel_size": 5, "flux": "charbonnier", "sweeps": 2}
    assert CycleArchitecture(problem=LINEAR, **fields).count() == (4 + 4 * 6 + 3, 4 * 5 + 2)


def test_cycles_share_their_weights_and_each_starts_where_the_last_one_ended():
    b = torched(right_hand_sides(64))
    one, three = (build(CHARBONNIER, cycles=cycles) for cycles in (1, 3))
    assert [p.shape for p in one.parameters()] == [p.shape for p in three.parameters()]
    x = one.architecture.problem.on(b.shape[-1]).start(b)
    for _ in range(3):
        x = one.cycle(x, b)
    close(numbers(three(b)), numbers(x), 1e-14)
    close(numbers(LINEAR.on(64).start(b)), numbers(b))
    assert POISSON.on(63).start(b[:, :63]).abs().max() == 0


@pytest.mark.parametrize("problem", [LINEAR, POISSON, CHARBONNIER], ids=["linear", "poisson", "charbonnier"])
def test_full_multigrid_is_a_cycle_on_every_grid_from_the_coarsest_one(problem):
    network, N = build(problem, randomness=0.05), 64 - (not problem.screened)
    grid, sides = problem.on(N), [right_hand_sides(N)[0]]
    grids = [grid]
    while grids[-1].coarsens:
        sides.append(restriction(grids[-1].N, grid.ends) @ sides[-1])
        grids.append(grids[-1].coarser)
    x = problem.screened * sides[-1]
    for own, b in zip(reversed(grids), reversed(sides), strict=True):
        x = x if own is grids[-1] else prolongation(own.N, own.ends) @ x
        x = dense_cycle(network, x, b, own.N, own.h, "V")
    close(numbers(network.full_multigrid(torched(sides[0])[None]))[0], x, 1e-11)
    with pytest.raises(InvalidParameterError, match=r"shape and dtype of b"):
        network.full_multigrid(torched(sides[0]))


def test_a_cycle_for_another_problem_than_that_of_the_architecture():
    network, (x, b) = build(CHARBONNIER), torched(right_hand_sides(64))[:, None]
    other = replace(CHARBONNIER, tau=100.0)
    expected = build(other)
    close(numbers(network.cycle(x, b, other.on(64))), numbers(expected.cycle(x, b)))
    assert (network.cycle(x, b, other.on(64)) - network.cycle(x, b)).abs().max() > 1e-3


@pytest.mark.parametrize("arguments", [*ARCHITECTURES.values(), *ABLATIONS.values()], ids=[*ARCHITECTURES, *ABLATIONS])
def test_stacked_networks_are_single_ones(arguments):
    nets = [build(CHARBONNIER, seed, **arguments) for seed in range(3)]
    stacked = networks.stack(nets)
    b = torched(right_hand_sides(36, 6)).view(3, 2, 36)
    y = stacked(b)
    for index, network in enumerate(nets):
        close(numbers(y[index]), numbers(network(b[index])), 1e-13)
        again = networks.unstack(stacked, index)
        close(numbers(again(b[index])), numbers(network(b[index])), 1e-15)


def test_fresh_weights_depend_on_the_seed_alone():
    first, again, other = (CycleArchitecture(problem=LINEAR).build(seed).weights.W for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cycles": 0}, "cycles: got 0, expected .*at least 1"),
        ({"sweeps": True}, "sweeps: got True, expected .*integer"),
        ({"filters": -1}, "filters: got -1, expected .*at least 0"),
        ({"kernel_size": 2.5}, "kernel_size: got 2.5, expected .*integer"),
        ({"kind": "X"}, "kind: got 'X', expected one of F, V, W"),
        ({"transfers": "tide"}, "transfers: got 'tide', .* Did you mean 'tied'"),
        ({"skip": "none"}, "skip: got 'none', expected one of additive, concatenated"),
        ({"coarse_side": "rectified"}, "coarse_side: got 'rectified', expected one of fas, restricted"),
        ({"flux": "learned"}, "flux: got 'learned', expected .*without weights"),
        ({"flux": "nothing"}, "nothing"),
    ],
)
def test_architectures_that_are_not_possible(arguments, message):
    with pytest.raises((InvalidParameterError, UnknownNameError), match=message):
        CycleArchitecture(problem=LINEAR, **arguments)


def test_signals_that_do_not_fit_are_refused():
    network = CycleArchitecture(problem=LINEAR).build()
    stacked = networks.stack([network, network])
    b = torch.rand(2, 16)
    for net, wrong in (
        (network, b[0]),
        (network, b.double()),
        (network, b.expand(2, 2, 2, 16)),
        (stacked, b),
        (stacked, b.expand(3, 2, 16)),
    ):
        for call in (net, net.full_multigrid, lambda b, net=net: net.cycle(b, b)):
            with pytest.raises(InvalidParameterError, match=r"shape and dtype of b: .*batch, N"):
                call(wrong)
    for wrong in (b[:1], b.double()):
        with pytest.raises(InvalidParameterError, match=r"shape and dtype of x: .* those of b"):
            network.cycle(wrong, b)
    b[0, 3] = math.nan
    for call in (network, network.full_multigrid, lambda b: network.cycle(torch.rand(2, 16), b)):
        with pytest.raises(InvalidParameterError, match=r"a value of b: got nan, expected .*finite"):
            call(b)
    b[0, 3] = 0
    for call in (network.full_multigrid, lambda b, grid: network.cycle(b, b, grid)):
        with pytest.raises(InvalidParameterError, match=r"points of the grid: got 32, expected .*16, as b has"):
            call(b, LINEAR.on(32))


# Certificates


def test_certificates_that_would_be_false_are_refused():
    network = build(LINEAR)
    for grid, message in (
        (CHARBONNIER.on(64), "flux of the grid: got 'charbonnier', expected .*linear"),
        (LINEAR.on(32), "length: got 64, expected .*32, the points of the grid"),
    ):
        with pytest.raises(InvalidParameterError, match=message):
            certify(network, 64, grid)


def test_grids_that_do_not_fit_are_refused():
    network, b = build(LINEAR), torched(right_hand_sides(64))
    with pytest.raises(InvalidParameterError, match=r"points of the grid: got 32, expected .*64, as b has"):
        network.cycle(b, b, LINEAR.on(32))
    for length in (0, 64.0, "64", True):
        with pytest.raises(InvalidParameterError, match=r"length: got .* an integer of at least 1"):
            LINEAR.on(length)
    assert Problem(tau=1.0, screened=False, extent=1.0).on(63).h == 1 / 64
    assert CycleArchitecture(problem=Problem(tau=1.0, screened=False, extent=1.0)).count().total == 25


class Layered(Grid):
    """A(x) = x + τKᵀ(aKx), where a jumps."""

    @property
    def a(self):
        return 1 + 19 * (self.h * torch.arange(1, self.N, dtype=torch.float64) // 8 % 2)

    def __call__(self, x):
        return x + self.problem.tau * self.K_adjoint(self.a * self.K(x))

    def smoothing(self, x, b):
        a = torch.nn.functional.pad(self.a, (1, 1))
        return b - self(x), 1 + self.problem.tau / self.h**2 * (a[:-1] + a[1:])


@pytest.mark.parametrize("N", [32, 64])
def test_an_operator_of_another_kind_is_solved_on_all_levels(N, monkeypatch):
    """Compiled sweeps, which know nothing of it, are not taken, and coarser grids have the same operator."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "fused")
    problem = Problem(tau=10.0, extent=64.0)
    grid = Layered(problem, N, 64 / N)
    assert type(grid.coarser) is Layered
    K = (np.eye(N, k=1) - np.eye(N))[:-1] * N / 64
    A = np.eye(N) + 10 * K.T @ np.diag(numbers(grid.a)) @ K
    b = torched(right_hand_sides(N))
    close(numbers(grid(b)), numbers(b) @ A)
    close(numbers(grid.smoothing(b, b)[1]), np.diag(A))
    network = CycleArchitecture(problem=problem, filters=0, sweeps=2).build().double()
    found = iterate(partial(network.cycle, grid=grid), grid, b, b)
    close(numbers(found.x), np.linalg.solve(A, numbers(b).T).T, 1e-7)
    with pytest.raises(InvalidParameterError, match=r"grid: got 'Layered'.*Grid itself"):
        certify(network, N, grid)
    for what in (lambda: grid.solve(numbers(b)[0]), lambda: grid.energy(b, b), lambda: grid.unique):
        with pytest.raises(InvalidParameterError, match=r"of: got 'Layered'.*Grid itself"):
            what()


@pytest.mark.slow
@pytest.mark.parametrize("problem", [LINEAR, replace(LINEAR, order=2), POISSON], ids=["1", "2", "poisson"])
@pytest.mark.parametrize(
    "arguments", [{"kind": "V"}, {"kind": "W"}, {"kind": "F", "transfers": "fixed"}, {"sweeps": 2}]
)
def test_the_certificate_is_the_reduction_in_the_long_run_and_the_energy_norm_bounds_every_cycle(problem, arguments):
    """By iterating the network on an error, A x = 0."""
    network = build(problem, randomness=0.05, **arguments)
    N = 16 - (not problem.screened)
    certificate = certify(network, N)
    assert certificate.radius == pytest.approx(certificate.radius_dense, abs=1e-10)
    assert certificate.holds == (certificate.radius < 1)
    K = dense_K(problem, N, problem.on(N).h)
    A = problem.sigma * np.eye(N) + problem.tau * K.T @ K
    e, reductions, energies = right_hand_sides(N)[0], [], []
    for _ in range(120):
        after = applied(network, e, 0 * e)
        reductions.append(np.linalg.norm(after) / np.linalg.norm(e))
        energies.append(math.sqrt((after @ A @ after) / (e @ A @ e)))
        e = after / np.linalg.norm(after)
    # the geometric mean, as eigenvalues may be complex
    assert np.exp(np.mean(np.log(reductions[-60:]))) == pytest.approx(certificate.radius, rel=0.02)
    assert max(energies) <= certificate.energy_norm * (1 + 1e-9)
    assert certificate.radius <= certificate.energy_norm * (1 + 1e-9)


def test_the_energy_norm_is_attained():
    network = build(LINEAR, randomness=0.05)
    K = dense_K(LINEAR, 16, 4.0)
    A = np.eye(16) + LINEAR.tau * K.T @ K
    root = np.linalg.cholesky(A).T
    M = np.stack([applied(network, e, 0 * e) for e in np.eye(16)], axis=1)
    assert certify(network, 16).energy_norm == pytest.approx(
        np.linalg.norm(root @ M @ np.linalg.inv(root), 2), rel=1e-9
    )


def test_textbook_cycles_converge_on_every_grid_and_bad_weights_do_not():
    for problem in (LINEAR, POISSON):
        for N in (16, 64, 256):
            certificate = certify(textbook(problem), N - (not problem.screened))
            assert certificate.holds
            assert certificate.radius < 0.3
    network = textbook(POISSON)
    network.weights.omega = torch.full((2,), 2.5, dtype=torch.float64)
    certificate = certify(network, 63)
    assert not certificate.holds
    assert certificate.radius > 1
    assert certificate.radius == pytest.approx(certificate.radius_dense, rel=1e-8)


def test_a_certificate_holds_only_if_both_computations_agree():
    certificate = certify(textbook(LINEAR), 16)
    assert certificate.holds
    assert not replace(certificate, radius=certificate.radius + 1e-6).holds


def test_a_certificate_for_another_problem_than_that_of_the_architecture():
    other = replace(LINEAR, tau=1000.0).on(32)
    certificate = certify(textbook(LINEAR), 32, other)
    assert certificate.radius == pytest.approx(certify(textbook(replace(LINEAR, tau=1000.0)), 32).radius, rel=1e-12)
    assert certificate.radius != pytest.approx(certify(textbook(LINEAR), 32).radius, rel=1e-3)


@pytest.mark.parametrize(
    ("problem", "arguments"),
    [
        (CHARBONNIER, {}),
        (LINEAR, {"flux": "relu"}),
        (LINEAR, {"coarse_side": "restricted"}),
        (LINEAR, {"skip": "concatenated"}),
    ],
)
def test_what_has_no_certificate(problem, arguments):
    assert not build(problem, **arguments).architecture.linear
    with pytest.raises(InvalidParameterError, match=r"architecture: got .* a linear problem, a linear Ψ"):
        certify(build(problem, **arguments), 16)


def test_what_is_for_another_kind_of_network_says_so():
    cycle, other = build(), networks.build("multigrid_unet", blocks=1, filters=1, kernel_size=2, flux="linear")
    with pytest.raises(
        InvalidParameterError, match=r"network: got 'CycleNetwork', expected .*schemenets.multigrid.certify"
    ):
        stability.certify(cycle)
    with pytest.raises(
        InvalidParameterError, match=r"network: got 'MultigridUNet', expected .*schemenets.stability.certify"
    ):
        certify(other, 64)


def test_an_operator_refuses_signals_of_other_grids():
    for grid in (LINEAR.on(16), LINEAR.on(16).coarser):
        for apply in (grid, lambda x, grid=grid: grid.smoothing(x, x), lambda x, grid=grid: grid.energy(x, x)):
            with pytest.raises(
                InvalidParameterError, match=rf"points of x: got 9, expected .*{grid.N}, those of the grid"
            ):
                apply(torch.rand(2, 9))
