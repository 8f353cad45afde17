"""The audit passes the study in miniature, and finds every single thing that is changed in it."""

import logging
import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import miniature
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from schemenets import checkpoints, files, networks
from schemenets.networks.implicit import Implicit
from schemenets.operators import norm_bound
from schemenets.study import audit, stages
from schemenets.study.audit import _jobs, checks
from schemenets.study.audit._findings import Audited, difference, disagreement
from schemenets.study.audit.checks import evaluate_solvers, train
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.records import crate as crates
from schemenets.study.stages import Job

RESNET = "ladder/resnet-relu/blocks-4"
FREE = "ladder/symmetric-perona_malik/blocks-4"
NARROW = "capacity/symmetric-perona_malik/budget-240"
CERTIFIED = "ladder/symmetric-perona_malik-certified/blocks-4"
UNBIASED = "ladder/symmetric-perona_malik-certified-no_biases/blocks-4"
IMPLICIT = "ladder/implicit-perona_malik-certified/blocks-4"
EVOLUTION = "evolution_16/symmetric-perona_malik-tied/blocks-4"
SAFEGUARDED = "evolution_16/safeguarded_fsi-perona_malik-certified-tied/blocks-4"
CYCLE, UNET = (f"solve_charbonnier/{method}/points-32" for method in ("cycle-1", "unet-2"))
MULTIGRID, LINEAR = "solve_charbonnier/multigrid-1/points-32", "solve_poisson/cycle-1/points-32"
TUNED, TUNED_UNET = "piecewise_affine/resnet-relu/small", "solving/unet-2/charbonnier"
CELL = "cell-00"
OVERSTEPPED = "its certificate does not hold{}: blocks.1: τ ≤ 2/(L‖K‖²)"


def edit(path, *keys, value=None, change=None):
    """Change the value at these keys of a JSON file."""
    content = files.read_json(path)
    *parents, last = keys
    place = content
    for key in parents:
        place = place[key]
    place[last] = value if change is None else change(place[last])
    files.write_json(path, content)


def hash_again(results):
    """Make manifest and crate fit to the files, as somebody who wants to deceive would."""
    content = files.read_json(results / "manifest.json")
    for name, entry in content["files"].items():
        entry["sha256"] = files.sha256(results / name)
    files.write_json(results / "manifest.json", content)
    files.write_json(results / "ro-crate-metadata.json", crates.describe(content))


def by_file(results, findings):
    """Problems by the name of the file relative to the results directory."""
    found = {}
    for finding in findings:
        assert "\n" not in str(finding)
        found.setdefault(finding.file.relative_to(results).as_posix(), []).append(finding.problem)
    return found


def general(results):
    """What is found without the checks of single stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jobs, "check", lambda audited: ())
        patch.setattr(_jobs, "note_other_code", lambda audited: None)
        return by_file(results, audit.audit(results))


def of_stage(results, kind, stage, name="all", full=True):
    """What one check finds about one job; ``kind`` is ``check`` or ``again``, or ``derived`` for tables and claims."""
    with TemporaryDirectory() as fresh, pytest.MonkeyPatch.context() as patch:
        audited, functions = Audited.read(results, Path(fresh), full), checks.functions(kind)
        (job,) = [job for job in audited.jobs(stage) if job.name == name]
        patch.setattr(checks, "functions", lambda asked: {stage: functions[stage]} if asked == kind else {})
        patch.setattr(_jobs, "is_derived", lambda own: (kind, own) == ("derived", stage))
        patch.setattr(Audited, "jobs", lambda self, stage: [job])
        return by_file(results, _jobs.check(audited))


def output(results, stage, name, key):
    return Job(stage, name, {}, Audited.read(results, Path(), False).results).output(key)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
def test_sound_results_have_no_findings(results, caplog, full):
    with caplog.at_level(logging.INFO, logger="schemenets"):
        assert audit.run(results, full) == 0
    assert caplog.messages[-1] == "results/smoke: no findings"
    assert not any("notice" in message for message in caplog.messages)


def test_sound_results_have_no_findings_in_general(results):
    assert general(results) == {}


SAMPLES = {
    "train": [RESNET, CERTIFIED, CYCLE],
    "tune": [TUNED, TUNED_UNET],
    "cells": [CELL],
    "evaluate": [SAFEGUARDED, RESNET],
    "stability": [CERTIFIED, UNBIASED],
    "robustness": [RESNET],
    "growth": [RESNET, SAFEGUARDED],
    "random_growth": ["fsi"],
    "evaluate_solvers": [LINEAR, MULTIGRID],
}


CHECKS = [(kind, stage) for kind in ("check", "again") for stage in checks.functions(kind)]


@pytest.mark.parametrize(
    ("kind", "stage"), [*CHECKS, ("derived", "tables"), ("derived", "rates"), ("derived", "claims")]
)
def test_sound_jobs_have_no_findings(results, kind, stage):
    for name in SAMPLES.get(stage, ["all"]):
        assert of_stage(results, kind, stage, name) == {}


def test_stages_that_derive_are_made_again_without_a_check_of_their_own():
    assert [stage for stage in stages.available() if _jobs.is_derived(stage)] == ["claims", "rates", "tables"]


# Files and records ---------------------------------------------------------------------------------------------------


def test_no_results_is_misuse(results, monkeypatch):
    assert audit.run(Path("results"), full=False) == 2
    assert audit.run(Path("nowhere"), full=False) == 2
    monkeypatch.chdir("results")  # not the directory of the project
    assert audit.run(Path("smoke"), full=False) == 2


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": 1}'])
def test_damaged_manifest(results, content, caplog):
    (results / "manifest.json").write_text(content)
    assert audit.run(results, full=False) == 1
    assert caplog.messages[0].startswith("results/smoke/manifest.json: cannot be used: ")


def test_flipped_byte(results):
    path = results / f"runs/{RESNET}/weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    before = files.read_json(results / "manifest.json")["files"][f"runs/{RESNET}/weights.safetensors"]["sha256"]
    problem = f"SHA-256: got {files.sha256(path)}, expected {before}, as the manifest says"
    assert general(results) == {f"runs/{RESNET}/weights.safetensors": [problem]}


@pytest.mark.parametrize("name", [f"runs/{RESNET}/weights.safetensors", "tables/psnr.csv", "report.html"])
def test_removed_file(results, name):
    (results / name).unlink()
    assert general(results) == {name: ["file is missing"]}
    content = files.read_json(results / "manifest.json")
    del content["files"][name]
    files.write_json(results / "manifest.json", content)
    assert general(results)[name] == ["file is missing"]


def test_extra_file(results):
    (results / "runs/old.json").write_text("{}")
    assert general(results) == {
        "runs/old.json": ["is not in the manifest: delete it, if it is left from another configuration"]
    }


def test_files_of_the_project_and_other_results_are_no_extra_files(results):
    """The project's benchmarks are beside results that are published; other runs have directories of their own."""
    (results / "tables/benchmark.csv").write_text("machine\n")
    assert general(results) == {
        "tables/benchmark.csv": ["is not in the manifest: delete it, if it is left from another configuration"]
    }
    edit(results / "manifest.json", "inputs", "results/smoke/tables/benchmark.csv", value={"sha256": "0" * 64})
    files.write_json(results / "other/manifest.json", {})
    assert "tables/benchmark.csv" not in general(results)
    assert "other/manifest.json" not in general(results)


