"""The files themselves: hashes, missing and extra files, and the files that describe all others."""

import logging
from collections.abc import Iterator
from pathlib import Path

from schemenets import files
from schemenets.study import schema
from schemenets.study.audit._findings import Audited, Finding, difference
from schemenets.study.config import CONFIG, of_tier
from schemenets.study.overrides import resolved
from schemenets.study.records import crate, manifest

log = logging.getLogger("schemenets")


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about all files."""
    root, listed = audited.results.root, audited.manifest["files"]
    given = {Path(name).resolve() for name in audited.manifest["inputs"]}  # the project may have some of them here
    for name in sorted(manifest.found(audited.results) - set(listed)):
        if (root / name).resolve() not in given:
            yield Finding(root / name, "is not in the manifest: delete it, if it is left from another configuration")
    for name in sorted({*listed, *(result.name for result in manifest.results_of(audited.study))}):
        if not (root / name).is_file():
            yield Finding(root / name, "file is missing")
        elif (actual := files.sha256(root / name)) != (expected := audited.sha256(name)):
            yield Finding(root / name, f"SHA-256: got {actual}, expected {expected}, as the manifest says")


def check_manifest(audited: Audited) -> Iterator[Finding]:
    """Whether the manifest agrees with the files."""
    expected = manifest.build(audited.results, audited.study)
    # fingerprints cover the version, check_configuration the content of config files; their comments may change
    expected |= {key: audited.manifest[key] for key in ("schemenets", "inputs", "registered")}
    yield from difference(audited.results.manifest, audited.manifest, expected, "the files say")


def check_crate(audited: Audited) -> Iterator[Finding]:
    """Whether the crate agrees with the manifest."""
    path = audited.results.crate
    yield from difference(path, files.read_json(path), crate.describe(audited.manifest), "the manifest says")


def check_configuration(audited: Audited) -> Iterator[Finding]:
    """Whether the configuration of this tier is still that of the results; other tiers do not matter.

    Results of a configuration of one's own are compared with that one alone, which is in the manifest.
    """
    if not audited.manifest["registered"]:
        log.info("%s: of another configuration than that of the project, which it holds", audited.results.manifest)
        return
    registered = resolved({**schema.read(CONFIG), "tier": audited.study.tier})
    stored, expected = ({"config": of_tier(config)} for config in (audited.study.config, registered))
    yield from difference(audited.results.manifest, stored, expected, f"{CONFIG} says")
