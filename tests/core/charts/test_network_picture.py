"""The picture of a network: every layer once, nothing on top of anything, and heights that are the plan's."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core import charts
from pdc_core.charts.network.blocks import find_blocks
from pdc_core.charts.network.layout import Arrangement, arrange, automatic_folds
from pdc_core.charts.network.picture import NetworkPicture, network_picture
from pdc_core.charts.network.values import RAMP, shade
from pdc_core.estimates import Sensitivity
from pdc_core.estimates.sensitivities import Point
from pdc_core.graph.flow import layer_flow

SVG = "{http://www.w3.org/2000/svg}"


class UNet(nn.Module):
    """Three long ways around the middle, each to a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 4, 8, 16)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.middle = nn.Conv2d(16, 16, 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(16 + w if w == 16 else 3 * w, w, 3, padding=1) for w in widths[:0:-1])
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for layer in self.down:
            x = layer(x).relu()
            kept.append(x)
        x = self.middle(x).relu()
        for layer in self.up:
            x = layer(torch.cat([x, kept.pop()], 1)).relu()
        return self.head(x)


NETWORKS = ["resnet20", "resnet110", "densenet121", "mobilenet_v2", "googlenet", "resnet18", "unet", "shared"]


@cache
def _graph(name: str) -> pdc.ChannelGraph:
    model = UNet() if name == "unet" else pdc.build_model("resnet20" if name == "shared" else name, 3, 10)
    return pdc.trace(model.eval(), torch.zeros(1, 3, 32, 32), "shared" if name == "shared" else "internal")


def _arranged(graph: pdc.ChannelGraph, folded: frozenset[str] | None) -> Arrangement:
    flow = layer_flow(graph)
    blocks = find_blocks(flow, graph.layers)
    return arrange(flow, blocks, automatic_folds(flow, blocks) if folded is None else folded)


def _elements(picture: NetworkPicture) -> ET.Element:
    return ET.fromstring(picture.drawing.svg)


def _middle(element: ET.Element) -> np.ndarray:
    found = re.match(r"translate\((.*),(.*)\)", element.attrib["transform"])
    assert found is not None
    return np.array([float(found[1]), float(found[2])])


