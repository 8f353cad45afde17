import hashlib
import json
import math
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pywt
import skimage
from PIL import Image
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
    expected = {
        "donoho_johnstone": ("test",),
        "ecg": ("test",),
        "piecewise_affine": everything,
        "scanlines": everything,
    }
    assert {name: splits[name] for name in expected} == expected


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


# photographs

FILES = {"clock": "clock_motion", "immunohistochemistry": "ihc", "stereo_motorcycle": "motorcycle_left"}
SPLIT = {
    "train": ("aero", "ascent", "camera", "chelsea", "grass", "immunohistochemistry", "page", "stereo_motorcycle"),
    "validation": ("brick", "coffee", "moon"),
    "test": ("astronaut", "cell", "clock", "coins", "gravel", "text"),
}


@cache
def photograph(name):
    """Read from its file, in thousandths of grey values."""
    if name in ("aero", "ascent"):
        return 1000 * getattr(pywt.data, name)().astype(int)
    with Image.open(Path(skimage.__file__).parent / "data" / f"{FILES.get(name, name)}.png") as image:
        assert image.format == "PNG"
        values = np.array(image).astype(int)
    if name == "moon":
        values = values.reshape(256, 2, 256, 2)
        assert (values == values[:, :1, :, :1]).all()
        values = values[:, 0, :, 0]
    if values.ndim == 2:
        return 1000 * values
    red, green, blue = np.moveaxis(values, 2, 0)
    return 299 * red + 587 * green + 114 * blue


@cache
def pieces(name, length):
    """Their bytes, sorted; the same values can be in several places."""
    image = photograph(name)
    lines = [line for side in (image, image.T) for line in side]
    found = [line[i : i + length] for line in lines for i in range(0, len(line) - length + 1, length)]
    return sorted(piece.tobytes() for piece in found if len(set(piece.tolist())) > 1)


def scanlines(split, count, length, seed=0):
    """As bytes of thousandths of grey values."""
    u = 1000 * clean("scanlines", split, count, length, seed)
    np.testing.assert_allclose(u, np.rint(u), rtol=0, atol=1e-9)
    return [row.tobytes() for row in np.rint(u).astype(int)]


def test_photographs_are_those_of_the_study():
    values = [photograph(name).astype("<i4").tobytes() for name in sorted(sum(SPLIT.values(), ()))]
    assert hashlib.sha256(b"".join(values)).hexdigest()[:16] == "863c5906158034c1"


def test_photographs_are_grey_as_pillow_makes_them():
    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as image:
        grey = np.array(image.convert("L"))
    assert np.abs(signals.get("scanlines")._grey("coffee") - grey).max() < 0.51  # it rounds


@pytest.mark.parametrize(("split", "length"), [("validation", 200), ("test", 256), ("test", 64)])
def test_scanlines_are_all_the_pieces_of_images_in_turn(split, length):
    names = SPLIT[split]
    most = max(len(pieces(name, length)) for name in names)
    u, other = (scanlines(split, len(names) * most + 6, length, seed) for seed in (0, 1))
    for index, name in enumerate(names):
        found, count = u[index :: len(names)], len(pieces(name, length))
        assert sorted(found[:count]) == pieces(name, length)
        assert found[count:] == (found * 99)[: len(found) - count]  # again, in the same order
        assert found != other[index :: len(names)]


def test_scanlines_for_training_resample_images_and_their_pieces():
    names = SPLIT["train"]
    of_piece = {piece: name for name in names for piece in pieces(name, 256)}
    drawn = [[of_piece[piece] for piece in scanlines("train", 16, 256, seed)] for seed in range(40)]
    assert all(images[:8] == images[8:] for images in drawn)
    counts = [sum(images[:8].count(name) for images in drawn) for name in names]
    assert sum(counts) == 320
    assert stats.chisquare(counts).pvalue > 1e-3
    distinct = np.mean([len(set(images)) for images in drawn])
    assert distinct == pytest.approx(8 * (1 - (7 / 8) ** 8), abs=0.6)  # standard deviation of the mean: 0.16

    u = scanlines("train", 8 * 4000, 256)
    for index, name in enumerate(drawn[0][:8]):
        own, known = Counter(u[index::8]), Counter(pieces(name, 256))
        expected = np.array(list(known.values()))
        assert own.keys() <= known.keys()
        assert stats.chisquare([own[each] for each in known], 4000 * expected / expected.sum()).pvalue > 1e-3
    assert len({tuple(u[index::8]) for index in range(8)}) == 8  # also where an image is drawn twice


def test_scanlines_of_two_splits_share_no_signal():
    found = [{piece for name in names for piece in pieces(name, 256)} for names in SPLIT.values()]
    assert [len(a & b) for a, b in zip(found, found[1:] + found[:1], strict=True)] == [0, 0, 0]


def test_scanlines_are_long_enough_and_enough_for_the_study():
    names = sum(SPLIT.values(), ())
    assert min(max(photograph(name).shape) for name in names) == 256
    assert min(len(pieces(name, 256)) for name in SPLIT["test"]) == 172
    assert min(len(pieces(name, 256)) for name in SPLIT["validation"]) == 512
    with pytest.raises(InvalidParameterError, match="length: got 257, expected at most 256"):
        clean("scanlines", "test", 1, 257)


