"""What the study measures of iterated networks, against dense matrices."""

import math

import numpy as np
import pytest
import torch
from multigrid_unets import network, right_hand_sides, values

from schemenets import networks
from schemenets.multigrid import CycleArchitecture, LearnedEquation, Problem, certify, iterate
from schemenets.multigrid.data import Condition
from schemenets.networks import Architecture
from schemenets.study.measurements import solving
from schemenets.study.measurements.solving import by_scheme, iterated, kinds_iterated, local_radius

PROBLEM = Problem(tau=20.0, flux="charbonnier", contrast=0.05, extent=32.0)


@pytest.fixture(autouse=True)
def plain_operations(monkeypatch):
    """Compiling takes longer than all of these tests, and compiled cycles have tests of their own."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def cycles(**arguments):
    generator, architecture = torch.Generator().manual_seed(1), CycleArchitecture(problem=PROBLEM, **arguments)
    nets = [architecture.build(seed).double() for seed in range(2)]
    for net in nets:
        with torch.no_grad():
            for weight in net.parameters():
                weight += 0.02 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return nets


def home(problem=PROBLEM):
    return Condition("home", "piecewise_affine", problem.on(32))


def solved(grid):
    b = right_hand_sides(grid.N)
    return b, torch.from_numpy(np.stack([grid.solve(row) for row in b.numpy()]))


@pytest.mark.parametrize(("arguments", "consistent"), [({}, True), ({"coarse_side": "restricted"}, False)])
def test_what_cycles_do_to_solutions(arguments, consistent):
    nets, grid = cycles(**arguments), home().grid
    b, x = solved(grid)
    found = iterated(networks.stack(nets), nets, home(), b, x)
    for index, net in enumerate(nets):
        with torch.no_grad():
            moved = max(((net.cycle(v[None], r[None]) - v).norm() / v.norm()).item() for r, v in zip(b, x, strict=True))
        assert found["moved"][index] == pytest.approx(moved, rel=1e-6, abs=1e-12)
        assert (moved < 1e-10) == consistent
        alone = iterate(net.cycle, grid, b, b, solving.TOLERANCE, solving.LIMIT)
        assert found["factor"][index] == pytest.approx(alone.factor.max().item(), rel=1e-6)
        derivative = torch.autograd.functional.jacobian(lambda v, net=net: net.cycle(v[None], b[:1])[0], x[0])
        radius = torch.linalg.eigvals(derivative).abs().max().item() if consistent else math.nan
        assert found["local_radius"][index] == pytest.approx(radius, rel=1e-6, nan_ok=True)
    assert np.isnan(found["own_error"]).all()


def test_the_local_radius_of_a_linear_problem_is_that_of_its_certificate():
    problem = Problem(tau=20.0, extent=32.0)
    net = CycleArchitecture(problem=problem).build().double()
    b, x = solved(problem.on(32))
    radius = local_radius(net.cycle, b[:1], x[:1])
    assert radius == pytest.approx(certify(net, 32).radius_dense, rel=1e-8)
    assert 0.05 < radius < 1


def test_there_is_no_local_radius_of_many_points_or_without_a_solution(monkeypatch):
    net = network()
    b, x = solved(home().grid)
    assert np.isnan(local_radius(net.cycle, b[:1], torch.full_like(x[:1], torch.nan)))
    monkeypatch.setattr(solving, "CERTIFIED", 31)
    assert np.isnan(iterated(networks.stack([net]), [net], home(), b, x)["local_radius"]).all()


@pytest.mark.parametrize("error", [0, 1e-3])
def test_how_far_solutions_are_moved_does_not_depend_on_how_well_they_solve(monkeypatch, error):
    exact = LearnedEquation.solve
    monkeypatch.setattr(LearnedEquation, "solve", lambda self, b: exact(self, b) * (1 + error))
    net = network()
    b, x = solved(home().grid)
    (moved,) = iterated(networks.stack([net]), [net], home(), b, x)["moved"]
    assert moved < 1e-14


def test_what_multigrid_networks_do_to_solutions_of_their_own_equations():
    nets = [network(seed=seed) for seed in range(2)]
    b, x = solved(home().grid)
    found = iterated(networks.stack(nets), nets, home(), b, x)
    assert set(found) == {"converged", "iterations", "factor", "moved", "local_radius", "own_error", "from_fas"}
    assert {len(each) for each in found.values()} == {2}
    assert (found["moved"] < 1e-10).all()
    assert (found["from_fas"] < 1e-12).all()
    for index, net in enumerate(nets):
        own = torch.stack([limit(net.blocks[-1], row) for row in b])
        error = ((own - x).norm(dim=-1) / x.norm(dim=-1)).mean().item()
        assert found["own_error"][index] == pytest.approx(error, rel=1e-6)
        # what an iteration does to the error in the long run
        assert found["local_radius"][index] == pytest.approx(found["factor"][index], rel=0.2)
        assert error > 0.01
        # one cycle after the other, until the residual of the network's own equation is small
        y, taken = b, 0
        while max(relative_residuals(net.blocks[-1], y, b)) > solving.TOLERANCE:
            with torch.no_grad():
                y, taken = net.cycle(y, b), taken + 1
        assert found["iterations"][index] == taken
        assert found["converged"][index] == 1
        torch.testing.assert_close(y, own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("points", [64, 36, 25])
@pytest.mark.parametrize("flux", ["charbonnier", "perona_malik", "relu"])
def test_the_cycle_of_a_multigrid_network_is_that_of_the_numpy_scheme(flux, points):
    net, b, generator = network(flux, seed=4), right_hand_sides(points), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():  # transfers, dampings and scalings as well
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for row in b:
            scheme = by_scheme(LearnedEquation(net.blocks[-1], points), row.numpy())
            assert np.abs(scheme - row.numpy()).max() > 1e-3
            np.testing.assert_allclose(net.cycle(row[None], row[None])[0], scheme, rtol=0, atol=1e-12)


def relative_residuals(block, y, b):
    return [(values(block, v) - r).norm() / r.norm() for v, r in zip(y, b, strict=True)]


def limit(block, b):
    """The solution, by damped steps with dense matrices that contract as the flux is monotone."""
    u = b
    for _ in range(3000):
        residual = values(block, u) - b
        if residual.norm() <= 1e-10 * b.norm():
            return u
        u = u - 0.3 * residual
    raise AssertionError("not converged")


def test_no_error_where_solutions_need_not_be_unique():
    problem = Problem(tau=20.0, flux="perona_malik", contrast=0.05, extent=32.0)
    nets = [network()]
    b, x = solved(problem.on(32))
    found = iterated(networks.stack(nets), nets, home(problem), b, x)
    assert np.isnan(found["own_error"]).all()
    assert (found["moved"] < 1e-10).all()


def test_equations_that_cannot_be_solved_have_no_values(monkeypatch):
    def refuse(self, b):
        raise solving.InvalidParameterError("tolerance", 0, "more")

    monkeypatch.setattr(LearnedEquation, "solve", refuse)
    nets = [network()]
    found = iterated(networks.stack(nets), nets, home(), *solved(home().grid))
    assert np.isnan([found["moved"], found["own_error"]]).all()
    assert found["converged"] == 1


def test_who_is_iterated_and_where():
    unet = networks.build(**Architecture(name="unet", blocks=2, filters=1, kernel_size=3, flux="relu").arguments())
    assert kinds_iterated(cycles()[0]) == ("home", "finer", "tau")
    assert kinds_iterated(cycles(coarse_side="restricted")[0]) == ("home",)
    assert kinds_iterated(network()) == ("home", "longer")
    assert kinds_iterated(unet) == ()
