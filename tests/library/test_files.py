import errno
import hashlib
import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch

from schemenets import files
from schemenets.errors import CheckpointError


def entries(folder):
    return sorted(p.name for p in folder.iterdir())


def test_atomic_write_creates_parents_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "text"
    files.atomic_write(path, "λ ≥ 0\n")
    files.atomic_write(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert entries(path.parent) == ["text"]


def test_a_full_disk_is_reported_with_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.json'$"):
        files.atomic_write(tmp_path / "a.json", "{}")
    assert not list(tmp_path.iterdir())


def test_atomic_write_respects_the_umask(tmp_path):
    files.atomic_write(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")]
    assert modes[0] == modes[1]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    files.write_json(path, 1)

    def full_disk(fd):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        files.write_json(path, 2)
    assert files.read_json(path) == 1
    assert entries(tmp_path) == ["record.json"]


def test_sha256_known_answer(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4 example
    assert files.sha256(tmp_path / "abc") == known


def test_json_round_trip_keeps_order_and_text(tmp_path):
    path = tmp_path / "a.json"
    obj = {"z": [1, 2.5, None], "a": {"σ": "Φ"}}
    files.write_json(path, obj)
    text = path.read_text(encoding="utf-8")
    assert "Φ" in text
    assert text.endswith("}\n")
    assert list(files.read_json(path)) == ["z", "a"]
    assert files.read_json(path) == obj == json.loads(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", [value])
    assert entries(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe"])
def test_read_json_names_the_damaged_file(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.json: no valid JSON"):
        files.read_json(path)


@pytest.mark.parametrize("read", [files.read_json, files.read_safetensors])
def test_missing_file_is_named(tmp_path, read):
    with pytest.raises(CheckpointError, match="absent: file is missing"):
        read(tmp_path / "absent")


TENSORS = {
    "weights/1": torch.arange(6.0, dtype=torch.float64, requires_grad=True).reshape(2, 3).T,
    "scalar": np.array(2.5, np.float32),
    "bits": np.arange(5, dtype=np.uint8)[::-1],
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
}


def test_safetensors_round_trip(tmp_path):
    path = tmp_path / "net.safetensors"
    files.write_safetensors(path, TENSORS, metadata='{"name": "Φ", "blocks": 2}')
    arrays, metadata = files.read_safetensors(path)
    assert metadata == '{"name": "Φ", "blocks": 2}'
    assert arrays.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
        assert arrays[name].dtype == expected.dtype
        assert arrays[name].shape == expected.shape
        assert np.array_equal(arrays[name], expected)


def test_safetensors_without_metadata(tmp_path):
    files.write_safetensors(tmp_path / "a", {"x": np.zeros(3)})
    assert files.read_safetensors(tmp_path / "a")[1] is None


def test_safetensors_bytes_are_the_same_in_another_process(tmp_path):
    code = (
        "import sys, numpy as np; from schemenets.files import write_safetensors; "
        "write_safetensors(sys.argv[1], {n: np.arange(3.0) for n in sys.argv[2]}, metadata='{}')"
    )
    hashes = set()
    for hash_seed, names in [("1", "abcdef"), ("2", "fedcba")]:
        path = tmp_path / hash_seed
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, path, names], check=True, env=environment)
        hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_truncated_safetensors_is_named(tmp_path, keep):
    path = tmp_path / "net.safetensors"
    files.write_safetensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"net\.safetensors: truncated"):
        files.read_safetensors(path)


def test_a_file_that_has_this_content_already_keeps_its_time(tmp_path):
    path = tmp_path / "file"
    files.atomic_write(path, "content")
    os.utime(path, (1, 1))
    files.atomic_write(path, b"content")
    assert path.stat().st_mtime == 1
    files.atomic_write(path, "other")
    assert path.stat().st_mtime > 1