def test_splits_of_the_photographs_follow_from_names_and_licences():
    table = (Path(__file__).parents[2] / "docs" / "photographs.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines() if "| `" in line]
    split = {name: split for name, split, *_ in rows}
    assert split == {name: split for split, names in SPLIT.items() for name in names}
    names = sorted(split)
    assert [name for name, *_ in rows] == names
    stated = {name for name, *_, licence in rows if "not stated" not in licence}
    eligible = [name for name in names if name in stated - {"aero", "ascent", "camera"}]
    assert tuple(eligible[::2]) == SPLIT["test"]
    assert tuple(name for name in names if name not in eligible[::2])[2::3] == SPLIT["validation"]


def test_data_sets_say_which_image_a_signal_is_from(tmp_path):
    spec = NO_SPLIT | {"family": "scanlines"} | COUNTS
    signals.write(spec, tmp_path / "set.safetensors")
    arrays, record = signals.read(tmp_path / "set.safetensors"), files.read_json(tmp_path / "set.json")
    assert [name for name in arrays if name.endswith("/image")] == ["test/image", "validation/image"]
    assert record["images"] == {split: list(SPLIT[split]) for split in ("validation", "test")}
    for split, names in record["images"].items():
        index = arrays[f"{split}/image"]
        assert index.dtype == np.int64
        assert index.shape == (COUNTS[split],)
        for u, image in zip(arrays[f"{split}/clean"], index, strict=True):
            assert np.rint(1000 * u.astype(float)).astype(int).tobytes() in pieces(names[image], 64)
    signals.write(one_split("scanlines", "train"), tmp_path / "other.safetensors")
    assert "images" not in files.read_json(tmp_path / "other.json")


def test_test_images_stay_unseen_in_an_exploration(tmp_path):
    spec = NO_SPLIT | {"family": "scanlines"} | COUNTS
    usual, hidden = signals.generate(spec), signals.generate(spec | {"exploratory": True})
    for name in usual:
        assert np.array_equal(usual[name], hidden[name]) == (not name.startswith("test/")), name
    allowed = {piece for name in SPLIT["validation"] for piece in pieces(name, 64)}
    rounded = np.rint(1000 * hidden["test/clean"].astype(float)).astype(int)
    assert all(u.tobytes() in allowed for u in rounded)
    signals.write(spec | {"exploratory": True}, tmp_path / "set.safetensors")
    assert files.read_json(tmp_path / "set.json")["images"]["test"] == list(SPLIT["validation"])
    affine = one_split("piecewise_affine", "test")
    for name, array in signals.generate(affine | {"exploratory": True}).items():
        np.testing.assert_array_equal(array, signals.generate(affine)[name])
    with pytest.raises(InvalidParameterError, match="exploratory: got 1, expected true or false"):
        signals.generate(spec | {"exploratory": 1})


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
        ({"family": "scanlines", "length": 257}, "length: got 257, expected .*at most 256"),
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


def test_more_signals_than_a_family_has_are_refused(monkeypatch):
    monkeypatch.setattr(signals.get("piecewise_affine"), "largest", lambda length: length // 2)
    spec = one_split("piecewise_affine", "test", test=32)
    signals.check(spec)
    with pytest.raises(InvalidParameterError, match="test: got 33, expected at most 32 signals of length 64"):
        signals.check(spec | {"test": 33})


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


@pytest.mark.parametrize(
    ("family", "split", "package", "named"),
    [
        ("scanlines", "train", "pywt", "PyWavelets"),
        ("scanlines", "test", "skimage", "scikit-image"),
        ("donoho_johnstone", "test", "pywt", "PyWavelets"),
        ("ecg", "test", "pywt", "PyWavelets"),
    ],
)
def test_missing_packages_are_explained(monkeypatch, family, split, package, named):
    signals.get("scanlines")._grey.cache_clear()
    for name in (package, f"{package}.data"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"come with {named}: .*\.\[study\]"):
        signals.generate(one_split(family, split))
    signals.check(one_split(family, split))  # a configuration can be checked without them


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
    for split in COUNTS:
        mse = np.mean((arrays[f"{split}/noisy"].astype(float) - arrays[f"{split}/clean"]) ** 2, axis=1)
        by_hand = np.mean([20 * math.log10(255 / math.sqrt(e)) for e in mse])
        assert record["noisy_psnr"][split] == pytest.approx(by_hand, abs=1e-12)
        assert by_hand == pytest.approx(20 * math.log10(25.5), abs=1.0)


def test_noiseless_psnr_is_null(tmp_path):
    signals.write(SPEC | {"noise": 0.0}, tmp_path / "a.safetensors")
    assert files.read_json(tmp_path / "a.json")["noisy_psnr"] == dict.fromkeys(COUNTS)


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


def test_another_draw_is_another_set_of_signals_of_the_same_kind():
    spec = {"family": "piecewise_affine", "length": 64, "noise": 10, "seed": 3, "train": 500}
    plain, first, second = (signals.generate(spec | own) for own in ({}, {"draw": 0}, {"draw": 1}))
    for name in plain:
        assert not np.array_equal(plain[name], first[name])
        assert not np.array_equal(first[name], second[name])
        np.testing.assert_array_equal(second[name], signals.generate(spec | {"draw": 1})[name])
    means = [each["train/clean"].mean() for each in (plain, first, second)]
    np.testing.assert_allclose(means, 127.5, atol=5)
    with pytest.raises(InvalidParameterError, match="draw: got -1, expected"):
        signals.generate(spec | {"draw": -1})
