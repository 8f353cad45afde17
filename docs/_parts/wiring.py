"""Pictures of blocks as SVG, drawn from a description of what is connected to what:

    u^k → K → Φ → −τK^T → + → u^{k+1}
    u^k ⌒ +

Every line with ``→`` is a chain. The first one is the top row; each further one is a row of its own below, which ends
at a node of the rows above, and may begin at one. More arrows (``→→→``) make more room. A line with ``⌒`` is a skip
connection over the top row, with an optional label after a colon. ``+`` and ``,`` are circles, letters of states are
plain text, everything else is a box; ``#`` and what follows tells equal labels apart and is not shown.
"""

import re
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

STATE = re.compile(r"[uvfxbr](?![a-z])")  # labels that begin with the letter of a signal
PART = re.compile(r"[\^_](?:\{([^}]*)\}|(.))|([^\^_]+)")
LETTER, SMALL = 9.5, 7.0  # widths of a letter and of one in a sub- or superscript
GAP, ROW, HALF = 34.0, 66.0, 17.0  # shortest arrow, distance of rows, half the height of a box
FIRST_SKIP, NEXT_SKIP = 40.0, 24.0  # heights of skip connections over their row
MARGIN = 14.0  # around a picture
STYLE = """
svg { color: #1f2328; --paper: #ffffff; --box: #f0f3f6; --skip: #0a5cc2;
  font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3; --paper: #161b22; --box: #262d36; --skip: #6cb0ff; }
}
.paper { fill: var(--paper); }
.box { fill: var(--box); stroke: currentColor; stroke-width: 1.3; }
circle { fill: var(--paper); stroke: currentColor; stroke-width: 1.3; }
text { fill: currentColor; text-anchor: middle; font-size: 16px; }
.small { font-size: 11.5px; }
polyline { fill: none; stroke: currentColor; stroke-width: 1.4; }
polygon { fill: currentColor; }
.skip { color: var(--skip); }
"""


@dataclass
class Node:
    label: str
    x: float = 0.0
    y: float = 0.0

    @property
    def kind(self) -> str:
        return "circle" if self.label in "+," else "state" if STATE.match(self.label) else "box"

    @property
    def half_width(self) -> float:
        width = sum(len(plain) * LETTER + len(long or short) * SMALL for long, short, plain in PART.findall(self.label))
        return {"circle": 12.0, "state": width / 2 + 3, "box": max(width / 2 + 10, HALF + 4)}[self.kind]

    @property
    def half_height(self) -> float:
        return {"circle": 12.0, "state": 14.0, "box": HALF}[self.kind]

    def svg(self) -> str:
        shape = {
            "circle": f'<circle cx="{self.x:g}" cy="{self.y:g}" r="12"/>',
            "state": "",
            "box": f'<rect class="box" x="{self.x - self.half_width:g}" y="{self.y - HALF:g}" '
            f'width="{2 * self.half_width:g}" height="{2 * HALF:g}" rx="4"/>',
        }[self.kind]
        return shape + text(self.label, self.x, self.y + 5.5)


def text(label: str, x: float, y: float) -> str:
    """SVG text with sub- and superscripts, centred at x."""
    parts, back = [], 0.0
    for match in PART.finditer(label):
        long, short, plain = match.groups()
        raised = {"^": -6.0, "_": 4.5}.get(match[0][0], 0.0)
        size = ' class="small"' if raised else ""
        parts.append(f'<tspan dy="{raised - back:g}"{size}>{escape(plain or long or short)}</tspan>')
        back = raised
    return f'<text x="{x:g}" y="{y:g}">{"".join(parts)}</text>'


def arrow(*points: tuple[float, float], kind: str = "") -> str:
    """An arrow along horizontal and vertical lines."""
    (x0, y0), (x, y) = points[-2:]
    dx, dy = ((x > x0) - (x < x0)), ((y > y0) - (y < y0))
    head = [(x, y), (x - 9 * dx - 4 * dy, y - 9 * dy - 4 * dx), (x - 9 * dx + 4 * dy, y - 9 * dy + 4 * dx)]
    line = [*points[:-1], (x - 6 * dx, y - 6 * dy)]
    listed = [" ".join(f"{a:g},{b:g}" for a, b in corners) for corners in (line, head)]
    return f'<g class="arrow {kind}"><polyline points="{listed[0]}"/><polygon points="{listed[1]}"/></g>'


