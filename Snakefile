# The study, from signals to the report; one chapter per file in workflow/rules.
#
#   snakemake --cores all                        the whole study, to results/mine
#   snakemake --cores all --config tier=smoke    the same in miniature, to results/smoke
#
# Every computation is in the package: `python -m schemenets --help`.
import shutil
import subprocess
import sys

from filelock import FileLock, Timeout
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


# built from workflow/Containerfile; used only with --sdm apptainer
container: "workflow/schemenets.sif"


report: "workflow/report/workflow.rst"


wildcard_constraints:
    dataset=r"[a-z_]+-[0-9.]+",
    evolution=r"evolution_[0-9]+-[0-9.]+",
    problem=r"problem_[a-z_0-9]+",
    experiment=r"[^/]+",
    method=r"[^/]+",
    size=r"[^/]+",
    network=r"[^/]+",
    family=r"[^/]+",
    size_class=r"[^/]+",
    cell=r"[^/]+",


# Snakemake's own lock outlives a killed run; this one is released by the operating system (see the profile).
LOCK = FileLock(".snakemake/schemenets.lock")


onstart:
    from schemenets.errors import ConfigError  # here, as jobs on a cluster read this file as well
    from schemenets.study import cluster

    try:
        LOCK.acquire(timeout=0)
    except Timeout:
        raise WorkflowError(f"another run is working in this directory (it holds {LOCK.lock_file})")
    except (OSError, NotImplementedError) as error:
        raise WorkflowError(f"{LOCK.lock_file}: {error}; expected a file system that can lock files")
    prefix = getattr(workflow.executor_settings, "jobname_prefix", None)  # of SLURM
    if prefix and (DEVICE == "cuda") != bool(GPUS):
        expected = "slurm-gpu" if DEVICE == "cuda" else "slurm"
        raise WorkflowError(
            f"device: got {DEVICE}, which does not go with this profile; expected profile {expected}"
        )
    try:
        cluster.begin(prefix, Path.cwd())
    except ConfigError as error:
        raise WorkflowError(str(error))
    trainings = (job for job in workflow.dag.needrun_jobs() if job.rule.name in ("tune", "train", "cells"))
    if DEVICE == "cuda" and (workflow.local_exec or prefix) and any(trainings):
        here = ["python", "-m", "schemenets", "info"]  # as jobs do
        found = cluster.on_gpu() if prefix else subprocess.run(here, capture_output=True, text=True)
        if found.returncode:
            raise WorkflowError(found.stderr.strip())


onerror:
    from schemenets.study import cluster

    cluster.end(Path.cwd())


# a run that judges claims ends with the verdicts; the tier that is made to freeze learning rates puts them where other
# tiers read them
onsuccess:
    from schemenets.study import cluster

    cluster.end(Path.cwd())
    if PLAN.names("report") and Path(rules.report.output[0]).is_file():
        subprocess.run([sys.executable, "-m", "schemenets", "report", str(PLAN.results)])
    if PLAN.tier == "tuning" and Path(made := rules.rates.output.rates).is_file():
        shutil.copyfile(made, "config/rates.yaml")
        print(f"config/rates.yaml: the learning rates of {made}")


include: "workflow/rules/common.smk"
include: "workflow/rules/signals.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/stability.smk"
include: "workflow/rules/solvers.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        unpack(PLAN.inputs("manifest")),  # all results: one that is missing is made again
        rules.manifest.output,
