"""Dense matrices of convolutions, written down independently of the library."""

import numpy as np


def correlation_matrix(W, length):
    """Matrix of the valid correlation with filters W (filters, channels, k).

    Rows come filter by filter, columns channel by channel.
    """
    filters, channels, k = W.shape
    rows = length - k + 1
    matrix = np.zeros((filters * rows, channels * length))
    for f in range(filters):
        for c in range(channels):
            for x in range(rows):
                matrix[f * rows + x, c * length + x : c * length + x + k] = W[f, c]
    return matrix
