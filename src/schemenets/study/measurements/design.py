"""A balanced design: which combinations of choices to try if all of them are too many.

Every level of every factor occurs equally often, and the levels of any two factors meet as equally often as they can.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
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
    columns = [rng.permutation(np.repeat(np.arange(count), cells // count)).tolist() for count in counts]
    met = {
        (j, i): np.histogram2d(columns[j], columns[i], [range(counts[j] + 1), range(counts[i] + 1)])[0].tolist()
        for j, i in permutations(range(len(columns)), 2)
    }
    draws = (rng.integers(n, size=SWAPS).tolist() for n in (len(columns), cells, cells))
    for j, first, second in zip(*draws, strict=True):
        column = columns[j]
        x, y = column[first], column[second]
        if x == y:
            continue
        # what the exchange adds to the sum of squares over 2, each column weighted by the number of its levels
        change = 0
        for i, other in enumerate(columns):
            u, v, pair = other[first], other[second], met.get((j, i))
            if pair and u != v:
                change += counts[i] * (pair[x][v] + pair[y][u] - pair[x][u] - pair[y][v] + 2)
        if change <= 0:
            column[first], column[second] = y, x
            for i, other in enumerate(columns):
                if i != j:
                    for level, row, by in ((x, first, -1), (y, second, -1), (y, first, 1), (x, second, 1)):
                        met[j, i][level][other[row]] += by
                        met[i, j][other[row]][level] += by
    rows = sorted(zip(*columns, strict=True))
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
