"""A study in miniature, made by the real stages, and what the audit says when one thing in it is wrong."""

import logging
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from schemenets import checkpoints, files, networks
from schemenets.networks.implicit import Implicit
from schemenets.study import audit, stages
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.layout import Layout
from schemenets.study.records import crate as crates
from schemenets.study.records import manifest

ROOT = Path(__file__).parents[1]
COUNTS = {"piecewise_affine": 64, "scanlines": 64, "evolution": 64}
SMOKE = {
    "jobs_per_process": 1,
    "seeds": 2,
    "epochs": 1,
    "train": COUNTS,
    "validation": COUNTS,
    "test": COUNTS | {"donoho_johnstone": 4, "ecg": 2},
    "test_noises": [10],
    "tuning": {"seeds": 1, "learning_rates": [0.01]},
    "search": {"starts": 2, "steps": 2, "climb": 3, "repetitions": 5},
    "stability": {"repetitions": 5, "depths": [1, 3, 12]},
    "robustness": {"experiment": "factorial", "signals": 8, "starts": 2, "steps": 2, "sizes": [5]},
    "solvers": {
        **{"epochs": 1, "train": 8, "validation": 2, "test": 2, "others": 1, "points": [16]},
        "tuning": {"seeds": 1, "learning_rates": [0.01, 0.03]},
        "problems": {"charbonnier": ["cycle-1", "multigrid-1", "unet-2"], "poisson": ["cycle-1"]},
    },
    "experiments": {
        "factorial": [{"methods": ["resnet-relu", "symmetric-perona_malik"], "blocks": [4]}],
        "stability": [
            {"methods": ["symmetric-perona_malik-certified", "implicit-perona_malik-certified"], "blocks": [2]}
        ],
        "steps": [
            {"methods": ["symmetric-perona_malik"], "blocks": [2]},
            {"methods": ["safeguarded_fsi-perona_malik-certified"], "blocks": [4]},
        ],
    },
}
RESNET = "runs/factorial/resnet-relu/blocks-4"
CERTIFIED = "runs/stability/symmetric-perona_malik-certified/blocks-2"
IMPLICIT = "stability/implicit-perona_malik-certified/blocks-2"
RANDOM = "growth/symmetric.json"
PARTS = ("files", "runs", "growth", "remedies", "tables", "fresh", "solvers")
FAST = ("files", "runs", "tables")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The directory of a project with all results of its smoke tier."""
    project = tmp_path_factory.mktemp("original")
    for part in ("config", "workflow/schemas"):
        shutil.copytree(ROOT / part, project / part)
    config = yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))
    config["signals"]["length"] = 64
    config["network"] = {"filters": 2, "kernel_size": 3}
    config["solvers"] |= {"points": 32, "batch": 8}
    config["stability"] |= {"networks": ["symmetric", "resnet", "fsi", "du_fort_frankel"], "fluxes": ["perona_malik"]}
    config["tiers"] = dict.fromkeys(config["tiers"], SMOKE)
    config["experiments"]["stability"] = {"title": "Certified", "family": "piecewise_affine", "noise": 10}
    config["experiments"]["steps"] = {"title": "Evolution", "family": "piecewise_affine", "noise": 10, "time": 4}
    (project / CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    registered = yaml.safe_load((ROOT / CLAIMS).read_text(encoding="utf-8"))
    del registered["claims"][3:], registered["claims"][0]["comparisons"][1:]  # what these jobs can decide
    registered["claims"][0]["threshold"]["sensitivity"] = [0.1]
    (project / CLAIMS).write_text(yaml.safe_dump(registered), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("SCHEMENETS_KERNEL", "reference")  # compiling takes longer than all of this
        study = Study.load(tier="smoke")
        results = Layout(study.results)
        stages_of_runs = ("signals", "evolution", "tune", "train", "evaluate", "stability", "robustness")
        stages_of_solvers = ("problems", "solver_tune", "solver_train", "solver_evaluate", "solvers")
        others = ("growth", "remedies", "fixed_points", "schemes", "multigrid")
        for name in (*stages_of_runs, *stages_of_solvers, *others):
            for spec in study.specs(name).values():
                stages.run(name, spec, results)
        for name in ("tables", "claims"):
            stages.run(name, study.specs(name)["all"], results)
        files.atomic_write(results.figure("capacity", "svg"), "<svg/>")
        files.atomic_write(results.report, "<html></html>")
        stages.run("manifest", study.specs("manifest")["all"], results)
    return project


@pytest.fixture
def results(original, tmp_path, monkeypatch):
    """The results in a copy of that project, which is the working directory."""
    project = tmp_path / "project"
    shutil.copytree(original, project)
    monkeypatch.chdir(project)
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")
    return Path("results/smoke")


def edit(path, change):
    """Change a JSON file."""
    content = files.read_json(path)
    change(content)
    files.write_json(path, content)


def hash_again(results):
    """Make manifest and crate fit to the files, as somebody who wants to deceive would."""

    def change(listed):
        for name, entry in listed["files"].items():
            entry["sha256"] = files.sha256(results / name)

    edit(results / "manifest.json", change)
    crate = crates.describe(files.read_json(results / "manifest.json"))
    files.write_json(results / "ro-crate-metadata.json", crate)


def problems(results, *parts, full=False):
    """What these parts of the audit find, or those that are fast, by file name relative to the results directory."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for part in set(PARTS) - set(parts or FAST):
            patch.setattr(getattr(audit, f"_{part}"), "check", lambda *_: iter(()))
        for finding in audit.audit(results, full):
            assert "\n" not in str(finding)
            name = finding.file.relative_to(results) if finding.file.is_relative_to(results) else finding.file
            found.setdefault(name.as_posix(), []).append(finding.problem)
    return found


