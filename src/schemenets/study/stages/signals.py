"""Generate one data set: its signals, and a record with their hashes."""

from schemenets import signals
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json

OUTPUTS = {"signals": "data/{dataset}.safetensors", "record": "data/{dataset}.json"}


def specs(study: Study) -> dict[str, Json]:
    """Every data set that is trained, tuned or tested on, named family-noise."""
    tested = [{"family": family, "noise": noise} for family, noise in study.tested]
    trained = [
        study.config["tuning"],
        *(study.config["experiments"][name] for name in study.settings["experiments"]),
    ]
    trained_on = {signals.dataset_name(entry) for entry in trained}
    found = {}
    for entry in [*tested, *trained]:
        name, family = signals.dataset_name(entry), entry["family"]
        splits = ["train", "validation", "test"] if name in trained_on else ["test"]
        counts = {split: study.settings[split][family] for split in splits}
        found[name] = {"family": family, "noise": entry["noise"], **study.config["signals"], **counts}
    return found


def inputs(spec: Json) -> Json:
    """Nothing."""
    return {}


def run(job: Job) -> None:
    """Write the data set (see :func:`schemenets.signals.generate`)."""
    signals.write(job.spec, job.output("signals"))
