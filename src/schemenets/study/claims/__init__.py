"""Verdicts on the claims that ``config/claims.yaml`` registers before the runs.

A comparison takes differences that are paired over seeds and is ``shown``, ``refuted`` or ``open``; the verdict of a
claim follows from its primary comparisons. Claims that allow no exceptions are judged by counts and maxima over all
networks instead. The head of that file states all rules.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from schemenets.errors import ConfigError
from schemenets.study import schema
from schemenets.study.claims import _exceptions, _pairs
from schemenets.study.claims._exceptions import SHOWN_EVIDENCE
from schemenets.study.claims._families import RATIO, SOME, Json, Tables, deciding
from schemenets.study.claims._pairs import DRIFT, MOST, NOTHING_FOUND
from schemenets.study.claims._sentences import least, sentence

__all__ = [
    "DRIFT",
    "MOST",
    "NOTHING_FOUND",
    "RATIO",
    "SCHEMA",
    "SHOWN_EVIDENCE",
    "SOME",
    "comparison_table",
    "deciding",
    "evaluate",
    "least",
    "load",
    "sensitivity",
    "sentence",
]
SCHEMA = Path("workflow/schemas/claims.schema.json")  # in the project's directory
INTERVALS = {"interval": "{}", "mean_interval": "mean_{}", "image_interval": "image_{}"}  # names of their ends


def load(path: Path, schema_path: Path = SCHEMA, own: Sequence[Json] = ()) -> Json:
    """The claims that the YAML file ``path`` registers, and after them those of a configuration.

    Raises:
        ConfigError: the file breaks the schema, or an id is given twice.
    """
    registered = schema.load(path, schema_path)
    registered = {**registered, "claims": [*registered["claims"], *own]}
    for name, times in Counter(claim["id"] for claim in registered["claims"]).items():
        if times > 1:
            source = f"{path} and the configuration" if own else path
            raise ConfigError(f"{source}: claims.id: got {name!r} {times} times, expected ids that all differ.")
    return registered


def evaluate(registered: Json, tables: Tables) -> Json:
    """Verdict, effect and evidence of every registered claim, ready for JSON (no NaN).

    Effect (the median of the paired differences), intervals, p-values and n of a claim are those of its weakest primary
    comparison, as the claim is about all of them. Where some suffice, there is no such effect; p and p_opposite are the
    smallest of the family after Holm's correction. Without comparisons, the effect is the count or maximum in the unit
    of the threshold, and n the largest number of seeds of one method.

    Args:
        registered: what ``load`` returns.
        tables: ``runs``, one row per trained denoiser; ``psnr``, one row per run, test set and noise level;
            ``psnr_images``, the same by image;
            ``stability``, one row per run; ``growth``, one row per network, kind of growth and number ``n`` of
            repetitions or blocks; ``fixed_points``, one row per run of an implicit network and tolerance;
            ``fixed_point_costs``, one row per run, kind of gradients and number of iterations; ``solver_runs``, one row
            per run that learned to solve; ``solver_errors`` and ``solver_iterations``, one per run and condition;
            ``solver_paths``, one per untrained solver and iteration.

    Raises:
        MissingRunsError: runs that have no partner in a comparison, or that were not measured.
    """
    settings = {key: value for key, value in registered.items() if key != "claims"}
    return settings | {"claims": [_judged(claim, settings, tables) for claim in registered["claims"]]}


def comparison_table(result: Json) -> pd.DataFrame:
    """Every comparison in a result of ``evaluate``, one row each."""
    rows = []
    for claim in result["claims"]:
        for comparison in claim["comparisons"]:
            evidence = {key: value for key, value in comparison.items() if key not in (*INTERVALS, "runs")}
            ends = {
                name.format(end): value
                for key, name in INTERVALS.items()
                for end, value in zip(("low", "high"), comparison.get(key) or (None, None), strict=True)
            }
            rows.append({"claim": claim["id"], **evidence, **ends, "runs": " ".join(comparison["runs"])})
    return pd.DataFrame(rows)


def sensitivity(registered: Json, tables: Tables) -> pd.DataFrame:
    """The verdict on each claim at every threshold, one row each."""
    rows = []
    for claim in registered["claims"]:
        threshold = claim["threshold"]
        for value in sorted({threshold["value"], *threshold.get("sensitivity", ())}):
            moved = claim | {"threshold": threshold | {"value": value}}
            (judged,) = evaluate(registered | {"claims": [moved]}, tables)["claims"]
            rows.append(
                {
                    "claim": claim["id"],
                    "threshold": value,
                    "unit": threshold["unit"],
                    "registered": value == threshold["value"],
                    **{key: judged[key] for key in ("verdict", "p", "n", "reason")},
                }
            )
    return pd.DataFrame(rows)


def _judged(claim: Json, settings: Json, tables: Tables) -> Json:
    numbers = ("effect", "interval", "coverage", "mean", "mean_interval", "p", "p_opposite", "n", "evidence")
    found = {
        **{
            key: claim[key]
            for key in ("id", "title", "quote", "source", "measured", "direction", "threshold", "minimum_seeds")
        },
        **{key: claim.get(key) for key in ("evaluator", "rule", "candidate", "reference", "weight_ratio", "limits")},
        **dict.fromkeys(numbers),
        "runs": [],
        "absent": 0,
        "comparisons": [],
        **_EVALUATORS[claim["evaluator"]](claim, settings, tables),
    }
    return found | {"sentence": sentence(found)}


_EVALUATORS: dict[str, Callable[[Json, Json, Tables], Json]] = {
    "noninferiority": _pairs.of_psnr,
    "superiority": _pairs.of_psnr,
    "errors": _pairs.of_errors,
    "solvers": _pairs.of_solvers,
    "budgets": _pairs.of_budgets,
    "certificates": _exceptions.of_certificates,
    "cycles": _exceptions.of_cycles,
    "fixed_points": _exceptions.of_fixed_points,
}
