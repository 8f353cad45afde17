"""Classical denoisers against independent references, how they are tuned, and how far data sets are apart."""

import numpy as np
import pytest
import pywt
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_chambolle

from schemenets import files, signals
from schemenets.fluxes.perona_malik import FLUX
from schemenets.metrics import psnr
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, explicit
from schemenets.study import stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.measurements import classical
from schemenets.study.measurements.classical import METHODS
from schemenets.study.stages import distances

NOISE = 10.0
HOME, OTHER = "piecewise_affine-10", "ecg-10"


def noisy_steps(count, length, seed=0):
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform(0, 255, (count, length // 8)), 8, axis=1) + NOISE * rng.standard_normal(
        (count, length)
    )


# Total variation


def assert_minimises(u, f, alpha):
    """The dual certificate: u - f = αDᵀp with |p| ≤ 1, and p is the sign of Du where Du is not 0."""
    p, Du = np.cumsum(u - f), np.diff(u)
    tolerance = 1e-11 * max(1, np.abs(f).max()) * len(f)
    assert abs(p[-1]) <= tolerance
    assert np.abs(p).max() <= alpha + tolerance
    jumps = np.abs(Du) > tolerance
    np.testing.assert_allclose(p[:-1][jumps], alpha * np.sign(Du[jumps]), rtol=0, atol=tolerance)


values = st.one_of(st.integers(0, 3).map(float), st.floats(-255, 255, width=32))


@pytest.mark.parametrize("minimise", [classical._minimise, classical._compiled()], ids=["plain", "compiled"])
@given(f=st.lists(values, min_size=1, max_size=40), alpha=st.floats(1e-3, 1e3))
def test_total_variation_is_minimised(minimise, f, alpha):
    given = np.array([f, f[::-1]])
    found = np.empty_like(given)
    minimise(given, alpha, found)
    for u, row in zip(found, given, strict=True):
        assert_minimises(u, row, alpha)


def test_total_variation_is_minimised_on_long_signals():
    f, alphas = noisy_steps(50, 256), (1, 10, 100)
    results = classical.total_variation(f, alphas)
    for alpha, found in zip(alphas, results, strict=True):
        for u, row in zip(found, f, strict=True):
            assert_minimises(u, row, alpha)
    jumps = [np.count_nonzero(np.diff(found)) for found in results]
    assert f.size > jumps[0] > 2 * jumps[1] > 4 * jumps[2] > 0


def test_total_variation_ends_with_the_mean():
    f = noisy_steps(3, 64)
    np.testing.assert_allclose(classical.total_variation(f, [1e6])[0], f.mean(1, keepdims=True) + 0 * f, rtol=1e-9)


def test_an_iterative_solver_approaches_the_same_minimiser():
    f = noisy_steps(1, 64)[0]
    approached = denoise_tv_chambolle(f, weight=20, eps=0, max_num_iter=20000)
    np.testing.assert_allclose(approached, classical.total_variation(f[None], [20])[0, 0], atol=0.02)


# The others


@pytest.mark.parametrize("length", [64, 50])
@pytest.mark.parametrize(("wavelet", "shrinkage"), [("haar", "hard"), ("bior2.2", "garrote")])
def test_wavelet_shrinkage_is_the_mean_over_all_shifts(wavelet, shrinkage, length):
    f, threshold = noisy_steps(3, 64)[:, :length], 20.0
    whole = 2 * length + -2 * length % 2**classical.LEVELS
    left = (whole - length) // 2
    extended = np.pad(f, ((0, 0), (left, whole - length - left)), mode="symmetric")
    found = np.zeros_like(extended)
    for shift in range(2**classical.LEVELS):
        shifted = np.roll(extended, -shift, axis=1)
        smooth, *details = pywt.wavedec(shifted, wavelet, mode="periodization", level=classical.LEVELS)
        shrunk = [pywt.threshold(detail, threshold, shrinkage) for detail in details]
        found += np.roll(pywt.waverec([smooth, *shrunk], wavelet, mode="periodization"), shift, axis=1)
    expected = found[:, left : left + length] / 2**classical.LEVELS
    np.testing.assert_allclose(classical.wavelets(f, wavelet, shrinkage, [5.0, threshold])[1], expected, atol=1e-9)


def test_savitzky_golay_fits_parabolas():
    f = noisy_steps(2, 64)
    same, smooth = classical.savitzky_golay(f, [3, 9])
    np.testing.assert_allclose(same, f, atol=1e-9)
    x = np.arange(-4, 5)
    mirrored = np.pad(f, ((0, 0), (4, 4)), mode="reflect")
    expected = [[np.polyval(np.polyfit(x, row[n : n + 9], 2), 0) for n in range(64)] for row in mirrored]
    np.testing.assert_allclose(smooth, expected, atol=1e-9)


def test_gaussian_weights_the_mirrored_signal():
    f, width, reach = noisy_steps(2, 64), 2.0, 8
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * width**2))
    mirrored = np.pad(f, ((0, 0), (reach, reach)), mode="symmetric")
    expected = [np.convolve(row, weights / weights.sum(), "valid") for row in mirrored]
    np.testing.assert_allclose(classical.gaussian(f, [0.5, width])[1], expected, atol=1e-9)


