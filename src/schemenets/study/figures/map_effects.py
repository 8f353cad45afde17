"""What each choice changes of the difference between a symmetric network and a residual one."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemenets.study import summaries
from schemenets.study.figures import _map, _style
from schemenets.study.measurements.design import effects
from schemenets.study.stages.cells import CHOICES, DEPTH, DESIGN, PARAMETERS
from schemenets.study.summaries import Tables
from schemenets.study.wording import NOT_MEASURED, interval, listed, signed

ORDER = 38
CHAPTER = "map"
TITLE = "What each choice changes of this difference"
CAPTION = (
    "Deviations from the mean difference over the balanced design, and what pairs of choices add to them, by a linear "
    "model of the medians with 95 % t intervals. Diverged runs count as the noisy input."
)
SOURCES = ("tables/map.csv",)
INTERACTIONS = [  # named before the map was run
    ("biases", "pair"),
    ("biases", "initialisation"),
    ("pair", "depth"),
    ("depth", "train"),
]
LOOKS: dict[str, dict[str, Any]] = {
    DEPTH: {"color": _style.PALETTE[0], "marker": "o", "markerfacecolor": _style.PALETTE[0]},
    PARAMETERS: {"color": _style.PALETTE[1], "marker": "D", "markerfacecolor": "white"},
}
ROW = 0.19  # inches


def draw(tables: Tables) -> Figure:
    """Left the choices, right the interactions; one row per effect, one mark for either side."""
    table = _effects(tables)
    if table.empty:
        return _style.empty("design of the map")
    alone = table["factors"].map(len) == 1
    figure = Figure(figsize=(_style.WIDTH, 0.9 + ROW * max(table[part]["name"].nunique() for part in (alone, ~alone))))
    axes = figure.subplots(1, 2, sharex=True)
    for ax, title, part in zip(axes, ("choices", "interactions"), (alone, ~alone), strict=True):
        _draw_part(ax, table[part])
        ax.set(title=title, xlabel="deviation (dB)")
    _style.legend(figure, list(axes))
    return figure


def _draw_part(ax: Axes, table: pd.DataFrame) -> None:
    names = table.drop_duplicates("name")
    ax.axvline(0, color="black", linewidth=0.8)
    for index, (side, own) in enumerate(summaries.groups(table, "side")):
        look, heights = LOOKS[side], [number + 0.3 * (index - 0.5) for number in range(len(own))]
        ax.hlines(heights, own["low"], own["high"], color=look["color"], linewidth=0.9)
        ax.plot(own["value"], heights, linestyle="none", markersize=4, label=_map.SIDES[side], **look)
    ax.set_yticks(range(len(names)), list(names["name"]))
    _map.shade(ax, list(names["factors"]))


def _effects(tables: Tables) -> pd.DataFrame:
    """One row per side and effect: ``side``, ``factors``, ``name``, ``value``, ``low``, ``high``.

    Of the two levels of a factor, interactions have one: the other is its mirror image.
    """
    table = _map.cells(tables)
    found = []
    for side, own in summaries.groups(table[table["kind"] == DESIGN], "side"):
        shown = {name: set(own[name]) if own[name].nunique() > 2 else {own[name].max()} for name in CHOICES}
        choices: list[Any] = own[CHOICES].to_dict("records")
        for levels, *numbers in effects(choices, own["difference"], INTERACTIONS):
            if len(levels) == 1 or all(level in shown[name] for name, level in levels.items()):
                name = ", ".join(_map.choice(*item) for item in levels.items())
                values = dict(zip(("value", "low", "high"), numbers, strict=True))
                found.append({"side": side, "factors": tuple(levels), "name": name, **values})
    return pd.DataFrame(found, columns=["side", "factors", "name", "value", "low", "high"])


def headline(tables: Tables) -> str:
    """The choice with the largest effect, and the pair of choices that adds most to theirs."""
    table = _effects(tables)
    if table.empty:
        return NOT_MEASURED
    alone = table["factors"].map(len) == 1
    choices, pairs = (
        listed([f"{_largest(own)} with {_map.SIDES[side]}" for side, own in summaries.groups(table[part], "side")])
        for part in (alone, ~alone)
    )
    return f"What changes the difference most: {choices}. Of pairs of choices, what adds most: {pairs}."


def _largest(found: pd.DataFrame) -> str:
    """The largest of some effects, in words."""
    most = found.sort_values("value", key=abs).iloc[-1]
    return f"{most['name']} ({signed(most['value'])} dB {interval(most['low'], most['high'])})"
