"""A part of the training images: stratified, seeded, and of files without reading them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdc_core.data import Split, load_data, subset
from pdc_core.data.image_files import ImageFiles
from pdc_core.errors import PDCError

DIGITS = load_data("digits")


def test_every_class_keeps_its_share_and_the_seed_alone_decides() -> None:
    few, again, other = (subset(DIGITS, 200, seed) for seed in (0, 0, 1))
    share = 200 / len(DIGITS.train) * torch.bincount(DIGITS.train.labels)
    assert (torch.bincount(few.train.labels) - share).abs().max() < 1
    assert torch.equal(few.train.images, again.train.images)
    assert not torch.equal(few.train.images, other.train.images)
    assert few.val is DIGITS.val
    whole = {image.numpy().tobytes() for image in DIGITS.train.images}
    assert all(image.numpy().tobytes() in whole for image in few.train.images)
    assert subset(DIGITS, len(DIGITS.train)).train is DIGITS.train


def test_one_image_of_each_class_is_the_least() -> None:
    assert torch.bincount(subset(DIGITS, 10).train.labels).tolist() == [1] * 10


@pytest.mark.parametrize("images", [9, 0, 1078])
def test_other_numbers_are_refused_with_those_that_are_allowed(images: int) -> None:
    with pytest.raises(PDCError, match=r"training images of digits .* give 10 \(one per class\) to 1,077 \(all\)"):
        subset(DIGITS, images)


def test_images_in_files_stay_there() -> None:
    labels = torch.arange(20) % 2
    files = ImageFiles([f"absent{i}.png" for i in range(20)], size=8, workers=3)
    data = replace(DIGITS, train=Split(files, labels), classes=("a", "b"))  # type: ignore[arg-type]
    few = subset(data, 6, seed=3)
    assert isinstance(few.train.images, ImageFiles)
    numbers = [int(name.removeprefix("absent").removesuffix(".png")) for name in few.train.images.paths]
    assert np.array_equal(np.array(numbers) % 2, few.train.labels.numpy())
    assert (few.train.images.workers, few.train.images.size) == (3, 8)


def test_a_sample_stands_for_all_classes_also_where_images_come_class_by_class() -> None:
    order = torch.argsort(DIGITS.train.labels, stable=True)
    for blocks in (order, torch.cat([order[500:], order[:500]])):  # as folders give them, and in another order
        split = Split(DIGITS.train.images[blocks], DIGITS.train.labels[blocks])
        found, again = split.sample(100), split.sample(100)
        assert len(split.first(100).labels.unique()) < 3
        assert len(found.labels.unique()) == 10
        assert torch.equal(found.images, again.images)
        assert len(found) == 100
        shown = {(image.numpy().tobytes(), int(y)) for image, y in zip(split.images, split.labels, strict=True)}
        assert all(
            (image.numpy().tobytes(), int(y)) in shown for image, y in zip(found.images, found.labels, strict=True)
        )


def test_a_sample_of_mixed_images_is_the_first_of_them() -> None:
    assert torch.equal(DIGITS.train.sample(50).images, DIGITS.train.images[:50])
    assert torch.equal(DIGITS.train.sample(10**6).labels, DIGITS.train.labels)
    one_class = Split(DIGITS.train.images[:9], torch.zeros(9, dtype=torch.int64))
    assert torch.equal(one_class.sample(4).images, DIGITS.train.images[:4])
    assert len(Split(DIGITS.train.images[:0], DIGITS.train.labels[:0]).sample(4)) == 0
