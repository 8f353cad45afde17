"""Figures and the numbers in them, against NumPy and SciPy on made-up results."""

import re
import subprocess
import sys

import headline
import numpy as np
import pytest
import torch
from drawing import drawn, texts
from fabricated import DIVERGED
from matplotlib import rc_context
from matplotlib.lines import Line2D
from matplotlib.text import Text

from schemenets import checkpoints, signals
from schemenets.errors import UnknownNameError
from schemenets.metrics import psnr
from schemenets.study import figures, stages, summaries
from schemenets.study.figures import _style, evolution
from schemenets.study.measurements.classical import total_variation
from schemenets.study.stages.figures import blocks, denoised
from schemenets.study.wording import NOT_MEASURED, fixed, interval, label, listed, ranged, short, signed

NAMES = [name for name in figures.available() if not name.startswith("solver_")]
OF_EXPERIMENTS = [
    "capacity",
    "depth",
    "evolution",
    "examples",
    "fixed_points",
    "growth",
    "robustness",
    "skips",
    "transfer",
]  # that the configuration names

EXPLICIT = "symmetric-perona_malik-tied"  # of the evolution


@pytest.fixture(scope="module")
def tables(made_up):
    tables = summaries.read(made_up[0])
    spec = made_up[1].specs("figures")["all"]
    tables |= headline.mapped(
        lambda cell, side, seed: 0.1 * cell["biases"]
    )  # the whole design; that of the tier has too few cells
    tables[summaries.LEARNED] = blocks(made_up[0], spec)
    return tables | {"denoised": denoised(made_up[0], spec, tables)}


def at_home(tables, experiment):
    return tables["psnr"].query("experiment == @experiment and test_set == 'piecewise_affine'")


def lines(figure, marker):
    return [line for ax in figure.axes for line in ax.lines if line.get_marker() == marker]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_readable_in_print(name, tables):
    figure = drawn(name, tables)
    assert figure.get_figwidth() * 2.54 == pytest.approx(17)
    assert all(text.get_fontsize() >= 8 for text in figure.findobj(Text) if text.get_text())
    if name != "transfer":  # its rows are names
        assert any(ax.get_ylabel() or ax.get_yticklabels() for ax in figure.axes)
    # or the names of rows tell both
    assert any(ax.get_xlabel() or "\nby " in ax.get_ylabel() for ax in figure.axes)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_of_one_method_and_one_seed_can_be_drawn(name, tables):
    one = {
        key: table[(table.get("method", "resnet-relu") == "resnet-relu") & (table.get("seed", 0) % 1000 == 0)]
        if "method" in table
        else table
        for key, table in tables.items()
    }
    drawn(name, one)
    assert figures.headline(name, one).endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_without_its_tables_says_so(name, tables):
    nothing = {key: table.iloc[:0] for key, table in tables.items()}
    for missing in ({}, nothing):
        assert any(re.fullmatch("no .* in this tier", text) for text in texts(drawn(name, missing)))
        assert figures.headline(name, missing) == NOT_MEASURED


@pytest.mark.parametrize("name", OF_EXPERIMENTS)
def test_a_figure_without_its_experiment_says_so(name, tables):
    """Although its tables have rows of others."""
    others = {
        key: table[table["run"].astype(str).str.startswith("channels/")] if "run" in table else table
        for key, table in tables.items()
        if key != "denoised"
    }
    assert len(others["runs"])
    drawn(name, others)
    assert figures.headline(name, others) == NOT_MEASURED


def test_figures_are_listed_without_plotting_libraries_and_unknown_ones_named():
    program = "from schemenets.study import figures; import sys; print(*figures.available()); "
    program += "print({'matplotlib', 'pandas'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [" ".join(figures.available()), "set()"]
    with pytest.raises(UnknownNameError, match="Did you mean 'capacity'"):
        figures.draw("capacty", {})


def test_every_figure_says_what_it_is_and_where_it_stands():
    modules = figures.modules()
    orders = [module.ORDER for module in modules.values()]
    assert orders == sorted(set(orders))
    for name, module in modules.items():
        assert module.TITLE, name
        assert module.SOURCES, name
        assert 1 <= len(re.findall(r"\.(?= [A-Z×]|$)", module.CAPTION)) <= 3, name


