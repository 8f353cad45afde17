"""Benchmarks: rivals compute the same, work and memory are counted right, targets are judged by what was measured."""

import copy
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import trained
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__, gpu, measurements, rivals, solvers, targets, timing
from schemenets import files, fluxes, kernels, networks, signals
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.networks import Architecture
from schemenets.study.config import Study
from schemenets.study.layout import Layout

SMALL = {"filters": 3, "kernel_size": 5, "channels": 1, "length": 24, "batch": 4}


@pytest.fixture
def reference_kernel(monkeypatch):
    """Kernels are tested elsewhere; compiling one for every case here would take minutes."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def copied(architecture, net):
    """The idiomatic network with the weights of ours."""
    idiomatic = rivals.idiomatic(architecture).to(next(net.parameters()).dtype)
    with torch.no_grad():
        for theirs, own in zip(idiomatic, net.blocks, strict=True):
            if architecture.name == "resnet":
                pairs = [(theirs.first.weight, own.W1), (theirs.first.bias, own.b1)]
                pairs += [(theirs.second.weight, own.W2), (theirs.second.bias, own.b2)]
            else:
                pairs = [(theirs.K, own.K), (theirs.log_tau, own.tau.log())]
            if own.lam is not None:
                pairs.append((theirs.activation.log_lam, own.lam.log()[:, None]))
            for there, here in pairs:
                there.copy_(here.view_as(there))
    return idiomatic


def disturbed(net):
    """The network in double precision with weights that are neither zero nor equal to each other."""
    with torch.no_grad():
        for parameter in net.double().parameters():
            parameter += 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    return net


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("flux", rivals.FLUXES)
@pytest.mark.parametrize("name", rivals.BLOCKS)
def test_rivals_compute_the_same(name, flux, channels, reference_kernel):
    torch.manual_seed(0)
    architecture = Architecture(name=name, blocks=2, filters=3, kernel_size=5, flux=flux, channels=channels)
    nets = [disturbed(networks.build(**architecture.arguments(), seed=seed)) for seed in range(2)]
    idiomatic = [copied(architecture, net) for net in nets]
    parameters, vmap = rivals.vmapped(idiomatic)
    u = torch.rand(2, 4, channels, 24, dtype=torch.float64).requires_grad_()
    gradient = torch.randn_like(u)

    def values(y, weights):
        """Output, derivative with respect to the signals, and squares of those with respect to all weights."""
        own, *others = torch.autograd.grad(y, [u, *weights], gradient)
        return y, own, sum(x.square().sum() for x in others)

    ours = networks.stack(nets)
    expected = values(ours.run(u), list(ours.blocks.parameters()))
    alone = torch.stack([net(x) for net, x in zip(idiomatic, u, strict=True)])
    rivalling = (alone, [x for net in idiomatic for x in net.parameters()]), (vmap(u), parameters)
    for y, weights in rivalling:
        torch.testing.assert_close(values(y, weights), expected, rtol=1e-9, atol=1e-9)
        assert sum(x.numel() for x in weights) == sum(x.numel() for net in nets for x in net.blocks.parameters())


@pytest.mark.slow  # needs a C++ compiler
@pytest.mark.filterwarnings("default")
def test_compiled_rivals_compute_the_same():
    net = rivals.idiomatic(Architecture(name="symmetric", blocks=2, filters=3, kernel_size=5, flux="perona_malik"))
    u = torch.rand(4, 1, 24)
    torch.testing.assert_close(rivals.compiled(net)(u), net(u))


@pytest.mark.parametrize("flux", fluxes.available())
@pytest.mark.parametrize("name", networks.available())
def test_networks_on_torch_convolutions_compute_the_same(name, flux, reference_kernel):
    torch.manual_seed(0)
    net = disturbed(networks.build(name, blocks=2, filters=2, kernel_size=3, flux=flux))
    f = torch.rand(3, 16, dtype=torch.float64)
    with rivals.on_torch_convolutions():
        on_torch = net(f)
    torch.testing.assert_close(net(f), on_torch, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", rivals.BLOCKS)
def test_flops_are_those_that_torch_counts(name, channels):
    architecture = Architecture(name=name, blocks=2, filters=3, kernel_size=5, flux="relu", channels=channels)
    u = torch.rand(4, channels, 24).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        rivals.idiomatic(architecture)(u).sum().backward()
    row = measurements._row("", architecture, SMALL, 1)
    assert measurements.flops(row) == counter.get_total_flops()


def test_the_machine_is_described_with_its_vectors_and_the_commit(tmp_path, monkeypatch):
    one = "processor : {}\nmodel name\t: Some CPU\ncpu family : 25\nmodel\t\t: {}\nflags : sse2 avx2{}\n\n"
    monkeypatch.setattr(timing, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(timing.os, "cpu_count", lambda: 4)
    for git, commit in (
        ({"commit": "0123456789", "dirty": False}, ", commit 0123456"),
        ({"commit": "0123456789", "dirty": True}, ", commit 0123456 and changes"),
        ({"commit": None, "dirty": None}, ""),
    ):
        monkeypatch.setattr(timing.provenance, "git_state", lambda git=git: git)
        timing.CPUINFO.write_text(one.format(0, 17, " avx512f") + one.format(1, 18, ""))
        software = f"one thread, torch {torch.__version__}, kernel {kernels.backend()}{commit}"
        assert timing.description() == f"Some CPU, family 25 model 17, 4 processors, vectors of 512 bits, {software}"
    timing.CPUINFO.write_text(one.format(0, 17, ""))
    assert ", vectors of 256 bits, " in timing.description()
    timing.CPUINFO.unlink()  # another system
    assert timing.description().endswith(f"4 processors, {software}")


def test_saved_memory_counts_every_storage_once():
    x = torch.ones(2**18).requires_grad_()  # 1 MiB
    assert timing.saved_mib(lambda: x * x) == 1
    assert timing.saved_mib(lambda: (x * x).exp()) == 2
    assert timing.saved_mib(lambda: [x.exp().sum().item() for _ in range(3)]) == 3  # at one address, maybe


def test_peak_memory_sees_what_is_freed_again():
    def temporary(mib):
        return lambda: torch.ones(mib * 2**18).sum().item()

    peaks = [timing.peak_mib(temporary(mib)) for mib in (16, 64)]
    if None in peaks:
        pytest.skip("the system does not tell the peak of the memory")
    assert peaks == pytest.approx([16, 64], abs=2)


@pytest.mark.slow
def test_share_in_compiled_loops():
    pytest.importorskip("numba")
    net = rivals.ours(Architecture(name="symmetric", blocks=1, filters=8, kernel_size=5, flux="relu"), 2)
    f = torch.rand(2, 256, 512)
    net(f)

    def work_besides():
        net(f)
        for _ in range(20):
            f.sin()

    alone, besides = map(timing.share_in_compiled_loops, (lambda: net(f), work_besides))
    assert 0.2 < alone <= 1
    assert besides < 0.7 * alone
    assert timing.share_in_compiled_loops(f.sin) == 0
    for network in ("multigrid_unet", "cycle"):
        net = (
            CycleArchitecture(problem=Problem(tau=1.0)).build()
            if network == "cycle"
            else networks.build(network, blocks=1, filters=4, kernel_size=5, flux="linear")
        )
        net(f[0])
        assert 0.2 < timing.share_in_compiled_loops(lambda net=net: net(f[0])) <= 1, network
    net = networks.build("multigrid_unet", blocks=1, filters=4, kernel_size=5, flux="linear")
    with rivals.on_torch_convolutions():
        assert timing.share_in_compiled_loops(lambda: net(f[0])) == 0


def test_no_share_without_compiled_loops(reference_kernel):
    assert timing.share_in_compiled_loops(lambda: None) is None


def test_turns_are_timed_by_call(monkeypatch):
    now, calls = [0.0], {"fast": 0, "slow": 0}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def contender(name, *seconds):
        def run():
            now[0] += seconds[min(calls[name], len(seconds) - 1)]
            calls[name] += 1

        return run

    contenders = {"fast": contender("fast", 9.0, 0.01), "slow": contender("slow", 1.0, 1.0, 3.0, 2.0)}
    assert timing.least_seconds(contenders) == pytest.approx({"fast": 0.01, "slow": 2.0})
    assert calls["fast"] == 2 + timing.ROUNDS * round(timing.SLICE / 0.01)


def row(what, network="resnet", flux="relu", contender="ours", ms=1.0, **changed):
    """A row of the table of a run in which everything reaches its target, just so."""
    usual = {"blocks": 1 if what == targets.PASSES else targets.BLOCKS, "seeds": targets.SEEDS}
    usual |= dict.fromkeys(("certified", "tied", "implicit_gradients"), False)
    about = {"what": what, "network": network, "flux": flux, **targets.SIZE, **usual}
    measured = {"share_of_peak": 0.3, "saved_mib_per_seed": 2.0, "peak_mib_per_seed": 3.0}
    measured["share_in_compiled_loops"] = 0.9 if what == targets.STUDY and contender == "ours" else None
    result = {"contender": contender, "milliseconds_per_seed": ms, "times_slower_than_ours": ms}
    return {**about, **measured, **result, **changed}


@pytest.fixture
def rows():
    found = []
    for flux, ms, bound in (("relu", 1.0, 20), ("perona_malik", 1.4, 15)):
        for seeds in (1, targets.SEEDS):
            found += [row(targets.PASSES, flux=flux, ms=ms, times_slower_than_ours=1, seeds=seeds)]
            found += [row(targets.PASSES, flux=flux, contender="idiomatic", ms=bound, seeds=seeds)]
        for contender, times in {"ours": 1, "idiomatic": 15, "compiled": 5, "vmap": 6}.items():
            found += [row(targets.STEP, flux=flux, contender=contender, ms=times)]
    for channels in (8, 16):
        found += [
            row(targets.PASSES, contender=name, ms=ms, channels=channels)
            for name, ms in (("ours", 1), ("idiomatic", 2))
        ]
    found += [row(targets.PASSES, filters=32, saved_mib_per_seed=2.2, peak_mib_per_seed=3.3)]
    for blocks in (2, targets.BLOCKS):
        found += [row(targets.STUDY, "fsi", contender=name, blocks=blocks) for name in ("ours", "idiomatic")]
    return found


def not_reached(rows):
    return [judged["target"] for judged in targets.summary(rows) if judged["reached"] != "yes"]


def test_bounds_that_are_just_kept_are_reached(rows):
    assert not_reached(rows) == []


FASTER = "times faster than idiomatic"


@pytest.mark.parametrize(
    ("about", "column", "value", "expected"),
    [
        ({"what": targets.PASSES, "flux": "relu", "seeds": 1, "contender": "idiomatic"}, "times_slower_than_ours", 19.9,
         [f"one block, relu, seeds 1: {FASTER}"]),
        ({"what": targets.PASSES, "flux": "relu", "seeds": 10, "contender": "idiomatic", "channels": 1},
         "times_slower_than_ours", 19.9, [f"one block, relu, seeds 10: {FASTER}"]),
        ({"what": targets.PASSES, "flux": "perona_malik", "seeds": 10, "contender": "idiomatic"},
         "times_slower_than_ours", 14.9, [f"one block, perona_malik, seeds 10: {FASTER}"]),
        ({"what": targets.PASSES, "flux": "perona_malik", "seeds": 1, "contender": "ours"},
         "milliseconds_per_seed", 1.5, ["one block: cost of perona_malik over relu"]),
        ({"what": targets.STEP, "flux": "relu", "contender": "idiomatic"}, "times_slower_than_ours", 14.9,
         [f"training step, seeds 10: {FASTER}"]),
        ({"what": targets.STEP, "flux": "perona_malik", "contender": "vmap"}, "times_slower_than_ours", 4.9,
         ["training step, seeds 10: times faster than the best of compiled and vmap"]),
        ({"what": targets.PASSES, "flux": "perona_malik", "seeds": 10, "contender": "ours"}, "share_of_peak", 0.29,
         ["one block: share of the measured peak"]),
        ({"channels": 16, "contender": "idiomatic"}, "times_slower_than_ours", 1.9,
         [f"one block, 8 and 16 channels: {FASTER}"]),
        ({"what": targets.STUDY, "blocks": 2, "contender": "idiomatic"}, "times_slower_than_ours", 0.99,
         ["any network and size: times faster than on torch's convolutions"]),
        ({"filters": 32}, "saved_mib_per_seed", 2.3, ["one block: growth of saved memory with the filters"]),
        ({"filters": 32}, "peak_mib_per_seed", 2.7, ["one block: growth of peak memory with the filters"]),
        ({"what": targets.STUDY, "blocks": 2, "contender": "ours"}, "share_in_compiled_loops", 0.89,
         ["whole epochs, every job: share of CPU time in compiled loops"]),
    ],
)  # fmt: skip
def test_one_case_that_misses_its_bound_is_enough(rows, about, column, value, expected):
    (changed,) = targets.select(rows, **about)
    changed[column] = value
    assert not_reached(rows) == expected


def test_share_of_deep_networks_has_a_line_of_its_own(rows):
    for changed in targets.select(rows, what=targets.STUDY, blocks=targets.BLOCKS, contender="ours"):
        changed["share_in_compiled_loops"] = 0.8
    deep, every = not_reached(rows)
    assert f"at least {targets.BLOCKS} blocks" in deep
    assert "every job" in every


def test_the_worst_case_is_named(rows):
    (changed,) = targets.select(rows, what=targets.STUDY, blocks=2, contender="idiomatic")
    changed["times_slower_than_ours"] = 0.5
    judged = next(judged for judged in targets.summary(rows) if judged["reached"] == "no")
    assert (judged["measured"], judged["cases"], judged["cases_reached"]) == (0.5, 2, 1)
    assert judged["worst_case"] == "fsi relu, blocks 2"


def test_nothing_is_reached_without_measurements(rows):
    assert {judged["reached"] for judged in targets.summary([])} == {"not measured"}
    without = [row for row in rows if row["contender"] != "compiled"]
    assert not_reached(without) == ["training step, seeds 10: times faster than the best of compiled and vmap"]


@pytest.fixture
def miniature(monkeypatch, reference_kernel):
    for key, value in SMALL.items():
        monkeypatch.setitem(targets.SIZE, key, value)
    learned = Architecture(name="symmetric", blocks=2, filters=2, kernel_size=3, flux="learned")
    monkeypatch.setattr(measurements, "study_networks", lambda: [(learned, 2)])
    monkeypatch.setattr(measurements, "SIGNALS", 8)
    monkeypatch.setattr(measurements, "SIZES", {"filters": (2, 4), "length": (16,), "channels": (2, 3)})
    monkeypatch.setattr(measurements, "MORE_SEEDS", (1, 2))
    monkeypatch.setattr(measurements, "MORE_BLOCKS", (1,))
    monkeypatch.setattr(timing, "SLICE", 1e-6)
    monkeypatch.setattr(timing, "COPIED", 2**16)
    monkeypatch.setattr(timing, "PRODUCTS", (64,))
    monkeypatch.setenv("SCHEMENETS_DEVICE", "cpu")
    yield
    torch.set_flush_denormal(False)


def read(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_whole_run(miniature, tmp_path, capsys):
    assert __main__.main(["--without-compile", "--out", str(tmp_path / "speed.csv")]) == 0
    found, printed = read(tmp_path / "speed.csv"), capsys.readouterr().out
    ours = {}
    for row in found:
        if row["contender"] == "ours":
            ours[tuple(row[key] for key in targets.CONFIGURATION)] = float(row["milliseconds_per_seed"])
    assert len(ours) == len(measurements.measurements(quick=False, compiled=False))
    rival_times = dict.fromkeys(("idiomatic", "vmap"), 0)
    for row in found:
        own = ours[tuple(row[key] for key in targets.CONFIGURATION)]
        assert float(row["times_slower_than_ours"]) == pytest.approx(float(row["milliseconds_per_seed"]) / own)
        if row["gflops"]:
            peak = float(row["fma_gflops"] or row["blas_gflops"])
            assert float(row["share_of_peak"]) == pytest.approx(float(row["gflops"]) / peak)
        assert ", kernel reference" in row["machine"]
        if row["contender"] != "ours":
            rival_times[row["contender"]] += 1
    assert rival_times["idiomatic"] == len(ours)
    assert 0 < rival_times["vmap"] < len(ours)
    judged = read(tmp_path / "speed_targets.csv")
    assert [row["target"] for row in judged] == [target.name for target in targets.TARGETS]
    assert all(row["target"] in printed for row in judged)
    every, shares = (next(row for row in judged if row["target"].startswith(s)) for s in ("any", "whole epochs, every"))
    slowness = [float(row["times_slower_than_ours"]) for row in found if row["what"] in (targets.STUDY, targets.OTHER)]
    assert float(every["measured"]) == min(x for x in slowness if x != 1)
    assert shares["reached"] == "not measured"  # the reference kernel has no compiled loops


def test_the_benchmark_of_gpus_says_that_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "got no GPU" in capsys.readouterr().err


def test_what_is_measured_on_a_gpu(miniature, monkeypatch):
    """On the processor, where nothing is captured."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(gpu, "captured", lambda function, example: function)
    monkeypatch.setattr(rivals, "compiled", lambda net: net)
    rows = [row for measure in gpu.todo(quick=False, compiled=True) for row in measure()]
    contenders = {row["contender"] for row in rows if row["what"] == targets.STEP}
    assert contenders == {"ours", "operations", "compiled_graph", "processor", "idiomatic", "compiled", "vmap"}
    assert {row["network"] for row in rows if row["what"] == targets.STUDY} == {"symmetric"}
    assert {row["seeds"] for row in rows} == {1, targets.SEEDS, 100}
    assert all(row["times_slower_than_ours"] == 1 for row in rows if row["contender"] == "ours")
    assert set(rows[0]) | {"machine"} == set(gpu.COLUMNS)


