"""What single stages decide and write, on data and trainings of next to no size."""

import hashlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trained
from fabricated import PROVENANCE

from schemenets import checkpoints, files, networks, signals
from schemenets.errors import CheckpointError, InvalidParameterError
from schemenets.metrics import psnr
from schemenets.multigrid import Problem
from schemenets.study import schema, stages
from schemenets.study.config import RATES_SCHEMA
from schemenets.study.layout import Layout
from schemenets.study.records import provenance
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.stages import _fits, _trained, cells, evaluate, stability, tune
from schemenets.training import Run

ARCHITECTURE = {"name": "symmetric", "blocks": 1, "filters": 2, "kernel_size": 3, "flux": "relu"}
DATASET = "piecewise_affine-10"
JOB = "e/m/blocks-1"
RATE = "piecewise_affine/m/small"
ROOT = Path(__file__).parents[2]
SPEC = {"job": JOB, "experiment": "e", "method": "m", "size": "blocks-1", "architecture": ARCHITECTURE}
PROBLEM = Problem(tau=5.0, flux="charbonnier", contrast=0.1, extent=32.0)
TASKS = {
    "denoising": {"task": {"name": "denoising"}, "architecture": ARCHITECTURE, "dataset": DATASET},
    "solving": {
        "task": {"name": "solving", "problem": PROBLEM.arguments(), "loss": "supervised"},
        "architecture": {"name": "unet", "blocks": 1, "filters": 2, "kernel_size": 3, "flux": "relu"},
        "dataset": "problem_p",
    },
}


@pytest.fixture(autouse=True)
def plain_kernel(monkeypatch):
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")  # compiling takes longer than all of this


@pytest.fixture
def results(tmp_path):
    layout = Layout(tmp_path)
    sizes = {"train": 8, "validation": 4, "test": 3}
    signals.write(
        {"family": "piecewise_affine", "noise": 10, "length": 64, "seed": 1, **sizes}, layout.dataset(DATASET)
    )
    problem = {"problem": PROBLEM.arguments(), "length": 32, "seed": 1, "noise": 10, **sizes, "others": 1, "points": []}
    stages.run("problems", "problem_p", problem, layout)
    return layout


def net(seed):
    return networks.build(**ARCHITECTURE, seed=seed)


# The declarations


def test_every_table_has_the_columns_that_its_stages_declare(made_up):
    """A row may leave columns out, as rows of random networks do those of runs; all rows together may not."""
    layout, study = made_up
    columns, found = {}, {}
    for stage in {stage for sources in stages.declared_tables().values() for stage in sources}:
        module, key = stages.module(stage), stages.record_key(stage)
        records = {name: files.read_json(layout.file(stage, name, key)) for name in study.specs(stage)}
        made_tables = module.tables(records)
        assert set(made_tables) <= set(module.TABLES), stage
        for table, declared in module.TABLES.items():
            assert columns.setdefault(table, declared) == declared
            assert len(set(declared)) == len(declared)
            keys = [key for row in made_tables.get(table, ()) for key in row]
            assert set(keys) <= set(declared), (stage, table)
            found.setdefault(table, set()).update(keys)
    assert {table: sorted(keys) for table, keys in found.items()} == {
        table: sorted(declared) for table, declared in columns.items()
    }


def test_jobs_of_different_stages_share_no_file(made_up):
    _, study = made_up
    files_of = [
        file
        for stage in stages.available()
        for name in study.specs(stage)
        for file in stages.output_files(stage, name).values()
    ]
    assert len(set(files_of)) == len(files_of)


def test_all_that_jobs_read_is_written_by_other_jobs_or_is_there(made_up):
    _, study = made_up
    for stage in stages.available():
        for name, spec in study.specs(stage).items():
            for found in stages.references(stage, spec).values():
                for reference in (each for each in found if not isinstance(each, str)):
                    assert reference[1] in study.specs(reference[0]), (stage, name)
                    assert list(stages.written(reference))
            assert json.loads(json.dumps(spec)) == spec  # the plan and the manifest keep it as JSON


def test_wildcards_are_known_without_importing_a_stage():
    for stage in stages.available():
        assert stages.wildcards(stage) == stages.wildcards(stage)
        assert stages.description(stage).endswith(".")


