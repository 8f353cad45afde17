"""Manifest and crate of the study in miniature."""

import hashlib
import json

import pytest

from schemenets import files
from schemenets.errors import CheckpointError
from schemenets.study import claims, stages
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.layout import Layout
from schemenets.study.records import crate as crates
from schemenets.study.records import manifest

JOB = "ladder/symmetric-perona_malik/blocks-4"
DATA = "data/piecewise_affine-10"
TUNING = "tuning/piecewise_affine/symmetric-perona_malik/small.json"


@pytest.fixture
def study(results):
    return Study.load()


def build(study, results):
    return manifest.build(Layout(results), study)


def test_every_file_has_its_hash(study, results):
    content = build(study, results)
    everything = {path.relative_to(results).as_posix(): path for path in results.rglob("*") if path.is_file()}
    assert list(content["files"]) == sorted({*everything} - {"manifest.json", "ro-crate-metadata.json"})
    for name, entry in content["files"].items():
        assert entry["sha256"] == hashlib.sha256(everything[name].read_bytes()).hexdigest()
    assert content["inputs"] == {
        path.as_posix(): {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (CLAIMS, CONFIG, claims.SCHEMA)
    }


def test_every_input_is_known(study, results):
    content = build(study, results)
    known = {*content["files"], *content["inputs"], *content["data"]}
    for name, entry in content["files"].items():
        assert name not in entry["inputs"]
        assert set(entry["inputs"]) <= known
        assert entry["inputs"] == sorted(set(entry["inputs"]))
    used = {name for entry in content["files"].values() for name in entry["inputs"]}
    assert "report.html" not in used
    assert {name for name in known - used if name.endswith((".csv", ".safetensors", ".json"))} == {
        name for name in content["files"] if name.endswith("evaluation.safetensors")
    }


def test_direct_inputs(study, results):
    entries = build(study, results)["files"]
    data = [f"{DATA}.json", f"{DATA}.safetensors"]
    trained = [f"runs/{JOB}/record.json", f"runs/{JOB}/weights.safetensors"]
    assert entries[TUNING]["inputs"] == ["config/config.yaml", *data]
    for name in trained:
        assert entries[name]["inputs"] == ["config/config.yaml", *data, TUNING]
        source = files.read_json(results / trained[0])["provenance"]["source_sha256"]
        assert entries[name]["source_sha256"] == source
    assert entries[f"runs/{JOB}/stability.json"]["inputs"] == ["config/config.yaml", *data, *trained]
    assert {f"data/{name}.safetensors" for name in study.test_sets} < {
        *entries[f"runs/{JOB}/evaluation.json"]["inputs"]
    }
    assert entries["growth/symmetric.json"]["inputs"] == ["config/config.yaml"]
    tuned = sorted(name for name in entries if name.startswith("tuning/"))
    assert entries["rates.yaml"]["inputs"] == entries["tables/tuning.csv"]["inputs"] == tuned
    assert entries["map/cell-00.json"]["inputs"] == ["config/config.yaml", *data]
    assert entries["tables/map.csv"]["inputs"] == ["map/cell-00.json"]
    grown = [name for name in entries if name.startswith("growth/") or name.endswith("/growth.json")]
    assert entries["tables/growth.csv"]["inputs"] == sorted(grown)
    assert entries["tables/problems.csv"]["inputs"] == ["solvers.json"]
    tables = sorted(stages.output_files("tables", "all").values())
    assert entries["claims.json"]["inputs"] == ["config/claims.yaml", *tables, claims.SCHEMA.as_posix()]
    assert "source_sha256" not in entries["claims.json"]
    assert {"claims.json", "figures/capacity.png", "tables/claims.csv"} < {*entries["report.html"]["inputs"]}


def test_every_file_with_provenance_is_a_record(study, results):
    """So that none is left out whose stage does not declare its records."""
    told = [path for path in results.rglob("*.json") if "provenance" in files.read_json(path)]
    assert sorted(told) == sorted(path for *_, path in manifest.records(Layout(results), study))


def test_verdicts_of_the_first_protocol_are_inputs_of_the_report(results):
    path = results.parent / "first_protocol/claims.json"
    path.parent.mkdir()
    path.write_text("{}\n")
    content = build(Study.load(), results)
    name = "results/first_protocol/claims.json"
    assert content["inputs"][name] == {"sha256": files.sha256(path)}
    assert [made for made, entry in content["files"].items() if name in entry["inputs"]] == ["report.html"]


def test_data_sets_are_marked_as_generated_anew(study, results):
    content = build(study, results)
    made = [stages.output_files(s, n) for s in ("signals", "evolution", "problems") for n in study.specs(s)]
    assert set(content["data"]) == {file for own in made for file in own.values()}
    read = [files.read_json(path)["provenance"]["inputs_sha256"] for path in (results / f"runs/{JOB}").glob("*.json")]
    (sha256,) = {own[f"{DATA}.safetensors"] for own in read if f"{DATA}.safetensors" in own}
    expected = {"sha256": sha256, "inputs": ["config/config.yaml"], "regenerated": True}
    assert content["data"][f"{DATA}.safetensors"] == expected


def test_configuration_is_kept(study, results):
    content = build(study, results)
    assert content["tier"] == "smoke"
    assert Study(content["config"]) == study
    finished = [
        files.read_json(path)["provenance"]["finished"] for *_, path in manifest.records(Layout(results), study)
    ]
    assert content["finished"] == max(finished)


def test_again_gives_the_same_bytes(study, results):
    layout = Layout(results)
    before = [path.read_bytes() for path in (layout.manifest, layout.crate)]
    stages.run("manifest", "all", study.specs("manifest")["all"], layout)
    assert before == [path.read_bytes() for path in (layout.manifest, layout.crate)]


def test_what_is_no_result(study, results):
    """Data, logs, interrupted work and the results of other runs are left out; anything else is found."""
    content = build(study, results)
    for name in ("data/a.json", "logs/a/b.log", ".resume/a.lock", "smoke/claims.json", "mine/claims.json"):
        files.write_json(results / name, {})
    for name in ("other/manifest.json", "other/claims.json"):
        files.write_json(results / name, {})
    assert manifest.found(Layout(results)) == set(content["files"])
    (results / "runs/smoke").touch()
    assert manifest.found(Layout(results)) - set(content["files"]) == {"runs/smoke"}


@pytest.mark.parametrize("name", ["claims.json", "tables/runs.csv", f"runs/{JOB}/weights.safetensors", TUNING])
def test_missing_file(study, results, name):
    (results / name).unlink()
    with pytest.raises(CheckpointError, match=f"^results/smoke/{name}: file is missing$"):
        build(study, results)


def test_missing_files_are_counted(study, results):
    tables = list((results / "tables").iterdir())
    for path in tables:
        path.unlink()
    with pytest.raises(CheckpointError, match=rf"file is missing \(and {len(tables) - 1} more\)$"):
        build(study, results)


@pytest.mark.parametrize("name", [f"{DATA}.safetensors", f"runs/{JOB}/weights.safetensors"])
def test_two_versions_of_an_input(study, results, name):
    path = results / f"runs/{JOB}/stability.json"
    record = files.read_json(path)
    record["provenance"]["inputs_sha256"][name] = "0" * 64
    files.write_json(path, record)
    with pytest.raises(CheckpointError, match=rf"json: {name}: got the SHA-256 \w+, expected \w+, that of "):
        build(study, results)


def test_records_of_another_configuration_are_refused(study, results):
    tier = study.config["tiers"]["smoke"]
    other = Study({**study.config, "tiers": {**study.config["tiers"], "smoke": {**tier, "epochs": 2}}})
    with pytest.raises(
        CheckpointError, match=r"json: made for another configuration.*schemenets train .* --tier smoke"
    ):
        build(other, results)


def test_crate_has_what_the_specification_requires(study, results):
    """RO-Crate 1.1: descriptor, root data entity, flat graph of resolved references, parts that are files."""
    content, crate = build(study, results), files.read_json(results / "ro-crate-metadata.json")
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
    parts = {name for name, entity in entities.items() if entity["@type"] == "File"}
    assert parts == {part["@id"] for part in root["hasPart"]} == {*content["files"], "manifest.json"}
    assert all((results / name).is_file() for name in parts)


def test_crate_tells_what_made_what(study, results):
    content, crate = build(study, results), files.read_json(results / "ro-crate-metadata.json")
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
    expected |= {"safetensors": "application/octet-stream", "svg": "image/svg+xml", "yaml": "application/yaml"}
    for name in content["files"]:
        assert entities[name]["encodingFormat"] == expected[name.rpartition(".")[2]]
    assert crates.describe(content) == crate


def test_nothing_tells_where_it_was_written(results, tmp_path):
    text = json.dumps([files.read_json(results / f"{name}.json") for name in ("manifest", "ro-crate-metadata")])
    assert str(tmp_path) not in text
    assert "../" not in text
