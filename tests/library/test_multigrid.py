"""Linear multigrid, the nonlinear full approximation scheme and the network of both.

The schemes are compared with direct solvers and textbook factors, the network with the schemes.
"""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from dense import correlation_matrix

from schemenets import fluxes, networks
from schemenets.errors import InvalidParameterError
from schemenets.kernels.reference import prolong, restrict
from schemenets.operators import derivative, poisson, prolongation, restriction
from schemenets.schemes import Diffusion, fas, implicit, multigrid
from schemenets.schemes.multigrid import CYCLES, cycle, full_multigrid, hierarchy


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def error_matrix(levels, **options):
    """Dense matrix that one cycle multiplies the error by, column by column."""
    N = levels[0].A.shape[0]
    return np.stack([cycle(levels, np.zeros(N), e, **options) for e in np.eye(N)], axis=1)


def spectral_radius(M):
    return np.abs(np.linalg.eigvals(M)).max()


def helmholtz(N, tau):
    K = derivative(N)
    return sp.csr_array(sp.eye_array(N) + tau * K.T @ K)


@pytest.mark.parametrize("sweeps", [(1, 1), (2, 0), (0, 2)])
@pytest.mark.parametrize("N", [31, 63])
def test_two_grid_factor_for_poisson_is_one_ninth_per_two_sweeps(N, sweeps):
    factor = spectral_radius(error_matrix(hierarchy(poisson(N), 2), sweeps=sweeps))
    assert factor == pytest.approx(1 / 9, rel=1e-6)