def replace_checkpoint(results, stem, network):
    """Another checkpoint, with a record that fits."""
    checkpoints.save(network, results / f"{stem}.safetensors")
    sha256 = files.sha256(results / f"{stem}.safetensors")
    edit(results / f"{stem}.json", lambda record: record.update(checkpoint_sha256=sha256))


def test_sound_results_have_no_findings(results, caplog):
    with caplog.at_level(logging.INFO, logger="schemenets"):
        assert audit.run(results, full=True) == 0
    assert caplog.messages[-1] == "results/smoke: no findings"
    assert not any("notice" in message for message in caplog.messages)


def test_results_do_not_need_the_data_sets(results):
    shutil.rmtree(results / "data")
    assert problems(results, *PARTS) == {}


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


def test_flipped_byte_in_a_checkpoint(results):
    path = results / RESNET / "seed-1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    by_manifest, by_record = problems(results)[f"{RESNET}/seed-1.safetensors"]
    assert by_manifest.startswith(f"SHA-256 is {files.sha256(path)}, but the manifest says ")
    assert by_record.startswith(f"SHA-256 is {files.sha256(path)}, but its record says ")


def test_truncated_checkpoint(results):
    path = results / RESNET / "seed-1.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert any("truncated" in problem for problem in problems(results)[f"{RESNET}/seed-1.safetensors"])


def test_weight_changed_and_everything_hashed_again(results):
    stem = f"{RESNET}/seed-1"
    network = checkpoints.load(results / f"{stem}.safetensors")
    with torch.no_grad():
        network.blocks[0].W1 *= 1.5
    replace_checkpoint(results, stem, network)
    sha256 = files.sha256(results / f"{stem}.safetensors")
    evaluation = results / RESNET / "evaluation.json"
    edit(evaluation, lambda content: content["checkpoints_sha256"].__setitem__(1, sha256))
    hash_again(results)
    found = problems(results, *PARTS, full=True)
    records = ("seed-1", "evaluation", "stability", "robustness")
    followed = "growth/depth/factorial/resnet-relu/blocks-4.json"
    assert set(found) == {*(f"{RESNET}/{name}.json" for name in records), followed}
    assert found[f"{RESNET}/seed-1.json"][0].startswith("validation, seed 1: ")
    assert [line.partition(",")[0] for line in found[f"{RESNET}/evaluation.json"]] == [
        "piecewise_affine-10",
        "scanlines-10",
        "donoho_johnstone-10",
        "ecg-10",
    ]
    assert found[f"{RESNET}/stability.json"][0].startswith("1.lipschitz_bound is ")


def test_sample_tests_one_seed_of_every_job(results):
    def change(content):
        for index in range(2):
            content["test_sets"]["ecg-10"]["psnr"][index] += 0.01

    edit(results / RESNET / "evaluation.json", change)
    count = [
        sum("its checkpoint gives" in p for p in problems(results, *PARTS, full=full)[f"{RESNET}/evaluation.json"])
        for full in (False, True)
    ]
    assert count == [1, 2]


def test_psnr_edited_in_a_record(results):
    path = results / RESNET / "seed-0.json"

    def change(record):
        record["metrics"]["validation_psnr"] += 0.01
        record["metrics"]["validation_psnr_by_epoch"][-1] += 0.01

    edit(path, change)
    assert problems(results, *PARTS)[f"{RESNET}/seed-0.json"][0].startswith("SHA-256")
    hash_again(results)
    found = problems(results, *PARTS)
    assert set(found) == {f"{RESNET}/seed-0.json", "tables/runs.csv", "tables/curves.csv"}
    assert found["tables/runs.csv"][0].startswith("line 2, validation_psnr is '")
    assert found[f"{RESNET}/seed-0.json"][0].startswith("validation, seed 0: ")


def test_end_of_curve_edited_in_a_record(results):
    edit(results / RESNET / "seed-0.json", lambda record: record["metrics"].update(validation_psnr=40.0))
    hash_again(results)
    assert "validation_psnr is not the end of a curve over all epochs" in problems(results)[f"{RESNET}/seed-0.json"]


