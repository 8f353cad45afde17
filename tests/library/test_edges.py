"""What people do with modules of torch, and the arrays that they bring, beyond a call with a float32 tensor."""

import copy
import io
import logging
import multiprocessing
import pickle
import re

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad, functional

from schemenets import checkpoints, evaluation, files, fluxes, kernels, multigrid, networks, signals, stability
from schemenets.errors import CheckpointError, ConfigError, InvalidParameterError, MissingFileError, UnknownNameError
from schemenets.networks import Architecture
from schemenets.operators import norm_bound
from schemenets.training import Training, fit

SMALL = {"blocks": 2, "filters": 4, "kernel_size": 5}
CERTIFIED = {"symmetric", "du_fort_frankel", "safeguarded_fsi", "safeguarded_du_fort_frankel", "implicit"}


def build(name, **options):
    flux = "relu" if name == "unet" else "charbonnier"
    return Architecture(name=name, **{**SMALL, "flux": flux, **options}).build()


def everything():
    """All kinds of networks by name."""
    found = {name: build(name) for name in networks.available()}
    found |= {f"{name}, certified": build(name, certified=True, channels=2) for name in sorted(CERTIFIED)}
    found["cycle"] = multigrid.CycleArchitecture(problem=multigrid.Problem(tau=100.0)).build()
    found["implicit gradients"] = build("implicit", blocks=50, certified=True)
    found["implicit gradients"].implicit_gradients = True
    return found


EVERYTHING = everything()
each_network = pytest.mark.parametrize("net", EVERYTHING.values(), ids=EVERYTHING)
each_kernel = pytest.mark.parametrize("kernel", ["fused", "reference"])
old_torch = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # by torch itself
PAIR = torch.rand(2, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def reference_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


# what torch does with modules


@each_network
def test_networks_say_the_shape_of_what_has_no_data(net):
    shape = copy.deepcopy(net).to("meta")(PAIR.to("meta")).shape
    assert shape == PAIR.shape
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert net(mode.from_tensor(PAIR)).shape == PAIR.shape


@each_network
def test_autocast_leaves_networks_in_their_own_precision(net):
    expected = net(PAIR)
    with torch.autocast("cpu", torch.bfloat16):
        found, of_half = net(PAIR), net(PAIR.bfloat16())
    assert found.dtype == of_half.dtype == torch.float32
    assert torch.equal(found, expected)
    assert torch.equal(of_half, net(PAIR.bfloat16().float()))


def test_autocast_leaves_blocks_and_iterations_in_their_own_precision():
    K, flux = torch.rand(4, 1, 5), fluxes.get("relu")
    expected = kernels.block(PAIR[:, None], K, None, K, None, flux)
    cycle = EVERYTHING["cycle"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kernels.block(PAIR[:, None], K, None, K, None, flux), expected)
        assert cycle.cycle(PAIR, PAIR).dtype == cycle.full_multigrid(PAIR).dtype == torch.float32


@old_torch
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@each_kernel
@pytest.mark.parametrize("net", [EVERYTHING["symmetric"], EVERYTHING["implicit gradients"]], ids=["plain", "implicit"])
def test_all_ways_to_derivatives_agree(net, kernel, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    net = copy.deepcopy(net).double()
    u = PAIR.double()
    expected = functional.jacobian(net, u)
    assert expected.abs().max() > 0.5
    found = {
        "vectorized": functional.jacobian(net, u, vectorize=True),
        "forward mode": functional.jacobian(net, u, vectorize=True, strategy="forward-mode"),
        "jacrev": torch.func.jacrev(net)(u),
        "jacfwd": torch.func.jacfwd(net)(u),
    }
    for way, jacobian in found.items():
        torch.testing.assert_close(
            jacobian, expected, rtol=1e-9, atol=1e-11, msg=lambda text, way=way: f"{way}: {text}"
        )
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(net(forward_ad.make_dual(u, u))).tangent
    torch.testing.assert_close(tangent, (expected * u).sum((-2, -1)), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.func.grad(lambda x: net(x).sum())(u), expected.sum((0, 1)), rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of whatever is looked at
@each_network
def test_networks_are_traced(net):
    torch.testing.assert_close(torch.jit.trace(net, PAIR, check_trace=False)(PAIR), net(PAIR))


@old_torch
def test_derivatives_of_higher_order_of_solutions_are_refused():
    net = EVERYTHING["implicit gradients"]
    u = PAIR.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(u).square().sum(), u, create_graph=True)
    expected = r"implicit_gradients: got True, expected False for derivatives of higher order\."
    with pytest.raises(InvalidParameterError, match=expected):
        gradient.sum().backward()
    with pytest.raises(InvalidParameterError, match=expected):
        torch.func.jvp(torch.func.grad(lambda x: net(x).square().sum()), (PAIR,), (PAIR,))


def in_another_process(net, u, queue):
    queue.put(net(u).detach().numpy())


@each_network
def test_networks_are_pickled_and_copied_as_a_whole(net):
    net = copy.deepcopy(net).double().eval()
    next(net.parameters()).requires_grad_(False).mul_(1.1)
    u = PAIR.double()
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(file, weights_only=False)):
        assert torch.equal(other(u), net(u))
        assert other.architecture == net.architecture
        assert not other.training
        assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in net.parameters()]
        assert other.implicit_gradients == net.implicit_gradients
    assert all(p is q for p, q in zip(copy.copy(net).parameters(), net.parameters(), strict=True))
    inside = pickle.loads(pickle.dumps(torch.nn.Sequential(net, torch.nn.Identity())))
    assert torch.equal(inside(u), net(u))


