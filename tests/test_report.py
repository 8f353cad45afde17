"""The report: self-contained, well-formed, and with the numbers of the tables it names."""

from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from fabricated import PROVENANCE, results
from scipy import stats

from benchmarks import __main__, gpu, targets
from schemenets import files
from schemenets.errors import CheckpointError
from schemenets.study import figures, stages, summaries
from schemenets.study.layout import Layout
from schemenets.study.report import content, origin, solver_speed
from schemenets.study.stages.tables import _guarantee_rows
from schemenets.study.wording import label

DIVERGED = "factorial/resnet-relu/blocks-4/seed-1"
VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Tags, links, images and text of a page; wrong nesting fails."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links, self.images, self.ids, self.text = [], Counter(), [], [], set(), []
        self.headings = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags[tag] += 1
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.links += [attributes["href"]] if "href" in attributes else []
        self.images += [attributes] if tag == "img" else []
        self.headings += [int(tag[1])] if tag in ("h1", "h2", "h3") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    layout, study = results(tmp_path_factory.mktemp("results"), diverged=(DIVERGED,))
    for name in figures.FIGURES:
        files.atomic_write(layout.figure(name, "svg"), "<svg/>" if name != "transfer" else "<svg/>" * 100_000)
        files.atomic_write(layout.figure(name, "png"), b"\x89PNG")
    stages.run("report", study.specs("report")["all"], layout)
    return layout, study


@pytest.fixture(scope="module")
def html(made):
    return made[0].report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_needs_nothing_else(page, html):
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert "http:" not in html
    assert "https:" not in html
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.images)
    assert [image["src"].partition(";")[0] for image in page.images].count("data:image/png") == 1  # the large one
    assert len(page.images) == len(figures.FIGURES) == page.tags["figcaption"]
    assert page.tags["table"] == page.tags["caption"]


def test_headings_do_not_skip_a_level(page):
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert max(np.diff(page.headings)) == 1


def test_every_link_leads_somewhere(made, page):
    layout, _ = made
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif link != "manifest.json":  # made from the report, and so after it
            assert (layout.root / link).exists(), link


def test_the_first_finding_of_a_figure_is_its_message(made, page, html):
    tables = summaries.read(made[0])
    text = " ".join(" ".join(page.text).split())
    messages = [module.findings(tables)[:1] for module in figures.modules().values()]
    assert html.count('<p class="message">') == sum(map(len, messages)) > 0
    for (name, module), message in zip(figures.modules().items(), messages, strict=True):
        assert f"{module.TITLE.rstrip('?')}" in text, name
        for sentence in message:
            assert " ".join(sentence.split()) in text
    assert "?." not in text
    assert ".." not in text.replace("...", "")


def test_every_claim_stands_there_with_its_quote_and_verdict(made, page):
    text = " ".join(" ".join(page.text).split())
    for claim in files.read_json(made[0].claims)["claims"]:
        assert claim["id"] in page.ids
        for part in (claim["title"], claim["quote"] or claim["source"], claim["verdict"], claim["reason"]):
            assert " ".join(part.split()) in text
    assert page.tags["q"] == sum(claim["quote"] is not None for claim in files.read_json(made[0].claims)["claims"])


def test_effects_are_shown_in_the_unit_of_their_threshold():
    claim = {"effect": 0.5, "median": None, "interval": [0.25, 0.75], "threshold": {"unit": "dB"}}
    assert content.effect(claim) == "+0.50 dB [0.25, 0.75]"
    assert content.effect(claim | {"median": 0.4}) == "+0.50 dB [0.25, 0.75], median +0.40"
    assert (
        content.effect(claim | {"effect": 0, "interval": None, "threshold": {"unit": "violations"}}) == "0 violations"
    )
    small = claim | {"effect": 3.14159e-13, "interval": None, "threshold": {"unit": "relative difference"}}
    assert content.effect(small) == "3.14e−13 relative difference"
    assert content.effect(claim | {"effect": None}) == "–"
    assert content.evidence({"evidence": {"networks": 4, "largest": 0.5, "none": None}}) == (
        "networks: 4; largest: 0.5; none: –"
    )
    assert content.evidence({"evidence": None}) == ""


def test_evidence_of_a_verdict_without_comparisons_is_shown(made, page):
    text = " ".join(" ".join(page.text).split())
    (claim,) = (c for c in files.read_json(made[0].claims)["claims"] if c["id"] == "C3")
    certified = summaries.read(made[0])["runs"]["certified"].sum()
    assert claim["evidence"]["certified checkpoints"] == certified
    assert f"certified checkpoints: {certified}; largest amplification found by the search: 0.99;" in text