@pytest.mark.parametrize(
    ("stage", "name", "expected"),
    [
        ("train", "capacity/resnet-relu", "{experiment}/{method}/{size}"),
        ("signals", "a/b", "{dataset}"),
        ("claims", "some", "all"),
    ],
)
def test_a_name_that_is_none_of_a_job_is_refused(stage, name, expected, tmp_path):
    with pytest.raises(InvalidParameterError, match=f"name for {stage}: got '{name}', expected {expected}"):
        stages.run(stage, name, {}, Layout(tmp_path))


# Tuning and training


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("outcomes", "chosen"),  # in dB; of the noisy signals 28, what a diverged run counts as
    [
        ({0.01: [30.0, 31.0], 0.02: [30.0, 32.0], 0.04: [29.0, 30.0]}, 0.02),
        ({0.01: [30.0, 30.0], 0.02: [31.0, 31.0], 0.04: [32.0, 32.0], 0.08: [33.0, 33.0]}, 0.08),
        ({0.01: [29.0, 29.0], 0.02: [40.0, None]}, 0.02),
        ({0.01: [31.0, 31.0], 0.02: [33.0, None]}, 0.01),
        ({0.02: [30.0, 30.0], 0.01: [30.0, 30.0]}, 0.01),
    ],
)
def test_tuning_takes_the_best_rate_and_counts_divergence_as_doing_nothing(
    results, monkeypatch, task, outcomes, chosen
):
    if task == "solving":  # of relative errors the smaller is the better, and 1 is that of doing nothing
        outcomes = {
            rate: [value and 10 ** ((28 - value) / 20) for value in values] for rate, values in outcomes.items()
        }

    def fit(training, arrays, state, label):
        assert training.task.arguments() == TASKS[task]["task"]
        each = zip(training.seeds, training.learning_rate, strict=True)
        found = [(seed, outcomes[rate][seed - 1000]) for seed, rate in each]
        return [Run(seed, None, [value], None if value else 3) for seed, value in found]

    monkeypatch.setattr(_fits.training, "fit", fit)
    spec = TASKS[task] | {"learning_rates": list(outcomes), "seeds": [1000, 1001], "epochs": 1, "batch": 4}
    stages.run("tune", RATE, spec | {"size": "blocks-1", "flat": 0.02}, results)
    tuning = files.read_json(results.file("tune", RATE, "trials"))
    assert (tuning["name"], tuning["learning_rate"]) == (RATE, chosen)
    assert tuning["at_edge_of_grid"] == (chosen in (min(outcomes), max(outcomes)))
    noisy, clean = (signals.read(results.dataset(DATASET))[f"validation/{part}"] for part in ("noisy", "clean"))
    nothing = 1 if task == "solving" else psnr(noisy, clean).mean()
    assert tuning["nothing"] == pytest.approx(nothing, rel=1e-12)
    assert [trial["learning_rate"] for trial in tuning["trials"]] == sorted(outcomes)
    for trial in tuning["trials"]:
        assert [run["seed"] for run in trial["runs"]] == spec["seeds"]
        assert [run["validation"] for run in trial["runs"]] == outcomes[trial["learning_rate"]]
        values = [nothing if value is None else value for value in outcomes[trial["learning_rate"]]]
        assert trial["mean_validation"] == pytest.approx(np.mean(values), rel=1e-12)


@pytest.mark.parametrize(
    ("best", "flat", "tried"),
    [
        (3, 0.0, [2, 3, 4]),  # in the middle
        (0, 0.0, [0, 1, 2, 3, 4]),
        (5, 0.0, [2, 3, 4, 5, 6]),  # one beyond the best
        (6, 0.0, [2, 3, 4, 5, 6]),  # at the edge
        (0, 1.001, [2, 3, 4]),  # every step along the grid changes as little
    ],
)
@pytest.mark.parametrize("larger_is_better", [True, False])
def test_rates_are_searched_from_the_middle_until_the_best_is_inside(best, flat, tried, larger_is_better):
    grid, measured = [0.01 * 2**i for i in range(7)], []
    far = {rate: float(abs(i - best)) for i, rate in enumerate(grid)}  # in dB
    value = {rate: 40 - dB if larger_is_better else 0.01 * 10 ** (dB / 20) for rate, dB in far.items()}
    tune.search(grid, measured.extend, value.__getitem__, larger_is_better, flat)
    assert sorted(measured) == [grid[i] for i in tried]