def test_stacked_networks_and_fluxes_are_pickled():
    stacked = networks.stack([build("symmetric", certified=True), build("symmetric", certified=True)])
    u = torch.rand(2, 3, 16)
    assert torch.equal(pickle.loads(pickle.dumps(stacked))(u), stacked(u))
    for name in fluxes.available():
        assert pickle.loads(pickle.dumps(fluxes.get(name))) is fluxes.get(name)
    other = fluxes.get("tv_regularised", epsilon=0.5)
    assert copy.deepcopy(other) == other


@pytest.mark.slow  # starting a process takes seconds
def test_networks_reach_processes_that_are_spawned():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    net = EVERYTHING["symmetric, certified"]
    process = context.Process(target=in_another_process, args=(net, PAIR, queue))
    process.start()
    torch.testing.assert_close(torch.from_numpy(queue.get(timeout=60)), net(PAIR).detach())
    process.join()


@each_network
def test_signals_may_have_channels(net):
    assert torch.equal(net(PAIR[:, None]), net(PAIR)[:, None])
    several = torch.rand(3, 2, 16)
    assert torch.equal(net(several), torch.stack([net(several[:, c]) for c in range(2)], 1))
    assert net(several[:0]).shape == (0, 2, 16)
    stacked = networks.stack([net, net])
    torch.testing.assert_close(stacked(several.expand(2, 3, 2, 16)), net(several).expand(2, 3, 2, 16))
    for shape in ((16,), (1, 2, 3, 16)):
        fitting = r"\(batch, (length|N)\) or \(batch, channels, (length|N)\)"
        expected = rf"got .?{re.escape(str(shape))}.*, expected {fitting}"
        with pytest.raises(InvalidParameterError, match=expected):
            net(torch.zeros(shape))
    for shape in ((3, 5, 16), (3, 5, 2, 16), (5, 16)):  # as they are given, not as they are taken
        with pytest.raises(InvalidParameterError, match=rf"got .?{re.escape(str(shape))}.*, expected \(2, batch, "):
            stacked(torch.zeros(shape))


def test_iterations_may_have_channels():
    cycle, x = EVERYTHING["cycle"], torch.rand(3, 2, 16)
    assert torch.equal(cycle.cycle(0 * x, x)[:, 1], cycle.cycle(0 * x[:, 1], x[:, 1]))
    assert torch.equal(cycle.full_multigrid(x)[:, 1], cycle.full_multigrid(x[:, 1]))
    with pytest.raises(InvalidParameterError, match=r"of x: got '\(3, 2, 8\) .*, expected \(3, 2, 16\) .*of b"):
        cycle.cycle(x[..., :8], x)
    stacked = networks.stack([cycle, cycle])
    with pytest.raises(InvalidParameterError, match=r"of x: got '\(2, 3, 1, 16\) .*, expected \(2, 3, 2, 16\) "):
        stacked.cycle(x[:, :1].expand(2, 3, 1, 16), x.expand(2, 3, 2, 16))


# values that are assigned