def test_the_study_is_measured_with_the_seeds_that_it_trains():
    found = measurements.study_networks()
    assert len(found) == len(set(found))
    assert {seeds for _, seeds in found} == {2, 10}
    assert {a.name for a, _ in found} >= {"resnet", "symmetric", "fsi", "du_fort_frankel", "implicit"}


# Solvers


@pytest.fixture
def small(monkeypatch, reference_kernel):
    monkeypatch.setattr(solvers, "POINTS", (16, 32))
    monkeypatch.setattr(solvers, "COUNTS", (3,))
    monkeypatch.setattr(solvers, "ROUNDS", 1)
    monkeypatch.setattr(solvers, "SLICE", 1e-6)


PROBLEM = Problem(tau=100.0)
GRID = PROBLEM.on(16)


def right_hand_sides(count):
    return np.random.default_rng(0).random((count, GRID.N))


def write_trained(root, method="cycle-1", errors=(0.3, 0.1, 0.2), omega=None):
    """A job whose seeds ended with these validation errors, None for a diverged one."""
    results, job = Layout(root), f"solve_screened_poisson/{method}/points-256"
    unet = Architecture(name="unet", blocks=1, filters=2, kernel_size=3, flux="relu")
    architecture = unet if method == "unet-4" else CycleArchitecture(problem=PROBLEM)
    nets = {seed: architecture.build(seed) for seed in range(len(errors))}
    for net in nets.values() if omega else ():
        net.weights.omega = torch.full((2,), omega)
    trained.write(results, job, nets)
    record = files.read_json(results.file("train", job, "record"))
    for run, error in zip(record["runs"], errors, strict=True):
        run |= {"validation": error, "status": "diverged" if error is None else "ok"}
    files.write_json(results.file("train", job, "record"), record)
    return results


