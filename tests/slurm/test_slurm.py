"""The study as real jobs of SLURM: the same results as on this machine, whatever fails on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import miniature as miniature_study
import pytest
import yaml
from one_node import wait

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "config", "workflow", "src")
RESULTS = Path("results/smoke")
SITE = {"partition": "main", "gpu_partition": "gpus", "gpus": 1}
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5")
TUNED = "tuning/resnet-relu.json"

STARTED = []


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    while STARTED:
        if (process := STARTED.pop()).poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def project(directory, **tier):
    """A copy of the project whose smoke tier is a miniature with one way through all stages."""
    directory.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__", "site.yaml"))
        else:
            shutil.copy(source, directory / name)
    (directory / "profiles").symlink_to("workflow/profiles")
    config = miniature_study.config()
    config["tiers"]["smoke"] |= {
        "tuning": {"seeds": 1, "learning_rates": [0.01]},
        "experiments": {"factorial": [{"methods": ["resnet-relu", "symmetric-perona_malik-certified"], "blocks": [4]}]},
        "stability": {"repetitions": 5, "depths": [1, 3], "networks": ["symmetric"]},
        **tier,
    }
    config["tiers"]["smoke"]["solvers"] |= {
        "tuning": {"seeds": 1, "learning_rates": [0.01]},
        "problems": {"charbonnier": ["unet-2"]},
    }
    (directory / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (directory / "config/site.yaml").write_text(yaml.safe_dump({**SITE, "scratch": str(directory / "scratch")}))
    return directory


def start(directory, *arguments, profile="slurm"):
    """Snakemake in ``directory``, with its package, in a process group of its own."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", f"profiles/{profile}"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(directory / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SCHEMENETS_KERNEL": "reference",  # compiling the others takes longer than all this
    }
    process = subprocess.Popen(
        [*command, *(QUICK if "slurm" in profile else ()), *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


def run(directory, *arguments, profile="slurm"):
    process = start(directory, *arguments, profile=profile)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def successful(directory, *arguments, profile="slurm"):
    status, output = run(directory, *arguments, profile=profile)
    assert status == 0, output
    return output


def results(directory):
    """All results by name; records without what differs from run to run."""
    found = {}
    for path in sorted((directory / RESULTS).rglob("*")):
        name = path.relative_to(directory / RESULTS).as_posix()
        if path.suffix == ".json" and name.startswith(("tuning", "runs", "growth", "data", "solvers", "schemes")):
            record = json.loads(path.read_text())
            record.pop("provenance", None)
            found[name] = json.dumps(record, sort_keys=True)
        elif path.suffix == ".safetensors" or (path.suffix == ".csv" and path.stem != "runs"):
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The results of the same tier without a cluster."""
    directory = project(tmp_path_factory.mktemp("local") / "project")
    successful(directory, profile="default")
    return results(directory)


def test_a_study_survives_a_cancelled_job_and_a_controller_that_is_away(cluster, local, tmp_path):
    directory = project(tmp_path / "project")
    process = start(directory)
    wait(lambda: cluster.jobs("RUNNING", rule="tune"), "a job tunes")
    cancelled = cluster.jobs("RUNNING", rule="tune")[0]
    subprocess.run(["scancel", cancelled], check=True)
    wait(lambda: cluster.jobs("RUNNING", rule="train"), "a job trains")
    cluster.end("slurmctld")
    time.sleep(60)
    assert process.poll() is None
    cluster.start_controller()
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert re.search(rf"SLURM-job '{cancelled}' failed, SLURM status is: 'CANCELLED", output)
    assert list((directory / "scratch").glob("schemenets-*"))  # where jobs keep temporary files
    assert results(directory) == local


def test_a_job_that_exceeds_its_memory_gets_more(cluster, local, tmp_path):
    directory = project(tmp_path / "project")
    output = successful(directory, "--set-resources", "tune:mem_mb=100*attempt**4", "--", f"{RESULTS}/{TUNED}")
    assert "Trying to restart job" in output
    assert results(directory)[TUNED] == local[TUNED]


def test_a_job_that_exceeds_its_time_gets_more_and_goes_on(cluster, tmp_path):
    directory = project(
        tmp_path / "project", epochs=10_000, train={"piecewise_affine": 64, "scanlines": 64, "evolution": 64}
    )
    process = start(directory, "--set-resources", "tune:runtime=attempt", "--", f"{RESULTS}/{TUNED}")
    wait(lambda: cluster.jobs("TIMEOUT", rule="tune"), "a job has exceeded its time", 180)
    states = list((directory / RESULTS / ".resume").glob("*.safetensors"))
    assert states  # of the interrupted work
    log = directory / RESULTS / "logs" / TUNED.replace("tuning", "tune").replace(".json", ".log")
    wait(lambda: cluster.jobs("RUNNING", rule="tune"), "it was started again")
    wait(lambda: "epoch" in log.read_text(), "it trains")
    first = int(re.search(r": (\d+)/10000", log.read_text())[1])
    assert first > 100  # not from the beginning
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    wait(lambda: not cluster.jobs("RUNNING", "PENDING", "COMPLETING"), "jobs are cancelled with their run")


def test_a_job_that_fails_for_good_is_named_with_reason_and_logs(cluster, tmp_path):
    directory = project(tmp_path / "project")
    target = f"{RESULTS}/{TUNED}"
    status, output = run(directory, "--retries", "1", "--set-resources", "tune:mem_mb=100", "--", target)
    assert status != 0
    assert "Error in rule tune" in output
    assert f"log: {RESULTS}/logs/tune/resnet-relu.log" in output
    assert re.search(r"SLURM status is: '(OUT_OF_MEMORY|FAILED|CANCELLED)", output)
    assert not (directory / target).exists()


def test_jobs_that_outlive_their_run_are_not_started_twice(cluster, local, tmp_path):
    directory = project(tmp_path / "project")
    target = f"{RESULTS}/{TUNED}"
    process = start(directory, "--", target)
    wait(lambda: cluster.jobs("RUNNING", rule="tune"), "a job tunes")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    number = cluster.jobs("RUNNING", rule="tune")[0]
    status, output = run(directory, "--", target)
    assert status != 0
    assert f"{number} RUNNING rule_tune_wildcards_resnet-relu" in output
    assert f"scancel {number}" in output
    assert "Traceback" not in output
    subprocess.run(["scancel", number], check=True)
    wait(lambda: not cluster.jobs("RUNNING", "COMPLETING"), "it is cancelled")
    successful(directory, "--", target)
    assert results(directory)[TUNED] == local[TUNED]


def test_trainings_ask_for_a_gpu_and_others_do_not(cluster, tmp_path):
    """There is none, which is the error of the first training."""
    directory = project(tmp_path / "project")

    def jobs():
        return set(cluster.jobs("RUNNING", "PENDING", "COMPLETED", "FAILED", rule="tune"))

    before = jobs()
    process = start(directory, "--retries", "0", "--", f"{RESULTS}/{TUNED}", profile="slurm-gpu")
    wait(lambda: jobs() > before, "a job tunes")
    (number,) = jobs() - before
    asked = cluster.answer("scontrol", "show", "job", number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "gres:gpu:1" in asked or "gres/gpu=1" in asked
    assert "Partition=gpus" in asked
    assert "SCHEMENETS_DEVICE: got 'cuda', expected cpu on this machine." in output


def test_a_full_disk_loses_nothing(tmp_path, local):
    """The results are on a file system of some kilobytes, which is then made larger."""
    directory, small = project(tmp_path / "project"), tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        target = "data/piecewise_affine-10.safetensors"
        options = ("--config", f"out={small}", "--", f"{small}/{target}")
        status, output = run(directory, *options, profile="default")
        assert status != 0
        assert "No space left on device" in output
        assert not (small / target).exists()
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        successful(directory, *options, profile="default")
        assert (small / target).read_bytes() == local[target]
    finally:
        subprocess.run(["umount", small], check=True)
