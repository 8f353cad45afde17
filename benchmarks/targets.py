"""Targets of the library, and whether the measured rows reach them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Cases = dict[str, float]

PASSES, STEP = "forward and backward", "training step"
STUDY, AGAINST = "network of the study", "training step of both checkouts"
SIZE = {"filters": 8, "kernel_size": 5, "channels": 1, "length": 256, "batch": 64}  # most targets are about it
SEEDS = 10
BLOCKS = 4
EQUAL = 1.1  # memory that differs by less counts as equal: it is measured in pages, and weights are kept as well


@dataclass(frozen=True)
class Target:
    """A bound on a measured value that all of its cases must keep.

    Attributes:
        name: what is bounded.
        bound: the bound.
        cases: measured values by case, from all rows.
        at_least: whether the bound is a lower one.
    """

    name: str
    bound: float
    cases: Callable[[list[Row]], Cases]
    at_least: bool = True

    def judge(self, rows: list[Row]) -> Row:
        """What was asked, what was measured in the worst case, and whether all cases reach it."""
        cases = self.cases(rows)
        worst = (min if self.at_least else max)(cases, key=cases.__getitem__, default=None)
        reaching = [value >= self.bound if self.at_least else value <= self.bound for value in cases.values()]
        return {
            "target": self.name,
            "asked": "at least" if self.at_least else "at most",
            "bound": self.bound,
            "measured": None if worst is None else cases[worst],
            "reached": ("yes" if all(reaching) else "no") if cases else "not measured",
            "worst_case": worst,
            "cases": len(cases),
            "cases_reached": sum(reaching),
        }


def select(rows: Iterable[Row], **values: Any) -> list[Row]:
    """The rows with these values; a tuple lists alternatives."""

    def fits(row: Row) -> bool:
        return all(row[key] in (v if isinstance(v, tuple) else (v,)) for key, v in values.items())

    return [row for row in rows if fits(row)]


def by_contender(rows: list[Row], column: str, **values: Any) -> dict[str, Cases]:
    """A column by case and contender, where it was measured."""
    found: dict[str, Cases] = {}
    for row in select(rows, **values):
        if row.get(column) is not None:
            found.setdefault(row["case"], {})[row["contender"]] = row[column]
    return found


def times_faster(*rivals: str, **values: Any) -> Callable[[list[Row]], Cases]:
    """How many times slower than ours the fastest of these rivals is, where all of them were measured."""

    def cases(rows: list[Row]) -> Cases:
        found = by_contender(rows, "times_slower_than_ours", contender=rivals, **values)
        return {name: min(times.values()) for name, times in found.items() if len(times) == len(rivals)}

    return cases


def of_ours(column: str, **values: Any) -> Callable[[list[Row]], Cases]:
    """A column of our rows, where it was measured."""
    return lambda rows: {
        case: found["ours"] for case, found in by_contender(rows, column, contender="ours", **values).items()
    }


def times_that_of_the_other(column: str) -> Callable[[list[Row]], Cases]:
    """A column of our rows over that of the other checkout."""
    return lambda rows: {
        case: found["ours"] / found["other"]
        for case, found in by_contender(rows, column, what=AGAINST).items()
        if len(found) == 2
    }


def share(constrained: bool) -> Callable[[list[Row]], Cases]:
    """Share of CPU time in compiled loops, of deep networks with or without constraints."""

    def cases(rows: list[Row]) -> Cases:
        deep = [row for row in select(rows, what=STUDY, seeds=SEEDS) if (row["blocks"] or 0) >= BLOCKS]
        own = [r for r in deep if (r["certified"] or r["network"].startswith("safeguarded")) == constrained]
        return of_ours("share_in_compiled_loops")(own)

    return cases


BLOCK = {"what": PASSES, "blocks": 1, **SIZE}
NET = {"what": STEP, "blocks": BLOCKS, **SIZE}
TARGETS = (
    *(
        Target(
            f"one block, {flux}, seeds {SEEDS}: times faster than idiomatic",
            bound,
            times_faster("idiomatic", **BLOCK, flux=flux, seeds=SEEDS),
        )
        for flux, bound in (("relu", 18), ("perona_malik", 24))
    ),
    Target(
        f"one block, seeds {SEEDS}: share of the measured peak", 0.4, of_ours("share_of_peak", **BLOCK, seeds=SEEDS)
    ),
    *(
        Target(
            f"training step, seeds {seeds}: times faster than idiomatic",
            bound,
            times_faster("idiomatic", **NET, seeds=seeds),
        )
        for seeds, bound in ((SEEDS, 20), (1, 5))
    ),
    Target(
        f"training step, seeds {SEEDS}: times faster than the best of compiled and vmap",
        5,
        times_faster("compiled", "vmap", **NET, seeds=SEEDS),
    ),
    Target(
        "states of 8 channels: times faster than idiomatic",
        3,
        times_faster("idiomatic", what=(PASSES, STEP), channels=8),
    ),
    Target("networks of the study: times faster than idiomatic", 1, times_faster("idiomatic", what=STUDY)),
    *(
        Target(
            f"epochs, seeds {SEEDS}, {BLOCKS} or more blocks {kind} constraints: share of CPU time in compiled loops",
            bound,
            share(kind == "with"),
        )
        for kind, bound in (("without", 0.85), ("with", 0.6))
    ),
    Target(
        "learned cycles and U-nets: times faster than the other checkout",
        2,
        times_faster("other", what=AGAINST, network=("cycle", "multigrid_unet", "unet")),
    ),
    *(
        Target(
            f"{memory}: memory over that of the other checkout",
            EQUAL,
            times_that_of_the_other(f"{column}_mib_per_seed"),
            at_least=False,
        )
        for memory, column in (
            ("training", "training"),
            ("forward and backward", "peak"),
            ("kept between forward and backward", "saved"),
        )
    ),
)


def summary(rows: list[Row]) -> list[Row]:
    """One row per target."""
    return [target.judge(rows) for target in TARGETS]
