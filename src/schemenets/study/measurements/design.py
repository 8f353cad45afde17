"""A balanced design: which combinations of choices to try if all of them are too many, and what each choice changes.

Every level of every factor occurs equally often, and the levels of any two factors meet as equally often as they can.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations, permutations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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


class Effect(NamedTuple):
    """What a level of a factor adds to the mean, or levels of two factors to the sum of their own effects.

    Attributes:
        levels: by factor.
        value: in the unit of the values, with its interval from ``low`` to ``high``.
    """

    levels: dict[str, Any]
    value: float
    low: float
    high: float


def effects(
    cells: Sequence[Mapping[str, Any]],
    values: ArrayLike,
    interactions: Sequence[tuple[str, str]] = (),
    level: float = 0.95,
) -> list[Effect]:
    """The effects of all factors of a design, and these interactions, by ordinary least squares.

    The model is value = mean + effects + error, with independent normal errors of one variance, which the residuals of
    all cells estimate together. Effects are deviations: those of a factor have the sum 0, and those of an interaction
    have it over each of its factors.

    Args:
        cells: the level of every factor in each of n cells.
        values: (n,), finite.
        interactions: pairs of factors.
        level: of Student's intervals.

    Returns:
        Those of the factors, then those of the interactions, levels ascending; none if there are not more cells than
        effects, or if they cannot be told apart.
    """
    levels = {name: sorted({cell[name] for cell in cells}) for name in cells[0]}
    # coefficients for all levels but the last, which makes the sum 0
    codes = {name: np.vstack([np.eye(len(own) - 1), -np.ones(len(own) - 1)]) for name, own in levels.items()}
    rows = {name: codes[name][[own.index(cell[name]) for cell in cells]] for name, own in levels.items()}
    terms: list[tuple[str, ...]] = [*((name,) for name in levels), *interactions]
    X, y = [np.ones((len(cells), 1))], np.asarray(values, dtype=np.float64)
    for term in terms:
        X.append(reduce(_products, (rows[name] for name in term)))
    first, whole = np.cumsum([part.shape[1] for part in X]), np.hstack(X)
    free = len(cells) - whole.shape[1]
    if free <= 0 or np.linalg.matrix_rank(whole) < whole.shape[1]:
        return []
    inverse = np.linalg.inv(whole.T @ whole)
    coefficients = inverse @ whole.T @ y
    variance = np.square(y - whole @ coefficients).sum() / free
    quantile, found = stats.t.ppf((1 + level) / 2, free), []
    for term, start, end in zip(terms, first, first[1:], strict=False):
        code = reduce(np.kron, [codes[name] for name in term])  # type: ignore[arg-type]
        names = product(*(levels[name] for name in term))
        halves = quantile * np.sqrt(variance * np.diag(code @ inverse[start:end, start:end] @ code.T))
        for name, value, half in zip(names, code @ coefficients[start:end], halves, strict=True):
            of_name = dict(zip(term, name, strict=True))
            found.append(Effect(of_name, float(value), float(value - half), float(value + half)))
    return found


def _products(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every column of one table times every column of another, row by row."""
    return (a[:, :, None] * b[:, None]).reshape(len(a), -1)
