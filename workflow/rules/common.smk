# What all chapters share: the study, its files, and how a rule runs a stage of the package.

from schemenets import claims
from schemenets.config import CLAIMS, Study
from schemenets.errors import SchemenetsError
from schemenets.fingerprint import of_stage
from schemenets.layout import Layout
from schemenets.specs import dumps

try:
    STUDY = Study.check(config)
    STUDY.check_claims(claims.load(CLAIMS))
except SchemenetsError as error:
    raise WorkflowError(str(error))

RESULTS = Layout(STUDY.results)
LOGS = RESULTS.root / "logs"
JOBS = STUDY.specs("train")
JOB = "{experiment}/{method}/{size}"


def named(wildcards):
    """Name of what the wildcards stand for, as in the specifications of a stage; all where there are none."""
    return Path(*wildcards).as_posix() if wildcards else "all"


def stage(name):
    """Parameters of a stage's rule: what to do, and the code it depends on. A change in either runs it again."""
    specs = STUDY.specs(name)
    return {
        "spec": lambda wildcards: dumps(specs[named(wildcards)]),
        "source": lambda wildcards: of_stage(name, specs[named(wildcards)]),
    }


def run(name):
    """Shell command of a stage's rule."""
    return (
        f"OMP_NUM_THREADS={{threads}} python -m schemenets {name} {{params.spec:q}}"
        f" --results {RESULTS.root} --log {{log:q}}"
    )
