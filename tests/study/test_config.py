"""The configuration is checked as a whole, with messages that name file, key, value and what is allowed."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from schemenets import networks
from schemenets.errors import ConfigError, UnknownNameError
from schemenets.study import claims, stages
from schemenets.study.config import CLAIMS, Study
from schemenets.study.measurements.design import balanced, pairs
from schemenets.study.overrides import resolved

ROOT = Path(__file__).parents[2]
CONFIG = resolved(yaml.safe_load((ROOT / "config/config.yaml").read_text()))


CONFIG["experiments"]["far"] = {"title": "Far", "family": "piecewise_affine", "noise": 20}


def changed(path, value):
    """The committed configuration with one entry replaced."""
    config = copy.deepcopy(CONFIG)
    *parents, last = path
    entry = config
    for key in parents:
        entry = entry[key]
    entry[last] = value
    return config


@pytest.mark.parametrize("tier", ["smoke", "tuning", "map", "study", "extended"])
def test_committed_configuration_is_valid(tier):
    study = Study.load(ROOT, tier)
    assert study.tier == tier
    datasets = study.specs("signals") | study.specs("evolution") | study.specs("problems")
    for name, spec in study.specs("train").items():
        architecture = networks.architecture(spec["architecture"])
        kind, number = spec["size"].split("-")
        assert name == f"{spec['experiment']}/{spec['method']}/{spec['size']}"
        if kind == "budget":
            assert architecture.count().total <= int(number)
        elif kind == "blocks":
            assert architecture.blocks == int(number)
        else:
            assert (kind, int(number)) == ("points", CONFIG["solvers"]["points"])
            assert spec["task"]["name"] == "solving"
        assert spec["dataset"] in datasets
        first = CONFIG["tuning"]["first_seed"]
        assert not set(spec["seeds"]) & set(range(first, first + CONFIG["tuning"]["seeds"]))
        assert (spec["rate"] in study.specs("tune")) == (study.settings["rates"] == "tuned")
    assert list(study.specs("train")) == [*study.denoisers, *study.solvers]


def test_jobs_do_not_depend_on_the_order_of_keys():
    """The manifest sorts the keys of the configuration that it keeps, and the audit makes the tables anew from it."""
    study = Study.load(ROOT, "study")
    kept = Study.check(json.loads(json.dumps(study.config, sort_keys=True)), ROOT)
    for stage in ("train", "tune", "growth"):
        assert list(kept.specs(stage).items()) == list(study.specs(stage).items())


def test_results_of_the_miniature_and_of_all_other_tiers_lie_apart():
    assert [Study.load(ROOT, tier).results for tier in ("study", "smoke", "extended")] == [
        Path("results/mine"),
        Path("results/smoke"),
        Path("results/mine"),
    ]


def test_data_sets_have_the_splits_that_are_read_of_them():
    datasets = Study.load(ROOT, "study").specs("signals")
    stored = {split: {name for name, spec in datasets.items() if split in spec} for split in ("train", "validation")}
    assert stored["train"] == {"piecewise_affine-10"}  # of which evolutions start
    noises = CONFIG["tiers"]["study"]["test_noises"]
    assert stored["validation"] == {f"{name}-{x}" for name in ("piecewise_affine", "scanlines") for x in noises}
    assert all("test" in spec for spec in datasets.values())


def test_every_seed_draws_training_signals_in_about_as_many_steps():
    study, batch = Study.load(ROOT, "study"), CONFIG["training"]["batch"]
    trained = study.specs("train")
    steps = {
        name: spec["epochs"] * spec.get("passes", 1) * (spec["draws"]["train"] // batch)
        for name, spec in trained.items()
        if spec["experiment"] in ("few", "capacity", "scanlines")
    }
    assert set(steps.values()) == {7800}
    few = trained["few/resnet-relu/budget-240"]
    assert (few["draws"]["train"], few["passes"]) == (100, 156)
    assert few["draws"] == {"family": "piecewise_affine", "noise": 10, "seed": 20210322, "length": 256, "train": 100}


def test_a_rate_is_tuned_per_family_method_and_class_of_size():
    study = Study.load(ROOT, "extended")
    trained, tuned = study.specs("train"), study.specs("tune")
    assert set(tuned) == {spec["rate"] for spec in trained.values()}
    assert trained["capacity/resnet-relu/budget-240"]["rate"] == "piecewise_affine/resnet-relu/small"
    assert trained["scanlines/resnet-relu/budget-480"]["rate"] == "scanlines/resnet-relu/large"
    assert trained["few/resnet-relu/budget-240"]["rate"] == "piecewise_affine/resnet-relu/small"
    assert trained["evolution_16/fsi-perona_malik-tied/blocks-8"]["rate"] == "evolution_16/fsi-perona_malik-tied/small"
    for name, spec in tuned.items():
        if not name.startswith("solving/"):
            count = networks.architecture(spec["architecture"]).count().total
            assert (count <= CONFIG["tuning"]["small"]) == name.endswith("/small")
    assert not {place[0] for place in study.tuned.values()} & {"few", "long"}
    assert networks.architecture(tuned["scanlines/resnet-relu/large"]["architecture"]).count().total <= 480


def test_frozen_rates_are_part_of_the_specification(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = changed(["tiers", "smoke", "rates"], str(tmp_path / "rates.yaml"))
    study = Study.check({**config, "tier": "smoke"}, ROOT)
    solving = {study.solver_rate_name(method, "charbonnier") for method in ("cycle-1", "unet-2")}
    names = solving | {study.rate_name(*place) for place in study.trainings}
    found = {}
    for name in names:
        family, method, size = name.split("/")
        found.setdefault(family, {}).setdefault(method, {})[size] = 0.0125
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump({"rates": found}))
    assert not study.specs("tune")
    assert {spec["learning_rate"] for spec in study.specs("train").values()} == {0.0125}
    assert all("tuning" not in stages.module("train").inputs(spec) for spec in study.specs("train").values())
    del found["solving"]
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump({"rates": found}))
    with pytest.raises(ConfigError, match=r"solving/cycle-1/charbonnier: got none, expected .*TIER=tuning"):
        Study.check({**config, "tier": "smoke"}, ROOT).specs("train")


def test_a_tier_may_have_some_stages_only():
    study = Study.load(ROOT, "tuning")
    assert study.specs("tune")
    assert not any(study.specs(stage) for stage in ("train", "evaluate", "classical", "claims", "report"))
    assert all({"validation"} <= set(spec) for spec in study.specs("signals").values())


def test_groups_that_decide_have_more_seeds():
    trained = Study.load(ROOT, "study").specs("train")
    assert trained["capacity/resnet-relu/budget-240"]["seeds"] == list(range(16))
    assert trained["channels/resnet-relu-8_channels/blocks-4"]["seeds"] == list(range(10))
    assert trained["capacity/fsi-perona_malik/budget-240"]["seeds"] == list(range(5))


def test_fewer_seeds_are_fewer_in_every_group():
    config = Study.load(ROOT, tier="study").config
    study = Study.check(
        {**config, "tiers": {**config["tiers"], "study": {**config["tiers"]["study"], "seeds": 3}}}, ROOT
    )
    trained = study.specs("train")
    counts = {name: len(trained[f"{name}/resnet-relu/blocks-4"]["seeds"]) for name in ("ladder", "long")}
    assert counts == {"ladder": 5, "long": 1}


def test_cells_of_the_map_compare_at_equal_depth_and_equal_parameters():
    cells = Study.load(ROOT, "map").specs("cells")
    assert len(cells) == 52
    for spec in cells.values():
        sides = {side: networks.architecture(own) for side, own in spec["sides"].items()}
        reference, deep, large = (sides[side] for side in ("reference", "equal_depth", "equal_parameters"))
        assert deep.blocks == reference.blocks == spec["cell"]["depth"]
        assert large.count().total <= reference.count().total < replace(large, blocks=large.blocks + 1).count().total
        for own in sides.values():
            for key in ("biases", "filters", "kernel_size", "channels", "initialisation"):
                assert getattr(own, key) == spec["cell"][key]
        assert (deep.flux, reference.flux) == tuple(spec["cell"]["pair"].split("/"))


def test_networks_of_an_evolution_are_trained_and_tested_on_their_own_data_set():
    study = Study.load(ROOT, "study")
    job = "evolution_16/symmetric-perona_malik-tied/blocks-8"
    spec = study.specs("train")[job]
    assert spec["architecture"]["kernel_size"] == 2
    assert spec["architecture"]["tied"]
    assert study.specs("evaluate")[job]["test_sets"] == [spec["dataset"]] == ["evolution_16-10"]
    assert study.specs("evolution")["evolution_16-10"] == {
        "source": "piecewise_affine-10",
        "time": 16,
        **CONFIG["evolution"],
        **study.data,
        **{split: CONFIG["tiers"]["study"][split]["evolution"] for split in ("train", "validation", "test")},
    }
    assert study.specs("schemes")["all"]["datasets"]["evolution_16-10"]["steps"] == [4, 8, 16, 32]
    others = [name for name in study.denoisers if not name.startswith("evolution")]
    assert all(study.specs("evaluate")[name]["test_sets"] == study.test_sets for name in others[::20])
    assert study.specs("train")[others[0]]["architecture"]["kernel_size"] == CONFIG["network"]["kernel_size"]


def test_networks_that_solve_train_and_are_tuned_and_tested_as_the_others():
    study = Study.load(ROOT, "extended")
    assert set(study.specs("evaluate_solvers")) == set(study.solvers)
    assert set(study.specs("evaluate")) == set(study.denoisers)
    stability = study.specs("stability")
    assert {name for name, spec in study.denoisers.items() if spec["architecture"]["certified"]} <= set(stability)
    assert {"ladder/resnet-relu/blocks-4", "capacity/symmetric-learned-certified/budget-960"} <= set(stability)
    assert "capacity/resnet-relu/budget-960" not in stability
    own = study.specs("train")["solve_poisson/cycle-1/points-256"]
    assert own["dataset"] == "problem_poisson"
    assert own["task"]["problem"] == own["architecture"]["problem"] == study.problem("poisson").arguments()
    tuned = study.specs("tune")[own["rate"]]
    assert own["rate"] == "solving/cycle-1/poisson"
    assert len(tuned["seeds"]) == CONFIG["tuning"]["solver_seeds"]
    assert all(tuned[key] == own[key] for key in ("dataset", "task", "epochs", "batch"))


@pytest.mark.parametrize("experiment", ["long", "evolution_16", "capacity"])
def test_epochs_are_those_of_the_tier_times_the_length_of_the_training(experiment):
    study = Study.load(ROOT, "study")
    factor = CONFIG["experiments"][experiment].get("training_length", 1)
    (epochs,) = {spec["epochs"] for spec in study.specs("train").values() if spec["experiment"] == experiment}
    assert epochs == factor * CONFIG["tiers"]["study"]["epochs"]


def test_an_unknown_stage_is_refused():
    with pytest.raises(UnknownNameError, match=r"stage: got 'trains', expected .*Did you mean 'train'"):
        Study.load(ROOT).specs("trains")


def test_a_study_that_cannot_decide_the_registered_claims_is_refused():
    registered = claims.load(ROOT / CLAIMS)
    Study.load(ROOT).check_claims(registered)
    missing = {"test_set": "chirps", "noise": 11}
    with pytest.raises(ConfigError, match=r"^config/claims\.yaml: test_set and noise: got chirps-11, expected one of"):
        Study.load(ROOT).check_claims({**registered, **missing})
    config = {**CONFIG, "methods": {k: v for k, v in CONFIG["methods"].items() if k != "resnet-relu"}}
    with pytest.raises(ConfigError, match=r"claims\.C1\.reference: got 'resnet-relu', expected one of resnet-char"):
        Study(config).check_claims(registered)


SMOKE = ["tiers", "smoke"]
RESNET = ["methods", "resnet-relu"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["tier"], "smok", r"tier: got 'smok', expected one of extended, map, .*, tuning\. Did you mean 'smoke'\?"),
        (["trainings"], {}, r"got the key 'trainings', expected one of .*training.*Did you mean 'training'\?"),
        (["training", "batch"], "64", r"training\.batch: got '64', expected a value of type integer"),
        (["training", "batch"], 64.0, r"training\.batch: got 64\.0, expected a value of type integer"),
        (["training", "batch"], 0, r"training\.batch: got 0, expected at least 1"),
        (["network", "kernel_size"], 300, r"network\.kernel_size: got 300, expected at most signals\.length = 256"),
        (["signals", "length"], 300, r"data set donoho_johnstone-10: length: got 300, expected a power of two"),
        (["tuning", "flat"], -1, r"tuning\.flat: got -1, expected at least 0"),
        (["solvers", "noise"], -1, r"solvers\.noise: got -1, expected more than 0"),
        # methods
        ([*RESNET, "flux"], "rleu", r"methods\.resnet-relu: flux: got 'rleu', .*Did you mean 'relu'"),
        ([*RESNET, "network"], "resnets", r"methods\.resnet-relu: network: got 'resnets', .*Did you mean 'resnet'"),
        ([*RESNET, "certified"], True, r"methods\.resnet-relu: certified: got True, expected False"),
        ([*RESNET, "depth"], 3, r"methods\.resnet-relu: got the key 'depth', expected one of network, flux"),
        ([*RESNET, "steps"], "signed", r"methods\.resnet-relu: steps: got 'signed', expected positive"),
        ([*RESNET, "biases"], "yes", r"methods\.resnet-relu\.biases: got 'yes', expected a value of type boolean"),
        # experiments
        (
            ["experiments", "solve_more"],
            CONFIG["experiments"]["long"],
            r"experiments: got 'solve_more', expected names",
        ),
        (["experiments", "evolution_16", "time"], 0.5, r"evolution_16\.time: got 0\.5, expected a value of type int"),
        (
            ["experiments", "evolution_16", "family"],
            "scanlines",
            r"evolution_16\.family: got 'scanlines', expected 'piecewise_affine'",
        ),
        (["experiments", "evolution_16", "kernel_size"], 300, r"evolution_16\.kernel_size: got 300, expected at most"),
        # stability
        (["stability", "experiments"], ["laddr"], r"stability\.experiments: got 'laddr', expected one of cap"),
        (["stability", "fluxes"], ["rleu"], r"stability\.networks, symmetric with rleu: flux: got 'rleu'"),
        (["stability", "size"], "4", r"stability\.size: got '4', expected text that matches"),
        (["stability", "deep"], ["8"], r"stability\.deep\.0: got '8', expected text that matches"),
        # solvers
        (["solvers", "points"], 250, r"solvers\.points: got 250, expected a power of two"),
        (["solvers", "problems", "poisson", "tau"], -1, r"solvers\.problems\.poisson\.tau: got -1, expected more than"),
        (["solvers", "methods", "cycle-1", "flux"], "rleu", r"solvers\.methods\.cycle-1: flux: got 'rleu', .*'relu'"),
        (
            ["solvers", "methods", "resnet-relu"],
            CONFIG["solvers"]["methods"]["unet-2"],
            r"solvers\.methods: got 'resnet-r",
        ),
        # tiers
        ([*SMOKE, "seeds"], 1000.5, r"tiers\.smoke\.seeds: got 1000\.5, expected a value of type integer"),
        # seeds of the tuning begin there
        ([*SMOKE, "seeds"], 1001, r"tiers\.smoke\.seeds: got 1001, expected at most 1000"),
        (["tuning", "first_seed"], 999, r"tuning\.first_seed: got 999, expected at least 1000"),
        (
            ["tuning", "learning_rates"],
            [math.nan],
            r"learning_rates\.0: got nan, expected a value of type number",
        ),
        ([*SMOKE, "test_noises"], [10, 1e-5], r"tiers\.smoke\.test_noises: got 1e-05, expected numbers"),
        ([*SMOKE, "test_noises"], [10, 10.0000001], r"tiers\.smoke\.test_noises: got 10, expected numbers that differ"),
        ([*SMOKE, "train", "piecewise_affine"], 32, r"tiers\.smoke\.train\.piecewise_affine: got 32, expected .* = 64"),
        (["experiments", "capacity", "train"], 63, r"experiments\.capacity\.train: got 63, expected .* = 64"),
        (["map", "cells"], 50, r"map: cells: got 50, expected a multiple of 4, the levels of pair"),
        (["map", "centre", "pair"], "rleu/relu", r"map: flux: got 'rleu', expected .*relu"),
        ([*SMOKE, "map", "around"], 5, r"tiers\.smoke\.map\.around: got 5, expected at most 4"),
        ([*SMOKE, "train", "evolution"], 63, r"tiers\.smoke\.train\.evolution: got 63, expected 64 to 1024, the sig"),
        ([*SMOKE, "test", "evolution"], 129, r"tiers\.smoke\.test\.evolution: got 129, expected 1 to 128, the signals"),
        (["signals", "length"], 512, r"tiers\.smoke, data set scanlines-10: length: got 512, expected .*at most 256"),
        ([*SMOKE, "robustness", "sizes"], [2, 1], r"smoke\.robustness\.sizes: got \[2, 1\], expected ascending"),
        ([*SMOKE, "robustness", "sizes"], [0, 1], r"smoke\.robustness\.sizes\.0: got 0, expected more than 0"),
        ([*SMOKE, "robustness", "signals"], 129, r"smoke\.robustness\.signals: got 129, expected at most 128"),
        (
            [*SMOKE, "robustness", "size"],
            "blocks-5",
            r"size: got 'blocks-5', expected one of blocks-4 of ladder",
        ),
        (
            [*SMOKE, "robustness", "methods"],
            ["no-such"],
            r"methods: got 'no-such', expected one of implicit-",
        ),
        ([*SMOKE, "robustness", "experiment"], "e9", r"robustness\.experiment: got 'e9', expected one of capacity, "),
        (
            [*SMOKE, "robustness", "experiment"],
            "far",
            r"robustness\.experiment, on piecewise_affine at noise 20: got 'far', expected one on .* \[10\]",
        ),
        ([*SMOKE, "stability", "networks"], ["fsy"], r"networks, fsy with perona_malik: network: .*mean 'fsi'"),
        ([*SMOKE, "stability", "networks"], ["unet"], r"networks, unet with perona_malik: tied: got True"),
        ([*SMOKE, "stability", "repetitions"], 0, r"stability\.repetitions: got 0, expected at least 1"),
        ([*SMOKE, "stability", "depths"], [2, 1], r"stability\.depths: got \[2, 1\], expected ascending"),
        (
            [*SMOKE, "solvers", "train"],
            31,
            r"tiers\.smoke\.solvers\.train: got 31, expected at least solvers\.batch = 32",
        ),
        ([*SMOKE, "solvers", "points"], [64, 500], r"tiers\.smoke\.solvers\.points: got 500, expected powers of two"),
        (
            [*SMOKE, "solvers", "problems", "poisson"],
            ["cycle-9"],
            r"smoke\.solvers\.problems\.poisson: got 'cycle-9', expected some of cycle-1",
        ),
        (
            [*SMOKE, "solvers", "problems", "heat"],
            ["cycle-1"],
            r"smoke\.solvers\.problems: got 'heat', expected some of charbonnier",
        ),
        (
            [*SMOKE, "experiments", "capacity", 0, "budgets"],
            [240, 50],
            r"tiers\.smoke\.experiments\.capacity\.0\.budgets\.1 for resnet-relu: budget: got 50, expected at least 89",
        ),
        (
            [*SMOKE, "experiments", "capacity", 0, "methods"],
            ["resnet-rely"],
            r"capacity\.0\.methods: got 'resnet-rely', expected one of ",
        ),
        (
            [*SMOKE, "experiments", "growth"],
            [{"methods": ["resnet-relu"], "blocks": [1]}],
            r"tiers\.smoke\.experiments: got 'growth', expected some of capacity",
        ),
        (
            [*SMOKE, "experiments", "capacity", 0],
            {"methods": ["resnet-relu"]},
            r"capacity\.0: got neither budgets nor blocks",
        ),
        (
            [*SMOKE, "experiments", "scanlines"],
            [{"methods": ["resnet-relu"], "blocks": [1]}, {"methods": ["resnet-relu"], "blocks": [1]}],
            r"scanlines\.1: got scanlines/resnet-relu/blocks-1 twice, expected once",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(path, value, message):
    with pytest.raises(ConfigError, match=message) as refusal:
        Study.check(changed(path, value), ROOT)
    assert all(line.startswith(f"{ROOT / 'config/config.yaml'}: ") for line in str(refusal.value).splitlines())


def test_all_findings_are_reported_at_once():
    config = changed(["training", "batch"], 0)
    config["seed"] = 3
    with pytest.raises(ConfigError) as refusal:
        Study.check(config, ROOT)
    assert len(str(refusal.value).splitlines()) == 2


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config/config\.yaml"):
        Study.load(tmp_path)


def test_the_design_of_the_map_is_balanced():
    """Every level of a factor as often as the others, and every two levels of two factors as often as they can meet."""
    section = CONFIG["map"]
    cells = balanced(section["factors"], section["cells"])
    assert len({tuple(cell.values()) for cell in cells}) == len(cells) == 48
    for name, levels in section["factors"].items():
        counts = [sum(cell[name] == level for cell in cells) for level in levels]
        assert counts == [48 / len(levels)] * len(levels)
    for (x, y), met in pairs(cells).items():
        assert len(met) == len(section["factors"][x]) * len(section["factors"][y])
        assert met.max() - met.min() <= 1
