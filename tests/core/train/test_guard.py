"""The training that was measured is the training that runs: losses of ten steps against committed numbers.

Everything is in float64 with weights from a frozen generator, so that processors and versions of torch differ in the
last digits only; the numbers hold to 1e-6. They were made by this test's own runs at commit 001b2d7, those of the
schedules again when norms began to follow merges. A change that is meant to change training says so in the changelog,
and brings new numbers: run this file as a program to print them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.train import Training

LOSSES = {
    "teach": [
        2.457482134, 2.332077803, 2.384447522, 2.346438694, 2.178335473,
        2.120317370, 2.148437476, 2.161147328, 2.022706257, 2.053886643,
    ],
    "merge": [
        2.066089226, 1.924457472, 1.799588652, 1.781754432, 1.646473254,
        1.724958893, 1.732854732, 1.588048295, 1.599491586, 1.553730909,
    ],
    "progressive": [
        2.100970799, 1.956927498, 1.830951708, 1.762647340, 1.655684631,
        1.992345741, 1.961716966, 1.794667237, 1.802296965, 1.739372359,
    ],
}  # fmt: skip


class Double(pdc.Data):
    """A data set whose images are prepared in float64."""

    def prepare(self, images: Tensor) -> Tensor:
        return super().prepare(images).double()


def data() -> pdc.Data:
    digits = pdc.load_data("digits")
    few = {"train": digits.train.first(160), "val": digits.val.first(20), "test": digits.test.first(20)}
    return Double(**{f.name: getattr(digits, f.name) for f in dataclasses.fields(digits)} | few)


class Block(nn.Module):
    """Two convolutions with norms and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def network() -> nn.Module:
    """A little residual network, its weights from numpy's frozen generator."""
    random = np.random.RandomState(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Sequential(Block(8), Block(8)),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    ).double().eval()  # fmt: skip
    with torch.no_grad():
        for name, t in net.state_dict().items():
            if t.dim() > 1:
                t.copy_(torch.from_numpy(random.standard_normal(t.shape) * (1 / t[0].numel()) ** 0.5))
            elif name.endswith(("weight", "running_var")):
                t.copy_(torch.from_numpy(random.uniform(0.8, 1.2, t.shape)))
            elif t.is_floating_point():
                t.copy_(torch.from_numpy(random.uniform(-0.1, 0.1, t.shape)))
    return net


def losses(name: str) -> list[float]:
    """The losses of ten steps, two epochs of five."""
    if name == "teach":
        result = pdc.teach(network(), data(), seed=1, settings=Training.for_teaching(epochs=2, batch_size=32, lr=0.05))
    else:
        net = network()
        plan = pdc.Plan.uniform(pdc.trace(net, torch.zeros(1, 1, 8, 8)), 0.25)
        settings = Training(epochs=2, schedule=name, n_images=64, merges=3, tied_after=0.5, lr=0.02)
        result = pdc.distil(net, plan, data(), seed=1, settings=settings)
    return [h["loss"] for h in result.history if h["kind"] == "train"]


@pytest.fixture
def exact() -> Iterator[None]:
    """One thread, and float64 wherever no type is given."""
    threads, kind = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(kind)


@pytest.mark.parametrize("name", ["teach", "merge", "progressive"])
def test_ten_steps_have_the_losses_that_they_always_had(name: str, exact: None) -> None:
    assert losses(name) == pytest.approx(LOSSES[name], rel=1e-6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for each in ("teach", "merge", "progressive"):
        print(f'    "{each}": [{", ".join(f"{loss:.9f}" for loss in losses(each))}],')
