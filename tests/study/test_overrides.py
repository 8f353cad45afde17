"""Configurations of one's own: what they mean, and that mistakes are blamed on the source that they are from."""

import json
import re
from pathlib import Path

import pytest
import yaml

from schemenets.errors import ConfigError
from schemenets.study import claims, schema
from schemenets.study.config import Study
from schemenets.study.overrides import blamed, merged, resolved
from schemenets.study.plan import Plan, PlanError

ROOT = Path(__file__).parents[2]
WHOLE = resolved(yaml.safe_load((ROOT / "config/config.yaml").read_text()))


@pytest.fixture(autouse=True)
def _project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def written(tmp_path):
    def write(content, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_a_tier_may_be_like_one_that_comes_later():
    tiers = WHOLE["tiers"] | {"first": {"like": "second"}, "second": {"like": "smoke", "epochs": 7}}
    found = resolved(WHOLE | {"tiers": tiers})["tiers"]
    assert found["first"] == found["second"] == WHOLE["tiers"]["smoke"] | {"epochs": 7}
    circle = WHOLE | {"tiers": WHOLE["tiers"] | {"first": {"like": "second"}, "second": {"like": "first"}}}
    assert "like" in resolved(circle)["tiers"]["second"]  # for the schema


def test_mappings_are_merged_key_by_key_and_all_else_is_replaced():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merged(base, {"a": {"c": [3]}, "e": {}}) == {"a": {"b": 1, "c": [3]}, "d": 4, "e": {}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 4}


def test_numbers_of_the_tier_may_stand_at_the_top():
    found = resolved(WHOLE | {"tier": "smoke", "seeds": 3})
    assert "seeds" not in found
    assert found["tiers"]["smoke"] == WHOLE["tiers"]["smoke"] | {"seeds": 3}
    assert found["tiers"]["study"] == WHOLE["tiers"]["study"]
    assert resolved(WHOLE) == WHOLE
    for wrong in ({"sead": 3}, {"experiments": {}}, {"tiers": 3}, {"tiers": {"smoke": 3}, "tier": "smoke", "seeds": 3}):
        assert resolved(WHOLE | wrong) == WHOLE | wrong  # left for the schema


def test_a_tier_takes_what_it_does_not_name_from_another():
    own = {"like": "smoke", "epochs": 3, "train": {"scanlines": 128}, "experiments": {"ladder": None}}
    found = resolved(WHOLE | {"tiers": WHOLE["tiers"] | {"mine": own}})["tiers"]["mine"]
    smoke = WHOLE["tiers"]["smoke"]
    kept = {key: value for key, value in smoke["experiments"].items() if key != "ladder"}
    assert found == smoke | {"epochs": 3, "train": smoke["train"] | {"scanlines": 128}, "experiments": kept}


def test_a_file_may_hold_only_what_is_different(written):
    path = written({"tier": "mine", "tiers": {"mine": {"like": "smoke", "seeds": 1}}, "signals": {"length": 128}})
    study = Study.load(config=path)
    assert (study.tier, study.seeds, study.config["signals"]["length"]) == ("mine", [0], 128)
    assert study.config["network"] == WHOLE["network"]
    assert list(study.denoisers) == list(Study.load(tier="smoke").denoisers)
    assert not study.registered
    assert Study.load(tier="smoke").registered
    assert Study.load(config=written({"tier": "smoke", "tiers": {"extended": {"seeds": 3}}})).registered
    assert Study.load(config=written(WHOLE | {"tier": "smoke"}), tier="study").tier == "study"
    less = WHOLE | {"methods": {k: v for k, v in WHOLE["methods"].items() if "learned" not in k}}
    with pytest.raises(
        ConfigError, match="got 'symmetric-learned-certified', expected one of"
    ):  # a whole one is not merged
        Study.load(config=written(less))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": {"batch": 0}}, "training.batch: got 0, expected at least 1."),
        ({"seeds": 0}, "tiers.smoke.seeds: got 0, expected at least 1."),
        ({"sedes": 3}, "(top level): got the key 'sedes', expected one of "),
        ({"tiers": {"mine": {"seeds": 1}}}, "tiers.mine: got no first_seed, data_seed, "),
        (
            {"tiers": {"mine": {"like": "smok"}}},
            "tiers.mine.like: got 'smok', expected one of smoke, tuning, map, study, extended.",
        ),
        ({"tier": "mine"}, "tier: got 'mine', expected one of extended, map, smoke, study, tuning."),
        ({"tier": ["smoke"]}, "tier: got ['smoke'], expected a value of type string."),
        # what comes up at a key of the project, but only with this file
        (
            {"training": {"batch": 5000}},
            "tiers.smoke.train.piecewise_affine: got 1024, expected at least training.batch",
        ),
        (
            {"network": {"kernel_size": 200}},
            "tiers.smoke.experiments.capacity.0.budgets.0 for resnet-relu: budget: got",
        ),
        ({"stability": {"fluxes": ["nope"]}}, "tiers.smoke.stability.networks, fsi with nope: flux: got 'nope'"),
        ({"test_families": ["ecg"]}, "tiers.smoke.robustness.experiment, on piecewise_affine at noise 10: got"),
        ({"methods": {"new": {"network": "resnet", "flux": "rely"}}}, "methods.new: flux: got 'rely', expected one of"),
        (
            {"experiments": {"capacity": {"family": "waves"}}},
            "experiments.capacity.family: signal family: got 'waves', expected one of ",
        ),
        (
            {"experiments": {"capacity": {"family": "ecg"}}},
            "experiments.capacity.family: got 'ecg', expected a family with signals for training.",
        ),
        (
            {"tiers": {"smoke": {"test": {"waves": 3}}}},
            "tiers.smoke.test.waves: signal family: got 'waves', expected one of",
        ),
    ],
)
def test_mistakes_are_blamed_on_the_file_that_they_are_in(content, message, written):
    path = written({"tier": "smoke"} | content)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}: {message}')}"):
        Study.load(config=path)


