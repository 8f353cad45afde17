import json
import math
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import pywt
from scipy import stats

from schemenets import files, signals
from schemenets.errors import CheckpointError, InvalidParameterError, UnknownNameError

COUNTS = {"train": 30, "validation": 20, "test": 10}
NO_SPLIT = {"family": "piecewise_affine", "length": 64, "noise": 10.0, "seed": 3}
SPEC = NO_SPLIT | COUNTS
FAMILY_SPLITS = [(name, split) for name in signals.available() for split in signals.get(name).SPLITS]
family_splits = pytest.mark.parametrize(("family", "split"), FAMILY_SPLITS)


def one_split(family, split, **changes):
    return NO_SPLIT | {"family": family, split: 40} | changes


def clean(family, split, count, length, seed=0):
    return signals.get(family).clean(split, count, length, np.random.default_rng(seed))


# every family


def test_families_and_their_splits():
    splits = {name: signals.get(name).SPLITS for name in signals.available()}
    everything = ("train", "validation", "test")
    assert splits == {
        "donoho_johnstone": ("test",),
        "ecg": ("test",),
        "piecewise_affine": everything,
        "scanlines": everything,
    }


@family_splits
def test_clean_signals_keep_the_contract(family, split):
    u = clean(family, split, 40, 128)
    assert u.shape == (40, 128)
    assert u.dtype == np.float64
    assert u.min() >= -1e-12
    assert u.max() <= 255 + 1e-12
    assert (np.ptp(u, axis=1) > 0).all()
    assert np.array_equal(clean(family, split, 15, 128), u[:15])  # fewer are the first of more
    assert signals.get(family).__doc__


@family_splits
def test_noise_levels_are_paired(family, split):
    by_level = {noise: signals.generate(one_split(family, split, noise=noise)) for noise in (0, 10.0, 25)}
    clean, noisy = by_level[10.0][f"{split}/clean"], by_level[10.0][f"{split}/noisy"]
    assert clean.dtype == noisy.dtype == np.float32
    assert np.array_equal(by_level[0][f"{split}/noisy"], clean)
    assert np.array_equal(by_level[25][f"{split}/clean"], clean)
    patterns = [(a[f"{split}/noisy"] - clean) / s for s, a in by_level.items() if s]
    np.testing.assert_allclose(patterns[0], patterns[1], rtol=0, atol=1e-5)
    assert stats.kstest(patterns[0].ravel(), "norm").pvalue > 1e-3
    # of 2560 independent samples: about 1/√2560 = 0.02
    assert abs(stats.pearsonr(patterns[0].ravel(), clean.ravel()).statistic) < 0.1
    assert abs(stats.pearsonr(patterns[0][0::2].ravel(), patterns[0][1::2].ravel()).statistic) < 0.1


def test_noise_is_not_clipped():
    noisy = signals.generate(one_split("piecewise_affine", "test", noise=50.0))["test/noisy"]
    assert noisy.min() < -20
    assert noisy.max() > 275


# random streams


def test_counts_of_other_splits_change_nothing():
    whole = signals.generate(SPEC)
    for split in COUNTS:
        other = signals.generate(NO_SPLIT | {split: 25})
        for kind in ("clean", "noisy"):
            a, b = whole[f"{split}/{kind}"], other[f"{split}/{kind}"]
            assert np.array_equal(a[:25], b[: len(a)])
        assert len(other) == 2


def test_streams_differ_between_seeds_splits_families_and_kinds():
    specs = [one_split(*which, seed=seed) for which in FAMILY_SPLITS for seed in (0, 1)]
    noises = []
    for spec in specs:
        arrays = signals.generate(spec)
        f, u = (next(a for name, a in arrays.items() if name.endswith(kind)) for kind in ("noisy", "clean"))
        noises.append((f - u).astype(np.float64).ravel() / 10)
    correlation = np.corrcoef(noises) - np.eye(len(specs))
    assert np.abs(correlation).max() < 0.1  # 1/√2560 = 0.02 is usual

    u = [clean("piecewise_affine", "train", 5, 64, seed) for seed in (0, 1)]
    assert not np.isclose(u[0], u[1]).any()
    a = signals.generate(SPEC)
    assert not np.isclose(a["train/clean"][:10], a["test/clean"]).any()


