"""Tables and the plot of fluxes, made from what the code declares and the study measured."""

import re
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from _parts import plots

from schemenets import files, fluxes, networks
from schemenets.networks import Architecture
from schemenets.study import figures, forecast, summaries
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.report.verdicts import answer

CERTIFIED, EXPLANATIONS = "results/tables/certified.csv", "results/tables/explanations.csv"
RESULTS = "results/exploratory"  # whose verdicts the README shows
MAP = "results/map"
MAP_SHOWS = (
    "Differences between symmetric and residual networks for 48 combinations of choices, sorted, with these choices"
)
MAP_ASKS = (
    "The [map](docs/study.md#experiments) asks in which settings (noise, signals and their number, depth, filters, "
    "fluxes, biases, start) a symmetric network is better than a ResNet."
)
EXPLORED = (
    f"From `{RESULTS}`, which is exploration: the claims have been registered, but a confirmatory run, on seeds and "
    "test images that nobody has looked at, is still to come. Quality is PSNR, the peak signal-to-noise ratio, in dB; "
    "higher is better. A run fails if it diverges or makes the signal worse.\n\n"
    "A symmetric network has the same filters before and after its activation, the flux; a ResNet has two separate "
    "sets. The flux of Perona and Malik is nonmonotone, that of Charbonnier monotone. FSI (fast semi-iterative) and "
    "Du Fort–Frankel networks extrapolate the steps of symmetric ones. A certificate proves that a network does not "
    "let the norm of a signal grow, except for a bounded drift if it has biases."
)
RIVALS = "Classical denoisers were tuned for the noise of every test set, networks for one."
NO_RESULTS = "The second protocol has no committed results yet; the history has those of the first one."


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def number(value: float) -> str:
    return f"{value:.4g}"


def flux_table() -> str:
    """What every flux declares."""
    rows = []
    for flux in map(fluxes.get, fluxes.available()):
        flags = ["yes" if flag else "no" for flag in (flux.odd, flux.monotone, flux.nonnegative)]
        trainable = ["$\\lambda$"] * flux.scaled + [f"{flux.weights} weights"] * (flux.weights > 0)
        constants = map(number, (flux.L, flux.L_prime, flux.m))
        rows.append([f"`{flux.name}`", *constants, *flags, ", ".join(trainable) or "–"])
    return table(["name", "$L$", "$L'$", "$m$", "odd", "monotone", "$g \\ge 0$", "trainable"], rows)


