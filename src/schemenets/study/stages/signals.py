"""Generate one data set: its signals, and a record with their hashes."""

from schemenets import signals
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json, cells

OUTPUTS = {"signals": "data/{dataset}.safetensors", "record": "data/{dataset}.json"}


def specs(study: Study) -> dict[str, Json]:
    """Every data set that is trained on, validated or tested on, named family-noise.

    Training signals are stored only for evolutions, which start from them; every network draws its own.
    """
    tested = [{"family": family, "noise": noise} for family, noise in study.tested]
    trained = [study.config["experiments"][name] for name in study.settings["experiments"]]
    trained += cells.data_sets(study)
    trained_on = {signals.dataset_name(entry) for entry in trained}
    sources = {signals.dataset_name(entry) for entry in trained if "time" in entry}
    found = {}
    for entry in [*tested, *trained]:
        name, family = signals.dataset_name(entry), entry["family"]
        splits = ["train"] * (name in sources) + ["validation"] * (name in trained_on) + ["test"]
        counts = {split: study.settings[split][family] for split in splits}
        found[name] = {"family": family, "noise": entry["noise"], **study.data, **counts}
    return found


def inputs(spec: Json) -> Json:
    """Nothing."""
    return {}


def run(job: Job) -> None:
    """Write the data set (see :func:`schemenets.signals.generate`)."""
    signals.write(job.spec, job.output("signals"))