def test_diffusion_takes_equal_steps_from_time_to_time():
    f, A = noisy_steps(3, 64), Diffusion(derivative(64), FLUX, 15.0)
    first, second = classical.diffusion(f, 15.0, [0.6, 1.0])
    for row, u, v in zip(f, first, second, strict=True):
        np.testing.assert_allclose(u, explicit.run(row, A, 0.2, 3), atol=1e-10)
        np.testing.assert_allclose(v, explicit.run(u, A, 0.2, 2), atol=1e-10)


def test_diffusion_of_a_large_contrast_is_linear():
    f, K = noisy_steps(2, 64), derivative(64).toarray()
    expected = f @ scipy.linalg.expm(-8.0 * K.T @ K)
    np.testing.assert_allclose(classical.diffusion(f, 1e9, [8.0])[0], expected, atol=1)


def test_the_step_size_of_the_diffusion_is_half_its_bound():
    limit = explicit.step_limit(Diffusion(derivative(256), FLUX))
    assert limit / 2 == pytest.approx(classical.TAU, rel=1e-3)


# Trials


@pytest.mark.parametrize("name", METHODS)
def test_every_trial_has_the_psnr_of_its_parameters(name, monkeypatch):
    method, clean = METHODS[name], np.repeat(noisy_steps(1, 64), 5, axis=0)
    noisy = clean + NOISE * np.random.default_rng(1).standard_normal(clean.shape)
    scores, trials = method.psnr(noisy, clean, NOISE), method.trials(NOISE)
    assert scores.shape == (len(trials), 5)
    *_, together = method.scales(NOISE).values()
    for trial, found in list(zip(trials, scores, strict=True))[:: len(trials) // 7]:
        *separate, value = trial.values()
        result = method.denoise(noisy, *separate, together)[list(together).index(value)]
        np.testing.assert_allclose(found, psnr(result, clean), rtol=1e-12)
    monkeypatch.setattr(classical, "BATCH", 2)
    np.testing.assert_allclose(method.psnr(noisy, clean, NOISE), scores, rtol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_scales_ascend_and_only_their_ends_are_edges(name):
    method = METHODS[name]
    trials, scales = method.trials(NOISE), method.scales(NOISE)
    assert all(sorted(scale) == list(scale) for scale in scales.values())
    inner = [trial for trial in trials if not method.at_edge(trial, NOISE)]
    choices = len(trials) // np.prod([len(scale) for scale in scales.values()])
    assert len(inner) == choices * np.prod([len(scale) - 2 for scale in scales.values()])


# The stages


@pytest.fixture
def results(tmp_path):
    layout = Layout(tmp_path)
    for name, counts in ((HOME, {"train": 6, "validation": 4, "test": 5}), (OTHER, {"test": 2})):
        family = name.partition("-")[0]
        spec = {"family": family, "noise": NOISE, "length": 64, "seed": 1, **counts}
        signals.write(spec, layout.dataset(name))
    return layout


def test_parameters_are_chosen_on_validation_signals_and_by_the_oracle_for_each_test_signal(results):
    stages.run("classical", "all", {"tuned_on": {HOME: HOME, OTHER: HOME}}, results)
    record = files.read_json(results.file("classical", "all", "classical"))
    rows = stages.module("classical").tables({"all": record})["classical"]
    assert [(row["test_set"], row["method"], row["signals"]) for row in rows] == [
        (name.partition("-")[0], method, count) for name, count in ((HOME, 5), (OTHER, 2)) for method in METHODS
    ]
    arrays = {name: signals.read(results.dataset(name)) for name in (HOME, OTHER)}
    for row in rows:
        method, name = METHODS[row["method"]], f"{row['test_set']}-10"
        trials = method.trials(NOISE)
        tuning = method.psnr(arrays[HOME]["validation/noisy"], arrays[HOME]["validation/clean"], NOISE).mean(1)
        tested = method.psnr(arrays[name]["test/noisy"], arrays[name]["test/clean"], NOISE)
        best = trials[np.argmax(tuning)]
        assert row["parameter"] == list(best.values())[-1]
        assert row["at_edge"] == method.at_edge(best, NOISE)
        assert all(
            f"{value:.4g}" if isinstance(value, float) else value in row["choice"] for value in [*best.values()][:-1]
        )
        assert row["tuned_on"] == HOME
        assert row["psnr"] == pytest.approx(tested[np.argmax(tuning)].mean(), rel=1e-12)
        assert row["oracle_psnr"] == pytest.approx(tested.max(0).mean(), rel=1e-12)
        assert row["oracle_at_edge"] == sum(method.at_edge(trials[index], NOISE) for index in tested.argmax(0))
        assert row["noisy_psnr"] == pytest.approx(psnr(arrays[name]["test/noisy"], arrays[name]["test/clean"]).mean())
        assert row["psnr"] < row["oracle_psnr"] or row["method"] == "savitzky_golay"


def test_a_family_without_validation_signals_takes_those_of_the_tuning_at_its_noise():
    study = Study.load(tier="study")
    (spec,) = study.specs("classical").values()
    assert list(spec["tuned_on"]) == study.test_sets
    assert spec["tuned_on"]["ecg-25"] == spec["tuned_on"]["donoho_johnstone-25"] == "piecewise_affine-25"
    assert spec["tuned_on"]["scanlines-5"] == "scanlines-5"
    for name in spec["tuned_on"].values():
        assert study.specs("signals")[name]["validation"] == 1000
    assert "validation" not in study.specs("signals")["ecg-25"]


def test_the_distance_is_how_far_differences_have_to_move():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 50, 200))
    sorted_differences = [np.sort(np.diff(each).ravel()) for each in (first, 3 * second)]
    expected = np.abs(sorted_differences[0] - sorted_differences[1]).mean()
    assert distances.distance(first, 3 * second) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(2 * 2 / np.sqrt(np.pi), rel=0.05)  # of white noise, √2 E|N(0, 1)| times 3 - 1
    assert distances.distance(first, first + 100) == pytest.approx(0, abs=1e-12)


def test_distances_are_of_noisy_training_signals_to_noisy_test_signals(results, monkeypatch):
    draws = {"family": "piecewise_affine", "noise": 10, "length": 64, "seed": 1, "draw": 0, "train": 200}
    stages.run("distances", "all", {"training_sets": {HOME: draws}, "test_sets": [HOME, OTHER]}, results)
    rows = files.read_json(results.file("distances", "all", "distances"))["rows"]
    train = signals.generate(draws)["train/noisy"]
    for row, name in zip(rows, (HOME, OTHER), strict=True):
        test = signals.read(results.dataset(name))["test/noisy"]
        place = {"training_set": HOME, "test_set": name.partition("-")[0], "noise": 10.0}
        assert row == place | {"distance": pytest.approx(distances.distance(train, test), rel=1e-12)}
    assert 0 < rows[0]["distance"] < rows[1]["distance"]


def test_distances_are_from_all_signals_that_denoisers_are_trained_on():
    (spec,) = Study.load(tier="study").specs("distances").values()
    assert list(spec["training_sets"]) == ["piecewise_affine-10", "scanlines-10"]
    for draws in spec["training_sets"].values():
        assert (draws["train"], draws["draw"]) == (distances.MOST, 0)
