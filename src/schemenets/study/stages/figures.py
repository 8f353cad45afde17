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
    columns = ["job", "experiment", "method", "size", "dataset"]
    jobs = summaries.compared(pd.DataFrame(list(study.denoisers.values()), columns=columns))
    compared = {name: list(own["job"]) for name, own in summaries.groups(jobs, "dataset")}
    return {"all": {"claims": study.has("claims"), "compared": compared, "learned": _learned(study)}}


def _learned(study: Study) -> dict[str, str]:
    """The jobs whose blocks are shown, with their data sets; in a tier without these the first one of its headline."""
    there = {name: spec["dataset"] for name, spec in study.denoisers.items()}
    others = [name for name in there if name.startswith("capacity/symmetric")]
    return {name: there[name] for name in ([name for name in SHOWN if name in there] or others[:1])}


def inputs(spec: Json) -> Json:
    """All tables, the networks that denoise the first test signals, and those whose blocks are shown."""
    jobs = [*chain(*spec["compared"].values()), *spec["learned"]]
    return {
        "tables": [("tables", "all"), *([("claims", "all")] if spec["claims"] else [])],
        "data": [dataset(name) for name in dict.fromkeys([*spec["compared"], *spec["learned"].values()])],
        "networks": [("train", job) for job in dict.fromkeys(jobs)],
    }


def code(spec: Json) -> list[str]:
    """The figures."""
    return [f"{figures.__name__}.{name}" for name in figures.available()]


def run(job: Job) -> None:
    """Write every figure as SVG and PNG."""
    tables = summaries.read(job.results)
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
        rivals = summaries.classical(tables, name)
        for alpha in rivals.loc[rivals["method"] == RIVAL, "parameter"]:
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
