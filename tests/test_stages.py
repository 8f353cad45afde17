"""What single stages decide and write, on data and trainings of next to no size."""

import hashlib
import math

import numpy as np
import pytest
import torch

from schemenets import checkpoints, files, networks, signals
from schemenets.metrics import psnr
from schemenets.study import stages
from schemenets.study.layout import Layout
from schemenets.study.records import provenance
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.specs import dumps
from schemenets.study.stages import _fits, evaluate, tables
from schemenets.training import Run

ARCHITECTURE = {"name": "symmetric", "blocks": 1, "filters": 2, "kernel_size": 3, "flux": "relu"}
DATASET = "piecewise_affine-10"
JOB = "e/m/blocks-1"


@pytest.fixture
def results(tmp_path):
    layout = Layout(tmp_path)
    sizes = {"train": 8, "validation": 4, "test": 3}
    signals.write(
        {"family": "piecewise_affine", "noise": 10, "length": 64, "seed": 1, **sizes}, layout.dataset(DATASET)
    )
    return layout


def net(seed):
    return networks.build(**ARCHITECTURE, seed=seed)


@pytest.mark.parametrize(
    ("outcomes", "chosen"),
    [
        ({0.01: [30.0, 31.0], 0.02: [30.0, 32.0], 0.04: [29.0, 30.0]}, 0.02),
        ({0.01: [29.0, 29.0], 0.02: [40.0, None]}, 0.02),  # the noisy signals have about 28 dB
        ({0.01: [31.0, 31.0], 0.02: [33.0, None]}, 0.01),
        ({0.02: [30.0, 30.0], 0.01: [30.0, 30.0]}, 0.01),
    ],
)
def test_tuning_takes_the_best_rate_and_counts_divergence_as_doing_nothing(results, monkeypatch, outcomes, chosen):
    def fit(spec, learning_rates, arrays, state, label):
        found = [
            (seed, value) for rate in learning_rates for seed, value in zip(spec["seeds"], outcomes[rate], strict=True)
        ]
        return [Run(seed, net(seed), [value], None if value else 3) for seed, value in found]

    monkeypatch.setattr(_fits, "fit", fit)
    spec = {"method": "m", "dataset": DATASET, "architecture": ARCHITECTURE}
    spec |= {"learning_rates": list(outcomes), "seeds": [1000, 1001]}
    stages.run("tune", spec, results)
    tuning = files.read_json(results.tuned("m"))
    assert tuning["learning_rate"] == chosen
    noisy, clean = (signals.read(results.dataset(DATASET))[f"validation/{part}"] for part in ("noisy", "clean"))
    assert [trial["learning_rate"] for trial in tuning["trials"]] == sorted(outcomes)
    for trial in tuning["trials"]:
        assert [run["seed"] for run in trial["runs"]] == spec["seeds"]
        assert [run["validation_psnr"] for run in trial["runs"]] == outcomes[trial["learning_rate"]]
        values = [psnr(noisy, clean).mean() if value is None else value for value in outcomes[trial["learning_rate"]]]
        assert trial["mean_validation_psnr"] == pytest.approx(np.mean(values), rel=1e-12)


def test_evaluation_keeps_every_signal_and_tests_no_diverged_seed(results):
    for seed, status in ((0, "ok"), (1, "diverged")):
        path = results.job(JOB) / f"seed-{seed}.safetensors"
        checkpoints.save(net(seed), path)
        files.write_json(path.with_suffix(".json"), {"status": status, "checkpoint_sha256": files.sha256(path)})
    spec = {"job": JOB, "seeds": [0, 1], "architecture": ARCHITECTURE, "test_sets": [DATASET]}
    stages.run("evaluate", spec, results)
    every, _ = files.read_safetensors(results.job(JOB) / "evaluation.safetensors")
    arrays = signals.read(results.dataset(DATASET))
    with torch.no_grad():
        output = net(0)(torch.from_numpy(arrays["test/noisy"]) / 255) * 255
    expected = psnr(output.numpy(), arrays["test/clean"])
    assert len(set(expected)) == 3
    np.testing.assert_allclose(every[DATASET][0], expected, rtol=1e-5)
    assert np.isnan(every[DATASET][1]).all()
    means = files.read_json(results.job(JOB) / "evaluation.json")["test_sets"][DATASET]["psnr"]
    assert means == [pytest.approx(expected.mean(), rel=1e-5), None]


def test_attacks_start_from_the_evaluated_psnr_and_leave_diverged_seeds_out(results):
    for seed, status in ((0, "ok"), (1, "diverged"), (2, "ok")):
        path = results.job(JOB) / f"seed-{seed}.safetensors"
        network = net(seed)
        if seed == 2:  # the identity: all of a perturbation reaches the output
            network.blocks[0].K.data.zero_()
        checkpoints.save(network, path)
        files.write_json(path.with_suffix(".json"), {"status": status, "checkpoint_sha256": files.sha256(path)})
    spec = {"job": JOB, "seeds": [0, 1, 2], "architecture": ARCHITECTURE}
    stages.run("evaluate", spec | {"test_sets": [DATASET]}, results)
    attack = {"dataset": DATASET, "signals": 2, "starts": 2, "steps": 20, "sizes": [1, 5, 20]}
    stages.run("robustness", spec | attack, results)
    robustness = files.read_json(results.job(JOB) / "robustness.json")
    plain, *others = robustness["sizes"]
    every, _ = files.read_safetensors(results.job(JOB) / "evaluation.safetensors")
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
    assert tables.excess([1.1, 1.5], [1, 4], 1.2) == pytest.approx(1.1 / 1.2)
    assert tables.excess([1.1, 1.5], [1, 400], 1.0) == pytest.approx(1.5)
    assert tables.excess([0.0, 0.0], [1, 2], 1.0) == 0
    assert tables.excess([1.0, None], [1, 2], 1.0) == math.inf
    assert tables.excess([1.0], [1], None) == math.inf


def test_interrupted_work_is_named_after_all_that_it_depends_on(tmp_path):
    spec = {"architecture": ARCHITECTURE}
    base = {"spec": spec, "learning_rates": [0.1], "source": "code", "data": {"a": "hash"}}
    others = [{"spec": {}}, {"learning_rates": [0.2]}, {"source": "other"}, {"data": {"a": "other"}}]
    names = {_fits.state_file(tmp_path, **(base | change)) for change in ({}, *others)}
    assert len(names) == 5


@pytest.mark.parametrize("status", ["", " M src/schemenets/study/cli.py"])
def test_provenance_tells_specification_code_and_changes(monkeypatch, status):
    monkeypatch.setattr(provenance, "_git", lambda *arguments: {"rev-parse": "c0ffee", "status": status}[arguments[0]])
    spec = {"family": "ecg"}
    found = provenance.collect(provenance.Stopwatch(), spec=spec, source=of_stage("signals", spec), data={"x": "y"})
    assert found["git"] == {"commit": "c0ffee", "dirty": bool(status)}
    assert found["config_sha256"] == hashlib.sha256(dumps(spec).encode()).hexdigest()
    assert found["data_sha256"] == {"x": "y"}
    assert found["source_sha256"] == of_stage("signals", spec)