def test_psnr_edited_in_an_evaluation(results):
    path = results / RESNET / "evaluation.json"
    edit(path, lambda content: content["test_sets"]["ecg-10"]["psnr"].__setitem__(0, 40.0))
    hash_again(results)
    found = problems(results)
    assert found[f"{RESNET}/evaluation.json"][0].startswith("ecg-10, seed 0: 40.0 dB, but mean of signals gives ")
    assert found["tables/psnr.csv"][0].startswith("line 5, psnr is '")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parameters", 1),
        ("convolution_weights", 1),
        ("seed", 7),
        ("status", "diverged"),
        ("status", "fine"),
        ("dataset", "ecg-10"),
    ],
)
def test_record_that_contradicts_its_network(results, key, value):
    edit(results / RESNET / "seed-0.json", lambda record: record.update({key: value}))
    hash_again(results)
    assert any(f"{key} is {value!r}" in problem for problem in problems(results)[f"{RESNET}/seed-0.json"])


def test_learning_rate_that_was_not_tuned(results):
    edit(results / "tuning/resnet-relu.json", lambda tuning: tuning.update(learning_rate=0.5))
    hash_again(results)
    found = problems(results)
    assert found["tuning/resnet-relu.json"] == ["learning_rate is 0.5, but the best trial has 0.01"]
    expected = "training.learning_rate is 0.01, but configuration and tuning say 0.5"
    assert found[f"{RESNET}/seed-0.json"] == [expected]


def test_trials_that_were_not_asked_for(results):
    edit(results / "tuning/resnet-relu.json", lambda tuning: tuning["trials"][0].update(learning_rate=0.02))
    hash_again(results)
    expected = "0 is 0.02, but the configuration says 0.01"
    assert problems(results)["tuning/resnet-relu.json"][0] == expected


def test_data_set_hash_changed(results):
    def change(record):
        record["provenance"]["data_sha256"]["piecewise_affine-10.safetensors"] = "0" * 64

    edit(results / RESNET / "seed-0.json", change)
    hash_again(results)
    (problem,) = problems(results)[f"{RESNET}/seed-0.json"]
    assert problem.startswith(f"piecewise_affine-10.safetensors is '{'0' * 64}', but the manifest says ")


def test_data_set_that_the_configuration_does_not_give(results):
    """All records agree on data that nobody can generate."""
    true = files.sha256(results / "data/ecg-10.safetensors")
    for path in [*results.rglob("*.json")]:
        path.write_text(path.read_text(encoding="utf-8").replace(true, "0" * 64), encoding="utf-8")
    hash_again(results)
    expected = f"generated again, its SHA-256 is {true}, but the records say {'0' * 64}"
    assert problems(results, *PARTS) == {"data/ecg-10.safetensors": [expected]}


def test_evolution_that_the_diffusion_does_not_give(results):
    """All records agree on another u(T)."""
    true = files.sha256(results / "data/evolution_4-10.safetensors")
    for path in [*results.rglob("*.json")]:
        path.write_text(path.read_text(encoding="utf-8").replace(true, "0" * 64), encoding="utf-8")
    hash_again(results)
    expected = f"generated again, its SHA-256 is {true}, but the records say {'0' * 64}"
    assert problems(results, *PARTS) == {"data/evolution_4-10.safetensors": [expected]}


def test_error_of_a_scheme_edited(results):
    edit(results / "schemes.json", lambda content: content["rows"][2].update(relative_error=1e-3))
    hash_again(results)
    found = problems(results, *PARTS)
    assert set(found) == {"schemes.json", "tables/schemes.csv"}
    assert found["schemes.json"][0].startswith("2.relative_error is 0.001, but the schemes give 0.0")


def test_relative_error_edited_in_an_evaluation(results):
    name = "runs/steps/symmetric-perona_malik/blocks-2/evaluation.json"
    edit(results / name, lambda content: content["test_sets"]["evolution_4-10"].update(relative_error=[1e-3, 1e-3]))
    hash_again(results)
    found = problems(results, *PARTS, full=True)
    assert set(found) == {name, "tables/psnr.csv"}
    assert found[name][0].startswith("evolution_4-10, seed 0: relative error 0.001, but its checkpoint gives 0.")
    assert len(found[name]) == 2


def test_table_cell_edited(results):
    path = results / "tables/tuning.csv"
    table = pd.read_csv(path)
    table.loc[1, "validation_psnr"] += 1e-9
    table.to_csv(path, index=False, lineterminator="\n")
    hash_again(results)
    found = problems(results)
    assert list(found) == ["tables/tuning.csv"]
    assert found["tables/tuning.csv"][0].startswith("line 3, validation_psnr is '")


def test_rounding_of_a_table_is_no_finding(results):
    path = results / "tables/multigrid.csv"
    table = pd.read_csv(path)
    table["convergence_factor"] *= 1 + 1e-14
    table.to_csv(path, index=False, lineterminator="\n")
    hash_again(results)
    assert problems(results) == {}


def test_verdict_edited(results):
    edit(results / "claims.json", lambda result: result["claims"][0].update(verdict="reproduced"))
    hash_again(results)
    expected = "C1.verdict is 'reproduced', but the tables say 'inconclusive'"
    assert problems(results) == {"claims.json": [expected]}


@pytest.mark.parametrize(("key", "value"), [("effect", 1.5), ("p", 0.01)])
def test_evidence_edited(results, key, value):
    edit(results / "claims.json", lambda result: result["claims"][0].update({key: value}))
    hash_again(results)
    (problem,) = problems(results)["claims.json"]
    assert problem.startswith(f"C1.{key} is {value}, but the tables say ")


