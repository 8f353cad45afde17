"""Examples of the test signals."""

import pandas as pd
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _style
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, label, ranged, signed, size_label

NOISE = 10
ORDER = 10
TITLE = "Test signals"
CAPTION = (
    f"The first test signal of every family: clean, with noise of standard deviation {NOISE}, and denoised by one "
    "trained network."
)
SOURCES = ("data/*.safetensors", "tables/runs.csv", "tables/psnr.csv")


def draw(tables: Tables) -> Figure:
    """One panel per family of the table ``examples``: ``family``, ``clean``, ``noisy``, ``denoised`` (may be NaN)."""
    examples = tables.get("examples", pd.DataFrame())
    if examples.empty:
        return _style.empty("test signals")
    families = list(summaries.groups(examples, "family"))
    figure, axes = _style.grid(len(families), 1, 1.35, sharex=True)
    for ax, (family, signal) in zip(axes, families, strict=True):
        x = range(len(signal))
        ax.plot(x, signal["noisy"], color="0.65", linewidth=0.7, label="noisy")
        ax.plot(x, signal["clean"], color="black", linestyle="--", linewidth=1.1, label="clean")
        if signal["denoised"].notna().all():
            ax.plot(x, signal["denoised"], color=_style.PALETTE[1], linewidth=1.1, label="denoised")
        ax.set(title=label(family), ylabel="grey value", xlim=(0, len(signal) - 1))
    axes[-1].set_xlabel("position (samples)")
    _style.legend(figure, axes)
    return figure


def headline(tables: Tables) -> str:
    """What the network shown does on average."""
    run = summaries.example_run(tables["runs"])
    rows: pd.DataFrame = tables["psnr"].query("run == @run and noise == @NOISE")
    if rows.empty:
        return NOT_MEASURED
    _, method, size, _ = str(run).split("/")
    changes = ranged(rows["psnr"] - rows["noisy_psnr"], signed)
    return (
        f"The network shown ({label(method)}, {size_label(size)}) changes the PSNR by {changes} dB, averaged over "
        "the test signals of a family."
    )