def test_text_of_records_is_escaped(html):
    assert "Some &lt;Processor&gt;" in html


def test_the_table_of_means_holds_the_means(made):
    tables = summaries.read(made[0])
    table = content.means(tables)
    columns = list(table.columns)
    cells = {(row[0], row[columns.index("Method")].striptags(), row[columns.index("Size")]): row for row in table.rows}
    own = tables["psnr"].query(
        "run.str.startswith('capacity/resnet-relu/budget-120/') and test_set == 'piecewise_affine'"
    )
    values = own["psnr"].to_numpy()
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    row = cells["capacity", "resnet-relu", "budget-120"]
    assert row[columns.index("PSNR (dB)")] == f"{values.mean():.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
    assert cells["factorial", "resnet-relu", "blocks-4"][columns.index("Diverged")] == "1"
    assert table.numeric[columns.index("PSNR (dB)")]
    assert not table.numeric[columns.index("Method")]


def test_limits_name_diverged_runs_edges_and_what_waits(made):
    layout, _ = made
    judged = files.read_json(layout.claims)
    judged["claims"][0]["waits_for"] = "another experiment"
    text = " ".join(content.limits(summaries.read(layout), judged))
    assert DIVERGED in text
    assert "edge of the grid: resnet-relu" in text
    assert "not measured yet: C1: another experiment." in text
    assert "The smallest p that 2 seeds can give is 0.25." in text
    solving = pd.read_csv(layout.table("solver_runs")).groupby("method")["problem"].nunique()
    assert 0 < (solving == 1).sum() < len(solving)
    alone = f"; {(solving == 1).sum()} of {len(solving)} methods on one problem alone (Charbonnier)"
    assert f"{alone}; by the residual for no problem. Fluxes of problems with second differences: none." in text


def test_speed_is_shown_where_it_was_measured(tmp_path):
    layout = Layout(tmp_path)
    assert content.speed(layout) == []
    row = dict.fromkeys(__main__.COLUMNS, 1) | {
        "what": "training step",
        "network": "resnet",
        "flux": "relu",
        "certified": False,
        "tied": False,
        "implicit_gradients": False,
        "machine": "Some Processor",
    }
    contenders = {"ours": (0.5, 1.0), "idiomatic": (6.0, 12.0), "vmap": (4.0, 8.0)}
    measured = [
        row | {"contender": name, "milliseconds_per_seed": time, "times_slower_than_ours": ratio}
        for name, (time, ratio) in contenders.items()
    ]
    layout.table("benchmark").parent.mkdir()
    pd.DataFrame(measured).to_csv(layout.table("benchmark"), index=False)
    pd.DataFrame(targets.summary(measured)).to_csv(layout.table("benchmark_targets"), index=False)
    judged, times = content.speed(layout)
    assert [line[0] for line in judged.rows] == [target.name for target in targets.TARGETS]
    assert "not measured" in {line[3] for line in judged.rows}
    (line,) = times.rows
    assert dict(zip(times.columns, line, strict=True)) == {
        "What": "training step",
        "Case": "ResNet, ReLU: blocks 1, filters 1, kernel size 1, channels 1, length 1, seeds 1",
        "Ours (ms)": "0.5",
        "GFLOP/s": "1",
        "idiomatic (times ours)": "12",
        "compiled (times ours)": "–",
        "vmap (times ours)": "8",
    }


def test_speed_on_a_gpu_is_shown_where_it_was_measured(tmp_path):
    layout = Layout(tmp_path)
    assert content.gpu_speed(layout) == []
    row = dict.fromkeys(gpu.COLUMNS, 1) | {"what": "training step", "network": "implicit", "flux": "relu"}
    row |= {"certified": True, "tied": True, "implicit_gradients": True, "machine": "Some GPU"}
    measured = [
        row | {"contender": name, "milliseconds_per_seed": ratio / 2, "times_slower_than_ours": ratio}
        for name, ratio in {"ours": 1.0, "compiled_graph": 0.5, "processor": 15.0}.items()
    ]
    layout.table("gpu_benchmark").parent.mkdir()
    pd.DataFrame(measured).to_csv(layout.table("gpu_benchmark"), index=False)
    assert layout.benchmarks == [layout.table("gpu_benchmark")]
    (table,) = content.gpu_speed(layout)
    assert "Machine: Some GPU." in table.caption
    (line,) = table.rows
    found = dict(zip(table.columns, line, strict=True))
    assert found["Case"].startswith("implicit, ReLU, certified, tied, implicit gradients: blocks 1")
    assert (found["Ours (ms)"], found["compiled graph (times ours)"], found["processor (times ours)"]) == (
        "0.5",
        "0.5",
        "15",
    )
    assert found["idiomatic (times ours)"] == "–"