def test_a_grid_of_one_or_two_rates_is_tried_as_a_whole():
    for grid in ([0.1], [0.1, 0.2]):
        measured = []
        tune.search(grid, measured.extend, {0.1: 1.0, 0.2: 2.0}.__getitem__, True, 0.0)
        assert measured == grid


def test_frozen_rates_are_those_of_the_tuning(tmp_path):
    layout = Layout(tmp_path)
    for name, rate in {"a/m/small": 0.01, "a/m/large": 0.02, "solving/n/poisson": 0.04}.items():
        files.write_json(layout.file("tune", name, "trials"), {"learning_rate": rate})
    stages.run("rates", "all", {"names": ["a/m/large", "a/m/small", "solving/n/poisson"]}, layout)
    found = schema.load(layout.file("rates", "all", "rates"), ROOT / RATES_SCHEMA)
    assert found == {"rates": {"a": {"m": {"small": 0.01, "large": 0.02}}, "solving": {"n": {"poisson": 0.04}}}}


def test_every_seed_is_trained_on_signals_of_its_own(results):
    draws = {"family": "piecewise_affine", "noise": 10, "length": 64, "seed": 1, "train": 8}
    spec = TASKS["denoising"] | {"seeds": [0, 5], "draws": draws}
    found = _fits.data(stages.Job("train", JOB, spec, results), times=2)
    assert found["train/clean"].shape == (4, 8, 64)
    np.testing.assert_array_equal(found["train/noisy"][:2], found["train/noisy"][2:])
    for index, seed in enumerate(spec["seeds"]):
        np.testing.assert_array_equal(
            found["train/clean"][index], signals.generate(draws | {"draw": seed})["train/clean"]
        )
    assert not np.array_equal(found["train/clean"][0], found["train/clean"][1])
    stored = signals.read(results.dataset(DATASET))
    np.testing.assert_array_equal(found["validation/noisy"], stored["validation/noisy"])


@pytest.mark.parametrize("task", TASKS)
def test_training_keeps_every_seed_with_its_weights_and_curve(results, task):
    files.write_json(results.file("tune", RATE, "trials"), {"learning_rate": 0.02})
    spec = SPEC | TASKS[task] | {"seeds": [0, 5], "epochs": 2, "batch": 4, "rate": RATE}
    stages.run("train", JOB, spec, results)
    record, weights = (results.file("train", JOB, key) for key in ("record", "weights"))
    content = files.read_json(record)
    assert content["weights_sha256"] == files.sha256(weights)
    assert content["training"] == {"learning_rate": 0.02, "epochs": 2, "batch": 4}
    assert content.get("points") == (32 if task == "solving" else None)
    inputs = [*stages.output_files(*stages.dataset(spec["dataset"])).values(), f"tuning/{RATE}.json"]
    assert set(content["provenance"]["inputs_sha256"]) == set(inputs)
    arrays = signals.read(results.dataset(spec["dataset"]))
    nets = checkpoints.load_all(weights)
    assert list(nets) == [run["seed"] for run in content["runs"]] == [0, 5]
    assert {run["status"] for run in content["runs"]} == {"ok"}
    if task == "denoising":
        for run in content["runs"]:
            with torch.no_grad():
                output = 255 * nets[run["seed"]](torch.from_numpy(arrays["validation/noisy"]) / 255)
            expected = psnr(output.numpy(), arrays["validation/clean"]).mean()
            assert run["validation"] == run["validation_by_epoch"][-1] == pytest.approx(expected, rel=1e-4)
            assert len(run["validation_by_epoch"]) == 2
    assert not list(results.resume.glob("*"))  # nothing is left of interrupted work


def test_weights_that_are_not_those_of_their_record_are_refused(results):
    trained.write(results, JOB, {0: net(0)})
    assert list(_trained.read(results, JOB).networks) == [0]
    checkpoints.save_all({0: net(1)}, results.file("train", JOB, "weights"))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: SHA-256: got .*, expected .* trains again"):
        _trained.read(results, JOB)