@dataclass
class Drawing:
    nodes: dict[str, Node] = field(default_factory=dict)
    arrows: list[str] = field(default_factory=list)
    rows: int = 0
    top: float = -HALF - 4

    def node(self, name: str) -> Node:
        return self.nodes.setdefault(name, Node(name.partition("#")[0]))

    def chain(self, line: str) -> None:
        names = [name.strip() for name in re.split("→+", line)]
        lengths = [len(arrows) for arrows in re.findall("→+", line)]
        known = [name in self.nodes for name in names]
        members = [self.node(name) for name in names]
        y, new = self.rows * ROW, [node for node, old in zip(members, known, strict=True) if not old]
        self.rows += 1
        for node in new:
            node.y = y
        if not any(known):
            for before, node, length in zip(members, members[1:], lengths, strict=False):
                node.x = before.x + before.half_width + GAP * length + node.half_width
        else:
            self.spread(new, members[0].x if known[0] else None, members[-1].x)
        for a, b in pairwise(members):
            self.connect(a, b)

    @staticmethod
    def spread(new: list[Node], first: float | None, last: float) -> None:
        """Put nodes evenly from ``first`` to ``last``; a single one in the middle, or below its end if it begins."""
        if len(new) == 1:
            new[0].x = last if first is None else (first + last) / 2
            return
        for index, node in enumerate(new):
            node.x = (first or 0.0) + (last - (first or 0.0)) * index / (len(new) - 1)

    def connect(self, a: Node, b: Node) -> None:
        if a.y == b.y:
            points = [(a.x + a.half_width, a.y), (b.x - b.half_width, b.y)]
        elif a.x == b.x:
            down = 1 if b.y > a.y else -1
            points = [(a.x, a.y + down * a.half_height), (b.x, b.y - down * b.half_height)]
        elif b.y > a.y:
            points = [(a.x, a.y + a.half_height), (a.x, b.y), (b.x - b.half_width, b.y)]
        else:
            points = [(a.x + a.half_width, a.y), (b.x, a.y), (b.x, b.y + b.half_height)]
        self.arrows.append(arrow(*points))

    def skip(self, line: str, below: int) -> None:
        ends, _, label = line.partition(":")
        a, b = (self.nodes[name.strip()] for name in ends.split("⌒"))
        height = a.y - FIRST_SKIP - NEXT_SKIP * below
        self.top = min(self.top, height - (24 if label else 6))
        points = [(a.x, a.y - a.half_height), (a.x, height), (b.x, height), (b.x, b.y - b.half_height)]
        self.arrows.append(arrow(*points, kind="skip"))
        if label:
            self.arrows.append(text(label.strip(), (a.x + b.x) / 2, height - 8))

    def svg(self, title: str) -> str:
        left = min(node.x - node.half_width for node in self.nodes.values())
        right = max(node.x + node.half_width for node in self.nodes.values())
        bottom = (self.rows - 1) * ROW + HALF
        drawn = "".join([*self.arrows, *(node.svg() for node in self.nodes.values())])
        return picture((left, self.top, right, bottom), title, drawn)


def picture(corners: tuple[float, float, float, float], title: str, drawn: str) -> str:
    """A file with a drawing in the colours of the reader's screen, on paper of its own."""
    left, top, right, bottom = corners
    x, y, width, height = left - MARGIN, top - MARGIN, right - left + 2 * MARGIN, bottom - top + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x:g} {y:g} {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect class="paper" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>{drawn}</svg>\n'
    )


def words(description: str) -> str:
    """A description as the text that stands for the picture."""
    found = []
    for line in description.splitlines():
        ends, _, label = line.partition(":")
        if "⌒" in line:
            a, b = (name.strip() for name in ends.split("⌒"))
            found.append(f"skip connection from {a} to {b}" + f" ({label.strip()})" * bool(label))
        else:
            found.append(re.sub("→+", "→", line).strip())
    return re.sub(r"#\w+", "", "; ".join(each for each in found if each))


def draw(description: str) -> str:
    """SVG of a description."""
    drawing = Drawing()
    lines = [line for line in description.splitlines() if line.strip()]
    for line in lines:
        if "→" in line:
            drawing.chain(line)

    def width(line: str) -> float:
        a, b = (drawing.nodes[name.strip()].x for name in line.partition(":")[0].split("⌒"))
        return abs(a - b)

    skips = sorted((line for line in lines if "⌒" in line), key=width)
    for below, line in enumerate(skips):
        drawing.skip(line, below)
    return drawing.svg(words(description))
