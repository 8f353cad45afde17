"""The norm of a convolution once more, by dense matrices and singular values: NumPy and SciPy alone."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import svdvals, toeplitz


def dense_norm(K: ArrayLike, length: int) -> float:
    """‖K‖₂ as the largest singular value of the dense matrix of a valid correlation.

    Args:
        K: filters (filters, channels, kernel_size), an array or a tensor without gradients.
        length: length of the signals that K is applied to.
    """
    K = np.asarray(K, dtype=np.float64)
    rows = length - K.shape[-1] + 1
    zeros = np.zeros(rows - 1)
    matrix = np.block([[toeplitz(np.r_[taps[0], zeros], np.r_[taps, zeros]) for taps in channels] for channels in K])
    return float(svdvals(matrix)[0])