def _rectangle(node: ET.Element) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a bar."""
    whole = next(e for e in node if e.get("class") == "whole")
    x, y, w, h = (float(whole.attrib[name]) for name in ("x", "y", "width", "height"))
    (a, b) = _middle(node)
    return a + x, b + y, a + x + w, b + y + h


def _corners(path: str) -> list[tuple[float, float]]:
    """Return the points that a path of M, H, V and Q goes through."""
    x = y = 0.0
    points = []
    for letter, numbers in re.findall(r"([MHVQ])([^MHVQ]*)", path):
        values = [float(v) for v in re.split(r"[ ,]", numbers)]
        x = values[-2] if letter in "MQ" else values[0] if letter == "H" else x
        y = values[-1] if letter in "MQV" else y
        points.append((x, y))
    return points


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("unfolded", [False, True])
def test_every_layer_is_drawn_once_and_no_two_boxes_share_a_place(name: str, unfolded: bool) -> None:
    graph = _graph(name)
    arranged = _arranged(graph, frozenset() if unfolded else None)
    drawn = [node.layer for box in arranged.boxes for node in box.nodes if node.layer is not None]
    assert sorted(drawn) == list(range(len(graph.layers)))
    assert len({(box.rank, box.lane) for box in arranged.boxes}) == len(arranged.boxes)
    rank = {box.key: box.rank for box in arranged.boxes}
    assert all(rank[wire.source] < rank[wire.target] for wire in arranged.wires)
    if unfolded:
        assert not arranged.folded
        assert {(w.source, w.target) for w in arranged.wires} == set(layer_flow(graph).edges)


@pytest.mark.parametrize("name", NETWORKS)
def test_bars_do_not_overlap_and_no_line_crosses_one(name: str) -> None:
    root = _elements(network_picture(_graph(name)))
    bars = [_rectangle(g) for g in root.iter(f"{SVG}g") if g.get("class", "").startswith("node")]
    for i, (left, top, right, bottom) in enumerate(bars):
        for other in bars[:i]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    edges = next(g for g in root.iter(f"{SVG}g") if g.get("opacity") == ".5")
    lines = [path.attrib["d"] for path in edges]
    assert lines
    for line in lines:
        for (x0, y0), (x1, y1) in pairwise(_corners(line)):
            for left, top, right, bottom in bars:
                inside = max(min(x0, x1), left + 0.5) < min(max(x0, x1), right - 0.5)
                upright = abs(x0 - x1) < 1e-9 and left + 0.5 < x0 < right - 0.5
                assert not (inside and top < (y0 + y1) / 2 < bottom)
                assert not (upright and max(min(y0, y1), top) < min(max(y0, y1), bottom))


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", "shared"])
def test_the_filled_part_of_a_bar_is_what_the_folded_network_keeps(name: str) -> None:
    graph = _graph(name)
    plan = pdc.Plan.uniform(graph, 0.3)
    picture = network_picture(graph, plan, folded=())
    widths = {layer.name: layer.out_channels for layer in pdc.plan_cost(graph, plan).layers}
    full = {layer.name: layer.out_channels for layer in graph.layers}
    nodes = {g.attrib["data-node"]: g for g in _elements(picture).iter(f"{SVG}g") if "data-node" in g.attrib}
    assert len(picture.bars) == len(full)
    for bar in picture.bars:
        parts = {e.get("class"): e for e in nodes[bar.key]}
        share = float(parts["kept"].attrib["height"]) / float(parts["whole"].attrib["height"])
        assert share == pytest.approx(widths[bar.name] / full[bar.name], abs=0.01)
        assert parts["count"].text == f"{widths[bar.name]:,}"
        assert (bar.before, bar.after) == (full[bar.name], widths[bar.name])
        assert ("handle" in parts) == bool(bar.groups) == (not bar.reason)
        gone = sum(times * (graph.group(g).size - plan.counts[g]) for g, times in bar.parts)
        assert bar.before - gone == bar.after
    assert charts.short(pdc.plan_cost(graph, plan).macs) in picture.drawing.title


def test_deep_networks_fold_runs_of_alike_blocks_and_unfold_again() -> None:
    picture = network_picture(_graph("resnet110"), pdc.Plan.uniform(_graph("resnet110"), 0.5))
    folded = [bar for bar in picture.bars if bar.block]
    assert [bar.name for bar in folded] == ["17 more blocks"] * 3
    assert [bar.before for bar in folded] == [17 * 2 * n for n in (16, 32, 64)]
    assert [bar.after for bar in folded] == [17 * (n + n // 2) for n in (16, 32, 64)]  # the second layers stay whole
    assert picture.drawing.alt.endswith("Folded into one bar each: 17 more blocks, 17 more blocks, 17 more blocks.")
    assert picture.drawing.width < 1000
    one = network_picture(_graph("resnet110"), folded=picture.folded - {"layer2.1…layer2.17"})
    assert len(one.bars) == len(picture.bars) - 1 + 34
    stages = network_picture(_graph("resnet20"), folded=["layer1", "layer2", "layer3", "layer1.0"])
    assert [bar.name for bar in stages.bars] == ["conv1", "layer1", "layer2", "layer3", "linear"]
    assert not network_picture(_graph("resnet20")).folded
    dense = network_picture(_graph("densenet121"))
    assert [bar.name for bar in dense.bars if bar.block] == [f"{n} more blocks" for n in (4, 10, 22, 14)]


def test_a_block_that_a_way_leaves_and_enters_again_stays_unfolded() -> None:
    class Crossing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.ModuleDict({"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(4, 4, 1)})
            self.between, self.end, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.end(self.part["b"](self.between(self.part["a"](x)))))

    graph = pdc.trace(Crossing().eval(), torch.zeros(1, 3, 8, 8))
    picture = network_picture(graph, folded=["part"])
    assert not picture.folded
    assert len(picture.bars) == 5


def test_tied_layers_are_joined_by_a_line_of_one_colour() -> None:
    graph = _graph("mobilenet_v2")
    root = _elements(network_picture(graph, folded=()))
    ties = [g for g in root.iter(f"{SVG}g") if g.get("class") == "tie"]
    several = [g for g in graph.clusterable if len({p.module for p in g.producers}) > 1]
    assert (
        len(ties) == len(several) == 17
    )  # an expansion and its depthwise convolution; the first block has no expansion
    for tie, group in zip(ties, several, strict=True):
        dots = [e for e in tie if e.tag == f"{SVG}circle"]
        assert len(dots) == len(group.producers)
        marks = [e for e in root.iter(f"{SVG}rect") if e.get("fill") == tie.attrib["fill"] and e.get("height") == "3.5"]
        assert len(marks) >= len(dots)
    assert "17 sets of tied layers" in network_picture(graph, folded=()).drawing.alt
    assert not [g for g in _elements(network_picture(_graph("resnet20"))).iter(f"{SVG}g") if g.get("class") == "tie"]


def test_colours_are_the_plans_costs_or_the_measured_sensitivity() -> None:
    graph = _graph("resnet20")
    plan = pdc.Plan.uniform(graph, 0.5)
    after = pdc.plan_cost(graph, plan)
    for colour in ("macs", "params"):
        picture = network_picture(graph, plan, colour=colour)
        assert [bar.value for bar in picture.bars] == [getattr(layer, colour) for layer in after.layers]
    points = (Point("layer1.0.conv1", 16, 8, 0.8, 0.1), Point("layer3.0.conv1", 64, 32, 0.65, 0.3))
    picture = network_picture(graph, plan, colour="sensitivity", sensitivity=Sensitivity(0.9, 100, points, True))
    values = {bar.name: bar.value for bar in picture.bars if bar.value is not None}
    assert values == pytest.approx({"layer1.0.conv1": 10, "layer3.0.conv1": 25})
    nodes = {g.attrib["data-node"]: g for g in _elements(picture).iter(f"{SVG}g") if "data-node" in g.attrib}
    fills = {key: next(e.attrib["fill"] for e in g if e.get("class") == "kept") for key, g in nodes.items()}
    assert fills["layer3_0_conv1"] == RAMP[-1]
    assert fills["layer1_0_conv1"] == shade(0.4)
    assert fills["conv1"] == charts.GREY
    assert "0 to 25.0: accuracy lost" in picture.drawing.body
    assert "grey: not measured" in picture.drawing.body


def test_dearer_is_darker_so_that_the_order_needs_no_colour_vision() -> None:
    def luminance(colour: str) -> float:
        c = np.array([*bytes.fromhex(colour[1:])]) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    steps = [luminance(shade(t)) for t in np.linspace(0, 1, 41)]
    assert all(b < a for a, b in pairwise(steps))
    assert [shade(i / 4) for i in range(5)] == list(RAMP)


def test_a_picture_is_a_file_and_an_element_of_a_notebook(tmp_path: Path) -> None:
    drawn = pdc.draw_network(_graph("resnet20"), {"layer1.0.conv1": 4})
    drawn.save(tmp_path / "network.svg")
    root = ET.parse(tmp_path / "network.svg").getroot()
    assert root.find(f"{SVG}title").text == drawn.title  # type: ignore[union-attr]
    assert root.find(f"{SVG}desc").text == drawn.alt  # type: ignore[union-attr]
    assert drawn.alt in drawn._repr_html_()
    assert "9 sums" in drawn.alt
    with pytest.raises(pdc.PDCError, match=r"does not end in \.svg"):
        drawn.save(tmp_path / "network.png")


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    graph = _graph("resnet20")
    with pytest.raises(pdc.PDCError, match="There is no block 'layer9' in this network; its blocks: layer1, layer2"):
        pdc.draw_network(graph, folded=["layer9"])
    with pytest.raises(pdc.PDCError, match="choose one of macs, params, sensitivity"):
        pdc.draw_network(graph, colour="speed")
    with pytest.raises(pdc.PDCError, match="needs a measurement"):
        pdc.draw_network(graph, colour="sensitivity")
    for plan in ({"nothing": 3}, {"layer1.0.conv1": 99}, {"layer1.0.conv1": 0}):
        with pytest.raises(pdc.PDCError):
            pdc.draw_network(graph, plan)
