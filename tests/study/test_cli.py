"""The command line: exit status, messages, examples, and the same work as the workflow's."""

import copy
import json
import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import trained

import schemenets as sn
from schemenets import checkpoints, networks, stability
from schemenets.multigrid import CycleArchitecture, Problem
from schemenets.study import cli, stages
from schemenets.study.config import Study
from schemenets.study.layout import Layout

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SCHEMENETS_KERNEL", "reference")  # compiling takes longer than all of this


def test_every_stage_of_the_study_is_a_command_with_help_and_a_valid_example(capsys):
    study = Study.load(tier="smoke")
    for name in stages.available():
        with pytest.raises(SystemExit) as exit:
            cli.main([name, "--help"])
        assert exit.value.code == 0
        example = re.search(rf"^  schemenets {name}(.*)$", capsys.readouterr().out, re.MULTILINE)
        words = example[1].split()
        assert (words[0] if words[0] != "--tier" else "all") in study.specs(name)


def test_help_names_all_commands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(
        re.search(rf"^    {name}( |$)", text, re.MULTILINE)
        for name in [*stages.available(), "audit", "certify", "info"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "capacity/none/budget-240"], "job of train in the tier study: got 'capacity/none/budget-240'"),
        (
            ["train", "capacity/resnet-relu/budget-120", "--tier", "tiny"],
            "--tier: tier: got 'tiny', expected one of extended, map, smoke, study, tuning",
        ),
        (["train", cli.JOB, "--config", "none.yaml"], "none.yaml: file is missing"),
        (["certify", "none.safetensors"], "none.safetensors: file is missing"),
        (["info", "none.safetensors"], "none.safetensors: file is missing"),
        (
            ["report", "results/none"],
            "results/none/report.html: file is missing, expected the results of a run of the study",
        ),
        (
            ["report", "results/mine", "--tier", "smoke"],
            "report: got 'results/mine', expected nothing else with --tier",
        ),
        (["report", "--out", "results/mine", "--open"], "report: got '--open', expected nothing else with --out"),
        (["certify", "."], ".: got a directory, expected a checkpoint"),
        (["info", "."], ".: got a directory, expected a checkpoint"),
    ],
)
def test_misuse_ends_with_status_2_and_one_message(arguments, message, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_an_unknown_command_is_misuse(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["trian"])
    assert exit.value.code == 2
    assert "train" in capsys.readouterr().err


def test_help_says_what_every_status_means(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    found = re.findall(r"^  (\d+)  +\S", capsys.readouterr().out.partition("exit status:\n")[2], re.MULTILINE)
    statuses = cli.OK, cli.FINDING, cli.MISUSE, cli.UNEXPECTED, cli.INTERRUPTED, cli.UNREAD
    assert found == [str(status) for status in statuses]


def test_a_lack_of_memory_has_no_traceback(tmp_path, capsys):
    path = tmp_path / "network.safetensors"
    sn.save(sn.build("symmetric", blocks=1, filters=2, kernel_size=3, flux="relu", certified=True), path)
    assert cli.main(["certify", str(path), "--verify", str(10**8)]) == 3
    assert re.fullmatch(r"schemenets: Unable to allocate .*\n", capsys.readouterr().err)


def test_an_unexpected_error_is_logged_with_its_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stages, "run", lambda *arguments: 1 / 0)
    log = tmp_path / "log"
    assert cli.main(["signals", "ecg-10", "--tier", "smoke", "--out", str(tmp_path), "--log", str(log)]) == 3
    assert "ZeroDivisionError" in log.read_text()
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_signs_that_a_terminal_cannot_show_are_spelled(encoding, tmp_path):
    path = tmp_path / "network.safetensors"
    sn.save(sn.build("symmetric", blocks=1, filters=2, kernel_size=3, flux="relu", certified=True), path)
    command = [sys.executable, "-m", "schemenets", "certify", str(path)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    found = subprocess.run(command, capture_output=True, env=environment, check=True)
    squared = b"^2" if encoding == "ascii" else "²".encode(encoding)
    assert b"tau <= 2/(L||K||" + squared + b") do not increase" in found.stdout


def test_a_reader_that_wants_no_more_ends_it_without_a_word(tmp_path):
    path = tmp_path / "network.safetensors"
    sn.save(sn.build("symmetric", blocks=1, filters=2, kernel_size=3, flux="relu", certified=True), path)
    command = [sys.executable, "-m", "schemenets", "certify", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_an_interruption_is_no_error_with_a_traceback(tmp_path, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "run", interrupted)
    assert cli.main(["signals", "ecg-10", "--tier", "smoke", "--out", str(tmp_path)]) == 130
    error = capsys.readouterr().err
    assert "interrupted" in error
    assert "Traceback" not in error


def test_a_missing_package_of_the_study_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "schemenets.study.config", None)
    assert cli.main(["signals", "ecg-10"]) == 2
    assert "pip install '.[study]' in the project" in capsys.readouterr().err


def test_info_tells_what_is_there_and_what_a_checkpoint_holds(tmp_path, capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in [*networks.available(), "perona_malik", "kernel"])
    net = networks.build("symmetric", blocks=4, filters=8, kernel_size=5, flux="perona_malik")
    checkpoints.save(net, tmp_path / "net.safetensors")
    assert cli.main(["info", str(tmp_path / "net.safetensors")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^parameters +196$", text, re.MULTILINE)
    assert re.search(r"^certified by construction +False$", text, re.MULTILINE)


def test_certify_names_theorem_bounds_and_the_condition_that_fails(tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    net = networks.build("symmetric", blocks=2, filters=4, kernel_size=5, flux="perona_malik", certified=True)
    checkpoints.save(net, path)
    for options in ([], ["--dense", "32"]):
        assert cli.main(["certify", str(path), *options]) == 0
        text = capsys.readouterr().out
        length = ", for signals of length 32: norms of dense matrices bound no others" if options else ""
        assert re.search(rf"^guarantee +holds{length}$", text, re.MULTILINE)
        assert "do not increase ‖u‖₂" in text
        assert text.count("τ ≤ 2/(L‖K‖²) holds") == 2
    net = networks.build("symmetric", blocks=2, filters=4, kernel_size=5, flux="perona_malik")
    net.blocks[0].tau, net.blocks[1].tau = torch.tensor(0.01), torch.tensor(50.0)
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path)]) == 1
    text = capsys.readouterr().out
    assert re.search(r"^block 1 .*τ ≤ 2/\(L‖K‖²\) FAILS", text, re.MULTILINE)
    assert re.search(r"^block 0 .*τ ≤ 2/\(L‖K‖²\) holds", text, re.MULTILINE)
    net = networks.build("resnet", blocks=1, filters=4, kernel_size=5, flux="relu")
    net.blocks[0].W2.data += 0.1
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path)]) == 1
    text = capsys.readouterr().out
    assert re.search(r"^block 0 .*W₂ = −τW₁ FAILS; τ ≤", text, re.MULTILINE)
    checkpoints.save(networks.build("feedforward", blocks=1, filters=4, kernel_size=5, flux="relu"), path)
    assert cli.main(["certify", str(path)]) == 1
    text = capsys.readouterr().out
    assert "none for this network" in text
    assert re.search(r"^guarantee +none is known$", text, re.MULTILINE)


