"""Which compiled functions run, what is left in their memory, and how to compile few of them."""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from schemenets import fluxes
from schemenets.kernels import autograd, engine
from schemenets.kernels import flux as compiled_fluxes
from schemenets.kernels.engine import Engine
from schemenets.kernels.program import CODES


@contextmanager
def compiled_calls():
    """The names of compiled functions that run, so that no test passes by falling back on plain operations."""
    calls, call = [], Engine._call

    def noted(self, name, *arguments):
        calls.append(name)
        return call(self, name, *arguments)

    with patch.object(Engine, "_call", noted):
        yield calls


@contextmanager
def nothing_left_behind():
    """Every compiled function finds NaN wherever it has not written itself."""
    workspace = engine._workspace

    def spoilt(count, dtype, name):
        numbers = workspace(count, dtype, name)
        numbers[:] = np.nan
        return numbers

    with patch.object(engine, "_workspace", spoilt):
        yield


@contextmanager
def one_kind(flux, taps):
    """One function for all programs with this flux, of equations as well: one for each set of steps takes minutes."""
    name = compiled_fluxes.register(fluxes.get(flux))
    autograd.engine.cache_clear()
    with patch.object(engine, "_kind", lambda program: " ".join(map(str, (name, name, taps, 0, *CODES)))):
        yield
    autograd.engine.cache_clear()
