"""What benchmarks train: jobs of the study's own trainer, on signals whose content does not matter.

The library of another checkout runs them as well (:mod:`benchmarks.checkouts`), so this module needs little of it.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from benchmarks.targets import BLOCKS, PASSES, SEEDS, SIZE, Row
from schemenets import networks, training
from schemenets.evaluation import PEAK
from schemenets.networks import Architecture
from schemenets.training import Denoising, Task, Trainer, Training

SIGNALS = 1024  # of training; with the states they do not fit in the second cache
RATE = 1e-3
DENOISING = Denoising()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training.

    Attributes:
        architecture: what is trained.
        task: what it learns.
        seeds: how many networks are trained side by side.
        batch: signals per step.
        length: numbers per signal.
        signals: for training.
        method: what the study calls it, where that says more than the architecture.
    """

    architecture: Any
    task: Task = DENOISING
    seeds: int = SEEDS
    batch: int = field(default_factory=lambda: SIZE["batch"])
    length: int = field(default_factory=lambda: SIZE["length"])
    signals: int = field(default_factory=lambda: SIGNALS)
    method: str = field(default="", compare=False)

    @classmethod
    def read(cls, plain: dict[str, Any]) -> "Job":
        """The job with these :meth:`arguments`."""
        made = {"architecture": networks.architecture(plain["architecture"]), "task": training.task(plain["task"])}
        return cls(**{**plain, **made})

    def arguments(self) -> dict[str, Any]:
        """All fields, plain enough for JSON."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return own | {key: own[key].arguments() for key in ("architecture", "task")}

    @property
    def steps(self) -> int:
        """Steps of an epoch, those of every seed counted."""
        return self.seeds * (self.signals // self.batch)

    def data(self) -> dict[str, np.ndarray]:
        """Signals for training, and ten times fewer for validation."""
        generator, largest = np.random.default_rng(0), PEAK if isinstance(self.task, Denoising) else 1
        first = generator.uniform(0, largest, (self.signals, self.length)).astype(np.float32)
        second = first + generator.normal(0, 0.04 * largest, first.shape).astype(np.float32)
        return {
            f"{split}/{part}": array[:count]
            for split, count in (("train", self.signals), ("validation", max(1, self.signals // 10)))
            for part, array in zip(self.task.pair, (first, second), strict=True)
        }

    def trainer(self) -> Trainer:
        """The study's trainer of it."""
        job = Training(
            architecture=self.architecture,
            task=self.task,
            seeds=tuple(range(self.seeds)),
            learning_rate=RATE,
            epochs=1000,  # so that the first one, which is repeated, has small learning rates
            batch=self.batch,
        )
        return Trainer(job, self.data())

    def row(self, what: str) -> Row:
        """What a measurement of it is about."""
        keys = ("flux", "certified", "tied", "blocks", "filters", "kernel_size", "channels")
        own = {key: getattr(self.architecture, key, None) for key in keys}
        shape = {"length": self.length, "batch": self.batch, "seeds": self.seeds}
        row: Row = {"what": what, "network": self.architecture.name, **own, **shape}
        return row | {"case": self._case(row)}

    def _case(self, row: Row) -> str:
        """Its name, with everything that differs from the usual; a method of the study has sizes of its own."""
        if self.method:
            return self.method + f", seeds {self.seeds}" * (self.seeds != SEEDS)
        usual = SIZE | {"blocks": 1 if row["what"] == PASSES else BLOCKS, "seeds": SEEDS}
        kinds = [kind for kind in ("certified", "tied") if row[kind]]
        named = self.architecture.arguments()
        chosen = [f"{key} {named[key]}" for key in ("biases", "steps") if key in named]
        unusual = [f"{key} {row[key]}" for key in usual if row[key] != usual[key]]
        return ", ".join([f"{row['network']} {row['flux']}", *kinds, *chosen, *unusual])


def chain(network: str, flux: str, blocks: int = BLOCKS, **size: int) -> Architecture:
    """An architecture of the usual size, but for what is given."""
    F, k, C = (size.get(key, SIZE[key]) for key in ("filters", "kernel_size", "channels"))
    return Architecture(name=network, flux=flux, blocks=blocks, filters=F, kernel_size=k, channels=C)