def test_one_of_several_networks_in_a_file_is_chosen_by_its_seed(tmp_path, capsys):
    path, size = tmp_path / "weights.safetensors", {"blocks": 2, "filters": 4, "kernel_size": 5}
    nets = {seed: networks.build("symmetric", **size, flux="perona_malik", seed=seed) for seed in (3, 8)}
    for block in (*nets[3].blocks, *nets[8].blocks):
        block.tau = 0.01
    nets[8].blocks[1].tau = torch.tensor(50.0)
    checkpoints.save_all(nets, path)
    for seed, status in ((3, 0), (8, 1)):
        assert cli.main(["certify", str(path), "--seed", str(seed), "--verify", "16"]) == status
    assert cli.main(["info", str(path)]) == 0
    assert re.search(r"^seeds +3, 8$", capsys.readouterr().out, re.MULTILINE)
    for arguments in (
        ["certify", str(path)],
        ["certify", str(path), "--seed", "4"],
        ["info", str(path), "--seed", "4"],
    ):
        assert cli.main(arguments) == 2
        assert "weights.safetensors: seed: got" in capsys.readouterr().err


def test_certify_compares_a_checkpoint_with_the_record_beside_it(tmp_path, capsys):
    path, record = tmp_path / "weights.safetensors", tmp_path / "record.json"
    net = networks.build("symmetric", blocks=2, filters=2, kernel_size=3, flux="perona_malik", certified=True)
    checkpoints.save(net, path)
    recorded = sha256(path.read_bytes()).hexdigest()
    for content in ([], {}, {"weights_sha256": recorded}):
        record.write_text(json.dumps(content))
        assert cli.main(["certify", str(path)]) == 0
    assert "record" not in capsys.readouterr().out
    with torch.no_grad():
        net.blocks[0].lam *= 1.01  # which leaves the certificate as it is
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path)]) == 1
    text = capsys.readouterr().out
    assert re.search(r"^guarantee +holds$", text, re.MULTILINE)
    assert f"record.json is of another file: got {recorded}, expected {sha256(path.read_bytes()).hexdigest()}" in text


