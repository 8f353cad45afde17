"""The workflow as a whole, in a miniature of the study: complete, idempotent, and undisturbed by kill -9."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from itertools import accumulate
from pathlib import Path

import miniature as miniature_study
import pytest
import torch
import yaml

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "config", "profiles", "workflow", "src")


def miniature(directory):
    """A copy of the project whose smoke tier is smaller still."""
    directory.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_symlink():
            (directory / name).symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    config = miniature_study.config()
    config["tiers"]["smoke"] |= {
        "epochs": 12,  # to be interrupted
        "train": {"piecewise_affine": 512, "scanlines": 64, "evolution": 64},
        "learning_rates": [0.01],
        "experiments": {"capacity": [{"methods": ["resnet-relu", "symmetric-perona_malik"], "budgets": [240]}]},
        "robustness": config["tiers"]["smoke"]["robustness"] | {"experiment": "capacity"},
    }
    config["tiers"]["smoke"]["solvers"] |= {
        "learning_rates": [0.01],
        "problems": {"charbonnier": ["unet-2"]},
    }
    config["stability"] |= {"experiments": ["capacity"], "size": "budget-240"}
    (directory / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return directory


def environment(directory):
    """For the package in ``directory``, on the reference kernel, as compiling the others takes longer than all this."""
    return {
        **os.environ,
        "PYTHONPATH": str(directory / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SCHEMENETS_KERNEL": "reference",
    }


def start(directory, *arguments):
    """Snakemake in ``directory``, with its package, in a process group of its own."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, "--config", "tier=smoke"]
    return subprocess.Popen(
        command,
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(directory, *arguments):
    process = start(directory, *arguments)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def successful(directory, *arguments):
    status, output = run(directory, *arguments)
    assert status == 0, output
    return output


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The miniature and what was printed while it was run, undisturbed."""
    directory = miniature(tmp_path_factory.mktemp("workflow") / "project")
    return directory, successful(directory)


@pytest.fixture(scope="module")
def project(first):
    """The miniature after one undisturbed run."""
    return first[0]


def contents(directory, names):
    """Results by name: records without times and provenance, everything else byte by byte."""
    found = {}
    for name in names:
        path = directory / name
        if path.suffix == ".json":
            record = json.loads(path.read_text())
            record.pop("provenance")
            found[name] = json.dumps(record)
        else:
            found[name] = path.read_bytes()
    return found


def test_all_results_are_there_and_pass_the_audit(project):
    names = {path.relative_to(project / "results/smoke").as_posix() for path in (project / "results").rglob("*")}
    job = "runs/capacity/symmetric-perona_malik/budget-240"
    assert names >= {
        "report.html",
        "claims.json",
        "manifest.json",
        "ro-crate-metadata.json",
        "tables/psnr.csv",
        "figures/capacity.svg",
        "figures/capacity.png",
        *(f"{job}/{name}.json" for name in ("record", "evaluation", "stability", "robustness", "growth")),
        *(f"{job}/{name}.safetensors" for name in ("weights", "evaluation")),
        "runs/solve_charbonnier/unet-2/points-32/solutions.json",
    }
    audit = [sys.executable, "-m", "schemenets", "audit", "results/smoke", "--full"]
    result = subprocess.run(audit, cwd=project, env=environment(project), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_records_hold_their_provenance(project):
    record = json.loads((project / "results/smoke/runs/capacity/resnet-relu/budget-240/record.json").read_text())
    assert [(run["seed"], run["status"]) for run in record["runs"]] == [(0, "ok"), (1, "ok")]
    assert record["data_seed"] == 1
    assert record["parameters"] == 240
    provenance = record["provenance"]
    assert provenance["threads"] == 1
    data = [f"data/piecewise_affine-10.{suffix}" for suffix in ("safetensors", "json")]
    assert list(provenance["inputs_sha256"]) == [*data, "tuning/piecewise_affine/resnet-relu/small.json"]
    assert {"config_sha256", "source_sha256", "git", "device", "kernel", "versions"} <= set(provenance)
    assert provenance["wall_seconds"] > 0
    assert provenance["cpu_seconds"] > 0


def test_a_second_run_has_nothing_to_do(project):
    assert "Nothing to be done" in successful(project)


VERDICTS = re.compile(r"^C1 +inconclusive .*\nC2 .*\n(?:[A-Z].*\n)+results/smoke/report\.html$", re.MULTILINE)


def test_a_run_ends_with_the_verdicts_and_a_dry_run_does_not(first):
    project, output = first
    assert len(VERDICTS.findall(output)) == 1
    assert not VERDICTS.search(successful(project, "--dry-run", "--forceall"))


@pytest.mark.parametrize(
    "pattern", ["report.html", "tables/psnr.csv", "tuning/*/*/*.json", "runs/*/*/*/weights.safetensors"]
)
def test_what_is_removed_is_made_again(project, tmp_path, pattern):
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, symlinks=True)
    removed = next((copy / "results/smoke").glob(pattern))
    removed.unlink()
    output = successful(copy, "--dry-run", "--quiet", "host")
    assert re.search(rf"output:.* {removed.relative_to(copy)}[,\n]", output), output


def edited(project, directory, file, old, new):
    """A copy of the finished project with one file of the package edited; what a dry run would write."""
    shutil.copytree(project, directory, symlinks=True)
    path = directory / "src/schemenets" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    output = successful(directory, "--dry-run", "--quiet", "host")  # and so not quiet about rules
    return set(re.findall(r"results/smoke/([^\s,]+)", " ".join(re.findall(r"output: (.*)", output))))


def test_editing_a_network_reruns_its_jobs_and_no_other_training(project, tmp_path):
    written = edited(project, tmp_path / "copy", "networks/symmetric.py", "2 / self.flux.L", "1 / self.flux.L")
    job = "runs/capacity/symmetric-perona_malik/budget-240"
    assert {name for name in written if name.startswith(("tuning/", "runs/")) and name.endswith(".json")} == {
        "tuning/piecewise_affine/symmetric-perona_malik/small.json",
        *(f"{job}/{name}.json" for name in ("record", "evaluation", "stability", "robustness", "growth")),
    }


def test_editing_how_records_become_tables_reruns_no_measurement(project, tmp_path):
    written = edited(
        project, tmp_path / "copy", "study/stages/evaluate.py", 'name.rpartition("-")', '("-" + name).rpartition("-")'
    )
    assert "tables/psnr.csv" in written
    assert not {name for name in written if name.startswith(("tuning/", "runs/"))}


def test_what_the_catalogue_of_workflows_asks_for_works(project, tmp_path):
    """The workflow is found where catalogues look, and Snakemake makes a report of its own."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["report"] is usage["software-stack-deployment"]["report"] is True
    catalogued = ("--snakefile", "workflow/Snakefile")
    steps = r"^total +(\d+)$"
    written = [
        re.findall(steps, successful(project, *own, "--dry-run", "--forceall"), re.M) for own in ((), catalogued)
    ]
    assert written[0] == written[1] != []
    archive = tmp_path / "found.zip"
    successful(project, *catalogued, "--report", str(archive))
    with zipfile.ZipFile(archive) as content:
        assert "found/report.html" in content.namelist()


@pytest.mark.parametrize("stage", ["tune", "train"])
def test_killed_runs_go_on_and_end_with_the_same_results(project, tmp_path, stage):
    trained = [
        path.relative_to(project).as_posix()
        for pattern in (
            "tuning/piecewise_affine/*/*.json",
            "runs/capacity/*/*/record.json",
            "runs/capacity/*/*/weights.safetensors",
        )
        for path in sorted((project / "results/smoke").glob(pattern))
    ]
    assert len(trained) == 2 + 2 * 2
    directory = miniature(tmp_path / "killed")
    process = start(directory, *trained)
    logs = directory / "results/smoke/logs"
    # interrupted work of this stage is there, and no record yet
    while process.poll() is None:
        begun = [path.stat().st_mtime for path in logs.glob(f"{stage}/**/*.log")]
        states = [path.stat().st_mtime for path in (directory / "results/smoke/.resume").glob("*.safetensors")]
        if begun and states and max(states) > min(begun):
            break
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not all((directory / name).exists() for name in trained)
    successful(directory, *trained)
    assert contents(directory, trained) == contents(project, trained)


def test_two_runs_at_once_are_refused(project, tmp_path):
    copy = miniature(tmp_path / "copy")
    first = start(copy)
    lock = copy / ".snakemake/schemenets.lock"
    while first.poll() is None and not (copy / "results/smoke/logs").exists():
        time.sleep(0.05)
    assert lock.exists()
    status, output = run(copy)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert status != 0
    assert "another run is working in this directory" in output


def test_another_directory_is_filled_if_asked_for(project, tmp_path):
    directory = miniature(tmp_path / "copy")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "tier=smoke", "out=elsewhere"]
    target = "elsewhere/data/piecewise_affine-10.safetensors"
    options = {"env": environment(directory), "capture_output": True, "text": True, "check": True}
    found = subprocess.run([*command, "--", target], cwd=directory, **options)
    assert "report.html" not in found.stdout + found.stderr  # no verdicts, as there are none yet
    own = project / "results/smoke/data/piecewise_affine-10.safetensors"
    assert (directory / target).read_bytes() == own.read_bytes()
    assert not (directory / "results").exists()


