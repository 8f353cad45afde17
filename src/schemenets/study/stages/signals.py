"""Generate one data set: its signals, and a record with their hashes."""

from schemenets import signals
from schemenets.study.config import SPLITS, Study
from schemenets.study.stages import Job, Json

OUTPUTS = {"signals": "data/{dataset}.safetensors", "record": "data/{dataset}.json"}


def specs(study: Study) -> dict[str, Json]:
    """Every data set that is trained on, validated or tested on, named family-noise.

    Training signals are stored only for evolutions, which start from them; every network draws its own.
    """
    from schemenets.study.stages import cells  # here, as no signals depend on it

    experiments = [study.config["experiments"][name] for name in study.settings["experiments"]]
    wanted = [(*own, {"test"}) for own in study.tested] if study.has("evaluate") else []
    wanted += [(*own, {"validation"}) for own in study.validated.values()] if study.has("classical") else []
    if study.has("train") or study.has("tune"):
        wanted += [(own["family"], own["noise"], {"validation", "test"}) for own in experiments]
        wanted += [(own["family"], own["noise"], {"train"}) for own in experiments if "time" in own]
    wanted += [(own["family"], own["noise"], {"validation", "test"}) for own in cells.data_sets(study)]
    found: dict[str, Json] = {}
    for family, noise, splits in wanted:
        own = {"family": family, "noise": noise, **study.data}
        if study.settings.get(signals.EXPLORATORY) and hasattr(signals.get(family), "IMAGES"):
            own[signals.EXPLORATORY] = True
        counts = {split: study.settings[split][family] for split in SPLITS if split in splits}
        found.setdefault(signals.dataset_name(own), own).update(counts)
    return found


def inputs(spec: Json) -> Json:
    """Nothing."""
    return {}


def run(job: Job) -> None:
    """Write the data set (see :func:`schemenets.signals.generate`)."""
    signals.write(job.spec, job.output("signals"))