def test_claim_removed(results):
    edit(results / "claims.json", lambda result: result["claims"].pop())
    hash_again(results)
    (problem,) = problems(results)["claims.json"]
    assert problem.startswith("C3.id is absent, but the tables say 'C3'")


def test_criterion_changed_after_the_runs(results):
    text = CLAIMS.read_text(encoding="utf-8")
    CLAIMS.write_text(text.replace("minimum_seeds: 6", "minimum_seeds: 7"), encoding="utf-8")
    found = problems(results)
    expected = "C1.reason is '2 seeds; a verdict needs 6.', but the tables say '2 seeds; a verdict needs 7.'"
    assert found["claims.json"] == [expected]


def test_configuration_changed_after_the_runs(results):
    text = CONFIG.read_text(encoding="utf-8")
    CONFIG.write_text(text.replace("kernel_size: 3", "kernel_size: 4", 1), encoding="utf-8")
    found = problems(results)
    assert found["manifest.json"] == ["config.network.kernel_size is 3, but config/config.yaml says 4"]


def test_comments_and_other_tiers_do_not_matter(results):
    text = CONFIG.read_text(encoding="utf-8")
    CONFIG.write_text("# a comment\n" + text.replace("  extended:\n    seeds: 20", "  extended:\n    seeds: 21"))
    CLAIMS.write_text("# a comment\n" + CLAIMS.read_text(encoding="utf-8"), encoding="utf-8")
    assert problems(results) == {}


@pytest.mark.parametrize(
    "name", [f"{RESNET}/seed-0.safetensors", f"{RESNET}/seed-0.json", "tables/psnr.csv", "report.html"]
)
def test_removed_file(results, name):
    (results / name).unlink()
    assert "file is missing" in problems(results)[name]


def test_removed_file_that_the_manifest_does_not_know(results):
    name = f"{RESNET}/seed-0.safetensors"
    (results / name).unlink()
    edit(results / "manifest.json", lambda listed: listed["files"].pop(name))
    found = problems(results)
    assert found["manifest.json"] == [f"cannot be checked: results/smoke/{name}: file is missing"]
    assert "seed-0.safetensors" in found[name][0]


def test_extra_file(results):
    (results / "runs/old.json").write_text("{}")
    assert problems(results) == {"runs/old.json": ["is no result: not in the manifest"]}


def test_inputs_edited_in_the_manifest(results):
    edit(
        results / "manifest.json", lambda listed: listed["files"]["tables/tuning.csv"].update(inputs=["tuning/a.json"])
    )
    (problem,) = problems(results)["manifest.json"]
    assert problem.startswith("files.tables/tuning.csv.inputs.0 is 'tuning/a.json', but the files say ")


def test_crate_edited(results):
    edit(results / "ro-crate-metadata.json", lambda crate: crate["@graph"][1].update(datePublished="2000-01-01"))
    (problem,) = problems(results)["ro-crate-metadata.json"]
    assert problem.startswith("@graph.1.datePublished is '2000-01-01', but the manifest says ")


def test_certified_job_with_an_uncertified_network(results):
    """The parametrisation of a certified network cannot be broken, so somebody has to put another network there."""
    stem = f"{CERTIFIED}/seed-1"
    architecture = files.read_json(results / f"{stem}.json")["architecture"] | {"certified": False}
    network = networks.build(**architecture, seed=1)
    with torch.no_grad():
        network.blocks[1].K *= 100
    replace_checkpoint(results, stem, network)
    edit(results / f"{stem}.json", lambda record: record.update(architecture=architecture))
    hash_again(results)
    found = problems(results)
    certificate, dense, verified = found[f"{stem}.safetensors"]
    assert certificate == "its certificate does not hold: blocks.1: τ ≤ 2/(L‖K‖²)"
    assert dense == "its certificate does not hold by dense matrices: blocks.1: τ ≤ 2/(L‖K‖²)"
    assert verified.startswith("blocks.1: τ ≤ 2/(L‖K‖²) fails by dense matrices, with a margin of -")
    assert found[f"{stem}.json"][0].startswith("architecture.certified is False, but configuration and tuning say True")
    assert found[f"{CERTIFIED}/stability.json"][0].startswith("1.certified is True, but the checkpoints say False")


@pytest.mark.parametrize("parameter", ["K", "tau"])
def test_one_weight_scaled_past_its_normalisation(results, parameter):
    """In a copy of the trained network that is not constrained, as the trained one cannot be broken."""
    stem = f"{CERTIFIED}/seed-1"
    trained = checkpoints.load(results / f"{stem}.safetensors")
    network = networks.build(**trained.architecture.arguments() | {"certified": False})
    with torch.no_grad():
        for ours, theirs in zip(network.blocks, trained.blocks, strict=True):
            ours.K.copy_(theirs.K)
            ours.lam, ours.tau = theirs.lam, torch.tensor(1.9)  # below the limit 2
        if parameter == "K":
            network.blocks[1].K *= 1.5
        else:
            network.blocks[1].tau = torch.tensor(3.0)
    replace_checkpoint(results, stem, network)
    hash_again(results)
    held, certificate, dense, verified = problems(results)[f"{stem}.safetensors"]
    assert held.startswith("architecture.certified is False, but its record says True")
    assert certificate == "its certificate does not hold: blocks.1: τ ≤ 2/(L‖K‖²)"
    assert dense == "its certificate does not hold by dense matrices: blocks.1: τ ≤ 2/(L‖K‖²)"
    assert verified.startswith("blocks.1: τ ≤ 2/(L‖K‖²) fails by dense matrices, with a margin of -")


