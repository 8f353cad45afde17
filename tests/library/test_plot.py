"""The figure of fluxes, and the ranges of the arguments that fluxes take in networks."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from dense import correlation_matrix
from matplotlib import rc_context

from schemenets import fluxes, networks
from schemenets.errors import UnknownNameError


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


SMALL = {"blocks": 3, "filters": 4, "kernel_size": 5}


def trained(name="symmetric", flux="learned", **arguments):
    """A network with weights that no initialisation gives, and signals for it."""
    net = networks.build(name, flux=flux, **SMALL, **arguments).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net, torch.rand((3, 40), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("flux", ["learned", "perona_malik", "relu"])
def test_responses_are_the_largest_of_all_places_signals_and_applications(flux, tied):
    net, f = trained(flux=flux, tied=tied)
    found = fluxes.responses(net, f)
    assert [x.layer for x in found] == [f"blocks.{index}" for index in range(1 if tied else 3)]
    u, largest = f, []
    for index, block in enumerate(net.applied, start=1):
        s = u.numpy() @ correlation_matrix(block.K.detach().numpy(), 40).T
        largest.append(np.abs(s.reshape(3, 4, 36)).max((0, 2)))
        net.architecture = replace(net.architecture, blocks=index)
        u = net(f).detach()
    expected = [np.max(largest, 0)] if tied else largest
    for x, block, s_max in zip(found, net.blocks, expected, strict=True):
        assert x.flux == block.flux
        np.testing.assert_allclose(x.s_max.numpy(), s_max, rtol=1e-12)
        for name in ("lam", "w"):
            assert getattr(x, name) is getattr(block, name) or torch.equal(getattr(x, name), getattr(block, name))


@pytest.mark.parametrize("name", networks.available())
def test_every_network_has_responses_and_is_left_as_it_was(name):
    net, f = trained(name)
    before, after = net(f), [fluxes.responses(net, f), net(f)][1]
    assert torch.equal(before, after)
    for x in fluxes.responses(net, f):
        assert x.s_max.shape == x.lam.shape == x.w.shape[:1]
        assert (x.s_max > 0).all()


def test_curves_are_the_functions():
    fab, responses = fluxes.get("fab", kappa=1.5), fluxes.responses(*trained(flux="perona_malik"))[:2]
    arguments = [(flux, 1.0, 4.0) for flux in (fluxes.get("charbonnier"), fab, fluxes.get("learned"))]
    arguments += [(x.flux, *row) for x in responses for row in zip(x.lam.tolist(), x.s_max.tolist(), strict=True)]
    figure = fluxes.plot(["charbonnier", fab, "learned", *responses])
    g, phi, psi = figure.axes
    assert len(phi.lines) == len(arguments)
    for (flux, lam, s_max), *lines in zip(arguments, g.lines, phi.lines, psi.lines, strict=True):
        s = torch.from_numpy(lines[0].get_xdata())
        assert s.max().item() == pytest.approx(s_max)
        w = torch.tensor(flux.initial, dtype=torch.float64) if flux.weights else None
        values = [line.get_ydata() for line in lines]
        np.testing.assert_allclose(values[1], flux(s, lam, w), rtol=1e-12)
        np.testing.assert_allclose(values[0] * s.numpy(), values[1], rtol=1e-12)
        np.testing.assert_allclose(np.gradient(values[2], s.numpy())[1:-1], 2 * values[1][1:-1], atol=0.02 * s_max)


def test_curves_are_told_apart_without_colour_and_all_stay_legible():
    figure = fluxes.plot(fluxes.available())
    figure.draw_without_rendering()
    lines = figure.axes[0].lines
    assert len({line._unscaled_dash_pattern[1] for line in lines}) == 8
    assert len({(line._unscaled_dash_pattern[1], line.get_color()) for line in lines}) == len(lines)
    assert figure.axes[0].get_ylim()[1] < 3  # although regularised TV has g = 100 at 0
    assert len(figure.legends[0].get_texts()) == len(lines)
    boxes = [artist.get_window_extent() for artist in (*figure.axes, *figure.legends)]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(("kind", "metadata"), [("png", {"Software": None}), ("svg", {"Date": None})])
def test_saved_figures_do_not_depend_on_settings(kind, metadata):
    def saved(**options):
        file = io.BytesIO()
        fluxes.plot(["linear", "perona_malik"]).savefig(file, format=kind, metadata=metadata, **options)
        return file.getvalue()

    expected = saved()
    settings = {"savefig.dpi": 40, "savefig.facecolor": "red", "savefig.bbox": "tight", "savefig.transparent": True}
    with rc_context({**settings, "svg.fonttype": "none", "font.family": "serif", "lines.linewidth": 5}):
        assert saved() == expected
        assert saved(facecolor="red") != expected


def test_names_and_missing_packages_are_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'perona_malik'"):
        fluxes.plot(["perona_malk"])
    program = "import sys; sys.modules['matplotlib'] = None; from schemenets import fluxes; fluxes.plot(['linear'])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: fluxes.plot needs" in result.stderr
    assert "install schemenets[study]" in result.stderr
