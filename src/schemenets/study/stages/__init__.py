"""The stages of the study, one module per rule of the workflow.

A stage is declared in its module and nowhere else. The module holds

* ``OUTPUTS``: its files by key, relative to the results directory. Wildcards such as ``{method}`` stand for the parts
  of a job's name;
* ``RECORD``: if it writes records, the key of this output: a JSON file with its provenance;
* ``specs(study)``: the specification of every job in the chosen tier, a plain dictionary, by the job's name;
* ``inputs(spec)``: what a job reads, by key: jobs of other stages, as ``(stage, name)``, files of the project, as
  strings, or lists of these;
* ``run(job)``: the computation. A job's files are in ``job.results``; it reads only what is declared;
* if its records become tables, ``TABLES``: the columns of every table, and ``tables(records)``: their rows;
* ``TRAINS = True``, if it uses the device that trainings run on; all others use the processor;
* if it depends on more code than ``run`` reaches, ``code(spec)``: the other roots of its fingerprint.

Layout, rules, manifest, audit, fingerprints and the diagram in the documentation follow from these declarations.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from schemenets import devices, files, registry
from schemenets.errors import InvalidParameterError
from schemenets.study.layout import Layout
from schemenets.study.records.fingerprints import of_stage
from schemenets.study.records.provenance import Stopwatch, collect

Json = dict[str, Any]
Reference = tuple[str, ...]  # stage and name of a job, and the key of one of its files, if not all are meant
ALL = "all"  # name of the one job of a stage without wildcards


@dataclass(frozen=True)
class Job:
    """One job of a stage.

    Attributes:
        stage: name of the stage.
        name: name of the job, the values of the stage's wildcards joined by slashes.
        spec: its specification.
        results: the results directory that it reads from and writes to.
        stopwatch: runs since the job was made.
    """

    stage: str
    name: str
    spec: Json
    results: Layout
    stopwatch: Stopwatch = field(default_factory=Stopwatch, compare=False)

    def output(self, key: str) -> Path:
        """The output file with this key."""
        return self.results.file(self.stage, self.name, key)

    def write_record(self, content: Mapping[str, Any]) -> None:
        """Write ``content`` with its provenance as JSON to the stage's record."""
        files.write_json(self.output(record_key(self.stage)), {**content, "provenance": self.provenance()})

    def provenance(self) -> Json:
        """Where the results of this job come from; reads all inputs for their hashes."""
        device = devices.described() if trains(self.stage) else devices.processor()
        return collect(self.stopwatch, spec=self.spec, source=self.source, inputs=self.inputs_sha256, device=device)

    @property
    def source(self) -> str:
        """Fingerprint of the code that runs."""
        return of_stage(self.stage, self.spec)

    @property
    def inputs_sha256(self) -> dict[str, str]:
        """SHA-256 of every input file, by its name relative to the results directory."""
        names = (file for found in input_files(self.stage, self.spec).values() for file in found)
        return {name: files.sha256(self.results.root / name) for name in names}


def available() -> list[str]:
    """Names of the stages, sorted."""
    return registry.names(__name__)


def description(name: str) -> str:
    """The first line of a stage's module, parsed and not imported, since some stages import a plotting library."""
    return (ast.get_docstring(_tree(name)) or "").partition("\n")[0]


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))


def module(name: str) -> Any:
    """Module of a stage.

    Raises:
        UnknownNameError: no such stage; the message lists the allowed names.
    """
    return registry.module(__name__, name, "stage")


@cache
def wildcards(name: str) -> list[str]:
    """Wildcards of a stage's files, in the order of the parts of its jobs' names; read, as some take long to import."""
    for statement in _tree(name).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "OUTPUTS":
            texts = (node.value for node in ast.walk(statement) if isinstance(node, ast.Constant))
            return list(dict.fromkeys(re.findall(r"{(\w+)}", " ".join(map(str, texts)))))
    return []


def output_files(stage: str, name: str) -> dict[str, str]:
    """Files that a job writes, by key, relative to the results directory.

    >>> output_files("train", "capacity/resnet-relu/budget-240")["record"]
    'runs/capacity/resnet-relu/budget-240/record.json'

    Raises:
        InvalidParameterError: the name has another number of parts than the stage has wildcards.
    """
    keys = wildcards(stage)
    parts = name.split("/") if keys else []
    if len(parts) != len(keys) or not (keys or name == ALL):
        raise InvalidParameterError(f"name for {stage}", name, "/".join(f"{{{key}}}" for key in keys) or ALL)
    values = dict(zip(keys, parts, strict=True))
    return {key: pattern.format(**values) for key, pattern in module(stage).OUTPUTS.items()}


def references(stage: str, spec: Mapping[str, Any]) -> dict[str, list[Reference | str]]:
    """What a job reads, by key: jobs of other stages, and names of the project's files."""
    found = module(stage).inputs(spec)
    return {key: list(value) if isinstance(value, list) else [value] for key, value in found.items()}


def input_files(stage: str, spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Files of other stages that a job reads, by key, relative to the results directory."""
    return {
        key: list(dict.fromkeys(file for each in found if not isinstance(each, str) for file in written(each)))
        for key, found in references(stage, spec).items()
    }


def project_files(stage: str, spec: Mapping[str, Any]) -> list[str]:
    """Files of the project that a job reads, relative to its directory."""
    return [each for found in references(stage, spec).values() for each in found if isinstance(each, str)]


def dataset(name: str) -> tuple[str, str]:
    """The job that makes the data set of this name."""
    prefix = name.partition("_")[0]
    return {"evolution": "evolution", "problem": "problems"}.get(prefix, "signals"), name


def has_provenance(name: str) -> bool:
    """Whether a stage writes records, which hold their provenance."""
    return hasattr(module(name), "RECORD")


def trains(name: str) -> bool:
    """Whether a stage uses the device that trainings run on."""
    return getattr(module(name), "TRAINS", False)


def record_key(stage: str) -> str:
    """Key of the record among the outputs of a stage that writes records."""
    return str(module(stage).RECORD)


def declared_tables() -> dict[str, list[str]]:
    """The tables made from records, each with the stages that write these records."""
    found: dict[str, list[str]] = {}
    for stage in available():
        if stage != "tables":  # it calls this function
            for table in getattr(module(stage), "TABLES", ()):
                found.setdefault(table, []).append(stage)
    return found


def run(stage: str, name: str, spec: Mapping[str, Any], results: Layout) -> None:
    """Run one job.

    Raises:
        UnknownNameError: no such stage; the message lists the allowed names.
        InvalidParameterError: the jobs of this stage have names of another form.
    """
    output_files(stage, name)
    with devices.claimed() if trains(stage) else nullcontext():
        module(stage).run(Job(stage, name, dict(spec), results))


def written(reference: Reference) -> Iterator[str]:
    """Files that a job of another stage writes, relative to the results directory."""
    stage, name, *keys = reference
    written = output_files(stage, name)
    return (written[key] for key in keys or written)
