"""Classical denoisers, the rivals of trained networks, and the grids on which their parameters are chosen.

A denoiser is a function of signals, (count, length) in grey values, and of its parameters. It takes several values of
its last one, since they share work, and gives float64 results of shape (values, count, length).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import pairwise, product
from math import ceil
from typing import Any

import numpy as np
import pywt
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from schemenets.fluxes.perona_malik import FLUX
from schemenets.metrics import psnr
from schemenets.operators import derivative
from schemenets.schemes import Diffusion, explicit

Array = NDArray[np.float64]
Parameters = dict[str, Any]
LEVELS = 4  # of the wavelet transform
TAU = 0.25  # largest step size of the diffusion, half of what bounds it: 2/(L‖K‖²) > 1/2
BATCH = 128  # signals at a time, so that they stay in the cache


def total_variation(signals: np.ndarray, alphas: Sequence[float]) -> Array:
    """The minimiser of ½‖u - f‖² + α Σ|u_{n+1} - u_n|, exactly up to rounding, for every α > 0 (grey values).

    The model of Rudin, Osher and Fatemi (1992); Johnson's dynamic programming (JCGS 22, 2013). Compiled if numba is
    installed.
    """
    f = signals.astype(np.float64)
    found = np.empty((len(alphas), *f.shape))
    for alpha, u in zip(alphas, found, strict=True):
        _compiled()(f, float(alpha), u)
    return found


@cache
def _compiled() -> Callable[[Array, float, Array], None]:
    if find_spec("numba") is None:
        return _minimise
    from numba import njit

    compiled: Callable[[Array, float, Array], None] = njit(_minimise)
    return compiled


def _minimise(f: Array, alpha: float, result: Array) -> None:
    """Write the minimiser for every row of f.

    M_n(t) is the least energy of the first n + 1 values if the last of them is t. Its derivative M' is piecewise linear
    and increasing; αTV clips it to [-α, α] before the next value adds t - f. Knots begin at ``first`` and end at
    ``last``; there, M' changes from at + b to (a + da)t + (b + db). The slopes a are whole numbers.
    """
    N: int = f.shape[1]
    knots, da, db = np.empty(2 * N), np.empty(2 * N), np.empty(2 * N)
    low, high = np.empty(N), np.empty(N)  # where M' is -α and α
    for row in range(len(f)):
        first, last = N, N - 1
        for n in range(N):
            clipped = alpha if n else 0.0  # M' beyond the knots, before f
            left, right = -f[row, n] - clipped, -f[row, n] + clipped  # offsets b of the outermost pieces, where a = 1
            slope = 1.0
            level = alpha if n < N - 1 else 0.0  # the last value is where M' vanishes
            while first <= last and slope * knots[first] + left <= -level:
                slope += da[first]
                left += db[first]
                first += 1
            low[n] = (-level - left) / slope
            if n == N - 1:
                break
            first -= 1
            knots[first], da[first], db[first] = low[n], slope, left + level
            slope = 1.0
            while first < last and slope * knots[last] + right >= level:  # the first knot is low
                slope -= da[last]
                right -= db[last]
                last -= 1
            high[n] = (level - right) / slope
            last += 1
            knots[last], da[last], db[last] = high[n], -slope, level - right
        result[row, N - 1] = low[N - 1]
        for n in range(N - 2, -1, -1):
            result[row, n] = min(max(result[row, n + 1], low[n]), high[n])


def wavelets(signals: np.ndarray, wavelet: str, shrinkage: str, thresholds: Sequence[float]) -> Array:
    """Translation-invariant shrinkage of wavelet coefficients (Coifman and Donoho 1995), signals mirrored at both ends.

    Args:
        signals: (count, length).
        wavelet: its name in PyWavelets.
        shrinkage: ``hard``, or ``garrote``, the nonnegative garrote (Gao 1998).
        thresholds: in grey values, the same on all levels of the undecimated transform.
    """
    f, N = signals.astype(np.float64), signals.shape[1]
    whole = -(-2 * N // 2**LEVELS) * 2**LEVELS  # the transform is periodic
    before = (whole - N) // 2
    mirrored = np.pad(f, ((0, 0), (before, whole - N - before)), mode="symmetric")
    smooth, *details = pywt.swt(mirrored, wavelet, LEVELS, trim_approx=True)
    shrunk = ([pywt.threshold(detail, value, shrinkage) for detail in details] for value in thresholds)
    return np.stack([pywt.iswt([smooth, *own], wavelet)[:, before : before + N] for own in shrunk])


def savitzky_golay(signals: np.ndarray, windows: Sequence[int]) -> Array:
    """Values of least-squares parabolas over a moving window of so many samples (Savitzky and Golay 1964).

    The signals are mirrored at both ends. A window of 3 samples changes nothing.
    """
    return np.stack([savgol_filter(signals.astype(np.float64), window, 2, mode="mirror") for window in windows])


def gaussian(signals: np.ndarray, widths: Sequence[float]) -> Array:
    """Convolution with Gaussians of these standard deviations (samples), signals mirrored at both ends."""
    return np.stack([gaussian_filter1d(signals.astype(np.float64), width, mode="reflect") for width in widths])


def diffusion(signals: np.ndarray, contrast: float, times: Sequence[float]) -> Array:
    """Explicit steps of the diffusion of Perona and Malik (1990), of size :data:`TAU` at most.

    Args:
        signals: (count, length).
        contrast: λ, in grey values.
        times: T, ascending; each is reached from the one before in equal steps.
    """
    A, u, found = Diffusion(derivative(signals.shape[1]), FLUX, contrast), signals.T.astype(np.float64), []
    for start, end in pairwise([0.0, *times]):
        steps = ceil((end - start) / TAU)
        for _ in range(steps):
            u = explicit.step(u, A, (end - start) / steps)
        found.append(u.T)
    return np.stack(found)


@dataclass(frozen=True)
class Method:
    """A denoiser with the values of its parameters that are tried.

    Attributes:
        denoise: one of the functions above.
        scales: noise (standard deviation) ↦ parameters with ascending values, the last of which ``denoise`` takes
            together. Optima at an end of them are reported.
        choices: the parameters before, whose values have no order.
    """

    denoise: Callable[..., Array]
    scales: Callable[[float], Mapping[str, Sequence[Any]]]
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def trials(self, noise: float) -> list[Parameters]:
        """All combinations of parameters."""
        grid = self._grid(noise)
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

    def at_edge(self, trial: Parameters, noise: float) -> bool:
        """Whether a parameter is the first or the last of its scale."""
        return any(trial[name] in (scale[0], scale[-1]) for name, scale in self.scales(noise).items())

    def psnr(self, noisy: np.ndarray, clean: np.ndarray, noise: float) -> Array:
        """PSNR in dB of every signal for every trial.

        Args:
            noisy: (count, length).
            clean: of the same shape.
            noise: standard deviation.

        Returns:
            (trials, count).
        """
        *separate, together = self._grid(noise).values()
        found = [
            [psnr(self.denoise(part, *values, together), clean[first : first + BATCH]) for values in product(*separate)]
            for first in range(0, len(noisy), BATCH)
            for part in [noisy[first : first + BATCH]]
        ]
        return np.concatenate([np.concatenate(own) for own in found], axis=1)

    def _grid(self, noise: float) -> dict[str, Sequence[Any]]:
        return {**self.choices, **self.scales(noise)}


def geometric(first: float, last: float) -> list[float]:
    """Numbers with the ratio √2.

    >>> [round(number, 2) for number in geometric(0.5, 2)]
    [0.5, 0.71, 1.0, 1.41, 2.0]
    """
    return [float(number) for number in first * 2 ** np.arange(0, np.log2(last / first) + 0.25, 0.5)]


METHODS = {
    "total_variation": Method(total_variation, lambda noise: {"alpha": geometric(noise / 8, 16 * noise)}),
    "wavelets": Method(
        wavelets,
        lambda noise: {"threshold": geometric(noise / 2, 8 * noise)},
        {"wavelet": ("haar", "bior2.2"), "shrinkage": ("hard", "garrote")},
    ),
    "savitzky_golay": Method(savitzky_golay, lambda noise: {"window": (3, 5, 7, 9, 11, 15, 21, 29, 41, 57)}),
    "gaussian": Method(gaussian, lambda noise: {"width": geometric(0.25, 16)}),
    "diffusion": Method(
        diffusion, lambda noise: {"contrast": geometric(noise / 4, 8 * noise), "time": geometric(0.125, 64)}
    ),
}