def test_noise_is_not_drawn_from_the_stream_of_the_signals(monkeypatch):
    family = signals.get("piecewise_affine")
    monkeypatch.setattr(family, "clean", lambda split, count, length, rng: rng.standard_normal((count, length)))
    a = signals.generate(one_split("piecewise_affine", "test", noise=1.0))
    assert np.abs(a["test/noisy"] - 2 * a["test/clean"]).max() > 1


# families


def breaks(u):
    """Where segments start, by second differences: they are nonzero on both sides of a jump.

    The last sample is left out, for it may be a segment of its own, which has no other side.
    """
    bent = np.abs(np.diff(u, 2)) > 1e-9
    return np.concatenate([[0], np.flatnonzero(bent[:-1] & bent[1:]) + 2, [u.size - 1]])


def test_piecewise_affine_signals_are_what_the_protocol_says():
    table = []
    for u in clean("piecewise_affine", "train", 3000, 256):
        knots = breaks(u)
        lengths = np.diff(knots)
        assert lengths[-1] <= 50
        assert lengths[:-1].min() >= 10
        assert lengths[:-1].max() <= 50
        affine = [np.linspace(u[a], u[b - 1], b - a) for a, b in pairwise(knots)]
        np.testing.assert_allclose(u[:-1], np.concatenate(affine), rtol=0, atol=1e-9)
        # the first two segments, which are never cut off: lengths, first values, last values
        table.append([*lengths[:2], *u[knots[:2]], *u[knots[1:3] - 1]])
    columns = np.transpose(table)
    assert np.abs(np.corrcoef(columns) - np.eye(6)).max() < 0.08  # 1/√3000 = 0.02 is usual
    assert stats.chisquare(np.bincount(columns[:2].ravel().astype(int), minlength=51)[10:]).pvalue > 1e-3
    for values in columns[2:4].ravel(), columns[4:].ravel():
        assert stats.kstest(values, stats.uniform(0, 255).cdf).pvalue > 1e-3
        assert values.var() == pytest.approx(255**2 / 12, rel=0.04)


