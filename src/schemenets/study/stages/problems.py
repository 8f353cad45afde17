"""Generate right-hand sides of one problem and solve them, to train and test solvers on."""

from schemenets import files, signals
from schemenets.multigrid import data
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json

OUTPUTS = {"signals": "data/{problem}.safetensors", "record": "data/{problem}.json"}


def specs(study: Study) -> dict[str, Json]:
    """Right-hand sides and solutions of every problem of the tier, named problem_<name>."""
    own = study.settings["solvers"]
    shared = {
        "length": study.config["solvers"]["points"],
        "seed": study.data["seed"],
        "noise": study.config["solvers"]["noise"],
        **{key: own[key] for key in ("train", "validation", "test", "others", "points")},
    }
    return {f"problem_{name}": {"problem": study.problem(name).arguments(), **shared} for name in own["problems"]}


def inputs(spec: Json) -> Json:
    """Nothing: right-hand sides are generated as signals are."""
    return {}


def code(spec: Json) -> list[str]:
    """The families of signals that right-hand sides are made of."""
    return [f"{signals.__name__}.{name}" for name in signals.available()]


def run(job: Job) -> None:
    """Write the data set in the format of :func:`schemenets.signals.read`."""
    arrays, known = data.generate(job.spec)
    files.write_safetensors(job.output("signals"), arrays)
    record = {"spec": job.spec, "sha256": files.sha256(job.output("signals")), **known}
    files.write_json(job.output("record"), record)
