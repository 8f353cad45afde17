"""The numbers that figures and report show, computed from tables: scores, means, intervals, gains."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from schemenets.study.claims import NOTHING_FOUND
from schemenets.study.layout import Layout
from schemenets.study.statistics import median, median_interval, paired_differences, t_interval

BASELINE = "resnet-relu"  # the standard residual network
CERTIFIED = "-certified"  # in the names of methods that are certified by construction
NO_BIASES = "-no_biases"  # likewise: without biases though others have them
SIGNED = "-signed"  # likewise: with step sizes of either sign
SAFEGUARDED = "safeguarded_"  # prefix of methods with a safeguard
LADDER = "ladder"
RUNGS = {  # methods from a guarantee to the residual network with the same flux
    "certified, no biases": "symmetric-{}-certified-no_biases",
    "certified": "symmetric-{}-certified",
    "free step sizes": "symmetric-{}",
    "signed step sizes": "symmetric-{}-signed",
    "untied weights (ResNet)": "resnet-{}",
}
WORST = ("bound", "relative_drift", "allowed", "amplification", "expansion")
LADDER_COLUMNS = [
    *("flux", "blocks", "rung", "method", "parameters", "convolution_weights"),
    *("seeds", "failed", "psnr", "low", "high", "change", "change_low", "change_high"),
    *("guarantee", *WORST),
]
GUARANTEES = {"certified, no biases": "rms(N(u)) ≤ rms(u)", "certified": "rms(N(u)) ≤ rms(u) + β"}  # by rung
NO_GUARANTEE = "none"
LEARNED = "learned"  # the table of blocks, which is written with the figures
EVOLUTION = "evolution_"  # prefix of experiments, data and test sets of evolutions
# columns that describe a condition of a test
PLACE = ["condition", "kind", "family", "points", "mesh_width", "tau", "unique"]
MEASURED = ["relative_error", "residual", "energy_gap"]
TEXT = {"run": str}  # pandas would read an empty column as numbers
# iterations of solvers: relative residual to reach, most cycles, most steps on a single level
TOLERANCE, MOST_CYCLES, MOST_STEPS = 1e-8, 60, 400
LEAST_DIGITS = 5e-4  # per iteration; fewer count as none
CYCLE = "cycle"  # the solver that is given the problem
REACHED, SLOW, STAGNATES = "reached", "slow", "stagnates"  # outcomes of an iteration, see :func:`outcome`
MIDDLE = 240  # budget at which methods are shown where only one fits
# what is compared with classical denoisers, and where it is trained
COMPARED = ("resnet-relu", "symmetric-perona_malik", "fsi-perona_malik")
EXPERIMENTS = ("capacity", "scanlines")

Tables = dict[str, pd.DataFrame]


def groups(table: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The values of a column and their rows, in order of appearance."""
    return ((str(value), own) for value, own in table.groupby(column, sort=False))


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """The rows, with the columns as attributes."""
    return table.itertuples(index=False)


def read(results: Layout) -> Tables:
    """The tables of the study that there are, by name; one without columns is left out."""
    from schemenets.study import stages  # of which some import this module

    written = [results.root / file for stage in ("tables", "claims") for file in stages.module(stage).OUTPUTS.values()]
    written.append(results.table(LEARNED))
    found = {}
    for path in (path for path in written if path.suffix == ".csv" and path.is_file()):
        with suppress(pd.errors.EmptyDataError):
            found[path.stem] = pd.read_csv(path, dtype=TEXT)
    return found


def scored(tables: Tables, experiment: str) -> pd.DataFrame:
    """Every measurement of an experiment with the description of its run.

    Four columns are added: ``diverged``; ``score``, the PSNR in dB, for a diverged run that of the noisy input (it
    counts as having done nothing, as in :func:`schemenets.study.statistics.paired_differences`); ``gain``, the score
    minus the PSNR of the noisy input; and ``failed``, diverged or worse than the noisy input.
    """
    own = tables["runs"].query("experiment == @experiment")
    described = own[["run", *own.columns.difference(tables["psnr"].columns, sort=False)]]
    table = tables["psnr"].merge(described, on="run")
    diverged = (table["status"] != "ok") | table["psnr"].isna()
    score = table["noisy_psnr"].where(diverged, table["psnr"])
    gain = score - table["noisy_psnr"]
    return table.assign(diverged=diverged, score=score, gain=gain, failed=diverged | (gain < 0))


