"""A balanced design: which combinations of choices to try if all of them are too many.

Every level of every factor occurs equally often, and the levels of any two factors meet as equally often as they can.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemenets.errors import InvalidParameterError

SWAPS = 30_000  # that are tried


def balanced(factors: Mapping[str, Sequence[Any]], cells: int) -> list[dict[str, Any]]:
    """So many combinations of levels, the same every time.

    The columns of a table begin in random order, each with all its levels equally often; two entries of a column change
    places if that makes the pairs of levels of different columns more equal (the sum of the squares of their numbers).

    Args:
        factors: levels by name.
        cells: a multiple of every number of levels.

    Raises:
        InvalidParameterError: it is not.

    >>> len({tuple(cell.values()) for cell in balanced({"a": (1, 2), "b": (1, 2), "c": (1, 2)}, 4)})
    4
    """
    counts = [len(levels) for levels in factors.values()]
    for name, count in zip(factors, counts, strict=True):
        if cells % count:
            raise InvalidParameterError("cells", cells, f"a multiple of {count}, the levels of {name}")
    rng = np.random.default_rng(0)
    columns = [rng.permutation(np.repeat(np.arange(count), cells // count)) for count in counts]
    for _ in range(SWAPS):
        j, (first, second) = int(rng.integers(len(columns))), rng.integers(cells, size=2)
        column = columns[j]
        before = _unevenness(columns, counts, j)
        column[[first, second]] = column[[second, first]]
        if _unevenness(columns, counts, j) > before:
            column[[first, second]] = column[[second, first]]
    rows = sorted(zip(*(column.tolist() for column in columns), strict=True))
    levels = list(factors.values())
    return [dict(zip(factors, (own[i] for own, i in zip(levels, row, strict=True)), strict=True)) for row in rows]


def pairs(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], NDArray[np.int64]]:
    """How often every two levels of every two factors meet, by the names of the factors."""
    names = list(cells[0])
    found = {}
    for x, y in combinations(names, 2):
        counts: dict[tuple[str, str], int] = {}
        for cell in cells:
            key = str(cell[x]), str(cell[y])
            counts[key] = counts.get(key, 0) + 1
        found[x, y] = np.array([counts[key] for key in sorted(counts)])
    return found


def _unevenness(columns: Sequence[NDArray[np.int64]], counts: Sequence[int], j: int) -> int:
    """Sum of the squared numbers of pairs of levels of column j and any other, weighted by how many pairs there are."""
    total = 0
    for i, column in enumerate(columns):
        if i != j:
            met = np.bincount(columns[j] * counts[i] + column, minlength=counts[i] * counts[j])
            total += int(counts[i] * counts[j] * (met**2).sum())
    return total
