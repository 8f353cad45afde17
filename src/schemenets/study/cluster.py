"""What runs on a cluster need besides their plan: values of the site, and what its jobs do."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from schemenets.errors import ConfigError
from schemenets.study import schema
from schemenets.study.plan import SITE

EXAMPLE = Path("config/site.example.yaml")
SCHEMA = Path("workflow/schemas/site.schema.json")
SCRIPTS = Path("workflow/scripts")  # with stand-ins for sacct and sbatch
GPU_CHECK, GPU_LOG = Path("workflow/gpu.smk"), Path(".snakemake/schemenets.gpu.log")
GPU_PROFILE = "profiles/slurm-gpu"
MARK = Path(".snakemake/schemenets.slurm")  # left by a run whose jobs may still work
LONGEST_PAUSE = 200  # seconds between two questions for the states of jobs, and how long one may take
FIELDS = "%i|%T|%j|%k|%Z"  # of squeue: number, state, name, comment, working directory
OF_RULES = {  # options of sbatch that rules and the plugin give
    *("--mem", "--mem-per-cpu", "--time", "-t", "--gpus", "-G", "--gres", "--ntasks", "-n", "--cpus-per-task", "-c"),
    *("--ntasks-per-gpu", "--cpus-per-gpu", "--nodes", "-N", "--clusters", "-M", "--job-name", "-J", "--output", "-o"),
    *("--error", "-e", "--parsable", "--export", "--comment", "--workdir", "--chdir", "-D"),
}
NAMED = {  # resources by key
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "qos",
    "constraint": "constraint",
    "sbatch": "slurm_extra",
}
OWN_KEYS = {"-p": "partition", "-A": "account", "-q": "qos", "-C": "constraint"}  # of options of sbatch
Json = dict[str, Any]


def site() -> Json:
    """The values of the site, in the project's directory; what it does not say is as in the example.

    Raises:
        ConfigError: the file is missing or invalid.
    """
    if not SITE.is_file():
        raise ConfigError(f"{SITE}: file is missing; copy {EXAMPLE} to it and set the values of your cluster")
    given = schema.read(SITE) or {}
    schema.validate(given, SCHEMA, SITE)
    for key in ("sbatch", "gpu_sbatch"):
        for option in shlex.split(given.get(key) or ""):
            name = option.split("=")[0]
            if own := OWN_KEYS.get(name[:2], "" if name.removeprefix("--") not in OWN_KEYS.values() else name[2:]):
                raise ConfigError(
                    f"{SITE}: {key}: got {option!r}, expected the key {key.replace('sbatch', own)} for it."
                )
            if name in OF_RULES:
                keys = "time has the key longest, a model of GPUs gpu_model"
                raise ConfigError(
                    f"{SITE}: {key}: got {option!r}, expected an option that jobs do not have yet; {keys}."
                )
    return {**schema.read(EXAMPLE), **given}


def preparation(values: Json) -> str:
    """The shell commands that a job runs first."""
    commands = [values["setup"]] if values["setup"] else []
    if values["scratch"]:
        given = values["scratch"]  # with variables of the node
        message = f"scratch: {given} is empty on this node, expected a folder; see {SITE}"
        commands.append(f'{{ [ -n "{given}" ] || {{ echo {shlex.quote(message)} >&2; false; }}; }}')
        folder = f'"{given}/schemenets-$USER"'
        names = ["TMPDIR", "NUMBA_CACHE_DIR", *["APPTAINER_BIND"] * values["container"]]
        commands.append(f"mkdir -p {folder} && export {' '.join(f'{name}={folder}' for name in names)}")
    if values["container"]:  # sees the GPUs of its node only if it is told
        commands.append("if [ -e /dev/nvidiactl ]; then export APPTAINER_NV=1; fi")
    return " && ".join(commands)


def default_resources(values: Json) -> list[str]:
    """Resources of every job, as expressions of Snakemake."""
    return [f"{resource}={values[key]!r}" for key, resource in NAMED.items() if values[key]]


def gpu_resources(values: Json) -> Json:
    """Resources of trainings on GPUs that are not those of every job."""
    named = {**NAMED, "model": "gpu_model"}
    return {resource: values[f"gpu_{key}"] for key, resource in named.items() if values[f"gpu_{key}"]}


def running(prefix: str, directory: Path) -> list[str]:
    """Jobs whose names begin so and that wait or work in this directory: number, state and what they do.

    Raises:
        ConfigError: the controller of SLURM does not say.
    """
    command = ["squeue", "--me", "--noheader", f"--format={FIELDS}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"{shlex.join(command)}: {error}; expected SLURM on this machine") from error
    if found.returncode:
        message = f"{found.stderr.strip()}; whether jobs of an earlier run still work is not known"
        raise ConfigError(f"{shlex.join(command)}: {message}: try again when the controller answers")
    jobs = [line.split("|", 4) for line in found.stdout.splitlines()]
    return [
        f"{number} {state} {comment}"
        for number, state, name, comment, place in jobs
        if name.startswith(f"{prefix}_") and Path(place) == directory.resolve()
    ]


def check_idle(prefix: str, directory: Path) -> None:
    """Make sure that no job of an earlier run works in this directory.

    Raises:
        ConfigError: some do, or the controller of SLURM does not say.
    """
    if jobs := running(prefix, directory):
        listed = "\n  ".join(["jobs of an earlier run still work in this directory:", *jobs])
        numbers = " ".join(job.split()[0] for job in jobs)
        raise ConfigError(f"{listed}\nwait until they have ended, or cancel them: scancel {numbers}")


def begin(prefix: str | None, directory: Path) -> None:
    """Make sure that no job of an earlier run works in this directory, and prepare for those of this one.

    A run leaves a mark until it ends, so that one whose main process was killed is known to runs without SLURM, too.

    Args:
        prefix: with which the names of this run's jobs begin; None for a run without SLURM.
        directory: that of the project.

    Raises:
        ConfigError: jobs of an earlier run work there, or the cluster does not tell the states of jobs.
    """
    mark = directory / MARK
    if earlier := prefix or (mark.read_text(encoding="utf-8") if mark.is_file() else None):
        check_idle(earlier, directory)
    mark.unlink(missing_ok=True)
    if prefix is not None:
        stand_in()
        mark.write_text(prefix, encoding="utf-8")


def end(directory: Path) -> None:
    """Of a run that ends, and with it its jobs."""
    (directory / MARK).unlink(missing_ok=True)


def on_gpu() -> subprocess.CompletedProcess[str]:
    """See in a job of its own whether PyTorch can use the GPUs of the cluster, and wait for it.

    Returns:
        What became of it; the errors of one that failed are what it wrote, or what Snakemake says if it did not start.
    """
    print("waiting for a GPU of the cluster, to see whether PyTorch can use it ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(GPU_CHECK), "--workflow-profile", GPU_PROFILE]
    # asked first when a job that had not to wait has ended; the plugin asks again after 40 seconds
    quick = ["--retries", "0", "--slurm-init-seconds-before-status-checks", "20"]
    GPU_LOG.unlink(missing_ok=True)
    found = subprocess.run([*command, *quick], capture_output=True, text=True, check=False)
    if found.returncode:
        found.stderr = GPU_LOG.read_text(encoding="utf-8") if GPU_LOG.is_file() else found.stdout + found.stderr
    return found


def stand_in() -> None:
    """Put programs that wait for a controller and know more states in front of those of SLURM, see ``SCRIPTS``.

    Raises:
        ConfigError: on a cluster without accounting, jobs leave the queue before Snakemake sees that they have ended.
    """
    names = {name: shutil.which(name) for name in ("sacct", "sbatch")}
    asked = [names["sacct"], "--noheader", "--jobs=1"] if names["sacct"] else ["false"]
    accounting = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    if not accounting and 0 < (kept := _kept()) < LONGEST_PAUSE:
        raise ConfigError(
            f"MinJobAge of SLURM: got {kept} s, expected accounting (sacct) or at least {LONGEST_PAUSE} s: jobs leave "
            "the queue before Snakemake sees that they have ended; ask who runs this cluster"
        )
    os.environ["SCHEMENETS_SACCT"] = names["sacct"] or "" if accounting else ""
    os.environ["SCHEMENETS_SBATCH"] = names["sbatch"] or ""
    os.environ["PATH"] = f"{SCRIPTS.resolve()}{os.pathsep}{os.environ['PATH']}"


def _kept() -> int:
    """Seconds for which the queue shows jobs that have ended; 0 if it does not say."""
    try:
        found = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    told = re.search(r"^MinJobAge\s*=\s*(\d+)", found.stdout, re.MULTILINE)
    return int(told[1]) if told else 0


def _main() -> int:
    """Check the values of the site, which a profile would report behind all of Snakemake's options."""
    try:
        site()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main())
