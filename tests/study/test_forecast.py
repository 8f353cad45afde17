"""What a tier costs before it is run."""

import itertools
import json
import math
from pathlib import Path

import pytest

from schemenets.errors import CheckpointError, ConfigError
from schemenets.study import cli, forecast, stages
from schemenets.study.config import Study
from schemenets.study.forecast import ANY, START, Forecast, Rate
from schemenets.study.layout import Layout

ROOT = Path(__file__).parents[2]
STUDY = Study.load(root=ROOT, tier="smoke")
JOB = "capacity/resnet-relu/budget-240"


@pytest.fixture(autouse=True)
def _project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_work_is_the_product_of_the_numbers_that_it_grows_with():
    spec = STUDY.specs("train")[JOB]
    a = spec["architecture"]
    size = a["blocks"] * a["filters"] * a["kernel_size"]
    assert forecast.work(STUDY, "train", spec) == len(spec["seeds"]) * spec["epochs"] * size * 1024
    longer = {**spec, "epochs": 3 * spec["epochs"], "architecture": {**a, "channels": 8}}
    assert forecast.work(STUDY, "train", longer) == 24 * forecast.work(STUDY, "train", spec)
    signals = STUDY.specs("signals")["piecewise_affine-10"]
    assert forecast.work(STUDY, "signals", signals) == (1024 + 128 + 128) * 256
    cell = STUDY.specs("cells")["cell-00"]
    sides = [side["blocks"] * side["filters"] * side["kernel_size"] for side in cell["sides"].values()]
    assert forecast.work(STUDY, "cells", cell) == 2 * 1 * sum(sides) * cell["cell"]["steps"]
    few = {**spec, "draws": {**spec["draws"], "train": 64}, "passes": 16}
    assert forecast.work(STUDY, "train", few) == forecast.work(STUDY, "train", spec)
    assert forecast.work(STUDY, "report", {"anything": [1, 2, 3]}) == 1


def test_kinds_of_networks_have_rates_of_their_own():
    assert forecast.kind({}) == ANY
    assert forecast.kind({"architecture": {"name": "symmetric", "certified": True}}) == "symmetric certified"
    assert forecast.kind({"architecture": {"name": "resnet", "channels": 8}}) == "resnet 8 channels"
    assert forecast.kind({"architecture": {"name": "resnet", "flux": "learned"}}) == "resnet learned flux"


@pytest.fixture
def records(tmp_path):
    """Two trainings of known cost."""
    results = Layout(tmp_path)
    for name, seconds in ((JOB, 6.0), ("capacity/symmetric-learned-certified/budget-240", 20.0)):
        for key, path in results.files("train", name).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            content = json.dumps({"provenance": {"cpu_seconds": seconds}}) if key == "record" else "x" * 1000
            path.write_text(content)
    results.files("manifest")["manifest"].write_text(json.dumps({"config": STUDY.config}))
    return results


def test_measured_costs_are_those_of_the_records(records):
    rows = forecast.measured(records, STUDY, "a machine")
    assert [(row["stage"], row["network"], row["cpu_seconds"]) for row in rows] == [
        ("train", "resnet", 6.0),
        ("train", "symmetric certified learned flux", 20.0),
    ]
    assert set(rows[0]) == set(forecast.COLUMNS)
    known = forecast.rates(rows)
    spec = STUDY.specs("train")[JOB]
    assert known["train", "resnet"].seconds * forecast.work(STUDY, "train", spec) == pytest.approx(6)
    assert known["train", "resnet"].megabytes == pytest.approx(rows[0]["megabytes"] / 2)
    total = sum(
        forecast.work(STUDY, "train", STUDY.specs("train")[name])
        for name in (JOB, JOB.replace("resnet-relu", "symmetric-learned-certified"))
    )
    assert known["train", ANY].seconds == pytest.approx(26 / total)


def test_a_run_without_records_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no records of the tier smoke"):
        forecast.measured(Layout(tmp_path), STUDY, "")


def test_every_job_costs_its_start_and_its_work():
    known = {("train", ANY): Rate(1e-6, 0.5), ("train", "symmetric certified learned flux"): Rate(1e-2, 0.0)}
    jobs = Forecast(STUDY, known).jobs
    assert len(jobs) == sum(len(STUDY.specs(stage)) for stage in stages.available())
    own = forecast.work(STUDY, "train", STUDY.specs("train")[JOB])
    assert jobs["train", JOB].cpu_seconds == pytest.approx(START + 1e-6 * own)
    assert jobs["train", JOB].megabytes == 0.5 * 2
    assert jobs["claims", "all"].seconds == START
    certified = "capacity/symmetric-learned-certified/budget-240"
    assert jobs["train", certified].seconds > 100 * jobs["train", JOB].seconds


def test_a_gpu_takes_the_trainings_over():
    known = {("train", ANY): Rate(1e-3, 0.0)}
    plain, fast = (Forecast(STUDY, known, speed).jobs for speed in (None, {ANY: 10.0, "resnet": 20.0}))
    alone = plain["train", JOB].cpu_seconds - START
    assert fast["train", JOB].gpu_seconds == pytest.approx(alone / 20 + START)
    assert fast["train", JOB].cpu_seconds == START
    assert fast["evaluate", JOB].gpu_seconds == 0