def test_transfer_compares_the_best_network_with_the_best_rival(tables):
    rivals = tables["classical"].query("method in ['diffusion', 'total_variation', 'wavelets']")
    best = (rivals["psnr"] - rivals["noisy_psnr"]).max()
    assert best == 5  # on every test set, see fabricated
    for gain, behind in ((best + 1, 0), (best - 1, 6)):
        same = tables["psnr"].assign(status="ok", psnr=lambda t, gain=gain: t["noisy_psnr"] + gain)
        assert figures.headline("transfer", tables | {"psnr": same}) == (
            "On signals like the training signals, the gain of the best network shown minus that of the best classical "
            f"denoiser is {signed(gain - best)} dB (piecewise affine) and {signed(gain - best)} dB (scan lines); on "
            f"{behind} of 6 other test sets the classical denoiser gains more."
        )
    away = {name: tables[name].query("test_set == 'ecg'") for name in ("psnr", "classical", "distances")}
    assert figures.headline("transfer", tables | away) == NOT_MEASURED
    drawn("transfer", tables | away)


def test_examples_tell_the_median_psnr_of_networks_tv_and_the_best_classical_denoiser(tables):
    texts_of = []
    for experiment, family in (("capacity", "piecewise_affine"), ("scanlines", "scanlines")):
        own = summaries.at_home(summaries.scored(tables, experiment)).query("size == 'budget-240'")
        own = own[own["method"].isin(["resnet-relu", "symmetric-perona_malik", "fsi-perona_malik"])]
        medians = own.groupby("method")["score"].median()
        low, high = fixed(medians.min()), fixed(medians.max())
        networks = low if low == high else f"{low} to {high}"
        rivals = tables["classical"].query("test_set == @family and noise == 10").set_index("method")["psnr"]
        assert rivals["total_variation"] == 28.1 + 1 < rivals.max()  # TV gains 1 dB, see fabricated
        best = f"{fixed(rivals.max())} ({label(rivals.idxmax())})"
        texts_of.append(f"{networks} dB against {fixed(29.1)} (TV) and {best} for {label(family)}")
    start = "Median PSNR of these networks, against TV and the best classical denoiser: "
    assert figures.headline("examples", tables) == f"{start}{texts_of[0]}; {texts_of[1]}."
    poor = tables["classical"].assign(psnr=lambda t: t["psnr"] + 10 * (t["method"] == "total_variation"))
    assert figures.headline("examples", tables | {"classical": poor}).count(" against ") == 3
    assert " against 39.10 (TV) for scan lines." in figures.headline("examples", tables | {"classical": poor})


def test_stability_counts_amplifying_networks(tables):
    certified = tables["stability"]["method"].str.contains("-certified").sum()
    free = len(tables["stability"]) - certified
    assert figures.headline("stability", tables) == (
        f"The search finds signals that are amplified by 0 of {certified} networks that fulfil a theorem (largest "
        f"factor 0.99) and {free} of {free} networks that do not (largest factor 80)."
    )
    first = tables["stability"]["method"].eq("symmetric-perona_malik-certified").idxmax()
    broken = tables["stability"].copy()
    broken.loc[first, "largest_amplification_found"] = 1.25
    text = figures.headline("stability", tables | {"stability": broken})
    assert f" by 1 of {certified} networks that fulfil a theorem (largest factor 1.25)" in text
    broken.loc[first, "largest_amplification_found"] = 1.0004
    assert f" by 1 of {certified} networks that fulfil a theorem (largest factor 1.0004)" in figures.headline(
        "stability", tables | {"stability": broken}
    )


