"""The cells of the map: how far a symmetric network is ahead of a residual one under a combination of choices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from schemenets.study import summaries
from schemenets.study.stages.cells import CHOICES, DEPTH, DESIGN, FURTHER, PARAMETERS, REFERENCE
from schemenets.study.statistics import median, paired
from schemenets.study.summaries import Tables
from schemenets.study.wording import label, listed, signed

SIDES = {DEPTH: "as many blocks", PARAMETERS: "as many parameters"}  # of the symmetric network
SHORT = {"perona_malik": "PM"}
STARTS = {"glorot": "Glorot's start", "scaled": "scaled start"}


def cells(tables: Tables) -> pd.DataFrame:
    """Every cell, for both sides of a symmetric network.

    Returns:
        One row per cell and side: ``cell``, ``kind``, the choices, ``side``; ``effect``, ``low``, ``high``: median,
        least and largest difference of the PSNR from that of the residual network in dB, paired over ``seeds``, where
        a failed run counts as below all others; ``difference``: the median if a diverged one counts as the noisy input;
        ``candidate_failed``, ``reference_failed``.
    """
    table = tables["map"]
    diverged = (table["status"] != "ok") | table["psnr"].isna()
    table = table.assign(
        run=table["cell"] + "/" + table["side"] + "/seed-" + table["seed"].astype(str),
        method=table["side"],
        diverged=diverged,
        failed=diverged | (table["psnr"] < table["noisy_psnr"]),
        score=table["noisy_psnr"].where(diverged, table["psnr"]),
    )
    found = []
    for cell, own in summaries.groups(table, "cell"):
        first = own.iloc[0]
        for side in SIDES:
            pairs = paired(own, side, REFERENCE, f"{cell}/{{}}")
            counted = pairs["counted"].dropna()  # both sides of the others failed
            found.append(
                {
                    **{key: first[key] for key in ("cell", "kind", *CHOICES, *FURTHER)},
                    **{"side": side, "seeds": len(pairs), "effect": median(pairs["counted"])},
                    **{"low": counted.min(), "high": counted.max(), "difference": pairs["difference"].median()},
                    **{f"{name}_failed": int(pairs[f"{name}_failed"].sum()) for name in ("candidate", "reference")},
                }
            )
    return pd.DataFrame(found)


def by_flux(tables: Tables) -> str:
    """The medians of the design with as many blocks, for every pair of fluxes; empty without a design."""
    table = cells(tables)
    table = table[(table["kind"] == DESIGN) & (table["side"] == DEPTH)]
    medians = table.groupby("pair")["effect"].median().sort_values(ascending=False)
    names = [" against ".join(map(label, str(pair).split("/"))) for pair in medians.index]
    texts = [f"{signed(value)} dB ({name})" for name, value in zip(names, medians, strict=True)]
    return f"Medians with as many blocks, by fluxes: {listed(texts)}." if texts else ""


def shade(ax: Axes, groups: Sequence[Any]) -> None:
    """Grey and white in turn behind rows from the top, with the group of each."""
    order = list(dict.fromkeys(groups))
    for row, group in enumerate(groups):
        if order.index(group) % 2 == 0:
            ax.axhspan(row - 0.5, row + 0.5, color="0.94", linewidth=0, zorder=0)
    ax.grid(visible=False, axis="y")
    ax.set_ylim(len(groups) - 0.5, -0.5)


def choice(factor: str, level: Any) -> str:
    """Readable name of a choice."""
    if factor == "pair":
        return " against ".join(SHORT.get(flux, label(flux)) for flux in level.split("/"))
    number = f"{level:,g}" if not isinstance(level, str | bool | np.bool_) else ""
    return {
        "biases": "biases" if level else "no biases",
        "depth": f"{number} blocks",
        "noise": f"noise {number}",
        "train": f"{number} signals",
        "kernel_size": f"filters of length {number}",
        "initialisation": STARTS.get(level, str(level)),
        "family": label(str(level)),
        "channels": f"{number} channels",
        "filters": f"{number} filters",
        "steps": f"{number} steps",
    }[factor]
