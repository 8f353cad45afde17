# What all chapters share: the plan of the run, and how a rule runs a stage of the package.
#
# A stage declares the files, inputs and digests of its rule (src/schemenets/study/stages). A job reruns if its
# specification (params.spec) or its code (params.source) has changed.

from schemenets.study.plan import Plan, PlanError

GIVEN = workflow.config_settings  # by --configfile and --config
try:
    PLAN = Plan.of(config, [*GIVEN.configfiles, ("--config", dict(GIVEN.config))])
except PlanError as error:
    raise WorkflowError(str(error))

# The shell command is what you would type: python -m schemenets STAGE NAME --tier TIER --out DIRECTORY
RUN = "OMP_NUM_THREADS={threads} python -m schemenets"
OPTIONS = f"{PLAN.options} --log {{log:q}}"
JOB = "{wildcards.experiment}/{wildcards.method}/{wildcards.size}"