def test_interrupted_work_is_named_after_all_that_it_depends_on(tmp_path):
    base = {"stage": "train", "spec": {"epochs": 1}, "source": "code", "inputs_sha256": {"a": "hash"}}
    others = [{"stage": "tune"}, {"spec": {}}, {"source": "other"}, {"inputs_sha256": {"a": "other"}}]
    jobs = [SimpleNamespace(results=Layout(tmp_path), **(base | change)) for change in ({}, *others)]
    names = {_fits._state_file(job, rates) for job in jobs for rates in ([0.1], [0.2])}
    assert len(names) == 2 * len(jobs)


# Measurements of trained networks


def test_evaluation_keeps_every_signal_and_tests_no_diverged_seed(results):
    trained.write(results, JOB, {0: net(0), 1: net(1)}, diverged=[1])
    stages.run("evaluate", JOB, SPEC | {"test_sets": [DATASET]}, results)
    every, _ = files.read_safetensors(results.file("evaluate", JOB, "every"))
    arrays = signals.read(results.dataset(DATASET))
    with torch.no_grad():
        output = net(0)(torch.from_numpy(arrays["test/noisy"]) / 255) * 255
    expected = psnr(output.numpy(), arrays["test/clean"])
    assert len(set(expected)) == 3
    np.testing.assert_allclose(every[DATASET][0], expected, rtol=1e-5)
    assert np.isnan(every[DATASET][1]).all()
    record = files.read_json(results.file("evaluate", JOB, "means"))
    assert record["status"] == {"0": "ok", "1": "diverged"}
    assert record["test_sets"][DATASET]["psnr"] == [pytest.approx(expected.mean(), rel=1e-5), None]


def test_evaluation_tells_images_apart(results):
    data, count = "scanlines-10", 14  # of 6 images
    spec = {"family": "scanlines", "noise": 10, "length": 64, "seed": 1, "test": count}
    signals.write(spec, results.dataset(data))
    trained.write(results, JOB, {0: net(0), 1: net(1)}, diverged=[1])
    stages.run("evaluate", JOB, SPEC | {"test_sets": [DATASET, data]}, results)
    every, _ = files.read_safetensors(results.file("evaluate", JOB, "every"))
    arrays, record = signals.read(results.dataset(data)), files.read_json(results.file("evaluate", JOB, "means"))
    made = evaluate.tables({JOB: record})
    assert [row["test_set"] for row in made["psnr"]] == 2 * ["piecewise_affine", "scanlines"]
    rows = made["psnr_images"]
    names = ["astronaut", "cell", "clock", "coins", "gravel", "text"]
    assert [(row["seed"], row["image"]) for row in rows] == [(seed, name) for seed in (0, 1) for name in names]
    for index, (sound, diverged) in enumerate(zip(rows[:6], rows[6:], strict=True)):
        own = [i for i in range(count) if i % 6 == index]
        noisy = psnr(arrays["test/noisy"][own], arrays["test/clean"][own]).mean()
        place = {"run": f"{JOB}/seed-0", "status": "ok", "test_set": "scanlines", "noise": 10.0, "signals": len(own)}
        assert sound.items() >= place.items()
        assert sound["noisy_psnr"] == diverged["noisy_psnr"] == pytest.approx(noisy, rel=1e-9)
        assert sound["psnr"] == pytest.approx(every[data][0][own].mean(), rel=1e-6)
        assert diverged["psnr"] is None
    (whole,) = (row for row in made["psnr"] if row["test_set"] == "scanlines" and row["seed"] == 0)
    assert whole["psnr"] == pytest.approx(sum(row["signals"] * row["psnr"] for row in rows[:6]) / count, rel=1e-9)
    assert "images" not in record["test_sets"][DATASET]


