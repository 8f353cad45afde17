"""Cycles of the full approximation scheme, as calls of operations that record what they are."""

from typing import Any, NamedTuple

from schemenets.schemes.multigrid import CYCLES


class Kind(NamedTuple):
    """What :func:`cycle` needs to know; a :class:`schemenets.multigrid.CycleArchitecture` has it, too."""

    kind: str
    sweeps: int
    coarse_side: str = "fas"


def cycle(like: Any, do: Any, x: Any, b: Any, grid: Any, kind: str | None = None) -> Any:
    """x after one cycle.

    Args:
        like: which cycle, a :class:`Kind` or a :class:`schemenets.multigrid.CycleArchitecture`.
        do: its operations.
        x, b: signals as these take them.
        grid: that of x and b, hashable, with its number of points ``N``, whether it ``coarsens``, and ``coarser``.
        kind: ``V``, ``W`` or ``F``; that of ``like`` if not given.
    """
    n = like.sweeps
    if not grid.coarsens:
        for step in [*range(2 * n)] * 2:
            x = do.sweep(x, b, grid, step)
        return x
    for step in range(n):
        x = do.sweep(x, b, grid, step)
    start = do.restrict(x, grid)
    if like.coarse_side == "fas":
        b_c = do.right_hand_side(start, do.restrict(do.residual(x, b, grid), grid), grid.coarser)
    else:
        b_c = do.restrict(b, grid)
    x_c = start
    for coarse_kind in CYCLES[kind or like.kind]:
        x_c = cycle(like, do, x_c, b_c, grid.coarser, coarse_kind)
    x = do.merge(x, x_c, start, grid)
    for step in range(n, 2 * n):
        x = do.sweep(x, b, grid, step)
    return x
