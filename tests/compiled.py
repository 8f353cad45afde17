"""Which compiled passes run in tests of compiled cycles, and what they keep."""

from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def passes_of(module):
    """The compiled passes that a module runs: the codes of their instructions, and whether they are backward."""
    calls = []
    one_pass = module._pass

    def noted(ctx, derivative, *arrays):
        calls.append(([code for code, *_ in ctx.program.instructions], derivative))
        one_pass(ctx, derivative, *arrays)

    with patch.object(module, "_pass", noted):
        yield calls


@contextmanager
def rows_kept(module):
    """How many networks and inputs every compiled pass of a module keeps intermediate values of."""
    rows = []
    one_pass = module._pass

    def noted(ctx, *rest):
        rows.append(ctx.store.shape[:2])
        one_pass(ctx, *rest)

    with patch.object(module, "_pass", noted):
        yield rows
