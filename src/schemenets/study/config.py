"""The study's configuration, checked as a whole before anything runs, and the jobs that follow from it."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from schemenets import networks, signals
from schemenets.errors import ConfigError, InvalidParameterError, SchemenetsError, UnknownNameError
from schemenets.networks import Architecture
from schemenets.stability.remedies import PLAIN, SAFEGUARDED
from schemenets.study import schema, solver_study
from schemenets.study.layout import DEPTH

CONFIG = Path("config/config.yaml")
CLAIMS = Path("config/claims.yaml")
SCHEMA = Path("workflow/schemas/config.schema.json")
DEFAULT_TIER = "study"
STEPS = (1.0, 1.5)  # step sizes of random networks relative to their limit
REMEDIED = ("blocks-4", "blocks-8")  # sizes of the trained networks that remedies are measured for
DEEP = 100  # and the largest number of blocks of random ones


@dataclass(frozen=True)
class Study:
    """A valid configuration with a chosen tier.

    A job is named ``experiment/method/size``, with size ``budget-N`` (parameters) or ``blocks-N``; it trains all
    seeds of the tier. Everything a job needs to know is in its specification, a plain dictionary.
    """

    config: Mapping[str, Any]

    @classmethod
    def load(cls, root: Path = Path(), tier: str | None = None) -> "Study":
        """The study in the directory ``root``, with its own tier or the given one.

        Raises:
            ConfigError: a file is missing, or a key or value in it is not possible.
        """
        config = schema.load(root / CONFIG, root / SCHEMA)
        return cls.check(config if tier is None else {**config, "tier": tier}, root)

    @classmethod
    def check(cls, config: Mapping[str, Any], root: Path = Path()) -> "Study":
        """The study with this configuration, read from the directory ``root``.

        Raises:
            ConfigError: one line per finding, with file, key, value and what is allowed.
        """
        source = root / CONFIG
        schema.validate(config, root / SCHEMA, source)
        findings = list(_findings(config))
        if findings:
            raise ConfigError("\n".join(f"{source}: {finding}" for finding in findings))
        return cls(config)

    def check_claims(self, registered: Mapping[str, Any]) -> None:
        """Make sure that this study can decide the registered claims (:func:`schemenets.study.claims.load`).

        Raises:
            ConfigError: one line per test set, experiment or method that this study does not have.
        """
        findings = []
        defaults = {"family": registered["test_set"], "noise": registered["noise"]}
        test_set = signals.dataset_name(defaults)
        if test_set not in self.test_sets:
            findings.append(f"test_set and noise = {test_set}: allowed in the tier {self.tier}: {self.test_sets}.")
        for claim in registered["claims"]:
            for entry in claim.get("comparisons", ()):
                for key, kind in (("experiment", "experiments"), ("candidate", "methods"), ("reference", "methods")):
                    if entry[key] not in self.config[kind]:
                        allowed = ", ".join(self.config[kind])
                        findings.append(f"claims.{claim['id']}.{key} = {entry[key]!r}: allowed: {allowed}.")
                own = {"family": entry.get("test_set", defaults["family"])}
                name = signals.dataset_name({**own, "noise": entry.get("noise", defaults["noise"])})
                tested_on = self._tested_on(entry["experiment"])
                if entry["experiment"] in self._tier["experiments"] and name not in tested_on:
                    key = f"claims.{claim['id']}.{entry['experiment']}"
                    findings.append(f"{key}: test_set and noise = {name}: allowed in this tier: {tested_on}.")
            section = self.config["solvers"]
            for entry in claim.get("ratios", ()):
                for key, kind in (("problem", "problems"), ("candidate", "methods"), ("reference", "methods")):
                    if entry[key] not in section[kind]:
                        allowed = ", ".join(section[kind])
                        findings.append(f"claims.{claim['id']}.{key} = {entry[key]!r}: allowed: {allowed}.")
        if findings:
            raise ConfigError("\n".join(f"{CLAIMS}: {finding}" for finding in findings))

    @property
    def tier(self) -> str:
        """Name of the chosen tier."""
        return str(self.config["tier"])

    @property
    def results(self) -> Path:
        """Directory of the results: that of the default tier is the committed one, others are inside it."""
        return Path("results") if self.tier == DEFAULT_TIER else Path("results", self.tier)

    def specs(self, stage: str) -> dict[str, dict[str, Any]]:
        """Specifications of everything that a stage has to do in this tier, by name.

        Raises:
            UnknownNameError: no such stage.
        """
        summary = {
            **{"tier": self.tier, "jobs": list(self.jobs), "methods": list(self.tunings)},
            **{"solver_jobs": list(self.solver_jobs), "solver_methods": list(self.solver_tunings)},
        }
        known: dict[str, Callable[[], dict[str, dict[str, Any]]]] = {
            "signals": lambda: self.datasets,
            "evolution": lambda: self.evolutions,
            "tune": lambda: self.tunings,
            "train": lambda: self.jobs,
            "evaluate": lambda: {name: self._of_job(name, test_sets=self.tested_on(name)) for name in self.jobs},
            "stability": lambda: self.searches,
            "growth": lambda: self.repeated | self.followed | self.drawn,
            "remedies": lambda: self.remedies,
            "fixed_points": lambda: {"all": {"networks": self._trained("implicit")}},
            "robustness": lambda: self.attacks,
            "multigrid": lambda: {"all": {"exponents": list(range(4, 11))}},
            "problems": lambda: self.problems,
            "solver_tune": lambda: self.solver_tunings,
            "solver_train": lambda: self.solver_jobs,
            "solver_evaluate": lambda: self.solver_evaluations,
            "solvers": lambda: {"all": {"datasets": self.problems}},
            "schemes": lambda: {"all": {"datasets": self._steps_to_compare()}},
            "tables": lambda: {"all": summary | self._measured},
            "claims": lambda: {"all": {"registered": str(CLAIMS)}},
            "figures": lambda: {"all": summary},
            "report": lambda: {"all": {**summary, "experiments": self.config["experiments"]}},
            "manifest": lambda: {"all": {**summary, "config": self.config}},
        }
        if stage not in known:
            raise UnknownNameError("stage", stage, known)
        return known[stage]()

    @cached_property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """Specification of every training job, by name."""
        return {
            name: {
                "job": name,
                "experiment": experiment,
                "method": method,
                "size": size,
                "architecture": architecture.arguments(),
                "dataset": _dataset_name(self.config["experiments"][experiment]),
                "seeds": list(range(self._tier["seeds"])),
                **self._training(self.config["experiments"][experiment].get("training_length", 1)),
            }
            for name, experiment, method, size, architecture in _jobs(self.config, self.tier)
        }

    @cached_property
    def tunings(self) -> dict[str, dict[str, Any]]:
        """Specification of the tuning of every method that a job of this tier uses, by method."""
        tuning, own = self.config["tuning"], self._tier["tuning"]
        return {
            method: {
                "method": method,
                "architecture": _tuned(self.config, method).arguments(),
                "dataset": signals.dataset_name(tuning),
                "seeds": [tuning["first_seed"] + index for index in range(own["seeds"])],
                "learning_rates": own["learning_rates"],
                **self._training(),
            }
            for method in dict.fromkeys(job["method"] for job in self.jobs.values())
        }

    @cached_property
    def searches(self) -> dict[str, dict[str, Any]]:
        """Specification of the search for instability in the networks of every job, by name."""
        own = self._tier["search"]
        return {name: self._of_job(name, dataset=job["dataset"], **own) for name, job in self.jobs.items()}

    @cached_property
    def attacks(self) -> dict[str, dict[str, Any]]:
        """Specification of the attacks on every job of the attacked experiment, by name."""
        own = dict(self._tier["robustness"])
        experiment = own.pop("experiment")
        return {
            name: self._of_job(name, dataset=job["dataset"], **own)
            for name, job in self.jobs.items()
            if job["experiment"] == experiment
        }

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:
        """Specification of every data set that is trained, tuned or tested on, by name (family-noise)."""
        tested = [{"family": family, "noise": noise} for family, noise in self._tested]
        trained = [
            self.config["tuning"],
            *(self.config["experiments"][job["experiment"]] for job in self.jobs.values()),
        ]
        trained_on = {signals.dataset_name(entry) for entry in trained}
        found = {}
        for entry in [*tested, *trained]:
            name, family = signals.dataset_name(entry), entry["family"]
            splits = ["train", "validation", "test"] if name in trained_on else ["test"]
            counts = {split: self._tier[split][family] for split in splits}
            found[name] = {"family": family, "noise": entry["noise"], **self.config["signals"], **counts}
        return found

    @cached_property
    def problems(self) -> dict[str, dict[str, Any]]:
        """Specification of the right-hand sides and solutions of every problem, by name of the data set."""
        return solver_study.datasets(self.config, self.tier)

    @cached_property
    def solver_jobs(self) -> dict[str, dict[str, Any]]:
        """Specification of every training of a network that solves, by name."""
        return solver_study.jobs(self.config, self.tier)

    @cached_property
    def solver_tunings(self) -> dict[str, dict[str, Any]]:
        """Specification of the tuning of every method that learns to solve, by method."""
        return solver_study.tunings(self.config, self.tier)

    @cached_property
    def solver_evaluations(self) -> dict[str, dict[str, Any]]:
        """Specification of the tests of the networks of every job that learns to solve, by name."""
        keys = ("job", "method", "seeds", "learner", "architecture", "problem", "dataset")
        return {
            name: {**{key: job[key] for key in keys}, "data": self.problems[job["dataset"]]}
            for name, job in self.solver_jobs.items()
        }

    @cached_property
    def evolutions(self) -> dict[str, dict[str, Any]]:
        """Specification of every data set of an evolution f ↦ u(T), by name (evolution_T-noise)."""
        found = {}
        for job in self.jobs.values():
            entry = self.config["experiments"][job["experiment"]]
            if "time" in entry:
                counts = {split: self._tier[split]["evolution"] for split in ("train", "validation", "test")}
                given = {"source": signals.dataset_name(entry), "time": entry["time"], **self.config["evolution"]}
                found[job["dataset"]] = {"dataset": job["dataset"], **given, **self.config["signals"], **counts}
        return found

    def tested_on(self, job: str) -> list[str]:
        """Names of the data sets that the networks of a job are tested on: denoisers on all, others on their own."""
        return self._tested_on(self.jobs[job]["experiment"])

    @cached_property
    def repeated(self) -> dict[str, dict[str, Any]]:
        """Specification of the repetitions of the networks of every job that is repeated, by name."""
        common, own = self.config["stability"], self._tier["stability"]
        return {
            name: self._of_job(name, dataset=job["dataset"], repetitions=own["repetitions"])
            for name, job in sorted(self.jobs.items())
            if job["experiment"] in common["experiments"] and job["size"] == common["size"]
        }

    @cached_property
    def followed(self) -> dict[str, dict[str, Any]]:
        """Specification of the way through the blocks of trained networks: repeated ones, and deep evolutions."""
        deep, experiments = self.config["stability"]["deep"], self.config["experiments"]
        return {
            f"{DEPTH}{name}": self._of_job(name, dataset=job["dataset"])
            for name, job in sorted(self.jobs.items())
            if name in self.repeated or (job["size"] in deep and "time" in experiments[job["experiment"]])
        }

    @cached_property
    def drawn(self) -> dict[str, dict[str, Any]]:
        """Specification of the random networks of many blocks, by the name of their architecture."""
        depths = self._tier["stability"]["depths"]
        shared = {"seeds": list(range(self._tier["seeds"])), "length": self.config["signals"]["length"]}
        return {
            name: {"networks": list(self._drawn(name, max(depths))), "depths": depths, **shared}
            for name in self.config["stability"]["networks"]
        }

    @cached_property
    def remedies(self) -> dict[str, dict[str, Any]]:
        """Specification of remedies for two-step networks that extrapolate: trained ones by job, random ones by name.

        Trained ones are those of some depths; random ones have weights of their own in up to ``DEEP`` blocks.
        """
        effort = {key: self._tier["search"][key] for key in ("starts", "steps")}
        of_jobs = {
            name: self._of_job(name, dataset=job["dataset"], **effort)
            for name, job in self.jobs.items()
            if job["size"] in REMEDIED and _extrapolates(job["architecture"])
        }
        of_random: dict[str, dict[str, Any]] = {}
        for name, spec in self.drawn.items():
            if name in PLAIN:
                untied = [entry for entry in spec["networks"] if not entry["architecture"]["tied"]]
                edge = [entry for entry in untied if entry["step"] == 1 and _extrapolates(entry["architecture"])]
                depths = [depth for depth in spec["depths"] if depth <= DEEP]
                of_random[name] = {**spec, "networks": edge, "depths": depths}
        return of_jobs | of_random

    @property
    def _measured(self) -> dict[str, list[str]]:
        """What has files of its own besides the jobs and methods."""
        grown = self.specs("growth")
        return {"attacked": list(self.attacks), "grown": list(grown), "remedied": list(self.remedies)}

    def _drawn(self, name: str, blocks: int) -> Iterator[dict[str, Any]]:
        """Random networks of one name and their step sizes, and the worst of all; what cannot be built is left out."""
        fluxes = self.config["stability"]["fluxes"]
        for flux, tied, certified in product(fluxes, (False, True), (False, True)):
            architecture = Architecture(
                name=name, flux=flux, blocks=blocks, tied=tied, certified=certified, **self.config["network"]
            )
            try:
                networks.check(architecture)
            except InvalidParameterError:
                continue
            if tied or name != "implicit":  # whose blocks share their weights anyway
                for step in STEPS[:1] if certified else STEPS:
                    yield {"architecture": architecture.arguments(), "step": step}
        if name == "fsi":
            scalar = Architecture(name=name, flux="linear", blocks=blocks, filters=1, kernel_size=1)
            yield {"architecture": scalar.arguments(), "step": 1.0, "worst": True}

    @property
    def test_sets(self) -> list[str]:
        """Names of the data sets that every denoiser is tested on."""
        return [signals.dataset_name({"family": family, "noise": noise}) for family, noise in self._tested]

    @property
    def _tested(self) -> list[tuple[str, float]]:
        return list(product(self.config["test_families"], self._tier["test_noises"]))

    def _tested_on(self, experiment: str) -> list[str]:
        entry = self.config["experiments"].get(experiment, {})
        return [_dataset_name(entry)] if "time" in entry else self.test_sets

    def _steps_to_compare(self) -> dict[str, dict[str, Any]]:
        """For every data set of an evolution the numbers of steps of the schemes: those of the blocks of networks."""
        return {
            name: {
                **{key: spec[key] for key in ("time", "contrast")},
                "steps": sorted(
                    {job["architecture"]["blocks"] for job in self.jobs.values() if job["dataset"] == name}
                ),
            }
            for name, spec in self.evolutions.items()
        }

    def _of_job(self, name: str, **more: Any) -> dict[str, Any]:
        return {**{key: self.jobs[name][key] for key in ("job", "seeds", "architecture")}, **more}

    def _trained(self, network: str) -> list[dict[str, Any]]:
        """All jobs that train networks of this name, each with its data set."""
        chosen = [name for name, spec in self.jobs.items() if spec["architecture"]["name"] == network]
        return [self._of_job(name, dataset=self.jobs[name]["dataset"]) for name in chosen]

    @property
    def _tier(self) -> Mapping[str, Any]:
        tier: Mapping[str, Any] = self.config["tiers"][self.tier]
        return tier

    def _training(self, length: float = 1) -> dict[str, Any]:
        return {"epochs": max(1, round(length * self._tier["epochs"])), "batch": self.config["training"]["batch"]}


def _dataset_name(experiment: Mapping[str, Any]) -> str:
    """Name of the data set that the networks of an experiment are trained on."""
    if "time" in experiment:
        return signals.dataset_name({"family": f"evolution_{experiment['time']}", "noise": experiment["noise"]})
    return signals.dataset_name(experiment)


def _extrapolates(architecture: Mapping[str, Any]) -> bool:
    """Whether a network takes two-step extrapolations, which Du Fort-Frankel certified by 2τα ≤ 1 does not."""
    name, certified = architecture["name"], architecture["certified"]
    return name.removeprefix(SAFEGUARDED) in PLAIN and not (name in PLAIN and certified)


def _architecture(config: Mapping[str, Any], method: str, experiment: str | None = None) -> Architecture:
    """Architecture of a method, with one block and the filter length of the experiment, if it has one of its own."""
    entry = {key: value for key, value in config["methods"][method].items() if key != "tuning_blocks"}
    own = {key: value for key, value in config["experiments"].get(experiment, {}).items() if key == "kernel_size"}
    return Architecture(name=entry.pop("network"), blocks=1, **{**config["network"], **own}, **entry)


def _tuned(config: Mapping[str, Any], method: str) -> Architecture:
    """What a method is tuned with: blocks of its own number, or as many as the budget of the tuning has room for."""
    blocks = config["methods"][method].get("tuning_blocks")
    architecture = _architecture(config, method)
    return (
        _sized(architecture, "blocks", blocks) if blocks else _sized(architecture, "budget", config["tuning"]["budget"])
    )


def _sized(architecture: Architecture, kind: str, number: int) -> Architecture:
    blocks = networks.blocks_for_budget(architecture, number) if kind == "budget" else number
    return replace(architecture, blocks=blocks)


def _jobs(config: Mapping[str, Any], tier: str) -> Iterator[tuple[str, str, str, str, Architecture]]:
    """Name, experiment, method, size and architecture of every job of a tier; the order of keys does not matter."""
    for experiment, groups in sorted(config["tiers"][tier]["experiments"].items()):
        for group in groups:
            for method in group["methods"]:
                for kind, numbers in (("budget", group.get("budgets", ())), ("blocks", group.get("blocks", ()))):
                    for number in numbers:
                        size = f"{kind}-{number}"
                        architecture = _sized(_architecture(config, method, experiment), kind, number)
                        yield f"{experiment}/{method}/{size}", experiment, method, size, architecture


def _findings(config: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot know: names in registries, references between keys, budgets, sizes of families."""
    broken = [finding for name in config["methods"] for finding in _method_findings(config, name)]
    k, length = config["network"]["kernel_size"], config["signals"]["length"]
    for name, entry in config["experiments"].items():
        if entry.get("kernel_size", 1) > length:
            allowed = f"at most signals.length = {length}"
            broken.append(f"experiments.{name}.kernel_size = {entry['kernel_size']}: allowed: {allowed}.")
    if k > length:
        broken.append(f"network.kernel_size = {k}: allowed: at most signals.length = {length}.")
    broken += [*_stability_findings(config), *solver_study.findings(config)]
    broken = broken or [
        finding for tier, entry in config["tiers"].items() for finding in _tier_findings(config, f"tiers.{tier}", entry)
    ]
    yield from broken or _dataset_findings(config)  # each step makes sense only when the one before does


