"""Draw all figures from the tables."""

from collections.abc import Mapping
from io import BytesIO
from itertools import chain

import numpy as np
import pandas as pd
import torch
from matplotlib import style

from schemenets import files, signals
from schemenets.evaluation import PEAK
from schemenets.networks import DenoisingNetwork
from schemenets.study import figures, summaries
from schemenets.study.config import Study
from schemenets.study.figures._style import STYLE
from schemenets.study.figures.examples import RIVAL
from schemenets.study.figures.signals import NOISE
from schemenets.study.layout import FIGURE, TABLE, Layout
from schemenets.study.measurements import learned
from schemenets.study.measurements.classical import total_variation
from schemenets.study.stages import Job, Json, _trained, dataset

SUFFIXES = ("svg", "png")
OUTPUTS = {f"{name}_{suffix}": FIGURE.format(name, suffix) for suffix in SUFFIXES for name in figures.available()}
OUTPUTS[summaries.LEARNED] = TABLE.format(summaries.LEARNED)
SHOWN = [f"{summaries.LADDER}/{method}/blocks-4" for method in ("symmetric-perona_malik", "symmetric-learned")]
RESPONSES = 100  # test signals that blocks respond to
# neither date nor software version, so that equal figures are equal files
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def specs(study: Study) -> dict[str, Json]:
    """All figures, at once."""
    there = study.specs("signals")  # a tier may have no use for some test sets
    sets = [name for name in study.test_sets if name.rpartition("-")[2] == f"{NOISE:g}" and name in there]
    columns = ["job", "experiment", "method", "size", "dataset"]
    jobs = summaries.compared(pd.DataFrame(list(study.denoisers.values()), columns=columns))
    compared = {name: list(own["job"]) for name, own in summaries.groups(jobs, "dataset")}
    shown = {"example": _example(study), "compared": compared, "learned": _learned(study)}
    return {"all": {"test_sets": sets, "claims": study.has("claims"), **shown}}


def _learned(study: Study) -> dict[str, str]:
    """The jobs whose blocks are shown, with their data sets; in a tier without these the first one of its headline."""
    there = {name: spec["dataset"] for name, spec in study.denoisers.items()}
    others = [name for name in there if name.startswith("capacity/symmetric")]
    return {name: there[name] for name in ([name for name in SHOWN if name in there] or others[:1])}


def _example(study: Study) -> str | None:
    """The job whose output is shown: the symmetric network nearest to the middle budget, else any denoiser."""
    found = [spec for spec in study.denoisers.values() if "time" not in study.config["experiments"][spec["experiment"]]]
    shown = [spec for spec in found if (spec["experiment"], spec["method"]) == ("capacity", "symmetric-perona_malik")]
    shown.sort(key=lambda spec: abs(summaries.number(spec["size"]) - summaries.MIDDLE))
    return next((str(spec["job"]) for spec in [*shown, *found]), None)


def inputs(spec: Json) -> Json:
    """All tables, test signals, the networks that denoise the first of them, and those whose blocks are shown."""
    jobs = [*([spec["example"]] if spec["example"] else []), *chain(*spec["compared"].values())]
    data = [*spec["test_sets"], *spec["compared"], *spec["learned"].values()]
    return {
        "tables": [("tables", "all"), *([("claims", "all")] if spec["claims"] else [])],
        "data": [dataset(name) for name in dict.fromkeys(data)],
        "networks": [("train", job) for job in dict.fromkeys([*jobs, *spec["learned"]])],
    }


def code(spec: Json) -> list[str]:
    """The figures."""
    return [f"{figures.__name__}.{name}" for name in figures.available()]


def run(job: Job) -> None:
    """Write every figure as SVG and PNG."""
    tables = summaries.read(job.results)
    tables["examples"] = examples(job.results, job.spec)
    tables["denoised"] = denoised(job.results, job.spec, tables)
    tables[summaries.LEARNED] = own = blocks(job.results, job.spec)
    files.atomic_write(job.output(summaries.LEARNED), own.to_csv(index=False, lineterminator="\n"))
    for name in figures.available():
        with style.context(STYLE, after_reset=True):  # whatever settings users have
            figure = figures.draw(name, tables)
            for suffix in SUFFIXES:
                file = BytesIO()
                figure.savefig(file, format=suffix, metadata=METADATA[suffix])
                files.atomic_write(job.output(f"{name}_{suffix}"), file.getvalue())


def examples(results: Layout, spec: Json) -> pd.DataFrame:
    """The first signal of every test set: ``family``, ``clean``, ``noisy``, ``denoised``.

    Denoised is NaN where no run of the example is sound.
    """
    sound = _trained.read(results, spec["example"]).sound if spec["example"] else {}
    parts = []
    for name in spec["test_sets"]:
        arrays = signals.read(results.dataset(name))
        clean, noisy = arrays["test/clean"][0], arrays["test/noisy"][:1]
        part = pd.DataFrame({"family": name.rpartition("-")[0], "clean": clean, "noisy": noisy[0]})
        if sound:
            part["denoised"] = _output(sound, noisy)
        parts.append(part)
    columns = ["family", "clean", "noisy", "denoised"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns) if parts else pd.DataFrame(columns=columns)


def denoised(results: Layout, spec: Json, tables: summaries.Tables) -> pd.DataFrame:
    """The first signal of some test sets, as it is and denoised: ``dataset``, ``method``, ``clean``, ``result``."""
    parts = []
    for name, jobs in spec["compared"].items():
        arrays = signals.read(results.dataset(name))
        clean, noisy = arrays["test/clean"][0], arrays["test/noisy"][:1]
        found = {"noisy": noisy[0]}
        for job in jobs:
            if sound := _trained.read(results, job).sound:
                found[job.split("/")[1]] = _output(sound, noisy)
        for alpha in summaries.classical(tables, name, RIVAL)["parameter"]:
            found[RIVAL] = total_variation(noisy, [alpha])[0, 0]
        given = {"dataset": name, "clean": clean.astype(np.float64)}
        parts += [pd.DataFrame({**given, "method": method, "result": result}) for method, result in found.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _output(sound: Mapping[int, DenoisingNetwork], noisy: np.ndarray) -> np.ndarray:
    """The first of the networks applied to a signal, (1, length)."""
    with torch.inference_mode():
        output: np.ndarray = next(iter(sound.values()))(torch.from_numpy(noisy) / PEAK)[0].numpy()
    return output * PEAK


def blocks(results: Layout, spec: Json) -> pd.DataFrame:
    """The blocks of the first sound network of some jobs: ``method``, and :data:`learned.COLUMNS`."""
    parts = []
    for name, data in spec["learned"].items():
        arrays = signals.read(results.dataset(data))
        noisy, clean = (torch.from_numpy(arrays[f"test/{kind}"][:RESPONSES]) / PEAK for kind in ("noisy", "clean"))
        for network in list(_trained.read(results, name).sound.values())[:1]:
            rows = learned.described(network, noisy, clean)
            parts.append(pd.DataFrame(rows, columns=learned.COLUMNS).assign(method=name.split("/")[1]))
    columns = ["method", *learned.COLUMNS]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
