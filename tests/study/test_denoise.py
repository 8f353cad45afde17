"""``schemenets denoise``: files in, files out, and what is wrong with them."""

import numpy as np
import pytest
import torch

from schemenets import checkpoints, networks, pretrained
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.study import cli


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")


SIGNALS = np.random.default_rng(0).uniform(20, 240, (3, 50))


def expected(values, low, high, name="piecewise_affine"):
    net = checkpoints.load(pretrained.path(name))
    with torch.no_grad():
        y = net(torch.from_numpy((np.atleast_2d(values) - low) / (high - low)).float()).double().numpy()
    return low + (high - low) * y


@pytest.mark.parametrize("header", [(), ("a", "b, c", "d")])
def test_csv_files_have_one_signal_per_column(header, tmp_path, capsys):
    names = '"a","b, c",d\n' if header else ""
    (tmp_path / "in.csv").write_text(names + "\n".join(",".join(map(str, row)) for row in SIGNALS.T) + "\n\n")
    assert cli.main(["denoise", "in.csv", "-o", "out.csv"]) == 0
    error = capsys.readouterr().err
    assert "in.csv: 3 signals of length 50\n" in error  # a file with decimal commas has twice as many
    assert "in.csv: values from" in error
    first, *rest = (tmp_path / "out.csv").read_text().splitlines()
    assert (first == 'a,"b, c",d') == bool(header)
    found = np.array([[float(cell) for cell in row.split(",")] for row in (rest if header else [first, *rest])]).T
    np.testing.assert_allclose(found, expected(SIGNALS, SIGNALS.min(), SIGNALS.max()), rtol=1e-7)


def test_a_column_that_numbers_the_rows_is_noticed(tmp_path, capsys):
    (tmp_path / "in.csv").write_text("row,a\n" + "".join(f"{i},{value}\n" for i, value in enumerate(SIGNALS[0])))
    assert cli.main(["denoise", "in.csv", "-o", "out.csv"]) == 0
    assert "in.csv: column 1 seems to number the rows" in capsys.readouterr().err


@pytest.mark.parametrize("flat", [False, True])
def test_arrays_keep_their_shape_and_units(flat):
    values = SIGNALS[0] if flat else SIGNALS
    np.save("in.npy", values.astype(">f4"))
    assert cli.main(["denoise", "scanlines", "in.npy", "-o", "out.npy", "--range", "0", "255"]) == 0
    found = np.load("out.npy")
    assert found.shape == values.shape
    np.testing.assert_allclose(
        np.atleast_2d(found), expected(values.astype(np.float32), 0, 255, "scanlines"), rtol=1e-5
    )


def test_checkpoints_of_ones_own_are_taken(tmp_path):
    net = networks.build("resnet", blocks=1, filters=2, kernel_size=3, flux="relu")
    checkpoints.save_all({0: net, 4: net}, tmp_path / "net.safetensors")
    np.save("in.npy", SIGNALS / 255)
    assert cli.main(["denoise", "net.safetensors", "in.npy", "-o", "out.npy", "--range", "0", "1", "--seed", "4"]) == 0
    with torch.no_grad():
        np.testing.assert_allclose(np.load("out.npy"), net(torch.from_numpy(SIGNALS / 255).float()), rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\n2\nx\n4\n5\n6", "in.csv, line 3, column 1: got 'x', expected a finite number"),
        (b"a,b\n1,2\n3,nan\n", "in.csv, line 3, column 2: got 'nan', expected a finite number"),
        (b"nan\n" + b"1\n" * 6, "in.csv, line 1, column 1: got 'nan', expected a finite number"),
        (b"a,-inf\n1,2\n", "in.csv, line 1, column 1: got 'a', expected a finite number"),
        (b"a;b\n1;2\n", "line 2, column 1: got '1;2', expected a finite number, and commas between columns"),
        (b"1,2\n3\n", "in.csv, line 2: got 1 values, expected 2, as before"),
        (b"", "in.csv: got no numbers, expected one signal per column"),
        (b"name\n", "in.csv: got no numbers, expected one signal per column"),
        (b"\xff\xfe", "in.csv: no text in UTF-8"),
        (b"x" * 200_000, "in.csv: no CSV file (field larger than field limit"),
        (b"1\n2\n3\n", "length of in.csv: got 3, expected at least the kernel size 5"),
        (b"1\n1\n1\n1\n1\n1\n", "range: got (1.0, 1.0), expected two numbers"),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_named(content, message, tmp_path, capsys):
    (tmp_path / "in.csv").write_bytes(content)
    assert cli.main(["denoise", "in.csv", "-o", "out.csv"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 3, 4)), "in.npy: got float64 of shape (2, 3, 4), expected real numbers of shape (length,)"),
        (np.array([1.0, np.inf]), "in.npy: value (1,): got inf, expected finite numbers"),
        (np.array(["a"]), "in.npy: got <U1 of shape (1,), expected real numbers"),
    ],
)
def test_what_is_wrong_with_an_array_is_named(array, message, capsys):
    np.save("in.npy", array)
    assert cli.main(["denoise", "in.npy", "-o", "out.npy"]) == 2
    assert message in capsys.readouterr().err


def test_files_that_do_not_fit_are_named(tmp_path, capsys):
    np.save("in.npy", SIGNALS)
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, SIGNALS)
    cycle = CycleArchitecture(problem=Problem(tau=1.0)).build()
    checkpoints.save(cycle, tmp_path / "cycle.safetensors")
    for arguments, message in (
        (["none.npy"], "none.npy: file is missing"),
        (["in.txt"], "in.txt: got the suffix '.txt', expected .csv or .npy"),
        (["bad.npy"], "bad.npy: no array in the format of NumPy"),
        (["archive.npy"], "archive.npy: got an archive of arrays, expected one array"),
        (["waves.safetensors", "in.npy"], "waves.safetensors: file is missing"),
        (
            ["scanline", "in.npy"],
            "checkpoint: got 'scanline', expected one of a file (.safetensors), piecewise_affine,",
        ),
        (["cycle.safetensors", "in.npy"], "cycle.safetensors: got a network that solves a problem"),
        (["in.npy", "--range", "1", "0"], r"range: got (1.0, 0.0), expected two numbers, the smaller one first"),
        (["in.npy", "--seed", "7"], "seed: got 7, expected one of 0"),
    ):
        assert cli.main(["denoise", *arguments, "-o", "out.npy"]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["denoise", "in.npy", "-o", "out.txt"]) == 2
    assert "suffix of the output: got 'out.txt', expected .csv or .npy" in capsys.readouterr().err
