"""How far a signal is from its reference."""

import numpy as np


def psnr(signal: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of every signal in dB, for values on [0, 255]: 10 log₁₀(255² / MSE).

    Args:
        signal: (..., length).
        reference: (..., length), broadcasts against ``signal``.

    Returns:
        (...), +inf where the two are equal. The study averages these values over signals.
    """
    mse = np.mean((np.asarray(signal, np.float64) - reference) ** 2, axis=-1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / mse)
