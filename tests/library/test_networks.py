"""Every registered architecture keeps the contract; networks are the schemes that they come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dense import correlation_matrix
from torch.nn import functional

from schemenets import checkpoints, fluxes, networks, operators
from schemenets.errors import InvalidParameterError, UnknownNameError
from schemenets.networks import Architecture
from schemenets.networks.implicit import conjugate_gradients
from schemenets.schemes import (
    Diffusion,
    du_fort_frankel,
    explicit,
    fsi,
    implicit,
    safeguarded_du_fort_frankel,
    safeguarded_fsi,
)

VARIANTS = [
    {"name": name, "flux": flux, "channels": channels, "tied": tied, "certified": certified}
    for name in networks.available()
    for flux in fluxes.available()
    for channels in (1, 3)
    for tied in (False, True)
    for certified in (False, True)
    if flux in ("relu", "perona_malik")
    or (channels, tied) == (1, False)  # what it acts on makes no difference to a flux
]
SWITCHES = [
    {"name": name, "flux": "perona_malik", "channels": channels, "tied": tied, "certified": False, **switch}
    for name in networks.available()
    for channels, tied in ((1, False), (1, True), (3, False))
    for switch in ({"biases": True}, {"biases": False}, {"steps": "signed"}, {"biases": True, "steps": "signed"})
    if networks.Architecture(name=name, blocks=1, filters=1, kernel_size=1, flux="relu").biased != switch.get("biases")
]


def possible(variant):
    try:
        Architecture(**variant, blocks=1, filters=1, kernel_size=1).check()
    except InvalidParameterError:
        return False
    return True


USUAL = [variant for variant in VARIANTS if possible(variant)]
SWITCHED = [variant for variant in SWITCHES if possible(variant)]
POSSIBLE = USUAL + SWITCHED


def each(variants):
    return pytest.mark.parametrize("variant", variants, ids=lambda v: "-".join(map(str, v.values())))


each_variant = each(POSSIBLE)
SMALL = {"blocks": 3, "filters": 4, "kernel_size": 5}
LOCAL = [name for name in networks.available() if networks.build(name, flux="linear", **SMALL).reach(9_999) < 9_999]
each_device = pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    """Compiling the fused kernel for every flux takes minutes; test_kernels.py compares the two."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def randomised(net, seed=0, scale=0.3):
    """The network in float64 with all parameters moved away from their initial values."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def signals(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_device
@each_variant
def test_shapes_and_dtypes_of_any_length(variant, device):
    net = networks.build(**variant, **SMALL).to(device)
    for length in (5, 6, 64, 99):
        for dtype in (torch.float32, torch.float64):
            u = signals(2, length).to(device, dtype)
            out = net.to(dtype)(u)
            assert (out.shape, out.dtype, out.device) == (u.shape, u.dtype, u.device)
            assert out.isfinite().all()


@each_device
@each_variant
def test_all_parameters_have_finite_gradients(variant, device):
    net = randomised(networks.build(**variant, **SMALL)).float().to(device)
    net(signals(3, 32).to(device, torch.float32)).square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad.isfinite().all()


@each_variant
def test_parameter_counts_equal_the_formula(variant):
    for blocks in (1, 4):
        architecture = Architecture(**variant, blocks=blocks, filters=3, kernel_size=4)
        net = networks.build(**variant, blocks=blocks, filters=3, kernel_size=4)
        assert architecture.count().total == sum(p.numel() for p in net.parameters())
        assert architecture.count().convolution == sum(p.numel() for p in net.parameters() if p.ndim == 3)


@each_variant
def test_seed_determines_initial_weights(variant):
    first, again, other = (networks.build(**variant, **SMALL, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("flux", ["relu", "perona_malik", "learned"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("initialisation", ["scaled", "glorot"])
def test_the_residual_network_starts_as_the_symmetric_one(flux, channels, initialisation):
    shape = {"flux": flux, "channels": channels, "initialisation": initialisation, "biases": True, **SMALL}
    resnet, symmetric = (networks.build(name, **shape, seed=2) for name in ("resnet", "symmetric"))
    for theirs, own in zip(resnet.blocks, symmetric.blocks, strict=True):
        torch.testing.assert_close(theirs.W1, own.K)
        torch.testing.assert_close(theirs.W2, -own.tau * own.K)
    u = signals(2, 40).float()
    torch.testing.assert_close(resnet(u), symmetric(u))


@pytest.mark.parametrize("initialisation", ["scaled", "glorot"])
def test_first_weights_have_the_usual_variances(initialisation):
    F, C, k, n = 64, 16, 9, 4
    shape = {"flux": "relu", "blocks": n, "filters": F, "channels": C, "kernel_size": k}
    net = networks.build("resnet", **shape, initialisation=initialisation)
    without_mean = 1 - 1 / k
    usual = {"scaled": (without_mean * 2 / (C * k), without_mean * 2 / (F * k) / n**2)}
    for W, variance in zip(("W1", "W2"), usual.get(initialisation, [2 / ((F + C) * k)] * 2), strict=True):
        measured = torch.stack([getattr(block, W) for block in net.blocks]).square().mean().item()
        assert measured == pytest.approx(variance, rel=0.03)  # of 36,864 numbers


@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize(
    ("name", "flux"),
    [
        ("symmetric", "learned"),
        ("du_fort_frankel", "learned"),
        ("implicit", "charbonnier"),
        ("safeguarded_fsi", "learned"),
        ("safeguarded_du_fort_frankel", "learned"),
    ],
)
def test_training_starts_at_the_same_values_with_and_without_constraints(name, flux, certified):
    """But for certified step sizes beyond half of the limit, and for Du Fort-Frankel steps with a ρ beyond 0.9."""
    net = networks.build(name, flux=flux, channels=3, certified=certified, **SMALL)
    torch.testing.assert_close(net.lift @ net.projection, torch.tensor(1.0))
    for block in net.blocks:
        normalised = name == "implicit" or (certified and name.endswith("frankel"))
        tau, half = 0.3 if normalised else (3 / 4) ** 0.5 / 3, 1 / operators.norm_bound(block.K).item() ** 2
        limited = certified and not normalised
        if name.endswith("frankel") and not certified:
            limited, half = True, 0.9 / (2 * block.alpha.item())
        torch.testing.assert_close(block.tau.item(), min(tau, half) if limited else tau, rtol=1e-5, atol=0)
        torch.testing.assert_close(block.lam, torch.full((4,), 0.1))
        if flux == "learned":
            torch.testing.assert_close(block.w, torch.tensor(fluxes.get(flux).initial).repeat(4, 1))


@each_variant
def test_checkpoints_keep_everything(variant, tmp_path):
    net = randomised(networks.build(**variant, **SMALL)).float()
    checkpoints.save(net, tmp_path / "net.safetensors")
    loaded = checkpoints.load(tmp_path / "net.safetensors")
    assert loaded.architecture == net.architecture
    u = signals(2, 32).float()
    assert torch.equal(loaded(u), net(u))


@each_variant
def test_signals_of_a_batch_do_not_touch_each_other(variant):
    net = randomised(networks.build(**variant, **SMALL))
    u = signals(4, 40)
    torch.testing.assert_close(net(u)[2:3], net(u[2:3]), rtol=1e-13, atol=1e-13)


@each([v for v in POSSIBLE if v["name"] in LOCAL])
def test_shifts_commute_with_the_network_away_from_the_ends(variant):
    net = randomised(networks.build(**variant, **SMALL))
    # 4 times an odd number, which makes three levels where the length determines their number
    length = next(N for N in range(84, 10_000, 8) if 2 * net.reach(N) + 20 * net.stride(N) < N)
    u, shift, reach = signals(1, length), 7 * net.stride(length), net.reach(length)
    shifted, inside = torch.roll(u, shift, dims=-1), slice(reach + shift, length - reach)
    torch.testing.assert_close(
        net(shifted)[:, inside], torch.roll(net(u), shift, dims=-1)[:, inside], rtol=1e-12, atol=1e-12
    )


def let_values_act_far(net):
    """Weights of a multigrid U-net, each of whose steps takes as much from its farthest values as it can."""
    for block in net.blocks:
        for name, value in (("tau", 100.0), ("s", 1.0), ("omega", [1.0] * 4)):
            setattr(block, name, torch.tensor(value, dtype=torch.float64))
        for name, value in (("K", [[[1.0, 0.0, 1.0]]]), ("r", [[[0.4, 0.1, 0.1, 0.4]]]), ("c", 1.0)):
            getattr(block, name).data = torch.tensor(value, dtype=torch.float64).expand_as(getattr(block, name)).clone()


@pytest.mark.parametrize("name", LOCAL)
def test_reach_is_how_far_an_input_value_acts(name):
    net = randomised(networks.build(name, flux="linear", **{**SMALL, "kernel_size": 3}))
    if name == "multigrid_unet":
        let_values_act_far(net)
    length = next(N for N in range(84, 10_000, 8) if 2 * net.reach(N) + 20 * net.stride(N) < N)
    u = signals(1, length).requires_grad_()
    distances = []
    for place in range(length // 2, length // 2 + net.stride(length)):
        (gradient,) = torch.autograd.grad(net(u)[0, place], u)
        # what cancels leaves 1e-16 of the derivatives around it, of which the farthest are 1e-18 themselves
        distances += [(x - place).abs() for x in (gradient[0].abs() > 1e-25).nonzero()]
    unused = 3 * (net.stride(length) - 1)  # where the grids of one block do not fit to those of the next
    assert net.reach(length) - unused <= max(distances) <= net.reach(length)


@pytest.mark.slow
@each_variant
def test_gradients(variant):
    net = randomised(networks.build(**variant, blocks=2, filters=2, kernel_size=3))
    names, values = zip(*net.named_parameters(), strict=True)

    def output(u, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), u)

    # comparing every single derivative takes long: chains of blocks with one channel and weights of their own will do
    fast = variant["tied"] or variant["channels"] > 1 or variant["name"] in ("unet", "multigrid_unet")
    u = signals(2, 8).requires_grad_()  # long enough for the multigrid network to have a coarse grid
    assert torch.autograd.gradcheck(output, (u, *values), fast_mode=fast)
    assert all(g is not None for g in torch.autograd.grad(net(u).sum(), values, allow_unused=True))


@each_device
@each_variant
def test_a_stack_of_networks_equals_them_one_by_one(variant, device):
    nets = [randomised(networks.build(**variant, **SMALL, seed=seed), seed).to(device) for seed in range(3)]
    stacked = networks.stack(nets)
    u = signals(3, 2, 24).to(device)
    out = stacked(u)
    out.square().sum().backward()
    steepness = max(1.0, fluxes.get(variant["flux"]).L)  # by which derivatives pass rounding on
    for index, net in enumerate(nets):
        own = net(u[index])
        torch.testing.assert_close(out[index], own, rtol=1e-12, atol=1e-12)
        own.square().sum().backward()
        for ours, theirs in zip(net.parameters(), stacked.parameters(), strict=True):
            largest = max(1, ours.grad.abs().max().item())
            torch.testing.assert_close(theirs.grad[index], ours.grad, rtol=0, atol=1e-11 * largest * steepness)
        for ours, theirs in zip(
            net.state_dict().values(), networks.unstack(stacked, index).state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs)


@each([v for v in POSSIBLE if v["name"] != "implicit"])
def test_blocks_for_a_budget_are_the_most_that_fit(variant):
    architecture = Architecture(**variant, blocks=1, filters=8, kernel_size=5)

    def total(blocks):
        return replace(architecture, blocks=blocks).count().total

    for budget in (1, total(1) - 1, *[total(1), 1000] * variant["tied"]):
        with pytest.raises(InvalidParameterError, match=f"budget: got {budget}, expected"):
            networks.blocks_for_budget(architecture, budget)
    for blocks in () if variant["tied"] else (1, 2, 3, 7):
        for budget in (total(blocks), total(blocks + 1) - 1):
            assert networks.blocks_for_budget(architecture, budget) == blocks


def test_a_budget_says_nothing_about_the_depth_of_recurrent_networks():
    architecture = Architecture(name="implicit", flux="relu", blocks=1, filters=8, kernel_size=5)
    assert architecture.count() == replace(architecture, blocks=7).count()
    with pytest.raises(InvalidParameterError, match="budget: got 100, expected"):
        networks.blocks_for_budget(architecture, 100)


def explicit_steps(f, operators, blocks):
    u = f
    for A, block in zip(operators, blocks, strict=True):
        u = explicit.step(u, A, block.tau.item())
    return u


def fsi_steps(f, operators, blocks):
    previous = u = f
    for k, (A, block) in enumerate(zip(operators, blocks, strict=True)):
        previous, u = u, fsi.step(u, previous, A, block.tau.item(), fsi.extrapolation(k))
    return u


def du_fort_frankel_steps(f, operators, blocks):
    previous = u = f
    for A, block in zip(operators, blocks, strict=True):
        previous, u = u, du_fort_frankel.step(u, previous, A, block.tau.item(), block.alpha.item())
    return u


def safeguarded_fsi_steps(f, operators, blocks):
    previous = u = f
    for k, (A, block) in enumerate(zip(operators, blocks, strict=True)):
        alpha = fsi.extrapolation(k)
        previous, u = u, safeguarded_fsi.step(u, previous, f, A, block.tau.item(), alpha)
    return u


def safeguarded_du_fort_frankel_steps(f, operators, blocks):
    previous = u = f
    for A, block in zip(operators, blocks, strict=True):
        tau, alpha = block.tau.item(), block.alpha.item()
        previous, u = u, safeguarded_du_fort_frankel.step(u, previous, f, A, tau, alpha)
    return u


def fixed_point_iterations(f, operators, blocks):
    return implicit.fixed_point(f, operators[0], blocks[0].tau.item(), iterations=len(blocks))


REFERENCES = {
    "symmetric": explicit_steps,
    "fsi": fsi_steps,
    "du_fort_frankel": du_fort_frankel_steps,
    "implicit": fixed_point_iterations,
    "safeguarded_fsi": safeguarded_fsi_steps,
    "safeguarded_du_fort_frankel": safeguarded_du_fort_frankel_steps,
}


@each([v for v in USUAL if v["name"] in REFERENCES])
def test_networks_are_their_schemes(variant):
    net, f = randomised(networks.build(**variant, blocks=6, filters=4, kernel_size=5)), signals(1, 30)
    blocks = [net.blocks[index % len(net.blocks)] for index in range(6)]
    operators = []
    for block in blocks:
        lam = 1.0 if block.lam is None else block.lam.detach().numpy().repeat(30 - 5 + 1)
        w = None if block.w is None else block.w.detach().numpy().repeat(30 - 5 + 1, 0)
        operators.append(Diffusion(correlation_matrix(block.K.detach().numpy(), 30), block.flux, lam, w))
    several = variant["channels"] > 1
    lift, projection = (net.lift, net.projection) if several else (torch.ones(1).double(), torch.ones(1).double())
    state = REFERENCES[variant["name"]](torch.kron(lift, f[0]).detach().numpy(), operators, blocks)
    expected = projection.detach().numpy() @ state.reshape(-1, 30)
    np.testing.assert_allclose(net(f)[0].detach().numpy(), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("name", ["fsi", "safeguarded_fsi"])
def test_fsi_network_can_be_a_box_filter(name, n, tied):
    net = networks.build(name, blocks=n, filters=1, kernel_size=2, flux="linear", tied=tied).double()
    for block in net.blocks:
        block.K.data = torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64)
        block.tau = torch.tensor(0.5, dtype=torch.float64)
    f = signals(2, 40)
    box = f.unfold(-1, 2 * n + 1, 1).mean(-1)
    torch.testing.assert_close(net(f)[:, n:-n], box, rtol=0, atol=1e-13)


@each([v for v in USUAL if v["name"] in ("resnet", "feedforward") and not v["tied"]])
def test_resnet_is_its_formula_in_dense_matrices(variant):
    """And so it is without its skip connections."""
    net = randomised(networks.build(**variant, **SMALL))
    f = signals(1, 30)
    u = torch.kron(net.lift, f[0]) if variant["channels"] > 1 else f[0]
    for block in net.blocks:
        W1, W2 = (torch.from_numpy(correlation_matrix(W.detach().numpy(), 30)) for W in (block.W1, block.W2))
        b1 = block.b1.repeat_interleave(26)
        lam = 1.0 if block.lam is None else block.lam.repeat_interleave(26)
        w = None if block.w is None else block.w.repeat_interleave(26, 0)
        skip = u if variant["name"] == "resnet" else 0
        u = skip + W2.T @ block.flux(W1 @ u + b1, lam, w) + block.b2.reshape(-1).repeat_interleave(30)
    out = net.projection @ u.reshape(3, 30) if variant["channels"] > 1 else u
    torch.testing.assert_close(net(f)[0], out, rtol=1e-12, atol=1e-12)


@each([v for v in USUAL if v["name"] == "symmetric_feedforward"])
def test_symmetric_network_without_skip_connections_is_its_formula_in_dense_matrices(variant):
    net = randomised(networks.build(**variant, **SMALL))
    f = signals(1, 30)
    u = torch.kron(net.lift, f[0]) if variant["channels"] > 1 else f[0]
    for block in net.applied:
        K = torch.from_numpy(correlation_matrix(block.K.detach().numpy(), 30))
        lam = 1.0 if block.lam is None else block.lam.repeat_interleave(26)
        w = None if block.w is None else block.w.repeat_interleave(26, 0)
        u = block.tau * K.T @ block.flux(K @ u, lam, w)
    out = net.projection @ u.reshape(3, 30) if variant["channels"] > 1 else u
    torch.testing.assert_close(net(f)[0], out, rtol=1e-12, atol=1e-12)


def switched_step(name, k, block, u, previous, f):
    """A step of the scheme of this name for all channels, with b₂ added to what the scheme makes of KᵀTΦ(Ku + b₁)."""
    W1, W2 = (block.W1, block.W2) if hasattr(block, "W1") else (block.K, -block.tau.reshape(-1, 1, 1) * block.K)
    W1, W2 = (torch.from_numpy(correlation_matrix(W.numpy(), 30)) for W in (W1, W2))
    b1, b2 = (0, 0) if block.b1 is None else (block.b1.repeat_interleave(26), block.b2.flatten().repeat_interleave(30))
    step = W2.T @ block.flux(W1 @ u + b1, block.lam.repeat_interleave(26))
    alpha = fsi.extrapolation(k)
    match name:
        case "symmetric" | "resnet":
            return u + step + b2
        case "feedforward":
            return step + b2
        case "symmetric_feedforward":
            return -step + b2
        case "implicit":
            return f + step + b2
        case "fsi":
            return alpha * (u + step) + (1 - alpha) * previous + b2
        case "du_fort_frankel":
            return (2 * block.rho * (u + step / block.rho) + (1 - block.rho) * previous) / (1 + block.rho) + b2
        case "safeguarded_fsi":
            w, s_k = u + step + b2, alpha - 1
        case "safeguarded_du_fort_frankel":
            w, s_k = u + step / block.rho + b2, (block.rho - 1) / (block.rho + 1)
    s = safeguarded_fsi.safeguard(w.numpy(), previous.numpy(), f.numpy(), float(s_k))
    return w + s * (w - previous)


@torch.no_grad()
@each([v for v in SWITCHED if v["name"] in {*REFERENCES, "resnet", "feedforward", "symmetric_feedforward"}])
def test_biases_and_signed_steps_are_in_the_formulas_of_dense_matrices(variant):
    net = randomised(networks.build(**variant, **SMALL))
    f = signals(1, 30)
    u = previous = start = torch.kron(net.lift, f[0]) if variant["channels"] > 1 else f[0]
    for k, block in enumerate(net.applied):
        previous, u = u, switched_step(variant["name"], k, block, u, previous, start)
    out = net.projection @ u.reshape(3, 30) if variant["channels"] > 1 else u
    torch.testing.assert_close(net(f)[0], out, rtol=1e-11, atol=1e-11)
    plain = {key: value for key, value in variant.items() if key not in ("biases", "steps")}
    assert net.architecture.count().total != Architecture(**plain, **SMALL).count().total


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"biases": "yes"}, "biases: got 'yes', expected True, False, or None"),
        ({"steps": "negative"}, "steps: got 'negative', expected one of positive, signed"),
        ({"name": "unet", "biases": False}, "biases: got False, expected True for the network 'unet'"),
        (
            {"name": "multigrid_unet", "biases": True},
            "biases: got True, expected False for the network 'multigrid_unet'",
        ),
        ({"name": "resnet", "steps": "signed"}, "steps: got 'signed', expected positive for the network 'resnet'"),
        ({"name": "du_fort_frankel", "steps": "signed"}, "steps: got 'signed', expected positive"),
        ({"steps": "signed", "certified": True}, "certified: got True, expected False, since .* signed steps"),
    ],
)
def test_impossible_biases_and_steps_are_refused_by_name(change, message):
    with pytest.raises((UnknownNameError, InvalidParameterError), match=message):
        networks.build(**{"name": "symmetric", "flux": "perona_malik", **SMALL, **change})


@pytest.mark.parametrize(("name", "rival"), [("feedforward", "resnet"), ("symmetric_feedforward", "symmetric")])
def test_networks_without_skip_connections_have_the_sizes_of_those_with_them(name, rival):
    for channels in (1, 4):
        shape = {"blocks": 4, "filters": 8, "kernel_size": 5, "channels": channels, "flux": "perona_malik"}
        assert Architecture(name=name, **shape).count() == Architecture(name=rival, **shape).count()


@pytest.mark.parametrize("blocks", [1, 4, 8])
@pytest.mark.parametrize("name", ["feedforward", "symmetric_feedforward"])
def test_a_fresh_network_without_skip_connections_keeps_the_size_of_its_signals(name, blocks):
    """As a mean over networks; single ones of many blocks may be far from it."""
    nets = [
        networks.build(name, blocks=blocks, filters=32, kernel_size=5, flux="relu", seed=seed) for seed in range(20)
    ]
    f = torch.randn(20, 20, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert 0.3 < networks.stack(nets)(f).norm() / f.norm() < 3


def textbook_unet(net, u):
    """The same U-net by torch's own layers, for lengths that suit all its levels."""

    def double(layer, u):
        lam, second = (1.0 if x is None else x[:, None] for x in (layer.lam, layer.second.lam))
        u = layer.flux(functional.conv1d(u, layer.W1, layer.b1), lam)
        return layer.flux(functional.conv_transpose1d(u, layer.W2, layer.b2), second)

    skips = []
    for level in net.blocks:
        if skips:
            u = functional.max_pool1d(u, 2)
        u = double(level.before, u)
        skips.append(u)
    for level, skip in list(zip(net.blocks, skips, strict=True))[-2::-1]:
        up = functional.conv_transpose1d(u, level.up.W, level.up.b, stride=2)
        u = double(level.after, torch.cat([skip, up], dim=1))
    return functional.conv1d(u, net.W, net.b[None])