def test_learned_cycles_are_certified_where_they_are_linear(tmp_path, capsys):
    path, problem = tmp_path / "weights.safetensors", {"tau": 5.0, "extent": 32.0}
    checkpoints.save(CycleArchitecture(problem=Problem(**problem)).build(), path)
    for options, points in (([], 32), (["--verify", "16"], 16)):
        assert cli.main(["certify", str(path), *options]) == 0
        text = capsys.readouterr().out
        assert re.search(rf"^points +{points}$", text, re.MULTILINE)
        assert re.search(r"^guarantee +of convergence: holds, on this grid$", text, re.MULTILINE)
    assert cli.main(["info", str(path)]) == 0
    assert re.search(r"^problem +tau 5\.0, flux linear", capsys.readouterr().out, re.MULTILINE)
    nonlinear = Problem(**problem, flux="charbonnier", contrast=0.1)
    checkpoints.save(CycleArchitecture(problem=nonlinear).build(), path)
    assert cli.main(["certify", str(path)]) == 1
    assert "of convergence: none is known" in capsys.readouterr().out


def test_certify_verifies_a_checkpoint_by_the_reference_scheme(tmp_path, capsys, monkeypatch):
    path = tmp_path / "net.safetensors"
    checkpoints.save(networks.build("symmetric", blocks=2, filters=2, kernel_size=3, flux="relu", certified=True), path)
    assert cli.main(["certify", str(path), "--verify", "16"]) == 0
    assert "verification     nothing contradicts it, for signals of length 16" in capsys.readouterr().out
    assert cli.main(["certify", str(path), "--verify", "2"]) == 2
    checkpoints.save(networks.build("resnet", blocks=1, filters=2, kernel_size=3, flux="relu"), path)
    assert cli.main(["certify", str(path), "--verify", "16"]) == 1
    text = capsys.readouterr().out
    assert "theorem          residual blocks with" in text
    assert "verification     not possible: dense matrices cannot compute networks" in text
    checkpoints.save(networks.build("symmetric", blocks=2, filters=2, kernel_size=3, flux="relu", certified=True), path)
    monkeypatch.setattr(stability, "verify", lambda path, length, seed: ["it is wrong", "twice"])
    assert cli.main(["certify", str(path), "--verify", "16"]) == 1
    assert "it is wrong; twice" in capsys.readouterr().out