def test_a_configuration_of_ones_own_reaches_every_job(tmp_path):
    directory = miniature(tmp_path / "copy")
    config = yaml.safe_load((directory / "config/config.yaml").read_text())
    config["tiers"]["smoke"]["data_seed"] = 7
    (directory / "mine.yaml").write_text(yaml.safe_dump(config))
    data = "results/smoke/data/piecewise_affine-10.json"
    successful(directory, data, "--configfile", "mine.yaml")
    assert json.loads((directory / data).read_text())["spec"]["seed"] == 7


def test_claims_of_ones_own_are_judged_without_repeating_anything_else(project):
    """Whatever the path of the configuration is that jobs are given."""
    registered = yaml.safe_load((project / "config/claims.yaml").read_text())["claims"]
    comparison = {"role": "primary", "experiment": "capacity", "sizes": "all"}
    comparison |= {"candidate": "symmetric-perona_malik", "reference": "resnet-relu"}
    claim = next(each for each in registered if each["id"] == "C6") | {"id": "M1", "comparisons": [comparison]}
    (project / "mine.yaml").write_text(yaml.safe_dump({"claims": [claim]}))
    try:
        output = successful(project, "--dry-run", "--configfile", "mine.yaml")
    finally:
        (project / "mine.yaml").unlink()
    rules = set(re.findall(r"^(\w+) +\d+$", output, re.MULTILINE)) - {"total"}
    assert {"claims", "report"} <= rules <= {"all", "claims", "figures", "report", "manifest"}