def test_growth_counts_networks_that_exceed_their_start(tables):
    growth = tables["growth"]
    repeated = growth[growth["kind"] == "repetition"].merge(tables["runs"][["run", "certified"]], on="run")
    certified, others = (repeated.loc[repeated["certified_y"] == flag, "run"].nunique() for flag in (True, False))
    growing = repeated[~repeated["certified_y"]].fillna({"amplification": np.inf})
    growing = (growing.groupby("run")["amplification"].max() > 1 + 1e-9).sum()
    start = f"certified networks exceed the norm of their start, and {growing} of {others} others do; "
    text = figures.headline("growth", tables)
    assert text.startswith(f"In up to 100 repetitions 0 of {certified} {start}")
    assert text.endswith(f"differences of close signals grow in 0 of {certified} certified ones.")
    run = growth["run"] == "ladder/symmetric-perona_malik-certified/blocks-4/seed-1"
    factors = {"repetition": 1.5, "repeated_perturbation": 159655.2}
    for kind, factor in factors.items():
        growth = growth.assign(
            amplification=growth["amplification"].mask(run & (growth["kind"] == kind) & (growth["n"] == 5), factor)
        )
    text = figures.headline("growth", tables | {"growth": growth})
    assert f" 1 of {certified} {start}" in text
    assert f" grow in 1 of {certified} " in text
    (panel,) = (
        ax for ax in drawn("growth", tables | {"growth": growth}).axes if ax.get_title() == "certified: differences"
    )
    (line,) = (line for line in panel.lines if line.get_label() == "symmetric")
    assert line.get_ydata().max() == 159655.2
    assert [text.get_text().partition(" of ")[0] for text in panel.texts] == ["1"]


def test_depth_counts_kinds_of_networks_that_amplify(tables):
    start = "Up to 10 random blocks at the step-size limit amplify signals in "
    end = " kinds of certified networks and 2 of 7 kinds of uncertified networks."
    assert figures.headline("depth", tables) == f"{start}0 of 5{end}"  # ResNet and FSI, see fabricated
    growth = tables["growth"]
    first = (growth["kind"] == "depth") & growth["certified"].eq(True) & (growth["network"] == "symmetric")
    grown = growth.assign(amplification=growth["amplification"].mask(first, 1.1))
    assert figures.headline("depth", tables | {"growth": grown}) == f"{start}1 of 5{end}"


def test_fixed_points_count_networks_that_converge(tables):
    assert figures.headline("fixed_points", tables) == (
        "2 of 2 networks with a contraction rate below 1 converge, and 1 of 2 others; from 4 to 128 iterations memory "
        "grows × 1 with implicit gradients and × 32 with unrolled gradients."
    )
    lost = tables["fixed_points"].assign(iterations=np.nan)
    text = figures.headline("fixed_points", tables | {"fixed_points": lost})
    assert text.startswith("0 of 2 networks with a contraction rate below 1 converge, and 0 of 2 others; ")


def test_robustness_tells_losses_and_what_certification_changes(tables):
    own = tables["robustness"].query("perturbation == 10")
    wide = own.pivot_table("psnr_attacked", index="seed", columns="method")
    twins = {name: summaries.free_twin(name) for name in wide if "-certified" in name}
    changes = [(wide[name] - wide[twin]).median() for name, twin in twins.items() if twin in wide]
    assert len(changes) > 1
    # 10 dB and with the rectifier 15 dB, half of it at random, see fabricated
    assert figures.headline("robustness", tables) == (
        "Attacks of size 10 cost 10.00 to 15.00 dB, random perturbations of this size 5.00 to 7.50 dB; certification "
        f"changes the PSNR under attack by {signed(min(changes))} to {signed(max(changes))} dB."
    )
    free = tables["robustness"][~tables["robustness"]["method"].str.contains("-certified")]
    text = figures.headline("robustness", tables | {"robustness": free})
    assert text.endswith("random perturbations of this size 5.00 to 7.50 dB.")


def test_robustness_has_a_name_for_every_method_of_a_network(tables):
    attacked = tables["robustness"].merge(tables["runs"][["run", "network"]], on="run")
    for _, own in attacked.groupby("network"):
        alone = tables["robustness"][tables["robustness"]["run"].isin(own["run"])]
        (legend,) = drawn("robustness", tables | {"robustness": alone}).legends
        names = {label(method.partition("-")[2]) for method in own["method"]}
        assert len(names) == own["method"].nunique()
        assert names <= {text.get_text() for text in legend.get_texts()}