def test_a_whole_run_of_the_solvers(small, tmp_path, capsys):
    write_trained(tmp_path)
    out = tmp_path / "solvers.csv"
    assert solvers.main(["--quick", "--results", str(tmp_path), "--out", str(out)]) == 0
    table, printed = pd.read_csv(out), capsys.readouterr().out
    assert tuple(table.columns) == solvers.COLUMNS
    assert set(table["points"]) == {15, 16, 256}  # --quick: the smallest grid; and that of the training
    assert set(table["right_hand_sides"]) == {3, 32}
    assert table["machine"].str.contains("PyAMG").all()
    linear = {"banded", "pyamg-ruge_stuben", "pyamg-smoothed_aggregation", "textbook"}
    steps = table["contender"].str.contains("-training")
    assert list(table.loc[steps, "contender"]) == [f"{method}-training-torch" for method in solvers.TRAINED]
    assert (table.loc[steps, "milliseconds_per_right_hand_side"] > 0).all()
    for problem, own in table[~steps].groupby("problem"):
        direct, cycles = own.iloc[0], {"cycle-1", "cycle-1-iterated"} if problem == "screened_poisson" else set()
        expected = linear if "poisson" in problem else {"newton", "textbook"}
        assert set(own["contender"]) == expected | cycles
        assert direct["contender"] in ("banded", "newton")
        times = own["milliseconds_per_right_hand_side"]
        np.testing.assert_allclose(own["times_slower_than_banded"], times / times.iloc[0])
        solved = own[own["iterations"].notna()]
        assert set(solved["contender"]) == (expected | cycles) - {direct["contender"], "cycle-1"}
        assert (solved["relative_error"] < 1e-6).all()
        assert own["setup_milliseconds"].notna().equals(own["contender"].str.startswith("pyamg"))
        assert (f"{problem}, {direct['points']} points: no trained networks" in printed) == (not cycles)
    once = table[table["contender"] == "cycle-1"]
    assert list(once["dtype"]) == ["float64", "float32"]
    assert (once["relative_error"] > 1e-6).all()