def test_record_of_another_specification(results):
    name = f"runs/{RESNET}/stability.json"
    edit(results / name, "provenance", "config_sha256", value="0" * 64)
    hash_again(results)
    (problem,) = general(results)[name]
    assert problem.startswith(f"provenance.config_sha256: got '{'0' * 64}', expected ")


@pytest.mark.parametrize("read", ["data/piecewise_affine-10.safetensors", f"runs/{RESNET}/weights.safetensors"])
def test_record_that_was_made_from_other_files(results, read):
    name = f"runs/{RESNET}/stability.json"
    edit(results / name, "provenance", "inputs_sha256", read, value="0" * 64)
    hash_again(results)
    (problem,) = general(results)[name]
    assert problem.startswith(f"provenance.inputs_sha256.{read}: got '{'0' * 64}', expected ")


def test_every_record_made_from_a_file_that_changed_is_found(results):
    """Somebody trains again, and hashes the weights and the manifest again."""
    path = results / f"runs/{RESNET}/weights.safetensors"
    network = networks.build("resnet", blocks=4, filters=2, kernel_size=3, flux="relu")
    checkpoints.save_all({0: network, 1: network}, path)
    hash_again(results)
    measured = [f"runs/{RESNET}/{name}.json" for name in ("evaluation", "growth", "robustness", "stability")]
    assert sorted(general(results)) == measured


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"provenance": 1}'])
def test_damaged_record(results, content):
    (results / f"runs/{RESNET}/evaluation.json").write_text(content)
    problem = general(results)[f"runs/{RESNET}/evaluation.json"][-1]
    assert problem.startswith(("cannot be checked: ", "provenance.config_sha256: got nothing, expected "))


def test_inputs_edited_in_the_manifest(results):
    edit(results / "manifest.json", "files", "tables/tuning.csv", "inputs", value=["tuning/a.json"])
    (problem,) = general(results)["manifest.json"]
    assert problem.startswith("files.tables/tuning.csv.inputs.0: got 'tuning/a.json', expected ")


def test_crate_edited(results):
    edit(results / "ro-crate-metadata.json", "@graph", 1, "datePublished", value="2000-01-01")
    (problem,) = general(results)["ro-crate-metadata.json"]
    assert problem.startswith("@graph.1.datePublished: got '2000-01-01', expected ")


def test_configuration_changed_after_the_runs(results):
    text = CONFIG.read_text(encoding="utf-8")
    CONFIG.write_text(text.replace("kernel_size: 3", "kernel_size: 4", 1), encoding="utf-8")
    expected = "config.network.kernel_size: got 3, expected 4, as config/config.yaml says"
    assert general(results)["manifest.json"] == [expected]


