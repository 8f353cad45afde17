"""The report: self-contained, well-formed, and with the numbers of the tables it names."""

import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from fabricated import DIVERGED, PROVENANCE
from markupsafe import Markup
from scipy import stats

from schemenets import files
from schemenets.errors import CheckpointError
from schemenets.study import claims, figures, report, stages, summaries
from schemenets.study.config import Study
from schemenets.study.layout import Layout
from schemenets.study.report import _limits, _tables, content, intervals, origin, solving, verdicts
from schemenets.study.stages.tables import _guarantee_rows
from schemenets.study.wording import ranged, signed

VOID = {"meta", "br", "img"}
DETAILS = {"committed": {"map": [], "tuning": [], "earlier": []}}  # without files of other runs


class Page(HTMLParser):
    """Tags, links, images and text of a page; wrong nesting fails."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links, self.images, self.ids, self.text = [], Counter(), [], [], set(), []
        self.headings, self.drawings = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags[tag] += 1
        self.images += [attributes] if tag == "img" else []
        self.drawings += [attributes] if tag == "svg" else []
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.links += [attributes["href"]] if "href" in attributes else []
        self.headings += [int(tag[1])] if tag in ("h1", "h2", "h3") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def html(made_up):
    layout, study = made_up
    for name in figures.available():
        files.atomic_write(layout.figure(name, "svg"), "<svg/>" if name != "transfer" else "<svg/>" * 100_000)
        files.atomic_write(layout.figure(name, "png"), b"\x89PNG")
    files.atomic_write(layout.table(summaries.LEARNED), "method\n")
    stages.run("report", "all", study.specs("report")["all"] | DETAILS, layout)
    return layout.report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tables(made_up):
    return summaries.read(made_up[0])


@pytest.fixture(scope="module")
def text(page):
    return " ".join(" ".join(page.text).split())


def cells(table, *names):
    """Rows as dictionaries without markup, by the values in these columns."""
    found = [
        {key: Markup(cell).striptags() for key, cell in zip(table.columns, row, strict=True)} for row in table.rows
    ]
    return {tuple(row[name] for name in names): row for row in found}


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_needs_nothing_else(page, html):
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert "http:" not in html
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in page.drawings)
    assert "https:" not in html
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.images)
    assert [image["src"].partition(";")[0] for image in page.images].count("data:image/png") == 1  # the large one
    assert len(page.images) == page.tags["figure"] == page.tags["figcaption"]
    assert page.tags["table"] == page.tags["caption"]


def test_headings_do_not_skip_a_level(page):
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert max(np.diff(page.headings)) == 1


def test_every_link_leads_somewhere(made_up, page):
    layout, _ = made_up
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif link != "manifest.json":  # made from the report, and so after it
            assert (layout.root / link).exists(), link


def test_the_page_is_short(html):
    """A limit of 4,000 words outside of tables; the tests in a browser count those of a run's page."""
    text = re.sub(r"<(style|table)\b.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL)
    assert len(text.split()) < 4500  # this page lists in words what its tier lacks


def test_every_figure_has_its_headline_on_the_page_and_its_title_as_description(tables, page, text):
    shown = [name for name in figures.available() if f"figure-{name}" in page.ids]
    assert len(shown) == len(page.images)
    assert set(figures.available()) - set(shown) == {"learned", "map_effects", "solver_parts"}  # not measured
    for name in shown:
        headline = " ".join(figures.headline(name, tables).split())
        assert f" {headline} " in text
        assert [image["alt"] for image in page.images].count(figures.modules()[name].TITLE) == 1
    assert "?." not in text
    assert ".." not in text.replace("...", "")


def test_every_figure_belongs_to_a_chapter(made_up):
    known = {claim["id"] for claim in files.read_json(made_up[0].claims)["claims"]} | set(figures.FURTHER)
    assert {module.CHAPTER for module in figures.modules().values()} <= known


@pytest.mark.usefixtures("html")  # whose figures it shows
def test_the_map_of_another_run_is_shown_where_there_is_none(made_up, tables, monkeypatch, tmp_path):
    layout, study = made_up
    monkeypatch.setattr(report, "MAP", Layout(tmp_path / "map"))
    table = layout.table("map")
    kept = table.read_text()
    files.atomic_write(report.MAP.table("map"), kept)
    for name in ("map", "map_effects"):
        files.atomic_write(report.MAP.figure(name, "svg"), "<svg/>")
    committed = report.committed(with_map=True, with_tuning=False)
    assert len(committed["map"]) == 3
    assert report.committed(with_map=False, with_tuning=False)["map"] == []
    files.atomic_write(table, kept.splitlines(keepends=True)[0])
    try:
        spec = study.specs("report")["all"] | {"committed": committed | {"earlier": []}}
        page = Page(report.render(layout, spec))
        assert {"figure-map", "figure-map_effects"} <= page.ids
        assert "no p-values. Medians with as many blocks, by fluxes: " in " ".join(" ".join(page.text).split())
        assert f"{tmp_path / 'map'}/tables/map.csv" in " ".join(page.text)
        page = Page(report.render(layout, spec | DETAILS))
        assert "figure-map" not in page.ids
    finally:
        files.atomic_write(table, kept)


@pytest.mark.usefixtures("html")
def test_a_run_without_claims_has_a_page_of_what_it_has(made_up):
    layout, study = made_up
    page = Page(report.render(layout, study.specs("report")["all"] | DETAILS | {"claims": False}))
    assert {"map", "figure-map", "origin"} <= page.ids
    assert "verdicts" not in page.ids


# of headings: claims of the papers, what else was found, and what the study claims itself
ORDER = (
    "C6. Nonmonotone fluxes pay off",
    "From a guarantee to the residual network",
    "Where the symmetric network is ahead",
    "What this study claims itself",
    "N1. A stability guarantee costs nothing at the same number of parameters",
    "Classical rivals, and other signals",
)


def test_every_claim_stands_there_with_its_quote_and_verdict(made_up, page, text):
    for claim in files.read_json(made_up[0].claims)["claims"]:
        assert claim["id"] in page.ids
        for part in (
            claim["title"],
            claim["quote"] or claim["source"],
            claim["verdict"],
            verdicts.decision(claim),
            claim["limits"],
        ):
            assert " ".join(part.split()) in text
    order = [text.index(f" {title} ", text.rindex("The claims one by one ")) for title in ORDER]
    assert order == sorted(order)
    assert page.tags["q"] == sum(claim["quote"] is not None for claim in files.read_json(made_up[0].claims)["claims"])


def made_up_claim(effects, outcomes, **changes):
    """A claim with a primary comparison per effect, none of which has an interval."""
    keys = {"experiment": "capacity", "candidate": "symmetric-learned", "reference": "resnet-relu", "interval": None}
    keys |= {
        f"{side}_{key}": 10 for side in ("candidate", "reference") for key in ("convolution_weights", "parameters")
    }
    comparisons = [
        {**keys, "role": "primary", "size": f"budget-{120 * (i + 1)}", "effect": effect, "outcome": outcome}
        for i, (effect, outcome) in enumerate(zip(effects, outcomes, strict=True))
    ]
    claim = {"evaluator": "superiority", "rule": "all", "evidence": None}
    claim |= {"effect": min((effect for effect in effects if effect is not None), default=None)}
    claim |= {"threshold": {"value": 0.0, "unit": "dB"}, "weight_ratio": None, "comparisons": comparisons}
    return claim | changes


def shown_numbers(claim):
    return [(number.value, number.what) for number in verdicts.numbers(claim)]


def test_three_numbers_matter_for_a_claim_with_comparisons():
    claim = made_up_claim([0.5, -0.25, 0.75], ["shown", "refuted", "open"])
    assert shown_numbers(claim) == [
        ("−0.25 dB", "weakest median difference (affine signals, ≤ 240 parameters)"),
        ("1 of 3", "comparisons support the claim, 1 contradict it"),
        ("−0.25 to +0.75 dB", "range of the median differences"),
    ]
    assert verdicts.numbers(claim)[0].source == "runs/capacity/symmetric-learned/budget-240/"
    best, worst, _ = shown_numbers(claim | {"rule": "some", "effect": None})
    assert best == ("+0.75 dB", "best median difference (affine signals, ≤ 360 parameters)")
    assert worst[0] == "−0.25 dB"
    assert shown_numbers(claim | {"weight_ratio": 0.5})[2] == (
        "10 against 10",
        "convolution weights; all parameters: 10 against 10",
    )
    evidence = {"certified candidates": 3, "of": 3, claims.DRIFT: 0.5}
    assert shown_numbers(claim | {"evidence": evidence})[2:] == [("0.5", claims.DRIFT)]
    registered = claim | {"evidence": evidence | {claims.MOST: 1.0}}
    assert shown_numbers(registered)[2:] == [("0.5", f"{claims.DRIFT}; at most 1 is a guarantee")]
    ratios = claim | {"threshold": {"value": 1.0, "unit": "ratio of errors"}, "effect": 0.75}
    assert shown_numbers(ratios)[0] == ("0.75", "weakest median ratio (affine signals, ≤ 360 parameters)")
    for c in ratios["comparisons"]:
        c |= {"candidate_median": 0.008, "reference_median": 1e-10}
    assert shown_numbers(ratios | {"evaluator": "budgets"})[::2] == [
        ("0.008 against ≤ 1e−10", "median error, learned against untrained (affine signals, ≤ 360 parameters)"),
        ("1 of 3", "comparisons support the claim, 1 contradict it"),
    ]
    assert shown_numbers(made_up_claim([], [])) == []


def test_evidence_that_the_three_numbers_are_has_no_table(made_up, page):
    judged = {claim["id"]: claim for claim in files.read_json(made_up[0].claims)["claims"]}
    assert len(judged["C5a"]["evidence"]) == len(verdicts.numbers(judged["C5a"])) == 3
    assert page.text.count("largest change of an exact solution") == 1
    assert page.text.count("largest amplification found by the search") == 2  # that of C3 has more rows


def test_three_numbers_matter_for_a_claim_without_exceptions(made_up):
    judged = {claim["id"]: claim for claim in files.read_json(made_up[0].claims)["claims"]}
    runs = summaries.read(made_up[0])["runs"]
    certified = (runs["certified"] & (runs["network"] == "symmetric")).sum()
    assert shown_numbers(judged["C3"])[0] == (str(certified), "certified symmetric networks without biases")
    assert len(verdicts.numbers(judged["C3"])) == len(verdicts.numbers(judged["C4c"])) == 3
    assert shown_numbers(judged["C3"])[1] == ("0.99", "largest amplification found by the search")
    assert verdicts.numbers(judged["C5a"])[0].source == "tables/solver_iterations.csv"
    rows = dict(verdicts.evidence(judged["C3"]).rows)
    assert rows["largest amplification found by the search"] == "0.99"
    assert len(rows) == len(judged["C3"]["evidence"])
    assert verdicts.evidence(judged["C1"]) is None
    assert verdicts.forest(judged["C3"]) is verdicts.statistics(judged["C3"]) is None


def test_support_lies_to_the_right_of_the_threshold():
    claim = made_up_claim([0.5, -0.25], ["shown", "refuted"])
    scale = intervals.Scale.of(claim)
    assert scale.x(-0.25) < scale.x_threshold == scale.x(0.0) < scale.x(0.5)
    assert scale.label == "0 dB"
    margin = intervals.Scale.of(claim | {"evaluator": "noninferiority", "threshold": {"value": 0.5, "unit": "dB"}})
    assert margin.x_threshold < margin.x(-0.25)
    assert margin.label == "−0.50 dB"
    ratio = intervals.Scale.of(
        claim
        | {
            "threshold": {"value": 1.0, "unit": "ratio of errors"},
            "comparisons": [c | {"effect": e} for c, e in zip(claim["comparisons"], (0.1, 10.0), strict=True)],
        }
    )
    assert ratio.x(10.0) < ratio.x_threshold < ratio.x(0.1)
    assert np.isclose(ratio.x(10.0) + ratio.x(0.1), 2 * ratio.x_threshold)


def test_a_far_outlier_does_not_set_the_scale_and_lies_at_the_edge():
    claim = made_up_claim([0.1, 0.12, 0.14, 0.16, 0.18, 0.2, -40.0], ["shown"] * 6 + ["refuted"])
    scale = intervals.Scale.of(claim)
    assert scale.x(-40.0) == intervals.MARGIN
    assert scale.x(0.2) - scale.x(0.1) > 0.3 * intervals.WIDTH


def test_drawings_have_a_mark_per_comparison_and_say_the_same_in_words():
    claim = made_up_claim([0.5, -0.25, 0.1, None], ["shown", "refuted", "open", "open"], effect=-0.25)
    claim["comparisons"][0]["interval"] = [0.25, None]  # open above
    claim["comparisons"].append(claim["comparisons"][0] | {"role": "secondary"})
    drawing = intervals.stacked(claim)
    assert drawing.count("<circle") == 2
    assert drawing.count("<rect") == 1
    assert [drawing.count(f'<g class="{name}">') for name in ("shown", "refuted", "open")] == [1, 1, 1]
    left, right = map(float, re.search(r'<g class="shown"><line x1="([\d.]+)" x2="([\d.]+)"', drawing).groups())
    scale = intervals.Scale.of(claim)
    assert left == pytest.approx(scale.x(0.25), abs=0.05)
    assert right == intervals.WIDTH - intervals.MARGIN
    assert (
        'aria-label="4 comparisons, medians −0.25 to +0.50 dB, threshold 0 dB: 1 support the claim, '
        '1 contradict it"' in drawing
    )
    assert 'aria-label="+0.50 dB [0.25, ∞]: shown"' in intervals.single(claim["comparisons"][0], scale)
    assert intervals.stacked(made_up_claim([], [])) == ""


def test_primary_comparisons_are_tables_and_secondary_ones_a_count(made_up, text):
    judged = {claim["id"]: claim for claim in files.read_json(made_up[0].claims)["claims"]}
    for claim in judged.values():
        roles = [c["role"] for c in claim["comparisons"]]
        for make in (verdicts.forest, verdicts.statistics):
            assert len(table.rows if (table := make(claim)) else []) == roles.count("primary")
        assert (verdicts.secondary(claim) == "") == ("secondary" not in roles)
        assert claim["sentence"] in text
    claim = judged["C2"]
    outcomes = iter(["shown", "refuted"])
    claim["comparisons"] = [
        c if c["role"] == "primary" else c | {"outcome": next(outcomes, "open")} for c in claim["comparisons"]
    ]
    beside = [c["effect"] for c in claim["comparisons"] if c["role"] == "secondary"]
    beside = [effect for effect in beside if effect is not None]
    few = f"Secondary comparisons with too few seeds to decide: {len(beside)}, with medians of "
    few += f"{ranged(beside, signed)} dB."
    assert verdicts.secondary(claim) == few
    assert few in text
    enough = claim | {"minimum_seeds": 2}
    assert verdicts.secondary(enough) == "1 of 6 secondary comparisons support the claim, 1 contradict it."
    for c in claim["comparisons"]:
        c["n"] = 16 if c["outcome"] == "shown" else 2
    told = verdicts.secondary(claim)
    assert told.startswith("1 of 1 secondary comparisons support the claim, 0 contradict it. Secondary")
    first = claim["comparisons"][0]
    row = cells(verdicts.statistics(claim), "Where")["affine signals, ≤ 120 parameters",]
    assert row["Candidate"] == "symmetric-perona_malik"
    low, high = first["mean_interval"]
    assert row["Mean"] == f"{first['mean']:+.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
    assert (row["Failed"], row["Seeds"]) == ("0 / 0", "2")
    assert cells(verdicts.statistics(claim), "Where")["affine signals, ≤ 240 parameters",]["Failed"] == "1 / 0 (p = 1)"
    row = cells(verdicts.forest(claim), "Where")["affine signals, ≤ 120 parameters",]
    assert row["Median"] == f"{first['effect']:+.2f}".replace("-", "−")  # two seeds have no interval
    assert (row["Reference"], row["Outcome"]) == ("resnet-relu", "open")
    row = cells(verdicts.statistics(judged["C5b"]), "Candidate")["multigrid-1",]
    assert (row["Where"], row["Parameters"]) == ("Charbonnier", "35 / 2,727")
    assert verdicts.runs_of(judged["C5b"]["comparisons"][0]) == "runs/solve_charbonnier/multigrid-1/"


def test_untrained_solvers_have_no_records_to_link_to():
    claim = made_up_claim([2.0], ["open"], threshold={"value": 1.0, "unit": "ratio of errors"})
    where = {"experiment": "solve_charbonnier", "size": "operations-9", "candidate": "multigrid-1"}
    claim["comparisons"][0] |= where | {"reference": "Newton's method"}
    (row,) = verdicts.forest(claim).rows
    assert row[:3] == ["Charbonnier, 9 operations", content.solver("multigrid-1", "charbonnier"), "Newton's method"]


def test_how_a_claim_was_decided_is_a_table_of_what_there_is():
    claim = made_up_claim([0.5], ["shown"], measured="The PSNR", direction="a > threshold", absent=0, minimum_seeds=10)
    claim["reason"] = "1 of 1 primary comparisons support the claim."
    rows = dict(verdicts.rule(claim, "0.1 dB: depends").rows)
    assert rows == {
        "Measured": "The PSNR.",
        "Criterion": "a > threshold; threshold 0 dB",
        "Decision": claim["reason"],
        "At other thresholds": "0.1 dB: depends",
    }
    beside = {**claim["comparisons"][0], "role": "secondary", "n": 10}
    rows = dict(verdicts.rule({**claim, "absent": 1, "comparisons": [beside]}, "").rows)
    assert list(rows) == ["Measured", "Criterion", "Beside it"]
    assert rows["Beside it"] == verdicts.secondary({**claim, "comparisons": [beside]}) != ""


def test_decisions_leave_lists_of_comparisons_to_the_tables():
    reason = "1 of 2 primary comparisons support the claim, 0 contradict it (16 seeds)."
    claim = {"absent": 0, "reason": f"{reason} Shown: a, b against c. Open: d, e against f. Failed runs counted: 1."}
    assert verdicts.decision(claim) == f"{reason} Failed runs counted: 1."
    assert verdicts.decision(claim | {"absent": 2}) == ""


def test_one_sentence_answers_for_all_claims_of_the_papers_and_one_for_each_of_the_study():
    found = ("reproduced", "depends", "inconclusive", "reproduced", "not reproduced")
    about = {"source": "[A], abstract", "evaluator": "superiority"}
    judged = [about | {"id": f"C{i}", "verdict": verdict} for i, verdict in enumerate(found, 1)]
    judged[3]["evaluator"] = "certificates"
    own = {"id": "N1", "source": "this study", "verdict": "depends", "evaluator": "noninferiority"}
    assert verdicts.answer([*judged, own]) == (
        "Of 5 claims from the papers' abstracts, 2 are reproduced (C4, theorems or identities; C1), 1 depends on the "
        "setting (C2), 1 is undecided (C3) and 1 is not reproduced (C5). N1, a claim of this study, depends on the "
        "setting."
    )
    assert verdicts.answer([own]) == "N1, a claim of this study, depends on the setting."
    assert verdicts.answer([own | {"verdict": "not testable"}]) == "N1, a claim of this study, is not testable."


def test_verdicts_of_the_first_protocol_stand_beside():
    first = {"claims": [{"id": "C1", "verdict": "not reproduced"}, {"id": "C5", "verdict": "reproduced"}]}
    now = [{"id": name, "verdict": "depends"} for name in ("C1", "C5b", "N1")]
    assert [row[1] for row in verdicts.earlier(now, first).rows] == ["not reproduced", "reproduced", "–"]


def test_the_power_of_the_tests_is_shown(tables, page):
    rows = cells(content.power(tables), "Seeds", "Comparisons of the family")
    row = rows["16", "16"]
    assert row["Seeds needed beyond the margin"] == "15"
    assert row["1 sd"] == f"{stats.binom.sf(14, 16, stats.norm.cdf(1)):.2f}"
    assert "What the sign test can show" in " ".join(page.text)


def test_verdicts_at_other_thresholds_are_shown(made_up, text):
    table = pd.read_csv(made_up[0].table("sensitivity")).query("claim == 'C1' and not registered")
    expected = "; ".join(f"{row.threshold:g} dB: {row.verdict}" for row in table.itertuples())
    assert verdicts.sensitivity(made_up[0])["C1"] == expected
    assert expected in text


def test_text_of_records_is_escaped(html):
    assert "Some &lt;Processor&gt;" in html


def test_guarantees_count_what_trained_networks_keep(made_up):
    """In fabricated results the symmetric networks certified by construction hold, and no others do."""
    tables = summaries.read(made_up[0])
    rows = cells(content.guarantees_measured(tables), "Scheme", "Trained")
    searched = tables["runs"]["run"].isin(tables["stability"]["run"])
    runs = tables["runs"][searched & (tables["runs"]["network"] == "symmetric")]
    free, certified = (str((runs["certified"] == flag).sum()) for flag in (False, True))
    found = ("Networks", "Fulfil a theorem", "Largest amplification")
    assert [rows["symmetric", "freely"][key] for key in found] == [free, "0", "2.5"]  # 1.5 + seed
    assert [rows["symmetric", "certified"][key] for key in found] == [certified, certified, "0.99"]
    assert [rows["ResNet", "freely"][key] for key in found[1:]] == ["0", "80"]
    assert ("ResNet", "certified") not in rows
    assert rows["ResNet", "freely"]["Largest growth"] == "overflow"  # 3^100, see fabricated
    (row,) = [row for row in content.guarantees_measured(tables).rows if row[0] == "ResNet"]
    assert re.search('href="runs/[^"]*/record.json">80<', row[4])
    words = {row[0]: row[1:] for row in content.guarantees(tables).rows}
    assert "‖uᵏ⁺¹‖₂ ≤ ‖uᵏ‖₂" in words["symmetric"][0]
    assert {scheme for scheme, _ in rows} <= set(words)


def test_networks_trained_freely_may_fulfil_a_theorem(made_up):
    """They count as free: what makes the difference is the training, not its outcome."""
    tables = summaries.read(made_up[0])
    run = "ladder/symmetric-perona_malik/blocks-4/seed-0"
    stability = tables["stability"].fillna({"failed_conditions": ""})
    stability.loc[stability["run"] == run, ["certified", "failed_conditions"]] = [True, ""]
    counts = ["networks", "fulfilling"]
    rows = [
        pd.DataFrame(_guarantee_rows({**tables, "stability": table})).set_index("scheme").loc["symmetric"]
        for table in (tables["stability"].fillna({"failed_conditions": ""}), stability)
    ]
    before, after = (row[counts].tolist() for row in rows)
    assert after == [before[0], 1]
    runs = tables["runs"][["network", "certified"]].value_counts()
    assert rows[0]["certified_networks"] == rows[1]["certified_networks"] == runs["symmetric", True]


def test_growth_is_told_where_it_was_measured(made_up):
    tables = summaries.read(made_up[0])
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
    rows = cells(table, "Scheme")
    assert [rows["FSI",][key] for key in ("Largest growth", "Repetitions")] == ["7.5", "100"]
    assert rows["ResNet",]["Largest growth"] == "overflow"
    (row,) = [row for row in table.rows if row[0] == "FSI"]
    assert run.rpartition("/")[0] in row[5]


def test_quality_holds_medians_and_intervals(tables):
    capacity, scanlines = content.quality(tables)
    values = tables["psnr"].query(
        "run.str.startswith('capacity/resnet-relu/budget-120/') and test_set == 'piecewise_affine'"
    )["psnr"]
    shown = cells(capacity, "Method")["resnet-relu",]["≤ 120 parameters"]
    assert shown == f"{values.median():.2f}".replace("-", "−")  # two seeds are too few for an interval
    assert capacity.numeric == [False, True, True]
    assert "≤ 240 parameters" in scanlines.columns


def test_the_ladder_holds_quality_and_what_is_left_of_the_guarantee():
    row = {"flux": "perona_malik", "blocks": 4, "rung": "certified", "parameters": 232, "convolution_weights": 160}
    row |= {"psnr": 34.9, "low": 34.7, "high": np.inf, "change": 0.25, "change_low": 0.1, "change_high": 0.4}
    row |= {"failed": 0, "seeds": 10, "guarantee": "rms(N(u)) ≤ rms(u) + β", "amplification": 1.0, "expansion": 1.68}
    rows = [row | {"bound": 1.0, "relative_drift": 0.123}, row | {"amplification": np.inf, "failed": 2}]
    first, second = content.ladder({"ladder": pd.DataFrame(rows)}).rows
    names = content.ladder({"ladder": pd.DataFrame(rows)}).columns
    assert dict(zip(names, first, strict=True)) == {
        **{"Flux": "Perona–Malik", "Blocks": "4", "Rung": "certified", "Parameters": "232", "Weights": "160"},
        **{"Median PSNR": "34.90 [34.70, ∞]", "Change": "+0.25 [0.10, 0.40]", "Failed": "0 of 10"},
        **{"Guarantee": "rms(N(u)) ≤ rms(u) + β", "c": "1", "β / rms": "0.123", "Signals": "1", "Differences": "1.68"},
    }
    assert [second[names.index(name)] for name in ("Signals", "c", "β / rms", "Failed")] == [
        "overflow",
        "–",
        "–",
        "2 of 10",
    ]


def test_classical_denoisers_have_the_oracle_in_parentheses(tables):
    edge = tables["classical"]["method"].eq("gaussian") & tables["classical"]["test_set"].eq("ecg")
    found = cells(
        content.classical(tables | {"classical": tables["classical"].assign(at_edge=edge)}), "Test set, noise"
    )
    ecg, affine = found["ECG, 10",], found["piecewise affine, 10",]
    assert ecg["Tuned on"] == affine["Tuned on"] == "piecewise affine"
    assert (affine["Noisy"], affine["TV"], affine["Gaussian"]) == ("28.10", "29.10 (29.60)", "32.10 (32.60)")
    assert ecg["Gaussian"] == "32.10* (32.60)"


def test_methods_name_all_rates_that_were_tuned_for_them(tables):
    rows = cells(content.methods(tables), "Method")
    assert len(rows) == tables["runs"]["method"].nunique()
    assert rows["resnet-relu",]["Learning rates"] == "0.02"
    other = tables["runs"]["method"].eq("resnet-relu") & tables["runs"]["experiment"].eq("scanlines")
    runs = tables["runs"].assign(learning_rate=tables["runs"]["learning_rate"].mask(other, 0.005))
    rows = cells(content.methods(tables | {"runs": runs}), "Method")
    assert rows["resnet-relu",]["Learning rates"] == "0.005, 0.02"
    assert rows["symmetric-perona_malik",]["Learning rates"] == "0.02"


@pytest.mark.parametrize(("seeds", "shared"), [([], 2), ([0], 1)])
def test_training_of_another_length_is_compared_with_the_usual_one(tables, seeds, shared):
    """On the seeds that both have."""
    long = tables["runs"]["experiment"] == "long"
    runs = tables["runs"][~(long & tables["runs"]["seed"].isin(seeds))]
    (table,) = content.training_length(tables | {"runs": runs})
    home = tables["psnr"].query("size == 'blocks-4' and test_set == 'piecewise_affine' and noise == 10")
    home = home[~home["seed"].isin(seeds)]
    found = {
        method: own.pivot_table(index="seed", columns="experiment", values="psnr")[["ladder", "long"]]
        for method, own in home[home["method"].isin(["resnet-relu", "symmetric-perona_malik"])].groupby("method")
    }
    rows = cells(table, "Networks")
    row = rows["resnet-relu",]
    assert row["Seeds"] == str(shared)
    assert [row["2 epochs"], row["4 epochs"]] == [f"{x:.2f}" for x in found["resnet-relu"].median()]
    difference = (found["symmetric-perona_malik"] - found["resnet-relu"]).median()
    row = rows["symmetric-perona_malik − resnet-relu",]
    assert [row["2 epochs"], row["4 epochs"]] == [f"{x:+.2f}".replace("-", "−") for x in difference]
    change = difference["long"] - difference["ladder"]
    told = f"1 of 1 move by more than 0.05 dB: {signed(change)} dB." if abs(change) > 0.05 else "0 of 1 move by more "
    assert told in table.caption
    assert all("<code>" in str(cell) for cell, *_ in table.rows)
    assert all(isinstance(cell, Markup) for cell, *_ in table.rows)  # which the page does not escape
    assert content.training_length(tables | {"runs": tables["runs"][~long]}) == []


def test_robustness_holds_attacks_bounds_and_other_noise(tables):
    other = tables["psnr"].assign(noise=20.0, psnr=lambda table: table["seed"] + 20.0)
    table = content.robustness({**tables, "psnr": pd.concat([tables["psnr"], other])})
    row = cells(table, "Method")["symmetric-perona_malik-certified",]
    own = tables["robustness"].query("method == 'symmetric-perona_malik-certified' and perturbation == 10")
    for name in ("Attacked", "Random", "Guaranteed"):
        assert row[name] == f"{own[f'psnr_{name.lower()}'].mean():.2f}"
    assert row["Noise 20"] == "20.50"
    assert "Noise 10" not in row


def test_training_of_networks_that_solve_is_compared_with_half_of_it(tables):
    """Of made-up networks that are trained half as long and have an error larger by a quarter."""
    assert solving.longer(tables) == []
    more = {}
    for name in ("solver_runs", "solver_errors"):
        own = tables[name].query("method == 'multigrid-1' and problem == 'charbonnier'")
        new = own.assign(method="multigrid-1-half", run=own["run"].str.replace("multigrid-1", "multigrid-1-half"))
        if name == "solver_runs":
            new["epochs"] //= 2
        else:
            new["relative_error"] *= 1.25
        more[name] = pd.concat([tables[name], new])
    (table,) = solving.longer(tables | more)
    (row,) = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    errors = tables["solver_errors"].query("method == 'multigrid-1' and kind == 'home' and problem == 'charbonnier'")
    median = errors["relative_error"].median()
    assert float(row["Error"].split()[0]) == pytest.approx(1.25 * median, rel=0.01)
    assert float(row["Error after longer training"].split()[0]) == pytest.approx(median, rel=0.01)
    assert int(row["Longer"]) == 2 * int(row["Epochs"])
    assert table.caption.endswith("They change by −20 %.")


def test_networks_that_solve_are_told_by_error_convergence_and_certificates(tables):
    rows = cells(solving.networks(tables), "Problem", "Method")
    row = rows["Charbonnier", "multigrid-1"]
    errors = tables["solver_errors"].query("method == 'multigrid-1' and kind == 'home'")["relative_error"]
    assert (row["Error"], row["Worst seed"]) == (f"{np.exp(np.log(errors).mean()):.3g}", f"{errors.max():.3g}")
    assert [row[key] for key in ("Converge", "Cycles", "Factor")] == ["2 of 2", "7", "0.1"]
    assert [row[key] for key in ("Solution moved", "Learned equation", "Certificates")] == ["1e−14", "0.05", "–"]
    assert rows["Poisson", "cycle-1"]["Certificates"] == "2 of 2"
    assert rows["Charbonnier", "unet-2"]["Converge"] == "–"
    known = tables["solver_iterations"]
    first = (known["method"] == "multigrid-1") & (known["kind"] == "home") & (known["seed"] == 0)
    changes = {"moved": 0.5, "own_error": 0.25, "converged": 0.75, "factor": 1.5}
    worse = known.assign(**{key: known[key].mask(first, value) for key, value in changes.items()})
    finer = tables["solver_certificates"].assign(condition="finer-512", holds=[False, True])
    certificates = pd.concat([tables["solver_certificates"], finer])
    rows = cells(
        solving.networks(tables | {"solver_iterations": worse, "solver_certificates": certificates}),
        "Problem",
        "Method",
    )
    row = rows["Charbonnier", "multigrid-1"]
    assert (row["Converge"], row["Factor"], row["Solution moved"], row["Learned equation"]) == (
        *("1 of 2", "1.5", "0.5", "0.15"),
    )
    assert rows["Poisson", "cycle-1"]["Certificates"] == "3 of 4"
    lost = tables["solver_runs"]["run"] == "solve_charbonnier/unet-2/points-256/seed-0"
    diverged = tables["solver_runs"].assign(status=np.where(lost, "diverged", "ok"))
    rows = cells(solving.networks(tables | {"solver_runs": diverged}), "Problem", "Method")
    assert rows["Charbonnier", "unet-2"]["Worst seed"] == "1"


def test_schemes_are_told_by_problem(tables):
    assert cells(solving.schemes(tables), "Scheme") == {
        ("V(2,2)",): {"Scheme": "V(2,2)", "Charbonnier": "0.2", "Poisson": "0.2"}
    }
    poisson = tables["solver_iterations"]["problem"] == "poisson"
    slow = tables["solver_iterations"].assign(factor=lambda t: t["factor"].mask(poisson))
    assert cells(solving.schemes(tables | {"solver_iterations": slow}), "Scheme")["V(2,2)",]["Poisson"] == "–"


def test_limits_name_rates_that_were_tuned_before_and_are_used(tables, tmp_path):
    path, none = tmp_path / "tuning.csv", tables["tuning"].iloc[:0]
    other = tables["tuning"].assign(method="resnet-unused", at_edge_of_grid=True)
    pd.concat([tables["tuning"], other]).to_csv(path, index=False)
    found = _limits(tables | {"tuning": none}, [str(path)])["edges"]
    assert found == _limits(tables, [])["edges"] != []


@pytest.mark.usefixtures("html")
def test_exploration_is_told_at_the_top(made_up):
    layout, study = made_up
    spec = study.specs("report")["all"] | DETAILS
    assert Study.load(tier="study").specs("report")["all"]["exploratory"] is True
    explored = report.render(layout, spec | {"tier": "study", "exploratory": True})
    confirmed = report.render(layout, spec | {"tier": "study", "exploratory": False})
    assert "<strong>Exploration:</strong>" in explored.partition("<main")[0]
    assert "this run confirms on new draws" not in explored
    assert "Exploration:" not in confirmed
    assert "this run confirms on new draws of the same generators" in confirmed


def test_limits_name_diverged_runs_and_edges(tables, text):
    limits = _limits(tables, [])
    job = DIVERGED.rpartition("/")[0]
    assert limits["diverged"] == [f"{job} (1)"]
    sound = {name: tables[name].assign(status="ok") for name in ("runs", "solver_runs")}
    assert _limits(tables | sound, [])["diverged"] == []
    assert "piecewise_affine/resnet-relu/small" in limits["edges"]  # see fabricated
    assert ", ".join(limits["edges"]) in text
    own = tables["tuning"]["method"] == "resnet-relu"
    inside = tables["tuning"].assign(at_edge_of_grid=tables["tuning"]["at_edge_of_grid"] & own)
    found = _limits(tables | {"tuning": inside}, [])["edges"]
    assert found == [
        f"{name}/resnet-relu/{size}"
        for name, size in (("piecewise_affine", "large"), ("piecewise_affine", "small"), ("scanlines", "small"))
    ]
    assert (limits["seeds"], limits["noises"]) == ([2], "10")
    assert f"Diverged runs: {job} (1)." in text


def test_a_report_without_tables_of_a_section_leaves_them_out(tables):
    few = {name: tables[name] for name in ("problems", "solver_runs")}
    assert [table.sources for table in _tables("C5a", few)] == [["tables/problems.csv"]]
    assert list(_tables("C3", few | {"guarantees": tables["guarantees"].iloc[:0]})) == []


def test_time_of_a_job_is_counted_once(made_up):
    layout, study = made_up
    work = origin.gather(layout, study.specs("report")["all"]["jobs"])["work"]
    records = {row[0]: int(row[1]) for row in work.rows}
    expected = {name: len(study.specs(name)) for name in stages.available() if stages.has_provenance(name)}
    assert records == expected | {"total": sum(expected.values())}
    assert {row[0]: row[2] for row in work.rows}["train"] == str(10 * expected["train"])  # see fabricated


def test_records_that_disagree_about_a_data_file_are_noted(made_up, tables, text):
    layout, study = made_up
    spec, schemes = study.specs("report")["all"] | DETAILS, layout.file("schemes", "all", "schemes")
    assert origin.gather(layout, spec["jobs"])["consistent"]
    assert "Records disagree" not in text
    kept = schemes.read_bytes()
    other = {"data/piecewise_affine-10.safetensors": "0" * 64}
    files.write_json(schemes, {"provenance": PROVENANCE | {"inputs_sha256": other}})
    try:
        assert not origin.gather(layout, spec["jobs"])["consistent"]
        stages.run("report", "all", spec, layout)
        assert "Records disagree" in layout.report.read_text(encoding="utf-8")
    finally:
        files.atomic_write(schemes, kept)


def test_a_missing_record_is_a_named_error(made_up):
    with pytest.raises(CheckpointError, match=r"no-such-method.*missing"):
        origin.gather(made_up[0], {"tune": ["ecg/no-such-method/small"]})
