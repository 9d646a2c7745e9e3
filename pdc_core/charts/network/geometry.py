"""From boxes to pixels: columns, lanes, heights, and the way of every line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pdc_core.charts.network.blocks import Block
from pdc_core.charts.network.layout import Arrangement, Box, Wire, stacked

GAP = 14  # pixels between columns, in which lines rise and fall
WIDTHS = {"layer": 22, "block": 100, "sum": 16, "product": 16, "concat": 16, "join": 16, "input": 32, "output": 40}
LEAST = 16  # pixels of the lowest bar
ROW, LEVEL, RAIL = 20, 9, 15  # pixels of a row of block names, of a line over its lane, of a line that ties layers
LETTER = 6.5  # pixels of a letter
SHORT = 6  # letters that have room under a bar; longer labels are turned
LONGEST = 16  # letters of a label
_EVEN = 8  # widths that differ by at most this factor are drawn to scale, others by their square roots


@dataclass(frozen=True)
class Place:
    """Where a box is: its middle and its size, in pixels.

    Attributes
    ----------
    x, y, width, height : float
        Middle, and size.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Geometry:
    """Where everything of a picture is.

    Attributes
    ----------
    places : dict of str to Place
        By the key of the box.
    lines : tuple of str
        SVG paths of the edges.
    headings : dict of str to (float, float, float)
        Left end, right end and top of the name of each block.
    rails : dict of str to (float, float, float)
        Left end, right end and height of the line that ties the layers of a group.
    width, height : float
        Of the whole, without a legend.
    root : bool
        Whether heights are square roots of the number of filters.
    """

    places: dict[str, Place]
    lines: tuple[str, ...]
    headings: dict[str, tuple[float, float, float]]
    rails: dict[str, tuple[float, float, float]]
    width: float
    height: float
    root: bool


def place_all(
    arranged: Arrangement,
    blocks: Sequence[Block],
    filters: Mapping[str, int],
    labels: Mapping[str, str],
    ties: Mapping[str, Sequence[str]],
    tall: float,
) -> Geometry:
    """Give every box, line and name its place.

    Parameters
    ----------
    arranged : Arrangement
        Boxes in ranks and lanes.
    blocks : sequence of Block
        All blocks; those within a folded one have no name in the picture.
    filters : mapping of str to int
        The filters of each box that is a layer or a block.
    labels : mapping of str to str
        What stands under each of these.
    ties : mapping of str to sequence of str
        For each tied group, the boxes with its layers.
    tall : float
        Pixels of the highest bar.
    """
    columns = _columns(arranged.boxes)
    most, fewest = max(filters.values(), default=1), min(filters.values(), default=1)
    root = most > _EVEN * fewest
    heights = {key: max(LEAST, tall * (math.sqrt if root else float)(n / most)) for key, n in filters.items()}
    boxes = {box.key: box for box in arranged.boxes}
    headings, top = _headings(arranged, blocks, columns)
    lanes, bottom = _lanes(arranged, heights, labels, top)
    places = {
        key: Place(sum(columns[box.rank]) / 2, lanes[box.lane], WIDTHS[box.kind], heights.get(key, WIDTHS[box.kind]))
        for key, box in boxes.items()
    }
    ends = {name: (min(places[key].x for key in own), max(places[key].x for key in own)) for name, own in ties.items()}
    row = stacked({name: (low - 12, high + 12) for name, (low, high) in ends.items()})
    rails = {name: (low, high, bottom + RAIL * (row[name] + 0.6)) for name, (low, high) in ends.items()}
    crowns = {
        lane: y - max((heights.get(b.key, 16) for b in boxes.values() if b.lane == lane), default=16) / 2 - 8
        for lane, y in lanes.items()
    }
    lines = tuple(_line(wire, boxes, places, columns, lanes, crowns) for wire in arranged.wires)
    height = bottom + RAIL * (1 + max(row.values(), default=-1))
    return Geometry(places, lines, headings, rails, columns[-1][1] + GAP if columns else 0, height, root)


