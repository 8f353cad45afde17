"""Draw all figures from the tables."""

from io import BytesIO

import pandas as pd
import torch
from matplotlib import style

from schemenets import files, signals
from schemenets.evaluation import PEAK
from schemenets.study import figures, summaries
from schemenets.study.config import Study
from schemenets.study.figures._style import STYLE
from schemenets.study.figures.signals import NOISE
from schemenets.study.layout import FIGURE, Layout
from schemenets.study.stages import Job, Json, _trained, dataset

SUFFIXES = ("svg", "png")
OUTPUTS = {f"{name}_{suffix}": FIGURE.format(name, suffix) for suffix in SUFFIXES for name in figures.available()}
# neither date nor software version, so that equal figures are equal files
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def specs(study: Study) -> dict[str, Json]:
    """All figures, at once."""
    sets = [name for name in study.test_sets if name.rpartition("-")[2] == f"{NOISE:g}"]
    return {"all": {"test_sets": sets, "example": _example(study)}}


def _example(study: Study) -> str | None:
    """The job whose output is shown: the symmetric network nearest to the middle budget, else any denoiser."""
    found = [spec for spec in study.denoisers.values() if "time" not in study.config["experiments"][spec["experiment"]]]
    shown = [spec for spec in found if (spec["experiment"], spec["method"]) == ("capacity", "symmetric-perona_malik")]
    shown.sort(key=lambda spec: abs(summaries.number(spec["size"]) - summaries.MIDDLE))
    return next((str(spec["job"]) for spec in [*shown, *found]), None)


def inputs(spec: Json) -> Json:
    """All tables, the first signal of some test sets, and the networks, one of which denoises it."""
    example = [("train", spec["example"])] if spec["example"] else []
    return {
        "tables": [("tables", "all"), ("claims", "all")],
        "data": [dataset(name) for name in spec["test_sets"]],
        "example": example,
    }


def code(spec: Json) -> list[str]:
    """The figures."""
    return [f"{figures.__name__}.{name}" for name in figures.available()]


def run(job: Job) -> None:
    """Write every figure as SVG and PNG."""
    tables = summaries.read(job.results)
    tables["examples"] = examples(job.results, job.spec)
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
            with torch.inference_mode():
                part["denoised"] = next(iter(sound.values()))(torch.from_numpy(noisy) / PEAK)[0].numpy() * PEAK
        parts.append(part)
    columns = ["family", "clean", "noisy", "denoised"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns) if parts else pd.DataFrame(columns=columns)
