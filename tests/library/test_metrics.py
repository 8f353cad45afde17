import math

import numpy as np
import pytest

from schemenets.metrics import psnr


def test_psnr_by_hand():
    reference = np.array([[0, 100, 255, 7], [1, 2, 3, 4]], np.uint8)  # unsigned: differences must not wrap
    signal = np.array([[1, 100, 253, 7], [11, 12, 13, 14]], np.float32)
    by_hand = [20 * math.log10(255) - 10 * math.log10(5 / 4), 20 * math.log10(25.5)]
    assert psnr(signal, reference) == pytest.approx(by_hand, abs=1e-12)


def test_psnr_unsigned_on_both_sides():
    assert psnr(np.array([0, 0], np.uint8), np.array([1, 1], np.uint8)) == pytest.approx(20 * math.log10(255))


def test_psnr_is_per_signal():
    u = np.random.default_rng(0).uniform(0, 255, (2, 3, 16))
    f = u + np.arange(1, 7).reshape(2, 3, 1)
    assert psnr(f, u).shape == (2, 3)
    assert psnr(f, u) == pytest.approx(20 * np.log10(255 / np.arange(1, 7).reshape(2, 3)))


def test_psnr_of_equal_signals_is_infinite_without_a_warning():
    u = np.ones((2, 5))
    assert np.array_equal(psnr(u, u), [np.inf, np.inf])
