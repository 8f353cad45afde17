"""The plan of a run: what the rules of the workflow know of the jobs, made once for a configuration and the code."""

import copy
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from schemenets.study import plan as module
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.plan import Plan, PlanError, chosen_device

ROOT = Path(__file__).parents[2]
JOB = {"experiment": "capacity", "method": "resnet-relu", "size": "budget-240"}
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"tier": "smoke"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, package included, in which this process works; its plans are counted."""
    root, made = tmp_path_factory.mktemp("project"), []
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config", "workflow/schemas"):
        shutil.copytree(ROOT / name, root / name)
    run = subprocess.run

    def counted(*arguments, **options):
        made.append(arguments)
        return run(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("PYTHONPATH", str(root / "src"))
        patch.setattr(module, "PACKAGE", root / "src/schemenets")
        patch.setattr(module.subprocess, "run", counted)
        yield root, made


@pytest.fixture(scope="module")
def plan(project):
    """That of the study in miniature."""
    return Plan.of(CONFIG | {"out": "somewhere"})


def test_names_are_those_of_the_study(plan):
    study = Study.load(ROOT, "smoke")
    assert plan.tier == "smoke"
    for stage in ("signals", "train", "evaluate", "tables"):
        assert plan.names(stage) == list(study.specs(stage))


def test_files_are_in_the_results_directory(plan):
    directory = "somewhere/runs/{experiment}/{method}/{size}"
    assert plan.outputs("train") == {
        "record": f"{directory}/record.json",
        "weights": f"{directory}/weights.safetensors",
    }
    expected = [
        f"somewhere/runs/{name}/{file}"
        for name in plan.names("train")
        for file in ("record.json", "weights.safetensors")
    ]
    assert plan.all_outputs("train") == expected
    assert plan.log("train") == "somewhere/logs/train/{experiment}/{method}/{size}.log"
    assert plan.log("claims") == "somewhere/logs/claims.log"


def test_inputs_are_the_files_that_other_jobs_write_and_those_of_the_project(plan):
    assert plan.inputs("train")(JOB) == {
        "data": ["somewhere/data/piecewise_affine-10.safetensors", "somewhere/data/piecewise_affine-10.json"],
        "tuning": ["somewhere/tuning/piecewise_affine/resnet-relu/small.json"],
    }
    claims = plan.inputs("claims")({})
    assert claims["registered"] == ["config/claims.yaml", "workflow/schemas/claims.schema.json"]
    assert set(claims["tables"]) == set(plan.all_outputs("tables"))
    (record,) = [file for file in plan.inputs("tables")({})["train"] if "capacity/resnet-relu" in file]
    assert record.endswith("record.json")  # not the weights


def test_jobs_that_do_not_exist_have_neither_inputs_nor_digests(plan):
    unknown = JOB | {"size": "budget-7"}
    message = r"train: got 'capacity/resnet-relu/budget-7', expected a job of the tier smoke"
    with pytest.raises(PlanError, match=message):
        plan.inputs("train")(unknown)
    for key in ("spec", "source"):
        with pytest.raises(PlanError, match=message):
            plan.params("train")[key](unknown)


def test_every_attempt_may_take_longer(project, plan):
    root, _ = project
    allowed = plan.minutes("train")
    assert [allowed(JOB, attempt) for attempt in (1, 2, 3)] == [60, 120, 180]  # nothing was measured here
    table = root / "results/tables/costs.csv"
    table.parent.mkdir(parents=True)
    shutil.copy(ROOT / "results/tables/costs.csv", table)
    try:
        measured = Plan.of(CONFIG)
    finally:
        shutil.rmtree(root / "results")
    assert 10 < measured.minutes("train")(JOB, 1) < 60
    assert digests(measured) == digests(plan)


def test_no_attempt_takes_longer_than_the_site_allows(project, plan):
    site = project[0] / "config/site.yaml"
    site.write_text("longest: 90\n")
    try:
        assert [plan.minutes("train")(JOB, attempt) for attempt in (1, 2, 3)] == [60, 90, 90]
        site.write_text("- what the profiles of SLURM will refuse\n")
        assert plan.minutes("train")(JOB, 2) == 120
    finally:
        site.unlink()


def test_a_plan_is_made_once(project, plan):
    _, made = project
    before = len(made)
    again = Plan.of(CONFIG)
    assert len(made) == before
    assert again.names("train") == plan.names("train")
    assert (again.results, again.config) == (Path("results/smoke"), None)  # unless it is told otherwise


def digests(plan):
    return {
        (stage, name, key): digest(dict(zip(keys, name.split("/"), strict=True)))
        for stage, keys in (("train", list(JOB)), ("evaluate", list(JOB)), ("random_growth", ["network"]))
        for name in plan.names(stage)
        for key, digest in plan.params(stage).items()
        if key != "out"
    }


def test_of_another_network_the_digests_of_its_jobs_change_and_no_others(project, plan):
    root, made = project
    path = root / "src/schemenets/networks/resnet.py"
    text, before = path.read_text(), len(made)
    try:
        path.write_text(text + "\nEDITED = True\n")
        changed = digests(Plan.of(CONFIG))
    finally:
        path.write_text(text)
    assert len(made) == before + 1
    unchanged = digests(plan)
    names = {place for place in unchanged if unchanged[place] != changed[place]}
    assert names == {(stage, "/".join(JOB.values()), "source") for stage in ("train", "evaluate")}


def test_another_configuration_has_another_plan_and_is_given_to_the_jobs(project, plan):
    _, made = project
    config, before = copy.deepcopy(CONFIG), len(made)
    config["tiers"]["smoke"]["experiments"]["capacity"][0]["budgets"] = [480]
    other = Plan.of(config)
    assert len(made) == before + 1
    assert JOB["size"] not in str(other.names("train"))
    assert other.options == f"--tier smoke --config {other.config}"
    given = Study.load(config=other.config)
    assert list(given.specs("train")) == other.names("train")
    mine, theirs = digests(other), digests(plan)
    common = set(mine) & set(theirs)
    assert {place for place in common if mine[place] != theirs[place]} == set()
    assert 0 < len(common) < len(theirs)


def test_a_wrong_configuration_is_refused_with_its_findings(project):
    with pytest.raises(PlanError, match=r"^config/config\.yaml: training\.batch: got 0, expected at least 1\.$"):
        Plan.of(CONFIG | {"training": {"batch": 0}})


def key(config=CONFIG):
    return module._key(config)


@pytest.mark.parametrize("file", ["config/config.yaml", "config/claims.yaml", "workflow/schemas/config.schema.json"])
def test_plans_depend_on_the_files_of_the_project(project, file):
    """Whether the configuration is that of the project as well: only others are given to the jobs."""
    path = project[0] / file
    before, text = key(), path.read_text()
    path.write_text(text + "\n")
    assert key() != before
    path.unlink()
    assert key() != before
    path.write_text(text)
    assert key() == before


def test_plans_do_not_depend_on_the_values_of_a_cluster(project):
    before = key()
    (project[0] / "config/site.yaml").write_text("jobs: 3\n")
    assert key() == before
    (project[0] / "config/site.yaml").unlink()


def test_old_plans_are_removed_with_their_configurations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "KEPT", 2)

    def made(*arguments, **options):
        path = Path(arguments[0][-1])
        path.write_text("{}")
        path.with_suffix(module.GIVEN).write_text("{}")
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(module.subprocess, "run", made)
    for number in range(4):
        module._make({}, module.PLANS / f"{number}.json")
    left = {path.name for path in module.PLANS.iterdir()}
    assert left == {"2.json", "2.config.json", "3.json", "3.config.json"}


def test_reading_a_plan_imports_nothing_that_takes_long():
    code = "import schemenets.study.plan, sys; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("out", ["a{b}c", True])
def test_a_directory_that_snakemake_cannot_have_is_refused(project, out):
    with pytest.raises(PlanError, match=r"^out: got .*, expected a directory"):
        Plan.of(CONFIG | {"out": out})


def test_directories_of_any_other_name_are_quoted(project):
    assert Plan.of(CONFIG | {"out": "my results"}).params("train")["out"]({}, ["my results/runs/x"]) == "my results"
    assert Plan.of(CONFIG | {"out": 2026}).results == Path("2026")


@pytest.mark.parametrize(
    ("out", "file", "directory"),
    [
        ("results/mine", "results/mine/data/x.json", "results/mine"),
        ("mine", "mine/mine/x.json", "mine"),
        ("/scratch/mine", "/scratch/mine/data/x.json", "/scratch/mine"),
        ("results/mine", ".snakemake/storage/fs/mnt/results/mine/x.json", ".snakemake/storage/fs/mnt/results/mine"),
        ("results/mine", "/elsewhere/results/mine/data/x.json", "/elsewhere/results/mine"),
        ("/scratch/mine", ".snakemake/storage/fs/scratch/mine/x.json", ".snakemake/storage/fs/scratch/mine"),
    ],
)
def test_a_job_writes_where_snakemake_keeps_its_files(project, out, file, directory):
    assert Plan.of(CONFIG | {"out": out}).directory(file) == directory


def test_the_comment_of_every_rule_names_its_files():
    rules = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    named = {stage: files.split(", ") for files, stage in re.findall(r"^# (.*)\nrule (\w+):$", rules, re.MULTILINE)}
    assert set(named) == set(stages.available())
    for stage, files in named.items():
        written = list(stages.module(stage).OUTPUTS.values())
        if stage in ("tables", "figures"):  # which have too many to name
            assert all(any(fnmatch(file, each) for each in files) for file in written)
        else:
            assert files == written


@pytest.mark.parametrize(
    ("config", "gpus", "environment", "expected"),
    [
        ({}, 0, None, "cpu"),
        ({}, 2, None, "cuda"),
        ({}, 2, "cpu", "cuda"),
        ({"device": "cpu"}, 2, "cuda", "cpu"),
        ({"device": "cuda"}, 0, None, "cuda"),
        ({}, 0, "cuda", "cuda"),  # as jobs of a run on a cluster find it
    ],
)
def test_trainings_run_where_the_configuration_says_or_on_the_gpus_of_the_run(
    config, gpus, environment, expected, monkeypatch
):
    monkeypatch.setenv("SCHEMENETS_DEVICE", environment or "cpu")
    if environment is None:
        monkeypatch.delenv("SCHEMENETS_DEVICE")
    assert chosen_device(config, gpus) == expected
    assert os.environ["SCHEMENETS_DEVICE"] == expected


def test_an_unknown_device_is_named():
    with pytest.raises(PlanError, match=r"^device: got 'gpu', expected cpu or cuda\.$"):
        chosen_device({"device": "gpu"}, 0)


def test_where_a_run_computes_is_no_part_of_its_plan(monkeypatch):
    made = Plan.of(CONFIG)
    monkeypatch.setattr("schemenets.study.plan._make", None)  # not called again
    assert Plan.of(CONFIG | {"device": "cuda", "out": "elsewhere"}).names("train") == made.names("train")
