"""Targets of the library, and whether the measured rows reach them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Cases = dict[str, float]

PASSES, STEP = "forward and backward", "training step"
STUDY, OTHER = "network of the study", "network beyond the study"
CONFIGURATION = (
    "what",
    "network",
    "flux",
    "certified",
    "tied",
    "implicit_gradients",
    "blocks",
    "filters",
    "kernel_size",
    "channels",
    "length",
    "batch",
    "seeds",
)
SIZE = {"filters": 8, "kernel_size": 5, "channels": 1, "length": 256, "batch": 64}  # most targets are about it
SEEDS = 10
BLOCKS = 4
EQUAL = 1.1  # memory that differs by less counts as equal: weights are kept as well


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


def case(row: Row) -> str:
    """Name of the case of a row, with everything that differs from the usual size."""
    kinds = [kind.replace("_", " ") for kind in ("certified", "tied", "implicit_gradients") if row[kind]]
    usual = SIZE | {"seeds": SEEDS, "blocks": 1 if row["what"] == PASSES else BLOCKS}
    unusual = [f"{key} {row[key]}" for key in usual if row[key] != usual[key]]
    return ", ".join([f"{row['network']} {row['flux']}", *kinds, *unusual])


def times_faster(*rivals: str, **values: Any) -> Callable[[list[Row]], Cases]:
    """How many times slower than ours the fastest of these rivals is, where all of them were measured."""

    def cases(rows: list[Row]) -> Cases:
        found: dict[str, dict[str, float]] = {}
        for row in select(rows, contender=rivals, **values):
            found.setdefault(case(row), {})[row["contender"]] = row["times_slower_than_ours"]
        return {name: min(times.values()) for name, times in found.items() if len(times) == len(rivals)}

    return cases


def of_ours(column: str, **values: Any) -> Callable[[list[Row]], Cases]:
    """A column of our rows, where it was measured."""
    return lambda rows: {
        case(row): row[column] for row in select(rows, contender="ours", **values) if row.get(column) is not None
    }


def times_as_slow_as(reference: str, **values: Any) -> Callable[[list[Row]], Cases]:
    """Time of our rows over that of the same with the flux ``reference``."""

    def cases(rows: list[Row]) -> Cases:
        found = {}
        for row in select(rows, contender="ours", **values):
            same = {key: row[key] for key in CONFIGURATION} | {"flux": reference}
            for other in select(rows, contender="ours", **same):
                found[case(row)] = row["milliseconds_per_seed"] / other["milliseconds_per_seed"]
        return found

    return cases


def growth(column: str, over: str, **values: Any) -> Callable[[list[Row]], Cases]:
    """Largest over smallest value of a column of our rows that differ only in ``over``."""

    def cases(rows: list[Row]) -> Cases:
        found: dict[str, dict[int, float]] = {}
        for row in select(rows, contender="ours", **values):
            if row.get(column) is not None:
                found.setdefault(f"{row['network']} {row['flux']}", {})[row[over]] = row[column]
        return {
            f"{name}, {over} {min(by)} to {max(by)}": max(by.values()) / min(by.values())
            for name, by in found.items()
            if len(by) > 1
        }

    return cases


BLOCK = {"what": PASSES, "blocks": 1, **SIZE}
NET = {"what": STEP, "blocks": BLOCKS, "seeds": SEEDS, **SIZE}
ANY_FILTERS = {key: value for key, value in BLOCK.items() if key != "filters"}
TARGETS = (
    *(
        Target(
            f"one block, {flux}, seeds {seeds}: times faster than idiomatic",
            bound,
            times_faster("idiomatic", **BLOCK, flux=flux, seeds=seeds),
        )
        for flux, bound in (("relu", 20), ("perona_malik", 15))
        for seeds in (1, SEEDS)
    ),
    Target(
        "one block: cost of perona_malik over relu",
        1.4,
        times_as_slow_as("relu", **BLOCK, flux="perona_malik"),
        at_least=False,
    ),
    Target(f"training step, seeds {SEEDS}: times faster than idiomatic", 15, times_faster("idiomatic", **NET)),
    Target(
        f"training step, seeds {SEEDS}: times faster than the best of compiled and vmap",
        5,
        times_faster("compiled", "vmap", **NET),
    ),
    Target("one block: share of the measured peak", 0.3, of_ours("share_of_peak", **BLOCK, seeds=SEEDS)),
    Target(
        "one block, 8 and 16 channels: times faster than idiomatic",
        2,
        times_faster("idiomatic", **BLOCK | {"channels": (8, 16)}),
    ),
    Target(
        "any network and size: times faster than on torch's convolutions",
        1,
        times_faster("idiomatic", what=(STUDY, OTHER)),
    ),
    *(
        Target(
            f"one block: growth of {memory} memory with the filters",
            EQUAL,
            growth(column, "filters", **ANY_FILTERS, seeds=SEEDS),
            at_least=False,
        )
        for memory, column in (("saved", "saved_mib_per_seed"), ("peak", "peak_mib_per_seed"))
    ),
    Target(
        f"whole epochs, seeds {SEEDS}, at least {BLOCKS} blocks: share of CPU time in compiled loops",
        0.9,
        of_ours("share_in_compiled_loops", what=STUDY, seeds=SEEDS, blocks=tuple(range(BLOCKS, 1000))),
    ),
    Target(
        "whole epochs, every job: share of CPU time in compiled loops",
        0.9,
        of_ours("share_in_compiled_loops", what=STUDY),
    ),
)


def summary(rows: list[Row]) -> list[Row]:
    """One row per target."""
    return [target.judge(rows) for target in TARGETS]
