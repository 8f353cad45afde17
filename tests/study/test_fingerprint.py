"""Fingerprints change with the code a computation depends on, and with nothing else."""

import ast
import hashlib
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.records import fingerprints as module
from schemenets.study.records.fingerprints import of_stage

DENOISING = {
    "symmetric": {"architecture": {"name": "symmetric", "flux": "perona_malik"}, "task": {"name": "denoising"}},
    "resnet": {"architecture": {"name": "resnet", "flux": "relu"}, "task": {"name": "denoising"}},
}
PROBLEM = {"flux": "charbonnier"}
SOLVING = {"name": "solving", "problem": PROBLEM}
CYCLE = {"architecture": {"name": "cycle", "flux": "linear", "problem": PROBLEM}, "task": SOLVING}
UNET = {"architecture": {"name": "unet", "flux": "relu"}, "task": SOLVING}
SPECS = {
    **{f"{stage} {name}": (stage, spec) for stage in ("train", "evaluate") for name, spec in DENOISING.items()},
    **{f"{stage} cycle": (stage, CYCLE) for stage in ("train", "evaluate_solvers")},
    "train unet": ("train", UNET),
    "signals": ("signals", {"family": "ecg"}),
    "evolution": ("evolution", {}),
    "problems": ("problems", {"problem": PROBLEM}),
    "fixed_points": ("fixed_points", {"networks": [{"architecture": {"name": "implicit", "flux": "weickert"}}]}),
    "tables": ("tables", {"jobs": {"train": [], "evaluate": []}}),
    "claims": ("claims", {}),
}
TRAIN = {"train symmetric", "train resnet", "train cycle", "train unet"}
EVALUATE = {"evaluate symmetric", "evaluate resnet"}
SOLVERS = {"train cycle", "train unet", "evaluate_solvers cycle"}
NETWORKS = TRAIN | EVALUATE | {"evaluate_solvers cycle", "fixed_points", "tables"}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package whose files may be edited by :func:`edited`."""
    root, known, read = tmp_path_factory.mktemp("copy") / "schemenets", {}, module._code.__wrapped__
    shutil.copytree(module.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))

    def code(name):  # to read all files again for every edited one would take most of the time
        file = module._file(name.partition(":")[0])
        key = name, file and file.read_text()
        return known[key] if key in known else known.setdefault(key, read(name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROOT", root)
        patch.setattr(module, "_code", code)
        patch.setattr(module, "fingerprint", module.fingerprint.__wrapped__)  # which remembers
        yield root


@contextmanager
def edited(path, old=None, new=""):
    """``old`` in a file is ``new``, or ``new`` is added to its end."""
    text = path.read_text()
    assert old is None or text.count(old) == 1
    path.write_text(f"{text}\n{new}\n" if old is None else text.replace(old, new))
    yield
    path.write_text(text)


def fingerprints():
    return {name: of_stage(*arguments) for name, arguments in SPECS.items()}


def affected_by(path, old=None, new=""):
    """Names of the fingerprints that change."""
    before = fingerprints()
    with edited(path, old, new):
        after = fingerprints()
    return {name for name in SPECS if before[name] != after[name]}


@pytest.mark.parametrize(
    ("file", "affected"),
    [
        ("networks/symmetric.py", {"train symmetric", "evaluate symmetric"}),
        ("networks/resnet.py", {"train resnet", "evaluate resnet"}),
        ("networks/implicit.py", {"fixed_points"}),
        ("fluxes/relu.py", {"train resnet", "evaluate resnet", "train unet"}),
        ("fluxes/charbonnier.py", SOLVERS | {"problems"}),
        ("fluxes/perona_malik.py", {"train symmetric", "evaluate symmetric", "evolution"}),
        ("networks/_base.py", NETWORKS),
        ("kernels/loops.py", NETWORKS),
        ("multigrid/cycle.py", SOLVERS | {"tables"}),
        ("multigrid/data.py", {"problems", "evaluate_solvers cycle"}),
        ("multigrid/certificates.py", {"evaluate_solvers cycle", "tables"}),
        ("training.py", TRAIN | {"tables"}),
        ("signals/ecg.py", {"signals", "problems"}),
        ("study/measurements/fixed_points.py", {"fixed_points"}),
        ("study/claims/_families.py", {"claims", "tables"}),
        ("study/cli.py", set()),
        ("study/layout.py", set()),
        ("study/config.py", set()),
        ("study/plan.py", set()),
        ("study/stages/__init__.py", set()),
    ],
)
def test_editing_a_file_changes_what_depends_on_it(package, file, affected):
    assert affected_by(package / file, new="EDITED = True") == affected


@pytest.mark.parametrize(
    ("file", "old", "new", "affected"),
    [
        ("train.py", '"data_seed": data["seed"]', '"data_seed": data["seed"] + 1', TRAIN),
        ("train.py", 'sorted(study.settings["solvers"]', 'list(study.settings["solvers"]', set()),
        ("train.py", '"tuning": ("tune", spec["rate"])', '"tuning": ("tune", "m")', set()),
        ("train.py", "start=1", "start=0", {"tables"}),
        ("evaluate.py", "255 * 10 **", "256 * 10 **", EVALUATE),
        ("evaluate.py", '[*OF_A_RUN, "status", "test_set"', '[*OF_A_RUN, "test_set", "status"', {"tables"}),
        ("evaluate.py", "study.tested_on(spec", "study.tested(spec", set()),
        ("evolution.py", "tau / 6 *", "tau / 5 *", {"evolution"}),
        ("evolution.py", "TOLERANCE = 1e-5", "TOLERANCE = 1e-6", {"evolution"}),
        ("evolution.py", '**study.config["evolution"]', '**study.config["other"]', set()),
        ("_trained.py", '== "ok"', '!= "diverged"', EVALUATE | {"evaluate_solvers cycle", "fixed_points", "tables"}),
        ("_rows.py", "seed-{seed}", "{seed}", {"tables"}),
    ],
)
def test_of_a_stage_only_what_it_runs_counts(package, file, old, new, affected):
    """Specifications, inputs and tables are of no account to what a job has computed."""
    assert affected_by(package / "study/stages" / file, old, new) == affected


def test_imports_for_type_checkers_do_not_count(package):
    lines = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from schemenets.networks import resnet"
    with edited(package / "networks/symmetric.py", new=lines):
        assert affected_by(package / "networks/resnet.py", new="EDITED = True") == {"train resnet", "evaluate resnet"}


def test_every_statement_that_defines_a_name_counts(package):
    path = package / "study/stages/evolution.py"
    with edited(path, "AT_ONCE = 100", "AT_ONCE = 100\nAT_ONCE += 1"):
        assert affected_by(path, "AT_ONCE = 100", "AT_ONCE = 99") == {"evolution"}
        assert affected_by(path, "AT_ONCE += 1", "AT_ONCE += 2") == {"evolution"}


def test_comments_docstrings_and_formatting_do_not_count(package):
    path = package / "networks/symmetric.py"
    assert affected_by(path, "Explicit diffusion steps; per block", "Another docstring; per block") == set()
    assert affected_by(path, "do.block(u, ", "do.block(u,   ") == set()
    assert affected_by(path, new="# a comment") == set()


@pytest.mark.parametrize("file", ["networks/resnet.py", "networks/safeguarded_fsi.py", "fluxes/perona_malik.py"])
def test_jobs_depend_on_the_networks_and_fluxes_that_they_name_and_on_no_others(package, file):
    """Over all jobs of the study in miniature."""
    study = Study.load(Path(__file__).parents[2], "smoke")
    jobs = [
        (stage, spec)
        for stage in ("tune", "train", "evaluate", "stability", "growth", "random_growth", "robustness")
        for spec in study.specs(stage).values()
    ]
    before = [of_stage(*job) for job in jobs]
    with edited(package / file, new="EDITED = True"):
        after = [of_stage(*job) for job in jobs]
    named = [f"'{Path(file).stem}'" in str(spec) for _, spec in jobs]
    assert [a != b for a, b in zip(before, after, strict=True)] == named
    assert 0 < sum(named) < len(jobs)


def test_every_stage_has_a_fingerprint_and_those_of_all_are_different():
    study = Study.load(Path(__file__).parents[2], "smoke")
    first = {name: next(iter(study.specs(name).values())) for name in stages.available()}
    assert len({of_stage(name, spec) for name, spec in first.items()}) == len(first)


def test_an_unknown_module_is_refused():
    with pytest.raises(ModuleNotFoundError, match=r"no module 'schemenets\.networks\.none'"):
        module.fingerprint("schemenets.networks.none")


SAMPLE = """
import os as system
from typing import Any

@system.wrapped(1, key=None)
def function(a: int, /, b: "Any" = (1, 2.5), *rest: str, c=..., **more) -> list[int] | None:
    match a:
        case {"x": [y, *_]} if (n := len(rest)) > 2:
            return [f"{y!r:>{n}} {'nested'}" for y in more if y is not None]
        case _:
            raise ValueError(f"{a=}") from None

class Derived(Base, metaclass=Meta):
    x: int = -1

    async def method(self):
        async with self as one, other:
            return await (lambda u, *v: u @ v[0] ** 2)(one)
"""


def test_code_counts_the_same_in_all_versions_of_python():
    """The stored value is that of Python 3.11; the newest version is tested, too."""
    code = repr(module._plain(ast.parse(SAMPLE), []))
    assert hashlib.sha256(code.encode()).hexdigest().startswith("f926d58ea54fabde")
