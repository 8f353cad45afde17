# What all chapters share: the plan of the run, and how a rule runs a stage of the package.
#
# Files, inputs and digests of a rule are those that its stage declares (src/schemenets/study/stages). A job runs again
# if what it has to do (params.spec) or the code that does it (params.source) has changed.

from schemenets.study.plan import Plan, PlanError

try:
    PLAN = Plan.of(config)
except PlanError as error:
    raise WorkflowError(str(error))

# The shell command is what one would type: python -m schemenets STAGE NAME --tier TIER --out DIRECTORY
RUN = "OMP_NUM_THREADS={threads} python -m schemenets "
OPTIONS = f" {PLAN.options} --log {{log:q}}"
JOB = "{wildcards.experiment}/{wildcards.method}/{wildcards.size}"
