"""The evaluators of claims that allow no exception: counts and maxima over all networks, without statistics."""

import numpy as np
import pandas as pd

from schemenets.study.claims._families import Json, Tables, number
from schemenets.study.statistics import MissingRunsError, over_power
from schemenets.study.wording import short

ROUNDING = 1e-9  # of growth: errors of 1e-16 in each of up to 16 blocks of 1,000 applications, with a margin
SYMMETRIC, MULTIGRID = "symmetric", "multigrid_unet"  # networks
# evidence that sentences repeat
CHECKED, LARGEST = "certified symmetric networks without biases", "largest amplification found by the search"
CYCLES, FROM_FAS = "multigrid U-nets", "largest difference from the scheme"
MOVED = "largest change of an exact solution"
BOUNDED = "implicit networks with a contraction rate below 1"
SLOWEST = "largest number of iterations over the allowed one"
GRADIENTS = "largest relative difference of gradients"
KEPT = "free symmetric networks that keep the condition"
# the numbers that matter most to a reader
SHOWN_EVIDENCE = (CHECKED, LARGEST, KEPT, CYCLES, FROM_FAS, MOVED, BOUNDED, SLOWEST, GRADIENTS)


def of_certificates(claim: Json, settings: Json, tables: Tables) -> Json:
    """How often certified symmetric checkpoints without biases violate their certificates; the others stand beside."""
    runs = tables["runs"]
    certified = runs.loc[runs["certified"].astype(bool), ["run", "method", "seed", "network"]]
    measured = tables["stability"].drop(columns=["method", "seed"])
    checked = certified.merge(measured, on="run", how="left", validate="one_to_one", indicator=True)
    if len(missing := checked.loc[checked["_merge"] == "left_only", "run"]):
        raise MissingRunsError("stability of certified checkpoints", missing.tolist())
    symmetric, biased = checked["network"] == SYMMETRIC, checked["drift_bound"] > 0
    decisive = checked[symmetric & ~biased]
    others = {"with biases": checked[symmetric & biased], "of other networks": checked[~symmetric]}
    counts = {name: int(each.sum()) for name, each in _broken(decisive, tables).items()}
    effect, n = sum(counts.values()), _most_seeds(decisive)
    reason = f"{len(decisive)} certified symmetric checkpoints without biases: "
    reason += f"{', '.join(f'{name}: {count}' for name, count in counts.items())}."
    random = _random(tables)
    evidence = {
        CHECKED: len(decisive),
        LARGEST: number(decisive["largest_amplification_found"].max()),
        f"largest growth in up to {_most(decisive['repetitions'])} applications, over its bound": number(
            decisive["excess"].max()
        ),
        "least step margin": number(decisive["least_step_margin"].min()),
        "least step margin by dense matrices": number(decisive["least_dense_step_margin"].min()),
    }
    for name, own in others.items():
        violations = sum(int(each.sum()) for each in _broken(own, tables).values())
        evidence |= {f"certified checkpoints {name}": len(own), f"violations of those {name}": violations}
    evidence |= {
        "certified random networks": random["network"].nunique(),
        f"those of up to {_most(random['n'])} blocks that grow beyond their bound": int(
            (~(random["excess"] <= 1 + ROUNDING)).groupby(random["network"]).any().sum()
        ),
        **_free(tables),
    }
    found = _verdict(claim, effect, n, effect > claim["threshold"]["value"], reason)
    return found | {"evidence": evidence, "runs": sorted(decisive["run"])}


def _broken(checked: pd.DataFrame, tables: Tables) -> dict[str, pd.Series]:
    """For every kind of violation, which of these checkpoints commit it; what was not measured is a violation."""
    repeated = _repetitions(tables, checked)
    beyond = repeated.loc[~(repeated["excess"] <= 1 + ROUNDING), "run"]
    return {
        "certificates that do not hold": ~checked["certified"].astype(bool),
        "contradicted by dense matrices": ~(checked["least_dense_step_margin"] >= 0) | (checked["contradictions"] != 0),
        "counterexamples found": checked["counterexample"].astype(bool),
        "grown beyond their bound": ~(checked["excess"] <= 1 + ROUNDING) | checked["run"].isin(beyond),
    }


def _repetitions(tables: Tables, checked: pd.DataFrame) -> pd.DataFrame:
    """Growth of these checkpoints under repetition; ``excess``: amplification over bound^n."""
    growth = tables["growth"]
    own = growth.loc[growth["kind"] == "repetition", ["run", "n", "amplification"]].astype({"run": object})
    # biases add with every repetition: of networks with them, checked["excess"] tells, which takes that off
    bounded = checked.loc[~(checked["drift_bound"] > 0), ["run", "euclidean_bound"]]
    grown = own.merge(bounded, on="run")
    return grown.assign(excess=over_power(grown["amplification"], grown["n"], grown["euclidean_bound"]))


def _random(tables: Tables) -> pd.DataFrame:
    """Rows of certified random networks; ``excess``: amplification by n blocks over their bound."""
    growth = tables["growth"]
    deep = growth[(growth["kind"] == "depth") & (growth["certified"] == True)]  # noqa: E712, empty for trained runs
    names = ([str(value) for value in row] for row in deep[["network", "flux", "tied", "seed"]].itertuples(index=False))
    excess = (deep["amplification"] / deep["bound"]).astype(float).fillna(np.inf)
    return pd.DataFrame({"network": [" ".join(name) for name in names], "n": deep["n"], "excess": excess})