def test_tiers_that_are_not_run_may_break(written):
    content = {"tiers": {"mine": {"like": "smoke"}}}
    content["test_families"] = ["piecewise_affine", "scanlines"]
    content["tiers"]["study"] = {"test_noises": [5]}  # which its attacks need at 10
    assert Study.load(config=written({**content, "tier": "mine"})).tier == "mine"
    path = written({**content, "tier": "study"})
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}: tiers.study.robustness.experiment')}"):
        Study.load(config=path)


def test_a_stage_that_others_read_may_not_be_left_out(written):
    content = {"tier": "smoke", "tiers": {"smoke": {"stages": ["signals", "evolution", "tune", "train"]}}}
    path = written(content)
    with pytest.raises(PlanError) as refusal:
        Plan.of(merged(WHOLE, content), [path])
    assert str(refusal.value) == f"{path}: tiers.smoke.stages: got no problems, expected it, as tune reads its results."


def test_plans_blame_files_and_the_command_line(written):
    content = {"seeds": 0, "training": {"batch": 0}}
    path = written({"training": {"batch": 0}})
    with pytest.raises(PlanError) as refusal:
        Plan.of(merged(WHOLE, content), [path, ("--config", {"seeds": 0})])
    assert str(refusal.value).splitlines() == [
        "--config: tiers.study.seeds: got 0, expected at least 1.",
        f"{path}: training.batch: got 0, expected at least 1.",
    ]


