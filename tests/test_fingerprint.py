"""Fingerprints change with the code a computation depends on, and with nothing else."""

import shutil

import pytest

from schemenets.study.records import fingerprints as module
from schemenets.study.records.fingerprints import of_stage

SYMMETRIC = {"architecture": {"name": "symmetric", "flux": "perona_malik"}}
RESNET = {"architecture": {"name": "resnet", "flux": "relu"}}
SPECS = {
    **{
        f"{stage} {spec['architecture']['name']}": (stage, spec)
        for stage in ("train", "evaluate")
        for spec in (SYMMETRIC, RESNET)
    },
    "signals": ("signals", {"family": "ecg"}),
    "evolution": ("evolution", {}),
    "claims": ("claims", {}),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that a test may edit."""
    root = tmp_path / "schemenets"
    shutil.copytree(module.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "ROOT", root)
    module._code.cache_clear()
    yield root
    module._code.cache_clear()


def fingerprints():
    module._code.cache_clear()
    return {name: of_stage(*arguments) for name, arguments in SPECS.items()}


@pytest.mark.parametrize(
    ("file", "affected"),
    [
        ("networks/symmetric.py", {"train symmetric", "evaluate symmetric"}),
        ("networks/resnet.py", {"train resnet", "evaluate resnet"}),
        ("fluxes/relu.py", {"train resnet", "evaluate resnet"}),
        ("fluxes/charbonnier.py", set()),
        ("fluxes/perona_malik.py", {"train symmetric", "evaluate symmetric", "evolution"}),
        ("study/stages/evolution.py", {"evolution"}),
        ("networks/_base.py", {"train symmetric", "evaluate symmetric", "train resnet", "evaluate resnet"}),
        ("kernels/fused.py", {"train symmetric", "evaluate symmetric", "train resnet", "evaluate resnet"}),
        ("training.py", {"train symmetric", "train resnet"}),
        ("study/stages/train.py", {"train symmetric", "train resnet"}),
        ("study/stages/evaluate.py", {"evaluate symmetric", "evaluate resnet"}),
        ("signals/ecg.py", {"signals"}),
        ("claims.py", {"claims"}),
        ("statistics.py", {"claims"}),
        ("cli.py", set()),
        ("layout.py", set()),
        ("config.py", set()),
    ],
)
def test_editing_a_file_changes_what_depends_on_it(package, file, affected):
    before = fingerprints()
    path = package / file
    path.write_text(path.read_text() + "\nEDITED = True\n")
    after = fingerprints()
    assert {name for name in SPECS if before[name] != after[name]} == affected


def test_comments_docstrings_and_formatting_do_not_count(package):
    before = fingerprints()
    path = package / "networks/symmetric.py"
    code = path.read_text().replace('"""u ↦ u - τ Kᵀ Φ(K u)."""', '"""Another docstring."""')
    path.write_text("# a comment\n" + code.replace("F, k = ", "F,   k = "))
    assert fingerprints() == before


def test_an_unknown_module_is_refused():
    with pytest.raises(ModuleNotFoundError, match=r"no module 'schemenets\.networks\.none'"):
        module.fingerprint("schemenets.networks.none")
