"""Quality, size and guarantee, the map, and what blocks learn: figures and the numbers in them, on made-up tables."""

import itertools

import headline
import numpy as np
import pandas as pd
import pytest
import torch
from drawing import drawn, texts
from matplotlib.text import Text
from scipy import stats

from schemenets import networks
from schemenets.study import claims, figures, stages, summaries
from schemenets.study.config import CLAIMS, Study
from schemenets.study.figures import _map, _style, capacity, ladder, map_effects
from schemenets.study.figures import map as map_figure
from schemenets.study.measurements import learned
from schemenets.study.measurements.design import balanced, effects
from schemenets.study.stages.cells import CHOICES, DEPTH, DESIGN, PARAMETERS, REFERENCE
from schemenets.study.statistics import median_interval
from schemenets.study.wording import NOT_MEASURED, label, signed

LOST = ("capacity/symmetric-perona_malik/budget-960/seed-3", "ladder/symmetric-learned/blocks-8/seed-0")
SEEDS = {name: len(spec["seeds"]) for name, spec in Study.load().specs("train").items()}
NAMES = ["capacity", "ladder", "learned", "map", "map_effects"]
FACTORS = {"a": ["x", "y", "z"], "b": [False, True], "c": [1, 2, 4], "d": [10, 25]}


def level(experiment, method, blocks, seed):
    """In dB; of the ladder, every rung is 0.5 dB above the last one, but with ReLU 5 dB lower up to the last."""
    rng = np.random.default_rng([*f"{experiment}{method}{blocks}{seed}".encode()])
    rungs = [pattern.format(flux) for flux in ladder.FLUXES for pattern in summaries.RUNGS.values()]
    value = 0.5 * (rungs.index(method) % len(summaries.RUNGS)) if experiment == "ladder" and method in rungs else 0.0
    value -= 5.0 * method.startswith("symmetric-relu")
    return 34.0 + value + 0.1 * blocks + 0.05 * rng.standard_normal()


def effect(cell, side, seed):
    """In dB; the same for every seed but for 0.01, 0 and -0.01."""
    value = {2: 0.4, 4: -0.1, 8: -0.3}[cell["depth"]] + (0.25 if cell["biases"] else -0.25)
    value += 0.1 * (1 if cell["biases"] == (cell["initialisation"] == "scaled") else -1)
    return value + 0.5 * (side == PARAMETERS) + 0.01 * (1 - seed)


def blocks(flux, seed=0):
    network = networks.build("symmetric", flux=flux, blocks=3, filters=3, kernel_size=5, biases=True, seed=seed)
    clean = torch.rand(3, 40, generator=torch.Generator().manual_seed(1)).round()
    noisy = clean + 0.04 * torch.randn(3, 40, generator=torch.Generator().manual_seed(2))
    return network, noisy, clean


@pytest.fixture(scope="module")
def tables():
    made = headline.trained(level, lost=LOST) | headline.mapped(effect)
    rows = [
        {"method": f"symmetric-{flux}", **row}
        for flux in ("perona_malik", "learned")
        for row in learned.described(*blocks(flux))
    ]
    return made | {"ladder": summaries.ladder(made), "learned": pd.DataFrame(rows)}


def scores(tables, experiment, method, size):
    own = tables["psnr"].query("experiment == @experiment and method == @method and size == @size")
    return own.set_index("seed")["psnr"].fillna(-np.inf)


def lines(axes, marker):
    return [line for ax in axes for line in ax.lines if line.get_marker() == marker]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_readable_in_print(name, tables):
    figure = drawn(name, tables)
    assert figure.get_figwidth() * 2.54 == pytest.approx(17)
    assert figure.get_figheight() * 2.54 < 25
    assert all(text.get_fontsize() >= 8 for text in figure.findobj(Text) if text.get_text())
    assert not any("_" in text for text in texts(figure))
    assert figures.headline(name, tables).count(".") >= 1
    assert "nan" not in figures.headline(name, tables)


