"""Compute how close numerical schemes come to u(T) in n steps, as baselines for networks of n blocks.

All take steps within the bound τ ≤ 2/(L‖K‖²) of the explicit one, with the true operator and the true flux. So n
explicit steps and an FSI cycle of n steps may stop short of T; then they stop at the latest time that the bound allows.
Du Fort and Frankel's scheme needs α ≥ L‖K‖²/4 instead, and allows any τ.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from schemenets import signals
from schemenets.fluxes.perona_malik import FLUX
from schemenets.metrics import psnr
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, du_fort_frankel, explicit, fsi
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json, dataset

OUTPUTS = {"schemes": "schemes.json"}
RECORD = "schemes"
TABLES = {
    "schemes": [
        *("test_set", "noise", "time", "signals", "scheme", "steps", "step_size", "reached", "psnr", "relative_error")
    ]
}
NONE = "none"  # the scheme that does nothing


def specs(study: Study) -> dict[str, Json]:
    """All evolutions, with as many steps as networks have blocks."""
    blocks: dict[str, set[int]] = {}
    for spec in study.denoisers.values():
        blocks.setdefault(spec["dataset"], set()).add(spec["architecture"]["blocks"])
    evolutions = study.specs("evolution")
    given = {name: {key: spec[key] for key in ("time", "contrast")} for name, spec in evolutions.items()}
    return {"all": {"datasets": {name: {**given[name], "steps": sorted(blocks[name])} for name in evolutions}}}


def inputs(spec: Json) -> Json:
    """The evolutions."""
    return {"data": [dataset(name) for name in spec["datasets"]]}


def run(job: Job) -> None:
    """Write a row for every data set, scheme and number of steps."""
    rows = []
    for name, own in job.spec["datasets"].items():
        rows += compared(signals.read(job.results.dataset(name)), name, **own)
    job.write_record({"rows": rows})


def tables(records: dict[str, Json]) -> dict[str, list[Json]]:
    """The rows as they are."""
    return {"schemes": records["all"]["rows"]}


def compared(
    arrays: Mapping[str, np.ndarray], name: str, time: float, contrast: float, steps: list[int]
) -> list[dict[str, Any]]:
    """The rows of one data set, first that of f itself.

    Args:
        arrays: ``test/noisy``, f, and ``test/clean``, u(T), of shape (signals, N).
        name: of the data set.
        time: T.
        contrast: λ, in grey values.
        steps: numbers of steps.
    """
    f, exact = (arrays[f"test/{part}"].astype(np.float64) for part in ("noisy", "clean"))
    A = Diffusion(derivative(f.shape[1]), FLUX, contrast)
    test_set, _, noise = name.rpartition("-")

    def row(scheme: str, n: int, tau: float | None, reached: float, u: np.ndarray) -> dict[str, Any]:
        errors = np.linalg.norm(u - exact, axis=1) / np.linalg.norm(exact, axis=1)
        place = {"test_set": test_set, "noise": float(noise), "time": time, "signals": len(f)}
        measured = {"psnr": float(psnr(u, exact).mean()), "relative_error": float(errors.mean())}
        return place | {"scheme": scheme, "steps": n, "step_size": tau, "reached": reached} | measured

    rows = [row(NONE, 0, None, 0.0, f)]
    for scheme, steps_of in SCHEMES.items():
        for n in steps:
            u, tau, reached = steps_of(f.T, A, time, n)
            rows.append(row(scheme, n, tau, reached, u.T))
    return rows


def explicit_steps(f: np.ndarray, A: Diffusion, time: float, n: int) -> tuple[np.ndarray, float, float]:
    """n explicit steps to T, or as far as their bound allows: the result, the step size and the time reached.

    Args:
        f: initial values in columns, (N, signals).
        A: the diffusion.
        time: T.
        n: number of steps.
    """
    tau = min(time / n, explicit.step_limit(A))
    u = f
    for _ in range(n):
        u = explicit.step(u, A, tau)
    return u, tau, tau * n


def fsi_cycle(f: np.ndarray, A: Diffusion, time: float, n: int) -> tuple[np.ndarray, float, float]:
    """The same for a cycle of n extrapolated steps."""
    tau = min(time / fsi.stopping_time(1.0, n), fsi.step_limit(A))
    return fsi.cycle(f, [A] * n, tau), tau, fsi.stopping_time(tau, n)


def du_fort_frankel_steps(f: np.ndarray, A: Diffusion, time: float, n: int) -> tuple[np.ndarray, float, float]:
    """The same for n steps of Du Fort and Frankel, which always reach T."""
    tau, alpha = time / n, du_fort_frankel.least_alpha(A)
    previous = u = f
    for _ in range(n):
        previous, u = u, du_fort_frankel.step(u, previous, A, tau, alpha)
    return u, tau, time


Steps = Callable[[np.ndarray, Diffusion, float, int], tuple[np.ndarray, float, float]]
SCHEMES: dict[str, Steps] = {
    "explicit": explicit_steps,
    "fsi": fsi_cycle,
    "du_fort_frankel": du_fort_frankel_steps,
}
