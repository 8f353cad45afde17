"""The configuration is checked as a whole, with messages that name file, key, value and what is allowed."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from schemenets import networks
from schemenets.errors import ConfigError, UnknownNameError
from schemenets.networks import Architecture
from schemenets.study.config import Study

ROOT = Path(__file__).parent.parent
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def changed(path, value):
    """The committed configuration with one entry replaced."""
    config = copy.deepcopy(CONFIG)
    *parents, last = path
    entry = config
    for key in parents:
        entry = entry[key]
    entry[last] = value
    return config


@pytest.mark.parametrize("tier", ["smoke", "study", "extended"])
def test_committed_configuration_is_valid(tier):
    study = Study.load(ROOT, tier)
    assert study.tier == tier
    for name, spec in study.specs("train").items():
        architecture = Architecture(**spec["architecture"])
        kind, number = spec["size"].split("-")
        assert name == f"{spec['experiment']}/{spec['method']}/{spec['size']}"
        if kind == "budget":
            assert networks.count(architecture).total <= int(number)
        else:
            assert architecture.blocks == int(number)
        assert spec["dataset"] in study.specs("signals") | study.specs("evolution")
        assert spec["method"] in study.specs("tune")
        assert not set(spec["seeds"]) & set(study.specs("tune")[spec["method"]]["seeds"])


def test_jobs_do_not_depend_on_the_order_of_keys():
    """The manifest sorts the keys of the configuration that it keeps, and the audit makes the tables anew from it."""
    study = Study.load(ROOT, "study")
    kept = Study.check(json.loads(json.dumps(study.config, sort_keys=True)))
    assert list(kept.jobs.items()) == list(study.jobs.items())
    assert list(kept.tunings.items()) == list(study.tunings.items())


def test_results_of_the_default_tier_and_of_the_others_lie_apart():
    assert [Study.load(ROOT, tier).results for tier in ("study", "smoke", "extended")] == [
        Path("results"),
        Path("results/smoke"),
        Path("results/extended"),
    ]


def test_training_sets_have_all_splits_and_others_only_a_test_set():
    datasets = Study.load(ROOT, "study").specs("signals")
    trained_on = {name for name, spec in datasets.items() if "train" in spec}
    assert trained_on == {"piecewise_affine-10", "piecewise_affine-20", "scanlines-10"}
    assert all("test" in spec for spec in datasets.values())


def test_networks_of_an_evolution_are_trained_and_tested_on_their_own_data_set():
    study = Study.load(ROOT, "study")
    job = "evolution_16/symmetric-perona_malik-certified-tied/blocks-8"
    spec = study.specs("train")[job]
    assert spec["architecture"]["kernel_size"] == 2
    assert spec["architecture"]["tied"]
    assert study.specs("evaluate")[job]["test_sets"] == [spec["dataset"]] == ["evolution_16-10"]
    assert study.specs("evolution")["evolution_16-10"] == {
        "dataset": "evolution_16-10",
        "source": "piecewise_affine-10",
        "time": 16,
        **CONFIG["evolution"],
        **CONFIG["signals"],
        **{split: CONFIG["tiers"]["study"][split]["evolution"] for split in ("train", "validation", "test")},
    }
    assert study.specs("schemes")["all"]["datasets"]["evolution_16-10"]["steps"] == [2, 4, 8, 16]
    others = [name for name in study.jobs if not name.startswith("evolution")]
    assert all(study.specs("evaluate")[name]["test_sets"] == study.test_sets for name in others[::20])
    assert study.specs("train")[others[0]]["architecture"]["kernel_size"] == CONFIG["network"]["kernel_size"]


def test_an_unknown_stage_is_refused():
    with pytest.raises(UnknownNameError, match=r"unknown stage 'trains'.*Did you mean 'train'"):
        Study.load(ROOT).specs("trains")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["tier"], "smok", r"tier = 'smok': allowed: smoke, study, extended\. Did you mean 'smoke'\?"),
        (["trainings"], {}, r"trainings = \{\}: unknown key; allowed: .*training.*Did you mean 'training'\?"),
        (["training", "batch"], "64", r"training\.batch = '64': allowed: a value of type integer"),
        (["training", "batch"], 64.0, r"training\.batch = 64\.0: allowed: a value of type integer"),
        (["network", "kernel_size"], 300, r"network\.kernel_size = 300: allowed: at most signals\.length = 256"),
        (["tiers", "smoke", "tuning", "learning_rates"], [float("nan")], r"learning_rates\.0 = nan: .*type number"),
        (["tiers", "smoke", "test_noises"], [10, 1e-5], r"tiers\.smoke\.test_noises = .*1e-05; allowed: numbers"),
        (["tiers", "smoke", "test_noises"], [10, 10.0000001], r"tiers\.smoke\.test_noises = .*: 10; allowed: numbers"),
        (["tiers", "smoke", "robustness", "sizes"], [2, 1], r"smoke\.robustness\.sizes = \[2, 1\]: allowed: growing"),
        (["tiers", "smoke", "robustness", "sizes"], [0, 1], r"smoke\.robustness\.sizes\.0 = 0: allowed: more than 0"),
        (["tiers", "smoke", "robustness", "signals"], 129, r"smoke\.robustness\.signals = 129: allowed: at most 128"),
        (["tiers", "smoke", "robustness", "experiment"], "e9", r"robustness\.experiment = 'e9': allowed: capacity, "),
        (
            ["tiers", "smoke", "robustness", "experiment"],
            "noise_20",
            r"robustness\.experiment = 'noise_20', on piecewise_affine at noise 20: allowed: .* at noise \[10\]",
        ),
        (["methods", "resnet-relu", "blocks"], 4, r"methods\.resnet-relu\.blocks = 4: unknown key"),
        (
            ["methods", "resnet-relu", "tied"],
            True,
            r"budget = 240, methods\.resnet-relu: .*give the method tuning_blocks",
        ),
        (["experiments", "evolution_4", "time"], 0.5, r"evolution_4\.time = 0\.5: allowed: a value of type integer"),
        (["experiments", "evolution_4", "family"], "scanlines", r"evolution_4\.family = 'scanlines': allowed: only"),
        (["experiments", "evolution_4", "kernel_size"], 300, r"evolution_4\.kernel_size = 300: allowed: at most"),
        (
            ["tiers", "smoke", "train", "evolution"],
            63,
            r"tiers\.smoke\.train\.evolution = 63: allowed: 64 to 1024, the",
        ),
        (
            ["tiers", "smoke", "test", "evolution"],
            129,
            r"tiers\.smoke\.test\.evolution = 129: allowed: 1 to 128, the s",
        ),
        (["training", "batch"], 0, r"training\.batch = 0: allowed: at least 1"),
        (
            ["stability", "experiments"],
            ["factoril"],
            r"stability\.experiments = 'factoril': unknown experiment; allowed: cap",
        ),
        (["stability", "networks"], ["fsy"], r"stability, fsy with perona_malik: unknown network 'fsy'.*'fsi'"),
        (["stability", "networks"], ["unet"], r"stability, unet with perona_malik: tied = True is not possible"),
        (["stability", "fluxes"], ["rleu"], r"stability, resnet with rleu: unknown flux 'rleu'.*'relu'"),
        (["stability", "size"], "4", r"stability\.size = '4': allowed: text that matches"),
        (["stability", "deep"], ["8"], r"stability\.deep\.0 = '8': allowed: text that matches"),
        (["tiers", "smoke", "stability", "repetitions"], 0, r"stability\.repetitions = 0: allowed: at least 1"),
        (["tiers", "smoke", "stability", "depths"], [2, 1], r"stability\.depths = \[2, 1\]: allowed: ascending"),
        (["signals", "length"], 300, r"data set donoho_johnstone-10: length = 300 .*allowed: a power of two"),
        (["tuning", "noise"], -1, r"tuning\.noise = -1: allowed: more than 0"),
        (["tuning", "budget"], 60, r"tuning\.budget = 60, methods\.resnet-relu: .*at least 89"),
        (["methods", "resnet-relu", "flux"], "rleu", r"methods\.resnet-relu = .*unknown flux 'rleu'.*'relu'"),
        (["methods", "resnet-relu", "network"], "resnets", r"unknown network 'resnets'.*'resnet'"),
        (["methods", "resnet-relu", "certified"], True, r"methods\.resnet-relu = .*certified = True is not possible"),
        (["methods", "resnet-relu", "depth"], 3, r"methods\.resnet-relu\.depth = 3: unknown key"),
        (["tiers", "smoke", "seeds"], 1000.5, r"tiers\.smoke\.seeds = 1000\.5: allowed: a value of type integer"),
        (["tiers", "smoke", "train", "scanlines"], 9999, r"tiers\.smoke, data set scanlines-10: train = 9999.*2048"),
        (["tiers", "smoke", "train", "piecewise_affine"], 32, r"tiers\.smoke\.train\.piecewise_affine = 32.*= 64"),
        (
            ["tiers", "smoke", "experiments", "capacity", 0, "budgets"],
            [240, 50],
            r"tiers\.smoke\.experiments\.capacity\.0\.budgets\.1 = 50, resnet-relu: .*at least 89, one block of resnet",
        ),
        (
            ["tiers", "smoke", "experiments", "capacity", 0, "methods"],
            ["resnet-rely"],
            r"unknown method 'resnet-rely'; allowed: resnet-relu",
        ),
        (
            ["tiers", "smoke", "experiments", "growth"],
            [{"methods": ["resnet-relu"], "blocks": [1]}],
            r"tiers\.smoke\.experiments\.growth: unknown experiment; allowed: capacity",
        ),
        (
            ["tiers", "smoke", "experiments", "capacity", 0],
            {"methods": ["resnet-relu"]},
            r"capacity\.0: neither budgets nor blocks",
        ),
        (
            ["tiers", "smoke", "experiments", "scanlines"],
            [{"methods": ["resnet-relu"], "blocks": [1]}, {"methods": ["resnet-relu"], "blocks": [1]}],
            r"scanlines/resnet-relu/blocks-1 is asked for twice",
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
