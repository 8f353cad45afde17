"""Figures and the numbers in them, against NumPy and SciPy on made-up results."""

import re

import numpy as np
import pandas as pd
import pytest
from fabricated import ROOT, results
from matplotlib import rc_context
from matplotlib.text import Text
from scipy import stats

from schemenets import figures, stages, summaries
from schemenets.figures import _style
from schemenets.stages.figures import examples
from schemenets.wording import fixed, interval, label, listed, short, signed

DIVERGED = "capacity/symmetric-perona_malik/budget-240/seed-1"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return results(tmp_path_factory.mktemp("results"), diverged=(DIVERGED,))


@pytest.fixture(scope="module")
def tables(made):
    tables = summaries.read(made[0])
    return tables | {"examples": examples(made[0], tables)}


def drawn(name, tables):
    with rc_context(_style.STYLE):
        figure = figures.modules()[name].draw(tables)
        figure.canvas.draw()
    return figure


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def lines(figure, marker):
    return [line for ax in figure.axes for line in ax.lines if line.get_marker() == marker]


def interval_by_hand(values):
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return np.mean(values) - half, np.mean(values) + half


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_is_readable_in_print(name, tables):
    figure = drawn(name, tables)
    assert figure.get_figwidth() * 2.54 == pytest.approx(17)
    assert all(text.get_fontsize() >= 8 for text in figure.findobj(Text) if text.get_text())
    if name != "transfer":  # its rows are names
        assert any(ax.get_ylabel() or ax.get_yticklabels() for ax in figure.axes)
    assert any(ax.get_xlabel() for ax in figure.axes)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_without_its_experiment_says_so(name, tables):
    nothing = {key: table.iloc[:0] for key, table in tables.items()}
    assert any(re.fullmatch("no .* in this tier", text) for text in texts(drawn(name, nothing)))
    assert figures.modules()[name].findings(nothing) == []


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_of_one_method_and_one_seed_can_be_drawn(name, tables):
    one = {
        key: table[(table.get("method", "resnet-relu") == "resnet-relu") & (table.get("seed", 0) % 1000 == 0)]
        if "method" in table
        else table
        for key, table in tables.items()
    }
    drawn(name, one)
    figures.modules()[name].findings(one)


def test_capacity_shows_means_and_intervals_at_the_actual_numbers_of_parameters(tables):
    (ax,) = drawn("capacity", tables).axes
    shown = next(line.get_xydata() for line in ax.lines if line.get_label() == "ResNet, ReLU")
    bars = next(bars for bars in ax.containers if np.array_equal(bars.lines[0].get_xydata(), shown))
    segments = bars.lines[2][0].get_segments()
    for (parameters, mean), segment, budget in zip(shown, segments, (120, 240), strict=True):
        own = tables["psnr"].query("experiment == 'capacity' and method == 'resnet-relu' and size == @size",
                                   local_dict={"size": f"budget-{budget}"})  # fmt: skip
        values = own.query("test_set == 'piecewise_affine'")["psnr"].to_numpy()
        assert parameters == budget // 89 * 89  # 2·8·5 + 8 + 1 parameters in each block
        assert mean == pytest.approx(values.mean())
        assert segment[:, 1] == pytest.approx(interval_by_hand(values))


def test_a_diverged_run_is_marked_at_the_noisy_level_and_counted_there(tables):
    (cross,) = lines(drawn("capacity", tables), "x")
    assert cross.get_ydata() == pytest.approx([28.1])
    scores = summaries.at_home(summaries.scored(tables, "capacity")).set_index("run")["score"]
    assert scores[DIVERGED] == 28.1
    partner = scores[DIVERGED.replace("seed-1", "seed-0")]
    (row,) = summaries.rows(
        summaries.means(
            summaries.at_home(summaries.scored(tables, "capacity")).query(
                "method == 'symmetric-perona_malik' and size == 'budget-240'"
            ),
            ["size"],
            "score",
        )
    )
    assert (row.mean, row.n, row.diverged) == (pytest.approx((partner + 28.1) / 2), 2, 1)


def test_gains_are_paired_over_seeds(tables):
    found = summaries.gains(tables, "factorial", "symmetric-relu", "resnet-relu")
    own = tables["psnr"].query("experiment == 'factorial' and test_set == 'piecewise_affine'")
    wide = own.pivot_table("psnr", index="seed", columns="method")
    assert found["difference"].to_numpy() == pytest.approx((wide["symmetric-relu"] - wide["resnet-relu"]).to_numpy())
    assert set(found["size"]) == {"blocks-4"}


def test_interaction_is_the_difference_of_the_differences(tables):
    own = tables["psnr"].query("experiment == 'factorial' and test_set == 'piecewise_affine'")
    wide = own.pivot_table("psnr", index="seed", columns="method")
    d = (wide["symmetric-perona_malik"] - wide["symmetric-relu"]) - (wide["resnet-perona_malik"] - wide["resnet-relu"])
    text = f"{signed(d.mean())} dB {interval(*interval_by_hand(d))}."
    sentences = figures.modules()["factorial"].findings(tables)
    assert [s for s in sentences if s.startswith("Interaction") and "Perona–Malik" in s and s.endswith(text)]


def test_capacity_gain_counts_budgets_with_the_interval_on_one_side(tables):
    (sentence,) = [
        text for text in figures.modules()["capacity_gain"].findings(tables) if text.startswith("ResNet, Perona–Malik")
    ]
    gains = summaries.gains(tables, "capacity", "resnet-perona_malik", "resnet-relu")
    intervals = [interval_by_hand(own["difference"]) for _, own in gains.groupby("size")]
    above, below = (sum(low > 0 for low, _ in intervals), sum(high < 0 for _, high in intervals))
    assert sentence.endswith(f"above zero at {above}, below zero at {below} of 2 budgets.")


