"""The study as real jobs of SLURM: the same results as on this machine, whatever fails on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import miniature as miniature_study
import pytest
import yaml
from one_node import wait

from schemenets.study.config import Study

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "config", "workflow", "src")
RESULTS = Path("results/smoke")
SITE = {"partition": "main", "gpu_partition": "gpus", "gpus": 1}
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5")
# Snakemake, which asks for the states of jobs every second, and not less and less often, as it does where jobs are long
POLLING = """
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, value: None)
main()
"""
METHOD = "symmetric-perona_malik-certified"
RATE = f"piecewise_affine/{METHOD}/small"
TUNED = f"tuning/{RATE}.json"
MEMORY = "(OUT_OF_MEMORY|FAILED|CANCELLED)"  # states of jobs that were stopped for exceeding theirs
TARGET = f"{RESULTS}/{TUNED}"

RECORDS = ("tuning", "runs", "growth", "data", "solvers", "schemes", "fixed_points", "classical", "distances", "claims")

ENDLESS = 200_000  # epochs, more than a job of these tests can train

STARTED = []  # processes of the test that runs


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    if not process.stdout.closed:  # which nobody has read
        process.communicate()


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    while STARTED:
        end(STARTED.pop())


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
        "learning_rates": [0.01],
        "experiments": {"ladder": [{"methods": [METHOD], "blocks": [4]}]},
        "stability": {"repetitions": 5, "depths": [1, 3], "networks": ["symmetric"]},
        **tier,
    }
    config["tiers"]["smoke"]["solvers"] |= {
        "learning_rates": [0.01],
        "problems": {"charbonnier": ["unet-2"]},
    }
    (directory / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    site(directory)
    return directory


def site(directory, **values):
    """Write the values of the cluster."""
    values = {**SITE, "scratch": "$SLURM_SUBMIT_DIR/scratch", **values}  # which only jobs know
    (directory / "config/site.yaml").write_text(yaml.safe_dump(values))


def start(directory, *arguments, profile="slurm"):
    """Snakemake in ``directory``, with its package, in a process group of its own."""
    snakemake = ["-c", POLLING] if "slurm" in profile else ["-m", "snakemake"]
    command = [sys.executable, *snakemake, "--cores", "2", "--workflow-profile", f"profiles/{profile}"]
    environment = {
        **os.environ,
        # what tests were started with may hold the plugin
        "PYTHONPATH": os.pathsep.join([str(directory / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]),
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
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as in a terminal
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


def results(directory, inside=RESULTS):
    """All results by name; records without what differs from run to run."""
    found = {}
    for path in sorted((directory / inside).rglob("*")):
        name = path.relative_to(directory / inside).as_posix()
        if path.suffix == ".json" and name.startswith(RECORDS):
            record = json.loads(path.read_text())
            record.pop("provenance", None)
            found[name] = json.dumps(record, sort_keys=True)
        elif path.suffix == ".safetensors" or (path.suffix == ".csv" and path.stem != "runs"):
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The results of the same jobs without a cluster, one after the other; computed when they are asked for."""

    @cache
    def found():
        directory = project(tmp_path_factory.mktemp("local") / "project")
        miniature_study.run(directory, Study.load(directory))
        return results(directory)

    return found


@pytest.fixture(scope="module")
def exceeding(cluster, tmp_path_factory):
    """A run with a job that needs more than its minute, and one that gives it up then: begun first and judged late."""
    counts = {"piecewise_affine": 64, "scanlines": 64, "evolution": 64}
    directory = project(tmp_path_factory.mktemp("exceeding") / "project", epochs=ENDLESS, train=counts)
    site(directory, setup="renice -n 19 $$")  # its endless job gives way to those of other tests
    process = start(directory, "--set-resources", "tune:runtime=1 if attempt == 1 else 60", "--", TARGET)
    STARTED.remove(process)
    given_up = project(tmp_path_factory.mktemp("given_up") / "project")
    site(given_up, setup="sleep 600")  # which leaves the processor to others
    other = start(given_up, "--retries", "0", "--set-resources", "tune:runtime=1", "--", TARGET)
    STARTED.remove(other)
    yield directory, process, given_up, other
    end(process)
    end(other)


