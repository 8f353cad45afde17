"""What the study asks of solvers: problems, methods and jobs by the configuration's section ``solvers``."""

from collections.abc import Iterator, Mapping
from typing import Any

from schemenets import networks
from schemenets.errors import SchemenetsError
from schemenets.multigrid.cycle import CycleArchitecture
from schemenets.multigrid.problems import Problem
from schemenets.multigrid.training import Learner
from schemenets.networks import Architecture

Json = dict[str, Any]
EXPERIMENT = "solvers"  # how the names of these jobs begin
CYCLE = "cycle"  # the network that a problem is given to; all others are those of the registry


def problem(config: Mapping[str, Any], name: str) -> Problem:
    """The problem of this name."""
    return Problem(**config["solvers"]["problems"][name], extent=float(config["solvers"]["points"]))


def learner(config: Mapping[str, Any], method: str, name: str) -> Learner:
    """What a method trains for the problem of this name."""
    entry = dict(config["solvers"]["methods"][method])
    network = entry.pop("network")
    for key in ("loss", "training_length"):
        entry.pop(key, None)
    if network == CYCLE:
        return CycleArchitecture(problem=problem(config, name), **entry)
    return Architecture(name=network, **entry)


def datasets(config: Mapping[str, Any], tier: str) -> dict[str, Json]:
    """Specification of the right-hand sides and solutions of every problem that a tier has, by name."""
    own = config["tiers"][tier]["solvers"]
    keys = ("train", "validation", "test", "others", "points")
    seed, noise = config["signals"]["seed"], config["tuning"]["noise"]
    return {
        f"problem_{name}": {
            "dataset": f"problem_{name}",
            "problem": problem(config, name).arguments(),
            "length": config["solvers"]["points"],
            "seed": seed,
            "noise": noise,
            **{key: own[key] for key in keys},
        }
        for name in own["problems"]
    }


def jobs(config: Mapping[str, Any], tier: str) -> dict[str, Json]:
    """Specification of the training of every method for every problem, by name."""
    entry, own = config["tiers"][tier], config["tiers"][tier]["solvers"]
    return {
        f"{EXPERIMENT}/{name}/{method}": {
            "job": f"{EXPERIMENT}/{name}/{method}",
            "problem_name": name,
            "method": method,
            "tuned_as": tuned_as(config, method),
            "seeds": list(range(entry["seeds"])),
            **_training(config, tier, method, name),
        }
        for name, methods in sorted(own["problems"].items())
        for method in methods
    }


def tuned_as(config: Mapping[str, Any], method: str) -> str:
    """The method whose learning rate this one has: of those that differ in nothing but their training's length, the
    one that trains for as long as the tier says, else the shortest.
    """
    lengths = {}
    for other, entry in config["solvers"]["methods"].items():
        if entry | {"training_length": 1} == config["solvers"]["methods"][method] | {"training_length": 1}:
            lengths[other] = entry.get("training_length", 1)
    return min(lengths, key=lambda other: (lengths[other] != 1, lengths[other], other))


def tunings(config: Mapping[str, Any], tier: str) -> dict[str, Json]:
    """Specification of the tuning of every method of a tier, on the problem of all tunings, by method."""
    tuning = config["tiers"][tier]["solvers"]["tuning"]
    first, name = config["tuning"]["first_seed"], config["solvers"]["tuning_problem"]
    return {
        method: {
            "method": method,
            "seeds": [first + index for index in range(tuning["seeds"])],
            "learning_rates": tuning["learning_rates"],
            **_training(config, tier, method, name),
        }
        for method in dict.fromkeys(job["tuned_as"] for job in jobs(config, tier).values())
    }


def _training(config: Mapping[str, Any], tier: str, method: str, name: str) -> Json:
    entry = config["solvers"]["methods"][method]
    epochs = config["tiers"][tier]["solvers"]["epochs"]
    architecture = learner(config, method, name).arguments()
    return {
        "problem": problem(config, name).arguments(),
        "dataset": f"problem_{name}",
        "learner": CYCLE if entry["network"] == CYCLE else "network",
        "architecture": architecture,
        "loss": entry.get("loss", "supervised"),
        "epochs": max(1, round(epochs * entry.get("training_length", 1))),
        "batch": config["solvers"]["batch"],
    }


def findings(config: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot know of the section."""
    section = config["solvers"]
    for name in section["problems"]:
        try:
            own = problem(config, name)
        except SchemenetsError as error:
            yield f"solvers.problems.{name}: {error}"
            continue
        for method, entry in section["methods"].items():
            try:
                built = learner(config, method, name)
                if isinstance(built, Architecture):
                    networks.check(built)
            except (SchemenetsError, TypeError) as error:
                yield f"solvers.methods.{method} = {entry!r}: {error}"
                return
        if not own.on(section["points"] - (not own.screened)).coarsens:
            yield f"solvers.points = {section['points']}: allowed: a number that can be halved, such as 256."
    if section["tuning_problem"] not in section["problems"]:
        allowed = ", ".join(section["problems"])
        yield f"solvers.tuning_problem = {section['tuning_problem']!r}: unknown problem; allowed: {allowed}."
    for tier, entry in config["tiers"].items():
        own_tier = entry["solvers"]
        key = f"tiers.{tier}.solvers"
        if section["tuning_problem"] not in own_tier["problems"]:
            yield f"{key}.problems: allowed: problems with {section['tuning_problem']}, on which all methods are tuned."
        for name, methods in own_tier["problems"].items():
            if name not in section["problems"]:
                yield f"{key}.problems: unknown problem {name!r}; allowed: {', '.join(section['problems'])}."
            for method in methods:
                if method not in section["methods"]:
                    allowed = ", ".join(section["methods"])
                    yield f"{key}.problems.{name}: unknown method {method!r}; allowed: {allowed}."
        if own_tier["train"] < section["batch"]:
            yield f"{key}.train = {own_tier['train']}: allowed: at least solvers.batch = {section['batch']}."