def _method_findings(config: Mapping[str, Any], method: str) -> Iterator[str]:
    entry = config["methods"][method]
    key = f"methods.{method}"
    try:
        architecture = _architecture(config, method)
        networks.check(architecture)
    except SchemenetsError as error:
        yield f"{key} = {entry!r}: {error}"
        return
    try:
        _tuned(config, method)
    except SchemenetsError as error:
        yield f"tuning.budget = {config['tuning']['budget']}, {key}: {error} (or give the method tuning_blocks)"


def _stability_findings(config: Mapping[str, Any]) -> Iterator[str]:
    entry = config["stability"]
    for experiment in entry["experiments"]:
        if experiment not in config["experiments"]:
            allowed = ", ".join(config["experiments"])
            yield f"stability.experiments = {experiment!r}: unknown experiment; allowed: {allowed}."
    for name, flux in product(entry["networks"], entry["fluxes"]):
        try:  # tied, since only chains of equal blocks can have any number of them
            networks.check(Architecture(name=name, blocks=1, flux=flux, tied=True, **config["network"]))
        except SchemenetsError as error:
            yield f"stability, {name} with {flux}: {error}"
    for tier, own in config["tiers"].items():
        depths = own["stability"]["depths"]
        if depths != sorted(depths):
            yield f"tiers.{tier}.stability.depths = {depths}: allowed: ascending numbers."


