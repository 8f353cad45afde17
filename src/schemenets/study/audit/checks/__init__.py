"""Checks of single stages, each in a module with the name of its stage. A module has one or both of

* ``check(audited, job)``: findings about what a job has stored;
* ``again(audited, job)``: findings from measuring again, on data sets generated anew.
"""

from collections.abc import Callable, Iterator

from schemenets import registry
from schemenets.study.audit._findings import Audited, Finding
from schemenets.study.stages import Job

Check = Callable[[Audited, Job], Iterator[Finding]]


def functions(name: str) -> dict[str, Check]:
    """The functions of this name, by stage."""
    modules = {stage: registry.module(__name__, stage, "check") for stage in registry.names(__name__)}
    return {stage: getattr(module, name) for stage, module in modules.items() if hasattr(module, name)}