@pytest.mark.parametrize("length", [2, 9, 10, 11, 51, 500])
def test_piecewise_affine_length(length):
    u = clean("piecewise_affine", "test", 50, length)
    assert u.shape == (50, length)
    longer = clean("piecewise_affine", "test", 50, -(-length // 10) * 10)
    assert np.array_equal(u, longer[:, :length])  # cut off, not squeezed


IMAGES = {"train": "ascent", "validation": "aero", "test": "camera"}


@pytest.mark.parametrize(("split", "length", "pieces"), [("train", 256, 2), ("validation", 200, 2), ("test", 512, 1)])
def test_scanlines_are_all_the_pieces_of_one_image(split, length, pieces):
    image = getattr(pywt.data, IMAGES[split])().tolist()
    expected = [line[j * length : (j + 1) * length] for line in image for j in range(pieces)]
    expected += [list(line)[j * length : (j + 1) * length] for line in zip(*image, strict=True) for j in range(pieces)]
    u = clean("scanlines", split, 1024 * pieces, length)
    assert sorted(u.tolist()) == sorted(expected)
    assert not np.array_equal(u, clean("scanlines", split, 1024 * pieces, length, seed=1))


def test_scanlines_of_two_splits_share_no_signal():
    pieces = [{u.tobytes() for u in clean("scanlines", split, 2048, 256)} for split in IMAGES]
    assert [len(a & b) for a, b in zip(pieces, pieces[1:] + pieces[:1], strict=True)] == [0, 0, 0]


T0 = [0.1, 0.13, 0.15, 0.23, 0.25, 0.40, 0.44, 0.65, 0.76, 0.78, 0.81]
BLOCK_H = [4, -5, 3, -4, 5, -4.2, 2.1, 4.3, -3.1, 2.1, -4.2]
BUMP_H = [4, 5, 3, 4, 5, 4.2, 2.1, 4.3, 3.1, 5.1, 4.2]
BUMP_W = [0.005, 0.005, 0.006, 0.01, 0.01, 0.03, 0.01, 0.01, 0.005, 0.008, 0.005]
FORMULAS = [
    lambda t: sum(h * (1 + np.sign(t - t0)) / 2 for h, t0 in zip(BLOCK_H, T0, strict=True)),
    lambda t: sum(h / (1 + abs((t - t0) / w)) ** 4 for h, t0, w in zip(BUMP_H, T0, BUMP_W, strict=True)),
    lambda t: 4 * math.sin(4 * math.pi * t) - math.copysign(1, t - 0.3) - math.copysign(1, 0.72 - t),
    lambda t: math.sqrt(t * (1 - t)) * math.sin(2.1 * math.pi / (t + 0.05)),
]


@pytest.mark.parametrize("length", [64, 256, 1024])
def test_donoho_johnstone_signals_are_the_papers(length):
    u = clean("donoho_johnstone", "test", 10, length)
    for i, row in enumerate(u):
        formula = np.array([FORMULAS[i % 4](x / length) for x in range(1, length + 1)])
        np.testing.assert_allclose(row, 255 * (formula - formula.min()) / np.ptp(formula), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("length", "windows"), [(256, 4), (300, 3), (1024, 1)])
def test_ecg_windows_are_the_recording(length, windows):
    u = clean("ecg", "test", 2 * windows + 1, length)
    assert np.array_equal(u[:windows], u[windows:-1])
    assert np.array_equal(u[0], u[-1])
    whole = u[:windows].ravel()
    ecg = pywt.data.ecg()
    np.testing.assert_allclose(whole, np.interp(ecg[: whole.size], [ecg.min(), ecg.max()], [0, 255]), atol=1e-10)


# misuse


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"family": "scanlines", "train": 2048 * 4 + 1},
            "train: got 8193, expected .*at most 8192 signals of length 64",
        ),
        ({"family": "scanlines", "length": 513}, "length: got 513, expected .*at most 512"),
        ({"family": "ecg"}, r"splits: got \['test', 'train', 'validation'\], expected .*one or more of test for ecg"),
        ({"other": 1}, "splits: got .*'other'"),
        ({"train": 0}, "train: got 0, expected .*at least 1"),
        ({"train": 2.0}, "train: got 2.0, expected .*an integer"),
        ({"length": 1}, "length: got 1, expected .*at least 2"),
        ({"seed": True}, "seed: got True, expected .*an integer"),
        ({"seed": -1}, "seed: got -1, expected .*at least 0"),
        ({"noise": -1.0}, "noise: got -1.0, expected .*at least 0"),
        ({"noise": math.nan}, "noise: got nan"),
        ({"noise": math.inf}, "noise: got inf"),
        ({"noise": "10"}, "noise: got '10'"),
    ],
)
def test_impossible_data_sets_are_named(changes, message):
    for function in signals.check, signals.generate:
        with pytest.raises(InvalidParameterError, match=message):
            function(SPEC | changes)


@pytest.mark.parametrize("length", [64, 200, 512])
def test_largest_number_of_scanlines(length):
    largest = signals.get("scanlines").largest(length)
    spec = one_split("scanlines", "test", length=length, test=largest)
    assert signals.generate(spec)["test/clean"].shape == (largest, length)
    with pytest.raises(InvalidParameterError, match=f"at most {largest} "):
        signals.check(spec | {"test": largest + 1})
    with pytest.raises(InvalidParameterError, match=f"at most {largest}, .*'camera'"):
        clean("scanlines", "test", largest + 1, length)


def test_missing_keys_are_named():
    with pytest.raises(InvalidParameterError, match="also has noise, seed"):
        signals.generate({"family": "ecg", "length": 64, "test": 1})
    with pytest.raises(InvalidParameterError, match=r"splits: got \[\], expected .*one or more of train"):
        signals.generate(NO_SPLIT)


def test_unknown_family_is_named():
    with pytest.raises(UnknownNameError, match=r"signal family: got 'scanline', expected .*Did you mean 'scanlines'\?"):
        signals.generate(SPEC | {"family": "scanline"})


