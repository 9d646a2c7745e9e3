"""A network as a picture: layers as bars as high as they have filters, outlined before a plan and filled after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pdc_core.charts.drawing import Drawing
from pdc_core.charts.network.blocks import Block, find_blocks
from pdc_core.charts.network.geometry import place_all
from pdc_core.charts.network.layout import Box, arrange, automatic_folds
from pdc_core.charts.network.svg import Bar, Scene, draw_scene
from pdc_core.charts.network.values import QUANTITIES, Values, groups_of, values_of
from pdc_core.charts.palette import short
from pdc_core.errors import PDCError
from pdc_core.estimates import Sensitivity
from pdc_core.graph import ChannelGraph, Layer
from pdc_core.graph.flow import layer_flow
from pdc_core.plan import Plan

TALL = 120  # pixels of the highest bar
_JOINS = {"sum": "sums", "product": "products", "concat": "concatenations", "join": "other joins"}


@dataclass(frozen=True)
class NetworkPicture:
    """A picture of a network, and what is in it.

    Attributes
    ----------
    drawing : Drawing
        The picture.
    bars : tuple of Bar
        Its layers and folded blocks, in the order of the forward pass.
    blocks : tuple of Block
        All blocks of the network, outer ones first.
    folded : frozenset of str
        Keys of the blocks that are drawn as one bar.
    """

    drawing: Drawing
    bars: tuple[Bar, ...]
    blocks: tuple[Block, ...]
    folded: frozenset[str]


def draw_network(
    graph: ChannelGraph,
    plan: Plan | Mapping[str, int] | None = None,
    *,
    colour: str = "macs",
    sensitivity: Sensitivity | None = None,
    folded: Collection[str] | None = None,
) -> Drawing:
    """Draw a network from left to right, before and after a plan at once.

    A bar is a layer, as high as it has filters; the filled part is what the plan keeps. Sums, products and
    concatenations are drawn. Layers that must share their clusters have the same number and colour.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    plan : Plan or mapping of str to int, optional
        Clusters kept by group; left out, nothing is pruned.
    colour : {"macs", "params", "sensitivity"}, default "macs"
        What the colour of a bar shows.
    sensitivity : Sensitivity, optional
        For ``colour="sensitivity"``.
    folded : collection of str, optional
        Blocks to draw as one bar, such as "layer1"; left out, runs of blocks that are all alike in deep networks.

    Returns
    -------
    Drawing
        Shown by a notebook as it is; `Drawing.save` writes it to an SVG file.

    Raises
    ------
    PDCError
        The plan does not fit the network, a block does not exist, or the sensitivity is missing.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> graph = pdc.trace(pdc.build_model("resnet110", 3, 10).eval(), torch.zeros(1, 3, 32, 32))
    >>> print(pdc.draw_network(graph, pdc.Plan.uniform(graph, keep=0.25)).title)
    110 layers, 253 M MACs before and 63.6 M with the plan
    """
    return network_picture(graph, plan, colour=colour, sensitivity=sensitivity, folded=folded).drawing


def network_picture(
    graph: ChannelGraph,
    plan: Plan | Mapping[str, int] | None = None,
    *,
    colour: str = "macs",
    sensitivity: Sensitivity | None = None,
    folded: Collection[str] | None = None,
    selected: str = "",
    tall: float = TALL,
) -> NetworkPicture:
    """Draw a network as `draw_network` does, and return what is in the picture as well.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    plan : Plan or mapping of str to int, optional
        Clusters kept by group.
    colour : str, default "macs"
        What is coloured.
    sensitivity : Sensitivity, optional
        Measured before.
    folded : collection of str, optional
        Blocks to draw as one bar.
    selected : str, default ""
        A group whose layers are marked.
    tall : float, default 120
        Pixels of the highest bar.

    Raises
    ------
    PDCError
        As `draw_network`.
    """
    values = values_of(graph, plan, colour, sensitivity)
    flow = layer_flow(graph)
    blocks = find_blocks(flow, graph.layers)
    wanted = automatic_folds(flow, blocks) if folded is None else _known(folded, blocks)
    arranged = arrange(flow, blocks, wanted)
    bars = {box.key: _bar(box, graph, values) for box in arranged.boxes if _is_bar(box)}
    ties = _ties(graph, arranged.boxes)
    filters = {key: bar.height for key, bar in bars.items()}
    labels = {key: bar.label for key, bar in bars.items()}
    placed = place_all(arranged, blocks, filters, labels, ties, tall)
    scene = Scene(arranged, placed, blocks, bars, ties, values, selected, tuple(_joins_in(arranged.boxes)))
    body, width, height = draw_scene(scene)
    title = f"{len(graph.layers)} layers, {short(values.before.macs)} MACs"
    if values.after.macs != values.before.macs:
        title += f" before and {short(values.after.macs)} with the plan"
    drawing = Drawing(title, _in_words(scene), width, height, body)
    return NetworkPicture(drawing, tuple(bars.values()), blocks, frozenset(block.key for block in arranged.folded))


def _known(folded: Collection[str], blocks: tuple[Block, ...]) -> frozenset[str]:
    keys = [block.key for block in blocks]
    unknown = [key for key in folded if key not in keys]
    if unknown:
        some = ", ".join(keys[:6]) or "none"
        raise PDCError(f"There is no block {unknown[0]!r} in this network; its blocks: {some}.")
    return frozenset(folded)


def _is_bar(box: Box) -> bool:
    return box.kind in ("layer", "block")


def _bar(box: Box, graph: ChannelGraph, values: Values) -> Bar:
    """Return what a bar shows: of a folded block all its layers, its colour their mean."""
    indices = [node.layer for node in box.nodes if node.layer is not None]
    layers = [graph.layers[i] for i in indices]
    parts = Counter(group.name for i in indices for group in groups_of(graph, i))
    coloured = [values.coloured[i] for i in indices if i in values.coloured]
    pairs = [(values.before.layers[i], values.after.layers[i]) for i in indices]
    written = [graph.groups[g].frozen for i in indices for g, _ in graph.layers[i].narrows_out]
    reason = "" if parts else next((why for why in written if why), "its filters cannot be merged")
    return Bar(
        key=box.key,
        name=box.block.label if box.block else layers[0].name,
        label=box.block.label.rpartition(".")[2] if box.block else _label(layers[0].name),
        what=f"{len(layers)} layers" if box.block else _what(layers[0]),
        parts=tuple(parts.items()),
        block=box.block.key if box.block else "",
        before=sum(b.out_channels for b, _ in pairs),
        after=sum(a.out_channels for _, a in pairs),
        height=max(b.out_channels for b, _ in pairs),
        value=sum(coloured) / len(coloured) if coloured else None,
        macs=(sum(b.macs for b, _ in pairs), sum(a.macs for _, a in pairs)),
        reason=reason,
    )


def _label(name: str) -> str:
    """Return what stands under a layer's bar: the last part of its name that says something."""
    parts = name.split(".")
    if len(parts) > 2 and parts[-1] == "0":
        parts.pop()
    if len(parts) > 1 and parts[-1] == "conv":  # of a convolution with its norm
        parts.pop()
    return ".".join(parts[-2:] if parts[-1].isdigit() else parts[-1:])


