"""Hash all results, and say what each was made from."""

from collections.abc import Mapping
from typing import Any

from schemenets import files
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.records import crate, manifest


def run(spec: Mapping[str, Any], results: Layout) -> None:
    """Write ``manifest.json`` and ``ro-crate-metadata.json``."""
    content = manifest.build(results, Study(spec["config"]))
    files.write_json(results.manifest, content)
    files.write_json(results.root / "ro-crate-metadata.json", crate.describe(content))
