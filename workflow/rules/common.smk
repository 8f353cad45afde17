# What all chapters share: the study, its files, and how a rule runs a stage of the package.

from schemenets.study import claims, schema
from schemenets.study.config import CLAIMS, CONFIG, SCHEMA, Study
from schemenets.errors import SchemenetsError
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.layout import DEPTH, Layout
from schemenets.study.specs import dumps
from schemenets.study.summaries import SAFEGUARDED, TABLES

try:
    schema.load(CONFIG, SCHEMA)  # the file as it is: Snakemake keeps the last of several values of one key
    STUDY = Study.check(config)
    STUDY.check_claims(claims.load(CLAIMS))
except SchemenetsError as error:
    raise WorkflowError(str(error))

RESULTS = Layout(STUDY.results)
LOGS = RESULTS.root / "logs"
JOBS, SOLVERS = STUDY.specs("train"), STUDY.specs("solver_train")
TRAININGS = JOBS | SOLVERS
# How many jobs one process does, as starting one takes seconds: of those that take less than that in every tier, and of
# all others.
SHORT = 10
LONG = config["tiers"][STUDY.tier]["jobs_per_process"]


def batches(names, at_once):
    """Lists of at most so many names, numbered."""
    names = list(names)
    return enumerate(names[first : first + at_once] for first in range(0, len(names), at_once))


def named(wildcards):
    """Name of what the wildcards stand for, as in the specifications of a stage; all where there are none."""
    return Path(*wildcards).as_posix() if wildcards else "all"


def stage(name):
    """Parameters of a stage's rule: what to do, and the code it depends on. A change in either runs it again."""
    specs = STUDY.specs(name)
    return {
        "stage": name,
        "spec": lambda wildcards: dumps(specs[named(wildcards)]),
        "source": lambda wildcards: of_stage(name, specs[named(wildcards)]),
    }


def of_batch(name, batch):
    """The same as ``stage`` for a rule that does all of a batch in one process."""
    specs = STUDY.specs(name)
    return {
        "stage": name,
        "spec": [dumps(specs[job]) for job in batch],
        "source": [of_stage(name, specs[job]) for job in batch],
    }


def by_network(specs):
    """Specifications of training jobs and kinds of random networks by architecture, with and without a safeguard.

    One process does each; what is new there leaves all others alone. The way through trained blocks takes no time, so
    one does that of all networks.
    """
    found = {}
    for name, spec in specs.items():
        network = spec["architecture"]["name"] if "job" in spec else name
        group = "depth" if name.startswith(DEPTH) else network.removeprefix(SAFEGUARDED)
        found.setdefault(group, {})[name] = spec
    return found


def seeds_of(batch, suffix):
    """Files of all seeds of a batch of training jobs, those that learn to solve included."""
    return [RESULTS.job(job) / f"seed-{seed}.{suffix}" for job in batch for seed in TRAININGS[job]["seeds"]]


# Shell command of a stage's rule. A constant: Snakemake evaluates commands when jobs start, loop variables are the
# last of their loop by then.
RUN = (
    "OMP_NUM_THREADS={threads} python -m schemenets {params.stage} {params.spec:q}"
    f" --results {RESULTS.root} --log {{log:q}}"
)