def test_times_of_solvers_are_shown_where_they_were_measured(tmp_path):
    layout = Layout(tmp_path)
    assert solver_speed.shown(layout) == []
    about = {"problem": "poisson", "right_hand_sides": 64, "dtype": "float64", "machine": "Some Processor"}
    time = "milliseconds_per_right_hand_side"
    measured = [
        about | {"points": points, "contender": "banded", time: points / 1000, "times_slower_than_banded": 1}
        for points in (63, 255)
    ]
    measured += [
        about | {"points": 255, "contender": "pyamg-ruge_stuben", time: 5.1, "times_slower_than_banded": 20}
        | {"setup_milliseconds": 2.5, "iterations": 7, "relative_error": 1e-9}
    ]  # fmt: skip
    layout.table("solver_benchmark").parent.mkdir()
    pd.DataFrame(measured).to_csv(layout.table("solver_benchmark"), index=False)
    assert layout.benchmarks == [layout.table("solver_benchmark")]
    (table,) = solver_speed.shown(layout)
    assert "Some Processor" in table.caption
    assert "banded matrices: 20 times faster than the next, PyAMG (Ruge–Stüben)" in table.caption
    direct, amg = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (direct["64 points"], direct["256 points"], direct["Times the direct solver"]) == ("0.063", "0.255", "1")
    assert amg == {
        "Problem": "Poisson",
        "b": "64",
        "Solver": "PyAMG (Ruge–Stüben)",
        "Precision": "float64",
        "64 points": "–",
        "256 points": "5.1",
        "Setup (ms)": "2.5",
        "Times the direct solver": "20",
        "Iterations": "7",
        "Relative error": "1e−09",
    }


def test_guarantees_count_what_trained_networks_keep(made):
    """In fabricated results the symmetric networks certified by construction hold, and no others do."""
    tables = summaries.read(made[0])
    rows = {(row[0], row[1]): row[2:] for row in content.guarantees_measured(tables).rows}
    runs = tables["runs"][tables["runs"]["network"] == "symmetric"]
    counts = runs.groupby(["certified", "tied"]).size()
    free, certified = counts[False], counts[True]
    within = [f"0 of {free[False]}", f"0 of {free[True]}" if True in free else "–"]
    assert rows["symmetric", "free"][:5] == [str(free.sum()), "0", *within, "2.5"]  # 1.5 + seed
    total = str(certified.sum())
    within = [f"{n} of {n}" for n in (certified[False], certified[True])]
    assert rows["symmetric", "certified by construction"][:5] == [total, total, *within, "0.99"]
    resnets = (tables["runs"]["network"] == "resnet").sum()
    assert rows["ResNet", "free"][1:5] == ["0", f"0 of {resnets}", "–", "80"]
    assert "/seed-1" in rows["ResNet", "free"][5]
    assert ("ResNet", "certified by construction") not in rows
    # how far repetition moves signals apart, see fabricated: 0.99ⁿ, and 3^100 beyond all numbers
    assert rows["symmetric", "certified by construction"][-1] == "0.99"
    assert rows["ResNet", "free"][-1] == "overflow"
    words = {row[0]: row[1:] for row in content.guarantees(tables).rows}
    assert "‖uᵏ⁺¹‖₂ ≤ ‖uᵏ‖₂" in words["symmetric"][0]
    assert {scheme for scheme, _ in rows} <= set(words)
    assert content.guarantees_measured(tables).caption.endswith(
        "asks for a linear flux, which none of these networks has."
    )


def test_tables_of_guarantees_and_remedies_lead_with_what_they_say(made):
    tables = summaries.read(made[0])
    runs = tables["runs"][tables["runs"]["network"].isin(tables["guarantees"]["scheme"])]
    free, certified = (~runs["certified"]).sum(), runs["certified"].sum()
    start = f"0 of {free} freely trained networks and {certified} of {certified} certified networks fulfil a theorem"
    assert content.guarantees_measured(tables).caption.startswith(start)
    own = tables["remedies"].query("kind == 'trained'")
    plain = own[~own["network"].str.startswith("safeguarded")].pivot_table("psnr", "run", "remedy")
    worst = {rule: (plain["none"] - plain[rule]).max() for rule in plain if rule != "none"}
    caption = content.remedies(tables).caption
    assert caption.startswith("On weights that were trained by the scheme itself its remedies cost at most")
    assert all(f"{rule} {cost:.2f} dB" in caption for rule, cost in worst.items())
    places = {rule: caption.index(f" {rule} ") for rule in worst}
    assert max(places, key=places.get) == max(worst, key=worst.get)


