"""Measure how far every test set is from every set of training signals.

The distance of two data sets is the 1-Wasserstein distance of the differences between neighbouring values of their
noisy signals, which are what networks see: by how many grey values these have to change, on average and at least.
"""

import numpy as np
from scipy.stats import wasserstein_distance

from schemenets import signals
from schemenets.study.config import Study, training_set
from schemenets.study.stages import Job, Json, dataset

OUTPUTS = {"distances": "distances.json"}
RECORD = "distances"
TABLES = {"distances": ["training_set", "test_set", "noise", "distance"]}
MOST = 1000  # training signals taken, the first ones


def specs(study: Study) -> dict[str, Json]:
    """All data sets that denoisers are trained or tested on."""
    entries = (study.config["experiments"][name] for name in study.settings["experiments"])
    trained = dict.fromkeys(training_set(entry) for entry in entries if "time" not in entry)
    return {"all": {"training_sets": list(trained), "test_sets": study.test_sets}}


def inputs(spec: Json) -> Json:
    """These data sets."""
    return {"data": [dataset(name) for name in dict.fromkeys([*spec["training_sets"], *spec["test_sets"]])]}


def run(job: Job) -> None:
    """Write a row for every pair."""
    given = {name: signals.read(job.results.dataset(name)) for (_, name) in inputs(job.spec)["data"]}
    trained = {name: _rows(given[name]["train/noisy"])[:MOST] for name in job.spec["training_sets"]}
    tested = {name: given[name]["test/noisy"] for name in job.spec["test_sets"]}
    rows = [
        {
            "training_set": name,
            "test_set": test_set.rpartition("-")[0],
            "noise": float(test_set.rpartition("-")[2]),
            "distance": distance(own, others),
        }
        for name, own in trained.items()
        for test_set, others in tested.items()
    ]
    job.write_record({"rows": rows})


def _rows(array: np.ndarray) -> np.ndarray:
    """Signals (count, length), also of training signals of every seed."""
    return array.reshape(-1, array.shape[-1])


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The distance of two sets of signals, (count, length) each."""
    differences = (np.diff(each.astype(np.float64)).ravel() for each in (first, second))
    return float(wasserstein_distance(*differences))


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """The rows as they are."""
    return {"distances": records["all"]["rows"]}
