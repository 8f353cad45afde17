"""The committed results of the first protocol are those of their commit, and the documentation tells their verdicts."""

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST_PROTOCOL = ROOT / "results/first_protocol"


def test_the_results_of_the_first_protocol_are_the_listed_ones_and_no_others():
    lines = (FIRST_PROTOCOL / "SHA256SUMS").read_text().splitlines()
    listed = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    there = {path.relative_to(FIRST_PROTOCOL).as_posix(): path for path in FIRST_PROTOCOL.rglob("*") if path.is_file()}
    assert set(there) == {*listed, "README.md", "SHA256SUMS"}
    for name, sha256 in listed.items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == sha256, name


def test_the_last_verdicts_in_the_history_are_those_of_the_first_protocol():
    history = (ROOT / "docs/history.md").read_text(encoding="utf-8")
    last = {
        row[1]: row.groups()[1:]
        for row in re.finditer(r"^\| (C\w+) \| ([^|]*) \| ([^|]*) \| \d", history, re.MULTILINE)
    }
    judged = json.loads((FIRST_PROTOCOL / "claims.json").read_text(encoding="utf-8"))["claims"]
    effects = {claim["id"]: f"{claim['effect']:.3g} {claim['threshold']['unit']}".replace("-", "−") for claim in judged}
    assert last == {claim["id"]: (claim["verdict"], effects[claim["id"]]) for claim in judged}
