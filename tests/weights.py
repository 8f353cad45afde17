"""Weights of fluxes with a trainable shape."""

import numpy as np


def random_weights(flux, *shape, seed=0):
    """Weights (*shape, weights) anywhere in their box, half of them on its boundary; None if the flux has none."""
    if not flux.weights:
        return None
    w = np.random.default_rng(seed).uniform(-2, 2, (*shape, flux.weights))
    return flux.box * np.clip(w, -1, 1)
