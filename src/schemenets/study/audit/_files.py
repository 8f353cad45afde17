"""The files themselves: hashes, what is missing or too much, and the two files that describe all others."""

from collections.abc import Iterator
from pathlib import Path

from schemenets import files
from schemenets.study import schema
from schemenets.study.audit._findings import Audited, Finding, difference, guarded
from schemenets.study.config import CONFIG, SCHEMA
from schemenets.study.records import crate as crates
from schemenets.study.records import manifest


def check(audited: Audited) -> Iterator[Finding]:
    """Findings about all files, the manifest's own content, and the crate."""
    path = audited.results.manifest
    wrong = [*_unlisted(audited), *guarded(path, _changed(audited))]
    yield from wrong
    if not wrong:  # else every change would be told twice
        yield from guarded(path, _manifest(audited))
    yield from guarded(path, _configuration(audited))
    crate = audited.results.root / "ro-crate-metadata.json"
    yield from guarded(crate, _crate(audited, crate))


def _unlisted(audited: Audited) -> Iterator[Finding]:
    for name in sorted(manifest.found(audited.results, audited.study) - set(audited.manifest["files"])):
        yield Finding(audited.results.root / name, "is no result: not in the manifest")


def _changed(audited: Audited) -> Iterator[Finding]:
    for name, entry in audited.manifest["files"].items():
        path = audited.results.root / name
        if not path.is_file():
            yield Finding(path, "file is missing")
        elif (actual := files.sha256(path)) != entry["sha256"]:
            yield Finding(path, f"SHA-256 is {actual}, but the manifest says {entry['sha256']}")


def _manifest(audited: Audited) -> Iterator[Finding]:
    expected = manifest.build(audited.results, audited.study)
    # another version is a matter of fingerprints; what config files say is compared elsewhere, comments are not
    expected |= {key: audited.manifest[key] for key in ("schemenets", "inputs")}
    yield from difference(audited.results.manifest, audited.manifest, expected, "the files say")


def _configuration(audited: Audited) -> Iterator[Finding]:
    """Whether the configuration of this tier is still the one of the results; other tiers do not matter."""
    tier = audited.study.tier
    stored, registered = (
        {"config": {**config, "tier": tier, "tiers": {tier: config["tiers"][tier]}}}
        for config in (audited.study.config, schema.load(CONFIG, SCHEMA))
    )
    yield from difference(audited.results.manifest, stored, registered, f"{CONFIG} says")


def _crate(audited: Audited, crate: Path) -> Iterator[Finding]:
    yield from difference(crate, files.read_json(crate), crates.describe(audited.manifest), "the manifest says")
