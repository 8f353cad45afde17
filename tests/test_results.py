"""The committed results of the first protocol are those of their commit."""

import hashlib
from pathlib import Path

FIRST_PROTOCOL = Path(__file__).parents[1] / "results/first_protocol"


def test_the_results_of_the_first_protocol_are_the_listed_ones_and_no_others():
    lines = (FIRST_PROTOCOL / "SHA256SUMS").read_text().splitlines()
    listed = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    there = {path.relative_to(FIRST_PROTOCOL).as_posix(): path for path in FIRST_PROTOCOL.rglob("*") if path.is_file()}
    assert set(there) == {*listed, "README.md", "SHA256SUMS"}
    for name, sha256 in listed.items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == sha256, name