def _tier_findings(config: Mapping[str, Any], key: str, tier: Mapping[str, Any]) -> Iterator[str]:
    first = config["tuning"]["first_seed"]
    if tier["seeds"] > first:
        yield f"{key}.seeds = {tier['seeds']}: allowed: at most tuning.first_seed = {first}, so that seeds differ."
    yield from _robustness_findings(config, f"{key}.robustness", tier)
    seen: set[str] = set()
    for experiment, groups in tier["experiments"].items():
        if experiment not in config["experiments"]:
            allowed = ", ".join(config["experiments"])
            yield f"{key}.experiments.{experiment}: unknown experiment; allowed: {allowed}."
        for number, group in enumerate(groups):
            yield from _group_findings(config, f"{key}.experiments.{experiment}.{number}", experiment, group, seen)


def _robustness_findings(config: Mapping[str, Any], key: str, tier: Mapping[str, Any]) -> Iterator[str]:
    experiment, count, sizes = (tier["robustness"][name] for name in ("experiment", "signals", "sizes"))
    if experiment not in config["experiments"]:
        yield f"{key}.experiment = {experiment!r}: allowed: {', '.join(config['experiments'])}."
        return
    entry = config["experiments"][experiment]
    family, noise, most = entry["family"], entry["noise"], tier["test"][entry["family"]]
    if family not in config["test_families"] or noise not in tier["test_noises"]:
        tested = f"{', '.join(config['test_families'])} at noise {tier['test_noises']}"
        yield f"{key}.experiment = {experiment!r}, on {family} at noise {noise}: allowed: on what is tested, {tested}."
    if count > most:
        yield f"{key}.signals = {count}: allowed: at most {most}, the test signals of the experiment {experiment}."
    if sizes != sorted(sizes):
        yield f"{key}.sizes = {sizes}: allowed: growing numbers."


