"""Manifest and crate of a results directory whose files hold next to nothing."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from schemenets.errors import CheckpointError
from schemenets.study import stages, summaries
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.layout import Layout
from schemenets.study.records import crate as crates
from schemenets.study.records import manifest
from schemenets.study.records.provenance import digest

ROOT = Path(__file__).parents[1]
TABLES = (*summaries.TABLES, "claims", "sensitivity")
JOB = "capacity/symmetric-perona_malik/budget-240"


@pytest.fixture(scope="module")
def study():
    config = yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))
    return Study({**config, "tier": "smoke"})


@pytest.fixture
def results(study, tmp_path, monkeypatch):
    """Every result file of the smoke tier, in the directory of a project."""
    monkeypatch.chdir(tmp_path)
    layout = Layout(Path("results"))

    def write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")

    def record(stage, name, datasets, finished="2026-01-01T00:00:00+00:00"):
        data = {f"{dataset}.safetensors": hashlib.sha256(dataset.encode()).hexdigest() for dataset in datasets}
        config = digest(study.specs(stage)[name])
        provenance = {"source_sha256": f"of {stage}", "config_sha256": config, "data_sha256": data}
        return {"provenance": provenance | {"finished": finished}}

    for path in (CONFIG, CLAIMS):
        write(path, str(path))
    for method, spec in study.tunings.items():
        write(layout.tuned(method), record("tune", method, [spec["dataset"]]))
    for job, spec in study.jobs.items():
        for seed in spec["seeds"]:
            write(layout.job(job) / f"seed-{seed}.json", record("train", job, [spec["dataset"]]))
            write(layout.job(job) / f"seed-{seed}.safetensors", f"{job} {seed}")
        write(layout.job(job) / "evaluation.json", record("evaluate", job, study.tested_on(job)))
        write(layout.job(job) / "evaluation.safetensors", job)
        write(layout.job(job) / "stability.json", record("stability", job, [spec["dataset"]]))
    for name, spec in study.specs("growth").items():
        write(layout.growth(name), record("growth", name, [spec["dataset"]] if "dataset" in spec else []))
    for name, spec in study.remedies.items():
        write(layout.remedies(name), record("remedies", name, [spec["dataset"]] if "dataset" in spec else []))
    write(layout.fixed_points, record("fixed_points", "all", ["piecewise_affine-10"]))
    for job, spec in study.attacks.items():
        write(layout.job(job) / "robustness.json", record("robustness", job, [spec["dataset"]]))
    write(layout.multigrid, record("multigrid", "all", [], finished="2026-02-03T04:05:06+00:00"))
    write(layout.schemes, record("schemes", "all", study.evolutions))
    write(layout.solvers, record("solvers", "all", study.problems))
    for method, spec in study.solver_tunings.items():
        write(layout.solver_tuned(method), record("solver_tune", method, [spec["dataset"]]))
    for job, spec in study.solver_jobs.items():
        for seed in spec["seeds"]:
            write(layout.job(job) / f"seed-{seed}.json", record("solver_train", job, [spec["dataset"]]))
            write(layout.job(job) / f"seed-{seed}.safetensors", f"{job} {seed}")
        write(layout.job(job) / "evaluation.json", record("solver_evaluate", job, [spec["dataset"]]))
    for name in TABLES:
        write(layout.table(name), f"{name}\n")
    write(
        layout.table("runs"),
        f"run,experiment,method,size,status\n{JOB}/seed-0,capacity,symmetric-perona_malik,budget-240,ok\n",
    )
    for suffix in ("svg", "png"):
        write(layout.figure("capacity", suffix), suffix)
    write(layout.claims, "{}")
    write(layout.report, "<html></html>")
    return layout


def run(study, results):
    """What the stage writes: manifest and crate."""
    stages.run("manifest", study.specs("manifest")["all"], results)
    return [json.loads((results.root / f"{name}.json").read_text()) for name in ("manifest", "ro-crate-metadata")]


def test_every_file_has_its_hash(study, results):
    everything = {path.relative_to("results").as_posix(): path for path in results.root.rglob("*") if path.is_file()}
    content, _ = run(study, results)
    assert list(content["files"]) == sorted(everything)
    for name, path in everything.items():
        assert content["files"][name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for path in (CONFIG, CLAIMS):
        assert content["inputs"][str(path)] == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_every_input_is_known(study, results):
    content, _ = run(study, results)
    known = {*content["files"], *content["inputs"], *content["data"]}
    for name, entry in content["files"].items():
        assert name not in entry["inputs"]
        assert set(entry["inputs"]) <= known
        assert entry["inputs"] == sorted(set(entry["inputs"]))
    used = {name for entry in content["files"].values() for name in entry["inputs"]}
    assert known - used == {"report.html"} | {
        name for name in content["files"] if name.endswith("evaluation.safetensors")
    }


def test_direct_inputs(study, results):
    content, _ = run(study, results)
    entries = content["files"]
    directory = f"runs/{JOB}"
    tuning, data = "tuning/symmetric-perona_malik.json", "data/piecewise_affine-10.safetensors"
    assert entries[tuning]["inputs"] == ["config/config.yaml", data]
    assert entries[f"{directory}/seed-0.safetensors"]["inputs"] == ["config/config.yaml", data, tuning]
    assert entries[f"{directory}/seed-0.safetensors"]["source_sha256"] == "of train"
    checkpoints = [f"{directory}/seed-{seed}.safetensors" for seed in (0, 1)]
    assert entries[f"{directory}/stability.json"]["inputs"] == [data, *checkpoints]
    assert {f"data/{name}.safetensors" for name in study.test_sets} < {
        *entries[f"{directory}/evaluation.json"]["inputs"]
    }
    assert entries["multigrid.json"]["inputs"] == []
    repeated = [job for job in study.jobs if re.fullmatch("(factorial|evolution_4)/.*/blocks-4", job)]
    random = study.config["stability"]["networks"]
    grown = [*repeated, *(f"depth/{name}" for name in repeated), *random]  # no evolution of this tier is deeper
    assert entries["tables/growth.csv"]["inputs"] == sorted(f"growth/{name}.json" for name in grown)
    again = "factorial/symmetric-perona_malik-certified/blocks-4"
    seeds = [f"runs/{again}/seed-{seed}.safetensors" for seed in (0, 1)]
    for name in (again, f"depth/{again}"):
        assert entries[f"growth/{name}.json"]["inputs"] == ["config/config.yaml", data, *seeds]
    assert entries["growth/symmetric.json"]["inputs"] == ["config/config.yaml"]
    assert entries["remedies/fsi.json"]["inputs"] == ["config/config.yaml"]
    remedied = [name for name in entries if name.startswith("remedies/")]
    assert entries["tables/remedies.csv"]["inputs"] == remedied
    extrapolating = [
        job for job in study.jobs if re.search("/(safeguarded_)?(fsi|du_fort_frankel)-.*/blocks-[48]", job)
    ]
    extrapolating.remove("factorial/du_fort_frankel-perona_malik-certified/blocks-4")  # which 2τα < 1 keeps from it
    assert {*remedied} == {f"remedies/{name}.json" for name in (*extrapolating, "fsi", "du_fort_frankel")}
    tuned = {name for name in entries if name.startswith("tuning/")}
    of_solvers = {name for name in tuned if name.startswith("tuning/solvers/")}
    assert entries["tables/tuning.csv"]["inputs"] == sorted(tuned - of_solvers)
    assert entries["tables/solver_tuning.csv"]["inputs"] == sorted(of_solvers)
    solved = sorted(name for name in entries if re.match(r"runs/solvers/.*\.json", name))
    assert len(solved) == 3 * len(study.solver_jobs)
    assert entries["tables/solver_errors.csv"]["inputs"] == solved
    assert entries["tables/solver_iterations.csv"]["inputs"] == [*solved, "solvers.json"]
    assert entries["tables/problems.csv"]["inputs"] == ["solvers.json"]
    assert len(entries["tables/runs.csv"]["inputs"]) == 3 * len(study.jobs)
    attacked = "runs/factorial/resnet-relu/blocks-4"
    networks = [f"{attacked}/seed-{seed}.{suffix}" for seed in (0, 1) for suffix in ("json", "safetensors")]
    assert entries[f"{attacked}/robustness.json"]["inputs"] == [data, *networks]
    jobs = {name.rpartition("/")[0] for name in entries["tables/robustness.csv"]["inputs"]}
    assert jobs == {f"runs/{job}" for job in study.jobs if job.startswith("factorial/")}
    assert len(entries["tables/guarantees.csv"]["inputs"]) == 4 * len(study.jobs) + len(grown)
    measured = ["fixed_point_costs", "fixed_points", "growth", "psnr", "runs", "solver_errors", "solver_runs"]
    measured = [f"tables/{name}.csv" for name in (*measured, "stability")]
    assert entries["claims.json"]["inputs"] == ["config/claims.yaml", *measured]
    implicit = [name for name in entries if "/implicit-" in name and "/seed-" in name]
    assert entries["fixed_points.json"]["inputs"] == ["data/piecewise_affine-10.safetensors", *sorted(implicit)]
    assert entries["tables/fixed_point_costs.csv"]["inputs"] == ["fixed_points.json"]
    assert f"{directory}/seed-0.safetensors" in entries["figures/capacity.svg"]["inputs"]  # it is drawn
    assert {"claims.json", "figures/capacity.png", "tables/claims.csv"} < {*entries["report.html"]["inputs"]}


def test_benchmarks_belong_to_the_results(study, results):
    names = ("benchmark", "benchmark_targets", "solver_benchmark")
    for name in names:
        results.table(name).write_text("machine\n")
    content, _ = run(study, results)
    tables = {f"tables/{name}.csv" for name in names}
    assert {name for name, entry in content["files"].items() if entry["inputs"] == []} >= tables
    assert tables < {*content["files"]["report.html"]["inputs"]}


def test_data_sets_are_marked_as_regenerated(study, results):
    content, _ = run(study, results)
    assert set(content["data"]) == {
        f"data/{name}.safetensors" for name in [*study.datasets, *study.evolutions, *study.problems]
    }
    sha256 = hashlib.sha256(b"ecg-10").hexdigest()
    expected = {"sha256": sha256, "inputs": ["config/config.yaml"], "regenerated": True}
    assert content["data"]["data/ecg-10.safetensors"] == expected


def test_configuration_is_kept(study, results):
    content, _ = run(study, results)
    assert content["tier"] == "smoke"
    assert Study(content["config"]) == study
    assert content["finished"] == "2026-02-03T04:05:06+00:00"


def test_again_gives_the_same_bytes(study, results):
    run(study, results)
    before = [path.read_bytes() for path in (results.manifest, results.root / "ro-crate-metadata.json")]
    run(study, results)
    assert before == [path.read_bytes() for path in (results.manifest, results.root / "ro-crate-metadata.json")]


def test_what_is_no_result(study, results):
    """Data, logs, interrupted work and the results of other tiers are left out; anything else is found."""
    content, _ = run(study, results)
    for name in ("data/a.json", "logs/a/b.log", ".resume/a.lock", "smoke/manifest.json", "extended/claims.json"):
        (results.root / name).parent.mkdir(parents=True, exist_ok=True)
        (results.root / name).touch()
    assert manifest.found(results, study) == set(content["files"])
    (results.root / "runs/smoke").touch()
    assert manifest.found(results, study) - set(content["files"]) == {"runs/smoke"}


@pytest.mark.parametrize(
    "name", ["claims.json", "tables/runs.csv", f"runs/{JOB}/seed-1.json", "tuning/resnet-relu.json"]
)
def test_missing_file(study, results, name):
    (results.root / name).unlink()
    with pytest.raises(CheckpointError, match=f"^results/{name}: file is missing$"):
        run(study, results)
    assert not results.manifest.exists()


def test_missing_files_are_counted(study, results):
    for name in TABLES:
        results.table(name).unlink()
    match = rf"^results/tables/runs.csv: file is missing \(and {len(TABLES) - 1} more\)$"
    with pytest.raises(CheckpointError, match=match):
        run(study, results)


def test_two_versions_of_a_data_set(study, results):
    path = results.job(JOB) / "seed-1.json"
    path.write_text(path.read_text().replace(hashlib.sha256(b"piecewise_affine-10").hexdigest(), "0" * 64))
    with pytest.raises(CheckpointError, match=r"seed-1.json: made from another data/piecewise_affine-10.safetensors "):
        run(study, results)


def test_crate_has_what_the_specification_requires(study, results):
    """RO-Crate 1.1: descriptor, root data entity, flat graph of resolved references, parts that are files."""
    content, crate = run(study, results)
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    descriptor = entities["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities[descriptor["about"]["@id"]]
    assert (root["@id"], root["@type"]) == ("./", "Dataset")
    assert root["datePublished"] == content["finished"]
    assert root["name"]
    assert root["description"]
    assert entities[root["license"]["@id"]]["name"] == "MIT License"

    def references(value):
        if isinstance(value, list):
            return [reference for item in value for reference in references(item)]
        return [value["@id"]] if isinstance(value, dict) else []

    for entity in entities.values():
        for key, value in entity.items():
            assert all(reference in entities for reference in references(value)) or key == "conformsTo"
    files = {name for name, entity in entities.items() if entity["@type"] == "File"}
    assert files == {part["@id"] for part in root["hasPart"]} == {*content["files"], "manifest.json"}
    assert all((results.root / name).is_file() for name in files)


def test_crate_tells_what_made_what(study, results):
    content, crate = run(study, results)
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    (action,) = (entity for entity in crate["@graph"] if entity["@type"] == "CreateAction")
    software = entities[action["instrument"]["@id"]]
    assert (software["@type"], software["version"]) == ("SoftwareApplication", content["schemenets"])
    assert {entity["@id"] for entity in action["result"]} == set(content["files"])
    assert {entity["@id"] for entity in action["object"]} == {
        f"#{name}" for name in {**content["inputs"], **content["data"]}
    }
    for name, entry in content["files"].items():
        assert entities[name]["sha256"] == entry["sha256"]
    expected = {"csv": "text/csv", "html": "text/html", "json": "application/json", "png": "image/png"}
    expected |= {"safetensors": "application/octet-stream", "svg": "image/svg+xml"}
    for name in content["files"]:
        assert entities[name]["encodingFormat"] == expected[name.rpartition(".")[2]]
    assert crates.describe(content) == crate


def test_nothing_tells_where_or_when_it_was_written(study, results, tmp_path):
    text = json.dumps(run(study, results))
    assert str(tmp_path) not in text
    assert "../" not in text


def test_records_of_another_configuration_are_refused(study, results):
    tier = study.config["tiers"]["smoke"]
    other = Study({**study.config, "tiers": {**study.config["tiers"], "smoke": {**tier, "epochs": tier["epochs"] + 1}}})
    with pytest.raises(CheckpointError, match=r"tuning/.*json: made for another configuration.*schemenets tune"):
        run(other, results)
