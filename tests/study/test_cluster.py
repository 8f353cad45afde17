"""Values of a cluster's site, and jobs that an earlier run has left behind."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from snakemake.profiles import ProfileConfigFileParser

from schemenets.errors import ConfigError
from schemenets.study import cluster

ROOT = Path(__file__).parents[2]


def program(directory, name, content):
    path = directory / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{content}\n")
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with what sites are read from; ``squeue`` prints the file queue, or fails if there is one broken."""
    for name in (cluster.EXAMPLE, cluster.SCHEMA):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    program(tmp_path, "squeue", "[ -e broken ] && { cat broken >&2; exit 1; }\ncat queue")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(content):
    cluster.SITE.write_text(yaml.safe_dump(content))


def test_a_site_says_what_differs_from_the_example(project):
    written({"partition": "long", "gpus": 2})
    example = yaml.safe_load(cluster.EXAMPLE.read_text())
    assert cluster.site() == example | {"partition": "long", "gpus": 2}
    cluster.SITE.write_text("# nothing\n")
    assert cluster.site() == example


def test_a_missing_site_says_what_to_copy(project):
    with pytest.raises(
        ConfigError, match=r"^config/site\.yaml: file is missing; copy config/site\.example\.yaml to it"
    ):
        cluster.site()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"partitions": "long"}, r"site\.yaml: \(top level\): got the key 'partitions', expected one of .*'partition'"),
        ({"gpus": 0}, r"site\.yaml: gpus: got 0, expected at least 1"),
        (
            {"sbatch": "--exclude=a --qos=short"},
            r"site\.yaml: sbatch: got '--qos=short', expected the key qos for it\.",
        ),
        (
            {"gpu_sbatch": "--gres=gpu:a100:1"},
            r"gpu_sbatch: got '--gres=gpu:a100:1', expected an option that .*gpu_model",
        ),
        (
            {"sbatch": "-t 10"},
            r"sbatch: got '-t', expected an option that jobs do not have yet; time has the key longest",
        ),
        ({"longest": 5}, r"site\.yaml: longest: got 5, expected at least 11"),
        ({"gpu_sbatch": "-C a100"}, r"site\.yaml: gpu_sbatch: got '-C', expected the key gpu_constraint for it\."),
        ({"container": "yes"}, r"site\.yaml: container: got 'yes', expected a value of type boolean"),
        ([1], r"site\.yaml: \(top level\): got \[1\], expected a value of type object"),
    ],
)
def test_mistakes_in_a_site_are_named(project, content, message):
    written(content)
    with pytest.raises(ConfigError, match=message):
        cluster.site()


def test_resources_of_every_job_are_those_that_the_site_names(project):
    written({"partition": "it's", "account": "p1"})
    assert cluster.default_resources(cluster.site()) == ['slurm_partition="it\'s"', "slurm_account='p1'"]
    written({})
    assert cluster.default_resources(cluster.site()) == []


def test_every_job_prepares_its_node(project):
    written({})
    assert cluster.preparation(cluster.site()) == ""
    written({"setup": "module load cuda", "scratch": "$TMPDIR"})
    first, _, second, third = cluster.preparation(cluster.site()).split(" && ")
    assert first == "module load cuda"
    assert second == 'mkdir -p "$TMPDIR/schemenets-$USER"'
    assert third == 'export TMPDIR="$TMPDIR/schemenets-$USER" NUMBA_CACHE_DIR="$TMPDIR/schemenets-$USER"'


