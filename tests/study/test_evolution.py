"""Data sets of an evolution against an independent integrator, and the numerical schemes that are its yardstick."""

import numpy as np
import pytest
import scipy.linalg
from scipy.integrate import solve_ivp

from schemenets import files, signals
from schemenets.signals import _datasets
from schemenets.study import stages
from schemenets.study.layout import Layout
from schemenets.study.stages import evolution, schemes
from schemenets.study.stages.evaluate import relative_error

COUNTS = {"train": 5, "validation": 3, "test": 4}
SOURCE = {"family": "piecewise_affine", "noise": 10, "length": 64, "seed": 1}
NAME = "evolution_3-10"
SPEC = {"source": "piecewise_affine-10", "time": 3, "contrast": 25.5, "seed": 1, "length": 64} | COUNTS
NORM_SQUARED = 4 * np.sin(np.pi * 63 / 128) ** 2  # the largest eigenvalue 2 - 2cos(π(N-1)/N) of KᵀK


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("results"))
    # more signals than are asked for
    signals.write(SOURCE | {split: count + 2 for split, count in COUNTS.items()}, layout.dataset(SPEC["source"]))
    stages.run("evolution", NAME, SPEC, layout)
    return layout


@pytest.fixture(scope="module")
def arrays(results):
    return signals.read(results.dataset(NAME))


def integrated(f, time, contrast):
    """u(T) by SciPy, with sums over pairs of neighbours instead of differences."""

    def right_hand_side(t, u):
        s = u[1:] - u[:-1]
        flow = s / (1 + (s / contrast) ** 2)
        change = np.zeros_like(u)
        change[:-1] += flow
        change[1:] -= flow
        return change

    return solve_ivp(right_hand_side, (0, time), f, method="DOP853", rtol=1e-11, atol=1e-9).y[:, -1]


@pytest.mark.parametrize(("time", "contrast"), [(1, 25.5), (16, 25.5), (16, 5.0)])
def test_evolution_agrees_with_scipy(arrays, time, contrast):
    f = arrays["test/noisy"].astype(np.float64)
    u, estimate = evolution.evolve(f, time, contrast)
    error = np.abs(u - [integrated(row, time, contrast) for row in f]).max()
    assert error <= evolution.TOLERANCE
    assert error <= 3 * estimate + 1e-8
    assert estimate <= evolution.TOLERANCE
    assert np.abs(u - f).max() > 10


def test_wide_contrast_is_the_matrix_exponential():
    """With λ → ∞ the flux is the identity, and the diffusion that of the heat equation with reflecting ends."""
    f = np.random.default_rng(0).uniform(0, 255, (2, 12))
    laplacian = scipy.linalg.toeplitz([2.0, -1.0, *[0.0] * 10])
    laplacian[0, 0] = laplacian[-1, -1] = 1
    u, _ = evolution.evolve(f, 2, 1e9)
    np.testing.assert_allclose(u, f @ scipy.linalg.expm(-2 * laplacian), atol=1e-4)
    np.testing.assert_allclose(u.mean(1), f.mean(1), rtol=1e-12)


def test_the_data_set_holds_f_and_u_of_its_splits(results, arrays):
    given = signals.read(results.dataset(SPEC["source"]))
    assert set(arrays) == {f"{split}/{part}" for split in COUNTS for part in ("noisy", "clean")}
    for split, count in COUNTS.items():
        f, u = arrays[f"{split}/noisy"], arrays[f"{split}/clean"]
        assert np.array_equal(f, given[f"{split}/noisy"][:count])
        assert u.dtype == np.float32
        np.testing.assert_allclose(u[-1], integrated(f[-1].astype(float), 3, 25.5), atol=1e-4)


def test_the_record_is_that_of_any_data_set_and_tells_the_source_and_the_error(results, tmp_path):
    record = files.read_json(results.dataset(NAME).with_suffix(".json"))
    _datasets.write(SOURCE | COUNTS, tmp_path / "other.safetensors")
    other = files.read_json(tmp_path / "other.json")
    assert set(other) <= set(record)
    assert record["spec"] == SPEC
    assert record["source_sha256"] == files.sha256(results.dataset(SPEC["source"]))
    assert 0 < record["estimated_error"] <= evolution.TOLERANCE
    assert {name: entry["shape"] for name, entry in record["arrays"].items()} == {
        name: entry["shape"] for name, entry in other["arrays"].items()
    }


def test_the_same_specification_gives_the_same_bytes(results, tmp_path):
    again = Layout(tmp_path)
    again.dataset("x").parent.mkdir(parents=True)
    for name in (SPEC["source"], NAME):
        for suffix in (".safetensors", ".json"):
            path = results.dataset(name).with_suffix(suffix)
            if name == SPEC["source"]:
                again.dataset(name).with_suffix(suffix).write_bytes(path.read_bytes())
    stages.run("evolution", NAME, SPEC, again)
    for suffix in (".safetensors", ".json"):
        first, second = (layout.dataset(NAME).with_suffix(suffix) for layout in (results, again))
        assert first.read_bytes() == second.read_bytes()


