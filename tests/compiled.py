"""Which compiled passes run in tests of compiled cycles."""

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
