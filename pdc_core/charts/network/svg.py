"""The elements of the picture of a network, as SVG whose colours follow the page that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from pdc_core.charts.network.blocks import Block
from pdc_core.charts.network.geometry import GAP, LETTER, LONGEST, ROW, SHORT, Geometry, Place
from pdc_core.charts.network.layout import Arrangement, Box
from pdc_core.charts.network.values import QUANTITIES, Values, shade
from pdc_core.charts.palette import COLOURS, GREY, short

_NARROWEST = 640  # pixels that the legend needs
_LEGEND_LETTER = 6.6  # pixels of a letter of it
_SIGNS = {"sum": "+ sum", "product": "× product", "concat": "≡ concatenation", "join": "● other join"}


@dataclass(frozen=True)
class Bar:
    """A layer, or a folded block, as a bar.

    Attributes
    ----------
    key : str
        Key of the box.
    name : str
        The layer's dotted name, or the block's label.
    label : str
        What stands under it.
    what : str
        Its kind in words, such as "3×3 convolution".
    parts : tuple of (str, int)
        Groups whose counts it shows, and how many of its filters go with each cluster of them (in a folded block
        several layers may share a group); none where its filters cannot be merged.
    block : str
        Key of the folded block; "" for a layer.
    before, after : int
        Filters, without and with the plan.
    height : int
        The filters that its height stands for: of a block those of its widest layer.
    value : float or None
        What its colour shows; None where that is not known.
    macs : (int, int)
        Before and after.
    reason : str
        Why no count can be chosen; "" where one can.
    """

    key: str
    name: str
    label: str
    what: str
    parts: tuple[tuple[str, int], ...]
    block: str
    before: int
    after: int
    height: int
    value: float | None
    macs: tuple[int, int]
    reason: str

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose counts it shows."""
        return tuple(name for name, _ in self.parts)

    @property
    def text(self) -> str:
        """The bar in one line of words."""
        kept = f"{self.after:,} of {self.before:,} filters" if self.groups else f"{self.before:,} filters, all kept"
        before, after = map(short, self.macs)
        price = f"{after} of {before} MACs" if before != after else f"{before} MACs"
        why = f" · {self.reason}" if self.reason else ""
        return f"{self.name} · {self.what} · {kept} · {price}{why}"


@dataclass(frozen=True)
class Scene:
    """All that is drawn.

    Attributes
    ----------
    arranged : Arrangement
        Boxes and edges.
    placed : Geometry
        Where they are.
    blocks : tuple of Block
        All blocks of the network.
    bars : dict of str to Bar
        By the key of the box.
    ties : dict of str to tuple of str
        For each tied group, the boxes with its layers.
    values : Values
        Costs and colours.
    selected : str
        A group whose layers are marked.
    joins : tuple of str
        The kinds of joins that occur.
    """

    arranged: Arrangement
    placed: Geometry
    blocks: tuple[Block, ...]
    bars: Mapping[str, Bar]
    ties: Mapping[str, tuple[str, ...]]
    values: Values
    selected: str
    joins: tuple[str, ...]

    @property
    def largest(self) -> float:
        """The value of the darkest colour."""
        return max((bar.value for bar in self.bars.values() if bar.value is not None), default=0.0)


def draw_scene(scene: Scene) -> tuple[str, int, int]:
    """Return SVG elements, and the width and height that they need.

    Parameters
    ----------
    scene : Scene
        What to draw.
    """
    placed = scene.placed
    width = max(placed.width, _NARROWEST)
    move = (width - placed.width) / 2
    edges = "".join(f'<path d="{line}"/>' for line in placed.lines)
    body = [
        f'<g transform="translate({move:g},0)"><g fill="none" stroke="currentColor" opacity=".5" '
        f'stroke-width="1.4">{edges}</g>'
    ]
    folded = {block.key for block in scene.arranged.folded}
    for block in scene.blocks:
        if block.key in placed.headings:
            body.append(_heading(block, *placed.headings[block.key], block.key in folded))
    for i, (name, keys) in enumerate(scene.ties.items()):
        body.append(_rail(i, name, [placed.places[key].x for key in keys], placed.rails[name][2]))
    tied: dict[str, list[int]] = {}
    for i, keys in enumerate(scene.ties.values()):
        for key in keys:
            tied.setdefault(key, []).append(i)
    for box in scene.arranged.boxes:
        place = placed.places[box.key]
        bar = scene.bars.get(box.key)
        body.append(_bar(scene, bar, place, tied.get(box.key, [])) if bar else _sign(box, place))
    legend, high = _legend(scene, placed.height + 10, width)
    body.append(f"</g>{legend}")
    return "".join(body), round(width), round(placed.height + 14 + high)


