"""Figures and the numbers in them, against NumPy and SciPy on made-up results."""

import re

import numpy as np
import pandas as pd
import pytest
from fabricated import ROOT, results
from matplotlib import rc_context
from matplotlib.lines import Line2D
from matplotlib.text import Text
from scipy import stats

from schemenets.study import figures, stages, summaries
from schemenets.study.figures import _style
from schemenets.study.stages.figures import examples
from schemenets.study.wording import fixed, interval, label, listed, short, signed

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
    certified, networks = tables["stability"]["method"].str.contains("-certified").sum(), len(tables["runs"])
    start = f"The search finds signals that are amplified by 0 of {certified} networks that fulfil a theorem "
    assert sentences[0].startswith(f"{start}(largest factor 0.99, ")
    others = networks - certified
    assert f" and {others} of {others} networks that do not (largest factor 80, " in sentences[0]
    assert sentences[1] == f"Counterexamples to a bound: {networks // 2}."
    assert sentences[-1].endswith(f"networks that do not: 0.8 to 0.8, median 0.8, of {others}.")


def test_stability_shows_how_tight_bounds_are_and_what_is_beyond_the_panel(tables):
    loose = tables["stability"]["run"] == "factorial/symmetric-relu/blocks-4/seed-1"
    table = tables["stability"].assign(euclidean_bound=lambda t: t["euclidean_bound"].mask(loose, 1e12))
    figure = drawn("stability", tables | {"stability": table})
    found, share, _ = figure.axes
    assert sorted({*np.concatenate([line.get_xdata() for line in found.lines if line.get_marker() in "os"])}) == (
        [0.99, 1.5, 2.5, 40, 80]
    )
    (triangles,) = lines(figure, "<")
    assert triangles.get_xdata().tolist() == [1e-4]
    assert share.get_xlim()[0] < 1e-4
    (certified,) = (line for line in share.lines if line.get_label() == "fulfils a theorem")
    assert set(certified.get_xdata()[~np.isnan(certified.get_xdata())]) == {0.99}
    names = [text.get_text() for text in found.get_yticklabels()]
    assert [name.startswith("symmetric, certified\n") for name in names].count(True) == 1


def test_growth_counts_what_exceeds_its_start_and_what_overflows(tables):
    sentences = figures.modules()["growth"].findings(tables)
    certified = (
        tables["runs"].query("size == 'blocks-4' and experiment in ['factorial', 'evolution_4']")["certified"].sum()
    )
    assert sentences[0].startswith(
        "Test or random signals, looked at after 1, 2, 5 and 100 applications, exceed the norm of their start in "
        f"0 of {certified} certified networks and "
    )
    (resnets,) = [text for text in sentences if "norms exceed" in text and text.startswith("ResNets")]
    assert "ResNet 4 of 4 (beyond double precision)" in resnets  # 2^100 < 1e40 < 3^100, of two methods
    (free,) = [text for text in sentences if "norms exceed" in text and text.startswith("Trained freely")]
    assert f" symmetric 8 of 8 ({short(1.01**100)})" in free
    assert "FSI 0 of 4 (0.999)" in free


def test_growth_tells_and_draws_how_far_differences_grow_in_a_certified_network(tables):
    growth, run = tables["growth"], "factorial/symmetric-perona_malik-certified/blocks-4/seed-1"
    apart = (growth["run"] == run) & (growth["kind"] == "repeated_perturbation") & (growth["n"] == 5)
    assert apart.sum() == 1
    jump = tables | {"growth": growth.assign(amplification=growth["amplification"].mask(apart, 159655.2))}
    (sentence,) = [text for text in figures.modules()["growth"].findings(jump) if text.startswith("A bounded norm")]
    assert " grow in 1 of " in sentence
    text = f" certified networks, in the largest one seen to about 2e+05 times their size ({run}, n = 5)."
    assert sentence.endswith(text)
    (panel,) = (ax for ax in drawn("growth", jump).axes if ax.get_title() == "certified: differences")
    (line,) = (line for line in panel.lines if line.get_label() == "symmetric")
    assert line.get_ydata().max() == 159655.2
    assert panel.get_ylim()[1] > 159655.2
    assert [text.get_text().partition(" of ")[0] for text in panel.texts] == ["1"]


def test_growth_ends_with_a_cross_where_a_run_leaves_the_panel(tables):
    crosses = lines(drawn("growth", tables), "x")
    assert {(x, y) for line in crosses for x, y in line.get_xydata().tolist()} == {(5, 243.0)}