def released(certified):
    """The same network, with its effective weights as they are and no constraint on them."""
    net = networks.build(**certified.architecture.arguments() | {"certified": False})
    with torch.no_grad():
        if net.architecture.channels > 1:
            net.lift.copy_(certified.lift)
            net.projection.copy_(certified.projection)
        for theirs, ours in zip(certified.blocks, net.blocks, strict=True):
            ours.K.copy_(theirs.K)
            for parameter in {"tau", "alpha", "rho", "lam"} & set(ours.parametrizations):
                setattr(ours, parameter, getattr(theirs, parameter))
    return net


STEP, CONTRACTION, DUFORT = "τ ≤ 2/(L‖K‖²)", "τ max(L', m)‖K‖² < 1", "1/(2α) ≤ 2/(L‖K‖²)"


@pytest.mark.parametrize(
    ("name", "parameter", "factor", "condition"),
    [
        ("symmetric", "K", 1.5, STEP),
        ("symmetric", "tau", 1.5, STEP),
        ("safeguarded_fsi", "K", 1.5, STEP),
        ("safeguarded_fsi", "tau", 1.5, STEP),
        ("symmetric", "one weight of K", 1.5, STEP),
        ("implicit", "one weight of K", 1.5, CONTRACTION),
        ("du_fort_frankel", "one weight of K", 1.5, DUFORT),
        ("safeguarded_fsi", "one weight of K", 1.5, STEP),
        ("safeguarded_du_fort_frankel", "one weight of K", 1.5, DUFORT),
        ("implicit", "K", 1.5, CONTRACTION),
        ("implicit", "tau", 1.5, CONTRACTION),
        ("du_fort_frankel", "K", 1.5, DUFORT),
        ("du_fort_frankel", "alpha", 1 / 1.5, DUFORT),
        ("du_fort_frankel", "rho", 1.5, "2τα ≤ 1"),
        ("safeguarded_du_fort_frankel", "K", 1.5, DUFORT),
        ("safeguarded_du_fort_frankel", "alpha", 1 / 1.5, DUFORT),
    ],
)
def test_corrupted_checkpoints_are_rejected_with_the_condition_that_fails(
    name, parameter, factor, condition, tmp_path, capsys
):
    """Stored parameters are constrained anew, so what is corrupted is a copy in which they are not."""
    path = tmp_path / "net.safetensors"
    net = networks.build(name, blocks=2, filters=4, kernel_size=5, flux="perona_malik", certified=True)
    for block in net.blocks:  # near the limits of its conditions, where training may lead
        for constraint, end in {"tau": 4.0, "alpha": -4.0, "rho": 4.0}.items():
            if constraint in block.parametrizations:
                block.parametrizations[constraint].original.data.fill_(end)
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path)]) == 0

    stored = net.blocks[-1].parametrizations[parameter.removeprefix("one weight of ")].original.data
    stored.mul_(1.5)
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path)]) == 0
    stored.div_(1.5)

    net = released(net)
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path)]) == 0
    assert stability.verify(path, 40) == []
    block = net.blocks[-1]
    with torch.no_grad():
        if parameter == "K":
            block.K *= factor
        elif parameter == "one weight of K":
            block.K.view(-1)[block.K.abs().argmax()] *= factor
        else:
            setattr(block, parameter, factor * getattr(block, parameter))
    checkpoints.save(net, path)
    capsys.readouterr()
    bad = [0, 1] if name == "implicit" else [1]  # the iterations of the implicit network share one block
    assert cli.main(["certify", str(path)]) == 1
    problems = stability.verify(path, 40)  # the independent path
    assert [problem.partition(" fails ")[0] for problem in problems] == [f"blocks.{i}: {condition}" for i in bad]
    assert cli.main(["certify", str(path), "--verify", "40"]) == 1
    assert f"blocks.{bad[0]}: {condition} fails by dense matrices" in capsys.readouterr().out
    assert cli.main(["certify", str(path)]) == 1
    text = capsys.readouterr().out
    assert re.search(r"^guarantee +does not hold$", text, re.MULTILINE)
    assert re.search(rf"^block 1 .*{re.escape(condition)} FAILS", text, re.MULTILINE)
    assert text.count("FAILS") == len(bad)