def test_evolution_counts_the_cases_in_which_extrapolation_helps(tables):
    """Of networks that are trained freely and of those with a bound; apart where explicit steps reach T."""
    start = "Networks that extrapolate have a smaller median error than free explicit ones of equal depth "
    for free, bounded in ((0.01, 0.001), (100.0, 0.01), (0.01, 100.0), (100.0, 1000.0)):
        factors = {"fsi": free, "du_fort_frankel": free, "safeguarded_fsi": bounded, "safeguarded_du_fort": bounded}
        scaled = tables["psnr"].copy()
        for name, factor in factors.items():
            scaled.loc[scaled["method"].str.startswith(name), "relative_error"] *= factor
        medians = evolutions({"psnr": scaled}).pivot_table("relative_error", "size", "method", "median")
        ratios = medians.drop(columns=EXPLICIT).div(medians[EXPLICIT], axis=0)
        assert (ratios < 1).sum().sum() == 4 * (free < 1) + 4 * (bounded < 1)
        early, late = (
            f"{(own < 1).sum().sum()} of {own.size} cases where n explicit steps {{}} "
            f"({ranged(own.to_numpy().ravel(), short)} times)"
            for own in (ratios, ratios.loc[["blocks-8"]])
        )
        assert figures.headline("evolution", tables | {"psnr": scaled}) == (
            f"{start}in {early.format('do not reach T')}."
        )
        soon = tables["schemes"].assign(time=4)  # which 8 steps reach
        early = ratios.loc[["blocks-4"]]
        text = figures.headline("evolution", tables | {"psnr": scaled, "schemes": soon})
        assert text.startswith(
            f"{start}in {(early < 1).sum().sum()} of {early.size} cases where n explicit steps do not "
        )
        assert text.endswith(f" and in {late.format('reach T')}.")


def test_the_map_tells_medians_by_fluxes():
    """Of the cells with as many blocks: the gain is the number of the pair, and a tenth of the side."""
    pairs = ["learned/relu", "perona_malik/relu", "perona_malik/perona_malik", "charbonnier/relu"]
    tables = headline.mapped(lambda cell, side, seed: 3 - pairs.index(cell["pair"]) + 0.1 * (side == "parameters"))
    assert figures.map_by_flux(tables) == (
        "Medians with as many blocks, by fluxes: +3.00 dB (learned against ReLU), +2.00 dB (Perona–Malik against "
        "ReLU), +1.00 dB (Perona–Malik against Perona–Malik) and +0.00 dB (Charbonnier against ReLU)."
    )
    assert figures.map_by_flux({}) == figures.map_by_flux({"map": tables["map"].iloc[:0]}) == ""


def test_skips_tells_what_they_bring_every_network(tables):
    wide = tables["psnr"].query("experiment == 'ladder' and test_set == 'piecewise_affine'")
    wide = wide.pivot_table("psnr", index=["size", "seed"], columns="method")
    found = []
    for method in ("resnet-relu", "symmetric-perona_malik"):
        medians = (wide[method] - wide[f"{method}-no_skips"]).groupby("size").median().dropna()
        found.append(f"{ranged(medians, signed)} dB ({label(method)})")
    assert figures.headline("skips", tables) == f"Skip connections change the median PSNR by {listed(found)}."


def test_a_diverged_run_counts_as_the_noisy_input(tables):
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
    found = summaries.gains(tables, "ladder", "symmetric-relu", "resnet-relu")
    own = tables["psnr"].query("experiment == 'ladder' and test_set == 'piecewise_affine' and size == 'blocks-4'")
    wide = own.pivot_table("psnr", index="seed", columns="method")
    assert found["difference"].to_numpy() == pytest.approx((wide["symmetric-relu"] - wide["resnet-relu"]).to_numpy())
    assert set(found["size"]) == {"blocks-4"}


def test_transfer_draws_gains_at_the_distances(tables):
    home, scan_lines = drawn("transfer", tables).axes
    assert home.get_xlabel() == "distance from piecewise affine, noise 10 (grey values)"
    own = tables["psnr"].query("run.str.startswith('capacity/resnet-relu/budget-240')")
    gains = (own["psnr"] - own["noisy_psnr"]).groupby(own["test_set"], sort=False).median()
    distances = tables["distances"].query("training_set == 'piecewise_affine-10'").set_index("test_set")["distance"]
    (line,) = (line for line in home.lines if line.get_label() == "_resnet-relu")
    np.testing.assert_allclose(line.get_xydata(), sorted(zip(distances, gains[distances.index], strict=True)))
    (rival,) = (line for line in scan_lines.lines if line.get_label() == "_wavelets")
    assert rival.get_ydata() == pytest.approx([2, 2, 2, 2])
    assert rival.get_markerfacecolor() == "white"
    for ax in (home, scan_lines):
        names = [text.get_text() for text in ax.texts]
        assert {"TV", "wavelets", "Perona–Malik diffusion", "symmetric, Perona–Malik"} <= set(names)
        heights = sorted(text.xy[1] for text in ax.texts)
        assert min(np.diff(heights)) > 0.07
    (top,) = home.child_axes
    by_distance = [f"{label(family)}, 10" for family in distances.sort_values().index]
    assert [text.get_text() for text in top.get_xticklabels()] == by_distance


