"""Trained networks that come with the package, certified, and how they were trained.

Both are symmetric networks of 4 blocks, ‖N(u)‖₂ ≤ ‖u‖₂ for every signal of every length. They are for noise of standard
deviation 10 on signals with values on [0, 255], or as much of another range.

>>> available()
['piecewise_affine', 'scanlines']

    python -m schemenets.pretrained [DIRECTORY]

trains them again, in a minute each; a processor of another kind may change their last digits. The stored network for
scan lines is of a time when that family had one training image, ``ascent``; trained again, it is another one.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from schemenets import checkpoints, networks, signals
from schemenets.errors import UnknownNameError

DIRECTORY = Path(__file__).with_name("weights")
SPECS: dict[str, dict[str, Any]] = {
    "piecewise_affine": {"train": 4096, "validation": 256},
    "scanlines": {"train": 1024, "validation": 256},
}
DATA = {"length": 256, "noise": 10.0, "seed": 20210322}
ARCHITECTURE = networks.Architecture(
    name="symmetric", blocks=4, filters=8, kernel_size=5, flux="perona_malik", certified=True
)
LEARNING_RATE, EPOCHS, BATCH = 0.02, 30, 64


def available() -> list[str]:
    """Names that :func:`path` takes, those of the signals that the networks were trained on."""
    return sorted(SPECS)


def path(name: str) -> Path:
    """The checkpoint of this name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in SPECS:
        raise UnknownNameError("pretrained network", name, SPECS)
    return DIRECTORY / f"{name}.safetensors"


def train(name: str, directory: Path) -> Path:
    """Train the network of this name again; returns its checkpoint.

    Raises:
        UnknownNameError: there is none.
    """
    from schemenets import training  # which nothing else here needs

    file = directory / path(name).name
    data = signals.generate({"family": name, **DATA, **SPECS[name]})
    job = training.Training(
        architecture=ARCHITECTURE, seeds=(0,), learning_rate=LEARNING_RATE, epochs=EPOCHS, batch=BATCH
    )
    state = file.with_suffix(".state")
    (run,) = training.fit(job, data, state, name)
    checkpoints.save(run.network, file)
    state.unlink(missing_ok=True)
    state.with_suffix(".lock").unlink(missing_ok=True)
    return file


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m schemenets.pretrained", description="Train both networks again.")
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY, help="where the checkpoints go")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parser.parse_args()
    for name in available():
        train(name, options.directory)


if __name__ == "__main__":
    _main()