@pytest.mark.parametrize("flux", ["relu", "perona_malik", "linear"])
@pytest.mark.parametrize(
    ("blocks", "length", "padded"),
    [(1, 61, 61), (2, 61, 62), (3, 61, 64), (4, 61, 64), (4, 64, 64), (1, 5, 5), (3, 5, 20), (4, 5, 40)],
)
def test_unet_is_the_one_of_torch_layers_on_the_prolonged_signal(flux, blocks, length, padded):
    net = randomised(networks.build("unet", flux=flux, blocks=blocks, filters=4, kernel_size=5))
    f = signals(2, length)
    prolonged = functional.pad(f[:, None], (0, padded - length), mode="replicate")
    torch.testing.assert_close(net(f), textbook_unet(net, prolonged)[:, 0, :length], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("blocks", [1, 3, 5])
def test_a_fresh_unet_keeps_the_size_of_its_signals(blocks):
    net = networks.build("unet", blocks=blocks, filters=32, kernel_size=5, flux="relu")
    f = torch.randn(20, 256, generator=torch.Generator().manual_seed(0))
    assert 0.3 < net(f).norm() / f.norm() < 3


def converging(tied=False, **arguments):
    """An implicit network whose iteration has converged to rounding errors, with a rate of at most 1/2."""
    net = networks.build("implicit", blocks=60, **{"filters": 3, "kernel_size": 4, "tied": tied, **arguments})
    net = randomised(net)
    (block,) = net.blocks
    norm = np.linalg.norm(correlation_matrix(block.K.detach().numpy(), 300), 2)
    block.tau = torch.tensor(0.5 / norm**2 / max(block.flux.L_prime, block.flux.m), dtype=torch.float64)
    return net


@pytest.mark.parametrize("flux", fluxes.available())
@pytest.mark.parametrize("tied", [False, True])
def test_implicit_network_solves_the_implicit_step_whatever_tied_is(flux, tied):
    net, f = converging(tied, flux=flux), signals(2, 25)
    (block,) = net.blocks
    lam = 1.0 if block.lam is None else block.lam.detach().numpy().repeat(25 - 4 + 1)
    w = None if block.w is None else block.w.detach().numpy().repeat(25 - 4 + 1, 0)
    A = Diffusion(correlation_matrix(block.K.detach().numpy(), 25), block.flux, lam, w)
    for signal, out in zip(f.numpy(), net(f).detach().numpy(), strict=True):
        np.testing.assert_allclose(out, implicit.newton(signal, A, block.tau.item()), rtol=0, atol=1e-10)


@pytest.mark.parametrize("flux", fluxes.available())
@pytest.mark.parametrize("seeds", [None, 2])
def test_implicit_gradients_equal_unrolled_ones(flux, seeds):
    nets, shape = [converging(flux=flux, certified=False)], (2, 25)
    if seeds:
        nets, shape = [networks.stack(nets * seeds)], (seeds, *shape)
    (net,), target = nets, signals(*shape, seed=2)
    gradients = []
    for net.implicit_gradients in (False, True):
        f = signals(*shape).requires_grad_()
        loss = (net(f) - target).square().sum()
        gradients.append(torch.autograd.grad(loss, [f, *net.parameters()]))
    for unrolled, at_solution in zip(*gradients, strict=True):
        torch.testing.assert_close(at_solution, unrolled, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_implicit_gradients_with_biases_equal_unrolled_ones(channels):
    net, target, gradients = converging(flux="perona_malik", channels=channels, biases=True), signals(2, 25, seed=2), []
    for net.implicit_gradients in (False, True):
        f = signals(2, 25).requires_grad_()
        gradients.append(torch.autograd.grad((net(f) - target).square().sum(), [f, *net.parameters()]))
    for unrolled, at_solution in zip(*gradients, strict=True):
        torch.testing.assert_close(at_solution, unrolled, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("flux", fluxes.available())
def test_implicit_gradients_equal_difference_quotients(flux):
    net = converging(flux=flux, filters=2, kernel_size=3)
    net.implicit_gradients = True
    names, values = zip(*net.named_parameters(), strict=True)

    def output(u, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), u)

    assert torch.autograd.gradcheck(output, (signals(2, 7).requires_grad_(), *values))


def test_memory_of_implicit_gradients_does_not_grow_with_the_iterations():
    saved = {}
    for implicit_gradients in (False, True):
        for blocks in (3, 30):
            net = networks.build("implicit", blocks=blocks, filters=4, kernel_size=5, flux="perona_malik")
            net.implicit_gradients = implicit_gradients
            sizes = []
            with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()), lambda x: x):
                net(torch.ones(2, 50))
            saved[implicit_gradients, blocks] = sum(sizes)
    assert saved[True, 3] == saved[True, 30] < saved[False, 3] < saved[False, 30]