@pytest.mark.parametrize(
    ("name", "key", "values"),
    [
        ("symmetric", "tau", (5.0, 2.0, 0.0, -1.0, float("nan"), float("inf"))),
        ("symmetric", "lam", (0.0, -1.0, 1e20, 1e-20, float("nan"), float("inf"))),
        ("symmetric", "K", (float("nan"), float("inf"))),
        ("symmetric", "lift", (float("nan"),)),
        ("du_fort_frankel", "alpha", (0.25, -1.0, float("nan"), float("inf"), 1e20)),
        ("du_fort_frankel", "rho", (1.0, 0.0, -1.0)),
        ("learned", "w", (6.1, -7.0, float("nan"))),
    ],
)
def test_values_outside_of_a_constraint_are_refused(name, key, values):
    options = {"name": "symmetric", "flux": "learned"} if name == "learned" else {"name": name}
    net = build(**options, certified=True, channels=2)
    owner = net if key == "lift" else net.blocks[0]
    before = getattr(owner, key).clone()
    for value in values:
        outside = before.detach().clone()
        outside.flatten()[-1] = value
        with pytest.raises(InvalidParameterError, match=rf"^{key}: got {re.escape(repr(float(value)))}, expected "):
            setattr(owner, key, outside)
        assert torch.equal(getattr(owner, key), before)


@pytest.mark.parametrize("value", [1.5, 1, np.float32(1.5), np.int64(1), torch.tensor(1.5)], ids=repr)
def test_numbers_are_assigned_to_numbers(value):
    block = build("symmetric", certified=True).blocks[0]
    block.K = block.K.detach() / norm_bound(block.K.detach())
    block.tau = value
    assert block.tau.item() == pytest.approx(float(value))
    assert block.tau.dtype == torch.float32
    with pytest.raises(InvalidParameterError, match=r"^tau: got 5.0, expected a number above 0 and below 2, "):
        block.tau = 5
    double = copy.deepcopy(block).double()
    double.tau = 1.1
    assert double.tau.item() == pytest.approx(1.1, rel=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tau", "1", r"tau: got '1', expected a number, or a tensor of shape and dtype \(\) torch.float32"),
        ("tau", True, r"tau: got True, expected a number, or"),
        ("tau", None, r"tau: got None, expected a number, or"),
        ("tau", torch.ones(3), r"shape and dtype of tau: got '\(3,\) torch.float32', expected \(\) torch.float32"),
        ("tau", torch.tensor(1), r"shape and dtype of tau: got '\(\) torch.int64', expected \(\) torch.float32"),
        ("lam", 0.1, r"lam: got 0.1, expected a tensor of shape and dtype \(4,\) torch.float32"),
        ("lam", torch.ones(5), r"shape and dtype of lam: got '\(5,\) torch.float32', expected \(4,\) torch.float32"),
        ("K", np.ones((4, 1, 5)), r"K: got array.*, expected a tensor of shape and dtype \(4, 1, 5\) torch.float32"),
        ("K", torch.ones(4, 1, 5).double(), r"shape and dtype of K: got '\(4, 1, 5\) torch.float64', expected"),
    ],
)
def test_values_that_do_not_fit_are_refused(key, value, message):
    block = build("symmetric", certified=True).blocks[0]
    before = getattr(block, key).clone()
    with pytest.raises(InvalidParameterError, match=rf"(?s)^{message}"):
        setattr(block, key, value)
    assert torch.equal(getattr(block, key), before)


def test_half_precision_refuses_positive_values_that_it_does_not_hold():
    net = build("symmetric")
    expected = r"^lam: got {}, expected a number from 6\.1e-05 to 1\.6e\+04 in torch\.float16"
    for value, got in ((1e-6, "1.01.*e-06"), (0.0, "0.0"), (2e4, "20000.0")):  # as half precision rounds them
        with pytest.raises(InvalidParameterError, match=expected.format(got)):
            copy.deepcopy(net).half().blocks[0].lam = torch.full((4,), value).half()
    for value in (6.2e-5, 1.6e4):
        half = copy.deepcopy(net).half()
        half.blocks[0].lam = torch.full((4,), value).half()
        torch.testing.assert_close(half.blocks[0].lam.float(), torch.full((4,), value), rtol=0.01, atol=0)
        assert half(PAIR.half()).isfinite().all()
    with torch.no_grad():  # as an optimiser may
        half.blocks[0].parametrizations.lam.original.fill_(-20)
    assert half(PAIR.half()).isfinite().all()
    net.blocks[1].lam = torch.full((4,), 1e-8)
    assert copy.deepcopy(net).bfloat16()(PAIR.bfloat16()).isfinite().all()
    with pytest.raises(InvalidParameterError, match=expected.format(r"(1|9\.9.*)e-0[89]")):
        net.half()