def test_free_networks_that_turn_out_to_hold_a_certificate_are_verified(results, monkeypatch):
    job = "runs/factorial/symmetric-perona_malik/blocks-4"  # trained for so short that both seeds do
    stored = files.read_json(results / f"{job}/stability.json")["networks"]
    assert [(entry["certified"], entry["contradictions"]) for entry in stored] == [(True, [])] * 2
    network = checkpoints.load(results / f"{job}/seed-1.safetensors")
    with torch.no_grad():
        network.blocks[0].tau = torch.tensor(100.0)
    replace_checkpoint(results, f"{job}/seed-1", network)
    hash_again(results)
    monkeypatch.setattr(audit._runs, "verify", lambda path, length: [f"{path.name} is wrong at {length}"])
    found = problems(results)
    assert found[f"{job}/seed-0.safetensors"] == ["seed-0.safetensors is wrong at 64"]
    assert f"{job}/seed-1.safetensors" not in found
    edit(results / f"{job}/stability.json", lambda content: content["networks"][0].update(contradictions=None))
    assert any(problem.startswith("0.contradictions") for problem in problems(results)[f"{job}/stability.json"])


def test_certified_job_with_a_network_without_theorem(results):
    stem = f"{CERTIFIED}/seed-0"
    network = networks.build("feedforward", blocks=2, filters=2, kernel_size=3, flux="relu")
    replace_checkpoint(results, stem, network)
    hash_again(results)
    held, certificate = problems(results)[f"{stem}.safetensors"]
    assert held.startswith("architecture.name is 'feedforward', but its record says 'symmetric'")
    assert certificate == "its certificate does not hold: no theorem covers it"


def test_weight_that_is_not_finite(results):
    stem = f"{CERTIFIED}/seed-0"
    network = checkpoints.load(results / f"{stem}.safetensors")
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    replace_checkpoint(results, stem, network)
    assert any("not finite" in problem for problem in problems(results)[f"{stem}.safetensors"])


@pytest.mark.parametrize(
    "change",
    [
        {"counterexample": True},
        {"largest_amplification_found": 1.001},
        {"largest_amplification_found": None},
        {"largest_expansion_found": 1000.0},
    ],
)
def test_counterexample(results, change):
    edit(results / CERTIFIED / "stability.json", lambda content: content["networks"][0].update(change))
    hash_again(results)
    problem, *again = problems(results)[f"{CERTIFIED}/stability.json"]
    assert problem.startswith("seed 0: a signal is amplified by ")
    assert all("searched for again" in problem for problem in again)


def test_search_that_found_less_than_there_is(results):
    def change(content):
        content["networks"][0]["largest_expansion_found"] *= 0.7

    edit(results / CERTIFIED / "stability.json", change)
    hash_again(results)
    (problem,) = problems(results, *PARTS, full=True)[f"{CERTIFIED}/stability.json"]
    assert problem.startswith("seed 0: largest_expansion_found is ")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"repeated": [0.9, 0.9, 1.01]}, "seed 0, repeated: a factor of 1.01 at n = 5, but the bound is 1"),
        ({"contradictions": ["blocks.0"]}, "0.contradictions"),
        ({"contradictions": None}, "0.contradictions"),
    ],
)
def test_what_repetition_and_dense_matrices_say(results, change, problem):
    edit(results / CERTIFIED / "stability.json", lambda content: content["networks"][0].update(change))
    hash_again(results)
    (found,) = problems(results)[f"{CERTIFIED}/stability.json"]
    assert found.startswith(problem)


def test_bounds_that_no_random_network_has(results):
    def change(content):
        next(entry for entry in content["depth"] if entry["certified"])["bounds"][-1] = 2.0

    edit(results / RANDOM, change)
    hash_again(results)
    (problem,) = problems(results, "growth")[RANDOM]
    assert "is 2.0, but" in problem


def test_random_networks_that_are_missing(results):
    edit(results / RANDOM, lambda content: content["depth"].pop())
    hash_again(results)
    (problem,) = problems(results, "growth")[RANDOM]
    assert problem.endswith(f"random networks, but the configuration says {int(problem.split()[0]) + 1}")


def test_growth_of_a_trained_network_above_its_bound(results):
    job = "factorial/symmetric-perona_malik/blocks-4"
    run, path = f"{job}/seed-1", f"growth/{job}.json"

    def change(content):
        (entry,) = [x for x in content["repetition"] if (x["run"], x["start"]) == (run, "random")]
        entry["amplification"][2] = None

    edit(results / path, change)
    hash_again(results)
    problem, *others = problems(results, "growth")[path]
    assert problem.startswith(f"{run}, repeated from random signals: a factor of None at n = 5, but the bound is ")
    assert others == []