def test_attacks_start_from_the_evaluated_psnr_and_leave_diverged_seeds_out(results):
    nets = {seed: net(seed) for seed in (0, 1, 2)}
    nets[2].blocks[0].K.data.zero_()  # the identity: all of a perturbation reaches the output
    trained.write(results, JOB, nets, diverged=[1])
    stages.run("evaluate", JOB, SPEC | {"test_sets": [DATASET]}, results)
    attack = {"dataset": DATASET, "signals": 2, "starts": 2, "steps": 20, "sizes": [1, 5, 20]}
    stages.run("robustness", JOB, SPEC | attack, results)
    robustness = files.read_json(results.file("robustness", JOB, "attacks"))
    plain, *others = robustness["sizes"]
    every, _ = files.read_safetensors(results.file("evaluate", JOB, "every"))
    expected = every[DATASET][:, :2].mean(1)
    for key in ("psnr_attacked", "psnr_random", "psnr_guaranteed"):
        assert plain[key][0::2] == pytest.approx(expected[0::2].tolist(), rel=1e-5)
    for column in ("psnr_attacked", "psnr_random", "psnr_guaranteed", "lipschitz_found"):
        assert all(entry[column][1] is None for entry in robustness["sizes"])
    attacked = [entry["psnr_attacked"][0] for entry in robustness["sizes"]]
    assert attacked == sorted(attacked, reverse=True)
    assert len(set(attacked)) == 4
    arrays = signals.read(results.dataset(DATASET))
    rms = np.sqrt(np.mean((arrays["test/noisy"][:2] - arrays["test/clean"][:2]).astype(float) ** 2, axis=1))
    for entry in others:
        worst = (20 * np.log10(255 / (rms + entry["size"]))).mean()
        assert entry["noisy_psnr"] == pytest.approx(worst, rel=1e-6)
        assert entry["psnr_attacked"][2] == pytest.approx(worst, abs=0.01)
        assert entry["lipschitz_found"][2] == pytest.approx(1, rel=1e-5)
        assert (
            entry["psnr_guaranteed"][0] < entry["psnr_attacked"][0] < entry["psnr_random"][0] < plain["psnr_random"][0]
        )


def test_held_back_is_the_share_of_shortened_extrapolations(monkeypatch):
    nets = [networks.build("safeguarded_fsi", blocks=4, filters=2, kernel_size=3, flux="relu", seed=s) for s in (0, 1)]
    stacked = networks.stack(nets)
    noisy = (255 * np.random.default_rng(0).random((5, 16))).astype(np.float32)
    wanted = torch.tensor([-0.3, 0.2, 0.4, 0.5])[:, None, None].expand(4, 2, 5)
    taken = wanted.clone()
    taken[2, 1, :3] = 0.1
    monkeypatch.setattr(type(stacked), "extrapolations", lambda net, f: (wanted, taken))
    assert evaluate.held_back(stacked, noisy).tolist() == pytest.approx([0, 3 / 15])
    monkeypatch.undo()
    assert all(0 <= share <= 1 for share in evaluate.held_back(stacked, noisy))
    plain = networks.stack([networks.build("fsi", blocks=2, filters=2, kernel_size=3, flux="relu")])
    assert np.isnan(evaluate.held_back(plain, noisy))


def test_excess_is_growth_over_the_power_of_the_bound():
    assert stability.excess([1.1, 1.5], [1, 4], 1.2) == pytest.approx(1.1 / 1.2)
    assert stability.excess([1.1, 1.5], [1, 400], 1.0) == pytest.approx(1.5)
    assert stability.excess([0.0, 0.0], [1, 2], 1.0) == 0
    assert stability.excess([1.0, None], [1, 2], 1.0) == math.inf
    assert stability.excess([1.0], [1], None) == math.inf


def test_the_drift_is_told_in_units_of_the_signals(results):
    """β over the root mean square of the clean test signals; none where no theorem bounds it."""
    kind = {"filters": 2, "kernel_size": 3, "certified": True, "biases": True}
    biased = networks.build("symmetric", blocks=1, flux="charbonnier", seed=0, **kind)
    with torch.no_grad():
        for parameter in biased.parameters():
            parameter += 0.1
    trained.write(results, JOB, {0: biased})
    search = {"dataset": DATASET, "starts": 1, "steps": 1, "climb": 1, "repetitions": 2}
    stages.run("stability", JOB, SPEC | search, results)
    record = files.read_json(results.file("stability", JOB, "stability"))
    clean = signals.read(results.dataset(DATASET))["test/clean"].astype(float) / 255
    assert record["signals_rms"] == pytest.approx(np.sqrt(np.mean(clean**2)), rel=1e-12)
    (row,) = stability.tables({JOB: record})["stability"]
    assert row["drift_bound"] > 0
    assert row["relative_drift"] == pytest.approx(row["drift_bound"] / record["signals_rms"], rel=1e-12)
    record["networks"][0]["drift_bound"] = None
    assert stability.tables({JOB: record})["stability"][0]["relative_drift"] is None


# Provenance