def test_solvers_agree_and_unfinished_iterations_have_no_time(small, tmp_path):
    networks = solvers.trained(write_trained(tmp_path, omega=2.9), "screened_poisson", GRID, home=GRID)
    rows = {row["contender"]: row for row in solvers.compared("", GRID, right_hand_sides(3), networks)}
    assert rows["banded"]["times_slower_than_banded"] == 1
    assert rows["pyamg-ruge_stuben"]["relative_error"] < 1e-6
    missing = rows["cycle-1-iterated"]
    assert all(missing.get(key) is None for key in ("milliseconds_per_right_hand_side", "iterations", "relative_error"))


def test_right_hand_sides_are_those_of_the_studys_test():
    config = copy.deepcopy(Study.load(Path(__file__).parents[1]).config)
    config["solvers"]["problems"] = {name: config["solvers"]["problems"][name] for name in ("charbonnier", "poisson")}
    b = {(name, grid.N): b for name, grid, b in solvers.cases(Study(config), (64, 256), (2,))}
    assert set(b) == {("charbonnier", 64), ("charbonnier", 256), ("poisson", 63), ("poisson", 255)}
    fine, coarse = b["charbonnier", 256], b["charbonnier", 64]
    np.testing.assert_allclose(fine.reshape(2, 64, 4).mean(-1), coarse)
    spec = {"family": "piecewise_affine", "length": 256, "noise": 10, "seed": config["signals"]["seed"], "test": 2}
    made = signals.generate(spec)["test/noisy"] / 255
    np.testing.assert_allclose(fine, made, rtol=1e-6)


def test_bands_are_those_of_the_matrix():
    for problem in (PROBLEM, Problem(tau=10.0, order=2), Problem(tau=6640.0, screened=False)):
        grid = problem.on(15)
        b = np.random.default_rng(0).random((2, 15))
        x, _ = solvers.direct(grid, b)["banded"].run()
        np.testing.assert_allclose(grid(torch.from_numpy(x)), b, atol=1e-9)


def test_the_median_seed_and_unets_on_the_grid_of_their_training(tmp_path):
    results = write_trained(tmp_path, errors=(0.3, 0.1, 0.2, None))
    write_trained(tmp_path, "unet-4")
    found = solvers.trained(results, "screened_poisson", GRID, home=GRID)
    assert set(found) == {"cycle-1", "unet-4"}
    expected = CycleArchitecture(problem=PROBLEM).build(2)
    assert torch.equal(found["cycle-1"].weights.W, expected.weights.W)
    assert set(solvers.trained(results, "screened_poisson", GRID, home=PROBLEM.on(32))) == {"cycle-1"}
    assert solvers.trained(results, "poisson", GRID, home=GRID) == {}
