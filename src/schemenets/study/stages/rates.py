"""Freeze the learning rates that were tuned, in the file that tiers with ``rates: config/rates.yaml`` read."""

import yaml

from schemenets import files
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json

OUTPUTS = {"rates": "rates.yaml"}
HEAD = """\
# Learning rates by signal family, method and class of the number of parameters, for tiers that say
# `rates: config/rates.yaml`. Made by `make study TIER=tuning`; results/tuning/tables/tuning.csv has every trial.
"""


def specs(study: Study) -> dict[str, Json]:
    """One job, if learning rates are tuned."""
    names = sorted(study.specs("tune"))
    return {"all": {"names": names}} if names else {}


def inputs(spec: Json) -> Json:
    """All of the tuning."""
    return {"tuning": [("tune", name) for name in spec["names"]]}


def run(job: Job) -> None:
    """Write the chosen ones."""
    found: Json = {}
    for name in job.spec["names"]:
        family, method, size = name.split("/")
        record = files.read_json(job.results.file("tune", name, "trials"))
        found.setdefault(family, {}).setdefault(method, {})[size] = record["learning_rate"]
    text = yaml.safe_dump({"rates": found}, sort_keys=True, default_flow_style=None)
    files.atomic_write(job.output("rates"), HEAD + text)
