"""Compute how fast multigrid cycles converge for the Poisson problem, on grids of every size.

This is the yardstick for the learned cycles: the untrained scheme that they imitate.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import eigvalsh
from scipy.sparse.linalg import LinearOperator, eigs

from schemenets import files
from schemenets.operators import poisson
from schemenets.schemes._base import Array
from schemenets.schemes.multigrid import cycle, hierarchy
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect

CYCLES = ("V", "W", "F")
OMEGA = 2 / 3


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write the convergence factors of damped Jacobi and of V-, W- and F-cycles to ``multigrid.json``."""
    stopwatch = Stopwatch()
    rows = []
    for exponent in spec["exponents"]:
        n = 2**exponent - 1
        levels = hierarchy(poisson(n), exponent - 1)
        b = np.zeros(n)
        solvers = {f"{kind}(1,1)": convergence_factor(partial(cycle, levels, b, kind=kind), n) for kind in CYCLES}
        solvers["damped Jacobi"] = jacobi_factor(levels[0].A.toarray())
        rows += [{"points": n, "solver": name, "convergence_factor": factor} for name, factor in solvers.items()]
    provenance = collect(stopwatch, spec=spec, source=of_stage("multigrid", spec), data={})
    files.write_json(results.multigrid, {"problem": "poisson", "rows": rows, "provenance": provenance})


def convergence_factor(step: Callable[[Array], Array], n: int) -> float:
    """Spectral radius of a linear iteration: the factor by which, in the long run, one ``step`` reduces the error.

    By Arnoldi's method to three digits; at equal cost a power iteration would still be off in the second.

    Args:
        step: maps x to the next iterate for Ax = 0, where the iterate, shape (n,), is the error.
    """
    start = np.random.default_rng(0).standard_normal(n)  # SciPy's own start differs from call to call
    error = LinearOperator((n, n), matvec=step, dtype=np.float64)
    return float(np.abs(eigs(error, k=1, v0=start, tol=1e-3, return_eigenvectors=False)[0]))


def jacobi_factor(A: Array) -> float:
    """Spectral radius of damped Jacobi's I - ωD⁻¹A, which has the eigenvalues of the symmetric I - ωD^(-½)AD^(-½).

    Its eigenvalues crowd at 1, where Arnoldi's method fails, so that all are computed.

    Args:
        A: symmetric positive definite matrix (n, n).
    """
    root = np.sqrt(np.diag(A))
    return float(np.abs(1 - OMEGA * eigvalsh(A / np.outer(root, root))).max())