def _what(layer: Layer) -> str:
    """Return what kind of layer it is, in words."""
    if layer.kind == "conv":
        size = "×".join(map(str, layer.kernel))
        kind = "depthwise convolution" if layer.depthwise else "convolution"
        return f"{size} {kind}" + (f" in {layer.groups} groups" if layer.groups > 1 and not layer.depthwise else "")
    return "linear layer" if layer.kind == "linear" else "fixed operation"


def _ties(graph: ChannelGraph, boxes: tuple[Box, ...]) -> dict[str, tuple[str, ...]]:
    """Return for every group that ties several layers of the picture the bars with these layers."""
    at = {node.name: box.key for box in boxes for node in box.nodes if node.layer is not None}
    found = {}
    for group in graph.clusterable:
        keys = dict.fromkeys(at[part.module] for part in group.producers if part.module in at)
        if len({part.module for part in group.producers}) > 1 and len(keys) > 1:
            found[group.name] = tuple(keys)
    return found


def _joins_in(boxes: tuple[Box, ...]) -> list[str]:
    return [kind for kind in _JOINS if any(box.kind == kind for box in boxes)]


def _in_words(scene: Scene) -> str:
    """Return the picture in words."""
    boxes, values = scene.arranged.boxes, scene.values
    kept = sum(bar.after for bar in scene.bars.values())
    total = sum(bar.before for bar in scene.bars.values())
    counts = [(kind, sum(box.kind == kind for box in boxes)) for kind in scene.joins]
    joins = "".join(f", {n} {_JOINS[kind] if n > 1 else _JOINS[kind].rstrip('s')}" for kind, n in counts)
    folded = [block.label for block in scene.arranged.folded]
    parts = [
        f"The network from left to right: {sum(box.kind == 'layer' for box in boxes)} layers as bars{joins}.",
        f"The filled part of a bar is what is kept: {kept:,} of {total:,} filters.",
        f"Colour: {QUANTITIES[values.quantity]}.",
    ]
    if folded:
        parts.append(f"Folded into one bar each: {', '.join(folded)}.")
    if scene.ties:
        parts.append(f"{len(scene.ties)} sets of tied layers have a number and a colour each.")
    return " ".join(parts)