def test_depth_draws_the_ceiling_of_differences_where_certificates_bound_states(tables):
    axes = {ax.get_title(): [line.get_ydata()[0] for line in ax.lines] for ax in drawn("depth", tables).axes}
    ceilings = {title for title, heights in axes.items() if pytest.approx(2e8) in heights}
    certified = tables["growth"][tables["growth"]["run"].isna() & tables["growth"]["certified"].eq(True)]
    assert ceilings == {f"{label(name)}: differences" for name in certified["network"].unique()}
    assert 0 < len(ceilings) < len(axes) // 2


def test_depth_says_which_networks_amplify(tables):
    sentences = figures.modules()["depth"].findings(tables)
    start = "Random networks, {}, up to 10 blocks, "
    assert start.format("certified") + "amplify no signals." in sentences
    assert sentences[0].startswith("Behind up to 10 random blocks certified networks amplify no signals; ")
    assert sentences[0].endswith(
        f" by up to {short(1.8**10)}, where states that do not exceed their start allow 2e+08."
    )
    grown = f"ResNet (by up to {short(1.2**10)}) and FSI (by up to {short(1.6**10)})."
    assert start.format("at the limit") + f"amplify signals: {grown}" in sentences
    found = f"symmetric (by up to {short(3.0**10)})"
    assert any(text.startswith(start.format("certified") + f"amplify differences in the worst direction found: {found}")
               for text in sentences)  # fmt: skip
    worst = f"amplifies signals: FSI (by up to {short(2.4**10)})."
    assert f"The worst FSI network within the limit, up to 10 blocks, {worst}" in sentences


def test_trained_depth_says_how_many_networks_grow_behind_their_blocks(tables):
    own = tables["growth"][tables["growth"]["kind"] == "trained_depth"]
    certified = own["method"].str.contains("-certified")
    others = own[~certified].groupby("run")["amplification"].max()
    grown = (others > 1 + 1e-9).sum()
    assert 0 < grown < len(others)
    start, of = f"Behind up to {own['n'].max()} blocks test signals grow in", own[certified]["run"].nunique()
    signals, differences = figures.modules()["trained_depth"].findings(tables)
    assert signals == (
        f"{start} 0 of {of} certified networks (largest factor {short(own[certified]['amplification'].max(), 6)}) and "
        f"{grown} of {len(others)} others (largest factor {short(others.max(), 6)})."
    )
    assert "blocks differences of close ones grow in" in differences
    other = tables["growth"].copy()
    other.loc[own.index[certified], "amplification"] = np.nan
    sentence, _ = figures.modules()["trained_depth"].findings(tables | {"growth": other})
    assert sentence.startswith(f"{start} {of} of {of} certified networks (largest factor beyond double precision) and")


def test_trained_depth_draws_the_worst_network_of_every_kind(tables):
    axes = {ax.get_title(): ax for ax in drawn("trained_depth", tables).axes}
    growth = tables["growth"].merge(tables["runs"][["run", "network", "certified"]], on="run", suffixes=("_random", ""))
    for kind, what in (("trained_depth", "signals"), ("trained_perturbation", "differences")):
        own = growth[(growth["kind"] == kind) & growth["certified"].astype(bool)]
        panel = axes[f"certified: {what}"]
        of_networks = [part.groupby("n")["amplification"].max() for _, part in own.groupby("network", sort=False)]
        shown = [line.get_xydata().tolist() for line in panel.lines]
        assert all(list(map(list, largest.items())) in shown for largest in of_networks)
        grown = (own.groupby("run")["amplification"].max() > 1 + 1e-6).sum()
        assert panel.texts[0].get_text() == f"{grown} of {own['run'].nunique()} networks exceed 1"


def test_fixed_points_shows_residuals_rates_and_costs(tables):
    left, memory, time = drawn("fixed_points", tables).axes
    shown = [line.get_xydata().tolist() for line in left.lines]
    run = tables["fixed_points"].query("run == 'factorial/implicit-perona_malik-certified/blocks-4/seed-0'")
    assert [[0, 1], *run[["iterations", "tolerance"]].to_numpy().tolist()] in shown
    (bound,) = [points for points in shown if len(points) == 2]  # of the certified method; the other has no rate
    assert bound == [[0, 1], pytest.approx([np.log(1e-10) / np.log(0.5), 1e-10])]
    values = {line.get_linestyle(): line.get_ydata() for line in memory.lines}
    assert values == {"--": pytest.approx([1, 2, 4, 8, 16, 32]), "-": pytest.approx([0.25] * 6)}
    assert [line.get_ydata()[-1] for line in time.lines[:2]] == pytest.approx([32, 138 / 8])


