"""Draw all figures from the tables."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pandas as pd
import torch
from matplotlib import rc_context

from schemenets import checkpoints, files, signals
from schemenets.evaluation import PEAK
from schemenets.study import figures, summaries
from schemenets.study.figures._style import STYLE
from schemenets.study.figures.signals import NOISE
from schemenets.study.layout import Layout

# neither date nor software version, so that equal figures are equal files
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write every figure as SVG and PNG."""
    tables = summaries.read(results)
    tables["examples"] = examples(results, tables)
    for name in figures.available():
        with rc_context(STYLE):
            figure = figures.draw(name, tables)
            for suffix, metadata in METADATA.items():
                file = BytesIO()
                figure.savefig(file, format=suffix, metadata=metadata)
                files.atomic_write(results.figure(name, suffix), file.getvalue())


def examples(results: Layout, tables: summaries.Tables) -> pd.DataFrame:
    """The first test signal of every family at one noise level: ``family``, ``clean``, ``noisy``, ``denoised``.

    Denoised is NaN where no run is sound.
    """
    example = summaries.example_run(tables["runs"])
    network = checkpoints.load(results.job(example).with_suffix(".safetensors")) if example else None
    parts = []
    families = tables["psnr"].query("noise == @NOISE")["test_set"].unique()
    for family in (name for name in families if not name.startswith(summaries.EVOLUTION)):
        arrays = signals.read(results.dataset(f"{family}-{NOISE}"))
        clean, noisy = arrays["test/clean"][0], arrays["test/noisy"][:1]
        part = pd.DataFrame({"family": family, "clean": clean, "noisy": noisy[0]})
        if network:
            with torch.inference_mode():
                part["denoised"] = network(torch.from_numpy(noisy) / PEAK)[0].numpy() * PEAK
        parts.append(part)
    return (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["family", "clean", "noisy", "denoised"])
    )