def test_results_of_a_configuration_of_ones_own_are_compared_with_that_alone(results, caplog):
    text = CONFIG.read_text(encoding="utf-8")
    CONFIG.write_text(text.replace("kernel_size: 3", "kernel_size: 4", 1), encoding="utf-8")
    assert not Study.check(files.read_json(results / "manifest.json")["config"]).registered
    edit(results / "manifest.json", "registered", value=False)  # as the manifest of such a run says
    with caplog.at_level(logging.INFO, logger="schemenets"):
        assert "manifest.json" not in general(results)
    assert "of another configuration than that of the project, which it holds" in caplog.text


def test_comments_and_other_tiers_do_not_matter(results):
    content = miniature.config()
    content["tiers"]["extended"] = {**content["tiers"]["extended"], "seeds": 3}
    CONFIG.write_text(f"# a comment\n{miniature.dumps(content)}", encoding="utf-8")
    CLAIMS.write_text("# a comment\n" + CLAIMS.read_text(encoding="utf-8"), encoding="utf-8")
    assert general(results) == {}


def test_records_of_other_code_are_counted(results, caplog, monkeypatch):
    edit(results / "manifest.json", "files", f"runs/{RESNET}/evaluation.json", "source_sha256", value="0" * 64)
    with caplog.at_level(logging.INFO, logger="schemenets"):
        _jobs.note_other_code(Audited.read(results, Path(), False))
    (message,) = caplog.messages
    assert message.startswith("notice: 1 of ")


# What stages have stored ---------------------------------------------------------------------------------------------