def test_fixed_points_say_who_converges_and_what_depth_costs(tables):
    sentences = figures.modules()["fixed_points"].findings(tables)
    assert sentences[0] == (
        "2 of 2 networks with a rate below 1 converge, of the others 1 of 2; from 4 to 128 iterations memory grows × "
        "32 with unrolled and × 1 with implicit gradients."
    )
    assert sentences[1:5] == [
        "implicit, Perona–Malik: 0 of 2 networks have a rate below 1, 1 converge, after 46 iterations at most.",
        "implicit, Perona–Malik, certified: 2 of 2 networks have a rate below 1, 2 converge, after 26 iterations at "
        "most; observed rates are at most 0.400, certified ones 0.500.",
        "Networks that take more iterations than their rate allows: 0.",
        "Largest relative difference of implicit from unrolled gradients: 2e−15.",
    ]
    assert sentences[5] == (
        "implicit, Perona–Malik, from 4 to 128 iterations: parameters × 1, memory × 32 with unrolled and × 1 with "
        "implicit gradients. Implicit gradients take 0.25 of the memory and 1.8 of the time of unrolled ones at 4 "
        "iterations, 0.0078 and 0.54 at 128."
    )


def test_cost_of_certification_is_paired_over_seeds_at_every_noise_level(tables):
    tables = {name: tables[name][~tables[name]["run"].str.contains("implicit")] for name in ("runs", "psnr")}
    other = tables["psnr"].assign(noise=20.0, psnr=lambda t: t["psnr"] - t["method"].str.endswith("-certified"))
    both = tables | {"psnr": pd.concat([tables["psnr"], other])}
    found = summaries.certification(both)
    wide = tables["psnr"].query("experiment == 'factorial' and test_set == 'piecewise_affine'")
    wide = wide.pivot_table("psnr", index="seed", columns="method")
    d = wide["symmetric-perona_malik-certified"] - wide["symmetric-perona_malik"]
    assert set(zip(found["method"], found["size"], strict=True)) == {("symmetric-perona_malik-certified", "blocks-4")}
    for noise, own in found.groupby("noise"):
        assert own.set_index("seed")["difference"].to_numpy() == pytest.approx((d - (noise == 20)).to_numpy())
    message, at_home, elsewhere = figures.modules()["certification_cost"].findings(both)
    assert f"certification changes the mean PSNR by {signed(d.mean())} dB; the interval lies" in message
    low, high = interval_by_hand(d)
    assert f"at the noise of the training: certification changes the mean by {signed(d.mean())} dB;" in at_home
    assert f"At worst {signed(d.mean())} dB {interval(low, high)}" in at_home
    assert f"never trained on: certification changes the mean by {signed(d.mean() - 1)} dB;" in elsewhere
    twice = {}
    for name in ("runs", "psnr"):
        own = both[name].query("experiment == 'factorial'")
        again = own.assign(experiment="twice", run="twice/" + own["run"])
        twice[name] = pd.concat([both[name], again])
    assert len(summaries.certification(twice)) == len(found)
    figure = drawn("certification_cost", both)
    assert [ax.get_title() for ax in figure.axes] == ["tested at noise 10", "tested at noise 20"]


