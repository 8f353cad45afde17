"""Tune classical denoisers on validation signals, and test them on every test set.

A family without validation signals takes the parameters of the family of the tuning at the same noise level. The oracle
takes for every single test signal the parameters with the highest PSNR, so it knows the clean signals.
"""

from collections.abc import Iterator

from schemenets import signals
from schemenets.metrics import psnr
from schemenets.study.config import Study
from schemenets.study.measurements.classical import METHODS, Method, Parameters
from schemenets.study.stages import Job, Json, dataset

OUTPUTS = {"classical": "classical.json"}
RECORD = "classical"
TABLES = {
    "classical": [
        *("test_set", "noise", "method", "choice", "parameter", "at_edge", "tuned_on", "psnr", "oracle_psnr"),
        *("oracle_at_edge", "noisy_psnr", "signals"),
    ]
}


def specs(study: Study) -> dict[str, Json]:
    """All test sets, with the data sets whose validation signals choose the parameters."""
    sources = {name: {"family": family, "noise": noise} for name, (family, noise) in study.validated.items()}
    return {"all": {"tuned_on": {name: signals.dataset_name(source) for name, source in sources.items()}}}


def inputs(spec: Json) -> Json:
    """These data sets."""
    return {"data": [dataset(name) for name in dict.fromkeys([*spec["tuned_on"], *spec["tuned_on"].values()])]}


def run(job: Job) -> None:
    """Write the mean validation PSNR of all trials, and the results of the best one on every test set."""
    found: Json = {"tuning": {}, "test_sets": {}}
    for name in dict.fromkeys(job.spec["tuned_on"].values()):
        arrays = signals.read(job.results.dataset(name))
        data = arrays["validation/noisy"], arrays["validation/clean"], noise_of(name)
        found["tuning"][name] = {key: method.psnr(*data).mean(1).tolist() for key, method in METHODS.items()}
    for name, source in job.spec["tuned_on"].items():
        arrays = signals.read(job.results.dataset(name))
        noisy, clean, noise = arrays["test/noisy"], arrays["test/clean"], noise_of(name)
        found["test_sets"][name] = {"noisy_psnr": float(psnr(noisy, clean).mean()), "signals": len(noisy)}
        for key, method in METHODS.items():
            scores, trials = method.psnr(noisy, clean, noise), method.trials(noise)
            best = scores.argmax(0)
            found["test_sets"][name][key] = {
                "psnr": float(scores[chosen(found["tuning"][source][key])].mean()),
                "oracle_psnr": float(scores.max(0).mean()),
                "oracle_at_edge": sum(method.at_edge(trials[index], noise) for index in best),
            }
    job.write_record(found | {"tuned_on": job.spec["tuned_on"]})


def noise_of(name: str) -> float:
    """Noise level of a data set, from its name."""
    return float(name.rpartition("-")[2])


def chosen(validation: list[float]) -> int:
    """The trial with the highest PSNR, the first of equal ones."""
    return validation.index(max(validation))


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """Every denoiser on every test set."""
    return {"classical": list(_rows(records["all"]))}


def _rows(record: Json) -> Iterator[Json]:
    for name, source in record["tuned_on"].items():
        found, noise = record["test_sets"][name], noise_of(name)
        for key, method in METHODS.items():
            trial = method.trials(noise)[chosen(record["tuning"][source][key])]
            yield {
                "test_set": name.rpartition("-")[0],
                "noise": noise,
                "method": key,
                **described(method, trial, noise),
                "tuned_on": source,
                **found[key],
                **{column: found[column] for column in ("noisy_psnr", "signals")},
            }


def described(method: Method, trial: Parameters, noise: float) -> Json:
    """Its last parameter, and those before in words.

    >>> trial = METHODS["diffusion"].trials(10)[0]
    >>> described(METHODS["diffusion"], trial, 10)
    {'choice': 'contrast 2.5', 'parameter': 0.125, 'at_edge': True}
    """
    *others, (_, last) = trial.items()
    words = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in others)
    return {"choice": ", ".join(words), "parameter": last, "at_edge": method.at_edge(trial, noise)}