def _bar(scene: Scene, bar: Bar, place: Place, ties: list[int]) -> str:
    w, h = place.width, place.height
    share = bar.after / bar.before if bar.before else 1.0
    fill = GREY if bar.value is None else shade(bar.value / scene.largest if scene.largest else 0.0)
    kept, foot = h * share, h / 2
    chosen = scene.selected and scene.selected in bar.groups
    behind = "".join(
        f'<rect x="{d - w / 2:g}" y="{-d - foot:g}" width="{w:g}" height="{h:g}" rx="3" fill="none" '
        'stroke="currentColor" stroke-opacity=".4"/>'
        for d in ((6, 3) if bar.block else ())
    )
    each = w / max(len(ties), 1)
    mark = "".join(
        f'<rect x="{j * each - w / 2:g}" y="{foot + 1.5:g}" width="{each:g}" height="3.5" fill="{tie_colour(i)}"/>'
        for j, i in enumerate(ties)
    )
    handle = (
        f'<path class="handle" d="M{-w / 2 - 2:g},0H{w / 2 + 2:g}" transform="translate(0,{foot - kept:.2f})" '
        'stroke="currentColor" stroke-width="2.5"/>'
        if bar.groups
        else ""
    )
    return (
        f'<g class="node{" selected" if chosen else ""}" data-node="{escape(bar.key, quote=True)}" '
        f'transform="translate({place.x:g},{place.y:.1f})"><title>{escape(bar.text)}</title>{behind}'
        f'<rect x="{-w / 2 - 5:g}" y="{-foot - 6:g}" width="{w + 10:g}" height="{h + 54:g}" fill="none" '
        'pointer-events="all"/>'
        f'<rect class="whole" x="{-w / 2:g}" y="{-foot:g}" width="{w:g}" height="{h:g}" rx="2" fill="currentColor" '
        f'fill-opacity=".07" stroke="currentColor" stroke-opacity="{1 if chosen else 0.6}" '
        f'stroke-width="{3 if chosen else 1}"/><rect class="kept" x="{-w / 2 + 0.5:g}" y="{foot - kept:.2f}" '
        f'width="{w - 1:g}" height="{kept:.2f}" fill="{fill}"/>{handle}{mark}{_texts(bar, foot)}</g>'
    )


def _texts(bar: Bar, foot: float) -> str:
    """Write count and label under a bar."""
    middle = 'text-anchor="middle" fill="currentColor"'
    y = foot + 18
    texts = [f'<text class="count" y="{y:g}" {middle} font-size="14" font-weight="600">{bar.after:,}</text>']
    if bar.groups:
        y += 13
        of = f"of {bar.before:,}" if bar.block else f"/{bar.before}"
        texts.append(f'<text y="{y:g}" {middle} font-size="12" opacity=".75">{of}</text>')
    label = bar.label if len(bar.label) <= LONGEST else f"…{bar.label[1 - LONGEST :]}"
    if len(bar.label) <= SHORT or " " in bar.label:
        texts.append(f'<text y="{y + 14:g}" {middle} font-size="12.5">{escape(label)}</text>')
    else:
        texts.append(
            f'<text transform="translate(4,{y + 5:g}) rotate(-90)" text-anchor="end" fill="currentColor" '
            f'font-size="12.5">{escape(label)}</text>'
        )
    return "".join(texts)


def _sign(box: Box, place: Place) -> str:
    """Draw a sum, a product, a concatenation, or one end of the network."""
    name = escape(box.nodes[0].path or "the network")
    at = f'transform="translate({place.x:g},{place.y:.1f})"'
    if box.kind in ("input", "output"):
        return f'<text {at} y="4" text-anchor="middle" font-size="12.5" fill="currentColor">{box.kind}</text>'
    shape = {
        "sum": '<path d="M-4,0H4M0,-4V4"/>',
        "product": '<path d="M-3,-3L3,3M-3,3L3,-3"/>',
        "concat": '<path d="M-4,-3H4M-4,0H4M-4,3H4"/>',
    }.get(box.kind, '<circle r="2.5" fill="currentColor"/>')
    frame = '<rect x="-8" y="-8" width="16" height="16" rx="3"' if box.kind == "concat" else '<circle r="8"'
    return (
        f'<g class="join" {at} stroke="currentColor" stroke-width="1.5" fill="none"><title>{box.nodes[0].name} in '
        f'{name}</title>{frame} pointer-events="all"/>{shape}</g>'
    )