STORED = [
    ("train", RESNET, "record", ("parameters",), 1, "parameters: got 1, expected "),
    ("train", RESNET, "record", ("convolution_weights",), 1, "convolution_weights: got 1, expected "),
    ("train", RESNET, "record", ("data_seed",), 7, "data_seed: got 7, expected 1"),
    ("train", RESNET, "record", ("dataset",), "ecg-10", "dataset: got 'ecg-10', expected "),
    ("train", RESNET, "record", ("training", "learning_rate"), 0.5, "training.learning_rate: got 0.5, expected "),
    ("train", RESNET, "record", ("runs", 0, "seed"), 7, "runs.0.seed: got 7, expected 0"),
    ("train", RESNET, "record", ("runs", 0, "status"), "diverged", "runs.0.status: got 'diverged', expected 'ok'"),
    ("train", RESNET, "record", ("runs", 1, "status"), "fine", "runs.1.status: got 'fine', expected 'ok'"),
    ("train", RESNET, "record", ("runs", 1, "validation"), 40.0, "runs.1.validation: got 40.0, expected "),
    (
        "train",
        RESNET,
        "record",
        ("runs", 1, "diverged_at_step"),
        3,
        "seed 1: got 1 epochs and divergence at the step 3",
    ),
    ("train", RESNET, "record", ("weights_sha256",), "", "weights_sha256: got '', expected "),
    ("train", CYCLE, "record", ("task", "loss"), "residual", "task.loss: got 'residual', expected 'supervised'"),
    ("train", LINEAR, "record", ("points",), 32, "points: got 32, expected 31"),
    ("tune", TUNED, "trials", ("learning_rate",), 0.5, "learning_rate: got 0.5, expected "),
    ("tune", TUNED, "trials", ("trials", 0, "learning_rate"), 0.005, "trials.0.learning_rate: got 0.005"),
    ("tune", TUNED, "trials", ("trials", 0, "mean_validation"), 99.0, "learning_rate: got "),
    ("tune", TUNED_UNET, "trials", ("trials", 0, "runs", 0, "seed"), 7, "trials.0.runs.0.seed: got 7, expected 1000"),
    ("tune", TUNED_UNET, "trials", ("at_edge_of_grid",), False, "at_edge_of_grid: got False, expected True"),
    ("tune", TUNED_UNET, "trials", ("learning_rate",), 0.02, "learning_rate: got 0.02, expected "),
    (
        "cells",
        CELL,
        "cell",
        ("pair",),
        "charbonnier/relu",
        "pair: got 'charbonnier/relu', expected 'perona_malik/relu'",
    ),
    ("cells", CELL, "cell", ("train",), 32, "train: got 32, expected 64"),
    ("cells", CELL, "cell", ("sides", "reference", "parameters"), 1, "sides.reference.parameters: got 1, expected "),
    ("cells", CELL, "cell", ("sides", "equal_depth", "runs", 1, "seed"), 7, "sides.equal_depth.runs.1.seed: got 7"),
    (
        *("cells", CELL, "cell", ("sides", "equal_depth", "learning_rate"), 0.5),
        "equal_depth: got the learning rate 0.5, expected one of [0.02]",
    ),
    (
        *("cells", CELL, "cell", ("sides", "equal_depth", "at_edge_of_grid"), False),
        "sides.equal_depth.at_edge_of_grid: got False, expected True",
    ),
    (
        *("cells", CELL, "cell", ("sides", "equal_parameters", "runs", 1, "psnr"), None),
        "equal_parameters, seed 1: got None dB, which is not 'ok'",
    ),
    (
        "evaluate",
        RESNET,
        "means",
        ("test_sets", "ecg-10", "psnr", 0),
        40.0,
        "test_sets.ecg-10.psnr.0: got 40.0, expected ",
    ),
    (
        *("evaluate", RESNET, "means", ("test_sets", "scanlines-10", "images", "text", "psnr", 1), 40.0),
        "test_sets.scanlines-10.images.text.psnr.1: got 40.0, expected ",
    ),
    ("evaluate", RESNET, "means", ("seeds",), [0, 2], "seeds.1: got 2, expected 1"),
    ("evaluate", RESNET, "means", ("status", "1"), "diverged", "status.1: got 'diverged', expected 'ok'"),
    ("stability", RESNET, "stability", ("networks", 1, "theorem"), "x", "networks.1.theorem: got 'x', expected "),
    ("stability", RESNET, "stability", ("networks", 1, "failed_conditions"), ["x"], "networks.1.failed_conditions"),
    ("stability", RESNET, "stability", ("networks", 1, "lipschitz_bound"), 1.0, "networks.1.lipschitz_bound: got 1.0"),
    ("stability", RESNET, "stability", ("repetitions",), [1], "repetitions"),
    ("stability", CERTIFIED, "stability", ("networks", 0, "counterexample"), True, "seed 0: got signals amplified by "),
    ("stability", CERTIFIED, "stability", ("networks", 0, "largest_amplification_found"), 1.001, "seed 0: got signals"),
    ("stability", CERTIFIED, "stability", ("networks", 0, "largest_amplification_found"), None, "seed 0: got signals"),
    ("stability", CERTIFIED, "stability", ("networks", 0, "largest_expansion_found"), 1e3, "seed 0: got signals"),
    (
        *("stability", UNBIASED, "stability", ("networks", 0, "repeated", 2), 1.01),
        "seed 0, repeated, n = 5: got a factor of 1.01, expected at most 1.0",
    ),
    ("stability", CERTIFIED, "stability", ("networks", 0, "contradictions"), ["x"], "networks.0.contradictions"),
    ("stability", CERTIFIED, "stability", ("networks", 0, "contradictions"), None, "networks.0.contradictions"),
    (
        *("robustness", RESNET, "attacks", ("sizes", 1, "lipschitz_found", 1), 1e9),
        "seed 1, size 5: got amplified by 1000000000.0, expected at most ",
    ),
    (
        *("robustness", RESNET, "attacks", ("sizes", 1, "psnr_attacked", 1), -90.0),
        "seed 1, size 5: got -90.0 dB, expected at least ",
    ),
    (
        *("robustness", RESNET, "attacks", ("sizes", 1, "psnr_guaranteed", 1), 40.0),
        "sizes.1.psnr_guaranteed.1: got 40.0, expected ",
    ),
    (
        *("robustness", RESNET, "attacks", ("sizes", 0, "psnr_random", 0), 1.0),
        "sizes.0.psnr_random.0: got 1.0, expected ",
    ),
    ("robustness", RESNET, "attacks", ("sizes", 1, "size"), 6, "sizes.1.size: got 6, expected 5"),
    ("robustness", RESNET, "attacks", ("lipschitz_bound", 0), 1.0, "lipschitz_bound.0: got 1.0, expected "),
    ("fixed_points", "all", "fixed_points", ("networks", 1, "rate"), 0.5, "networks.1.rate: got 0.5, expected "),
    ("fixed_points", "all", "fixed_points", ("networks", 1, "certified"), False, "networks.1.certified: got False"),
    (
        *("fixed_points", "all", "fixed_points", ("networks", 0, "steps", 2, "iterations"), 10**6),
        f"{IMPLICIT}/seed-0, tolerance 0.0001: got 1000000 iterations, expected at most ",
    ),
    (
        *("fixed_points", "all", "fixed_points", ("networks", 1, "steps", 0, "iterations"), None),
        f"{IMPLICIT}/seed-1, tolerance 0.01: got None iterations, expected at most ",
    ),
    (
        *("fixed_points", "all", "fixed_points", ("networks", 0, "steps", 0, "allowed_iterations"), 10**6),
        "networks.0.steps.0.allowed_iterations: got 1000000, expected ",
    ),
    (
        *("growth", UNBIASED, "growth", ("repetition", 1, "amplification", 2), None),
        "seed 0, repeated from random signals, n = 5: got a factor of None, expected at most ",
    ),
    ("growth", RESNET, "growth", ("repetition", 0, "seed"), 1, "repetition.0.seed: got 1, expected 0"),
    ("growth", RESNET, "growth", ("repetitions",), [1, 2], "repetitions.2: got nothing, expected 5"),
    (
        *("growth", UNBIASED, "growth", ("followed", 1, "amplification", 2), None),
        "seed 1, block by block, n = 3: got a factor of None, expected at most ",
    ),
    ("growth", UNBIASED, "growth", ("followed", 1, "bounds"), [1.0, 1.0, 1.0, 1.5], "followed.1.bounds."),
    ("growth", FREE, "growth", ("followed", 1, "seed"), 0, "followed.1.seed: got 0, expected 1"),
    ("random_growth", "symmetric", "growth", ("depth",), [], "depth.0"),
    ("random_growth", "symmetric", "growth", ("depths",), [1, 3], "depths.2: got nothing, expected 12"),
    (
        *("classical", "all", "classical", ("test_sets", "ecg-10", "wavelets", "psnr"), 99.0),
        "ecg-10, wavelets: got 99.0 dB, expected at most ",
    ),
    ("classical", "all", "classical", ("tuned_on", "ecg-10"), "scanlines-10", "ecg-10: got 'scanlines-10', expected "),
    ("evaluate_solvers", CYCLE, "solutions", ("seeds",), [0, 2], "seeds.1: got 2, expected 1"),
    (
        *("evaluate_solvers", CYCLE, "solutions", ("conditions", 0, "condition"), "away"),
        "conditions.0.condition: got 'away', expected 'home-32'",
    ),
]


