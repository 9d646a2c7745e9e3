"""What is measured on large images in small batches is what large batches give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pdc_core as pdc
from pdc_core import batch_sizes
from pdc_core.batch_sizes import images_in_memory
from pdc_core.clustering import channel_covariances
from pdc_core.estimates.tail import Tail
from pdc_core.norms import reestimate_norms_

IMAGES = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("most", [1, 31, 32, 100, 250])
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 32, 32), (1, 64, 64), (3, 224, 224), (3, 1024, 1024), (40,)])
def test_no_more_than_allowed_and_no_fewer_than_a_batch_needs(shape: tuple[int, ...], most: int) -> None:
    found = images_in_memory(shape, most)
    pixels = int(np.prod(shape[1:]))
    assert min(most, 32) <= found <= most
    assert found * pixels <= 409_600 or found <= 32
    assert found == most or (found + 1) * pixels > 409_600


class Watched:
    """The network that comes with PDC, and the sizes of the batches that it was given."""

    def __init__(self) -> None:
        self.model, self.sizes = pdc.load_model("resnet20"), list[int]()
        self.graph = pdc.trace(self.model, IMAGES[:1])
        self.model.conv1.register_forward_pre_hook(lambda module, inputs: self.sizes.append(len(inputs[0])))


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_sizes, "_KEPT_PIXELS", 64)


def test_covariances_of_small_batches_are_those_of_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, found = Watched(), []
    for pixels in (409_600, 64):
        monkeypatch.setattr(batch_sizes, "_KEPT_PIXELS", pixels)
        found.append(channel_covariances(watched.model, watched.graph.clusterable[:2], IMAGES))
    assert watched.sizes == [96, 32, 32, 32]
    for name, large in found[0].items():
        assert torch.allclose(found[1][name].covariance, large.covariance, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("little_memory")
def test_outputs_of_a_tail_are_those_of_the_network() -> None:
    watched = Watched()
    parts = list(Tail(watched.model, watched.graph, IMAGES).outputs())
    assert [len(part) for part in parts] == [32, 32, 32]
    with torch.no_grad():
        assert torch.allclose(torch.cat(parts), watched.model(IMAGES), atol=1e-5)


@pytest.mark.usefixtures("little_memory")
def test_norms_get_batches_of_one_size() -> None:
    watched = Watched()
    before = watched.model.bn1.running_mean.clone()
    reestimate_norms_(watched.model, IMAGES[:80])
    assert watched.sizes == [27, 27, 26]
    assert not torch.equal(before, watched.model.bn1.running_mean)