def _heading(block: Block, left: float, right: float, top: float, folded: bool) -> str:
    """Draw the name of a block over it, with a bracket; a page folds and unfolds the block there."""
    room = int((right - left + GAP) / LETTER) - 2
    label = block.label
    if len(label) > room and block.parent:
        label = label.removeprefix(f"{block.parent}.")
    text = label if len(label) <= room else f"…{label[len(label) - max(room, 1) + 1 :]}"
    x, y = left + 4, top + 9
    arrow = f"M{x - 2:g},{y - 4:g}v8l5,-4z" if folded else f"M{x - 4:g},{y - 2:g}h8l-4,5z"
    line = "" if folded else f'<path d="M{left:g},{top + ROW - 1:g}v-3H{right:g}v3" fill="none" stroke="currentColor"/>'
    return (
        f'<g class="block" data-block="{escape(block.key, quote=True)}" data-folded="{int(folded)}" opacity=".85">'
        f"<title>{escape(block.key)}</title>"
        f'<rect x="{left:g}" y="{top:g}" width="{right - left:g}" height="{ROW - 2}" fill="none" '
        f'pointer-events="all"/>{line}<path d="{arrow}" fill="currentColor"/><text x="{left + 12:g}" y="{y + 4:g}" '
        f'font-size="12.5" fill="currentColor">{escape(text)}</text></g>'
    )


def tie_colour(i: int) -> str:
    """Return the colour of a set of tied layers.

    Parameters
    ----------
    i : int
        Its place among them, from 0; colours repeat after six, numbers do not.
    """
    return COLOURS[i % (len(COLOURS) - 1)]


def _rail(i: int, name: str, xs: list[float], y: float) -> str:
    """Draw the line that ties the layers of a group, with its number and a dot for each layer."""
    colour = tie_colour(i)
    dots = "".join(f'<circle cx="{x:g}" cy="{y:g}" r="4"/>' for x in xs)
    return (
        f'<g class="tie" fill="{colour}"><title>{escape(name)}: {len(xs)} bars share one count</title>'
        f'<path d="M{min(xs):g},{y:g}H{max(xs):g}" stroke="{colour}" stroke-width="3"/>{dots}'
        f'<text x="{min(xs) - 7:g}" y="{y + 4:g}" text-anchor="end" font-size="11" fill="currentColor">{i + 1}</text>'
        "</g>"
    )


def _legend(scene: Scene, y: float, width: float) -> tuple[str, float]:
    """Draw what colours, outlines and signs mean, and return the height that this takes."""
    scale = "".join(
        f'<rect x="{GAP + 3 * i:g}" y="{y:g}" width="3.6" height="12" fill="{shade(i / 39)}"/>' for i in range(40)
    )
    top = f"0 to {scene.values.number(scene.largest)}: " if scene.largest else ""
    mean = "; of a folded block their mean" if scene.arranged.folded else ""
    unknown = "; grey: not measured" if any(bar.value is None for bar in scene.bars.values()) else ""
    height = "square root of its number of filters" if scene.placed.root else "its number of filters"
    signs = [_SIGNS[kind] for kind in scene.joins]
    signs += ["same number and colour below: tied layers, which share one count"] if scene.ties else []
    lines = [f"Height of a bar: {height}. Outline: all filters; filled: kept.", " · ".join(signs)]
    if (len(lines[0]) + len(lines[1])) * _LEGEND_LETTER < width:
        lines = [" · ".join(line.rstrip(".") for line in lines if line)]
    first = f"{top}{QUANTITIES[scene.values.quantity]}{mean}{unknown}"
    texts = [f'<text x="{GAP + 130}" y="{y + 11:g}">{escape(first)}</text>']
    texts += [f'<text x="{GAP}" y="{y + 31 + 18 * i:g}">{escape(line)}</text>' for i, line in enumerate(lines)]
    drawn = f'<g shape-rendering="crispEdges">{scale}</g>{"".join(texts)}'
    return f'<g class="legend" font-size="13" fill="currentColor">{drawn}</g>', 20 + 18 * len(lines)