def test_conjugate_gradients_solve_each_system_of_a_batch():
    """Also a system that is solved at once, and one of zeros, beside one that takes all iterations."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    A = Q @ np.diag(np.linspace(1, 50, 20)) @ Q.T
    b = np.stack([rng.standard_normal(20), 3 * Q[:, 4], np.zeros(20)])
    matrix = torch.from_numpy(A)
    x = conjugate_gradients(lambda v: v @ matrix, torch.from_numpy(b[:, None]))
    np.testing.assert_allclose(x[:, 0].numpy(), np.linalg.solve(A, b.T).T, rtol=0, atol=1e-12)


def test_one_symmetric_block_has_half_the_convolution_weights_of_a_residual_block():
    counts = [
        Architecture(name=name, flux="relu", blocks=4, filters=8, kernel_size=5).count().convolution
        for name in ("symmetric", "resnet")
    ]
    assert counts == [160, 320]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "symetric"}, "network: got 'symetric', expected one of .*resnet.*Did you mean 'symmetric'"),
        ({"flux": "perona"}, "flux: got 'perona', expected one of .*perona_malik"),
        ({"blocks": 0}, "blocks: got 0, expected an integer of at least 1"),
        ({"filters": 2.5}, "filters: got 2.5, expected"),
        ({"tied": "yes"}, "tied: got 'yes', expected True or False"),
        ({"certified": 1}, "certified: got 1, expected True or False"),
        ({"kernel_size": True}, "kernel_size: got True, expected"),
        ({"name": "resnet", "certified": True}, "certified: got True, expected.*'resnet'"),
        ({"name": "fsi", "certified": True, "tied": True}, "certified: got True, expected.*'fsi'"),
        ({"name": "feedforward", "certified": True}, "certified: got True, expected.*'feedforward'"),
        ({"name": "symmetric_feedforward", "certified": True}, "certified: got True, expected.*'symmetric_feed"),
        ({"name": "safeguarded_fsi", "flux": "fab", "certified": True}, "certified: got True.*g of 'fab' is negative"),
        ({"flux": "fab", "certified": True}, "certified: got True, expected.*g of 'fab' is negative"),
        ({"name": "unet", "certified": True}, "certified: got True, expected.*'unet'"),
        ({"name": "unet", "tied": True}, "tied: got True, expected False, since blocks of 'unet'"),
        ({"name": "unet", "channels": 2}, "channels: got 2, expected 1 for the network 'unet'"),
        ({"name": "multigrid_unet", "certified": True}, "certified: got True, expected.*'multigrid_unet'"),
        ({"name": "multigrid_unet", "channels": 2}, "channels: got 2, expected.*'multigrid_unet'"),
    ],
)
def test_impossible_networks_are_refused_by_name(change, message):
    arguments = {"name": "symmetric", "flux": "perona_malik", **SMALL, **change}
    with pytest.raises((UnknownNameError, InvalidParameterError), match=message):
        networks.build(**arguments)


@pytest.mark.parametrize("name", networks.available())
def test_signals_shorter_than_the_filters_are_refused(name):
    with pytest.raises(InvalidParameterError, match=r"length: got 4, .* 5|filter length k: got 5, .* 1 to 4"):
        networks.build(name, flux="linear", **SMALL)(torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (torch.zeros(64), r"shape of the signals: got \(64,\), expected \(batch, length\)"),
        (
            torch.zeros(1, 64).double(),
            "dtype of the signals: got torch.float64, expected torch.float32, that of the network",
        ),
        (torch.zeros(1, 64, dtype=torch.int32), "dtype of the signals: got torch.int32"),
        (torch.tensor([[0.0, float("nan")] * 9]), "a value of the signals: got nan, expected finite"),
        (torch.tensor([[0.0, -float("inf")] * 9]), "a value of the signals: got -inf"),
    ],
    ids=["one signal", "double", "integers", "nan", "inf"],
)
@pytest.mark.parametrize("name", networks.available())
def test_impossible_signals_are_refused_by_name(name, signals, message):
    with pytest.raises(InvalidParameterError, match=message):
        networks.build(name, flux="relu", **SMALL)(signals)


@pytest.mark.parametrize("kernel", ["fused", "reference"])
@pytest.mark.parametrize("name", networks.available())
def test_signals_of_another_number_of_networks_are_refused(name, kernel, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    net = networks.stack([networks.build(name, flux="relu", **SMALL, seed=seed) for seed in range(2)])
    for wrong in ((1, 4, 16), (3, 4, 16), (4, 16)):
        with pytest.raises(InvalidParameterError, match=r"shape of the signals: got .* expected \(2, batch, length\)"):
            net(torch.rand(wrong))


def test_cycles_take_iterates_of_the_shape_of_the_right_hand_sides():
    net = networks.build("multigrid_unet", flux="relu", **SMALL)
    for wrong in ((1, 16), (2, 3, 16), (3, 15)):
        with pytest.raises(InvalidParameterError, match=r"shape of x: got .* expected \(3, 16\), that of b"):
            net.cycle(torch.rand(wrong), torch.rand(3, 16))


def test_only_networks_of_one_architecture_are_stacked():
    nets = [networks.build("symmetric", flux=flux, **SMALL) for flux in ("charbonnier", "perona_malik")]
    with pytest.raises(InvalidParameterError, match=r"architecture: got .*perona_malik.* expected .*charbonnier"):
        networks.stack(nets)
    with pytest.raises(InvalidParameterError, match=r"networks: got \[\], expected at least one"):
        networks.stack([])


def test_conjugate_gradients_tell_when_there_is_no_solution_to_be_had():
    b = torch.ones(2, 1, 4, dtype=torch.float64)
    factors = torch.tensor([[[1.0, 2.0, 3.0, 4.0]], [[1.0, 2.0, -3.0, 4.0]]], dtype=torch.float64)
    x = conjugate_gradients(lambda v: factors * v, b)
    torch.testing.assert_close(x[0], 1 / factors[0])
    assert x[1].isnan().all()
