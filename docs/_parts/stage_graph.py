"""A picture of what the stages of the study read of each other, and a table of them.

Both come from what the stages declare for the smoke tier. The picture has one column per step from the first stages to
the last. An arrow is left out where a longer way of arrows already says that one stage needs the other.
"""

from collections.abc import Iterable, Iterator
from html import escape
from itertools import pairwise
from pathlib import Path, PurePath
from statistics import fmean

from _parts.tables import table
from _parts.wiring import LETTER, arrow, picture

from schemenets.study import stages
from schemenets.study.config import Study

ROOT = Path(__file__).parents[2]
TIER = "smoke"  # it has jobs of every stage
ROW, HALF, GAP, TRACK = 44.0, 15.0, 26.0, 8.0  # distance of rows, half a box, shortest arrow, lines side by side
FEW = 3  # files that the table names one by one
SWEEPS = 40  # of the layout

Graph = dict[str, set[str]]  # what every stage reads


def inputs(study: Study) -> tuple[Graph, dict[str, list[str]]]:
    """What every stage reads: other stages, and files of the project."""
    graph: Graph = {}
    project: dict[str, list[str]] = {}
    for stage in stages.available():
        specs = study.specs(stage).values()
        found = [each for spec in specs for read in stages.references(stage, spec).values() for each in read]
        graph[stage] = {each[0] for each in found if not isinstance(each, str)}
        project[stage] = sorted({each for each in found if isinstance(each, str)})
    return graph, project


def ancestors(graph: Graph, stage: str) -> set[str]:
    """All that a stage needs, directly or not."""
    return graph[stage].union(*(ancestors(graph, each) for each in graph[stage]))


def reduced(graph: Graph) -> Graph:
    """The same without what follows from the rest."""
    return {stage: read - set().union(*(ancestors(graph, each) for each in read)) for stage, read in graph.items()}


def columns(graph: Graph) -> dict[str, int]:
    """Every stage as late as those that read it allow."""
    readers = {stage: [other for other, read in graph.items() if stage in read] for stage in graph}

    def steps_left(stage: str) -> int:
        return max((1 + steps_left(reader) for reader in readers[stage]), default=0)

    left = {stage: steps_left(stage) for stage in graph}
    return {stage: max(left.values()) - steps for stage, steps in left.items()}


def spaced(wanted: list[float]) -> list[float]:
    """The numbers nearest to these that ascend by at least a row each (isotonic regression)."""
    groups: list[list[float]] = []
    for index, y in enumerate(wanted):
        groups.append([y - index * ROW])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    level = [fmean(group) for group in groups for _ in group]
    return [y + index * ROW for index, y in enumerate(level)]


