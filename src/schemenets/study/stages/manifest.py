"""Hash all results, and say what each was made from."""

from schemenets import files
from schemenets.study import stages
from schemenets.study.config import CONFIG, Study
from schemenets.study.records import crate, manifest
from schemenets.study.stages import Job, Json

OUTPUTS = {"manifest": "manifest.json", "crate": "ro-crate-metadata.json"}


def specs(study: Study) -> dict[str, Json]:
    """The whole study."""
    return {"all": {"config": study.config}}


def inputs(spec: Json) -> Json:
    """All results, and the files of the project that went into them."""
    study = Study(spec["config"])
    results = [(stage, name) for stage in stages.available() if stage != "manifest" for name in study.specs(stage)]
    read = (file for stage, name in results for file in stages.project_files(stage, study.specs(stage)[name]))
    return {"results": results, "project": sorted({CONFIG.as_posix(), *read})}


def run(job: Job) -> None:
    """Write the manifest, and the same as an RO-Crate."""
    content = manifest.build(job.results, Study(job.spec["config"]))
    files.write_json(job.output("manifest"), content)
    files.write_json(job.output("crate"), crate.describe(content))