def test_there_may_be_no_networks_for_other_rules(made):
    tables = summaries.read(made[0])
    table = content.remedies(tables | {"remedies": tables["remedies"].query("kind != 'trained'")})
    assert table.caption.startswith("Trained two-step networks")
    assert table.rows == []


def test_networks_trained_freely_may_fulfil_a_theorem(made):
    """They count as free: what makes the difference is the training, not its outcome."""
    tables = summaries.read(made[0])
    run = "factorial/symmetric-perona_malik/blocks-4/seed-0"
    stability = tables["stability"].fillna({"failed_conditions": ""})
    stability.loc[stability["run"] == run, ["certified", "failed_conditions"]] = [True, ""]
    counts = ["networks", "fulfilling", "untied_within"]
    rows = [
        pd.DataFrame(_guarantee_rows({**tables, "stability": table})).set_index("scheme").loc["symmetric"]
        for table in (tables["stability"].fillna({"failed_conditions": ""}), stability)
    ]
    before, after = (row[counts].tolist() for row in rows)
    assert after == [before[0], 1, 1]
    runs = tables["runs"][["network", "certified"]].value_counts()
    assert rows[0]["certified_networks"] == rows[1]["certified_networks"] == runs["symmetric", True]


def test_growth_is_told_where_it_was_measured(made):
    tables = summaries.read(made[0])
    run = "capacity/fsi-perona_malik/budget-240/seed-1"
    growth = pd.DataFrame(
        {
            "run": [run, run, "capacity/resnet-relu/budget-120/seed-0", None],
            "kind": ["repetition", "repetition", "repetition", "depth"],
            "network": [None, None, None, "implicit"],
            "certified": [None, None, None, False],
            "n": [100, 10, 10, 1000],
            "amplification": [7.5, 3.0, None, 1e99],
            "overflow": [False, False, True, False],
        }
    )
    measured = {**tables, "growth": growth}
    measured["stability"] = tables["stability"].fillna({"failed_conditions": ""})
    found = pd.DataFrame(_guarantee_rows(measured)).set_index("scheme")
    assert found.loc["fsi", ["growth", "growth_run", "growth_kind", "growth_n"]].tolist() == [
        7.5,
        run,
        "repetition",
        100,
    ]
    assert found.loc["resnet", "growth"] == np.inf
    assert pd.isna(found.loc["implicit", "growth"])
    table = content.guarantees_measured({**tables, "guarantees": found.reset_index()})
    (row,) = [row for row in table.rows if row[0] == "FSI"]
    assert [str(cell) for cell in row[-4:-2]] == ["7.5", "repetition, 100"]
    assert run in row[-2]
    assert [row[-4] for row in table.rows if row[0] == "ResNet"] == ["overflow"]


def test_robustness_holds_attacks_bounds_and_other_noise(made):
    tables = summaries.read(made[0])
    other = tables["psnr"].assign(noise=20.0, psnr=lambda table: table["seed"] + 20.0)
    table = content.robustness({**tables, "psnr": pd.concat([tables["psnr"], other])})
    (row,) = [row for row in table.rows if row[0].striptags() == "symmetric-perona_malik-certified"]
    cells = dict(zip(table.columns, row, strict=True))
    own = tables["robustness"].query("method == 'symmetric-perona_malik-certified' and perturbation == 10")
    low, high = stats.t.interval(0.95, 1, own["psnr_attacked"].mean(), stats.sem(own["psnr_attacked"]))
    assert cells["Attacked"] == f"{own['psnr_attacked'].mean():.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
    assert cells["Guaranteed"] == f"{own['psnr_guaranteed'].mean():.2f}"
    assert (cells["Certified"], cells["Bound"]) == ("yes", "5")
    assert cells["Noise 20"] == "20.50"


def test_certificates_are_counted_over_all_grids_and_the_radius_of_the_training_is_called_that(made):
    tables = summaries.read(made[0])
    assert "Radius in training" in content.solvers(tables).columns
    known = tables["solver_certificates"]
    problem, method = known[["problem", "method"]].iloc[0]
    known = known[(known["problem"] == problem) & (known["method"] == method)]
    seeds = len(known)
    finer = known.assign(condition="finer-512", points=512, radius=[3.0, *[0.2] * (seeds - 1)])
    finer["holds"] = finer["radius"] < 1
    table = content.solver_certificates({**tables, "solver_certificates": pd.concat([known, finer])})
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert f"{2 * seeds - 1} of {2 * seeds} hold" in table.caption
    assert (cells["Problem"], cells["Method"]) == (label(problem), content._solver(method, problem))
    assert cells["Hold, training"] == f"{seeds} of {seeds}"
    assert cells["Hold, all grids and τ"] == f"{2 * seeds - 1} of {2 * seeds}"
    assert (cells["Largest radius, training"], cells["Largest radius, all"]) == ("0.1", "3")
    assert (cells["Worst points"], cells["Worst τ"]) == ("512", "100")
    nothing = content.solver_certificates({**tables, "solver_certificates": known.iloc[:0]})
    assert nothing.rows == []