def test_growth_of_a_certified_random_network_above_its_bound(results):
    def change(content):
        entry = next(x for x in content["depth"] if x["certified"])
        entry["amplification"][-1] = 1.01

    edit(results / RANDOM, change)
    hash_again(results)
    (problem,) = problems(results, "growth")[RANDOM]
    assert "certified, step 1, seed 0: a factor of 1.01 at n = 12, but the bound is 1" in problem


@pytest.mark.parametrize("key", ["amplification", "perturbation", "expansion"])
def test_growth_that_no_random_network_has(results, key):
    path = "growth/resnet.json"
    edit(results / path, lambda content: content["depth"][1][key].__setitem__(1, 0.5))
    hash_again(results)
    (problem,) = problems(results, "growth")[path]
    assert problem.startswith(f"resnet with perona_malik, untied, not certified, step 1, seed 1, {key}: [")


def test_growth_of_other_networks_than_those_configured(results):
    path = "growth/factorial/resnet-relu/blocks-4.json"
    edit(results / path, lambda content: content["repetition"].pop(0))
    hash_again(results)
    problem, *_ = problems(results, "growth")[path]
    assert problem.startswith("runs.0 is 'factorial/resnet-relu/blocks-4/seed-1', but the configuration says ")


@pytest.mark.parametrize("change", [{"theorem": None}, {"failed_conditions": []}])
def test_theorem_or_conditions_of_a_certificate_edited(results, change):
    edit(results / RESNET / "stability.json", lambda content: content["networks"][1].update(change))
    hash_again(results)
    problem, *_ = problems(results)[f"{RESNET}/stability.json"]
    assert problem.startswith(f"1.{next(iter(change))}")


FOLLOWED = "growth/depth/factorial/symmetric-perona_malik/blocks-4.json"


def test_growth_through_trained_blocks_above_its_bound(results):
    edit(results / FOLLOWED, lambda content: content["followed"][1]["amplification"].__setitem__(2, None))
    hash_again(results)
    run, (problem, *again) = FOLLOWED[len("growth/depth/") : -len(".json")], problems(results, "growth")[FOLLOWED]
    assert problem.startswith(f"{run}/seed-1, block by block: a factor of None at n = 3, but the bound is ")
    assert all("followed again it is" in other for other in again)


@pytest.mark.parametrize(("key", "value"), [("bounds", [1.0, 1.0, 1.0, 1.5]), ("seed", 0), ("run", "a/b/c/seed-1")])
def test_growth_through_blocks_of_other_checkpoints(results, key, value):
    edit(results / FOLLOWED, lambda content: content["followed"][1].update({key: value}))
    hash_again(results)
    assert problems(results, "growth")[FOLLOWED][0].startswith(f"followed.1.{key}")


@pytest.mark.parametrize("key", ["amplification", "perturbation"])
def test_growth_that_signals_do_not_have_in_trained_blocks(results, key):
    edit(results / FOLLOWED, lambda content: content["followed"][0][key].__setitem__(3, 1e-3))
    hash_again(results)
    (problem,) = problems(results, *PARTS, full=True)[FOLLOWED]
    assert problem.startswith(f"0.{key}.3 is 0.001, but followed again it is ")


REMEDIED = "remedies/steps/safeguarded_fsi-perona_malik-certified/blocks-4.json"


@pytest.mark.parametrize("remedy", ["less", "restart", "projection", "surface"])
def test_remedy_that_does_not_keep_its_bound(results, remedy):
    def change(content):
        next(row for row in content["rows"] if row["remedy"] == remedy)["amplification"] = 1.01

    for path in (REMEDIED, "remedies/fsi.json"):
        edit(results / path, change)
    hash_again(results)
    found = problems(results, "remedies")
    assert re.search(rf"seed-0 with the remedy {remedy}: a factor of 1.01, but the bound is 1", found[REMEDIED][0])
    assert f"remedy {remedy}, n = 1: a factor of 1.01, but the bound is 1" in found["remedies/fsi.json"][0]


def test_own_rule_that_was_evaluated_otherwise(results):
    def change(content):
        next(row for row in content["rows"] if row["own"])["psnr"] += 0.01

    edit(results / REMEDIED, change)
    hash_again(results)
    (problem,) = problems(results, "remedies")[REMEDIED]
    assert problem.startswith("remedy surface, that of the network, seed 0: ")


def test_remedies_of_other_networks(results):
    edit(results / REMEDIED, lambda content: content["rows"][0].update(bound=1.0))
    edit(results / "remedies/fsi.json", lambda content: content["rows"].pop())
    edit(results / "remedies/du_fort_frankel.json", lambda content: content["rows"][0].update(amplification=0.5))
    hash_again(results)
    found = problems(results, "remedies")
    assert found[REMEDIED][0].startswith("0.bound is 1.0, but the checkpoints say None")
    assert found["remedies/fsi.json"][-1].endswith("rows, but the configuration says 54")
    assert found["remedies/du_fort_frankel.json"][0].startswith("0.amplification is 0.5, but drawn again it is ")