@pytest.mark.parametrize(("stage", "name", "key", "keys", "value", "problem"), STORED)
def test_stored_value_edited(results, stage, name, key, keys, value, problem):
    path = output(results, stage, name, key)
    edit(path, *keys, value=value)
    found = of_stage(results, "check", stage, name)[path.relative_to(results).as_posix()]
    assert any(each.startswith(problem) for each in found), found


def test_table_cell_edited(results):
    path = results / "tables/tuning.csv"
    table = pd.read_csv(path)
    table["validation"] *= 1 + 1e-14  # rounding is no finding
    table.to_csv(path, index=False)
    assert of_stage(results, "derived", "tables") == {}
    table.loc[1, "validation"] *= 1 + 1e-9
    table.to_csv(path, index=False)
    ((name, (problem,)),) = of_stage(results, "derived", "tables").items()
    assert name == "tables/tuning.csv"
    assert problem.startswith("line 3, validation: got '")


def test_learning_rate_edited(results):
    path = results / "rates.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text("# a comment\n" + yaml.safe_dump(content), encoding="utf-8")
    assert of_stage(results, "derived", "rates") == {}
    content["rates"]["piecewise_affine"]["resnet-relu"]["small"] = 0.5
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    (problem,) = of_stage(results, "derived", "rates")["rates.yaml"]
    assert problem.startswith("rates.piecewise_affine.resnet-relu.small: got 0.5, expected 0.0")


def test_table_of_comparisons_edited(results):
    path = results / "tables/claims.csv"
    table = pd.read_csv(path)
    table.loc[0, "p"] = 0.125
    table.to_csv(path, index=False)
    (problem,) = of_stage(results, "derived", "claims")["tables/claims.csv"]
    assert problem.startswith("line 2, p: got '0.125', expected ")


@pytest.mark.parametrize(
    ("keys", "value", "problem"),
    [
        ((0, "verdict"), "reproduced", "claims.0.verdict: got 'reproduced', expected 'inconclusive', as made again"),
        ((0, "effect"), 1.5, "claims.0.effect: got 1.5, expected "),
        ((-1, "id"), "C0", "claims."),
    ],
)
def test_verdict_edited(results, keys, value, problem):
    edit(results / "claims.json", "claims", *keys, value=value)
    ((name, (found,)),) = of_stage(results, "derived", "claims").items()
    assert name == "claims.json"
    assert found.startswith(problem)


def test_criterion_changed_after_the_runs(results):
    text = CLAIMS.read_text(encoding="utf-8")
    CLAIMS.write_text(text.replace("minimum_seeds: 10", "minimum_seeds: 11"), encoding="utf-8")
    found = of_stage(results, "derived", "claims")
    assert found["claims.json"][0].startswith("claims.0.minimum_seeds: got 10, expected 11, as made again")


@pytest.mark.parametrize("key", ["bounds", "amplification"])
def test_certified_random_network_beyond_its_bound(results, key):
    path = results / "growth/symmetric.json"
    (index, *_) = [n for n, entry in enumerate(files.read_json(path)["depth"]) if entry["certified"]]
    edit(path, "depth", index, key, -1, value=1.01)
    (problem,) = of_stage(results, "check", "random_growth", "symmetric")["growth/symmetric.json"]
    expected = {
        "bounds": f"depth.{index}.bounds.2: got 1.01, expected 1.0",
        "amplification": "name symmetric, flux perona_malik, tied False, certified True, step 1.0, seed 0, n = 12: ",
    }
    assert problem.startswith(expected[key])


def test_certificates_of_solvers_are_computed_again_on_the_smallest_grid_or_on_all(results):
    path = output(results, "evaluate_solvers", LINEAR, "solutions")
    entries = files.read_json(path)["certificates"]
    least, most = (choose(range(len(entries)), key=lambda n: entries[n]["points"]) for choose in (min, max))
    assert entries[least]["points"] < entries[most]["points"]
    for index, full, count in ((most, False, 0), (most, True, 1), (least, False, 1)):
        edit(path, "certificates", index, "radius_dense", value=0.5)
        found = [x for own in of_stage(results, "check", "evaluate_solvers", LINEAR, full).values() for x in own]
        assert len(found) == count
        assert all(each.startswith(f"certificates.{index}.radius_dense: got 0.5, expected ") for each in found)
        edit(path, "certificates", index, "radius_dense", value=entries[index]["radius_dense"])


# Weights -------------------------------------------------------------------------------------------------------------


def replace_weights(results, job, change):
    """Other weights, with a record that fits; ``change`` gets the networks by seed."""
    path = results / f"runs/{job}/weights.safetensors"
    trained = checkpoints.load_all(path)
    with torch.no_grad():
        checkpoints.save_all(change(trained) or trained, path)
    edit(path.with_name("record.json"), "weights_sha256", value=files.sha256(path))
    return path.relative_to(results).as_posix()


