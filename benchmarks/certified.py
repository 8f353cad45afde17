"""What certified networks lose to free ones, and why: `python -m benchmarks.certified`.

Symmetric networks of 4 blocks are trained to denoise piecewise affine signals (σ = 10), each with the best of some
learning rates on validation signals. Between the certified and the free network stand others that differ from the
certified one in one respect:

* *steps up to 2 (8) times the limit*: certified, but that steps may be longer than the theorem allows;
* *filters of norm 1*: certified, the same theorem in another parametrisation: filters of norm 1 with steps below 2/L,
  where certified networks have free filters and steps below 2/(L‖K‖²).
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import table
from benchmarks.targets import Row
from schemenets import signals, stability, training
from schemenets.networks import Architecture, symmetric
from schemenets.study.records import provenance
from schemenets.study.stages import tune

COLUMNS = (
    "network",
    "flux",
    "biases",
    "psnr",
    "standard_deviation",
    "least_psnr",
    "step",
    "drift",
    "seeds",
    "rate",
    "commit",
)
SIGNALS = {"family": "piecewise_affine", "length": 256, "noise": 10.0, "seed": 7}
COUNTS = {"train": 10_000, "validation": 1000, "test": 1}
RATES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
FLAT = 0.02  # dB, as in the study
Change = Callable[[], AbstractContextManager[Any]]


def long_steps(factor: float) -> AbstractContextManager[Any]:
    """Steps of certified networks may be so many times longer than the theorem allows."""
    add = symmetric.add_step_size

    def longer(block: Any, architecture: Architecture, limit: float) -> None:
        add(block, architecture, factor * limit)

    return patch.object(symmetric, "add_step_size", longer)


def norm_1() -> AbstractContextManager[Any]:
    """Symmetric networks begin with filters of norm 1 and a step of 0.3, and certified ones keep that norm."""
    return patch.object(symmetric.Block, "normalised", True)


CASES: dict[str, tuple[dict[str, Any], Change]] = {
    "free": ({"name": "symmetric"}, nullcontext),
    "steps up to 8 times the limit": ({"name": "symmetric", "certified": True}, partial(long_steps, 8)),
    "steps up to 2 times the limit": ({"name": "symmetric", "certified": True}, partial(long_steps, 2)),
    "certified": ({"name": "symmetric", "certified": True}, nullcontext),
    "certified, filters of norm 1": ({"name": "symmetric", "certified": True}, norm_1),
    "Du Fort-Frankel, certified": ({"name": "du_fort_frankel", "certified": True}, nullcontext),
    "Du Fort-Frankel, safeguarded": ({"name": "safeguarded_du_fort_frankel", "certified": True}, nullcontext),
    "FSI, safeguarded": ({"name": "safeguarded_fsi", "certified": True}, nullcontext),
}
FLUXES = (("perona_malik", True), ("perona_malik", False), ("learned", True))  # with or without biases


class Trained(NamedTuple):
    """Networks with the best of some learning rates.

    Attributes:
        rate: that one.
        psnr: of every seed on validation signals, in dB (seeds,).
        networks: of every seed.
    """

    rate: float
    psnr: np.ndarray
    networks: list[Any]


def trained(
    architecture: Architecture,
    change: Change,
    data: dict[str, np.ndarray],
    *,
    seeds: int,
    epochs: int,
    rates: Sequence[float] = RATES,
) -> Trained:
    """Train networks of an architecture, changed or not, to denoise, at rates that are searched as in the study."""
    nothing = training.Denoising().unlearned(data["validation/noisy"], data["validation/clean"])
    trials: dict[float, Trained] = {}

    def measure(rates: Sequence[float]) -> None:
        job = training.Training(
            architecture=architecture,
            seeds=tuple(range(seeds)) * len(rates),
            learning_rate=tuple(rate for rate in rates for _ in range(seeds)),
            epochs=epochs,
            batch=64,
        )
        with change(), TemporaryDirectory() as folder:
            runs = training.fit(job, data, Path(folder) / "state.safetensors", architecture.name)
        for index, rate in enumerate(rates):
            own = runs[index * seeds : (index + 1) * seeds]
            psnr = np.array([nothing if run.outcome is None else run.outcome for run in own])
            trials[rate] = Trained(rate, psnr, [run.network for run in own])

    tune.search(sorted(rates), measure, lambda rate: float(trials[rate].psnr.mean()), True, FLAT)
    return max(trials.values(), key=lambda trial: trial.psnr.mean())


def measured(name: str, flux: str, biases: bool, seeds: int, epochs: int, data: dict[str, np.ndarray]) -> Row:
    """Train the networks of a case, and describe those with the best learning rate."""
    arguments, change = CASES[name]
    architecture = Architecture(flux=flux, blocks=4, filters=8, kernel_size=5, biases=biases, **arguments)
    found = trained(architecture, change, data, seeds=seeds, epochs=epochs)
    return {
        "network": name,
        "flux": flux,
        "biases": biases,
        "psnr": found.psnr.mean(),
        "standard_deviation": found.psnr.std(ddof=1),
        "least_psnr": found.psnr.min(),
        "step": _largest_step(found.networks, name),
        "drift": _drift(found.networks) if arguments.get("certified") and change in (nullcontext, norm_1) else None,
        "seeds": seeds,
        "rate": found.rate,
        "commit": provenance.git_state()["commit"],
    }


def _largest_step(networks: Sequence[Any], name: str) -> float | None:
    """The mean over networks of their largest τL‖K‖²/2, at most 1 where the theorem holds."""
    if name.startswith("Du Fort"):  # whose theorem limits another step
        return None
    return float(
        np.mean(
            [
                max(
                    block.tau.item() * block.flux.L * stability.dense_norm(block.K.detach(), SIGNALS["length"]) ** 2 / 2
                    for block in network.blocks
                )
                for network in networks
            ]
        )
    )


def _drift(networks: Sequence[Any]) -> float:
    return float(np.mean([stability.certify(network).drift for network in networks]))


def rows(seeds: int, epochs: int, counts: dict[str, int]) -> Iterator[Row]:
    """All cases with the flux of Perona and Malik, and the explicit ones with a learned flux."""
    data = signals.generate({**SIGNALS, **counts})
    for flux, biases in FLUXES:
        for name, (arguments, _) in CASES.items():
            if flux == "perona_malik" or arguments["name"] == "symmetric":
                yield measured(name, flux, biases, seeds, epochs, data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.certified", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=4, help="networks of every case (default: 4)")
    parser.add_argument("--epochs", type=int, default=20, help="length of the trainings (default: 20)")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/certified.csv")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    found = []
    for row in rows(options.seeds, options.epochs, COUNTS):
        found.append(row)
        kind = f"{row['network']}, {row['flux']}" + ", biases" * row["biases"]
        print(f"{kind:60} {row['psnr']:.2f} ± {row['standard_deviation']:.2f} dB", flush=True)
        if options.out:
            table.write(options.out, found, COLUMNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
