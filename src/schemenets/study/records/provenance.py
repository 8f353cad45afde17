"""Where a result comes from: code, data, machine, versions and time."""

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import schemenets
from schemenets import kernels

_PACKAGES = ("numba", "numpy", "pandas", "PyWavelets", "safetensors", "scikit-image", "scipy", "torch")


class Stopwatch:
    """Wall and CPU time since its creation."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds of wall and of CPU time."""
        return {
            "wall_seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
        }


def collect(
    stopwatch: Stopwatch, *, spec: Mapping[str, Any], source: str, inputs: Mapping[str, str], device: str
) -> dict[str, Any]:
    """Provenance of a result, to be stored with it.

    Args:
        stopwatch: made when the computation began.
        spec: specification of the computation.
        source: fingerprint of the code (:func:`schemenets.study.records.fingerprints.of_stage`).
        inputs: SHA-256 of every input file, by name.
        device: what it ran on, in words.
    """
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **stopwatch.read(),
        "config_sha256": digest(spec),
        "source_sha256": source,
        "inputs_sha256": dict(inputs),
        "git": git_state(),
        "device": device,
        "kernel": kernels.backend(),
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "versions": {
            "schemenets": schemenets.__version__,
            "python": platform.python_version(),
            **{name: found for name in _PACKAGES if (found := _version(name))},
        },
    }


def dumps(spec: Mapping[str, Any]) -> str:
    """A specification as one line of JSON, the same for equal ones."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


def digest(spec: Mapping[str, Any]) -> str:
    """SHA-256 of a specification."""
    return hashlib.sha256(dumps(spec).encode()).hexdigest()


def git_state() -> dict[str, Any]:
    """Commit of the code and whether files differ from it or are new; both None outside a git checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        # results change while the study runs; what made them does not
        dirty = bool(_git("status", "--porcelain", "--", ":/", ":(top,exclude)results"))
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": dirty}


def _git(*arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    result = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
