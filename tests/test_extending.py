"""What the page on extensions adds works, from a signal to the report; apart from other tests, as it takes minutes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_docs import FILE, PAGES, ROOT

pytestmark = pytest.mark.slow


def test_everything_is_added_as_shown(tmp_path):
    """All files of the page, put into a copy of the project: from the signals to the report and its audit."""
    for name in ("Snakefile", "config", "workflow", "src"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "profiles").symlink_to("workflow/profiles")
    for name, text in FILE.findall(PAGES["docs/extending.md"]):
        path = tmp_path / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(before + text, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PATH": path, "SCHEMENETS_KERNEL": "fused"}

    def successful(*command):
        found = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr

    successful("snakemake", "--cores", "2", "--configfile", "mine.yaml")
    successful("schemenets", "audit", "results/mine")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    own = [f"tests/library/test_{name}.py" for name in ("fluxes", "networks", "signals")]
    successful("pytest", "-q", "-p", "no:cacheprovider", "-k", "huber or heavy_ball or sawtooth", *own)
    results = tmp_path / "results/mine"
    job = results / "runs/sawtooth/heavy_ball-huber/blocks-4"
    records = {name: json.loads((job / f"{name}.json").read_text()) for name in ("record", "stability")}
    assert records["record"]["provenance"]["kernel"] == "fused"
    assert [network["theorem"] for network in records["stability"]["networks"]] == [None, None]
    tables = {name: pd.read_csv(results / f"tables/{name}.csv") for name in ("runs", "filters")}
    assert set(tables["filters"]["method"]) == {"symmetric-perona_malik"}  # of symmetric networks
    assert (tables["filters"]["mean_absolute"] > 0).all()
    claims = {claim["id"]: claim for claim in json.loads((results / "claims.json").read_text())["claims"]}
    assert claims["M1"]["verdict"] == "inconclusive"  # with two seeds
    report = (results / "report.html").read_text(encoding="utf-8")
    for shown in ("Momentum helps", "The mean absolute value of the filters lies between", "heavy_ball"):
        assert shown in report