@pytest.mark.parametrize(("family", "length"), [("ecg", 1025), ("donoho_johnstone", 49), ("donoho_johnstone", 93)])
def test_impossible_lengths_are_named(family, length):
    with pytest.raises(InvalidParameterError, match=f"length: got {length}"):
        signals.generate(one_split(family, "test", length=length))


@pytest.mark.parametrize("family", ["scanlines", "donoho_johnstone", "ecg"])
def test_missing_pywavelets_is_explained(monkeypatch, family):
    for name in ("pywt", "pywt.data"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"\.\[study\]"):
        signals.generate(one_split(family, "test"))
    signals.check(one_split(family, "test"))  # a configuration can be checked without them


# files


@pytest.fixture
def path(tmp_path):
    signals.write(SPEC, tmp_path / "data" / "set.safetensors")
    return tmp_path / "data" / "set.safetensors"


def test_round_trip(path):
    written, arrays = signals.generate(SPEC), signals.read(path)
    assert arrays.keys() == written.keys()
    assert all(np.array_equal(arrays[name], written[name]) for name in written)
    assert sorted(p.name for p in path.parent.iterdir()) == ["set.json", "set.safetensors"]


def test_record(path):
    record, arrays = json.loads(path.with_suffix(".json").read_text()), signals.read(path)
    assert list(record) == ["spec", "sha256", "arrays", "noisy_psnr"]
    assert record["spec"] == SPEC
    assert record["sha256"] == files.sha256(path)
    assert {name: tuple(a["shape"]) for name, a in record["arrays"].items()} == {n: a.shape for n, a in arrays.items()}
    assert len({a["sha256"] for a in record["arrays"].values()}) == 6
    for split in IMAGES:
        mse = np.mean((arrays[f"{split}/noisy"].astype(float) - arrays[f"{split}/clean"]) ** 2, axis=1)
        by_hand = np.mean([20 * math.log10(255 / math.sqrt(e)) for e in mse])
        assert record["noisy_psnr"][split] == pytest.approx(by_hand, abs=1e-12)
        assert by_hand == pytest.approx(20 * math.log10(25.5), abs=1.0)


def test_noiseless_psnr_is_null(tmp_path):
    signals.write(SPEC | {"noise": 0.0}, tmp_path / "a.safetensors")
    assert files.read_json(tmp_path / "a.json")["noisy_psnr"] == dict.fromkeys(IMAGES)


def test_bytes_are_the_same_in_another_process(path):
    code = "import json, sys; from schemenets.signals import write; write(json.loads(sys.argv[1]), sys.argv[2])"
    again = path.with_name("again.safetensors")
    environment = os.environ | {"PYTHONHASHSEED": "5"}
    subprocess.run([sys.executable, "-c", code, json.dumps(SPEC), again], check=True, env=environment)
    assert again.read_bytes() == path.read_bytes()
    assert again.with_suffix(".json").read_bytes() == path.with_suffix(".json").read_bytes()


def test_write_wants_the_suffix(tmp_path):
    with pytest.raises(InvalidParameterError, match=r"set\.json.*\.safetensors"):
        signals.write(SPEC, tmp_path / "set.json")


def flip_last_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def swap(path):
    files.write_safetensors(path, signals.generate(SPEC | {"seed": 4}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), r"set\.safetensors: file is missing"),
        (lambda p: p.with_suffix(".json").unlink(), r"set\.json: file is missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), r"set\.safetensors: truncated"),
        (flip_last_bit, r"set\.safetensors: SHA-256: got [0-9a-f]{64}, expected [0-9a-f]{64}, that in .*set\.json$"),
        (swap, "SHA-256"),
        (
            lambda p: p.with_suffix(".json").write_text("[]"),
            r"SHA-256: got [0-9a-f]{64}, expected None, that in .*set\.json$",
        ),
        (lambda p: p.with_suffix(".json").write_text("{"), r"set\.json: no valid JSON"),
    ],
)
def test_damaged_files_are_named(path, damage, message):
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        signals.read(path)