def test_truncated_weights(results):
    path = results / f"runs/{RESNET}/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert any(
        "truncated" in each
        for each in of_stage(results, "check", "train", RESNET)[f"runs/{RESNET}/weights.safetensors"]
    )


def test_weight_that_is_not_finite(results):
    path = results / f"runs/{CERTIFIED}/weights.safetensors"
    tensors, header = files.read_safetensors(path)
    next(iter(tensors.values()))[1] = np.nan
    files.write_safetensors(path, tensors, header)
    edit(path.with_name("record.json"), "weights_sha256", value=files.sha256(path))
    name = path.relative_to(results).as_posix()
    (problem,) = of_stage(results, "check", "train", CERTIFIED)[name]
    assert problem.startswith("cannot be checked: ")
    assert problem.endswith("expected finite values.")


@pytest.mark.parametrize("parameter", ["K", "tau"])
def test_one_weight_scaled_past_its_normalisation(results, parameter):
    """In copies of the trained networks that are not constrained, as the trained ones cannot be broken."""

    def free(trained):
        copies = {}
        for seed, network in trained.items():
            copies[seed] = networks.build(**network.architecture.arguments() | {"certified": False})
            for ours, theirs in zip(copies[seed].blocks, network.blocks, strict=True):
                ours.K.copy_(theirs.K)
                ours.lam, ours.tau = theirs.lam, 1.9 / norm_bound(ours.K) ** 2  # below the limit 2/‖K‖²
        if parameter == "K":
            copies[1].blocks[1].K *= 1.5
        else:
            copies[1].blocks[1].tau *= 1.5
        return copies

    name = replace_weights(results, CERTIFIED, free)
    held, certificate, dense, verified = of_stage(results, "check", "train", CERTIFIED)[name]
    assert held.startswith("architecture.certified: got False, expected True, as its record says")
    assert certificate == "seed 1: " + OVERSTEPPED.format("")
    assert dense == "seed 1: " + OVERSTEPPED.format(" by dense matrices")
    assert verified.startswith("seed 1: blocks.1: τ ≤ 2/(L‖K‖²) fails by dense matrices, with a margin of -")


def test_certified_job_with_networks_without_theorem(results):
    network = networks.build("feedforward", blocks=4, filters=2, kernel_size=3, flux="relu")
    name = replace_weights(results, CERTIFIED, lambda trained: {0: network, 1: network})
    held, *certificates = of_stage(results, "check", "train", CERTIFIED)[name]
    assert held.startswith("architecture.name: got 'feedforward', expected 'symmetric', as its record says")
    assert certificates == [f"seed {seed}: its certificate does not hold: no theorem covers it" for seed in (0, 1)]


def test_free_networks_that_turn_out_to_hold_a_certificate_are_verified(results, monkeypatch):
    stored = files.read_json(results / f"runs/{NARROW}/stability.json")["networks"]
    # trained for so short that both seeds do
    assert [(entry["certified"], entry["contradictions"]) for entry in stored] == [(True, [])] * 2

    def change(trained):
        trained[1].blocks[0].tau = torch.tensor(100.0)

    name = replace_weights(results, NARROW, change)
    monkeypatch.setattr(train, "verify", lambda path, length, seed: [f"wrong at {length}"])
    assert of_stage(results, "check", "train", NARROW)[name] == ["seed 0: wrong at 64"]


def test_map_that_is_not_that_of_the_weights(results, monkeypatch):
    """Torch networks that compute something else, with certificates as good as before."""
    forward = Implicit.forward
    monkeypatch.setattr(Implicit, "forward", lambda net, f: forward(net, f) * 1.001)
    found = of_stage(results, "check", "train", IMPLICIT)[f"runs/{IMPLICIT}/weights.safetensors"]
    for problem, (seed, bits) in zip(found, ((0, 32), (0, 64), (1, 32), (1, 64)), strict=True):
        assert problem.startswith(f"seed {seed}: in {bits} bits its output differs by 1.0e-03 from that of its scheme")


@pytest.mark.slow
def test_weight_changed_and_everything_hashed_again(results):
    def change(trained):
        trained[1].blocks[0].W1 *= 1.5

    before = files.sha256(results / f"runs/{RESNET}/weights.safetensors")
    record = files.sha256(results / f"runs/{RESNET}/record.json")
    replace_weights(results, RESNET, change)
    for path in results.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        text = text.replace(before, files.sha256(results / f"runs/{RESNET}/weights.safetensors"))
        path.write_text(text.replace(record, files.sha256(results / f"runs/{RESNET}/record.json")), encoding="utf-8")
    hash_again(results)
    found = by_file(results, audit.audit(results, full=True))
    measured = ("record", "evaluation", "stability", "robustness", "growth")
    assert set(found) == {f"runs/{RESNET}/{name}.json" for name in measured}


# Measured again ------------------------------------------------------------------------------------------------------