@pytest.mark.parametrize("name", NAMES)
def test_texts_neither_overlap_nor_leave_the_page(name, tables):
    figure = drawn(name, tables)
    figure.draw_without_rendering()
    page, boxes = figure.bbox, {}
    for ax in figure.axes:
        shown = [*ax.texts, ax.xaxis.label, ax.yaxis.label, ax.title]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes |= {text: text.get_window_extent() for text in shown if text.get_visible() and text.get_text()}
    for text, box in boxes.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1 + 1, text.get_text()  # noqa: PT018
    for (text, box), (other, near) in itertools.combinations(boxes.items(), 2):
        apart = box.padded(-1)  # pixels
        assert not apart.overlaps(near.padded(-1)), (text.get_text(), other.get_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_without_its_rows_says_so(name, tables):
    nothing = {key: table.iloc[:0] for key, table in tables.items()}
    assert any(text.startswith("no ") and text.endswith("in this tier") for text in texts(drawn(name, nothing)))
    assert figures.headline(name, nothing) == NOT_MEASURED


def test_a_median_counts_failed_runs_below_all_others_and_its_interval_has_order_statistics():
    table = pd.DataFrame({"size": "s", "score": [3.0, 1.0, 2.0, 9.0, 8.0, 4.0, 5.0, 7.0, 6.0, 10.0], "failed": False})
    (row,) = summaries.rows(summaries.medians(table, ["size"], "score"))
    assert (row.median, row.low, row.high, row.n, row.failed) == (5.5, 2.0, 9.0, 10, 0)
    (row,) = summaries.rows(summaries.medians(table.assign(failed=table["score"] > 8.5), ["size"], "score"))
    assert (row.median, row.low, row.high, row.failed) == (4.5 - 1, -np.inf, 7.0, 2)


def test_a_run_has_failed_if_it_diverged_or_is_worse_than_the_noisy_input(tables):
    worse = tables["psnr"]["run"] == "capacity/resnet-relu/budget-120/seed-0"
    table = tables["psnr"].assign(psnr=tables["psnr"]["psnr"].mask(worse, headline.NOISY - 0.01))
    found = summaries.scored(tables | {"psnr": table}, "capacity")
    assert set(found.loc[found["failed"], "run"]) == {LOST[0], "capacity/resnet-relu/budget-120/seed-0"}


def test_capacity_draws_medians_and_intervals_at_numbers_of_blocks_and_of_parameters(tables):
    figure = drawn("capacity", tables)
    left, right, below, _ = figure.axes
    sizes = [f"budget-{n}" for n in (120, 240, 480, 960)]
    own = [scores(tables, "capacity", "resnet-relu", size) for size in sizes]
    (line,) = lines([left], "s")
    assert line.get_xdata().tolist() == [1, 2, 5, 10]
    line, sample = lines([right], "s")
    assert line.get_xdata().tolist() == [89, 178, 445, 890]  # 2·8·5 + 8 + 1 parameters in each block
    np.testing.assert_allclose(line.get_ydata(), [values.median() for values in own])
    drawn_intervals = {
        tuple(np.round(segment[:, 1], 9))
        for bars in right.collections
        for segment in bars.get_segments()
    }  # fmt: skip
    for values in own:
        assert tuple(np.round(np.sort(values)[[3, 12]], 9)) in drawn_intervals  # the 4th and 13th of 16
    assert sample.get_transform() == right.transAxes
    names = {text.get_text().replace("\n", ", ") for text in right.texts if "failed" not in text.get_text()} - {""}
    assert names == {label(method) for method in capacity.METHODS}
    assert {ax.get_ylabel() for ax in (left, below)} == {
        f"{text}: test PSNR (dB)" for text in capacity.FAMILIES.values()
    }
    assert len(left.lines) == 7  # six methods and a cross
    assert {text.get_text() for ax in figure.axes for text in ax.texts if "failed" in text.get_text()} == {
        "1 of 16 failed"
    }
    assert [cross.get_xdata()[0] for cross in lines(figure.axes, "x")] == [16, 928]


def test_a_median_far_below_the_others_does_not_stretch_the_axis_of_capacity(tables):
    runs = tables["psnr"]["run"].str.startswith("capacity/resnet-relu/budget-120/")
    figure = drawn("capacity", tables | {"psnr": tables["psnr"].assign(psnr=tables["psnr"]["psnr"].mask(runs, 29.0))})
    (left, *_, right) = (line.get_xdata()[0] for line in lines(figure.axes[:2], "v"))
    assert (left, right) == (1, 89)
    assert texts(figure).count("29.0") == 2
    middle = scores(tables, "capacity", "symmetric-learned", "budget-240").median()
    assert figure.axes[0].get_ylim()[0] > middle - 1.5 * capacity.BELOW


def test_capacity_counts_budgets_and_tells_the_extreme_differences(tables):
    found = {
        (experiment, size, method): (
            scores(tables, experiment, method, size) - scores(tables, experiment, "resnet-relu", size)
        ).median()
        for experiment in capacity.FAMILIES
        for size in (f"budget-{n}" for n in (120, 240, 480, 960))
        for method in capacity.PROPOSED
    }
    table = pd.Series(found)
    ahead = (table.groupby(level=[0, 1]).max() > 0).sum()
    assert (table.groupby(level=[0, 1]).min() > 0).sum() < ahead
    text = figures.headline("capacity", tables)
    assert f" ahead of the ResNet with ReLU at {ahead} of 8; " in text
    for value, (experiment, size, method) in ((table.min(), table.idxmin()), (table.max(), table.idxmax())):
        where = f"≤ {size.partition('-')[2]} parameters, {capacity.FAMILIES[experiment]}"
        assert f"{signed(value)} dB ({label(method)}, {where})" in text
    better = tables["psnr"].assign(psnr=tables["psnr"]["psnr"].mask(tables["psnr"]["method"] == "resnet-relu", 50.0))
    assert " at 0 of 8; " in figures.headline("capacity", tables | {"psnr": better})


def test_labels_are_at_the_heights_of_lines_where_there_is_room():
    np.testing.assert_allclose(_style.spread(np.array([0.0, 0.5, 1.0]), 0.2), [0, 0.5, 1])
    close = _style.spread(np.array([0.0, 0.01, 0.02, 0.9]), 0.2)
    assert np.diff(close).min() == pytest.approx(0.2)


def test_the_ladder_pairs_every_rung_with_the_one_before(tables):
    table = tables["ladder"]
    assert len(table) == 4 * 5 + 2 * 5 + 1  # at 4 blocks, at 8 blocks, and the ResNet with ReLU at 8
    for (flux, depth), own in table.groupby(["flux", "blocks"]):
        assert list(own["rung"]) == list(summaries.RUNGS)[-len(own) :]
        assert own["change"].isna().tolist() == [True, *[False] * (len(own) - 1)]
        methods = [pattern.format(flux) for pattern in summaries.RUNGS.values()][-len(own) :]
        for row, before in zip(list(summaries.rows(own))[1:], methods, strict=False):
            values, below = (scores(tables, "ladder", name, f"blocks-{depth}") for name in (row.method, before))
            d = (values - below).dropna()
            if np.isfinite(d).all():
                assert row.change == pytest.approx(d.median())
                assert (row.change_low, row.change_high) == pytest.approx(median_interval(d)[:2])
    lost = table.query("method == 'symmetric-learned' and blocks == 8").iloc[0]
    lowest = np.sort(scores(tables, *LOST[1].split("/")[:3]))[0]
    assert (lost["failed"], lost["seeds"], lost["low"]) == (1, SEEDS["ladder/symmetric-learned/blocks-8"], lowest)
    sixteen = table.query("method == 'symmetric-perona_malik' and blocks == 4").iloc[0]
    assert sixteen["seeds"] == 16
    assert (sixteen["parameters"], sixteen["convolution_weights"]) == (4 * (40 + 8 + 8 + 2), 160)


def test_the_ladder_tells_which_guarantee_is_left_and_what_was_found(tables):
    table = tables["ladder"].query("flux == 'perona_malik' and blocks == 8").set_index("rung")
    assert table["guarantee"].tolist() == ["rms(N(u)) ≤ rms(u)", "rms(N(u)) ≤ rms(u) + β", "none", "none", "none"]
    np.testing.assert_array_equal(table["bound"], [1, 1, 16, np.nan, 16])
    np.testing.assert_array_equal(table["relative_drift"], [0, 0.4, 0.4, np.nan, 0.4])
    np.testing.assert_allclose(table["allowed"], [1, 1.4, 16.4, np.nan, 16.4])
    np.testing.assert_array_equal(table["amplification"], [1, 1, 8, np.nan, 8])  # its drift is not known
    assert table["expansion"].tolist() == [1.5, 1.5, 24, 24, 24]


def test_the_ladder_counts_overflows_but_no_networks_that_diverged(tables):
    stability, name = tables["stability"], "ladder/resnet-perona_malik/blocks-8/seed-0"

    def row(overflow, bounded, status="ok", drift=0.4):
        run = stability["run"] == name
        found = ["largest_amplification_found", "largest_expansion_found"]
        changed = stability.assign(overflow=run & overflow)
        changed[found] = changed[found].mask(run & overflow)
        changed["euclidean_bound"] = changed["euclidean_bound"].mask(run & (not bounded))
        changed["relative_drift"] = changed["relative_drift"].mask(run, drift)
        psnr = tables["psnr"].assign(status=tables["psnr"]["status"].mask(tables["psnr"]["run"] == name, status))
        table = summaries.ladder(tables | {"stability": changed, "psnr": psnr})
        return table.query("method == 'resnet-perona_malik' and blocks == 8").iloc[0]

    over = row(overflow=True, bounded=True)
    assert (over["amplification"], over["expansion"], over["bound"]) == (np.inf, np.inf, 16)
    assert np.isnan(row(overflow=False, bounded=False)[["bound", "allowed", "amplification"]].astype(float)).all()
    assert row(overflow=False, bounded=True, drift=1.0)["amplification"] == 8
    assert np.isnan(row(overflow=False, bounded=True, drift=1.01)["amplification"])  # which says nothing
    lost = row(overflow=True, bounded=False, status="diverged")
    assert (lost["failed"], lost["expansion"], lost["bound"]) == (1, 24, 16)


def test_the_ladder_shows_what_is_below_the_panel_with_its_number(tables):
    figure = drawn("ladder", tables)
    quality, allowed, expansion, of_8, *_ = figure.axes
    assert [ax.get_title(loc="left") for ax in (quality, of_8)] == ["4 blocks", "8 blocks"]
    low = tables["ladder"]["psnr"].median() - ladder.BELOW
    below = tables["ladder"].query("flux == 'relu' and blocks == 4 and psnr < @low")
    triangles = [line for line in lines([quality], "<") if line.get_xdata()[0] == pytest.approx(low)]
    assert len(triangles) == len(below) == 4
    assert {f"{value:.1f}" for value in below["psnr"]} <= set(texts(figure))
    (line,) = (line for line in quality.lines if line.get_label() == "Perona–Malik")
    own = tables["ladder"].query("flux == 'perona_malik' and blocks == 4")
    np.testing.assert_allclose(line.get_xdata(), own["psnr"])
    assert f"1 of {SEEDS['ladder/symmetric-learned/blocks-8']} failed" in texts(figure)
    assert any("β ≤ 0.4 rms of the signals" in text for text in texts(figure))
    for ax, values in ((allowed, [1, 1.4, 8.4, np.nan, 8.4]), (expansion, [1.5, 1.5, 12, 12, 12])):
        (line,) = lines([ax], "o")
        np.testing.assert_allclose(line.get_xdata(), values)
        np.testing.assert_allclose(np.diff(line.get_ydata()), 1)
    assert texts(figure).count("no bound") == 2


def test_the_ladder_tells_what_rungs_bring_and_what_certificates_allow(tables):
    table = tables["ladder"]
    text = figures.headline("ladder", tables)
    for rung, name in ladder.BRINGS.items():
        own = table.loc[(table["rung"] == rung) & table["change"].notna(), "change"]
        assert f"{name} {signed(own.min())} to {signed(own.max())} dB" in text
    assert text.endswith("; with a guarantee, signals of usual size may still grow by a factor of up to 1.4.")


def dummies(cells, factors, interactions):
    """A design of 0 and 1 with the first levels as references, and the same of all combinations of levels."""

    def of(rows):
        first = {name: sorted(set(levels))[0] for name, levels in factors.items()}
        terms = [(name,) for name in factors] + list(interactions)
        columns = [np.ones(len(rows))]
        for term in terms:
            for levels in itertools.product(*(sorted(set(factors[name])) for name in term)):
                if all(level != first[name] for name, level in zip(term, levels, strict=True)):
                    chosen = [all(row[name] == at for name, at in zip(term, levels, strict=True)) for row in rows]
                    columns.append(np.array(chosen, dtype=float))
        return np.column_stack(columns)

    every = [dict(zip(factors, levels, strict=True)) for levels in itertools.product(*factors.values())]
    return of(cells), of(every), every


@pytest.mark.parametrize("interactions", [(), (("a", "b"), ("c", "a"))])
def test_effects_are_those_of_least_squares_with_another_coding(interactions):
    cells = balanced(FACTORS, 36)
    y = np.random.default_rng(0).standard_normal(36)
    X, grid, every = dummies(cells, FACTORS, interactions)
    beta, (rest,), rank, _ = np.linalg.lstsq(X, y, rcond=None)
    assert rank == X.shape[1]
    covariance = rest / (36 - rank) * np.linalg.pinv(X.T @ X)
    quantile = stats.t.ppf(0.95, 36 - rank)

    def mean(levels):
        """Weights of the coefficients in the mean of all combinations with these levels."""
        chosen = [all(row[name] == level for name, level in levels.items()) for row in every]
        return grid[chosen].mean(0)

    found = effects(cells, y, interactions, level=0.9)
    sizes = {name: len(levels) for name, levels in FACTORS.items()}
    assert len(found) == sum(sizes.values()) + sum(sizes[x] * sizes[y] for x, y in interactions)
    for levels, value, low, high in found:
        weights = mean(levels) - mean({})
        if len(levels) == 2:
            weights = mean(levels) - sum(mean({name: level}) for name, level in levels.items()) + mean({})
        half = quantile * np.sqrt(weights @ covariance @ weights)
        np.testing.assert_allclose([value, low, high], weights @ beta + half * np.array([0, -1, 1]), atol=1e-10)


def test_intervals_of_the_effects_of_the_map_cover_them_as_often_as_they_say():
    """Counts of 600 designs with known effects, within four standard deviations of what independent ones would give."""
    design = Study.load(tier="map").config["map"]
    cells = balanced(design["factors"], design["cells"])
    X, _, _ = dummies(cells, design["factors"], map_effects.INTERACTIONS)
    rng = np.random.default_rng(1)
    signal = X @ rng.standard_normal(X.shape[1])
    exact = [effect.value for effect in effects(cells, signal, map_effects.INTERACTIONS)]
    covered = []
    for _ in range(600):
        found = effects(cells, signal + rng.standard_normal(len(cells)), map_effects.INTERACTIONS)
        covered.append([low <= value <= high for (_, _, low, high), value in zip(found, exact, strict=True)])
    shares = np.mean(covered, axis=0)
    assert len(shares) > 40
    assert np.abs(shares - 0.95).max() < 4 * np.sqrt(0.95 * 0.05 / 600)


def test_effects_of_a_design_that_cannot_tell_them_apart_are_none():
    cells = balanced(FACTORS, 36)
    assert effects(cells, np.zeros(36), [("a", "b")])
    few = cells[::5][:7]  # as many as there are numbers in the model: the mean, 2 + 1 + 2 + 1 effects
    assert all({cell[name] for cell in few} == set(levels) for name, levels in FACTORS.items())
    assert effects(few, np.zeros(7)) == []
    confounded = [{**cell, "e": cell["b"]} for cell in cells]
    assert effects(confounded, np.zeros(36)) == []


def test_effects_of_a_made_up_map_are_those_it_was_made_with(tables):
    table = map_effects._effects(tables)
    values = {(row.side, row.name): (row.value, row.low, row.high) for row in summaries.rows(table)}
    for side in (DEPTH, PARAMETERS):
        expected = {"2 blocks": 0.4, "8 blocks": -0.3, "biases": 0.25, "no biases": -0.25, "noise 10": 0}
        expected |= {"biases, scaled start": 0.1, "biases, PM against ReLU": 0, "4 blocks, 100 signals": 0}
        for name, value in expected.items():
            np.testing.assert_allclose(values[side, name], value, atol=1e-9)
    assert len(table) == 2 * (21 + 4 + 1 + 12 + 9)
    text = figures.headline("map_effects", tables)
    assert text.startswith(
        "What changes the difference most: 2 blocks (+0.40 dB [0.40, 0.40]) with as many blocks and "
    )
    assert ". Of pairs of choices, what adds most: biases, " in text
    assert text.count(" (+0.10 dB [0.10, 0.10])") + text.count(" (−0.10 dB [−0.10, −0.10])") == 2


def test_a_map_is_made_of_differences_paired_over_seeds_with_failed_runs_below_all_others():
    lost = [("cell-03", DEPTH, 0), ("cell-05", REFERENCE, 0), ("cell-05", REFERENCE, 2), ("cell-07", DEPTH, 1)]
    lost.append(("cell-07", REFERENCE, 1))
    made = headline.mapped(effect, lost)
    collapsed = (made["map"]["cell"] == "cell-09") & (made["map"]["side"] == DEPTH) & (made["map"]["seed"] == 2)
    made["map"] = made["map"].assign(psnr=made["map"]["psnr"].mask(collapsed, headline.NOISY - 1))
    table = _map.cells(made)
    own = table[table["side"] == DEPTH].set_index("cell")
    middle = {name: effect(row, DEPTH, 1) for name, row in own.iterrows()}
    assert len(own) == 48 + 4
    assert own.loc["cell-00", ["effect", "low", "high"]].tolist() == pytest.approx(
        [middle["cell-00"], middle["cell-00"] - 0.01, middle["cell-00"] + 0.01]
    )
    assert own.loc["cell-03", "low"] == -np.inf
    assert own.loc["cell-03", "effect"] == pytest.approx(middle["cell-03"] - 0.01)
    assert own.loc["cell-05", "effect"] == own.loc["cell-05", "high"] == np.inf
    assert own.loc["cell-05", "difference"] == pytest.approx(34.0 + middle["cell-05"] - headline.NOISY, abs=0.02)
    assert own.loc["cell-09", "low"] == -np.inf
    failed = own[["candidate_failed", "reference_failed"]].sum().tolist()
    assert failed == [3, 3]
    text = figures.headline("map", made)
    assert text.endswith("; 6 of 432 runs failed.")
    figure = drawn("map", made)
    assert sorted(x for line in lines(figure.axes[:1], "x") for x in line.get_xdata()) == sorted(
        x for name in ("cell-03", "cell-07", "cell-09", "cell-05", "cell-07") for x in [place(figure, own, name)]
    )


def place(figure, own, name):
    design = own[own["kind"] == DESIGN].sort_values("effect", kind="stable")
    return list(design.index).index(name)


def test_the_map_is_sorted_and_marks_the_choices_of_every_cell(tables):
    figure = drawn("map", tables)
    table = _map.cells(tables)
    for curve, choices, side in zip(figure.axes[:2], figure.axes[2:], _map.SIDES, strict=True):
        points = np.concatenate([line.get_xydata() for line in lines([curve], "o")])
        points = points[np.argsort(points[:, 0])]
        assert points[:, 0].tolist() == [*range(48), 50, 51, 52, 53]
        assert np.all(np.diff(points[:48, 1]) >= 0)
        own = table[(table["side"] == side) & (table["kind"] == DESIGN)]
        np.testing.assert_allclose(points[:48, 1], np.sort(own["effect"]))
        marks = {tuple(point) for line in choices.lines for point in line.get_xydata()}
        names = [text.get_text() for text in figure.axes[2].get_yticklabels()]
        assert names[-3:] == ["8 channels", "32 filters", "7,800 steps"]
        for x, cell in enumerate(summaries.rows(own.sort_values("effect", kind="stable"))):
            rows = {names.index(_map.choice(factor, getattr(cell, factor))) for factor in CHOICES}
            assert {y for at, y in marks if at == x} == rows
        assert {int(y) - len(names) for x, y in marks if x == 51 and y >= 21} == {-3}


def test_the_map_counts_where_the_symmetric_network_is_ahead(tables):
    text = figures.headline("map", tables)
    design = _map.cells(tables).query("kind == @DESIGN").drop_duplicates("cell").to_dict("records")
    for side, name in _map.SIDES.items():
        values = np.array([effect(cell, side, 1) for cell in design])
        assert f"in {(values > 0).sum()} with {name} (median {signed(np.median(values))} dB" in text
    registered = next(claim for claim in claims.load(CLAIMS)["claims"] if claim["id"] == "C1")
    assert registered["threshold"]["value"] == map_figure.MARGIN


def test_the_tier_of_the_map_has_all_that_its_figures_read():
    study = Study.load(headline.ROOT, tier="map")
    read = stages.references("figures", study.specs("figures")["all"])
    for stage, name, *_ in (each for found in read.values() for each in found):
        assert name in study.specs(stage), stage
    assert read["data"] == read["networks"] == []


@pytest.mark.parametrize("flux", ["perona_malik", "learned"])
def test_gains_are_those_of_the_jacobian_where_slopes_are_the_same_in_all_places(flux):
    network, _, _ = blocks(flux, seed=3)
    for block in network.blocks:
        block.b1.data = 0.3 * torch.randn(3, generator=torch.Generator().manual_seed(4))
    network.double()
    length, clean = 41, torch.zeros(1, 41, dtype=torch.float64)
    noisy = clean + 0.2
    table = pd.DataFrame(learned.described(network, noisy, clean))
    block = network.blocks[0]
    J = torch.autograd.functional.jacobian(
        lambda u: block.step(u[None, None], block.tau, u[None, None])[0, 0], noisy[0]
    )
    row = J[length // 2].detach().numpy()
    own = table.query("block == 1 and part == @learned.FLAT")
    offsets = np.arange(length) - length // 2
    expected = [(row * np.cos(np.pi * x * offsets)).sum() for x in own["x"]]
    np.testing.assert_allclose(own["y"], expected, atol=1e-10)
    assert np.ptp(expected) > 0.01
    assert table.query("part == @learned.JUMPS")["y"].isna().all()  # there are none


def test_blocks_are_told_as_they_are():
    network, noisy, clean = blocks("learned")
    table = pd.DataFrame(learned.described(network, noisy, clean))
    state = noisy[:, None]
    for number, block in enumerate(network.blocks, start=1):
        own = table[table["block"] == number]
        parts = {part: own[own["part"] == part] for part in own["part"].unique()}
        np.testing.assert_allclose(parts[learned.FILTER]["y"], block.K.detach().flatten(), rtol=1e-6)
        np.testing.assert_allclose(parts[learned.STEP]["y"], [block.tau.item()], rtol=1e-6)
        np.testing.assert_allclose(parts[learned.CONTRAST]["x"], block.lam.detach(), rtol=1e-6)
        s = torch.nn.functional.conv1d(state, block.K, block.b1).detach()
        reach = parts[learned.FLUX].groupby("filter")["x"].max()
        np.testing.assert_allclose(reach, s.abs().amax((0, 2)), rtol=1e-5)
        for f, curve in parts[learned.FLUX].groupby("filter"):
            x, i = torch.tensor(curve["x"].to_numpy()), int(f) - 1
            expected = block.flux(x, block.lam[i].double(), block.w[i].double()).detach()
            np.testing.assert_allclose(curve["y"], expected, rtol=1e-6, atol=1e-9)
        state = block.step(state, block.tau, state).detach()
    torch.testing.assert_close(state[:, 0], network(noisy).detach())
    near = table.query("block == 1 and part == @learned.JUMPS")["y"].to_numpy()
    away = table.query("block == 1 and part == @learned.FLAT")["y"].to_numpy()
    jumps = (clean.diff().abs() > 0.5).numpy()
    slopes = block_slopes(network.blocks[0], noisy)
    windows = np.lib.stride_tricks.sliding_window_view(jumps, 4, axis=1).any(-1)
    for values, chosen in ((near, windows), (away, ~windows)):
        mean = slopes.transpose(0, 2, 1)[chosen].mean(0)
        omega = np.pi * np.linspace(0, 1, 33)
        K = network.blocks[0].K.detach().double().numpy()[:, 0]
        power = np.abs(np.exp(-1j * np.outer(omega, np.arange(5))) @ K.T) ** 2
        np.testing.assert_allclose(values, 1 - network.blocks[0].tau.item() * power @ mean, atol=1e-5)


def block_slopes(block, u):
    s = torch.nn.functional.conv1d(u[:, None], block.K, block.b1).double()
    return block.flux.derivative(s, block.lam[:, None].double(), block.w[:, None].double()).detach().numpy()


def test_learned_draws_gains_and_counts_blocks_that_sharpen(tables):
    figure = drawn("learned", tables)
    assert len(figure.axes) == 2 * 3 * 3
    gains = figure.axes[6]
    table = tables["learned"].query("method == 'symmetric-perona_malik' and block == 1")
    (line,) = (line for line in gains.lines if line.get_label() == "away from jumps")
    np.testing.assert_array_equal(line.get_ydata(), table.loc[table["part"] == learned.FLAT, "y"])
    curve = table[(table["part"] == learned.FLAT) & (table["x"] >= 0.5)]["y"]
    assert f"× {np.sqrt((curve**2).mean()):.2f}" in [text.get_text() for text in gains.texts]
    assert " 0 of 3 sharpen and 0 overshoot some waves (symmetric, Perona–Malik)" in figures.headline("learned", tables)
    part = tables["learned"]["part"] == learned.JUMPS
    for sign, count in ((1.5, "3 of 3 sharpen and 0 overshoot"), (-1.5, "0 of 3 sharpen and 3 overshoot")):
        changed = tables["learned"].assign(y=tables["learned"]["y"].mask(part, sign))
        assert f"{count} some waves" in figures.headline("learned", {"learned": changed})