def test_examples_show_results_and_errors_of_the_same_signal(made_up, tables):
    figure = drawn("examples", tables)
    denoised = tables["denoised"]
    arrays = signals.read(made_up[0].dataset("piecewise_affine-10"))
    clean, noisy = (arrays[f"test/{part}"][0].astype(float) for part in ("clean", "noisy"))
    assert list(denoised["dataset"].unique()) == ["piecewise_affine-10", "scanlines-10"]
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[0] == f"noisy\n{fixed(float(psnr(noisy, clean)), 1)} dB"
    assert [title.rpartition("\n")[0] for title in titles[1:]] == [
        *("ResNet\nReLU", "symmetric\nPerona–Malik", "FSI\nPerona–Malik", "TV"),
        *("noisy", "ResNet\nReLU", "symmetric\nPerona–Malik", "TV"),
    ]
    (row,) = summaries.rows(tables["classical"].query("test_set == 'piecewise_affine' and method == 'total_variation'"))
    results = {
        "TV": total_variation(noisy[None], [row.parameter])[0, 0],
        "ResNet\nReLU": outputs(made_up[0], "capacity/resnet-relu/budget-240", arrays["test/noisy"][:1]),
    }
    for name, result in results.items():
        number = [title.rpartition("\n")[0] for title in titles].index(name)
        above, below = figure.axes[number], figure.axes[number + 5]
        assert titles[number].endswith(f"\n{fixed(float(psnr(result, clean)), 1)} dB")
        np.testing.assert_allclose(above.lines[0].get_ydata(), clean)
        np.testing.assert_allclose(above.lines[1].get_ydata(), result, rtol=1e-5)
        np.testing.assert_allclose(below.lines[0].get_ydata(), result - clean, rtol=1e-3, atol=1e-3)


def outputs(layout, job, noisy):
    network = checkpoints.load_all(layout.file("train", job, "weights"))[0]
    with torch.inference_mode():
        return 255 * network(torch.from_numpy(noisy) / 255)[0].numpy()


def test_stability_shows_how_tight_bounds_are_and_what_is_beyond_the_panel(tables):
    loose = tables["stability"]["run"] == "ladder/symmetric-relu/blocks-4/seed-1"
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


def test_growth_ends_with_a_cross_where_a_run_leaves_the_panel(tables):
    crosses = lines(drawn("growth", tables), "x")
    assert {(x, y) for line in crosses for x, y in line.get_xydata().tolist()} == {(5, 243.0)}


def test_depth_draws_the_ceiling_of_differences_where_certificates_bound_states(tables):
    axes = {ax.get_title(): [line.get_ydata()[0] for line in ax.lines] for ax in drawn("depth", tables).axes}
    ceilings = {title for title, heights in axes.items() if pytest.approx(2e8) in heights}
    certified = tables["growth"][tables["growth"]["run"].isna() & tables["growth"]["certified"].eq(True)]
    assert ceilings == {f"{label(name)}: differences" for name in certified["network"].unique()}
    assert 0 < len(ceilings) < len(axes) // 2