def at_home(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the test set that matches the training set of the run."""
    return scores[scores["test_set"] + scores["noise"].map("-{:g}".format) == scores["dataset"]]


def elsewhere(tables: Tables, experiment: str) -> pd.DataFrame:
    """The measurements of an experiment on its own family of signals, at noise levels that it was not trained on."""
    scores = scored(tables, experiment)
    trained = scores["dataset"].str.rpartition("-")
    return scores[(scores["test_set"] == trained[0]) & (scores["noise"] != trained[2].astype(float))]


def means(table: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Mean of a column over seeds, with its 95 % t interval (NaN for one seed) and the number of diverged runs.

    Returns:
        One row per group in order of appearance: the columns ``by``, ``mean``, ``low``, ``high``, ``n``, ``diverged``.
    """
    found = []
    for key, group in table.groupby(by, sort=False):
        values = group[value].to_numpy()
        low, high = t_interval(values) if values.size > 1 else (np.nan, np.nan)
        counts = {"n": values.size, "diverged": int(group["diverged"].sum())}
        found.append(dict(zip(by, key, strict=True)) | {"mean": values.mean(), "low": low, "high": high} | counts)
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "n", "diverged"])


def medians(table: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Median of a column over seeds, with its order-statistic interval; failed runs count as below all others.

    Returns:
        One row per group in order of appearance: the columns ``by``, ``median``, ``low``, ``high`` (infinite where
        there are too few seeds, or too many failed), ``n``, ``failed``.
    """
    found = []
    for key, group in table.groupby(by, sort=False):
        values = group[value].mask(group["failed"], -np.inf)
        low, high, _ = median_interval(values)
        numbers = {"median": median(values), "low": low, "high": high, "n": len(group)}
        found.append(dict(zip(by, key, strict=True)) | numbers | {"failed": int(group["failed"].sum())})
    return pd.DataFrame(found, columns=[*by, "median", "low", "high", "n", "failed"])


def median_errors(table: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """The same of errors, which say themselves how a failed run counts."""
    found = medians(table.assign(failed=False), by, value)
    return found.drop(columns="failed")


def solver_scores(tables: Tables, problem: str) -> pd.DataFrame:
    """Every run that learned to solve a problem, under every condition of the tests.

    Two columns are added: ``diverged``, and ``score``, the relative error: :data:`NOTHING_FOUND` for a diverged run,
    NaN where solutions need not be unique.
    """
    runs, errors = (_of_problem(tables[name], problem) for name in ("solver_runs", "solver_errors"))
    places = errors[PLACE].drop_duplicates()
    measured = errors[["run", "condition", *MEASURED]]
    described = runs.drop(columns="points").merge(places, how="cross")  # untested runs as well
    table = described.merge(measured, on=["run", "condition"], how="left")
    known = table["relative_error"].notna() | ~table["unique"].astype(bool)
    diverged = (table["status"] != "ok") | ~known
    return table.assign(diverged=diverged, score=table["relative_error"].where(~diverged, NOTHING_FOUND).astype(float))


def iterated(tables: Tables, problem: str) -> pd.DataFrame:
    """Every run of a learned cycle for a problem, under every condition in which any run was iterated.

    Columns ``converged``, ``iterations`` and ``factor`` of a diverged run are NaN.
    """
    runs, table = (_of_problem(tables[name], problem) for name in ("solver_runs", "solver_iterations"))
    table = table[~table["method"].isin(runs.loc[runs["network"] != CYCLE, "method"])]  # these solve learned equations
    places = table.loc[table["run"].notna() | table["kind"].isin(["home", "finer"]), PLACE].drop_duplicates()
    own = runs.loc[runs["network"] == CYCLE, ["run", "problem", "method", "seed", "status"]]
    measured = table[["run", "condition", "converged", "iterations", "factor"]].dropna(subset="run")
    found = own.merge(places, how="cross").merge(measured, on=["run", "condition"], how="left")
    return found.astype({"converged": float, "iterations": float, "factor": float})


def outcome(table: pd.DataFrame) -> pd.Series:
    """Outcome of iterations, from the share of right-hand sides that ``converged`` and the ``factor``.

    ``reached``: all right-hand sides reach the tolerance within the limit. ``slow``: not all do, but an iteration gains
    :data:`LEAST_DIGITS` digits or more. ``stagnates``: it gains fewer or the residual grows; or there is no factor,
    since iteration or training diverged.
    """
    gains = table["factor"].astype(float) <= 10**-LEAST_DIGITS
    outcomes = pd.Series(STAGNATES, index=table.index, dtype=object).mask(gains, SLOW)
    return outcomes.mask(table["converged"].astype(float) == 1, REACHED)


def _of_problem(table: pd.DataFrame, problem: str) -> pd.DataFrame:
    return table[table["problem"] == problem]


def several_solutions(tables: Tables) -> list[str]:
    """The problems whose solutions need not be unique; there, the distance to one solution means nothing."""
    known = tables["problems"]
    return list(known.loc[~known["unique"].astype(bool), "problem"])


def gains(tables: Tables, experiment: str, candidate: str, reference: str) -> pd.DataFrame:
    """PSNR of one method minus that of another at every size both ran at, paired over seeds, on their own test set.

    Returns:
        One row per size and seed: ``size``, ``seed``, ``difference`` (dB), ``counted`` (the same as medians count it),
        ``diverged`` (either of the two).
    """
    measured = at_home(scored(tables, experiment))
    sizes = [set(measured.loc[measured["method"] == method, "size"]) for method in (candidate, reference)]
    parts = []
    for size in by_number(set.intersection(*sizes)):
        methods = {"experiment": experiment, "candidate": candidate, "reference": reference}
        pairs = paired_differences(tables["runs"], measured, size=size, **methods)
        diverged = pairs["candidate_diverged"] | pairs["reference_diverged"]
        parts.append(pairs[["seed", "difference", "counted"]].assign(size=size, diverged=diverged))
    return pd.concat(parts) if parts else pd.DataFrame(columns=["seed", "difference", "counted", "size", "diverged"])


def ladder(tables: Tables) -> pd.DataFrame:
    """The rungs from a certified network to the residual one with the same flux: quality, size and guarantee.

    Returns:
        One row per flux, number of blocks and rung:

        * ``psnr``: median over ``seeds`` on signals like the training signals, in dB, from ``low`` to ``high`` its
          interval; ``failed`` as in :func:`medians`;
        * ``change``: median difference from the rung before, paired over seeds, with its interval; NaN on the first;
        * ``parameters``, ``convolution_weights``;
        * ``guarantee``: what holds by construction;
        * of all networks that did not diverge, the largest ``bound`` c and ``relative_drift``, the β of their
          certificates over the root mean square of the signals; ``allowed``, how much these let signals of usual size
          grow, c and that drift together; ``amplification``, (rms(N(u)) - β)/rms(u), and ``expansion``,
          ‖N(u) - N(v)‖/‖u - v‖, that were found, infinite after an overflow. NaN where a network has no c and β; the
          amplification as well where β exceeds the root mean square of the signals, since it says nothing then.
    """
    found = []
    scores = at_home(scored(tables, LADDER)).merge(_bounds(tables["stability"]), on="run")
    for (flux, _), own in scores.groupby(["flux", "blocks"]):
        there = {rung: runs for rung, name in RUNGS.items() if len(runs := own[own["method"] == name.format(flux)])}
        for before, (rung, runs) in zip([None, *there], there.items(), strict=False):
            first, (quality,) = runs.iloc[0], rows(medians(runs, ["method"], "score"))
            change = [np.nan] * 3
            if before:
                pairs = gains(tables, LADDER, first["method"], RUNGS[before].format(flux)).set_index("size")
                counted = pairs.loc[[first["size"]], "counted"]
                change = [median(counted), *median_interval(counted)[:2]]
            sound = runs[runs["status"] == "ok"]
            worst = {key: sound[key].max(skipna=False) for key in WORST}
            found.append(
                {
                    **{key: first[key] for key in ("flux", "blocks", "method", "parameters", "convolution_weights")},
                    **{"rung": rung, "seeds": quality.n, "failed": quality.failed},
                    **{"psnr": quality.median, "low": quality.low, "high": quality.high},
                    **dict(zip(("change", "change_low", "change_high"), change, strict=True)),
                    **{"guarantee": GUARANTEES.get(rung, NO_GUARANTEE), **worst},
                }
            )
    return pd.DataFrame(found, columns=LADDER_COLUMNS)


def _bounds(stability: pd.DataFrame) -> pd.DataFrame:
    """What the ladder tells of every run's stability."""
    columns = ["euclidean_bound", "relative_drift", "largest_amplification_found", "largest_expansion_found"]
    c, drift, amplification, expansion = (stability[name].astype(float) for name in columns)
    over = stability["overflow"].astype(bool)
    amplified = amplification.mask(over, np.inf).where(c.notna() & (drift <= 1))
    values = c, drift, c + drift, amplified, expansion.mask(over, np.inf)
    return pd.DataFrame({"run": stability["run"], **dict(zip(WORST, values, strict=True))})


def attacked(tables: Tables) -> pd.DataFrame:
    """Every attack with the description of its run.

    Added: ``diverged``; ``attacked`` and ``random``, the PSNR after the worst perturbation found and after a random
    one, for a diverged run that of the noisy signals in their worst case; ``loss`` and ``random_loss``, how
    far they are below the PSNR without a perturbation (all in dB).
    """
    described = tables["runs"][["run", "network", "flux", "tied", "certified", "dataset"]]
    table = tables["robustness"].merge(described, on="run")
    diverged = (table["status"] != "ok") | table["psnr_attacked"].isna()
    table = table.assign(
        diverged=diverged,
        attacked=table["noisy_psnr"].where(diverged, table["psnr_attacked"]),
        random=table["noisy_psnr"].where(diverged, table["psnr_random"]),
    )
    plain = table.loc[table["perturbation"] == 0, ["run", "attacked"]].rename(columns={"attacked": "plain"})
    table = table.merge(plain, on="run")
    return table.assign(loss=table["plain"] - table["attacked"], random_loss=table["plain"] - table["random"])


def free_twin(method: str) -> str:
    """The method with the same parameters that is trained without constraints and without a safeguard.

    >>> free_twin("safeguarded_fsi-perona_malik-certified-tied")
    'fsi-perona_malik-tied'
    """
    return method.removeprefix(SAFEGUARDED).replace(CERTIFIED, "")


def usual_size(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the size (such as ``blocks-4``) that most methods have; the smallest of several."""
    methods = table.groupby("size")["method"].nunique()
    return table[table["size"] == min(methods.index, key=lambda size: (-methods[size], number(size)), default=None)]


def by_number(sizes: set[str]) -> list[str]:
    """Sizes such as ``budget-240`` in the order of their numbers."""
    return sorted(sizes, key=number)


def number(size: str) -> int:
    """The number in a size: 240 for ``budget-240``."""
    return int(size.rpartition("-")[2])


def middle_size(runs: pd.DataFrame, experiment: str) -> str | None:
    """The size of an experiment nearest to :data:`MIDDLE`; None without runs."""
    sizes = by_number(set(runs.loc[runs["experiment"] == experiment, "size"]))
    return min(sizes, key=lambda size: abs(number(size) - MIDDLE), default=None)


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that are compared with classical denoisers, at the middle size of each experiment.

    Args:
        runs: or jobs, with the columns ``experiment``, ``method`` and ``size``.
    """
    own = runs[runs["method"].isin(COMPARED)]
    sizes = {experiment: middle_size(runs, experiment) for experiment in EXPERIMENTS}
    return pd.concat([own[(own["experiment"] == name) & (own["size"] == size)] for name, size in sizes.items()])


def classical(tables: Tables, dataset: str) -> pd.DataFrame:
    """The rows of classical denoisers on a data set; none if they were not tested there."""
    table = tables["classical"]
    family, _, noise = dataset.rpartition("-")
    return table[(table["test_set"] == family) & (table["noise"] == float(noise))]


def chosen_rates(tuning: pd.DataFrame) -> pd.DataFrame:
    """One row per learning rate: its ``name``, ``learning_rate``, and ``at_edge`` of the grid or not."""
    chosen = tuning[tuning["chosen"].astype(bool)].drop_duplicates(["family", "method", "size_class"])
    names = chosen["family"] + "/" + chosen["method"] + "/" + chosen["size_class"]
    return pd.DataFrame(
        {"name": names, "learning_rate": chosen["learning_rate"], "at_edge": chosen["at_edge_of_grid"].astype(bool)}
    )
