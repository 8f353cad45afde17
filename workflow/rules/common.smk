# What all chapters share: the plan of the run, where trainings run, and how a rule runs a stage of the package.
#
# A stage declares the files, inputs and digests of its rule (src/schemenets/study/stages). A job reruns if its
# specification (params.spec) or its code (params.source) has changed.

from schemenets.study.plan import Plan, PlanError, chosen_device

GIVEN = workflow.config_settings  # by --configfile and --config
GPUS = workflow.global_resources.get("gpu")  # a resource without a value, if the run has not said any
GPUS = getattr(GPUS, "value", GPUS)
try:
    PLAN = Plan.of(config, [*GIVEN.configfiles, ("--config", dict(GIVEN.config))])
    DEVICE = chosen_device(config, GPUS or 0)
except PlanError as error:
    raise WorkflowError(str(error))

if DEVICE == "cuda" and GPUS is None:
    workflow.register_resource("gpu", 1)  # one training at a time, whatever the number of cores

# The shell command is what you would type: python -m schemenets STAGE NAME --tier TIER --out DIRECTORY
RUN = "OMP_NUM_THREADS={threads} python -m schemenets"
OPTIONS = f"{PLAN.options} --out {{params.out:q}} --log {{log:q}}"
JOB = "{wildcards.experiment}/{wildcards.method}/{wildcards.size}"


# Megabytes of a training: measured on processors; a guess for what the libraries of GPUs take beside
FOR_TRAINING = 8000 if DEVICE == "cuda" else 2000


def growing(amount):
    """Megabytes of memory, of which every attempt gets more: a job that exceeds them is stopped."""
    return lambda wildcards, attempt: amount * attempt


# on a cluster, what takes seconds is run by Snakemake itself
localrules:
    all,
    signals,
    evolution,
    problems,
    schemes,
    distances,
    rates,
    tables,
    claims,
    figures,
    report,
    manifest,
