"""Generate one data set: its signals, and a record with their hashes."""

from schemenets import signals
from schemenets.study.config import SPLITS, Study
from schemenets.study.stages import Job, Json

OUTPUTS = {"signals": "data/{dataset}.safetensors", "record": "data/{dataset}.json"}


def specs(study: Study) -> dict[str, Json]:
    """Every data set that is trained, tuned or tested on, named family-noise."""
    entries = [study.config["tuning"], *(study.config["experiments"][name] for name in study.settings["experiments"])]
    wanted = [(*own, {"test"}) for own in study.tested]
    wanted += [(*own, {"validation"}) for own in study.validated.values()]
    wanted += [(entry["family"], entry["noise"], set(SPLITS)) for entry in entries]
    found: dict[str, Json] = {}
    for family, noise, splits in wanted:
        own = {"family": family, "noise": noise, **study.config["signals"]}
        counts = {split: study.settings[split][family] for split in SPLITS if split in splits}
        found.setdefault(signals.dataset_name(own), own).update(counts)
    return found


def inputs(spec: Json) -> Json:
    """Nothing."""
    return {}


def run(job: Job) -> None:
    """Write the data set (see :func:`schemenets.signals.generate`)."""
    signals.write(job.spec, job.output("signals"))
