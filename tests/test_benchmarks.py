"""Benchmarks: rivals compute the same, work and memory are counted right, targets are judged by what was measured."""

import copy
import csv
import json
import subprocess
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import trained
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import (
    __main__,
    certified,
    checkouts,
    explanations,
    gpu,
    jobs,
    measurements,
    rivals,
    solvers,
    study,
    table,
    targets,
    timing,
)
from benchmarks.jobs import Job, chain
from schemenets import files, fluxes, kernels, networks, operators, signals, stability
from schemenets.errors import InvalidParameterError
from schemenets.multigrid import CycleArchitecture, Problem, Solving
from schemenets.networks import Architecture, resnet
from schemenets.study.config import Study
from schemenets.study.layout import Layout

ROOT = Path(__file__).parents[1]

SMALL = {"filters": 3, "kernel_size": 5, "channels": 1, "length": 24, "batch": 4}


@pytest.fixture
def reference_kernel(monkeypatch):
    """Kernels are tested elsewhere; compiling one for every case here would take minutes."""
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


def copied(architecture, net):
    """The idiomatic network with the weights of ours."""
    idiomatic = rivals.idiomatic(architecture).to(next(net.parameters()).dtype)
    blocks = [layer for layer in idiomatic if not isinstance(layer, torch.nn.Conv1d)]
    pairs = []
    for theirs, own in zip(blocks, net.blocks, strict=True):
        if architecture.name == "resnet":
            pairs += [(theirs.first.weight, own.W1), (theirs.first.bias, own.b1)]
            pairs += [(theirs.second.weight, own.W2), (theirs.second.bias, own.b2)]
        else:
            pairs += [(theirs.K, own.K), (theirs.log_tau, own.tau.log())]
        if own.lam is not None:
            pairs.append((theirs.activation.log_lam, own.lam.log()[:, None]))
    if architecture.channels > 1:
        pairs += [(idiomatic[0].weight, net.lift), (idiomatic[-1].weight, net.projection)]
    with torch.no_grad():
        for there, here in pairs:
            there.copy_(here.view_as(there))
    return idiomatic


def disturbed(net):
    """The network in double precision with weights that are neither zero nor equal to each other."""
    with torch.no_grad():
        for parameter in net.double().parameters():
            parameter += 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    return net