@pytest.fixture(scope="module")
def on_gpus(cluster, tmp_path_factory):
    """Two runs whose jobs ask for the only GPU, which is made up: the second one waits for the first."""
    missing = project(tmp_path_factory.mktemp("missing") / "project")
    (missing / "config/site.yaml").write_text("gpu_partition: gpus\n")  # no more than it has to say
    found = project(tmp_path_factory.mktemp("found") / "project")
    python = found / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\n[ "$3" = info ] || exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    site(found, gpu_partition="gpus", setup=f"export PATH={python.parent}:$PATH")
    processes = []
    for directory, options in ((missing, ()), (found, ("--retries", "0"))):
        processes.append(start(directory, *options, "--", TARGET, profile="slurm-gpu"))
        STARTED.remove(processes[-1])
    yield {"missing": (missing, processes[0]), "found": (found, processes[1])}
    for process in processes:
        end(process)


@pytest.mark.usefixtures("exceeding", "on_gpus")  # which wait for most of their time
def test_a_job_that_fails_for_good_is_named_with_reason_and_logs(cluster, tmp_path):
    directory = project(tmp_path / "project")
    status, output = run(directory, "--retries", "0", "--set-resources", "tune:mem_mb=100", "--", TARGET)
    assert status != 0
    assert "Error in rule tune" in output
    assert f"log: {RESULTS}/logs/tune/{RATE}.log" in output
    assert re.search(rf"SLURM status is: '{MEMORY}", output)
    assert not (directory / TARGET).exists()


def assert_it_asks_for_a_gpu(cluster, directory, rule):
    """The job of a rule, as soon as there is one."""
    states = "RUNNING", "PENDING", "COMPLETED", "FAILED"
    wait(lambda: cluster.jobs(directory, *states, rule=rule), f"there is a job of {rule}")
    (number,) = cluster.jobs(directory, *states, rule=rule)
    resources = cluster.answer("scontrol", "show", "job", number)
    assert "gres:gpu:1" in resources or "gres/gpu=1" in resources
    assert "Partition=gpus" in resources


def test_a_gpu_that_is_missing_is_the_error_of_one_job_before_all_others(cluster, on_gpus):
    directory, process = on_gpus["missing"]
    assert_it_asks_for_a_gpu(cluster, directory, "train")
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "SCHEMENETS_DEVICE: got 'cuda', expected cpu on this machine." in output
    assert "Error in rule" not in output
    assert not (directory / RESULTS / "data").exists()


def test_trainings_ask_for_a_gpu(cluster, on_gpus):
    """The first job finds one."""
    directory, process = on_gpus["found"]
    assert_it_asks_for_a_gpu(cluster, directory, "tune")
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Error in rule tune" in output


def test_a_study_survives_a_lack_of_memory_a_cancelled_job_and_a_controller_that_is_away(cluster, local, tmp_path):
    directory = project(tmp_path / "project")
    last = [f"{RESULTS}/{name}" for name in ("claims.json", "tables/learned.csv")]  # of what is compared
    process = start(directory, "--set-resources", "tune:mem_mb=100*attempt**4", "--", *last)
    wait(lambda: cluster.jobs(directory, "RUNNING", rule="solvers"), "a job solves")
    (cancelled,) = cluster.jobs(directory, "RUNNING", rule="solvers")
    subprocess.run(["scancel", cancelled], check=True)
    wait(lambda: cluster.jobs(directory, "RUNNING", rule="train"), "a job trains")
    cluster.end("slurmctld")
    back = time.monotonic() + 60
    expected = local()
    time.sleep(max(0, back - time.monotonic()))
    assert process.poll() is None
    cluster.start_controller()
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert re.search(rf"SLURM-job '{cancelled}' failed, SLURM status is: 'CANCELLED", output)
    assert re.search(rf"SLURM status is: '{MEMORY}", output)
    assert list((directory / "scratch").glob("schemenets-*"))  # where jobs keep temporary files
    assert not (directory / ".snakemake/schemenets.slurm").exists()
    assert results(directory) == expected