def _group_findings(
    config: Mapping[str, Any], key: str, experiment: str, group: Mapping[str, Any], seen: set[str]
) -> Iterator[str]:
    if "budgets" not in group and "blocks" not in group:
        yield f"{key}: neither budgets nor blocks; allowed: one of them or both."
    for method in group["methods"]:
        if method not in config["methods"]:
            yield f"{key}.methods: unknown method {method!r}; allowed: {', '.join(config['methods'])}."
            continue
        architecture = _architecture(config, method, experiment)
        for index, budget in enumerate(group.get("budgets", ())):
            try:
                _sized(architecture, "budget", budget)
            except SchemenetsError as error:
                yield f"{key}.budgets.{index} = {budget}, {method}: {error}"
        sizes = [f"budget-{n}" for n in group.get("budgets", ())] + [f"blocks-{n}" for n in group.get("blocks", ())]
        for size in sizes:
            job = f"{experiment}/{method}/{size}"
            if job in seen:
                yield f"{key}: {job} is asked for twice; allowed: once per tier."
            seen.add(job)


def _dataset_findings(config: Mapping[str, Any]) -> Iterator[str]:
    for tier, entry in config["tiers"].items():
        noises = [f"{noise:g}" for noise in entry["test_noises"]]
        for noise in noises:
            if noises.count(noise) > 1 or not re.fullmatch(r"[0-9.]+", noise):
                allowed = "numbers that differ in six digits and need no exponent"
                yield f"tiers.{tier}.test_noises = {entry['test_noises']}: {noise}; allowed: {allowed}."
        for name, spec in Study({**config, "tier": tier}).datasets.items():
            try:
                signals.check(spec)
            except SchemenetsError as error:
                yield f"tiers.{tier}, data set {name}: {error}"
            if spec.get("train", math.inf) < config["training"]["batch"]:
                yield (
                    f"tiers.{tier}.train.{spec['family']} = {spec['train']}: "
                    f"allowed: at least training.batch = {config['training']['batch']}."
                )
        yield from _evolution_findings(config, tier)


def _evolution_findings(config: Mapping[str, Any], tier: str) -> Iterator[str]:
    study = Study({**config, "tier": tier})
    for spec in study.evolutions.values():
        source, least = study.datasets[spec["source"]], {"train": config["training"]["batch"]}
        for split in ("train", "validation", "test"):
            if not least.get(split, 1) <= spec[split] <= source[split]:
                allowed = f"{least.get(split, 1)} to {source[split]}, the signals of {spec['source']}"
                yield f"tiers.{tier}.{split}.evolution = {spec[split]}: allowed: {allowed}."