@pytest.mark.parametrize("end", ["lift", "projection"])
def test_corrupted_ends_of_networks_of_several_channels_are_rejected(end, tmp_path, capsys):
    path, condition = tmp_path / "net.safetensors", "‖lift‖‖projection‖ ≤ 1"
    size = {"blocks": 2, "filters": 4, "kernel_size": 5, "channels": 3}
    net = networks.build("symmetric", **size, flux="perona_malik", certified=True)
    net.parametrizations[end].original.data.mul_(1.5)
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path), "--verify", "40"]) == 0

    net = released(net)
    checkpoints.save(net, path)
    assert cli.main(["certify", str(path), "--verify", "40"]) == 0
    getattr(net, end).data *= 1.5
    checkpoints.save(net, path)
    (problem,) = stability.verify(path, 40)
    assert problem.startswith(f"{condition} fails by dense matrices, with a margin of -0.49999")
    capsys.readouterr()
    assert cli.main(["certify", str(path), "--verify", "40"]) == 1
    text = capsys.readouterr().out
    assert re.search(rf"^{re.escape(condition)} +FAILS$", text, re.MULTILINE)
    assert text.count("FAILS") == 1
    assert re.search(rf"^verification +{re.escape(problem)}$", text, re.MULTILINE)


def test_jobs_are_named_as_in_the_study_and_any_configuration_may_be_given(tmp_path):
    names, first, second = ["ecg-10", "donoho_johnstone-10"], tmp_path / "first", tmp_path / "second"
    for name in names:
        assert cli.main(["signals", name, "--tier", "smoke", "--out", str(first)]) == 0
    config = copy.deepcopy(dict(Study.load(tier="smoke").config))
    config["tiers"]["smoke"]["test"]["ecg"] += 1
    (tmp_path / "other.json").write_text(json.dumps(config))
    for name in names:
        assert cli.main(["signals", name, "--config", str(tmp_path / "other.json"), "--out", str(second)]) == 0
        same = Layout(first).dataset(name).read_bytes() == Layout(second).dataset(name).read_bytes()
        assert same == (name != "ecg-10")


def test_files_of_earlier_stages_are_asked_for(tmp_path, capsys):
    for arguments in (["claims"], ["figures"], ["report"], ["tune", cli.EXAMPLES["tune"]], ["evaluate", cli.JOB]):
        assert cli.main([*arguments, "--tier", "smoke", "--out", str(tmp_path)]) == 2
        assert "file is missing; an earlier stage makes it (snakemake runs all in order)" in capsys.readouterr().err


def test_a_checkpoint_changed_since_training_is_refused(tmp_path, capsys):
    layout = Layout(tmp_path)
    net = networks.build("symmetric", blocks=1, filters=1, kernel_size=1, flux="relu")
    trained.write(layout, cli.JOB, {0: net}, weights_sha256="0" * 64)
    layout.dataset("ecg-10").parent.mkdir()
    for file in stages.input_files("evaluate", Study.load(tier="smoke").specs("evaluate")[cli.JOB])["data"]:
        (tmp_path / file).touch()  # which would be read later on
    assert cli.main(["evaluate", cli.JOB, "--tier", "smoke", "--out", str(tmp_path)]) == 2
    actual = sha256(layout.file("train", cli.JOB, "weights").read_bytes()).hexdigest()
    message = f"weights.safetensors: SHA-256: got {actual}, expected {'0' * 64} as in its record"
    assert message in capsys.readouterr().err


