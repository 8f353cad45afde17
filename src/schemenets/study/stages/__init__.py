"""The stages of the study: one module per rule of the workflow, each with ``run(spec, results)``.

A stage reads its specification (a plain dictionary from :meth:`schemenets.study.config.Study.specs`) and files of a
results directory (:class:`schemenets.study.layout.Layout`), and writes files there. So every stage runs without
Snakemake as well.
A stage's modules determine its fingerprint, so that editing one stage repeats only what follows from it.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemenets import registry
from schemenets.study.layout import Layout


def available() -> list[str]:
    """Names of the stages."""
    return registry.names(__name__)


def description(name: str) -> str:
    """What a stage does, in its own first line; read, not imported, since some stages import a plotting library."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def run(name: str, spec: Mapping[str, Any], results: Layout) -> None:
    """Run one stage.

    Raises:
        UnknownNameError: no such stage; the message lists the allowed names.
    """
    registry.module(__name__, name, "stage").run(spec, results)