@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize("name", sorted(CERTIFIED))
def test_values_inside_of_a_constraint_are_taken_also_at_its_ends(name, certified):
    net, other = (build(name, flux="learned", certified=certified) for _ in range(2))
    for size in (0.0, 5.0, -20.0, 20.0, 29.9):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(size) if parameter.ndim < 3 else None
        for block, to in zip(net.blocks, other.blocks, strict=True):
            for key in block.parametrizations:
                setattr(to, key, getattr(block, key).detach())
                torch.testing.assert_close(getattr(to, key), getattr(block, key), rtol=1e-5, atol=1e-6)
        assert all(parameter.isfinite().all() for parameter in other.parameters())


def test_cycles_refuse_a_damping_that_is_not_positive():
    weights = EVERYTHING["cycle"].weights
    with pytest.raises(InvalidParameterError, match=r"^omega: got -1.0, expected a number from 9.4e-14 to 1.1e\+13"):
        weights.omega = -torch.ones_like(weights.omega)


# precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_half_precision_has_no_certificate(dtype, channels):
    net = build("symmetric", certified=True, channels=channels)
    assert stability.certify(net).holds
    certificate = stability.certify(net.to(dtype))
    assert not certificate.holds
    (reason,) = certificate.failed
    assert reason == f"single or double precision instead of {str(dtype).removeprefix('torch.')}"
    assert certificate.euclidean is None
    assert certificate.lipschitz == float("inf")
    assert net(PAIR.to(dtype)).dtype == dtype


@pytest.fixture
def product_precision():
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("product_precision")
@pytest.mark.parametrize("precision", ["high", "medium", "of the processor"])
def test_products_of_lower_precision_have_no_certificate(precision):
    if precision != "of the processor":
        torch.set_float32_matmul_precision(precision)
    elif hasattr(torch.backends, "fp32_precision"):
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    else:
        pytest.skip("of this torch, all devices have one precision")
    net = build("symmetric", certified=True)
    certificate = stability.certify(net)
    assert certificate.failed == [stability.certificates.EXACT]
    assert certificate.euclidean is None
    assert stability.certify(net.double()).holds
    linear = multigrid.CycleArchitecture(problem=multigrid.Problem(tau=100.0), flux="linear").build()
    expected = "precision of matrix products: got 'TF32 or bfloat16', expected single, as after torch.set_float32"
    with pytest.raises(InvalidParameterError, match=expected):
        multigrid.certify(linear, 16)
    torch.set_float32_matmul_precision("highest")
    assert stability.certify(net.float()).holds
    assert multigrid.certify(linear, 16).length == 16


def test_certificates_are_about_the_values_that_a_network_has_in_its_precision():
    net = build("symmetric", certified=True)
    reference = copy.deepcopy(net).double()
    for precise in (net, reference):
        with torch.no_grad():
            for block in precise.blocks:
                block.parametrizations.tau.original.fill_(3.0)
    single, double = (stability.certify(each) for each in (net, reference))
    margins = [block.step_margin for block in single.blocks]
    for block, margin, exact in zip(net.blocks, margins, double.blocks, strict=True):
        K, tau = block.K.detach().double(), block.tau.item()  # rounded once more than in double precision
        assert margin != exact.step_margin
        assert margin == pytest.approx(1 - tau * float(stability.certificates.norm_bound(K)) ** 2 / 2, rel=1e-14)
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    step = net.blocks[0].tau.item() * norm_bound(net.blocks[0].K.detach()).item() ** 2
    assert step == pytest.approx(2 / (1 + np.exp(-3)), rel=1e-5)  # constrained as before


@pytest.mark.parametrize(("filters", "channels", "k"), [(1, 1, 2), (8, 8, 5), (3, 3, 101), (64, 1, 9), (1, 16, 33)])
@pytest.mark.parametrize("name", ["symmetric", "implicit"])
def test_conditions_hold_in_single_precision_up_to_their_limits(name, filters, channels, k):
    """Of norms where certified networks have filters of norm 1, and of steps where these depend on the filters."""
    net = Architecture(
        name=name, blocks=8, filters=filters, kernel_size=k, flux="relu", channels=channels, certified=True
    ).build()
    generator = torch.Generator().manual_seed(0)
    for power in (-6, 0, 6):
        for block in net.blocks:
            K = 10.0**power * torch.randn(block.K.shape, generator=generator)
            block.K = K.cumsum(-1) if power else K
            block.parametrizations.tau.original.data.fill_(100.0)
            norm = float(norm_bound(block.K.detach().double()))
            assert norm < 1 or not block.normalised
            assert block.tau.item() * norm**2 < (2 if name == "symmetric" else 1)