def flux_plot() -> str:
    """Φ and Φ' of every flux for λ = 1 and its initial weights, as SVG."""
    names = fluxes.available()
    columns = 3
    rows = -(-len(names) // columns)
    s = torch.linspace(-4, 4, 801, dtype=torch.float64)
    figure, axes = plots.figure(9, 2.2 * rows, rows, columns, sharex=True, sharey=True)
    for axis, name in zip(axes.flat, names, strict=False):
        flux = fluxes.get(name)
        w = torch.tensor(flux.initial, dtype=torch.float64) if flux.weights else None
        axis.axhline(0, color="black", linewidth=0.4)
        axis.axvline(0, color="black", linewidth=0.4)
        axis.plot(s, flux.derivative(s, w=w), color=plots.SECOND, linewidth=1, linestyle="--", label="Φ′")
        axis.plot(s, flux(s, w=w), color=plots.FIRST, linewidth=1.8, label="Φ")
        axis.set(title=name, xlim=(-4, 4), ylim=(-2.5, 2.5))
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return plots.svg(figure)


def size_table() -> str:
    """Numbers of parameters of every network at equal depth."""
    rows = []
    for name in networks.available():
        counts = Architecture(name=name, blocks=4, filters=8, kernel_size=5, flux="perona_malik").count()
        rows.append([f"`{name}`", str(counts.total), str(counts.convolution)])
    return table(["network", "parameters", "of these, convolution weights"], rows)


def claim_table(root: Path) -> str:
    """The registered claims."""
    rows = []
    for claim in yaml.safe_load((root / "config/claims.yaml").read_text(encoding="utf-8"))["claims"]:
        threshold = f"{claim['threshold']['value']:g} {claim['threshold']['unit']}"
        rows.append([claim["id"], claim["title"], " ".join(claim["measured"].split()), threshold])
    return table(["id", "claim", "what is measured", "threshold"], rows)


def tier_table(root: Path) -> str:
    """What the tiers of the study differ in, and what each is for, as the comment behind its name says."""
    text = (root / "config/config.yaml").read_text(encoding="utf-8")
    purposes = dict(re.findall(r"^  (\w+): # (.*)$", text[text.index("\ntiers:") :], re.MULTILINE))
    config, rows = yaml.safe_load(text), []
    for name in config["tiers"]:
        study = Study.load(root, tier=name)
        own, seeds = study.settings, [study.config["tuning"]["seeds"]]
        rates, length = "tuned, and written to `config/rates.yaml`", f"{own['epochs']} epochs"
        if study.has("train"):
            seeds = sorted({len(each) for each in study.trainings.values()})
            rates = "tuned by the run" if study.tunes else f"from `{own['rates']}`"
        elif study.has("cells"):
            seeds, rates, length = [len(study.seeds)], "tuned in every cell", f"{own['map']['steps']} steps"
        default = " (default)" if name == config["tier"] else ""
        rows.append([f"`{name}`{default}", purposes[name], ", ".join(map(str, seeds)), rates, length])
    return table(["tier", "for", "seeds", "learning rates", "length of the training"], rows)


def speed_table(root: Path) -> str:
    """Times of the networks that the committed benchmark measures with all rivals."""
    path = root / "results/tables/benchmark.csv"
    if not path.is_file():
        return "*Not measured in these results; `make benchmark` measures it.*"
    cases: dict[tuple[str, ...], dict[str, str]] = {}
    for row in forecast.read(path):
        size = tuple(row[key] for key in ("blocks", "filters", "length", "channels"))
        usual = {"forward and backward": ("1", "8", "256", "1"), "training step": ("4", "8", "256", "1")}
        if size == usual.get(row["what"]) and row["seeds"] in ("1", "10"):
            case = tuple(row[key] for key in ("what", "blocks", "network", "flux", "seeds"))
            cases.setdefault(case, {})[row["contender"]] = f"{float(row['milliseconds_per_seed']):.3g}"
    contenders = {"ours": "this library", "idiomatic": "`nn.Conv1d`", "compiled": "`torch.compile`", "vmap": "`vmap`"}
    rows = [
        [*case, *(times.get(name, "–") for name in contenders)]
        for case, times in sorted(cases.items())
        if case[2:4] in (("resnet", "relu"), ("symmetric", "perona_malik"))
    ]
    return table(["what", "blocks", "network", "flux", "seeds", *contenders.values()], rows)


def certified_table(root: Path) -> str:
    """What certified networks lose to free ones."""
    rows = []
    for row in forecast.read(root / CERTIFIED):
        limited = row["step"] and not row["network"].startswith("Du Fort")  # whose theorem limits another step
        step = f"{float(row['step']):.2g}" if limited else "–"
        drift = f"{float(row['drift']):.2g}" if row["drift"] and row["biases"] == "True" else "–"
        psnr = f"{float(row['psnr']):.2f} ± {float(row['standard_deviation']):.2f}"
        rows.append(
            [
                row["network"],
                row["flux"].replace("_", " "),
                "yes" if row["biases"] == "True" else "no",
                psnr,
                step,
                drift,
            ]
        )
    seeds = forecast.read(root / CERTIFIED)[0]["seeds"]
    header = ["network", "flux", "biases", "PSNR in dB", "largest step over its limit", "drift β"]
    return table(header, rows) + f"\n\nMeans over {seeds} seeds, with their standard deviations."


def explanation_table(root: Path, experiment: str) -> str:
    """What the networks of an experiment of ``benchmarks.explanations`` reach: a row per case, a column per setting."""
    found = [row for row in forecast.read(root / EXPLANATIONS) if row["experiment"] == experiment]
    written = {
        "PSNR in dB": lambda row: f"{float(row['value']):.2f} ± {float(row['standard_deviation']):.2f}",
        "share of filters that sharpen": lambda row: f"{float(row['value']):.0%}",
        "failed networks": lambda row: f"{float(row['value']):.0f} of {row['seeds']}",
        "median relative error": lambda row: f"{float(row['value']):.2g}",
    }
    cells = {
        (row["case"], row["setting"], row["measured"]): written[row["measured"]](row)
        for row in found
        if row["measured"] in written
    }
    columns = list(dict.fromkeys(key[1:] for key in cells))
    header = [f"{setting}: {measured}" if setting else measured for setting, measured in columns]
    rows = [
        [case, *(cells.get((case, *column), "–") for column in columns)]
        for case in dict.fromkeys(key[0] for key in cells)
    ]
    return table(["network", *header], rows)


def cost_table(root: Path) -> str:
    """What the study costs by rule, as measured."""
    rows = forecast.read(root / "results/tables/study_benchmark.csv")
    shown = [[row["rule"], row["jobs"], row["cpu_minutes"], f"{float(row['share']):.1%}"] for row in rows]
    source = f"Tier `{rows[0]['tier']}`, {rows[0]['machine']}."
    return table(["rule", "jobs", "CPU-minutes", "share"], shown) + f"\n\n{source}"


def plan_table(root: Path) -> str:
    """What every tier costs, and the largest one with 100,000 trained networks."""
    with chdir(root):
        known = forecast.rates(forecast.read(forecast.COSTS))
        speed = forecast.speeds(forecast.read(forecast.GPU))
        studies = {f"`{tier}`": Study.load(tier=tier) for tier in ("smoke", "tuning", "map", "study", "extended")}
        studies["`extended --runs 100000`"] = forecast.with_runs(studies["`extended`"], 100_000)
        rows = []
        for name, own in studies.items():
            on_cores, on_gpus = forecast.Forecast(own, known), forecast.Forecast(own, known, speed)
            jobs = on_cores.jobs.values()
            path = sum(on_cores.jobs[job].seconds for job in on_cores.critical_path())
            rows.append(
                [
                    name,
                    f"{on_cores.runs:,}",
                    f"{len(jobs):,}",
                    f"{sum(job.cpu_seconds for job in jobs) / 3600:.3g}",
                    f"{sum(job.gpu_seconds for job in on_gpus.jobs.values()) / 3600:.3g}",
                    f"{sum(job.megabytes for job in jobs) / 1000:.2g}",
                    f"{max(job.seconds for job in jobs) / 3600:.2g}",
                    f"{path / 3600:.2g}",
                ]
            )
        costs, gpu = forecast.read(forecast.COSTS), forecast.read(forecast.GPU)
    columns = ["tier", "trained networks", "jobs", "CPU-hours", "GPU-hours, if trainings run there"]
    jobs_measured = sum(int(row["jobs"]) for row in costs)
    measured = f"Measured: {jobs_measured} jobs on {forecast.machines(costs)}. Trainings on GPUs: {gpu[0]['machine']}."
    return table([*columns, "gigabytes", "longest job, hours", "critical path, hours"], rows) + f"\n\n{measured}"


def brief(sentence: str) -> str:
    """What was found about a claim and with what, without parentheses, lists of comparisons and weakest differences."""
    first, *others = re.sub(r" \([^()]*\)", "", sentence).removesuffix(".").split("; ")
    return "; ".join([first.partition(": ")[0], *(clause for clause in others if clause.startswith("with "))]) + "."


def verdict_table(root: Path, shown: Callable[[str], str] = str) -> str:
    """The verdict on every claim and what was found, with the parts of a claim in one line.

    Args:
        root: directory of the project.
        shown: how sentences are written.
    """
    if not (path := root / RESULTS / "claims.json").is_file():
        return NO_RESULTS
    groups: dict[str, list[dict[str, Any]]] = {}
    for claim in files.read_json(path)["claims"]:
        groups.setdefault(claim["id"].rstrip("abc"), []).append(claim)
    rows = []
    for name, parts in groups.items():
        titles, judged, found = (
            [
                each if len(parts) == 1 else f"{claim['id'][-1]}) {each}"
                for claim, each in zip(parts, texts, strict=True)
            ]
            for texts in (
                [claim["title"] for claim in parts],
                [f"**{claim['verdict']}**" for claim in parts],
                [shown(claim["sentence"]) for claim in parts],
            )
        )
        rows.append([name, *("<br>".join(each) for each in (titles, judged, found))])
    return table(["", "claim", "verdict", "found"], rows)


def verdicts(root: Path) -> str:
    """What was found about every claim; the map; and the figure of either."""
    tables = {"map": pd.read_csv(root / MAP / "tables/map.csv")}
    explored = f"{MAP_ASKS} {figures.headline('map', tables)} {figures.map_by_flux(tables)}"
    if not (root / RESULTS / "claims.json").is_file():
        return f"{NO_RESULTS}\n\n{explored}\n\n![{MAP_SHOWS}]({MAP}/figures/map.svg)"
    figure = f"![Denoising quality against the numbers of blocks and of parameters]({RESULTS}/figures/capacity.svg)"
    found = answer(files.read_json(root / RESULTS / "claims.json")["claims"])
    rivals = figures.headline("transfer", summaries.read(Layout(root / RESULTS)))
    return "\n\n".join([found, EXPLORED, verdict_table(root, brief), figure, f"{RIVALS} {rivals}", explored])


MADE: dict[str, Callable[[Path], str]] = {  # what pages name in comments
    "verdicts": verdicts,
    "verdict_table": verdict_table,
    "flux_table": lambda root: flux_table(),
    "size_table": lambda root: size_table(),
    "claim_table": claim_table,
    "tier_table": tier_table,
    "speed_table": speed_table,
    "certified_table": certified_table,
    **{
        f"explained_{name}": partial(explanation_table, experiment=name)
        for name in ("depth", "sharpening", "length", "activation", "extrapolation", "solvers")
    },
    "cost_table": cost_table,
    "plan_table": plan_table,
}