VERDICTS = """C1   not reproduced  −0.88 dB [−1.03, −0.73]
C2   reproduced      −0.10 to +0.25 dB
C3   reproduced      0 violations
C4a  inconclusive    –
C5b  depends         0.644 ratio of errors [0.384, ∞]
{report}
"""


def claim(name, verdict, effect, unit="dB", ends=None, rule="all", comparisons=()):
    comparisons = [{"role": role, "effect": own} for role, own in comparisons]
    return {
        **{"id": name, "verdict": verdict, "effect": effect, "interval": ends, "rule": rule},
        **{"threshold": {"unit": unit}, "comparisons": comparisons},
    }


def judged(directory):
    """Results with a report and verdicts of every kind."""
    several = [("primary", 0.25), ("primary", -0.1), ("primary", None), ("secondary", 7.0)]
    found = [
        claim("C1", "not reproduced", -0.878, ends=[-1.0266, -0.73]),
        claim("C2", "reproduced", None, rule="some", comparisons=several),
        claim("C3", "reproduced", 0, "violations", rule=None),
        claim("C4a", "inconclusive", None),
        claim("C5b", "depends", 0.6444, "ratio of errors", [0.3844, None], "each"),
    ]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "claims.json").write_text(json.dumps({"claims": found}))
    (directory / "report.html").write_text("<p>A report.</p>")
    return directory


def test_report_prints_one_line_per_claim_and_its_path(tmp_path, capsys):
    results = judged(tmp_path / "results")
    assert cli.main(["report", str(results)]) == 0
    assert capsys.readouterr().out == VERDICTS.format(report=results / "report.html")


def test_verdicts_are_spelled_where_a_terminal_cannot_show_them(tmp_path):
    results = judged(tmp_path / "results")
    command = [sys.executable, "-m", "schemenets", "report", str(results)]
    found = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=True)
    assert b"-0.88 dB [-1.03, -0.73]" in found.stdout
    assert b"C4a  inconclusive    -\n" in found.stdout
    assert b"[0.384, inf]" in found.stdout


def test_verdicts_of_the_first_protocol_can_be_printed(capsys):
    assert cli.main(["report", "results/first_protocol"]) == 0
    assert "\nC5   reproduced      0.644 ratio of errors [0.384, 1.082]\n" in capsys.readouterr().out


def test_report_looks_for_results_of_ones_own_first(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report"]) == 2
    error = capsys.readouterr().err
    assert (
        "results/mine/report.html, results/study/report.html and results/exploratory/report.html: no such file" in error
    )
    assert "make study TIER=smoke" in error
    for name in ("study", "mine"):  # each is preferred to those before
        judged(Path("results") / name)
        assert cli.main(["report"]) == 0
        assert capsys.readouterr().out.endswith(f"results/{name}/report.html\n")


@pytest.mark.parametrize("content", ["[]", "{}", '{"claims": [{"id": "C1"}]}', '{"claims": [1]}'])
def test_verdicts_of_another_form_are_misuse(content, tmp_path, capsys):
    path = judged(tmp_path) / "claims.json"
    path.write_text(content)
    assert cli.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{path}: got another file, expected verdicts of the stage claims" in error


def test_a_run_without_claims_has_a_report_all_the_same(tmp_path, capsys):
    (judged(tmp_path) / "claims.json").unlink()
    assert cli.main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"


@pytest.mark.parametrize(("opens", "status"), [(True, 0), (False, 1)])
def test_report_opens_in_a_browser_if_there_is_one(opens, status, tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(cli.webbrowser, "open", lambda url: opened.append(url) or opens)
    results = judged(tmp_path / "my results")
    assert cli.main(["report", str(results)]) == 0
    assert opened == []
    assert cli.main(["report", str(results), "--open"]) == status
    assert opened == [f"{tmp_path.as_uri()}/my%20results/report.html"]
    assert ("found no web browser" in capsys.readouterr().err) == (not opens)
