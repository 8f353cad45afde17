"""Hash all results, and say what each was made from."""

from schemenets import files
from schemenets.study import stages
from schemenets.study.config import CLAIMS, CONFIG, Study
from schemenets.study.records import crate, manifest
from schemenets.study.stages import Job, Json

OUTPUTS = {"manifest": "manifest.json", "crate": "ro-crate-metadata.json"}


def specs(study: Study) -> dict[str, Json]:
    """The whole study."""
    return {"all": {"config": study.config}}


def inputs(spec: Json) -> Json:
    """All results, and what they were configured with."""
    study = Study(spec["config"])
    results = [(stage, name) for stage in stages.available() if stage != "manifest" for name in study.specs(stage)]
    return {"results": results, "configuration": [CONFIG.as_posix(), CLAIMS.as_posix()]}


def run(job: Job) -> None:
    """Write the manifest, and the same as an RO-Crate."""
    content = manifest.build(job.results, Study(job.spec["config"]))
    files.write_json(job.output("manifest"), content)
    files.write_json(job.output("crate"), crate.describe(content))
