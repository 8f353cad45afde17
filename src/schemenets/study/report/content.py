"""The report's tables on claims, denoising and stability."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from schemenets.study import summaries
from schemenets.study.summaries import Tables, rows
from schemenets.study.wording import NOTHING, fixed, interval, label, ranged, short, signed, size_label

LONG, USUAL = "long", ("ladder", "channels")  # an experiment with longer training, and those with the same networks
REFERENCE = "resnet-relu"
MOVED = 0.05  # dB, from which the report says that longer training changes a difference
_NUMBER = re.compile(rf"{NOTHING}|overflow|diverges|failed|[−+]?\d[\d.,e−+]*( \[.*\])?")


@dataclass(frozen=True)
class Table:
    """A table of texts, and the files that its numbers come from."""

    caption: str
    sources: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[bool]:
        """For every column, whether it holds only numbers."""
        cells = [[Markup(cell).striptags() for cell in row] for row in self.rows]
        return [all(_NUMBER.fullmatch(row[index]) for row in cells) for index in range(len(self.columns))]


ATTACKED = ("attacked", "random", "psnr_guaranteed")  # columns of robustness


def signed_or_short(ratio: bool) -> Callable[[float | None], str]:
    """How effects are written: ratios with three digits, differences with their sign."""
    return short if ratio else signed


def experiments(titles: Mapping[str, str]) -> Table:
    """What experiments are about, by name."""
    rows_of_titles = [[_code(name), title] for name, title in titles.items()]
    return Table("Experiments.", ["tables/runs.csv"], ["Name", "Experiment"], rows_of_titles)


def power(tables: Tables) -> Table:
    """What the sign test can show with so many seeds."""
    table = tables["power"]
    keys, effects = ["seeds", "family", "wins_needed"], table["effect"].unique()
    return Table(
        "What the sign test can show: the probability of showing an effect, by its distance from the margin in "
        "standard deviations of the differences. Of a family the least that Holm's correction leaves.",
        ["tables/power.csv"],
        ["Seeds", "Comparisons of the family", "Seeds needed beyond the margin", *(f"{each:g} sd" for each in effects)],
        [
            [*(str(own[key].iloc[0]) for key in keys), *(fixed(value) for value in own["power"])]
            for _, own in table.groupby(keys[:2], sort=False)
        ],
    )


def methods(tables: Tables) -> Table:
    """What was trained, and at which learning rates."""
    rates = {
        method: sorted(own["learning_rate"].unique()) for method, own in summaries.groups(tables["runs"], "method")
    }
    return Table(
        "Networks that denoise: trainable parameters per block, and the learning rates that tuning chose for signal "
        "families and sizes.",
        ["tables/runs.csv"],
        ["Method", "Network, flux", "Parameters per block", "Learning rates"],
        [
            [
                _code(row.method),
                label(row.method),
                str(row.parameters // (1 if row.tied or row.network == "implicit" else row.blocks)),
                ", ".join(map(short, rates[row.method])),
            ]
            for row in rows(tables["runs"].drop_duplicates("method"))
        ],
    )


def quality(tables: Tables) -> list[Table]:
    """Median PSNR of the methods of two experiments, by size."""
    return [_quality(tables, name) for name in ("capacity", "scanlines") if name in set(tables["runs"]["experiment"])]


def _quality(tables: Tables, experiment: str) -> Table:
    measured = summaries.at_home(summaries.scored(tables, experiment))
    sizes = summaries.by_number(set(measured["size"]))
    found = {(row.method, row.size): row for row in rows(summaries.medians(measured, ["method", "size"], "score"))}
    return Table(
        f"Experiment {experiment}: test PSNR in dB on signals like the training signals, medians over seeds. In "
        "brackets: interval of order statistics.",
        ["tables/psnr.csv", "tables/runs.csv"],
        ["Method", *map(size_label, sizes)],
        [
            [
                _code(method),
                *(_middle(row) if row else NOTHING for row in (found.get((method, size)) for size in sizes)),
            ]
            for method in measured["method"].unique()
        ],
    )


def _middle(row: Any) -> str:
    """A median with its interval, if not as many runs failed."""
    return with_interval(fixed(row.median), (row.low, row.high)) if math.isfinite(row.median) else "failed"


def training_length(tables: Tables) -> list[Table]:
    """What longer training changes, on the seeds that were trained for both lengths; no table if there are none."""
    usual, other = (
        pd.concat([summaries.at_home(summaries.scored(tables, name)) for name in names]) for names in (USUAL, [LONG])
    )
    keys = ["method", "size", "seed"]
    pairs = other[[*keys, "score", "epochs"]].merge(usual[[*keys, "score", "epochs"]], on=keys, suffixes=("", "_usual"))
    if pairs.empty:
        return []
    lengths = [f"{pairs[key].iloc[0]} epochs" for key in ("epochs_usual", "epochs")]
    scores = pairs.set_index(keys)[["score_usual", "score"]].set_axis(lengths, axis=1).sort_index()
    found: list[list[str]] = []
    changes: list[float] = []
    for (method, size), own in scores.groupby(["method", "size"], sort=False):
        reference = "-".join([REFERENCE, *(part for part in str(method).split("-")[2:] if part != "certified")])
        compared = reference != method and (reference, str(size)) in scores.index
        differences = own.droplevel([0, 1])
        if compared:
            differences = (differences - scores.loc[reference, str(size)]).dropna()
        before, after = differences.median()
        changes += [after - before] if compared else []
        write = signed if compared else fixed
        name = _code(str(method))
        name = Markup("{} − {}").format(name, _code(reference)) if compared else name
        found.append([name, size_label(str(size)), str(len(differences)), write(before), write(after)])
    moved = [change for change in changes if abs(change) > MOVED]
    verdict = f"{len(moved)} of {len(changes)} move by more than {MOVED:g} dB"
    verdict += f": {ranged(moved, signed)} dB." if moved else "."
    return [
        Table(
            "Longer training: medians of the test PSNR and of differences to the residual network, in dB, on the seeds "
            "that were trained for both lengths, with the learning rate that was tuned for the usual one. Of the "
            f"differences {verdict}",
            ["tables/psnr.csv", "tables/runs.csv"],
            ["Networks", "Size", "Seeds", *lengths],
            found,
        )
    ]


def classical(tables: Tables) -> Table:
    """Classical denoisers on every test set."""
    table = tables["classical"]
    methods = list(table["method"].unique())
    return Table(
        "Classical denoisers: test PSNR in dB with parameters tuned on validation signals, and in parentheses with "
        "those of the oracle, the best ones for every single test signal. Asterisk: a tuned parameter is at the edge "
        "of its grid.",
        ["tables/classical.csv"],
        ["Test set, noise", "Tuned on", "Noisy", *map(label, methods)],
        [
            [
                f"{label(own['test_set'].iloc[0])}, {own['noise'].iloc[0]:g}",
                label(own["tuned_on"].iloc[0].rpartition("-")[0]),
                fixed(own["noisy_psnr"].iloc[0]),
                *(
                    f"{fixed(row.psnr)}{'*' * row.at_edge} ({fixed(row.oracle_psnr)})"
                    for row in rows(own.set_index("method").loc[methods])
                ),
            ]
            for _, own in table.groupby(["test_set", "noise"], sort=False)
        ],
    )


def robustness(tables: Tables) -> Table:
    """Attacks of the middle size, and noise levels never trained on, by method."""
    table = summaries.attacked(tables)
    middle = (sizes := sorted(set(table["perturbation"]) - {0}))[len(sizes) // 2]
    elsewhere = [summaries.elsewhere(tables, name) for name, _ in summaries.groups(table, "experiment")]
    noises = sorted({noise for scores in elsewhere for noise in scores["noise"]})
    other = {
        (row.method, row.size, row.noise): fixed(row.mean)
        for scores in elsewhere
        for row in rows(summaries.means(scores, ["method", "size", "noise"], "score"))
    }
    return Table(
        f"PSNR in dB without a perturbation, after attacks and random perturbations of size {middle:g} (root mean "
        "square in grey values), the least that the Lipschitz bound guarantees, and PSNR at noise levels never trained "
        "on. Means over seeds.",
        ["tables/robustness.csv", "tables/psnr.csv"],
        [
            *("Method", "Size", "Unperturbed", "Attacked", "Random", "Guaranteed"),
            *(f"Noise {noise:g}" for noise in noises),
        ],
        [
            [
                job(method, {"experiment": own["experiment"].iloc[0], "size": size}),
                size_label(size),
                fixed(own["plain"].mean()),
                *(fixed(own.loc[own["perturbation"] == middle, column].mean()) for column in ATTACKED),
                *(other.get((method, size, noise), NOTHING) for noise in noises),
            ]
            for method, sizes_of in summaries.groups(table, "method")
            for size, own in summaries.groups(sizes_of, "size")
        ],
    )


def guarantees(tables: Tables) -> Table:
    """What is guaranteed on paper, in words."""
    return Table(
        "Guarantees of the schemes on paper, and whether they survive untied weights.",
        ["tables/guarantees.csv"],
        ["Scheme", "Guarantee", "Condition", "With untied weights"],
        [[label(row.scheme), row.guarantee, row.condition, row.per_block] for row in rows(tables["guarantees"])],
    )


def guarantees_measured(tables: Tables) -> Table:
    """What remains of the guarantees after training."""
    kinds = {"": "freely", "certified_": "certified"}
    return Table(
        "What remains of these guarantees after training: how many networks fulfil all conditions of a theorem; the "
        "largest amplification ‖N(u)‖₂ / ‖u‖₂ that gradient search finds, less the bound on the drift that biases add; "
        "and the largest growth by repetition, drift included.",
        ["tables/guarantees.csv"],
        [
            *("Scheme", "Trained", "Networks", "Fulfil a theorem"),
            *("Largest amplification", "Largest growth", "Repetitions"),
        ],
        [
            [
                label(row["scheme"]),
                kind,
                *(str(row[f"{prefix}{key}"]) for key in ("networks", "fulfilling")),
                *(_found(row, f"{prefix}{key}") for key in ("amplification", "growth")),
                short(row[f"{prefix}growth_n"], 6),
            ]
            for row in tables["guarantees"].to_dict("records")
            for prefix, kind in kinds.items()
            if row[f"{prefix}networks"]
        ],
    )


def ladder(tables: Tables) -> Table:
    """What the guarantee costs, and what is left of it."""
    return Table(
        "Networks with the same flux: median test PSNR in dB and median change from the rung before, with "
        "order-statistic intervals; parameters, convolution weights among them; what holds by construction; the "
        "largest bound c and drift β over the rms of the signals; and the largest growth found, of signals where "
        "drifts are at most the rms, (rms(N(u)) - β) / rms(u), and of small differences.",
        ["tables/ladder.csv"],
        [
            *("Flux", "Blocks", "Rung", "Median PSNR", "Change", "Failed", "Parameters", "Weights"),
            *("Guarantee", "c", "β / rms", "Signals", "Differences"),
        ],
        [
            [
                *(label(row.flux), str(row.blocks), row.rung),
                with_interval(fixed(row.psnr), (row.low, row.high)),
                with_interval(signed(row.change), (row.change_low, row.change_high)),
                f"{row.failed} of {row.seeds}",
                *(str(row.parameters), str(row.convolution_weights), row.guarantee),
                *(short(row.bound), short(row.relative_drift)),
                *("overflow" if math.isinf(x) else short(x, 4) for x in (row.amplification, row.expansion)),
            ]
            for row in rows(tables["ladder"])
        ],
    )


def with_interval(text: str, ends: Sequence[float | None] | None, digits: int = 2) -> str:
    """A number with its interval in brackets, if there is one."""
    low, high = (end if end is not None and math.isfinite(end) else None for end in ends or (None, None))
    return f"{text} {interval(low, high, digits)}".rstrip()


def record(run: str) -> str:
    """The record of a run, which is one seed of a job."""
    return f"runs/{run.rpartition('/')[0]}/record.json"


def solver(method: str, problem: str) -> str:
    """The name of a method that learned to solve a problem, with a link to its records."""
    return Markup('<a href="runs/solve_{}/{}/"><code>{}</code></a>').format(problem, method, method)


def _found(row: dict[Any, Any], name: str) -> str:
    """A number with a link to the record of its run."""
    text = "overflow" if row[name] == math.inf else short(row[name], 4)
    return text if text == NOTHING else Markup('<a href="{}">{}</a>').format(record(row[f"{name}_run"]), text)


def _code(name: str) -> str:
    return Markup("<code>{}</code>").format(name)


def job(method: str, where: dict[str, str]) -> str:
    """A method's name with a link to its records."""
    path = f"runs/{where['experiment']}/{method}/{where['size']}/"
    return Markup('<a href="{}"><code>{}</code></a>').format(path, method)