def test_fixed_points_shows_residuals_rates_and_costs(tables):
    left, memory, time = drawn("fixed_points", tables).axes
    shown = [line.get_xydata().tolist() for line in left.lines]
    run = tables["fixed_points"].query("run == 'ladder/implicit-perona_malik-certified/blocks-4/seed-0'")
    assert [[0, 1], *run[["iterations", "tolerance"]].to_numpy().tolist()] in shown
    (bound,) = [points for points in shown if len(points) == 2]  # of the certified method; the other has no rate
    assert bound == [[0, 1], pytest.approx([np.log(1e-10) / np.log(0.5), 1e-10])]
    values = {line.get_linestyle(): line.get_ydata() for line in memory.lines}
    assert values == {"--": pytest.approx([1, 2, 4, 8, 16, 32]), "-": pytest.approx([0.25] * 6)}
    assert [line.get_ydata()[-1] for line in time.lines[:2]] == pytest.approx([32, 138 / 8])


def test_a_diverged_run_counts_as_the_noisy_signals_under_attack(tables):
    table = tables["robustness"]
    failed = table["run"] == "ladder/resnet-relu/blocks-4/seed-0"
    columns = ["psnr_attacked", "psnr_random", "psnr_guaranteed", "lipschitz_found"]
    table = table.assign(status=np.where(failed, "diverged", "ok"), **{key: table[key].mask(failed) for key in columns})
    found = summaries.attacked(tables | {"robustness": table}).query("run == 'ladder/resnet-relu/blocks-4/seed-0'")
    assert found.set_index("perturbation")["attacked"].to_dict() == {0: 28.1, 2: 27.1, 10: 23.1}
    assert found.set_index("perturbation")["loss"].to_dict() == pytest.approx({0: 0, 2: 1, 10: 5})


def evolutions(tables):
    return tables["psnr"].query("experiment == 'evolution_16'")