@pytest.mark.parametrize("status", ["", " M src/schemenets/study/cli.py"])
def test_provenance_tells_specification_code_and_changes(monkeypatch, status):
    monkeypatch.setattr(provenance, "_git", lambda *arguments: {"rev-parse": "c0ffee", "status": status}[arguments[0]])
    spec = {"family": "ecg"}
    source = of_stage("signals", spec)
    found = provenance.collect(provenance.Stopwatch(), spec=spec, source=source, inputs={"x": "y"}, device="a GPU")
    assert found["device"] == "a GPU"
    assert found["git"] == {"commit": "c0ffee", "dirty": bool(status)}
    assert found["config_sha256"] == hashlib.sha256(b'{"family":"ecg"}').hexdigest()
    assert found["inputs_sha256"] == {"x": "y"}
    assert found["source_sha256"] == source
    assert set(PROVENANCE) <= set(found)


def test_a_cell_tests_both_sides_at_the_rate_that_is_best_on_validation_signals(results, monkeypatch):
    """Rates win in turn; a diverged run counts as having done nothing on validation, and has no test value."""
    levels = {(cells.DEPTH, 0.01): [30.0, 31.0], (cells.DEPTH, 0.02): [30.0, 29.0]}
    levels |= {(cells.PARAMETERS, 0.01): [30.0, None], (cells.PARAMETERS, 0.02): [30.5, 30.5]}
    levels |= {(cells.REFERENCE, 0.01): [34.0, None], (cells.REFERENCE, 0.02): [27.0, 27.0]}
    small = {"filters": 2, "kernel_size": 3, "biases": True}
    architectures = {
        cells.DEPTH: {"name": "symmetric", "flux": "perona_malik", "blocks": 2, **small},
        cells.PARAMETERS: {"name": "symmetric", "flux": "perona_malik", "blocks": 3, **small},
        cells.REFERENCE: {"name": "resnet", "flux": "relu", "blocks": 2, **small},
    }
    architectures = {side: networks.Architecture(**own).arguments() for side, own in architectures.items()}
    steps = []

    def fit(training, arrays, state, label):
        (side,) = (side for side, own in architectures.items() if own == training.architecture.arguments())
        assert arrays["train/noisy"].shape == (4, 8, 64)
        steps.append(training.epochs * training.passes * (8 // training.batch))
        nets = (training.architecture.build(seed) for seed in training.seeds)
        each = [levels[side, rate][seed] for seed, rate in zip(training.seeds, training.learning_rate, strict=True)]
        found = zip(training.seeds, nets, each, strict=True)
        return [Run(seed, network, [value], None if value else 3) for seed, network, value in found]

    monkeypatch.setattr(_fits.training, "fit", fit)
    cell = {"kind": cells.DESIGN, "channels": 1, "filters": 2, "steps": 100, "biases": True, "depth": 2}
    cell |= {"pair": "perona_malik/relu", "noise": 10, "train": 8, "kernel_size": 3, "initialisation": "scaled"}
    cell |= {"family": "piecewise_affine"}
    spec = {"cell": cell, "sides": architectures, "dataset": DATASET, "seeds": [0, 1], "learning_rates": [0.02, 0.01]}
    stages.run("cells", "cell-00", spec | {"batch": 4, "flat": 0.0, "data": {"seed": 1, "length": 64}}, results)
    assert steps == [100, 100, 100]
    record = files.read_json(results.file("cells", "cell-00", "cell"))
    chosen = {side: own["learning_rate"] for side, own in record["sides"].items()}
    assert chosen == {cells.DEPTH: 0.01, cells.PARAMETERS: 0.02, cells.REFERENCE: 0.01}
    (rows,) = cells.tables({"cell-00": record}).values()
    assert len(rows) == 6
    arrays = signals.read(results.dataset(DATASET))
    for row in rows:
        lost = (row["side"], row["seed"]) == (cells.REFERENCE, 1)
        assert (row["status"] == "diverged") == lost
        network = networks.architecture(architectures[row["side"]]).build(row["seed"])
        with torch.no_grad():
            output = 255 * network(torch.from_numpy(arrays["test/noisy"]) / 255)
        expected = psnr(output.numpy(), arrays["test/clean"]).mean()
        assert row["psnr"] is None if lost else row["psnr"] == pytest.approx(expected, rel=1e-4)