def rows(results, steps=(2, 4, 16)):
    spec = {"datasets": {NAME: {"time": 3, "contrast": 25.5, "steps": list(steps)}}}
    stages.run("schemes", "all", spec, results)
    content = files.read_json(results.file("schemes", "all", "schemes"))
    assert set(content["provenance"]["inputs_sha256"]) == set(stages.output_files("evolution", NAME).values())
    assert all(list(row) == schemes.TABLES["schemes"] for row in content["rows"])
    return {(row["scheme"], row["steps"]): row for row in content["rows"]}


def by_hand(u, time, n, scheme):
    """n steps of a scheme for one signal, with the formulas of the literature for h = 1."""

    def change(u):
        s = np.diff(u)
        flow = s / (1 + (s / 25.5) ** 2)
        return np.append(flow, 0) - np.append(0, flow)

    previous = u
    for k in range(n):
        if scheme == "explicit":
            u = u + min(time / n, 2 / NORM_SQUARED) * change(u)
        elif scheme == "fsi":
            a, tau = (4 * k + 2) / (2 * k + 3), min(3 * time / (n * (n + 1)), 2 / NORM_SQUARED)
            previous, u = u, a * (u + tau * change(u)) + (1 - a) * previous
        else:  # (u⁺ - u⁻)/(2τ) = change(u) - α(u⁺ - 2u + u⁻), solved for u⁺
            tau, a = time / n, NORM_SQUARED / 4
            after = (2 * tau * (change(u) + 2 * a * u) + (1 - 2 * tau * a) * previous) / (1 + 2 * tau * a)
            previous, u = u, after
    return u


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
@pytest.mark.parametrize("n", [2, 4, 16])
def test_errors_of_the_schemes(results, arrays, scheme, n):
    row = rows(results)[scheme, n]
    f, exact = (arrays[f"test/{part}"].astype(np.float64) for part in ("noisy", "clean"))
    u = np.array([by_hand(row, 3, n, scheme) for row in f])
    errors = np.linalg.norm(u - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert row["relative_error"] == pytest.approx(errors.mean(), rel=1e-9)
    mse = np.mean((u - exact) ** 2, axis=1)
    assert row["psnr"] == pytest.approx(np.mean(10 * np.log10(255**2 / mse)), abs=1e-8)
    assert row["signals"] == 4
    assert (row["test_set"], row["noise"], row["time"]) == ("evolution_3", 10.0, 3)


def test_steps_keep_their_bound_and_say_how_far_they_reach(results):
    found = rows(results)
    times = {"explicit": lambda tau, n: tau * n, "fsi": lambda tau, n: tau * n * (n + 1) / 3}
    for (scheme, n), row in found.items():
        if scheme in times:
            assert row["step_size"] <= 0.5 * (1 + 1e-3)
            assert row["reached"] == pytest.approx(times[scheme](row["step_size"], n))
    reached = {key: row["reached"] for key, row in found.items()}
    assert [reached["explicit", n] for n in (2, 4, 16)] == pytest.approx([1, 2, 3], rel=1e-3)
    assert [reached["fsi", n] for n in (2, 4, 16)] == pytest.approx([1, 3, 3], rel=1e-3)
    assert [reached["du_fort_frankel", n] for n in (2, 4, 16)] == [3, 3, 3]
    assert reached["none", 0] == 0


def test_where_the_bound_does_not_matter_more_steps_come_nearer(results):
    found = rows(results, steps=(8, 16, 32))
    for scheme in ("explicit", "du_fort_frankel"):
        errors = [found[scheme, n]["relative_error"] for n in (8, 16, 32)]
        assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def test_doing_nothing_is_the_distance_of_f(results, arrays):
    f, exact = (arrays[f"test/{part}"].astype(np.float64) for part in ("noisy", "clean"))
    expected = np.mean([np.sqrt(sum((a - b) ** 2) / sum(b**2)) for a, b in zip(f, exact, strict=True)])
    assert rows(results)["none", 0]["relative_error"] == pytest.approx(expected)


def test_relative_error_from_psnr():
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 255, (2, 3, 20)), rng.uniform(0, 255, (3, 20))
    psnr = 10 * np.log10(255**2 / np.mean((u - v) ** 2, axis=-1))
    expected = np.sqrt(((u - v) ** 2).sum(-1)) / np.sqrt((v**2).sum(-1))
    np.testing.assert_allclose(relative_error(psnr, v), expected, rtol=1e-12)
    assert np.isnan(relative_error(np.full((1, 3), np.nan), v)).all()
