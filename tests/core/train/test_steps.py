"""What the optimiser really used at every step: rates, gradients and hyperparameters against naive formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

import pdc_core as pdc
from pdc_core.train import Stopped, Training
from tests.training import FEW, Interrupted, little

EPOCHS, PER_EPOCH = 4, 5  # 130 images in batches of 32: four whole ones and one of two
STEPS = EPOCHS * PER_EPOCH


@pytest.fixture
def used() -> Iterator[list[dict[str, Any]]]:
    """What every optimiser finds when it is about to make a step, in order."""
    seen: list[dict[str, Any]] = []

    def note(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        group = optimizer.param_groups[0]
        norms = [p.grad.double().norm() for p in group["params"] if p.grad is not None]
        settings = {k: v for k, v in group.items() if k != "params"}
        seen.append({**settings, "kind": type(optimizer).__name__, "norm": float(torch.stack(norms).norm())})

    handle = register_optimizer_step_pre_hook(note)
    yield seen
    handle.remove()


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()


def cosine(step: int) -> float:
    return 0.1 * (1 + math.cos(math.pi * step / STEPS)) / 2


def warmed_up_cosine(step: int) -> float:
    warm = 1.6 * PER_EPOCH
    return (
        0.1 * (step + 1) / warm if step < warm else 0.1 * (1 + math.cos(math.pi * (step - warm) / (STEPS - warm))) / 2
    )


def falling_in_steps(step: int) -> float:
    return 0.1 * 0.3 ** ((step >= 0.25 * STEPS) + (step >= 0.5 * STEPS))


def one_cycle(step: int) -> float:
    top = 0.3 * STEPS
    if step < top:
        return 0.1 / 25 + (0.1 - 0.1 / 25) * (1 - math.cos(math.pi * step / top)) / 2
    return 0.1 * (1 + math.cos(math.pi * (step - top) / (STEPS - top))) / 2


SCHEDULES = {
    "cosine": ({"lr_schedule": "cosine"}, cosine),
    "warm-up": ({"lr_schedule": "cosine", "warmup": 1.6}, warmed_up_cosine),
    "step": ({"lr_schedule": "step", "milestones": (0.25, 0.5), "lr_gamma": 0.3}, falling_in_steps),
    "onecycle": ({"lr_schedule": "onecycle"}, one_cycle),
    "constant": ({"lr_schedule": "constant"}, lambda step: 0.1),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_is_made_with_the_learning_rate_of_that_step(name: str, used: list[dict[str, Any]]) -> None:
    given, formula = SCHEDULES[name]
    result = pdc.teach(small(), FEW, settings=Training(epochs=EPOCHS, lr=0.1, **given))
    expected = [formula(step) for step in range(STEPS)]
    assert [step["lr"] for step in used] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert [h["lr"] for h in result.history if h["kind"] == "train"] == [step["lr"] for step in used]


@pytest.mark.parametrize("given", [{"schedule": "merge"}, {"schedule": "progressive", "fold_when_tied": True}])
def test_distillation_uses_the_same_rates_also_once_it_has_folded(
    given: dict[str, Any], used: list[dict[str, Any]]
) -> None:
    net = little()
    plan = pdc.Plan.uniform(pdc.trace(net, torch.zeros(1, 1, 8, 8)), 0.5)
    pdc.distil(net, plan, FEW, settings=Training(epochs=EPOCHS, lr=0.1, **given))
    assert [step["lr"] for step in used] == pytest.approx([cosine(step) for step in range(STEPS)], rel=1e-12)


@pytest.mark.parametrize("after", [3, 5, 7])
def test_a_run_that_goes_on_continues_the_sequence_and_does_not_begin_it_again(
    after: int, used: list[dict[str, Any]]
) -> None:
    recorder, settings = Interrupted(after), Training(epochs=EPOCHS, lr=0.1)
    with pytest.raises(Stopped):
        pdc.teach(small(), FEW, settings=settings, recorder=recorder)
    assert len(used) == after
    pdc.teach(small(), FEW, settings=settings, recorder=recorder)
    assert [step["lr"] for step in used] == pytest.approx([cosine(step) for step in range(STEPS)], rel=1e-12)


def test_gradients_are_no_longer_than_the_clip_and_otherwise_what_they_were(used: list[dict[str, Any]]) -> None:
    pdc.teach(small(), FEW, settings=Training(epochs=1, lr=1e-9, momentum=0.0, weight_decay=0.0))
    free = [step["norm"] for step in used]
    used.clear()
    clip = sorted(free)[2]
    pdc.teach(small(), FEW, settings=Training(epochs=1, lr=1e-9, momentum=0.0, weight_decay=0.0, clip_grad_norm=clip))
    assert [step["norm"] for step in used] == pytest.approx([min(norm, clip) for norm in free], rel=1e-4)
    assert min(free) < clip < max(free)


def test_momentum_and_weight_decay_reach_the_optimiser(used: list[dict[str, Any]]) -> None:
    pdc.teach(small(), FEW, settings=Training(epochs=1, momentum=0.7, weight_decay=0.03))
    pdc.teach(small(), FEW, settings=Training(epochs=1, momentum=0.0))
    pdc.teach(small(), FEW, settings=Training(epochs=1, optimizer="adamw", momentum=0.8, weight_decay=0.02))
    sgd, plain, adam = used[0], used[PER_EPOCH], used[2 * PER_EPOCH]
    assert (sgd["kind"], sgd["momentum"], sgd["weight_decay"], sgd["nesterov"]) == ("SGD", 0.7, 0.03, True)
    assert (plain["momentum"], plain["nesterov"]) == (0.0, False)
    assert (adam["kind"], adam["betas"], adam["weight_decay"]) == ("AdamW", (0.8, 0.999), 0.02)


def test_an_epoch_without_tricks_is_the_loop_that_anybody_would_write() -> None:
    """SGD with Nesterov momentum, weight decay and label smoothing, step by step in plain torch."""
    settings = Training(epochs=2, lr=0.1, label_smoothing=0.1)
    result = pdc.teach(small(), FEW, seed=7, settings=settings)
    net = small().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    losses, steps = [], 2 * PER_EPOCH
    for epoch in range(2):
        words = np.random.SeedSequence((7, epoch)).generate_state(2)
        order = torch.randperm(130, generator=torch.Generator().manual_seed(int(words[0]) * 2**31 ^ int(words[1])))
        for i in range(PER_EPOCH):
            chosen = order[32 * i : 32 * (i + 1)]
            x = (FEW.train.images[chosen].float() / 255 - FEW.mean[0]) / FEW.std[0]
            loss = nn.functional.cross_entropy(net(x), FEW.train.labels[chosen], label_smoothing=0.1)
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (1 + math.cos(math.pi * len(losses) / steps)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert [h["loss"] for h in result.history if h["kind"] == "train"] == pytest.approx(losses, rel=1e-5)
    means = [sum(losses[:5]) / 5, sum(losses[5:]) / 5]
    assert [h["train_loss"] for h in result.history if h["kind"] == "evaluation"] == pytest.approx(means, rel=1e-5)
    for ours, plain in zip(result.folded.parameters(), net.parameters(), strict=True):
        assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-6)