def test_map_that_is_not_that_of_the_checkpoint(results, monkeypatch):
    """Torch networks that compute something else, with certificates as good as before."""
    run = Implicit.run
    monkeypatch.setattr(Implicit, "run", lambda net, u: run(net, u) * 1.001)
    found = problems(results)
    for seed in (0, 1):
        single, double = found[f"runs/{IMPLICIT}/seed-{seed}.safetensors"]
        assert single.startswith("in 32 bits its output differs by 1.0e-03 from that of its scheme")
        assert double.startswith("in 64 bits its output differs by 1.0e-03 from that of its scheme")


@pytest.mark.parametrize("change", [{"rate": 0.5}, {"certified": False}])
def test_rate_edited(results, change):
    edit(results / "fixed_points.json", lambda content: content["networks"][1].update(change))
    hash_again(results)
    ((key, value),) = change.items()
    assert problems(results)["fixed_points.json"][0].startswith(f"1.{key} is {value}, but the checkpoints say ")


def test_more_iterations_than_the_rate_allows(results):
    def change(content):
        step = content["networks"][0]["steps"][2]
        step["iterations"] = step["allowed_iterations"] + 1
        content["networks"][1]["steps"][0]["iterations"] = None

    edit(results / "fixed_points.json", change)
    hash_again(results)
    first, second = problems(results)["fixed_points.json"]
    assert re.fullmatch(rf"{IMPLICIT}/seed-0: \d+ iterations until 0.0001, but its rate allows \d+", first)
    assert re.fullmatch(rf"{IMPLICIT}/seed-1: None iterations until 0.01, but its rate allows \d+", second)


def test_allowed_iterations_edited(results):
    edit(
        results / "fixed_points.json",
        lambda content: content["networks"][0]["steps"][0].update(allowed_iterations=10**6),
    )
    hash_again(results)
    (problem,) = problems(results)["fixed_points.json"]
    assert problem.startswith(f"{IMPLICIT}/seed-0: 1000000 iterations allowed until 0.01, but the rate ")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "lipschitz_found",
            1e9,
            "seed 1: perturbations of 5 are amplified by 1000000000.0, but the Lipschitz bound is ",
        ),
        ("psnr_attacked", -90.0, "seed 1: perturbations of 5 leave -90.0 dB, but "),
        ("psnr_guaranteed", 40.0, "guaranteed for perturbations of 5, seed 1: 40.0 dB, but its bound gives "),
    ],
)
def test_attack_beyond_its_bound(results, key, value, problem):
    edit(results / RESNET / "robustness.json", lambda content: content["sizes"][1][key].__setitem__(1, value))
    hash_again(results)
    found = problems(results)
    assert set(found) == {f"{RESNET}/robustness.json", "tables/robustness.csv"}
    assert [line for line in found[f"{RESNET}/robustness.json"] if line.startswith(problem)]


def test_attack_on_a_network_that_was_not_evaluated(results):
    edit(results / RESNET / "robustness.json", lambda content: content["sizes"][0]["psnr_attacked"].__setitem__(0, 1.0))
    hash_again(results)
    (problem,) = problems(results)[f"{RESNET}/robustness.json"][:1]
    assert problem.startswith("psnr_attacked without one, seed 0: 1.0 dB, but its evaluation gives ")


def test_attacks_that_were_not_asked_for(results):
    edit(results / RESNET / "robustness.json", lambda content: content["sizes"][1].update(size=6))
    hash_again(results)
    assert "1 is 6, but the configuration says 5" in problems(results)[f"{RESNET}/robustness.json"]


def test_bound_edited(results):
    edit(results / RESNET / "stability.json", lambda content: content["networks"][1].update(lipschitz_bound=1.0))
    hash_again(results)
    (problem,) = problems(results)[f"{RESNET}/stability.json"]
    assert problem.startswith("1.lipschitz_bound is 1.0, but the checkpoints say ")


LEARNED = "runs/solvers/charbonnier"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda record: record.update(loss="residual"), "loss is 'residual', but the configuration says 'supervised'"),
        (lambda record: record.update(parameters=7), "parameters is 7, but the configuration says 27"),
        (lambda record: record["training"].update(learning_rate=1.0), "training.learning_rate is 1.0, but "),
        (lambda record: record.update(operations=7), "7 operations, but counted again they are "),
        (lambda record: record.update(status="diverged"), "status 'diverged', which its learning curve contradicts"),
        (lambda record: record.update(checkpoint_sha256=""), "changed since training"),
    ],
)
def test_record_of_a_solver_edited(results, change, problem):
    path = f"{LEARNED}/cycle-1/seed-1.json"
    edit(results / path, change)
    found = problems(results, "solvers")
    assert any(problem in each for own in found.values() for each in own), found
    assert set(found) <= {path, f"{LEARNED}/cycle-1/evaluation.json"}


