"""Responses: largest values, their places and correlations, against NumPy on the whole activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.analysis.activations import activation_maps
from pdc_core.analysis.receptive import receptive_fields
from pdc_core.analysis.responses import mean_similarity, measure_responses, strongest_patches
from tests.networks import chain, lively_

NET = lively_(chain())
GRAPH = pdc.trace(NET, torch.zeros(1, 2, 6, 6))
IMAGES = torch.rand(130, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
FOUND = measure_responses(NET, GRAPH.clusterable, IMAGES)


@pytest.mark.parametrize("name", [g.name for g in GRAPH.clusterable])
def test_responses_are_those_of_the_whole_activations(name: str) -> None:
    group, found = GRAPH.group(name), FOUND[name]
    maps = activation_maps(NET, group, IMAGES, range(group.size)).reshape(group.size, len(IMAGES), -1)
    assert np.allclose(found.highest, maps.max(axis=2), atol=1e-5)
    at = np.take_along_axis(maps, found.place[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    assert np.allclose(at, maps.max(axis=2), atol=1e-5)
    flat = maps.reshape(group.size, -1).astype(np.float64)
    dead = np.ptp(flat, axis=1) == 0
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(flat)
    assert np.array_equal(np.isnan(found.similarity).all(axis=1), dead)
    assert np.allclose(found.similarity[~dead][:, ~dead], expected[~dead][:, ~dead], atol=1e-4)


def test_a_patch_alone_gives_the_response() -> None:
    """Pixels outside of the patch change nothing: the strongest response comes back from noise around it."""
    group = GRAPH.group("0")
    fields = receptive_fields(NET, group, (2, 6, 6))
    for filter_ in range(group.size):
        patches = strongest_patches(FOUND["0"], fields, filter_, 9)
        assert len(patches) == 9
        assert [p.response for p in patches] == sorted(FOUND["0"].highest[filter_].tolist(), reverse=True)[:9]
        for patch in patches[:3]:
            top, bottom, left, right = patch.box
            other = torch.rand(1, 2, 6, 6, dtype=torch.float64)
            other[0, :, top:bottom, left:right] = IMAGES[patch.image, :, top:bottom, left:right]
            place = FOUND["0"].place[filter_, patch.image]
            response = activation_maps(NET, group, other, [filter_]).reshape(-1)[place]
            assert response == pytest.approx(patch.response, abs=1e-5)


def test_a_filter_that_never_responds_has_no_patches_and_no_similarity() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1)).eval()
    with torch.no_grad():
        net[0].weight[1].zero_()
        net[0].bias[:] = torch.tensor([0.1, 0.7, -0.1])
    group = pdc.trace(net, torch.zeros(1, 1, 5, 5)).groups[0]
    found = measure_responses(net, [group], torch.rand(20, 1, 5, 5))["0"]
    fields = receptive_fields(net, group, (1, 5, 5))
    assert strongest_patches(found, fields, 1, 4) == []
    assert np.isnan(found.similarity[1]).all()
    assert len(strongest_patches(found, fields, 0, 4)) == 4
    assert np.isnan(mean_similarity(found.similarity, [0, 1]))


def test_a_reader_that_is_called_twice_is_heard_once_in_every_batch() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.b(self.a(x)))

    net = Twice().eval()
    groups = [g for g in pdc.trace(net, torch.zeros(1, 1, 5, 5)).groups if g.readers]
    images = torch.rand(230, 1, 5, 5)
    found = measure_responses(net, groups, images)[groups[0].name]
    with torch.no_grad():
        assert np.allclose(found.highest, net.a(images).amax(dim=(2, 3)).T.numpy(), atol=1e-6)


def test_progress_counts_images_and_what_it_raises_ends_the_work_without_a_hook_left() -> None:
    told: list[tuple[int, int]] = []
    measure_responses(NET, [GRAPH.group("0")], IMAGES, lambda done, total: told.append((done, total)))
    assert told == [(100, 130), (130, 130)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_responses(NET, [GRAPH.group("0")], IMAGES, stop)
    assert not any(module._forward_pre_hooks for module in NET.modules())


def test_without_images_or_readers_nothing_is_measured() -> None:
    with pytest.raises(pdc.PDCError, match="without images"):
        measure_responses(NET, GRAPH.clusterable, IMAGES[:0])
    with pytest.raises(pdc.PDCError, match="Nothing reads group '10'"):
        measure_responses(NET, [GRAPH.group("10")], IMAGES)
