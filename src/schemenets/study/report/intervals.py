"""Medians and intervals of comparisons, drawn as small SVG images for the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from schemenets.study.claims import RATIO, deciding
from schemenets.study.wording import interval, ranged, short, signed

Json = dict[str, Any]
WIDTH, LINE, AXIS = 160, 7, 13  # pixels: of an image, of a comparison in a stack, of the axis below
MARGIN = 8  # pixels beside the outermost value
REACH = 3.0  # interquartile ranges beyond the quartiles; medians farther away lie at the edge


@dataclass(frozen=True)
class Scale:
    """The horizontal axis of a claim: what supports it lies to the right, ratios on a logarithmic scale.

    Attributes:
        low, high: ends of the axis.
        threshold: where support begins.
        ratio: whether effects are ratios of errors, where small ones support the claim.
        label: the threshold in words.
    """

    low: float
    high: float
    threshold: float
    ratio: bool
    label: str

    @classmethod
    def of(cls, claim: Json) -> "Scale":
        """The axis on which all primary comparisons of a claim can be told apart."""
        ratio, value = claim["threshold"]["unit"] == RATIO, claim["threshold"]["value"]
        limit = -value if claim["evaluator"] == "noninferiority" else value
        threshold = _position(limit, ratio)
        effects = [_position(c["effect"], ratio) for c in deciding(claim["comparisons"]) if c["effect"] is not None]
        if effects:
            lower, upper = np.quantile(effects, [0.25, 0.75])
            reach = REACH * (upper - lower)
            effects = [effect for effect in effects if lower - reach <= effect <= upper + reach]
        ends = [threshold, _position(1.0 if ratio else 0.0, ratio), *effects]
        spare = 0.15 * (max(ends) - min(ends)) or 0.1
        label = short(limit) if ratio else f"{signed(limit) if limit else '0'} dB"
        return cls(min(ends) - spare, max(ends) + spare, threshold, ratio, label)

    def x(self, value: float) -> float:
        """Pixels from the left, within the image."""
        return self._pixels(_position(value, self.ratio))

    def _pixels(self, position: float) -> float:
        share = (position - self.low) / (self.high - self.low)
        return MARGIN + float(np.clip(share, 0, 1)) * (WIDTH - 2 * MARGIN)

    @property
    def x_threshold(self) -> float:
        """Pixels of the threshold."""
        return self._pixels(self.threshold)


def _position(value: float, ratio: bool) -> float:
    return -float(np.log10(max(value, 1e-300))) if ratio else float(value)


def stacked(claim: Json) -> Markup:
    """All primary comparisons of a claim below each other, over their axis; empty for a claim without any."""
    found = deciding(claim["comparisons"])
    if not found:
        return Markup("")
    scale, below = Scale.of(claim), LINE * len(found) + 4
    lines = [_line(c, scale, 2 + LINE * (index + 0.5)) for index, c in enumerate(found)]
    x = scale.x_threshold
    anchor = "start" if x < WIDTH / 3 else "end" if x > 2 * WIDTH / 3 else "middle"
    text = Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(x, below + AXIS - 3, anchor, scale.label)
    return _image([_threshold(scale, below), *lines, text], below + AXIS, _described(claim, found))


def single(comparison: Json, scale: Scale) -> Markup:
    """One comparison, for a row of a table."""
    height = 2 * LINE
    words = f"{_written(comparison, scale)}: {comparison['outcome']}"
    return _image([_threshold(scale, height), _line(comparison, scale, LINE)], height, words)


def _image(parts: Sequence[Markup], height: int, words: str) -> Markup:
    head = Markup('<svg class="effects" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">')
    return head.format(WIDTH, height, words) + Markup("").join(parts) + Markup("</svg>")


def _threshold(scale: Scale, height: int) -> Markup:
    line = '<line class="threshold" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>'
    return Markup(line).format(scale.x_threshold, height)


def _line(comparison: Json, scale: Scale, y: float) -> Markup:
    """The interval and the median: a disc where the claim is supported, a square where it is contradicted."""
    if comparison["effect"] is None:
        return Markup('<text x="{}" y="{:.1f}">–</text>').format(MARGIN, y + 3)
    drawn = Markup("")
    if comparison["interval"]:
        worst, best = np.inf if scale.ratio else -np.inf, 0.0 if scale.ratio else np.inf
        low, high = comparison["interval"]
        ends = (high, low) if scale.ratio else (low, high)
        left, right = (
            scale.x(each if each is not None else end) for each, end in zip(ends, (worst, best), strict=True)
        )
        drawn += Markup('<line x1="{0:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{2:.1f}"/>').format(left, right, y)
    x = scale.x(comparison["effect"])
    if comparison["outcome"] == "refuted":
        mark = Markup('<rect x="{:.1f}" y="{:.1f}" width="5" height="5"/>').format(x - 2.5, y - 2.5)
    else:
        mark = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(x, y)
    return Markup('<g class="{}">{}</g>').format(comparison["outcome"], drawn + mark)


def _written(comparison: Json, scale: Scale) -> str:
    effect, (low, high) = comparison["effect"], comparison["interval"] or (None, None)
    text = short(effect) if scale.ratio else f"{signed(effect)} dB"
    return f"{text} {interval(low, high, 3 if scale.ratio else 2)}".rstrip()


def _described(claim: Json, found: Sequence[Json]) -> str:
    known = [c["effect"] for c in found if c["effect"] is not None]
    ratio = claim["threshold"]["unit"] == RATIO
    span = f"medians {ranged(known, short if ratio else signed)}" if known else "no medians"
    counts = [sum(c["outcome"] == outcome for c in found) for outcome in ("shown", "refuted")]
    unit = "" if ratio else " dB"
    return (
        f"{len(found)} comparisons, {span}{unit}, threshold {Scale.of(claim).label}: {counts[0]} support the claim, "
        f"{counts[1]} contradict it"
    )
