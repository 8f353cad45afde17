"""What certified networks with biases lose to free ones, and why: `python -m benchmarks.certified`.

Symmetric networks of 4 blocks with the flux of Perona and Malik are trained to denoise piecewise affine signals
(σ = 10), each with the best of some learning rates on validation signals. Between the certified and the free network
stand two that differ from the certified one in one respect:

* *relative step*: filters are free, and the step size is at most 2/(L‖K‖²) for whatever filters, where the certified
  network had filters of norm 1 when results/tables/certified.csv was made. Now it is built like this, too, but for
  where it starts;
* *long step*: certified, but that steps may be 8 times as long as the theorem allows.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import table
from benchmarks.targets import Row
from schemenets import fluxes, operators, signals, stability, training
from schemenets.networks import Architecture, _base, symmetric
from schemenets.study.records import provenance

COLUMNS = ("network", "biases", "psnr", "standard_deviation", "least_psnr", "step", "drift", "seeds", "rate", "commit")
SIGNALS = {"family": "piecewise_affine", "length": 256, "noise": 10.0, "seed": 7}
COUNTS = {"train": 10_000, "validation": 1000, "test": 1}
RATES = (0.005, 0.01, 0.02, 0.04)
LONGER = 8  # times
LIMIT = 2.0  # of τL‖K‖²
Change = Callable[[], AbstractContextManager[Any]]


def relative_step() -> AbstractContextManager[Any]:
    """τ < 2/(L‖K‖²) for free filters: the parameter τ > 0 becomes the share τ/(1+τ) of the limit."""

    def operands_of(self: Any, blocks: Any, length: int) -> dict[str, Any]:
        limit = LIMIT / fluxes.get(self.architecture.flux).L / operators.norm_bound(blocks.K) ** 2
        return _base.diffusion_operands(blocks, -limit * blocks.tau / (1 + blocks.tau))

    return patch.object(symmetric.Symmetric, "operands_of", operands_of)


def long_step() -> AbstractContextManager[Any]:
    """Steps of certified networks may be longer than the theorem allows."""
    add = symmetric.add_step_size

    def longer(block: Any, architecture: Architecture, limit: float) -> None:
        add(block, architecture, LONGER * limit)

    return patch.object(symmetric, "add_step_size", longer)


CASES: dict[str, tuple[dict[str, Any], Change]] = {
    "free": ({"name": "symmetric"}, nullcontext),
    "long step": ({"name": "symmetric", "certified": True}, long_step),
    "relative step": ({"name": "symmetric"}, relative_step),
    "certified": ({"name": "symmetric", "certified": True}, nullcontext),
    "Du Fort-Frankel, certified": ({"name": "du_fort_frankel", "certified": True}, nullcontext),
    "Du Fort-Frankel, safeguarded": ({"name": "safeguarded_du_fort_frankel", "certified": True}, nullcontext),
    "FSI, safeguarded": ({"name": "safeguarded_fsi", "certified": True}, nullcontext),
}


def measured(name: str, biases: bool, seeds: int, epochs: int, data: dict[str, np.ndarray]) -> Row:
    """Train the networks of a case, and describe those with the best learning rate."""
    arguments, change = CASES[name]
    architecture = Architecture(flux="perona_malik", blocks=4, filters=8, kernel_size=5, biases=biases, **arguments)
    job = training.Training(
        architecture=architecture,
        seeds=tuple(range(seeds)) * len(RATES),
        learning_rate=tuple(rate for rate in RATES for _ in range(seeds)),
        epochs=epochs,
        batch=64,
    )
    with change(), TemporaryDirectory() as folder:
        runs = training.fit(job, data, Path(folder) / "state.safetensors", name)
    nothing = job.task.unlearned(data["validation/noisy"], data["validation/clean"])
    psnr = np.array([nothing if run.outcome is None else run.outcome for run in runs]).reshape(len(RATES), seeds)
    best = int(psnr.mean(1).argmax())
    networks = [run.network for run in runs[best * seeds : (best + 1) * seeds]]
    return {
        "network": name,
        "biases": biases,
        "psnr": psnr[best].mean(),
        "standard_deviation": psnr[best].std(ddof=1),
        "least_psnr": psnr[best].min(),
        "step": _largest_step(networks, name),
        "drift": _drift(networks) if arguments.get("certified") and change is nullcontext else None,
        "seeds": seeds,
        "rate": RATES[best],
        "commit": provenance.git_state()["commit"],
    }


def _largest_step(networks: Sequence[Any], name: str) -> float | None:
    """The mean over networks of their largest τL‖K‖²/2, at most 1 where the theorem holds."""
    if name.startswith("Du Fort"):  # whose theorem limits another step
        return None
    if not all(hasattr(block, "tau") for network in networks for block in network.blocks):
        return None
    largest = []
    for network in networks:
        steps = []
        for block in network.blocks:
            K, tau = block.K.detach(), block.tau.detach()
            norm = stability.dense_norm(K, SIGNALS["length"])
            bound = operators.norm_bound(K).item()
            tau = LIMIT / block.flux.L / bound**2 * tau / (1 + tau) if name == "relative step" else tau
            steps.append(tau.item() * block.flux.L * norm**2 / 2)
        largest.append(max(steps))
    return float(np.mean(largest))


def _drift(networks: Sequence[Any]) -> float:
    return float(np.mean([stability.certify(network).drift for network in networks]))


def rows(seeds: int, epochs: int, counts: dict[str, int]) -> Iterator[Row]:
    """All cases with and without biases."""
    data = signals.generate({**SIGNALS, **counts})
    for biases in (True, False):
        for name in CASES:
            yield measured(name, biases, seeds, epochs, data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.certified", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=10, help="networks of every case (default: 10)")
    parser.add_argument("--epochs", type=int, default=20, help="length of the trainings (default: 20)")
    parser.add_argument("--out", type=Path, help="table to write, e.g. results/tables/certified.csv")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    found = []
    for row in rows(options.seeds, options.epochs, COUNTS):
        found.append(row)
        kind = row["network"] + ", biases" * row["biases"]
        print(f"{kind:40} {row['psnr']:.2f} ± {row['standard_deviation']:.2f} dB", flush=True)
        if options.out:
            table.write(options.out, found, COLUMNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