def _free(tables: Tables) -> Json:
    """What became of the condition in symmetric networks that nothing keeps to it."""
    runs, growth = tables["runs"], tables["growth"]
    own = runs.loc[(runs["network"] == SYMMETRIC) & ~runs["certified"].astype(bool), "run"]
    measured = tables["stability"][tables["stability"]["run"].isin(own)]
    repeated = growth[(growth["kind"] == "repetition") & growth["run"].isin(own)]
    return {
        "free symmetric networks": len(measured),
        KEPT: int(measured["certified"].astype(bool).sum()),
        "largest amplification of free ones found by the search": number(measured["largest_amplification_found"].max()),
        f"largest growth of free ones in up to {_most(repeated['n'])} applications": number(
            repeated["amplification"].astype(float).max()
        ),
    }


def of_cycles(claim: Json, settings: Json, tables: Tables) -> Json:
    """How many trained multigrid U-nets are not the full approximation scheme, or move solutions of their equation."""
    runs, most = tables["solver_runs"], claim["tolerances"]
    trained = runs[runs["network"] == MULTIGRID]
    own = trained.loc[trained["status"] == "ok", ["run", "method", "seed"]]
    measured = own[["run"]].merge(tables["solver_iterations"][["run", "from_fas", "moved"]], on="run", how="left")
    largest = measured.fillna({"from_fas": np.inf, "moved": np.inf}).groupby("run").max().astype(float)
    apart, moving = int((largest["from_fas"] > most["cycle"]).sum()), int((largest["moved"] > most["solution"]).sum())
    reason = f"{len(own)} trained multigrid U-nets: {apart} differ from the scheme by more than {short(most['cycle'])}"
    reason += f", {moving} move a solution by more than {short(most['solution'])}."
    reason += f" Left out, since they diverged: {lost}." if (lost := len(trained) - len(own)) else ""
    evidence = {CYCLES: len(own), FROM_FAS: number(largest["from_fas"].max()), MOVED: number(largest["moved"].max())}
    effect = apart + moving
    found = _verdict(claim, effect, _most_seeds(own), effect > claim["threshold"]["value"], reason)
    return found | {"evidence": evidence, "runs": sorted(own["run"])}


def of_fixed_points(claim: Json, settings: Json, tables: Tables) -> Json:
    """Whether implicit networks with a contraction rate below 1 keep it, and how far gradients are from unrolled."""
    table, most = tables["fixed_points"], claim["threshold"]["value"]
    own = table[table["allowed_iterations"].notna()]
    last = own[own["tolerance"] == own["tolerance"].min()]
    # a network that does not converge within the limit breaks its rate only if the rate allows no more iterations
    taken = own["iterations"].fillna(own["limit"] + 1)
    slow = own.loc[taken > own["allowed_iterations"], "run"].nunique()
    converged = last[last["iterations"].notna()]
    differences = converged["gradient_difference"].fillna(np.inf)  # of gradients that are not finite
    large, n = int((differences > most).sum()), _most_seeds(converged)
    reason = f"Of {len(last)} networks with a contraction rate below 1, {slow} take more iterations than it allows, "
    reason += f"and gradients of {large} differ by more than {short(most)}."
    evidence = {
        "implicit networks": table["run"].nunique(),
        BOUNDED: len(last),
        "those that converge within the limit": len(converged),
        SLOWEST: number((own["iterations"] / own["allowed_iterations"]).max()),
        GRADIENTS: number(differences.max()),
        **_memory(tables["fixed_point_costs"]),
    }
    found = _verdict(claim, number(differences.max()), n, bool(large or slow), reason)
    if found["verdict"] == "reproduced" and len(converged) < len(last):
        found |= {"verdict": "inconclusive", "reason": f"{reason} Not all converge within the limit."}
    return found | {"evidence": evidence, "runs": sorted(last["run"])}


def _verdict(claim: Json, effect: float | None, n: int, broken: bool, reason: str) -> Json:
    """Not reproduced if an exception was found, whatever the number of seeds."""
    found = {"verdict": "reproduced", "reason": reason, "complete": True, "effect": effect, "n": n}
    if broken:
        return found | {"verdict": "not reproduced"}
    if n < (least := claim["minimum_seeds"]):
        few = f"{reason} {n} seeds; a verdict needs {least}."
        return found | {"verdict": "inconclusive", "reason": few, "complete": False}
    return found


def _memory(costs: pd.DataFrame) -> Json:
    """The largest growth of the memory kept for derivatives, from the fewest to the most iterations."""
    found = {}
    for gradients, own in costs.groupby("gradients", sort=False):
        wide = own.pivot_table("saved_bytes", "run", "iterations")
        name = f"memory kept for {gradients} gradients, {wide.columns[-1]} over {wide.columns[0]} iterations"
        found[name] = number((wide.iloc[:, -1] / wide.iloc[:, 0]).max())
    return found


def _most(numbers: pd.Series) -> int:
    """The largest number; 0 if there is none."""
    return 0 if pd.isna(largest := numbers.max()) else int(largest)


def _most_seeds(runs: pd.DataFrame) -> int:
    """The largest number of seeds of one method."""
    return int(runs.groupby("method")["seed"].nunique().max()) if len(runs) else 0