# arrays and numbers of NumPy

SPEC = {"family": "piecewise_affine", "length": 32, "noise": 10.0, "seed": 0, "train": 8, "validation": 4, "test": 2}


def job(**options):
    architecture = Architecture(name="symmetric", flux="charbonnier", **SMALL)
    return Training(
        **{"architecture": architecture, "seeds": (0, 1), "learning_rate": 0.01, "epochs": 2, "batch": 4, **options}
    )


def weights(runs):
    return torch.cat([parameter.flatten() for run in runs for parameter in run.network.parameters()])


@pytest.fixture(scope="module")
def data():
    return signals.generate(SPEC)


def test_arrays_are_taken_however_they_lie_in_memory(data, tmp_path):
    expected = weights(fit(job(), data, tmp_path / "plain", "x"))
    ways = {
        "big-endian": {name: array.astype(">f4") for name, array in data.items()},
        "reversed": {name: array[::-1].copy()[::-1] for name, array in data.items()},
        "transposed": {name: np.asfortranarray(array) for name, array in data.items()},
        "double": {name: array.astype(np.float64) for name, array in data.items()},
    }
    for name, arrays in ways.items():
        runs = fit(job(), arrays, str(tmp_path / name), "x")
        assert torch.equal(weights(runs), expected), name
        stacked = networks.stack([run.network for run in runs])
        found = evaluation.denoised_psnr(stacked, arrays["test/noisy"], arrays["test/clean"])
        np.testing.assert_allclose(
            found, evaluation.denoised_psnr(stacked, data["test/noisy"], data["test/clean"]), rtol=1e-5
        )


def test_numbers_of_numpy_are_numbers(data, tmp_path):
    one, two, four, five = (np.int64(n) for n in (1, 2, 4, 5))
    architecture = Architecture(name="symmetric", blocks=two, filters=four, kernel_size=five, flux="charbonnier")
    assert architecture == job().architecture
    assert type(architecture.blocks) is int
    assert torch.equal(*(net(PAIR) for net in (architecture.build(one), architecture.build(1))))
    given = {"seeds": np.arange(2), "learning_rate": np.float32(0.01), "epochs": two, "batch": four}
    plain = {"seeds": (0, 1), "learning_rate": float(np.float32(0.01)), "epochs": 2, "batch": 4}
    runs = fit(job(architecture=architecture, **given), data, tmp_path / "numpy", "x")
    assert torch.equal(weights(runs), weights(fit(job(**plain), data, tmp_path / "plain", "x")))
    checkpoints.save_all({np.int64(run.seed): run.network for run in runs}, str(tmp_path / "nets.safetensors"))
    assert checkpoints.header(str(tmp_path / "nets.safetensors")).seeds == (0, 1)
    spec = {key: value if key == "family" else np.asarray(value)[()] for key, value in SPEC.items()}
    signals.write(spec, str(tmp_path / "numpy.safetensors"))
    for name, array in signals.read(str(tmp_path / "numpy.safetensors")).items():
        np.testing.assert_array_equal(array, data[name])
    cycles = multigrid.CycleArchitecture(problem=multigrid.Problem(tau=1.0), cycles=two)
    assert cycles.cycles == 2
    assert torch.equal(*(net(PAIR) for net in (cycles.build(one), cycles.build(1))))
    assert multigrid.Problem(tau=1.0).on(np.int64(16)).N == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": (0, 1, 0)}, r"seeds: got \(0, 1, 0\), expected seeds that differ"),
        ({"seeds": (0, 1.5)}, "a seed: got 1.5, expected an integer of at least 0"),
        ({"seeds": (-1,)}, "a seed: got -1, expected an integer of at least 0"),
        ({"seeds": 3}, "seeds: got 3, expected one seed or more"),
        ({"epochs": 1.5}, "epochs: got 1.5, expected an integer of at least 1"),
        ({"epochs": np.float64(2.0)}, "epochs: got 2.0, expected an integer of at least 1"),
        ({"batch": 2.0}, "batch: got 2.0, expected an integer of at least 1"),
        ({"batch": True}, "batch: got True, expected an integer of at least 1"),
    ],
)
def test_impossible_numbers_are_named(options, message, data, tmp_path):
    with pytest.raises(InvalidParameterError, match=message):
        fit(job(**options), data, tmp_path / "state", "x")