def assert_same_values(u, ours, *others):
    """Output, derivative with respect to the signals, and squares of those with respect to all weights."""
    gradient = torch.randn_like(u)

    def values(y, weights):
        own, *derivatives = torch.autograd.grad(y, [u, *weights], gradient)
        return y, own, sum(x.square().sum() for x in derivatives), sum(x.numel() for x in weights)

    expected = values(*ours)
    for other in others:
        torch.testing.assert_close(values(*other), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("flux", rivals.FLUXES)
@pytest.mark.parametrize("name", rivals.BLOCKS)
def test_rivals_compute_the_same(name, flux, channels, reference_kernel):
    torch.manual_seed(0)
    architecture = Architecture(name=name, blocks=2, filters=3, kernel_size=5, flux=flux, channels=channels)
    nets = [disturbed(networks.build(**architecture.arguments(), seed=seed)) for seed in range(2)]
    idiomatic = [copied(architecture, net) for net in nets]
    vmap, parameters = rivals.vmapped(idiomatic)
    f = torch.rand(2, 4, 24, dtype=torch.float64).requires_grad_()
    ours = networks.stack(nets)
    alone = torch.stack([net(u[:, None]).squeeze(1) for net, u in zip(idiomatic, f, strict=True)])
    assert_same_values(
        f,
        (ours(f), list(ours.parameters())),
        (alone, [x for net in idiomatic for x in net.parameters()]),
        (vmap(f.unsqueeze(2)).squeeze(2), parameters),
    )


@pytest.mark.parametrize("flux", rivals.FLUXES)
@pytest.mark.parametrize("name", rivals.BLOCKS)
def test_single_blocks_compute_the_same(name, flux, reference_kernel):
    torch.manual_seed(0)
    architecture = Architecture(name=name, blocks=1, filters=3, kernel_size=5, flux=flux, channels=2)
    net = disturbed(architecture.build())
    if name == "resnet":
        net.blocks[0].b2.data.zero_()
    theirs = rivals.idiomatic_block(architecture).double()
    theirs.load_state_dict(copied(architecture, net)[1].state_dict(), strict=False)
    u = torch.rand(4, 2, 24, dtype=torch.float64).requires_grad_()
    weights = [x for key, x in net.blocks[0].named_parameters() if key != "b2"]
    assert_same_values(u, (rivals.our_block(net.blocks[0])(u), weights), (theirs(u), list(theirs.parameters())))


@pytest.mark.slow  # needs a C++ compiler
@pytest.mark.filterwarnings("default")
def test_compiled_rivals_compute_the_same():
    net = rivals.idiomatic(Architecture(name="symmetric", blocks=2, filters=3, kernel_size=5, flux="perona_malik"))
    u = torch.rand(4, 1, 24)
    torch.testing.assert_close(rivals.compiled(net)(u), net(u))


ANY = [
    *(chain(name, flux, 2, filters=2, kernel_size=3) for name in networks.available() for flux in fluxes.available()),
    CycleArchitecture(problem=Problem(tau=1.0), skip="concatenated"),
]


@pytest.mark.parametrize("architecture", ANY, ids=lambda architecture: f"{architecture.name}-{architecture.flux}")
def test_networks_on_torch_convolutions_compute_the_same(architecture, reference_kernel):
    torch.manual_seed(0)
    net = disturbed(architecture.build())
    f = torch.rand(3, 16, dtype=torch.float64)
    with rivals.on_torch_convolutions():
        on_torch = net(f)
    torch.testing.assert_close(net(f), on_torch, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("what", [targets.PASSES, targets.STEP])
@pytest.mark.parametrize("name", rivals.BLOCKS)
def test_flops_are_those_that_torch_counts(name, what):
    several = what == targets.PASSES
    architecture = chain(name, "relu", 1 if several else 3, filters=3, channels=2 if several else 1)
    u = torch.rand(4, architecture.channels, 24, requires_grad=several)
    net = (rivals.idiomatic_block if several else rivals.idiomatic)(architecture)
    with FlopCounterMode(display=False) as counter:
        net(u).sum().backward()
    row = Job(architecture=architecture, batch=4, length=24).row(what)
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


def test_multiply_adds_of_the_peak_are_counted(monkeypatch):
    simd = pytest.importorskip("schemenets.kernels.simd")

    def seconds(turns):
        assert all(turn(1) > 0 for turn in turns.values())
        return {name: timing.Seconds(1e-3 * int(name), 1.0) for name in turns}

    monkeypatch.setattr(timing, "seconds", seconds)
    assert timing.peak_gflops() == pytest.approx(2 * simd.lanes(np.float32) * timing.MULTIPLY_ADDS / 1e-3 / 1e9)


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
    trainer = Job(architecture=chain("symmetric", "relu"), seeds=2).trainer()

    def epoch():
        measurements.whole_epoch(trainer)

    def work_besides():
        epoch()
        start = time.process_time()
        while time.process_time() < start + 0.2:
            pass

    alone, besides = map(timing.share_in_compiled_loops, (epoch, work_besides))
    assert 0.3 < alone <= 1
    assert besides < 0.7 * alone
    assert timing.share_in_compiled_loops(torch.rand(10**6).sin) == 0
    with rivals.on_torch_convolutions():
        assert timing.share_in_compiled_loops(epoch) is None


def test_turns_are_timed_by_call(monkeypatch):
    now, calls = [0.0], {"fast": 0, "slow": 0}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def contender(name, *seconds):
        def run():
            now[0] += seconds[min(calls[name], len(seconds) - 1)]
            calls[name] += 1

        return timing.turn(run)

    contenders = {"fast": contender("fast", 9.0, 0.01), "slow": contender("slow", 1.0, 1.0, *range(1, 7))}
    found = timing.seconds(contenders, rounds=6)
    assert found["fast"] == pytest.approx((0.01, 0.01))
    assert found["slow"] == pytest.approx((2, 5))  # a fifth and four fifths of the way from 1 to 6
    assert calls["fast"] == 2 + 6 * round(timing.SLICE / 0.01)


def row(what, architecture=None, contender="ours", times=1.0, seeds=targets.SEEDS, **changed):
    """A row of the table of a run in which everything reaches its target, just so."""
    architecture = architecture or chain("resnet", "relu", 1 if what == targets.PASSES else targets.BLOCKS)
    about = Job(architecture=architecture, seeds=seeds).row(what)
    measured = {f"{memory}_mib_per_seed": 2.0 for memory in ("saved", "peak", "training")} | {"share_of_peak": 0.4}
    return {**about, **measured, "contender": contender, "times_slower_than_ours": times, **changed}


@pytest.fixture
def rows():
    found = []
    for flux, bound in (("relu", 18), ("perona_malik", 24)):
        block, net = (chain("resnet", flux, blocks) for blocks in (1, targets.BLOCKS))
        found += [row(targets.PASSES, block), row(targets.PASSES, block, "idiomatic", bound)]
        for contender, times in {"ours": 1, "idiomatic": 20, "compiled": 5, "vmap": 6}.items():
            found.append(row(targets.STEP, net, contender, times))
        found.append(row(targets.STEP, net, "idiomatic", 5, seeds=1))
    several = chain("symmetric", "relu", channels=8)
    found += [row(what, several, "idiomatic", 3) for what in (targets.PASSES, targets.STEP)]
    free, safeguarded = chain("fsi", "relu"), chain("safeguarded_fsi", "relu")
    certified, shallow = replace(free, certified=True), replace(free, blocks=2)
    for architecture, share in ((free, 0.85), (certified, 0.6), (safeguarded, 0.6), (shallow, 0.1)):
        found.append(row(targets.STUDY, architecture, share_in_compiled_loops=share))
        found.append(row(targets.STUDY, architecture, "idiomatic"))
    for name, times in (("unet", 2), ("resnet", 0.5)):
        found += [row(targets.AGAINST, chain(name, "relu"))]
        found += [row(targets.AGAINST, chain(name, "relu"), "other", times, saved_mib_per_seed=1.9)]
    return found


def not_reached(rows):
    return [judged["target"] for judged in targets.summary(rows) if judged["reached"] != "yes"]


def test_bounds_that_are_just_kept_are_reached(rows):
    assert not_reached(rows) == []


FASTER = "times faster than idiomatic"
SHARE = "epochs, seeds 10, 4 or more blocks {} constraints: share of CPU time in compiled loops"
IDIOMATIC = {"contender": "idiomatic"}


@pytest.mark.parametrize(
    ("about", "column", "value", "expected"),
    [
        ({"what": targets.PASSES, "flux": "relu", "channels": 1} | IDIOMATIC, "times_slower_than_ours", 17.9,
         f"one block, relu, seeds 10: {FASTER}"),
        ({"what": targets.PASSES, "flux": "perona_malik"} | IDIOMATIC, "times_slower_than_ours", 23.9,
         f"one block, perona_malik, seeds 10: {FASTER}"),
        ({"what": targets.PASSES, "flux": "perona_malik", "contender": "ours"}, "share_of_peak", 0.39,
         "one block, seeds 10: share of the measured peak"),
        ({"what": targets.STEP, "flux": "perona_malik", "seeds": 10} | IDIOMATIC, "times_slower_than_ours", 19.9,
         f"training step, seeds 10: {FASTER}"),
        ({"what": targets.STEP, "flux": "relu", "seeds": 1} | IDIOMATIC, "times_slower_than_ours", 4.9,
         f"training step, seeds 1: {FASTER}"),
        ({"what": targets.STEP, "flux": "relu", "contender": "vmap"}, "times_slower_than_ours", 4.9,
         "training step, seeds 10: times faster than the best of compiled and vmap"),
        ({"what": targets.STEP, "channels": 8}, "times_slower_than_ours", 2.9, f"states of 8 channels: {FASTER}"),
        ({"what": targets.STUDY, "blocks": 2} | IDIOMATIC, "times_slower_than_ours", 0.99,
         f"networks of the study: {FASTER}"),
        ({"what": targets.STUDY, "network": "fsi", "certified": False, "blocks": 4, "contender": "ours"},
         "share_in_compiled_loops", 0.84, SHARE.format("without")),
        ({"what": targets.STUDY, "certified": True, "contender": "ours"}, "share_in_compiled_loops", 0.59,
         SHARE.format("with")),
        ({"what": targets.STUDY, "network": "safeguarded_fsi", "contender": "ours"}, "share_in_compiled_loops", 0.59,
         SHARE.format("with")),
        ({"what": targets.AGAINST, "network": "unet", "contender": "other"}, "times_slower_than_ours", 1.9,
         "learned cycles and U-nets: times faster than the other checkout"),
        ({"what": targets.AGAINST, "network": "resnet", "contender": "other"}, "saved_mib_per_seed", 1.8,
         "kept between forward and backward: memory over that of the other checkout"),
        ({"what": targets.AGAINST, "network": "unet", "contender": "ours"}, "peak_mib_per_seed", 2.3,
         "forward and backward: memory over that of the other checkout"),
        ({"what": targets.AGAINST, "network": "unet", "contender": "ours"}, "training_mib_per_seed", 2.3,
         "training: memory over that of the other checkout"),
    ],
)  # fmt: skip
def test_one_case_that_misses_its_bound_is_enough(rows, about, column, value, expected):
    (changed,) = targets.select(rows, **about)
    changed[column] = value
    assert not_reached(rows) == [expected]


def test_the_worst_case_is_named(rows):
    (changed,) = targets.select(rows, what=targets.STUDY, blocks=2, contender="idiomatic")
    changed["times_slower_than_ours"] = 0.5
    judged = next(judged for judged in targets.summary(rows) if judged["reached"] == "no")
    assert (judged["measured"], judged["cases"], judged["cases_reached"]) == (0.5, 4, 3)
    assert judged["worst_case"] == "fsi relu, blocks 2"


def test_nothing_is_reached_without_measurements(rows):
    assert {judged["reached"] for judged in targets.summary([])} == {"not measured"}
    without = [row for row in rows if row["contender"] != "compiled"]
    assert not_reached(without) == ["training step, seeds 10: times faster than the best of compiled and vmap"]


def test_cases_are_named_by_what_is_unusual():
    usual, problem = chain("resnet", "relu"), Problem(tau=10.0)
    assert Job(architecture=usual).row(targets.STEP)["case"] == "resnet relu"
    assert Job(architecture=usual).row(targets.PASSES)["case"] == "resnet relu, blocks 4"
    other = Job(architecture=replace(chain("symmetric", "relu", 2, filters=4), certified=True), seeds=6, batch=32)
    assert other.row("")["case"] == "symmetric relu, certified, filters 4, batch 32, blocks 2, seeds 6"
    cycle = measurements.solver(CycleArchitecture(problem=problem), Solving(problem=problem), 32, "cycle-1 for p")
    assert replace(cycle, seeds=9).row("")["case"] == "cycle-1 for p, seeds 9"


@pytest.fixture
def miniature(monkeypatch, reference_kernel):
    for key, value in SMALL.items():
        monkeypatch.setitem(targets.SIZE, key, value)
    monkeypatch.setattr(jobs, "SIGNALS", 8)
    learned = Job(architecture=Architecture(name="symmetric", blocks=2, filters=2, kernel_size=3, flux="learned"))
    problem = Problem(tau=1.0, screened=False)
    cycle = measurements.solver(CycleArchitecture(problem=problem), Solving(problem=problem), 4, "cycle-1 for p")
    monkeypatch.setattr(measurements, "study_jobs", lambda: [learned, replace(cycle, seeds=2)])
    monkeypatch.setattr(measurements, "compared_jobs", lambda seeds: [replace(cycle, seeds=seeds)])
    monkeypatch.setattr(measurements, "SIZES", {"filters": (2, 4), "length": (16,), "channels": (2, 3)})
    monkeypatch.setattr(measurements, "STEPS", ({"blocks": 1},))
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "SLICE", 1e-6)
    monkeypatch.setenv("SCHEMENETS_DEVICE", "cpu")
    yield
    torch.set_flush_denormal(False)


def read(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_whole_run(miniature, tmp_path, capsys):
    """With this very checkout as the other one."""
    out = tmp_path / "speed.csv"
    assert __main__.main(["--without-compile", "--against", str(checkouts.ROOT), "--out", str(out)]) == 0
    found, printed = read(out), capsys.readouterr().out
    cases: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in found:
        cases.setdefault((row["what"], row["case"]), {})[row["contender"]] = row
        assert float(row["spread"]) >= 1
        assert ", kernel reference" in row["machine"]
        if row["share_of_peak"]:
            assert float(row["share_of_peak"]) == pytest.approx(float(row["gflops"]) / float(row["peak_gflops"]))
    for (what, case), own in cases.items():
        ms = {name: float(row["milliseconds_per_seed"]) for name, row in own.items()}
        assert {name: float(row["times_slower_than_ours"]) for name, row in own.items()} == pytest.approx(
            {name: time / ms["ours"] for name, time in ms.items()}
        )
        assert set(own) - {"vmap"} == {"ours", "other" if what == targets.AGAINST else "idiomatic"}, case
    assert len(cases) == len(found) - sum(row["contender"] != "ours" for row in found)
    compared = [own for (what, _), own in cases.items() if what == targets.AGAINST]
    assert [own["other"]["case"] for own in compared] == ["cycle-1 for p", "cycle-1 for p, seeds 1"]
    for own in compared:
        assert own["other"]["other_commit"] == own["ours"]["other_commit"] == timing.commit()
        assert own["other"]["saved_mib_per_seed"] == own["ours"]["saved_mib_per_seed"] != ""
    judged = read(out.with_name("speed_targets.csv"))
    assert [row["target"] for row in judged] == [target.name for target in targets.TARGETS]
    assert all(row["target"] in printed for row in judged)
    by_name = {row["target"]: row for row in judged}
    slowness = [float(row["times_slower_than_ours"]) for row in found if row["what"] == targets.STUDY]
    assert float(by_name[f"networks of the study: {FASTER}"]["measured"]) == min(x for x in slowness if x != 1)
    assert by_name[SHARE.format("without")]["reached"] == "not measured"  # the reference kernel has no compiled loops


def test_only_what_is_asked_for_is_measured(miniature, tmp_path):
    assert __main__.main(["--without-compile", "--only", targets.STUDY, "--out", str(tmp_path / "some.csv")]) == 0
    assert {row["what"] for row in read(tmp_path / "some.csv")} == {targets.STUDY}


def test_a_checkout_without_the_library_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="got no src/schemenets there"):
        checkouts.Checkout(tmp_path)


def test_the_benchmark_of_gpus_says_that_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "got no GPU" in capsys.readouterr().err


def test_what_is_measured_on_a_gpu(miniature, monkeypatch):
    """On the processor, where nothing is captured."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(gpu, "captured", lambda function, example: function)
    monkeypatch.setattr(gpu, "MORE_SEEDS", 3)
    monkeypatch.setattr(rivals, "compiled", lambda net: net)
    rows = [row for measure in gpu.todo(quick=False, compiled=True) for row in measure()]
    contenders = {row["contender"] for row in rows if row["what"] == targets.STEP}
    assert contenders == {"ours", "operations", "compiled_graph", "processor", "idiomatic", "compiled", "vmap"}
    assert {row["network"] for row in rows if row["what"] == targets.STUDY} == {"symmetric"}
    assert {row["seeds"] for row in rows} == {3, targets.SEEDS}
    assert all(row["times_slower_than_ours"] == 1 for row in rows if row["contender"] == "ours")
    assert set(rows[0]) | {"machine"} == set(gpu.COLUMNS)


def test_the_study_is_measured_as_it_trains():
    found = measurements.study_jobs()
    assert len(found) == len(set(found)) == len({job.row("")["case"] for job in found})
    assert {job.seeds for job in found} == {3, 5, 10, 16}
    assert {job.architecture.name for job in found} >= {"resnet", "symmetric", "implicit", "cycle", "multigrid_unet"}
    assert {job.length for job in found} == {255, 256}
    for job in (found[0], found[-1]):
        again = Job.read(job.arguments())
        assert (again, again.method) == (job, job.method)


def test_another_checkout_is_compared_on_what_the_study_trains():
    found = measurements.compared_jobs(1)
    assert {job.seeds for job in found} == {1}
    assert {job.architecture.name for job in found} >= {"cycle", "unet", "multigrid_unet", "safeguarded_fsi"}
    assert 8 in {getattr(job.architecture, "channels", 1) for job in found}
    assert len({job.row("")["case"] for job in found}) == len(found)


# Solvers


@pytest.fixture
def small(monkeypatch, reference_kernel):
    monkeypatch.setattr(solvers, "POINTS", (16, 32))
    monkeypatch.setattr(solvers, "COUNTS", (3,))
    monkeypatch.setattr(solvers, "ROUNDS", 1)
    monkeypatch.setattr(solvers, "SLICE", 1e-6)
    monkeypatch.setattr(solvers, "SEEDS", 2)
    monkeypatch.setattr(solvers, "BATCHES", 1)


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
    spec = {"family": "piecewise_affine", "length": 256, "noise": 10, "seed": Study(config).data["seed"], "test": 2}
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


def test_costs_of_jobs_are_noted(tmp_path):
    """By what stands for ``python`` in the rules, whether a job succeeds or not."""
    shims, notes = study.shimmed(tmp_path)
    for module, status in (("platform", 0), ("no_such_module", 1)):
        assert subprocess.run([shims / "python", "-m", module, "train"], capture_output=True).returncode == status
    costs = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [rule for rule, *_ in costs] == ["train", "train"]
    assert all(0 < cpu < 60 and 0 < wall < 60 and 1 < size < 1000 for _, cpu, wall, size in costs)


def test_the_table_of_the_study_is_by_rule():
    costs = [("train", 60.0, 500.0), ("evaluate", 6.0, None), ("train", 30.0, 600.4)]
    found = {row["rule"]: row for row in study.rows(costs, 102.0, study.WORKFLOW, "smoke", "here")}
    assert list(found) == ["all", "train", "evaluate", study.WORKFLOW]
    train = {"jobs": 2, "cpu_minutes": 1.5, "share": 0.8824, "longest_job_minutes": 1.0, "largest_job_megabytes": 600}
    assert {key: found["train"][key] for key in train} == train
    assert (found["all"]["jobs"], found["all"]["cpu_minutes"]) == (3, 1.7)
    assert (found[study.WORKFLOW]["cpu_minutes"], found[study.WORKFLOW]["jobs"]) == (0.1, 0)
    assert found["evaluate"]["largest_job_megabytes"] is None
    assert all(set(row) == set(study.COLUMNS) for row in found.values())


def test_what_a_run_cost_is_read_from_its_records(tmp_path, capsys):
    path = tmp_path / "costs_of_the_map.csv"
    (tmp_path / "costs.csv").write_text("stage,network,jobs\ncells,,9\ntune,resnet,3\n")
    assert study.main(["--records", str(ROOT / "results/map"), "--cpu-minutes", "110", "--out", str(path)]) == 0
    records = [files.read_json(record)["provenance"] for record in (ROOT / "results/map/map").iterdir()]
    everything, cells, rest = pd.read_csv(path).to_dict("records")
    assert (cells["rule"], cells["jobs"], cells["tier"]) == ("cells", 52, "map")
    assert cells["cpu_minutes"] == pytest.approx(sum(each["cpu_seconds"] for each in records) / 60, abs=0.01)
    assert (everything["rule"], everything["cpu_minutes"], rest["rule"]) == ("all", 110, study.REST)
    assert rest["cpu_minutes"] == pytest.approx(110 - cells["cpu_minutes"], abs=0.02)
    assert everything["machine"].endswith(f"commit {records[0]['git']['commit'][:7]}")
    costs = pd.read_csv(tmp_path / "costs.csv")
    assert costs.query("stage != 'cells'")[["stage", "network", "jobs"]].to_numpy().tolist() == [["tune", "resnet", 3]]
    assert 9 not in set(costs.query("stage == 'cells'")["jobs"])
    assert "CPU-minutes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        study.main(["--records", "results"])
    assert "--records and --cpu-minutes need each other" in capsys.readouterr().err


def symmetric_network(**arguments):
    return (
        Architecture(name="symmetric", flux="linear", blocks=3, filters=2, kernel_size=3, **arguments).build().double()
    )


def test_filters_of_norm_1_are_what_certified_networks_do_not_have():
    with certified.norm_1():
        net = symmetric_network(certified=True)
        net.blocks[0].K = 5 * net.blocks[0].K.detach()
        assert operators.norm_bound(net.blocks[0].K).item() == pytest.approx(1, abs=1e-5)
        assert stability.certify(net).holds
    assert operators.norm_bound(symmetric_network(certified=True).blocks[0].K).item() > 1.1


def test_long_steps_are_those_that_certified_networks_refuse():
    block = symmetric_network(certified=True).blocks[0]
    step = 7.9 * 2 / operators.norm_bound(block.K.detach()).square()
    with certified.long_steps(8):
        symmetric_network(certified=True).blocks[0].tau = step
    with pytest.raises(InvalidParameterError, match="tau: got"):
        block.tau = step


@pytest.mark.slow
def test_certified_networks_are_compared_with_free_ones(reference_kernel):
    rows = certified.rows(2, 1, dict.fromkeys(certified.COUNTS, 64))
    found = {(row["network"], row["flux"], row["biases"]): row for row in rows}
    assert len(found) == 2 * len(certified.CASES) + 5
    assert all(set(row) == set(certified.COLUMNS) for row in found.values())
    for case in (("perona_malik", True), ("perona_malik", False), ("learned", True)):
        assert found["certified", *case]["step"] <= 1
        assert found["certified, filters of norm 1", *case]["step"] <= 1
        assert (found["certified", *case]["drift"] > 0) == case[1]
        assert found["free", *case]["drift"] is None


OWN_FLUXES = (
    explanations.pair(20.0),
    explanations.ONE_SIDED_PERONA_MALIK,
    explanations.ONE_SIDED_CHARBONNIER,
    explanations.EVEN_PERONA_MALIK,
    explanations.LEAKY,
)


@pytest.mark.parametrize("flux", OWN_FLUXES, ids=lambda flux: flux.name)
def test_fluxes_of_explanations_are_the_same_as_tensors_and_in_compiled_loops(flux):
    t = torch.linspace(-5, 5, 31, dtype=torch.float64, requires_grad=True)
    w = torch.tensor([1.7], dtype=torch.float64, requires_grad=True)
    shape = (w.expand(31, 1),) if flux.weights else ()
    phi = flux.phi(t, *shape)
    wanted = [t, w] if flux.weights else [t]
    slopes = [torch.autograd.grad(phi[i], wanted, retain_graph=True) for i in range(31)]
    found = [flux.scalar(value, *([(1.7,)] if flux.weights else [])) for value in t.tolist()]
    torch.testing.assert_close(torch.tensor([each[0] for each in found]).double(), phi.detach())
    expected = torch.stack([each[0][i] for i, each in enumerate(slopes)])
    torch.testing.assert_close(torch.tensor([each[1] for each in found]).double(), expected)
    torch.testing.assert_close(flux.dphi(t, *shape).detach(), expected)
    for each, slope in zip(found, slopes, strict=True):
        assert not flux.weights or each[2][0] == pytest.approx(slope[1].item(), abs=1e-12)


def test_fluxes_of_explanations_have_the_sides_and_branches_that_their_names_say():
    t = torch.linspace(-5, 5, 31, dtype=torch.float64)
    perona_malik, charbonnier = (fluxes.get(name)(t) for name in ("perona_malik", "charbonnier"))
    torch.testing.assert_close(explanations.ONE_SIDED_PERONA_MALIK(t), perona_malik.relu())
    torch.testing.assert_close(explanations.ONE_SIDED_CHARBONNIER(t), charbonnier.relu())
    torch.testing.assert_close(explanations.EVEN_PERONA_MALIK(t), perona_malik.abs())
    pair, zero = explanations.pair(20.0), torch.zeros(1, dtype=torch.float64)
    for w, sharpens in ((0.9, False), (1.1, True)):
        w = torch.tensor([[w]], dtype=torch.float64)
        torch.testing.assert_close(pair(-t, w=w), -pair(t, w=w))
        assert (pair.derivative(zero, w=w) < 0).item() == sharpens


def of_explanations(change, blocks=3, **arguments):
    with change:
        return Architecture(blocks=blocks, filters=8, kernel_size=5, flux="perona_malik", **arguments).build().double()


def test_biases_on_the_rising_branch_never_sharpen():
    net = of_explanations(explanations.rising(), name="symmetric", biases=True)
    free = of_explanations(nullcontext(), name="symmetric", biases=True)
    for block, other in zip(net.blocks, free.blocks, strict=True):
        block.parametrizations.b1.original.data.fill_(0.15)
        other.b1.data.fill_(0.15)
        assert (block.b1.abs() < block.lam).all()
    assert explanations.sharpen(net) == 0
    assert explanations.sharpen(free) == 1
    signed = of_explanations(nullcontext(), name="symmetric", biases=False, steps="signed")
    signed.blocks[0].tau.data[:6] = -1.0
    assert explanations.sharpen(signed) == pytest.approx(6 / 24)


def test_the_first_start_in_other_units_is_the_start_of_the_resnet():
    f = torch.rand(4, 32, dtype=torch.float64)
    y = of_explanations(nullcontext(), name="symmetric")(f)
    same = of_explanations(explanations.first_start(contrast=0.025, step=16 * 8**-0.5 / 3), name="symmetric")
    torch.testing.assert_close(same(f), y, rtol=1e-6, atol=1e-7)
    first = of_explanations(explanations.first_start(), name="symmetric")
    assert all(block.tau.item() == pytest.approx(0.3) for block in first.blocks)
    assert not torch.allclose(first(f), y, atol=1e-3)


@pytest.mark.parametrize("basis", [explanations.CENTRAL, explanations.DILATED, explanations.SMOOTHED])
def test_long_filters_of_few_weights_stay_what_they_are(basis):
    with explanations.combined(resnet.Block, W2=basis):
        net = Architecture(name="resnet", blocks=2, filters=8, kernel_size=9, flux="relu").build()
    block = net.blocks[0]
    assert block.W1.shape == block.W2.shape == (8, 1, 9)
    assert sum(p.numel() for p in net.parameters()) == 2 * (8 * 9 + 8 * 5 + 9)
    torch.testing.assert_close(block.W2.sum(-1), torch.zeros(8, 1), atol=1e-6, rtol=0)
    for parameter in block.parameters():
        parameter.data.normal_()
    assert torch.linalg.matrix_rank(block.W2[:, 0]) == torch.linalg.matrix_rank(torch.cat([basis, block.W2[:, 0]])) == 5


def test_filters_of_the_smoothed_signal_are_filters_of_the_smoothed_signal():
    u, W = torch.rand(1, 1, 30), torch.rand(1, 1, 5)
    smooth = torch.tensor([[[1.0, 4, 6, 4, 1]]]) / 16
    one = nn.functional.conv1d(u, W @ explanations.SMOOTHED)
    torch.testing.assert_close(one, nn.functional.conv1d(nn.functional.conv1d(u, smooth), W))


def test_unets_with_dead_rectifiers_let_nothing_through():
    net, b = Architecture(name="unet", blocks=2, filters=2, kernel_size=3, flux="relu").build(), torch.rand(3, 32)
    assert explanations.transmission(net, b) > 0
    net.blocks[0].after.b1.data.fill_(-100.0)
    assert explanations.transmission(net, b) == 0
    assert explanations.transmission(lambda b: b + b.mean(-1, keepdim=True), b) == pytest.approx(1.5)


@pytest.mark.slow
def test_all_experiments_are_described(reference_kernel, tmp_path):
    size = explanations.Size(
        seeds=2,
        solvers=2,
        epochs=1,
        rates=(0.01,),
        counts=dict.fromkeys(certified.COUNTS, 64),
        problems={"train": 32, "validation": 4},
    )
    found = list(explanations.rows(list(explanations.EXPERIMENTS), size))
    assert {row["experiment"] for row in found} == set(explanations.EXPERIMENTS)
    assert all(set(row) == set(explanations.COLUMNS) for row in found)
    keys = [(row["experiment"], row["case"], row["setting"], row["measured"]) for row in found]
    assert len(set(keys)) == len(keys)
    table.write(tmp_path / "table.csv", found, explanations.COLUMNS)
    others = explanations.kept(tmp_path / "table.csv", ["depth"])
    assert {row["experiment"] for row in others} == set(explanations.EXPERIMENTS) - {"depth"}
