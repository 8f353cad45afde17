"""The results as an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1): the manifest in schema.org terms."""

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
LICENSE = "https://spdx.org/licenses/MIT"
ENCODING = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}


def describe(manifest: Json) -> Json:
    """The content of ``ro-crate-metadata.json`` for what :func:`schemenets.study.records.manifest.build` returned.

    Configuration and data sets lie outside the crate: they are contextual entities with only a hash.
    """
    results = [_file(name, entry) for name, entry in manifest["files"].items()]
    inputs = [
        {"@id": f"#{name}", "@type": "CreativeWork", "name": name, "sha256": entry["sha256"]}
        for name, entry in {**manifest["inputs"], **manifest["data"]}.items()
    ]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results of schemenets, tier {manifest['tier']}",
        "description": "Networks from numerical schemes for PDEs: trained networks, their records, tables, figures, "
        "verdicts on the registered claims, and a report.",
        "datePublished": manifest["finished"],
        "license": {"@id": LICENSE},
        "hasPart": [{"@id": "manifest.json"}, *map(_reference, results)],
        "mentions": {"@id": "#study"},
    }
    study = {
        "@id": "#study",
        "@type": "CreateAction",
        "name": f"Run of the study in the tier {manifest['tier']}",
        "endTime": manifest["finished"],
        "instrument": {"@id": "#schemenets"},
        "object": [*map(_reference, inputs)],
        "result": [*map(_reference, results)],
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": SPECIFICATION},
        "about": {"@id": "./"},
    }
    software = {
        "@id": "#schemenets",
        "@type": "SoftwareApplication",
        "name": "schemenets",
        "version": manifest["schemenets"],
    }
    licence = {
        "@id": LICENSE,
        "@type": "CreativeWork",
        "name": "MIT License",
        "description": "Use, copying and change are free as long as the copyright notice is kept.",
    }
    manifest_file = {
        "@id": "manifest.json",
        "@type": "File",
        "name": "Manifest: hash and inputs of every file",
        "encodingFormat": ENCODING[".json"],
    }
    return {
        # the specification has no term for a file's hash; this one is from its profile for workflow runs
        "@context": [f"{SPECIFICATION}/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}],
        "@graph": [descriptor, root, licence, software, study, *inputs, manifest_file, *results],
    }


def _file(name: str, entry: Json) -> Json:
    return {
        "@id": quote(name),
        "@type": "File",
        "name": name,
        "encodingFormat": ENCODING.get(PurePosixPath(name).suffix, "application/octet-stream"),
        "sha256": entry["sha256"],
    }


def _reference(entity: Json) -> Json:
    return {"@id": entity["@id"]}