def _columns(boxes: Sequence[Box]) -> list[tuple[float, float]]:
    """Return left and right end of every rank."""
    wide = [0] * (1 + max((box.rank for box in boxes), default=-1))
    for box in boxes:
        wide[box.rank] = max(wide[box.rank], WIDTHS[box.kind])
    columns, x = [], float(GAP)
    for each in wide:
        columns.append((x, x + each))
        x += each + GAP
    return columns


def _headings(
    arranged: Arrangement, blocks: Sequence[Block], columns: list[tuple[float, float]]
) -> tuple[dict[str, tuple[float, float, float]], float]:
    """Place the names of blocks above them, outer blocks on top, and return where the lanes may begin."""
    rank = {node.key: box.rank for box in arranged.boxes for node in box.nodes}
    hidden = {block.key for block in blocks for outer in arranged.folded if block.nodes < outer.nodes}
    found: dict[str, tuple[float, float, float]] = {}
    top = 0.0
    for depth in sorted({block.depth for block in blocks}):
        ends = {}
        for block in blocks:
            if block.depth == depth and block.key not in hidden:
                ranks = [rank[key] for key in block.nodes]
                ends[block.key] = (columns[min(ranks)][0], columns[max(ranks)][1])
        if ends:
            rows = stacked(ends)
            found |= {key: (left, right, top + ROW * rows[key]) for key, (left, right) in ends.items()}
            top += ROW * (1 + max(rows.values()))
    return found, top


def _lanes(
    arranged: Arrangement, heights: Mapping[str, float], labels: Mapping[str, str], top: float
) -> tuple[dict[int, float], float]:
    """Return the middle of every lane, and where the last one ends with its labels."""
    lanes: dict[int, float] = {}
    boxes = {box.key: box for box in arranged.boxes}
    for lane in sorted({box.lane for box in arranged.boxes}):
        own = [box.key for box in arranged.boxes if box.lane == lane]
        levels = [w.level for w in arranged.wires if w.level is not None and boxes[w.source].lane == lane]
        high = max((heights.get(key, 16) for key in own), default=16)
        over = 14 + LEVEL * (1 + max(levels)) if levels else 8
        lanes[lane] = top + over + high / 2
        feet = [heights[key] / 2 + label_height(labels[key]) for key in own if key in labels]
        top = lanes[lane] + max(feet, default=high / 2) + 6
    return lanes, top


def label_height(label: str) -> float:
    """Return the pixels that count and label take under a bar.

    Parameters
    ----------
    label : str
        What stands under the bar.
    """
    return 31 + (15 if len(label) <= SHORT or " " in label else LETTER * min(len(label), LONGEST) + 4)


def _line(
    wire: Wire,
    boxes: Mapping[str, Box],
    places: Mapping[str, Place],
    columns: list[tuple[float, float]],
    lanes: Mapping[int, float],
    crowns: Mapping[int, float],
) -> str:
    """Return the path of an edge: out to the right, along in a free row, in from the left, with round corners."""
    a, b = places[wire.source], places[wire.target]
    source, target = boxes[wire.source], boxes[wire.target]
    start, end = a.x + a.width / 2, b.x - b.width / 2
    if wire.level is None and a.y == b.y:
        return f"M{start:g},{a.y:g}H{end:g}"
    along, aside = lanes[max(source.lane, target.lane)], 0
    if wire.level is not None:
        along, aside = crowns[source.lane] - LEVEL * wire.level, 2 * (wire.level % 3 - 1)
    rise, fall = columns[source.rank][1] + GAP / 2 + aside, columns[target.rank][0] - GAP / 2 - aside
    return f"M{start:g},{a.y:g}" + _bend(rise, a.y, along) + _bend(fall, along, b.y) + f"H{end:g}"


def _bend(x: float, old: float, new: float) -> str:
    """Return a path along y = `old` to x, then up or down, and on along y = `new`."""
    r = min(4.0, abs(new - old) / 2)
    if r < 0.5:
        return f"H{x:g}"
    sign = 1 if new > old else -1
    return f"H{x - r:g}Q{x:g},{old:g} {x:g},{old + sign * r:g}V{new - sign * r:g}Q{x:g},{new:g} {x + r:g},{new:g}"
