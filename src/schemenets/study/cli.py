"""Command line of schemenets."""

import argparse
import codecs
import logging
import os
import sys
import unicodedata
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import schemenets
from schemenets import (
    checkpoints,
    devices,
    files,
    fluxes,
    kernels,
    multigrid,
    networks,
    operators,
    pretrained,
    signals,
    stability,
)
from schemenets.errors import CheckpointError, InvalidParameterError, SchemenetsError, UnknownNameError
from schemenets.evaluation import PEAK
from schemenets.study import denoise, stages
from schemenets.study.layout import Layout

OK, FINDING, MISUSE, UNEXPECTED, INTERRUPTED, UNREAD = 0, 1, 2, 3, 130, 141
STATUS = """exit status:
  0    success
  1    a finding, such as a certificate that does not hold, or results that do not agree
  2    misuse: what was given cannot be used; the message says why
  3    an unexpected error, or a full disk, a folder that cannot be written to, a lack of memory
  130  interrupted from the keyboard
  141  the reader of a pipe wants no more"""
JOB = "capacity/resnet-relu/budget-240"
REPORT = "report"  # the stage that is also the command to show what it wrote
WEIGHTS = f"results/mine/runs/{JOB}/weights.safetensors"
EXAMPLES = {  # names of jobs
    "signals": "piecewise_affine-10",
    "evolution": "evolution_16-10",
    "problems": "problem_charbonnier",
    "tune": "piecewise_affine/resnet-relu/small",
    "cells": "cell-00",
    "stability": "capacity/symmetric-learned-certified/budget-240",
    "robustness": "ladder/implicit-perona_malik-certified/blocks-4",
    "growth": "ladder/implicit-perona_malik-certified/blocks-4",
    "random_growth": "fsi",
    "evaluate_solvers": "solve_charbonnier/cycle-1/points-256",
}
log = logging.getLogger("schemenets")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="spelled")
    try:
        status = _run(_parser().parse_args(arguments))
        if sys.stdout is not None:  # as it is where the shell has closed it
            sys.stdout.flush()
    except BrokenPipeError:  # head has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes at its end
        return UNREAD
    return status


def _run(options: argparse.Namespace) -> int:
    try:
        _log_to(options.log)
    except OSError as error:
        _log_to(None)
        log.error("schemenets: --log: %s", error)
        return MISUSE
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # more are slower: the networks are tiny
    devices.keep_freed_memory()
    os.environ["MPLBACKEND"] = "agg"  # that of a notebook may not be installed here
    try:
        status: int | None = options.command(options)
    except SchemenetsError as error:
        log.error("schemenets: %s", error)
        return MISUSE
    except ModuleNotFoundError as error:
        log.error("schemenets: %s; the study needs more packages: pip install '.[study]' in the project", error)
        return MISUSE
    except KeyboardInterrupt:
        log.error("schemenets: interrupted; stored files are complete, and training resumes from its last epoch")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except (OSError, MemoryError) as error:  # such as a folder where nothing may be written, or a full disk
        log.error("schemenets: %s", error)
        return UNEXPECTED
    except Exception:
        log.exception("schemenets: unexpected error")
        return UNEXPECTED
    return OK if status is None else status


SIGNS = {"≤": "<=", "≥": ">=", "‖": "||", "²": "^2", "−": "-", "–": "-", "→": "->", "·": "*", "∞": "inf", "…": "..."}


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Signs that a terminal cannot show, in letters that it can: τ ≤ 2 becomes tau <= 2."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    spelled = ""
    for sign in error.object[error.start : error.end]:
        name = unicodedata.name(sign, "")
        letters = name.rpartition(" ")[2] if name.startswith("GREEK") else unicodedata.normalize("NFKD", sign)
        plain = (letters.lower() if "SMALL" in name else letters.capitalize()).encode("ascii", "ignore").decode()
        spelled += SIGNS.get(sign) or plain or "?"
    return spelled, error.end


codecs.register_error("spelled", _spelled)