@pytest.mark.parametrize(("device", "at_once"), [("cpu", 2), ("cuda", 1)])
def test_one_gpu_trains_one_network_at_a_time_whatever_the_number_of_cores(device, at_once, tmp_path):
    """The GPU is made up: what runs instead of trainings notes when it begins and ends."""
    directory, noted = miniature(tmp_path / "copy"), tmp_path / "noted"
    fake = tmp_path / "bin/python"
    fake.parent.mkdir()
    fake.write_text(
        f"""#!/bin/sh
        case "$3" in
          info) exit 0 ;;
          tune) echo 1 >> {noted}; sleep 5; echo -1 >> {noted}; exit 1 ;;
        esac
        exec {sys.executable} "$@"
        """
    )
    fake.chmod(0o755)
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--retries", "0", "--keep-going"]
    targets = [
        f"results/smoke/tuning/piecewise_affine/{each}/small.json" for each in ("resnet-relu", "symmetric-perona_malik")
    ]
    given = environment(directory)
    given["PATH"] = f"{fake.parent}{os.pathsep}{given['PATH']}"
    options = {"env": given, "capture_output": True, "text": True, "check": False}
    found = subprocess.run(
        [*command, "--config", "tier=smoke", f"device={device}", "--", *targets], cwd=directory, **options
    )
    changes = [int(line) for line in noted.read_text().split()]
    assert len(changes) == 4, found.stderr
    assert max(accumulate(changes)) == at_once


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_missing_is_the_error_before_any_job_starts(tmp_path):
    directory = miniature(tmp_path / "copy")
    target = next(iter(miniature_study.Study.load(directory).specs("train")))
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--config", "tier=smoke", "device=cuda"]
    options = {"env": environment(directory), "capture_output": True, "text": True, "check": False}
    found = subprocess.run([*command, "--", f"results/smoke/runs/{target}/record.json"], cwd=directory, **options)
    assert found.returncode != 0
    assert found.stderr.count("SCHEMENETS_DEVICE: got 'cuda', expected cpu on this machine") == 1
    assert "Traceback" not in found.stderr
    assert not (directory / "results/smoke/runs").exists()


def test_reading_the_rules_imports_neither_torch_nor_pandas(project, tmp_path):
    """Beyond what Snakemake itself imports, with the plugins that are installed."""
    (tmp_path / "Snakefile").write_text("rule all:\n    input: []\n")
    options = {"env": environment(project), "capture_output": True, "text": True, "check": True}
    slow, ours = {}, {}
    for directory, found, given in ((tmp_path, slow, []), (project, ours, ["--config", "tier=smoke"])):
        command = [sys.executable, "-X", "importtime", "-m", "snakemake", "--list", *given]
        result = subprocess.run(command, cwd=directory, **options)
        found |= dict.fromkeys(re.findall(r"\|\s*([\w.]+)$", result.stderr, re.MULTILINE))
    assert "schemenets.study.plan" in ours
    own = ours.keys() - slow.keys()
    assert not {name for name in own if name.partition(".")[0] in ("torch", "pandas", "matplotlib", "numba")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "batch: 64",
            "batch: 64\n  bacth: 32",
            r"config/config.yaml: training: got the key 'bacth', expected one of batch",
        ),
        ("flux: perona_malik", "flux: perona", r"config/config.yaml: methods.*: flux: got 'perona', expected one of"),
        ("- 240", "- 14", r"capacity.0.budgets.0 for resnet-relu: budget: got 14, expected at least 15"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_before_any_job_starts(tmp_path, old, new, message):
    directory = miniature(tmp_path / "project")
    path = directory / "config/config.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    status, output = run(directory)
    assert status != 0
    assert re.search(message, output), output
    assert "Traceback" not in output
    assert not (directory / "results").exists()