def test_a_job_that_exceeds_its_time_gets_more_and_goes_on(cluster, exceeding):
    directory, process, given_up, other = exceeding

    def epochs(number):
        """Those that a job of the cluster reports, in its own log."""
        found = (directory / ".snakemake/slurm_logs").rglob(f"{number}.log")
        return [int(each) for path in found for each in re.findall(rf": (\d+)/{ENDLESS} epochs", path.read_text())]

    wait(lambda: cluster.jobs(directory, "TIMEOUT", rule="tune"), "a job has exceeded its time")
    (interrupted,) = cluster.jobs(directory, "TIMEOUT", rule="tune")
    wait(lambda: cluster.jobs(directory, "RUNNING", rule="tune"), "it was started again")
    (again,) = cluster.jobs(directory, "RUNNING", rule="tune")
    wait(lambda: epochs(again), "it trains")
    assert epochs(again)[0] > epochs(interrupted)[-1]  # not from the beginning
    assert list((directory / RESULTS / ".resume").glob("*.safetensors"))  # states of the interrupted work
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=300)
    wait(lambda: not cluster.jobs(directory, "RUNNING", "PENDING", "COMPLETING"), "jobs are cancelled with their run")
    output, _ = other.communicate(timeout=60)
    assert other.returncode != 0
    assert "SLURM status is: 'TIMEOUT" in output
    assert f"log: {RESULTS}/logs/tune/{RATE}.log" in output
    assert not (given_up / TARGET).exists()


def test_jobs_that_outlive_their_run_are_not_started_twice(cluster, local, tmp_path):
    directory = project(tmp_path / "project")
    held = directory / "held"
    held.touch()
    site(directory, setup=f"while [ -e {held} ]; do sleep 0.2; done")
    process = start(directory, "--", TARGET)
    wait(lambda: cluster.jobs(directory, "RUNNING", rule="tune"), "a job tunes")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (number,) = cluster.jobs(directory, "RUNNING", rule="tune")
    for profile in ("slurm", "default"):
        status, output = run(directory, "--", TARGET, profile=profile)
        assert status != 0
        assert re.search(rf"{number} RUNNING rule_tune_wildcards_\S*{METHOD}", output)
        assert f"scancel {number}" in output
        assert "Traceback" not in output
    held.unlink()
    wait(lambda: not cluster.jobs(directory, "RUNNING", "COMPLETING"), "it has ended")
    status, output = run(directory, "--", TARGET)
    assert (status, "Nothing to be done" in output) == (0, True), output  # what it has finished counts
    assert results(directory)[TUNED] == local()[TUNED]


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_loses_nothing(tmp_path, local):
    """The results are on a file system of their own, which other files fill until they are removed."""
    directory, small = project(tmp_path / "project"), tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], capture_output=True).returncode:
        (pytest.fail if os.environ.get("SLURM") == "required" else pytest.skip)("file systems cannot be mounted here")
    data, others = small / "data/piecewise_affine-10.safetensors", small / "others"
    try:
        successful(directory, "--config", f"out={small}", "--", data, profile="default")
        fill(others)
        options = ("--config", f"out={small}", "--", small / TUNED)
        status, output = run(directory, "--retries", "0", *options)
        assert status != 0
        jobs = (Path(log) for log in re.findall(r"\(log: (.*)\)", output))  # those of SLURM, which are elsewhere
        assert "No space left on device" in "".join([output, *(path.read_text() for path in jobs)])
        assert not (small / TUNED).exists()
        others.unlink()
        successful(directory, *options)
        assert data.read_bytes() == local()[data.relative_to(small).as_posix()]
        assert results(directory, small)[TUNED] == local()[TUNED]
    finally:
        subprocess.run(["umount", small], check=True)


def fill(path):
    """Write to a file until nothing more fits."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
