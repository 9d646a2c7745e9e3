"""A part of a network: a detector's backbone, a segmentation network's, clustered although the rest is not followed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import chain, counted_macs, lively_, parameters, random_labels, reconstructed_and_folded

X = torch.rand(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


class Detector(nn.Module):
    """A backbone with two outputs and a head that loops over values, which no tracer follows."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x * 2, scale=0.5)
        boxes = [self.head(features["deep"])[i] for i in range(len(x)) if features["shallow"][i].sum() > -1e9]
        return {"boxes": torch.stack(boxes), "features": features["shallow"]}


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.Conv2d(4, 5, 3, stride=2)

    def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        shallow = torch.relu(self.b(torch.relu(self.a(x)))) * scale
        return {"shallow": shallow, "deep": self.c(shallow)}


def folded(model: nn.Module, inside: str, keep: float = 0.5) -> tuple[pdc.ChannelGraph, nn.Module, nn.Module]:
    graph = pdc.trace(model, X, "shared", inside=inside)
    labels = random_labels(graph, keep)
    tied = pdc.reconstruct_(copy.deepcopy(model), graph, labels)
    return graph, tied, pdc.fold(tied, graph, labels)


def test_a_backbone_folds_exactly_within_a_network_that_cannot_be_traced(tmp_path: Path) -> None:
    net = lively_(Detector())
    with pytest.raises(pdc.PDCError, match="cannot be traced"):
        pdc.trace(net, X)
    graph, tied, small = folded(net, "backbone")
    assert [g.name for g in graph.clusterable] == ["backbone.a"]  # what leaves the backbone stays whole
    assert pdc.check_equal(tied, small, X.repeat(3, 1, 1, 1)).relative <= 1e-9
    assert pdc.plan_cost(graph, {}).macs == counted_macs(net, X)
    priced = pdc.plan_cost(graph, pdc.Plan.uniform(graph, 0.5))
    assert (priced.macs, priced.params) == (counted_macs(small, X), parameters(small))
    pdc.save(small, tmp_path / "detector.safetensors")
    again = pdc.load(tmp_path / "detector.safetensors", build=Detector)
    assert pdc.check_equal(small, again, X).max_abs_diff == 0


@pytest.mark.parametrize("inside", ["backbone.body", "backbone"])
def test_torchvisions_retinanet_is_compressed_in_its_backbone(inside: str) -> None:
    make = pdc.torchvision().models.detection.retinanet_resnet50_fpn
    model = lively_(make(weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=64))
    graph, tied, small = folded(model, inside)
    assert graph.reach().filters == 1
    with torch.no_grad():
        before, after = (list(m.backbone(X).values()) for m in (tied, small))  # type: ignore[operator]
        heads = [m.head(features) for m, features in ((tied, before), (small, after))]  # type: ignore[operator]
    for one, other in [*zip(before, after, strict=True), *((heads[0][k], heads[1][k]) for k in heads[0])]:
        assert float((one - other).abs().max() / one.abs().max()) <= 1e-9
    assert parameters(small) < 0.8 * parameters(model)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_torchvisions_segmentation_networks_fold_as_a_whole(name: str) -> None:
    model = getattr(pdc.torchvision().models.segmentation, name)(weights=None, weights_backbone=None, num_classes=3)
    model = lively_(model)
    graph = pdc.trace(model, X, "shared")
    assert graph.reach().filters == 1
    labels = random_labels(graph, 0.5)
    tied = pdc.reconstruct_(copy.deepcopy(model), graph, labels)
    assert pdc.check_equal(tied, pdc.fold(tied, graph, labels), X).relative <= 1e-9
    assert pdc.plan_cost(graph, {}).macs == counted_macs(model, X)


