"""The best epoch: the first of the highest validation accuracy among those whose network could be the result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.train import Recorder, Training, loop
from tests.training import FEW, little


class Notes(Recorder):
    """Keeps the best epoch of every checkpoint."""

    def __init__(self) -> None:
        self.best: list[tuple[int, float] | None] = []

    def checkpoint(self, state: Any) -> None:
        best = state()["best"]
        self.best.append(None if best is None else (best["epoch"], best["val_accuracy"]))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a test say which accuracy each epoch's evaluation finds."""
    real, coming = loop.evaluate, list[float]()

    def evaluate(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        object.__setattr__(found, "accuracy", coming.pop(0))
        return found

    monkeypatch.setattr(loop, "evaluate", evaluate)
    return coming.extend


def first_best(epochs: list[dict[str, Any]]) -> tuple[int, float] | None:
    """By hand: of the epochs at whose end the strength was 1, the first with the highest accuracy."""
    found = None
    for each in epochs:
        if each["strength"] >= 1 and (found is None or each["val_accuracy"] > found[1]):
            found = (each["epoch"], each["val_accuracy"])
    return found


SCHEDULED = {
    "progressive": {"schedule": "progressive", "tied_after": 0.5},
    "merge": {"schedule": "merge", "tied_after": 0.5, "merges": 3, "n_images": 64},
    "recluster": {"schedule": "recluster", "tied_after": 0.5, "recluster_until": 0.3, "n_images": 64},
}


@pytest.mark.parametrize("schedule", SCHEDULED)
def test_only_epochs_that_ended_tied_can_be_the_best(schedule: str, scripted: Any) -> None:
    accuracies = [0.9, 0.8, 0.3, 0.5, 0.5, 0.4]  # best by far before the filters are tied
    scripted(accuracies)
    net, notes = little(), Notes()
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    plan, settings = pdc.Plan.uniform(graph, 0.25), Training(epochs=6, batch_size=64, **SCHEDULED[schedule])
    result = pdc.distil(net, plan, FEW, settings=settings, recorder=notes)
    evaluations = [h for h in result.history if h["kind"] == "evaluation"]
    assert [h["strength"] < 1 for h in evaluations] == [True, True, False, False, False, False]
    assert notes.best == [None, None, (3, 0.3), (4, 0.5), (4, 0.5), (4, 0.5)]
    assert notes.best == [first_best(evaluations[: i + 1]) for i in range(6)]
    assert result.report["best"]["epoch"] == 4
    assert result.report["last"]["epoch"] == 6
    assert result.best is not None
    assert pdc.cost(result.best, torch.zeros(1, 1, 8, 8)).macs == pdc.plan_cost(graph, plan).macs


@pytest.mark.parametrize("accuracies", [(0.5, 0.9, 0.9, 0.3), (0.2, 0.1, 0.1, 0.2), (0.1, 0.2, 0.3, 0.4)])
def test_of_equal_epochs_the_first_is_the_best(accuracies: tuple[float, ...], scripted: Any) -> None:
    scripted(list(accuracies))
    notes = Notes()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    result = pdc.teach(net, FEW, settings=Training(epochs=4), recorder=notes)
    assert result.report["best"]["epoch"] == accuracies.index(max(accuracies)) + 1
    assert notes.best[-1] == (accuracies.index(max(accuracies)) + 1, max(accuracies))
    assert (result.best is None) == (accuracies.index(max(accuracies)) == 3)


def test_the_best_network_is_that_of_its_epoch_to_the_last_bit(scripted: Any) -> None:
    scripted([0.1, 0.9, 0.2])
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    seen: list[torch.Tensor] = []

    class Weights(Recorder):
        def checkpoint(self, state: Any) -> None:
            seen.append(state()["model"]["1.weight"].clone())

    result = pdc.teach(net, FEW, settings=Training(epochs=3), recorder=Weights())
    assert result.best is not None
    assert torch.equal(result.best[1].weight, seen[1])
    assert torch.equal(result.folded[1].weight, seen[2])
    assert not torch.equal(seen[1], seen[2])