MEASURED = [
    ("train", RESNET, "record", ("runs", 0, "validation"), 0.01, "runs.0.validation: got "),
    ("train", UNET, "record", ("runs", 1, "validation"), 0.01, "runs.1.validation: got "),
    ("evaluate", RESNET, "means", ("test_sets", "ecg-10", "psnr", 1), 0.01, "test_sets.ecg-10.psnr.1: got "),
    ("evaluate", RESNET, "means", ("test_sets", "ecg-10", "noisy_psnr"), 0.01, "test_sets.ecg-10.noisy_psnr: got "),
    ("cells", CELL, "cell", ("noisy_psnr",), 0.01, "noisy_psnr: got "),
    (
        *("evaluate", RESNET, "means", ("test_sets", "scanlines-10", "images", "coins", "noisy_psnr"), 0.01),
        "test_sets.scanlines-10.images.coins.noisy_psnr: got ",
    ),
    (
        *("evaluate", RESNET, "means", ("test_sets", "scanlines-10", "images", "coins", "signals"), 1),
        "test_sets.scanlines-10.images.coins.signals: got ",
    ),
    (
        "evaluate",
        EVOLUTION,
        "means",
        ("test_sets", "evolution_16-10", "relative_error", 0),
        0.01,
        "test_sets.evolution_16",
    ),
    (
        "evaluate",
        SAFEGUARDED,
        "means",
        ("test_sets", "evolution_16-10", "held_back", 0),
        0.01,
        "test_sets.evolution_16",
    ),
    (
        "stability",
        CERTIFIED,
        "stability",
        ("networks", 0, "largest_expansion_found"),
        -0.3,
        "seed 0, largest_expansion",
    ),
    ("stability", CERTIFIED, "stability", ("signals_rms",), 1e-3, "signals_rms: got "),
    ("growth", FREE, "growth", ("followed", 0, "amplification", 3), 1e-3, "followed.0.amplification.3: got "),
    ("random_growth", "resnet", "growth", ("depth", 1, "amplification", 1), 0.5, "depth.1.amplification.1: got "),
    ("random_growth", "resnet", "growth", ("depth", 1, "perturbation", 1), 0.5, "depth.1.perturbation.1: got "),
    ("schemes", "all", "schemes", ("rows", 1, "psnr"), 1e-6, "rows.1.psnr: got "),
    ("distances", "all", "distances", ("rows", 1, "distance"), 1e-6, "rows.1.distance: got "),
    ("classical", "all", "classical", ("tuning", "scanlines-10", "wavelets", 3), 1e-6, "tuning.scanlines-10.wavelets"),
    (
        "classical",
        "all",
        "classical",
        ("test_sets", "ecg-10", "total_variation", "psnr"),
        1e-6,
        "test_sets.ecg-10.total_variation.psnr: got ",
    ),
    ("evaluate_solvers", CYCLE, "solutions", ("iterations", 0, "factor", 1), 0.1, "home-32, factor: got "),
    ("evaluate_solvers", CYCLE, "solutions", ("iterations", 0, "factor", 1), 0.01, None),
    ("evaluate_solvers", CYCLE, "solutions", ("iterations", 0, "iterations", 1), 2, "home-32, iterations: got "),
    ("evaluate_solvers", CYCLE, "solutions", ("iterations", 0, "iterations", 1), 1, None),
    ("evaluate_solvers", CYCLE, "solutions", ("iterations", 0, "converged", 1), -0.5, "home-32, converged: got "),
    ("evaluate_solvers", CYCLE, "solutions", ("iterations", 0, "moved", 1), 1e-6, "home-32, moved: got "),
    ("evaluate_solvers", MULTIGRID, "solutions", ("iterations", 0, "moved", 1), 1e-6, "home-32, moved: got "),
    ("evaluate_solvers", MULTIGRID, "solutions", ("iterations", 0, "own_error", 1), 1e-4, "home-32, own_error: got "),
    ("evaluate_solvers", MULTIGRID, "solutions", ("iterations", 0, "from_fas", 1), 1e-6, "home-32, from_fas: got "),
    ("evaluate_solvers", UNET, "solutions", ("conditions", 2, "residual", 0), 1e-3, "family-rough, residual: got "),
]


@pytest.mark.parametrize(("stage", "name", "key", "keys", "add", "problem"), MEASURED)
def test_measured_value_edited(results, stage, name, key, keys, add, problem):
    path = output(results, stage, name, key)
    edit(path, *keys, change=lambda value: value + add)
    found = of_stage(results, "again", stage, name).get(path.relative_to(results).as_posix(), [])
    assert len(found) == (problem is not None), found
    assert all(each.startswith(problem) for each in found), found


@pytest.mark.parametrize("name", ["ecg-10", "evolution_16-10"])
def test_data_set_that_the_configuration_does_not_give(results, name):
    """All records agree on data that nobody can generate."""
    job = EVOLUTION if name.startswith("evolution") else RESNET
    file = f"data/{name}.safetensors"
    true = files.read_json(results / "manifest.json")["data"][file]["sha256"]
    edit(results / "manifest.json", "data", file, "sha256", value="0" * 64)
    found = of_stage(results, "again", "evaluate", job)
    assert found == {file: [f"SHA-256: got {'0' * 64} in the records, expected {true}, as generated again"]}