class Choosy(nn.Module):
    """Parts of every kind, called by a forward pass that branches on values."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts.values():
            x = part(x)
        return x if x.sum() < 1e9 else -x


def small_chain(layers: int) -> nn.Sequential:
    pairs = [(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*(layer for pair in pairs for layer in pair))


@pytest.mark.parametrize(
    ("net", "part"),
    [
        (Choosy(few=small_chain(2), many=small_chain(5)), "parts.many"),  # most layers
        (Choosy(only=small_chain(1)), ""),  # no filters that another layer within reads
        (Choosy(outer=Choosy(few=small_chain(2)), more=small_chain(3)), "parts.more"),
        (
            Choosy(outer=Choosy(few=small_chain(3)), more=small_chain(2)),
            "parts.outer.parts.few",
        ),  # within one that fails
        (Choosy(twice=(shared := small_chain(4)), again=shared, once=small_chain(2)), "parts.once"),
    ],
)
def test_the_error_names_the_part_that_can_be_traced(net: nn.Module, part: str) -> None:
    with pytest.raises(pdc.Untraceable, match=r"test_inside.py, line \d+: `return x if") as caught:
        pdc.trace(lively_(net), X)
    assert caught.value.part == part
    with pytest.raises(pdc.Untraceable) as caught:  # an example of another type is a shape as well
        pdc.trace(net, X.float())
    assert caught.value.part == part
    assert ("--inside" in str(caught.value)) == bool(part)
    if part:
        assert pdc.trace(net, X, inside=part).clusterable


def test_a_detectors_error_shows_torchvisions_line_and_offers_its_backbone() -> None:
    make = pdc.torchvision().models.detection.fcos_resnet50_fpn
    model = make(weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=64).double().eval()
    with pytest.raises(pdc.Untraceable, match=r"in fcos.py, line \d+: `for img in images.*--inside backbone") as caught:
        pdc.trace(model, X)
    assert pickle.loads(pickle.dumps(caught.value)).part == "backbone"


def test_what_cannot_be_a_part_is_refused() -> None:
    net = lively_(Detector())
    for inside, said in (("neck", r"no submodule 'neck'.*backbone, head"), ("backbone.a.b", "no submodule")):
        with pytest.raises(pdc.PDCError, match=said):
            pdc.trace(net, X, inside=inside)
    twice = nn.Sequential(layer := nn.Conv2d(3, 3, 1), layer).double().eval()
    with pytest.raises(pdc.PDCError, match="called 2 times"):
        pdc.trace(twice, X, inside="0")
    unused = nn.Sequential(nn.Conv2d(3, 3, 1)).double().eval()
    unused[0].spare = chain().eval()  # type: ignore[assignment]
    with pytest.raises(pdc.PDCError, match="never called"):
        pdc.trace(unused, X, inside="0.spare")


class Part(nn.Module):
    """Takes more than an input, of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor | None = None, *, scale: Any = 1.0, both: bool = False) -> Any:
        y = self.second(F.relu(self.first(x))) * scale
        if skip is not None:
            y = y + skip
        return (y, x) if both else y


CALLS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "by name": lambda part, x: part(x=x),
    "a number by name": lambda part, x: part(x, scale=2.0),
    "a flag": lambda part, x: part(x, both=True)[0],
    "a tensor and a number": lambda part, x: part(x, x.new_ones(1, 8, 1, 1), scale=0.5),
    "nothing by name and a tensor": lambda part, x: part(x, skip=None, scale=x.new_tensor(3.0)),
    "all by name": lambda part, x: part(scale=2, skip=x.new_ones(1, 8, 1, 1), x=x),
}


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("how", CALLS)
def test_a_part_is_given_its_arguments_as_the_network_gives_them(how: str, residual: str) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.head = Part(), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(CALLS[how](self.part, x).mean((2, 3)))
            return y if y.sum() < 1e9 else -y

    net, x = lively_(Whole()), torch.randn(3, 2, 6, 6, dtype=torch.float64)
    graph = pdc.trace(net, x[:1], residual, inside="part")
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert pdc.check_equal(tied, small, x).relative <= 1e-9
    assert pdc.cost(small, x).macs == pdc.plan_cost(graph, pdc.Plan.uniform(graph, 0.5)).macs < pdc.cost(net, x).macs
