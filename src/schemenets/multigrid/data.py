"""Right-hand sides and converged solutions, on which solvers are trained and tested.

Right-hand sides have values of about [0, 1]: noisy signals of the study's families, and random smooth and rough ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from schemenets import signals
from schemenets.multigrid.problems import Grid, Problem
from schemenets.schemes._base import Array

PEAK = 255.0  # signals lie in [0, 255]
HOME = "piecewise_affine"
OTHERS = ("smooth", "rough", "scanlines", "donoho_johnstone", "ecg")
WAVES = 8  # cosines of smooth right-hand sides
TAUS = (0.1, 10.0)  # factors of τ that networks were not trained with


@dataclass(frozen=True)
class Condition:
    """A problem and right-hand sides to test networks on.

    Attributes:
        kind: ``home``: as in training; ``family``: other right-hand sides; ``longer``: other lengths, with the mesh
            width of the training; ``finer``: other mesh widths, on the interval of the training; ``tau``: another τ.
        family: of the right-hand sides.
        grid: the problem.
    """

    kind: str
    family: str
    grid: Grid

    @property
    def name(self) -> str:
        """Name of its arrays."""
        detail = {"family": self.family, "tau": f"{self.grid.problem.tau:g}"}.get(self.kind, str(self.grid.N))
        return f"{self.kind}-{detail}"


def conditions(spec: Mapping[str, Any]) -> list[Condition]:
    """All conditions of a data set (:func:`generate`), that of the training first."""
    problem, length = Problem(**spec["problem"]), spec["length"]
    home = _grid(problem, length)
    found = [Condition("home", HOME, home), *(Condition("family", family, home) for family in OTHERS)]
    for points in spec["points"]:
        found += [Condition("longer", HOME, _grid(problem, points, home.h))]
        found += [Condition("finer", HOME, _grid(problem, points))]
    for factor in TAUS:
        other = Problem(**{**spec["problem"], "tau": factor * problem.tau})
        found.append(Condition("tau", HOME, other.on(home.N)))
    return found


def generate(spec: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays ``train/b``, ``train/x``, ``validation/…``, ``<condition>/b``, ``<condition>/x``, and their facts.

    Args:
        spec: ``problem``, arguments of :class:`Problem`; ``length``, points of the training; ``seed``, ``noise`` of the
            signals; numbers of right-hand sides ``train``, ``validation``, ``test`` and, for every condition but that
            of the training, ``others``; ``points`` of other grids.

    Returns:
        float64 arrays (count, N), and the largest relative residual of the solutions, whether they are certain to be
        unique, and the share of the test signals for which another start, their mean, leads to another solution.
    """
    problem = Problem(**spec["problem"])
    home = _grid(problem, spec["length"])
    wanted: tuple[tuple[str, str, int, Condition], ...] = (
        *((split, split, spec[split], Condition("home", HOME, home)) for split in ("train", "validation")),
        *(
            (each.name, "test", spec["test"] if each.kind == "home" else spec["others"], each)
            for each in conditions(spec)
        ),
    )
    arrays, worst = {}, 0.0
    for name, split, count, condition in wanted:
        b = right_hand_sides(condition, split, count, spec)
        x = np.stack([condition.grid.solve(row) for row in b])
        arrays[f"{name}/b"], arrays[f"{name}/x"] = b, x
        worst = max(worst, *(_relative_residual(condition.grid, *pair) for pair in zip(x, b, strict=True)))
    name = conditions(spec)[0].name
    pairs = zip(arrays[f"{name}/b"], arrays[f"{name}/x"], strict=True)
    several = 0.0 if home.unique else float(np.mean([_another(home, b, x) for b, x in pairs]))
    return arrays, {"largest_residual": worst, "unique": home.unique, "several_solutions": several}


def right_hand_sides(condition: Condition, split: str, count: int, spec: Mapping[str, Any]) -> Array:
    """b, (count, N)."""
    grid = condition.grid
    if condition.kind == "longer":
        return _trimmed(_signals(HOME, split, count, _even(grid), spec), grid)
    if condition.family in ("smooth", "rough"):
        rng = np.random.default_rng([spec["seed"], crc32(condition.family.encode())])
        b = rng.standard_normal((count, _even(grid)))
        if condition.family == "smooth":
            places = (np.arange(_even(grid)) + 0.5) / _even(grid)
            b = rng.standard_normal((count, WAVES)) @ np.cos(np.pi * np.outer(np.arange(1, WAVES + 1), places))
            b /= np.sqrt(WAVES / 2)
        return _trimmed(0.5 + 0.25 * b, grid)
    b = _signals(condition.family, split, count, spec["length"], spec)
    return _trimmed(_resampled(b, _even(grid)), grid) if condition.kind == "finer" else _trimmed(b, grid)


def _grid(problem: Problem, length: int, h: float | None = None) -> Grid:
    """The grid of about ``length`` points that can be halved: a power of two, or one point less."""
    return problem.on(length - (not problem.screened), h)


def _even(grid: Grid) -> int:
    return grid.N + (not grid.problem.screened)


def _trimmed(b: Array, grid: Grid) -> Array:
    return np.ascontiguousarray(b[:, : grid.N])


def _signals(family: str, split: str, count: int, length: int, spec: Mapping[str, Any]) -> Array:
    made = signals.generate(
        {"family": family, "length": length, "noise": spec["noise"], "seed": spec["seed"], split: count}
    )
    return made[f"{split}/noisy"].astype(np.float64) / PEAK


def _resampled(b: Array, length: int) -> Array:
    """The same piecewise constant function on more or fewer cells."""
    N = b.shape[-1]
    if length >= N:
        return np.repeat(b, length // N, axis=-1)
    return b.reshape(len(b), length, N // length).mean(-1)


def _relative_residual(grid: Grid, x: Array, b: Array) -> float:
    p = grid.problem
    return float(np.linalg.norm(b - p.sigma * x - p.tau * grid.diffusion(x)) / np.linalg.norm(b))


def _another(grid: Grid, b: Array, x: Array) -> bool:
    """Whether Newton's method reaches another solution from the mean of b."""
    other = grid.solve(b, start=np.full_like(b, b.mean()))
    return bool(np.linalg.norm(other - x) > 1e-6 * np.linalg.norm(x))