def test_transfer_prints_the_mean_gains(tables):
    shown = texts(drawn("transfer", tables))
    own = tables["psnr"].query(
        "experiment == 'capacity' and method == 'resnet-relu' and size == 'budget-240' and test_set == 'ecg'"
    )
    assert signed((own["psnr"] - own["noisy_psnr"]).mean(), 1) in shown
    assert any(text.endswith("×") for text in shown)  # the diverged run


def test_tuning_rings_the_chosen_rate_and_names_edges(tables):
    figure = drawn("tuning", tables)
    rings = [line for line in lines(figure, "o") if line.get_markersize() > 10]
    assert [line.get_xdata().tolist() for line in rings] == [[0.02]] * tables["tuning"]["method"].nunique()
    inside = tables["tuning"].assign(chosen=lambda t: t["learning_rate"] == 0.02)
    inside = pd.concat([inside, inside.assign(learning_rate=1.0, chosen=False)])
    assert not summaries.chosen_rates(inside)["at_edge"].any()
    assert summaries.chosen_rates(tables["tuning"])["at_edge"].all()


def test_a_diverged_trial_is_a_cross_at_the_noisy_level_and_counted_there(tables):
    second = tables["tuning"].assign(seed=1001, status="ok", validation_psnr=33.0)
    figure = drawn("tuning", tables | {"tuning": pd.concat([tables["tuning"], second])})
    crosses = lines(figure, "x")
    assert [line.get_xydata().tolist() for line in crosses] == [[[0.005, 28.1]]] * len(figure.axes)
    for ax in figure.axes:  # the line of means is the one with a point at every learning rate
        (means,) = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 2]
        assert means == pytest.approx([(28.1 + 33) / 2, (31 + 33) / 2])


def test_stability_counts_certificates_and_counterexamples(tables):
    broken = tables | {"stability": tables["stability"].assign(counterexample=lambda t: t["seed"] == 1)}
    sentences = figures.modules()["stability"].findings(broken)
    certified = tables["stability"]["method"].str.endswith("-certified").sum()
    assert sentences[0] == f"Certified: {certified} of {len(tables['runs'])} networks."
    assert sentences[1] == f"Counterexamples to a bound: {len(tables['runs']) // 2}."
    assert sentences[-1].startswith("Largest amplification found among the networks not certified: 80 (")


def test_learning_curves_end_with_a_cross_where_a_run_diverged(tables):
    (cross,) = lines(drawn("learning_curves", tables), "x")
    assert cross.get_xdata().tolist() == [1]


def test_training_length_says_what_doubling_changes(tables):
    sentences = figures.modules()["training_length"].findings(tables)
    for method in ("resnet-relu", "symmetric-perona_malik"):
        rows = tables["psnr"].query("method == @method and size == 'budget-240' and test_set == 'piecewise_affine'")
        wide = rows.assign(psnr=rows["psnr"].fillna(rows["noisy_psnr"])).pivot_table(
            "psnr", index="seed", columns="experiment"
        )
        d = wide["long"] - wide["capacity"]
        low, high = interval_by_hand(d)
        text = f"{label(method)}: {signed(d.mean(), 3)} dB {interval(low, high, 3)} from 2 to 4 epochs, "
        text += f"{'at most' if abs(d.mean()) <= 0.05 else 'more than'} 0.05 dB."
        assert text in sentences


def test_factorial_counts_learned_fluxes(tables):
    (sentence,) = [text for text in figures.modules()["factorial"].findings(tables) if "learned fluxes" in text]
    assert sentence.startswith("Of 8 learned fluxes")  # 4 of either seed, see fabricated
    assert "6 are nonmonotone" in sentence


def test_no_two_methods_look_alike(tables):
    styles = {name: style | {"label": ""} for name, style in _style.method_styles(tables["runs"]).items()}
    assert len({str(style) for style in styles.values()}) == len(styles) == tables["runs"]["method"].nunique()
    without_colour = {str({**style, "color": ""}) for style in styles.values() if style["markerfacecolor"] != "white"}
    assert len(without_colour) > 1


def test_the_stage_writes_all_figures_and_the_same_bytes_again(made, monkeypatch):
    layout, study = made
    stages.run("figures", study.specs("figures")["all"], layout)
    written = {
        (name, kind): layout.figure(name, kind).read_bytes() for name in figures.FIGURES for kind in ("svg", "png")
    }
    assert not any(re.search(rb"(?i)<dc:date|<dc:creator|matplotlib version", content) for content in written.values())
    few = {name: figures.modules()[name] for name in ("capacity", "transfer")}
    monkeypatch.setattr(figures, "modules", lambda: few)
    stages.run("figures", study.specs("figures")["all"], layout)
    for (name, kind), content in written.items():
        assert layout.figure(name, kind).read_bytes() == content


def test_every_figure_has_a_module_and_a_caption_for_the_workflow():
    assert [module.__name__.rpartition(".")[2] for module in figures.modules().values()] == list(figures.FIGURES)
    captions = {path.stem for path in (ROOT / "workflow/report").glob("*.rst")}
    assert captions == {*figures.FIGURES, "workflow", "report"}


def test_numbers_and_names_are_written_for_people():
    assert label("symmetric-perona_malik-certified") == "symmetric, Perona–Malik, certified"
    assert (fixed(-1.005, 1), fixed(None), fixed(float("nan"))) == ("−1.0", "–", "–")
    assert (signed(0.25), signed(-0.25), short(0.000123456)) == ("+0.25", "−0.25", "0.000123")
    assert (interval(-1, 2), interval(None, None)) == ("[−1.00, 2.00]", "")
    assert (listed([]), listed(["a"]), listed(["a", "b", "c"])) == ("", "a", "a, b and c")
