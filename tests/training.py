"""Short runs that several tests share: digits with few images, a run that is interrupted, equality to the last bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

import pdc_core as pdc
from pdc_core.data import Split
from pdc_core.train import Recorder
from pdc_core.train.recorder import Request


def few(data: pdc.Data, count: int = 130) -> pdc.Data:
    """The digits with fewer training images, so that an epoch is two steps."""
    return replace(data, train=Split(data.train.images[:count], data.train.labels[:count]))


DIGITS = pdc.load_data("digits")
FEW = few(DIGITS)
MODEL = pdc.load_model("resnet20")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
PLAN = pdc.Plan.uniform(GRAPH, 0.25)


class Interrupted(Recorder):
    """Stops after some steps and holds the checkpoint, to go on from it when it is used again."""

    def __init__(self, after: int) -> None:
        self.after, self.seen, self.left, self.state = after, 0, False, None

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        self.seen = step

    def requested(self) -> Request | None:
        asks, self.left = not self.left and self.seen >= self.after, self.left or self.seen >= self.after
        return "pause" if asks else None

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        self.state = copy.deepcopy(state())

    def resume(self) -> dict[str, Any] | None:
        return self.state


def same_networks(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def little() -> nn.Module:
    """A chain of two convolutions for digits, with random weights: for runs in which only the steps matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 10),
        ).eval()  # fmt: skip