def test_two_grid_cycle_is_the_formula():
    """S (I - P A_c⁻¹ R A) S with S = I - ωD⁻¹A, assembled from dense matrices."""
    N = 15
    A = 2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1)
    P = np.array([[max(0, 1 - abs(i - 2 * j - 1) / 2) for j in range(N // 2)] for i in range(N)])
    coarse = P.T @ A @ P / 2
    S = np.eye(N) - 2 / 3 * A / 2
    expected = S @ (np.eye(N) - P @ np.linalg.solve(coarse, P.T @ A / 2)) @ S
    np.testing.assert_allclose(error_matrix(hierarchy(poisson(N), 2)), expected, atol=1e-13)


@pytest.mark.parametrize("kind", CYCLES)
def test_convergence_does_not_depend_on_the_grid(kind):
    bound = 0.2 if kind == "V" else 0.12
    for levels in (3, 4, 5, 6):
        assert spectral_radius(error_matrix(hierarchy(poisson(2 ** (levels + 1) - 1), levels), kind=kind)) < bound


@pytest.mark.parametrize("tau", [1.0, 100.0, 1e4])
def test_implicit_diffusion_with_reflecting_ends(tau):
    assert spectral_radius(error_matrix(hierarchy(helmholtz(64, tau), 5, "reflecting"))) < 0.12


@pytest.mark.parametrize("kind", CYCLES)
def test_the_solution_is_a_fixed_point_and_the_limit(kind):
    rng = np.random.default_rng(0)
    for A, ends in ((poisson(63, 1 / 64), "dirichlet"), (helmholtz(64, 30.0), "reflecting")):
        b = rng.standard_normal(A.shape[0])
        exact = np.linalg.solve(A.toarray(), b)
        levels = hierarchy(A, 4, ends)
        np.testing.assert_allclose(cycle(levels, b, exact, kind), exact, rtol=0, atol=1e-12 * np.abs(exact).max())
        x = np.zeros_like(b)
        for _ in range(25):
            x = cycle(levels, b, x, kind)
        np.testing.assert_allclose(x, exact, rtol=0, atol=1e-11 * np.abs(exact).max())


def test_cycles_visit_the_coarsest_grid_as_often_as_their_names_say(monkeypatch):
    visits = []
    monkeypatch.setattr(multigrid, "solve_spd", lambda A, b: visits.append(1) or 0 * b)
    levels = hierarchy(poisson(63), 5)
    for kind, expected in {"V": 1, "W": 2**4, "F": 5}.items():
        visits.clear()
        cycle(levels, np.ones(63), np.zeros(63), kind)
        assert len(visits) == expected


def test_an_f_cycle_climbs_one_grid_higher_from_each_visit_of_the_coarsest():
    visited = []

    def visit(A, b, x, omega=None):
        visited.append(A.shape[0])
        return x

    cycle(hierarchy(poisson(31), 4), np.ones(31), np.zeros(31), "F", smoother=visit, coarsest=visit)
    assert visited == [31, 15, 7, 3, 3, 7, 7, 3, 7, 15, 15, 7, 3, 7, 15, 31]


def test_full_multigrid_reaches_discretisation_error_in_one_pass():
    """-u'' = π² sin πx: the algebraic error is of the size of the discretisation error, on every grid."""
    for m in (4, 6, 8):
        N = 2**m - 1
        x = np.arange(1, N + 1) / (N + 1)
        A, b = poisson(N, 1 / (N + 1)), np.pi**2 * np.sin(np.pi * x)
        exact = np.linalg.solve(A.toarray(), b)
        levels = hierarchy(A, m - 1)
        discretisation = np.abs(exact - np.sin(np.pi * x)).max()
        assert np.abs(full_multigrid(levels, b) - exact).max() < 2 * discretisation
        assert np.abs(full_multigrid(levels, b, cycles=3) - exact).max() < 0.1 * discretisation


def fas_levels(flux, levels=6, N=128, lam=0.1):
    return fas.hierarchy(lambda n, h: Diffusion(derivative(n, h=h), fluxes.get(flux), lam), N, levels)


def right_hand_side(N=128):
    return np.cumsum(np.random.default_rng(1).standard_normal(N)) * 0.1


@pytest.mark.parametrize("flux", ["linear", "charbonnier", "perona_malik"])
@pytest.mark.parametrize("tau", [1.0, 30.0])
def test_the_solution_is_a_fixed_point_of_fas(flux, tau):
    levels, b = fas_levels(flux), right_hand_side()
    exact = implicit.newton(b, levels[0].A, tau)
    np.testing.assert_allclose(fas.cycle(levels, b, exact, tau), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "broken",
    [lambda b: np.maximum(b, 0), lambda b: (b - b.mean()) / b.std()],
    ids=["rectified", "normalised"],
)
def test_touching_the_coarse_right_hand_side_loses_the_solution(broken):
    levels, b = fas_levels("charbonnier"), right_hand_side()
    exact = implicit.newton(b, levels[0].A, 30.0)
    after = fas.cycle(levels, b, exact, 30.0, coarse_side=broken)
    assert np.linalg.norm(after - exact) > 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize(("flux", "factor"), [("linear", 0.3), ("charbonnier", 0.4)])
@pytest.mark.parametrize("tau", [1.0, 30.0, 1000.0])
def test_fas_converges(flux, factor, tau):
    levels, b = fas_levels(flux), right_hand_side()
    exact = implicit.newton(b, levels[0].A, tau)
    errors, x = [], b
    for _ in range(10):
        x = fas.cycle(levels, b, x, tau)
        errors.append(np.linalg.norm(x - exact))
    assert (errors[-1] / errors[2]) ** (1 / 7) < factor


def test_fas_is_linear_multigrid_for_a_linear_problem():
    """Same smoother, transfers and (rediscretised) coarse operators: one cycle gives the same iterate."""
    tau, N = 5.0, 64
    levels = fas_levels("linear", levels=4, N=N)
    linear = [
        multigrid.Level(
            sp.csr_array(sp.eye_array(n) + tau * derivative(n, h=N / n).T @ derivative(n, h=N / n)), a.R, a.P
        )
        for a in levels
        for n in [a.R.shape[1]]
    ]
    b, x = right_hand_side(N), np.random.default_rng(2).standard_normal(N)
    np.testing.assert_allclose(fas.cycle(levels, b, x, tau), cycle(linear, b, x), rtol=0, atol=1e-12)


def textbook_network(flux, tau, blocks=1):
    """Forward differences as the only filter, scaling and damping to all digits; transfers are so from the start."""
    net = networks.build("multigrid_unet", blocks=blocks, filters=1, kernel_size=2, flux=flux, tied=True).double()
    (block,) = net.blocks
    block.K.data = torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64)
    block.tau, block.s, block.omega = (torch.tensor(x, dtype=torch.float64) for x in (tau, 0.5, [2 / 3] * 4))
    if block.lam is not None:
        block.lam = torch.tensor([0.1], dtype=torch.float64)
    return net


def random_network(flux, seed=0, **arguments):
    arguments = {"blocks": 3, "filters": 4, "kernel_size": 5, "flux": flux, **arguments}
    net = networks.build("multigrid_unet", **arguments, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def numbers(parameter):
    return parameter.detach().numpy()


def diffusion(block, N, mesh_width=1):
    """The block's operator on the grid with N points, as a dense matrix."""
    K = numbers(block.s) ** np.log2(mesh_width) * numbers(block.K)
    lam = 1.0 if block.lam is None else numbers(block.lam).repeat(N - K.shape[-1] + 1)
    return Diffusion(correlation_matrix(K, N), block.flux, lam)


def transfer(r, N):
    """R, row by row on the signal mirrored by one value."""
    R = np.zeros((N // 2, N + 2))
    for i in range(N // 2):
        R[i, 2 * i : 2 * i + 4] = r
    R[:, 1] += R[:, 0]
    R[:, -2] += R[:, -1]
    return R[:, 1:-1]


def smooth(x, b, A, tau, omega, squares):
    """One sweep of the network's smoother; ``squares`` is ‖K‖_F² on this level, by the number of its points."""
    return x + omega * implicit.residual(x, b, A, tau) / (1 + tau * A.flux.L * squares[x.size])


def fas_cycle(block, b, x, **options):
    """The block's cycle by the NumPy scheme, with dense matrices of its weights."""
    tau, omega, sizes = block.tau.item(), numbers(block.omega), [b.size]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= max(4, block.K.shape[-1]):
        sizes.append(sizes[-1] // 2)
    levels = []
    for N in sizes:
        R = transfer(numbers(block.r).ravel(), N - N % 2)
        levels.append(fas.Level(diffusion(block, N, b.size // N), R, block.c.item() * R.T))
    squares = {N: np.sum((block.s.item() ** level * numbers(block.K)) ** 2) for level, N in enumerate(sizes)}
    smoother = partial(smooth, squares=squares)

    def coarsest(x, b, A, tau):
        for damping in np.tile(omega, 2):
            x = smoother(x, b, A, tau, damping)
        return x

    return fas.cycle(levels, b, x, tau, (2, 2), omega, smoother=smoother, coarsest=coarsest, **options)


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(numbers(found), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("tau", [1.0, 30.0])
def test_the_textbook_network_is_linear_multigrid(tau):
    """Of the linear scheme with rediscretised operators; all sweeps on the coarsest grid twice."""
    N, omega = 64, 2 / 3
    levels = []
    for n in (64, 32, 16, 8, 4):
        K = derivative(n, h=N / n)
        R = restriction(n, "reflecting")
        levels.append(multigrid.Level(sp.csr_array(sp.eye_array(n) + tau * K.T @ K), R, prolongation(n, "reflecting")))

    def smoother(A, b, x, omega):
        return x + omega * (b - A @ x) / (1 + 2 * tau * (x.size / N) ** 2)

    def coarsest(A, b, x):
        for _ in range(8):
            x = smoother(A, b, x, omega)
        return x

    b = right_hand_side(N)
    expected = b
    for _ in range(3):
        expected = cycle(levels, b, expected, "V", (2, 2), omega, smoother, coarsest)
    close(textbook_network("linear", tau, blocks=3)(torch.from_numpy(b[None]))[0], expected)


@pytest.mark.parametrize("N", [64, 40, 31])
@pytest.mark.parametrize("flux", ["linear", "charbonnier", "perona_malik", "relu", "tv_regularised"])
def test_the_network_is_the_full_approximation_scheme(flux, N):
    b = right_hand_side(N)
    for net in (random_network(flux, seed) for seed in range(3)):
        x = b
        for block in net.blocks:
            x = fas_cycle(block, b, x)
        close(net(torch.from_numpy(b[None]))[0], x)


@pytest.mark.parametrize("flux", ["linear", "charbonnier", "perona_malik", "relu", "weickert", "tv_regularised"])
@pytest.mark.parametrize("N", [64, 36, 25])
def test_a_solution_is_a_fixed_point_of_the_network_whatever_its_weights(flux, N):
    net, b = random_network(flux), right_hand_side(N)
    for index, block in enumerate(net.blocks):
        exact = implicit.newton(b, diffusion(block, N), block.tau.item())
        after = net.cycle(torch.from_numpy(exact[None]), torch.from_numpy(b[None]), index)[0]
        close(after, exact, 1e-10)
        start = net.cycle(torch.from_numpy(b[None]), torch.from_numpy(b[None]), index)[0]
        assert np.abs(numbers(start) - b).max() > 1e-3


def test_a_rectified_coarse_right_hand_side_loses_the_solution_of_the_network():
    net, b = random_network("charbonnier"), right_hand_side()
    for block in net.blocks:
        exact = implicit.newton(b, diffusion(block, b.size), block.tau.item())
        np.testing.assert_allclose(fas_cycle(block, b, exact), exact, rtol=0, atol=1e-10)
        broken = fas_cycle(block, b, exact, coarse_side=lambda b: np.maximum(b, 0))
        assert np.abs(broken - exact).max() > 1e-4


@pytest.mark.parametrize(("flux", "factor"), [("linear", 0.14), ("charbonnier", 0.25)])
@pytest.mark.parametrize("tau", [1.0, 30.0])
def test_cycles_of_the_textbook_network_converge_at_a_rate_that_does_not_depend_on_the_grid(flux, factor, tau):
    net = textbook_network(flux, tau)
    for N in (64, 128, 256, 512, 1024):
        b = right_hand_side(N)
        exact, x, errors = implicit.newton(b, diffusion(net.blocks[0], N), tau), b, []
        for _ in range(6):
            x = numbers(net.cycle(torch.from_numpy(x[None]), torch.from_numpy(b[None])))[0]
            errors.append(np.linalg.norm(x - exact))
        assert (errors[-1] / errors[1]) ** (1 / 4) < factor


@pytest.mark.parametrize("N", [8, 34])
def test_transfers_of_the_network_are_transposes_and_the_textbook_ones_at_first(N):
    eye = torch.eye(N, dtype=torch.float64)
    (block,) = networks.build("multigrid_unet", blocks=1, filters=1, kernel_size=2, flux="linear").double().blocks
    r = torch.randn(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for stencil, expected in ((r, transfer(r.numpy(), N)), (block.r[0, 0], restriction(N, "reflecting").toarray())):
        np.testing.assert_allclose(numbers(restrict(eye, stencil)).T, expected, rtol=0, atol=1e-15)
        np.testing.assert_allclose(numbers(prolong(eye[: N // 2, : N // 2], stencil, N)), expected, rtol=0, atol=1e-15)
    assert block.c == 2


def test_misuse_is_named():
    for levels in (0, -1):
        with pytest.raises(InvalidParameterError, match="levels"):
            hierarchy(poisson(15), levels)
        with pytest.raises(InvalidParameterError, match="levels"):
            fas_levels("linear", levels=levels)
    with pytest.raises(InvalidParameterError, match="kind"):
        cycle(hierarchy(poisson(15), 2), np.ones(15), np.zeros(15), kind="X")
    with pytest.raises(InvalidParameterError, match="length"):
        hierarchy(poisson(15), 4)
    with pytest.raises(InvalidParameterError, match="length"):
        fas_levels("linear", levels=4, N=36)