def test_the_critical_path_is_the_longest_way_through_the_jobs():
    known = {("train", "implicit certified"): Rate(1.0, 0.0), ("tune", ANY): Rate(1e-3, 0.0)}
    path = Forecast(STUDY, known).critical_path()
    assert path[0] == ("signals", "piecewise_affine-10")
    assert path[2] == ("train", "ladder/implicit-perona_malik-certified/blocks-4")
    assert path[-1] == ("manifest", "all")
    for job, (stage, name) in itertools.pairwise(path):
        given = stages.references(stage, STUDY.specs(stage)[name]).values()
        assert job in {(each[0], each[1]) for found in given for each in found if not isinstance(each, str)}


def test_more_runs_are_more_seeds():
    more = forecast.with_runs(STUDY, 1000)
    jobs = len(STUDY.specs("train"))
    assert more.seeds == list(range(math.ceil(1000 / jobs)))
    assert Forecast(more, {}).runs >= 1000


def test_the_speed_of_a_gpu_is_from_its_benchmark():
    row = {"contender": "processor", "certified": "False", "times_slower_than_ours": "4.0"}
    row |= {"flux": "relu", "channels": "1"}
    rows = [{**row, "network": "resnet"}, {**row, "network": "resnet", "times_slower_than_ours": "9"}]
    rows += [{**row, "network": "symmetric", "certified": "True"}, {**row, "contender": "ours", "network": "resnet"}]
    found = forecast.speeds(rows)
    assert found == pytest.approx({"resnet": 6.0, "symmetric certified": 4.0, ANY: 144 ** (1 / 3)})
    with pytest.raises(ConfigError, match="no rows of the contender processor"):
        forecast.speeds([])


def test_what_no_gpu_has_trained_is_marked_with_its_share_of_the_time():
    study = Study.load(ROOT, "smoke")
    speed = {ANY: 10.0, "resnet": 10.0}
    known = {("train", ANY): Rate(1e-6, 0.0), ("tune", ANY): Rate(1e-6, 0.0)}
    text = list(forecast.lines(Forecast(study, known, speed), []))
    assert [line.split()[0] for line in text if line.startswith(("train", "tune", "stability"))].count("train+") == 1
    jobs = Forecast(study, known, speed).jobs
    unknown = [each for job, each in jobs.items() if forecast.kind(study.specs(job[0])[job[1]]) not in speed]
    share = sum(each.gpu_seconds for each in unknown) / sum(each.gpu_seconds for each in jobs.values())
    assert 0 < share < 1
    assert f"+ with kinds of networks that no GPU has trained, {share:.0%} of its time" in "\n".join(text)
    assert not any("+" in line for line in forecast.lines(Forecast(study, known), []))


def test_the_command_prints_a_table_with_its_sources(records, capsys):
    assert cli.main(["plan", "--tier", "extended", "--records", str(records.root), "--device", "cuda"]) == 0
    lines = capsys.readouterr().out.splitlines()
    study = Study.load(tier="extended")
    jobs, runs = len(Forecast(study, {}).jobs), Forecast(study, {}).runs
    assert lines[0] == f"tier extended: {jobs} jobs, {runs} trained networks, {len(study.seeds)} seeds of each"
    assert cli.main(["plan", "--tier", "tuning", "--records", str(records.root)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"tier tuning: {len(Forecast(Study.load(tier='tuning'), {}).jobs)} jobs"
    assert any(line.startswith("tune*") for line in lines)
    assert any(line.startswith("train") and "*" not in line for line in lines)
    assert any(line.startswith("critical path: ") for line in lines)
    warning = "its jobs are so short that this is far too much: take those of a larger tier"
    assert f"from the records in {records.root}; {warning}" in lines
    assert any(line.startswith("from results/tables/gpu_benchmark.csv: NVIDIA") for line in lines)


def test_records_of_long_jobs_are_taken_without_a_warning(records, capsys):
    path = records.files("train", JOB)["record"]
    path.write_text(json.dumps({"provenance": {"cpu_seconds": 60.0}}))
    assert cli.main(["plan", "--tier", "study", "--records", str(records.root)]) == 0
    assert f"from the records in {records.root}" in capsys.readouterr().out.splitlines()


def test_mistakes_are_named(tmp_path, capsys):
    assert cli.main(["plan", "--runs", "0"]) == cli.MISUSE
    assert cli.main(["plan", "--records", str(tmp_path)]) == cli.MISUSE


def test_the_table_of_the_project_is_that_of_its_stages():
    known = forecast.rates(forecast.read(ROOT / forecast.COSTS))
    for stage in stages.available():
        assert not stages.has_provenance(stage) or (stage, ANY) in known


def test_jobs_may_take_longer_than_is_forecast():
    found = forecast.minutes(STUDY)
    jobs = Forecast(STUDY, forecast.rates(forecast.read(forecast.COSTS))).jobs
    assert set(found) == set(jobs)
    for job, cost in jobs.items():
        assert found[job]["cpu"] >= 10 + 2 * cost.seconds / 60
    longer = Study.check({**STUDY.config, "tiers": {"smoke": {**STUDY.config["tiers"]["smoke"], "epochs": 1_000_000}}})
    assert forecast.minutes(longer)["train", JOB]["cpu"] > 10 * found["train", JOB]["cpu"]
    assert forecast.minutes(longer)["train", JOB]["cuda"] < forecast.minutes(longer)["train", JOB]["cpu"]
    assert forecast.minutes(longer)["stability", JOB] == found["stability", JOB]


def test_jobs_may_take_an_hour_if_nothing_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = forecast.minutes(STUDY)
    assert found["train", JOB] == {"cpu": 60, "cuda": 60}
    assert found["report", "all"]["cpu"] < 60
