"""Every random draw of a run, computed again by hand from (seed, epoch, step): order, shifts, flips, share, dropout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.train import Stopped, Training
from pdc_core.train.batches import Batches
from tests.training import FEW, Interrupted

DATA = replace(FEW, flip=True, shift=2)
EPOCHS, SIZE, PER_EPOCH = 3, 32, 5  # 130 images: four whole batches and one of two
SETTINGS = Training(epochs=EPOCHS, batch_size=SIZE, augment=0.7, lr=0.01)


def generator(*key: int) -> torch.Generator:
    high, low = (int(word) for word in np.random.SeedSequence(key).generate_state(2))
    return torch.Generator().manual_seed((high * 2**31) ^ low)


def order(seed: int, epoch: int) -> list[int]:
    return torch.randperm(len(DATA.train), generator=generator(seed, epoch)).tolist()


def draws(seed: int, step: int, n: int) -> tuple[list[list[int]], list[bool], list[bool]]:
    """Shifts (down, right) of n images, whether each is mirrored, and whether its moved copy is used."""
    source = generator(seed, step, 1)
    down, right = torch.randint(0, 2 * DATA.shift + 1, (2, n, 1), generator=source)[:, :, 0].tolist()
    mirrored = torch.rand(n, 1, generator=source)[:, 0] < 0.5
    used = torch.rand(n, generator=source) < SETTINGS.augment
    return [down, right], mirrored.tolist(), used.tolist()


def moved(image: np.ndarray, down: int, right: int, mirrored: bool) -> np.ndarray:
    """One image (c, h, w) seen through a window that is moved over it, left to right or right to left."""
    result = np.zeros_like(image)
    _, h, w = image.shape
    for i in range(h):
        for j in range(w):
            y, x = i + down - DATA.shift, (w - 1 - j if mirrored else j) + right - DATA.shift
            if 0 <= y < h and 0 <= x < w:
                result[:, i, j] = image[:, y, x]
    return result


def batch(seed: int, epoch: int, i: int) -> tuple[Tensor, Tensor]:
    """Images and labels of a step, by hand."""
    chosen = order(seed, epoch)[SIZE * i : SIZE * (i + 1)]
    (down, right), mirrored, used = draws(seed, epoch * PER_EPOCH + i, len(chosen))
    images = [DATA.train.images[c].numpy() for c in chosen]
    rows = [moved(x, *at, m) if u else x for x, *at, m, u in zip(images, down, right, mirrored, used, strict=True)]
    x = torch.from_numpy(np.stack(rows)).float()
    return (x / 255 - DATA.mean[0]) / DATA.std[0], DATA.train.labels[chosen]


def copies(count: int) -> pdc.Split:
    """One image many times."""
    return pdc.Split(DATA.train.images[:1].expand(count, -1, -1, -1), DATA.train.labels[:1].expand(count))


def watched(seen: list[tuple[Tensor, Tensor]]) -> nn.Module:
    """A network whose dropout notes what comes in and what goes out while it is trained."""
    net = nn.Sequential(nn.Dropout(0.4), nn.Flatten(), nn.Linear(64, 10)).eval()

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training:
            seen.append((args[0].clone(), output.detach().clone()))

    net[0].register_forward_hook(note)
    return net


def expected(seed: int) -> list[tuple[Tensor, Tensor]]:
    found = []
    with torch.random.fork_rng(devices=[]):
        for epoch in range(EPOCHS):
            for i in range(PER_EPOCH):
                x, _ = batch(seed, epoch, i)
                torch.manual_seed(generator(seed, epoch * PER_EPOCH + i, 2, 0).initial_seed())
                found.append((x, F.dropout(x, 0.4)))
    return found


def same(ours: list[tuple[Tensor, Tensor]], by_hand: list[tuple[Tensor, Tensor]]) -> bool:
    return len(ours) == len(by_hand) and all(
        torch.allclose(a, b, atol=1e-6) for mine, theirs in zip(ours, by_hand, strict=True)
        for a, b in zip(mine, theirs, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 5])
def test_the_network_sees_what_seed_epoch_and_step_say_and_nothing_else(seed: int) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    torch.manual_seed(99)  # must not matter
    pdc.teach(watched(seen), DATA, seed=seed, settings=SETTINGS)
    assert same(seen, expected(seed))


@pytest.mark.parametrize("after", [2, 5, 8])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(after: int) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    recorder = Interrupted(after)
    with pytest.raises(Stopped):
        pdc.teach(watched(seen), DATA, seed=3, settings=SETTINGS, recorder=recorder)
    pdc.teach(watched(seen), DATA, seed=3, settings=SETTINGS, recorder=recorder)
    assert same(seen, expected(3))


def test_labels_come_with_their_images() -> None:
    batches = Batches(DATA, SETTINGS, 4, torch.device("cpu"))
    assert batches.per_epoch == PER_EPOCH
    for epoch in range(EPOCHS):
        ours = list(batches.epoch(epoch))
        by_hand = [batch(4, epoch, i) for i in range(PER_EPOCH)]
        assert [y.tolist() for _, y in ours] == [y.tolist() for _, y in by_hand]
        assert same(ours, by_hand)
        assert same(list(batches.epoch(epoch, 3)), by_hand[3:])


def test_no_two_draws_of_a_run_are_the_same() -> None:
    """Orders of epochs, shifts, flips and shares of steps, dropout of steps; and of two seeds none is shared."""
    found: list[Any] = []
    for seed in (0, 1):
        seen: list[tuple[Tensor, Tensor]] = []
        pdc.teach(watched(seen), DATA, seed=seed, settings=SETTINGS)
        whole = [step for step in range(EPOCHS * PER_EPOCH) if step % PER_EPOCH < 4]
        masks = [(seen[step][1] != 0).flatten() for step in whole]
        found += [("order", *order(seed, epoch)) for epoch in range(EPOCHS)]
        found += [("shift", *(place for way in draws(seed, step, SIZE)[0] for place in way)) for step in whole]
        found += [("flip", *draws(seed, step, SIZE)[1]) for step in whole]
        found += [("share", *draws(seed, step, SIZE)[2]) for step in whole]
        found += [("dropout", *mask.tolist()) for mask in masks]
    assert len(found) == len(set(found)) == 2 * (EPOCHS + 4 * EPOCHS * 4)
    seeds = [generator(0, epoch).initial_seed() for epoch in range(1, 40)]
    seeds += [generator(0, step, *purpose).initial_seed() for step in range(1, 400) for purpose in ((1,), (2, 0))]
    assert len(set(seeds)) == len(seeds)


def test_processes_share_out_the_images_of_a_step_in_turn_and_draw_for_themselves() -> None:
    data = replace(DATA, train=pdc.Split(DATA.train.images[:64], DATA.train.labels[:64]))
    plain = SETTINGS.model_copy(update={"augment": 0.0})
    for i, both in enumerate(
        zip(*(Batches(data, plain, 2, torch.device("cpu"), r, 2).epoch(1) for r in (0, 1)), strict=True)
    ):
        chosen = torch.randperm(64, generator=generator(2, 1))[SIZE * i : SIZE * (i + 1)]
        for rank, (x, y) in enumerate(both):
            assert torch.equal(x, data.prepare(data.train.images[chosen[rank::2]]))
            assert torch.equal(y, data.train.labels[chosen[rank::2]])
    twins = replace(data, train=copies(64))
    zero, one = (next(Batches(twins, SETTINGS, 2, torch.device("cpu"), rank, 2).epoch(0))[0] for rank in (0, 1))
    assert not torch.equal(zero, one), "both processes have moved their images alike"


@pytest.mark.parametrize(
    ("images", "size", "world", "steps"),
    [(130, 32, 1, 5), (129, 32, 1, 4), (128, 32, 1, 4), (20, 32, 1, 1), (131, 32, 2, 4), (132, 32, 2, 5), (2, 2, 1, 1)],
)
def test_an_epoch_has_every_batch_of_at_least_two_images_a_process(
    images: int, size: int, world: int, steps: int
) -> None:
    data = replace(FEW, train=copies(images))
    batches = Batches(data, SETTINGS.model_copy(update={"batch_size": size}), 0, torch.device("cpu"), 0, world)
    assert batches.per_epoch == steps == len(list(batches.epoch(0)))
    assert all(len(x) >= 2 for x, _ in batches.epoch(0))


@pytest.mark.parametrize(("images", "size", "world"), [(1, 32, 1), (3, 32, 2), (100, 2, 2)])
def test_too_few_images_for_batch_norm_are_refused(images: int, size: int, world: int) -> None:
    data = replace(FEW, train=pdc.Split(FEW.train.images[:images], FEW.train.labels[:images]))
    with pytest.raises(pdc.PDCError, match=f"needs at least {2 * world} of both for {world} process"):
        Batches(data, SETTINGS.model_copy(update={"batch_size": size}), 0, torch.device("cpu"), 0, world)


@pytest.mark.parametrize("first", [0, 1])
def test_images_read_ahead_from_files_come_in_the_order_of_the_run(first: int, tmp_path: Path) -> None:
    for split, count in (("train", 9), ("val", 2)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                grey = np.full((8, 8, 3), 20 * i + 10 * (name == "b"), dtype=np.uint8)
                Image.fromarray(grey).save(tmp_path / split / name / f"{i}.png")
    data = pdc.load_data(f"folder:{tmp_path}@8")
    batches = Batches(data, Training(epochs=2, batch_size=4), 6, torch.device("cpu"))
    chosen = torch.randperm(len(data.train), generator=generator(6, 1)).split(4)[first : batches.per_epoch]
    found = list(batches.epoch(1, first))
    assert len(found) == len(chosen) >= 3
    for (x, y), own in zip(found, chosen, strict=True):
        assert torch.equal(x, data.prepare(data.train.images[own]))
        assert torch.equal(y, data.train.labels[own])