class Drawing:
    """Where boxes and arrows are. Long arrows have a place in every column that they pass."""

    def __init__(self, graph: Graph) -> None:
        self.column = columns(graph)
        self.ways = [self.way(read, stage) for stage in sorted(graph) for read in sorted(graph[stage])]
        for way in self.ways:
            self.column |= {place: self.column[way[0]] + step for step, place in enumerate(way[:-1])}
        self.links = sorted({link for way in self.ways for link in pairwise(way)})
        self.y = self.rows()
        self.boxes = sorted(graph)
        self.trunk: dict[tuple[str, str], float] = {}
        self.middle: dict[int, float] = {}
        self.half_width = {
            place: max((len(box) * LETTER / 2 + 8 for box in self.boxes if self.column[box] == place), default=0)
            for place in set(self.column.values())
        }
        self.right = self.place_columns()

    def way(self, start: str, end: str) -> list[str]:
        """The places that an arrow passes."""
        between = range(self.column[start] + 1, self.column[end])
        return [start, *(f"{start} → {end} in {place}" for place in between), end]

    def neighbours(self, place: str) -> list[str]:
        """What a place is to be near to: all that it is linked to, or where the arrow goes on that passes it."""
        after = [b for a, b in self.links if a == place]
        return after if " in " in place else after + [a for a, b in self.links if b == place]

    def rows(self) -> dict[str, float]:
        """Heights: places are ordered, then moved towards their neighbours."""
        order = {at: sorted(p for p, own in self.column.items() if own == at) for at in set(self.column.values())}
        y = {place: ROW * (row - len(own) / 2) for own in order.values() for row, place in enumerate(own)}
        for sweep in range(2 * SWEEPS):
            for own in order.values():
                wanted = {place: fmean([y[other] for other in self.neighbours(place)] or [y[place]]) for place in own}
                if sweep < SWEEPS:
                    own.sort(key=wanted.__getitem__)
                y |= zip(own, spaced([wanted[place] for place in own]), strict=True)
        return {place: ROW / 2 * round(height / (ROW / 2)) for place, height in y.items()}

    def place_columns(self) -> float:
        """Set the middles of the columns and the vertical parts of the arrows between them; returns the right end."""
        x = 0.0
        for at, half in sorted(self.half_width.items()):
            tracks = list(self.tracks(at - 1))
            for number, track in enumerate(tracks):
                self.trunk |= dict.fromkeys(track, x + GAP / 2 + number * TRACK)
            x += (GAP + TRACK * max(0, len(tracks) - 1)) * bool(self.middle)
            self.middle[at] = x + half
            x += 2 * half
        return x

    def tracks(self, at: int) -> Iterator[list[tuple[str, str]]]:
        """The links behind a column by the vertical line that they share: those from one start, or to one end only."""
        links = [link for link in self.links if self.column[link[0]] == at]
        starts = [start for start, _ in links]
        groups: dict[str, list[tuple[str, str]]] = {}
        for start, end in links:
            if self.y[start] != self.y[end]:
                groups.setdefault(start if starts.count(start) > 1 else end, []).append((start, end))
        free: list[list[tuple[str, str]]] = []
        for group in sorted(groups.values(), key=lambda group: self.y[group[0][0]]):
            for track in free:
                if self.ends(track)[1] < self.ends(group)[0] or self.ends(group)[1] < self.ends(track)[0]:
                    track += group
                    break
            else:
                free.append(group)
        return iter(free)

    def ends(self, links: Iterable[tuple[str, str]]) -> tuple[float, float]:
        heights = [self.y[place] for link in links for place in link]
        return min(heights), max(heights)

    def arrow(self, way: list[str]) -> str:
        """One arrow along its places."""
        start, end = way[0], way[-1]
        points = [(self.middle[self.column[start]] + self.half_width[self.column[start]], self.y[start])]
        for link in pairwise(way):
            if link in self.trunk:
                points += [(self.trunk[link], self.y[place]) for place in link]
        points.append((self.middle[self.column[end]] - self.half_width[self.column[end]], self.y[end]))
        return arrow(*points)

    def box(self, stage: str) -> str:
        x, half = self.middle[self.column[stage]], self.half_width[self.column[stage]]
        return (
            f'<rect class="box" x="{x - half:g}" y="{self.y[stage] - HALF:g}" '
            f'width="{2 * half:g}" height="{2 * HALF:g}" rx="4"/>'
            f'<text x="{x:g}" y="{self.y[stage] + 5:g}">{escape(stage)}</text>'
        )

    def svg(self, title: str, description: str) -> str:
        drawn = "".join([*map(self.arrow, self.ways), *map(self.box, self.boxes)])
        corners = (0.0, min(self.y.values()) - HALF, self.right, max(self.y.values()) + HALF)
        return picture(corners, title, f"<desc>{escape(description)}</desc>{drawn}")


def described(graph: Graph) -> str:
    """The picture in words."""
    lines = (f"{stage} reads {', '.join(sorted(read))}" for stage, read in graph.items() if read)
    return "; ".join(lines) + "."


def files(patterns: Iterable[str]) -> str:
    """Files in a cell of the table; many of a kind by one pattern."""
    paths = [PurePath(pattern) for pattern in patterns]
    kinds = [(path.parent, path.suffix) for path in paths]
    many = {kind for kind in kinds if kinds.count(kind) > FEW}
    named = ((kind[0] / f"*{kind[1]}" if kind in many else path) for path, kind in zip(paths, kinds, strict=True))
    return ", ".join(dict.fromkeys(f"`{path}`" for path in named))


def stage_table(graph: Graph, project: dict[str, list[str]]) -> str:
    """Every stage: what it does, reads and writes, in the order in which they run."""
    place, rows = columns(graph), []
    for stage in sorted(graph, key=lambda name: (place[name], name)):
        others = set(graph) - {stage}
        read = ["all other stages"] if graph[stage] == others else [f"`{each}`" for each in sorted(graph[stage])]
        read += [files(project[stage])] * bool(project[stage])
        name = f"[`{stage}`](../src/schemenets/study/stages/{stage}.py)"
        job = "/".join(f"{{{key}}}" for key in stages.wildcards(stage))
        written = files(
            pattern.replace(job, "{job}") if job else pattern for pattern in stages.module(stage).OUTPUTS.values()
        )
        rows.append([name, stages.description(stage), ", ".join(read) or "–", written])
    return table(["stage", "what it does", "reads", "writes"], rows)


def read_graph() -> tuple[Graph, dict[str, list[str]]]:
    """What the stages of the smoke tier read."""
    return inputs(Study.load(ROOT, tier=TIER))


def drawing() -> str:
    """The picture as SVG."""
    shown = reduced(read_graph()[0])
    return Drawing(shown).svg("What the stages of the study read of each other", described(shown))