@pytest.mark.parametrize("seed", [-1, 1.5, True, 2**63, "1"])
def test_what_is_no_seed_is_refused(seed):
    for architecture in (job().architecture, EVERYTHING["cycle"].architecture):
        with pytest.raises(InvalidParameterError, match=r"^seed: got .*, expected an integer of at (least 0|most 92)"):
            architecture.build(seed)


@each_network
def test_arrays_are_no_signals_of_networks(net):
    for given, name in ((PAIR.numpy(), "ndarray"), (PAIR.tolist(), "list")):
        with pytest.raises(InvalidParameterError, match=rf"^signals: got '{name}', expected a tensor, as "):
            net(given)


def test_signals_on_the_unit_interval_are_refused(data, tmp_path):
    expected = r"expected values on \[0, 255\]: multiply signals on \[0, 1\] by 255"
    for key in ("train/noisy", "train/clean", "validation/noisy", "validation/clean"):
        with pytest.raises(InvalidParameterError, match=rf"^largest value of {key}: got .*, {expected}"):
            fit(job(), data | {key: data[key] / 255}, tmp_path / "state", "x")
    with pytest.raises(InvalidParameterError, match=r"dtype of train/noisy: got dtype\('O'\), expected real numbers"):
        fit(job(), {name: array.astype(object) for name, array in data.items()}, tmp_path / "state", "x")


def test_a_lock_that_another_process_holds_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    path = tmp_path / "deep" / "state.safetensors"
    with files.locked(path, "first"), caplog.at_level(logging.WARNING, "schemenets"):
        message = r"state\.lock: another process has held this lock for 0\.3 s"
        with pytest.raises(CheckpointError, match=message), files.locked(path, "second", timeout=0.3):
            pass
        assert "second: another process holds" in caplog.text
    with files.locked(path, "third", timeout=0.3):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(CheckpointError, match=r"state\.lock: cannot be locked"),
        files.locked(tmp_path / "file/state", "x"),
    ):
        pass


@pytest.mark.parametrize(
    "error",
    [InvalidParameterError("a", 1, "b"), UnknownNameError("flux", "x", ["y"]), MissingFileError("p"), ConfigError("c")],
)
def test_errors_reach_other_processes(error):
    for other in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(other), str(other)) == (type(error), str(error))


@pytest.mark.filterwarnings("ignore")
def test_blocks_and_implicit_gradients_are_compiled_by_torch():
    u, K, lam = torch.rand(4, 1, 32), 0.3 * torch.randn(3, 1, 5), torch.full((3,), 0.1)

    def block(u):
        return kernels.block(u, K, None, -0.1 * K, lam, fluxes.get("perona_malik"), onto=u)

    torch.testing.assert_close(torch.compile(block, backend="eager")(u), block(u))
    net = EVERYTHING["implicit gradients"]
    torch.testing.assert_close(torch.compile(net, backend="eager")(PAIR), net(PAIR))


@pytest.mark.filterwarnings("ignore")
@each_kernel
def test_networks_are_compiled_as_one_graph_for_signals_of_any_length(kernel, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    torch.compiler.reset()
    net = EVERYTHING["symmetric"]
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    for length in (16, 24):
        u = torch.rand(3, length)
        torch.testing.assert_close(compiled(u), net(u))


@pytest.mark.filterwarnings("ignore")
@each_kernel
def test_learned_cycles_are_compiled_as_one_graph(kernel, monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", kernel)
    torch.compiler.reset()
    problem = multigrid.Problem(flux="charbonnier", contrast=0.03, tau=50.0, extent=24.0)
    net, b = multigrid.CycleArchitecture(problem=problem, cycles=2).build(), torch.rand(3, 23)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(b), net(b))


def test_blocks_under_autocast_take_what_layers_before_them_give():
    K, lam = 0.3 * torch.randn(3, 1, 5), torch.full((3,), 0.1)
    u = torch.rand(4, 1, 32).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = kernels.block(u, K, None, -0.1 * K, lam, fluxes.get("perona_malik"), onto=u)
    assert y.dtype == torch.float32
    torch.testing.assert_close(
        y, kernels.block(u.float(), K, None, -0.1 * K, lam, fluxes.get("perona_malik"), onto=u.float())
    )
