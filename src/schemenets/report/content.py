"""The report's tables, and what is not known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from schemenets import summaries
from schemenets.layout import Layout
from schemenets.summaries import Tables, rows
from schemenets.wording import NOTHING, fixed, interval, label, listed, short, signed

RIVALS = ("idiomatic", "compiled", "vmap")
SIZES = ("blocks", "filters", "kernel_size", "channels", "length", "seeds")  # that benchmarks vary
_NUMBER = re.compile(rf"{NOTHING}|[−+]?\d[\d.e−+]*( \[.*\])?")


@dataclass(frozen=True)
class Table:
    """A table of texts with the files that its numbers come from."""

    caption: str
    sources: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[bool]:
        """For every column, whether it holds nothing but numbers."""
        return [all(_NUMBER.fullmatch(row[index]) for row in self.rows) for index in range(len(self.columns))]


def comparisons(claim: dict[str, Any]) -> Table:
    """The comparisons of a claim."""
    return Table(
        f"Comparisons for {claim['id']}: differences in PSNR, candidate minus reference, paired over seeds. "
        "Diverged runs: candidate / reference.",
        ["claims.json", "tables/claims.csv"],
        [
            "Role",
            "Experiment, size",
            "Candidate (parameters)",
            "Reference (parameters)",
            "Difference (dB)",
            "p (Holm)",
            "p of the opposite",
            "Seeds",
            "Diverged",
            "Outcome",
        ],
        [
            [
                c["role"],
                f"{c['experiment']}, {c['size']}",
                *(
                    Markup("{} ({})").format(_job(c[side], c), c[f"{side}_parameters"])
                    for side in ("candidate", "reference")
                ),
                _with_interval(signed(c["effect"]), *(c["interval"] or (None, None))),
                short(c["p_holm"]),
                short(c["p_opposite_holm"]),
                str(c["n"]),
                f"{c['candidate_diverged']} / {c['reference_diverged']}",
                c["outcome"],
            ]
            for c in claim["comparisons"]
        ],
    )


def sensitivity(results: Layout) -> Table:
    """How verdicts move with their thresholds."""
    table = pd.read_csv(results.table("sensitivity"))
    return Table(
        "The verdict of every computed claim, had its threshold been another one. The registered threshold is marked.",
        ["tables/sensitivity.csv"],
        ["Claim", "Threshold", "Registered", "Verdict", "p (Holm)", "Seeds"],
        [
            [
                row.claim,
                f"{row.threshold:g} {row.unit}",
                "registered" if row.registered else "",
                row.verdict,
                short(row.p_holm),
                fixed(row.n, 0),
            ]
            for row in rows(table)
        ],
    )


def methods(tables: Tables) -> Table:
    """What was trained, and at which learning rate."""
    rates = {row.method: row for row in rows(summaries.chosen_rates(tables["tuning"]))}
    return Table(
        "Methods: architecture, trainable parameters per block, and the learning rate that tuning chose.",
        ["tables/runs.csv", "tables/tuning.csv"],
        [
            "Method",
            "Network",
            "Flux",
            "Certified",
            "Filters × length",
            "Parameters per block",
            "Learning rate",
            "In the grid",
        ],
        [
            [
                _code(row.method),
                label(row.network),
                label(row.flux),
                "by construction" if row.certified else "no",
                f"{row.filters} × {row.kernel_size}",
                str(row.parameters // (1 if row.tied else row.blocks)),
                short(row.learning_rate),
                "at the edge" if rates[row.method].at_edge else "inside",
            ]
            for row in rows(tables["runs"].drop_duplicates("method"))
        ],
    )


def means(tables: Tables) -> Table:
    """Every experiment, method and size."""
    by = ["experiment", "method", "size", "parameters", "dataset", "noisy_psnr"]
    parts = []
    for experiment in tables["runs"]["experiment"].unique():
        part = summaries.means(summaries.at_home(summaries.scored(tables, experiment)), by, "score")
        parts.append(part.sort_values("size", key=lambda sizes: sizes.map(summaries.number), kind="stable"))
    return Table(
        "Test PSNR on the signals that the networks were trained for: means over seeds with 95 % t intervals. A "
        "diverged run counts as the noisy input. All other test sets are in the source.",
        ["tables/psnr.csv", "tables/runs.csv"],
        ["Experiment", "Method", "Size", "Parameters", "Data", "Noisy (dB)", "PSNR (dB)", "Seeds", "Diverged"],
        [
            [
                row.experiment,
                _job(row.method, {"experiment": row.experiment, "size": row.size}),
                row.size,
                str(row.parameters),
                row.dataset,
                fixed(row.noisy_psnr),
                _with_interval(fixed(row.mean), row.low, row.high),
                str(row.n),
                str(row.diverged),
            ]
            for row in rows(pd.concat(parts))
        ],
    )


def stability(tables: Tables) -> Table:
    """Certificates and what the search found, by method."""
    return Table(
        "Euclidean stability of all trained networks: how many are certified by their parameters, the largest bound "
        "and the largest amplification found, the least step margin by the bound on ‖K‖ and by dense matrices.",
        ["tables/stability.csv"],
        [
            "Method",
            "Networks",
            "Certified",
            "Counterexamples",
            "Largest bound",
            "Largest found",
            "Least margin",
            "Least margin (dense)",
        ],
        [
            [
                _code(method),
                str(len(own)),
                str(own["certified"].sum()),
                str(own["counterexample"].sum()),
                short(own["euclidean_bound"].max(), 6),
                short(own["largest_amplification_found"].max(), 6),
                short(own["least_step_margin"].min()),
                short(own["least_dense_step_margin"].min()),
            ]
            for method, own in summaries.groups(tables["stability"], "method")
        ],
    )


def speed(results: Layout) -> list[Table]:
    """What the benchmark was to show and what it measured; nothing where it has not been run."""
    if len(results.benchmarks) < 2:
        return []
    targets, measured = (pd.read_csv(path) for path in results.benchmarks)
    machine = next(rows(measured))  # the same in every row
    cases: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows(measured):
        size = ", ".join(f"{key.replace('_', ' ')} {getattr(row, key)}" for key in SIZES)
        case = f"{label(row.network)}, {label(row.flux)}{', certified' if row.certified else ''}: {size}"
        cases.setdefault((row.what, case), {})[row.contender] = row
    return [
        Table(
            "Targets of speed and memory, and the worst case measured for each.",
            ["tables/benchmark_targets.csv", "tables/benchmark.csv"],
            ["Target", "Asked", "Measured", "Reached", "Cases", "Worst case"],
            [
                [
                    row.target,
                    f"{row.asked} {row.bound:g}",
                    short(row.measured),
                    row.reached,
                    f"{row.cases_reached} of {row.cases}",
                    row.worst_case,
                ]
                for row in rows(targets)
            ],
        ),
        Table(
            f"Times per network, and how many times slower the rivals are, measured in one run on one thread of "
            f"{machine.machine}, which reaches {machine.fma_gflops:.0f} GFLOP/s in multiply-adds and "
            f"{machine.bandwidth_gbytes:.0f} GB/s in copies.",
            ["tables/benchmark.csv"],
            ["What", "Case", "Ours (ms)", "GFLOP/s", *(f"{name} (times ours)" for name in RIVALS)],
            [
                [
                    what,
                    case,
                    short(own["ours"].milliseconds_per_seed),
                    short(own["ours"].gflops),
                    *(short(own[name].times_slower_than_ours) if name in own else NOTHING for name in RIVALS),
                ]
                for (what, case), own in cases.items()
            ],
        ),
    ]


def limits(tables: Tables, judged: dict[str, Any]) -> list[str]:
    """What these results do not say, as far as the tables know."""
    runs, psnr = tables["runs"], tables["psnr"]
    seeds, epochs = runs["seed"].nunique(), runs["epochs"].unique()
    edges = [row.method for row in rows(summaries.chosen_rates(tables["tuning"])) if row.at_edge]
    waiting = [f"{claim['id']}: {claim['waits_for']}" for claim in judged["claims"] if claim["waits_for"]]
    diverged = runs.loc[runs["status"] != "ok", "run"].tolist()
    return [
        f"Claims, or parts of them, that are not measured yet: {'; '.join(waiting) or 'none'}.",
        f"All networks have {_values(runs['filters'])} filters of length {_values(runs['kernel_size'])} per block and "
        f"states of {_values(runs['channels'])} channels. They were trained on {_values(runs['dataset'])}, and tested "
        f"at noise {_values(psnr['noise'])}. Nothing is known about images, other widths and other kinds of noise.",
        f"Intervals and tests are over {seeds} seeds of initial weights and shuffling, with the data fixed; they say "
        f"nothing about other draws of the training data. The smallest p that {seeds} seeds can give is "
        f"{short(0.5**seeds)}.",
        f"Training took {_values(epochs)} epochs. What the length of training changes is known for the methods and the "
        "budget of the figure on it only, and with learning rates that were tuned for one length.",
        "Only the learning rate was tuned, at one parameter budget. Methods with the best rate at the edge of the "
        f"grid: {', '.join(edges) or 'none'}.",
        "The search for large amplifications gives lower bounds: that it found no counterexample proves nothing. The "
        "certificates do, up to rounding; they bound ‖N(u)‖/‖u‖, and not the distance between two outputs.",
        f"Diverged runs: {', '.join(diverged) or 'none'}. They are counted as having done nothing, and as losses in "
        "every comparison.",
    ]


def _values(column: Any) -> str:
    return listed([f"{value:g}" if isinstance(value, float) else str(value) for value in pd.unique(column)])


def _with_interval(text: str, low: float | None, high: float | None) -> str:
    return f"{text} {interval(low, high)}".rstrip()


def _code(name: str) -> str:
    return Markup("<code>{}</code>").format(name)


def _job(method: str, where: dict[str, str]) -> str:
    """A method's name that leads to the records of its runs."""
    path = f"runs/{where['experiment']}/{method}/{where['size']}/"
    return Markup('<a href="{}"><code>{}</code></a>').format(path, method)