def test_tuning_of_a_solver_edited(results):
    edit(results / "tuning/solvers/unet-2.json", lambda content: content.update(learning_rate=0.05))
    found = problems(results, "solvers")
    (problem,) = found.pop("tuning/solvers/unet-2.json")
    assert problem.startswith("learning rate 0.05, but the best trial is 0.0")
    assert set(found) == {f"{LEARNED}/unet-2/seed-0.json", f"{LEARNED}/unet-2/seed-1.json"}


@pytest.mark.parametrize(
    ("method", "key", "add", "found"),
    [
        ("cycle-1", "factor", 0.1, True),
        ("cycle-1", "factor", 0.01, False),
        ("cycle-1", "iterations", 2, True),
        ("cycle-1", "iterations", 1, False),
        ("cycle-1", "converged", -0.5, True),
        ("cycle-1", "moved", 1e-6, True),
        ("multigrid-1", "moved", 1e-6, True),
        ("multigrid-1", "own_error", 1e-4, True),
        ("multigrid-1", "own_error", None, True),
    ],
)
def test_iterations_of_a_solver_edited(results, method, key, add, found):
    def change(content):
        values = content["iterations"][0][key]
        assert all(value is not None for value in values)
        values[1] = None if add is None else values[1] + add

    path = f"{LEARNED}/{method}/evaluation.json"
    edit(results / path, change)
    problem = problems(results, "solvers", full=True).get(path, [])
    assert [each.startswith(f"home-32, {key}: [") for each in problem] == [True] * found


def test_solutions_that_are_not_accurate(results, monkeypatch):
    monkeypatch.setattr(audit._solvers, "SOLVED", 1e-18)
    found = problems(results, "solvers")
    name = f"{LEARNED}/cycle-1/evaluation.json"
    assert any(problem.startswith("home-32: solutions with a relative residual of ") for problem in found[name])
    monkeypatch.setattr(audit._solvers, "FINEST", 1)
    assert problems(results, "solvers") == {}


def test_error_of_a_solver_edited(results):
    path = f"{LEARNED}/unet-2/evaluation.json"
    edit(results / path, lambda content: content["conditions"][2]["residual"].__setitem__(0, 0.0))
    (problem,) = problems(results, "solvers", full=True)[path]
    assert ", residual: [0.0, " in problem


def test_certificates_of_solvers_are_computed_again_on_the_smallest_grid_or_on_all(results):
    path = "runs/solvers/poisson/cycle-1/evaluation.json"
    entries = files.read_json(results / path)["certificates"]
    least, most = (choose(range(len(entries)), key=lambda n: entries[n]["points"]) for choose in (min, max))
    assert entries[least]["points"] < entries[most]["points"]
    for index, full, count in ((most, False, 0), (most, True, 1), (least, False, 1)):
        before = entries[index]["radius_dense"]
        edit(results / path, lambda content, at=index: content["certificates"][at].update(radius_dense=0.5))
        found = problems(results, "solvers", full=full).get(path, [])
        assert len(found) == count
        assert all("computed again" in problem and "radius_dense is 0.5, but" in problem for problem in found)
        edit(results / path, lambda content, at=index, r=before: content["certificates"][at].update(radius_dense=r))


def same(key, stored, values, amplifying=False):
    return audit._solvers._same(key, np.array(stored), np.array(values), np.full(len(stored), amplifying))


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


def test_cycles_that_amplify_anywhere_are_known(results, monkeypatch):
    monkeypatch.setattr(audit._solvers, "MAGNITUDES", 1e12)
    path = f"{LEARNED}/cycle-1/evaluation.json"

    def change(content, radius):
        content["iterations"][-1]["local_radius"][1] = radius  # at another place than that of the change
        content["iterations"][0]["moved"] = [1e-15, 1e-8]

    for radius, keys in ((1e6, []), (0.5, ["moved", "local_radius"])):
        edit(results / path, lambda content, radius=radius: change(content, radius))
        found = problems(results, "solvers", full=True).get(path, [])
        assert [problem.split(":")[0].split(", ")[1] for problem in found] == keys


def test_diverged_run_is_sound_if_its_record_says_so(original, results, monkeypatch):
    """A diverged seed has no PSNR anywhere, and the audit does not test it again."""
    study = Study.load(tier="smoke")
    job = "factorial/resnet-relu/blocks-4"

    def change(record):
        record.update(status="diverged", diverged_at_step=0)
        record["metrics"] = {"validation_psnr": None, "validation_psnr_by_epoch": [None]}

    edit(results / RESNET / "seed-0.json", change)
    for name in ("evaluate", "robustness"):
        stages.run(name, study.specs(name)[job], Layout(results))
    for name in ("tables", "claims", "manifest"):
        stages.run(name, study.specs(name)["all"], Layout(results))
    assert problems(results, *PARTS, full=True) == {}


def test_other_code_is_a_notice(results, monkeypatch, caplog):
    monkeypatch.setattr(audit, "of_stage", lambda stage, spec: "another" if stage == "train" else "")
    with caplog.at_level(logging.INFO, logger="schemenets"):
        assert audit.run(results, full=False) == 0
    count = len(manifest.records(Layout(results), Study.load()))
    assert count > 30
    assert f"notice: {count} of {count} records were made by other code than the present one" in caplog.messages
