"""Dense matrices of convolutions, written down independently of the library."""

import numpy as np


def correlation_matrix(W, length):
    """Matrix of the valid correlation with filters W (filters, 1, k), rows filter by filter."""
    filters, _, k = W.shape
    rows = length - k + 1
    matrix = np.zeros((filters * rows, length))
    for f in range(filters):
        for x in range(rows):
            matrix[f * rows + x, x : x + k] = W[f, 0]
    return matrix