def test_robustness_tells_losses_and_bounds(tables):
    sentences = figures.modules()["robustness"].findings(tables)
    own = tables["robustness"].query("perturbation in [0, 10]")
    losses = own.pivot_table("psnr_attacked", index="method", columns="perturbation")
    loss = losses[0] - losses[10]  # 10 dB and with the rectifier 15 dB, see fabricated
    most = f"{label(losses[10].idxmax())} keeps most, {fixed(losses[10].max())} dB; "
    assert sentences[1].startswith(f"Attacks of size 10 (4 blocks): {most}")
    assert f"loses most, 15.00 dB to {fixed(losses.loc[loss.idxmax(), 10])} dB" in sentences[1]
    kept, had = re.search(r"loses least, 10\.00 dB to (\S+) dB, where it had (\S+) dB\.$", sentences[1]).groups()
    assert float(had) == pytest.approx(float(kept) + 10)
    assert "That is 5.00 to 7.50 dB more than random perturbations" in sentences[2]
    wide = own[own["perturbation"] == 10].pivot_table("psnr_attacked", index="seed", columns="method")
    d = wide["symmetric-perona_malik-certified"] - wide["symmetric-perona_malik"]
    assert f"under these attacks by {signed(d.mean())} dB {interval(*interval_by_hand(d))}." in sentences[3]
    twins = {name: summaries.free_twin(name) for name in wide if "-certified" in name}
    changes = [(wide[name] - wide[twin]).mean() for name, twin in twins.items() if twin in wide]
    assert len(changes) > 1
    assert f"changes the PSNR by {signed(min(changes))} to {signed(max(changes))} dB" in sentences[0]
    attacks = len(tables["robustness"].query("perturbation > 0"))
    assert f"Attacks beyond a Lipschitz bound: 0 of {attacks}." in sentences
    beyond = tables["robustness"].assign(lipschitz_bound=lambda t: np.where(t["seed"] == 1, 1.0, 5.0))
    sentences = figures.modules()["robustness"].findings(tables | {"robustness": beyond})
    assert f"Attacks beyond a Lipschitz bound: {attacks // 2} of {attacks}." in sentences


def test_robustness_tells_the_best_at_noise_never_trained_on(tables):
    other = tables["psnr"].assign(noise=20.0, psnr=lambda t: 20.0 + t["method"].str.startswith("resnet-perona"))
    (sentence,) = [
        text
        for text in figures.modules()["robustness"].findings(tables | {"psnr": pd.concat([tables["psnr"], other])})
        if text.startswith("At noise 20, never trained on: ResNet, Perona–Malik is best with 21.00 dB")
    ]
    assert sentence.endswith("worst with 20.00 dB.")


def test_a_diverged_run_counts_as_the_noisy_signals_under_attack(tables):
    table = tables["robustness"]
    failed = table["run"] == "factorial/resnet-relu/blocks-4/seed-0"
    columns = ["psnr_attacked", "psnr_random", "psnr_guaranteed", "lipschitz_found"]
    table = table.assign(status=np.where(failed, "diverged", "ok"), **{key: table[key].mask(failed) for key in columns})
    found = summaries.attacked(tables | {"robustness": table}).query("run == 'factorial/resnet-relu/blocks-4/seed-0'")
    assert found.set_index("perturbation")["attacked"].to_dict() == {0: 28.1, 2: 27.1, 10: 23.1}
    assert found.set_index("perturbation")["loss"].to_dict() == pytest.approx({0: 0, 2: 1, 10: 5})


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


def test_factorial_says_what_shared_weights_and_certification_cost(tables):
    other, tied = "symmetric-charbonnier", "symmetric-perona_malik-tied"
    tables = tables | {name: tables[name].replace({"method": {other: tied}}) for name in ("runs", "psnr")}
    own = tables["psnr"].query("experiment == 'factorial' and test_set == 'piecewise_affine'")
    mean = own.groupby("method")["psnr"].mean()
    sentences = figures.modules()["factorial"].findings(tables)
    for start, method in (("Shared weights: ", tied), ("Certification: ", "symmetric-perona_malik-certified")):
        (sentence,) = [text for text in sentences if text.startswith(f"{start}{label(method)} against")]
        assert signed(mean[method] - mean["symmetric-perona_malik"]) in sentence


def test_factorial_counts_learned_fluxes(tables):
    (sentence,) = [text for text in figures.modules()["factorial"].findings(tables) if "learned fluxes" in text]
    assert sentence.startswith("Of 8 learned fluxes")  # 4 of either seed, see fabricated
    assert "6 are nonmonotone" in sentence


def evolutions(tables):
    return tables["psnr"].query("experiment == 'evolution_4'")


def test_examples_are_the_families_that_denoisers_are_tested_on(made, tables):
    assert list(tables["examples"]["family"].unique()) == made[1].config["test_families"]
    alone = tables["runs"][tables["runs"]["run"] == evolutions(tables)["run"].iloc[0]]
    assert summaries.example_run(alone) is None