def test_the_last_source_that_gives_a_value_is_to_blame():
    sources = [("first", {"a": {"b": [1, 2]}}), ("second", {"a": {"b": [1]}}), ("third", {"a": {}, "c": 1})]
    assert blamed("a.b: got x", sources) == "second: a.b: got x"
    assert blamed("a.b.1: got x", sources) == "first: a.b.1: got x"
    assert blamed("a.d: got x", sources) == "third: a.d: got x"
    assert blamed("a.b with c: got x", sources) == "second: a.b with c: got x"
    assert blamed("(top level): got the key 'c', expected a", sources).startswith("third: ")
    assert blamed("(top level): got no e, expected a value for each.", sources).startswith("third: ")


def test_what_is_no_mapping_is_refused(written, tmp_path):
    with pytest.raises(ConfigError, match=r"mine\.yaml: got 3, expected keys and values\."):
        Study.load(config=written(3))
    with pytest.raises(ConfigError, match=r"none\.yaml: file is missing"):
        Study.load(config=tmp_path / "none.yaml")


def test_jobs_are_given_the_resolved_configuration(tmp_path, monkeypatch):
    for name in ("config", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    plan = Plan.of(WHOLE | {"tier": "smoke", "seeds": 3}, [("--config", {"tier": "smoke", "seeds": 3})])
    given = json.loads(plan.config.read_text())
    assert given["tiers"]["smoke"]["seeds"] == 3
    assert Study.load(tier=plan.tier, config=plan.config).seeds == [0, 1, 2]


OWN = next(claim for claim in schema.read(ROOT / "config/claims.yaml")["claims"] if claim["id"] == "C6") | {"id": "M1"}


def test_a_file_may_add_claims_of_its_own(written, tmp_path, monkeypatch):
    for name in ("config", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    """What is compared is measured on the signals that networks are trained on, if the claim does not say else."""
    methods = OWN["comparisons"][0]
    comparison = methods | {"experiment": "scanlines", "sizes": "all"}
    groups = [{"methods": [methods["candidate"], methods["reference"]], "blocks": [2]}]
    content = {
        "tier": "smoke",
        "claims": [OWN | {"comparisons": [comparison]}],
        "tiers": {"smoke": {"experiments": {"scanlines": groups}}},
    }
    path = written(content)
    plan = Plan.of(merged(WHOLE, content), [path])
    (spec,) = Study.load(tier=plan.tier, config=plan.config).specs("claims").values()
    found = claims.load(Path(spec["registered"]), own=spec["own"])["claims"]
    assert [claim["id"] for claim in found][-2:] == ["N1", "M1"]
    assert {(each["test_set"], each["noise"]) for each in found[-1]["comparisons"]} == {("scanlines", 10)}
    assert Study.load(tier="smoke").specs("claims") == {"all": {"registered": "config/claims.yaml"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluator": "superority"}, "{}: claims.0.evaluator: got 'superority'"),
        (
            {"comparisons": [OWN["comparisons"][0] | {"candidate": "none-relu"}]},
            "{}: claims.M1.candidate: got 'none-relu', expected one of ",
        ),
        (
            {"comparisons": [OWN["comparisons"][0] | {"experiment": "capacity", "sizes": ["budget-480"]}]},
            "{}: claims.M1, capacity: got ['symmetric-perona_malik', 'symmetric-charbonnier'], expected methods with",
        ),
        (
            {
                "comparisons": [
                    {"role": "primary", "experiment": "capacity", "sizes": ["blocks-2"]}
                    | {"candidate": "symmetric-learned-certified", "reference": "resnet-relu"}
                ]
            },
            "{}: claims.M1, capacity: got ['blocks-2'], expected some of ['budget-240'].",
        ),
        ({"id": "C6"}, "config/claims.yaml and the configuration: claims.id: got 'C6' 2 times"),
    ],
)
def test_mistakes_in_claims_are_blamed_on_the_file_that_adds_them(change, message, written):
    content = {"tier": "smoke", "claims": [OWN | change]}
    path = written(content)
    with pytest.raises(PlanError) as refusal:
        Plan.of(merged(WHOLE, content), [path])
    assert message.format(path) in str(refusal.value)
