"""Write the report."""

from schemenets import files
from schemenets.study import figures, report, stages
from schemenets.study.config import Study
from schemenets.study.stages import Job, Json

OUTPUTS = {"report": "report.html"}


def specs(study: Study) -> dict[str, Json]:
    """The page: its subject, and the records that say where results come from."""
    told = [stage for stage in stages.available() if stages.has_provenance(stage)]
    jobs = {stage: list(study.specs(stage)) for stage in told}
    return {
        "all": {
            "tier": study.tier,
            "exploratory": bool(study.settings.get("exploratory", False)),
            "experiments": study.config["experiments"],
            "jobs": jobs,
            "claims": study.has("claims"),
            "committed": report.committed(not study.specs("cells"), with_tuning=not study.tunes),
            "templates": report.templates_sha256(),
        }
    }


def inputs(spec: Json) -> Json:
    """Tables, verdicts, figures, files outside of the run, and all records."""
    records = [(stage, name, stages.record_key(stage)) for stage, names in spec["jobs"].items() for name in names]
    return {
        "tables": ("tables", "all"),
        "claims": [("claims", "all")] if spec["claims"] else [],
        "figures": ("figures", "all"),
        "records": records,
        "committed": [file for found in spec["committed"].values() for file in found],
    }


def code(spec: Json) -> list[str]:
    """Titles, captions and headlines of the figures."""
    return [f"{figures.__name__}.{name}" for name in figures.available()]


def run(job: Job) -> None:
    """Write ``report.html`` from tables, verdicts, figures and records."""
    files.atomic_write(job.output("report"), report.render(job.results, job.spec))
