"""Compute the verdict of every registered claim, and what the tests behind it can show."""

from pathlib import Path

from schemenets import files
from schemenets.study import claims, summaries
from schemenets.study.config import CLAIMS, Study
from schemenets.study.layout import TABLE
from schemenets.study.stages import Job, Json
from schemenets.study.statistics import power_table

OUTPUTS = {
    "claims": "claims.json",
    "comparisons": TABLE.format("claims"),
    "sensitivity": TABLE.format("sensitivity"),
    "power": TABLE.format("power"),
}
# of the power table: numbers of seeds, comparisons of a family, effects in standard deviations of the differences
SEEDS, FAMILIES, EFFECTS = (10, 16), (1, 2, 6, 16), (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)


def specs(study: Study) -> dict[str, Json]:
    """All claims, at once: the registered ones, and those that a configuration adds."""
    own = {"own": study.own_claims} if "claims" in study.config else {}
    return {"all": {"registered": CLAIMS.as_posix(), **own}}


def inputs(spec: Json) -> Json:
    """The registered claims with their schema, and all tables."""
    return {"registered": [spec["registered"], claims.SCHEMA.as_posix()], "tables": ("tables", "all")}


def run(job: Job) -> None:
    """Write the verdicts, every comparison, the verdicts at other thresholds, and the power of the tests."""
    registered = claims.load(Path(job.spec["registered"]), own=job.spec.get("own", ()))
    measured = summaries.read(job.results)
    result = claims.evaluate(registered, measured)
    tables = {
        "comparisons": claims.comparison_table(result),
        "sensitivity": claims.sensitivity(registered, measured),
        "power": power_table(SEEDS, FAMILIES, EFFECTS, registered["alpha"] / 2),
    }
    for key, table in tables.items():
        files.atomic_write(job.output(key), table.to_csv(index=False, lineterminator="\n"))
    files.write_json(job.output("claims"), result)
