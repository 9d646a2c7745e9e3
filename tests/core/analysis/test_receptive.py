"""Receptive fields against not-a-numbers: what a pixel of NaN reaches, depends on that pixel."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.analysis.receptive import receptive_fields
from pdc_core.graph import ChannelGroup, Slice
from pdc_core.graph.readers import reading
from tests.networks import chain, lively_

C, SIDES = 4, (11, 9)
Step = tuple[str, int, int, int, int]


class RandomNetwork(nn.Module):
    """Steps on one tensor of C channels, then a convolution that reads it."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.parts = nn.ModuleDict()
        for number, (kind, kernel, stride, edge, apart) in enumerate(steps):
            if kind in ("conv", "residual", "cat", "grouped"):
                step, groups = (1 if kind in ("residual", "cat") else stride), (2 if kind == "grouped" else 1)
                out = C // 2 if kind == "cat" else C
                self.parts[str(number)] = nn.Conv2d(C, out, kernel, step, edge, apart, groups)
            elif kind == "norm":
                self.parts[str(number)] = nn.BatchNorm2d(C)
            elif kind == "max":
                self.parts[str(number)] = nn.MaxPool2d(kernel, stride, min(edge, kernel // 2), ceil_mode=apart == 2)
            elif kind == "average":
                self.parts[str(number)] = nn.AvgPool2d(kernel, stride, min(edge, kernel // 2), ceil_mode=apart == 2)
        self.head = nn.Conv2d(C, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x.flip(1)[:, :1]], dim=1)
        parts = dict(self.parts.items())
        for number, (kind, kernel, _, edge, _) in enumerate(self.steps):
            x = self.step(x, kind, parts.get(str(number)), kernel, edge)
        return self.head(x)

    def step(self, x: Tensor, kind: str, part: nn.Module | None, kernel: int, edge: int) -> Tensor:
        if kind in ("conv", "grouped", "norm", "max", "average"):
            assert part is not None
            return F.relu(part(x), inplace=True)
        if kind == "residual":
            assert part is not None
            y = part(x)
            y += F.adaptive_avg_pool2d(x, y.shape[2:])
            return y
        if kind == "cat":
            assert part is not None
            y = part(x)
            return torch.cat([y, F.interpolate(x, size=y.shape[2:])[:, ::2]], dim=1)
        if kind == "written":  # zeros into which a part is written, as in a padded shortcut
            y = torch.zeros_like(x)
            y[:, 1:] = F.hardswish(x[:, 1:])
            return y + x.mean(dim=1, keepdim=True)
        if kind == "shuffle":
            return x.reshape(len(x), 2, C // 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        if kind == "layer norm":
            return F.layer_norm(x.permute(0, 2, 3, 1), (C,)).permute(0, 3, 1, 2)
        if kind == "pad":
            return F.pad(x, (1, edge, 0, edge))
        if kind == "crop":
            return x[:, :, min(edge, x.shape[2] - 1) :]
        if kind == "gate":
            return x * torch.sigmoid(x.mean(dim=(2, 3), keepdim=True))
        assert kind == "upsample"
        return F.interpolate(x, scale_factor=2)


EXACT = (
    "conv",
    "grouped",
    "norm",
    "max",
    "average",
    "residual",
    "cat",
    "shuffle",
    "layer norm",
    "pad",
    "crop",
    "upsample",
)
STEPS = st.tuples(st.sampled_from(EXACT), st.integers(1, 4), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2))


@given(st.lists(STEPS, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_a_field_holds_exactly_the_pixels_whose_not_a_number_arrives(steps: list[Step]) -> None:
    net = lively_(RandomNetwork(steps))
    try:
        net(torch.zeros(1, C - 1, *SIDES, dtype=torch.float64))
    except RuntimeError:  # a kernel larger than what is left of the image
        return
    group = _group("head", C)
    assert np.array_equal(receptive_fields(net, group, (C - 1, *SIDES)), _by_probing(net, group, (C - 1, *SIDES)))


@pytest.mark.parametrize("kind", ["written", "gate"])
def test_no_pixel_is_missing_where_an_operation_connects_more_than_can_be_told_apart(kind: str) -> None:
    net = lively_(RandomNetwork([("conv", 3, 1, 1, 1), (kind, 1, 1, 0, 1), ("conv", 3, 2, 0, 1)]))
    found, least = (f(net, _group("head", C), (C - 1, *SIDES)) for f in (receptive_fields, _by_probing))
    assert (found[..., [0, 2]] <= least[..., [0, 2]]).all()
    assert (found[..., [1, 3]] >= least[..., [1, 3]]).all()
    assert (found[..., 1] <= SIDES[0]).all()


def test_fields_behind_pooling_and_a_flatten_and_of_linear_layers() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    for group in graph.clusterable:
        boxes = receptive_fields(net, group, (2, 6, 6))
        assert np.array_equal(boxes, _by_probing(net, group, (2, 6, 6)))
    assert boxes.tolist() == [[[0, 6, 0, 6]]] * 8


@pytest.mark.parametrize("name", ["resnet20", "timm:regnety_002", "timm:convnext_atto", "densenet121"])
def test_fields_of_networks_that_people_use(name: str) -> None:
    net = pdc.load_model(name, data="digits" if name == "resnet20" else "cifar10", weights="random")
    shape = (1, 8, 8) if name == "resnet20" else (3, 32, 32)
    groups = [g for g in pdc.trace(net, torch.zeros(1, *shape)).clusterable if g.readers]
    group = groups[len(groups) // 3]
    found, least = receptive_fields(net, group, shape), _by_probing(net.double(), group, shape)
    if name == "timm:regnety_002":  # a gate counts the pixels beside those of its mean, which is all of them
        assert (found == [0, 32, 0, 32]).all()
    assert np.array_equal(found, least)


def test_what_no_pixel_reaches_has_an_empty_field() -> None:
    net = nn.Sequential(nn.ZeroPad2d((4, 0, 0, 0)), nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)).eval()
    boxes = receptive_fields(net, _group("2", 2), (1, 3, 3))
    assert boxes[0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 3, 0, 1], [0, 3, 0, 2], [0, 3, 0, 3]]


def test_the_network_is_left_as_it_is_and_a_group_without_readers_is_refused() -> None:
    net = chain().eval()
    before = copy.deepcopy(net.state_dict())
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    receptive_fields(net, graph.clusterable[0], (2, 6, 6))
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert not any(module._forward_pre_hooks for module in net.modules())
    with pytest.raises(pdc.PDCError, match="Nothing reads"):
        receptive_fields(net, graph.group("10"), (2, 6, 6))


def _group(reader: str, n: int) -> ChannelGroup:
    return ChannelGroup("all", n, (), (), (Slice(reader, np.arange(n)[:, None]),))


@torch.no_grad()
def _by_probing(net: nn.Module, group: ChannelGroup, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Fill one row or one column of the image with NaN, and see where it arrives: (n, places, 4)."""
    _, height, width = shape
    images = torch.rand(height + width, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in range(height):
        images[i, :, i] = torch.nan
    for j in range(width):
        images[height + j, :, :, j] = torch.nan
    found: list[Tensor] = []
    with reading(net, [(group.readers[0], found.append)]):
        for image in images:
            net(image[None])
    arrived = torch.stack([x.flatten(1).isnan() for x in found], dim=-1).numpy()  # (n, places, height + width)
    sides = []
    for hit in (arrived[..., :height], arrived[..., height:]):
        any_ = hit.any(axis=-1)
        sides += [np.where(any_, hit.argmax(-1), 0), np.where(any_, hit.shape[-1] - hit[..., ::-1].argmax(-1), 0)]
    return np.stack(sides, axis=-1)