def test_evolution_draws_mean_errors_of_networks_and_schemes(tables):
    ax, tied = drawn("evolution", tables).axes
    assert [ax.get_title() for ax in (ax, tied)] == ["T = 4, weights of their own", "T = 4, tied weights"]
    shown = {line.get_label(): line.get_xydata() for line in ax.lines}
    for name, method in (("explicit", "symmetric"), ("FSI", "safeguarded_fsi")):
        own = evolutions(tables)[evolutions(tables)["method"] == f"{method}-perona_malik-certified"]
        expected = [own.loc[own["size"] == f"blocks-{n}", "relative_error"].mean() for n in (2, 4)]
        np.testing.assert_allclose(shown[f"{name} networks"], [[2, expected[0]], [4, expected[1]]])
    dotted = [line.get_xydata() for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    np.testing.assert_allclose(dotted[0], [[2, 0.1 / 3], [4, 0.1 / 5]])  # explicit steps, see fabricated
    np.testing.assert_allclose(shown["f itself"][:, 1], 0.1)


def test_evolution_says_how_much_smaller_the_errors_are(tables):
    sentences = figures.modules()["evolution"].findings(tables)
    means = evolutions(tables).pivot_table("relative_error", "size", "method")
    explicit, fsi = (means[f"{name}-perona_malik-certified"] for name in ("symmetric", "safeguarded_fsi"))
    ratios = [short(fsi[size] / explicit[size]) for size in ("blocks-2", "blocks-4")]
    start = "T = 4, weights of their own, 2 and 4 blocks: relative error "
    (sentence,) = [text for text in sentences if text.startswith(start)]
    assert sentence.startswith(f"{start}{short(explicit['blocks-2'])} and {short(explicit['blocks-4'])} of explicit")
    assert f"; of FSI networks {' and '.join(ratios)} times that" in sentence
    assert any("; the explicit scheme stops short of T, at 1 with 2 and 2 with 4 steps" in text for text in sentences)
    every = [
        means[f"safeguarded_fsi-perona_malik-certified{tied}"] / means[f"fsi-perona_malik{tied}"]
        for tied in ("", "-tied")
    ]
    low, high = (short(reduce(value for ratio in every for value in ratio)) for reduce in (min, max))
    text = f"T = 4: safeguard and constraints make the error {low} to {high} times as large, at most with "
    assert any(sentence.startswith(text) for sentence in sentences)


def test_evolution_leads_with_how_often_extrapolation_helps(tables):
    means = evolutions(tables).pivot_table("relative_error", "size", "method")
    ratios = pd.concat(
        means[f"safeguarded_fsi-perona_malik-certified{tied}"] / means[f"symmetric-perona_malik-certified{tied}"]
        for tied in ("", "-tied")
    )
    lead = figures.modules()["evolution"].findings(tables)[0]
    assert f" in {(ratios < 1).sum()} of {len(ratios)} comparisons; at best {short(ratios.min())} times as" in lead


def test_evolution_names_the_networks_that_only_training_makes_worse(tables):
    """Untied networks whose errors are above those of tied ones, which are special cases of them."""
    means = evolutions(tables).pivot_table("relative_error", "size", "method")
    untied = [name for name in means if f"{name}-tied" in means]
    ratios = pd.concat({name: means[name] / means[f"{name}-tied"] for name in untied})
    worse = ratios[ratios > 1].sort_values(ascending=False)
    sentences = figures.modules()["evolution"].findings(tables)
    found = [text for text in sentences if text.startswith("A tied network is a special case")]
    assert len(found) == bool(len(worse))
    ahead = tables["psnr"].assign(
        relative_error=lambda t: t["relative_error"] * np.where(t["method"].str.contains("-tied"), 0.1, 1)
    )
    (sentence,) = [
        text
        for text in figures.modules()["evolution"].findings(tables | {"psnr": ahead})
        if text.startswith("A tied network is a special case")
    ]
    assert f"in {len(ratios)} of {len(ratios)} cases" in sentence
    assert f"({short(10 * ratios.max())})" in sentence


def test_a_safeguard_that_never_acts_is_called_so(tables):
    (text,) = [
        text for text in figures.modules()["evolution"].findings(tables) if text.startswith("The safeguard acts")
    ]
    worst = short(100 * tables["psnr"]["held_back"].max(), 2)
    assert text == (
        "The safeguard acts on test signals in 4 of 4 cases, where it shortens at most 25 % of the extrapolations in "
        f"the mean over seeds, and {worst} % for one seed."
    )
    idle = tables["psnr"].assign(held_back=tables["psnr"]["held_back"] * 0)
    sentences = figures.modules()["evolution"].findings(tables | {"psnr": idle})
    assert "The safeguard never acts on test signals." in sentences
    assert not any("shortens" in text for text in sentences)


def test_a_diverged_evolution_has_the_error_of_its_initial_values(tables):
    run = evolutions(tables)["run"].iloc[0]
    diverged = {
        name: tables[name].assign(status=tables[name]["status"].mask(tables[name]["run"] == run, "diverged"))
        for name in ("runs", "psnr")
    }
    (cross,) = lines(drawn("evolution", tables | diverged), "x")
    assert cross.get_xydata().tolist() == [[2, 0.1]]
    assert any(run in text for text in figures.modules()["evolution"].findings(tables | diverged))


def test_skips_tells_what_they_bring_and_what_depth_does(tables):
    sentences = figures.modules()["skips"].findings(tables)
    wide = (
        tables["psnr"]
        .query("experiment in ['skips', 'factorial'] and test_set == 'piecewise_affine'")
        .pivot_table("psnr", index=["size", "seed"], columns="method")
    )
    wide = wide[["symmetric-perona_malik", "symmetric-perona_malik-no_skips"]]
    d = (wide.iloc[:, 0] - wide.iloc[:, 1]).loc["blocks-2"]
    change = f"{signed(d.mean())} dB {interval(*interval_by_hand(d))}, median {signed(d.median())} dB"
    text = f"skip connections change the PSNR by {change}."
    assert f"symmetric, Perona–Malik, 2 blocks: {text}" in sentences
    rise = wide.iloc[:, 1].groupby("size").mean()
    assert (
        f"symmetric, Perona–Malik, without: {signed(rise['blocks-4'] - rise['blocks-2'])} dB from 2 to 4 blocks."
        in sentences
    )
    (panel,) = (ax for ax in drawn("skips", tables).axes if ax.get_title() == "symmetric, Perona–Malik")
    (line,) = (line for line in panel.lines if line.get_label() == "without")
    assert line.get_xydata().tolist() == [[2, pytest.approx(rise["blocks-2"])], [4, pytest.approx(rise["blocks-4"])]]


def test_a_seed_far_below_the_noisy_input_does_not_stretch_the_axis_of_skips(tables):
    run = "skips/symmetric-perona_malik-no_skips/blocks-2/seed-0"
    at_home = (tables["psnr"]["run"] == run) & (tables["psnr"]["test_set"] == "piecewise_affine")
    assert at_home.any()
    figure = drawn("skips", tables | {"psnr": tables["psnr"].assign(psnr=tables["psnr"]["psnr"].mask(at_home, -3.0))})
    (triangle,) = lines(figure, "v")
    assert triangle.get_xdata() == [2]
    assert all(ax.get_ylim()[0] == pytest.approx(28.1 - 8) for ax in figure.axes)
    assert "−3.0" in texts(figure)


def test_skips_has_no_place_for_depths_that_a_network_was_not_trained_at(tables):
    def deep(method):
        return (method == "resnet-relu") | (method == "resnet-relu-no_skips")

    few = {
        name: tables[name][~(deep(tables[name]["method"]) & (tables[name]["size"] == "blocks-2"))]
        for name in ("runs", "psnr")
    }
    ticks = {ax.get_title(): [*ax.get_xticks()] for ax in drawn("skips", tables | few).axes}
    assert ticks == {"ResNet, ReLU": [4], "symmetric, Perona–Malik": [2, 4]}


@pytest.mark.parametrize("name", ["stability", "growth", "depth", "evolution", "fixed_points", "robustness", "skips"])
def test_no_two_entries_of_a_legend_look_alike(name, tables):
    (legend,) = drawn(name, tables).legends
    looks = [
        (
            type(handle),
            *((handle.get_color(), handle.get_marker(), handle.get_linestyle(), handle.get_linewidth(),
               handle.get_markerfacecolor()) if isinstance(handle, Line2D) else ()),
        )
        for handle in legend.legend_handles
    ]  # fmt: skip
    assert len(set(looks)) == len(looks) <= 13
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(set(labels)) == len(labels)


def test_figures_show_no_raw_names(tables):
    both = {
        name: pd.concat([tables[name], tables[name].query("experiment == 'factorial'").assign(
            experiment="noise_20", run=lambda t: "noise_20/" + t["run"], dataset="piecewise_affine-20")])
        for name in ("runs",)
    }  # fmt: skip
    other = tables["psnr"].query("experiment == 'factorial'").assign(
        experiment="noise_20", run=lambda t: "noise_20/" + t["run"])  # fmt: skip
    both["psnr"] = pd.concat([tables["psnr"], other])
    shown = texts(drawn("certification_cost", tables | both))
    assert "noise 20, 4 blocks (noise 20)" in shown
    assert not any("_" in text for text in shown)


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