def test_containers_see_the_gpus_and_the_folder_of_their_node(project):
    written({"container": True})
    assert cluster.preparation(cluster.site()) == "if [ -e /dev/nvidiactl ]; then export APPTAINER_NV=1; fi"
    written({"container": True, "setup": "true", "scratch": "$TMPDIR"})
    told = f"{cluster.preparation(cluster.site())} && echo $TMPDIR $APPTAINER_BIND"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(project), "USER": "me"}
    found = subprocess.run(["sh", "-c", told], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [f"{project}/schemenets-me"] * 2


def test_a_folder_that_a_node_does_not_name_is_an_error_and_not_the_root(project):
    written({"scratch": "$NO_SUCH_VARIABLE"})
    told = f"{cluster.preparation(cluster.site())} && echo done"
    found = subprocess.run(["sh", "-c", told], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr == (
        "scratch: $NO_SUCH_VARIABLE is empty on this node, expected a folder; see config/site.yaml\n"
    )


def test_jobs_that_still_work_here_are_listed(project):
    here, other = project.resolve(), project.resolve() / "other"
    (project / "queue").write_text(
        f"7|RUNNING|schemenets_1234|rule_train_wildcards_a|{here}\n8|PENDING|schemenets_1234|rule_tune|{here}\n"
        f"9|RUNNING|schemenets_1234|rule_train|{other}\n10|RUNNING|other_1234|rule_train|{here}\n"
    )
    assert cluster.running("schemenets", project) == ["7 RUNNING rule_train_wildcards_a", "8 PENDING rule_tune"]
    with pytest.raises(ConfigError, match=r"(?s)7 RUNNING rule_train_wildcards_a\n.*cancel them: scancel 7 8$"):
        cluster.check_idle("schemenets", project)
    (project / "queue").write_text("")
    assert cluster.running("schemenets", project) == []
    cluster.check_idle("schemenets", project)


def test_a_controller_that_does_not_answer_is_no_empty_queue(project):
    (project / "broken").write_text("Unable to contact slurm controller")
    with pytest.raises(
        ConfigError, match=r"Unable to contact slurm controller; .* try again when the controller answers"
    ):
        cluster.running("schemenets", project)


def test_a_machine_without_slurm_is_named(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"^squeue .*expected SLURM on this machine"):
        cluster.running("schemenets", project)


@pytest.fixture
def standing_in(project, monkeypatch):
    """The project with the programs that stand in for those of SLURM."""
    shutil.copytree(ROOT / cluster.SCRIPTS, project / cluster.SCRIPTS)
    for name in ("SCHEMENETS_SACCT", "SCHEMENETS_SBATCH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("SCHEMENETS_PAUSE", "0.01")
    program(project, "sbatch", "exit 1")
    return project


def asked(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_without_accounting_the_queue_tells_the_states_of_jobs(standing_in):
    program(standing_in, "sacct", "echo Slurm accounting storage is disabled >&2; exit 1")
    program(standing_in, "squeue", 'echo "$@"')
    program(standing_in, "scontrol", "echo 'MinJobAge               = 300 sec'")
    cluster.stand_in()
    found = asked("sacct", "-X", "--endtime", "now", "--name", "a1")
    assert (found.returncode, found.stdout) == (0, "--states=all --noheader --format=%i|%T --name a1\n")
    assert asked("sacct", "--version").stdout == ""


def test_a_queue_that_forgets_too_early_is_refused(standing_in):
    program(standing_in, "sacct", "exit 1")
    program(standing_in, "scontrol", "echo 'MinJobAge               = 60 sec'")
    with pytest.raises(
        ConfigError, match=r"MinJobAge of SLURM: got 60 s, expected accounting \(sacct\) or at least 200 s"
    ):
        cluster.stand_in()


def test_a_preempted_job_counts_as_cancelled_and_failed_questions_as_failed(standing_in):
    program(standing_in, "sacct", "[ ! -e broken ] || exit 1; printf '7|PREEMPTED\\n8|RUNNING\\n'")
    cluster.stand_in()
    assert asked("sacct", "--name", "a1").stdout == "7|CANCELLED\n8|RUNNING\n"
    (standing_in / "broken").touch()
    assert asked("sacct", "--name", "a1").returncode == 1


def test_jobs_are_submitted_again_while_the_controller_is_away(standing_in):
    program(standing_in, "sacct", "exit 0")
    away = "sbatch: error: Unable to contact slurm controller (connect failure)"
    program(
        standing_in,
        "sbatch",
        f"cat > script; echo x >> tries; [ $(wc -l < tries) -ge 3 ] || {{ echo '{away}' >&2; exit 1; }}; echo 17 $*",
    )
    cluster.stand_in()
    found = asked("sbatch", "--parsable", "/dev/stdin", input="#!/bin/sh\necho 'a b'\n")
    assert (found.returncode, found.stdout, found.stderr) == (0, "17 --parsable /dev/stdin\n", "")
    assert (standing_in / "script").read_text() == "#!/bin/sh\necho 'a b'\n"
    assert len((standing_in / "tries").read_text().split()) == 3


def test_other_errors_of_a_submission_are_told_at_once(standing_in):
    program(standing_in, "sacct", "exit 0")
    program(standing_in, "sbatch", "echo x >> tries; echo 'error: Invalid account' >&2; exit 2")
    cluster.stand_in()
    found = asked("sbatch", "--parsable", input="")
    assert (found.returncode, found.stdout, found.stderr) == (2, "", "error: Invalid account\n")
    assert (standing_in / "tries").read_text() == "x\n"


def test_jobs_of_a_killed_run_are_known_to_runs_without_a_cluster(standing_in):
    (standing_in / ".snakemake").mkdir()
    program(standing_in, "sacct", "exit 0")
    (standing_in / "queue").write_text("")
    cluster.begin(None, standing_in)  # asks nothing and leaves nothing
    assert not (standing_in / cluster.MARK).exists()
    cluster.begin("schemenets", standing_in)
    (standing_in / "queue").write_text(f"7|RUNNING|schemenets_1|rule_train|{standing_in.resolve()}\n")
    for prefix in (None, "schemenets"):
        with pytest.raises(ConfigError, match="7 RUNNING rule_train"):
            cluster.begin(prefix, standing_in)
        assert (standing_in / cluster.MARK).exists()
    (standing_in / "queue").write_text("")
    cluster.begin(None, standing_in)
    assert not (standing_in / cluster.MARK).exists()
    cluster.begin("schemenets", standing_in)
    cluster.end(standing_in)
    assert not (standing_in / cluster.MARK).exists()


def profile(name):
    """A profile as Snakemake reads it."""
    with (ROOT / f"workflow/profiles/{name}/config.yaml").open() as file:
        return dict(ProfileConfigFileParser().parse(file))


SHARED = ("rerun-incomplete", "rerun-triggers", "nolock", "scheduler", "show-failed-logs")
ON_CLUSTERS = (
    "jobs",
    "retries",
    "keep-going",
    "latency-wait",
    "local-cores",
    "slurm-no-requeue",
    "slurm-jobname-prefix",
    "slurm-pass-command-as-script",
)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "workflow/profiles").iterdir()))
def test_every_profile_is_complete_in_itself(project, name):
    written({})
    own, default = profile(name), profile("default")
    assert {key: own[key] for key in SHARED} == {key: default[key] for key in SHARED}
    assert {"max-jobs-per-timespan", "quiet"} <= set(own)
    assert "" not in own.values()  # an option without a value takes the next argument for it
    if name.startswith("slurm"):
        assert {key: own[key] for key in ON_CLUSTERS} == {key: profile("slurm")[key] for key in ON_CLUSTERS}
        assert own["executor"] == "slurm"
    assert ("gpu" in name) == any(each.startswith("gpu=") for each in own.get("resources", []))


def test_profiles_take_the_values_of_the_site(project):
    written({"partition": "long", "gpu_partition": "gpus", "gpus": 8, "jobs": 50, "setup": "module load cuda"})
    for name in ("slurm", "slurm-gpu"):
        own = profile(name)
        assert own["jobs"] == "50"
        assert own["default-resources"] == ["slurm_partition='long'"]
        assert own["precommand"] == "module load cuda"
        assert "software-deployment-method" not in own
    assert profile("slurm-gpu")["resources"] == ["gpu=8"]
    rules = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").iterdir()))
    on_gpus = [text.split(":")[0] for text in re.split(r"^rule ", rules, flags=re.MULTILINE)[1:] if " gpu=" in text]
    expected = {f"{rule}:slurm_partition=gpus" for rule in on_gpus}
    assert set(profile("slurm-gpu")["set-resources"]) == expected != set()
    written({"account": "a", "gpu_account": "b", "qos": "q", "gpu_model": "a100", "sbatch": "--exclude=n1"})
    given = {"slurm_account=b", "gpu_model=a100"}
    assert set(profile("slurm-gpu")["set-resources"]) == {f"{rule}:{each}" for rule in on_gpus for each in given}
    assert profile("slurm-gpu")["default-resources"] == ["slurm_account='a'", "qos='q'", "slurm_extra='--exclude=n1'"]
    written({"container": True})
    assert profile("slurm")["software-deployment-method"] == "apptainer"
    assert "set-resources" not in profile("slurm-gpu")


def test_the_container_holds_what_the_study_needs_on_a_python_that_it_supports():
    """As far as this can be seen without building it."""
    lines = [line for line in (ROOT / "workflow/Containerfile").read_text().splitlines() if not line.startswith("#")]
    told = dict(line.split(" ", 1) for line in lines)
    assert set(told) == {"FROM", "COPY", "RUN", "ENV"}
    versions = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert re.fullmatch(r"python:(3\.\d+)-slim", told["FROM"])[1] in versions
    source, target = told["COPY"].split()
    assert source == "requirements/study.txt"
    assert (ROOT / source).is_file()
    assert told["RUN"].endswith(f"--requirement {target}")
    assert any("install --yes --no-install-recommends git rsync " in line for line in lines)
    assert not [line for line in (ROOT / source).read_text().splitlines() if line.startswith("-")]  # no other files
    name, value = told["ENV"].split("=")
    assert (name, (ROOT / value / "schemenets").is_dir()) == ("PYTHONPATH", True)
