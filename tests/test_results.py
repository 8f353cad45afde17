"""Committed results are those of their commits, and the documentation tells their verdicts."""

import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from schemenets import files
from schemenets.study import stages
from schemenets.study.config import Study

ROOT = Path(__file__).parents[1]
FIRST_PROTOCOL = ROOT / "results/first_protocol"


def test_the_results_of_the_first_protocol_are_the_listed_ones_and_no_others():
    lines = (FIRST_PROTOCOL / "SHA256SUMS").read_text().splitlines()
    listed = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    there = {path.relative_to(FIRST_PROTOCOL).as_posix(): path for path in FIRST_PROTOCOL.rglob("*") if path.is_file()}
    assert set(there) == {*listed, "README.md", "SHA256SUMS"}
    for name, sha256 in listed.items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == sha256, name


def test_the_last_verdicts_in_the_history_are_those_of_the_first_protocol():
    history = (ROOT / "docs/history.md").read_text(encoding="utf-8")
    last = {
        row[1]: row.groups()[1:]
        for row in re.finditer(r"^\| (C\w+) \| ([^|]*) \| ([^|]*) \| \d", history, re.MULTILINE)
    }
    judged = json.loads((FIRST_PROTOCOL / "claims.json").read_text(encoding="utf-8"))["claims"]
    effects = {claim["id"]: f"{claim['effect']:.3g} {claim['threshold']['unit']}".replace("-", "−") for claim in judged}
    assert last == {claim["id"]: (claim["verdict"], effects[claim["id"]]) for claim in judged}


def test_the_history_tells_the_verdicts_of_the_dress_rehearsal():
    text = (ROOT / "docs/history.md").read_text().split("## The dress rehearsal")[1].split("\n## ")[0]
    for claim in files.read_json(ROOT / "results/exploratory/claims.json")["claims"]:
        assert f"{claim['id']} *{claim['verdict']}*" in text.replace("\n", " ")


def test_frozen_rates_are_the_best_of_the_committed_trials_for_the_sizes_that_are_trained():
    trials = pd.read_csv(ROOT / "results/tuning/tables/tuning.csv")
    names = trials["family"] + "/" + trials["method"] + "/" + trials["size_class"]
    best = {}
    for name, own in trials.assign(value=trials["validation"].fillna(trials["nothing"])).groupby(names):
        means = own.groupby("learning_rate")["value"].mean()
        best[name] = means.idxmin() if name.startswith("solving/") else means.idxmax()
        assert own.loc[own["chosen"], "learning_rate"].unique() == [best[name]]
    study = Study.load(ROOT, tier="study")
    assert dict(study.rates) == best
    sizes = dict(zip(names, trials["size"], strict=True))
    assert {name: size for name, (_, _, size) in study.tuned.items()} == {name: sizes[name] for name in study.tuned}


@pytest.mark.parametrize(("name", "folder", "count"), [("map", "map", 52), ("exploratory", "tables", 23)])
def test_results_are_what_their_run_wrote(name, folder, count):
    directory = ROOT / "results" / name
    listed = {name: entry["sha256"] for name, entry in files.read_json(directory / "manifest.json")["files"].items()}
    there = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
    assert there.keys() - listed.keys() == {"README.md", "manifest.json"}
    assert len(list((directory / folder).iterdir())) == count
    for path in there.keys() & listed.keys():
        assert hashlib.sha256(there[path].read_bytes()).hexdigest() == listed[path], path


def test_the_table_of_the_map_follows_from_its_records():
    records = {path.stem: files.read_json(path) for path in sorted((ROOT / "results/map/map").iterdir())}
    rows = pd.DataFrame(stages.module("cells").tables(records)["map"])
    written = pd.read_csv(ROOT / "results/map/tables/map.csv")
    pd.testing.assert_frame_equal(rows[list(written)], written, check_dtype=False)
    commits = {record["provenance"]["git"]["commit"] for record in records.values()}
    assert len(commits) == 1
    assert not any(record["provenance"]["git"]["dirty"] for record in records.values())
