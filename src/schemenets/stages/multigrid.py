"""Measure how fast multigrid cycles converge for the Poisson problem, on grids of every size.

This is the yardstick for the learned cycles: the untrained scheme that they imitate.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from schemenets import files
from schemenets.fingerprint import of_stage
from schemenets.layout import Layout
from schemenets.operators import poisson
from schemenets.provenance import Stopwatch, collect
from schemenets.schemes.multigrid import cycle, hierarchy, smooth

CYCLES = ("V", "W", "F")
ITERATIONS = 30
OMEGA = 2 / 3


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write the convergence factors of damped Jacobi and of V-, W- and F-cycles to ``multigrid.json``."""
    stopwatch = Stopwatch()
    rows = []
    for exponent in spec["exponents"]:
        n = 2**exponent - 1
        levels = hierarchy(poisson(n), exponent - 1)
        b = np.zeros(n)
        solvers = {f"{kind}(1,1)": partial(cycle, levels, b, kind=kind) for kind in CYCLES}
        solvers["damped Jacobi"] = partial(smooth, levels[0].A, b, omega=OMEGA)
        rows += [
            {"points": n, "solver": name, "convergence_factor": convergence_factor(step, n)}
            for name, step in solvers.items()
        ]
    provenance = collect(stopwatch, spec=spec, source=of_stage("multigrid", spec), data={})
    files.write_json(results.multigrid, {"problem": "poisson", "rows": rows, "provenance": provenance})


def convergence_factor(step: Callable[[np.ndarray], np.ndarray], n: int) -> float:
    """Norm of the error after one more ``step`` over that before, after many: for Ax = 0 the iterate is the error."""
    x = np.random.default_rng(0).standard_normal(n)
    for _ in range(ITERATIONS):
        x = x / np.linalg.norm(x)
        x, before = step(x), x
    return float(np.linalg.norm(x) / np.linalg.norm(before))
