"""Plots as SVG in the colours of the reader's screen, on paper of their own."""

import io
import re
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

FIRST, SECOND, THIRD = "#2a78d6", "#d6602a", "#7c8591"  # told apart by colour-blind eyes, legible on light and on dark
STYLE = """<style>
svg { color: #1f2328; --paper: #ffffff; font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; --paper: #161b22; } }
text { fill: currentColor; }
</style>"""


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches with its axes in an array."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return drawn, axes


def svg(drawn: Figure) -> str:
    """The figure as the text of a file, the same for every run."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "schemenets", "font.size": 9}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("#000000", "currentColor").replace("fill: #ffffff", "fill: var(--paper)")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"<metadata>.*?</metadata>", STYLE, text, flags=re.DOTALL)
    text = re.sub(r"(\d+\.\d\d)\d+", r"\1", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