def test_evolution_draws_median_errors_of_networks_and_schemes(tables):
    (ax,) = drawn("evolution", tables).axes
    assert ax.get_title() == "T = 16, tied weights"
    own = evolutions(tables)
    for name, method in (("explicit", "symmetric"), ("FSI", "fsi"), ("Du Fort–Frankel", "du_fort_frankel")):
        (free,) = (line for line in ax.lines if line.get_label() == f"{name} networks")
        np.testing.assert_allclose(free.get_xydata(), median_errors(own, f"{method}-perona_malik-tied"))
        hollow = [line for line in ax.lines if line.get_color() == free.get_color() and line.get_linestyle() == "None"]
        shown = [
            line.get_xydata() for line in hollow if line.get_markerfacecolor() == "white" and len(line.get_xdata())
        ]
        expected = (
            [] if method == "symmetric" else [median_errors(own, f"safeguarded_{method}-perona_malik-certified-tied")]
        )
        for points, bounded in zip(shown, expected, strict=True):
            np.testing.assert_allclose(points, bounded * [evolution.ASIDE, 1])
    dotted = [line.get_xydata() for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    np.testing.assert_allclose(dotted[0], [[4, 0.1 / 5], [8, 0.1 / 9]])  # explicit steps, see fabricated
    (idle,) = (line for line in ax.lines if line.get_label() == "f itself")
    np.testing.assert_allclose(idle.get_ydata(), 0.1)


def median_errors(own, method):
    errors = own[own["method"] == method].groupby("size")["relative_error"].median()
    return np.array([[4, errors["blocks-4"]], [8, errors["blocks-8"]]])


def test_evolution_is_drawn_without_free_networks(tables):
    """As in the smoke tier."""
    bounded = {"runs": tables["runs"].query("certified or not experiment.str.startswith('evolution')")}
    (ax,) = drawn("evolution", tables | bounded).axes
    assert figures.headline("evolution", tables | bounded) == NOT_MEASURED
    assert any(line.get_markerfacecolor() == "white" and len(line.get_xdata()) for line in ax.lines)


def test_evolution_has_a_panel_for_untied_networks_if_there_are_any(tables):
    untied = tables["runs"].assign(tied=tables["runs"]["tied"] & ~tables["runs"]["method"].str.startswith("fsi"))
    panels = drawn("evolution", tables | {"runs": untied}).axes
    assert [ax.get_title() for ax in panels] == ["T = 16, untied weights", "T = 16, tied weights"]
    named = [{line.get_label() for line in ax.lines if line.get_label().endswith(" networks")} for ax in panels]
    assert named == [{"FSI networks"}, {"explicit networks", "FSI networks", "Du Fort–Frankel networks"}]


def test_a_diverged_evolution_has_the_error_of_its_initial_values(tables):
    run = evolutions(tables)["run"].iloc[0]
    diverged = {
        name: tables[name].assign(status=tables[name]["status"].mask(tables[name]["run"] == run, "diverged"))
        for name in ("runs", "psnr")
    }
    (cross,) = lines(drawn("evolution", tables | diverged), "x")
    assert cross.get_xydata().tolist() == [[4, 0.1]]


def test_a_seed_far_below_the_noisy_input_does_not_stretch_the_axis_of_skips(tables):
    run = "ladder/symmetric-perona_malik-no_skips/blocks-8/seed-0"
    at_home = (tables["psnr"]["run"] == run) & (tables["psnr"]["test_set"] == "piecewise_affine")
    assert at_home.any()
    figure = drawn("skips", tables | {"psnr": tables["psnr"].assign(psnr=tables["psnr"]["psnr"].mask(at_home, -3.0))})
    (triangle,) = lines(figure, "v")
    assert triangle.get_xdata() == [8]
    assert all(ax.get_ylim()[0] == pytest.approx(28.1 - 1) for ax in figure.axes)
    assert "−3.0" in texts(figure)


def test_skips_has_no_place_for_depths_that_a_network_was_not_trained_at(tables):
    def deep(method):
        return (method == "resnet-relu") | (method == "resnet-relu-no_skips")

    few = {
        name: tables[name][~(deep(tables[name]["method"]) & (tables[name]["size"] == "blocks-8"))]
        for name in ("runs", "psnr")
    }
    ticks = {ax.get_title(): [*ax.get_xticks()] for ax in drawn("skips", tables | few).axes}
    assert ticks == {"ResNet, ReLU": [4], "symmetric, Perona–Malik": [4, 8]}


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


@pytest.mark.parametrize("name", NAMES)
def test_figures_show_no_raw_names(name, tables):
    assert not any("_" in text for text in texts(drawn(name, tables)))


def test_no_two_methods_look_alike(tables):
    styles = {name: style | {"label": ""} for name, style in _style.method_styles(tables["runs"]).items()}
    assert len({str(style) for style in styles.values()}) == len(styles) == tables["runs"]["method"].nunique()
    without_colour = {str({**style, "color": ""}) for style in styles.values() if style["markerfacecolor"] != "white"}
    assert len(without_colour) > 1


def test_the_stage_writes_figures_and_the_same_bytes_again(made_up, monkeypatch):
    layout, study = made_up
    written = []
    for names in (["capacity", "skips", "transfer"], ["transfer", "capacity"]):
        monkeypatch.setattr(figures, "available", lambda names=names: names)
        stages.run("figures", "all", study.specs("figures")["all"], layout)
        written.append(
            {(name, kind): layout.figure(name, kind).read_bytes() for name in names for kind in ("svg", "png")}
        )
    assert not any(re.search(rb"(?i)<dc:date|<dc:creator|matplotlib version", text) for text in written[0].values())
    assert written[1].items() <= written[0].items()


def test_settings_of_users_change_no_figure(made_up, monkeypatch):
    layout, study = made_up
    monkeypatch.setattr(figures, "available", lambda: ["capacity"])
    written = []
    settings = {"lines.linewidth": 7, "savefig.dpi": 33, "savefig.bbox": "tight", "axes.facecolor": "red"}
    for given in ({}, settings | {"svg.fonttype": "none", "axes.spines.top": False, "figure.figsize": (1, 1)}):
        with rc_context(given):
            stages.run("figures", "all", study.specs("figures")["all"], layout)
        written.append([layout.figure("capacity", kind).read_bytes() for kind in ("svg", "png")])
    assert written[0] == written[1]


def test_numbers_and_names_are_written_for_people():
    assert label("symmetric-perona_malik-certified") == "symmetric, Perona–Malik, certified"
    assert (fixed(-1.005, 1), fixed(None), fixed(float("nan"))) == ("−1.0", "–", "–")
    assert (signed(0.25), signed(-0.25), short(0.000123456)) == ("+0.25", "−0.25", "0.000123")
    assert (interval(-1, 2), interval(None, None)) == ("[−1.00, 2.00]", "")
    assert (listed([]), listed(["a"]), listed(["a", "b", "c"])) == ("", "a", "a, b and c")