def test_cycles_that_move_solutions_are_counted(made):
    tables = summaries.read(made[0])
    known = tables["solver_iterations"]
    count = known["run"].notna().sum()
    assert f"in {count} of {count} cases. The" in content.solver_fixed_points(tables).caption
    first = (known["method"] == "multigrid-1") & (known["kind"] == "home") & (known["seed"] == 0)
    changes = {"moved": 0.5, "own_error": 0.25, "local_radius": 1e13}
    moved = known.assign(**{key: known[key].mask(first, value) for key, value in changes.items()})
    table = content.solver_fixed_points(tables | {"solver_iterations": moved})
    assert f"in {count - 1} of {count} cases; the others are of multigrid U-net, 1 cycle, " in table.caption
    assert "the local radius of which is 1e+13 or more: they amplify rounding errors" in table.caption
    cells = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    (own,) = (row for row in cells.values() if row["Equation"] == "learned")
    of_method = known[known["method"] == "multigrid-1"]
    assert of_method["run"].nunique() == 2  # so that medians are between the values of two seeds
    assert own == {
        **{"Problem": label("charbonnier"), "Method": content._solver("multigrid-1", "charbonnier")},
        **{"Equation": "learned", "By construction": "yes", "Seeds": "2", "Largest change": "0.5"},
        **{"Fixed points": f"{len(of_method) - 1} of {len(of_method)}", "Error of solutions": "0.15"},
        **{"Local radius": "5e+12", "Below 1": "1 of 2"},
    }
    other = cells[label("charbonnier"), content._solver("cycle-1", "charbonnier")]
    assert (other["Equation"], other["Largest change"], other["Error of solutions"]) == ("given", "1e−14", "–")
    broken = tables["solver_runs"].assign(consistent=lambda t: t["method"] != "multigrid-1")
    table = content.solver_fixed_points({**tables, "solver_iterations": moved, "solver_runs": broken})
    assert f"in {count - len(of_method)} of {count - len(of_method)} cases. The" in table.caption
    assert [row[3] for row in table.rows] == ["yes", "no", "yes"]
    assert content.solver_fixed_points(tables | {"solver_iterations": known.iloc[:0]}).rows == []


def test_time_of_a_job_is_counted_once(made):
    layout, study = made
    work = origin.gather(layout, summaries.read(layout))["work"]
    records = {row[0]: int(row[1]) for row in work.rows}
    jobs, methods = len(study.specs("train")), len(study.specs("tune"))
    expected = {"tune": methods, **dict.fromkeys(("train", "evaluate", "stability"), jobs)}
    expected |= {name: len(study.specs(name)) for name in ("robustness", "growth", "remedies")}
    expected |= dict.fromkeys(("fixed_points", "schemes", "multigrid", "solvers"), 1)
    expected |= {name: len(study.specs(name)) for name in ("solver_tune", "solver_train", "solver_evaluate")}
    assert records == expected | {"total": sum(expected.values())}
    assert work.rows[-1][2] == str(10 * sum(expected.values()))


def test_records_that_disagree_about_a_data_file_are_shown(made):
    layout, study = made
    tables = summaries.read(layout)
    assert origin.gather(layout, tables)["consistent"]
    kept = layout.multigrid.read_bytes()
    other = {"piecewise_affine-10.safetensors": "0" * 64}
    files.write_json(layout.multigrid, {"provenance": PROVENANCE | {"data_sha256": other}})
    try:
        assert not origin.gather(layout, tables)["consistent"]
        stages.run("report", study.specs("report")["all"], layout)
        assert "Records disagree" in layout.report.read_text(encoding="utf-8")
    finally:
        files.atomic_write(layout.multigrid, kept)


def test_a_missing_record_is_a_named_error(made):
    layout, _ = made
    tables = summaries.read(layout)
    for name in ("runs", "solver_tuning"):
        other = tables | {name: tables[name].assign(method="no-such-method")}
        with pytest.raises(CheckpointError, match=r"no-such-method.*missing"):
            origin.gather(layout, other)
