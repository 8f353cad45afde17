"""The study's configuration, checked as a whole before anything runs, and the jobs that follow from it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from schemenets import networks, signals
from schemenets.errors import ConfigError, SchemenetsError, UnknownNameError
from schemenets.multigrid import CycleArchitecture, Problem, Solving
from schemenets.networks import Architecture
from schemenets.study import schema
from schemenets.study.overrides import LIKE, Source, blamed, merged, resolved
from schemenets.study.wording import SOLVE

Json = dict[str, Any]
CONFIG = Path("config/config.yaml")
CLAIMS = Path("config/claims.yaml")
SCHEMA = Path("workflow/schemas/config.schema.json")
RESULTS = {"smoke": Path("results/smoke")}  # by tier
# keys of every configuration; one without some of them says what is different in that of the project
REQUIRED = {"tier", "network", "training", "signals", "methods", "experiments", "tiers"}
MINE = Path("results/mine")  # of all other tiers; committed results are never overwritten unasked
RATES_SCHEMA = Path("workflow/schemas/rates.schema.json")  # in the project's directory
TUNED = "tuned"  # learning rates, by the run itself
SPLITS = ("train", "validation", "test")
CYCLE = "cycle"  # the network that is given the problem; all others are in the registry


@dataclass(frozen=True)
class Study:
    """A valid configuration with a chosen tier.

    A training job is named ``experiment/method/size``, with size ``budget-N`` (parameters), ``blocks-N``, or
    ``points-N`` for networks that solve; it trains all seeds of the tier. Everything that a job of a stage needs to
    know is in its specification, a plain dictionary.
    """

    config: Mapping[str, Any]
    _specs: dict[str, dict[str, Json]] = field(default_factory=dict, repr=False, compare=False)
    _sources: Sequence[Source] = field(default=(), repr=False, compare=False)

    @classmethod
    def load(cls, root: Path = Path(), tier: str | None = None, config: Path = CONFIG) -> "Study":
        """The study in the directory ``root``, with its own tier or the given one.

        Args:
            root: directory of the project.
            tier: name of a tier.
            config: a whole configuration, or one that says what is different in that of the project, see
                :mod:`schemenets.study.overrides`.

        Raises:
            ConfigError: a file is missing, or holds an invalid key or value.
        """
        content, sources = schema.read(root / config), []
        complete = isinstance(content, Mapping) and content.keys() >= REQUIRED
        if config != CONFIG and not complete:
            sources.append((str(root / CONFIG), schema.read(root / CONFIG)))
        sources.append((str(root / config), content))
        if tier is not None:
            sources.append(("--tier", {"tier": tier}))
        return cls.of(sources, root)

    @classmethod
    def of(cls, sources: Sequence[Source], root: Path = Path()) -> "Study":
        """The study with the configuration of several sources, the later ones over the earlier ones.

        Raises:
            ConfigError: one line per finding, with source, key, value and what is expected.
        """
        for name, content in sources:
            if not isinstance(content, Mapping):
                raise ConfigError(f"{name}: got {content!r:.80}, expected keys and values.")
        whole: Json = {}
        for _, content in sources:
            whole = merged(whole, content)
        own = [(name, resolved(content, whole)) for name, content in sources]
        return cls.check(resolved(whole), root, own)

    @classmethod
    def check(cls, config: Mapping[str, Any], root: Path = Path(), sources: Sequence[Source] | None = None) -> "Study":
        """The study with this configuration; ``sources`` are where its values are from, by default that of the project.

        Raises:
            ConfigError: one line per finding, with source, key, value and what is expected.
        """
        sources = sources or [(str(root / CONFIG), config)]
        if findings := _unresolved(config) or schema.violations(config, root / SCHEMA) or _of_run(config, len(sources)):
            raise ConfigError("\n".join(_blamed(finding, sources, root) for finding in findings))
        return cls(config, _sources=sources)

    @property
    def registered(self) -> bool:
        """Whether the tier is configured as that of the project is, whatever other tiers are."""
        return of_tier(self.config) == of_tier(resolved({**schema.read(CONFIG), "tier": self.tier}))

    @property
    def own_claims(self) -> list[Json]:
        """Claims that the configuration adds, compared on what their experiments train on, if they do not say else."""
        found = []
        for claim in self.config.get("claims", ()):
            comparisons = [
                {**_own_test_set(self.config["experiments"].get(entry["experiment"])), **entry}
                for entry in claim.get("comparisons", ())
            ]
            found.append({**claim, "comparisons": comparisons} if comparisons else claim)
        return found

    def check_run(self) -> None:
        """Make sure of what takes the stages to see: that nothing they read is missing, and that claims can be decided.

        Raises:
            ConfigError: one line per finding.
        """
        from schemenets.study import claims, stages  # they import this module

        missing: dict[str, str] = {}
        for stage in stages.available():
            for spec in self.specs(stage).values():
                for found in stages.references(stage, spec).values():
                    read = {each[0]: each[1] for each in found if not isinstance(each, str)}
                    missing |= {other: stage for other, name in read.items() if name not in self.specs(other)}
        if missing:
            lines = (f"got no {other}, expected it, as {stage} reads its results." for other, stage in missing.items())
            raise ConfigError("\n".join(blamed(f"tiers.{self.tier}.stages: {line}", self._sources) for line in lines))
        self.check_claims(claims.load(CLAIMS, own=self.own_claims))

    def check_claims(self, registered: Mapping[str, Any]) -> None:
        """Make sure that this study can decide the claims (:func:`schemenets.study.claims.load`).

        Raises:
            ConfigError: one line per test set, experiment or method that this study does not have.
        """
        own = {claim["id"] for claim in self.config.get("claims", ())}
        own_source = next((name for name, content in reversed(self._sources) if "claims" in content), str(CLAIMS))
        findings = []
        defaults = {"family": registered["test_set"], "noise": registered["noise"]}
        test_set = signals.dataset_name(defaults)
        if test_set not in self.test_sets:
            expected = f"expected one of {self.test_sets} of the tier {self.tier}"
            findings.append(f"{CLAIMS}: test_set and noise: got {test_set}, {expected}.")
        for claim in registered["claims"]:
            start = f"{own_source if claim['id'] in own else CLAIMS}: claims.{claim['id']}"
            for entry in claim.get("comparisons", ()):
                for key, kind in (("experiment", "experiments"), ("candidate", "methods"), ("reference", "methods")):
                    if entry[key] not in self.config[kind]:
                        expected = ", ".join(self.config[kind])
                        findings.append(f"{start}.{key}: got {entry[key]!r}, expected one of {expected}.")
                test = {"family": entry.get("test_set", defaults["family"])}
                name = signals.dataset_name({**test, "noise": entry.get("noise", defaults["noise"])})
                tested_on = self.tested_on(entry["experiment"])
                if entry["experiment"] in self.settings["experiments"] and name not in tested_on:
                    key = f"{start}.{entry['experiment']}"
                    findings.append(f"{key}, test_set and noise: got {name}, expected one of {tested_on}.")
                findings += self._untrained(entry, start) if claim["id"] in own else []
            section, budgets = self.config["solvers"], claim.get("budgets")
            for entry in [*claim.get("ratios", ()), *([budgets] if budgets else [])]:
                for key, kind in (("problem", "problems"), ("candidate", "methods"), ("reference", "methods")):
                    if key in entry and entry[key] not in section[kind]:
                        expected = ", ".join(section[kind])
                        findings.append(f"{start}.{key}: got {entry[key]!r}, expected one of {expected}.")
        if findings:
            raise ConfigError("\n".join(dict.fromkeys(findings)))

    def _untrained(self, entry: Mapping[str, Any], start: str) -> Iterator[str]:
        """Sizes of a comparison that no network of this tier has; registered claims may wait for another tier."""
        sides = [entry["candidate"], entry["reference"]]
        trained = [
            {size for e, method, size in self.trainings if (e, method) == (entry["experiment"], s)} for s in sides
        ]
        both = set.intersection(*trained)
        sizes = [] if entry["sizes"] == "all" else entry["sizes"]
        if missing := [size for size in sizes if size not in both] if both else sides:
            expected = f"some of {sorted(both)}" if both else "methods with networks of the same size in this tier"
            yield f"{start}, {entry['experiment']}: got {missing}, expected {expected}."

    @property
    def tier(self) -> str:
        """Name of the chosen tier."""
        return str(self.config["tier"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the tier."""
        settings: Mapping[str, Any] = self.config["tiers"][self.tier]
        return settings

    @property
    def results(self) -> Path:
        """Default results directory."""
        return RESULTS.get(self.tier, MINE)

    def specs(self, stage: str) -> dict[str, Json]:
        """Specifications of all jobs that a stage has in this tier, by name.

        Raises:
            UnknownNameError: no such stage.
        """
        from schemenets.study import stages  # they import this module

        if stage not in self._specs:
            self._specs[stage] = stages.module(stage).specs(self) if self.has(stage) else {}
        return self._specs[stage]

    def has(self, stage: str) -> bool:
        """Whether the tier has jobs of a stage at all."""
        return stage in self.settings.get("stages", (stage,))

    @property
    def seeds(self) -> list[int]:
        """Seeds of weights, shuffling and training signals, the same for every training job that decides nothing."""
        return self._seeds(self.settings["seeds"])

    def _seeds(self, count: int) -> list[int]:
        first = self.settings["first_seed"]
        return list(range(first, first + count))

    @cached_property
    def trainings(self) -> dict[tuple[str, str, str], list[int]]:
        """Seeds by experiment, method and size of every job that trains denoisers, whatever the order of the keys."""
        usual = self.settings["seeds"]
        return {
            (experiment, method, size): self._seeds(max(1, round(group.get("seeds_factor", 1) * usual)))
            for experiment, groups in sorted(self.settings["experiments"].items())
            for group in groups
            for method in group["methods"]
            for size in _sizes(group)
        }

    @property
    def data(self) -> Json:
        """Seed and length of all signals."""
        return {"seed": self.settings["data_seed"], "length": self.config["signals"]["length"]}

    @property
    def denoisers(self) -> dict[str, Json]:
        """What other stages need to know about every job that trains denoisers, by name."""
        return self._trained("denoising")

    @property
    def solvers(self) -> dict[str, Json]:
        """The same for every job that trains networks to solve a problem."""
        return self._trained("solving")

    def _trained(self, task: str) -> dict[str, Json]:
        keys = ("experiment", "method", "size", "seeds", "architecture", "dataset")
        return {
            name: {"job": name, **{key: spec[key] for key in keys}}
            for name, spec in self.specs("train").items()
            if spec["task"]["name"] == task
        }

    def architecture(self, method: str, size: str, experiment: str) -> Architecture:
        """Architecture of a method at a size in an experiment."""
        kind, _, number = size.rpartition("-")
        return _sized(_architecture(self.config, method, experiment), kind, int(number))

    @cached_property
    def tuned(self) -> dict[str, tuple[str, str, str]]:
        """Experiment, method and size that every learning rate is tuned with, by its name: family/method/class.

        Of all jobs with this rate, the one whose number of parameters (then of blocks) is the (lower) median; jobs with
        other numbers of signals or steps than usual only where there are no others.
        """
        found: dict[str, list[tuple[int, int, tuple[str, str, str]]]] = {}
        unusual = {
            name for name, own in self.config["experiments"].items() if own.keys() & {"train", "training_length"}
        }
        usual = {self.rate_name(*place) for place in self.trainings if place[0] not in unusual}
        for place in self.trainings:
            if place[0] in unusual and self.rate_name(*place) in usual:
                continue
            own = self.architecture(place[1], place[2], place[0])
            found.setdefault(self.rate_name(*place), []).append((own.count().total, own.blocks, place))
        return {name: sorted(each)[(len(each) - 1) // 2][-1] for name, each in sorted(found.items())}

    def rate_name(self, experiment: str, method: str, size: str) -> str:
        """Name of the learning rate of a job: signal family, method, and class of its number of parameters."""
        family = training_set(self.config["experiments"][experiment]).rpartition("-")[0]
        parameters = self.architecture(method, size, experiment).count().total
        return f"{family}/{method}/{size_class(self.config, parameters)}"

    @property
    def tunes(self) -> bool:
        """Whether learning rates are tuned in the run itself."""
        return bool(self.settings["rates"] == TUNED)

    @cached_property
    def rates(self) -> Mapping[str, float]:
        """Frozen learning rates by name.

        Raises:
            ConfigError: their file is missing, or is none.
        """
        path = Path(self.settings["rates"])
        found = schema.load(path, RATES_SCHEMA)["rates"]
        return {
            f"{family}/{method}/{size}": rate
            for family, methods in found.items()
            for method, sizes in methods.items()
            for size, rate in sizes.items()
        }

    def rate(self, name: str) -> Json:
        """The frozen learning rate of this name, for a specification; none if the run tunes.

        Raises:
            ConfigError: there is none.
        """
        if self.tunes:
            return {}
        if name not in self.rates:
            expected = f"the learning rates of this tier (make study TIER=tuning), or {TUNED!r} in the tier"
            raise ConfigError(f"{self.settings['rates']}: {name}: got none, expected {expected}.")
        return {"learning_rate": self.rates[name]}

    def training(self, length: float = 1) -> Json:
        """Epochs, ``length`` times as many as the tier says, and the batch size."""
        return {"epochs": _epochs(length * self.settings["epochs"]), "batch": self.config["training"]["batch"]}

    def drawn(self, experiment: str) -> Json:
        """What training on signals that every seed draws for itself needs to know of an experiment.

        With fewer signals than the tier has, an epoch has as many more passes over them, so that the number of steps is
        about the same.
        """
        entry = self.config["experiments"][experiment]
        usual = self.settings["train"][entry["family"]]
        count, batch = entry.get("train", usual), self.config["training"]["batch"]
        passes = max(1, round((usual // batch) / max(1, count // batch)))
        signals_of_seeds = {"family": entry["family"], "noise": entry["noise"], **self.data, "train": count}
        return {"draws": signals_of_seeds} | ({"passes": passes} if passes > 1 else {})

    def solver_rate_name(self, method: str, problem: str) -> str:
        """Name of the learning rate of a method that solves a problem."""
        return f"solving/{method}/{problem}"

    @property
    def solver_seeds(self) -> list[int]:
        """Seeds of networks that solve."""
        return self._seeds(self.settings["solvers"].get("seeds", self.settings["seeds"]))

    @property
    def points(self) -> int:
        """Points of the grids on which networks learn to solve."""
        return int(self.config["solvers"]["points"])

    def problem(self, name: str) -> Problem:
        """The problem of this name."""
        return _problem(self.config, name)

    def solver_training(self, method: str, problem: str) -> Json:
        """Specification of training a method to solve a problem, without seeds."""
        length = self.config["solvers"]["methods"][method].get("training_length", 1)
        return {
            "architecture": _solver(self.config, method, problem).arguments(),
            "task": Solving(problem=self.problem(problem)).arguments(),
            "dataset": f"problem_{problem}",
            "epochs": round(length * self.settings["solvers"]["epochs"]),
            "batch": self.config["solvers"]["batch"],
        }

    @property
    def tested(self) -> list[tuple[str, float]]:
        """Family and noise level of every data set that every denoiser is tested on."""
        return list(product(self.config["test_families"], self.settings["test_noises"]))

    @property
    def test_sets(self) -> list[str]:
        """Names of the data sets that every denoiser is tested on."""
        return [signals.dataset_name({"family": family, "noise": noise}) for family, noise in self.tested]

    @property
    def validated(self) -> dict[str, tuple[str, float]]:
        """For every test set, family and noise level of the validation signals that tune classical denoisers for it.

        Where a family has no validation signals, those of the first family that has.
        """
        given = [family for family in self.settings["validation"] if family in self.config["test_families"]]
        return {
            signals.dataset_name({"family": family, "noise": noise}): (family if family in given else given[0], noise)
            for family, noise in self.tested
        }

    def tested_on(self, experiment: str) -> list[str]:
        """Names of the data sets that networks are tested on: denoisers on all test sets, evolutions on their own."""
        entry = self.config["experiments"].get(experiment, {})
        return [training_set(entry)] if "time" in entry else self.test_sets


def _unresolved(config: Mapping[str, Any]) -> list[str]:
    """Tiers that are like one that is not there, or like each other."""
    tiers = config.get("tiers")
    if not isinstance(tiers, Mapping):
        return []
    found = []
    for name, own in tiers.items():
        if isinstance(own, Mapping) and LIKE in own:
            others = ", ".join(other for other in tiers if other != name)
            found.append(f"tiers.{name}.{LIKE}: got {own[LIKE]!r}, expected one of {others}.")
    return found


def _blamed(finding: str, sources: Sequence[Source], root: Path) -> str:
    """The finding, behind the name of the source that it is from.

    If it names a key of the project, but comes up only with what a later source says, it is from that one.
    """
    named = blamed(finding, sources)
    if len(sources) > 1 and named.startswith(f"{sources[0][0]}: "):
        whole: Json = {}
        for name, content in sources:
            whole = merged(whole, content)
            config = resolved(whole)
            if finding in (schema.violations(config, root / SCHEMA) or list(_findings(config))):
                return f"{name}: {finding}"
    return named


def size_class(config: Mapping[str, Any], parameters: int) -> str:
    """Class of a number of parameters, in each of which learning rates are tuned."""
    return "small" if parameters <= config["tuning"]["small"] else "large"


def of_tier(config: Mapping[str, Any]) -> Json:
    """A configuration without the tiers that are not chosen."""
    tier = config["tier"]
    return {**config, "tiers": {tier: config["tiers"].get(tier)}}


def training_set(experiment: Mapping[str, Any]) -> str:
    """Name of the data set that the networks of an experiment are trained on."""
    own = _own_test_set(experiment)
    return signals.dataset_name({"family": own["test_set"], "noise": own["noise"]})


def _own_test_set(experiment: Mapping[str, Any] | None) -> Json:
    if experiment is None:
        return {}
    family = f"evolution_{experiment['time']}" if "time" in experiment else experiment["family"]
    return {"test_set": family, "noise": experiment["noise"]}


def _epochs(number: float) -> int:
    return max(1, round(number))


def _sizes(group: Mapping[str, Any]) -> list[str]:
    """Names of the sizes in a group of an experiment."""
    kinds = (("budget", "budgets"), ("blocks", "blocks"))
    return [f"{kind}-{number}" for kind, key in kinds for number in group.get(key, ())]


def _problem(config: Mapping[str, Any], name: str) -> Problem:
    return Problem(**config["solvers"]["problems"][name], extent=float(config["solvers"]["points"]))


def _solver(config: Mapping[str, Any], method: str, problem: str) -> Architecture | CycleArchitecture:
    """Architecture of a method for a problem."""
    entry = dict(config["solvers"]["methods"][method])
    network = entry.pop("network")
    entry.pop("training_length", None)
    if network == CYCLE:
        return CycleArchitecture(problem=_problem(config, problem), **entry)
    return Architecture(name=network, **entry)


def _architecture(config: Mapping[str, Any], method: str, experiment: str | None = None) -> Architecture:
    """Architecture of a method, with one block and the filter length of the experiment, if it has one of its own."""
    entry = dict(config["methods"][method])
    own = {key: value for key, value in config["experiments"].get(experiment, {}).items() if key == "kernel_size"}
    return Architecture(name=entry.pop("network"), blocks=1, **{**config["network"], **own, **entry})


def _sized(architecture: Architecture, kind: str, number: int) -> Architecture:
    blocks = networks.blocks_for_budget(architecture, number) if kind == "budget" else number
    return replace(architecture, blocks=blocks)


def _of_run(config: Mapping[str, Any], sources: int) -> list[str]:
    """What is wrong: whoever changes the configuration of the project need not care about tiers that are not run."""
    return list(_findings(of_tier(config) if sources > 1 and config["tier"] in config["tiers"] else config))


def _findings(config: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot check: names in registries, references between keys, budgets, sizes of families."""
    broken = [*_family_findings(config)]
    if config["tier"] not in config["tiers"]:
        broken.append(str(UnknownNameError("tier", config["tier"], config["tiers"])))
    broken += [finding for name in config["methods"] for finding in _method_findings(config, name)]
    k, length = config["network"]["kernel_size"], config["signals"]["length"]
    for name, entry in config["experiments"].items():
        if entry.get("kernel_size", 1) > length:
            expected = f"at most signals.length = {length}"
            broken.append(f"experiments.{name}.kernel_size: got {entry['kernel_size']}, expected {expected}.")
    if k > length:
        broken.append(f"network.kernel_size: got {k}, expected at most signals.length = {length}.")
    broken += [
        *_stability_findings(config),
        *_solver_findings(config),
        *_names_findings(config),
        *_map_findings(config),
    ]
    broken = broken or [
        finding for tier, entry in _tiers(config) for finding in _tier_findings(config, f"tiers.{tier}", entry)
    ]
    yield from broken or _dataset_findings(config)  # each step relies on those before it


def _family_findings(config: Mapping[str, Any]) -> Iterator[str]:
    """Names of signal families, and numbers of their signals in every tier."""
    trained = {f"experiments.{name}.family": entry["family"] for name, entry in config["experiments"].items()}
    tested = {f"test_families.{index}": family for index, family in enumerate(config["test_families"])}
    known, wrong = signals.available(), False
    for key, family in (trained | tested).items():
        if family not in known:
            wrong = True
            yield f"{key}: {UnknownNameError('signal family', family, known)}"
        elif key in trained and not {"train", "validation"} <= set(signals.get(family).SPLITS):
            wrong = True
            yield f"{key}: got {family!r}, expected a family with signals for training."
    for tier, entry in {} if wrong else config["tiers"].items():
        if tier == config["tier"]:
            for split, family in _without_number(config, entry):
                yield f"tiers.{tier}.{split}: got no number for {family}, expected one for every family."
        for split in SPLITS:
            for family in entry[split]:
                if family not in {"evolution", *known}:
                    yield f"tiers.{tier}.{split}.{family}: {UnknownNameError('signal family', family, known)}"


def _without_number(config: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Splits and families of which a tier does not say how many signals they have."""
    trained = [own["family"] for own in config["experiments"].values()]
    for split in SPLITS:
        families = trained if split != "test" else [*trained, *config["test_families"]]
        yield from ((split, family) for family in dict.fromkeys(families) if family not in entry[split])


def _tiers(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The chosen tier, and all others that know every family: in a tier of one's own, there may be more of them."""
    for tier, entry in config["tiers"].items():
        if tier == config["tier"] or not any(_without_number(config, entry)):
            yield tier, entry


def _method_findings(config: Mapping[str, Any], method: str) -> Iterator[str]:
    key = f"methods.{method}"
    try:
        architecture = _architecture(config, method)
        architecture.check()
    except SchemenetsError as error:
        yield f"{key}: {error}"


def _stability_findings(config: Mapping[str, Any]) -> Iterator[str]:
    entry = config["stability"]
    for experiment in entry["experiments"]:
        if experiment not in config["experiments"]:
            expected = ", ".join(config["experiments"])
            yield f"stability.experiments: got {experiment!r}, expected one of {expected}."
    for tier, own in config["tiers"].items():
        depths, names = own["stability"]["depths"], own["stability"]["networks"]
        for name, flux in product(names, entry["fluxes"]):
            try:  # tied is refused if blocks differ in shape, so that their number is not free
                size = {**config["network"], "biases": False}
                Architecture(name=name, blocks=1, flux=flux, tied=True, **size).check()
            except SchemenetsError as error:
                yield f"tiers.{tier}.stability.networks, {name} with {flux}: {error}"
        if depths != sorted(depths):
            yield f"tiers.{tier}.stability.depths: got {depths}, expected ascending numbers."


def _map_findings(config: Mapping[str, Any]) -> Iterator[str]:
    from schemenets.study.stages import cells  # which imports this module

    section, most = config["map"], {"cells": config["map"]["cells"], "around": 1 + len(config["map"]["around"])}
    try:
        cells.check(section, config["network"])
    except SchemenetsError as error:
        yield f"map: {error}"
    for tier, own in config["tiers"].items():
        for key, limit in most.items():
            if own.get("map", {}).get(key, 0) > limit:
                yield f"tiers.{tier}.map.{key}: got {own['map'][key]}, expected at most {limit}."


def _names_findings(config: Mapping[str, Any]) -> Iterator[str]:
    """Names that would give two jobs the same files."""
    for method in config["methods"]:
        if method in config["solvers"]["methods"]:
            yield f"solvers.methods: got {method!r}, expected names other than those in methods."
    for experiment in config["experiments"]:
        if experiment.startswith(SOLVE):
            yield f"experiments: got {experiment!r}, expected names that do not begin with {SOLVE}."


def _tier_findings(config: Mapping[str, Any], key: str, tier: Mapping[str, Any]) -> Iterator[str]:
    yield from _robustness_findings(config, f"{key}.robustness", tier)
    seen: set[str] = set()
    for experiment, groups in tier["experiments"].items():
        if experiment not in config["experiments"]:
            expected = ", ".join(config["experiments"])
            yield f"{key}.experiments: got {experiment!r}, expected some of {expected}."
        for number, group in enumerate(groups):
            yield from _group_findings(config, f"{key}.experiments.{experiment}.{number}", experiment, group, seen)


def _robustness_findings(config: Mapping[str, Any], key: str, tier: Mapping[str, Any]) -> Iterator[str]:
    experiment, count, sizes = (tier["robustness"][name] for name in ("experiment", "signals", "sizes"))
    if experiment not in config["experiments"]:
        yield f"{key}.experiment: got {experiment!r}, expected one of {', '.join(config['experiments'])}."
        return
    groups = tier["experiments"].get(experiment, [])
    there = {
        "methods": sorted({method for group in groups for method in group["methods"]}),
        "size": sorted({size for group in groups for size in _sizes(group)}),
    }
    for name, known in there.items():
        given = tier["robustness"].get(name, [])
        for value in [given] if isinstance(given, str) else given:
            if value not in known:
                yield f"{key}.{name}: got {value!r}, expected one of {', '.join(known)} of {experiment}."
    entry = config["experiments"][experiment]
    family, noise, most = entry["family"], entry["noise"], tier["test"][entry["family"]]
    if family not in config["test_families"] or noise not in tier["test_noises"]:
        tested = f"{', '.join(config['test_families'])} at noise {tier['test_noises']}"
        yield f"{key}.experiment, on {family} at noise {noise}: got {experiment!r}, expected one on {tested}."
    if count > most:
        yield f"{key}.signals: got {count}, expected at most {most}, the test signals of the experiment {experiment}."
    if sizes != sorted(sizes):
        yield f"{key}.sizes: got {sizes}, expected ascending numbers."


def _group_findings(
    config: Mapping[str, Any], key: str, experiment: str, group: Mapping[str, Any], seen: set[str]
) -> Iterator[str]:
    if "budgets" not in group and "blocks" not in group:
        yield f"{key}: got neither budgets nor blocks, expected one of them or both."
    for method in group["methods"]:
        if method not in config["methods"]:
            yield str(UnknownNameError(f"{key}.methods", method, config["methods"]))
            continue
        architecture = _architecture(config, method, experiment)
        for index, budget in enumerate(group.get("budgets", ())):
            try:
                _sized(architecture, "budget", budget)
            except SchemenetsError as error:
                yield f"{key}.budgets.{index} for {method}: {error}"
        for size in _sizes(group):
            job = f"{experiment}/{method}/{size}"
            if job in seen:
                yield f"{key}: got {job} twice, expected once per tier."
            seen.add(job)


def _dataset_findings(config: Mapping[str, Any]) -> Iterator[str]:
    for tier, entry in _tiers(config):
        noises = [f"{noise:g}" for noise in entry["test_noises"]]
        for noise in noises:
            if noises.count(noise) > 1 or not re.fullmatch(r"[0-9.]+", noise):
                expected = "numbers that differ in six digits and need no exponent"
                yield f"tiers.{tier}.test_noises: got {noise}, expected {expected}."
        for name, spec in Study({**config, "tier": tier}).specs("signals").items():
            try:
                signals.check(spec)
            except SchemenetsError as error:
                yield f"tiers.{tier}, data set {name}: {error}"
        yield from _drawn_findings(config, tier)
        yield from _evolution_findings(config, tier)


def _drawn_findings(config: Mapping[str, Any], tier: str) -> Iterator[str]:
    """What networks draw for themselves."""
    study, batch = Study({**config, "tier": tier}), config["training"]["batch"]
    for experiment in study.settings["experiments"]:
        spec = study.drawn(experiment)["draws"]
        own = "train" in config["experiments"][experiment]
        key = f"experiments.{experiment}.train" if own else f"tiers.{tier}.train.{spec['family']}"
        if spec["train"] < batch:
            yield f"{key}: got {spec['train']}, expected at least training.batch = {batch}."
        try:
            signals.check(spec)
        except SchemenetsError as error:
            yield f"{key}: {error}"


def _evolution_findings(config: Mapping[str, Any], tier: str) -> Iterator[str]:
    study = Study({**config, "tier": tier})
    for spec in study.specs("evolution").values():
        source, least = study.specs("signals")[spec["source"]], {"train": config["training"]["batch"]}
        for split in ("train", "validation", "test"):
            if not least.get(split, 1) <= spec[split] <= source[split]:
                expected = f"{least.get(split, 1)} to {source[split]}, the signals of {spec['source']}"
                yield f"tiers.{tier}.{split}.evolution: got {spec[split]}, expected {expected}."


def _solver_findings(config: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot check in the section ``solvers``."""
    section = config["solvers"]
    for name in section["problems"]:
        try:
            _problem(config, name)
        except SchemenetsError as error:
            yield f"solvers.problems.{name}: {error}"
            continue
        for method in section["methods"]:
            try:
                built = _solver(config, method, name)
                built.check()
            except (SchemenetsError, TypeError) as error:
                yield f"solvers.methods.{method}: {error}"
                return
    if not _is_power_of_two(section["points"]):
        yield f"solvers.points: got {section['points']}, expected a power of two."
    for tier, entry in config["tiers"].items():
        own_tier = entry["solvers"]
        key = f"tiers.{tier}.solvers"
        for name, methods in own_tier["problems"].items():
            if name not in section["problems"]:
                yield f"{key}.problems: got {name!r}, expected some of {', '.join(section['problems'])}."
            for method in methods:
                if method not in section["methods"]:
                    expected = ", ".join(section["methods"])
                    yield f"{key}.problems.{name}: got {method!r}, expected some of {expected}."
        for number in own_tier["points"]:  # right-hand sides are resampled to them
            if not _is_power_of_two(number):
                yield f"{key}.points: got {number}, expected powers of two."
        if own_tier["train"] < section["batch"]:
            yield f"{key}.train: got {own_tier['train']}, expected at least solvers.batch = {section['batch']}."


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
