"""The manifest: the SHA-256 of every result file, and what each file was made from.

Files are named relative to the results directory. Two kinds of inputs are not results: files of the project, such as
``config/config.yaml``, named relative to its directory, and the data sets (``data/…``), which are generated anew
rather than kept; the records have their hashes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import schemenets
from schemenets import files
from schemenets.errors import CheckpointError
from schemenets.study import stages
from schemenets.study.config import CONFIG, MINE, RESULTS, Study
from schemenets.study.layout import Layout
from schemenets.study.records.provenance import digest

Json = dict[str, Any]
DATA = "data/"  # prefix of files that are generated anew
NOT_RESULTS = ("data", "logs", ".resume", "manifest.json", "ro-crate-metadata.json")
OTHERS = {path.name for path in (MINE, *RESULTS.values())}  # directories of other runs, which may not be complete


class Result(NamedTuple):
    """A result file: its name, what it was made from, and the record with its provenance, if any."""

    name: str
    inputs: list[str]
    record: str | None


def build(results: Layout, study: Study) -> Json:
    """The manifest of the results of a study, ready for JSON.

    Raises:
        CheckpointError: a result file is missing, not JSON or made for another configuration, or two were made from
            different versions of an input.
    """
    made = list(results_of(study))
    if missing := [str(results.root / result.name) for result in made if not (results.root / result.name).is_file()]:
        others = f" (and {len(missing) - 1} more)" if missing[1:] else ""
        raise CheckpointError(f"{missing[0]}: file is missing{others}")
    provenances: dict[str, Json] = {}
    for stage, name, spec, path in records(results, study):
        own = files.read_json(path)["provenance"]
        if own["config_sha256"] != digest(spec):
            repair = f"remove it and run the workflow again, or run: schemenets {stage} {name} --tier {study.tier}"
            raise CheckpointError(f"{path}: made for another configuration than the present one; {repair}")
        provenances[path.relative_to(results.root).as_posix()] = own
    hashes = {result.name: files.sha256(results.root / result.name) for result in made}
    jobs = [(stage, spec) for stage in stages.available() for spec in study.specs(stage).values()]
    given = sorted({CONFIG.as_posix(), *(file for job in jobs for file in stages.project_files(*job))})
    data = _data(provenances, hashes, results)
    entries = {}
    for result in made:
        entries[result.name] = {"sha256": hashes[result.name], "inputs": sorted(result.inputs)}
        if result.record:
            entries[result.name]["source_sha256"] = provenances[result.record]["source_sha256"]
    return {
        "schemenets": schemenets.__version__,
        "tier": study.tier,
        "finished": max(own["finished"] for own in provenances.values()),  # all are in UTC
        "config": study.config,
        "registered": study.registered,
        "inputs": {name: {"sha256": files.sha256(name)} for name in given},
        "data": {
            name: {"sha256": data[name], "inputs": [CONFIG.as_posix()], "regenerated": True} for name in sorted(data)
        },
        "files": dict(sorted(entries.items())),
    }


def results_of(study: Study) -> Iterator[Result]:
    """All result files except data sets and the manifest itself."""
    for stage in stages.available():
        if stage == "manifest" or is_data(stage):
            continue
        module = stages.module(stage)
        for name, spec in study.specs(stage).items():
            written = stages.output_files(stage, name)
            told = stages.has_provenance(stage)
            record = written[stages.record_key(stage)] if told else None
            given = [CONFIG.as_posix()] if told else []
            given += stages.project_files(stage, spec)
            given += [file for found in stages.input_files(stage, spec).values() for file in found]
            for key, file in written.items():
                inputs = given
                if hasattr(module, "made_from"):
                    inputs = [each for reference in module.made_from(key, spec) for each in stages.written(reference)]
                yield Result(file, inputs, record)


def records(results: Layout, study: Study) -> Iterator[tuple[str, str, Json, Path]]:
    """Every record with provenance, and the stage, name and specification of its job."""
    for stage in stages.available():
        if stages.has_provenance(stage):
            for name, spec in study.specs(stage).items():
                yield stage, name, spec, results.file(stage, name, stages.record_key(stage))


def found(results: Layout) -> set[str]:
    """Names of all existing result files, except those of other runs, whose directories have their own manifest."""
    others = {path.parent.relative_to(results.root).parts[0] for path in results.root.glob("*/manifest.json")}
    names = (path.relative_to(results.root) for path in results.root.rglob("*") if path.is_file())
    return {name.as_posix() for name in names if name.parts[0] not in {*NOT_RESULTS, *OTHERS, *others}}


def is_data(stage: str) -> bool:
    """Whether a stage makes data sets."""
    return all(file.startswith(DATA) for file in stages.module(stage).OUTPUTS.values())


def _data(provenances: dict[str, Json], hashes: dict[str, str], results: Layout) -> dict[str, str]:
    """SHA-256 of every data file, on which its records must agree; other inputs must be unchanged."""
    data: dict[str, str] = {}
    for record, own in provenances.items():
        for name, sha256 in own["inputs_sha256"].items():
            known = data.setdefault(name, sha256) if name.startswith(DATA) else hashes[name]
            if known != sha256:
                source = "other records" if name.startswith(DATA) else "the file"
                raise CheckpointError(
                    f"{results.root / record}: {name}: got the SHA-256 {sha256}, expected {known}, that of {source}"
                )
    return data