def _log_to(path: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="schemenets",
        description="Numerical algorithms for PDEs as neural architectures: the study, stage by stage.",
        epilog=f"The whole study in order: make study (or snakemake --cores all).\n\n{STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"schemenets {schemenets.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_info(commands)
    _add_certify(commands)
    _add_denoise(commands)
    _add_stages(commands)
    _add_plan(commands)
    _add_audit(commands)
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], help: str, *examples: str
) -> argparse.ArgumentParser:
    """A subcommand with its help text and examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=f"{help[0].lower()}{help[1:]}",
        description=f"{help[0].upper()}{help[1:]}.",
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("--log", type=Path, help="also write messages to this file")
    return parser


def _add_info(commands: Any) -> None:
    parser = _command(
        commands,
        "info",
        _info,
        "show what is installed, or what a checkpoint holds",
        "schemenets info",
        f"schemenets info {WEIGHTS} --seed 0",
        f"{devices.DEVICE}=cuda schemenets info",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, help="one or more trained networks (.safetensors)")
    _add_seed(parser)


def _add_certify(commands: Any) -> None:
    parser = _command(
        commands,
        "certify",
        _certify,
        "print what the parameters of a checkpoint guarantee, condition by condition; status 1 if a condition fails, "
        "no guarantee is known, or the record beside the checkpoint has another SHA-256",
        f"schemenets certify {WEIGHTS} --seed 0",
        f"schemenets certify {WEIGHTS} --seed 0 --dense 256",
        f"schemenets certify {WEIGHTS.replace('malik', 'malik-certified')} --seed 0 --verify 256",
    )
    parser.add_argument("checkpoint", type=Path, help="one or more trained networks (.safetensors)")
    _add_seed(parser)
    parser.add_argument(
        "--dense",
        type=int,
        metavar="LENGTH",
        help="use the norms of dense matrices for signals of this length instead of bounds; "
        "for a learned cycle: the number of grid points",
    )
    parser.add_argument(
        "--verify",
        type=int,
        metavar="LENGTH",
        help="also run the reference scheme with dense matrices, for signals of this length, and print what "
        "contradicts the certificate or a condition of its theorem; status 1 if anything does, or if the network "
        "cannot be verified; for a learned cycle: the number of grid points",
    )


def _add_denoise(commands: Any) -> None:
    parser = _command(
        commands,
        "denoise",
        _denoise,
        "denoise signals in a file: CSV with one signal per column, or .npy of shape (length,) or (signals, length)",
        "schemenets denoise signal.csv -o denoised.csv",
        "schemenets denoise scanlines lines.npy -o denoised.npy --range 0 255",
        f"schemenets denoise {WEIGHTS} signal.csv -o denoised.csv --seed 0",
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        help="a trained network (.safetensors), or one that comes with the package, for noise of standard deviation "
        f"4 %% of the range: {', '.join(pretrained.available())} (default: the first)",
    )
    parser.add_argument("signal", type=Path, help="the signals, of any length")
    parser.add_argument("-o", "--output", type=Path, required=True, help="where to write them (.csv or .npy)")
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values that become 0 and 1 for the network (default: the smallest and the largest of the file); the "
        "output is in the units of the input",
    )
    _add_seed(parser)


def _denoise(options: argparse.Namespace) -> None:
    span = None if options.range is None else tuple(options.range)
    denoise.run(options.checkpoint, options.signal, options.output, options.seed, span)


def _add_plan(commands: Any) -> None:
    parser = _command(
        commands,
        "plan",
        _plan,
        "say what a tier will cost (jobs, hours, disk, critical path), from the measured costs of an earlier run",
        "schemenets plan --tier extended",
        "schemenets plan --tier extended --device cuda",
        "schemenets plan --tier extended --runs 100000",
        "schemenets plan --records results/mine",
    )
    parser.add_argument("--tier", help="tier of the configuration (default: the one named there)")
    parser.add_argument("--config", type=Path, help="configuration (default: config/config.yaml)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where trainings run (default: cpu)")
    parser.add_argument("--runs", type=int, help="with as many seeds as give so many trained networks")
    parser.add_argument(
        "--records",
        type=Path,
        help="results whose records tell the costs, on machines such as yours (default: a table)",
    )


def _plan(options: argparse.Namespace) -> None:
    from schemenets.study import forecast  # needs the packages of the study, as _stage does
    from schemenets.study.config import CONFIG, Study

    study = Study.load(tier=options.tier, config=options.config or CONFIG)
    study.check_run()
    if options.runs is not None:
        if options.runs < 1:
            raise InvalidParameterError("--runs", options.runs, "at least 1")
        study = forecast.with_runs(study, options.runs)
    for line in forecast.told(study, options.device, options.records):
        print(line)


def _add_audit(commands: Any) -> None:
    parser = _command(
        commands,
        "audit",
        _audit,
        "check results: hashes, records, tables, verdicts, certificates, and checkpoints on fresh signals",
        "schemenets audit results/mine",
        "schemenets audit results/smoke --full",
    )
    parser.add_argument("results", type=Path, help="directory with a manifest.json")
    parser.add_argument("--full", action="store_true", help="rerun every job that can be rerun, not a sample")


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, help="which network, if the file holds several")


def _add_stages(commands: Any) -> None:
    for name in stages.available():
        keys = stages.wildcards(name)
        example = f"{EXAMPLES.get(name, JOB)} " if keys else ""
        help, example = stages.description(name).rstrip("."), f"schemenets {name} {example}--tier smoke"
        parser = (
            _add_report(commands, help, example) if name == REPORT else _command(commands, name, _stage, help, example)
        )
        parser.set_defaults(stage=name)
        if keys:
            parser.add_argument("name", help=f"the job, {'/'.join(keys).upper()}")
        else:
            parser.set_defaults(name=stages.ALL)
        parser.add_argument("--tier", help="tier of the configuration (default: the one named there)")
        parser.add_argument("--out", type=Path, help="results directory (default: results/smoke or results/mine)")
        parser.add_argument("--config", type=Path, help="configuration (default: config/config.yaml)")


def _add_report(commands: Any, help: str, example: str) -> argparse.ArgumentParser:
    """The stage with this name, which also shows what it wrote."""
    parser = _command(
        commands,
        REPORT,
        _report,
        "print where the report of a run is, and the verdict on every claim; with --tier, --out or --config: "
        f"{help[0].lower()}{help[1:]}",
        example,
        f"schemenets {REPORT}",
        f"schemenets {REPORT} results/smoke --open",
    )
    parser.add_argument(
        "results", nargs="?", type=Path, help="directory of the run (default: results/mine, else a committed one)"
    )
    parser.add_argument("--open", action="store_true", help="also open the report in a web browser")
    return parser


def _report(options: argparse.Namespace) -> int | None:
    writes = [f"--{key}" for key in ("tier", "out", "config") if getattr(options, key) is not None]
    if writes:
        if options.results or options.open:
            given = str(options.results or "--open")
            raise InvalidParameterError("report", given, f"nothing else with {writes[0]}, which writes a report")
        _stage(options)
        return OK
    from schemenets.study import outcome  # needs the packages of the study

    results = outcome.find(options.results)
    for line in outcome.lines(results):
        print(line)
    if options.open and not webbrowser.open(results.report.resolve().as_uri()):
        log.error("schemenets: --open: found no web browser, expected one that can show %s", results.report)
        return FINDING
    return OK


def _stage(options: argparse.Namespace) -> None:
    from schemenets.study.config import CONFIG, Study  # needs the packages of the study

    study = Study.load(tier=options.tier, config=options.config or CONFIG)
    known, results = study.specs(options.stage), Layout(options.out or study.results)
    if options.name not in known:
        raise UnknownNameError(f"job of {options.stage} in the tier {study.tier}", options.name, known)
    spec = known[options.name]
    for file in (file for found in stages.input_files(options.stage, spec).values() for file in found):
        if not (path := results.root / file).is_file():
            raise CheckpointError(f"{path}: file is missing; an earlier stage makes it (snakemake runs all in order)")
    stages.run(options.stage, options.name, spec, results)


def _audit(options: argparse.Namespace) -> int:
    from schemenets.study import audit  # needs the packages of the study, as _stage does

    return audit.run(options.results, options.full)


def _checkpoint(options: argparse.Namespace) -> Path:
    path: Path = options.checkpoint
    if path.is_dir():
        raise CheckpointError(f"{path}: got a directory, expected a checkpoint, such as weights.safetensors of a job")
    return path


def _certify(options: argparse.Namespace) -> int:
    network, changed = checkpoints.load(_checkpoint(options), options.seed), _changed(options.checkpoint)
    if isinstance(network, multigrid.CycleNetwork):
        lines, holds = _of_cycle(network, options.verify or options.dense)
    else:
        lines, holds = _of_denoiser(network, options)
    _print(lines | changed)
    return OK if holds and not changed else FINDING


def _changed(checkpoint: Path) -> dict[str, object]:
    """A warning if the record beside a checkpoint belongs to another file."""
    record = checkpoint.with_name("record.json")
    if not record.exists():
        return {}
    content, actual = files.read_json(record), files.sha256(checkpoint)
    recorded = content.get("weights_sha256", actual) if isinstance(content, dict) else actual
    if recorded == actual:
        return {}
    return {"record": f"{record.name} is of another file: got {recorded}, expected {actual}"}


def _of_denoiser(network: networks.DenoisingNetwork, options: argparse.Namespace) -> tuple[dict[str, object], bool]:
    """The certificate in words, and whether it holds."""
    k = network.architecture.kernel_size
    if options.dense is not None and options.dense < k:
        raise InvalidParameterError("--dense", options.dense, f"at least the kernel size {k}")
    norm = operators.norm_bound if options.dense is None else partial(stability.dense_norm, length=options.dense)
    certificate = stability.certify(network, norm)
    lines: dict[str, object] = {
        "network": f"{network.architecture.name} with {network.architecture.flux}",
        "theorem": certificate.theorem or "none for this network",
        **_bound(certificate),
        "Lipschitz bound": f"{certificate.lipschitz:.6g}",
        **{condition: "holds" if holds else "FAILS" for condition, holds in certificate.conditions.items()},
    }
    for index, block in enumerate(certificate.blocks):
        conditions = [f"{name} {'holds' if holds else 'FAILS'}" for name, holds in block.conditions.items()]
        numbers = {"step margin": block.step_margin, "c =": block.euclidean, "Lipschitz": block.lipschitz}
        numbers |= {"δ =": block.drift} if block.drift else {}
        numbers_given = [f"{name} {value:.6g}" for name, value in numbers.items() if value is not None]
        lines[f"block {index}"] = "; ".join(conditions + numbers_given)
    guarantee = "holds" if certificate.holds else "does not hold" if certificate.theorem else "none is known"
    if options.dense is not None:
        guarantee += f", for signals of length {options.dense}: norms of dense matrices bound no others"
    lines["guarantee"] = guarantee
    problems = []
    if options.verify is not None:
        if stability.can_verify(network.architecture):
            problems = stability.verify(options.checkpoint, options.verify, options.seed)
        else:
            problems = ["not possible: dense matrices cannot compute networks of this kind"]
        lines["verification"] = "; ".join(problems) or f"nothing contradicts it, for signals of length {options.verify}"
    return lines, certificate.holds and not problems


def _bound(certificate: stability.Certificate) -> dict[str, object]:
    """The bound of norms, with the drift in the units of the signals and in grey values."""
    if certificate.euclidean is None:
        return {"‖N(u)‖ ≤ c ‖u‖": "no bound"}
    if not certificate.drift:
        return {"‖N(u)‖ ≤ c ‖u‖": f"c = {certificate.euclidean:.6g}"}
    beta = f"β = {certificate.drift:.6g} for signals on [0, 1], {PEAK * certificate.drift:.4g} grey values"
    return {"rms(N(u)) ≤ c rms(u) + β": f"c = {certificate.euclidean:.6g}, {beta}"}


def _of_cycle(network: multigrid.CycleNetwork, length: int | None) -> tuple[dict[str, object], bool]:
    """The certificate for grids of ``length`` points, by default those of the training."""
    architecture = network.architecture
    lines: dict[str, object] = {"network": "learned cycle", **_of_problem(architecture.problem)}
    lines["solutions"] = "are fixed points" if architecture.consistent else "are NOT fixed points"
    if not architecture.linear:
        lines["guarantee"] = "of convergence: none is known, since problem or network is nonlinear"
        return lines, False
    length = length or round(architecture.problem.extent) - (not architecture.problem.screened)
    certificate = multigrid.certify(network, length)
    lines |= {
        "points": length,
        "spectral radius": f"{certificate.radius:.6g}, by dense matrices {certificate.radius_dense:.6g}",
        "energy norm": f"{certificate.energy_norm:.6g}",
        "guarantee": f"of convergence: {'holds' if certificate.holds else 'does not hold'}, on this grid",
    }
    return lines, certificate.holds


def _of_problem(problem: multigrid.Problem) -> dict[str, object]:
    arguments = problem.arguments()
    return {"problem": ", ".join(f"{key} {value}" for key, value in arguments.items())}


def _info(options: argparse.Namespace) -> None:
    if options.checkpoint:
        architecture, seeds, dtype, implicit_gradients = checkpoints.header(_checkpoint(options))
        if options.seed is not None:
            checkpoints.load(options.checkpoint, options.seed)  # raises if the seed is missing or the file damaged
        count = architecture.count()
        lines = architecture.arguments()
        if isinstance(architecture, multigrid.CycleArchitecture):
            lines |= {"problem": ", ".join(f"{key} {value}" for key, value in lines["problem"].items())}
        else:
            lines["certified by construction"] = lines.pop("certified")
        lines |= {"parameters": count.total, "convolution weights": count.convolution}
        lines |= {"seeds": ", ".join(map(str, seeds)), "precision": str(dtype).removeprefix("torch.")}
        lines |= {"gradients": "those of the solution"} if implicit_gradients else {}
    else:
        lines = {
            "schemenets": schemenets.__version__,
            "torch": torch.__version__,
            "kernel": kernels.backend(),
            "device": devices.described(),
            "networks": ", ".join(networks.available()),
            "fluxes": ", ".join(fluxes.available()),
            "signals": ", ".join(signals.available()),
            "stages": ", ".join(stages.available()),
        }
    _print(lines)


def _print(lines: Mapping[str, object]) -> None:
    width = max(map(len, lines))
    for key, value in lines.items():
        print(f"{key:{width}}  {value}")
