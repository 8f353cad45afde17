"""Figures of the study: one module per figure.

Each defines ``TITLE``; ``CAPTION``, how to read it; ``SOURCES``, the files its numbers come from; ``draw(tables)``,
which returns a matplotlib ``Figure``; and ``findings(tables)``, sentences whose numbers are computed from the same
tables, the first of which is the figure's message. ``tables`` is what :func:`schemenets.study.summaries.read` returns.
"""

from types import ModuleType

# in the order of the report
FIGURES = (
    "signals",
    "capacity",
    "capacity_gain",
    "factorial",
    "skips",
    "evolution",
    "learning_curves",
    "training_length",
    "tuning",
    "transfer",
    "stability",
    "growth",
    "trained_depth",
    "depth",
    "certification_cost",
    "robustness",
    "multigrid",
    "solver_efficiency",
    "solver_mesh",
    "solver_tau",
    "solver_transfer",
    "solver_parts",
    "fixed_points",
)


def modules() -> dict[str, ModuleType]:
    """The figures' modules by name."""
    # here, so that FIGURES costs no import of matplotlib, and by name, so that they count in fingerprints
    from schemenets.study.figures import (
        capacity,
        capacity_gain,
        certification_cost,
        depth,
        evolution,
        factorial,
        fixed_points,
        growth,
        learning_curves,
        multigrid,
        robustness,
        signals,
        skips,
        solver_efficiency,
        solver_mesh,
        solver_parts,
        solver_tau,
        solver_transfer,
        stability,
        trained_depth,
        training_length,
        transfer,
        tuning,
    )

    drawn = (
        *(signals, capacity, capacity_gain, factorial, skips, evolution, learning_curves, training_length, tuning),
        *(transfer, stability, growth, trained_depth, depth, certification_cost, robustness, multigrid),
        *(solver_efficiency, solver_mesh, solver_tau, solver_transfer, solver_parts, fixed_points),
    )
    return dict(zip(FIGURES, drawn, strict=True))