def test_other_rounding_of_data_in_double_precision_is_no_finding(results, caplog):
    edit(results / "manifest.json", "data", "data/problem_poisson.safetensors", "sha256", value="0" * 64)
    with caplog.at_level(logging.INFO, logger="schemenets"):
        assert of_stage(results, "again", "evaluate_solvers", LINEAR) == {}
    assert any("another machine's rounding may be the reason" in message for message in caplog.messages)


def test_solutions_that_are_not_accurate(results, monkeypatch):
    monkeypatch.setattr(evaluate_solvers, "SOLVED", 1e-18)
    (found,) = of_stage(results, "again", "evaluate_solvers", CYCLE, full=False).values()
    assert any(each.startswith("home-32: got solutions with a relative residual of ") for each in found)
    monkeypatch.setattr(evaluate_solvers, "FINEST", 1)
    assert of_stage(results, "again", "evaluate_solvers", CYCLE, full=False) == {}


def test_a_sample_of_the_jobs_runs_again_or_all(results, monkeypatch):
    monkeypatch.setattr(_jobs, "SAMPLE", 3)
    chosen = [_jobs.chosen(Audited.read(results, Path(), full), "train") for full in (False, True)]
    every = [job.name for job in Audited.read(results, Path(), True).jobs("train")]
    assert [job.name for job in chosen[1]] == every
    assert [job.name for job in chosen[0]] == every[:: math.ceil(len(every) / 3)]


def test_diverged_seed_is_sound_if_its_record_says_so(made, results, monkeypatch):
    """It has no PSNR anywhere, and is not tested again."""
    monkeypatch.setattr("schemenets.training.DIVERGED", 0.0)
    shutil.copytree(made / results / "data", results / "data")
    study = Audited.read(results, Path(), False).study
    for stage, job in (("train", RESNET), ("evaluate", RESNET), ("robustness", RESNET)):
        own = Audited.read(results, Path(), False).results
        stages.run(stage, job, study.specs(stage)[job], own)
    assert files.read_json(results / f"runs/{RESNET}/record.json")["runs"][0]["status"] == "diverged"
    for stage, kind in (
        ("train", "check"),
        ("train", "again"),
        ("evaluate", "check"),
        ("evaluate", "again"),
        ("robustness", "check"),
    ):
        assert of_stage(results, kind, stage, RESNET) == {}


# Comparisons ---------------------------------------------------------------------------------------------------------


def compared(stored, expected, **tolerances):
    return [finding.problem for finding in difference(Path("f"), stored, expected, "x says", **tolerances)]


def test_differences_name_the_first_key_and_count_the_others():
    assert compared({"a": [1, 2]}, {"a": [1, 2]}) == []
    assert compared({"a": [1, 2]}, {"a": [1, 3], "b": 1}) == ["a.1: got 2, expected 3, as x says (and 1 more)"]
    assert compared({"a": 1, "c": 2}, {"a": 1}) == ["c: got 2, expected nothing, as x says"]
    assert compared({"a": None}, {"a": math.inf}) == []
    assert compared({"a": None}, {"a": 1.0}) == ["a: got None, expected 1.0, as x says"]
    assert compared({"a": 1.001}, {"a": 1.0}, absolute=0.01) == []
    assert compared({"a": "1.0000000000001"}, {"a": "1"}) == []


def test_records_may_hold_more_keys_than_expected_but_no_more_entries():
    problems = [each.problem for each in disagreement(Path("f"), {"a": [1, 2], "b": 1}, {"a": [1]}, "x says")]
    assert problems == ["a.1: got 2, expected nothing, as x says"]
    assert list(disagreement(Path("f"), {"a": [{"c": 1, "d": 2}], "b": 1}, {"a": [{"c": 1}]}, "x says")) == []


def same(key, stored, values, amplifying=False):
    return evaluate_solvers.same(key, np.array(stored), np.array(values), np.full(len(stored), amplifying))


def test_iterations_that_do_not_converge_are_all_the_same():
    nan, inf = math.nan, math.inf
    assert same("factor", [nan, 1.3, 0.99], [inf, nan, 1.5])
    assert not same("factor", [0.9], [inf])
    assert same("iterations", [nan, 60.0], [60.0, nan])
    assert not same("iterations", [59.0], [nan])
    assert same("residual", [nan, 1.0], [inf, 1.0])
    assert not same("residual", [nan], [1.0])
    assert not same("residual", [1.0], [1.0 + 1e-5])


@pytest.mark.parametrize("key", ["moved", "local_radius"])
def test_amplified_rounding_errors_are_compared_by_their_magnitude(key):
    assert same(key, [1e-3, 5.0], [2e-5, 5.0], amplifying=True)
    assert not same(key, [1e-3], [9e-7], amplifying=True)
    assert not same(key, [1e-3], [math.nan], amplifying=True)
    assert not same(key, [1e-3], [2e-5])
    assert not same("own_error", [1e-3], [2e-5], amplifying=True)


def test_cycles_that_amplify_anywhere_are_known():
    record = {"iterations": [{"local_radius": [None, 0.5, 2.0]}, {"local_radius": [1e6, None, 3.0]}]}
    assert evaluate_solvers._amplifying(record).tolist() == [True, False, False]
